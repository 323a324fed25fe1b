//! Reads records and batches where they lie, without a copy of every name and value first: serde keeps all of a tagged
//! map until it has seen the tag, and our own programs write the tag first.
//!
//! A map that begins otherwise is read in serde's way.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, IgnoredAny, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::hit::Hit;
use crate::message::{AgentMessage, Record};

/// A map of which the first name was read, and its value if it was the tag.
struct Begun<A> {
    name: Option<String>,
    tag: Option<String>,
    rest: A,
}

impl<'de, A: MapAccess<'de>> Begun<A> {
    fn read(mut rest: A, tag: &str) -> Result<Self, A::Error> {
        let name: Option<String> = rest.next_key()?;
        let tag = if name.as_deref() == Some(tag) { Some(rest.next_value()?) } else { None };
        Ok(Self { name, tag, rest })
    }
}

/// The map as it was before something was read.
impl<'de, A: MapAccess<'de>> MapAccess<'de> for Begun<A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        match self.name.take() {
            Some(name) => seed.deserialize(name.into_deserializer()).map(Some),
            None => self.rest.next_key_seed(seed),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        match self.tag.take() {
            Some(tag) => seed.deserialize(tag.into_deserializer()),
            None => self.rest.next_value_seed(seed),
        }
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a record")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Record, A::Error> {
        let begun = Begun::read(map, "record")?;
        match begun.tag.as_deref() {
            Some("hit") => {
                Hit::deserialize(MapAccessDeserializer::new(begun.rest)).map(|hit| Record::Hit(Box::new(hit)))
            }
            _ => Record::deserialize(MapAccessDeserializer::new(begun)),
        }
    }
}

impl<'de> Deserialize<'de> for AgentMessage {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MessageVisitor)
    }
}

impl Serialize for AgentMessage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

struct MessageVisitor;

impl<'de> Visitor<'de> for MessageVisitor {
    type Value = AgentMessage;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<AgentMessage, A::Error> {
        let begun = Begun::read(map, "type")?;
        match begun.tag.as_deref() {
            Some("batch") => read_batch(begun.rest),
            _ => AgentMessage::deserialize(MapAccessDeserializer::new(begun)),
        }
    }
}

fn read_batch<'de, A: MapAccess<'de>>(mut map: A) -> Result<AgentMessage, A::Error> {
    let (mut first, mut records) = (None, None);
    while let Some(name) = map.next_key::<String>()? {
        match name.as_str() {
            "first" if first.is_none() => first = Some(map.next_value()?),
            "records" if records.is_none() => records = Some(map.next_value()?),
            "first" => return Err(A::Error::duplicate_field("first")),
            "records" => return Err(A::Error::duplicate_field("records")),
            _ => _ = map.next_value::<IgnoredAny>()?,
        }
    }
    let first = first.ok_or_else(|| A::Error::missing_field("first"))?;
    let records = records.ok_or_else(|| A::Error::missing_field("records"))?;
    Ok(AgentMessage::Batch { first, records })
}

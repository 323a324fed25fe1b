//! Reads a line of a bundle from its fields, in one pass and without an allocation that the indicator does not keep:
//! a sensor reads ten million of them.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::{
    Action, Addresses, Indicator, LookFor, Pattern, Severity, Tlp, confidence_default, normal_endpoint,
    normal_network,
};
use crate::bundle::{Line, Revocation};
use crate::observable::{NotObservable, Observable};
use crate::time::Timestamp;

/// Everything that a line may say. Fields of a newer desk are passed over.
#[derive(serde::Deserialize)]
#[serde(expecting = "a line of a bundle")]
struct Fields<'a> {
    #[serde(borrow)]
    kind: Option<Text<'a>>,
    #[serde(borrow)]
    value: Option<Text<'a>>,
    #[serde(borrow)]
    revoke: Option<Text<'a>>,
    id: Option<String>,
    #[serde(default)]
    action: Action,
    #[serde(default)]
    threat: String,
    #[serde(default)]
    severity: Severity,
    #[serde(default = "confidence_default")]
    confidence: u8,
    #[serde(default)]
    tlp: Tlp,
    valid_from: Option<Timestamp>,
    valid_until: Option<Timestamp>,
    #[serde(default)]
    alert: String,
    #[serde(default)]
    source: String,
}

impl<'de> Deserialize<'de> for Indicator {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneLine)?.indicator()
    }
}

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fields = deserializer.deserialize_map(OneLine)?;
        match &fields.revoke {
            Some(_) if fields.kind.is_none() => fields.revocation().map(Self::Revocation),
            _ => fields.indicator().map(Self::Indicator),
        }
    }
}

impl Fields<'_> {
    fn indicator<E: Error>(self) -> Result<Indicator, E> {
        let Text(kind) = self.kind.ok_or_else(|| E::missing_field("kind"))?;
        let Text(value) = self.value.ok_or_else(|| E::missing_field("value"))?;
        let look_for = look_for(&kind, &value)
            .map_err(|error| E::custom(format_args!("{kind}: {error}")))?
            .ok_or_else(|| E::custom(format_args!("unknown kind {kind:?}")))?;
        Ok(Indicator {
            look_for,
            id: self.id.ok_or_else(|| E::missing_field("id"))?,
            action: self.action,
            threat: self.threat,
            severity: self.severity,
            confidence: self.confidence,
            tlp: self.tlp,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            alert: self.alert,
            source: self.source,
        })
    }

    fn revocation<E: Error>(self) -> Result<Revocation, E> {
        let Text(what) = self.revoke.ok_or_else(|| E::missing_field("revoke"))?;
        let Text(value) = self.value.ok_or_else(|| E::missing_field("value"))?;
        match &*what {
            "alert" => Ok(Revocation::Alert(value.into_owned())),
            "indicator" => Ok(Revocation::Indicator(value.into_owned())),
            other => Err(E::unknown_variant(other, &Revocation::KINDS)),
        }
    }
}

/// Reads a value as a bundle carries it: nothing is trimmed or refanged. `None` for an unknown kind.
fn look_for(kind: &str, text: &str) -> Result<Option<LookFor>, NotObservable> {
    let observable = match kind {
        "ip" => Observable::Ip(text.parse::<IpAddr>().map_err(|_| NotObservable::Ip)?.to_canonical()),
        "domain" => Observable::Domain(text.parse()?),
        "url" => Observable::Url(text.parse()?),
        "md5" => Observable::Md5(text.parse()?),
        "sha1" => Observable::Sha1(text.parse()?),
        "sha256" => Observable::Sha256(text.parse()?),
        "ja3" => Observable::Ja3(text.parse()?),
        "ja4" => Observable::Ja4(text.parse()?),
        "user_agent" => Observable::UserAgent(text.parse()?),
        "email" => Observable::Email(text.parse()?),
        _ => return look_for_many(kind, text),
    };
    Ok(Some(LookFor::Observable(observable)))
}

fn look_for_many(kind: &str, text: &str) -> Result<Option<LookFor>, NotObservable> {
    Ok(Some(match kind {
        "network" => {
            let network = text.parse().map_err(|_| NotObservable::Ip)?;
            LookFor::Addresses(Addresses::Network(normal_network(network)))
        }
        "ip_port" => {
            let endpoint = text.parse().map_err(|_| NotObservable::Ip)?;
            LookFor::Addresses(Addresses::IpPort(normal_endpoint(endpoint)))
        }
        "wildcard" => LookFor::Pattern(Pattern::Wildcard(text.parse()?)),
        "url_prefix" => LookFor::Pattern(Pattern::UrlPrefix(text.parse()?)),
        "user_agent_part" => LookFor::Pattern(Pattern::UserAgentPart(text.parse()?)),
        "email_domain" => LookFor::Pattern(Pattern::EmailDomain(text.parse()?)),
        _ => return Ok(None),
    }))
}

/// Takes fields by their names only; a derived form would take them by their place in a list as well.
struct OneLine;

impl<'de> Visitor<'de> for OneLine {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an indicator or a revocation")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Fields<'de>, A::Error> {
        Fields::deserialize(MapAccessDeserializer::new(fields))
    }
}

/// A text that stays where it was read unless it has escapes; serde's own form for `Cow` always copies.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneText;

        impl<'de> Visitor<'de> for OneText {
            type Value = Cow<'de, str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Cow::Borrowed(text))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Cow::Owned(text.to_owned()))
            }
        }

        deserializer.deserialize_string(OneText).map(Text)
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;

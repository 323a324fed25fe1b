//! An index as it is used: opened without reading more than its resident part.

use std::net::IpAddr;

use super::filter::Filter;
use super::hash::Hasher;
use super::keys::{self, Key, Shape};
use super::layout::Layout;
use super::pages::Pages;
use super::parts::Parts;
use super::ranges::{self, Ranges};
use super::record::{self, Context, Entry, Record};
use super::{IndexError, Meta, ReadAt, Stored, Value};
use crate::bundle::{Line, Revocation};
use crate::indicator::LookFor;
use crate::text::bytes_from_hex;

/// One index, open. Look-ups go through [`super::Layers`].
pub struct Index {
    meta: Meta,
    store: Box<dyn ReadAt>,
    hasher: Hasher,
    shape: Shape,
    filters: Vec<Filter>,
    networks_v4: Ranges,
    networks_v6: Ranges,
    parts: Option<Parts>,
    pages: Pages,
    records: std::ops::Range<u64>,
}

impl Index {
    /// Opens an index: reads and checks its resident part, nothing else.
    ///
    /// # Errors
    /// When it is damaged, of another version, or cannot be read.
    pub fn open(store: Box<dyn ReadAt>) -> Result<Self, IndexError> {
        let layout = Layout::read(&store)?;
        let secret = bytes_from_hex(&layout.secret).ok_or_else(|| IndexError::damaged("its layout"))?;
        let filters = layout
            .filters
            .iter()
            .map(|section| section.read(&store, |blocks, read| Filter::read(blocks, read)));
        let filters = filters.collect::<Result<Vec<Filter>, IndexError>>()?;
        let ranges = |section: super::layout::Section| section.read(&store, Ranges::read);
        let [v4, v6] = layout.networks;
        let (networks_v4, networks_v6) = (ranges(v4)?, ranges(v6)?);
        let parts = layout.parts.read(&store, |count, read| {
            let mut bytes = vec![0; count];
            read(&mut bytes)?;
            Ok(bytes)
        })?;
        Ok(Self {
            hasher: Hasher::new(&secret),
            shape: layout.shape,
            filters,
            networks_v4,
            networks_v6,
            parts: Parts::read(&parts)?,
            pages: layout.pages,
            records: layout.records,
            meta: layout.meta,
            store,
        })
    }

    /// What it says about itself.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// Bytes of memory that it keeps.
    pub fn resident_bytes(&self) -> usize {
        let filters: usize = self.filters.iter().map(Filter::resident_bytes).sum();
        let parts = self.parts.as_ref().map_or(0, Parts::resident_bytes);
        filters + self.networks_v4.resident_bytes() + self.networks_v6.resident_bytes() + parts
    }

    /// Everything in it, in the order in which it was added.
    pub fn stored(&self) -> impl Iterator<Item = Result<Stored, IndexError>> + '_ {
        let mut at = self.records.start;
        let mut contexts = ContextCache { index: self, last: None };
        std::iter::from_fn(move || {
            while at < self.records.end {
                let read = record::read(&self.store, (at, &self.hasher), self.records.end);
                let next = read.and_then(|(record, next)| Ok((contexts.stored(record)?, next)));
                match next {
                    Ok((stored, next)) => {
                        at = next;
                        if let Some(stored) = stored {
                            return Some(Ok(stored));
                        }
                    }
                    Err(error) => {
                        at = self.records.end;
                        return Some(Err(error));
                    }
                }
            }
            None
        })
    }

    /// Whether a value may be in it; *no* is certain. Never touches the store.
    pub(super) fn may_hold(&self, value: Value<'_>) -> bool {
        let mut may = false;
        self.shape.each_key(&self.hasher, value, |key| may |= self.passes(key));
        match value {
            Value::Ip(address, _) => may || self.in_a_network(address),
            Value::UserAgent(agent) => may || self.may_hold_agent_part(agent.as_bytes()),
            _ => may,
        }
    }

    /// As [`Index::may_hold`] of a name in lower case, which need be none.
    #[inline]
    pub(super) fn may_hold_name(&self, name: &[u8]) -> bool {
        let mut may = false;
        self.shape.each_name(&self.hasher, name, &mut |key| may |= self.passes(key));
        may
    }

    /// Appends the keys of a name in lower case; bit N of `dots` tells of byte N when there are at most 64 bytes.
    #[inline]
    pub(super) fn keys_of_name(&self, name: &[u8], dots: u64, into: &mut Vec<Key>) {
        if name.len() > 64 {
            self.shape.each_name(&self.hasher, name, &mut |key| into.push(key));
        } else {
            self.shape.each_dotted(&self.hasher, (name, dots), |key| into.push(key));
        }
    }

    /// Appends the key of an address; gives whether a network may cover it.
    #[inline]
    pub(super) fn key_of_address(&self, address: IpAddr, into: &mut Vec<Key>) -> bool {
        self.shape.each_key(&self.hasher, Value::Ip(address, None), |key| into.push(key));
        self.in_a_network(address)
    }

    /// Whether one of these keys passes its filter. Without branches, so that all are fetched at the same time.
    pub(super) fn any_passes(&self, keys: &[Key]) -> bool {
        keys.iter().fold(false, |may, key| may | self.passes(*key))
    }

    /// Whether a user agent may be in it as a whole.
    pub(super) fn may_hold_whole_agent(&self, agent: &[u8]) -> bool {
        self.passes(keys::key_of_agent(&self.hasher, agent))
    }

    /// Whether a part of a user agent that is in it stands in a text.
    pub(super) fn may_hold_agent_part(&self, text: &[u8]) -> bool {
        self.parts.as_ref().is_some_and(|parts| parts.are_in(text))
    }

    /// Whether an indicator is on a name of one label.
    pub(super) fn has_single_labels(&self) -> bool {
        self.shape.has_single_labels()
    }

    #[inline]
    fn passes(&self, (class, hash): Key) -> bool {
        let filter = self.filters.get(class as usize);
        filter.is_some_and(|filter| filter.contains(hash, self.hasher.more(hash)))
    }

    fn in_a_network(&self, address: IpAddr) -> bool {
        let networks = if address.is_ipv4() { &self.networks_v4 } else { &self.networks_v6 };
        networks.contains(ranges::place(address))
    }

    /// All entries on a value in the order of the bundle, removals among them.
    pub(super) fn find(&self, value: Value<'_>) -> Result<Vec<Entry>, IndexError> {
        let mut offsets = Vec::new();
        let mut keys = Vec::new();
        self.shape.each_key(&self.hasher, value, |key| keys.push(key));
        match value {
            Value::Ip(address, _) if self.in_a_network(address) => {
                self.shape.each_network(&self.hasher, address, |key| keys.push(key));
            }
            Value::UserAgent(agent) => {
                let parts = self.parts.iter();
                offsets.extend(parts.flat_map(|parts| parts.on(agent)));
            }
            _ => {}
        }
        for key in keys {
            self.offsets_of(key, &mut offsets)?;
        }
        offsets.sort_unstable();
        offsets.dedup();
        let mut found = Vec::new();
        for offset in offsets {
            if let Record::Entry(entry) = self.record(offset)?
                && keys::covers(&entry.look_for, value)
            {
                found.push(entry);
            }
        }
        Ok(found)
    }

    /// The entry of this very indicator, or its removal.
    pub(super) fn find_entry(
        &self,
        look_for: &LookFor,
        id: &str,
        removed: bool,
    ) -> Result<Option<Entry>, IndexError> {
        let mut offsets = Vec::new();
        self.offsets_of(keys::key_of(&self.hasher, look_for), &mut offsets)?;
        for offset in offsets {
            match self.record(offset)? {
                Record::Entry(entry)
                    if entry.removed == removed && &*entry.id == id && entry.look_for == *look_for =>
                {
                    return Ok(Some(entry));
                }
                _ => {}
            }
        }
        Ok(None)
    }

    /// Whether a revocation is stored, or its removal.
    pub(super) fn holds_revocation(
        &self,
        wanted: &Revocation,
        wants_removed: bool,
    ) -> Result<bool, IndexError> {
        let any = if wants_removed { !self.meta.removed.is_empty() } else { self.meta.revocations > 0 };
        if !any {
            return Ok(false);
        }
        let mut offsets = Vec::new();
        self.offsets_of(keys::key_of_revocation(&self.hasher, wanted), &mut offsets)?;
        for offset in offsets {
            if let Record::Revocation { revocation, removed } = self.record(offset)?
                && revocation == *wanted
                && removed == wants_removed
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn offsets_of(&self, key: Key, offsets: &mut Vec<u64>) -> Result<(), IndexError> {
        if self.passes(key) {
            self.pages.look_up((&self.store, &self.hasher), key.1, |offset| offsets.push(offset))?;
        }
        Ok(())
    }

    fn record(&self, offset: u64) -> Result<Record, IndexError> {
        if !self.records.contains(&offset) {
            return Err(IndexError::damaged("an entry"));
        }
        Ok(record::read(&self.store, (offset, &self.hasher), self.records.end)?.0)
    }

    /// What an entry has in common with others.
    pub(super) fn context(&self, offset: u64) -> Result<Context, IndexError> {
        match self.record(offset)? {
            Record::Context(context) => Ok(context),
            _ => Err(IndexError::damaged("a context")),
        }
    }
}

/// The context that was needed last: neighbours often have the same.
struct ContextCache<'a> {
    index: &'a Index,
    last: Option<(u64, Context)>,
}

impl ContextCache<'_> {
    fn stored(&mut self, record: Record) -> Result<Option<Stored>, IndexError> {
        let (line, removed) = match record {
            Record::Context(_) => return Ok(None),
            Record::Revocation { revocation, removed } => (Line::Revocation(revocation), removed),
            Record::Entry(entry) => {
                let known = self.last.as_ref().filter(|(offset, _)| *offset == entry.context);
                let context = match known {
                    Some((_, context)) => context.clone(),
                    None => {
                        let context = self.index.context(entry.context)?;
                        self.last = Some((entry.context, context.clone()));
                        context
                    }
                };
                (Line::Indicator(entry.indicator(context)), entry.removed)
            }
        };
        Ok(Some(if removed { Stored::Removed(line) } else { Stored::Line(line) }))
    }
}

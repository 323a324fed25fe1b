//! Builds an index within a memory limit: records as they come, then pages and filters in the order of the hashes.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use super::filter::Filter;
use super::hash::Hasher;
use super::keys::{self, CLASSES, Class, Key, Shape};
use super::layout::{FORMAT_BYTES, Layout, Position, Section, header};
use super::pages::{self, ENTRIES_PER_VALUE_MAX, OFFSET_MAX, PAGE_BYTES, PageWriter, Pages};
use super::ranges::{RangeBuilder, range_of};
use super::record::{self, Context};
use super::sort::Sorter;
use super::{HELD_EXAMPLES_MAX, IndexError, Meta, Plan, Sanity, Storage, USER_AGENT_PARTS_MAX};

use crate::absurd;
use crate::bundle::{Line, Revocation, SetHash};
use crate::indicator::{Action, Addresses, Indicator, LookFor, Pattern};

/// Contexts remembered, so that each is stored once; of more, some are stored again.
const CONTEXTS_MAX: usize = 4096;
/// Lines that one index holds.
const LINES_MAX: u64 = 50_000_000;
/// Written at once.
const BUFFER_BYTES: usize = 64 << 10;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the index says about itself.
    pub meta: Meta,
    /// Bytes of the index.
    pub bytes: u64,
}

/// Builds one index. `out` becomes the index; `scratch` is needed while it is built only, and may go away afterwards.
pub struct Builder<O: Storage, S: Storage> {
    out: Out<O>,
    sorter: Sorter<S>,
    hasher: Hasher,
    secret: [u8; 32],
    contexts: HashMap<Context, u64>,
    buffer: Vec<u8>,
    shape: Shape,
    meta: Meta,
    /// Keys of each class.
    keys: [u64; CLASSES],
    entries: u64,
    networks: [RangeBuilder; 2],
    parts: Vec<u8>,
    parts_count: u64,
    /// How often each part of a user agent came.
    parts_alike: HashMap<Box<str>, u32>,
    /// The kinds that came, each ranked by its place here after [`FIRST_KIND`].
    kinds: Vec<&'static str>,
}

/// Of too many entries on one value those of the lowest ranks are kept: removals and revocations above all, for what
/// they take out would be in force again, then the allow-list.
const REMOVAL: u8 = 0;
const ALLOWED: u8 = 1;
const FIRST_KIND: u8 = 2;

/// What stands beside an offset while entries are sorted.
#[derive(Clone, Copy)]
struct Target {
    rank: u8,
    offset: u64,
    class: u8,
    /// Only for the filter.
    marker: bool,
}

impl Target {
    fn pack(self) -> u64 {
        u64::from(self.rank) << 48 | self.offset << 8 | u64::from(self.marker) << 7 | u64::from(self.class)
    }

    fn unpack(packed: u64) -> Self {
        let [low, .., rank, _] = packed.to_le_bytes();
        let offset = packed >> 8 & OFFSET_MAX;
        Self { rank, offset, class: low & 0x7f, marker: low & 0x80 != 0 }
    }
}

/// Counts what was written.
struct Out<O> {
    inner: O,
    at: u64,
    buffer: Vec<u8>,
}

impl<O: Storage> Out<O> {
    fn pad_to(&mut self, bytes: usize) -> io::Result<()> {
        let over = usize::try_from(self.at % bytes as u64).unwrap_or_default();
        if over == 0 { Ok(()) } else { self.write_all(&vec![0; bytes - over]) }
    }
}

impl<O> Position for Out<O> {
    fn position(&self) -> u64 {
        self.at
    }
}

impl<O: Storage> Write for Out<O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        self.at += bytes.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.inner.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.write_all(&self.buffer)?;
        self.buffer.clear();
        self.inner.flush()
    }
}

impl<O: Storage, S: Storage> Builder<O, S> {
    /// Begins an index in `out`, which must be empty, as must `scratch`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(plan: Plan, out: O, scratch: S) -> Result<Self, IndexError> {
        let mut out = Out { inner: out, at: 0, buffer: Vec::with_capacity(2 * BUFFER_BYTES) };
        out.write_all(&header())?;
        let meta = Meta {
            serial: plan.serial,
            set: SetHash::default(),
            below: plan.below,
            source: plan.source,
            sanity: plan.sanity,
            kinds: BTreeMap::new(),
            allowed: 0,
            revocations: 0,
            removed: BTreeMap::new(),
            held: BTreeMap::new(),
        };
        Ok(Self {
            out,
            sorter: Sorter::new(scratch),
            hasher: Hasher::new(&plan.secret),
            secret: plan.secret,
            contexts: HashMap::new(),
            buffer: Vec::new(),
            shape: Shape::default(),
            meta,
            keys: [0; CLASSES],
            entries: 0,
            networks: <[RangeBuilder; 2]>::default(),
            parts: Vec::new(),
            parts_count: 0,
            parts_alike: HashMap::new(),
            kinds: Vec::new(),
        })
    }

    /// Takes one line of a bundle. An absurd indicator is held back and counted, as the plan says.
    ///
    /// # Errors
    /// When it cannot be written, or there are too many.
    pub fn add(&mut self, line: &Line) -> Result<(), IndexError> {
        match line {
            Line::Indicator(indicator) => self.add_indicator(indicator),
            Line::Revocation(revocation) => {
                self.meta.revocations += 1;
                self.put_revocation(revocation, false)
            }
        }
    }

    fn add_indicator(&mut self, indicator: &Indicator) -> Result<(), IndexError> {
        if let Some(reason) = self.meta.sanity.holds(indicator) {
            return self.hold(&reason, indicator);
        }
        if let LookFor::Pattern(Pattern::UserAgentPart(_)) = indicator.look_for
            && self.parts_count >= USER_AGENT_PARTS_MAX
        {
            let reason = format!("more than {USER_AGENT_PARTS_MAX} parts of user agents");
            return self.hold(&reason, indicator);
        }
        if let LookFor::Pattern(Pattern::UserAgentPart(part)) = &indicator.look_for
            && self.parts_alike.get(part.as_str()).is_some_and(|alike| *alike >= ENTRIES_PER_VALUE_MAX)
        {
            return self.hold(&crowded(), indicator);
        }
        match indicator.action {
            Action::Detect => *self.meta.kinds.entry(indicator.look_for.kind().to_owned()).or_default() += 1,
            Action::Allow => self.meta.allowed += 1,
        }
        self.put(indicator, false)
    }

    fn hold(&mut self, reason: &str, indicator: &Indicator) -> Result<(), IndexError> {
        let held = self.meta.held.entry(reason.to_owned()).or_default();
        held.count += 1;
        if held.examples.len() < HELD_EXAMPLES_MAX {
            held.examples.push(indicator.look_for.to_string());
        }
        Ok(())
    }

    /// Takes a line of the layer below out of the set.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_removed(&mut self, line: &Line) -> Result<(), IndexError> {
        *self.meta.removed.entry(removed_kind(line).to_owned()).or_default() += 1;
        match line {
            Line::Indicator(indicator) => self.put(indicator, true),
            Line::Revocation(revocation) => self.put_revocation(revocation, true),
        }
    }

    fn put(&mut self, indicator: &Indicator, removed: bool) -> Result<(), IndexError> {
        let context = self.context(Context::of(indicator))?;
        let offset = self.out.at;
        self.buffer.clear();
        record::write_entry(&mut self.buffer, (offset, &self.hasher), indicator, (context, removed))?;
        self.out.write_all(&self.buffer)?;
        let look_for = &indicator.look_for;
        self.shape.note(look_for);
        let rank = self.rank(indicator, removed);
        match look_for {
            LookFor::Addresses(Addresses::IpPort(endpoint)) => {
                let address = LookFor::Observable(crate::Observable::Ip(endpoint.ip()));
                let target = Target { rank, offset, class: 0, marker: true };
                self.sort_in(keys::key_of(&self.hasher, &address), target)?;
            }
            LookFor::Addresses(Addresses::Network(network)) => {
                let [v4, v6] = &mut self.networks;
                if network.addr().is_ipv4() { v4 } else { v6 }.push(range_of(network));
            }
            LookFor::Pattern(Pattern::UserAgentPart(part)) => {
                self.parts_count += 1;
                *self.parts_alike.entry(part.as_str().into()).or_default() += 1;
                self.parts.extend_from_slice(&offset.to_le_bytes());
                self.parts
                    .extend_from_slice(&u16::try_from(part.as_str().len()).unwrap_or_default().to_le_bytes());
                self.parts.extend_from_slice(part.as_str().as_bytes());
            }
            _ => {}
        }
        let target = Target { rank, offset, class: 0, marker: false };
        self.sort_in(keys::key_of(&self.hasher, look_for), target)
    }

    fn rank(&mut self, indicator: &Indicator, removed: bool) -> u8 {
        if removed {
            return REMOVAL;
        }
        if indicator.action == Action::Allow {
            return ALLOWED;
        }
        let kind = indicator.look_for.kind();
        let at = self.kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            self.kinds.push(kind);
            self.kinds.len() - 1
        });
        FIRST_KIND.saturating_add(u8::try_from(at).unwrap_or(u8::MAX))
    }

    fn put_revocation(&mut self, revocation: &Revocation, removed: bool) -> Result<(), IndexError> {
        let offset = self.out.at;
        self.buffer.clear();
        record::write_revocation(&mut self.buffer, (offset, &self.hasher), revocation, removed)?;
        self.out.write_all(&self.buffer)?;
        let target = Target { rank: REMOVAL, offset, class: 0, marker: false };
        self.sort_in(keys::key_of_revocation(&self.hasher, revocation), target)
    }

    /// Where a context is stored.
    fn context(&mut self, context: Context) -> Result<u64, IndexError> {
        if let Some(offset) = self.contexts.get(&context) {
            return Ok(*offset);
        }
        let offset = self.out.at;
        self.buffer.clear();
        record::write_context(&mut self.buffer, (offset, &self.hasher), &context)?;
        self.out.write_all(&self.buffer)?;
        if self.contexts.len() >= CONTEXTS_MAX {
            self.contexts.clear();
        }
        self.contexts.insert(context, offset);
        Ok(offset)
    }

    fn sort_in(&mut self, (class, hash): Key, target: Target) -> Result<(), IndexError> {
        self.entries += u64::from(!target.marker);
        if self.entries > LINES_MAX || target.offset > OFFSET_MAX {
            return Err(IndexError::TooMany { limit: LINES_MAX });
        }
        let class = class as u8;
        if let Some(keys) = self.keys.get_mut(usize::from(class)) {
            *keys += 1;
        }
        self.sorter.push((hash, Target { class, ..target }.pack()))
    }

    /// Arranges what was added; `set` is what the whole set, layers below included, comes to. Gives `out` back.
    ///
    /// # Errors
    /// When it cannot be written or read back.
    pub fn finish(self, set: SetHash) -> Result<(Summary, O), IndexError> {
        let Self {
            mut out,
            sorter,
            hasher,
            secret,
            contexts,
            shape,
            mut meta,
            keys,
            entries,
            networks,
            parts,
            kinds,
            ..
        } = self;
        drop(contexts);
        meta.set = set;
        let records_end = out.at;
        out.pad_to(PAGE_BYTES)?;
        let from = out.at;
        let mut filters = keys.map(Filter::for_keys);
        let homes = pages::pages_for(entries);
        let mut table = Table {
            out: &mut out,
            writer: PageWriter::new(homes, hasher.clone()),
            last: None,
            alike: 0,
            crowded: BTreeMap::new(),
        };
        sorter.finish(|(hash, packed)| {
            let target = Target::unpack(packed);
            if let Some(filter) = filters.get_mut(usize::from(target.class)) {
                filter.insert(hash, hasher.more(hash));
            }
            if target.marker { Ok(()) } else { table.put(hash, target) }
        })?;
        let crowded = table.crowded;
        let (all, reach) = table.writer.finish(table.out)?;
        meta.take_out(&crowded, &kinds);
        let mut write_filter =
            |filter: &Filter| Section::write(&mut out, filter.blocks(), |into| filter.write(into));
        let filters = filters.iter().map(&mut write_filter).collect::<io::Result<Vec<Section>>>()?;
        let mut write_ranges = |ranges: RangeBuilder| {
            let ranges = ranges.finish();
            Section::write(&mut out, ranges.len() as u64, |into| {
                ranges.iter().try_for_each(|(first, last)| {
                    into.write_all(&first.to_le_bytes())?;
                    into.write_all(&last.to_le_bytes())
                })
            })
        };
        let [v4, v6] = networks;
        let networks = [write_ranges(v4)?, write_ranges(v6)?];
        let parts = Section::write(&mut out, parts.len() as u64, |into| into.write_all(&parts))?;
        let layout = Layout {
            secret: crate::text::Hex(&secret).to_string(),
            records: FORMAT_BYTES as u64..records_end,
            pages: Pages { from, homes, all, reach },
            filters,
            networks,
            parts,
            shape,
            meta,
        };
        layout.write(&mut out)?;
        out.flush()?;
        Ok((Summary { meta: layout.meta, bytes: out.at }, out.inner))
    }
}

/// The pages, while they are written.
struct Table<'a, O> {
    out: &'a mut Out<O>,
    writer: PageWriter,
    last: Option<u64>,
    /// How many entries with the last hash came.
    alike: u32,
    /// Entries beyond [`ENTRIES_PER_VALUE_MAX`], by their rank.
    crowded: BTreeMap<u8, u64>,
}

impl<O: Storage> Table<'_, O> {
    fn put(&mut self, hash: u64, target: Target) -> Result<(), IndexError> {
        self.alike = if self.last == Some(hash) { self.alike + 1 } else { 1 };
        self.last = Some(hash);
        if self.alike > ENTRIES_PER_VALUE_MAX {
            *self.crowded.entry(target.rank).or_default() += 1;
            return Ok(());
        }
        self.writer.push(hash, target.offset, &mut *self.out)
    }
}

/// Why an indicator is held back that many others on the same value came before.
fn crowded() -> String {
    format!("more than {ENTRIES_PER_VALUE_MAX} indicators on one value")
}

impl Meta {
    /// Counts entries as held back that were counted as looked for.
    fn take_out(&mut self, entries: &BTreeMap<u8, u64>, kinds: &[&str]) {
        for (rank, count) in entries {
            self.held.entry(crowded()).or_default().count += count;
            match rank.checked_sub(FIRST_KIND).and_then(|at| kinds.get(usize::from(at))) {
                Some(kind) => {
                    if let Some(all) = self.kinds.get_mut(*kind) {
                        *all = all.saturating_sub(*count);
                    }
                }
                None => self.allowed = self.allowed.saturating_sub(*count),
            }
        }
    }
}

/// Under which word a removed line is counted.
fn removed_kind(line: &Line) -> &str {
    match line {
        Line::Indicator(indicator) if indicator.action == Action::Allow => "allow",
        Line::Indicator(indicator) => indicator.look_for.kind(),
        Line::Revocation(_) => "revocation",
    }
}

impl Sanity {
    /// Why an indicator is held back.
    pub(crate) fn holds(&self, indicator: &Indicator) -> Option<String> {
        match self {
            Self::TakeAll => None,
            // What silences may be as wide as it likes: the town's own networks are what is silenced most.
            Self::HoldAbsurd { .. } if indicator.action == Action::Allow => None,
            Self::HoldAbsurd { own } => {
                absurd::reason(&indicator.look_for, own).map(|reason| reason.to_string())
            }
        }
    }
}

const _: () = assert!(Class::Texts as usize + 1 == CLASSES);

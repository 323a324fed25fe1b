//! The indicators in force: a full index, and above it at most one of the changes since. Decides what counts.
//!
//! Of the indicators on one value the most specific comes first: more labels, longer prefixes, more segments; what
//! stands for one value only before all others; among equals the order of the bundle. An entry of the allow-list
//! silences those that are no more specific than itself.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::keys::{Key, specificity};
use super::record::Entry;
use super::{Index, IndexError, Stored, Value};
use crate::bundle::{Line, Revocation, Serial, SetHash};
use crate::indicator::{Action, Indicator};
use crate::time::Timestamp;

/// Indicators in force. Cheap to clone.
#[derive(Clone)]
pub struct Layers {
    base: Arc<Index>,
    overlay: Option<Arc<Index>>,
}

/// What a look-up found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matches {
    /// Indicators that count, the most specific first.
    pub indicators: Vec<Match>,
    /// Indicators that an entry of the allow-list silenced.
    pub silenced: u32,
    /// Indicators that were revoked.
    pub revoked: u32,
}

/// An indicator that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Its identifier.
    pub id: Box<str>,
}

/// An indicator on a value, and whether it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The indicator, or entry of the allow-list.
    pub indicator: Indicator,
    /// Whether it counts.
    pub standing: Standing,
}

/// Whether an indicator counts at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A sighting of the value is a hit; or the entry of the allow-list silences.
    Counts,
    /// Before its `valid_from`.
    NotYetValid,
    /// At or after its `valid_until`.
    Expired,
    /// Revoked, itself or its alert.
    Revoked,
    /// Silenced by the entry of the allow-list with this identifier.
    Silenced {
        /// Identifier of the entry.
        by: String,
    },
}

/// An entry with the layer that it lies in.
struct Placed {
    entry: Entry,
    specificity: u32,
    index: Arc<Index>,
    standing: Standing,
}

/// Values that are asked for together: the processor fetches what answers for one while it fetches for the others.
#[derive(Default)]
pub struct Asked {
    base: Vec<Key>,
    overlay: Vec<Key>,
}

impl Asked {
    /// Forgets all.
    pub fn clear(&mut self) {
        self.base.clear();
        self.overlay.clear();
    }
}

impl Layers {
    /// A full index, and the changes to it.
    ///
    /// # Errors
    /// When the changes are to another set.
    pub fn new(base: Arc<Index>, overlay: Option<Arc<Index>>) -> Result<Self, IndexError> {
        if base.meta().below.is_some() {
            return Err(IndexError::damaged("changes without what they change"));
        }
        let fits = |overlay: &Arc<Index>| overlay.meta().below == Some(base.meta().set);
        if overlay.as_ref().is_some_and(|overlay| !fits(overlay)) {
            return Err(IndexError::damaged("changes to another set"));
        }
        Ok(Self { base, overlay })
    }

    /// The full index.
    pub fn base(&self) -> &Arc<Index> {
        &self.base
    }

    /// The changes above it.
    pub fn overlay(&self) -> Option<&Arc<Index>> {
        self.overlay.as_ref()
    }

    /// From the top down.
    fn each(&self) -> impl Iterator<Item = &Arc<Index>> {
        self.overlay.iter().chain([&self.base])
    }

    /// Number of the bundle in force.
    pub fn serial(&self) -> Serial {
        self.overlay.as_ref().unwrap_or(&self.base).meta().serial
    }

    /// The set in force.
    pub fn set(&self) -> SetHash {
        self.overlay.as_ref().unwrap_or(&self.base).meta().set
    }

    /// Indicators to look for by kind; held-back ones are not among them.
    pub fn kinds(&self) -> BTreeMap<String, u64> {
        let mut kinds = self.base.meta().kinds.clone();
        if let Some(overlay) = &self.overlay {
            for (kind, added) in &overlay.meta().kinds {
                *kinds.entry(kind.clone()).or_default() += added;
            }
            for (kind, removed) in &overlay.meta().removed {
                if let Some(count) = kinds.get_mut(kind) {
                    *count = count.saturating_sub(*removed);
                }
            }
            kinds.retain(|_, count| *count > 0);
        }
        kinds
    }

    /// Indicators to look for.
    pub fn indicators(&self) -> u64 {
        self.kinds().values().sum()
    }

    /// Bytes of memory that the layers keep.
    pub fn resident_bytes(&self) -> usize {
        self.each().map(|index| index.resident_bytes()).sum()
    }

    /// Whether an indicator may be on this value; *no* is certain. Never touches the store.
    pub fn may_hold(&self, value: Value<'_>) -> bool {
        self.each().any(|index| index.may_hold(value))
    }

    /// As [`Layers::may_hold`] of a domain name whose letters are lowered. Bytes that are no name may be asked too.
    #[inline]
    pub fn may_hold_name(&self, name: &[u8]) -> bool {
        self.each().any(|index| index.may_hold_name(name))
    }

    /// Adds a name as [`Layers::may_hold_name`] takes one to those that are asked for together. Bit N of `dots` says
    /// that byte N is a dot; a name of more than 64 bytes is looked through.
    #[inline]
    pub fn ask_name(&self, name: &[u8], dots: u64, asked: &mut Asked) {
        self.base.keys_of_name(name, dots, &mut asked.base);
        if let Some(overlay) = &self.overlay {
            overlay.keys_of_name(name, dots, &mut asked.overlay);
        }
    }

    /// Adds an address to those that are asked for together; gives at once whether a network may cover it.
    #[inline]
    pub fn ask_address(&self, address: IpAddr, asked: &mut Asked) -> bool {
        let in_overlay = |overlay: &Arc<Index>| overlay.key_of_address(address, &mut asked.overlay);
        self.overlay.as_ref().is_some_and(in_overlay) | self.base.key_of_address(address, &mut asked.base)
    }

    /// Whether an indicator may be on any of the values that were asked for.
    pub fn may_hold_any(&self, asked: &Asked) -> bool {
        self.base.any_passes(&asked.base)
            || self.overlay.as_ref().is_some_and(|overlay| overlay.any_passes(&asked.overlay))
    }

    /// As [`Layers::may_hold`] of a trimmed user agent, but for parts of user agents.
    pub fn may_hold_whole_agent(&self, agent: &[u8]) -> bool {
        self.each().any(|index| index.may_hold_whole_agent(agent))
    }

    /// Whether a part of user agents that is looked for stands anywhere in a text.
    pub fn may_hold_agent_part(&self, text: &[u8]) -> bool {
        self.each().any(|index| index.may_hold_agent_part(text))
    }

    /// Whether an indicator may be on names of one label, which nothing in a text tells from other words.
    pub fn has_single_labels(&self) -> bool {
        self.each().any(|index| index.has_single_labels())
    }

    /// The indicators that count for a value at a time.
    ///
    /// # Errors
    /// When the store is damaged or cannot be read: then nobody knows.
    pub fn look_up(&self, value: Value<'_>, at: Timestamp) -> Result<Matches, IndexError> {
        let mut matches = Matches::default();
        if !self.may_hold(value) {
            return Ok(matches);
        }
        for placed in self.placed(value, at)? {
            match placed.standing {
                _ if placed.entry.action == Action::Allow => {}
                Standing::Counts => matches.indicators.push(Match { id: placed.entry.id }),
                Standing::Silenced { .. } => matches.silenced += 1,
                Standing::Revoked => matches.revoked += 1,
                Standing::NotYetValid | Standing::Expired => {}
            }
        }
        Ok(matches)
    }

    /// All indicators on a value and entries of the allow-list, and whether each counts: for people who ask why.
    ///
    /// # Errors
    /// As [`Layers::look_up`].
    pub fn judge(&self, value: Value<'_>, at: Timestamp) -> Result<Vec<Judged>, IndexError> {
        let placed = self.placed(value, at)?.into_iter();
        let judged = placed.map(|Placed { entry, index, standing, .. }| {
            Ok(Judged { indicator: entry.indicator(index.context(entry.context)?), standing })
        });
        judged.collect()
    }

    /// What lies on a value, the most specific first, with its standing.
    fn placed(&self, value: Value<'_>, at: Timestamp) -> Result<Vec<Placed>, IndexError> {
        let mut removed: HashSet<(String, Box<str>)> = HashSet::new();
        let mut found: Vec<Placed> = Vec::new();
        for index in self.each() {
            let key =
                |entry: &Entry| (format!("{}:{}", entry.look_for.kind(), entry.look_for), entry.id.clone());
            let (gone, mut here): (Vec<Entry>, Vec<Entry>) =
                index.find(value)?.into_iter().partition(|entry| entry.removed);
            here.retain(|entry| removed.is_empty() || !removed.contains(&key(entry)));
            removed.extend(gone.iter().map(key));
            // The layer below comes first: what it holds is older.
            let placed = here.into_iter().map(|entry| Placed {
                specificity: specificity(&entry.look_for),
                standing: standing(&entry, at),
                index: Arc::clone(index),
                entry,
            });
            found.splice(0..0, placed);
        }
        found.sort_by_key(|placed| std::cmp::Reverse(placed.specificity));
        for placed in &mut found {
            if placed.standing == Standing::Counts && self.is_revoked(placed)? {
                placed.standing = Standing::Revoked;
            }
        }
        silence(&mut found);
        Ok(found)
    }

    fn is_revoked(&self, placed: &Placed) -> Result<bool, IndexError> {
        if self.each().all(|index| index.meta().revocations == 0) {
            return Ok(false);
        }
        if self.is_in_force(&Revocation::Indicator(placed.entry.id.to_string()))? {
            return Ok(true);
        }
        let alert = placed.index.context(placed.entry.context)?.alert;
        Ok(!alert.is_empty() && self.is_in_force(&Revocation::Alert(alert))?)
    }

    fn is_in_force(&self, revocation: &Revocation) -> Result<bool, IndexError> {
        for index in self.each() {
            if index.holds_revocation(revocation, false)? {
                return Ok(true);
            }
            if index.holds_revocation(revocation, true)? {
                return Ok(false);
            }
        }
        Ok(false)
    }

    /// Whether this line is in the set.
    ///
    /// # Errors
    /// As [`Layers::look_up`].
    pub(super) fn holds(&self, line: &Line) -> Result<bool, IndexError> {
        match line {
            Line::Revocation(revocation) => self.is_in_force(revocation),
            Line::Indicator(indicator) => {
                for index in self.each() {
                    let find = |removed| index.find_entry(&indicator.look_for, &indicator.id, removed);
                    if find(false)?.is_some() {
                        return Ok(true);
                    }
                    if find(true)?.is_some() {
                        return Ok(false);
                    }
                }
                Ok(false)
            }
        }
    }

    /// Everything in force, line by line: the base without what was removed, then what was added. What was removed is
    /// kept in memory meanwhile.
    ///
    /// # Errors
    /// When the changes cannot be read; the iterator when the base cannot.
    pub fn stored(&self) -> Result<impl Iterator<Item = Result<Line, IndexError>> + '_, IndexError> {
        let mut removed = HashSet::new();
        for stored in self.overlay.iter().flat_map(|overlay| overlay.stored()) {
            if let Stored::Removed(line) = stored? {
                removed.insert(identity(&line));
            }
        }
        let below = self.base.stored().filter(move |stored| {
            !matches!(stored, Ok(Stored::Line(line)) if !removed.is_empty() && removed.contains(&identity(line)))
        });
        let above = self.overlay.iter().flat_map(|overlay| overlay.stored());
        Ok(below.chain(above).filter_map(|stored| match stored {
            Ok(Stored::Line(line)) => Some(Ok(line)),
            Ok(Stored::Removed(_)) => None,
            Err(error) => Some(Err(error)),
        }))
    }
}

/// What makes a line the same line, whatever else changes.
pub(super) fn identity(line: &Line) -> (String, String) {
    match line {
        Line::Indicator(indicator) => {
            (format!("{}:{}", indicator.look_for.kind(), indicator.look_for), indicator.id.clone())
        }
        Line::Revocation(Revocation::Alert(alert)) => ("revoked alert".to_owned(), alert.clone()),
        Line::Revocation(Revocation::Indicator(id)) => ("revoked indicator".to_owned(), id.clone()),
    }
}

fn standing(entry: &Entry, at: Timestamp) -> Standing {
    if entry.valid_from.is_some_and(|from| at < from) {
        return Standing::NotYetValid;
    }
    if entry.valid_until.is_some_and(|until| until <= at) {
        return Standing::Expired;
    }
    Standing::Counts
}

/// Lets the entries of the allow-list silence what is no more specific.
fn silence(found: &mut [Placed]) {
    let counts =
        |placed: &&Placed| placed.standing == Standing::Counts && placed.entry.action == Action::Allow;
    // The first is the most specific: what it does not silence, none does.
    let Some(allow) = found.iter().find(counts) else { return };
    let (by, reach) = (allow.entry.id.to_string(), allow.specificity);
    for placed in found.iter_mut() {
        let silenced = placed.entry.action == Action::Detect && placed.specificity <= reach;
        if silenced && placed.standing == Standing::Counts {
            placed.standing = Standing::Silenced { by: by.clone() };
        }
    }
}

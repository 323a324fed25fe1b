//! The changes since a full index, folded into one small index above it.

use std::collections::BTreeMap;

use super::layers::identity;
use super::{Builder, IndexError, Layers, Plan, Sanity, Storage, Stored};
use crate::bundle::{Line, SetHash};
use crate::delta::{DeltaError, DeltaReader};

/// Changes that are kept above a base: about as many as fit in 60 MB of memory while they are folded.
pub const CHANGES_MAX: usize = 100_000;

/// All changes to a base, in memory until they are written as an index.
#[derive(Debug)]
pub struct Overlay {
    set: SetHash,
    sanity: Sanity,
    changes: BTreeMap<(String, String), Change>,
}

/// What happens to one line.
#[derive(Debug, Default)]
struct Change {
    /// What the base holds and the set does not.
    removed: Option<Line>,
    /// What the set holds and the base does not.
    added: Option<Line>,
}

/// Why a delta is not applied. The full bundle helps.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The delta cannot be read.
    #[error(transparent)]
    Delta(#[from] DeltaError),
    /// The index cannot be read.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// It is for another set than the one in force.
    #[error("the delta does not fit the set in force; the full bundle is needed")]
    Base,
    /// It takes out what is not there, adds what is there, or comes to another set than it says.
    #[error("the delta does not come to the set that it names; the full bundle is needed")]
    Set,
    /// More changes than are kept above a base.
    #[error("more than {CHANGES_MAX} changes above one full bundle; the full bundle is needed")]
    TooMany,
}

impl Overlay {
    /// The changes that are in force already.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(layers: &Layers) -> Result<Self, IndexError> {
        let mut changes: BTreeMap<_, Change> = BTreeMap::new();
        for stored in layers.overlay().into_iter().flat_map(|overlay| overlay.stored()) {
            match stored? {
                Stored::Line(line) => {
                    let key = identity(&line);
                    changes.entry(key).or_default().added = Some(line);
                }
                Stored::Removed(line) => {
                    let key = identity(&line);
                    changes.entry(key).or_default().removed = Some(line);
                }
            }
        }
        Ok(Self { set: layers.set(), sanity: layers.base().meta().sanity.clone(), changes })
    }

    /// Adds the changes of a delta to the base of `layers`.
    ///
    /// # Errors
    /// When it does not fit; the overlay must be thrown away then.
    pub fn apply(&mut self, layers: &Layers, delta: &mut DeltaReader<'_>) -> Result<(), OverlayError> {
        if delta.header().base_set != self.set {
            return Err(OverlayError::Base);
        }
        let wanted = delta.header().set;
        let base = Layers::new(layers.base().clone(), None)?;
        let mut added = Vec::new();
        for change in delta {
            let change = change?;
            if change.added {
                self.set.add(&change.raw);
                added.extend(change.line);
            } else {
                self.set.remove(&change.raw);
                if let Some(line) = change.line {
                    self.remove(&base, line)?;
                }
            }
            if self.changes.len() + added.len() > CHANGES_MAX {
                return Err(OverlayError::TooMany);
            }
        }
        // A line that changes goes and comes, in either order.
        for line in added {
            self.add(&base, line)?;
        }
        if self.set == wanted { Ok(()) } else { Err(OverlayError::Set) }
    }

    fn remove(&mut self, base: &Layers, line: Line) -> Result<(), OverlayError> {
        let is_held = matches!(&line, Line::Indicator(indicator) if self.sanity.holds(indicator).is_some());
        if is_held {
            return Ok(()); // it was never in force
        }
        let key = identity(&line);
        let change = self.changes.entry(key.clone()).or_default();
        if change.added.take().is_some() {
            if change.removed.is_none() {
                self.changes.remove(&key);
            }
            return Ok(());
        }
        if change.removed.is_some() || !base.holds(&line)? {
            return Err(OverlayError::Set);
        }
        change.removed = Some(line);
        Ok(())
    }

    fn add(&mut self, base: &Layers, line: Line) -> Result<(), OverlayError> {
        let change = self.changes.entry(identity(&line)).or_default();
        if change.added.is_some() || (change.removed.is_none() && base.holds(&line)?) {
            return Err(OverlayError::Set);
        }
        change.added = Some(line);
        Ok(())
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        self.changes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The set that base and changes come to.
    pub fn set(&self) -> SetHash {
        self.set
    }

    /// The plan of an index of these changes, given what else it should say.
    pub fn plan(&self, layers: &Layers, plan: Plan) -> Plan {
        Plan { sanity: self.sanity.clone(), below: Some(layers.base().meta().set), ..plan }
    }

    /// Writes the changes; the caller finishes the builder with [`Overlay::set`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write<O: Storage, S: Storage>(&self, into: &mut Builder<O, S>) -> Result<(), IndexError> {
        for change in self.changes.values() {
            change.removed.iter().try_for_each(|line| into.add_removed(line))?;
            change.added.iter().try_for_each(|line| into.add(line))?;
        }
        Ok(())
    }
}

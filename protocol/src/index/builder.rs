//! Builds an index within a memory limit: records as they come, then pages and filters in the order of the hashes.

use super::{IndexError, Plan, Storage};
use crate::bundle::{Line, SetHash};
use crate::indicator::Indicator;

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// What the index says about itself.
    pub meta: super::Meta,
    /// Bytes of the index.
    pub bytes: u64,
}

/// Builds one index. `out` becomes the index; `scratch` is needed while it is built only, and may go away afterwards.
pub struct Builder<O: Storage, S: Storage> {
    plan: Plan,
    out: O,
    scratch: S,
}

impl<O: Storage, S: Storage> Builder<O, S> {
    /// Begins an index in `out`, which must be empty, as must `scratch`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(plan: Plan, out: O, scratch: S) -> Result<Self, IndexError> {
        Ok(Self { plan, out, scratch })
    }

    /// Takes one line of a bundle. An absurd indicator is held back and counted, as the plan says.
    ///
    /// # Errors
    /// When it cannot be written, or there are too many.
    pub fn add(&mut self, line: &Line) -> Result<(), IndexError> {
        Ok(())
    }

    /// Takes an indicator of the layer below out of the set.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_removed(&mut self, indicator: &Indicator) -> Result<(), IndexError> {
        Ok(())
    }

    /// Arranges what was added; `set` is what the whole set, layers below included, comes to. Gives `out` back.
    ///
    /// # Errors
    /// When it cannot be written or read back.
    pub fn finish(self, set: SetHash) -> Result<(Summary, O), IndexError> {
        Err(IndexError::damaged("not written yet"))
    }
}

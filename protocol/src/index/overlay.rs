//! The changes since a full index, folded into one small index above it.

use super::{Builder, IndexError, Layers, Storage};
use crate::bundle::SetHash;
use crate::delta::{DeltaError, DeltaReader};

/// All changes to a base, in memory until they are written as an index.
#[derive(Debug)]
pub struct Overlay {
    set: SetHash,
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
    /// It takes out what is not there, or comes to another set than it says.
    #[error("the delta does not come to the set that it names; the full bundle is needed")]
    Set,
    /// More changes than are kept above a base.
    #[error("more than {limit} changes above one full index; the full bundle is needed")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

impl Overlay {
    /// The changes that are in force already.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn of(layers: &Layers) -> Result<Self, IndexError> {
        Ok(Self { set: layers.set() })
    }

    /// Adds the changes of a delta.
    ///
    /// # Errors
    /// When it does not fit; the overlay must be thrown away then.
    pub fn apply(&mut self, layers: &Layers, delta: &mut DeltaReader<'_>) -> Result<(), OverlayError> {
        Ok(())
    }

    /// How many changes there are.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set that base and changes come to.
    pub fn set(&self) -> SetHash {
        self.set
    }

    /// Writes the changes; the caller finishes the builder with [`Overlay::set`].
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write<O: Storage, S: Storage>(&self, into: &mut Builder<O, S>) -> Result<(), IndexError> {
        Ok(())
    }
}

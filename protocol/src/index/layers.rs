//! The indicators in force: a full index, and above it at most one of the changes since. Decides what counts.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Index, IndexError, Value};
use crate::bundle::{Serial, SetHash};
use crate::indicator::Indicator;
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

impl Layers {
    /// A full index, and the changes to it.
    pub fn new(base: Arc<Index>, overlay: Option<Arc<Index>>) -> Self {
        Self { base, overlay }
    }

    /// The full index.
    pub fn base(&self) -> &Arc<Index> {
        &self.base
    }

    /// The changes above it.
    pub fn overlay(&self) -> Option<&Arc<Index>> {
        self.overlay.as_ref()
    }

    /// Number of the bundle in force.
    pub fn serial(&self) -> Serial {
        self.overlay.as_ref().unwrap_or(&self.base).meta().serial
    }

    /// The set in force.
    pub fn set(&self) -> SetHash {
        self.overlay.as_ref().unwrap_or(&self.base).meta().set
    }

    /// Indicators by kind, held-back ones not among them.
    pub fn kinds(&self) -> BTreeMap<String, u64> {
        BTreeMap::new()
    }

    /// Whether an indicator may be on this value; *no* is certain. Never touches the store.
    pub fn may_hold(&self, value: Value<'_>) -> bool {
        false
    }

    /// The indicators that count for a value at a time.
    ///
    /// # Errors
    /// When the store is damaged or cannot be read: then nobody knows.
    pub fn look_up(&self, value: Value<'_>, at: Timestamp) -> Result<Matches, IndexError> {
        Ok(Matches::default())
    }

    /// All indicators on a value, and whether each counts: for people who ask why.
    ///
    /// # Errors
    /// As [`Layers::look_up`].
    pub fn judge(&self, value: Value<'_>, at: Timestamp) -> Result<Vec<Judged>, IndexError> {
        Ok(Vec::new())
    }

    /// Everything in force, line by line: the base without what was removed, then what was added.
    pub fn stored(&self) -> impl Iterator<Item = Result<super::Stored, IndexError>> + '_ {
        std::iter::empty()
    }
}

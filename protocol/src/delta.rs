//! Deltas: what changes from one bundle to a later one. A header line, then one change a line, compressed with zstd:
//! `+` and the line that is new, or `-` and the line that goes, each as it stands in the full bundles.

use serde::{Deserialize, Serialize};

use crate::bundle::{BundleError, Line, Serial, SetHash};
use crate::time::Timestamp;

/// The first line of a delta.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeltaHeader {
    /// Format of the lines that follow; this program reads 1.
    pub vedetta_delta: u32,
    /// Number of the bundle that it leads to.
    pub serial: Serial,
    /// Number of the bundle that it starts from.
    pub base: Serial,
    /// The set that it starts from.
    pub base_set: SetHash,
    /// The set that it leads to.
    pub set: SetHash,
    /// When the desk made it.
    pub created: Timestamp,
    /// The desk that made it.
    pub issuer: String,
    /// How many changes follow.
    pub changes: u64,
}

/// Why a delta is refused.
pub type DeltaError = BundleError;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whether the line is new; else it goes.
    pub added: bool,
    /// What it says; `None` for a kind that this program does not know.
    pub line: Option<Line>,
    /// Its bytes, which [`SetHash`] is made of.
    pub raw: Vec<u8>,
}

/// Reads a delta as a stream, within limits.
pub struct DeltaReader<'a> {
    header: DeltaHeader,
    lines: std::marker::PhantomData<&'a ()>,
}

impl DeltaReader<'_> {
    /// The header.
    pub fn header(&self) -> &DeltaHeader {
        &self.header
    }
}

impl Iterator for DeltaReader<'_> {
    type Item = Result<Change, DeltaError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

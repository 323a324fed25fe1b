//! A value seen at a place: what every protocol file gives out, through one door.

use protocol::{Observable, Place, SeenIn, Timestamp};
use serde::Serialize;

/// What a protocol file hands to `sight`: the value, the field, and the bytes that prove it.
#[derive(Debug)]
pub(crate) struct Sighting<'a> {
    pub observable: Observable,
    pub seen_in: SeenIn,
    /// Line, request head or name; becomes the hit's evidence.
    pub evidence: &'a [u8],
    /// The port beside an address, where the flow does not say it.
    pub port: Option<u16>,
}

impl<'a> Sighting<'a> {
    pub fn new(observable: Observable, seen_in: SeenIn, evidence: &'a [u8]) -> Self {
        Self { observable, seen_in, evidence, port: None }
    }
}

/// The one door: protocol files call it, only the matcher behind it compares.
pub(crate) type Sight<'a> = dyn FnMut(Sighting<'_>) + 'a;

/// A sighting on its own, as `observe` prints it. The JSON form is DESIGN's contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SightingRecord {
    /// Packet time, or the time a log line was read.
    pub at: Timestamp,
    /// Interface, log path or capture file.
    pub input: String,
    /// What was seen.
    #[serde(flatten)]
    pub observable: Observable,
    /// In which field.
    pub seen_in: SeenIn,
    /// In which flow or line.
    #[serde(flatten)]
    pub place: Place,
}

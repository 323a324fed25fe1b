//! A value seen at a place: what every protocol file gives out, through one door.

use std::net::IpAddr;

use protocol::{Flow, Note, Observable, Place, SeenIn, Timestamp};
use serde::Serialize;

use crate::counters::Counters;

/// A value as it was read, not yet in normal form and not copied: a value that nobody looks for costs no allocation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Seen<'a> {
    Ip(IpAddr),
    /// A name with the labels that any wire format may carry (RFC 2181 §11), dots between them.
    WireName(&'a [u8]),
    /// A host name as people and programs write it; international ones are normalised.
    HostName(&'a str),
    /// A whole URL.
    Url(&'a str),
    /// A URL whose parts stand apart: `http`, a Host field, a target that begins with `/`.
    UrlParts {
        scheme: &'a str,
        host: &'a str,
        target: &'a str,
    },
    UserAgent(&'a str),
    Email(&'a str),
    Md5([u8; 16]),
    Ja3([u8; 16]),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
    Ja4(&'a str),
    /// In normal form already.
    Normal(&'a Observable),
}

/// What a protocol file hands to the door: the value, the field, and the bytes that prove it.
#[derive(Debug)]
pub(crate) struct Sighting<'a> {
    pub seen: Seen<'a>,
    pub seen_in: SeenIn,
    /// Line, request head or name; becomes the hit's evidence.
    pub evidence: &'a [u8],
    /// The port beside an address, where the flow does not say it.
    pub port: Option<u16>,
    /// What a person must know who judges it.
    pub notes: Notes,
    /// Addresses that a proxy named as the party behind it.
    pub named_origins: &'a [IpAddr],
}

impl<'a> Sighting<'a> {
    pub fn new(seen: Seen<'a>, seen_in: SeenIn, evidence: &'a [u8]) -> Self {
        Self { seen, seen_in, evidence, port: None, notes: Notes::default(), named_origins: &[] }
    }

    pub fn with_note(mut self, note: Note) -> Self {
        self.notes.add(note);
        self
    }
}

/// A set of notes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes(u8);

impl Notes {
    const ALL: [Note; 6] = [
        Note::EchOffered,
        Note::SegmentsDiffer,
        Note::FragmentsOverlap,
        Note::NatUncertain,
        Note::Midstream,
        Note::OriginMasked,
    ];

    pub fn add(&mut self, note: Note) {
        let at = Self::ALL.iter().position(|known| *known == note);
        self.0 |= at.map_or(0, |at| 1 << at);
    }

    pub fn add_all(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn to_vec(self) -> Vec<Note> {
        let each = Self::ALL.into_iter().enumerate();
        each.filter(|(at, _)| self.0 & (1 << at) != 0).map(|(_, note)| note).collect()
    }
}

/// Kinds that somebody looks for. What costs work to make (fingerprints, hashes) is made only when wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one question for each kind that costs work to make")]
pub(crate) struct Wants {
    pub ja3: bool,
    pub ja4: bool,
    pub md5: bool,
    pub sha1: bool,
    pub sha256: bool,
}

impl Wants {
    /// What an observer wants.
    pub const ALL: Self = Self { ja3: true, ja4: true, md5: true, sha1: true, sha256: true };

    /// Whether any hash of a content is looked for.
    pub fn hashes(self) -> bool {
        self.md5 || self.sha1 || self.sha256
    }
}

/// Where a reader's findings go: the counters, and the one door behind which the matcher compares.
pub(crate) struct Sink<'a> {
    pub counters: &'a mut Counters,
    pub wants: Wants,
    /// What holds for everything that is seen in this flow.
    pub notes: Notes,
    /// The flow that is read, where there is one.
    pub flow: Option<Flow>,
    door: &'a mut dyn FnMut(Sighting<'_>),
}

impl<'a> Sink<'a> {
    pub fn new(counters: &'a mut Counters, wants: Wants, door: &'a mut dyn FnMut(Sighting<'_>)) -> Self {
        Self { counters, wants, notes: Notes::default(), flow: None, door }
    }

    pub fn sight(&mut self, mut sighting: Sighting<'_>) {
        sighting.notes.add_all(self.notes);
        (self.door)(sighting);
    }
}

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
    /// What a person must know who judges it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
}

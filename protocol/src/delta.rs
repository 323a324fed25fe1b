//! Deltas: what changes from one bundle to a later one. A header line, then one change a line, compressed with zstd:
//! `+` and the line that is new, or `-` and the line that goes, each as it stands in the full bundles.

use std::cmp::Ordering;
use std::io::{self, Read, Write};

use serde::{Deserialize, Serialize};

use crate::bundle::lines::CompressedLines;
use crate::bundle::{BundleError, BundleLimits, BundleReader, LEVEL, Line, Serial, SetHash};
use crate::time::Timestamp;

/// The format this program writes and the newest it reads.
pub const DELTA_FORMAT: u32 = 1;

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

/// Reads a delta as a stream, within limits. The changes count only when the last one came without an error.
pub struct DeltaReader<'a> {
    header: DeltaHeader,
    lines: CompressedLines<'a>,
    set: SetHash,
    changes_read: u64,
    done: bool,
}

impl<'a> DeltaReader<'a> {
    /// Reads the header; [`BundleLimits::indicators_max`] limits the changes.
    ///
    /// # Errors
    /// When the bytes are not zstd or the header is not one that this program reads.
    pub fn new(compressed: impl Read + Send + 'a, limits: BundleLimits) -> Result<Self, DeltaError> {
        let mut lines = CompressedLines::new(compressed, limits)?;
        lines.advance()?;
        let header: DeltaHeader =
            serde_json::from_slice(lines.line()).map_err(|error| BundleError::Header(error.to_string()))?;
        if header.vedetta_delta > DELTA_FORMAT {
            return Err(BundleError::Format { format: header.vedetta_delta, newest: DELTA_FORMAT });
        }
        if header.changes > limits.indicators_max {
            return Err(BundleError::TooLarge { limit: limits.indicators_max, unit: "changes" });
        }
        let set = header.base_set;
        Ok(Self { header, lines, set, changes_read: 0, done: false })
    }

    /// The header.
    pub fn header(&self) -> &DeltaHeader {
        &self.header
    }

    /// The set that the changes read so far lead to.
    pub fn set(&self) -> SetHash {
        self.set
    }

    fn read_next(&mut self) -> Result<Option<Change>, DeltaError> {
        if !self.lines.advance()? {
            return self.check_end().map(|()| None);
        }
        self.changes_read += 1;
        if self.changes_read > self.header.changes {
            return Err(self.miscounted());
        }
        let (sign, raw) = self.lines.line().split_first().unwrap_or((&b' ', &[]));
        let added = match sign {
            b'+' => true,
            b'-' => false,
            _ => return Err(self.lines.error("a change begins with + or -")),
        };
        let line = Line::read(raw).map_err(|error| self.lines.error(error))?;
        match added {
            true => self.set.add(raw),
            false => self.set.remove(raw),
        }
        Ok(Some(Change { added, line, raw: raw.to_vec() }))
    }

    fn check_end(&self) -> Result<(), DeltaError> {
        if self.changes_read != self.header.changes {
            return Err(self.miscounted());
        }
        match self.set == self.header.set {
            true => Ok(()),
            false => Err(BundleError::Set { promised: self.header.set, found: self.set }),
        }
    }

    fn miscounted(&self) -> DeltaError {
        BundleError::Count { promised: self.header.changes, found: self.changes_read }
    }
}

impl Iterator for DeltaReader<'_> {
    type Item = Result<Change, DeltaError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read_next().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// Why no delta is made. Sensors take the full bundle then.
#[derive(Debug, thiserror::Error)]
pub enum NoDelta {
    /// One of the bundles cannot be read.
    #[error("bundle {serial}: {error}")]
    Bundle {
        /// Its number.
        serial: Serial,
        /// Why.
        error: BundleError,
    },
    /// A delta leads from a bundle to a later one.
    #[error("bundle {serial} does not come after bundle {base}; name the older bundle first")]
    NotLater {
        /// The bundle to start from.
        base: Serial,
        /// The bundle to lead to.
        serial: Serial,
    },
    /// The lines were not written by this program.
    #[error(
        "the lines of bundle {serial} are not sorted; make it again with this program, or offer it in full"
    )]
    Unsorted {
        /// Its number.
        serial: Serial,
    },
    /// A newer desk wrote kinds that this one cannot compare.
    #[error(
        "bundle {serial} has kinds that this program does not know; update it, or offer the bundle in full"
    )]
    Unknown {
        /// Its number.
        serial: Serial,
    },
    /// Nearly everything is another.
    #[error("more than {limit} changes; offer the bundle in full")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// It cannot be written.
    #[error("the delta cannot be written: {0}")]
    Sink(#[from] io::Error),
}

/// Writes deltas.
pub struct DeltaWriter;

impl DeltaWriter {
    /// Compares two bundles as they are read and writes what changes from `base` to `next`. Memory holds the changes,
    /// compressed, of which there are at most `changes_max`, and not the bundles. Returns the header as written.
    ///
    /// # Errors
    /// Says why there is no delta; what the sink took until then is of no use.
    pub fn write(
        mut sink: impl Write,
        base: &mut BundleReader<'_>,
        next: &mut BundleReader<'_>,
        changes_max: u64,
    ) -> Result<DeltaHeader, NoDelta> {
        let (from, to) = (base.header().serial, next.header().clone());
        if to.serial <= from {
            return Err(NoDelta::NotLater { base: from, serial: to.serial });
        }
        let mut changes = Changes { body: encoder(Vec::new())?, count: 0, limit: changes_max };
        let (base_set, set) = merge(base, next, &mut changes)?;
        let header = DeltaHeader {
            vedetta_delta: DELTA_FORMAT,
            serial: to.serial,
            base: from,
            base_set,
            set,
            created: to.created,
            issuer: to.issuer,
            changes: changes.count,
        };
        let mut head = encoder(Vec::new())?;
        serde_json::to_writer(&mut head, &header).map_err(io::Error::from)?;
        head.write_all(b"\n")?;
        // Two frames one after the other are one text (RFC 8878 §3.1): the number of changes comes before them.
        sink.write_all(&head.finish()?)?;
        sink.write_all(&changes.body.finish()?)?;
        Ok(header)
    }
}

fn encoder(into: Vec<u8>) -> io::Result<zstd::Encoder<'static, Vec<u8>>> {
    let mut encoder = zstd::Encoder::new(into, LEVEL)?;
    encoder.include_checksum(true)?;
    Ok(encoder)
}

/// The changes until they are all known.
struct Changes {
    body: zstd::Encoder<'static, Vec<u8>>,
    count: u64,
    limit: u64,
}

impl Changes {
    fn push(&mut self, sign: u8, raw: &[u8]) -> Result<(), NoDelta> {
        if self.count >= self.limit {
            return Err(NoDelta::TooMany { limit: self.limit });
        }
        self.count += 1;
        self.body.write_all(&[sign])?;
        self.body.write_all(raw)?;
        self.body.write_all(b"\n")?;
        Ok(())
    }
}

/// Goes through both bundles side by side; returns their sets.
fn merge(
    base: &mut BundleReader<'_>,
    next: &mut BundleReader<'_>,
    changes: &mut Changes,
) -> Result<(SetHash, SetHash), NoDelta> {
    let (mut old, mut new) = (Sorted { reader: base, line: None }, Sorted { reader: next, line: None });
    old.advance()?;
    new.advance()?;
    loop {
        let order = match (&old.line, &new.line) {
            (None, None) => return Ok((old.reader.set(), new.reader.set())),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.order(new),
        };
        let is_same = order.is_eq() && old.reader.raw() == new.reader.raw();
        if order.is_le() {
            if !is_same {
                changes.push(b'-', old.reader.raw())?;
            }
            old.advance()?;
        }
        if order.is_ge() {
            if !is_same {
                changes.push(b'+', new.reader.raw())?;
            }
            new.advance()?;
        }
    }
}

/// A bundle whose lines must come in order.
struct Sorted<'r, 'a> {
    reader: &'r mut BundleReader<'a>,
    line: Option<Line>,
}

impl Sorted<'_, '_> {
    fn advance(&mut self) -> Result<(), NoDelta> {
        let serial = self.reader.header().serial;
        let next = self.reader.next().transpose().map_err(|error| NoDelta::Bundle { serial, error })?;
        if self.reader.unknown() > 0 {
            return Err(NoDelta::Unknown { serial });
        }
        if let (Some(before), Some(next)) = (&self.line, &next)
            && before.order(next).is_ge()
        {
            return Err(NoDelta::Unsorted { serial });
        }
        self.line = next;
        Ok(())
    }
}

#[cfg(test)]
#[path = "delta_tests.rs"]
mod tests;

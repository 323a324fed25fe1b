//! Bundles: a header line, then one indicator a line as JSON, sorted, compressed with zstd (RFC 8878).
//! A police officer or a town reads one with `zstdcat`. Signatures are TUF's, around the file.

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::indicator::Indicator;
use crate::text::{Hex, bytes_from_hex, text_form};
use crate::time::Timestamp;

/// Number of a bundle; grows by one with each that the desk signs. 0 stands for a plain list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(pub u64);

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Tells one set of lines from another: the sum modulo 2^256 of each line's SHA-256. A delta moves it on without
/// the whole set being read again. It finds mistakes; forgery is for the signature to prevent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct SetHash(pub [u8; 32]);

impl SetHash {
    /// Puts a line, without its line feed, in the set.
    pub fn add(&mut self, line: &[u8]) {
        self.sum(Sha256::digest(line).into());
    }

    /// Takes a line out.
    pub fn remove(&mut self, line: &[u8]) {
        let digest: [u8; 32] = Sha256::digest(line).into();
        self.sum(digest.map(|byte| !byte));
        let mut one = [0; 32];
        if let Some(last) = one.last_mut() {
            *last = 1;
        }
        self.sum(one);
    }

    /// Adds a number of 256 bits, most significant byte first.
    fn sum(&mut self, other: [u8; 32]) {
        let mut carry = 0;
        for (mine, theirs) in self.0.iter_mut().rev().zip(other.into_iter().rev()) {
            let sum = u16::from(*mine) + u16::from(theirs) + carry;
            let [high, low] = sum.to_be_bytes();
            (*mine, carry) = (low, u16::from(high));
        }
    }
}

impl fmt::Display for SetHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl FromStr for SetHash {
    type Err = NotASetHash;

    fn from_str(text: &str) -> Result<Self, NotASetHash> {
        bytes_from_hex(text).map(Self).ok_or(NotASetHash)
    }
}

text_form!(SetHash);

/// A text that is no [`SetHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not 64 hexadecimal digits")]
pub struct NotASetHash;

/// A line that silences indicators of the set: `{"revoke":"alert","value":"COSC-LAZIO-2026-0012"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "revoke", content = "value", rename_all = "snake_case")]
pub enum Revocation {
    /// All indicators that came with an alert.
    Alert(String),
    /// The indicator with this identifier.
    Indicator(String),
}

/// A line of a bundle after its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// Something to look for, or an entry of the allow-list.
    Indicator(Indicator),
    /// Something not to look for any more.
    Revocation(Revocation),
}

/// The first line of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHeader {
    /// Format of the lines that follow; this program reads 1.
    pub vedetta_bundle: u32,
    /// Number of this bundle.
    pub serial: Serial,
    /// When the desk made it.
    pub created: Timestamp,
    /// The desk that made it, such as `cosc-lazio`.
    pub issuer: String,
    /// How many indicators follow.
    pub indicators: u64,
}

/// The format this program writes and the newest it reads.
pub const BUNDLE_FORMAT: u32 = 1;

/// What a reader takes before it refuses a bundle.
#[derive(Clone, Copy, Debug)]
pub struct BundleLimits {
    /// Bytes after decompression.
    pub bytes_max: u64,
    /// Bytes of one line.
    pub line_bytes_max: u64,
    /// Indicators.
    pub indicators_max: u64,
}

impl Default for BundleLimits {
    /// 4 GiB, 16 KiB a line, 20 million indicators.
    fn default() -> Self {
        Self { bytes_max: 4 << 30, line_bytes_max: 16 << 10, indicators_max: 20_000_000 }
    }
}

/// Why a bundle is refused.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Not zstd, cut, or damaged.
    #[error("the bundle cannot be decompressed: {0}; fetch it again")]
    Compression(#[from] io::Error),
    /// The first line is no bundle header.
    #[error("the first line is no bundle header: {0}")]
    Header(String),
    /// Written by a newer desk.
    #[error("bundle format {format} is newer than this program reads ({BUNDLE_FORMAT}); update the package")]
    Format {
        /// The format it names.
        format: u32,
    },
    /// A line that is no indicator.
    #[error("line {line}: {reason}")]
    Line {
        /// Line number, the header being 1.
        line: u64,
        /// What is wrong.
        reason: String,
    },
    /// More bytes, longer lines or more indicators than [`BundleLimits`].
    #[error("the bundle exceeds its limit of {limit} {unit}")]
    TooLarge {
        /// The limit.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// The header promised another number of indicators.
    #[error("the header promises {promised} indicators, {found} follow")]
    Count {
        /// Promised by the header.
        promised: u64,
        /// Found.
        found: u64,
    },
}

type Compressed<'a> = BufReader<Box<dyn Read + Send + 'a>>;

/// Reads a bundle as a stream, within limits.
pub struct BundleReader<'a> {
    header: BundleHeader,
    lines: BufReader<io::Take<zstd::Decoder<'a, Compressed<'a>>>>,
    limits: BundleLimits,
    line: u64,
    found: u64,
    unknown: u64,
    done: bool,
}

impl<'a> BundleReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the bytes are not zstd or the header is not one that this program reads.
    pub fn new(compressed: impl Read + Send + 'a, limits: BundleLimits) -> Result<Self, BundleError> {
        let mut decoder = zstd::Decoder::new(Box::new(compressed) as Box<dyn Read + Send + 'a>)?;
        decoder.window_log_max(27)?; // 128 MiB of history at most (RFC 8878 §3.1.1.1.2 recommends 8 MiB)
        let mut lines = BufReader::new(decoder.take(limits.bytes_max));
        let first = read_line(&mut lines, limits.line_bytes_max)?.unwrap_or_default();
        let header: BundleHeader =
            serde_json::from_slice(&first).map_err(|error| BundleError::Header(error.to_string()))?;
        if header.vedetta_bundle > BUNDLE_FORMAT {
            return Err(BundleError::Format { format: header.vedetta_bundle });
        }
        if header.indicators > limits.indicators_max {
            return Err(BundleError::TooLarge { limit: limits.indicators_max, unit: "indicators" });
        }
        Ok(Self { header, lines, limits, line: 1, found: 0, unknown: 0, done: false })
    }

    /// The header.
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// Indicators of a kind that this program does not know, passed over so far.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    fn read_next(&mut self) -> Result<Option<Indicator>, BundleError> {
        loop {
            let Some(line) = read_line(&mut self.lines, self.limits.line_bytes_max)? else {
                if self.lines.get_ref().limit() == 0 {
                    return Err(BundleError::TooLarge { limit: self.limits.bytes_max, unit: "bytes" });
                }
                if self.found != self.header.indicators {
                    return Err(BundleError::Count { promised: self.header.indicators, found: self.found });
                }
                return Ok(None);
            };
            self.line += 1;
            self.found += 1;
            if self.found > self.header.indicators {
                return Err(BundleError::Count { promised: self.header.indicators, found: self.found });
            }
            match serde_json::from_slice(&line) {
                Ok(indicator) => return Ok(Some(indicator)),
                Err(_) if has_unknown_kind(&line) => self.unknown += 1,
                Err(error) => {
                    return Err(BundleError::Line { line: self.line, reason: error.to_string() });
                }
            }
        }
    }
}

impl Iterator for BundleReader<'_> {
    type Item = Result<Indicator, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read_next().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

/// A line with a `kind` that a newer desk knows is passed over and counted, not an error.
fn has_unknown_kind(line: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct OnlyKind {
        kind: String,
    }
    let known = ["network", "ip_port"];
    serde_json::from_slice::<OnlyKind>(line).is_ok_and(|only| {
        !known.contains(&only.kind.as_str())
            && !crate::observable::Kind::ALL.iter().any(|kind| kind.as_str() == only.kind)
    })
}

fn read_line(lines: &mut impl BufRead, bytes_max: u64) -> Result<Option<Vec<u8>>, BundleError> {
    let mut line = Vec::new();
    lines.take(bytes_max).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() as u64 >= bytes_max {
        return Err(BundleError::TooLarge { limit: bytes_max, unit: "bytes a line" });
    }
    Ok(Some(line))
}

/// Writes a bundle. Indicators must come sorted and without repeats; [`BundleWriter::write_all`] sees to it.
pub struct BundleWriter;

impl BundleWriter {
    /// Sorts, removes repeats of the same value and identifier, and writes header and lines, compressed.
    /// Returns the header as written, with the number of indicators.
    ///
    /// # Errors
    /// What the sink returns.
    pub fn write_all(
        sink: impl Write,
        mut indicators: Vec<Indicator>,
        header: BundleHeader,
    ) -> io::Result<BundleHeader> {
        indicators.sort_by(|a, b| (&a.look_for, &a.id).cmp(&(&b.look_for, &b.id)));
        indicators.dedup_by(|a, b| a.look_for == b.look_for && a.id == b.id);
        let header = BundleHeader { indicators: indicators.len() as u64, ..header };
        let mut encoder = zstd::Encoder::new(sink, 10)?;
        encoder.include_checksum(true)?;
        let mut write_line = |json: serde_json::Result<String>| -> io::Result<()> {
            encoder.write_all(json.map_err(io::Error::other)?.as_bytes())?;
            encoder.write_all(b"\n")
        };
        write_line(serde_json::to_string(&header))?;
        for indicator in &indicators {
            write_line(serde_json::to_string(indicator))?;
        }
        encoder.finish()?;
        Ok(header)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::indicator::LookFor;

    fn header() -> BundleHeader {
        BundleHeader {
            vedetta_bundle: BUNDLE_FORMAT,
            serial: Serial(3),
            created: Timestamp::default(),
            issuer: "cosc-esempio".into(),
            indicators: 0,
        }
    }

    fn indicators(values: &[&str]) -> Vec<Indicator> {
        values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap())).collect()
    }

    fn read(bytes: &[u8], limits: BundleLimits) -> Result<Vec<String>, BundleError> {
        let reader = BundleReader::new(bytes, limits)?;
        reader.map(|indicator| indicator.map(|found| found.look_for.to_string())).collect()
    }

    fn compressed(lines: &str) -> Vec<u8> {
        zstd::encode_all(lines.as_bytes(), 1).unwrap()
    }

    #[test]
    fn what_is_written_is_read_sorted_and_once() {
        let mut bytes = Vec::new();
        let values = ["b.example", "203.0.113.0/24", "a.example", "b.example"];
        let written = BundleWriter::write_all(&mut bytes, indicators(&values), header()).unwrap();
        assert_eq!(written.indicators, 3);
        let read = read(&bytes, BundleLimits::default()).unwrap();
        assert_eq!(read, ["a.example", "b.example", "203.0.113.0/24"]);
    }

    #[test]
    fn a_kind_of_the_future_is_passed_over_and_counted() {
        let lines = format!(
            "{}\n{{\"kind\":\"ja9\",\"value\":\"x\",\"id\":\"1\"}}\n{{\"kind\":\"domain\",\"value\":\"a.example\",\"id\":\"2\"}}\n",
            serde_json::to_string(&BundleHeader { indicators: 2, ..header() }).unwrap()
        );
        let bytes = compressed(&lines);
        let mut reader = BundleReader::new(bytes.as_slice(), BundleLimits::default()).unwrap();
        assert_eq!(reader.by_ref().filter_map(Result::ok).count(), 1);
        assert_eq!(reader.unknown(), 1);
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let mut lines = serde_json::to_string(&BundleHeader { indicators: 1, ..header() }).unwrap();
        lines.push('\n');
        lines.push_str(&" ".repeat(4 << 20));
        let limits = BundleLimits { bytes_max: 1 << 20, ..BundleLimits::default() };
        let refused = read(&compressed(&lines), limits).unwrap_err();
        assert!(matches!(refused, BundleError::TooLarge { .. }), "{refused}");
    }

    #[test]
    fn damage_of_any_kind_is_an_error_not_a_short_set() {
        let mut bytes = Vec::new();
        BundleWriter::write_all(&mut bytes, indicators(&["a.example", "b.example"]), header()).unwrap();
        for cut in 0..bytes.len() {
            assert!(read(&bytes[..cut], BundleLimits::default()).is_err(), "cut at {cut}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            if let Ok(values) = read(&damaged, BundleLimits::default()) {
                assert_eq!(values, ["a.example", "b.example"], "flip at {at}");
            }
        }
    }

    #[test]
    fn a_newer_format_asks_for_an_update() {
        let newer = BundleHeader { vedetta_bundle: 2, ..header() };
        let bytes = compressed(&(serde_json::to_string(&newer).unwrap() + "\n"));
        assert!(matches!(read(&bytes, BundleLimits::default()), Err(BundleError::Format { format: 2 })));
    }
}

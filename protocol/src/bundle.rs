//! Bundles: a header line, then one indicator or revocation a line as JSON, sorted, compressed with zstd (RFC 8878).
//! A police officer or a town reads one with `zstdcat`. Signatures are TUF's, around the file.

pub(crate) mod lines; // deltas are such lines, too
mod reader;
mod set;
mod writer;

use std::cmp::Ordering;
use std::fmt;
use std::io;

use serde::{Deserialize, Serialize};

use crate::indicator::{Indicator, LookFor};
use crate::time::Timestamp;

pub use reader::BundleReader;
pub use set::{NotASetHash, SetHash};
pub use writer::{BundleWriter, LEVEL};

/// Number of a bundle; grows by one with each that the desk signs. 0 stands for a plain list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Serial(pub u64);

impl Serial {
    /// The last number, which databases can still hold. A bundle beyond it is none.
    pub const MAX: Self = Self(i64::MAX.unsigned_abs());
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A line that silences indicators of the set: `{"revoke":"alert","value":"COSC-LAZIO-2026-0012"}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "revoke", content = "value", rename_all = "snake_case")]
pub enum Revocation {
    /// All indicators that came with an alert.
    Alert(String),
    /// The indicator with this identifier.
    Indicator(String),
}

/// A line of a bundle after its header.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Line {
    /// Something to look for, or an entry of the allow-list.
    Indicator(Indicator),
    /// Something not to look for any more.
    Revocation(Revocation),
}

impl Revocation {
    /// What can be revoked, as lines name it.
    pub const KINDS: [&str; 2] = ["alert", "indicator"];
}

impl Line {
    /// The order of lines in a bundle: indicators by value and identifier, then revocations. Equal lines are
    /// about the same; a bundle has one of them.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Indicator(a), Self::Indicator(b)) => {
                a.look_for.cmp(&b.look_for).then_with(|| a.id.cmp(&b.id))
            }
            (Self::Indicator(_), Self::Revocation(_)) => Ordering::Less,
            (Self::Revocation(_), Self::Indicator(_)) => Ordering::Greater,
            (Self::Revocation(a), Self::Revocation(b)) => a.cmp(b),
        }
    }

    /// Reads a line without its line feed; `None` for a kind that a newer desk knows.
    ///
    /// # Errors
    /// Says why it is no line of a bundle.
    pub fn read(line: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        // Once for the whole line: from bytes, each name and each text in it would be looked at on its own.
        let text = std::str::from_utf8(line).map_err(serde::de::Error::custom)?;
        match serde_json::from_str(text) {
            Ok(line) => Ok(Some(line)),
            Err(_) if has_unknown_kind(text) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether the kind is one that this program does not know, whatever else the line says.
fn has_unknown_kind(line: &str) -> bool {
    #[derive(Deserialize)]
    struct OnlyKind {
        kind: Option<String>,
        revoke: Option<String>,
    }
    serde_json::from_str::<OnlyKind>(line).is_ok_and(|only| match (only.kind, only.revoke) {
        (Some(kind), _) => !LookFor::KINDS.contains(&kind.as_str()),
        (None, Some(revoke)) => !Revocation::KINDS.contains(&revoke.as_str()),
        (None, None) => false,
    })
}

/// The first line of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleHeader {
    /// Format of the lines that follow; this program reads 1, and 2 with an allow-list and revocations.
    pub vedetta_bundle: u32,
    /// Number of this bundle.
    pub serial: Serial,
    /// When the desk made it.
    pub created: Timestamp,
    /// The desk that made it, such as `cosc-lazio`.
    pub issuer: String,
    /// How many lines follow: indicators, entries of the allow-list, revocations.
    pub indicators: u64,
    /// The set of these lines; a bundle of format 1 does not name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<SetHash>,
}

/// The format this program writes and the newest it reads. An older reader would take an entry of the allow-list
/// for something to look for, so it has to refuse what may hold one.
pub const BUNDLE_FORMAT: u32 = 2;

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
    #[error("the bundle's format {format} is newer than this program reads ({newest}); update the package")]
    Format {
        /// The format it names.
        format: u32,
        /// The newest that is read.
        newest: u32,
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
    #[error("the header promises {promised} lines, {found} follow; fetch it again")]
    Count {
        /// Promised by the header.
        promised: u64,
        /// Found.
        found: u64,
    },
    /// The header promised another set.
    #[error("the header promises the set {promised}, the lines come to {found}; fetch it again")]
    Set {
        /// Promised by the header.
        promised: SetHash,
        /// Found.
        found: SetHash,
    },
}

#[cfg(test)]
#[path = "bundle/bundle_tests.rs"]
mod tests;

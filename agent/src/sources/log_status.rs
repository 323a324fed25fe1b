//! What `status` tells of a log file beyond what it tells of every source: what waits in it and what may be lost.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use protocol::Timestamp;
use protocol::message::LogGap;
use serde::{Deserialize, Serialize};

use super::follow::{Gap, Turn};

/// Why files were begun anew, in the order of [`Turn::resets`].
const REASONS: [&str; 3] = ["shorter", "content", "reborn"];

/// How the following of one log does, since the agent started; part of `status --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogStatus {
    /// The source's name.
    pub name: String,
    /// Bytes that are in its files and not read yet.
    pub lag_bytes: u64,
    /// Lines of which only the beginning was looked at.
    pub lines_cut: u64,
    /// Bytes of them that were not.
    pub bytes_cut: u64,
    /// Lines that were looked at before they had an end.
    pub lines_partial: u64,
    /// How often content was not what was read before, by reason: the file was shorter, its content had changed, or
    /// another file had its inode.
    pub tail_identity_reset: BTreeMap<String, u64>,
    /// How often lines may have been lost.
    pub gaps: u64,
    /// Bytes lost for certain.
    pub bytes_lost: u64,
    /// The last time that lines may have been lost.
    pub possible_gap: Option<PossibleGap>,
}

/// Lines that may be lost: everything that was written from an offset on, before the file was truncated or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PossibleGap {
    /// When that was noticed.
    pub at: Timestamp,
    /// Offset of the first byte that was not read.
    pub from: u64,
    /// Up to here bytes were there for certain; null when nothing is known to be lost.
    pub to: Option<u64>,
}

impl LogStatus {
    /// Counts what a turn found.
    pub fn count(&mut self, turn: &Turn, at: Timestamp) {
        self.lines_cut += turn.counts.cut;
        self.bytes_cut += turn.counts.cut_bytes;
        self.lines_partial += turn.counts.partial;
        for (reason, count) in REASONS.iter().zip(turn.resets).filter(|(_, count)| *count > 0) {
            *self.tail_identity_reset.entry((*reason).to_owned()).or_default() += count;
        }
        for gap in &turn.gaps {
            self.gaps += 1;
            self.bytes_lost += gap.seen - gap.from;
            self.possible_gap = Some(PossibleGap { at, from: gap.from, to: gap.to() });
        }
    }
}

impl Gap {
    /// As the collector hears of it.
    pub fn named(&self, input: &str) -> LogGap {
        LogGap { input: input.to_owned(), generation: self.generation, from: self.from, to: self.to() }
    }

    /// Up to here bytes are lost for certain.
    pub fn to(&self) -> Option<u64> {
        Some(self.seen).filter(|seen| *seen > self.from)
    }
}

/// A path as a source's name: bytes that are no text, control characters and the backslash are escaped, so that each
/// path has its own name and none moves a terminal's cursor.
pub fn name_of(path: &Path) -> String {
    let mut name = String::new();
    for chunk in path.as_os_str().as_bytes().utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\\' => name.push_str("\\\\"),
                control if control.is_control() => escape(&mut name, control.to_string().as_bytes()),
                plain => name.push(plain),
            }
        }
        escape(&mut name, chunk.invalid());
    }
    name
}

fn escape(name: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a text does not fail.
        let _ = write!(name, "\\x{byte:02x}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;

    #[test]
    fn every_path_has_a_name_of_its_own() {
        for (path, expected) in [
            (&b"/var/log/syslog"[..], "/var/log/syslog"),
            ("/var/log/città.log".as_bytes(), "/var/log/città.log"),
            (b"/var/log/citt\xe0.log", r"/var/log/citt\xe0.log"),
            (br"/var/log/citt\xe0.log", r"/var/log/citt\\xe0.log"),
            (b"/var/log/\x1b[31m", r"/var/log/\x1b[31m"),
        ] {
            assert_eq!(name_of(Path::new(OsStr::from_bytes(path))), expected);
        }
    }
}

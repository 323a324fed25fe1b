//! What one turn of a followed path gives besides lines: counts, gaps, and why it cannot be read.

use std::io;
use std::path::PathBuf;

use super::line_reader::Counts;

/// Lines that may be lost: of one content of a file, everything from an offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// How often the file had been truncated before.
    pub generation: u32,
    /// The first byte that was not read.
    pub from: u64,
    /// Up to here there were bytes for certain; whether there were more nobody can say.
    pub seen: u64,
}

/// What a turn found besides lines.
#[derive(Debug, Default)]
pub struct Turn {
    /// What was read.
    pub counts: Counts,
    /// How often content was not what was read before: it was shorter, had changed, had another file's birth.
    pub resets: [u64; 3],
    /// What may be lost.
    pub gaps: Vec<Gap>,
    /// Rotated files that cannot be unpacked, among which lines may be.
    pub unreadable: Vec<PathBuf>,
    /// Files were begun: their position is to be saved before the next turn.
    pub begun: bool,
    /// Whether there is more to read at once.
    pub more: bool,
    /// The receiver wanted no more.
    pub paused: bool,
    /// Why the path cannot be read now.
    pub trouble: Option<FollowError>,
}

/// Why a path cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Nothing there; it is waited for.
    #[error("{} does not exist; the agent waits for it", .0.display())]
    Missing(PathBuf),
    /// The agent's user may not read it.
    #[error(
        "no permission to read {}: add the agent's user to the group that may (often usermod -aG adm vedetta-agent) and restart it",
        .0.display()
    )]
    Permission(PathBuf),
    /// A folder, a pipe or a device.
    #[error("{} is not a file; set logs.files", .0.display())]
    NotAFile(PathBuf),
    /// A link that anybody could have made.
    #[error("{} is a link in a folder that everybody may write, and not of the folder's owner: it is not followed", .0.display())]
    Link(PathBuf),
    /// Anything else.
    #[error("cannot read {}: {error}", path.display())]
    Other {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Turn {
    /// Counts what a file's reader counted.
    pub fn count(&mut self, counts: Counts) {
        self.counts.lines += counts.lines;
        self.counts.cut += counts.cut;
        self.counts.cut_bytes += counts.cut_bytes;
        self.counts.partial += counts.partial;
    }
}

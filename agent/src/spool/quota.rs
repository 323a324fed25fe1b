//! How the spool divides its limit, and the ballast: room that is taken beforehand and given up when the file system
//! is full, so that what was acknowledged and the positions in logs can be written even then.

use std::io;

use super::disk::Opening;
use super::folder::SpoolFolder;

/// Files take whole blocks of this size at least.
const BLOCK_BYTES: u64 = 4096;
const BALLAST: &str = "ballast";

/// Parts of `spool.bytes_max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// The limit of everything.
    pub bytes_max: u64,
    /// A segment is closed at this size; space is given back a segment at a time.
    pub segment_bytes: u64,
    /// What one append may bring.
    pub batch_bytes_max: u64,
    /// What stays free for live traffic: lines can wait in their files.
    pub lines_keep_free: u64,
    /// Size of the ballast.
    pub ballast_bytes: u64,
}

impl Quota {
    /// Divides a limit.
    pub fn of(bytes_max: u64) -> Self {
        let segment_bytes = (bytes_max / 32).clamp(BLOCK_BYTES, 4 << 20);
        Self {
            bytes_max,
            segment_bytes,
            batch_bytes_max: segment_bytes / 2,
            lines_keep_free: bytes_max / 8,
            ballast_bytes: (bytes_max / 64).clamp(BLOCK_BYTES, 8 << 20),
        }
    }

    /// Where appending stops: below the limit stays room for the copy of a segment whose hits are given up, and for
    /// blocks that begun files take.
    pub(super) fn append_max(&self) -> u64 {
        self.bytes_max.saturating_sub(2 * self.segment_bytes)
    }
}

/// Bytes that a file of this length takes at least.
pub(super) fn blocks(bytes: u64) -> u64 {
    bytes.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

/// The file, when there is one.
#[derive(Debug, Default)]
pub(super) struct Ballast {
    allocated: u64,
}

impl Ballast {
    /// What the last run left.
    pub fn find(folder: &SpoolFolder, quota: &Quota) -> Self {
        let found = folder.disk().open(BALLAST, Opening::Read).and_then(|file| file.allocated());
        let mut ballast = Self { allocated: found.unwrap_or(0) };
        // Of another limit, or cut by a crash.
        if ballast.allocated > 0
            && !(quota.ballast_bytes..=2 * quota.ballast_bytes).contains(&ballast.allocated)
        {
            ballast.give_up(folder);
        }
        ballast
    }

    pub fn allocated(&self) -> u64 {
        self.allocated
    }

    /// Gives whether there was something to give up.
    pub fn give_up(&mut self, folder: &SpoolFolder) -> bool {
        let held = self.allocated > 0;
        if folder.disk().remove(BALLAST).is_ok() {
            self.allocated = 0;
        }
        held && self.allocated == 0
    }

    /// Holds on to it or not, as there is room: `free` on the disk, and up to the limit what `others` leave.
    pub fn keep(&mut self, folder: &SpoolFolder, quota: &Quota, (free, others): (u64, u64)) {
        let wanted = quota.ballast_bytes;
        if self.allocated > 0 {
            if free < wanted / 4 {
                self.give_up(folder);
            }
        } else if free >= 2 * wanted && others + wanted <= quota.bytes_max {
            // Refused: there was less room than the system says. It is asked again.
            if self.take(folder, wanted).is_err() {
                self.give_up(folder);
            }
        }
    }

    fn take(&mut self, folder: &SpoolFolder, bytes: u64) -> io::Result<()> {
        let file = folder.disk().open(BALLAST, Opening::Anew)?;
        file.allocate(bytes)?;
        self.allocated = file.allocated()?.max(bytes);
        Ok(())
    }
}

//! The spool's small file: its epoch, where that epoch's sequences begin, and what is acknowledged.
//!
//! Losing it is harmless: a new epoch begins, everything that is left is sent again, and the collector knows
//! each hit by its identity.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use protocol::identity::Epoch;
use serde::{Deserialize, Serialize};

/// What the file says. Sequences are those on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Identity of this run of sequences.
    pub epoch: Epoch,
    /// The collector's sequence is the one on disk less this.
    pub base: u64,
    /// Everything up to here may be deleted.
    pub acknowledged: u64,
    /// The sequence after the last, written when the agent stops as asked. After any other end it cannot be
    /// told whether sequences were used that the disk no longer shows, so a new epoch begins.
    #[serde(default)]
    pub closed_at: Option<u64>,
}

impl Position {
    /// A new epoch that begins after `acknowledged`.
    pub fn renewed(acknowledged: u64) -> Self {
        Self { epoch: Epoch(rand::random()), base: acknowledged, acknowledged, closed_at: None }
    }

    /// Reads the file; `None` when it is missing or damaged.
    pub fn read(folder: &Path) -> Option<Self> {
        let text = fs::read_to_string(path(folder)).ok()?;
        let (json, crc) = text.trim_end().rsplit_once(' ')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (crc32fast::hash(json.as_bytes()) == crc).then(|| serde_json::from_str(json).ok())?
    }

    /// Replaces the file. Only a `Durability::Synced` file survives a power cut for certain.
    ///
    /// # Errors
    /// What the file system returns; the file before is untouched.
    pub fn write(&self, folder: &Path, durability: Durability) -> io::Result<()> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let unfinished = folder.join("position.new");
        let mut file = File::create(&unfinished)?;
        writeln!(file, "{json} {:08x}", crc32fast::hash(json.as_bytes()))?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        fs::rename(&unfinished, path(folder))?;
        if durability == Durability::Synced {
            File::open(folder)?.sync_all()?;
        }
        Ok(())
    }
}

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It waits.
    Synced,
    /// It does not; losing the write is harmless.
    Lazy,
}

fn path(folder: &Path) -> PathBuf {
    folder.join("position")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Position::read(folder.path()), None);
        let position = Position::renewed(7);
        position.write(folder.path(), Durability::Synced).unwrap();
        assert_eq!(Position::read(folder.path()), Some(position));
        let whole = fs::read(path(folder.path())).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(path(folder.path()), &bytes).unwrap();
            assert_eq!(Position::read(folder.path()), None, "byte {at} changed");
            fs::write(path(folder.path()), &whole[..at]).unwrap();
            assert_eq!(Position::read(folder.path()), None, "cut at {at}");
        }
    }
}

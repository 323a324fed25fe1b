//! The spool's small file: its epoch, where that epoch's sequences begin, and what is acknowledged.
//!
//! Losing it is harmless: a new epoch begins, everything that is left is sent again, and the collector knows
//! each hit by its identity.

use std::io::{self, Read as _};

use protocol::identity::Epoch;
use serde::{Deserialize, Serialize};

use super::disk::{Opening, ReadFrom};
use super::folder::{Durability, SpoolFolder};

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
    pub fn read(folder: &SpoolFolder) -> Option<Self> {
        let file = folder.disk().open(POSITION, Opening::Read).ok()?;
        let mut text = String::new();
        ReadFrom::new(&*file, 0).take(POSITION_BYTES_MAX).read_to_string(&mut text).ok()?;
        let (json, crc) = text.trim_end().rsplit_once(' ')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (crc32fast::hash(json.as_bytes()) == crc).then(|| serde_json::from_str(json).ok())?
    }

    /// Replaces the file. Only a `Durability::Synced` file survives a power cut for certain.
    ///
    /// # Errors
    /// What the disk returns; the file before is untouched.
    pub fn write(&self, folder: &SpoolFolder, durability: Durability) -> io::Result<()> {
        let json = serde_json::to_string(self).map_err(io::Error::other)?;
        let text = format!("{json} {:08x}\n", crc32fast::hash(json.as_bytes()));
        folder.replace(POSITION, text.as_bytes(), durability)
    }
}

const POSITION: &str = "position";
const POSITION_BYTES_MAX: u64 = 4096;

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::spool::disk::LocalDisk;

    #[test]
    fn what_was_written_is_read_and_damage_is_noticed() {
        let temporary = tempfile::tempdir().unwrap();
        let folder = SpoolFolder::new(LocalDisk::new(temporary.path()));
        assert_eq!(Position::read(&folder), None);
        let position = Position::renewed(7);
        position.write(&folder, Durability::Synced).unwrap();
        assert_eq!(Position::read(&folder), Some(position));
        let path = temporary.path().join(POSITION);
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(Position::read(&folder), None, "byte {at} changed");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(Position::read(&folder), None, "cut at {at}");
        }
    }
}

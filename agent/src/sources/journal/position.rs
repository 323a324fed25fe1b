//! How far the journal was read, in a file of its own: one small value with one writer wants no database. It is
//! replaced as a whole, and on disk when [`PositionFile::save`] returns.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything up to here was read, and its hits are safe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last entry's; empty before the first.
    pub cursor: String,
    /// When the last entry was written, in microseconds.
    pub realtime: u64,
}

/// Where it is kept.
pub struct PositionFile(PathBuf);

impl PositionFile {
    /// In the agent's folder.
    pub fn new(state_dir: &Path) -> Self {
        Self(state_dir.join("journal-position"))
    }

    /// What was saved; `None` for nothing, and for what is damaged.
    pub fn load(&self) -> Option<Position> {
        let text = fs::read_to_string(&self.0).ok()?;
        let (checksum, json) = text.split_once(' ')?;
        let is_whole = u32::from_str_radix(checksum, 16).ok()? == crc32fast::hash(json.as_bytes());
        is_whole.then(|| serde_json::from_str(json).ok())?
    }

    /// # Errors
    /// When the disk does not take it; what was saved before stays.
    pub fn save(&self, position: &Position) -> io::Result<()> {
        let json = serde_json::to_string(position)?;
        let text = format!("{:08x} {json}", crc32fast::hash(json.as_bytes()));
        let half = self.0.with_extension("new");
        let mut file = File::create(&half)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&half, &self.0)?;
        self.0.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_loaded_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let file = PositionFile::new(folder.path());
        assert_eq!(file.load(), None);
        let position = Position { cursor: "s=1;i=2".into(), realtime: 7 };
        file.save(&position).unwrap();
        assert_eq!(file.load(), Some(position));
        let text = fs::read_to_string(&file.0).unwrap();
        fs::write(&file.0, text.replace("i=2", "i=3")).unwrap();
        assert_eq!(file.load(), None);
    }
}

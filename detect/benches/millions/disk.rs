//! A file as the index reads and writes it.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use protocol::index::ReadAt;

/// Bytes kept before they are written.
const KEPT_MAX: usize = 64 << 10;

/// A file that is appended to, and read at any place.
pub struct OnDisk {
    file: File,
    written: u64,
    kept: Vec<u8>,
}

impl OnDisk {
    pub fn create(path: &Path) -> Self {
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
        Self { file, written: 0, kept: Vec::new() }
    }

    pub fn open(path: &Path) -> Self {
        let file = File::open(path).unwrap();
        let written = file.metadata().unwrap().len();
        Self { file, written, kept: Vec::new() }
    }

    /// Returns when the disk has everything.
    pub fn sync(&mut self) {
        self.flush().unwrap();
        self.file.sync_data().unwrap();
    }
}

impl ReadAt for OnDisk {
    fn size(&self) -> io::Result<u64> {
        Ok(self.written + self.kept.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let on_disk = self.written.saturating_sub(offset).min(into.len() as u64) as usize;
        let (from_file, from_kept) = into.split_at_mut(on_disk);
        self.file.read_exact_at(from_file, offset)?;
        let skipped = (offset + on_disk as u64 - self.written.min(offset + on_disk as u64)) as usize;
        let kept = self.kept.get(skipped..).and_then(|kept| kept.get(..from_kept.len()));
        from_kept.copy_from_slice(kept.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl Write for OnDisk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.kept.extend_from_slice(bytes);
        if self.kept.len() >= KEPT_MAX {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.kept, self.written)?;
        self.written += self.kept.len() as u64;
        self.kept.clear();
        Ok(())
    }
}

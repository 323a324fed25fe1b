//! Files that an index is written to and read from: appended through a buffer, read at any place, also what was
//! appended a moment ago. What counts is on disk: [`IndexFile::finish`] waits for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use protocol::index::ReadAt;

/// What is appended waits here, so that the disk is asked for large pieces.
const BUFFER_BYTES: usize = 256 << 10;
/// Begins the name of a scratch file for the moment in which it has one.
pub(super) const SCRATCH: &str = "scratch-";

/// A file of an index, or a scratch file.
#[derive(Debug)]
pub struct IndexFile {
    file: File,
    /// Bytes that the file has; what follows is in `buffer`.
    written: u64,
    buffer: Vec<u8>,
}

impl IndexFile {
    /// Begins a file that must not be there yet; only its owner can read it.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(path)?;
        Ok(Self { file, written: 0, buffer: Vec::new() })
    }

    /// Begins a file without a name in a folder: it is gone when it is closed, however the program ends.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn scratch(folder: &Path) -> io::Result<Self> {
        let path: PathBuf = folder.join(format!("{SCRATCH}{:016x}", rand::random::<u64>()));
        let scratch = Self::create(&path)?;
        fs::remove_file(&path)?;
        Ok(scratch)
    }

    /// Opens a finished file to read it.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let written = file.metadata()?.len();
        Ok(Self { file, written, buffer: Vec::new() })
    }

    /// Waits until every byte is on disk. Whoever reads it opens it anew: a file that is open for writing would keep
    /// its file system from being mounted read-only.
    ///
    /// # Errors
    /// What the file system returns; then the file does not count.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync_all()
    }
}

impl Write for IndexFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER_BYTES {
            self.flush()?;
        }
        if bytes.len() >= BUFFER_BYTES {
            self.file.write_all_at(bytes, self.written)?;
            self.written += bytes.len() as u64;
        } else {
            self.buffer.extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // At its place, not at the file's own position: what was half written before an error is written over.
        self.file.write_all_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl ReadAt for IndexFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.written + self.buffer.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from_file = usize::try_from(self.written.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (first, rest) = into.split_at_mut(from_file.min(into.len()));
        self.file.read_exact_at(first, offset)?;
        if rest.is_empty() {
            return Ok(());
        }
        let skipped = usize::try_from(offset.saturating_sub(self.written)).unwrap_or(usize::MAX);
        let held = self.buffer.get(skipped..).and_then(|held| held.get(..rest.len()));
        rest.copy_from_slice(held.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pieces of many lengths, as a builder appends them.
    fn pieces() -> impl Iterator<Item = Vec<u8>> {
        [0, 1, 7, 4096, BUFFER_BYTES - 1, 3, BUFFER_BYTES, 5, 2 * BUFFER_BYTES + 1, 100]
            .into_iter()
            .enumerate()
            .map(|(number, length)| {
                (0..length).map(|at| ((at * 31 + number) % 251).try_into().unwrap()).collect()
            })
    }

    fn check_all(file: &IndexFile, expected: &[u8]) {
        assert_eq!(file.size().unwrap(), expected.len() as u64);
        for (from, length) in [(0, 0), (0, 1), (1, 9), (BUFFER_BYTES - 5, 10), (BUFFER_BYTES + 4096, 4096)] {
            let Some(wanted) = expected.get(from..from + length) else { continue };
            let mut read = vec![0; length];
            file.read_at(from as u64, &mut read).unwrap();
            assert!(read == wanted, "{length} bytes from {from} differ");
        }
        let mut whole = vec![0; expected.len()];
        file.read_at(0, &mut whole).unwrap();
        assert!(whole == expected);
        let mut beyond = vec![0; 2];
        for from in [expected.len().saturating_sub(1), expected.len(), expected.len() + 10] {
            assert!(file.read_at(from as u64, &mut beyond).is_err(), "read beyond the end");
        }
    }

    #[test]
    fn what_was_appended_is_read_at_once_and_after_it_is_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.index");
        let mut file = IndexFile::create(&path).unwrap();
        let mut expected = Vec::new();
        for piece in pieces() {
            file.write_all(&piece).unwrap();
            expected.extend_from_slice(&piece);
            check_all(&file, &expected);
        }
        file.finish().unwrap();
        check_all(&IndexFile::open(&path).unwrap(), &expected);
        assert!(IndexFile::create(&path).is_err(), "a file that is in use was written over");
    }

    #[test]
    fn a_scratch_file_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut scratch = IndexFile::scratch(folder.path()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        scratch.write_all(b"scratch").unwrap();
        check_all(&scratch, b"scratch");
    }

    #[test]
    fn a_file_that_was_cut_is_an_error_not_a_short_answer() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.index");
        fs::write(&path, b"0123456789").unwrap();
        let file = IndexFile::open(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_len(4).unwrap();
        let mut read = [0; 4];
        assert!(file.read_at(0, &mut read).is_ok() && file.read_at(2, &mut read).is_err());
    }
}

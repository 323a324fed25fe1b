//! The few things that the spool asks of a disk, behind one small trait, so that tests can cut the power between
//! any two of them. On a gateway it is one folder of the file system; a call costs one indirection more than the
//! system call it makes.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// A folder of files. Nothing below it is a folder.
pub trait Disk: fmt::Debug + Send + Sync {
    /// What people call it.
    fn path(&self) -> &Path;
    /// Makes the folder if there is none.
    ///
    /// # Errors
    /// What the system returns, here and below.
    fn make(&self) -> io::Result<()>;
    /// Names of the files, in any order.
    ///
    /// # Errors
    /// As above.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file.
    ///
    /// # Errors
    /// As above.
    fn open(&self, name: &str, how: Opening) -> io::Result<Box<dyn DiskFile>>;
    /// Gives a file another name, in place of a file that has it.
    ///
    /// # Errors
    /// As above.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Takes a name away.
    ///
    /// # Errors
    /// As above.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Names that were made, changed or taken away are so after a power cut when this returned.
    ///
    /// # Errors
    /// As above.
    fn sync(&self) -> io::Result<()>;
    /// Bytes that can be written yet.
    ///
    /// # Errors
    /// As above.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// To be read; it must be there.
    Read,
    /// To be read and written, with what is in it; it is made when it is not there.
    Write,
    /// To be written from its beginning, without what was in it.
    Anew,
}

/// An open file.
pub trait DiskFile: fmt::Debug + Send {
    /// Reads at an offset; fewer bytes than asked for only at the end.
    ///
    /// # Errors
    /// What the system returns, here and below.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes all bytes at an offset.
    ///
    /// # Errors
    /// As above; any part may be written then.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Takes room on the disk for a file of this length.
    ///
    /// # Errors
    /// As above.
    fn allocate(&self, bytes: u64) -> io::Result<()>;
    /// Cuts or lengthens.
    ///
    /// # Errors
    /// As above.
    fn set_len(&self, bytes: u64) -> io::Result<()>;
    /// What was written is on the disk when this returned. After an error it may never come there, and a second
    /// call may say that it did (the system takes the pages for clean): nothing more is written to this file.
    ///
    /// # Errors
    /// As above.
    fn sync(&self) -> io::Result<()>;
    /// Its length.
    ///
    /// # Errors
    /// As above.
    fn length(&self) -> io::Result<u64>;
    /// Bytes that it takes on the disk.
    ///
    /// # Errors
    /// As above.
    fn allocated(&self) -> io::Result<u64>;
}

/// Whether an error says that there is no room.
pub(super) fn is_no_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Reads a file from an offset on.
pub(super) struct ReadFrom<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
}

impl<'a> ReadFrom<'a> {
    pub fn new(file: &'a dyn DiskFile, offset: u64) -> Self {
        Self { file, offset }
    }
}

impl Read for ReadFrom<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(into, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}

/// A folder of this machine's file system.
#[derive(Debug)]
pub struct LocalDisk {
    folder: PathBuf,
}

impl LocalDisk {
    /// The folder, which need not be there yet.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into() }
    }
}

impl Disk for LocalDisk {
    fn path(&self) -> &Path {
        &self.folder
    }

    fn make(&self) -> io::Result<()> {
        if self.folder.is_dir() {
            return Ok(());
        }
        fs::create_dir_all(&self.folder)?;
        // Its own name has to survive as well.
        let parent = self.folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        parent.map_or(Ok(()), |parent| File::open(parent)?.sync_all())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(Result::transpose).collect()
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        if how != Opening::Read {
            options.write(true).create(true).truncate(how == Opening::Anew);
        }
        Ok(Box::new(options.open(self.folder.join(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let about = nix::sys::statvfs::statvfs(&self.folder)?;
        Ok(about.blocks_available().saturating_mul(about.fragment_size()))
    }
}

impl DiskFile for File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut read = 0;
        while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
            match std::os::unix::fs::FileExt::read_at(self, rest, offset + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let length = i64::try_from(bytes).map_err(io::Error::other)?;
        Ok(nix::fcntl::posix_fallocate(self, 0, length)?)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        File::set_len(self, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn allocated(&self) -> io::Result<u64> {
        // In units of 512 bytes, whatever the file system's blocks are (stat(2)).
        Ok(self.metadata()?.blocks().saturating_mul(512))
    }
}

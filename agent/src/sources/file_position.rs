//! By what a log file is known again, whatever its name, and up to where it was read: inode and birth, its first
//! bytes, and those before the position.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::packed::Packed;

/// Bytes before the position by which a file is known again.
pub const MARKER_BYTES: usize = 64;
/// Bytes at the beginning by which a copy is known.
pub const HEAD_BYTES: usize = 256;

/// Microseconds since 1970.
pub fn micros(time: SystemTime) -> Option<i64> {
    i64::try_from(time.duration_since(UNIX_EPOCH).ok()?.as_micros()).ok()
}

/// Which file it is, whatever its name. `FS_IOC_GETVERSION` would tell a reused inode too, but no safe call asks for
/// it; the birth time does the same where the file system has one, and elsewhere the content does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileId {
    /// Device.
    pub device: u64,
    /// Inode on it; a file system uses it again when a file is gone.
    pub inode: u64,
    /// Birth in microseconds, where the file system knows it.
    pub born: Option<i64>,
}

impl FileId {
    /// Of an open or listed file.
    pub fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok().and_then(micros) }
    }

    /// Whether it is the same file. Device numbers may change with a reboot; with a birth time the inode is enough.
    pub fn is(&self, other: &Self) -> bool {
        self.inode == other.inode
            && self.born == other.born
            && (self.device == other.device || self.born.is_some())
    }
}

/// The first bytes of a file: how many, and their CRC-32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    bytes: u16,
    crc: u32,
}

impl Head {
    /// Of the bytes that a file begins with.
    pub fn of(bytes: &[u8]) -> Self {
        let bytes = written(bytes.get(..HEAD_BYTES).unwrap_or(bytes));
        Self { bytes: u16::try_from(bytes.len()).unwrap_or(u16::MAX), crc: crc32fast::hash(bytes) }
    }

    /// Takes in what a block that begins at `from` tells.
    pub fn extend(&mut self, from: u64, block: &[u8]) {
        let known = u64::from(self.bytes);
        if from == 0 {
            *self = Self::of(block);
        } else if known < HEAD_BYTES as u64 && from <= known {
            let start = usize::try_from(known - from).unwrap_or(usize::MAX);
            let end = usize::try_from(HEAD_BYTES as u64 - from).unwrap_or(0).min(block.len());
            let Some(more) = block.get(start..end).map(written) else { return };
            let mut crc = crc32fast::Hasher::new_with_initial_len(self.crc, known);
            crc.update(more);
            self.bytes += u16::try_from(more.len()).unwrap_or(0);
            self.crc = crc.finalize();
        }
    }

    /// Whether these are the first bytes of a file that begins so.
    pub fn begins(self, bytes: &[u8]) -> bool {
        bytes.get(..usize::from(self.bytes)).is_some_and(|bytes| Self::of(bytes) == self)
    }

    /// Whether nothing is known.
    pub fn is_empty(self) -> bool {
        self.bytes == 0
    }
}

/// Up to where a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Which file; of a copy, the file that it was made of.
    pub id: FileId,
    /// How often it was truncated and begun again.
    pub truncations: u32,
    /// Offset of the first line that was not read.
    pub offset: u64,
    /// Lines read.
    pub lines: u64,
    /// CRC-32 of up to 64 bytes before the offset.
    pub marker: u32,
    /// Its first bytes.
    #[serde(default)]
    pub head: Head,
    /// Bytes of the line at the offset that were given out although it had no end.
    #[serde(default)]
    pub given: u32,
    /// Whether more of it is to be read.
    #[serde(default)]
    pub open: bool,
    /// For what begins after a truncation, or with the first look at a log: when it had been written last, in
    /// microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<i64>,
}

impl FilePosition {
    /// At the beginning of a file.
    pub fn new(id: FileId) -> Self {
        Self {
            id,
            truncations: 0,
            offset: 0,
            lines: 0,
            marker: 0,
            head: Head::default(),
            given: 0,
            open: true,
            begun_at: None,
        }
    }

    /// The same file, of which nothing was read.
    #[must_use]
    pub fn begun(self) -> Self {
        Self { head: self.head, truncations: self.truncations, begun_at: self.begun_at, ..Self::new(self.id) }
    }

    /// Whether both stand in the same content of the same file.
    pub fn is_of(&self, other: &Self) -> bool {
        self.id.is(&other.id) && self.truncations == other.truncations
    }

    /// Whether nothing is known by which its content could be told.
    pub fn is_blank(&self) -> bool {
        self.offset == 0 && self.head.is_empty()
    }

    /// Whether so little is known of its content that another file could begin in the same way.
    pub fn is_weak(&self) -> bool {
        self.offset.max(u64::from(self.head.bytes)) < MARKER_BYTES as u64
    }

    /// Whether it may have been copied and truncated without a trace but the copy: so little is known of it.
    pub fn may_be_cut(&self) -> bool {
        self.is_weak() && (self.truncations > 0 || self.begun_at.is_some())
    }

    /// Compares content with what was read, and says whether nothing else is there.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub fn is_all_of(&self, content: &mut Content) -> io::Result<bool> {
        let same = self.prove(content)? == Proof::Same;
        Ok(same && content.read_at(&mut [0], self.offset)? == 0)
    }

    /// Compares content with what was read: what is not told apart by its first bytes is by those before the offset.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub fn prove(&self, content: &mut Content) -> io::Result<Proof> {
        // No file is so long.
        if self.is_blank() || i64::try_from(self.offset).is_err() {
            return Ok(Proof::Other);
        }
        let mut buffer = [0; HEAD_BYTES];
        let head = buffer.get_mut(..usize::from(self.head.bytes)).unwrap_or_default();
        let read = content.read_at(head, 0)?;
        if read < head.len() {
            return Ok(if read == 0 { Proof::Other } else { Proof::Little });
        }
        if !self.head.begins(head) {
            return Ok(Proof::Other);
        }
        Ok(match self.is_marked(content)? {
            Some(true) => Proof::Same,
            Some(false) => Proof::Other,
            None if self.head.is_empty() => Proof::Other,
            None => Proof::Shorter,
        })
    }

    /// Whether the bytes before the offset are the same; `None` when it ends before.
    ///
    /// # Errors
    /// When the content cannot be read.
    pub fn is_marked(&self, content: &mut Content) -> io::Result<Option<bool>> {
        let mut buffer = [0; MARKER_BYTES];
        let before = self.offset.min(MARKER_BYTES as u64);
        let marker = buffer.get_mut(..usize::try_from(before).unwrap_or(0)).unwrap_or_default();
        let read = content.read_at(marker, self.offset - before)?;
        Ok(if read < marker.len() { None } else { Some(marker_of(marker) == self.marker) })
    }
}

/// What [`FilePosition::prove`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It is what was read, up to the offset.
    Same,
    /// It begins like it and ends before the offset.
    Shorter,
    /// It ends before it could be told by its first bytes.
    Little,
    /// It is something else.
    Other,
}

/// Why content is not what was read before; a new generation begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reset {
    /// It ends before what was read.
    Shorter,
    /// Other bytes stand before the offset.
    Content,
    /// Another file has its inode.
    Reborn,
}

/// Where bytes come from.
#[derive(Debug)]
pub enum Content {
    /// A file that may grow and be truncated.
    Plain(File),
    /// A file that was compressed.
    Packed(Box<Packed>),
}

impl Content {
    /// Fills the buffer from an offset on; less at the end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_at(&mut self, buffer: &mut [u8], from: u64) -> io::Result<usize> {
        let file = match self {
            Self::Packed(packed) => return packed.read_at(buffer, from),
            Self::Plain(file) => file,
        };
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match file.read_at(rest, from + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Without the zeros at the end, into which text may be written.
fn written(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    bytes.get(..end).unwrap_or_default()
}

/// What stands for the bytes before a position; no bytes have no checksum.
pub fn marker_of(bytes: &[u8]) -> u32 {
    if bytes.is_empty() { 0 } else { crc32fast::hash(bytes) }
}

/// Up to where the files of one path were read, oldest first; the last is the one under the path's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPosition {
    /// Each file.
    pub files: Vec<FilePosition>,
    /// What the path led to, when it is a link.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<u8>,
}

impl PathPosition {
    /// This position, and with it the files that were begun since, in the order in which `newer` knows them.
    #[must_use]
    pub fn with_begun(self, newer: &Self) -> Self {
        let same = |files: &[FilePosition], file: &FilePosition| {
            files.iter().find(|known| known.is_of(file)).copied()
        };
        let older = self.files.iter().filter(|file| same(&newer.files, file).is_none()).copied();
        let later = newer.files.iter().filter_map(|file| match same(&self.files, file) {
            Some(known) if known.open && known.is_blank() => Some(file.begun()),
            None if file.open => Some(file.begun()),
            known => known,
        });
        Self { files: older.chain(later).collect(), target: newer.target.clone() }
    }

    /// This position, and as closed what is safe and not in it: it was read to its end and forgotten since.
    #[must_use]
    pub fn with_forgotten(mut self, safe: &Self) -> Self {
        let is_gone = |file: &&FilePosition| file.open && !self.files.iter().any(|known| known.is_of(file));
        let gone = safe.files.iter().filter(is_gone).map(|file| FilePosition { open: false, ..*file });
        self.files = gone.chain(self.files.iter().copied()).collect();
        self
    }
}

//! One open log file: gives out its whole lines, as bytes, with the place of each.
//!
//! A line is known for ever by its path and [`LineReader::place`], so that reading it again gives the same
//! hits. Rotation puts new content under the same path: the place therefore begins with 28 bits of the
//! file's own identity, followed by 36 bits of byte offset. Fewer bits of identity were seen to collide.

use std::fs::{File, Metadata};
use std::io::{self, BufRead as _, BufReader, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// What is kept of a longer line; the rest is skipped and counted.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// Bytes before the position by which a file is known again.
const MARKER_BYTES: u64 = 64;
const OFFSET_BITS: u32 = 36;
const IDENTITY_BITS: u32 = 28;

/// Which file it is, whatever its name.
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
        let born = metadata.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            born: born.and_then(|born| i64::try_from(born.as_micros()).ok()),
        }
    }

    /// Whether it is the same file. Device numbers may change with a reboot; with a birth time the inode is enough.
    pub fn is(&self, other: &Self) -> bool {
        self.inode == other.inode
            && self.born == other.born
            && (self.device == other.device || self.born.is_some())
    }
}

/// Up to where a file was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePosition {
    /// Which file.
    pub id: FileId,
    /// How often it was truncated and begun again.
    pub truncations: u32,
    /// Offset of the first line that was not read.
    pub offset: u64,
    /// Lines read.
    pub lines: u64,
    /// CRC-32 of up to 64 bytes before the offset.
    pub marker: u32,
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// A whole line is in [`LineReader::line`].
    Line,
    /// Nothing more for now.
    End,
}

/// A line and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WholeLine<'a> {
    /// Number since the reader began the file, from 1.
    pub number: u64,
    /// What identifies it within its path.
    pub place: u64,
    /// Without its end.
    pub bytes: &'a [u8],
}

/// Reads one file.
#[derive(Debug)]
pub struct LineReader {
    reader: BufReader<File>,
    position: FilePosition,
    /// The line that is being read, without its end.
    line: Vec<u8>,
    /// Bytes of the file that the line took so far, those skipped included.
    taken: u64,
    complete: bool,
    cut: u64,
}

impl LineReader {
    /// Begins at the file's beginning.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_start(file: File) -> io::Result<Self> {
        let id = FileId::of(&file.metadata()?);
        Self::at(file, FilePosition { id, truncations: 0, offset: 0, lines: 0, marker: 0 })
    }

    /// Begins after the last whole line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_end(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let offset = last_line_end(&file, metadata.len())?;
        let marker = marker(&file, offset)?;
        Self::at(file, FilePosition { id: FileId::of(&metadata), truncations: 0, offset, lines: 0, marker })
    }

    /// Goes on where it was read before; from the beginning when it is not the same content.
    /// Gives whether it is.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn resume(file: File, saved: FilePosition) -> io::Result<(Self, bool)> {
        let metadata = file.metadata()?;
        let position = FilePosition { id: FileId::of(&metadata), ..saved };
        let same = saved.offset <= metadata.len() && marker(&file, saved.offset)? == saved.marker;
        let mut reader = Self::at(file, position)?;
        if !same {
            reader.begin_again()?;
        }
        Ok((reader, same))
    }

    fn at(mut file: File, position: FilePosition) -> io::Result<Self> {
        file.seek(SeekFrom::Start(position.offset))?;
        let reader = BufReader::with_capacity(16 << 10, file);
        Ok(Self { reader, position, line: Vec::new(), taken: 0, complete: false, cut: 0 })
    }

    /// Up to where it was read.
    pub fn position(&self) -> FilePosition {
        self.position
    }

    /// Lines that were cut since the last question.
    pub fn take_cut(&mut self) -> u64 {
        std::mem::take(&mut self.cut)
    }

    /// Whether the file was truncated or its content replaced since it was read; then it begins again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn check_truncated(&mut self) -> io::Result<bool> {
        let file = self.reader.get_ref();
        let bytes = file.metadata()?.len();
        let read = self.position.offset + self.taken;
        let truncated =
            bytes < read || (bytes > read && marker(file, self.position.offset)? != self.position.marker);
        if truncated {
            self.begin_again()?;
        }
        Ok(truncated)
    }

    fn begin_again(&mut self) -> io::Result<()> {
        self.position.truncations += 1;
        (self.position.offset, self.position.lines, self.position.marker) = (0, 0, 0);
        self.line.clear();
        self.taken = 0;
        self.complete = false;
        self.reader.seek(SeekFrom::Start(0)).map(drop)
    }

    /// Reads on to the end of a line.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self) -> io::Result<Read> {
        if self.complete {
            self.pass()?;
        }
        loop {
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            let read = if room > 0 {
                let mut limited = (&mut self.reader).take(room as u64);
                limited.read_until(b'\n', &mut self.line)?
            } else {
                self.skip_to_line_end()?
            };
            self.taken += read as u64;
            if read == 0 {
                return Ok(Read::End);
            }
            if self.complete || self.line.last() == Some(&b'\n') {
                self.complete = true;
                return Ok(Read::Line);
            }
            self.pass_hole();
        }
    }

    /// Skips the rest of a line that is too long, up to and with its end.
    fn skip_to_line_end(&mut self) -> io::Result<usize> {
        let buffered = self.reader.fill_buf()?;
        let end = buffered.iter().position(|byte| *byte == b'\n');
        let skipped = end.map_or(buffered.len(), |end| end + 1);
        self.complete = end.is_some();
        self.reader.consume(skipped);
        if self.complete {
            self.cut += 1;
        }
        Ok(skipped)
    }

    /// A writer that does not append leaves zeros where the file was before it was truncated.
    fn pass_hole(&mut self) {
        if !self.line.is_empty() && self.line.iter().all(|byte| *byte == 0) {
            self.position.offset += self.taken;
            self.taken = 0;
            self.line.clear();
        }
    }

    /// The line that was read. An unfinished one is given too, for a file that will not grow any more.
    pub fn line(&self) -> Option<WholeLine<'_>> {
        if self.taken == 0 {
            return None;
        }
        let bytes = self.line.strip_suffix(b"\n").unwrap_or(&self.line);
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        Some(WholeLine { number: self.position.lines + 1, place: self.place(), bytes })
    }

    /// What identifies the line within its path.
    fn place(&self) -> u64 {
        let id = self.position.id;
        let mut crc = crc32fast::Hasher::new();
        crc.update(&id.inode.to_be_bytes());
        crc.update(&id.born.unwrap_or_default().to_be_bytes());
        crc.update(&self.position.truncations.to_be_bytes());
        let identity = u64::from(crc.finalize()) & ((1 << IDENTITY_BITS) - 1);
        (identity << OFFSET_BITS) | (self.position.offset & ((1 << OFFSET_BITS) - 1))
    }

    /// Counts an unfinished line as read.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn finish_line(&mut self) -> io::Result<()> {
        if self.taken > 0 { self.pass() } else { Ok(()) }
    }

    fn pass(&mut self) -> io::Result<()> {
        self.position.offset += self.taken;
        self.position.lines += 1;
        self.taken = 0;
        self.complete = false;
        self.line.clear();
        self.line.shrink_to(LINE_BYTES_MAX / 16);
        Ok(())
    }

    /// Counts the last line as read and puts down by which bytes the file is known again.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn settle(&mut self) -> io::Result<FilePosition> {
        if self.complete {
            self.pass()?;
        }
        self.position.marker = marker(self.reader.get_ref(), self.position.offset)?;
        Ok(self.position)
    }
}

/// CRC-32 of up to 64 bytes before an offset.
fn marker(file: &File, offset: u64) -> io::Result<u32> {
    let bytes = offset.min(MARKER_BYTES);
    let mut buffer = [0; 64];
    let buffer = buffer.get_mut(..usize::try_from(bytes).unwrap_or(0)).unwrap_or_default();
    match file.read_exact_at(buffer, offset - bytes) {
        // It became shorter meanwhile: no bytes are the same as none.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(u32::MAX),
        read => read.map(|()| if bytes == 0 { 0 } else { crc32fast::hash(buffer) }),
    }
}

/// Offset after the last newline within the last 64 KiB; the end when there is none.
fn last_line_end(file: &File, bytes: u64) -> io::Result<u64> {
    let window = bytes.min(LINE_BYTES_MAX as u64);
    let mut buffer = vec![0; usize::try_from(window).unwrap_or(0)];
    file.read_exact_at(&mut buffer, bytes - window)?;
    let end = buffer.iter().rposition(|byte| *byte == b'\n');
    Ok(end.map_or(if window == bytes { 0 } else { bytes }, |end| bytes - window + end as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn lines(reader: &mut LineReader) -> Vec<String> {
        let mut lines = Vec::new();
        while reader.read().unwrap() == Read::Line {
            let line = reader.line().unwrap();
            lines.push(format!("{} {}", line.number, String::from_utf8_lossy(line.bytes)));
        }
        reader.settle().unwrap();
        lines
    }

    fn log(text: &[u8]) -> (tempfile::NamedTempFile, LineReader) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text).unwrap();
        let reader = LineReader::from_start(file.reopen().unwrap()).unwrap();
        (file, reader)
    }

    #[test]
    fn a_line_is_given_when_its_end_is_there() {
        let (mut file, mut reader) = log(b"one\r\n\ntw");
        assert_eq!(lines(&mut reader), ["1 one", "2 "]);
        file.write_all(b"o\nthree").unwrap();
        assert_eq!(lines(&mut reader), ["3 two"]);
        assert_eq!(reader.line().unwrap().bytes, b"three");
    }

    #[test]
    fn bytes_that_are_no_text_stay_as_they_are() {
        let (_file, mut reader) = log(b"a\0\xff\x1b[31m\n");
        assert_eq!(reader.read().unwrap(), Read::Line);
        assert_eq!(reader.line().unwrap().bytes, b"a\0\xff\x1b[31m");
    }

    #[test]
    fn the_rest_of_a_long_line_is_skipped_and_counted() {
        let (_file, mut reader) = log(&[vec![b'x'; LINE_BYTES_MAX * 3], b"\nnext\n".to_vec()].concat());
        assert_eq!(reader.read().unwrap(), Read::Line);
        assert_eq!(reader.line().unwrap().bytes.len(), LINE_BYTES_MAX);
        assert_eq!(lines(&mut reader), ["2 next"]);
        assert_eq!(reader.take_cut(), 1);
        assert_eq!(reader.position().offset, LINE_BYTES_MAX as u64 * 3 + 6);
    }

    #[test]
    fn zeros_that_a_writer_leaves_after_truncation_are_passed_over() {
        let (_file, mut reader) = log(&[vec![0; LINE_BYTES_MAX * 2], b"after\n".to_vec()].concat());
        assert_eq!(lines(&mut reader), ["1 after"]);
    }

    #[test]
    fn reading_goes_on_where_it_stopped_and_again_when_the_content_is_another() {
        let (file, mut reader) = log(b"one\ntwo\npart");
        assert_eq!(lines(&mut reader).len(), 2);
        let saved = reader.position();
        let (mut again, same) = LineReader::resume(file.reopen().unwrap(), saved).unwrap();
        std::fs::OpenOptions::new().append(true).open(file.path()).unwrap().write_all(b"ial\n").unwrap();
        assert!(same);
        assert_eq!(lines(&mut again), ["3 partial"]);

        std::fs::write(file.path(), b"ONE\nTWO\nTHREE\nFOUR\n").unwrap();
        let (mut other, same) = LineReader::resume(file.reopen().unwrap(), saved).unwrap();
        assert!(!same);
        assert_eq!(lines(&mut other), ["1 ONE", "2 TWO", "3 THREE", "4 FOUR"]);
    }

    #[test]
    fn truncation_is_noticed_at_any_size() {
        for after in ["x\n", "other line of length\n", "much longer than everything that was there before\n"]
        {
            let (file, mut reader) = log(b"first line of text!!\n");
            assert_eq!(lines(&mut reader).len(), 1);
            assert!(!reader.check_truncated().unwrap());
            let place = {
                std::fs::write(file.path(), after).unwrap();
                // The same number of bytes shows when more comes.
                let mut more = std::fs::OpenOptions::new().append(true).open(file.path()).unwrap();
                more.write_all(b"more\n").unwrap();
                assert!(reader.check_truncated().unwrap(), "{after:?}");
                assert_eq!(reader.read().unwrap(), Read::Line);
                reader.line().unwrap().place
            };
            let fresh = LineReader::from_start(file.reopen().unwrap()).unwrap();
            assert_ne!(place, fresh.place(), "the same place stood for two lines");
        }
    }

    #[test]
    fn from_the_end_only_new_lines_are_read() {
        let (mut file, _) = log(b"old\nunfinish");
        let mut reader = LineReader::from_end(file.reopen().unwrap()).unwrap();
        file.write_all(b"ed\nnew\n").unwrap();
        assert_eq!(lines(&mut reader), ["1 unfinished", "2 new"]);
    }

    #[test]
    fn a_place_survives_json_and_ends_with_the_offset() {
        let (_file, mut reader) = log(b"x\ny\n");
        assert_eq!(lines(&mut reader), ["1 x", "2 y"]);
        let place = reader.place();
        assert_eq!(serde_json::from_str::<u64>(&serde_json::to_string(&place).unwrap()).unwrap(), place);
        assert_eq!(place & ((1 << OFFSET_BITS) - 1), reader.position().offset);
        assert_eq!(reader.position().offset, 4);
    }
}

//! One log file, plain or packed: gives out its whole lines, as bytes, with the place of each.
//!
//! A line is known for ever by its path and [`WholeLine::place`], so that reading it again gives the same
//! hits. Rotation puts new content under the same path: the place therefore begins with 28 bits of the
//! file's own identity, followed by 36 bits of byte offset. Fewer bits of identity were seen to collide.
//!
//! Nothing is kept of a file between two looks but its position: blocks go through a buffer that all files share.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::time::{Duration, Instant};

pub use super::file_position::{Content, FileId, FilePosition, Proof, Reset};
use super::file_position::{HEAD_BYTES, Head, MARKER_BYTES, marker_of, micros};

/// What is looked at of a longer line; the rest is skipped and counted.
pub const LINE_BYTES_MAX: usize = 64 << 10;
const BLOCK_BYTES: usize = 256 << 10;
const OFFSET_BITS: u32 = 36;
const IDENTITY_BITS: u32 = 28;

/// What all files are read through.
#[derive(Debug)]
pub struct Block {
    bytes: Vec<u8>,
    /// A line of UTF-16 without its zeros.
    narrow: Vec<u8>,
}

impl Default for Block {
    fn default() -> Self {
        Self { bytes: vec![0; BLOCK_BYTES], narrow: Vec::new() }
    }
}

/// What reading gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// A block was read; there may be more.
    More,
    /// Nothing more for now.
    End,
    /// The receiver of lines wants no more for now.
    Paused,
    /// It is not the content that was read before.
    Reset(Reset),
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

/// Takes lines; says whether it wants more.
pub type HandOn<'a> = dyn FnMut(WholeLine<'_>) -> bool + 'a;

/// What was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines.
    pub lines: u64,
    /// Lines longer than [`LINE_BYTES_MAX`].
    pub cut: u64,
    /// Their bytes that were not looked at.
    pub cut_bytes: u64,
    /// Lines given out before they had an end.
    pub partial: u64,
}

/// Reads one file.
#[derive(Debug)]
pub struct LineReader {
    content: Content,
    position: FilePosition,
    identity: u64,
    /// Bytes of an endless line, all given out or beyond what is looked at, in which there is no end.
    searched: u64,
    /// The bytes before that, at most 64.
    before: Vec<u8>,
    /// Bytes of a line without an end at the end of what was read.
    unfinished: u64,
    /// Size, and times of the last change, at the end of which nothing more was to be read.
    looked: Option<(u64, i64, i64)>,
    bytes_seen: u64,
    grown_at: Instant,
    /// Whether it begins with a UTF-16 mark, once that is known.
    wide: Option<bool>,
    counts: Counts,
}

impl LineReader {
    /// Begins at the beginning.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_start(content: Content, id: FileId) -> io::Result<Self> {
        Self::from_start_as(content, FilePosition::new(id))
    }

    /// Begins at the beginning of what is known by a position that is blank.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_start_as(mut content: Content, position: FilePosition) -> io::Result<Self> {
        let mut head = [0; HEAD_BYTES];
        let read = content.read_at(&mut head, 0)?;
        let head = Head::of(head.get(..read).unwrap_or_default());
        Ok(Self::at(content, FilePosition { offset: 0, head, open: true, ..position }, Vec::new()))
    }

    /// Begins after the last whole line of a plain file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn from_end(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let offset = last_line_end(&file, metadata.len())?;
        let mut reader = Self::from_start(Content::Plain(file), FileId::of(&metadata))?;
        reader.before = bytes_before(&mut reader.content, offset)?;
        reader.position.offset = offset;
        reader.position.marker = marker_of(&reader.before);
        Ok(reader)
    }

    /// Goes on where content was read before that was proven to be the same.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn resume(mut content: Content, saved: FilePosition) -> io::Result<Self> {
        let before = bytes_before(&mut content, saved.offset)?;
        Ok(Self::at(content, FilePosition { open: true, ..saved }, before))
    }

    fn at(content: Content, position: FilePosition, before: Vec<u8>) -> Self {
        Self {
            content,
            position,
            identity: identity_of(&position),
            searched: 0,
            before,
            unfinished: 0,
            looked: None,
            bytes_seen: position.offset,
            grown_at: Instant::now(),
            wide: None,
            counts: Counts::default(),
        }
    }

    /// Where it stands.
    pub fn position(&self) -> FilePosition {
        self.position
    }

    /// The greatest size that was seen of what it reads.
    pub fn bytes_seen(&self) -> u64 {
        self.bytes_seen.max(self.position.offset)
    }

    /// Bytes that are there and not read.
    pub fn lag_bytes(&self) -> u64 {
        let size = match &self.content {
            Content::Plain(file) => file.metadata().map_or(0, |metadata| metadata.len()),
            Content::Packed(_) => 0,
        };
        size.saturating_sub(self.position.offset)
    }

    /// Whether the file is a plain one, which may still grow.
    pub fn may_grow(&self) -> bool {
        matches!(self.content, Content::Plain(_))
    }

    /// When there was something new last.
    pub fn grown_at(&self) -> Instant {
        self.grown_at
    }

    /// How long ago the file was written, as far as the clock can be believed.
    pub fn written_ago(&self) -> Duration {
        let Content::Plain(file) = &self.content else { return Duration::ZERO };
        let written = file.metadata().and_then(|metadata| metadata.modified()).ok();
        written.and_then(|written| written.elapsed().ok()).unwrap_or_default()
    }

    /// What was counted since the last time.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    /// Begins anew with what a truncated file holds.
    pub fn begin_again(&mut self) {
        let truncations = self.position.truncations.wrapping_add(1);
        let begun_at = self.written_at();
        self.position = FilePosition { truncations, begun_at, ..FilePosition::new(self.position.id) };
        self.identity = identity_of(&self.position);
        self.before.clear();
        (self.searched, self.unfinished, self.bytes_seen) = (0, 0, 0);
        (self.looked, self.wide, self.grown_at) = (None, None, Instant::now());
        self.look_at_head();
    }

    /// Puts down when the file was written last, before which none of its later contents began.
    #[must_use]
    pub fn begun_now(mut self) -> Self {
        self.position.begun_at = self.written_at();
        self
    }

    /// Looks at the first bytes, by which another content is told when the file is truncated before they are read.
    pub fn look_at_head(&mut self) {
        let mut head = [0; HEAD_BYTES];
        if let Ok(read) = self.content.read_at(&mut head, 0) {
            self.position.head = Head::of(head.get(..read).unwrap_or_default());
        }
    }

    fn written_at(&self) -> Option<i64> {
        let Content::Plain(file) = &self.content else { return None };
        file.metadata().ok()?.modified().ok().and_then(micros)
    }

    /// Reads a block and gives out its whole lines.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> io::Result<Reading> {
        let looked = self.look()?;
        if looked.is_some() && looked == self.looked {
            return Ok(Reading::End);
        }
        let Block { bytes, narrow } = block;
        let from = self.position.offset + self.searched;
        let start = from - self.before.len() as u64;
        let read = self.content.read_at(bytes, start)?;
        let bytes = bytes.get(..read).unwrap_or_default();
        let Some(known) = bytes.get(..self.before.len()) else { return Ok(Reading::Reset(Reset::Shorter)) };
        if known != self.before {
            return Ok(Reading::Reset(Reset::Content));
        }
        // Little or nothing may stand before it: the first bytes tell more.
        if start == 0 && !self.position.head.begins(bytes) {
            return Ok(Reading::Reset(Reset::Content));
        }
        // Without bytes before it, only the size tells that the file was truncated meanwhile.
        let end = start + read as u64;
        if start == 0 && self.look()?.is_some_and(|(size, ..)| size < end) {
            return Ok(Reading::Reset(Reset::Shorter));
        }
        // Lines may end alike: what was filled again up to here began otherwise.
        if start > 0 && self.may_grow() && !self.begins_as_before()? {
            return Ok(Reading::Reset(Reset::Content));
        }
        if end > self.bytes_seen {
            (self.bytes_seen, self.grown_at) = (end, Instant::now());
        }
        self.position.head.extend(start, bytes);
        if start == 0 && read >= 2 {
            self.wide = Some(is_wide(bytes));
        }
        let paused = self.split(bytes, narrow, hand_on)?;
        self.looked = None;
        Ok(match () {
            () if paused => Reading::Paused,
            () if read == BLOCK_BYTES => Reading::More,
            () => {
                self.looked = looked;
                Reading::End
            }
        })
    }

    fn begins_as_before(&mut self) -> io::Result<bool> {
        let mut head = [0; HEAD_BYTES];
        let read = self.content.read_at(&mut head, 0)?;
        Ok(self.position.head.begins(head.get(..read).unwrap_or_default()))
    }

    /// Gives out the lines of a block that begins with `self.before`; gives whether to pause.
    fn split(&mut self, bytes: &[u8], narrow: &mut Vec<u8>, hand_on: &mut HandOn<'_>) -> io::Result<bool> {
        let mut at = self.before.len();
        let mut paused = false;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty() && !paused) {
            let hole = if self.searched > 0 { 0 } else { zeros(rest) };
            if hole == rest.len() && bytes.len() < BLOCK_BYTES {
                break; // text may be written into them
            }
            if hole > 0 {
                // A writer that does not append leaves zeros where the file was before it was truncated.
                self.position.offset += hole as u64;
                self.position.given = 0;
                at += hole;
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', rest) else { break };
            let line = rest.get(..end).unwrap_or_default();
            let length = self.searched + end as u64;
            let known = u64::from(self.position.given);
            // An endless line was given out when as much was there as is looked at.
            if known < length.min(LINE_BYTES_MAX as u64) || length == 0 {
                paused = !self.give(line, narrow, hand_on)?;
            }
            self.count_line(length);
            self.position.offset += length + 1;
            self.position.given = 0;
            self.searched = 0;
            at += end + 1;
        }
        self.mark(bytes.get(..at).unwrap_or_default());
        let rest = bytes.get(at..).unwrap_or_default();
        self.unfinished = self.searched + rest.len() as u64;
        if !paused && rest.len() > LINE_BYTES_MAX || self.searched > 0 {
            if self.searched == 0 && (self.position.given as usize) < LINE_BYTES_MAX {
                paused = !self.give(rest, narrow, hand_on)?;
                self.counts.partial += 1;
                self.position.given = u32::try_from(LINE_BYTES_MAX).unwrap_or(u32::MAX);
            }
            self.searched += rest.len() as u64;
            self.keep_before(bytes);
        }
        Ok(paused)
    }

    /// Puts down what stands before the offset, which is at the end of these bytes.
    fn mark(&mut self, bytes: &[u8]) {
        if self.searched > 0 {
            return; // the offset is where it was
        }
        self.keep_before(bytes);
        self.position.marker = marker_of(&self.before);
    }

    fn keep_before(&mut self, bytes: &[u8]) {
        let before = bytes.get(bytes.len().saturating_sub(MARKER_BYTES)..).unwrap_or(bytes);
        if self.before != before {
            self.before.clear();
            self.before.extend_from_slice(before);
        }
    }

    fn count_line(&mut self, length: u64) {
        self.position.lines = self.position.lines.saturating_add(1);
        self.counts.lines += 1;
        let excess = length.saturating_sub(LINE_BYTES_MAX as u64);
        self.counts.cut += u64::from(excess > 0);
        self.counts.cut_bytes += excess;
    }

    fn give(&mut self, line: &[u8], narrow: &mut Vec<u8>, hand_on: &mut HandOn<'_>) -> io::Result<bool> {
        if self.wide.is_none() {
            let mut start = [0; 2];
            self.wide = Some(self.may_grow() && self.content.read_at(&mut start, 0)? == 2 && is_wide(&start));
        }
        let mut bytes = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        if self.wide == Some(true) {
            narrow.clear();
            narrow.extend(bytes.iter().copied().filter(|byte| *byte != 0));
            bytes = narrow;
        }
        if self.position.offset == 0 {
            let marks: [&[u8]; 3] = [b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"];
            bytes = marks.iter().find_map(|mark| bytes.strip_prefix(*mark)).unwrap_or(bytes);
        }
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        let number = self.position.lines.saturating_add(1);
        Ok(hand_on(WholeLine { number, place: self.place(), bytes }))
    }

    /// Gives out what is there of a line that has no end; gives whether the receiver wants more.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn give_unfinished(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> io::Result<bool> {
        let there = self.unfinished.min(LINE_BYTES_MAX as u64);
        if there <= u64::from(self.position.given) {
            return Ok(true);
        }
        let Block { bytes, narrow } = block;
        let wanted = bytes.get_mut(..usize::try_from(there).unwrap_or(0)).unwrap_or_default();
        let read = self.content.read_at(wanted, self.position.offset)?;
        let line = bytes.get(..read).unwrap_or_default();
        // It ended, or the file was truncated, meanwhile: the next look tells.
        if (read as u64) < there || line.contains(&b'\n') || zeros(line) == line.len() {
            return Ok(true);
        }
        let more = self.give(line, narrow, hand_on)?;
        self.counts.partial += 1;
        self.position.given = u32::try_from(there).unwrap_or(u32::MAX);
        Ok(more)
    }

    /// Whether there is more of an unfinished line than was given out.
    pub fn has_unfinished(&self) -> bool {
        self.unfinished.min(LINE_BYTES_MAX as u64) > u64::from(self.position.given)
    }

    /// Counts an unfinished line as read: the file does not grow any more.
    pub fn close(mut self) -> FilePosition {
        if self.unfinished > 0 {
            self.count_line(self.unfinished);
            self.position.offset += self.unfinished;
            self.position.given = 0;
            // Read once more only to be known again; what cannot be read is known by its beginning.
            let before = bytes_before(&mut self.content, self.position.offset).unwrap_or_default();
            self.position.marker = marker_of(&before);
        }
        FilePosition { open: false, ..self.position }
    }

    fn look(&self) -> io::Result<Option<(u64, i64, i64)>> {
        let Content::Plain(file) = &self.content else { return Ok(None) };
        let metadata = file.metadata()?;
        Ok(Some((metadata.len(), metadata.mtime(), metadata.mtime_nsec())))
    }

    /// What identifies the line within its path.
    fn place(&self) -> u64 {
        self.identity | (self.position.offset & ((1 << OFFSET_BITS) - 1))
    }
}

/// What every place in the same content of the same file begins with.
fn identity_of(position: &FilePosition) -> u64 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&position.id.inode.to_be_bytes());
    crc.update(&position.id.born.unwrap_or_default().to_be_bytes());
    crc.update(&position.truncations.to_be_bytes());
    (u64::from(crc.finalize()) & ((1 << IDENTITY_BITS) - 1)) << OFFSET_BITS
}

fn zeros(bytes: &[u8]) -> usize {
    bytes.iter().position(|byte| *byte != 0).unwrap_or(bytes.len())
}

fn is_wide(start: &[u8]) -> bool {
    start.starts_with(b"\xff\xfe") || start.starts_with(b"\xfe\xff")
}

fn bytes_before(content: &mut Content, offset: u64) -> io::Result<Vec<u8>> {
    let bytes = offset.min(MARKER_BYTES as u64);
    let mut before = vec![0; usize::try_from(bytes).unwrap_or(0)];
    let read = content.read_at(&mut before, offset - bytes)?;
    before.truncate(read);
    Ok(before)
}

/// Offset after the last newline within the last 64 KiB; the end when there is none.
fn last_line_end(file: &File, bytes: u64) -> io::Result<u64> {
    let window = bytes.min(LINE_BYTES_MAX as u64);
    let mut buffer = vec![0; usize::try_from(window).unwrap_or(0)];
    file.read_exact_at(&mut buffer, bytes - window)?;
    let end = memchr::memrchr(b'\n', &buffer);
    Ok(end.map_or(if window == bytes { 0 } else { bytes }, |end| bytes - window + end as u64 + 1))
}

#[cfg(test)]
#[path = "line_reader_tests.rs"]
mod tests;

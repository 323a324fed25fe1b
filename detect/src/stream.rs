//! The head of a TCP stream, one direction: bytes put in order and handed to a reader, as long as the reader wants them.
//!
//! Bounded in all: early segments, bytes kept, attempts. What is missing for good is a gap, and the reader resumes.
//! Where segments overlap, the bytes that came first count, as they do for most receivers; others are flagged.

use std::hash::BuildHasher as _;

use foldhash::quality::RandomState;
use protocol::Note;

use crate::reader::{Part, Reader, Step, Talk, Towards};
use crate::sighting::Sink;

/// Segments kept while an earlier one is missing.
const EARLY_MAX: usize = 12;
/// Bytes of them.
const EARLY_BYTES_MAX: usize = 48 * 1024;
/// Bytes of an unfinished message; a TLS record and an HTTP head have room.
const HEAD_BYTES_MAX: usize = 24 * 1024;
/// Segments that were read whose contents are remembered, to notice when they are sent again with others.
const RECENT: usize = 4;

/// Bytes at a place in the sequence space (RFC 9293 §3.4).
pub(crate) struct Segment<'a> {
    pub sequence: u32,
    pub bytes: &'a [u8],
    /// The capture holds less of it than was sent.
    pub cut: bool,
}

/// A segment that was read: where it stood, and what it held.
#[derive(Clone, Copy, Default)]
struct Recent {
    sequence: u32,
    length: u32,
    hash: u64,
}

/// One direction of a TCP connection.
#[derive(Default)]
pub(crate) struct Stream {
    /// Sequence number of the next byte in order; unknown until the first segment.
    next: Option<u32>,
    /// Bytes from `next` on that nobody wants.
    skip: u64,
    early: Vec<(u32, Box<[u8]>)>,
    /// In order, not consumed yet; ends at `next`.
    head: Vec<u8>,
    recent: [Recent; RECENT],
    recent_at: usize,
    hasher: RandomState,
    reader: Reader,
}

impl Stream {
    /// A stream whose next byte is known when its SYN was seen.
    pub fn starting_at(next: Option<u32>, reader: Reader) -> Self {
        Self { next, reader, ..Self::default() }
    }

    pub fn is_done(&self) -> bool {
        self.reader.is_done()
    }

    /// Bytes kept.
    pub fn held(&self) -> usize {
        let early: usize =
            self.early.iter().map(|(_, bytes)| bytes.len() + size_of::<(u32, Box<[u8]>)>()).sum();
        self.head.capacity() + early + self.reader.held()
    }

    /// Gives up and frees what is kept.
    pub fn give_up(&mut self) {
        *self = Self { reader: Reader::Done, ..Self::default() };
    }

    /// Takes a segment.
    pub fn push(
        &mut self,
        segment: &Segment<'_>,
        (towards, talk): (Towards, &mut Talk),
        sink: &mut Sink<'_>,
    ) {
        if self.is_done() || segment.bytes.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(segment.sequence);
        let ahead = segment.sequence.wrapping_sub(next).cast_signed();
        if ahead > 0 && u64::from(ahead.cast_unsigned()) >= self.skip {
            sink.counters.segments_early += 1;
            self.keep_early(segment, sink);
        } else {
            self.advance(segment.sequence, segment.bytes, (towards, &mut *talk), sink);
        }
        if !self.early.is_empty() {
            self.drain_early((towards, &mut *talk), sink);
        }
        if segment.cut && self.skip == 0 && !self.is_done() {
            self.gap((towards, talk), sink);
        }
        if self.is_done() {
            self.give_up();
        }
    }

    /// The connection ended: what waits for a missing segment will wait in vain.
    /// `closed`: its sender said that all was sent.
    pub fn end(&mut self, (towards, talk): (Towards, &mut Talk), closed: bool, sink: &mut Sink<'_>) {
        let closed = closed && self.early.is_empty() && self.skip == 0;
        while !self.is_done() && !self.early.is_empty() {
            self.gap((towards, &mut *talk), sink);
            self.drain_early((towards, &mut *talk), sink);
        }
        if !self.is_done() {
            self.reader.end(Part { bytes: &self.head, towards, talk }, closed, sink);
        }
        self.give_up();
    }

    fn keep_early(&mut self, segment: &Segment<'_>, sink: &mut Sink<'_>) {
        let same = self.early.iter().find(|(at, _)| *at == segment.sequence);
        let Some((_, kept)) = same else {
            self.early.push((segment.sequence, segment.bytes.into()));
            return;
        };
        let both = kept.len().min(segment.bytes.len());
        if kept.get(..both) != segment.bytes.get(..both) {
            flag_difference(sink);
        }
        if segment.bytes.len() > kept.len() {
            self.early.push((segment.sequence, segment.bytes.into()));
        }
    }

    /// Reads on with what has come in order; when too much waits, the missing bytes are given up.
    fn drain_early(&mut self, (towards, talk): (Towards, &mut Talk), sink: &mut Sink<'_>) {
        loop {
            while let Some((sequence, bytes)) = self.take_early_in_order() {
                self.advance(sequence, &bytes, (towards, &mut *talk), sink);
            }
            let bytes: usize = self.early.iter().map(|(_, bytes)| bytes.len()).sum();
            if self.is_done() || (self.early.len() <= EARLY_MAX && bytes <= EARLY_BYTES_MAX) {
                return;
            }
            self.gap((towards, &mut *talk), sink);
        }
    }

    /// The first segment kept that begins at or before the next byte, or in what is skipped.
    fn take_early_in_order(&mut self) -> Option<(u32, Box<[u8]>)> {
        let next = self.next?;
        let in_order = |sequence: u32| {
            let ahead = sequence.wrapping_sub(next).cast_signed();
            ahead <= 0 || u64::from(ahead.cast_unsigned()) < self.skip
        };
        let at = self.early.iter().position(|(sequence, _)| in_order(*sequence))?;
        Some(self.early.remove(at))
    }

    /// Bytes are missing: the reader says what it can with what it has, then resumes at the first byte kept.
    fn gap(&mut self, (towards, talk): (Towards, &mut Talk), sink: &mut Sink<'_>) {
        sink.counters.stream_gaps += 1;
        self.skip = self.reader.gap(Part { bytes: &self.head, towards, talk }, sink);
        self.head = Vec::new();
        if self.skip > 0 {
            return; // how many bytes are missing does not matter as long as nobody wants them
        }
        let next = self.next.unwrap_or_default();
        let first = self.early.iter().map(|(sequence, _)| *sequence);
        self.next = first.min_by_key(|sequence| sequence.wrapping_sub(next));
    }

    /// Takes bytes that begin at or before the next one, or in what is skipped.
    fn advance(
        &mut self,
        sequence: u32,
        bytes: &[u8],
        (towards, talk): (Towards, &mut Talk),
        sink: &mut Sink<'_>,
    ) {
        let next = self.next.unwrap_or(sequence);
        let ahead = sequence.wrapping_sub(next).cast_signed();
        let bytes = if ahead > 0 {
            // Missing bytes that nobody wants are passed over.
            self.skip = self.skip.saturating_sub(u64::from(ahead.cast_unsigned()));
            self.next = Some(sequence);
            bytes
        } else {
            let read_already = usize::try_from(ahead.unsigned_abs()).unwrap_or(usize::MAX);
            if read_already > 0 {
                self.compare(sequence, bytes, read_already, sink);
            }
            bytes.get(read_already..).unwrap_or_default()
        };
        let Ok(length) = u32::try_from(bytes.len()) else { return };
        if length == 0 {
            return;
        }
        let sequence = self.next.unwrap_or(next);
        self.next = Some(sequence.wrapping_add(length));
        if self.skip >= u64::from(length) {
            self.skip -= u64::from(length);
            return;
        }
        let unwanted = usize::try_from(std::mem::take(&mut self.skip)).unwrap_or(usize::MAX);
        self.remember(sequence, length, bytes);
        self.read(bytes.get(unwanted..).unwrap_or_default(), (towards, talk), sink);
    }

    /// Remembers a segment that is read.
    fn remember(&mut self, sequence: u32, length: u32, bytes: &[u8]) {
        if let Some(recent) = self.recent.get_mut(self.recent_at) {
            *recent = Recent { sequence, length, hash: self.hasher.hash_one(bytes) };
        }
        self.recent_at = (self.recent_at + 1) % RECENT;
    }

    /// Flags bytes sent again that are not those of the first time, as far as they are still known: those not
    /// consumed yet, and whole segments read lately.
    fn compare(&self, sequence: u32, bytes: &[u8], read_already: usize, sink: &mut Sink<'_>) {
        let again = bytes.get(..read_already).unwrap_or(bytes);
        let known = self.recent.iter().find(|recent| {
            recent.sequence == sequence
                && usize::try_from(recent.length).is_ok_and(|length| length == again.len())
        });
        let differs = match known {
            Some(recent) => recent.length > 0 && recent.hash != self.hasher.hash_one(again),
            None => {
                // The head ends at the next byte: `read_already` bytes before it is where this segment begins.
                let Some(at) = self.head.len().checked_sub(read_already) else { return };
                let kept = self.head.get(at..).unwrap_or_default();
                kept.get(..again.len()) != Some(again)
            }
        };
        if differs {
            flag_difference(sink);
        }
    }

    /// Hands bytes to the reader; what it does not consume yet is kept.
    fn read(&mut self, fresh: &[u8], (towards, talk): (Towards, &mut Talk), sink: &mut Sink<'_>) {
        if self.head.is_empty() {
            let consumed = self.read_steps(fresh, (towards, &mut *talk), sink);
            if !self.is_done() {
                self.head.extend_from_slice(fresh.get(consumed..).unwrap_or_default());
            }
        } else {
            let mut head = std::mem::take(&mut self.head);
            head.extend_from_slice(fresh);
            let consumed = self.read_steps(&head, (towards, &mut *talk), sink).min(head.len());
            if consumed < head.len() {
                head.drain(..consumed);
                self.head = head;
            }
        }
        if self.head.len() > HEAD_BYTES_MAX && !self.is_done() {
            sink.counters.heads_too_long += 1;
            self.reader.gap(Part { bytes: &self.head, towards, talk }, sink);
            self.reader = Reader::Done;
        }
    }

    /// Lets the reader take step after step, and gives how many bytes are done with.
    fn read_steps(
        &mut self,
        bytes: &[u8],
        (towards, talk): (Towards, &mut Talk),
        sink: &mut Sink<'_>,
    ) -> usize {
        let mut consumed = 0;
        while let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(Part { bytes: rest, towards, talk: &mut *talk }, sink) {
                Step::Consumed(0) => break,
                Step::Consumed(length) => consumed += length,
                Step::Skip(length) => match usize::try_from(length) {
                    Ok(length) if length <= rest.len() => consumed += length,
                    _ => {
                        self.skip = length.saturating_sub(rest.len() as u64);
                        return bytes.len();
                    }
                },
                Step::Other(length) => {
                    consumed += length;
                    self.reader = Reader::default();
                }
                Step::Done => {
                    self.reader = Reader::Done;
                    return bytes.len();
                }
            }
        }
        consumed
    }
}

fn flag_difference(sink: &mut Sink<'_>) {
    sink.counters.segments_differ += 1;
    sink.notes.add(Note::SegmentsDiffer);
}

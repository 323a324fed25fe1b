//! The head of a TCP stream, one direction: bytes put in order and handed to a reader, as long as the reader wants them.
//!
//! Bounded in all: early segments, bytes kept, attempts. What is missing for good is a gap, and the reader resumes.

use crate::counters::Counters;
use crate::interest::Reader;
use crate::sighting::Sight;

/// Segments kept while an earlier one is missing.
const EARLY_MAX: usize = 12;
/// Bytes of them.
const EARLY_BYTES_MAX: usize = 48 * 1024;
/// Bytes of an unfinished message; a TLS record and an HTTP head have room.
const HEAD_BYTES_MAX: usize = 24 * 1024;

/// One direction of a TCP connection.
#[derive(Default)]
pub(crate) struct Stream {
    /// Sequence number of the next byte in order; unknown until the first segment.
    next: Option<u32>,
    early: Vec<(u32, Box<[u8]>)>,
    head: Vec<u8>,
    reader: Reader,
}

impl Stream {
    /// A stream whose next byte is known because its SYN was seen.
    pub fn starting_at(next: Option<u32>, reader: Reader) -> Self {
        Self { next, reader, ..Self::default() }
    }

    pub fn is_done(&self) -> bool {
        matches!(self.reader, Reader::Done)
    }

    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.head.capacity() + self.early.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// Gives up and frees what is kept.
    pub fn give_up(&mut self) {
        *self = Self { reader: Reader::Done, ..Self::default() };
    }

    /// Takes a segment. `cut`: the capture holds less of it than was sent.
    pub fn push(
        &mut self,
        (sequence, bytes, cut): (u32, &[u8], bool),
        counters: &mut Counters,
        sight: &mut Sight<'_>,
    ) {
        if self.is_done() || bytes.is_empty() {
            return;
        }
        let next = *self.next.get_or_insert(sequence);
        let ahead = sequence.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            counters.segments_early += 1;
            self.keep_early(sequence, bytes);
        } else {
            self.advance(sequence, bytes, counters, sight);
        }
        self.drain_early(counters, sight);
        if cut && !self.is_done() {
            self.gap(counters, sight);
        }
        if self.is_done() {
            self.give_up();
        }
    }

    /// The connection ended: what waits for a missing segment will wait in vain.
    pub fn end(&mut self, counters: &mut Counters, sight: &mut Sight<'_>) {
        while !self.is_done() && !self.early.is_empty() {
            self.gap(counters, sight);
            self.drain_early(counters, sight);
        }
    }

    fn keep_early(&mut self, sequence: u32, bytes: &[u8]) {
        let known = self.early.iter().any(|(at, kept)| *at == sequence && kept.len() >= bytes.len());
        if !known {
            self.early.push((sequence, bytes.into()));
        }
    }

    /// Reads on with what has come in order; when too much waits, the missing bytes are given up.
    fn drain_early(&mut self, counters: &mut Counters, sight: &mut Sight<'_>) {
        loop {
            while let Some((sequence, bytes)) = self.take_early_in_order() {
                self.advance(sequence, &bytes, counters, sight);
            }
            let bytes: usize = self.early.iter().map(|(_, bytes)| bytes.len()).sum();
            if self.is_done() || (self.early.len() <= EARLY_MAX && bytes <= EARLY_BYTES_MAX) {
                return;
            }
            self.gap(counters, sight);
        }
    }

    fn take_early_in_order(&mut self) -> Option<(u32, Box<[u8]>)> {
        let next = self.next?;
        let at =
            self.early.iter().position(|(sequence, _)| sequence.wrapping_sub(next).cast_signed() <= 0)?;
        Some(self.early.swap_remove(at))
    }

    /// Bytes are missing: the reader says what it can with what it has, then resumes at the first byte kept.
    fn gap(&mut self, counters: &mut Counters, sight: &mut Sight<'_>) {
        counters.stream_gaps += 1;
        self.reader.gap(&self.head, counters, sight);
        self.head = Vec::new();
        let next = self.next.unwrap_or_default();
        let first = self.early.iter().map(|(sequence, _)| *sequence);
        self.next = first.min_by_key(|sequence| sequence.wrapping_sub(next));
    }

    /// Takes bytes that begin at or before the next one: what was read already is skipped.
    fn advance(&mut self, sequence: u32, bytes: &[u8], counters: &mut Counters, sight: &mut Sight<'_>) {
        let next = self.next.unwrap_or(sequence);
        let read_already = usize::try_from(next.wrapping_sub(sequence)).unwrap_or(usize::MAX);
        let Some(fresh) = bytes.get(read_already..).filter(|fresh| !fresh.is_empty()) else { return };
        let Ok(length) = u32::try_from(fresh.len()) else { return };
        self.next = Some(next.wrapping_add(length));
        self.read(fresh, counters, sight);
    }

    /// Hands bytes to the reader; what it does not consume yet is kept.
    fn read(&mut self, fresh: &[u8], counters: &mut Counters, sight: &mut Sight<'_>) {
        if self.head.is_empty() {
            let consumed = self.reader.read(fresh, counters, sight);
            if !self.is_done() {
                self.head.extend_from_slice(fresh.get(consumed..).unwrap_or_default());
            }
        } else {
            self.head.extend_from_slice(fresh);
            let consumed = self.reader.read(&self.head, counters, sight).min(self.head.len());
            self.head.drain(..consumed);
        }
        if self.head.is_empty() {
            self.head = Vec::new();
        }
        if self.head.len() > HEAD_BYTES_MAX && !self.is_done() {
            counters.heads_too_long += 1;
            self.reader.gap(&self.head, counters, sight);
            self.reader = Reader::Done;
        }
    }
}

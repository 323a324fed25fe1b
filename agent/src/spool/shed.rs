//! Makes room in a full spool: the oldest hits of the lowest severity are given up, and a loss in the place of the
//! first tells the operator of them.
//!
//! Sequences stay without gaps, so that neither session nor collector knows of this: a segment is written anew with the
//! loss, then a stretch of sequences that were given up. A crash leaves the old file or the new one. What was handed out
//! may be with the collector, which takes no sequence twice: segments with such records are left alone.

use std::io;

use protocol::message::{Loss, LossReason, Record};
use protocol::{Severity, Timestamp};

use super::disk::{Opening, ReadFrom};
use super::entry::{self, Entry};
use super::folder::{Durability, segment_name};
use super::log::{AppendError, Segment, SegmentLog, Tally};
use super::quota::blocks;
use super::record::{self, Scanner};

impl SegmentLog {
    /// The lowest severity of hits that could be given up.
    pub fn lowest(&self) -> Option<Severity> {
        let handed_out = self.folder.handed_out().newest;
        self.sheddable(handed_out).filter_map(|(_, segment)| segment.tally.lowest()).min()
    }

    /// Gives up the hits of a severity in the oldest segment that has any. Gives how many.
    ///
    /// # Errors
    /// When the segment cannot be replaced; the old one is there then.
    pub fn give_up(&mut self, severity: Severity) -> Result<u64, AppendError> {
        let handed_out = self.folder.handed_out().newest;
        let mut sheddable = self.sheddable(handed_out);
        let found = sheddable.find(|(_, segment)| segment.tally.has(severity)).map(|(index, _)| index);
        drop(sheddable);
        let Some(index) = found else { return Ok(0) };
        let first = self.segments.get(index).map_or(0, |segment| segment.first);
        let copy = self.copy_without(first, severity).map_err(|error| self.append_error(error))?;
        if self.used() + blocks(copy.bytes.len() as u64) > self.quota.bytes_max {
            return Err(AppendError::Full { bytes_max: self.quota.bytes_max });
        }
        let name = segment_name(first);
        let replace = || {
            let unfinished = self.folder.prepare(&name, &copy.bytes, Durability::Synced)?;
            let handed_out = self.folder.handed_out();
            if handed_out.newest >= first {
                self.folder.disk().remove(&unfinished)?;
                return Ok(false);
            }
            self.folder.disk().rename(&unfinished, &name)?;
            drop(handed_out);
            self.folder.disk().sync()?;
            Ok(true)
        };
        if !replace().map_err(|error| self.append_error(error))? {
            return Ok(0);
        }
        if let Some(segment) = self.segments.get_mut(index) {
            let bytes = copy.bytes.len() as u64;
            *segment = Segment { first, bytes, allocated: blocks(bytes), tally: copy.tally };
        }
        Ok(copy.count)
    }

    /// Segments of which nothing was handed out; never the one that is appended to.
    fn sheddable(&self, handed_out: u64) -> impl Iterator<Item = (usize, &Segment)> {
        let sealed = self.segments.len().saturating_sub(1);
        let segments = self.segments.iter().enumerate().take(sealed);
        segments.filter(move |(_, segment)| segment.first > handed_out)
    }

    fn copy_without(&self, first: u64, severity: Severity) -> io::Result<Copy> {
        let file = self.folder.segment(first, Opening::Read)?;
        let mut scanner = Scanner::new(ReadFrom::new(&*file, 0), 0);
        let mut records = Vec::new();
        let mut loss: Option<Loss> = None;
        while let Some(found) = scanner.read_next()? {
            let mut is_given_up = false;
            if entry::severity(&found.payload) == Some(severity)
                && let Entry::Record(Record::Hit(hit)) = entry::decode(&found.payload)
            {
                is_given_up = true;
                note(&mut loss, (hit.at, hit.last_at));
            }
            records.push((found, is_given_up));
        }
        let mut copy = Copy { count: loss.as_ref().map_or(0, |loss| loss.count), ..Copy::default() };
        for (found, is_given_up) in records {
            match (is_given_up, loss.take_if(|_| is_given_up)) {
                (_, Some(loss)) => {
                    let payload = entry::encode(&Record::Loss(loss), severity).map_err(io::Error::other)?;
                    copy.keep(found.sequence, &payload);
                }
                (true, None) => copy.give_up(found.sequence, 1),
                (false, None) => match entry::decode(&found.payload) {
                    Entry::GivenUp(count) => copy.give_up(found.sequence, count),
                    Entry::Record(_) => copy.keep(found.sequence, &found.payload),
                },
            }
        }
        copy.end_stretch();
        Ok(copy)
    }
}

/// What takes a segment's place.
#[derive(Default)]
struct Copy {
    bytes: Vec<u8>,
    tally: Tally,
    /// Hits that were given up.
    count: u64,
    /// First sequence of a stretch without hits, and its length.
    stretch: Option<(u64, u64)>,
}

impl Copy {
    fn keep(&mut self, sequence: u64, payload: &[u8]) {
        self.end_stretch();
        record::encode(sequence, payload, &mut self.bytes);
        // A loss of an older agent has no label; it is none of what can be given up.
        if matches!(entry::decode(payload), Entry::Record(Record::Hit(_))) {
            self.tally.count(payload);
        }
    }

    fn give_up(&mut self, sequence: u64, count: u64) {
        match &mut self.stretch {
            Some((from, length)) if *from + *length == sequence => *length += count,
            _ => {
                self.end_stretch();
                self.stretch = Some((sequence, count));
            }
        }
    }

    fn end_stretch(&mut self) {
        if let Some((from, length)) = self.stretch.take() {
            record::encode(from, &entry::encode_given_up(length), &mut self.bytes);
        }
    }
}

fn note(loss: &mut Option<Loss>, (first_at, last_at): (Timestamp, Timestamp)) {
    let reason = LossReason::SpoolFull;
    let loss = loss.get_or_insert(Loss { count: 0, reason, first_at, last_at, gap: None });
    loss.count += 1;
    loss.first_at = loss.first_at.min(first_at);
    loss.last_at = loss.last_at.max(last_at);
}

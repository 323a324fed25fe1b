//! What the spool finds when it is opened: every record is checked, an unfinished end is cut, and in the place of what
//! was damaged stands a loss, so that the operator hears of it once.

use std::io;

use protocol::Severity;
use protocol::identity::LossId;
use protocol::message::{Loss, LossReason, Record};

use super::disk::{DiskFile, Opening, ReadFrom};
use super::entry;
use super::folder::{Durability, SpoolFolder, segment_name};
use super::log::Segment;
use super::quota::blocks;
use super::record::{self, Found, HEADER_BYTES, Scanner};
use super::shed;
use crate::clock;

/// Nobody writes so many records; a sequence above has another meaning.
const SEQUENCE_MAX: u64 = u64::MAX / 2;

/// What a scan of all segments finds.
#[derive(Default)]
pub(super) struct Survey {
    acknowledged: u64,
    /// Records after this one were not safe, and are in memory yet.
    safe: u64,
    pub last: u64,
    pub records: u64,
    /// Records that were damaged, as far as can be told.
    pub damaged: u64,
    /// Of these, those of which no loss in the spool tells.
    pub untold: u64,
    /// The disk does not show everything that was written: its sequences may have been used.
    pub is_changed: bool,
}

impl Survey {
    pub fn new(acknowledged: u64, safe: u64) -> Self {
        Self { acknowledged, safe, ..Self::default() }
    }

    /// Checks a segment. The newest, with no `later` ones, is cut after its last whole record; one with damage is written
    /// anew without it. Gives with it the later ones that were not joined with it before a crash.
    pub fn segment<'a>(
        &mut self,
        folder: &SpoolFolder,
        first: u64,
        later: &'a [u64],
    ) -> io::Result<(Segment, &'a [u64])> {
        let file = folder.segment(first, Opening::Read)?;
        let joined = shed::remove_joined(folder, &*file, first, later)?;
        let later = later.get(joined..).unwrap_or_default();
        Ok((self.scan(folder, (&*file, first), later.first().copied())?, later))
    }

    fn scan(
        &mut self,
        folder: &SpoolFolder,
        (file, first): (&dyn DiskFile, u64),
        successor: Option<u64>,
    ) -> io::Result<Segment> {
        let mut scanner = Scanner::new(ReadFrom::new(file, 0), 0);
        let mut segment = Segment { first, ..Segment::default() };
        let (mut end, mut missing) = (0, 0);
        self.last = self.last.max(first - 1);
        // What is not safe is cut off, as if it had not been written.
        let below = successor.unwrap_or(SEQUENCE_MAX).min(self.safe.saturating_add(1));
        let mut order = Order { last: first - 1, below };
        while let Some(found) = scanner.read_next()? {
            let before = order.last;
            if !order.takes(&found) {
                continue;
            }
            missing += found.sequence - before - 1;
            self.lost_before(found.sequence);
            end = found.end;
            self.last = order.last;
            self.records += (self.last + 1 - found.sequence).min(self.last.saturating_sub(self.acknowledged));
            segment.tally.count(&found.payload);
        }
        segment.bytes = file.length()?;
        segment.allocated = file.allocated()?;
        if let Some(successor) = successor {
            missing += successor.saturating_sub(order.last + 1);
            self.lost_before(successor);
        } else if segment.bytes > end {
            self.newest_end(folder, first, end)?;
            (segment.bytes, segment.allocated) = (end, blocks(end));
        }
        if missing == 0 {
            return Ok(segment);
        }
        self.is_changed = true;
        let gaps = Gaps { first, below, successor, acknowledged: self.acknowledged };
        match gaps.fill(folder) {
            Ok((filled, told)) => {
                self.untold = self.untold.saturating_sub(told);
                Ok(filled)
            }
            // No room for a copy: the damaged segment is still readable.
            Err(_) => Ok(segment),
        }
    }

    /// What should be before a sequence and was not found is lost, unless it is acknowledged.
    pub fn lost_before(&mut self, sequence: u64) {
        let from = self.last.max(self.acknowledged);
        self.lose(sequence.saturating_sub(from + 1));
    }

    /// So many records are gone that were not acknowledged.
    pub fn lose(&mut self, count: u64) {
        self.damaged += count;
        self.untold += count;
        self.is_changed |= count > 0;
    }

    fn newest_end(&mut self, folder: &SpoolFolder, first: u64, end: u64) -> io::Result<()> {
        let file = folder.segment(first, Opening::Write)?;
        if self.safe == u64::MAX {
            let mut tail = vec![0; HEADER_BYTES + record::PAYLOAD_BYTES_MAX];
            let read = file.read_at(&mut tail, end)?;
            tail.truncate(read);
            // Blocks that were never written read as zeros after a power cut.
            let unfinished =
                record::is_unfinished(&tail, self.last + 1) || tail.iter().all(|byte| *byte == 0);
            if !unfinished {
                let mut scanner = Scanner::new(tail.as_slice(), end);
                while scanner.read_next()?.is_some() {}
                self.lose(scanner.markers_skipped().max(1));
            }
        }
        self.is_changed = true;
        file.set_len(end)?;
        file.sync()
    }
}

/// Sequences grow within a segment and stay below those of the next: anything else is what is left of a file that had
/// the same blocks.
struct Order {
    last: u64,
    below: u64,
}

impl Order {
    fn takes(&mut self, found: &Found) -> bool {
        let last = found.sequence.saturating_add(entry::span(&found.payload) - 1);
        let takes = found.sequence > self.last && last < self.below;
        if takes {
            self.last = last;
        }
        takes
    }
}

/// A segment in which sequences are missing.
struct Gaps {
    first: u64,
    below: u64,
    successor: Option<u64>,
    acknowledged: u64,
}

impl Gaps {
    /// Writes it anew, with a loss and stretches without hits where records are missing. Gives how many the loss tells
    /// of.
    fn fill(&self, folder: &SpoolFolder) -> io::Result<(Segment, u64)> {
        let file = folder.segment(self.first, Opening::Read)?;
        let mut scanner = Scanner::new(ReadFrom::new(&*file, 0), 0);
        let mut order = Order { last: self.first - 1, below: self.below };
        let mut records: Vec<(u64, Option<Vec<u8>>)> = Vec::new();
        let mut missing: Vec<(u64, u64)> = Vec::new();
        while let Some(found) = scanner.read_next()? {
            let expected = order.last + 1;
            if order.takes(&found) {
                missing.extend(self.gap(expected, found.sequence));
                records.push((found.sequence, Some(found.payload)));
            }
        }
        missing.extend(self.gap(order.last + 1, self.successor.unwrap_or(0)));
        let told: u64 =
            missing.iter().filter(|(from, _)| *from > self.acknowledged).map(|(_, count)| count).sum();
        records.extend(missing.iter().map(|(from, _)| (*from, None)));
        records.sort_unstable_by_key(|(sequence, _)| *sequence);
        let (mut bytes, mut segment) = (Vec::new(), Segment { first: self.first, ..Segment::default() });
        let mut loss = Some(loss(told)?);
        for (sequence, payload) in records {
            if let Some(payload) = payload {
                record::encode(sequence, &payload, &mut bytes);
                segment.tally.count(&payload);
                continue;
            }
            let count = missing.iter().find(|(from, _)| *from == sequence).map_or(1, |(_, count)| *count);
            let told = loss.take_if(|_| sequence > self.acknowledged);
            let first = u64::from(told.is_some());
            told.iter().for_each(|loss| record::encode(sequence, loss, &mut bytes));
            if count > first {
                record::encode(sequence + first, &entry::encode_given_up(count - first), &mut bytes);
            }
        }
        folder.replace(&segment_name(self.first), &bytes, Durability::Synced)?;
        segment.bytes = bytes.len() as u64;
        segment.allocated = blocks(segment.bytes);
        Ok((segment, told))
    }

    /// The stretches between two sequences: what is acknowledged, and what is not.
    fn gap(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64)> {
        let middle = (self.acknowledged + 1).clamp(from, to.max(from));
        let stretches = [(from, middle - from), (middle, to.max(from) - middle)];
        stretches.into_iter().filter(|(_, count)| *count > 0)
    }
}

fn loss(count: u64) -> io::Result<Vec<u8>> {
    let at = clock::now();
    let id = Some(LossId(rand::random()));
    let loss = Loss { id, count, reason: LossReason::SpoolDamaged, first_at: at, last_at: at, gap: None };
    entry::encode(&Record::Loss(loss), Severity::default()).map_err(io::Error::other)
}

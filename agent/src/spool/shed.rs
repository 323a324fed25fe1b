//! Makes room in a full spool: the oldest hits of the lowest severity are given up, and a loss in the place of the
//! first tells the operator of them.
//!
//! Sequences stay without gaps, so that neither session nor collector knows of this: a segment is written anew with the
//! loss, then a stretch of sequences that were given up. A crash leaves the old file or the new one. Of a segment there is
//! one loss, and of neighbours of which nothing else is left there is one segment. What was handed out may be with the
//! collector, which has its hits then, and its losses as they were: segments with such records are left alone.

use std::io;

use protocol::identity::LossId;
use protocol::message::{Loss, LossReason, Record};
use protocol::{Severity, Timestamp};

use super::disk::{DiskFile, Opening, ReadFrom};
use super::entry::{self, Entry};
use super::folder::{Durability, SpoolFolder, segment_name};
use super::log::{AppendError, Segment, SegmentLog, Tally};
use super::quota::blocks;
use super::record::{self, Scanner};

/// A segment that holds no more than a loss and a stretch is no larger.
const BARE_BYTES_MAX: u64 = 512;

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
        if !self.replace(first, &copy.bytes, None).map_err(|error| self.append_error(error))? {
            return Ok(0);
        }
        if let Some(segment) = self.segments.get_mut(index) {
            let bytes = copy.bytes.len() as u64;
            *segment = Segment { first, bytes, allocated: blocks(bytes), tally: copy.tally };
        }
        // Both segments are as good as one: what fails here is tried again with the next that is given up.
        let _ =
            self.join(index).and_then(|()| index.checked_sub(1).map_or(Ok(()), |before| self.join(before)));
        Ok(copy.count)
    }

    /// Puts a copy in a segment's place, and takes the one away that is `joined` with it. Not when records of it were
    /// handed out meanwhile: gives whether it was done.
    fn replace(&self, first: u64, bytes: &[u8], joined: Option<u64>) -> io::Result<bool> {
        let (disk, name) = (self.folder.disk(), segment_name(first));
        let unfinished = self.folder.prepare(&name, bytes, Durability::Synced)?;
        // Until a power cut cannot bring the old one back: what goes out of the new one would be told with its hits.
        let handed_out = self.folder.handed_out();
        if handed_out.newest >= first {
            disk.remove(&unfinished)?;
            return Ok(false);
        }
        disk.rename(&unfinished, &name)?;
        disk.sync()?;
        joined.map_or(Ok(()), |joined| disk.remove(&segment_name(joined)))?;
        drop(handed_out);
        Ok(true)
    }

    /// Makes one segment with one loss of two neighbours of which nothing else is left.
    fn join(&mut self, index: usize) -> io::Result<()> {
        let handed_out = self.folder.handed_out().newest;
        let mut neighbours = self.sheddable(handed_out).filter(|(at, _)| (index..index + 2).contains(at));
        let (Some((_, one)), Some((_, other))) = (neighbours.next(), neighbours.next()) else {
            return Ok(());
        };
        let (first, second) = (one.first, other.first);
        drop(neighbours);
        let read = |first| Bare::read(&*self.folder.segment(first, Opening::Read)?, first);
        let (Some(one), Some(other)) = (read(first)?, read(second)?) else { return Ok(()) };
        let mut loss = loss_of(0, (one.loss.first_at, one.loss.last_at));
        [one.loss, other.loss].iter().for_each(|part| add(&mut loss, part));
        let mut copy = Copy::default();
        copy.tell(first, loss)?;
        copy.give_up(first + 1, other.last - first);
        copy.end_stretch();
        let bytes = copy.bytes.len() as u64;
        if self.used() + blocks(bytes) > self.quota.bytes_max
            || !self.replace(first, &copy.bytes, Some(second))?
        {
            return Ok(());
        }
        self.segments.remove(index + 1);
        if let Some(segment) = self.segments.get_mut(index) {
            *segment = Segment { first, bytes, allocated: blocks(bytes), tally: copy.tally };
        }
        Ok(())
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
        let mut copy = Copy::default();
        while let Some(found) = scanner.read_next()? {
            let is_worth = entry::severity(&found.payload) == Some(severity);
            let part = match entry::decode(&found.payload) {
                Entry::Record(Record::Hit(hit)) if is_worth => {
                    copy.count += 1;
                    Some(loss_of(1, (hit.at, hit.last_at)))
                }
                Entry::Record(Record::Loss(loss)) if is_of_full(&loss) => Some(loss),
                _ => None,
            };
            part.iter().for_each(|part| note(&mut loss, part));
            records.push((found, part.is_some()));
        }
        for (found, is_given_up) in records {
            match (is_given_up, loss.take_if(|_| is_given_up)) {
                (_, Some(loss)) => copy.tell(found.sequence, loss)?,
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
    fn tell(&mut self, sequence: u64, loss: Loss) -> io::Result<()> {
        let payload = entry::encode(&Record::Loss(loss), Severity::default()).map_err(io::Error::other)?;
        self.keep(sequence, &payload);
        Ok(())
    }

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

/// A segment of which nothing is left but a loss.
struct Bare {
    loss: Loss,
    /// The last sequence that it stands for.
    last: u64,
}

impl Bare {
    /// `None` when there is something else in it.
    fn read(file: &dyn DiskFile, first: u64) -> io::Result<Option<Self>> {
        if file.length()? > BARE_BYTES_MAX {
            return Ok(None);
        }
        let mut scanner = Scanner::new(ReadFrom::new(file, 0), 0);
        let Some(found) = scanner.read_next()? else { return Ok(None) };
        let Entry::Record(Record::Loss(loss)) = entry::decode(&found.payload) else { return Ok(None) };
        let mut bare = Self { loss, last: first };
        if found.sequence != first || !is_of_full(&bare.loss) {
            return Ok(None);
        }
        while let Some(found) = scanner.read_next()? {
            match entry::decode(&found.payload) {
                Entry::GivenUp(count) if found.sequence == bare.last + 1 => {
                    bare.last = bare.last.saturating_add(count);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(bare))
    }
}

/// Removes the segments that were joined with the one before them, and that a crash left behind. Gives how many of the
/// later ones that were.
pub(super) fn remove_joined(
    folder: &SpoolFolder,
    file: &dyn DiskFile,
    first: u64,
    later: &[u64],
) -> io::Result<usize> {
    let bare = Bare::read(file, first)?.filter(|bare| later.binary_search(&(bare.last + 1)).is_ok());
    let joined = bare.map_or(0, |bare| later.partition_point(|first| *first <= bare.last));
    later.iter().take(joined).try_for_each(|first| folder.disk().remove(&segment_name(*first)))?;
    Ok(joined)
}

fn loss_of(count: u64, (first_at, last_at): (Timestamp, Timestamp)) -> Loss {
    let id = Some(LossId(rand::random()));
    Loss { id, count, reason: LossReason::SpoolFull, first_at, last_at, gap: None }
}

fn is_of_full(loss: &Loss) -> bool {
    loss.reason == LossReason::SpoolFull && loss.gap.is_none()
}

/// Adds a part to a loss that is to tell of it, too; it is another loss than its parts.
fn note(loss: &mut Option<Loss>, part: &Loss) {
    add(loss.get_or_insert_with(|| loss_of(0, (part.first_at, part.last_at))), part);
}

fn add(loss: &mut Loss, part: &Loss) {
    loss.count += part.count;
    loss.first_at = loss.first_at.min(part.first_at);
    loss.last_at = loss.last_at.max(part.last_at);
}

#[cfg(test)]
#[path = "shed_tests.rs"]
mod tests;

//! Reads records back for the uplink, up to what is safe, without holding more than a batch.

use std::io;
use std::path::Path;
use std::sync::Arc;

use protocol::message::Record;

use super::disk::{LocalDisk, Opening, ReadFrom};
use super::entry::{self, Entry};
use super::folder::SpoolFolder;
use super::keeper::Safe;
use super::record::{Found, Scanner};

/// A batch stays well below a frame's limit of 1 MiB.
const BATCH_BYTES_MAX: usize = 512 << 10;

/// Records with consecutive sequences, as the collector counts them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Sequence of the first.
    pub first: u64,
    /// The records.
    pub records: Vec<Record>,
}

/// Where the next record on disk is expected.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    segment: u64,
    offset: u64,
    sequence: u64,
}

/// Reads the spool's folder; remembers where it stopped.
#[derive(Debug)]
pub struct SpoolReader {
    folder: Arc<SpoolFolder>,
    cursor: Option<Cursor>,
}

impl SpoolReader {
    /// A reader of a folder that is written elsewhere, if at all: nothing that it reads counts as handed out.
    pub fn new(folder: &Path) -> Self {
        Self::beside(Arc::new(SpoolFolder::new(LocalDisk::new(folder))))
    }

    /// A reader beside the writer of a spool.
    pub fn beside(folder: Arc<SpoolFolder>) -> Self {
        Self { folder, cursor: None }
    }

    /// Records from `from`, as the collector counts, or the first after it that can be read; none when
    /// there is nothing that is safe.
    ///
    /// # Errors
    /// When the folder or a segment cannot be read.
    pub fn read(&mut self, safe: &Safe, from: u64, records_max: usize) -> io::Result<Option<Batch>> {
        let from = from.saturating_add(safe.base);
        let folder = Arc::clone(&self.folder);
        // What is read is handed out: meanwhile no segment is replaced.
        let mut handed_out = folder.handed_out();
        let last = safe.last;
        if from > last {
            return Ok(None);
        }
        let firsts = self.folder.firsts()?;
        let mut gathered = Gathered { from, last, records_max, ..Gathered::default() };
        let mut cursor = self.cursor.filter(|cursor| cursor.sequence == from);
        let start = cursor.map_or(from, |cursor| cursor.segment);
        let skip = firsts.partition_point(|first| *first <= start).saturating_sub(1);
        let mut ahead = 0;
        for (index, segment) in firsts.iter().copied().enumerate().skip(skip) {
            let offset = cursor.take().filter(|cursor| cursor.segment == segment);
            let offset = offset.map_or(0, |cursor| cursor.offset);
            if let Some(offset) = self.read_segment(segment, offset, &mut gathered)? {
                let sequence = gathered.next();
                self.cursor = Some(Cursor { segment, offset, sequence });
                // A segment of which something is handed out is not touched; of the newest, as much again.
                let end = firsts.get(index + 1).copied();
                ahead = end.unwrap_or(sequence + sequence.saturating_sub(segment)) - 1;
            }
            if gathered.done {
                break;
            }
        }
        self.folder.note_handed_out(&mut handed_out, gathered.next().saturating_sub(1), ahead);
        let Some(first) = gathered.first else { return Ok(None) };
        Ok(Some(Batch { first: first - safe.base, records: gathered.records }))
    }

    /// Reads on in a segment; gives the offset after the last record that was taken in full.
    fn read_segment(&self, segment: u64, offset: u64, gathered: &mut Gathered) -> io::Result<Option<u64>> {
        let file = match self.folder.segment(segment, Opening::Read) {
            // Deleted meanwhile, so acknowledged.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        let mut scanner = Scanner::new(ReadFrom::new(&*file, offset), offset);
        let (mut next, mut taken) = (offset, None);
        while !gathered.done
            && let Some(found) = scanner.read_next()?
        {
            match gathered.take(&found) {
                Taken::Whole => taken = Some(found.end),
                Taken::Part => taken = Some(next),
                Taken::Not => {}
            }
            next = found.end;
        }
        Ok(taken)
    }
}

#[derive(Default)]
struct Gathered {
    from: u64,
    last: u64,
    records_max: usize,
    first: Option<u64>,
    records: Vec<Record>,
    bytes: usize,
    done: bool,
}

/// What a batch took of a record on disk.
enum Taken {
    Whole,
    /// Of a stretch that was given up; the next batch reads it again.
    Part,
    Not,
}

impl Gathered {
    fn next(&self) -> u64 {
        self.first.unwrap_or(self.from) + self.records.len() as u64
    }

    /// Takes a record if it is the next of the batch; a batch ends before a gap.
    fn take(&mut self, found: &Found) -> Taken {
        let end = found.sequence.saturating_add(entry::span(&found.payload));
        if end <= self.from {
            return Taken::Not;
        }
        let sequence = found.sequence.max(self.from);
        let gap = self.first.is_some() && sequence != self.next();
        let full =
            self.records.len() >= self.records_max || self.bytes + found.payload.len() > BATCH_BYTES_MAX;
        if sequence > self.last || gap || (full && self.first.is_some()) {
            self.done = true;
            return Taken::Not;
        }
        self.first.get_or_insert(sequence);
        match entry::decode(&found.payload) {
            Entry::Record(record) => {
                self.bytes += found.payload.len();
                self.records.push(record);
            }
            // The collector acknowledges what it does not know and passes it over.
            Entry::GivenUp(_) => {
                let room = self.records_max.saturating_sub(self.records.len()).max(1) as u64;
                let count = (end - sequence).min(room).min(self.last + 1 - sequence);
                self.records.extend((0..count).map(|_| Record::Unknown));
            }
        }
        self.done = self.next() > self.last;
        if self.next() < end { Taken::Part } else { Taken::Whole }
    }
}

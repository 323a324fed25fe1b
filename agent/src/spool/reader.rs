//! Reads records back for the uplink, up to what is safe, without holding more than a batch.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use protocol::message::Record;

use super::keeper::Safe;
use super::log::{segment_firsts, segment_path};
use super::record::Scanner;

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
    folder: PathBuf,
    cursor: Option<Cursor>,
}

impl SpoolReader {
    /// A reader of the spool in `folder`.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.into(), cursor: None }
    }

    /// Records from `from`, as the collector counts, or the first after it that can be read; none when
    /// there is nothing that is safe.
    ///
    /// # Errors
    /// When the folder or a segment cannot be read.
    pub fn read(&mut self, safe: &Safe, from: u64, records_max: usize) -> io::Result<Option<Batch>> {
        let from = from + safe.base;
        if from > safe.last {
            return Ok(None);
        }
        let firsts = segment_firsts(&self.folder)?;
        let mut gathered = Gathered { from, last: safe.last, records_max, ..Gathered::default() };
        let mut cursor = self.cursor.filter(|cursor| cursor.sequence == from);
        let start = cursor.map_or(from, |cursor| cursor.segment);
        let skip = firsts.partition_point(|first| *first <= start).saturating_sub(1);
        for segment in firsts.into_iter().skip(skip) {
            let offset = cursor.take().filter(|cursor| cursor.segment == segment);
            let offset = offset.map_or(0, |cursor| cursor.offset);
            if let Some(offset) = self.read_segment(segment, offset, &mut gathered)? {
                self.cursor = Some(Cursor { segment, offset, sequence: gathered.next() });
            }
            if gathered.done {
                break;
            }
        }
        let Some(first) = gathered.first else { return Ok(None) };
        Ok(Some(Batch { first: first - safe.base, records: gathered.records }))
    }

    /// Reads on in a segment; gives the offset after the last record that was taken.
    fn read_segment(&self, segment: u64, offset: u64, gathered: &mut Gathered) -> io::Result<Option<u64>> {
        let mut file = match File::open(segment_path(&self.folder, segment)) {
            // Deleted meanwhile, so acknowledged.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        file.seek(SeekFrom::Start(offset))?;
        let mut scanner = Scanner::new(file, offset);
        let mut taken = None;
        while !gathered.done
            && let Some(found) = scanner.read_next()?
        {
            if gathered.take(found.sequence, &found.payload) {
                taken = Some(found.end);
            }
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

impl Gathered {
    fn next(&self) -> u64 {
        self.first.unwrap_or(self.from) + self.records.len() as u64
    }

    /// Takes a record if it is the next of the batch; a batch ends before a gap.
    fn take(&mut self, sequence: u64, payload: &[u8]) -> bool {
        if sequence < self.from {
            return false;
        }
        let gap = self.first.is_some() && sequence != self.next();
        let full = self.records.len() >= self.records_max || self.bytes + payload.len() > BATCH_BYTES_MAX;
        if sequence > self.last || gap || (full && self.first.is_some()) {
            self.done = true;
            return false;
        }
        self.first.get_or_insert(sequence);
        self.bytes += payload.len();
        // A record of a newer agent, before this one was put back: passed on as such.
        self.records.push(protocol::frame::decode(payload).unwrap_or(Record::Unknown));
        if sequence == self.last {
            self.done = true;
        }
        true
    }
}

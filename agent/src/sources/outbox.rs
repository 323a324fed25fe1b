//! The way of lines' hits to the spool: they wait in memory while it has no room. Those of files, of the journal and of
//! connections wait without limit, because nothing of these is read meanwhile; those of datagrams up to a limit, because
//! nothing stops a datagram.

use std::collections::VecDeque;

use detect::Detector;
use protocol::message::Record;

use super::joining::LogSink;
use super::kept::KeptHits;
use crate::spool::{NotPut, SpoolStopped};

/// As many as the spool's own queue holds.
const WAITING_MAX: usize = 1024;

/// Hits on their way to the spool.
pub struct Outbox {
    hits: LogSink,
    waiting: VecDeque<Box<Record>>,
    stopped: Option<SpoolStopped>,
}

impl Outbox {
    pub fn new(hits: LogSink) -> Self {
        Self { hits, waiting: VecDeque::new(), stopped: None }
    }

    /// Takes every hit of a detector; each waits for as long as it takes.
    pub fn take_hits(&mut self, detector: &mut Detector) {
        while let Some(hit) = detector.poll_hit() {
            self.put(Record::Hit(Box::new(hit)));
        }
    }

    /// The same of what came in datagrams: where too many wait, further ones are dropped and counted.
    pub fn take_hits_of_datagrams(&mut self, detector: &mut Detector) {
        while let Some(hit) = detector.poll_hit() {
            if self.waiting.len() >= WAITING_MAX {
                self.hits.offer(hit);
            } else {
                self.put(Record::Hit(Box::new(hit)));
            }
        }
    }

    /// Takes a record that waits for as long as it takes.
    pub fn put(&mut self, record: Record) {
        let record = Box::new(record);
        match if self.waiting.is_empty() { self.hits.put(record) } else { Err(NotPut::Full(record)) } {
            Ok(()) => {}
            Err(NotPut::Full(record)) => self.waiting.push_back(record),
            Err(NotPut::Stopped(stopped)) => self.stopped = Some(stopped),
        }
    }

    /// Hands on what waits, as far as there is room.
    ///
    /// # Errors
    /// When the spool has stopped.
    pub fn flush(&mut self) -> Result<(), SpoolStopped> {
        while let Some(record) = self.waiting.pop_front() {
            match self.hits.put(record) {
                Ok(()) => {}
                Err(NotPut::Full(record)) => {
                    self.waiting.push_front(record);
                    break;
                }
                Err(NotPut::Stopped(stopped)) => return Err(stopped),
            }
        }
        self.stopped.map_or(Ok(()), Err)
    }

    /// Hands open cooldowns on, to come back before the mark does; gives whether they were taken.
    pub fn complete(&self, mark: u64, open: KeptHits) -> bool {
        self.hits.complete(mark, open)
    }

    /// Asks to be told when everything put so far is safe; gives whether the question was taken.
    ///
    /// # Errors
    /// When the spool has stopped.
    pub fn mark(&self, mark: u64) -> Result<bool, SpoolStopped> {
        if self.waiting.is_empty() { self.hits.mark(mark) } else { Ok(false) }
    }

    /// Whether lines should be read; otherwise they wait where they are.
    pub fn is_open(&self) -> bool {
        self.has_room() && self.spool_is_open()
    }

    /// Whether everything that was put went on, and the next will.
    pub fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.stopped.is_none()
    }

    /// Whether the spool takes anything, whatever waits here.
    pub fn spool_is_open(&self) -> bool {
        self.hits.is_open()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

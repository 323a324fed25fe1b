//! A spool with what is known of it: which hits are safe, which are acknowledged, and what the reader gave out.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

use protocol::identity::Epoch;
use protocol::message::{Loss, LossReason, Record};
use vedetta_agent::spool::{AppendError, Durability, Safe, SegmentLog, SpoolFolder, SpoolReader};

use crate::faulty_disk::FaultyDisk;
use crate::made;
use crate::seed::Seed;

/// The disk stopped working in the middle of something.
#[derive(Debug)]
pub struct Stopped;

impl From<io::Error> for Stopped {
    fn from(_: io::Error) -> Self {
        Self
    }
}

#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The next hit's number.
    pub next: u64,
    /// Safe, and not acknowledged.
    pub held: BTreeSet<u64>,
    /// Hits that losses tell of which are acknowledged.
    pub told: u64,
    /// Losses that damage may have taken with it told of so many: a damaged loss counts as one record.
    pub told_before: u64,
    /// What may have been damaged without a loss that tells of it; `None` when nothing was damaged at all.
    pub damaged: Option<u64>,
    /// What was given out under each sequence.
    pub given_out: BTreeMap<([u8; 16], u64), Record>,
}

impl Known {
    /// Safe hits that were given up by a loss. Where nothing was damaged, what looks like it was not safe.
    fn told_by(&self, loss: &Loss) -> u64 {
        if loss.reason == LossReason::SpoolFull { loss.count } else { 0 }
    }

    fn damaged_by(&self, loss: &Loss) -> u64 {
        if self.damaged.is_some() { loss.count - self.told_by(loss) } else { 0 }
    }
}

pub struct World {
    pub disk: FaultyDisk,
    pub bytes_max: u64,
    pub known: Known,
    pub log: SegmentLog,
    folder: Arc<SpoolFolder>,
    reader: SpoolReader,
}

impl World {
    pub fn open(disk: FaultyDisk, bytes_max: u64, known: Known) -> Result<Self, Stopped> {
        let folder = Arc::new(SpoolFolder::new(disk.clone()));
        let opened = SegmentLog::open(Arc::clone(&folder), bytes_max);
        let (mut log, recovered) = opened.map_err(|_| Stopped)?;
        log.keep_ballast();
        let mut world =
            Self { disk, bytes_max, known, log, reader: SpoolReader::beside(Arc::clone(&folder)), folder };
        if let Some(damaged) = &mut world.known.damaged {
            *damaged += recovered.untold;
        }
        Ok(world)
    }

    /// A reader beside the log.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader::beside(Arc::clone(&self.folder))
    }

    /// Something that a spool lives through.
    pub fn step(mut self, seed: &mut Seed) -> Result<Self, (Box<Known>, Stopped)> {
        let stepped = match seed.below(20) {
            0..12 => self.append(1 + seed.below(30)),
            12..16 => self.deliver(seed),
            16 => {
                self.log.save_position(Durability::Lazy);
                Ok(())
            }
            17 => {
                self.log.keep_ballast();
                Ok(())
            }
            18 => self.log.renew_epoch().map_err(Stopped::from),
            _ => {
                let (disk, bytes_max) = (self.disk.clone(), self.bytes_max);
                let known = self.known.clone();
                self.log.close();
                return Self::open(disk, bytes_max, self.known).map_err(|stopped| (Box::new(known), stopped));
            }
        };
        assert!(self.disk.used() <= self.bytes_max, "{} bytes on disk", self.disk.used());
        match stepped {
            Ok(()) => Ok(self),
            Err(stopped) => Err((Box::new(self.known), stopped)),
        }
    }

    pub fn append(&mut self, count: u64) -> Result<(), Stopped> {
        let numbers: Vec<u64> = (self.known.next..self.known.next + count).collect();
        let payloads: Vec<Vec<u8>> = numbers.iter().copied().map(made::payload).collect();
        self.known.next += count;
        loop {
            match self.log.append(&payloads) {
                Ok(_) => {
                    self.known.held.extend(numbers);
                    return Ok(());
                }
                Err(AppendError::Full { .. }) => {}
                Err(_) => return Err(Stopped),
            }
            let Some(lowest) = self.log.lowest() else { return Ok(()) };
            match self.log.give_up(lowest) {
                Ok(given_up) => assert!(given_up > 0, "nothing was given up"),
                Err(AppendError::Full { .. }) => return Ok(()),
                Err(_) => return Err(Stopped),
            }
        }
    }

    /// The collector takes some batches and acknowledges all of them or a part.
    pub fn deliver(&mut self, seed: &mut Seed) -> Result<(), Stopped> {
        let safe = Safe::of(&self.log);
        let mut from = safe.stored() + 1;
        let mut up_to = safe.stored();
        for _ in 0..=seed.below(4) {
            let most = usize::try_from(1 + seed.below(60)).unwrap();
            let Some(batch) = self.reader.read(&safe, from, most)? else { break };
            assert!(batch.first >= from && !batch.records.is_empty() && batch.records.len() <= most);
            for (sequence, record) in (batch.first..).zip(&batch.records) {
                self.note_given_out(safe.epoch, sequence, record);
            }
            from = batch.first + batch.records.len() as u64;
            if seed.once_in(3) {
                break;
            }
            up_to = from - 1;
            for record in batch.records {
                match record {
                    Record::Hit(hit) => {
                        self.known.held.remove(&made::number(&hit));
                    }
                    Record::Loss(loss) => self.known.told += self.known.told_by(&loss),
                    Record::Unknown => {}
                }
            }
        }
        Ok(self.log.acknowledge(up_to + safe.base)?)
    }

    fn note_given_out(&mut self, Epoch(epoch): Epoch, sequence: u64, record: &Record) {
        let first = self.known.given_out.entry((epoch, sequence)).or_insert_with(|| record.clone());
        assert_eq!(first, record, "sequence {sequence} was used twice");
    }

    /// Reads everything that is left: no safe hit is missing that no loss tells of, none altered, none twice.
    /// Gives how many were given up by losses that are in the spool.
    pub fn check(&self) -> u64 {
        let safe = Safe::of(&self.log);
        assert!(safe.base <= safe.acknowledged && safe.acknowledged <= safe.last, "position ahead: {safe:?}");
        let Epoch(epoch) = safe.epoch;
        let mut reader = SpoolReader::beside(Arc::new(SpoolFolder::new(self.disk.clone())));
        let (mut from, mut told, mut read) = (safe.stored() + 1, 0, BTreeSet::new());
        let mut damaged = self.known.damaged.unwrap_or(0);
        while let Some(batch) = reader.read(&safe, from, 100).unwrap() {
            assert!(batch.first >= from && !batch.records.is_empty());
            for (sequence, record) in (batch.first..).zip(&batch.records) {
                let before = self.known.given_out.get(&(epoch, sequence));
                assert!(before.is_none_or(|before| before == record), "sequence {sequence} was used twice");
                match record {
                    Record::Hit(hit) => assert!(read.insert(made::number(hit)), "twice: {hit:?}"),
                    Record::Loss(loss) => {
                        told += self.known.told_by(loss);
                        damaged += self.known.damaged_by(loss);
                    }
                    Record::Unknown => {}
                }
            }
            from = batch.first + batch.records.len() as u64;
        }
        assert!(from <= safe.newest() + 1, "more than is safe");
        assert!(read.iter().all(|number| *number < self.known.next), "a hit was made up");
        let missing = self.known.held.difference(&read).count() as u64;
        let given_up = self.known.told + told.max(self.known.told_before);
        assert!(
            missing <= given_up + damaged,
            "{missing} safe hits are missing, losses tell of {given_up}, and of {damaged} that were damaged"
        );
        told
    }
}

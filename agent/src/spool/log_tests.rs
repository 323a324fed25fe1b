//! The log against a model: appends, acknowledgements, restarts, crashes and damage in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use protocol::identity::Epoch;
use protocol::message::{Loss, LossReason, Record};

use super::disk::LocalDisk;
use super::entry;
use super::folder::{Durability, SpoolFolder, segment_name};
use super::keeper::Safe;
use super::log::{AppendError, Recovered, SegmentLog};
use super::reader::SpoolReader;
use crate::clock;

/// A record that is like no other; `filler` sets its size.
fn payload(number: u64) -> Vec<u8> {
    let at = clock::now();
    let record = Record::Loss(Loss {
        id: None,
        count: number,
        reason: LossReason::Other,
        first_at: at,
        last_at: at,
        gap: None,
    });
    entry::encode(&record, protocol::Severity::Low).unwrap()
}

/// `None` for what stands in the place of damage.
fn number(record: &Record) -> Option<u64> {
    match record {
        Record::Loss(loss) if loss.reason == LossReason::Other => Some(loss.count),
        Record::Loss(loss) if loss.reason == LossReason::SpoolDamaged => None,
        Record::Unknown => None,
        _ => panic!("not what was written: {record:?}"),
    }
}

fn open(folder: &Path, bytes_max: u64) -> (SegmentLog, Recovered) {
    SegmentLog::open(spool_folder(folder), bytes_max).unwrap()
}

fn spool_folder(folder: &Path) -> Arc<SpoolFolder> {
    Arc::new(SpoolFolder::new(LocalDisk::new(folder)))
}

fn segment_firsts(folder: &Path) -> Vec<u64> {
    spool_folder(folder).firsts().unwrap()
}

/// Everything that is not acknowledged, by the collector's sequence.
fn read_all(folder: &Path, safe: &Safe) -> Vec<(u64, u64)> {
    let mut reader = SpoolReader::new(folder);
    let mut from = safe.stored() + 1;
    let mut all = Vec::new();
    while let Some(batch) = reader.read(safe, from, 7).unwrap() {
        assert!(batch.first >= from && !batch.records.is_empty());
        let numbers = (batch.first..).zip(batch.records.iter().map(number));
        all.extend(numbers.filter_map(|(sequence, number)| Some((sequence, number?))));
        from = batch.first + batch.records.len() as u64;
    }
    all
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64),
    Acknowledge(prop::sample::Index),
    Stop,
    Crash,
    /// A crash in the middle of a write: bytes after the end that nobody was told are safe.
    Torn(Vec<u8>),
    Flip(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    LosePosition,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u64..20).prop_map(Step::Append),
        3 => any::<prop::sample::Index>().prop_map(Step::Acknowledge),
        2 => Just(Step::Stop),
        2 => Just(Step::Crash),
        1 => proptest::collection::vec(any::<u8>(), 1..64).prop_map(Step::Torn),
        1 => (any::<prop::sample::Index>(), 1u8..=255).prop_map(|(at, flip)| Step::Flip(at, flip)),
        1 => any::<prop::sample::Index>().prop_map(Step::Cut),
        1 => Just(Step::LosePosition),
    ]
}

struct World {
    folder: tempfile::TempDir,
    log: Option<SegmentLog>,
    next: u64,
    /// Written, safe, and neither acknowledged nor in damage's way.
    held: BTreeSet<u64>,
    /// What each sequence of each epoch was ever seen to be.
    seen: BTreeMap<([u8; 16], u64), u64>,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(folder.path(), 1 << 30);
        Self { folder, log: Some(log), next: 1, held: BTreeSet::new(), seen: BTreeMap::new() }
    }

    fn log(&mut self) -> &mut SegmentLog {
        self.log.as_mut().unwrap()
    }

    fn safe(&self) -> Safe {
        Safe::of(self.log.as_ref().unwrap())
    }

    fn append(&mut self, count: u64) {
        let numbers: Vec<u64> = (self.next..self.next + count).collect();
        let payloads: Vec<Vec<u8>> = numbers.iter().copied().map(payload).collect();
        self.log().append(&payloads).unwrap();
        self.next += count;
        self.held.extend(numbers);
    }

    fn acknowledge(&mut self, index: prop::sample::Index) {
        let safe = self.safe();
        let all = read_all(self.folder.path(), &safe);
        if all.is_empty() {
            return;
        }
        let (sequence, _) = all[index.index(all.len())];
        self.log().acknowledge(sequence + safe.base).unwrap();
        self.log().save_position(Durability::Lazy);
        for (_, number) in all.iter().filter(|(other, _)| *other <= sequence) {
            self.held.remove(number);
        }
    }

    fn reopen(&mut self) {
        self.log = Some(open(self.folder.path(), 1 << 30).0);
    }

    fn newest(&self) -> std::path::PathBuf {
        let first = *segment_firsts(self.folder.path()).last().unwrap();
        self.folder.path().join(segment_name(first))
    }

    /// Damages the newest segment; only a record that covers a changed byte may be missing afterwards.
    fn damage(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let before = read_all(self.folder.path(), &self.safe());
        self.log = None;
        let mut bytes = fs::read(self.newest()).unwrap();
        let whole = bytes.clone();
        change(&mut bytes);
        fs::write(self.newest(), &bytes).unwrap();
        let touched = touched_records(&whole, &bytes);
        self.reopen();
        let after: BTreeSet<u64> =
            read_all(self.folder.path(), &self.safe()).into_iter().map(|(_, number)| number).collect();
        let lost = before.iter().filter(|(_, number)| !after.contains(number)).count();
        assert!(lost <= touched, "{lost} records lost, {touched} damaged");
        self.held.retain(|number| after.contains(number));
    }

    fn check(&mut self) {
        let safe = self.safe();
        let Epoch(epoch) = safe.epoch;
        let all = read_all(self.folder.path(), &safe);
        let numbers: Vec<u64> = all.iter().map(|(_, number)| *number).collect();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "out of order or twice: {numbers:?}");
        let read: BTreeSet<u64> = numbers.into_iter().collect();
        assert!(self.held.is_subset(&read), "lost {:?}", self.held.difference(&read));
        for (sequence, number) in all {
            let first = *self.seen.entry((epoch, sequence)).or_insert(number);
            assert_eq!(first, number, "sequence {sequence} was used twice");
        }
    }
}

/// How many records of a segment differ from what was written, by their place.
fn touched_records(whole: &[u8], changed: &[u8]) -> usize {
    let mut scanner = super::record::Scanner::new(whole, 0);
    let (mut start, mut touched) = (0, 0);
    while let Some(found) = scanner.read_next().unwrap() {
        let end = usize::try_from(found.end).unwrap();
        touched += usize::from(changed.get(start..end) != Some(&whole[start..end]));
        start = end;
    }
    touched
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn nothing_safe_is_lost_and_no_sequence_is_used_twice(
        steps in proptest::collection::vec(step(), 1..40),
    ) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Append(count) => world.append(count),
                Step::Acknowledge(index) => world.acknowledge(index),
                Step::Stop => {
                    world.log.take().unwrap().close();
                    world.reopen();
                }
                Step::Crash => {
                    world.log = None;
                    world.reopen();
                }
                Step::Torn(tail) => {
                    world.log = None;
                    let mut bytes = fs::read(world.newest()).unwrap();
                    bytes.extend(tail);
                    fs::write(world.newest(), bytes).unwrap();
                    world.reopen();
                }
                Step::Flip(at, flip) => world.damage(|bytes| {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] ^= flip;
                    }
                }),
                Step::Cut(at) => world.damage(|bytes| bytes.truncate(at.index(bytes.len() + 1))),
                Step::LosePosition => {
                    world.log = None;
                    fs::remove_file(world.folder.path().join("position")).unwrap();
                    world.reopen();
                    // Acknowledged records may come again: the collector knows them.
                }
            }
            world.check();
        }
    }
}

#[test]
fn a_stop_keeps_the_epoch_and_a_crash_begins_another() {
    let mut world = World::new();
    world.append(3);
    let first = world.safe();
    world.log.take().unwrap().close();
    world.reopen();
    assert_eq!(world.safe(), first);
    world.log = None;
    world.reopen();
    let second = world.safe();
    assert_ne!(second.epoch, first.epoch);
    assert_eq!(read_all(world.folder.path(), &second), [(1, 1), (2, 2), (3, 3)]);
}

#[test]
fn damage_is_counted_once() {
    let mut world = World::new();
    world.append(10);
    world.log = None;
    let path = world.newest();
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).unwrap();
    let (log, recovered) = open(world.folder.path(), 1 << 30);
    assert_eq!((recovered.records, recovered.damaged), (9, 1));
    drop(log);
    let (_, recovered) = open(world.folder.path(), 1 << 30);
    assert_eq!((recovered.records, recovered.damaged), (10, 0));
}

#[test]
fn a_damaged_last_record_is_a_loss_and_an_unfinished_one_is_not() {
    for (damage, lost) in [("flip", 1), ("cut", 0), ("zeros", 0)] {
        let mut world = World::new();
        world.append(3);
        world.log = None;
        let path = world.newest();
        let mut bytes = fs::read(&path).unwrap();
        match damage {
            "flip" => *bytes.last_mut().unwrap() ^= 1,
            "cut" => bytes.truncate(bytes.len() - 5),
            _ => bytes.extend([0; 4096]),
        }
        fs::write(&path, bytes).unwrap();
        let (_, recovered) = open(world.folder.path(), 1 << 30);
        assert_eq!(recovered.damaged, lost, "{damage}");
    }
}

#[test]
fn delivered_segments_give_their_space_back() {
    let mut world = World::new();
    let big: Vec<Vec<u8>> = (0..100).map(|_| vec![7; 60_000]).collect();
    for _ in 0..3 {
        world.log().append(&big).unwrap();
    }
    assert!(segment_firsts(world.folder.path()).len() > 2);
    let last = world.log().last();
    world.log().acknowledge(last).unwrap();
    assert_eq!(world.log().bytes(), 0);
    assert_eq!(segment_firsts(world.folder.path()), [last + 1]);
    world.append(1);
    assert_eq!(world.log().last(), last + 1);
}

#[test]
fn a_full_quota_refuses_whole_batches_and_acknowledgements_make_room() {
    let folder = tempfile::tempdir().unwrap();
    let (mut log, _) = open(folder.path(), 9 << 20);
    let batch: Vec<Vec<u8>> = (0..40).map(|_| vec![7; 6000]).collect();
    let refused = loop {
        match log.append(&batch) {
            Ok(last) => assert_eq!(last % 40, 0),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, AppendError::Full { .. }), "{refused}");
    let last = log.last();
    assert!(last * 6000 > 7 << 20, "only {last} records went in");
    log.acknowledge(last / 2).unwrap();
    log.append(&batch).unwrap();
    assert_eq!(log.last(), last + 40);
}

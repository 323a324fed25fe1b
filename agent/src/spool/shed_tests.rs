//! What is given up: one loss for all of it, told once, and never of what may be with the collector.

use std::fs;
use std::path::Path;

use super::*;
use crate::made_hit::hit;
use crate::spool::disk::LocalDisk;
use crate::spool::keeper::Safe;
use crate::spool::reader::SpoolReader;

const BYTES_MAX: u64 = 256 << 10;
const HITS: u64 = 200;

fn open(folder: &Path) -> SegmentLog {
    SegmentLog::open(std::sync::Arc::new(SpoolFolder::new(LocalDisk::new(folder))), BYTES_MAX).unwrap().0
}

/// A log of several segments, with hits that are worth nothing.
fn filled(folder: &Path) -> SegmentLog {
    let mut log = open(folder);
    for number in 0..HITS {
        let payload = entry::encode(&Record::Hit(Box::new(hit(number, 300))), Severity::Low).unwrap();
        log.append(&[payload]).unwrap();
    }
    assert!(log.segments.len() > 8, "only {} segments", log.segments.len());
    log
}

fn give_up_all(log: &mut SegmentLog) -> u64 {
    let mut given_up = 0;
    while log.lowest().is_some() {
        let count = log.give_up(Severity::Low).unwrap();
        assert!(count > 0, "nothing was given up");
        given_up += count;
    }
    given_up
}

/// How many hits there are, and of how many each loss tells.
fn read(log: &SegmentLog) -> (u64, Vec<u64>) {
    let mut reader = SpoolReader::beside(std::sync::Arc::clone(&log.folder));
    let safe = Safe::of(log);
    let (mut hits, mut losses, mut from) = (0, Vec::new(), safe.stored() + 1);
    while let Some(batch) = reader.read(&safe, from, 7).unwrap() {
        assert_eq!(batch.first, from, "a gap");
        from += batch.records.len() as u64;
        for record in batch.records {
            match record {
                Record::Hit(_) => hits += 1,
                Record::Loss(loss) => losses.push(loss.count),
                Record::Unknown => {}
            }
        }
    }
    assert_eq!(from, safe.newest() + 1);
    (hits, losses)
}

#[test]
fn neighbours_of_which_nothing_is_left_are_one_segment_and_one_loss() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = filled(folder.path());
    let used = log.used();
    let given_up = give_up_all(&mut log);
    assert_eq!(log.segments.len(), 2);
    assert!(log.used() < used / 2, "{} of {used} bytes", log.used());
    assert_eq!(read(&log), (HITS - given_up, vec![given_up]));
    drop(log);
    assert_eq!(read(&open(folder.path())), (HITS - given_up, vec![given_up]));
}

#[test]
fn a_crash_before_a_joined_segment_is_taken_away_tells_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = filled(folder.path());
    let kept: Vec<(String, Vec<u8>)> = log
        .segments
        .iter()
        .map(|segment| segment_name(segment.first))
        .map(|name| (name.clone(), fs::read(folder.path().join(name)).unwrap()))
        .collect();
    let given_up = give_up_all(&mut log);
    drop(log);
    // All but the first, which was replaced, and the newest.
    for (name, bytes) in &kept[1..kept.len() - 1] {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let log = open(folder.path());
    assert_eq!(read(&log), (HITS - given_up, vec![given_up]));
    assert_eq!(log.folder.firsts().unwrap().len(), 2);
}

#[test]
fn a_segment_has_one_loss_whatever_was_given_up_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut log = open(folder.path());
    for number in 0..HITS {
        let severity = if number % 2 == 0 { Severity::Low } else { Severity::High };
        let payload = entry::encode(&Record::Hit(Box::new(hit(number, 300))), severity).unwrap();
        log.append(&[payload]).unwrap();
    }
    let low = log.give_up(Severity::Low).unwrap();
    let high = log.give_up(Severity::High).unwrap();
    assert!(low > 1 && high > 1);
    assert_eq!(read(&log), (HITS - low - high, vec![low + high]));
}

#[test]
fn what_was_handed_out_before_a_crash_is_not_given_up_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let log = filled(folder.path());
    let mut reader = SpoolReader::beside(std::sync::Arc::clone(&log.folder));
    let second = log.segments[1].first;
    let most = usize::try_from(second).unwrap();
    let batch = reader.read(&Safe::of(&log), 1, most).unwrap().unwrap();
    assert_eq!(batch.records.len(), most);
    drop((reader, log));
    let mut log = open(folder.path());
    let third = log.segments[2].first;
    let given_up = give_up_all(&mut log);
    assert_eq!(log.segments[2].first, third);
    let (hits, losses) = read(&log);
    assert_eq!((hits + given_up, losses), (HITS, vec![given_up]));
    // Where the disk does not say how far, all may be with the collector.
    drop(log);
    fs::write(folder.path().join("handed_out"), "200 00000000").unwrap();
    assert_eq!(open(folder.path()).lowest(), None);
}

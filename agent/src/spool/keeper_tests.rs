//! The spool's thread while its quota is full: lines wait, live hits are counted, stopping ends.

use std::time::{Duration, Instant};

use protocol::message::{LossReason, Record};
use protocol::{Hit, Place};

use super::*;
use crate::made_hit::hit;
use crate::spool::NotPut;

const EVIDENCE_BYTES: usize = 1000;

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < Duration::from_secs(30), "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Puts line hits until the queue is full behind a full spool; gives how many were taken.
fn fill(spool: &SpoolHandles) -> u64 {
    let mut taken = 0;
    wait_for("a full queue", || {
        loop {
            match spool.sink.put(Box::new(Record::Hit(Box::new(hit(taken, EVIDENCE_BYTES))))) {
                Ok(()) => taken += 1,
                Err(NotPut::Full(_)) => return spool.control.is_full(),
                Err(NotPut::Stopped(_)) => panic!("the spool stopped"),
            }
        }
    });
    taken
}

fn read(spool: &SpoolControl, safe: &Safe) -> Vec<Record> {
    let mut reader = spool.reader();
    let mut records = Vec::new();
    while let Some(batch) = reader.read(safe, safe.stored() + 1 + records.len() as u64, 100).unwrap() {
        records.extend(batch.records);
    }
    records
}

fn losses(records: &[Record]) -> Vec<(u64, LossReason)> {
    let losses = records.iter().filter_map(|record| match record {
        Record::Loss(loss) => Some((loss.count, loss.reason)),
        _ => None,
    });
    losses.collect()
}

fn hits(records: &[Record]) -> impl Iterator<Item = &Hit> {
    records.iter().filter_map(|record| match record {
        Record::Hit(hit) => Some(&**hit),
        _ => None,
    })
}

#[test]
fn hits_of_lines_wait_for_room_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 9 << 20 }).unwrap();
    let taken = fill(&spool);
    assert!(!spool.sink.is_open());
    let safe = *spool.control.safe.borrow();
    let first = read(&spool.control, &safe);
    spool.control.acknowledge(&safe, safe.newest());
    wait_for("an open spool", || spool.sink.is_open());
    let control = spool.control.clone();
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let again = start(folder.path(), &SpoolConfig { bytes_max: 9 << 20 }).unwrap();
    let second = read(&again.control, &again.control.safe.borrow());
    let all: Vec<Record> = first.into_iter().chain(second).collect();
    assert_eq!(hits(&all).count() as u64, taken, "a hit of a line was lost or doubled");
    assert_eq!((losses(&all), control.lost()), (Vec::new(), 0));
}

/// By its number.
fn severity_of(hit: &Hit) -> Severity {
    let Place::Line { line, .. } = hit.place else { return Severity::default() };
    Severity::ALL[usize::try_from(line % 4).unwrap()]
}

#[test]
fn a_full_spool_gives_up_the_oldest_hits_of_the_lowest_severity_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let bytes_max = 2 << 20;
    let disk = LocalDisk::new(folder.path());
    let spool = start_on(disk, &SpoolConfig { bytes_max }, Box::new(severity_of)).unwrap();
    let mut offered = 0;
    // Half as much again as there is room for: what is low goes, and a part of what is medium.
    while offered < 2200 {
        let before = spool.control.safe.borrow().last;
        for _ in 0..20 {
            spool.sink.offer(hit(offered, EVIDENCE_BYTES));
            offered += 1;
        }
        let due = offered;
        wait_for("hits on disk", || {
            let safe = *spool.control.safe.borrow();
            safe.last > before || spool.control.lost() > 0 && due > 1000
        });
        let used: u64 = std::fs::read_dir(folder.path())
            .unwrap()
            .filter_map(|entry| {
                Some(std::os::unix::fs::MetadataExt::blocks(&entry.ok()?.metadata().ok()?) * 512)
            })
            .sum();
        assert!(used <= bytes_max, "{used} bytes on disk");
    }
    assert!(!spool.sink.is_open(), "lines should wait");
    let control = spool.control.clone();
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let again = start(folder.path(), &SpoolConfig { bytes_max }).unwrap();
    let all = read(&again.control, &again.control.safe.borrow());
    let kept: Vec<u64> = hits(&all)
        .map(|hit| match hit.place {
            Place::Line { line, .. } => line,
            Place::Flow { .. } => panic!("not a line"),
        })
        .collect();
    let lost: u64 = losses(&all).iter().map(|(count, _)| count).sum();
    assert_eq!(kept.len() as u64 + lost, offered, "not every hit is there or told as lost");
    assert_eq!(lost, control.lost());
    assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "out of order");
    let of = |place: u64| kept.iter().filter(|number| *number % 4 == place).count();
    assert_eq!([of(2), of(3)], [550, 550], "a severe hit was given up");
    assert!(of(0) < 100 && (100..500).contains(&of(1)), "low {}, medium {}", of(0), of(1));
    let oldest = |place: u64| kept.iter().copied().find(|number| number % 4 == place);
    assert!(oldest(1) > Some(100), "the oldest of a severity go first");
}

#[test]
fn a_full_spool_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 1 << 20 }).unwrap();
    fill(&spool);
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let disk = LocalDisk::new(folder.path());
    let (log, recovered) = SegmentLog::open(Arc::new(SpoolFolder::new(disk)), 1 << 20).unwrap();
    assert_eq!((recovered.damaged, log.last()), (0, recovered.records));
}

#[test]
fn a_mark_comes_back_when_what_was_put_before_it_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 9 << 20 }).unwrap();
    for number in 0..10 {
        spool.sink.put(Box::new(Record::Hit(Box::new(hit(number, EVIDENCE_BYTES))))).unwrap();
    }
    assert!(spool.sink.mark(1).unwrap());
    assert_eq!(spool.marks.recv_timeout(Duration::from_secs(30)), Ok(1));
    let safe = *spool.control.safe.borrow();
    assert_eq!(read(&spool.control, &safe).len(), 10);
}

//! The spool's thread while its quota is full: lines wait, live hits are counted, stopping ends.

use std::path::Path;
use std::time::{Duration, Instant};

use protocol::message::{LossReason, Record};
use protocol::{Direction, Hit, HitId, Observable, Place, SeenIn, Serial, Timestamp};

use super::*;
use crate::spool::SpoolReader;

fn hit(number: u64) -> Hit {
    let at = Timestamp::from_micros(0);
    let observable = Observable::guess("evil.example").unwrap();
    let place = Place::Line { line: number, offset: Some(number) };
    Hit {
        hit_id: HitId::derive(at, "a", (&observable, SeenIn::LogDomain), &place, "i"),
        at,
        input: "a".into(),
        observable,
        seen_in: SeenIn::LogDomain,
        place,
        indicator: "i".into(),
        also: Vec::new(),
        direction: Direction::Outbound,
        host: None,
        remote: None,
        count: 1,
        last_at: at,
        bundle: Serial(1),
        evidence: "x".repeat(1000),
        notes: Vec::new(),
        named_origins: Vec::new(),
        traffic: None,
        nat: None,
        witnesses: Vec::new(),
        logged: None,
    }
}

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
            match spool.sink.put(Box::new(Record::Hit(Box::new(hit(taken))))) {
                Ok(()) => taken += 1,
                Err(NotPut::Full(_)) => return spool.control.is_full(),
                Err(NotPut::Stopped(_)) => panic!("the spool stopped"),
            }
        }
    });
    taken
}

fn read(folder: &Path, safe: &Safe) -> Vec<Record> {
    let mut reader = SpoolReader::new(folder);
    let mut records = Vec::new();
    while let Some(batch) = reader.read(safe, safe.stored() + 1 + records.len() as u64, 100).unwrap() {
        records.extend(batch.records);
    }
    records
}

#[test]
fn a_full_spool_takes_hits_again_when_some_are_delivered() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 9 << 20 }).unwrap();
    let taken = fill(&spool);
    assert!(!spool.sink.is_open());
    for number in 0..7 {
        spool.sink.offer(hit(1_000_000 + number));
    }
    assert_eq!(spool.control.lost(), 7);
    let safe = *spool.control.safe.borrow();
    let first = read(folder.path(), &safe);
    spool.control.acknowledge(&safe, safe.newest());
    wait_for("an open spool", || spool.sink.is_open());
    let control = spool.control.clone();
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let second = read(folder.path(), &control.safe.borrow());
    let all: Vec<Record> = first.into_iter().chain(second).collect();
    let hits = all.iter().filter(|record| matches!(record, Record::Hit(_))).count();
    assert_eq!(hits as u64, taken, "a hit of a line was lost or doubled");
    let losses: Vec<(u64, LossReason)> = all
        .iter()
        .filter_map(|record| match record {
            Record::Loss(loss) => Some((loss.count, loss.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(losses, [(7, LossReason::SpoolFull)]);
}

#[test]
fn a_full_spool_stops_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 1 << 20 }).unwrap();
    fill(&spool);
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let (log, recovered) = SegmentLog::open(folder.path(), 1 << 20).unwrap();
    assert_eq!((recovered.damaged, log.last()), (0, recovered.records));
}

#[test]
fn a_mark_comes_back_when_what_was_put_before_it_is_safe() {
    let folder = tempfile::tempdir().unwrap();
    let spool = start(folder.path(), &SpoolConfig { bytes_max: 9 << 20 }).unwrap();
    for number in 0..10 {
        spool.sink.put(Box::new(Record::Hit(Box::new(hit(number))))).unwrap();
    }
    assert!(spool.sink.mark(1).unwrap());
    assert_eq!(spool.marks.recv_timeout(Duration::from_secs(30)), Ok(1));
    let safe = *spool.control.safe.borrow();
    assert_eq!(read(folder.path(), &safe).len(), 10);
}

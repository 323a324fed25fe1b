//! The spool's thread on a disk that fails, is read-only or full: it says so, goes on, and loses nothing that can wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::message::Record;
use vedetta_agent::config::SpoolConfig;
use vedetta_agent::spool::{Position, Safe, SpoolFolder, SpoolHandles, SpoolReader, start_on};

use crate::faulty_disk::{Faults, FaultyDisk};
use crate::made;
use crate::seed::Seed;

const BYTES_MAX: u64 = 16 << 20;
const DEADLINE: Duration = Duration::from_secs(40);

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn start(disk: &FaultyDisk) -> SpoolHandles {
    let severity_of = Box::new(|hit: &protocol::Hit| made::severity(made::number(hit)));
    start_on(disk.clone(), &SpoolConfig { bytes_max: BYTES_MAX }, severity_of).unwrap()
}

fn put(spool: &SpoolHandles, numbers: std::ops::Range<u64>) {
    for number in numbers {
        wait_for("room in the queue", || spool.sink.put(Box::new(made::record(number))).is_ok());
    }
}

/// How often each hit is in the spool, and how many losses tell of.
fn read(disk: &FaultyDisk, safe: &Safe) -> (BTreeMap<u64, u64>, u64) {
    let mut reader = SpoolReader::beside(Arc::new(SpoolFolder::new(disk.clone())));
    let (mut hits, mut lost, mut from) = (BTreeMap::new(), 0, safe.stored() + 1);
    while let Some(batch) = reader.read(safe, from, 500).unwrap() {
        for record in &batch.records {
            match record {
                Record::Hit(hit) => *hits.entry(made::number(hit)).or_insert(0) += 1,
                Record::Loss(loss) => lost += loss.count,
                Record::Unknown => {}
            }
        }
        from = batch.first + batch.records.len() as u64;
    }
    (hits, lost)
}

/// Hits of lines come in before and while the disk is in trouble, and more live ones than are kept in memory.
fn check(trouble: impl Fn(&mut Faults), words: &str) {
    let disk = FaultyDisk::default();
    let spool = start(&disk);
    put(&spool, 0..100);
    assert!(spool.sink.mark(1).unwrap());
    assert_eq!(spool.marks.recv_timeout(DEADLINE), Ok(1));
    disk.set(trouble);
    put(&spool, 100..200);
    assert!(spool.sink.mark(2).unwrap());
    wait_for("the trouble to be told", || !spool.control.trouble().is_empty());
    assert!(spool.control.trouble().contains(words), "{}", spool.control.trouble());
    assert!(!spool.sink.is_open(), "lines should wait");
    for number in 1000..4000 {
        spool.sink.offer(made::hit(number));
    }
    assert!(spool.control.lost() > 0, "live hits without limit");
    assert!(spool.marks.try_recv().is_err(), "what is not on disk is called safe");
    assert!(!spool.thread.is_finished(), "the spool ended");
    // What the uplink has read goes on being read.
    let safe = *spool.control.safe.borrow();
    assert_eq!(read(&disk, &safe).0.len(), 100);
    disk.set(|faults| *faults = Faults::default());
    assert_eq!(spool.marks.recv_timeout(DEADLINE), Ok(2));
    wait_for("the trouble to be over", || spool.control.trouble().is_empty() && spool.sink.is_open());
    let disk = disk.after_power_cut(&mut Seed::new(1));
    let lines = start(&disk);
    let (hits, _) = read(&disk, &lines.control.safe.borrow());
    assert!((0..200).all(|number| hits.contains_key(&number)), "a hit of a line that was safe is gone");
    drop((spool, lines));
}

#[test]
fn a_write_that_fails_is_told_and_the_log_is_opened_again() {
    check(|faults| faults.write = true, "cannot write to memory");
}

#[test]
fn after_a_sync_that_failed_nothing_is_believed_that_was_not_written_anew() {
    check(|faults| faults.sync = true, "cannot write to memory");
}

#[test]
fn a_disk_that_is_read_only_is_told_and_waited_for() {
    check(|faults| faults.read_only = true, "cannot write to memory");
}

#[test]
fn a_full_disk_is_told_and_waited_for() {
    check(|faults| faults.capacity = Some(0), "no space left in memory");
}

#[test]
fn every_live_hit_is_on_disk_or_told_as_lost_when_the_disk_works_again() {
    let disk = FaultyDisk::default();
    let spool = start(&disk);
    disk.set(|faults| faults.sync = true);
    spool.sink.offer(made::hit(0));
    wait_for("the trouble to be told", || !spool.control.trouble().is_empty());
    for number in 1..5000 {
        spool.sink.offer(made::hit(number));
    }
    disk.set(|faults| *faults = Faults::default());
    wait_for("the trouble to be over", || spool.control.trouble().is_empty() && spool.sink.is_open());
    let control = spool.control.clone();
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let (hits, lost) = read(&disk, &control.safe.borrow());
    assert!(hits.values().all(|times| *times == 1), "a hit is there twice");
    assert_eq!(hits.len() as u64 + lost, 5000);
    assert_eq!(control.lost(), lost);
}

#[test]
fn on_a_full_disk_the_ballast_makes_room_for_what_is_acknowledged() {
    let disk = FaultyDisk::default();
    let spool = start(&disk);
    put(&spool, 0..2000);
    wait_for("the hits to be safe", || spool.control.safe.borrow().last == 2000);
    let has_ballast = || disk.names().contains(&"ballast".to_owned());
    assert!(has_ballast());
    // Somebody else takes all the room that there is.
    let used = disk.used();
    disk.set(|faults| faults.capacity = Some(used));
    put(&spool, 2000..2100);
    wait_for("the ballast to be given up", || !has_ballast());
    assert!(!spool.control.trouble().is_empty() && !spool.sink.is_open());
    let safe = *spool.control.safe.borrow();
    spool.control.acknowledge(&safe, 5);
    let folder = SpoolFolder::new(disk.clone());
    wait_for("the position to be written", || {
        Position::read(&folder).is_some_and(|position| position.acknowledged == 5)
    });
    assert!(disk.used() <= used, "more than there is");
    disk.set(|faults| faults.capacity = Some(used + (4 << 20)));
    wait_for("hits to be taken again", || spool.sink.is_open() && has_ballast());
    let control = spool.control.clone();
    drop(spool.sink);
    spool.thread.join().unwrap().unwrap();
    let (hits, lost) = read(&disk, &control.safe.borrow());
    assert_eq!((hits.len(), lost), (2095, 0), "a hit that was spooled is gone");
}

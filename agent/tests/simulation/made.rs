//! Hits that are known by their number: size and severity follow from it, so that an altered one is noticed.

use protocol::message::Record;
use protocol::{Hit, Place, Severity};

use crate::made_hit;

pub fn hit(number: u64) -> Hit {
    made_hit::hit(number, usize::try_from(number * 37 % 700).unwrap())
}

pub fn record(number: u64) -> Record {
    Record::Hit(Box::new(hit(number)))
}

pub fn severity(number: u64) -> Severity {
    Severity::ALL[usize::try_from(number % 3).unwrap()]
}

pub fn payload(number: u64) -> Vec<u8> {
    vedetta_agent::spool::encode(&record(number), severity(number)).unwrap()
}

/// The number of a hit that is as it was made.
///
/// # Panics
/// When it was altered.
pub fn number(found: &Hit) -> u64 {
    let Place::Line { line, .. } = found.place else { panic!("made up: {found:?}") };
    assert_eq!(*found, hit(line), "a hit was altered");
    line
}

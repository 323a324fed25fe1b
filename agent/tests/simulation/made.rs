//! Hits that are known by their number: size and severity follow from it, so that an altered one is noticed.

use protocol::message::Record;
use protocol::{Direction, Hit, HitId, Observable, Place, SeenIn, Serial, Severity, Timestamp};

pub fn hit(number: u64) -> Hit {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap() * 1_000_000);
    let observable = Observable::guess("evil.example").unwrap();
    let place = Place::Line { line: number, offset: Some(number) };
    let size = usize::try_from(number * 37 % 700).unwrap();
    Hit {
        hit_id: HitId::derive(at, "a.log", (&observable, SeenIn::LogDomain), &place, "i"),
        at,
        input: "a.log".into(),
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
        evidence: "x".repeat(size),
        notes: Vec::new(),
        named_origins: Vec::new(),
        traffic: None,
        nat: None,
        witnesses: Vec::new(),
        logged: None,
    }
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

//! A hit that is known by its number.

use protocol::{Direction, Hit, HitId, Observable, Place, SeenIn, Serial, Timestamp};

/// The hit of a line with this number, with so many bytes of evidence.
pub fn hit(number: u64, evidence_bytes: usize) -> Hit {
    let at = Timestamp::from_micros(i64::try_from(number).unwrap() * 1_000_000);
    let observable = Observable::guess("evil.example").unwrap();
    let place = Place::Line { line: number, offset: Some(number) };
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
        evidence: "x".repeat(evidence_bytes),
        notes: Vec::new(),
        named_origins: Vec::new(),
        traffic: None,
        nat: None,
        witnesses: Vec::new(),
        logged: None,
    }
}

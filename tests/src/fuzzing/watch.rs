//! Detectors that are fed the same, and what must hold of them during and after any input.

use std::collections::BTreeSet;
use std::sync::Arc;

use detect::{Detector, DetectorConfig, Line, Link, Matcher, Report, SightingRecord};
use protocol::hit::EVIDENCE_BYTES_MAX;
use protocol::{Hit, Indicator, LookFor, Observable, Serial, Timestamp, frame};

/// So little that inputs of fuzzers reach it.
const MEMORY_BYTES_MAX: usize = 512 << 10;
/// Every address, names that seeds hold, and one value of each other kind, so that nothing is left uncomputed.
const LOOKED_FOR: &[&str] = &[
    "0.0.0.0/0",
    "::/0",
    "evil.example",
    "http://evil.example/a",
    "mallory@evil.example",
    "900150983cd24fb0d6963f7d28e17f72",
    "a9993e364706816aba3e25717850c26c9cd0d89d",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
];

/// One detector that observes and one that compares.
pub struct Watch {
    observer: Detector,
    comparer: Detector,
    fed: u64,
    /// What was seen so far.
    pub seen: BTreeSet<String>,
    sightings: u64,
    hits: u64,
}

impl Default for Watch {
    fn default() -> Self {
        let indicators = LOOKED_FOR.iter().filter_map(|value| LookFor::guess(value).ok());
        let matcher = Arc::new(Matcher::build(Serial(1), indicators.map(Indicator::plain)).unwrap());
        let tight = DetectorConfig {
            memory_bytes_max: MEMORY_BYTES_MAX,
            report: Report::AtEnd,
            ..DetectorConfig::default()
        };
        Self {
            observer: Detector::observer(&DetectorConfig::default(), "fuzz"),
            comparer: Detector::new(&tight, "fuzz", matcher),
            fed: 0,
            seen: BTreeSet::new(),
            sightings: 0,
            hits: 0,
        }
    }
}

impl Watch {
    /// A time a millisecond after the one before.
    fn at(&self) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000 + i64::try_from(self.fed).unwrap_or_default() * 1000)
    }

    pub fn frame(&mut self, link: Link, frame: &[u8]) {
        let at = self.at();
        self.fed += 1;
        self.observer.handle_frame(at, link, frame);
        self.comparer.handle_frame(at, link, frame);
        self.fetch();
    }

    pub fn line(&mut self, line: &[u8]) {
        let at = self.at();
        self.fed += 1;
        let line = Line { number: self.fed, offset: None, bytes: line };
        self.observer.handle_line(at, line);
        self.comparer.handle_line(at, line);
        self.fetch();
    }

    /// The input is over.
    pub fn finish(mut self) -> BTreeSet<String> {
        let at = self.at();
        self.observer.finish(at);
        self.comparer.finish(at);
        self.fetch();
        for detector in [&self.observer, &self.comparer] {
            assert_eq!((detector.flows(), detector.held()), (0, 0), "flows and bytes kept at the end");
            let counters = detector.counters();
            assert_eq!(counters.frames + counters.lines, self.fed, "frames and lines");
            assert!(
                counters.flows_idle + counters.flows_evicted <= counters.flows_begun,
                "flows ended {counters:?}"
            );
        }
        let counters = self.observer.counters();
        assert_eq!(counters.sightings, self.sightings + counters.values_odd, "sightings");
        let counters = self.comparer.counters();
        assert_eq!(counters.hits, self.hits, "hits");
        assert!(counters.hits + counters.hits_lost <= counters.matches, "matches");
        self.seen
    }

    fn fetch(&mut self) {
        while let Some(sighting) = self.observer.poll_sighting() {
            self.sightings += 1;
            check_sighting(&sighting);
            self.seen.insert(format!("{} {}", sighting.seen_in.as_str(), sighting.observable));
        }
        while let Some(hit) = self.comparer.poll_hit() {
            self.hits += 1;
            check_hit(&hit);
        }
        let held = self.comparer.held();
        assert!(held <= MEMORY_BYTES_MAX, "{held} bytes kept");
    }
}

/// A value in normal form is read back as itself, and the record is a line of JSON.
fn check_sighting(sighting: &SightingRecord) {
    let again = serde_json::to_value(&sighting.observable).and_then(serde_json::from_value::<Observable>);
    assert_eq!(again.as_ref().ok(), Some(&sighting.observable), "not in normal form");
    let json = serde_json::to_value(sighting);
    let has = |field| json.as_ref().is_ok_and(|json| json.get(field).is_some());
    assert!(["at", "input", "kind", "value", "seen_in"].into_iter().all(has), "{sighting:?}");
    assert!(has("flow") != has("line"), "{sighting:?}");
}

/// A hit comes back from JSON and from CBOR as it was.
fn check_hit(hit: &Hit) {
    assert!(hit.evidence.len() <= EVIDENCE_BYTES_MAX && hit.count > 0, "{hit:?}");
    assert!(hit.at <= hit.last_at, "{hit:?}");
    let mut hit = hit.clone();
    if let Some(traffic) = &mut hit.traffic {
        traffic.start = None; // never leaves the agent
    }
    let hit = &hit;
    let json = serde_json::to_string(hit).unwrap_or_default();
    assert_eq!(serde_json::from_str::<Hit>(&json).ok().as_ref(), Some(hit), "JSON");
    let cbor = frame::encode(hit).unwrap_or_default();
    let back = cbor.get(frame::LENGTH_BYTES..).and_then(|cbor| frame::decode::<Hit>(cbor).ok());
    assert_eq!(back.as_ref(), Some(hit), "CBOR");
}

//! Cooldowns that one detector leaves and another goes on with.

use std::sync::Arc;

use protocol::{Hit, Indicator, LookFor, Serial, Timestamp};

use crate::{Detector, DetectorConfig, Line, Matcher, OpenHit};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds, 0)
}

fn detector() -> Detector {
    let indicators = (0..9).map(|number| format!("bad{number}.example"));
    let indicators = indicators.map(|value| Indicator::plain(LookFor::guess(&value).unwrap()));
    let matcher = Matcher::build(Serial(7), indicators).unwrap();
    Detector::new(&DetectorConfig::default(), "a.log", Arc::new(matcher))
}

fn read(detector: &mut Detector, seconds: i64, value: u8) {
    let text = format!("blocked bad{value}.example");
    let offset = Some(u64::try_from(seconds).unwrap());
    detector.handle_line(at(seconds), Line { number: 1, offset, bytes: text.as_bytes() });
}

fn hits(detector: &mut Detector) -> Vec<Hit> {
    std::iter::from_fn(|| detector.poll_hit()).collect()
}

/// A detector that has counted two lines, and another that goes on after it: the hit that went out is the same.
fn going_on(is_witness: bool) -> (Detector, Hit) {
    let mut before = detector();
    read(&mut before, 0, 0);
    read(&mut before, 1, 0);
    let first = hits(&mut before).pop().unwrap();
    let open = before.open_hits(10, 10_000).pop().unwrap();
    assert_eq!((open.hit.hit_id, open.hit.count, open.hit.last_at), (first.hit_id, 2, at(1)));
    let mut after = detector();
    after.reopen(at(10), OpenHit { is_witness, ..open });
    (after, first)
}

#[test]
fn counting_goes_on_under_the_same_identity() {
    let (mut after, first) = going_on(false);
    read(&mut after, 20, 0);
    assert_eq!(hits(&mut after), [], "the same thing is no other hit");
    after.finish(at(30));
    let last = hits(&mut after);
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].hit_id, last[0].count, last[0].last_at), (first.hit_id, 3, at(20)));
}

#[test]
fn a_cooldown_closes_when_it_would_have() {
    let (mut after, first) = going_on(false);
    assert_eq!(after.poll_timeout(), Some(at(300)));
    read(&mut after, 301, 0);
    let found: Vec<(bool, u64)> =
        hits(&mut after).iter().map(|hit| (hit.hit_id == first.hit_id, hit.count)).collect();
    assert_eq!(found, [(true, 2), (false, 1)], "the count goes out, and what comes later is another hit");
}

#[test]
fn a_clock_that_was_put_back_keeps_no_cooldown_open() {
    let (after, first) = going_on(false);
    let open = after.open_hits(10, 10_000);
    let mut earlier = detector();
    open.into_iter().for_each(|open| earlier.reopen(at(-1000), open));
    earlier.handle_timeout(at(-700));
    assert_eq!(hits(&mut earlier).first().map(|hit| hit.hit_id), Some(first.hit_id));
}

#[test]
fn what_was_joined_with_another_sources_hit_only_counts() {
    let (mut after, _) = going_on(true);
    read(&mut after, 20, 0);
    assert_eq!(after.open_hits(10, 10_000)[0].hit.count, 3);
    after.finish(at(30));
    assert_eq!(hits(&mut after), []);
}

#[test]
fn the_newest_are_kept_where_there_is_no_room_for_all() {
    let mut detector = detector();
    (0..9).for_each(|value| read(&mut detector, i64::from(value), value));
    let values = |open: Vec<OpenHit>| -> Vec<String> {
        open.iter().map(|open| open.hit.observable.to_string()).collect()
    };
    assert_eq!(values(detector.open_hits(2, 1 << 20)), ["bad8.example", "bad7.example"]);
    assert!((1..9).contains(&detector.open_hits(9, 3000).len()));
    assert_eq!(values(detector.open_hits(9, 1)), Vec::<String>::new());
    let changes = detector.cooldown_changes();
    detector.handle_line(at(10), Line { number: 1, offset: None, bytes: b"good.example" });
    assert_eq!(detector.cooldown_changes(), changes);
    read(&mut detector, 11, 0);
    assert_ne!(detector.cooldown_changes(), changes);
}

//! A flow from its first packet to its end: what its hits say while it lives, and how it ended.

use std::sync::Arc;

use protocol::{Flow, FlowEnd, Hit, Indicator, LookFor, Note, SeenIn, Serial, Timestamp, Traffic};

use crate::made::{Side, client_hello, tls_records};
use crate::{Detector, DetectorConfig, Link, Matcher, Report};

const CLIENT: Side = Side { src: ([10, 0, 0, 5], 40_000), dst: ([203, 0, 113, 5], 443) };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds, 0)
}

fn matcher(values: &[&str]) -> Arc<Matcher> {
    let indicators = values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
    Arc::new(Matcher::build(Serial(7), indicators).unwrap())
}

fn detector(report: Report, values: &[&str]) -> Detector {
    Detector::new(&DetectorConfig { report, ..DetectorConfig::default() }, "test", matcher(values))
}

fn hits(detector: &mut Detector) -> Vec<Hit> {
    std::iter::from_fn(|| detector.poll_hit()).collect()
}

/// The traffic of the one hit on the server's address, when these frames came a second apart.
fn traffic(frames: &[Vec<u8>]) -> Traffic {
    let mut detector = detector(Report::AtEnd, &["203.0.113.5"]);
    for (number, frame) in (0..).zip(frames) {
        detector.handle_frame(at(number), Link::Ethernet, frame);
    }
    detector.finish(at(100));
    let hits = hits(&mut detector);
    assert_eq!(hits.len(), 1);
    hits[0].traffic.unwrap()
}

fn handshake() -> Vec<Vec<u8>> {
    vec![CLIENT.syn(100), CLIENT.back().syn_ack(500), CLIENT.data(101, b"")]
}

#[test]
fn packets_and_bytes_are_counted_each_way() {
    let frames = [handshake(), vec![CLIENT.data(101, b"hello"), CLIENT.back().data(501, &[7; 100])]].concat();
    let expected = Traffic {
        packets_out: 3,
        packets_back: 2,
        bytes_out: 3 * 40 + 5,
        bytes_back: 2 * 40 + 100,
        established: true,
        ended: Some(FlowEnd::InputEnded),
        start: Some(101),
    };
    assert_eq!(traffic(&frames), expected);
}

#[test]
fn how_a_flow_ended_is_told_by_its_own_packets() {
    let end = |rest: &[Vec<u8>]| traffic(&[handshake(), rest.to_vec()].concat()).ended;
    assert_eq!(end(&[]), Some(FlowEnd::InputEnded));
    assert_eq!(end(&[CLIENT.fin(101)]), Some(FlowEnd::InputEnded));
    assert_eq!(end(&[CLIENT.fin(101), CLIENT.back().fin(501)]), Some(FlowEnd::Closed));
    assert_eq!(end(&[CLIENT.back().reset(501)]), Some(FlowEnd::Reset));
    assert!(!traffic(&[CLIENT.syn(100)]).established);
}

#[test]
fn silence_and_a_new_connection_end_a_flow() {
    let mut detector = detector(Report::AtEnd, &["203.0.113.5"]);
    detector.handle_frame(at(0), Link::Ethernet, &CLIENT.syn(100));
    detector.handle_frame(at(1), Link::Ethernet, &CLIENT.syn(9_000));
    detector.handle_frame(at(2_000), Link::Ethernet, &CLIENT.data(9_001, b"x"));
    detector.finish(at(2_001));
    let ended: Vec<_> = hits(&mut detector).iter().map(|hit| hit.traffic.unwrap().ended).collect();
    assert_eq!(ended, [Some(FlowEnd::Replaced), Some(FlowEnd::InputEnded)]);
    assert_eq!(detector.counters().flows_idle, 1);
}

#[test]
fn what_follows_a_reset_is_read() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    let mut detector = detector(Report::AtEnd, &["evil.example"]);
    for frame in [handshake(), vec![CLIENT.back().reset(501), CLIENT.data(101, &hello)]].concat() {
        detector.handle_frame(at(0), Link::Ethernet, &frame);
    }
    assert_eq!(detector.counters().matches, 1);
}

#[test]
fn a_long_flow_is_reported_while_it_lives() {
    let mut detector = detector(Report::AtOnce, &["203.0.113.5"]);
    let mut given = Vec::new();
    for minute in 0..30 {
        detector.handle_frame(at(minute * 60), Link::Ethernet, &CLIENT.data(101, &[7; 100]));
        given.extend(hits(&mut detector));
    }
    let first = &given[0];
    assert_eq!((first.count, first.traffic.unwrap().packets_out), (1, 1));
    let reports: Vec<_> = given.iter().filter(|hit| hit.hit_id == first.hit_id).collect();
    assert_eq!(reports.len(), 2, "the first again when its cooldown closes");
    assert_eq!(reports[1].traffic.unwrap().packets_out, 5);
    assert!(given.len() >= 8, "a hit each cooldown: {}", given.len());
    let last = given.last().unwrap();
    assert!(last.traffic.unwrap().packets_out > 20 && last.traffic.unwrap().ended.is_none());
}

#[test]
fn a_new_bundle_is_compared_with_flows_under_way() {
    let mut detector = detector(Report::AtOnce, &["198.51.100.1"]);
    let flow = handshake();
    flow.iter().for_each(|frame| detector.handle_frame(at(0), Link::Ethernet, frame));
    detector.set_matcher(matcher(&["203.0.113.5"]));
    assert!(hits(&mut detector).is_empty());
    detector.handle_frame(at(1), Link::Ethernet, &CLIENT.data(101, b""));
    let hits = hits(&mut detector);
    assert_eq!((hits.len(), hits[0].seen_in), (1, SeenIn::FlowDst));
    assert_eq!(hits[0].traffic.unwrap().packets_out, 3, "with what went over it before");
}

/// Notes of the hit on a server name whose hello came in these segments after the handshake.
fn notes(handshake: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<Note> {
    let mut detector = detector(Report::AtEnd, &["evil.example"]);
    for frame in handshake.iter().chain(segments) {
        detector.handle_frame(at(0), Link::Ethernet, frame);
    }
    detector.finish(at(1));
    let hits = hits(&mut detector);
    assert_eq!(hits.len(), 1);
    hits[0].notes.clone()
}

#[test]
fn bytes_sent_again_with_other_contents_are_flagged_and_the_first_count() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    let other = tls_records(&client_hello("good.example"), 16_000);
    let (start, rest) = hello.split_at(700);
    let tail = CLIENT.data(801, rest);
    let first = CLIENT.data(101, start);
    assert_eq!(notes(&handshake(), &[first.clone(), first.clone(), tail.clone()]), []);
    let changed = |from: usize, to: usize| {
        let mut bytes = other[from..to].to_vec();
        bytes[10] ^= 0xff;
        CLIENT.data(101 + u32::try_from(from).unwrap(), &bytes)
    };
    assert_eq!(notes(&handshake(), &[first.clone(), changed(0, 700), tail.clone()]), [Note::SegmentsDiffer]);
    assert_eq!(
        notes(&handshake(), &[tail, changed(700, hello.len()), first]),
        [Note::SegmentsDiffer],
        "also while they wait for earlier ones"
    );
}

#[test]
fn a_part_of_an_unfinished_message_sent_again_is_compared() {
    let start = CLIENT.data(101, b"GET / HTTP/1.1\r\nAccept: */*\r\n");
    let rest = CLIENT.data(130, b"Host: evil.example\r\n\r\n");
    let again = |bytes: &[u8]| notes(&handshake(), &[start.clone(), CLIENT.data(105, bytes), rest.clone()]);
    assert_eq!(again(b"/ HTTP/1.1"), []);
    assert_eq!(again(b"/other/1.1"), [Note::SegmentsDiffer]);
}

#[test]
fn a_connection_picked_up_in_its_middle_is_noted() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    assert_eq!(notes(&[], &[CLIENT.data(101, &hello)]), [Note::Midstream]);
}

#[test]
fn a_hit_says_what_its_own_flow_carried() {
    let mut detector = detector(Report::AtEnd, &["203.0.113.5"]);
    let other = Side { src: ([10, 0, 0, 5], 40_001), ..CLIENT };
    for side in [CLIENT, other, other] {
        detector.handle_frame(at(0), Link::Ethernet, &side.data(101, b"x"));
    }
    detector.finish(at(1));
    let hits = hits(&mut detector);
    let protocol::Place::Flow { flow: Flow { src_port, .. } } = hits[0].place else { panic!() };
    assert_eq!((hits.len(), src_port, hits[0].count), (1, 40_000, 2));
    assert_eq!(hits[0].traffic.unwrap().packets_out, 1);
}

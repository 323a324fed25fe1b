//! What most packets are costs no allocation: those of flows that are known and bring nothing to report.

#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests may"
)]

use std::sync::Arc;

use etherparse::PacketBuilder;
use protocol::{Indicator, LookFor, Serial, Timestamp};
use vedetta_detect::{Detector, DetectorConfig, Link, Matcher};

const HOST: ([u8; 4], u16) = ([10, 0, 0, 5], 40_000);
const SERVER: ([u8; 4], u16) = ([203, 0, 113, 5], 443);
const RESOLVER: ([u8; 4], u16) = ([10, 0, 0, 1], 53);

fn matcher() -> Arc<Matcher> {
    let values =
        ["evil.example", "198.51.100.0/24", "198.51.100.7", "http://evil.example/a", "a@evil.example"];
    Arc::new(
        Matcher::build(Serial(1), values.map(|value| Indicator::plain(LookFor::guess(value).unwrap())))
            .unwrap(),
    )
}

fn tcp(from: ([u8; 4], u16), to: ([u8; 4], u16), sequence: u32, payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from.0, to.0, 64);
    let mut frame = Vec::new();
    builder.tcp(from.1, to.1, sequence, 65_535).ack(1).write(&mut frame, payload).unwrap();
    frame
}

fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(from.0, to.0, 64);
    let mut frame = Vec::new();
    builder.udp(from.1, to.1).write(&mut frame, payload).unwrap();
    frame
}

/// Feeds `before`, then counts what `then`, sent a hundred times, allocates.
#[track_caller]
fn check(before: &[Vec<u8>], then: &[Vec<u8>]) {
    let mut detector = Detector::new(&DetectorConfig::default(), "test", matcher());
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    before.iter().chain(then).for_each(|frame| detector.handle_frame(at, Link::Ethernet, frame));
    let measured = allocation_counter::measure(|| {
        for frame in (0..100).flat_map(|_| then) {
            detector.handle_frame(at, Link::Ethernet, frame);
        }
    });
    assert_eq!(measured.count_total, 0);
    assert_eq!(detector.counters().frames, (before.len() + 101 * then.len()) as u64);
}

/// A question for a name, or the answer with an address.
fn dns(name: &str, answer: Option<[u8; 4]>) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    if let Some(address) = answer {
        (message[2], message[7]) = (0x81, 1);
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        message.extend(address);
    }
    message
}

#[test]
fn packets_of_a_connection_whose_interesting_bytes_are_over() {
    let server_hello = b"\x16\x03\x03\0\x04\x02\0\0\0\x17\x03\x03\0\x01\0";
    let begin = [tcp(HOST, SERVER, 1, b"\x17\x03\x03\0\x01\0"), tcp(SERVER, HOST, 1, server_hello)];
    let sealed: Vec<_> = (0..40)
        .flat_map(|number| {
            let sequence = 100 + number * 1400;
            [tcp(HOST, SERVER, sequence, &[0xab; 1400]), tcp(SERVER, HOST, sequence, &[0xcd; 1400])]
        })
        .collect();
    check(&[&begin[..], &sealed].concat(), &sealed);
}

#[test]
fn acknowledgements() {
    check(&[], &[tcp(HOST, SERVER, 1, &[]), tcp(SERVER, HOST, 1, &[])]);
}

#[test]
fn questions_and_answers_that_nobody_looks_for() {
    let question = udp(HOST, RESOLVER, &dns("www.comune.example", None));
    let answer = udp(RESOLVER, HOST, &dns("www.comune.example", Some([203, 0, 113, 9])));
    check(&[], &[question, answer]);
}

#[test]
fn datagrams_of_an_unknown_protocol() {
    check(&[], &[udp(HOST, SERVER, &[0x5a; 900]), udp(SERVER, HOST, &[0x5a; 900])]);
}

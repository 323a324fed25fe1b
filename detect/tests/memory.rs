//! One budget holds for everything that traffic makes a detector keep, whatever the traffic is made for.
//!
//! Each case sends a flood and counts every allocation of this thread; what did not fit must be counted by reason.

#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "tests may"
)]

#[path = "../src/sealed.rs"]
mod sealed;

use std::sync::Arc;

use protocol::{Indicator, LookFor, Serial, Timestamp};
use vedetta_detect::{Counters, Detector, DetectorConfig, Line, Link, Matcher, Report};

use crate::sealed::seal;

const BUDGET: usize = 8 << 20;
/// Frames that a capture worker reads before it fetches hits.
const FRAMES_AT_ONCE: u32 = 64;
const SERVER: [u8; 4] = [203, 0, 113, 80];

fn config() -> DetectorConfig {
    DetectorConfig { memory_bytes_max: BUDGET, ..DetectorConfig::default() }
}

fn at(number: u32) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + i64::from(number))
}

/// A host of its own for each number.
fn host(number: u32) -> [u8; 4] {
    let [_, a, b, c] = number.to_be_bytes();
    [10, a, b, c]
}

/// Makes frames in one buffer, so that only the detector allocates.
struct Sender<'a> {
    detector: &'a mut Detector,
    frame: Vec<u8>,
    sent: u32,
    hits: u64,
}

const SYN: u8 = 2;
const ACK: u8 = 16;
const TCP: u8 = 6;
const UDP: u8 = 17;

impl Sender<'_> {
    fn tcp(&mut self, from: u32, (sequence, flags): (u32, u8), payload: &[u8]) {
        self.ip(from, (TCP, 0), 20 + payload.len());
        self.frame.extend(40_000u16.to_be_bytes());
        self.frame.extend(8080u16.to_be_bytes());
        self.frame.extend(sequence.to_be_bytes());
        self.frame.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        self.send(payload);
    }

    fn udp(&mut self, from: u32, port: u16, payload: &[u8]) {
        self.ip(from, (UDP, 0), 8 + payload.len());
        self.frame.extend(40_000u16.to_be_bytes());
        self.frame.extend(port.to_be_bytes());
        self.frame.extend((8 + payload.len() as u16).to_be_bytes());
        self.frame.extend([0, 0]);
        self.send(payload);
    }

    /// A fragment, `offset` in units of eight bytes, more to follow.
    fn fragment(&mut self, from: u32, offset: u16, payload: &[u8]) {
        self.ip(from, (UDP, 0x2000 | offset), payload.len());
        self.send(payload);
    }

    fn ip(&mut self, from: u32, (protocol, fragment): (u8, u16), length: usize) {
        self.frame.clear();
        self.frame.extend([0x45, 0]);
        self.frame.extend((20 + length as u16).to_be_bytes());
        self.frame.extend([0x12, 0x34]);
        self.frame.extend(fragment.to_be_bytes());
        self.frame.extend([64, protocol, 0, 0]);
        self.frame.extend(host(from));
        self.frame.extend(SERVER);
    }

    fn send(&mut self, payload: &[u8]) {
        self.frame.extend(payload);
        self.sent += 1;
        self.detector.handle_frame(at(self.sent), Link::RawIp, &self.frame);
        if self.sent.is_multiple_of(FRAMES_AT_ONCE) {
            self.fetch();
        }
    }

    fn fetch(&mut self) {
        while self.detector.poll_hit().is_some() {
            self.hits += 1;
        }
    }
}

/// Sends a flood and returns the counters and how many hits were given out.
#[track_caller]
fn check(
    config: &DetectorConfig,
    matcher: &Arc<Matcher>,
    flood: impl FnOnce(&mut Sender<'_>),
) -> (Counters, u64) {
    let mut result = None;
    let measured = allocation_counter::measure(|| {
        let mut detector = Detector::new(config, "test", Arc::clone(matcher));
        let mut sender =
            Sender { detector: &mut detector, frame: Vec::with_capacity(1 << 16), sent: 0, hits: 0 };
        flood(&mut sender);
        sender.detector.finish(at(sender.sent));
        sender.fetch();
        let hits = sender.hits;
        assert_eq!((detector.flows(), detector.held()), (0, 0), "flows and bytes kept at the end");
        result = Some((detector.counters(), hits));
    });
    println!("{} KiB at most of {} KiB", measured.bytes_max >> 10, config.memory_bytes_max >> 10);
    assert!(measured.bytes_max <= config.memory_bytes_max as u64, "{} bytes at most", measured.bytes_max);
    assert_eq!(measured.bytes_current, 0, "bytes left behind");
    result.unwrap()
}

fn nothing() -> Arc<Matcher> {
    Arc::new(Matcher::empty())
}

#[test]
fn a_flood_of_connections_from_forged_addresses() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        (0..1_000_000).for_each(|from| sender.tcp(from, (7, SYN), &[]));
    });
    assert_eq!(counters.flows_begun, 1_000_000);
    assert!(counters.flows_evicted > 900_000, "{}", counters.flows_evicted);
}

#[test]
fn a_flood_of_datagrams() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        (0..500_000).for_each(|from| sender.udp(from, 1024 + from as u16 % 60_000, &[0x5a; 64]));
    });
    assert!(counters.flows_evicted > 400_000, "{}", counters.flows_evicted);
}

#[test]
fn fragments_of_packets_that_never_become_whole() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for number in 0..200_000u32 {
            sender.fragment(number / 4, (number % 4 * 40) as u16, &[0x5a; 160]);
        }
    });
    assert!(counters.fragments_evicted > 0);
}

#[test]
fn the_most_pieces_of_a_packet_that_never_becomes_whole() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for number in 0..300_000u32 {
            sender.fragment(number / 4000, (number % 4000 * 2) as u16, &[0x5a; 8]);
        }
    });
    assert!(counters.fragments_too_many > 0);
}

#[test]
fn letters_that_never_end() {
    let letter = [&b"MAIL FROM:<a@b.example>\r\nDATA\r\nSubject: "[..], &[b'x'; 1300]].concat();
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..20_000 {
            sender.tcp(from, (0, SYN), &[]);
            sender.tcp(from, (1, ACK), b"EHLO mail.example\r\n");
            sender.tcp(from, (20, ACK), &letter);
            sender.tcp(from, (20 + letter.len() as u32, ACK), &letter);
        }
    });
    assert!(counters.streams_evicted > 0 || counters.flows_evicted > 0);
}

#[test]
fn a_million_connections_with_payload() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..1_000_000 {
            sender.tcp(from, (7, ACK), b"EHLO mail.example\r\nMAIL FROM:<a@b.example");
        }
    });
    assert_eq!(counters.flows_begun, 1_000_000);
    assert!(counters.flows_evicted > 900_000, "{}", counters.flows_evicted);
}

#[test]
fn request_heads_that_never_end() {
    let head = [&b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Filler: "[..], &[b'x'; 1200]].concat();
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..30_000 {
            sender.tcp(from, (0, SYN), &[]);
            sender.tcp(from, (1, ACK), &head);
            sender.tcp(from, (1 + head.len() as u32, ACK), &head);
        }
    });
    assert!(counters.streams_evicted > 0);
}

#[test]
fn heads_left_half_open_keep_no_other_from_being_read() {
    let half = [&b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Filler: "[..], &[b'x'; 1200]].concat();
    let indicators = [Indicator::plain(LookFor::guess("evil.example").unwrap())];
    let (counters, hits) =
        check(&config(), &Arc::new(Matcher::build(Serial(1), indicators).unwrap()), |sender| {
            for from in 0..20_000 {
                sender.tcp(from, (0, SYN), &[]);
                sender.tcp(from, (1, ACK), &half);
                if from % 1000 == 999 {
                    let other = 1_000_000 + from;
                    sender.tcp(other, (0, SYN), &[]);
                    sender.tcp(other, (1, ACK), b"GET / HTTP/1.1\r\n");
                    sender.tcp(other, (17, ACK), b"Host: evil.example\r\n\r\n");
                }
            }
        });
    assert!(counters.streams_evicted > 5000, "{}", counters.streams_evicted);
    // Each is seen, though the hit is given out once for all that come within its cooldown, and once with their sum.
    assert_eq!((counters.hits, counters.streams_refused), (20, 0), "{hits} given out");
}

#[test]
fn one_head_of_a_gigabyte() {
    let piece = [b'x'; 65_000];
    let (counters, _) = check(&config(), &nothing(), |sender| {
        sender.tcp(0, (0, SYN), &[]);
        let start = b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Filler: ";
        sender.tcp(0, (1, ACK), start);
        let mut sequence = 1 + start.len() as u32;
        for _ in 0..(1 << 30) / piece.len() {
            sender.tcp(0, (sequence, ACK), &piece);
            sequence = sequence.wrapping_add(piece.len() as u32);
        }
    });
    assert!(counters.http_heads_long > 0);
}

#[test]
fn segments_that_wait_for_one_that_never_comes() {
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..3_000 {
            sender.tcp(from, (0, SYN), &[]);
            (1..10).for_each(|number| sender.tcp(from, (1 + number * 1460, ACK), &[number as u8; 1400]));
        }
    });
    assert!(counters.segments_early > 0);
    assert!(counters.streams_evicted > 0);
}

#[test]
fn hellos_that_never_end() {
    let mut hello = vec![0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3];
    hello.resize(1400, 7);
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..20_000 {
            sender.tcp(from, (0, SYN), &[]);
            sender.tcp(from, (1, ACK), &hello);
        }
    });
    assert!(counters.streams_evicted > 0);
}

/// A client's Initial with these CRYPTO bytes (RFC 9000 §19.6).
fn initial(number: u8, offset: u16, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![6];
    frame.extend((offset | 0x4000).to_be_bytes());
    frame.extend((data.len() as u16 | 0x4000).to_be_bytes());
    frame.extend(data);
    seal(number, &frame)
}

#[test]
fn initials_whose_hello_never_ends() {
    let datagrams: Vec<_> =
        (0..4u8).map(|number| initial(number, 2000 * u16::from(number), &[7; 1100])).collect();
    let (counters, _) = check(&config(), &nothing(), |sender| {
        for from in 0..5_000 {
            datagrams.iter().for_each(|datagram| sender.udp(from, 443, datagram));
        }
    });
    assert!(counters.quic_initials > 0);
    assert!(counters.streams_evicted > 0);
}

fn everything() -> Arc<Matcher> {
    let indicators = ["0.0.0.0/0", "::/0", "evil.example"].map(|value| LookFor::guess(value).unwrap());
    Arc::new(Matcher::build(Serial(1), indicators.map(Indicator::plain)).unwrap())
}

#[test]
fn a_flood_of_hits() {
    for report in [Report::AtOnce, Report::AtEnd] {
        let config = DetectorConfig { report, ..config() };
        let (counters, hits) = check(&config, &everything(), |sender| {
            (0..60_000).for_each(|from| sender.tcp(from, (7, SYN), &[]));
        });
        assert!(counters.hits_closed_early > 0);
        assert_eq!((counters.hits_lost, counters.hits), (0, 60_000), "{report:?}");
        assert!(hits >= counters.hits, "{report:?}: {hits} given out"); // some again, with their last count
    }
}

#[test]
fn a_line_of_hits() {
    let mut line = String::new();
    for number in 0..6_000 {
        line += &format!("203.{}.{}.9 ", number / 250, number % 250);
    }
    let indicators = line.split_whitespace().map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
    let matcher = Arc::new(Matcher::build(Serial(1), indicators).unwrap());
    let config = DetectorConfig { memory_bytes_max: BUDGET / 8, ..config() };
    let (counters, hits) = check(&config, &matcher, |sender| {
        for number in 1..=20 {
            let line = Line { number, offset: None, bytes: line.as_bytes() };
            sender.detector.handle_line(at(0).plus_seconds(400 * number as i64), line);
            sender.fetch();
        }
    });
    assert!(counters.hits_lost > 0);
    assert!(hits >= counters.hits, "{hits} given out of {}", counters.hits);
}

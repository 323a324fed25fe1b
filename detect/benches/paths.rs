//! What a packet and a line cost, beside a bare loop over the same bytes in the same run.
//!
//! `cargo bench -p vedetta-detect`; the differences count, not the absolute figures.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark"
)]

#[allow(dead_code, reason = "most of it is for the whole path")]
mod mix;

use std::sync::Arc;

use divan::counter::{BytesCount, ItemsCount};
use divan::{Bencher, black_box};
use etherparse::PacketBuilder;
use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Indicator, LookFor, Serial, Timestamp};
use vedetta_detect::{Detector, DetectorConfig, Line, Link, Matcher};

const INDICATORS: u32 = 10_000;
const FLOWS: u16 = 2_000;

fn main() {
    divan::main();
}

/// Addresses, networks and domains that the made traffic does not touch.
fn matcher() -> Arc<Matcher> {
    let indicators = (0..INDICATORS).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        let text = match number % 4 {
            0 => format!("198.{a}.{b}.{c}"),
            1 => format!("100.64.{b}.{c}/{}", 24 + number % 8),
            _ => format!("host{number}.evil{}.example", number % 100),
        };
        Indicator::plain(LookFor::guess(&text).unwrap())
    });
    Arc::new(Matcher::build(Serial(1), indicators).unwrap())
}

fn detector() -> Detector {
    Detector::new(&DetectorConfig::default(), "bench", matcher())
}

fn tcp(flow: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (host, server) = ends(flow);
    segment(host, server, sequence, payload)
}

fn tcp_back(flow: u16, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (host, server) = ends(flow);
    segment(server, host, sequence, payload)
}

type End = ([u8; 4], u16);

fn ends(flow: u16) -> (End, End) {
    let [high, low] = flow.to_be_bytes();
    (([10, 0, high, low], 40_000 + flow % 1000), ([203, 0, 113, (flow % 250) as u8], 443))
}

fn segment(src: End, dst: End, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4(src.0, dst.0, 64)
        .tcp(src.1, dst.1, sequence, 65_535)
        .ack(1)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

fn question(number: u16) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["www", &format!("host{number}"), "shop", "example"] {
        message.push(label.len() as u8);
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([10, 0, (number >> 8) as u8, number as u8], [10, 0, 0, 1], 64)
        .udp(50_000 + number % 1000, 53)
        .write(&mut frame, &message)
        .unwrap();
    frame
}

/// Runs all frames through a detector that has seen `before` of them already.
fn frames(bencher: Bencher<'_, '_>, frames: &[Vec<u8>], before: &[Vec<u8>]) {
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    bencher
        .counter(ItemsCount::new(frames.len()))
        .with_inputs(|| {
            let mut detector = detector();
            before.iter().for_each(|frame| detector.handle_frame(at, Link::Ethernet, frame));
            detector
        })
        .bench_local_refs(|detector| {
            for frame in frames {
                detector.handle_frame(at, Link::Ethernet, black_box(frame));
            }
        });
}

#[divan::bench]
fn packet_0_bare_loop(bencher: Bencher<'_, '_>) {
    let frames: Vec<_> = (0..FLOWS).map(|flow| tcp(flow, 1, &[0xab; 700])).collect();
    bencher
        .counter(ItemsCount::new(frames.len()))
        .bench_local(|| frames.iter().map(|frame| u64::from(black_box(frame)[frame.len() - 1])).sum::<u64>());
}

/// What no flow tracker can do without: the five-tuple read from where it stands in these frames, one look-up in a
/// table as large, and the entry's two counts.
#[divan::bench]
fn packet_1_flow_look_up_alone(bencher: Bencher<'_, '_>) {
    type Key = (u64, u64);
    let frames: Vec<_> = (0..FLOWS).map(|flow| tcp_back(flow, 301, &[0xab; 700])).collect();
    let key = |frame: &[u8]| -> Key {
        let word = |at: usize| u64::from(u32::from_be_bytes(frame[at..at + 4].try_into().unwrap()));
        (word(26) << 32 | word(30), word(34) << 8 | u64::from(frame[23]))
    };
    let mut table: HashMap<Key, [u64; 14], RandomState> =
        frames.iter().map(|frame| (key(frame), [0; 14])).collect();
    bencher.counter(ItemsCount::new(frames.len())).bench_local(|| {
        for frame in &frames {
            if let Some(entry) = table.get_mut(&key(black_box(frame))) {
                entry[0] += 1;
                entry[1] += frame.len() as u64;
            }
        }
    });
}

/// The packets that most of all packets are: their flow's interesting bytes are over.
#[divan::bench]
fn packet_2_of_a_known_flow(bencher: Bencher<'_, '_>) {
    let encrypted = b"\x14\x03\x03\0\x01\x01\x17\x03\x03\0\x05abcde";
    let hello = [&mix::tls_record(&mix::client_hello("www.shop.example", false))[..], encrypted].concat();
    let answer = mix::server_hello(300);
    let begin: Vec<_> =
        (0..FLOWS).flat_map(|flow| [tcp(flow, 1, &hello), tcp_back(flow, 1, &answer)]).collect();
    let known: Vec<_> = (0..FLOWS).map(|flow| tcp_back(flow, 301, &[0xab; 700])).collect();
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    let mut detector = detector();
    begin.iter().for_each(|frame| detector.handle_frame(at, Link::Ethernet, frame));
    bencher.counter(ItemsCount::new(known.len())).bench_local(|| {
        for frame in &known {
            detector.handle_frame(at, Link::Ethernet, black_box(frame));
        }
    });
}

#[divan::bench]
fn packet_3_that_begins_a_flow(bencher: Bencher<'_, '_>) {
    let begin: Vec<_> = (0..FLOWS).map(|flow| tcp(flow, 1, &[])).collect();
    frames(bencher, &begin, &[]);
}

#[divan::bench]
fn packet_4_dns_question(bencher: Bencher<'_, '_>) {
    let questions: Vec<_> = (0..FLOWS).map(question).collect();
    frames(bencher, &questions, &questions);
}

#[divan::bench]
fn packet_5_http_request(bencher: Bencher<'_, '_>) {
    let request = b"GET /a/b/c?d=e HTTP/1.1\r\nHost: www.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
        Accept: */*\r\nAccept-Language: it\r\nConnection: keep-alive\r\n\r\n";
    let requests: Vec<_> = (0..FLOWS).map(|flow| tcp(flow, 1, request)).collect();
    frames(bencher, &requests, &[]);
}

fn log() -> Vec<u8> {
    let mut log = String::new();
    for number in 0..2_000 {
        let (b, c) = (number % 200, number % 250);
        log += &match number % 4 {
            0 => format!(
                "Nov 22 10:00:00 gw kernel: [UFW BLOCK] IN=wan0 OUT= MAC=00:08:a2:0c:1f:12 SRC=203.0.{b}.{c} DST=192.0.2.9 LEN=40 TTL=245 PROTO=TCP SPT=4000 DPT=22\n"
            ),
            1 => format!(
                "203.0.{b}.{c} - - [22/Nov/2026:10:00:00 +0100] \"GET /index.php?id={number} HTTP/1.1\" 200 512 \"http://www.shop{b}.example/\" \"Mozilla/5.0 (X11; Linux x86_64)\"\n"
            ),
            2 => format!(
                "Nov 22 10:00:00 gw dnsmasq[7]: query[A] www.host{number}.shop.example from 10.0.{b}.{c}\n"
            ),
            _ => format!(
                "Nov 22 10:00:00 gw sshd[{number}]: Failed password for root from 203.0.{b}.{c} port 4711 ssh2\n"
            ),
        };
    }
    log.into_bytes()
}

#[divan::bench]
fn line_0_bare_loop(bencher: Bencher<'_, '_>) {
    let log = log();
    bencher
        .counter(BytesCount::of_slice(&log))
        .bench_local(|| black_box(&log).split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count());
}

#[divan::bench]
fn line_1_scanned_and_compared(bencher: Bencher<'_, '_>) {
    let log = log();
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    bencher.counter(BytesCount::of_slice(&log)).with_inputs(detector).bench_local_refs(|detector| {
        for (number, bytes) in (1..).zip(log.split(|byte| *byte == b'\n')) {
            detector.handle_line(at, Line { number, offset: None, bytes: black_box(bytes) });
        }
    });
}

/// Lines made to be slow, 64 KiB of one piece: their throughput stays within the same order as that of real lines.
#[divan::bench(args = ["a://", "http://a.b/", "user-agent='", ")", "1.2.3.4:", "a.b-", "SRC=1.2.3.4 ", "::1-"])]
fn line_2_made_to_be_slow(bencher: Bencher<'_, '_>, piece: &str) {
    let line = piece.repeat(65_536 / piece.len());
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    bencher.counter(BytesCount::of_str(&line)).with_inputs(detector).bench_local_refs(|detector| {
        detector.handle_line(at, Line { number: 1, offset: None, bytes: black_box(line.as_bytes()) });
    });
}

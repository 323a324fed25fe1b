//! What input made to be slow costs, beside ordinary input of the same protocol in the same run.
//!
//! `cargo bench -p vedetta-detect --bench worst [-- WORD]`. Bytes are those of log lines, and those that packets take
//! on an Ethernet line: an attacker pays for headers and gaps too. A case is over the limit when a byte costs more
//! than [`TIMES_MAX`] times an ordinary one, or when messages four times as large with the same bytes in all cost more
//! than [`GROWTH_MAX`] times as much, which is what quadratic work does. Time is that of this thread on a processor.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a benchmark"
)]

#[path = "worst/cases.rs"]
mod cases;
#[path = "../src/sealed.rs"]
mod sealed;
#[path = "worst/wire.rs"]
mod wire;

use std::process::ExitCode;
use std::sync::Arc;

use nix::sys::time::TimeValLike as _;
use nix::time::{ClockId, clock_gettime};
use protocol::{Indicator, LookFor, Serial, Timestamp};
use vedetta_detect::{Detector, DetectorConfig, Line, Link, Matcher};

/// A byte of the worst input may cost so many times an ordinary one: of ordinary traffic most bytes are passed over,
/// of this none is, and what is looked for stands close together. The worst known take ten to twenty.
const TIMES_MAX: f64 = 30.0;
/// At four times the size quadratic work costs four times as much a byte, and more than twice when half of the
/// smaller one's cost is something else. Caches and noise make it one and a half.
const GROWTH_MAX: f64 = 2.0;
/// Sizes of one message that are compared, and of what stands beside the ordinary.
const SIZES: [usize; 2] = [4, 16];
/// A case is over the limit when it is so many times in a row.
const TRIES: usize = 3;
/// The best of so many runs counts.
const RUNS: usize = 5;

/// What a detector is fed.
pub enum Fed {
    /// Raw IP packets.
    Packets(Vec<Vec<u8>>),
    Lines(Vec<Vec<u8>>),
}

/// Of what the cost is judged.
#[derive(Clone, Copy)]
pub enum Per {
    Byte,
    /// Where only headers are read, a small packet costs what a large one does.
    Packet,
}

/// A way to be slow: makes an input of messages of this size.
pub type Made = fn(usize) -> Fed;

fn main() -> ExitCode {
    // The test runner and `cargo bench` both pass flags of their own.
    let word = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).unwrap_or_default();
    println!("{:<42} {:>9} {:>9} {:>7} {:>8}", "case", "ordinary", "worst", "times", "growth");
    println!("{:<42} {:>9} {:>9} {:>7} {:>8}", "", "ns", "ns", TIMES_MAX, GROWTH_MAX);
    let mut over = 0;
    for (protocol, (per, ordinary), worst) in cases::ALL {
        if !protocol.contains(&word) {
            continue;
        }
        let usual = nanoseconds(*ordinary, SIZES[0], *per);
        for (name, made) in *worst {
            let measured = || {
                let [small, large] = SIZES.map(|size| nanoseconds(*made, size, *per));
                (large, large / usual, large / small)
            };
            let exceeds = |(_, times, growth): &(f64, f64, f64)| *times > TIMES_MAX || *growth > GROWTH_MAX;
            // What disturbs a measurement seldom comes twice; what the code does comes each time.
            let (mut worst, mut tries) = (measured(), 1);
            while exceeds(&worst) && tries < TRIES {
                (worst, tries) = (measured(), tries + 1);
            }
            let (is_over, (large, times, growth)) = (exceeds(&worst), worst);
            over += u32::from(is_over);
            let mark = if is_over { "  OVER THE LIMIT" } else { "" };
            let case = format!("{protocol}: {name}");
            println!("{case:<42} {usual:>9.2} {large:>9.2} {times:>7.1} {growth:>8.2}{mark}");
        }
    }
    ExitCode::from(u8::from(over > 0))
}

/// What a byte or a packet of this costs.
fn nanoseconds(made: Made, size: usize, per: Per) -> f64 {
    let fed = made(size);
    let parts = match &fed {
        Fed::Packets(parts) | Fed::Lines(parts) => parts,
    };
    let count = match per {
        Per::Byte => parts.iter().map(|part| bytes_of(&fed, part.len())).sum(),
        Per::Packet => parts.len(),
    };
    let matcher = matcher();
    let best = (0..RUNS).map(|_| run(&fed, &matcher)).min().unwrap_or_default();
    best as f64 / count as f64
}

/// A packet takes an Ethernet header and checksum, at least 64 bytes in all, and 20 of preamble and gap.
fn bytes_of(fed: &Fed, length: usize) -> usize {
    match fed {
        Fed::Packets(_) => (length + 18).max(64) + 20,
        Fed::Lines(_) => length + 1,
    }
}

/// Nanoseconds on a processor that this thread took.
fn now() -> i64 {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().num_nanoseconds()
}

/// Nanoseconds that a fresh detector takes.
fn run(fed: &Fed, matcher: &Arc<Matcher>) -> i64 {
    let mut detector = Detector::new(&DetectorConfig::default(), "bench", Arc::clone(matcher));
    let at = Timestamp::from_seconds(1_700_000_000, 0);
    let begun = now();
    match fed {
        Fed::Packets(packets) => {
            packets.iter().for_each(|packet| detector.handle_frame(at, Link::RawIp, packet));
        }
        Fed::Lines(lines) => {
            for (number, bytes) in (1..).zip(lines) {
                detector.handle_line(at, Line { number, offset: None, bytes });
            }
        }
    }
    detector.finish(at);
    now() - begun
}

/// One value of each kind that nothing here matches: all that can be computed is.
fn matcher() -> Arc<Matcher> {
    let values = [
        "nobody.example",
        "192.0.2.250",
        "192.0.2.128/30",
        "http://nobody.example/a",
        "nobody@nobody.example",
        "900150983cd24fb0d6963f7d28e17f72",
        "a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ];
    let fingerprints =
        [("ja3", "e7d705a3286e19ea42f587b344ee6865"), ("ja4", "t13d1516h2_8daaf6152771_e5627efa2ab1")];
    let indicators = values.iter().map(|value| LookFor::guess(value).unwrap());
    let indicators =
        indicators.chain(fingerprints.iter().map(|(kind, value)| LookFor::parse(kind, value).unwrap()));
    Arc::new(Matcher::build(Serial(1), indicators.map(Indicator::plain)).unwrap())
}

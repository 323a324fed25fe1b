//! The whole path beside its limit: CPU time to read, decode, track, parse and match every packet of a capture,
//! over the CPU time of the bare libpcap loop over the same file in the same run, one after the other in turns.
//!
//! `cargo bench -p vedetta-detect --bench whole_path [-- --packets N] [-- --rounds N] [-- --each]`; with the test corpus beside
//! the project (or `VEDETTA_CORPUS`), over its captures too.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a benchmark"
)]

mod mix;

use std::fs::File;
use std::hint::black_box;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use pcap::Capture;
use protocol::{Serial, Timestamp};
use vedetta_detect::{Detector, DetectorConfig, Link, Matcher};

/// What the whole path may cost, in bare loops.
const LIMIT: f64 = 2.5;
const INDICATORS: u32 = 100_000;
const PACKETS: usize = 400_000;
const ROUNDS: usize = 7;

/// CPU time of this thread.
fn cpu() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap().into()
}

fn write_mix(path: &Path, packets: usize) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    file.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])
        .unwrap();
    for (number, frame) in mix::Mix::default().take(packets).enumerate() {
        let (seconds, micros) = (1_700_000_000 + number as u32 / 50_000, number as u32 % 50_000 * 20);
        for field in [seconds, micros, frame.len() as u32, frame.len() as u32] {
            file.write_all(&field.to_le_bytes()).unwrap();
        }
        file.write_all(&frame).unwrap();
    }
    file.flush().unwrap();
}

#[derive(Default)]
struct Read {
    packets: u64,
    bytes: u64,
    cpu: Duration,
}

fn bare(path: &Path) -> Read {
    let mut read = Read::default();
    let Ok(mut capture) = Capture::from_file(path) else { return read };
    let begun = cpu();
    while let Ok(packet) = capture.next_packet() {
        read.packets += 1;
        read.bytes += black_box(packet.data).len() as u64;
    }
    read.cpu = cpu() - begun;
    read
}

fn whole(path: &Path, detector: &mut Detector) -> Read {
    let mut read = Read::default();
    let Ok(mut capture) = Capture::from_file(path) else { return read };
    let Some(link) = Link::from_dlt(capture.get_datalink().0) else { return read };
    let begun = cpu();
    while let Ok(packet) = capture.next_packet() {
        read.packets += 1;
        read.bytes += packet.data.len() as u64;
        let at = Timestamp::from_seconds(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
        detector.handle_frame(at, link, packet.data);
        while let Some(hit) = detector.poll_hit() {
            black_box(hit);
        }
    }
    read.cpu = cpu() - begun;
    read
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Both loops in turns over the same files.
fn compare(name: &str, paths: &[PathBuf], rounds: usize, matcher: &Arc<Matcher>) {
    let nanos = |read: &Read| read.cpu.as_secs_f64() * 1e9 / read.packets.max(1) as f64;
    let add = |sum: &mut Read, read: Read| {
        sum.packets += read.packets;
        sum.bytes += read.bytes;
        sum.cpu += read.cpu;
    };
    let (mut bares, mut wholes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut counted = Read::default();
    for round in 0..=rounds {
        let (mut bare_sum, mut whole_sum) = (Read::default(), Read::default());
        for path in paths {
            let mut detector = Detector::new(&DetectorConfig::default(), "bench", Arc::clone(matcher));
            let (bare, whole) = (bare(path), whole(path, &mut detector));
            if round == rounds && std::env::args().any(|argument| argument == "--each") {
                let more = whole.cpu.saturating_sub(bare.cpu).as_nanos();
                println!("{more:>10} ns more for {:>6} packets of {}", bare.packets, path.display());
            }
            add(&mut bare_sum, bare);
            add(&mut whole_sum, whole);
        }
        if round == 0 {
            continue; // fills the page cache
        }
        bares.push(nanos(&bare_sum));
        wholes.push(nanos(&whole_sum));
        ratios.push(whole_sum.cpu.as_secs_f64() / bare_sum.cpu.as_secs_f64());
        counted = whole_sum;
    }
    let (low, high) =
        ratios.iter().fold((f64::MAX, 0_f64), |(low, high), ratio| (low.min(*ratio), high.max(*ratio)));
    println!(
        "{name}: {} packets of {} bytes; bare libpcap {:.0} ns, whole path {:.0} ns a packet; ratio {:.2} ({low:.2} to {high:.2}), limit {LIMIT}",
        counted.packets,
        counted.bytes / counted.packets.max(1),
        median(bares),
        median(wholes),
        median(ratios),
    );
}

fn corpus() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus");
    let folder = std::env::var_os("VEDETTA_CORPUS").map_or(beside, PathBuf::from).join("pcap");
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut paths: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    paths
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let number = |name: &str, default: usize| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let (packets, rounds) = (number("--packets", PACKETS), number("--rounds", ROUNDS));
    let matcher = Arc::new(Matcher::build(Serial(1), mix::indicators(INDICATORS)).unwrap());
    let path = std::env::temp_dir().join(format!("vedetta-mix-{}.pcap", std::process::id()));
    write_mix(&path, packets);
    compare("mix", std::slice::from_ref(&path), rounds, &matcher);
    std::fs::remove_file(&path).unwrap();
    let corpus = corpus();
    if corpus.is_empty() {
        println!("no corpus: set VEDETTA_CORPUS to its folder");
    } else {
        compare("corpus", &corpus, rounds, &matcher);
    }
}

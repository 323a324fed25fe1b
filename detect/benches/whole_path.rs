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
#[allow(dead_code, reason = "the rest is for swaps")]
mod replay;
#[allow(dead_code, reason = "the rest is for the index")]
mod timing;

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use pcap::Capture;
use protocol::Serial;
use vedetta_detect::{Detector, DetectorConfig, Matcher};

use crate::replay::{Read, Way, whole, write_mix};
use crate::timing::{cpu, median};

/// What the whole path may cost, in bare loops.
const LIMIT: f64 = 2.5;
const INDICATORS: u32 = 100_000;
const PACKETS: usize = 400_000;
const ROUNDS: usize = 7;

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

/// Both loops in turns over the same files.
fn compare(name: &str, paths: &[PathBuf], rounds: usize, matcher: &Arc<Matcher>) {
    let (mut bares, mut wholes, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    let mut counted = Read::default();
    for round in 0..=rounds {
        let (mut bare_sum, mut whole_sum) = (Read::default(), Read::default());
        for path in paths {
            let mut detector = Detector::new(&DetectorConfig::default(), "bench", Arc::clone(matcher));
            let (bare, whole) = (bare(path), whole(path, &mut detector, Way::default()));
            if round == rounds && std::env::args().any(|argument| argument == "--each") {
                let more = whole.cpu.saturating_sub(bare.cpu).as_nanos();
                println!("{more:>10} ns more for {:>6} packets of {}", bare.packets, path.display());
            }
            bare_sum.add(&bare);
            whole_sum.add(&whole);
        }
        if round == 0 {
            continue; // fills the page cache
        }
        bares.push(bare_sum.nanos());
        wholes.push(whole_sum.nanos());
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

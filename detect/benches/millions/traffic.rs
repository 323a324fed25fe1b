//! What packets cost with millions of indicators in force, and while one set after the other comes into force.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use protocol::index::Layers;
use protocol::{HitId, Indicator, LookFor};
use vedetta_detect::{Detector, DetectorConfig, Matcher};

use super::{Arguments, Figures};
use crate::replay::{self, PACKETS_A_SECOND, Way, whole, write_mix};
use crate::timing::{fastest, median};

/// The smaller set that packets are measured with.
const FEW: u64 = 100_000;
/// What a packet may cost with all, in what it costs with few.
const COST_TIMES_MAX: f64 = 1.1;
/// What throughput may fall by, in parts of a hundred.
const FALL_MAX: f64 = 10.0;
const PACKETS: u32 = 400_000;
/// How often the capture is read in one round with swaps.
const PASSES: u32 = 10;
const SWAP_EVERY: Duration = Duration::from_millis(200);

/// Indicators that the mix of traffic meets, beside those that it does not.
pub fn met() -> impl Iterator<Item = Indicator> {
    let values = ["shop77.example", "www3.shop4000.example", "203.7.0.0/20", "2001:db8:0:77::1"];
    values.into_iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap()))
}

fn matcher(index: &Path) -> Arc<Matcher> {
    Arc::new(Matcher::new(Layers::new(super::open(index), None).unwrap()))
}

fn detector(matcher: &Arc<Matcher>) -> Detector {
    Detector::new(&DetectorConfig::default(), "bench", Arc::clone(matcher))
}

/// A packet with few indicators and with all, in turns over the same capture.
pub fn cost(index: &Path, arguments: &Arguments) -> Figures {
    let few = index.with_extension("few");
    let invented = super::Invented::new(super::SEED, FEW.min(arguments.indicators));
    super::build(&few, invented.all().chain(met()));
    let matchers = [matcher(&few), matcher(index)];
    let capture = index.with_extension("pcap");
    write_mix(&capture, PACKETS as usize);
    let [mut of_few, mut of_all, mut times] = [const { Vec::new() }; 3];
    for round in 0..=arguments.rounds {
        let [few, all] = [0, 1].map(|which| whole(&capture, &mut detector(&matchers[which]), Way::default()));
        assert_eq!(few.packets, u64::from(PACKETS));
        if round > 0 {
            times.push(all.nanos() / few.nanos());
            of_few.push(few.nanos());
            of_all.push(all.nanos());
        }
    }
    let mut figures = Figures::default();
    figures.add(&format!("packet of a replay, {FEW} indicators"), (median(of_few.clone()), "ns"), None);
    figures.note(format!("fastest round {:.1}", fastest(&of_few)));
    figures.add("packet of a replay, all indicators", (median(of_all.clone()), "ns"), None);
    figures.note(format!("fastest round {:.1}", fastest(&of_all)));
    figures.add("packet of a replay, all over few", (median(times), "times"), COST_TIMES_MAX);
    figures
}

/// What reading the capture several times gave.
struct Run {
    nanos: f64,
    seconds: f64,
    packets: u64,
    hits: BTreeSet<HitId>,
    swaps: u32,
}

/// The capture several times over at full speed, without and with a swap every now and then, in turns.
pub fn swap(index: &Path, arguments: &Arguments) -> Figures {
    let capture = index.with_extension("pcap");
    write_mix(&capture, PACKETS as usize);
    let rounds = arguments.rounds.div_ceil(2);
    let [mut falls, mut falls_of_clock] = [const { Vec::new() }; 2];
    let (mut swaps, mut still, mut moved) = (0, Vec::new(), Vec::new());
    for _ in 0..rounds {
        let first = matcher(index);
        let without = run(&capture, &first, &Mutex::default());
        let with = run_with_swaps(&capture, &first, index);
        assert_eq!(without.packets, with.packets, "packets were lost");
        assert!(!without.hits.is_empty() && without.hits == with.hits, "hits differ");
        falls.push(100.0 * (1.0 - without.nanos / with.nanos));
        falls_of_clock.push(100.0 * (1.0 - without.seconds / with.seconds));
        still.push(without.nanos);
        moved.push(with.nanos);
        swaps += with.swaps;
    }
    let mut figures = Figures::default();
    figures.add("packet, no swap", (median(still), "ns"), None);
    figures.add("packet, a swap every 200 ms", (median(moved), "ns"), None);
    figures.note(format!("{swaps} swaps, packets and hits equal"));
    figures.add("throughput falls with swaps by", (median(falls), "%"), FALL_MAX);
    figures.note(format!("by the clock on the wall {:.1}", median(falls_of_clock)));
    figures
}

/// Another thread opens the index anew and again, as the agent does when there is another one.
fn run_with_swaps(capture: &Path, first: &Arc<Matcher>, index: &Path) -> Run {
    let (next, done) = (Mutex::default(), AtomicBool::new(false));
    let index: PathBuf = index.to_owned();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let opened = matcher(&index);
                *next.lock().unwrap() = Some(opened);
                std::thread::sleep(SWAP_EVERY.saturating_sub(begun.elapsed()));
            }
        });
        let run = run(capture, first, &next);
        done.store(true, Ordering::Relaxed);
        run
    })
}

fn run(capture: &Path, first: &Arc<Matcher>, next: &Mutex<Option<Arc<Matcher>>>) -> Run {
    let mut detector = detector(first);
    let begun = Instant::now();
    let mut read = replay::Read::default();
    let (mut hits, mut swaps) = (BTreeSet::new(), 0);
    for pass in 0..PASSES {
        let mut between = |detector: &mut Detector| {
            if let Some(matcher) = next.lock().unwrap().take() {
                detector.set_matcher(matcher);
                swaps += 1;
            }
        };
        let mut hit = |hit: protocol::Hit| {
            hits.insert(hit.hit_id);
        };
        let way = Way {
            later_seconds: i64::from(pass * PACKETS.div_ceil(PACKETS_A_SECOND)),
            between: Some(&mut between),
            hit: Some(&mut hit),
        };
        read.add(&whole(capture, &mut detector, way));
    }
    let seconds = begun.elapsed().as_secs_f64();
    Run { nanos: read.nanos(), seconds, packets: read.packets, hits, swaps }
}

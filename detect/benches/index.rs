//! The index beside its limits: memory, building, opening, values that nobody looks for beside plain hash sets that
//! hold the same in memory, values that somebody looks for, deltas and merging, packets with many indicators in force
//! and while sets are swapped.
//!
//! `cargo bench -p vedetta-detect --bench index [-- --indicators N] [--rounds N] [--json] [--only PART,..]`; each part
//! is a process of its own. Files go to `TMPDIR`: some 5 GiB for ten million.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::panic,
    reason = "a benchmark"
)]

mod millions;
#[allow(dead_code, reason = "the rest is for the other benchmarks")]
mod mix;
mod replay;
mod timing;

use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::hint::black_box;
use std::net::IpAddr;
use std::path::Path;
use std::time::Instant;

use foldhash::fast::RandomState;
use protocol::domain::with_parents;
use protocol::index::{Layers, Value};
use protocol::{LookFor, Observable};

use crate::millions::seed::Seed;
use crate::millions::{Arguments, Figures, Invented, Strangers, changes, memory, new_year, traffic};
use crate::timing::{cpu, fastest, median};

const MIB: f64 = (1 << 20) as f64;
/// Resident memory of an index, in bytes an indicator.
const RESIDENT_MAX: f64 = 2.0;
const BUILD_MEMORY_MAX: f64 = 128.0 * MIB;
const OPEN_MILLISECONDS_MAX: f64 = 200.0;
const HIT_MICROSECONDS_MAX: f64 = 20.0;
/// Plain sets take this many times the memory.
const SETS_TIMES: f64 = 15.0;
/// Values asked for in one round.
const MISSES: usize = 1_000_000;
const HITS: usize = 20_000;

type Addresses = HashSet<IpAddr, RandomState>;
type Names = HashSet<Box<str>, RandomState>;

fn main() {
    let arguments = Arguments::read(9);
    let Some((part, folder)) = &arguments.part else {
        let mut figures =
            arguments.run_parts(&["build", "open", "sets", "miss", "hit", "changes", "cost", "swap"]);
        if let (Some(index), Some(sets)) =
            (figures.value("index, resident"), figures.value("plain sets, resident"))
        {
            let limit = sets / SETS_TIMES;
            figures.add("index, resident, of a fifteenth of the sets", (index, "bytes"), limit);
        }
        let kept = figures.print(arguments.json);
        std::process::exit(i32::from(!kept));
    };
    let index = folder.join("index");
    let figures = match part.as_str() {
        "build" => build(&index, arguments.invented()),
        "open" => open(&index, arguments.indicators),
        "sets" => sets(arguments.invented()),
        "miss" => miss(&index, &arguments),
        "hit" => hit(&index, &arguments),
        "changes" => changes::measure(&index, &arguments),
        "cost" => traffic::cost(&index, &arguments),
        "swap" => traffic::swap(&index, &arguments),
        other => panic!("no part {other}"),
    };
    figures.write();
}

fn layers(index: &Path) -> Layers {
    Layers::new(millions::open(index), None).unwrap()
}

fn build(index: &Path, invented: Invented) -> Figures {
    let mut figures = Figures::default();
    let begun = Instant::now();
    let (summary, _) = millions::build(index, invented.all().chain(traffic::met()));
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(summary.bytes, File::open(index).unwrap().metadata().unwrap().len());
    figures.add("build, time", (seconds, "s"), None);
    figures.add("build, peak resident", (memory("VmHWM") as f64, "bytes"), BUILD_MEMORY_MAX);

    figures.add("index, on disk", (summary.bytes as f64, "bytes"), None);
    figures.note(format!("{:.1} an indicator", summary.bytes as f64 / invented.count() as f64));
    figures.note(format!(
        "held back: {:?}",
        summary.meta.held.iter().map(|(why, held)| (why, held.count)).collect::<Vec<_>>()
    ));
    figures
}

fn open(index: &Path, indicators: u64) -> Figures {
    let mut figures = Figures::default();
    let before = memory("RssAnon");
    let begun = Instant::now();
    let layers = layers(index);
    let milliseconds = begun.elapsed().as_secs_f64() * 1e3;
    let anonymous = memory("RssAnon").saturating_sub(before) as f64;
    let resident = layers.base().resident_bytes() as f64;
    figures.add("open", (milliseconds, "ms"), OPEN_MILLISECONDS_MAX);
    figures.add("index, resident", (resident, "bytes"), None);
    figures.add("index, resident, an indicator", (resident / indicators as f64, "bytes"), RESIDENT_MAX);
    figures.add("index, anonymous, an indicator", (anonymous / indicators as f64, "bytes"), RESIDENT_MAX);
    figures
}

/// The addresses and names that somebody looks for, in plain sets.
fn plain_sets(invented: Invented) -> (Addresses, Names) {
    let (mut addresses, mut names) = (Addresses::default(), Names::default());
    for number in 0..invented.count() {
        match invented.look_for(number) {
            Some(LookFor::Observable(Observable::Ip(address))) => drop(addresses.insert(address)),
            Some(LookFor::Observable(Observable::Domain(name))) => drop(names.insert(name.as_str().into())),
            _ => {}
        }
    }
    (addresses, names)
}

fn sets(invented: Invented) -> Figures {
    let mut figures = Figures::default();
    let before = memory("RssAnon");
    let (addresses, names) = plain_sets(invented);
    let anonymous = memory("RssAnon").saturating_sub(before) as f64;
    figures.add("plain sets, resident", (anonymous, "bytes"), None);
    figures.note(format!("{} addresses, {} names", addresses.len(), names.len()));
    figures
}

/// Names one after the other in one text, as a reader finds them in its buffer.
#[derive(Default)]
struct Texts {
    text: String,
    ends: Vec<usize>,
}

impl Texts {
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
        self.ends.push(self.text.len());
    }

    fn iter(&self) -> impl Iterator<Item = &str> {
        let mut from = 0;
        self.ends.iter().map(move |end| self.text.get(std::mem::replace(&mut from, *end)..*end).unwrap())
    }
}

/// Nanoseconds of CPU time that each of so many takes.
fn nanos(count: usize, mut each: impl FnMut() -> usize) -> f64 {
    let begun = cpu();
    let found = black_box(each());
    let spent = cpu() - begun;
    assert_eq!(found, 0, "a value that nobody looks for was found");
    spent.as_secs_f64() * 1e9 / count as f64
}

/// Random values that are in neither, in turns.
fn miss(index: &Path, arguments: &Arguments) -> Figures {
    let layers = layers(index);
    let (addresses, names) = plain_sets(arguments.invented());
    let misses = |value: Value<'_>| layers.look_up(value, new_year()).unwrap().indicators.is_empty();
    let seen: Vec<IpAddr> = Strangers::new(1)
        .addresses()
        .filter(|address| misses(Value::Ip(*address, None)) && !addresses.contains(address))
        .take(MISSES)
        .collect();
    let mut texts = Texts::default();
    Strangers::new(2)
        .names()
        .filter(|name| misses(Value::Domain(name)) && !with_parents(name).any(|name| names.contains(name)))
        .take(MISSES)
        .for_each(|name| texts.push(&name));
    let found = |value: Value<'_>| layers.look_up(value, new_year()).unwrap().indicators.len();
    let [mut of_index, mut of_set]: [[Vec<f64>; 2]; 2] = Default::default();
    for round in 0..=arguments.rounds {
        let measured = [
            nanos(seen.len(), || addresses_in(&seen, |address| found(Value::Ip(address, None)))),
            nanos(seen.len(), || addresses_in(&seen, |address| usize::from(addresses.contains(&address)))),
            nanos(MISSES, || texts.iter().map(|name| found(Value::Domain(name))).sum()),
            nanos(MISSES, || {
                let held = |name| with_parents(name).filter(|name| names.contains(*name)).count();
                texts.iter().map(held).sum()
            }),
        ];
        if round > 0 {
            for (kind, pair) in measured.chunks(2).enumerate() {
                of_index[kind].push(pair[0]);
                of_set[kind].push(pair[1]);
            }
        }
    }
    let mut figures = Figures::default();
    for (kind, name) in ["address", "name and its parents"].into_iter().enumerate() {
        let (index, set) = (&of_index[kind], &of_set[kind]);
        let say = |rounds: &[f64]| format!("fastest round {:.1}", fastest(rounds));
        figures.add(&format!("miss, {name}, plain set"), (median(set.clone()), "ns"), None);
        figures.note(say(set));
        figures.add(&format!("miss, {name}"), (median(index.clone()), "ns"), median(set.clone()));
        figures.note(say(index));
    }
    figures
}

fn addresses_in(seen: &[IpAddr], each: impl Fn(IpAddr) -> usize) -> usize {
    seen.iter().map(|address| each(*address)).sum()
}

/// Values of random indicators, by kind, when the page cache has them.
fn hit(index: &Path, arguments: &Arguments) -> Figures {
    let layers = layers(index);
    let invented = arguments.invented();
    let mut draw = Seed::new(9);
    let mut wanted: BTreeMap<&str, Vec<(LookFor, String)>> = BTreeMap::new();
    while wanted.values().map(Vec::len).sum::<usize>() < HITS {
        let indicator = invented.indicator(draw.between(0, invented.count())).unwrap();
        wanted.entry(indicator.look_for.kind()).or_default().push((indicator.look_for, indicator.id));
    }
    let mut figures = Figures::default();
    for (kind, wanted) in wanted {
        let mut micros = Vec::new();
        for round in 0..2 {
            for (look_for, id) in &wanted {
                let begun = Instant::now();
                let matches = with_value(look_for, |value| layers.look_up(value, new_year()).unwrap());
                let spent = begun.elapsed().as_secs_f64() * 1e6;
                assert!(matches.indicators.iter().any(|found| *found.id == **id), "{look_for} is not found");
                if round > 0 {
                    micros.push(spent);
                }
            }
        }
        micros.sort_by(f64::total_cmp);
        figures.add(&format!("hit, {kind}"), (micros[micros.len() / 2], "us"), HIT_MICROSECONDS_MAX);
        figures.note(format!(
            "one of a hundred over {:.1}, of {}",
            micros[micros.len() * 99 / 100],
            micros.len()
        ));
    }
    figures
}

/// A value that an indicator matches.
fn with_value<T>(look_for: &LookFor, look: impl FnOnce(Value<'_>) -> T) -> T {
    match look_for {
        LookFor::Observable(Observable::Ip(address)) => look(Value::Ip(*address, None)),
        LookFor::Observable(Observable::Domain(name)) => look(Value::Domain(name.as_str())),
        LookFor::Observable(Observable::Url(url)) => look(Value::UrlKey(&url.match_key())),
        LookFor::Observable(Observable::Md5(digest)) => look(Value::Md5(digest.0)),
        LookFor::Observable(Observable::Sha1(digest)) => look(Value::Sha1(digest.0)),
        LookFor::Observable(Observable::Sha256(digest)) => look(Value::Sha256(digest.0)),
        LookFor::Addresses(protocol::indicator::Addresses::Network(network)) => {
            look(Value::Ip(network.network(), None))
        }
        other => panic!("nobody invented {other}"),
    }
}

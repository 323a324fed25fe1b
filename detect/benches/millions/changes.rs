//! Deltas on millions in force: one, a chain of fifty, and the merging of all into a full index.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use protocol::Serial;
use protocol::bundle::{BundleLimits, Line};
use protocol::delta::{DELTA_FORMAT, DeltaHeader, DeltaReader};
use protocol::index::{Builder, Layers, Overlay};

use super::disk::OnDisk;
use super::seed::Seed;
use super::{Arguments, Figures, Invented, SEED, line, memory, new_year, open, plan};
use crate::timing::median;

/// Changes of one delta, half of them new lines.
const CHANGES: u64 = 1_000;
const CHAIN: u64 = 8;
const DELTA_MILLISECONDS_MAX: f64 = 250.0;
const MERGE_MEMORY_MAX: f64 = (128 << 20) as f64;

/// A delta from the set in force to the next: old lines go, lines of another set come.
fn delta(layers: &Layers, invented: Invented, number: u64) -> Vec<u8> {
    let mut draw = Seed::new(number);
    let fresh = Invented::new(SEED + 1 + number, invented.count());
    let (mut set, mut lines) = (layers.set(), Vec::new());
    // Each delta takes from its own part, so that nothing goes twice.
    let part = invented.count() / (CHAIN + 1);
    let step = (part / (CHANGES / 2)).max(1);
    for change in 0..CHANGES / 2 {
        let at = part * number + change * step + draw.between(0, step);
        let (gone, come) = (line(&invented.indicator(at).unwrap()), line(&fresh.indicator(at).unwrap()));
        set.remove(gone.as_bytes());
        set.add(come.as_bytes());
        lines.push(format!("-{gone}\n+{come}\n"));
    }
    let header = DeltaHeader {
        vedetta_delta: DELTA_FORMAT,
        serial: Serial(layers.serial().0 + 1),
        base: layers.serial(),
        base_set: layers.set(),
        set,
        created: new_year(),
        issuer: "cosc-esempio".into(),
        changes: CHANGES,
    };
    let text = serde_json::to_string(&header).unwrap() + "\n" + &lines.concat();
    zstd::encode_all(text.as_bytes(), 10).unwrap()
}

/// Brings a delta into force: reads it, folds it into the changes, writes their index, opens it.
fn apply(layers: &Layers, delta: &[u8], into: &Path) -> Layers {
    let mut delta = DeltaReader::new(delta, BundleLimits::default()).unwrap();
    let serial = delta.header().serial;
    let mut overlay = Overlay::of(layers).unwrap();
    overlay.apply(layers, &mut delta).unwrap();
    let plan = overlay.plan(layers, plan(serial.0));
    let mut builder = Builder::new(plan, OnDisk::create(into), Vec::new()).unwrap();
    overlay.write(&mut builder).unwrap();
    let (_, mut out) = builder.finish(overlay.set()).unwrap();
    out.sync();
    Layers::new(layers.base().clone(), Some(open(into))).unwrap()
}

/// One delta after the other, as many as an agent keeps above a base of this size, then everything merged.
pub fn measure(index: &Path, arguments: &Arguments) -> Figures {
    let base = Layers::new(open(index), None).unwrap();
    let invented = arguments.invented();
    let first = delta(&base, invented, 0);
    let timed = |layers: &Layers, delta: &[u8], into: &Path| {
        let begun = Instant::now();
        let layers = apply(layers, delta, into);
        (begun.elapsed().as_secs_f64() * 1e3, layers)
    };
    let overlay = |number: u64| index.with_extension(format!("overlay{number}"));
    let once = (0..arguments.rounds).map(|_| timed(&base, &first, &overlay(0)).0).collect();
    let mut figures = Figures::default();
    figures.add("delta of 1,000", (median(once), "ms"), DELTA_MILLISECONDS_MAX);
    figures.note(format!("{} bytes", first.len()));
    let (mut layers, mut last) = (base, 0.0);
    for number in 0..CHAIN {
        let delta = delta(&layers, invented, number);
        // The one before is still open and in force.
        (last, layers) = timed(&layers, &delta, &overlay(number % 2));
    }
    figures.add(
        "delta of 1,000, the last above one base before a merge",
        (last, "ms"),
        DELTA_MILLISECONDS_MAX,
    );
    let changes = layers.overlay().map_or(0, |overlay| overlay.resident_bytes());
    figures.add("eight deltas, resident", (changes as f64, "bytes"), None);
    merge(&layers, &index.with_extension("merged"), &mut figures);
    figures
}

fn merge(layers: &Layers, into: &Path, figures: &mut Figures) {
    let begun = Instant::now();
    let scratch = OnDisk::create(&into.with_extension("scratch"));
    let mut builder = Builder::new(plan(layers.serial().0), OnDisk::create(into), scratch).unwrap();
    let mut lines = 0;
    for line in layers.stored().unwrap() {
        let line: Line = line.unwrap();
        builder.add(&line).unwrap();
        lines += 1;
    }
    let (summary, mut out) = builder.finish(layers.set()).unwrap();
    out.sync();
    figures.add("merge, time", (begun.elapsed().as_secs_f64(), "s"), None);
    assert_eq!(summary.meta.set, layers.set());
    figures.note(format!("{lines} lines"));
    figures.add("merge, peak resident", (memory("VmHWM") as f64, "bytes"), MERGE_MEMORY_MAX);
    let merged = Layers::new(open(into), None).unwrap();
    assert_eq!(merged.base().meta().indicators(), Arc::clone(layers.base()).meta().indicators());
    std::fs::remove_file(into.with_extension("scratch")).unwrap();
    std::fs::remove_file(into).unwrap();
}

//! What a line of a bundle costs: to read, to write, to hash, and what a value of a list costs.
//!
//! `cargo bench -p vedetta-protocol --bench bundle`; 10,000 lines of the mix that a large bundle has.

#![allow(missing_docs, reason = "a benchmark")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark")]

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use vedetta_protocol::bundle::{BUNDLE_FORMAT, BundleLimits, Line, SetHash};
use vedetta_protocol::defang::refang;
use vedetta_protocol::{BundleHeader, BundleReader, BundleWriter, Indicator, LookFor, Serial, Timestamp};

const LINES: u32 = 10_000;

fn main() {
    divan::main();
}

/// 40 % domains, 30 % IPv4, 5 % IPv6, 1 % networks, 14 % URLs, 10 % hashes.
fn value(number: u32) -> String {
    let spread = number.wrapping_mul(2_654_435_761);
    let [a, b, c, _] = spread.to_be_bytes();
    match number % 100 {
        0..40 => format!("host{spread}.evil{}.example", number % 1000),
        40..70 => format!("198.{a}.{b}.{c}"),
        70..75 => format!("2001:db8:{a:x}:{b:x}::{c:x}"),
        75..76 => format!("198.{a}.{b}.0/24"),
        76..90 => format!("http://host{spread}.evil{}.example/path/{spread:x}?id={number}", number % 1000),
        _ => format!("{spread:08x}{number:024x}"),
    }
}

fn indicators() -> Vec<Indicator> {
    let indicator = |number| {
        let mut indicator = Indicator::plain(LookFor::guess(&value(number)).unwrap());
        indicator.id = format!("indicator--7b0c4f0e-52a1-5d6b-9c57-{number:012x}");
        indicator.threat = "ExampleLoader".into();
        indicator.alert = "COSC-ESEMPIO-2026-0012".into();
        indicator.source = "feed.example".into();
        indicator.valid_until = (number % 2 == 0).then(|| Timestamp::from_seconds(1_800_000_000, 0));
        indicator
    };
    (0..LINES).map(indicator).collect()
}

fn lines() -> Vec<Vec<u8>> {
    indicators().iter().map(|indicator| serde_json::to_vec(indicator).unwrap()).collect()
}

#[divan::bench]
fn read_a_line(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for line in &lines {
            black_box(Line::read(line).unwrap());
        }
    });
}

#[divan::bench]
fn hash_a_line(bencher: Bencher<'_, '_>) {
    let lines = lines();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut set = SetHash::default();
        lines.iter().for_each(|line| set.add(line));
        set
    });
}

#[divan::bench]
fn read_a_bundle(bencher: Bencher<'_, '_>) {
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(1),
        created: Timestamp::from_seconds(1_700_000_000, 0),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    let mut bytes = Vec::new();
    BundleWriter::write_all(&mut bytes, indicators(), header).unwrap();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let reader = BundleReader::new(bytes.as_slice(), BundleLimits::default()).unwrap();
        assert_eq!(reader.map(Result::unwrap).map(black_box).count(), LINES as usize);
    });
}

#[divan::bench]
fn write_a_line(bencher: Bencher<'_, '_>) {
    let indicators = indicators();
    let mut into = Vec::new();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for indicator in &indicators {
            into.clear();
            serde_json::to_writer(&mut into, indicator).unwrap();
            black_box(&into);
        }
    });
}

#[divan::bench]
fn read_a_list_line(bencher: Bencher<'_, '_>) {
    let values: Vec<String> = (0..LINES).map(value).collect();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for value in &values {
            black_box(Indicator::from_list_line(value).unwrap().unwrap());
        }
    });
}

#[divan::bench]
fn refang_what_is_not_defanged(bencher: Bencher<'_, '_>) {
    let values: Vec<String> = (0..LINES).map(value).collect();
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        for value in &values {
            black_box(refang(value));
        }
    });
}

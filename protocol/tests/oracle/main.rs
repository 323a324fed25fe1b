//! The index against an oracle: sets and values made at random, each look-up compared with what a scan of all lines
//! says.
//!
//! `VEDETTA_ORACLE_QUERIES` says how many values are asked for, a million when it says nothing.

#![allow(missing_docs, reason = "tests")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    reason = "tests may"
)]

extern crate vedetta_protocol as protocol;

mod chains;
mod damage;
mod edges;
mod index;
mod made;
mod model;
mod random;
mod spelled;

use std::sync::atomic::{AtomicU64, Ordering};

use index::{check, check_judged, in_force};
use random::Random;

/// Values asked for unless the environment says another number.
const QUERIES: u64 = 1_000_000;
/// Values of which it is also asked why.
const JUDGED_ONE_IN: u64 = 10;
/// Sizes of sets: none, one, few, many, and about what a page holds.
const SIZES: &[usize] = &[0, 1, 2, 5, 20, 60, 60, 120, 120, 250, 340, 700, 1500];

fn queries() -> u64 {
    std::env::var("VEDETTA_ORACLE_QUERIES").map_or(QUERIES, |queries| queries.parse().unwrap())
}

#[test]
fn no_look_up_differs_from_a_scan_of_all_lines() {
    let (asked, next) = (AtomicU64::new(0), AtomicU64::new(0));
    let queries = queries();
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                while asked.load(Ordering::Relaxed) < queries {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    asked.fetch_add(ask(seed), Ordering::Relaxed);
                }
            });
        }
    });
    println!("{} values asked for of {} sets", asked.into_inner(), next.into_inner());
}

/// Asks a set of its own for many values; gives how many.
fn ask(seed: u64) -> u64 {
    let mut random = Random::new(seed);
    let size = *random.pick(SIZES);
    let lines = made::lines(&mut random, size);
    let layers = in_force(&mut random, &lines);
    // A larger set costs the oracle more.
    let count = 200_000 / (50 + lines.len());
    let mut asked = 0;
    for _ in 0..count {
        let spelled = spelled::spelled(&mut random, &lines);
        let Some(seen) = spelled.observable() else { continue };
        let at = made::time(&mut random);
        check(&layers, &lines, (&seen, spelled.port), at)
            .and_then(|()| match asked % JUDGED_ONE_IN {
                0 => check_judged(&layers, &lines, (&seen, spelled.port), at),
                _ => Ok(()),
            })
            .unwrap_or_else(|wrong| panic!("set {seed}, {spelled:?} at {at}: {wrong}"));
        asked += 1;
    }
    asked
}

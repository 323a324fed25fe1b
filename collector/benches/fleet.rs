//! What a fleet of connected sensors costs the collector, how it comes back after the collector ended, and how soon all
//! have a delta. Ends with 1 when a limit is not kept.
//!
//! ```text
//! cargo bench -p vedetta-collector --bench fleet
//! VEDETTA_FLEET=500 cargo bench -p vedetta-collector --bench fleet
//! ```
//!
//! The sensors share the machine with the collector, and are one process: what they take of the processor, two thousand
//! gateways have to spare. So the limit of a delta is held against the processor time that the collector took until the
//! last sensor was served, over the cores that it has, and one verification alone. The times by the clock are beside it:
//! of sensors that only fetch a delta and compare its hash, and of sensors that verify it, all on the same cores.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, dead_code, reason = "a bench may")]

#[path = "../tests/ingest/desk.rs"]
mod desk;
#[path = "../tests/ingest/fleet.rs"]
mod fleet;
#[path = "../tests/ingest/process.rs"]
mod process;
#[path = "../tests/ingest/repository.rs"]
mod repository;
#[path = "../tests/ingest/sensor.rs"]
mod sensor;
#[path = "../tests/ingest/towns.rs"]
mod towns;

use std::process::ExitCode;
use std::time::Duration;

use fleet::{End, Fleet, STEADY_A_SECOND};
use process::count;

/// Bytes that an idle sensor may cost the collector.
const BYTES_MAX: f64 = 61_440.0;
/// From an accepted push until the sensors have it in force and the desk knows.
const APPLIED_SECONDS_MAX: f64 = 2.0;
/// Cores of the machine that a collector is meant for; its runtime leaves none idle while there is work.
const CORES: f64 = 2.0;
/// Long enough for keep-alives and the growing waits of those who were turned away.
const BACK_WITHIN: Duration = Duration::from_secs(180);

/// Prints a figure beside its limit; `false` when it is above.
fn is_within(what: &str, found: f64, limit: f64) -> bool {
    println!("{what}: {found:.2}, {:.2} times the limit of {limit}", found / limit);
    found <= limit
}

fn number(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap())
}

/// Resident memory of the collector, in bytes.
fn resident(fleet: &Fleet) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", fleet.collector.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    f64::from(line.split_whitespace().next().unwrap().parse::<u32>().unwrap()) * 1024.0
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let sensors = usize::try_from(count("VEDETTA_FLEET", 2_000)).unwrap();
    let mut fleet = Fleet::enrolled(sensors).await;
    eprintln!("{sensors} sensors are enrolled");
    // What a first connection makes for all is not theirs.
    fleet.join(0..=0).await;
    let before = resident(&fleet);
    fleet.join(1..=sensors - 1).await;
    let each = (resident(&fleet) - before) / number(sensors - 1);
    let mut good = is_within("bytes of an idle sensor", each, BYTES_MAX);

    let light = fleet.push_delta(false).await;
    println!("delta, fetched by {sensors}, p99: {light}");
    let alone = fleet.verification_alone().await.as_secs_f64();
    println!("one verification alone: {:.1} ms", alone * 1e3);
    let served = light.of_collector.as_secs_f64() / CORES;
    good &= is_within(
        "seconds of two cores until all are served, and one verification",
        served + alone,
        APPLIED_SECONDS_MAX,
    );
    let full = fleet.push_delta(true).await;
    println!("delta, verified by {sensors} on these cores, p99: {full}");

    for end in [End::Stopped, End::Killed] {
        let back = fleet.restart(end, BACK_WITHIN).await;
        println!("{end:?}: {back}");
        // Who is turned away costs the collector one datagram: what is limited is what begins.
        let limit = number(2 * STEADY_A_SECOND);
        good &= is_within("handshakes in a second", number(back.begun_peak), limit);
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

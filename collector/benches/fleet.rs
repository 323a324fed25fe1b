//! What a fleet of connected sensors costs the collector: memory of each idle one, and handshakes a second.
//!
//! ```text
//! cargo bench -p vedetta-collector --bench fleet
//! VEDETTA_FLEET=500 cargo bench -p vedetta-collector --bench fleet
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, dead_code, reason = "a bench may")]

#[path = "../tests/ingest/process.rs"]
mod process;
#[path = "../tests/ingest/repository.rs"]
mod repository;
#[path = "../tests/ingest/sensor.rs"]
mod sensor;

use std::time::Instant;

use futures_util::StreamExt as _;
use process::{Collector, count};
use protocol::ALPN_SESSION;
use sensor::{Live, Sensor, connect_from};

/// Bytes that an idle sensor may cost the collector.
const LIMIT: u64 = 60 << 10;
/// Handshakes at once.
const TOGETHER: usize = 32;

/// Each sensor comes from an address of its own, as towns do: the door counts by address.
fn address(number: usize) -> String {
    format!("127.1.{}.{}:0", number / 250, number % 250 + 1)
}

async fn join(collector: &Collector, number: usize, mut sensor: Sensor) -> (Sensor, Live) {
    let (address, credentials) = (address(number), Some(&sensor.credentials));
    let connection = connect_from(&address, collector, ALPN_SESSION, credentials).await.unwrap();
    let mut live = sensor.over(connection).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await, "sensor {number} is not welcome");
    (sensor, live)
}

/// Resident memory of the collector, in bytes.
fn resident(collector: &Collector) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", collector.process_id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let number = usize::try_from(count("VEDETTA_FLEET", 2_000)).unwrap();
    let collector = Collector::start().await;
    let mut sensors = Vec::new();
    for index in 0..number {
        sensors.push(Sensor::enrol_from(&address(index), &collector, "Borgo Chiaro").await);
        if index % 200 == 199 {
            eprintln!("{} of {number} sensors are enrolled", index + 1);
        }
    }
    // What a first connection makes for all is not theirs.
    let mut fleet = vec![join(&collector, 0, sensors.remove(0)).await];
    let (before, begun) = (resident(&collector), Instant::now());
    let joining = sensors.into_iter().enumerate().map(|(index, sensor)| join(&collector, index + 1, sensor));
    fleet.extend(futures_util::stream::iter(joining).buffer_unordered(TOGETHER).collect::<Vec<_>>().await);
    let seconds = begun.elapsed().as_secs_f64();
    let each = resident(&collector).saturating_sub(before) / u64::try_from(fleet.len() - 1).unwrap();
    println!(
        "{} sensors connected in {seconds:.1} s; each costs {each} bytes, {:.2} times the limit",
        fleet.len(),
        f64::from(u32::try_from(each).unwrap()) / f64::from(u32::try_from(LIMIT).unwrap()),
    );
}

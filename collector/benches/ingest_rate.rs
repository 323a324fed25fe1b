//! How many hits a second the collector commits, with the sensors that send them on the same machine: real programs,
//! real QUIC, real SQLite on the disk of the temporary folder.
//!
//! ```text
//! cargo bench -p vedetta-collector --bench ingest_rate
//! VEDETTA_RATE_HITS=1000000 VEDETTA_RATE_SENSORS=50 cargo bench -p vedetta-collector --bench ingest_rate
//! ```

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, dead_code, reason = "a bench may")]

#[path = "../tests/ingest/process.rs"]
mod process;
#[path = "../tests/ingest/repository.rs"]
mod repository;
#[path = "../tests/ingest/sensor.rs"]
mod sensor;

use std::time::Instant;

use process::Collector;
use sensor::{Sensor, hit_with};

/// Hits a second that the collector has to hold, on two cores.
const LIMIT: f64 = 20_000.0;

fn count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Hits as an attack on many towns brings them: many sources, some indicators, some hosts.
fn prepare(sensor: &mut Sensor, number: u64, hits: u64) {
    for index in 0..hits {
        let id = number * hits + index;
        let value = format!("n{}.evil.example", id % 5_000);
        let changes = serde_json::json!({
            "hit_id": format!("{:032x}", u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
            "value": value, "indicator": value, "evidence": value,
            "at": format!("2026-11-22T10:{:02}:{:02}Z", id / 60 % 60, id % 60),
            "host": format!("192.0.2.{}", id % 250), "remote": format!("198.51.{}.{}", 100 + id % 50, id % 251),
        });
        sensor.find(hit_with(id, changes));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (hits, number) = (count("VEDETTA_RATE_HITS", 300_000), count("VEDETTA_RATE_SENSORS", 30));
    let each = hits / number;
    let collector = Collector::start().await;
    let mut sensors = Vec::new();
    for index in 0..number {
        let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
        prepare(&mut sensor, index, each);
        sensors.push(sensor);
    }
    eprintln!("{number} sensors with {each} hits each are ready");
    let begun = Instant::now();
    let delivering = sensors.iter_mut().map(|sensor| async { while !sensor.deliver(&collector).await {} });
    futures_util::future::join_all(delivering).await;
    let seconds = begun.elapsed().as_secs_f64();
    let (sent, stored) = (each * number, collector.count("SELECT count(*) FROM hit"));
    assert_eq!(u64::try_from(stored).unwrap(), sent, "hits were lost");
    #[expect(clippy::cast_precision_loss, reason = "a rate")]
    let rate = sent as f64 / seconds;
    println!(
        "{sent} hits committed in {seconds:.1} s: {rate:.0} a second, {:.2} times the limit",
        rate / LIMIT
    );
}

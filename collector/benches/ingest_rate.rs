//! How many hits a second the collector commits, with the sensors that send them on the same machine: the real program,
//! real QUIC, real SQLite on the disk of the temporary folder. What the sensors send is encoded before the clock runs,
//! because in towns that is the work of other machines; what the collector does is measured whole, from the packets
//! to the acknowledgement after the commit. Fails below the limit, and when a hit is lost.
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

use process::{Collector, count};
use protocol::frame::encode;
use protocol::message::{AgentMessage, CollectorMessage, Record};
use protocol::{ALPN_SESSION, Serial};
use sensor::{Sensor, connect, hit_with, now, read, write};

/// Hits a second that the collector has to hold, on two cores.
const LIMIT: f64 = 20_000.0;
/// Records that the agent sends in one batch.
const BATCH_RECORDS: usize = 500;

/// A hit as an attack on many towns brings them: many sources, some indicators, some hosts.
fn numbered(id: u64) -> Record {
    let value = format!("n{}.evil.example", id % 5_000);
    let changes = serde_json::json!({
        "hit_id": format!("{:032x}", u128::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)),
        "value": value, "indicator": value, "evidence": value,
        "at": format!("2026-11-22T10:{:02}:{:02}Z", id / 60 % 60, id % 60),
        "host": format!("192.0.2.{}", id % 250), "remote": format!("198.51.{}.{}", 100 + id % 50, id % 251),
    });
    Record::Hit(Box::new(hit_with(id, changes)))
}

/// The batches of one sensor as they go on the stream, each with the sequence that acknowledges it.
fn batches(from: u64, hits: u64) -> Vec<(u64, Vec<u8>)> {
    let records: Vec<Record> = (from..from + hits).map(numbered).collect();
    let mut first = 1;
    let batch = |records: &[Record]| {
        let message = AgentMessage::Batch { first, records: records.to_vec() };
        first += records.len() as u64;
        (first - 1, encode(&message).unwrap())
    };
    records.chunks(BATCH_RECORDS).map(batch).collect()
}

/// Sends all batches, as many at once as the collector lets it, and waits until the last is acknowledged.
async fn deliver(collector: &Collector, sensor: &Sensor, batches: &[(u64, Vec<u8>)]) {
    let connection = connect(collector, ALPN_SESSION, Some(&sensor.credentials)).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let hello = AgentMessage::Hello {
        protocol: 1,
        version: "0.1.0".into(),
        epoch: sensor.epoch,
        oldest: 1,
        now: now(),
        bundle: Serial(0),
        capabilities: Vec::new(),
    };
    write(&mut send, &hello).await;
    let (mut acknowledged, mut credit) = (0, 0);
    let (mut waiting, mut under_way) = (batches.iter(), std::collections::VecDeque::new());
    while waiting.len() + under_way.len() > 0 {
        while under_way.len() < credit {
            let Some((last, frame)) = waiting.next() else { break };
            send.write_all(frame).await.unwrap();
            under_way.push_back(*last);
        }
        match read(&mut recv).await {
            CollectorMessage::Welcome { credit: given, stored: 0, .. } => credit = given as usize,
            CollectorMessage::Ack { up_to } => acknowledged = up_to,
            CollectorMessage::BundleAvailable { .. } => {}
            other => panic!("{other:?}"),
        }
        while under_way.pop_front_if(|last| *last <= acknowledged).is_some() {}
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let (hits, number) = (count("VEDETTA_RATE_HITS", 300_000), count("VEDETTA_RATE_SENSORS", 30));
    let each = hits / number;
    let collector = Collector::start().await;
    let mut sensors = Vec::new();
    for index in 0..number {
        let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
        sensors.push((sensor, batches(index * each, each)));
    }
    eprintln!("{number} sensors with {each} hits each are ready");
    let begun = Instant::now();
    let delivering = sensors.iter().map(|(sensor, batches)| deliver(&collector, sensor, batches));
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
    assert!(rate >= LIMIT, "fewer than the limit of {LIMIT} a second");
}

//! The collector killed at any moment, above all between its commit and the acknowledgement: every hit is stored
//! once, and as it was sent.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::Hit;

use crate::process::{Collector, count};
use crate::sensor::{Sensor, hit_with};

/// Hits found in each life of the collector; a batch holds 500.
const HITS_EACH: u64 = 520;

/// A hit whose every field that a test can tell apart depends on its number.
fn numbered(number: u64) -> Hit {
    let value = format!("n{number}.evil.example");
    hit_with(number, serde_json::json!({"value": value, "evidence": value, "count": number % 7 + 1}))
}

#[tokio::test]
async fn kills_between_commit_and_acknowledgement_lose_nothing_and_double_nothing() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut sent = 0;
    for kill in 0..count("VEDETTA_COLLECTOR_KILLS", 100) {
        (sent..sent + HITS_EACH).for_each(|number| sensor.find(numbered(number)));
        sent += HITS_EACH;
        let mut live = sensor.connect(&collector).await;
        match kill % 3 {
            // Committed for certain, and the acknowledgement never read.
            0 => {
                let before = sensor.acknowledged;
                let welcomed = live.run_until(&mut sensor, |_, live| live.welcomed).await;
                assert!(welcomed, "kill {kill}: not welcomed");
                live.send_what_waits(&sensor).await;
                let stored = "SELECT coalesce(max(stored), 0) FROM progress";
                while u64::try_from(collector.count(stored)).unwrap() == before {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            // After the first acknowledgement of several.
            1 => {
                let before = sensor.acknowledged;
                live.run_until(&mut sensor, |sensor, _| sensor.acknowledged > before).await;
            }
            // At any moment: before, during or after the commit.
            _ => {
                let moment = Duration::from_micros(rand::random_range(0..40_000));
                let whole = sensor.spool.len() as u64;
                let delivering = live.run_until(&mut sensor, |sensor, _| sensor.acknowledged == whole);
                let _ended = tokio::time::timeout(moment, delivering).await;
            }
        }
        collector.kill();
        collector.run().await;
    }
    let mut live = sensor.connect(&collector).await;
    // The rest comes at the rate that one certificate has.
    while sensor.acknowledged < sent {
        let next = sent.min(sensor.acknowledged + 5_000);
        assert!(live.run_until(&mut sensor, |sensor, _| sensor.acknowledged >= next).await);
    }
    check(&collector, sent);
}

/// Every hit is there once, with what was sent.
fn check(collector: &Collector, sent: u64) {
    let mut stored: BTreeMap<String, Vec<Hit>> = BTreeMap::new();
    for row in collector.hits() {
        let hit: Hit = serde_json::from_value(row).unwrap();
        stored.entry(hit.hit_id.to_string()).or_default().push(hit);
    }
    assert_eq!(stored.len() as u64, sent, "hits are lost");
    for number in 0..sent {
        let expected = numbered(number);
        let found = stored.get(&expected.hit_id.to_string()).map(Vec::as_slice);
        assert_eq!(found, Some(&[expected][..]), "hit {number}");
    }
    assert_eq!(collector.count("SELECT count(*) FROM loss"), 0);
    assert_eq!(collector.count("SELECT stored FROM progress"), i64::try_from(sent).unwrap());
}

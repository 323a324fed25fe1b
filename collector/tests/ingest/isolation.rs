//! A town is what the certificate says.

use serde_json::json;

use crate::process::Collector;
use crate::sensor::{Sensor, hit, hit_with, write};

#[tokio::test]
async fn two_towns_with_the_same_hit_have_one_each_and_cannot_touch_the_others() {
    let collector = Collector::start().await;
    let mut here = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut there = Sensor::enrol(&collector, "Valle Scura").await;
    here.find(hit(1));
    assert!(here.deliver(&collector).await);
    // The same identity of hit and of spool, with another count: the first town's hit stays as it is.
    there.find(hit_with(1, json!({"count": 99})));
    assert!(there.deliver(&collector).await);
    let hits = collector.hits();
    let seen: Vec<_> =
        hits.iter().map(|hit| (hit["comune"].as_str().unwrap(), hit["count"].as_u64().unwrap())).collect();
    assert_eq!(seen, [("999001", 1), ("999002", 99)]);
    assert_eq!(collector.ok(&["hits", "--json", "--comune", "Valle Scura"]).lines().count(), 1);
    for (filter, found) in [
        (["--comune", "999002"], 1),
        (["--comune", "Nowhere"], 0),
        (["--kind", "domain"], 2),
        (["--kind", "ip"], 0),
        (["--value", "evil.example"], 2),
        (["--value", "good.example"], 0),
    ] {
        let lines = collector.ok(&["hits", "--json", filter[0], filter[1]]);
        assert_eq!(lines.lines().count(), found, "{filter:?}");
    }
    assert_eq!(collector.count("SELECT count(DISTINCT comune) FROM origin"), 2);
}

#[tokio::test]
async fn a_sensor_that_claims_another_town_is_not_heard() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    Sensor::enrol(&collector, "Valle Scura").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    let mut record = serde_json::to_value(hit(1)).unwrap();
    for (field, value) in [("record", "hit"), ("comune", "999002"), ("agent", "someone else")] {
        record.as_object_mut().unwrap().insert(field.into(), value.into());
    }
    write(&mut live.send, &json!({"type": "batch", "first": 1, "records": [record]})).await;
    collector.wait_for_count("SELECT count(*) FROM hit", 1).await;
    let hit = &collector.hits()[0];
    assert_eq!(hit["comune"], "999001");
    assert_eq!(hit["agent"], sensor.agent.as_str());
}

#[tokio::test]
async fn hostile_texts_are_cut_and_cleaned_before_they_are_stored() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let nasty = format!("\u{1b}[2J\u{202e}{}", "x".repeat(20_000));
    sensor.find(hit_with(
        1,
        json!({"input": nasty, "evidence": nasty, "indicator": nasty, "also": vec![nasty; 9]}),
    ));
    sensor.find(hit_with(2, json!({"count": u64::MAX, "bundle": u64::MAX})));
    assert!(sensor.deliver(&collector).await);
    let stored = collector.ok(&["hits", "--json"]);
    assert!(!stored.contains("\u{1b}") && !stored.contains('\u{202e}'));
    let longest = "SELECT max(length(hit_json)) FROM hit";
    assert!(collector.count(longest) < 8192);
    assert_eq!(collector.count("SELECT max(count) FROM hit"), i64::MAX);
}

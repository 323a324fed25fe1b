//! Nothing lost, nothing twice: repeats, reconnects, killed collectors.

use std::time::{Duration, Instant};

use protocol::identity::LossId;
use protocol::message::{AgentMessage, BundleOutcome, Loss, LossReason, Record, SourceStatus};
use protocol::{Serial, Timestamp};
use serde_json::json;

use crate::process::Collector;
use crate::sensor::{Sensor, hit, hit_with, now, write};

#[tokio::test]
async fn a_hit_is_stored_once_however_often_it_comes_and_keeps_its_highest_count() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    sensor.find(hit(1));
    sensor.find(hit(2));
    assert!(sensor.deliver(&collector).await);
    // The same hit again with a higher count, then a late one with a lower count.
    sensor.find(hit_with(1, json!({"count": 9, "last_at": "2026-11-22T10:04:00Z"})));
    sensor.find(hit_with(1, json!({"count": 3, "last_at": "2026-11-22T10:02:00Z"})));
    assert!(sensor.deliver(&collector).await);
    // A spool that was read again from its beginning.
    sensor.acknowledged = 0;
    assert!(sensor.deliver(&collector).await);
    // A new spool on the same gateway with the same hits in it.
    sensor.epoch.0 = [8; 16];
    sensor.acknowledged = 0;
    assert!(sensor.deliver(&collector).await);

    let hits = collector.hits();
    assert_eq!(hits.len(), 2, "{hits:#?}");
    assert_eq!((hits[0]["count"].as_u64(), hits[1]["count"].as_u64()), (Some(9), Some(1)));
    assert_eq!(hits[0]["last_at"], "2026-11-22T10:04:00.000000Z");
    assert_eq!(hits[0]["comune"], "999001");
    assert_eq!(hits[0]["agent"], sensor.agent.as_str());
    // Two hits, not six, point at the town's host.
    let outbound = "SELECT outbound FROM origin WHERE address = '192.0.2.10' AND role = 'host'";
    assert_eq!(collector.count(outbound), 2);
    assert_eq!(collector.count("SELECT count(*) FROM origin"), 1);
    assert_eq!(collector.count("SELECT max(last_at) FROM origin"), micros("2026-11-22T10:04:00Z"));
}

fn micros(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_micros()
}

#[tokio::test]
async fn the_last_state_of_a_hit_replaces_the_first_and_no_older_one_comes_back() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let traffic =
        |packets: u64| json!({"packets_out": packets, "bytes_out": packets * 100, "established": true});
    let at = |minute: u64| json!(format!("2026-11-22T10:0{minute}:00Z"));
    sensor.find(hit_with(1, json!({"traffic": traffic(1)})));
    assert!(sensor.deliver(&collector).await);
    // Seen no more often, but more went over its flow.
    let mut ended = traffic(70);
    ended["ended"] = json!("closed");
    sensor.find(hit_with(1, json!({"traffic": ended, "last_at": at(4), "witnesses": ["wan0"]})));
    assert!(sensor.deliver(&collector).await);
    sensor.find(hit_with(1, json!({"traffic": traffic(9), "last_at": at(2)})));
    assert!(sensor.deliver(&collector).await);

    let hits = collector.hits();
    assert_eq!(hits.len(), 1, "{hits:#?}");
    assert_eq!(hits[0]["traffic"]["packets_out"], 70);
    assert_eq!(hits[0]["traffic"]["ended"], "closed");
    assert_eq!((hits[0]["count"].as_u64(), &hits[0]["witnesses"][0]), (Some(1), &json!("wan0")));
    assert_eq!(hits[0]["last_at"], "2026-11-22T10:04:00.000000Z");
}

#[tokio::test]
async fn what_is_acknowledged_is_stored_when_the_collector_is_killed_at_any_moment() {
    const HITS: u64 = 4000;
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    (1..=HITS).for_each(|number| sensor.find(hit(number)));
    for round in 1..=6_u64 {
        let mut live = sensor.connect(&collector).await;
        let enough = (HITS / 8) * round;
        live.run_until(&mut sensor, |sensor, _| sensor.acknowledged >= enough).await;
        collector.kill();
        let stored = collector.count("SELECT count(*) FROM hit");
        assert!(stored >= i64::try_from(sensor.acknowledged).unwrap(), "round {round}");
        collector.run().await;
    }
    assert!(sensor.deliver(&collector).await);
    assert_eq!(collector.count("SELECT count(*) FROM hit"), 4000);
    assert_eq!(collector.count("SELECT count(DISTINCT hit_id) FROM hit"), 4000);
    let outbound = "SELECT outbound FROM origin WHERE role = 'host'";
    assert_eq!(collector.count(outbound), 4000);
    assert_eq!(collector.stop().await, Some(0));
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_acknowledgement_is_resumed_at_what_is_stored() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    let records = vec![Record::Hit(Box::new(hit(1))), Record::Hit(Box::new(hit(2)))];
    sensor.spool = records.clone();
    write(&mut live.send, &AgentMessage::Batch { first: 1, records }).await;
    collector.wait_for_count("SELECT count(*) FROM hit", 2).await;
    // Whatever acknowledgement is under way is never read.
    live.connection.close(0_u32.into(), b"");
    assert_eq!(sensor.acknowledged, 0);
    assert!(sensor.deliver(&collector).await);
    assert_eq!(sensor.acknowledged, 2);
    assert_eq!(collector.count("SELECT count(*) FROM hit"), 2);
}

#[tokio::test]
async fn losses_and_gaps_are_recorded_once() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let at = now();
    let loss = Loss {
        id: Some(LossId([7; 16])),
        count: 5,
        reason: LossReason::SpoolFull,
        first_at: at,
        last_at: at,
        gap: None,
    };
    // Told again, as after a crash that took the acknowledgement.
    sensor.spool = vec![Record::Loss(loss.clone()), Record::Loss(loss)];
    assert!(sensor.deliver(&collector).await);
    // The spool dropped 3 to 9: the sensor says so by what it has, at two connections.
    sensor.spool = (1..=10).map(|number| Record::Hit(Box::new(hit(number)))).collect();
    sensor.acknowledged = 9;
    for _ in 0..2 {
        let mut live = sensor.connect(&collector).await;
        assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
        live.connection.close(0_u32.into(), b"");
    }
    collector.wait_for_count("SELECT count(*) FROM loss WHERE reason = 'gap'", 1).await;
    assert!(sensor.deliver(&collector).await);
    assert_eq!(collector.count("SELECT sum(count) FROM loss WHERE reason = 'gap'"), 7);
    assert_eq!(collector.count("SELECT sum(count) FROM loss WHERE reason = 'spool_full'"), 5);
    assert_eq!(collector.count("SELECT count(*) FROM hit"), 1);
}

#[tokio::test]
async fn a_sensors_state_is_kept_and_the_last_of_two_connections_ends_it() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut first = sensor.connect(&collector).await;
    assert!(first.run_until(&mut sensor, |_, live| live.welcomed).await);
    let mut second = sensor.connect(&collector).await;
    assert!(second.run_until(&mut sensor, |_, live| live.welcomed).await);
    let source = SourceStatus {
        name: "lan0".into(),
        kind: "capture".into(),
        read: 10,
        trouble: "no\u{1b}[2Jpackets".into(),
        ..SourceStatus::default()
    };
    let behind = now().plus_seconds(-90);
    let status = AgentMessage::Status {
        at: behind,
        bundle: Serial(3),
        spooled: 7,
        sources: vec![source],
        fresh_until: Some(behind),
    };
    write(&mut second.send, &status).await;
    let refused =
        AgentMessage::Bundle { serial: Serial(4), outcome: BundleOutcome::Refused { reason: "old".into() } };
    write(&mut second.send, &refused).await;
    let state = "SELECT count(*) FROM agent WHERE bundle_outcome = 'refused' AND bundle_reason = 'old'
        AND bundle_in_force = 3 AND spooled = 7 AND skew_micros BETWEEN -95000000 AND -85000000
        AND sources LIKE '%lan0%' AND address LIKE '127.0.0.1:%'";
    collector.wait_for_count(state, 1).await;
    let sources: String =
        collector.store().query_row("SELECT sources FROM agent", [], |row| row.get(0)).unwrap();
    assert!(!sources.contains('\u{1b}'), "{sources}");

    first.connection.close(0_u32.into(), b"");
    first.closed(Duration::from_secs(5)).await;
    let applied =
        AgentMessage::Bundle { serial: Serial(4), outcome: BundleOutcome::Applied { indicators: 2 } };
    write(&mut second.send, &applied).await;
    collector.wait_for_count("SELECT bundle_in_force FROM agent", 4).await;
    assert_eq!(collector.count("SELECT connected FROM agent"), 1);
    second.connection.close(0_u32.into(), b"");
    collector.wait_for_count("SELECT connected FROM agent", 0).await;
}

#[tokio::test]
async fn a_restarted_collector_tells_sensors_that_their_connections_are_gone() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    collector.kill();
    collector.run().await;
    let batch = AgentMessage::Batch { first: 1, records: vec![Record::Hit(Box::new(hit(1)))] };
    // A packet that was still under way may have brought the answer already.
    let _perhaps_reset = live.send.write_all(&protocol::frame::encode(&batch).unwrap()).await;
    let closed = live.closed(Duration::from_secs(10)).await;
    assert_eq!(closed, quinn::ConnectionError::Reset);
}

#[tokio::test]
async fn a_clean_stop_tells_sensors_and_leaves_no_session_open() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    assert_eq!(collector.stop().await, Some(0));
    let closed = live.closed(Duration::from_secs(5)).await;
    assert!(closed.to_string().contains("the collector is stopping"), "{closed}");
    assert_eq!(collector.count("SELECT connected FROM agent"), 0);

    // One that listens hears when it should come back, and the collector waits for nobody else.
    collector.run().await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    let hearing = async {
        assert!(!live.run_until(&mut sensor, |_, _| false).await);
        live.connection.close(0_u32.into(), b"");
    };
    let begun = Instant::now();
    let (stopped, ()) = tokio::join!(collector.stop(), hearing);
    assert_eq!(stopped, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(3), "it waited for a sensor that had gone");
    let (seconds, reason) = sensor.retry_after.unwrap();
    assert!(
        (5..=13).contains(&seconds) && reason.contains("the collector is stopping"),
        "{seconds} {reason}"
    );
}

//! Two machines with one sensor's identity are noticed, and neither is cut.

use protocol::identity::Epoch;
use protocol::message::{AgentMessage, CollectorMessage};

use crate::process::Collector;
use crate::sensor::{Live, Sensor, hit, write};

async fn welcomed(sensor: &mut Sensor, collector: &Collector) -> Live {
    let mut live = sensor.connect(collector).await;
    assert!(live.run_until(sensor, |_, live| live.welcomed).await);
    live
}

fn signs(collector: &Collector, sensor: &Sensor) -> Vec<String> {
    let row = collector.agent(&sensor.agent);
    let signs = row["twins"].as_array().unwrap().iter();
    signs.map(|twin| twin["sign"].as_str().unwrap().to_owned()).collect()
}

fn status() -> AgentMessage {
    AgentMessage::Status {
        at: crate::sensor::now(),
        bundle: protocol::Serial(0),
        spooled: 0,
        sources: Vec::new(),
        fresh_until: None,
    }
}

#[tokio::test]
async fn an_older_connection_that_goes_on_talking_is_a_second_machine() {
    let mut collector = Collector::start().await;
    let mut first = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut lone = Sensor::enrol(&collector, "Valle Scura").await;
    // A sensor whose address changed leaves a connection behind that nobody speaks on.
    let _left_behind = welcomed(&mut lone, &collector).await;
    let _goes_on = welcomed(&mut lone, &collector).await;

    let mut older = welcomed(&mut first, &collector).await;
    let mut newer = welcomed(&mut first, &collector).await;
    let end = tokio::time::Instant::now() + crate::process::DEADLINE;
    while signs(&collector, &first).is_empty() {
        assert!(tokio::time::Instant::now() < end, "the second machine was not noticed");
        write(&mut older.send, &status()).await;
        write(&mut newer.send, &status()).await;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    assert_eq!(signs(&collector, &first), ["two_connections"]);
    collector.wait_for_line("two machines use this sensor's identity").await;
    let list = collector.ok(&["agents"]);
    assert!(list.contains("!! two machines use its identity") && list.contains("enrol both anew"), "{list}");
    assert_eq!(signs(&collector, &lone), Vec::<String>::new());

    // Neither is cut.
    first.find(hit(1));
    assert!(newer.run_until(&mut first, |sensor, _| sensor.acknowledged == 1).await);
    assert!(older.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_spool_that_comes_back_after_another_took_over_is_a_copy() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    // A sensor renews its spool after an unclean end, as often as it likes.
    for epoch in [1, 1, 2, 3, 3] {
        sensor.epoch = Epoch([epoch; 16]);
        welcomed(&mut sensor, &collector).await.connection.close(0_u32.into(), b"");
    }
    assert_eq!(signs(&collector, &sensor), Vec::<String>::new());
    for epoch in [2, 3] {
        sensor.epoch = Epoch([epoch; 16]);
        welcomed(&mut sensor, &collector).await.connection.close(0_u32.into(), b"");
    }
    let row = collector.agent(&sensor.agent);
    assert_eq!((&row["twins"][0]["sign"], &row["twins"][0]["count"]), (&"epoch_came_back".into(), &2.into()));
    collector.wait_for_line("or its state was restored from a copy").await;
}

#[tokio::test]
async fn a_certificate_that_was_replaced_and_comes_back_is_a_copy() {
    let collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let copy = sensor.credentials.clone();
    let mut live = welcomed(&mut sensor, &collector).await;
    let (key, request_pem) = crate::sensor::new_request();
    write(&mut live.send, &AgentMessage::Renew { request_pem }).await;
    let CollectorMessage::Renewed { chain_pem } = crate::sensor::read(&mut live.recv).await else {
        panic!("not renewed")
    };
    live.connection.close(0_u32.into(), b"");
    sensor.credentials = crate::sensor::Credentials { chain_pem, key_pem: key.serialize_pem() };
    welcomed(&mut sensor, &collector).await;
    assert_eq!(signs(&collector, &sensor), Vec::<String>::new());
    let refused =
        crate::sensor::refused(crate::sensor::connect(&collector, protocol::ALPN_SESSION, Some(&copy)).await)
            .await;
    assert_eq!(refused.0, 3);
    collector.wait_for_count("SELECT count(*) FROM twin WHERE sign = 'old_certificate'", 1).await;
}

//! One sensor at full flood beside others that report now and then.

use std::time::Duration;

use tokio::time::timeout;

use crate::process::{Collector, DEADLINE};
use crate::sensor::{Sensor, hit};

/// More than one certificate may have stored in a good half minute.
const FLOOD: u64 = 40_000;
const OTHERS: usize = 6;
const ROUNDS: u64 = 20;
/// Streams that a sensor may have open, its session among them.
const STREAMS_MAX: usize = 4;
/// On loopback a stream that may be opened is so at once.
const AT_ONCE: Duration = Duration::from_millis(500);

#[tokio::test]
async fn a_flood_of_one_sensor_keeps_no_other_waiting() {
    let collector = Collector::start().await;
    let mut flooder = Sensor::enrol(&collector, "Valle Scura").await;
    (0..FLOOD).for_each(|number| flooder.find(hit(number)));
    let mut others = Vec::new();
    for _ in 0..OTHERS {
        others.push(Sensor::enrol(&collector, "Borgo Chiaro").await);
    }
    let flooding = async { while !flooder.deliver(&collector).await {} };
    let reporting = others.iter_mut().map(|sensor| async {
        let mut live = sensor.connect(&collector).await;
        for round in 1..=ROUNDS {
            sensor.find(hit(round));
            assert!(live.run_until(sensor, |sensor, _| sensor.acknowledged == round).await);
        }
    });
    tokio::select! {
        () = flooding => panic!("the flood was through before the others' {ROUNDS} hits were stored"),
        _ = futures_util::future::join_all(reporting) => {}
    }
    // Not cut off either: it is read at its rate.
    let of_flooder = format!("SELECT count(*) FROM hit WHERE agent = '{}'", flooder.agent);
    let stored = u64::try_from(collector.count(&of_flooder)).unwrap();
    assert!(stored > 0 && stored < FLOOD, "{stored}");
}

#[tokio::test]
async fn a_sensor_opens_no_more_streams_than_it_needs() {
    let collector = Collector::start().await;
    let sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let live = sensor.connect(&collector).await;
    let connection = &live.connection;
    assert_eq!(connection.max_datagram_size(), None, "datagrams are off");
    assert!(timeout(AT_ONCE, connection.open_uni()).await.is_err(), "a stream that nobody reads");
    let mut open = Vec::new();
    for _ in 1..STREAMS_MAX {
        open.push(timeout(DEADLINE, connection.open_bi()).await.unwrap().unwrap());
    }
    assert!(timeout(AT_ONCE, connection.open_bi()).await.is_err(), "one more than it may");
}

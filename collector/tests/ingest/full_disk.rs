//! A full disk: nothing is acknowledged, sensors are told to come back, and the collector recovers by itself.

use std::fs;
use std::process::Command;

use crate::process::Collector;
use crate::sensor::{Sensor, hit};

/// A mount namespace of its own, with the state on a small disk.
fn on_a_small_disk(collector: &Collector) -> Command {
    let script = "set -e; state=$1; shift; cp -a \"$state\" \"$state.saved\"; \
        mount -t tmpfs -o size=6m tmpfs \"$state\"; cp -a \"$state.saved/.\" \"$state\"; exec \"$@\"";
    let inner = collector.command();
    let mut command = Command::new("unshare");
    command.args(["-rm", "--propagation", "private", "sh", "-c", script, "sh"]);
    command.arg(collector.folder.path().join("state")).arg(inner.get_program()).args(inner.get_args());
    command
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_disk_is_full_and_all_arrives_when_there_is_room() {
    let mut collector = Collector::start().await;
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    assert_eq!(collector.stop().await, Some(0));
    let command = on_a_small_disk(&collector);
    collector.run_as(command).await;
    let state = format!("/proc/{}/root{}", collector.process_id(), collector.state("").display());
    let ballast = format!("{state}/ballast");

    fs::write(&ballast, vec![1; 3 << 20]).unwrap();
    // Each hit is about 1.5 kB in the store: far more than is left.
    (1..=6000).for_each(|number| sensor.find(hit(number)));
    assert!(!sensor.deliver(&collector).await);
    let (_, reason) = sensor.retry_after.take().unwrap();
    assert!(reason.contains("disk") && reason.contains("full"), "{reason}");
    collector.wait_for_line("the store takes no writes").await;
    let acknowledged = sensor.acknowledged;
    assert!(acknowledged < 6000);

    fs::remove_file(&ballast).unwrap();
    sensor.spool.truncate(1500.max(usize::try_from(acknowledged).unwrap()));
    assert!(sensor.deliver(&collector).await);
    collector.wait_for_line("the store takes writes again").await;
    // SQLite resolves /proc/PID/root to this test's own root: it reads a copy, which nothing changes meanwhile.
    let copy = tempfile::TempDir::new().unwrap();
    for file in ["store.sqlite", "store.sqlite-wal"] {
        fs::copy(format!("{state}/{file}"), copy.path().join(file)).unwrap();
    }
    let store = rusqlite::Connection::open(copy.path().join("store.sqlite")).unwrap();
    let stored: i64 = store.query_row("SELECT count(*) FROM hit", [], |row| row.get(0)).unwrap();
    let stored = u64::try_from(stored).unwrap();
    assert_eq!(stored, sensor.acknowledged);
    drop(store);
    assert_eq!(collector.stop().await, Some(0));
}

//! Bundles: pushed by a desk, believed only when the COSC signed them, fetched by sensors file by file.

use std::fs;
use std::time::Duration;

use protocol::message::{
    AgentMessage, BundleOutcome, CHUNK_BYTES_MAX, DeskMessage, FetchReply, FetchRequest, PushReply, Rollout,
    RolloutState,
};
use protocol::repository::{bundle_target, delta_target};
use protocol::{ALPN_PUSH, Serial};
use serde_json::json;

use crate::desk::{Push, admitted_desk};
use crate::process::Collector;
use crate::repository::{bundle, delta};
use crate::sensor::{Credentials, Live, Sensor, connect, read, refused, write};

async fn fetch(live: &Live, request: &impl serde::Serialize) -> Option<Vec<u8>> {
    let (mut send, mut recv) = live.connection.open_bi().await.unwrap();
    write(&mut send, request).await;
    send.finish().unwrap();
    let FetchReply::Found { .. } = read(&mut recv).await else { return None };
    Some(recv.read_to_end(1 << 20).await.unwrap())
}

fn request(path: &str, offset: u64) -> FetchRequest {
    FetchRequest { path: path.parse().unwrap(), offset }
}

#[tokio::test]
async fn a_genuine_bundle_is_offered_fetched_and_its_progress_told() {
    let collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    assert_eq!(fetch(&live, &request("metadata/timestamp.json", 0)).await, None);

    let (mut push, reply) = Push::whole(&collector, &desk).await;
    assert_eq!(reply, PushReply::Accepted { serial: Serial(1), indicators: 2, connected: 1 });
    assert!(live.run_until(&mut sensor, |sensor, _| sensor.bundles_seen == [Serial(1)]).await);
    assert_eq!(collector.count("SELECT count(*) FROM indicator WHERE first_bundle = 1"), 2);

    for file in collector.cosc.files() {
        let pushed = fs::read(collector.cosc.path().join(file.path.as_str())).unwrap();
        assert_eq!(fetch(&live, &request(file.path.as_str(), 0)).await.as_ref(), Some(&pushed));
        assert_eq!(fetch(&live, &request(file.path.as_str(), 10)).await.as_deref(), Some(&pushed[10..]));
        assert_eq!(fetch(&live, &request(file.path.as_str(), u64::MAX)).await.as_deref(), Some(&[][..]));
    }
    let applied =
        AgentMessage::Bundle { serial: Serial(1), outcome: BundleOutcome::Applied { indicators: 2 } };
    write(&mut live.send, &applied).await;
    let progress: PushReply = read(&mut push.recv).await;
    assert_eq!(
        progress,
        PushReply::Progress {
            comune: "Borgo Chiaro".into(),
            agent: sensor.agent.clone(),
            serial: Serial(1),
            outcome: BundleOutcome::Applied { indicators: 2 },
        }
    );
    collector.wait_for_count("SELECT bundle_in_force FROM agent", 1).await;
    drop(push);

    // The next push sends only what is new, and a sensor that comes later is told at once.
    collector.cosc.sign(2, &[(1, &["evil.example", "203.0.113.66"]), (2, &["worse.example"])]).await;
    let push = Push::offer(&collector, &desk, collector.cosc.files()).await;
    let targets = push.wanted.iter().filter(|path| path.as_str().starts_with("targets")).count();
    assert_eq!(targets, 1);
    drop(push);
    let (_push, reply) = Push::whole(&collector, &desk).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(2), .. }), "{reply:?}");
    let mut later = Sensor::enrol(&collector, "Valle Scura").await;
    let mut live = later.connect(&collector).await;
    assert!(live.run_until(&mut later, |sensor, _| sensor.bundles_seen == [Serial(2)]).await);
    assert_eq!(fs::read_dir(collector.state("repositories")).unwrap().count(), 1);
}

#[tokio::test]
async fn deltas_are_passed_on_and_read_before() {
    let collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let bundles = [bundle(1, &["evil.example"]), bundle(2, &["evil.example", "worse.example"])];
    let [first, second] = [1, 2].map(|serial| bundle_target(Serial(serial)));
    let change = delta_target(Serial(1), Serial(2));
    let mut files = vec![
        (first, bundles[0].clone()),
        (second, bundles[1].clone()),
        (change.clone(), delta(&bundles[1], &bundle(3, &["evil.example"]))),
    ];
    // A delta that every sensor would fetch in vain is the desk's to mend.
    collector.cosc.sign_files(2, &files).await;
    let (_, reply) = Push::whole(&collector, &desk).await;
    let PushReply::Refused { reason } = reply else { panic!("{reply:?}") };
    assert!(reason.contains("delta-1-2.jsonl.zst says that it leads from bundle 2 to 3"), "{reason}");
    fs::remove_file(collector.cosc.target_named(&change)).unwrap();

    files[2].1 = delta(&bundles[0], &bundles[1]);
    collector.cosc.sign_files(3, &files).await;
    let (_push, reply) = Push::whole(&collector, &desk).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(2), .. }), "{reply:?}");
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    let file = collector.cosc.target_named(&change);
    let path = format!("targets/{}", file.file_name().unwrap().to_str().unwrap());
    assert_eq!(fetch(&live, &request(&path, 0)).await.as_ref(), Some(&files[2].1));
    assert_eq!(fs::read_dir(collector.state("tuf/taken-out")).unwrap().count(), 0, "nothing is left over");
}

#[tokio::test]
async fn an_altered_or_older_repository_is_refused_and_the_one_before_stays() {
    let mut collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    collector.cosc.sign(2, &[(5, &["evil.example"])]).await;
    let (_, reply) = Push::whole(&collector, &desk).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(5), .. }), "{reply:?}");
    let offered = fs::canonicalize(collector.state("repository")).unwrap();

    collector.cosc.sign(3, &[(5, &["evil.example"]), (6, &["worse.example"])]).await;
    let target = collector.cosc.target(6);
    let genuine = fs::read(&target).unwrap();
    let mut altered = genuine.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    fs::write(&target, altered).unwrap();
    let (_, reply) = Push::whole(&collector, &desk).await;
    let PushReply::Refused { reason } = reply else { panic!("{reply:?}") };
    assert!(reason.contains("not the file that was signed"), "{reason}");
    collector.wait_for_line("not the file that was signed").await;

    // Signed genuinely, but older than what is offered.
    fs::write(&target, genuine).unwrap();
    collector.cosc.sign(4, &[(4, &["evil.example"])]).await;
    fs::remove_file(collector.cosc.target(6)).unwrap();
    fs::remove_file(collector.cosc.target(5)).unwrap();
    let (_, reply) = Push::whole(&collector, &desk).await;
    let PushReply::Refused { reason } = reply else { panic!("{reply:?}") };
    assert!(reason.contains("older than bundle 5"), "{reason}");

    assert_eq!(fs::canonicalize(collector.state("repository")).unwrap(), offered);
    assert_eq!(collector.count("SELECT max(serial) FROM bundle"), 5);
    assert_eq!(fs::read_dir(collector.state("repositories")).unwrap().count(), 1);
}

#[tokio::test]
async fn another_coscs_repository_and_a_revoked_desk_are_refused() {
    let mut collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    collector.cosc = crate::repository::SignedRepository::new();
    collector.cosc.sign(1, &[(1, &["evil.example"])]).await;
    let (_, reply) = Push::whole(&collector, &desk).await;
    let PushReply::Refused { reason } = reply else { panic!("{reply:?}") };
    assert!(reason.contains("signature"), "{reason}");
    assert!(!collector.state("repository").exists());
    collector.ok(&["revoke", "cosc-esempio", "--reason", "desk moved"]);
    let (code, sentence) = refused(connect(&collector, ALPN_PUSH, Some(&desk)).await).await;
    assert_eq!(code, 3);
    assert!(sentence.contains("desk moved"), "{sentence}");
}

#[tokio::test]
async fn a_push_that_breaks_off_or_sends_too_much_leaves_nothing() {
    let mut collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let push = Push::offer(&collector, &desk, collector.cosc.files()).await;
    push.connection.close(0_u32.into(), b"");
    collector.wait_for_line("the push broke off").await;

    let mut push = Push::offer(&collector, &desk, collector.cosc.files()).await;
    write(&mut push.send, &DeskMessage::Chunk { bytes: vec![0; CHUNK_BYTES_MAX] }).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), push.connection.closed()).await.unwrap();
    assert!(closed.to_string().contains("are missing"), "{closed}");
    assert_eq!(fs::read_dir(collector.state("repositories")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_fetch_reaches_files_of_the_repository_only() {
    let collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let (_push, reply) = Push::whole(&collector, &desk).await;
    assert!(matches!(reply, PushReply::Accepted { .. }), "{reply:?}");
    let mut sensor = Sensor::enrol(&collector, "Borgo Chiaro").await;
    let mut live = sensor.connect(&collector).await;
    assert!(live.run_until(&mut sensor, |_, live| live.welcomed).await);
    // A link that somebody with access to the folder planted is not followed either.
    let planted = collector.state("repository/targets/planted");
    std::os::unix::fs::symlink(collector.state("authority/ca.key"), planted).unwrap();
    fs::create_dir(collector.state("repository/targets/folder")).unwrap();
    for path in ["targets/planted", "targets/folder", "targets/nothing", "metadata/nothing.json"] {
        assert_eq!(fetch(&live, &request(path, 0)).await, None, "{path}");
    }
    for path in [
        "../authority/ca.key",
        "metadata/../../authority/ca.key",
        "targets/../../store.sqlite",
        "/etc/passwd",
        "targets//etc/passwd",
        "targets/..",
        "authority/ca.key",
        "targets/%2e%2e%2fca.key",
    ] {
        let live = sensor.connect(&collector).await;
        let mut hello = sensor.connect(&collector).await;
        assert!(hello.run_until(&mut sensor, |_, live| live.welcomed).await);
        let (mut send, mut recv) = hello.connection.open_bi().await.unwrap();
        write(&mut send, &json!({"path": path, "offset": 0})).await;
        send.finish().unwrap();
        let closed = hello.closed(Duration::from_secs(5)).await.to_string();
        assert!(closed.contains("not a file of a repository"), "{path}: {closed}");
        assert!(recv.read_to_end(1024).await.unwrap_or_default().is_empty());
        drop(live);
    }
}

/// Waits until a sensor's session heard of a bundle.
async fn offered(live: &mut Live, sensor: &mut Sensor, serial: u64) {
    assert!(live.run_until(sensor, |sensor, _| sensor.bundles_seen.last() == Some(&Serial(serial))).await);
}

async fn says(live: &mut Live, serial: u64, outcome: BundleOutcome) {
    write(&mut live.send, &AgentMessage::Bundle { serial: Serial(serial), outcome }).await;
}

fn rollout(share_percent: u8) -> Option<Rollout> {
    Some(Rollout { share_percent, minutes: 10 })
}

/// The newest of what the repository holds, as a town's sensor fetches it.
async fn newest_for(live: &Live) -> Vec<u8> {
    fetch(live, &request("metadata/timestamp.json", 0)).await.unwrap()
}

/// Two towns, whichever of them is first for bundle 2 in front.
async fn two_towns(collector: &Collector, desk: &Credentials) -> (Push, [(Sensor, Live); 2]) {
    let (_push, reply) = Push::whole(collector, desk).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(1), .. }), "{reply:?}");
    let mut towns = Vec::new();
    for name in ["Borgo Chiaro", "Valle Scura"] {
        let mut sensor = Sensor::enrol(collector, name).await;
        let mut live = sensor.connect(collector).await;
        offered(&mut live, &mut sensor, 1).await;
        towns.push((name, sensor, live));
    }
    collector.cosc.sign(2, &[(1, &["evil.example", "203.0.113.66"]), (2, &["worse.example"])]).await;
    let (mut push, reply) = Push::rolled_out(collector, desk, rollout(10)).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(2), .. }), "{reply:?}");
    let told: PushReply = read(&mut push.recv).await;
    let PushReply::Rollout { serial: Serial(2), state: RolloutState::Canary { towns: first, .. } } = told
    else {
        panic!("{told:?}")
    };
    assert_eq!(first.len(), 1);
    towns.sort_by_key(|(name, ..)| *name != first[0]);
    let towns: Vec<_> = towns.into_iter().map(|(_, sensor, live)| (sensor, live)).collect();
    (push, towns.try_into().ok().unwrap())
}

#[tokio::test]
async fn a_share_of_the_towns_is_first_over_a_restart_and_an_operator_may_end_it() {
    let mut collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let (push, [(mut first, mut first_live), (mut other, other_live)]) = two_towns(&collector, &desk).await;
    offered(&mut first_live, &mut first, 2).await;
    assert_ne!(newest_for(&first_live).await, newest_for(&other_live).await);
    assert_eq!(other.bundles_seen, [Serial(1)]);
    drop((push, first_live, other_live));

    collector.kill();
    collector.run().await;
    let mut first_live = first.connect(&collector).await;
    let mut other_live = other.connect(&collector).await;
    first.bundles_seen.clear();
    other.bundles_seen.clear();
    offered(&mut other_live, &mut other, 1).await;
    offered(&mut first_live, &mut first, 2).await;
    let shown = collector.ok(&["bundles"]);
    assert!(shown.contains("bundle 2 first in") && shown.contains("others had 1; canary"), "{shown}");

    // After its time it waits for one sensor that has it in force, and then all have it.
    collector.store().execute("UPDATE rollout SET started_at = started_at - 3600000000", []).unwrap();
    says(&mut first_live, 2, BundleOutcome::Applied { indicators: 1 }).await;
    offered(&mut other_live, &mut other, 2).await;
    assert_eq!(newest_for(&first_live).await, newest_for(&other_live).await);
    let rows: Vec<serde_json::Value> = collector
        .ok(&["bundles", "--json"])
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let of = |sensor: &Sensor| rows.iter().find(|row| row["agent"] == sensor.agent).unwrap().clone();
    assert_eq!((&of(&first)["behind"], &of(&first)["outcome"]), (&json!(0), &json!("applied")));
    assert_eq!((&of(&other)["behind"], &of(&other)["offered"]), (&json!(2), &json!(2)));
    assert!(of(&other)["behind_since"].is_string());
    assert_eq!(rows.last().unwrap()["rollout"]["state"], "released");
}

#[tokio::test]
async fn a_refusal_by_a_first_town_stops_a_bundle_and_an_urgent_one_goes_to_all() {
    let mut collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let (mut push, [(mut first, mut first_live), (mut other, mut other_live)]) =
        two_towns(&collector, &desk).await;
    offered(&mut first_live, &mut first, 2).await;
    says(&mut first_live, 2, BundleOutcome::Refused { reason: "no room".into() }).await;
    let told: PushReply = read(&mut push.recv).await;
    assert!(matches!(told, PushReply::Progress { .. }), "{told:?}");
    let told: PushReply = read(&mut push.recv).await;
    let PushReply::Rollout { state: RolloutState::Stopped { reason }, .. } = told else { panic!("{told:?}") };
    assert!(reason.contains("no room"), "{reason}");
    collector.wait_for_line("bundle stopped").await;
    assert_eq!(other.bundles_seen, [Serial(1)]);
    let refused = collector.output(&["bundles", "stop", "2", "--reason", "again"]);
    assert!(!refused.status.success());

    // The next one, without a share, reaches everybody at once.
    let three: [(u64, &[&str]); 2] = [(2, &["worse.example"]), (3, &["worst.example"])];
    collector.cosc.sign(3, &three).await;
    let (_push, reply) = Push::whole(&collector, &desk).await;
    assert!(matches!(reply, PushReply::Accepted { serial: Serial(3), .. }), "{reply:?}");
    offered(&mut first_live, &mut first, 3).await;
    offered(&mut other_live, &mut other, 3).await;
    assert!(!collector.state("canary").exists());
    assert_eq!(fs::read_dir(collector.state("repositories")).unwrap().count(), 1);
}

#[tokio::test]
async fn an_operator_releases_a_bundle_and_the_export_verifies() {
    let collector = Collector::start().await;
    let desk = admitted_desk(&collector);
    let (_push, [_, (mut other, mut other_live)]) = two_towns(&collector, &desk).await;
    collector.ok(&["bundles", "release", "2", "--reason", "looked at"]);
    offered(&mut other_live, &mut other, 2).await;
    let stick = collector.state("stick");
    let told = collector.ok(&["export", stick.to_str().unwrap()]);
    assert!(told.contains("bundle 2 is in") && told.contains("with the desk's signatures"), "{told}");
    let written = fs::read_dir(stick.join("metadata")).unwrap().count();
    assert_eq!(written, fs::read_dir(collector.state("repository/metadata")).unwrap().count());
    let again = collector.output(&["export", stick.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("not empty"));
}

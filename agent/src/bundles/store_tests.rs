//! From signed repositories into force: changes where they fit, else the full bundle, by hand or by the collector.

use std::path::Path;

use protocol::identity::AgentId;
use protocol::repository::delta_target;
use protocol::{Serial, Timestamp};

use super::in_force::{InForce, open_in_force};
use super::not_taken::NotTaken;
use super::store::{Applied, BundleStore, MERGE_ABOVE, Started, StoreConfig};
use super::verify::Repository;
use super::verify_tests::{Desk, bundle, delta, with_deltas};
use crate::config::SpoolConfig;
use crate::control::{self, AskError, StatusParts};
use crate::identity::Enrolment;
use crate::published::Published;
use crate::sources::Board;
use crate::spool;

fn start(desk: &Desk) -> Started {
    BundleStore::start(StoreConfig {
        folder: desk.path("state/bundles"),
        cosc_root: desk.pinned.clone(),
        home_networks: Vec::new(),
        merge_above: MERGE_ABOVE,
    })
    .unwrap()
}

async fn take(store: &BundleStore, desk: &Desk) -> Result<Applied, NotTaken> {
    let repository = desk.path("repository");
    store.take(|| Repository::folder(&repository), |_| {}).await
}

/// What is in force on disk, and in the store.
fn in_force(store: &BundleStore) -> InForce {
    let (in_force, _) = open_in_force(store.folder()).unwrap();
    assert_eq!(store.status().load().in_force.as_ref(), Some(&in_force));
    in_force
}

#[tokio::test]
async fn changes_are_taken_where_they_fit() {
    let desk = Desk::new();
    let targets = with_deltas(|_, bytes| bytes);
    desk.sign_targets(1, &targets[..1], 7).await;
    let started = start(&desk);
    let first = take(&started.store, &desk).await.unwrap();
    assert_eq!((first.in_force.serial, first.is_new), (Serial(1), true));
    assert!(!take(&started.store, &desk).await.unwrap().is_new);
    desk.sign_targets(2, &targets, 7).await;
    let changed = take(&started.store, &desk).await.unwrap();
    assert_eq!((changed.in_force.serial, changed.is_new), (Serial(3), true));
    assert_eq!((changed.in_force.changes, changed.in_force.indicators), (2, 1));
    assert_eq!(in_force(&started.store), changed.in_force);
}

#[tokio::test]
async fn changes_that_do_not_fit_give_way_to_the_full_bundle() {
    let desk = Desk::new();
    let targets = with_deltas(|name, bytes| match name == delta_target(Serial(1), Serial(3)) {
        true => delta(&bundle(1, &["other.example"]), &bundle(3, &["b.example"])),
        false => bytes,
    });
    desk.sign_targets(1, &targets[..1], 7).await;
    let started = start(&desk);
    take(&started.store, &desk).await.unwrap();
    desk.sign_targets(2, &targets, 7).await;
    let full = take(&started.store, &desk).await.unwrap();
    assert_eq!((full.in_force.serial, full.in_force.changes), (Serial(3), 0));
    assert_eq!(in_force(&started.store), full.in_force);
}

#[tokio::test]
async fn what_is_refused_is_told_and_changes_nothing() {
    let desk = Desk::new();
    desk.sign_targets(1, &[("bundle-4.jsonl.zst".into(), bundle(4, &["a.example"]))], 7).await;
    let started = start(&desk);
    take(&started.store, &desk).await.unwrap();
    let before = in_force(&started.store);
    desk.sign_targets(2, &[("bundle-3.jsonl.zst".into(), bundle(3, &["b.example"]))], 7).await;
    let refused = take(&started.store, &desk).await.unwrap_err();
    assert!(matches!(refused, NotTaken::Older { offered: Serial(3), in_force: Serial(4) }), "{refused}");
    desk.sign_targets(3, &[("bundle-5.jsonl.zst".into(), b"not a bundle".to_vec())], 7).await;
    let refused = take(&started.store, &desk).await.unwrap_err();
    let told = started.store.status().load().refused.clone().unwrap();
    assert_eq!(told.reason, refused.to_string());
    assert_eq!(in_force(&started.store), before);
}

fn answer(socket: &Path, store: &BundleStore, state: &Path) {
    let spool = spool::start(&state.join("spool"), &SpoolConfig { bytes_max: 64 << 20 }).unwrap();
    let enrolment =
        Enrolment { agent: AgentId([7; 16]), comune: "Borgo Chiaro".into(), addresses: Vec::new() };
    let parts = StatusParts {
        enrolment,
        spool_bytes_max: 64 << 20,
        uplink: Published::new(crate::uplink::UplinkStatus::default()),
        bundles: store.clone(),
        spool: spool.control,
        board: Board::default(),
        tracking: Published::new(crate::sources::joining::TrackingStatus::default()),
    };
    control::start(socket, parts).unwrap();
}

#[tokio::test]
async fn the_running_agent_imports_what_it_is_asked_to() {
    let desk = Desk::new();
    desk.sign_targets(1, &with_deltas(|_, bytes| bytes), 7).await;
    let started = start(&desk);
    let socket = desk.path("control.sock");
    answer(&socket, &started.store, &desk.path("state"));
    let import = |folder: &str| control::ask_to_import(&socket, &desk.path(folder), &mut |_| {});
    let applied = import("repository").unwrap();
    assert_eq!((applied.in_force.serial, applied.is_new), (Serial(3), true));
    assert!(!import("repository").unwrap().is_new);
    let Err(AskError::Refused(told)) = import("elsewhere") else { panic!("imported from nowhere") };
    assert!(told.contains("elsewhere"), "{told}");
    let status = control::ask(&socket).unwrap();
    assert_eq!(status.bundle.map(|bundle| bundle.serial), Some(Serial(3)));
    assert!(status.bundle_refused.is_some_and(|refused| refused.at > Timestamp::default()));
}

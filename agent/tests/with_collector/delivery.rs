//! From the spool over real QUIC into a collector's store: nothing lost, nothing twice, nobody else.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use crate::hit::hit;
use crate::peer::{Authority, Peer, Store, state_dir, wait_for};
use protocol::message::{LossReason, Record};
use vedetta_agent::bundles::store::{BundleStore, MERGE_ABOVE, Started, StoreConfig};
use vedetta_agent::config::SpoolConfig;
use vedetta_agent::identity::Identity;
use vedetta_agent::published::Published;
use vedetta_agent::sources::Board;
use vedetta_agent::spool::{self, HitSink, NotPut};
use vedetta_agent::stages::Stage;
use vedetta_agent::uplink::{self, Parts, UplinkStatus};

/// The spool and the uplink of an agent, without its sources.
pub struct Sender {
    sink: Option<HitSink>,
    pub status: Published<UplinkStatus>,
    spool: Stage,
    uplink: Stage,
    /// Works until it is dropped.
    _bundles: Started,
}

impl Sender {
    pub fn start(state_dir: &Path, identity: &Identity) -> Self {
        let folder = state_dir.join("spool");
        let spool = spool::start(&folder, &SpoolConfig { bytes_max: 64 << 20 }).unwrap();
        let status = Published::new(UplinkStatus::default());
        let board = Board::default();
        board.add("lan0", "capture");
        let bundles = BundleStore::start(StoreConfig {
            folder: state_dir.join("bundles"),
            cosc_root: identity.cosc_root.clone(),
            home_networks: Vec::new(),
            merge_above: MERGE_ABOVE,
        })
        .unwrap();
        let parts = Parts {
            addresses: identity.enrolment.addresses.clone(),
            state_dir: state_dir.into(),
            spool: spool.control.clone(),
            board,
            bundles: bundles.store.clone(),
            status: status.clone(),
        };
        let uplink = uplink::start(identity, parts).unwrap();
        Self { sink: Some(spool.sink), status, spool: spool.thread, uplink, _bundles: bundles }
    }

    pub fn put(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let mut record = Box::new(Record::Hit(Box::new(hit(number, 200))));
            while let Err(NotPut::Full(refused)) = self.sink.as_ref().unwrap().put(record) {
                record = refused;
                std::thread::yield_now();
            }
        }
    }

    pub fn stop(mut self) {
        self.sink = None;
        self.spool.join().unwrap().unwrap();
        self.uplink.join().unwrap().unwrap();
    }

    pub fn trouble(&self) -> String {
        self.status.load().last_error.clone()
    }
}

pub fn world() -> (tempfile::TempDir, std::path::PathBuf, Arc<Authority>, Peer, Identity) {
    let (folder, state) = state_dir();
    let authority = Arc::new(Authority::new());
    let peer = Peer::start(&authority, "127.0.0.1:0", Arc::new(Mutex::new(Store::default())));
    let identity = authority.enrol(&state, peer.address);
    (folder, state, authority, peer, identity)
}

#[test]
fn hits_and_health_arrive() {
    let (_folder, state, _, peer, identity) = world();
    let sender = Sender::start(&state, &identity);
    sender.put(0..5000);
    wait_for("all hits", || peer.hits() == 5000);
    assert_eq!(peer.store.lock().unwrap().statuses[0][0].name, "lan0");
    assert!(sender.status.load().connected_since.is_some());
    sender.stop();
    assert_eq!(peer.store.lock().unwrap().gaps, 0);
}

#[test]
fn a_collector_that_dies_before_it_acknowledges_gets_nothing_twice_and_misses_nothing() {
    let (_folder, state, _, peer, identity) = world();
    peer.mood.die_before_ack.store(3, Ordering::Relaxed);
    let sender = Sender::start(&state, &identity);
    sender.put(0..300);
    wait_for("the first death", || peer.mood.die_before_ack.load(Ordering::Relaxed) < 3);
    sender.put(300..600);
    wait_for("all hits", || peer.hits() == 600);
    wait_for("all deaths", || peer.mood.die_before_ack.load(Ordering::Relaxed) == 0 || peer.hits() == 600);
    sender.stop();
    let store = peer.store.lock().unwrap();
    assert_eq!((store.gaps, store.stored.values().sum::<u64>()), (0, 600), "a record was committed twice");
}

#[test]
fn restarts_of_both_sides_lose_nothing() {
    let (_folder, state, authority, mut peer, identity) = world();
    let store = peer.store.clone();
    let address = peer.address.to_string();
    let mut next = 0;
    for round in 0..3 {
        let sender = Sender::start(&state, &identity);
        sender.put(next..next + 200);
        next += 200;
        if round == 1 {
            peer.stop();
            sender.put(next..next + 200);
            next += 200;
            peer = Peer::start(&authority, &address, store.clone());
        }
        sender.stop();
    }
    let sender = Sender::start(&state, &identity);
    wait_for("all hits", || u64::try_from(peer.hits()).unwrap() == next);
    sender.stop();
    let store = store.lock().unwrap();
    assert_eq!((store.gaps, store.stored.values().sum::<u64>()), (0, next));
}

#[test]
fn a_collector_of_another_authority_gets_nothing() {
    let (_folder, state, _, peer, _) = world();
    let identity = Authority::new().enrol(&state, peer.address);
    let sender = Sender::start(&state, &identity);
    sender.put(0..1);
    wait_for("the refusal", || sender.trouble().contains("authority pinned at enrolment"));
    assert_eq!(peer.hits(), 0);
    sender.stop();
}

#[test]
fn a_refusal_says_what_to_do() {
    let (_folder, state, _, peer, identity) = world();
    peer.mood.refuse.store(3, Ordering::Relaxed);
    let sender = Sender::start(&state, &identity);
    sender.put(0..1);
    wait_for("the refusal", || sender.trouble().contains("not this one"));
    assert!(sender.trouble().contains("enrol --replace"), "{}", sender.trouble());
    peer.mood.refuse.store(0, Ordering::Relaxed);
    wait_for("the hit", || peer.hits() == 1);
    sender.stop();
}

#[test]
fn a_collector_that_is_not_running_is_told_from_silence() {
    let (_folder, state, _, peer, identity) = world();
    peer.stop();
    let sender = Sender::start(&state, &identity);
    wait_for("the reason", || sender.trouble().contains("the collector is not running"));
    assert!(!sender.status.load().udp_blocked);
    sender.stop();
}

#[test]
fn a_collector_that_claims_more_than_was_written_gets_everything_again() {
    let (_folder, state, _, peer, identity) = world();
    peer.mood.claim_more.store(1000, Ordering::Relaxed);
    let sender = Sender::start(&state, &identity);
    sender.put(0..50);
    wait_for("all hits", || peer.hits() == 50);
    sender.stop();
    let store = peer.store.lock().unwrap();
    assert_eq!(store.gaps, 0);
    assert!(store.losses.iter().all(|loss| loss.reason != LossReason::SpoolDamaged));
}

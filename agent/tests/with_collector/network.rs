//! The uplink over bad networks: whatever the way does to datagrams, every hit is stored once.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::delivery::Sender;
use crate::peer::{Authority, Peer, Store, state_dir, wait_for};
use crate::relay::{Relay, Weather};
use crate::times::times;

/// Hits that each kind of weather has to let through.
fn hits() -> u64 {
    times("VEDETTA_NETWORK_HITS", 500)
}

/// A sender behind a relay, and the collector's side.
struct World {
    _folder: tempfile::TempDir,
    peer: Peer,
    relay: Relay,
    sender: Sender,
}

fn world(weather: Weather) -> World {
    let (folder, state) = state_dir();
    let authority = Arc::new(Authority::new());
    let peer = Peer::start(&authority, "127.0.0.1:0", Arc::new(Mutex::new(Store::default())));
    let relay = Relay::start(peer.address, weather, 11);
    let identity = authority.enrol(&state, relay.address);
    let sender = Sender::start(&state, &identity);
    World { _folder: folder, peer, relay, sender }
}

impl World {
    fn wait_for_hits(&self, expected: u64) {
        wait_for("all hits", || self.peer.hits() as u64 >= expected);
    }

    /// Every hit is there, none was committed twice, none was given up.
    fn check(self, expected: u64) {
        self.wait_for_hits(expected);
        self.relay.set(Weather::default());
        self.sender.stop();
        let store = self.peer.store.lock().unwrap();
        let committed: u64 = store.stored.values().sum();
        assert_eq!((store.hits.len() as u64, committed, store.gaps), (expected, expected, 0));
        assert!(store.losses.is_empty(), "{:?}", store.losses);
    }
}

/// Delivers hits in pieces, so that the session is busy over the whole time.
fn check(weather: Weather) {
    let world = world(weather);
    let pieces = 10;
    for piece in 0..pieces {
        world.sender.put(hits() * piece / pieces..hits() * (piece + 1) / pieces);
        world.wait_for_hits(hits() * piece / pieces);
    }
    world.check(hits());
}

#[test]
fn one_datagram_of_a_hundred_is_lost() {
    check(Weather { loss: 1, ..Weather::default() });
}

#[test]
fn one_datagram_of_ten_is_lost() {
    check(Weather { loss: 10, ..Weather::default() });
}

#[test]
fn three_datagrams_of_ten_are_lost() {
    check(Weather { loss: 30, ..Weather::default() });
}

#[test]
fn datagrams_overtake_each_other_and_come_twice() {
    check(Weather { jitter: Duration::from_millis(40), doubled: 20, ..Weather::default() });
}

#[test]
fn a_way_over_a_satellite_takes_300_milliseconds() {
    let delay = Duration::from_millis(300);
    check(Weather { delay, jitter: Duration::from_millis(100), loss: 1, ..Weather::default() });
}

#[test]
fn a_nat_that_forgets_costs_no_connection() {
    let weather = Weather { rebound_every: Some(Duration::from_millis(400)), ..Weather::default() };
    let world = world(weather);
    wait_for("the welcome", || world.sender.status.load().connected_since.is_some());
    let since = world.sender.status.load().connected_since;
    let mut next = 0;
    while world.relay.rebound.load(Ordering::Relaxed) < 8 {
        world.sender.put(next..next + 20);
        next += 20;
        world.wait_for_hits(next);
    }
    assert_eq!(
        world.sender.status.load().connected_since,
        since,
        "the connection did not move with the address"
    );
    world.check(next);
}

#[test]
fn a_way_that_begins_to_swallow_large_datagrams_costs_no_connection() {
    let world = world(Weather::default());
    world.sender.put(0..500);
    world.wait_for_hits(500);
    let since = world.sender.status.load().connected_since;
    // QUIC needs 1,200 bytes (RFC 9000 section 14) and its sealed packets are not longer here.
    world.relay.set(Weather { bytes_max: Some(1200), ..Weather::default() });
    world.sender.put(500..hits());
    world.wait_for_hits(hits());
    assert_eq!(world.sender.status.load().connected_since, since);
    assert_eq!(world.relay.lost.load(Ordering::Relaxed), 0, "a datagram was longer than every way takes");
    world.check(hits());
}

#[test]
fn a_dark_way_loses_nothing() {
    let world = world(Weather::default());
    let mut next = 0;
    for _ in 0..3 {
        world.sender.put(next..next + 200);
        next += 200;
        world.wait_for_hits(next - 100);
        world.relay.set(Weather { dark: true, ..Weather::default() });
        world.sender.put(next..next + 200);
        next += 200;
        let lost = world.relay.lost.load(Ordering::Relaxed);
        wait_for("what the dark swallows", || world.relay.lost.load(Ordering::Relaxed) > lost + 3);
        world.relay.set(Weather::default());
        world.wait_for_hits(next);
    }
    world.check(next);
}

#[test]
fn a_firewall_that_swallows_udp_is_told_from_a_collector_that_is_down() {
    // It takes datagrams and never answers; nothing listens for TCP, so that the system refuses.
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (_folder, state) = state_dir();
    let identity = Authority::new().enrol(&state, silent.local_addr().unwrap());
    let sender = Sender::start(&state, &identity);
    wait_for("the reason", || sender.trouble().contains("allow outgoing UDP"));
    assert!(sender.status.load().udp_blocked);
    sender.stop();
}

#[test]
fn the_address_that_answers_is_taken_beside_one_that_does_not() {
    let (_folder, state) = state_dir();
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let _also_over_tcp = TcpListener::bind(silent.local_addr().unwrap());
    let authority = Arc::new(Authority::new());
    let peer = Peer::start(&authority, "127.0.0.1:0", Arc::new(Mutex::new(Store::default())));
    let mut identity = authority.enrol(&state, silent.local_addr().unwrap());
    let good = format!("localhost:{}", peer.address.port());
    identity.enrolment.addresses.extend(["no-such-name.example:4740".to_owned(), good.clone()]);
    let sender = Sender::start(&state, &identity);
    sender.put(0..10);
    wait_for("all hits", || peer.hits() == 10);
    assert_eq!(sender.status.load().collector, good);
    sender.stop();
}

//! The next certificate over a session that is open: at half life, for a new key, believed only when it fits.

use std::path::Path;
use std::sync::atomic::Ordering;

use crate::delivery::{Sender, world};
use crate::peer::{Renewal, wait_for};
use sha2::{Digest as _, Sha256};
use vedetta_agent::identity::{Identity, folder};
use vedetta_agent::uplink::certificate::Certificate;

/// Past 60 % of its life, so due whatever the jitter.
const DUE: std::ops::Range<i64> = -20..10;

fn leaf(identity: &Identity) -> [u8; 32] {
    Sha256::digest(&Certificate::of_chain(&identity.credentials_pem).unwrap().chain[0]).into()
}

#[test]
fn a_certificate_is_renewed_at_half_its_life_and_the_next_session_uses_it() {
    let (_folder, state, authority, peer, _) = world();
    let before = authority.enrol_for(&state, peer.address, DUE);
    let sender = Sender::start(&state, &before);
    sender.put(0..20);
    wait_for("a session with the new certificate", || {
        let after = leaf(&Identity::read(&state).unwrap());
        after != leaf(&before) && peer.store.lock().unwrap().welcomed.contains(&after)
    });
    sender.put(20..40);
    wait_for("all hits", || peer.hits() == 40);
    let after = Identity::read(&state).unwrap();
    let (old, new) =
        (Certificate::of_chain(&before.credentials_pem), Certificate::of_chain(&after.credentials_pem));
    let (old, new) = (old.unwrap(), new.unwrap());
    assert_ne!(old.public_key, new.public_key, "the key is new");
    assert_eq!(old.identity, new.identity);
    assert_eq!(sender.status.load().certificate_until, Some(new.not_after));
    sender.stop();
    let store = peer.store.lock().unwrap();
    assert_eq!((store.renewals, store.gaps), (1, 0), "asked once, and nothing was lost");
    assert_eq!(store.welcomed, [leaf(&before), leaf(&after)]);
}

#[test]
fn a_fresh_certificate_is_left_alone_and_so_is_an_older_collector() {
    for (days, old) in [(-1..30, false), (DUE, true)] {
        let (_folder, state, authority, peer, _) = world();
        let before = authority.enrol_for(&state, peer.address, days);
        peer.mood.old.store(old, Ordering::Relaxed);
        let sender = Sender::start(&state, &before);
        sender.put(0..5);
        wait_for("all hits", || peer.hits() == 5);
        sender.stop();
        assert_eq!(peer.store.lock().unwrap().renewals, 0);
        assert_eq!(leaf(&Identity::read(&state).unwrap()), leaf(&before));
    }
}

/// The answer is not believed: the pair in force stays, the session goes on, and it is not asked again at once.
fn check_kept(renewal: Renewal) {
    let (_folder, state, authority, peer, _) = world();
    let before = authority.enrol_for(&state, peer.address, DUE);
    *peer.mood.renewal.lock().unwrap() = renewal;
    let sender = Sender::start(&state, &before);
    wait_for("the request", || peer.store.lock().unwrap().renewals == 1);
    sender.put(0..10);
    wait_for("all hits", || peer.hits() == 10);
    sender.stop();
    let store = peer.store.lock().unwrap();
    assert_eq!(store.renewals, 1, "{renewal:?}");
    assert_eq!(store.welcomed, [leaf(&before)], "{renewal:?}");
    assert_eq!(Identity::read(&state).unwrap().credentials_pem, before.credentials_pem, "{renewal:?}");
    assert_eq!(
        files(&folder(&state)),
        ["authority.pem", "cosc-root.json", "credentials.pem", "enrolment.json"]
    );
}

fn files(folder: &Path) -> Vec<String> {
    let names =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_refused_renewal_keeps_what_is_there() {
    check_kept(Renewal::Refused);
}

#[test]
fn a_certificate_that_does_not_fit_is_not_taken() {
    for renewal in [Renewal::OtherKey, Renewal::OtherAuthority, Renewal::NotLonger, Renewal::Rubbish] {
        check_kept(renewal);
    }
}

#[test]
fn a_renewal_that_a_crash_cut_short_begins_anew() {
    let (_folder, state, authority, peer, _) = world();
    let before = authority.enrol_for(&state, peer.address, DUE);
    std::fs::write(folder(&state).join("credentials.new"), "-----BEGIN PRIV").unwrap();
    let sender = Sender::start(&state, &before);
    wait_for("the renewal", || leaf(&Identity::read(&state).unwrap()) != leaf(&before));
    sender.stop();
    assert!(!folder(&state).join("credentials.new").exists());
}

#[test]
fn a_certificate_that_ended_while_the_sensor_was_off_says_what_to_do() {
    let (_folder, state, authority, peer, _) = world();
    let before = authority.enrol_for(&state, peer.address, -40..-10);
    let sender = Sender::start(&state, &before);
    sender.put(0..1);
    wait_for("the reason", || sender.trouble().contains("certificate has ended"));
    assert!(sender.trouble().contains("new code") && sender.trouble().contains("enrol --replace CODE"));
    assert_eq!(peer.hits(), 0);
    sender.stop();
}

#[test]
fn renewals_are_due_between_two_and_three_fifths_and_not_all_at_once() {
    let (_folder, state, authority, peer, _) = world();
    let mut due = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let identity = authority.enrol_for(&state, peer.address, 0..100);
        let certificate = Certificate::of_chain(&identity.credentials_pem).unwrap();
        let hours = certificate.renewal_due().micros_since(certificate.not_before) / 3_600_000_000;
        assert!((40 * 24..=60 * 24).contains(&hours), "{hours}");
        due.insert(hours);
    }
    assert!(due.len() > 25, "{due:?}");
}

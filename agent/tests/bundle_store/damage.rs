//! Damaged files are never believed: they are built anew from what was verified, or the full bundle is asked for.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use detect::{Detector, DetectorConfig, Line, Matcher};
use protocol::Serial;
use vedetta_agent::bundles::open_in_force;
use vedetta_agent::bundles::store::Arrived;

use crate::made::{DOMAINS, Running, check, delta, full, now, wait_for};

/// Bundle 4 in full and the changes to 6 above it.
fn in_force(folder: &Path) {
    let store = Running::start(folder);
    store.apply(full(folder, 4)).unwrap();
    store.apply(delta(folder, 4, 5)).unwrap();
    store.apply(delta(folder, 5, 6)).unwrap();
}

fn file(folder: &Path, beginning: &str) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.find(|entry| entry.file_name().to_string_lossy().starts_with(beginning)).unwrap().path()
}

/// Indicators that a line with each of these names meets, as the workers find them.
fn met(matcher: &Arc<Matcher>, from: u64) -> Vec<u64> {
    let mut detector = Detector::new(&DetectorConfig::default(), "town.log", Arc::clone(matcher));
    for (line, number) in (1..).zip(from..from + DOMAINS + 4) {
        let text = format!("Nov 22 10:00:00 gw dnsmasq[7]: query[A] n{number}.evil.example from 192.168.1.5");
        detector.handle_line(now(), Line { number: line, offset: None, bytes: text.as_bytes() });
    }
    detector.handle_timeout(now().plus_seconds(3600));
    let hits = std::iter::from_fn(|| detector.poll_hit());
    let mut met: Vec<u64> = hits
        .map(|hit| hit.indicator.trim_start_matches('n').split('.').next().unwrap().parse().unwrap())
        .collect();
    met.sort_unstable();
    met.dedup();
    met
}

/// Damages a file, starts, and sees that everything is right in the end and nothing was wrong before.
fn check_damaged(what: &str, damage: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    in_force(folder.path());
    damage(folder.path());
    let store = Running::start(folder.path());
    // What is found with the damage is right for the bundle that is in force then, though some may be missed.
    let right = |serial: Serial| -> Vec<u64> {
        (serial.0..serial.0 + DOMAINS).filter(|number| *number != serial.0 + 1).collect()
    };
    let matcher = store.store().matcher().load();
    let (met_meanwhile, possible) = (met(&matcher, 4), right(matcher.serial()));
    assert!(met_meanwhile.iter().all(|number| possible.contains(number)), "{what}: {met_meanwhile:?}");
    drop(matcher);
    let right = right(Serial(6));
    wait_for(what, || {
        store.settle();
        let matcher = store.store().matcher().load();
        store.store().serial() == Serial(6) && met(&matcher, 4) == right && !matcher.is_damaged()
    });
    check(&open_in_force(folder.path()).unwrap_or_else(|error| panic!("{what}: {error}")).1, 6);
}

#[test]
fn an_index_that_is_gone_or_cut_is_built_anew() {
    for beginning in ["base-", "overlay-"] {
        check_damaged(&format!("{beginning} is gone"), |folder| {
            fs::remove_file(file(folder, beginning)).unwrap()
        });
        for part in [0, 1, 50, 99] {
            check_damaged(&format!("{beginning} ends after {part} %"), |folder| {
                let path = file(folder, beginning);
                let length = fs::metadata(&path).unwrap().len();
                fs::File::options().write(true).open(&path).unwrap().set_len(length * part / 100).unwrap();
            });
        }
    }
}

#[test]
fn an_index_with_a_wrong_byte_anywhere_is_built_anew_or_answers_right() {
    for beginning in ["base-", "overlay-"] {
        for part in 0..24 {
            check_damaged(&format!("{beginning} has a wrong byte at {part}/24"), |folder| {
                let path = file(folder, beginning);
                let mut bytes = fs::read(&path).unwrap();
                let at = (bytes.len() - 1) * part / 23;
                bytes[at] ^= 0x10;
                fs::write(&path, bytes).unwrap();
            });
        }
    }
}

#[test]
fn other_home_networks_hold_back_other_indicators() {
    let folder = tempfile::tempdir().unwrap();
    let store = Running::start_with(folder.path(), &["2001:db8::/64"], 1000);
    store.apply(full(folder.path(), 4)).unwrap();
    store.apply(delta(folder.path(), 4, 5)).unwrap();
    let held = |store: &Running| store.store().status().load().in_force.as_ref().unwrap().held.clone();
    assert!(held(&store).contains_key("an address of the town's own networks"), "{:?}", held(&store));
    drop(store);
    let store = Running::start_with(folder.path(), &["192.0.2.0/24"], 1000);
    assert_eq!(store.store().serial(), Serial(5), "the one before does not stay in force meanwhile");
    store.settle();
    wait_for("the index is built anew", || held(&store).is_empty());
    check(&open_in_force(folder.path()).unwrap().1, 5);
}

#[test]
fn a_bundle_that_was_altered_is_not_built_from_and_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    in_force(folder.path());
    fs::remove_file(file(folder.path(), "base-")).unwrap();
    let Arrived::Full { file: other, .. } = full(folder.path(), 9) else { unreachable!() };
    fs::rename(other, file(folder.path(), "bundle-")).unwrap();
    let store = Running::start(folder.path());
    wait_for("the full bundle is wanted", || *store.store().wanted().borrow());
    assert_eq!(store.store().serial(), Serial(0));
    assert!(store.trouble().contains("not the file that was verified"), "{}", store.trouble());
    assert!(store.store().wants(Serial(6)));
    store.apply(full(folder.path(), 6)).unwrap();
    store.settle();
    assert!(!*store.store().wanted().borrow());
    check(&open_in_force(folder.path()).unwrap().1, 6);
}

#[test]
fn a_bundle_of_another_cosc_does_not_count_after_an_enrolment_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    in_force(folder.path());
    let elsewhere = Running::start_of(folder.path(), b"{\"another root\": 2}");
    assert_eq!(elsewhere.store().serial(), Serial(0));
    elsewhere.apply(full(folder.path(), 1)).unwrap();
    check(&open_in_force(folder.path()).unwrap().1, 1);
}

#[test]
fn a_record_that_is_damaged_asks_for_the_bundle() {
    let folder = tempfile::tempdir().unwrap();
    in_force(folder.path());
    fs::write(folder.path().join("in-force.json"), b"{\"serial\": 6").unwrap();
    let store = Running::start(folder.path());
    wait_for("the full bundle is wanted", || *store.store().wanted().borrow());
    store.apply(full(folder.path(), 6)).unwrap();
    check(&open_in_force(folder.path()).unwrap().1, 6);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4);
}

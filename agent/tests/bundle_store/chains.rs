//! Changes upon changes, merged or not, come to the set of the full bundle.

use protocol::Serial;
use vedetta_agent::bundles::not_taken::NotTaken;
use vedetta_agent::bundles::open_in_force;
use vedetta_agent::bundles::store::Arrived;

use crate::made::{Running, check, delta, full, lines, wait_for};

/// A folder in which bundle 1 and every change up to `last` was put in force.
fn chain(last: u64, merge_above: u64) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let store = Running::start_with(folder.path(), &[], merge_above);
    store.apply(full(folder.path(), 1)).unwrap();
    for next in 2..=last {
        let applied = store.apply(delta(folder.path(), next - 1, next)).unwrap();
        assert_eq!((applied.in_force.serial, applied.is_new), (Serial(next), true));
        check(&open_in_force(folder.path()).unwrap().1, next);
    }
    store.settle();
    drop(store);
    folder
}

fn lines_of_full(serial: u64) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let store = Running::start(folder.path());
    store.apply(full(folder.path(), serial)).unwrap();
    lines(&open_in_force(folder.path()).unwrap().1)
}

#[test]
fn a_chain_of_changes_equals_the_full_bundle() {
    let folder = chain(30, 100_000);
    let (in_force, layers) = open_in_force(folder.path()).unwrap();
    assert!(layers.overlay().is_some() && in_force.changes > 0);
    assert_eq!(lines(&layers), lines_of_full(30));
    // A line that came and went again is not kept above the full index.
    assert!(in_force.changes < 30 * 6, "{} changes are kept", in_force.changes);
}

#[test]
fn merged_changes_equal_the_full_bundle() {
    let folder = chain(30, 20);
    let (in_force, layers) = open_in_force(folder.path()).unwrap();
    assert!(layers.base().meta().serial > Serial(1), "nothing was merged");
    assert!(in_force.changes <= 20 + 12, "{} changes are kept", in_force.changes);
    assert_eq!(lines(&layers), lines_of_full(30));
    // The merge is as good a start as a full bundle.
    let store = Running::start_with(folder.path(), &[], 20);
    assert_eq!(store.trouble(), "");
    store.apply(delta(folder.path(), 30, 31)).unwrap();
    check(&open_in_force(folder.path()).unwrap().1, 31);
}

#[test]
fn a_restart_looks_for_the_same_things() {
    let folder = chain(5, 100_000);
    for _ in 0..2 {
        let store = Running::start(folder.path());
        assert_eq!((store.store().serial(), store.trouble().as_str()), (Serial(5), ""));
        let in_force = store.store().status().load().in_force.clone().unwrap();
        assert!(in_force.index_bytes > 0 && in_force.resident_bytes > 0 && in_force.kinds["domain"] > 100);
        assert_eq!(in_force.revocations, 1);
    }
    check(&open_in_force(folder.path()).unwrap().1, 5);
}

#[test]
fn a_full_bundle_after_changes_leaves_nothing_of_them() {
    let folder = chain(3, 100_000);
    let store = Running::start(folder.path());
    store.apply(full(folder.path(), 9)).unwrap();
    let (in_force, layers) = open_in_force(folder.path()).unwrap();
    check(&layers, 9);
    assert_eq!((in_force.changes, std::fs::read_dir(folder.path()).unwrap().count()), (0, 4));
}

#[test]
fn changes_that_do_not_fit_ask_for_the_full_bundle_and_change_nothing() {
    let folder = chain(3, 100_000);
    let store = Running::start(folder.path());
    let from_another = delta(folder.path(), 4, 5);
    // Signed as leading from 3, but made from another set.
    let mut wrong_set = delta(folder.path(), 4, 6);
    let Arrived::Delta { header, .. } = &mut wrong_set else { unreachable!() };
    header.base = Serial(3);
    for unfit in [from_another, wrong_set] {
        let refused = store.apply(unfit).unwrap_err();
        assert!(matches!(refused, NotTaken::FullNeeded { .. }), "{refused}");
        check(&open_in_force(folder.path()).unwrap().1, 3);
    }
    wait_for("nothing is left of them", || std::fs::read_dir(folder.path()).unwrap().count() == 7);
    store.apply(delta(folder.path(), 3, 4)).unwrap();
    check(&open_in_force(folder.path()).unwrap().1, 4);
}

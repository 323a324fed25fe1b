//! What is refused says why, and what was in force stays.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use protocol::{Indicator, LookFor, Serial};
use vedetta_agent::bundles::not_taken::NotTaken;
use vedetta_agent::bundles::open_in_force;
use vedetta_agent::bundles::store::Arrived;

use crate::made::{Running, check, delta, full, full_of};

fn store_with(serial: u64, folder: &Path) -> Running {
    let store = Running::start(folder);
    store.apply(full(folder, serial)).unwrap();
    store
}

fn refused(store: &Running, arrived: Arrived) -> String {
    let error = store.apply(arrived).unwrap_err();
    check(&open_in_force(&store.folder).unwrap().1, 4);
    assert_eq!(store.store().serial(), Serial(4));
    error.to_string()
}

#[test]
fn a_serial_never_goes_down() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(4, folder.path());
    let told = refused(&store, full(folder.path(), 3));
    assert!(told.contains("newest bundle is 3, older than 4"), "{told}");
    let again = store.apply(full(folder.path(), 4)).unwrap();
    assert!(!again.is_new);
}

#[test]
fn a_bundle_that_leaves_nothing_to_look_for_is_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(4, folder.path());
    let told = refused(&store, full_of(folder.path(), 5, Vec::new(), Vec::new()));
    assert!(told.contains("bundle 5 leaves nothing to look for (it is empty)"), "{told}");
    let absurd =
        ["10.0.0.0/8", "192.168.1.1", "co.uk"].map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
    let told = refused(&store, full_of(folder.path(), 5, absurd.into(), Vec::new()));
    assert!(told.contains("2 times a private address") && told.contains("1 times a public suffix"), "{told}");
}

#[test]
fn what_is_absurd_is_held_back_and_counted_and_the_rest_is_in_force() {
    let folder = tempfile::tempdir().unwrap();
    let store = Running::start_with(folder.path(), &["203.0.113.0/24"], 1000);
    let values = ["0.0.0.0/0", "10.1.2.3", "203.0.113.7", "evil.example"];
    let lines = values.map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
    let applied = store.apply(full_of(folder.path(), 1, lines.into(), Vec::new())).unwrap();
    assert_eq!(applied.in_force.indicators, 1);
    let held = &applied.in_force.held;
    assert_eq!(held.values().map(|held| held.count).sum::<u64>(), 3, "{held:?}");
    assert_eq!(held["an address of the town's own networks"].examples, ["203.0.113.7"]);
}

#[test]
fn a_bundle_that_is_not_what_its_header_says_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store = store_with(4, folder.path());
    let arrived = full(folder.path(), 5);
    let Arrived::Full { file, .. } = &arrived else { unreachable!() };
    let bytes = fs::read(file).unwrap();
    fs::write(file, &bytes[..bytes.len() - 9]).unwrap();
    let told = refused(&store, arrived);
    assert!(told.contains("cannot be put in force") && told.contains("bundle-5"), "{told}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 4, "something is left of it");
}

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf) -> Self {
        fs::create_dir_all(&path).unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
            .arg(&path)
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting needs root");
        Self(path)
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }

    fn remount(&self, how: &str) {
        let option = format!("remount,{how}");
        assert!(Command::new("mount").args(["-o", &option]).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_said_and_the_bundle_is_taken_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path().join("state"));
    let store = store_with(4, &disk.0);
    let offered = [delta(&disk.0, 4, 5), full(&disk.0, 6)];
    let filler = disk.fill();
    for arrived in offered {
        let error = store.apply(arrived).unwrap_err();
        assert!(matches!(error, NotTaken::Unusable(_)), "{error}");
        let told = error.to_string();
        assert!(told.contains("No space left") && told.contains("free some space"), "{told}");
        check(&open_in_force(&store.folder).unwrap().1, 4);
    }
    fs::remove_file(filler).unwrap();
    store.apply(delta(&disk.0, 4, 5)).unwrap();
    store.apply(full(&disk.0, 6)).unwrap();
    check(&open_in_force(&store.folder).unwrap().1, 6);
    assert_eq!(fs::read_dir(&disk.0).unwrap().count(), 4, "something is left of what failed");
}

#[test]
fn a_disk_that_cannot_be_written_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let disk = SmallDisk::new(folder.path().join("state"));
    let store = store_with(4, &disk.0);
    let arrived = full(&disk.0, 5);
    disk.remount("ro");
    let told = refused(&store, arrived);
    disk.remount("rw");
    assert!(told.contains("Read-only") && told.contains("mount it writable"), "{told}");
    store.apply(full(&disk.0, 5)).unwrap();
}

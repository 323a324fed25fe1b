//! A process that imports bundle after bundle is killed at any moment: what it leaves is exactly the old or the new.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use protocol::Serial;
use vedetta_agent::bundles::open_in_force;

use crate::made::{Running, check, delta, full};
use crate::times::times;

/// The folder in which the killed process works; it is this test program, started again.
const FOLDER: &str = "VEDETTA_KILL_FOLDER";
/// How often it is killed.
const CYCLES: &str = "VEDETTA_KILL_CYCLES";
const CYCLES_DEFAULT: u64 = 40;
/// Merges are to be among what is killed.
const MERGE_ABOVE: u64 = 30;

#[test]
fn after_a_kill_the_old_or_the_new_is_in_force_and_nothing_else() {
    let cycles = times(CYCLES, CYCLES_DEFAULT);
    let folder = tempfile::tempdir().unwrap();
    let (mut serial, mut killed_at_work) = (0, 0);
    for cycle in 0..cycles {
        let (begun, done) = run_and_kill(folder.path(), pseudo_random(cycle));
        let newest = done.unwrap_or(serial);
        killed_at_work += u64::from(begun.is_some_and(|begun| begun > newest));
        match open_in_force(folder.path()) {
            Ok((in_force, layers)) => {
                let found = in_force.serial.0;
                let possible = [Some(newest), begun];
                assert!(
                    possible.contains(&Some(found)),
                    "cycle {cycle}: {found}, expected one of {possible:?}"
                );
                check(&layers, found);
                serial = found;
            }
            Err(error) => assert_eq!((serial, done), (0, None), "cycle {cycle}: {error}"),
        }
    }
    println!("{cycles} kills up to bundle {serial}, {killed_at_work} of them while one was put in force");
    assert!(serial > cycles / 4, "hardly anything was put in force: bundle {serial} after {cycles} kills");
    assert!(killed_at_work > 0, "no kill came while a bundle was put in force");
    // What the kills left is gone, and the store goes on.
    let store = Running::start_with(folder.path(), &[], MERGE_ABOVE);
    store.settle();
    assert_eq!(store.apply(full(folder.path(), serial + 1)).unwrap().in_force.serial, Serial(serial + 1));
    drop(store);
    let files = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(files, 4, "a bundle, its index, the record and the folder of what arrives");
}

/// Numbers that look random and are the same in each run.
fn pseudo_random(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

/// Starts the process, kills it some time later, and gives the last bundle that it began with and was done with.
fn run_and_kill(folder: &Path, random: u64) -> (Option<u64>, Option<u64>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::imports_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = listen(&mut child);
    let (mut begun, mut done) = (None, None);
    let mut note = |line: String| match line.split_once(' ') {
        Some(("begin", serial)) => begun = Some(serial.parse().unwrap()),
        Some(("done", serial)) => done = Some(serial.parse().unwrap()),
        _ => {}
    };
    note(said.recv_timeout(Duration::from_secs(60)).unwrap());
    std::thread::sleep(Duration::from_micros(random % 120_000));
    child.kill().unwrap();
    child.wait().unwrap();
    said.iter().for_each(note);
    (begun, done)
}

/// Lines as they come; the channel ends with the process.
fn listen(child: &mut Child) -> Receiver<String> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            if (line.starts_with("begin ") || line.starts_with("done ")) && sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Does nothing unless the test above starts this program again.
#[test]
fn imports_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let folder = Path::new(&folder);
    let store = Running::start_with(folder, &[], MERGE_ABOVE);
    loop {
        let serial = store.store().serial().0;
        let next = serial + 1;
        let arrived = if serial == 0 || next.is_multiple_of(13) {
            full(folder, next)
        } else {
            delta(folder, serial, next)
        };
        println!("begin {next}");
        store.apply(arrived).unwrap();
        println!("done {next}");
    }
}

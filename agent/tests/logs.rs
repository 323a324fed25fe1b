//! The log worker with its spool and its state: over restarts, rotation and a lost state every line's hit is
//! on disk once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use detect::{DetectorConfig, Matcher};
use protocol::message::{Record, SourceStatus};
use protocol::{Hit, Indicator, LookFor, Serial};
use vedetta_agent::config::{LogsConfig, SpoolConfig};
use vedetta_agent::published::Published;
use vedetta_agent::sources::joining;
use vedetta_agent::sources::tail::{self, Beginning, TailParts};
use vedetta_agent::sources::{self, Board, Stopper};
use vedetta_agent::spool::{self, SpoolControl, SpoolReader};
use vedetta_agent::stages::Stage;

const DEADLINE: Duration = Duration::from_secs(30);

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

struct Gateway {
    folder: tempfile::TempDir,
    files: Vec<PathBuf>,
    written: u64,
    /// The state was, so that its loss is to be told.
    damaged: bool,
    spool_bytes_max: u64,
    detector: DetectorConfig,
}

struct Running {
    stopper: Stopper,
    logs: Stage,
    joining: Stage,
    spool: Stage,
    control: SpoolControl,
    board: Board,
}

impl Gateway {
    fn new(pattern: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = vec![folder.path().join(pattern)];
        fs::create_dir(folder.path().join("agent")).unwrap();
        Self {
            folder,
            files,
            written: 0,
            damaged: false,
            spool_bytes_max: 64 << 20,
            detector: DetectorConfig::default(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn start(&self) -> Running {
        let indicators =
            (0..200).map(|number| Indicator::plain(LookFor::guess(&format!("bad{number}.example")).unwrap()));
        let spool = spool::start(&self.path("agent/spool"), &SpoolConfig { bytes_max: self.spool_bytes_max })
            .unwrap();
        let board = Board::default();
        let joining = joining::start(&DetectorConfig::default(), spool.sink, None).unwrap();
        let parts = TailParts {
            config: LogsConfig {
                files: self.files.clone(),
                unknown_files: Beginning::End,
                partial_line: Duration::from_secs(10),
            },
            state_folder: self.path("agent/state"),
            detector: self.detector.clone(),
            matcher: Published::new(Matcher::build(Serial(1), indicators).unwrap()),
            hits: joining.logged,
            marks: spool.marks,
            completed: joining.completed,
            board: board.clone(),
        };
        let (stopper, stop) = sources::stop();
        let logs = tail::start(parts, stop).unwrap();
        wait_for("the file to be followed", || !board.statuses().is_empty());
        Running { stopper, logs, joining: joining.stage, spool: spool.thread, control: spool.control, board }
    }

    /// One line for each indicator not written yet.
    fn write(&mut self, name: &str, count: u64) {
        let mut file = OpenOptions::new().append(true).create(true).open(self.path(name)).unwrap();
        for _ in 0..count {
            writeln!(file, "blocked bad{}.example", self.written).unwrap();
            self.written += 1;
        }
    }

    fn hits(&self, control: &SpoolControl) -> Vec<Hit> {
        let safe = *control.safe.borrow();
        let mut reader = SpoolReader::new(&self.path("agent/spool"));
        let mut hits = Vec::new();
        let mut from = safe.stored() + 1;
        while let Some(batch) = reader.read(&safe, from, 100).unwrap() {
            from = batch.first + batch.records.len() as u64;
            hits.extend(batch.records.into_iter().filter_map(|record| match record {
                Record::Hit(hit) => Some(*hit),
                _ => None,
            }));
        }
        hits
    }

    /// Waits until a hit of every line is safe and stops; gives all hits.
    fn stop(&self, running: Running) -> Vec<Hit> {
        wait_for("all lines", || {
            let values: BTreeSet<String> =
                self.hits(&running.control).iter().map(|hit| hit.observable.to_string()).collect();
            values.len() as u64 == self.written
        });
        let Running { stopper, logs, joining, spool, control, board } = running;
        drop(stopper);
        logs.join().unwrap().unwrap();
        joining.join().unwrap().unwrap();
        spool.join().unwrap().unwrap();
        let told =
            |status: &SourceStatus| status.trouble.contains("were damaged and put aside") == self.damaged;
        let troubles = board.statuses();
        assert!(troubles.iter().all(|status| status.trouble.is_empty() || told(status)), "{troubles:?}");
        assert_eq!(troubles.iter().any(|status| !status.trouble.is_empty()), self.damaged);
        self.hits(&control)
    }
}

fn identities(hits: &[Hit]) -> BTreeSet<String> {
    hits.iter().map(|hit| hit.hit_id.to_string()).collect()
}

#[test]
fn a_restart_goes_on_where_the_log_was_left() {
    let mut gateway = Gateway::new("syslog");
    fs::write(gateway.path("syslog"), "old bad199.example\n").unwrap();
    let running = gateway.start();
    gateway.write("syslog", 20);
    gateway.stop(running);
    gateway.write("syslog", 10);
    fs::rename(gateway.path("syslog"), gateway.path("syslog.1")).unwrap();
    gateway.write("syslog", 10);
    let running = gateway.start();
    gateway.write("syslog", 5);
    let hits = gateway.stop(running);
    assert_eq!((hits.len(), identities(&hits).len()), (45, 45), "a line was read twice");
    assert!(hits.iter().all(|hit| hit.observable.to_string() != "bad199.example"), "an old line was read");
}

#[test]
fn a_lost_state_reads_again_under_the_same_identities() {
    let mut gateway = Gateway::new("syslog");
    let running = gateway.start();
    gateway.write("syslog", 20);
    let before = gateway.stop(running);
    damage(&gateway.path("agent/state"));
    gateway.damaged = true;
    gateway.write("syslog", 5);
    let running = gateway.start();
    let after = gateway.stop(running);
    assert_eq!(identities(&before).len(), 20);
    assert_eq!(identities(&after).len(), 25, "a line read again became another hit");
}

/// Damages the state under a running worker, then lets it read on, end, and begin again.
fn check_damage_while_running(damage: impl Fn(&Path)) {
    let mut gateway = Gateway::new("syslog");
    let running = gateway.start();
    gateway.write("syslog", 20);
    let all = |gateway: &Gateway, control: &SpoolControl| {
        let hits = gateway.hits(control);
        hits.iter().map(|hit| hit.observable.to_string()).collect::<BTreeSet<_>>().len() as u64
    };
    wait_for("all lines", || all(&gateway, &running.control) == 20);
    damage(&gateway.path("agent/state"));
    gateway.write("syslog", 5);
    // The worker may end because of the damage, and with it the agent, which is started again.
    wait_for("the new lines", || all(&gateway, &running.control) == 25 || running.logs.is_finished());
    let Running { stopper, logs, joining, spool, .. } = running;
    drop(stopper);
    let _ = logs.join().unwrap();
    joining.join().unwrap().unwrap();
    spool.join().unwrap().unwrap();
    gateway.write("syslog", 5);
    let running = gateway.start();
    wait_for("every line", || all(&gateway, &running.control) == 30);
    assert_eq!(identities(&gateway.hits(&running.control)).len(), 30, "a line became another hit");
    drop(running.stopper);
    running.logs.join().unwrap().unwrap();
}

#[test]
fn a_state_that_is_removed_or_damaged_while_it_is_used_loses_no_line() {
    check_damage_while_running(|state| fs::remove_dir_all(state).unwrap());
    check_damage_while_running(|state| {
        let file = OpenOptions::new().write(true).open(state.join("db")).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    });
    check_damage_while_running(|state| {
        let mut bytes = fs::read(state.join("db")).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
        (0..used).step_by(97).for_each(|at| bytes[at] ^= 0x20);
        fs::write(state.join("db"), bytes).unwrap();
    });
    check_damage_while_running(|state| {
        fs::write(state.join("snap.0000000000000001.generating"), b"half").unwrap();
    });
}

fn damage(state: &Path) {
    fs::write(state.join("db"), b"").unwrap();
    for entry in fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("snap.") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_pattern_takes_up_new_files_and_not_rotated_ones_again() {
    let mut gateway = Gateway::new("*.log*");
    let running = {
        fs::write(gateway.path("first.log"), "").unwrap();
        gateway.start()
    };
    gateway.write("first.log", 5);
    gateway.write("second.log", 5);
    wait_for("the new file", || running.board.statuses().len() == 2);
    fs::rename(gateway.path("first.log"), gateway.path("first.log.1")).unwrap();
    gateway.write("first.log", 5);
    gateway.stop(running);
    gateway.write("third.log", 5);
    let running = gateway.start();
    let hits = gateway.stop(running);
    assert_eq!((hits.len(), identities(&hits).len()), (20, 20), "a rotated file was read twice");
}

#[test]
fn positions_advance_although_nothing_matches() {
    let gateway = Gateway::new("syslog");
    let running = gateway.start();
    let lines = |running: &Running| running.board.statuses().iter().map(|status| status.read).sum::<u64>();
    fs::write(gateway.path("syslog"), "nothing to be found\n".repeat(5000)).unwrap();
    wait_for("the lines", || lines(&running) == 5000);
    gateway.stop(running);
    let mut file = OpenOptions::new().append(true).open(gateway.path("syslog")).unwrap();
    file.write_all(b"one line more\n").unwrap();
    let running = gateway.start();
    wait_for("the new line", || lines(&running) > 0);
    assert_eq!(lines(&running), 1, "old lines were read again");
    gateway.stop(running);
}

#[test]
fn while_the_spool_is_full_lines_wait_in_their_file_and_that_is_told() {
    let mut gateway = Gateway::new("syslog");
    gateway.spool_bytes_max = 64 << 10;
    gateway.detector.cooldown_seconds = 0;
    let running = gateway.start();
    let mut file = File::create(gateway.path("syslog")).unwrap();
    let full = |status: &SourceStatus| status.trouble.contains("the spool is full");
    wait_for("the spool to be full", || {
        for _ in 0..100 {
            writeln!(file, "blocked bad1.example").unwrap();
        }
        running.board.statuses().iter().any(full)
    });
    let waiting = running.board.logs()[0].lag_bytes;
    let written = fs::metadata(gateway.path("syslog")).unwrap().len();
    assert!(waiting > 0 && waiting < written, "{waiting} of {written} bytes wait");
    assert_eq!(running.control.lost(), 0, "hits of lines were dropped");
    drop(running.stopper);
    running.logs.join().unwrap().unwrap();
}

#[test]
fn more_files_than_are_followed_are_an_alarm() {
    let gateway = Gateway::new("*.log");
    for number in 0..1030 {
        fs::write(gateway.path(&format!("{number}.log")), "").unwrap();
    }
    let running = gateway.start();
    let told = |status: &SourceStatus| status.trouble.starts_with("6 files are NOT read");
    wait_for("the alarm", || running.board.statuses().iter().any(told));
    assert_eq!(running.board.logs().len() + 6, 1030);
    drop(running.stopper);
    running.logs.join().unwrap().unwrap();
}

#[test]
fn an_input_has_a_name_even_where_its_file_has_none() {
    use std::os::unix::ffi::OsStrExt as _;
    let mut gateway = Gateway::new("citt?.log");
    let name = std::ffi::OsStr::from_bytes(b"citt\xe0.log").to_owned();
    fs::write(gateway.folder.path().join(&name), "").unwrap();
    let running = gateway.start();
    let mut file = OpenOptions::new().append(true).open(gateway.folder.path().join(&name)).unwrap();
    writeln!(file, "blocked bad0.example").unwrap();
    gateway.written = 1;
    let hits = gateway.stop(running);
    assert!(hits[0].input.ends_with(r"/citt\xe0.log"), "{}", hits[0].input);
}

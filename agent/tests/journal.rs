//! The journal worker with a real journald, in a mount namespace of its own: over restarts, kills, rotation, a position
//! that was not saved, a journal that was vacuumed and a machine that was started anew, every message's hit is on disk
//! once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use detect::{DetectorConfig, Matcher};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use protocol::message::{LossReason, Record, SourceStatus};
use protocol::{Hit, Indicator, LookFor, Serial};
use vedetta_agent::config::{JournalConfig, SpoolConfig};
use vedetta_agent::published::Published;
use vedetta_agent::sources::journal::{self, JournalParts};
use vedetta_agent::sources::{self, Board, Stopper, joining};
use vedetta_agent::spool::{self, SpoolControl, SpoolReader};
use vedetta_agent::stages::Stage;

const DEADLINE: Duration = Duration::from_secs(60);
/// The folder in which a process that is killed works; it is this test program, started again.
const FOLDER: &str = "VEDETTA_JOURNAL_FOLDER";
/// The journal that it follows.
const JOURNAL: &str = "VEDETTA_JOURNAL";
const KILLS: u64 = 12;
/// What is before the damage is given by the real journalctl, then it fails with the errno of damage.
const DAMAGED: &str = r#"#!/bin/sh
since=0
for argument; do
    case $argument in --since=@*) since=${argument#--since=@} since=${since%%.*} ;; esac
done
[ "$since" -gt SECONDS ] && exec REAL "$@"
for argument; do
    shift
    [ "$argument" = --follow ] || set -- "$@" "$argument"
done
REAL "$@" --until=@SECONDS.MICROS
echo "Failed to iterate through journal: Bad message" >&2
exit 1
"#;

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A journald that writes below a `/run` of its own, into a folder that outlives it.
struct Journald {
    kept: tempfile::TempDir,
    child: Child,
    boots: usize,
    written: u32,
}

impl Journald {
    fn start() -> Self {
        let kept = tempfile::tempdir().unwrap();
        fs::create_dir(kept.path().join("journal")).unwrap();
        let child = Self::boot(kept.path(), 1);
        let journald = Self { kept, child, boots: 1, written: 0 };
        journald.wait();
        journald
    }

    fn boot(kept: &Path, number: usize) -> Child {
        fs::write(kept.join("boot_id"), format!("00000000-0000-4000-8000-{number:012}\n")).unwrap();
        let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal /run/log/journal && \
                      mount --bind \"$1/journal\" /run/log/journal && \
                      mount --bind \"$1/boot_id\" /proc/sys/kernel/random/boot_id && \
                      exec /lib/systemd/systemd-journald";
        Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "--propagation=private", "sh", "-c", script, "sh"])
            .arg(kept)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("unshare (util-linux): {error}"))
    }

    fn wait(&self) {
        wait_for("journald", || {
            self.path("systemd/journal/dev-log").exists() && self.path("systemd/journal/socket").exists()
        });
        // It has written its own first messages, which are older than what follows.
        let is_begun = || self.exported().matches("Journal started").count() == self.boots;
        wait_for("its first messages", is_begun);
    }

    /// As when the machine is started anew.
    fn reboot(&mut self) {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap();
        self.boots += 1;
        self.child = Self::boot(self.kept.path(), self.boots);
        self.wait();
    }

    fn signal(&self, signal: Signal) {
        nix::sys::signal::kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        // Its own file system, as seen from here.
        PathBuf::from(format!("/proc/{}", self.child.id())).join("root").join("run").join(name)
    }

    fn exported(&self) -> String {
        let mut command = Command::new("journalctl");
        let output = command.arg("--directory").arg(self.path("log/journal")).arg("--output=cat").output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    /// As a program writes by syslog(3), a message for each indicator not written yet; waits until they are kept.
    fn write(&mut self, count: u32) {
        for _ in 0..count {
            self.log(&format!("blocked bad{}.example", self.written));
            self.written += 1;
        }
    }

    fn log(&self, text: &str) {
        let message = format!("<13>prova[7]: {text}");
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(message.as_bytes(), self.path("systemd/journal/dev-log")).unwrap();
        wait_for("the message", || self.exported().contains(text));
    }

    /// A message of two lines, as only journald's own protocol carries it.
    fn write_two_lines(&mut self) {
        let text = format!("blocked bad{}.example\nblocked bad{}.example", self.written, self.written + 1);
        self.written += 2;
        let length = (text.len() as u64).to_le_bytes();
        let message = [b"SYSLOG_IDENTIFIER=prova\nMESSAGE\n", &length[..], text.as_bytes(), b"\n"].concat();
        let socket = UnixDatagram::unbound().unwrap();
        socket.send_to(&message, self.path("systemd/journal/socket")).unwrap();
        wait_for("the message", || self.exported().contains(&text));
    }

    fn files(&self) -> usize {
        let folders = fs::read_dir(self.path("log/journal")).unwrap();
        folders.map(|folder| fs::read_dir(folder.unwrap().path()).unwrap().count()).sum()
    }

    fn rotate(&self) {
        let before = self.files();
        self.signal(Signal::SIGUSR2);
        wait_for("the rotation", || self.files() > before);
    }

    fn vacuum(&self) {
        let folder = self.path("log/journal");
        let vacuum =
            Command::new("journalctl").arg("--directory").arg(folder).arg("--vacuum-files=1").output();
        assert!(vacuum.unwrap().status.success());
        assert_eq!(self.files(), 1);
    }
}

impl Drop for Journald {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Gateway {
    folder: tempfile::TempDir,
    journald: Journald,
}

fn follow(folder: &Path, journal: PathBuf) -> Running {
    let indicators =
        (0..200).map(|number| Indicator::plain(LookFor::guess(&format!("bad{number}.example")).unwrap()));
    let config = SpoolConfig { bytes_max: 64 << 20 };
    let spool = spool::start(&folder.join("spool"), &config).unwrap();
    let board = Board::default();
    let joining = joining::start(&DetectorConfig::default(), spool.sink, None).unwrap();
    let (_, marks) = journal::divide(spool.marks).unwrap();
    let parts = JournalParts {
        config: JournalConfig { units: Vec::new(), folder: Some(journal) },
        state_dir: folder.to_owned(),
        own_process: 0,
        detector: DetectorConfig::default(),
        matcher: Published::new(Matcher::build(Serial(1), indicators).unwrap()),
        hits: joining.logged,
        marks,
        board: board.clone(),
    };
    let (stopper, stop) = sources::stop();
    let journal = journal::start(parts, stop).unwrap();
    Running { stopper, stages: [journal, joining.stage, spool.thread], control: spool.control, board }
}

struct Running {
    stopper: Stopper,
    stages: [Stage; 3],
    control: SpoolControl,
    board: Board,
}

impl Running {
    fn status(&self) -> SourceStatus {
        self.board.statuses().remove(0)
    }
}

impl Gateway {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), journald: Journald::start() }
    }

    fn start(&self) -> Running {
        let running = follow(self.folder.path(), self.journald.path("log/journal"));
        wait_for("the position", || self.position().exists());
        running
    }

    /// Follows the journal in a process of its own.
    fn start_process(&self) -> Child {
        self.process().spawn().unwrap()
    }

    fn process(&self) -> Command {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", "follows_until_it_is_killed", "--nocapture", "--test-threads=1"])
            .env(FOLDER, self.folder.path())
            .env(JOURNAL, self.journald.path("log/journal"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        command
    }

    /// Puts before journalctl what fails as it does at damage: from now on the journal ends here for whoever begins
    /// before. Gives the path with it.
    fn damage(&self) -> OsString {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let path = std::env::var_os("PATH").unwrap();
        let real =
            std::env::split_paths(&path).map(|folder| folder.join("journalctl")).find(|file| file.exists());
        let script = DAMAGED
            .replace("REAL", real.unwrap().to_str().unwrap())
            .replace("SECONDS", &now.as_secs().to_string())
            .replace("MICROS", &format!("{:06}", now.subsec_micros()));
        let folder = self.folder.path().join("bin");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("journalctl"), script).unwrap();
        fs::set_permissions(folder.join("journalctl"), fs::Permissions::from_mode(0o755)).unwrap();
        std::env::join_paths(std::iter::once(folder).chain(std::env::split_paths(&path))).unwrap()
    }

    fn position(&self) -> PathBuf {
        self.folder.path().join("journal-position")
    }

    fn records(&self, control: &SpoolControl) -> Vec<Record> {
        let safe = *control.safe.borrow();
        let mut reader = SpoolReader::new(&self.folder.path().join("spool"));
        let mut records = Vec::new();
        let mut from = safe.stored() + 1;
        while let Some(batch) = reader.read(&safe, from, 100).unwrap() {
            from = batch.first + batch.records.len() as u64;
            records.extend(batch.records);
        }
        records
    }

    fn hits(&self, control: &SpoolControl) -> Vec<Hit> {
        let hits = self.records(control).into_iter().filter_map(|record| match record {
            Record::Hit(hit) => Some(*hit),
            _ => None,
        });
        hits.collect()
    }

    /// Waits until a hit of every message is safe and stops; gives all hits.
    fn stop(&self, running: Running) -> Vec<Hit> {
        wait_for("all messages", || {
            let values: BTreeSet<String> =
                self.hits(&running.control).iter().map(|hit| hit.observable.to_string()).collect();
            values.len() == self.journald.written as usize
        });
        assert_eq!(running.status().trouble, "");
        let Running { stopper, stages, control, .. } = running;
        drop(stopper);
        stages.into_iter().for_each(|stage| stage.join().unwrap().unwrap());
        self.hits(&control)
    }
}

fn identities(hits: &[Hit]) -> BTreeSet<String> {
    hits.iter().map(|hit| hit.hit_id.to_string()).collect()
}

#[test]
fn messages_are_read_once_over_restarts_and_rotation() {
    let mut gateway = Gateway::new();
    gateway.journald.log("old bad199.example");
    let running = gateway.start();
    gateway.journald.write(3);
    gateway.journald.write_two_lines();
    gateway.journald.rotate();
    gateway.journald.write(3);
    gateway.stop(running);
    gateway.journald.write(2);
    gateway.journald.rotate();
    gateway.journald.write(2);
    let running = gateway.start();
    gateway.journald.write(1);
    wait_for("its hit", || gateway.hits(&running.control).len() == 13);
    let losses = gateway.records(&running.control).len() - 13;
    let hits = gateway.stop(running);
    assert_eq!((hits.len(), identities(&hits).len(), losses), (13, 13, 0), "lost, doubled or told as a gap");
    assert!(hits.iter().all(|hit| hit.observable.to_string() != "bad199.example"), "an old message was read");
    assert!(hits.iter().all(|hit| hit.input == "journal" && hit.evidence.starts_with("prova")), "{hits:#?}");
}

/// As after a crash before the position was saved.
#[test]
fn what_is_read_again_has_the_same_identity() {
    let mut gateway = Gateway::new();
    let running = gateway.start();
    gateway.journald.write(2);
    gateway.stop(running);
    let position = fs::read(gateway.position()).unwrap();
    let running = gateway.start();
    gateway.journald.write(2);
    gateway.journald.write_two_lines();
    let before = gateway.stop(running);
    fs::write(gateway.position(), position).unwrap();
    let running = gateway.start();
    gateway.journald.write(1);
    wait_for("all again", || gateway.hits(&running.control).len() >= before.len() + 5);
    let after = gateway.stop(running);
    assert_eq!((identities(&before).len(), identities(&after).len()), (6, 7));
}

#[test]
fn messages_that_were_vacuumed_away_are_told() {
    let mut gateway = Gateway::new();
    let running = gateway.start();
    gateway.journald.write(2);
    gateway.stop(running);
    gateway.journald.log("nothing of interest that goes");
    gateway.journald.rotate();
    gateway.journald.write(2);
    gateway.journald.rotate();
    gateway.journald.vacuum();
    gateway.journald.written = 2;
    gateway.journald.write(2);
    let running = gateway.start();
    wait_for("the gap", || {
        let is_gap = |record: &Record| matches!(record, Record::Loss(loss) if loss.reason == LossReason::LogTruncated && loss.count == 1);
        gateway.records(&running.control).iter().filter(|record| is_gap(record)).count() == 1
    });
    assert_eq!(running.status().dropped, 1);
    assert_eq!(gateway.stop(running).len(), 4, "the first message after a gap was passed over");
}

#[test]
fn what_was_written_before_the_machine_went_down_is_read() {
    let mut gateway = Gateway::new();
    let running = gateway.start();
    gateway.journald.write(2);
    gateway.stop(running);
    gateway.journald.write(2);
    gateway.journald.reboot();
    gateway.journald.write(1);
    let running = gateway.start();
    gateway.journald.write(2);
    wait_for("the last hit", || gateway.hits(&running.control).len() >= 7);
    let gaps = gateway.records(&running.control).len() - gateway.hits(&running.control).len();
    let hits = gateway.stop(running);
    assert_eq!((hits.len(), identities(&hits).len(), gaps), (7, 7, 0), "lost, doubled or told as a gap");
}

#[test]
fn the_position_moves_on_when_nothing_matches() {
    let gateway = Gateway::new();
    let running = gateway.start();
    let before = fs::read(gateway.position()).unwrap();
    gateway.journald.log("an ordinary day");
    wait_for("the position", || fs::read(gateway.position()).unwrap() != before);
    assert_eq!(running.status().hits, 0);
    gateway.stop(running);
}

/// Numbers that look random and are the same in each run.
fn pseudo_random(number: u64) -> u64 {
    let mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 31)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 20
}

#[test]
fn after_kills_every_message_has_its_one_hit() {
    let mut gateway = Gateway::new();
    for cycle in 0..KILLS {
        let random = pseudo_random(cycle);
        let before = fs::read(gateway.position()).unwrap_or_default();
        let mut process = gateway.start_process();
        if cycle == 0 {
            // What is older than the first start is not read.
            wait_for("the first position", || gateway.position().exists());
        }
        gateway.journald.write(u32::try_from(random % 4).unwrap());
        if cycle % 5 == 3 {
            gateway.journald.rotate();
        }
        if cycle % 3 == 2 {
            gateway.journald.write(1);
            wait_for("a position", || fs::read(gateway.position()).unwrap() != before);
            // These are read again, and the process that does so has not read those before.
            gateway.journald.write(2);
        }
        std::thread::sleep(Duration::from_micros(random % 700_000));
        process.kill().unwrap();
        process.wait().unwrap();
        gateway.journald.write(u32::try_from(random / 4 % 3).unwrap());
    }
    let written = gateway.journald.written as usize;
    let running = gateway.start();
    let hits = gateway.stop(running);
    println!("{KILLS} kills, {written} messages, {} hits", hits.len());
    assert_eq!(identities(&hits).len(), written, "a message has two identities");
    assert!(hits.len() > written, "no kill came between a hit and its position");
}

/// The last entry before is found at each attempt: that alone is no way forward.
#[test]
fn a_damaged_journal_is_passed_over_and_told() {
    let mut gateway = Gateway::new();
    let running = gateway.start();
    gateway.journald.write(2);
    gateway.stop(running);
    let path = gateway.damage();
    gateway.journald.log("behind the damage bad199.example");
    let mut process = gateway.process().env("PATH", path).spawn().unwrap();
    let position = gateway.position();
    let is_passed = || fs::read_to_string(&position).unwrap().contains(r#""cursor":"""#);
    wait_for("the damage to be passed", is_passed);
    gateway.journald.write(1);
    wait_for("the message behind it", || !is_passed());
    process.kill().unwrap();
    process.wait().unwrap();
    let running = gateway.start();
    gateway.journald.write(1);
    let is_gap =
        |record: &Record| matches!(record, Record::Loss(loss) if loss.reason == LossReason::LogTruncated);
    wait_for("its hit", || gateway.hits(&running.control).len() >= 4);
    let gaps = gateway.records(&running.control).into_iter().filter(is_gap).count();
    let hits = gateway.stop(running);
    assert_eq!((gaps, identities(&hits).len()), (1, 4), "{hits:#?}");
}

/// Does nothing unless a test starts this program again.
#[test]
fn follows_until_it_is_killed() {
    let Some((folder, journal)) = std::env::var_os(FOLDER).zip(std::env::var_os(JOURNAL)) else { return };
    let _running = follow(Path::new(&folder), journal.into());
    // It ends with the test at the latest.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
}

//! Lines with one value are written while the agent that follows them is killed again and again in the one cooldown of
//! their hit: it stays one hit, and in the end it counts every line once.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

#[path = "made/times.rs"]
mod times;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use detect::{DetectorConfig, Matcher};
use protocol::message::Record;
use protocol::{Indicator, LookFor, Serial};
use vedetta_agent::config::{LogsConfig, SpoolConfig};
use vedetta_agent::published::Published;
use vedetta_agent::sources::joining;
use vedetta_agent::sources::tail::{self, Beginning, TailParts};
use vedetta_agent::sources::{self, Board, Stopper};
use vedetta_agent::spool::{self, SpoolControl, SpoolReader};
use vedetta_agent::stages::Stage;

use times::times;

/// How often the agent is killed.
const KILLS: &str = "VEDETTA_COOLDOWN_KILLS";
/// The folder of the process that is killed; it is this test program, started again.
const FOLDER: &str = "VEDETTA_COOLDOWN_FOLDER";
const DEADLINE: Duration = Duration::from_secs(60);

struct Agent {
    stopper: Stopper,
    stages: [Stage; 3],
    control: SpoolControl,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let values = ["evil.example", "odd.example", "last.example"];
        let indicators = values.map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
        let spool = spool::start(&folder.join("spool"), &SpoolConfig { bytes_max: 64 << 20 }).unwrap();
        let detector = DetectorConfig::default();
        let joining = joining::start(&detector, spool.sink, None).unwrap();
        let parts = TailParts {
            config: LogsConfig {
                files: vec![folder.join("town.log")],
                unknown_files: Beginning::Start,
                partial_line: Duration::from_secs(10),
            },
            state_folder: folder.join("state"),
            detector,
            matcher: Published::new(Matcher::build(Serial(1), indicators).unwrap()),
            hits: joining.logged,
            marks: spool.marks,
            completed: joining.completed,
            board: Board::default(),
        };
        let (stopper, stop) = sources::stop();
        let logs = tail::start(parts, stop).unwrap();
        Self { stopper, stages: [logs, joining.stage, spool.thread], control: spool.control }
    }

    fn stop(self) -> SpoolControl {
        drop(self.stopper);
        self.stages.into_iter().for_each(|stage| stage.join().unwrap().unwrap());
        self.control
    }
}

/// The highest count of each hit, by value and identity.
fn counts(folder: &Path, control: &SpoolControl) -> BTreeMap<(String, String), u64> {
    let safe = *control.safe.borrow();
    let mut reader = SpoolReader::new(&folder.join("spool"));
    let (mut counts, mut from) = (BTreeMap::new(), safe.stored() + 1);
    while let Some(batch) = reader.read(&safe, from, 100).unwrap() {
        from = batch.first + batch.records.len() as u64;
        for record in batch.records {
            let Record::Hit(hit) = record else { panic!("not a hit: {record:?}") };
            let count = counts.entry((hit.observable.to_string(), hit.hit_id.to_string())).or_insert(0);
            *count = hit.count.max(*count);
        }
    }
    counts
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts the process that is to be killed, and waits until it follows.
fn follow(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["the_process_that_is_killed", "--exact", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains("following")));
    child
}

/// Lives of the agent in which lines are written, and a last one that is stopped as asked; gives the highest counts.
fn killed(folder: &Path, between_lives: impl Fn(&Path)) -> (u64, BTreeMap<(String, String), u64>) {
    let log = folder.join("town.log");
    let mut file = File::options().create(true).append(true).open(&log).unwrap();
    let mut written = 0;
    for life in 0..times(KILLS, 12) {
        let mut child = follow(folder);
        // Lives of up to two seconds: some are too short for a save, some see several.
        for _ in 0..=life * 7 % 20 {
            for _ in 0..3 {
                writeln!(file, "blocked evil.example").unwrap();
            }
            writeln!(file, "blocked odd.example").unwrap();
            written += 1;
            std::thread::sleep(Duration::from_millis(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        between_lives(folder);
    }
    // A stop as asked is in the cooldown, too.
    Agent::start(folder).stop();
    let agent = Agent::start(folder);
    writeln!(file, "blocked last.example").unwrap();
    let is_last = |(value, _): &(String, String)| value == "last.example";
    wait_for("the last line", || counts(folder, &agent.control).keys().any(is_last));
    let control = agent.stop();
    (written, counts(folder, &control))
}

#[test]
fn a_hit_stays_one_and_counts_every_line_once_however_often_the_agent_is_killed() {
    let folder = tempfile::tempdir().unwrap();
    let (written, counts) = killed(folder.path(), |_| {});
    let found: Vec<(&str, u64)> = counts.iter().map(|((value, _), count)| (value.as_str(), *count)).collect();
    assert_eq!(found, [("evil.example", 3 * written), ("last.example", 1), ("odd.example", written)]);
}

#[test]
fn without_its_state_the_agent_reports_once_more_and_nothing_less() {
    let folder = tempfile::tempdir().unwrap();
    let (_, counts) = killed(folder.path(), |folder| fs::remove_dir_all(folder.join("state")).unwrap());
    for value in ["evil.example", "odd.example", "last.example"] {
        assert!(counts.keys().any(|(found, _)| found == value), "{value} is missing");
    }
}

#[test]
fn the_process_that_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let _agent = Agent::start(Path::new(&folder));
    println!("following");
    loop {
        std::thread::park();
    }
}

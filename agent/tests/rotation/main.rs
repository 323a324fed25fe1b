//! Logs are written and rotated in every way while the agent that follows them is killed again and again; what is in
//! its spool at the end is compared with what was written: line by line, nothing lost that is not told, nothing twice.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]

#[path = "../made/times.rs"]
mod times;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use detect::{DetectorConfig, Matcher};
use protocol::message::{LogGap, Record};
use protocol::{Hit, Indicator, LookFor, Observable, Serial};
use vedetta_agent::config::{LogsConfig, SpoolConfig};
use vedetta_agent::published::Published;
use vedetta_agent::sources::joining;
use vedetta_agent::sources::tail::{self, Beginning, TailParts};
use vedetta_agent::sources::{self, Board, Stopper};
use vedetta_agent::spool::{self, SpoolControl, SpoolReader};
use vedetta_agent::stages::Stage;

use times::times;
use writer::{Generation, Mode, Random, Writer, number};

/// How many rotations there are, of all logs together.
const ROTATIONS: &str = "VEDETTA_ROTATIONS";
const ROTATIONS_DEFAULT: u64 = 50;
/// Only the logs that are rotated in ways whose names hold this, as `copytruncate`.
const MODES: &str = "VEDETTA_ROTATION_MODES";
/// What the choices begin with.
const SEED: &str = "VEDETTA_ROTATION_SEED";
/// The folder of the process that is killed; it is this test program, started again.
const FOLDER: &str = "VEDETTA_ROTATION_FOLDER";
/// Whether that process is to catch up before it says that it follows.
const CATCH_UP: &str = "VEDETTA_ROTATION_CATCH_UP";
/// One start in so many catches up: where the machine is busy with other things, a process that is always killed before
/// it could save anything would fall behind all copies that are kept.
const CATCH_UP_ONE_IN: u64 = 4;
const CAUGHT_UP_BYTES: u64 = 64 << 10;
const DEADLINE: Duration = Duration::from_secs(60);

struct Agent {
    stopper: Stopper,
    logs: Stage,
    joining: Stage,
    spool: Stage,
    control: SpoolControl,
    board: Board,
}

impl Agent {
    fn start(folder: &Path) -> Self {
        let all = Indicator::plain(LookFor::guess("2001:db8::/32").unwrap());
        let spool = spool::start(&folder.join("spool"), &SpoolConfig { bytes_max: 4 << 30 }).unwrap();
        let board = Board::default();
        let joining = joining::start(&DetectorConfig::default(), spool.sink, None).unwrap();
        let parts = TailParts {
            config: LogsConfig {
                files: modes().iter().map(|mode| log(folder, *mode)).collect(),
                unknown_files: Beginning::Start,
                partial_line: Duration::from_secs(2),
            },
            state_folder: folder.join("state"),
            detector: DetectorConfig { cooldown_seconds: 0, ..DetectorConfig::default() },
            matcher: Published::new(Matcher::build(Serial(1), [all]).unwrap()),
            hits: joining.logged,
            marks: spool.marks,
            completed: joining.completed,
            board: board.clone(),
        };
        let (stopper, stop) = sources::stop();
        let logs = tail::start(parts, stop).unwrap();
        Self { stopper, logs, joining: joining.stage, spool: spool.thread, control: spool.control, board }
    }

    fn stop(self) {
        drop(self.stopper);
        self.logs.join().unwrap().unwrap();
        self.joining.join().unwrap().unwrap();
        self.spool.join().unwrap().unwrap();
    }
}

fn modes() -> Vec<Mode> {
    let named = std::env::var(MODES).unwrap_or_default().to_lowercase();
    let mut modes = Mode::all();
    modes.retain(|mode| format!("{mode:?}").to_lowercase().contains(&named));
    assert!(!modes.is_empty(), "{MODES}={named} names none");
    modes
}

fn log(folder: &Path, mode: Mode) -> PathBuf {
    folder.join("logs").join(format!("{mode:?}.log").to_lowercase())
}

/// What the spool holds: the identities under which each line was hit, and what it says may be lost.
#[derive(Default)]
struct Spooled {
    lines: BTreeMap<(u16, u64), BTreeSet<String>>,
    gaps: Vec<LogGap>,
    records: u64,
    next: u64,
}

impl Spooled {
    fn read(&mut self, folder: &Path, control: &SpoolControl) {
        let safe = *control.safe.borrow();
        let mut reader = SpoolReader::new(&folder.join("spool"));
        let mut from = self.next.max(safe.stored() + 1);
        while let Some(batch) = reader.read(&safe, from, 500).unwrap() {
            from = batch.first + batch.records.len() as u64;
            for record in batch.records {
                self.take(record);
            }
        }
        self.next = from;
    }

    fn take(&mut self, record: Record) {
        self.records += 1;
        match record {
            Record::Hit(hit) => {
                let line = number(address_of(&hit));
                self.lines.entry(line).or_default().insert(hit.hit_id.to_string());
            }
            Record::Loss(loss) => self.gaps.push(loss.gap.unwrap()),
            Record::Unknown => panic!("a record of another kind"),
        }
    }
}

fn address_of(hit: &Hit) -> Ipv6Addr {
    match &hit.observable {
        Observable::Ip(IpAddr::V6(address)) => *address,
        other => panic!("nobody wrote {other}"),
    }
}

#[test]
fn every_line_is_hit_once_or_told_to_be_lost() {
    let rotations = times(ROTATIONS, ROTATIONS_DEFAULT);
    let seed = times(SEED, 1);
    println!("{SEED}={seed} {ROTATIONS}={rotations}");
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("logs")).unwrap();
    let modes = modes();
    let each = rotations.div_ceil(modes.len() as u64);
    let begun = Instant::now();
    let writers: Vec<_> = modes
        .iter()
        .map(|mode| Writer::new(&folder.path().join("logs"), *mode, seed))
        .map(|writer| std::thread::spawn(move || writer.run(each)))
        .collect();
    let mut random = Random(seed);
    let mut kills = 0_u64;
    while !writers.iter().all(|writer| writer.is_finished()) {
        let mut child = spawn(folder.path(), kills % CATCH_UP_ONE_IN == CATCH_UP_ONE_IN - 1);
        std::thread::sleep(Duration::from_millis(random.below(3000)));
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        std::thread::sleep(Duration::from_millis(random.below(600)));
    }
    let writers: Vec<Writer> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let written: u64 = writers.iter().map(|writer| writer.lines).sum();
    println!("{written} lines in {:?}, {kills} kills", begun.elapsed());
    let agent = Agent::start(folder.path());
    let mut spooled = Spooled::default();
    let drained = Instant::now();
    let wrong = loop {
        spooled.read(folder.path(), &agent.control);
        let wrong: Vec<String> = writers.iter().flat_map(|writer| judge(writer, &spooled)).collect();
        if wrong.is_empty() || drained.elapsed() > DEADLINE {
            break wrong;
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    let logs = agent.board.logs();
    agent.stop();
    if !wrong.is_empty() {
        let kept = folder.keep();
        let wrong: Vec<&String> = wrong.iter().take(20).collect();
        panic!("{SEED}={seed}: {wrong:#?}\n{logs:#?}\nthe files are in {}", kept.display());
    }
    let hits: usize = spooled.lines.len();
    let (lost, gaps) = (lost(&writers, &spooled), spooled.gaps.len());
    println!("{hits} lines hit in {} records, {lost} lost in {gaps} gaps told", spooled.records);
    assert!(kills > 0 && hits > 100, "hardly anything happened");
}

fn lost(writers: &[Writer], spooled: &Spooled) -> usize {
    let lines = writers.iter().flat_map(|writer| {
        let lines = writer.generations.iter().flat_map(|generation| &generation.lines);
        lines.map(|line| (writer.mode as u16, line.number))
    });
    lines.filter(|line| !spooled.lines.contains_key(line)).count()
}

/// What is wrong with one log.
fn judge(writer: &Writer, spooled: &Spooled) -> Vec<String> {
    let mode = writer.mode;
    let mut wrong = Vec::new();
    let of_log = (mode as u16, 0)..=(mode as u16, u64::MAX);
    for ((_, number), ids) in spooled.lines.range(of_log) {
        if ids.len() != 1 {
            wrong.push(format!("{mode:?}: line {number} has {} identities", ids.len()));
        }
    }
    let name = writer.path.display().to_string();
    let gaps: Vec<&LogGap> = spooled.gaps.iter().filter(|gap| gap.input == name).collect();
    if mode.is_lossless() && !gaps.is_empty() {
        wrong.push(format!("{mode:?}: a gap is told where there is none: {gaps:?}"));
    }
    let is_hit = |number: u64| spooled.lines.contains_key(&(mode as u16, number));
    let mut told_before = false;
    let last = writer.generations.len() - 1;
    for (index, generation) in writer.generations.iter().enumerate() {
        let lost: Vec<_> = generation.lines.iter().filter(|line| !is_hit(line.number)).collect();
        let about = || format!("{mode:?} generation {index}: {}", about(generation, &lost, &gaps));
        if mode.is_lossless() || index == last {
            if !lost.is_empty() {
                wrong.push(about());
            }
        } else if mode.truncates() {
            // Each content has its own gap, told under its own number: nothing is lost before the offset that is told,
            // and nothing that was copied. Behind it lines may have been hit: what was read before a kill and not
            // saved is safe, but the program cannot know that. A gap more may be told where nothing was lost, because
            // nobody can say whether a log was truncated again; a gap less is wrong, even of a content without loss.
            let copied = generation.copied.unwrap();
            let told = gaps.iter().filter(|gap| u64::from(gap.generation) == index as u64).any(|gap| {
                let within = (copied..=generation.bytes).contains(&gap.from);
                within && lost.iter().all(|line| line.to > gap.from)
            });
            if !told {
                wrong.push(about());
            }
        } else {
            // What was read before a kill and not saved is told to be lost too, although its hits are safe.
            let all = lost.len() == generation.lines.len();
            let told = gaps
                .iter()
                .any(|gap| gap.from <= generation.bytes && lost.iter().all(|line| line.to > gap.from));
            if !(lost.is_empty() || told || all && told_before) {
                wrong.push(about());
            }
            told_before = told || (all && told_before);
        }
    }
    wrong
}

fn about(generation: &Generation, lost: &[&writer::Written], gaps: &[&LogGap]) -> String {
    let Generation { lines, bytes, copied } = generation;
    let first = lost.iter().take(3).collect::<Vec<_>>();
    format!(
        "{} of {} lines lost, from {first:?}; {bytes} bytes, {copied:?} copied; told {:?}",
        lost.len(),
        lines.len(),
        gaps.iter().map(|gap| (gap.generation, gap.from, gap.to)).collect::<Vec<_>>()
    )
}

/// Starts the process and waits until it follows the logs.
fn spawn(folder: &Path, catch_up: bool) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    if catch_up {
        command.env(CATCH_UP, "1");
    }
    let mut child = command
        .args(["--exact", "follows_until_it_is_killed", "--nocapture", "--test-threads=1"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let mut ready = said.skip_while(|line| !line.contains("following"));
    assert!(ready.next().is_some(), "the agent did not start");
    child
}

/// Does nothing unless the test above starts this program again.
#[test]
fn follows_until_it_is_killed() {
    let Ok(folder) = std::env::var(FOLDER) else { return };
    let agent = Agent::start(Path::new(&folder));
    let since = Instant::now();
    while std::env::var(CATCH_UP).is_ok() && since.elapsed() < DEADLINE {
        let lag: u64 = agent.board.logs().iter().map(|log| log.lag_bytes).sum();
        if agent.board.counted().lines > 0 && lag < CAUGHT_UP_BYTES {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("following");
    // Whoever started it kills it, or its threads end it.
    let ended = agent.logs.join();
    panic!("the log worker ended: {ended:?}");
}

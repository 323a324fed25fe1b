//! A log that is copied and truncated beside a model that knows every line: its follower reads a little, is saved,
//! killed and started again at any step of a rotation. Every line is read in one place, or told to be lost.

use std::collections::BTreeMap;
use std::time::SystemTime;

use super::*;
use crate::times::times;

/// How many histories there are.
const CASES: &str = "VEDETTA_TAIL_CASES";
const CASES_DEFAULT: u64 = 64;

#[derive(Clone, Copy, Debug)]
enum Step {
    Write(u8),
    /// The next part of a rotation: half a copy, all of it, the cut, compression.
    Rotate,
    /// A look, with room for so many lines.
    Look(u8),
    /// Everything that was read is safe on disk.
    Settle,
    /// What is safe is saved.
    Save,
    /// What was read last is safe up to here, but not saved.
    Kill(u8),
    Start,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1u8..4).prop_map(Step::Write),
        8 => Just(Step::Rotate),
        6 => prop_oneof![1 => 0u8..3, 3 => Just(u8::MAX)].prop_map(Step::Look),
        3 => Just(Step::Settle),
        3 => Just(Step::Save),
        2 => (0u8..4).prop_map(Step::Kill),
        2 => Just(Step::Start),
    ]
}

/// Which copies are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pack {
    Nothing,
    Older,
    All,
}

/// Where a rotation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Idle,
    Copying,
    Copied,
    Truncated,
}

#[derive(Debug, Default)]
struct Content {
    /// Each line, and the offset behind it.
    lines: Vec<(String, u64)>,
    bytes: u64,
    copied: u64,
}

/// What is read between two marks.
#[derive(Clone, Debug, Default)]
struct Read {
    lines: Vec<(String, u64)>,
    gaps: Vec<Gap>,
    position: PathPosition,
}

struct Model {
    log: Log,
    now: SystemTime,
    pack: Pack,
    long: bool,
    phase: Phase,
    contents: Vec<Content>,
    next: u64,
    follower: Option<Follower>,
    safe: PathPosition,
    saved: PathPosition,
    /// What waits to be safe.
    waiting: Vec<Read>,
    /// What is safe for ever.
    spooled: Read,
}

impl Model {
    fn new(pack: Pack, long: bool) -> Self {
        let log = Log::new();
        append(&log.path, "");
        let follower = begin(&log.path, Beginning::Start);
        let saved = follower.position();
        Self {
            log,
            now: SystemTime::now(),
            pack,
            long,
            phase: Phase::Idle,
            contents: vec![Content::default()],
            next: 0,
            follower: Some(follower),
            safe: saved.clone(),
            saved,
            waiting: Vec::new(),
            spooled: Read::default(),
        }
    }

    fn numbered(&self, number: usize, ending: &str) -> PathBuf {
        self.log.folder.path().join(format!("syslog.{number}{ending}"))
    }

    fn stamp(&mut self, path: &Path) {
        self.now += Duration::from_millis(4);
        File::options().append(true).open(path).unwrap().set_modified(self.now).unwrap();
    }

    fn write(&mut self, lines: u8) {
        let content = self.contents.last_mut().unwrap();
        for _ in 0..lines {
            let rest = if self.long { " and so on".repeat(9) } else { String::new() };
            let line = format!("{} app{rest}", self.next);
            self.next += 1;
            content.bytes += line.len() as u64 + 1;
            append(&self.log.path, &format!("{line}\n"));
            content.lines.push((line, content.bytes));
        }
        self.stamp(&self.log.path.clone());
    }

    fn rotate(&mut self) {
        let text = fs::read(&self.log.path).unwrap();
        let copy = self.numbered(1, "");
        self.phase = match self.phase {
            Phase::Idle if text.is_empty() => Phase::Idle,
            Phase::Idle => {
                for number in (1..60).rev() {
                    for ending in ["", ".gz"] {
                        let _ = fs::rename(self.numbered(number, ending), self.numbered(number + 1, ending));
                    }
                }
                self.now += Duration::from_secs(1);
                fs::write(&copy, &text[..text.len() / 2]).unwrap();
                self.stamp(&copy);
                Phase::Copying
            }
            Phase::Copying => {
                fs::write(&copy, &text).unwrap();
                self.contents.last_mut().unwrap().copied = text.len() as u64;
                self.stamp(&copy);
                Phase::Copied
            }
            Phase::Copied => {
                fs::write(&self.log.path, "").unwrap();
                self.stamp(&self.log.path.clone());
                self.contents.push(Content::default());
                Phase::Truncated
            }
            Phase::Truncated => {
                let packed = match self.pack {
                    Pack::Nothing => None,
                    Pack::Older => Some(self.numbered(2, "")),
                    Pack::All => Some(copy),
                };
                packed.filter(|packed| packed.exists()).iter().for_each(|packed| gzip(packed));
                Phase::Idle
            }
        };
    }

    fn look(&mut self, room: usize) -> bool {
        let Some(follower) = &mut self.follower else { return false };
        let mut lines = Vec::new();
        let turn = follower.turn(&mut Block::default(), &mut |line| {
            lines.push((String::from_utf8(line.bytes.to_vec()).unwrap(), line.place));
            lines.len() < room
        });
        assert!(turn.trouble.is_none(), "{:?}", turn.trouble);
        let position = follower.position();
        if turn.begun {
            self.safe = self.safe.clone().with_begun(&position);
            self.saved.clone_from(&self.safe);
        }
        let position = position.with_forgotten(&self.safe);
        self.waiting.push(Read { lines, gaps: turn.gaps, position });
        turn.more
    }

    fn settle(&mut self, most: usize) {
        for read in self.waiting.drain(..).take(most) {
            self.spooled.lines.extend(read.lines);
            self.spooled.gaps.extend(read.gaps);
            self.safe = read.position.with_begun(&self.safe);
        }
    }

    fn start(&mut self) {
        if self.follower.is_none() {
            self.follower = Some(resume(&self.log.path, &self.saved));
            self.safe.clone_from(&self.saved);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(lines) => self.write(lines),
            Step::Rotate => self.rotate(),
            Step::Look(room) => drop(self.look(usize::from(room).max(1))),
            Step::Settle => self.settle(usize::MAX),
            Step::Save => self.saved.clone_from(&self.safe),
            Step::Kill(most) => {
                self.settle(usize::from(most));
                self.follower = None;
            }
            Step::Start => self.start(),
        }
    }

    /// Reads everything, and says what is wrong.
    fn judge(&mut self) -> Vec<String> {
        self.write(1);
        self.start();
        while self.look(usize::MAX) {}
        self.settle(usize::MAX);
        let mut wrong = Vec::new();
        let mut places: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for (line, place) in &self.spooled.lines {
            places.entry(line).or_default().insert(*place);
        }
        for (line, places) in &places {
            if places.len() != 1 {
                wrong.push(format!("{line} has {} places", places.len()));
            }
        }
        let last = self.contents.len() - 1;
        for (number, content) in self.contents.iter().enumerate() {
            let lost: Vec<_> =
                content.lines.iter().filter(|(line, _)| !places.contains_key(line.as_str())).collect();
            let told = self.spooled.gaps.iter().filter(|gap| gap.generation as usize == number).any(|gap| {
                let within = (content.copied..=content.bytes).contains(&gap.from);
                within && lost.iter().all(|(_, to)| *to > gap.from)
            });
            if !told && number != last || number == last && !lost.is_empty() {
                wrong.push(format!(
                    "content {number}: {content:?}, lost {lost:?}, told {:?}",
                    self.spooled.gaps
                ));
            }
        }
        wrong
    }
}

fn check(pack: Pack, long: bool, steps: &[Step]) -> Vec<String> {
    let mut model = Model::new(pack, long);
    steps.iter().for_each(|step| model.take(*step));
    model.judge()
}

#[test]
fn every_line_of_a_copied_log_is_read_in_one_place_or_told_to_be_lost() {
    let cases = u32::try_from(times(CASES, CASES_DEFAULT)).unwrap();
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        max_shrink_iters: 4096,
        ..ProptestConfig::default()
    };
    let pack = prop_oneof![Just(Pack::Nothing), Just(Pack::Older), Just(Pack::All)];
    let history = (pack, any::<bool>(), proptest::collection::vec(step(), 1..80));
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let run = runner.run(&history, |(pack, long, steps)| {
        let wrong = check(pack, long, &steps);
        prop_assert!(wrong.is_empty(), "{:#?}", wrong);
        Ok(())
    });
    if let Err(error) = run {
        panic!("{error}");
    }
}

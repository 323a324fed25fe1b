//! The log worker: one thread follows all log files, with a detector for each path. A position is saved only
//! when the hits of everything before it are safe on disk; while the spool is full, lines wait in their files.

use std::collections::{BTreeMap, VecDeque};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use detect::{Detector, DetectorConfig, Line, Matcher};
use protocol::message::{Loss, LossReason, Record};
use tracing::{info, warn};

use super::follow::{Beginning, FollowError, Follower, PathPosition, Turn};
use super::joining::LogSink;
use super::line_reader::FileId;
use super::rotation::{expand, is_pattern};
use super::{Board, MatcherInForce, Meter, Stop, Told};
use crate::clock;
use crate::spool::{NotPut, SpoolStopped};
use crate::stages::Stage;
use crate::state::{Opened, State, StateError};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often patterns are expanded, cooldowns closed and positions saved.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How often a state that cannot be opened is tried again, as when the disk is full.
const STATE_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long a stopping worker waits until its last hits are safe.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(5);
/// Marks that the spool has not answered.
const MARKS_MAX: usize = 64;
/// Files that patterns may add.
const FOLLOWED_MAX: usize = 1024;

/// What the log worker gets.
pub struct TailParts {
    /// Paths and patterns.
    pub files: Vec<PathBuf>,
    /// Where positions are kept.
    pub state_folder: PathBuf,
    /// How to detect.
    pub detector: DetectorConfig,
    /// What to compare with.
    pub matcher: MatcherInForce,
    /// Where hits go.
    pub hits: LogSink,
    /// Marks whose hits are safe.
    pub marks: Receiver<u64>,
    /// Where counts go.
    pub board: Board,
}

/// Starts the log worker.
///
/// # Errors
/// When no thread can be started.
pub fn start(parts: TailParts, stop: Stop) -> std::io::Result<Stage> {
    let matcher = parts.matcher.load();
    let worker = Worker {
        parts,
        stop,
        matcher,
        followed: Vec::new(),
        mark: 0,
        marked: VecDeque::new(),
        unsaved: BTreeMap::new(),
        save_failed: false,
    };
    std::thread::Builder::new().name("logs".into()).spawn(move || worker.run())
}

struct Followed {
    follower: Follower,
    detector: Detector,
    told: Told,
    meter: Arc<Meter>,
    name: Vec<u8>,
    /// What was marked last.
    marked: PathPosition,
}

struct Worker {
    parts: TailParts,
    stop: Stop,
    matcher: Arc<Matcher>,
    followed: Vec<Followed>,
    mark: u64,
    /// Positions that wait for their hits to be safe.
    marked: VecDeque<(u64, Positions)>,
    /// Safe positions that wait to be saved.
    unsaved: BTreeMap<Vec<u8>, PathPosition>,
    save_failed: bool,
}

/// Positions by their names in the state.
type Positions = Vec<(Vec<u8>, PathPosition)>;

/// The worker should stop and gives up what it was doing.
#[derive(Debug)]
enum GiveUp {
    Asked,
    Spool(SpoolStopped),
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let Some((state, opened)) = self.open_state()? else { return Ok(()) };
        self.begin(&state, opened);
        let mut round_at = Instant::now();
        let given_up = loop {
            let more = match self.look() {
                Ok(more) => more,
                Err(give_up) => break Some(give_up),
            };
            self.take_marks();
            if round_at.elapsed() >= ROUND_EVERY {
                round_at = Instant::now();
                if let Err(give_up) = self.round() {
                    break Some(give_up);
                }
                self.save(&state)?;
            }
            let stop = if more { self.stop.is_asked() } else { self.stop.wait(LOOK_EVERY) };
            if stop {
                break None;
            }
        };
        match given_up {
            // What was not put stays unread: its position was not marked.
            Some(GiveUp::Asked) => {}
            Some(GiveUp::Spool(stopped)) => return Err(stopped.into()),
            None => self.finish(),
        }
        self.save(&state)?;
        Ok(())
    }

    /// Opens the state, for as long as it takes: meanwhile logs wait, packets do not.
    fn open_state(&self) -> anyhow::Result<Option<(State, Opened)>> {
        let mut told = false;
        loop {
            match State::open(&self.parts.state_folder) {
                Ok(opened) => return Ok(Some(opened)),
                Err(error @ StateError::Io { .. }) => {
                    if !told {
                        warn!("{error}; log files wait");
                        told = true;
                    }
                }
                Err(error) => return Err(error.into()),
            }
            if self.stop.wait(STATE_RETRY_AFTER) {
                return Ok(None);
            }
        }
    }

    /// Takes up every configured path where it was left.
    fn begin(&mut self, state: &State, opened: Opened) {
        let unknown = match opened {
            // Old lines would be reported as new.
            Opened::New | Opened::Kept => Beginning::End,
            // They were reported before, under the same identities.
            Opened::Rebuilt => Beginning::Start,
        };
        for path in self.parts.files.clone() {
            if is_pattern(&path) {
                let beginning = match state.load::<bool>(&pattern_name(&path)) {
                    Some(true) => Beginning::Start,
                    _ => unknown,
                };
                self.follow_pattern(&path, state, beginning);
                self.save_now(state, &[(pattern_name(&path), true)]);
            } else {
                self.follow(&path, state.load(&path_name(&path)), unknown);
            }
        }
        let positions: Positions =
            self.followed.iter().map(|followed| (followed.name.clone(), followed.marked.clone())).collect();
        // From now on these paths are known: a file that appears while the agent is down is read from its start.
        self.save_now(state, &positions);
    }

    fn save_now<T: serde::Serialize>(&mut self, state: &State, values: &[(Vec<u8>, T)]) {
        if let Err(error) = state.save(values) {
            warn!("{error}; positions in log files are not saved");
            self.save_failed = true;
        }
    }

    fn follow_pattern(&mut self, pattern: &Path, state: &State, beginning: Beginning) {
        for path in expand(pattern).unwrap_or_default() {
            if !self.is_followed(&path) {
                self.follow(&path, state.load(&path_name(&path)), beginning);
            }
        }
    }

    /// Whether the path, or the file under it, is followed already: a pattern may match rotated files too.
    fn is_followed(&self, path: &Path) -> bool {
        let id = std::fs::metadata(path).ok().map(|metadata| FileId::of(&metadata));
        self.followed.iter().any(|followed| {
            followed.follower.path() == path || id.is_some_and(|id| followed.follower.knows(&id))
        })
    }

    fn follow(&mut self, path: &Path, saved: Option<PathPosition>, beginning: Beginning) {
        if self.followed.len() >= FOLLOWED_MAX
            || self.followed.iter().any(|followed| followed.follower.path() == path)
        {
            return;
        }
        let input = path.to_string_lossy();
        let meter = self.parts.board.add(&input, "log");
        let follower = match &saved {
            Some(saved) => Follower::resume(path, saved),
            None => Follower::begin(path, beginning),
        };
        let follower = follower.unwrap_or_else(|error| {
            report(&meter, &error);
            Follower::waiting(path, saved.unwrap_or_default())
        });
        info!(path = %path.display(), "following");
        let detector = Detector::new(&self.parts.detector, &input, self.matcher.clone());
        let marked = follower.position();
        self.followed.push(Followed {
            follower,
            detector,
            told: Told::default(),
            meter,
            name: path_name(path),
            marked,
        });
    }

    /// Reads what is new in every file; gives whether there is more at once.
    fn look(&mut self) -> Result<bool, GiveUp> {
        if self.parts.matcher.refresh(&mut self.matcher) {
            for followed in &mut self.followed {
                followed.detector.set_matcher(self.matcher.clone());
            }
        }
        if !self.parts.hits.is_open() || self.marked.len() >= MARKS_MAX {
            return Ok(false);
        }
        let mut more = false;
        for followed in &mut self.followed {
            more |= read(followed, &self.parts.hits, &self.stop)?;
        }
        self.mark_positions()?;
        Ok(more)
    }

    fn mark_positions(&mut self) -> Result<(), GiveUp> {
        let mut positions = Positions::new();
        for followed in &mut self.followed {
            let position = followed.follower.position();
            if position != followed.marked {
                positions.push((followed.name.clone(), position));
            }
        }
        if positions.is_empty() || !self.parts.hits.mark(self.mark + 1).map_err(GiveUp::Spool)? {
            return Ok(());
        }
        self.mark += 1;
        for (name, position) in &positions {
            if let Some(followed) = self.followed.iter_mut().find(|followed| followed.name == *name) {
                followed.marked = position.clone();
            }
        }
        self.marked.push_back((self.mark, positions));
        Ok(())
    }

    fn take_marks(&mut self) {
        while let Ok(safe) = self.parts.marks.try_recv() {
            self.take_mark(safe);
        }
    }

    fn take_mark(&mut self, safe: u64) {
        while let Some((_, positions)) = self.marked.pop_front_if(|(mark, _)| *mark <= safe) {
            self.unsaved.extend(positions);
        }
    }

    /// What is due every second: new files of patterns, cooldowns that are over.
    fn round(&mut self) -> Result<(), GiveUp> {
        for pattern in self.parts.files.clone() {
            if !is_pattern(&pattern) {
                continue;
            }
            for path in expand(&pattern).unwrap_or_default() {
                if !self.is_followed(&path) {
                    self.follow(&path, None, Beginning::Start);
                }
            }
        }
        for followed in &mut self.followed {
            followed.detector.handle_timeout(clock::now());
            hand_on(followed, &self.parts.hits, &self.stop)?;
        }
        Ok(())
    }

    /// Saves what is safe. A full disk is tried again, a damaged state ends the agent, which then rebuilds it.
    fn save(&mut self, state: &State) -> Result<(), StateError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let positions: Positions =
            self.unsaved.iter().map(|(name, position)| (name.clone(), position.clone())).collect();
        match state.save(&positions) {
            Ok(()) => {
                self.unsaved.clear();
                self.save_failed = false;
            }
            Err(error @ StateError::Damaged { .. }) => return Err(error),
            Err(error) => {
                if !self.save_failed {
                    warn!("{error}; positions in log files are not saved");
                }
                self.save_failed = true;
            }
        }
        Ok(())
    }

    /// The last hits of open cooldowns, and the positions before them.
    fn finish(&mut self) {
        let deadline = Instant::now() + STOP_SECONDS_MAX;
        for followed in &mut self.followed {
            followed.detector.finish(clock::now());
            while let Some(hit) = followed.detector.poll_hit() {
                let mut record = Box::new(Record::Hit(Box::new(hit)));
                while let Err(NotPut::Full(refused)) = self.parts.hits.put(record) {
                    if Instant::now() >= deadline {
                        return;
                    }
                    record = refused;
                    std::thread::sleep(LOOK_EVERY / 4);
                }
            }
        }
        if self.mark_positions().is_err() {
            return;
        }
        while !self.marked.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(safe) = self.parts.marks.recv_timeout(left) else { return };
            self.take_mark(safe);
        }
    }
}

/// Reads one path; gives whether there is more at once.
fn read(followed: &mut Followed, hits: &LogSink, stop: &Stop) -> Result<bool, GiveUp> {
    let detector = &mut followed.detector;
    let mut given_up = None;
    let turn = followed.follower.turn(&mut |line| {
        if given_up.is_some() {
            return;
        }
        let line = Line { number: line.number, offset: Some(line.place), bytes: line.bytes };
        detector.handle_line(clock::now(), line);
        while let Some(hit) = detector.poll_hit() {
            if let Err(give_up) = put(hits, stop, Record::Hit(Box::new(hit))) {
                given_up = Some(give_up);
                return;
            }
        }
    });
    followed.told.count_hits(&followed.detector, &followed.meter);
    if let Some(give_up) = given_up {
        return Err(give_up);
    }
    let turn = match turn {
        Ok(turn) => turn,
        Err(error) => {
            report(&followed.meter, &error);
            return Ok(false);
        }
    };
    followed.meter.set_trouble("");
    count(followed, &turn, hits, stop)?;
    Ok(turn.more)
}

fn count(followed: &mut Followed, turn: &Turn, hits: &LogSink, stop: &Stop) -> Result<(), GiveUp> {
    followed.meter.count_read(turn.lines);
    followed.told.tell(&followed.detector, &followed.meter);
    followed.meter.count_dropped(turn.cut);
    if turn.gaps == 0 {
        return Ok(());
    }
    followed.meter.count_dropped(turn.gaps);
    let path = followed.follower.path().display();
    warn!(%path, "the log was truncated or taken away; lines written just before may be lost");
    let at = clock::now();
    // Nobody can say how many lines: each truncation counts one.
    let loss = Loss { count: turn.gaps, reason: LossReason::LogTruncated, first_at: at, last_at: at };
    put(hits, stop, Record::Loss(loss))
}

fn hand_on(followed: &mut Followed, hits: &LogSink, stop: &Stop) -> Result<(), GiveUp> {
    while let Some(hit) = followed.detector.poll_hit() {
        put(hits, stop, Record::Hit(Box::new(hit)))?;
    }
    followed.told.count_hits(&followed.detector, &followed.meter);
    Ok(())
}

/// Waits for room; a line's hit is never dropped.
fn put(hits: &LogSink, stop: &Stop, record: Record) -> Result<(), GiveUp> {
    let mut record = Box::new(record);
    loop {
        record = match hits.put(record) {
            Ok(()) => return Ok(()),
            Err(NotPut::Full(record)) => record,
            Err(NotPut::Stopped(stopped)) => return Err(GiveUp::Spool(stopped)),
        };
        if stop.wait(LOOK_EVERY / 4) {
            return Err(GiveUp::Asked);
        }
    }
}

fn report(meter: &Meter, error: &FollowError) {
    if meter.set_trouble(&error.to_string()) {
        warn!("{error}");
    }
}

fn path_name(path: &Path) -> Vec<u8> {
    [b"path ", path.as_os_str().as_bytes()].concat()
}

fn pattern_name(path: &Path) -> Vec<u8> {
    [b"pattern ", path.as_os_str().as_bytes()].concat()
}

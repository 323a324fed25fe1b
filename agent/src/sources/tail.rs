//! The log worker: one thread follows all log files, with a detector for each path. A position is saved only
//! when the hits of everything before it are safe on disk; while the spool is full, lines wait in their files.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use detect::{Detector, DetectorConfig, Matcher, OpenHit};
use rustix::process::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

pub use super::follow::Beginning;
use super::follow::{Follower, PathPosition};
use super::followed::{Followed, hand_on, read, report, tell_waiting};
use super::joining::LogSink;
use super::kept::{Kept, KeptHits};
use super::line_reader::{Block, FileId};
use super::log_status::{LogStatus, name_of};
use super::outbox::Outbox;
use super::rotation::{expand, is_pattern, is_rotated};
use super::saved::{Loaded, Saved, open_name, path_name, pattern_name};
use super::watch::{Watch, Woken};
use super::{Board, MatcherInForce, Meter, Stop, Told};
use crate::clock;
use crate::config::LogsConfig;
use crate::spool::SpoolStopped;
use crate::stages::Stage;
use crate::state::{Opened, State, StateError};

/// How often files are looked at of which no event tells.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How often the others are, whatever events tell.
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(3);
/// Events within this time are taken together.
const GATHER: Duration = Duration::from_millis(5);
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
/// A file of a pattern that is gone for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);
/// Each followed file is kept open, and its rotated ones beside it.
const FILES_OPEN_MAX: u64 = 8192;

/// What the log worker gets.
pub struct TailParts {
    /// Which files, and how.
    pub config: LogsConfig,
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
    /// Open cooldowns that are to be saved with marks.
    pub completed: Receiver<(u64, KeptHits)>,
    /// Where counts go.
    pub board: Board,
}

/// Starts the log worker.
///
/// # Errors
/// When no thread can be started.
pub fn start(parts: TailParts, stop: Stop) -> std::io::Result<Stage> {
    allow_open_files();
    let matcher = parts.matcher.load();
    let outbox = Outbox::new(parts.hits.clone());
    let worker = Worker {
        parts,
        stop,
        matcher,
        followed: Vec::new(),
        alarms: HashMap::new(),
        watch: Watch::new(),
        block: Block::default(),
        outbox,
        mark: 0,
        marked: VecDeque::new(),
        completed: VecDeque::new(),
        unsaved: BTreeMap::new(),
        unsaved_open: BTreeMap::new(),
        save_failed: false,
    };
    std::thread::Builder::new().name("logs".into()).spawn(move || worker.run())
}

/// systemd starts services with 1,024, which is what `select` could do.
fn allow_open_files() {
    let mut limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(FILES_OPEN_MAX, |maximum| maximum.min(FILES_OPEN_MAX));
    if limit.current.is_some_and(|current| current < wanted) {
        limit.current = Some(wanted);
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            warn!(%error, "the limit of open files cannot be raised");
        }
    }
}

struct Worker {
    parts: TailParts,
    stop: Stop,
    matcher: Arc<Matcher>,
    followed: Vec<Followed>,
    /// What is wrong with patterns.
    alarms: HashMap<PathBuf, Arc<Meter>>,
    watch: Watch,
    block: Block,
    outbox: Outbox,
    mark: u64,
    /// Positions that wait for their hits to be safe.
    marked: VecDeque<(u64, Vec<Marked>)>,
    /// Cooldowns that wait for the same.
    completed: VecDeque<(u64, KeptHits)>,
    /// Safe positions that wait to be saved.
    unsaved: BTreeMap<Vec<u8>, PathPosition>,
    /// Cooldowns to be saved with them.
    unsaved_open: BTreeMap<Vec<u8>, Vec<OpenHit>>,
    save_failed: bool,
}

/// Positions by their names in the state.
type Positions = Vec<(Vec<u8>, PathPosition)>;

/// A position that was marked.
struct Marked {
    name: Vec<u8>,
    position: PathPosition,
    /// What was counted before it is in the cooldowns that are saved; otherwise the next one's will be.
    is_whole: bool,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let Some((state, opened)) = self.open_state()? else { return Ok(()) };
        self.begin(&state, opened);
        let mut round_at = Instant::now();
        let mut saved_at: Option<Instant> = None;
        loop {
            self.outbox.flush()?;
            let more = self.look(&state)?;
            self.take_marks();
            if round_at.elapsed() >= ROUND_EVERY {
                round_at = Instant::now();
                self.round(&state);
            }
            // The first of a life at once, or an agent that is killed within a second again and again fills its spool
            // with the same lines.
            if !self.unsaved.is_empty() && saved_at.is_none_or(|at| at.elapsed() >= ROUND_EVERY) {
                saved_at = Some(Instant::now());
                self.save(&state)?;
            }
            let stop = if more { self.stop.is_asked() } else { self.wait() };
            if stop {
                break;
            }
        }
        self.finish();
        self.save(&state)?;
        Ok(())
    }

    /// Waits for something to happen; gives whether to stop.
    fn wait(&mut self) -> bool {
        if !self.outbox.spool_is_open() {
            return self.stop.wait(LOOK_EVERY);
        }
        if !self.outbox.is_empty() {
            return self.stop.wait(GATHER);
        }
        let woken = self.watch.wait(LOOK_EVERY);
        let some = woken != Woken::default();
        for followed in &mut self.followed {
            let follower = &followed.follower;
            let names = [Some(follower.path()), follower.target()].into_iter().flatten();
            let mut names = names.filter_map(Path::file_name);
            followed.due |= woken.all
                || (!woken.names.is_empty() && names.any(|name| woken.names.contains(name)))
                || !followed.watched
                || follower.is_catching_up()
                || followed.looked_at.elapsed() >= LOOK_AT_LEAST_EVERY;
        }
        if some { self.stop.wait(GATHER) } else { self.stop.is_asked() }
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
            // Old lines would be reported as new, unless that is wanted.
            Opened::New | Opened::Kept => self.parts.config.unknown_files,
            // They were reported before, under the same identities.
            Opened::Rebuilt => Beginning::Start,
        };
        if opened == Opened::Rebuilt {
            let meter = self.parts.board.add("positions in logs", "log");
            meter.set_trouble(
                "the saved positions were damaged and put aside: all logs are read again from their start",
            );
        }
        let mut patterns = Vec::new();
        for path in self.parts.config.files.clone() {
            if is_pattern(&path) {
                let beginning = match state.load::<bool>(&pattern_name(&path)) {
                    Some(true) => Beginning::Start,
                    _ => unknown,
                };
                self.follow_pattern(&path, state, beginning);
                patterns.push((pattern_name(&path), true));
            } else {
                self.follow(&path, Loaded::of(state, &path), unknown, false);
            }
        }
        // From now on these paths are known: a file that appears while the agent is down is read from its start.
        let positions = self.followed.iter().map(|followed| (followed.name.clone(), followed.safe.clone()));
        let positions: Positions = positions.collect();
        self.save_now(state, &positions);
        self.save_now(state, &patterns);
    }

    fn save_now<T: serde::Serialize>(&mut self, state: &State, values: &[(Vec<u8>, T)]) {
        if let Err(error) = state.save(values) {
            warn!("{error}; positions in log files are not saved");
            self.save_failed = true;
        }
    }

    /// Follows what a pattern means and is not followed yet; gives the positions of what is new.
    fn follow_pattern(&mut self, pattern: &Path, state: &State, beginning: Beginning) -> Positions {
        let paths = expand(pattern).unwrap_or_default();
        let mut known: HashSet<PathBuf> =
            self.followed.iter().map(|followed| followed.follower.path().to_path_buf()).collect();
        let mut new: Vec<PathBuf> = paths.iter().filter(|path| !known.contains(*path)).cloned().collect();
        known.extend(new.iter().cloned());
        // What rotation makes of a log is read as that log's.
        new.retain(|path| !is_rotated(path, &known) && !self.is_read(path));
        let room = FOLLOWED_MAX.saturating_sub(self.followed.len());
        let left = new.len().saturating_sub(room);
        let mut positions = Positions::new();
        for path in new.into_iter().take(room) {
            self.follow(&path, Loaded::of(state, &path), beginning, true);
            positions.extend(self.followed.last().map(|followed| (path_name(&path), followed.safe.clone())));
        }
        let trouble = match (left, paths.is_empty()) {
            (0, false) => String::new(),
            (0, true) => format!("no file is called {}; the agent waits for one", name_of(pattern)),
            (left, _) => format!(
                "{left} files are NOT read: no more than {FOLLOWED_MAX} are followed; name fewer in logs.files"
            ),
        };
        self.alarm(pattern, &trouble);
        positions
    }

    fn alarm(&mut self, pattern: &Path, trouble: &str) {
        if trouble.is_empty() && !self.alarms.contains_key(pattern) {
            return;
        }
        let board = &self.parts.board;
        let meter = self.alarms.entry(pattern.into()).or_insert_with(|| board.add(&name_of(pattern), "log"));
        if meter.set_trouble(trouble) && !trouble.is_empty() {
            warn!("{trouble}");
        }
    }

    /// Whether the file under a path is read already, under another name.
    fn is_read(&self, path: &Path) -> bool {
        let id = std::fs::metadata(path).ok().map(|metadata| FileId::of(&metadata));
        id.is_some_and(|id| self.followed.iter().any(|followed| followed.follower.knows(&id)))
    }

    fn follow(&mut self, path: &Path, saved: Loaded, beginning: Beginning, of_pattern: bool) {
        if self.followed.iter().any(|followed| followed.follower.path() == path) {
            return;
        }
        let name = name_of(path);
        let meter = self.parts.board.add(&name, "log");
        let after = self.parts.config.partial_line;
        let (follower, trouble) = match saved.position {
            Some(position) => (Follower::resume(path, position, after), None),
            None => Follower::begin(path, beginning, after),
        };
        if let Some(error) = trouble {
            report(&meter, &error.to_string());
        }
        info!(path = %name, "following");
        let log = LogStatus { name: name.clone(), ..LogStatus::default() };
        meter.set_log(log.clone());
        let mut detector = Detector::new(&self.parts.detector, &name, self.matcher.clone());
        let mut kept = Kept::default();
        kept.give_back(&mut detector, saved.open);
        let marked = follower.position();
        self.followed.push(Followed {
            follower,
            detector,
            told: Told::default(),
            kept,
            meter,
            log,
            name: path_name(path),
            safe: marked.clone(),
            marked,
            watched: false,
            due: true,
            looked_at: Instant::now(),
            of_pattern,
            over_since: None,
        });
        self.watch_last();
    }

    fn watch_last(&mut self) {
        if let Some(followed) = self.followed.last_mut() {
            followed.watched = is_watched(&followed.follower, &mut self.watch);
        }
    }

    /// Reads what is new in every file; gives whether there is more at once.
    fn look(&mut self, state: &State) -> anyhow::Result<bool> {
        if self.parts.matcher.refresh(&mut self.matcher) {
            for followed in &mut self.followed {
                followed.detector.set_matcher(self.matcher.clone());
            }
        }
        if !self.outbox.is_open() || self.marked.len() >= MARKS_MAX {
            return Ok(false);
        }
        let mut more = false;
        let mut looked = Vec::new();
        for index in 0..self.followed.len() {
            let Some(followed) = self.followed.get_mut(index).filter(|followed| followed.due) else {
                continue;
            };
            let turn = read(followed, &mut self.block, &mut self.outbox);
            followed.due = turn.more;
            more |= turn.more;
            looked.push(index);
            if turn.begun {
                self.save_begun(state, index)?;
            }
            if !self.outbox.has_room() {
                break;
            }
        }
        if self.outbox.is_empty() {
            let open = self.take_open(&looked, false);
            self.mark_positions(&looked, open)?;
        }
        Ok(more && self.outbox.is_empty())
    }

    /// Puts down which files there are before anything of the new ones is given out: without that, a copy or a
    /// compressed file could not be told from what was read of it.
    fn save_begun(&mut self, state: &State, index: usize) -> Result<(), StateError> {
        let Some(followed) = self.followed.get_mut(index) else { return Ok(()) };
        followed.safe = followed.safe.clone().with_begun(&followed.follower.position());
        followed.watched = is_watched(&followed.follower, &mut self.watch);
        self.unsaved.insert(followed.name.clone(), followed.safe.clone());
        self.save(state)
    }

    /// The cooldowns of logs whose time it is, or of all: every hit of theirs was put.
    fn take_open(&mut self, looked: &[usize], all: bool) -> KeptHits {
        let logs = self.followed.len();
        let mut taken = KeptHits::new();
        for index in looked {
            let Some(followed) = self.followed.get_mut(*index) else { continue };
            if all || followed.kept.is_due(&followed.detector) {
                let open = followed.kept.take(&followed.detector, logs);
                taken.extend(open.map(|open| (followed.name.clone(), open)));
            }
        }
        taken
    }

    /// Asks to be told when everything that was put before these positions is safe.
    fn mark_positions(&mut self, looked: &[usize], open: KeptHits) -> Result<(), SpoolStopped> {
        let mut positions = Vec::new();
        for index in looked {
            let Some(followed) = self.followed.get(*index) else { continue };
            let position = followed.follower.position();
            let is_taken = open.iter().any(|(name, _)| *name == followed.name);
            if is_taken || position != followed.marked {
                let is_whole = is_taken || followed.kept.is_whole(&followed.detector);
                positions.push((*index, position, is_whole));
            }
        }
        if positions.is_empty() {
            return Ok(());
        }
        if !self.outbox.complete(self.mark + 1, open) || !self.outbox.mark(self.mark + 1)? {
            // Asked again with the next look.
            for (index, ..) in positions {
                let Some(followed) = self.followed.get_mut(index) else { continue };
                followed.due = true;
                followed.kept.take_back();
            }
            return Ok(());
        }
        self.mark += 1;
        let mut named = Vec::new();
        for (index, position, is_whole) in positions {
            if let Some(followed) = self.followed.get_mut(index) {
                followed.marked.clone_from(&position);
                let position = position.with_forgotten(&followed.safe);
                named.push(Marked { name: followed.name.clone(), position, is_whole });
            }
        }
        self.marked.push_back((self.mark, named));
        Ok(())
    }

    fn take_marks(&mut self) {
        while let Ok(safe) = self.parts.marks.try_recv() {
            self.take_mark(safe);
        }
    }

    fn take_mark(&mut self, safe: u64) {
        while let Some((_, positions)) = self.marked.pop_front_if(|(mark, _)| *mark <= safe) {
            for Marked { name, position, is_whole } in positions {
                let Some(followed) = self.followed.iter_mut().find(|followed| followed.name == name) else {
                    continue;
                };
                followed.safe = position.with_begun(&followed.safe);
                if is_whole {
                    self.unsaved.insert(name, followed.safe.clone());
                }
            }
        }
        self.completed.extend(self.parts.completed.try_iter());
        while let Some((_, open)) = self.completed.pop_front_if(|(mark, _)| *mark <= safe) {
            self.unsaved_open.extend(open);
        }
    }

    /// What is due every second: new files of patterns, cooldowns that are over, what status tells.
    fn round(&mut self, state: &State) {
        let open = self.outbox.spool_is_open();
        let mut new = Positions::new();
        for pattern in self.parts.config.files.clone() {
            if open && is_pattern(&pattern) {
                new.extend(self.follow_pattern(&pattern, state, Beginning::Start));
            }
        }
        if !new.is_empty() {
            self.save_now(state, &new);
        }
        let now = clock::now();
        for followed in &mut self.followed {
            followed.detector.handle_timeout(now);
            hand_on(followed, &mut self.outbox);
            followed.watched = is_watched(&followed.follower, &mut self.watch);
            followed.due |= followed.kept.is_due(&followed.detector);
            if !open {
                tell_waiting(followed);
            }
        }
        self.forget(state);
    }

    /// Files of patterns that are gone for good.
    fn forget(&mut self, state: &State) {
        let mut gone = Vec::new();
        for followed in &mut self.followed {
            let over = followed.of_pattern && followed.follower.is_over();
            followed.over_since = over.then(|| followed.over_since.unwrap_or_else(Instant::now));
            if followed.over_since.is_some_and(|since| since.elapsed() >= FORGOTTEN_AFTER) {
                gone.push(followed.name.clone());
                self.parts.board.remove(&followed.meter);
            }
        }
        if gone.is_empty() {
            return;
        }
        self.followed.retain(|followed| !gone.contains(&followed.name));
        self.unsaved.retain(|name, _| !gone.contains(name));
        self.unsaved_open.retain(|name, _| !gone.contains(name));
        gone.extend(gone.clone().iter().map(|name| open_name(name)));
        if let Err(error) = state.forget(&gone) {
            warn!("{error}; positions in log files that are gone are kept");
        }
    }

    /// Saves what is safe. A full disk is tried again, a damaged state ends the agent, which then rebuilds it.
    fn save(&mut self, state: &State) -> Result<(), StateError> {
        if self.unsaved.is_empty() {
            return Ok(());
        }
        let positions = self.unsaved.iter();
        let positions = positions.map(|(name, position)| (name.clone(), Saved::Position(position.clone())));
        let open = self.unsaved_open.iter();
        let open = open.map(|(name, open)| (open_name(name), Saved::open(open)));
        let saved: Vec<(Vec<u8>, Saved)> = positions.chain(open).collect();
        match state.save(&saved) {
            Ok(()) => {
                self.unsaved.clear();
                self.unsaved_open.clear();
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
        let all: Vec<usize> = (0..self.followed.len()).collect();
        // The next start goes on with them, although their counts go out here.
        let open = self.take_open(&all, true);
        for followed in &mut self.followed {
            followed.detector.finish(clock::now());
            hand_on(followed, &mut self.outbox);
        }
        // What cannot be put is read again: its position is not marked.
        loop {
            if self.outbox.flush().is_err() {
                return;
            }
            if self.outbox.is_empty() {
                break;
            }
            if Instant::now() >= deadline {
                return;
            }
            std::thread::sleep(LOOK_EVERY / 4);
        }
        if self.mark_positions(&all, open).is_err() {
            return;
        }
        while !self.marked.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(safe) = self.parts.marks.recv_timeout(left) else { return };
            self.take_mark(safe);
        }
    }
}

fn is_watched(follower: &Follower, watch: &mut Watch) -> bool {
    let paths = [Some(follower.path()), follower.target()].into_iter().flatten();
    let mut watched = true;
    for folder in paths.filter_map(Path::parent) {
        watched &= watch.add(folder);
    }
    watched
}

//! systemd's journal: one thread reads what `journalctl` exports and hands on each message as a line. How far it is
//! read is saved when the hits before are safe, whether or not anything matched; while the spool is full, messages wait
//! in the journal. What rsyslog writes into files as well would be reported twice: a town follows one of both.

mod child;
pub mod export;
mod position;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use detect::{Detector, DetectorConfig, Line, Matcher};
use protocol::Timestamp;
use protocol::message::{Loss, LossReason, Record};
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use self::child::{From, Journalctl};
use self::export::{Entry, Export};
use self::position::{Position, PositionFile};
use super::joining::LogSink;
use super::outbox::Outbox;
use super::syslog::framing::lines_of;
use super::{Board, MatcherInForce, Meter, Stop, Told};
use crate::clock;
use crate::config::JournalConfig;
use crate::spool::SpoolStopped;
use crate::stages::Stage;

/// As hits and `status` name it.
const NAME: &str = "journal";
/// Marks of the journal have this bit, those of log files do not.
const OWN_MARKS: u64 = 1 << 63;
/// Marks that the spool has not answered.
const MARKS_MAX: usize = 64;
/// How often the stop is looked at.
const WAIT_MILLISECONDS: u16 = 200;
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces between two looks at the stop and the marks.
const PIECES_AT_ONCE: usize = 16;
/// How often cooldowns are closed and the position is saved.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How long a journalctl that ended is left alone: doubled with each time that it read nothing new.
const RESTART_AFTER: Duration = Duration::from_secs(1);
const RESTART_AFTER_MAX: Duration = Duration::from_secs(60);
/// A damaged journal that is in the way for so many attempts is passed over.
const ATTEMPTS_MAX: u32 = 3;
/// How long a stopping worker waits until its last hits are safe.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(5);

/// What the worker gets.
pub struct JournalParts {
    /// What of the journal is read.
    pub config: JournalConfig,
    /// Where the position is kept.
    pub state_dir: PathBuf,
    /// The process whose messages are passed over: what the agent says of hits would be hits.
    pub own_process: u32,
    /// How to detect.
    pub detector: DetectorConfig,
    /// What to compare with.
    pub matcher: MatcherInForce,
    /// Where hits go.
    pub hits: LogSink,
    /// Marks whose hits are safe, as [`divide`] gives them.
    pub marks: Receiver<u64>,
    /// Where counts go.
    pub board: Board,
}

/// Divides the spool's marks into those of log files and those of the journal, in a thread that ends with the spool.
///
/// # Errors
/// When no thread can be started.
pub fn divide(marks: Receiver<u64>) -> io::Result<(Receiver<u64>, Receiver<u64>)> {
    let ((to_files, of_files), (to_journal, of_journal)) = (channel(), channel());
    let divide = move || {
        for mark in marks {
            // Who does not listen any more has ended.
            let _ = match mark & OWN_MARKS {
                0 => to_files.send(mark),
                _ => to_journal.send(mark),
            };
        }
    };
    std::thread::Builder::new().name("marks".into()).spawn(divide)?;
    Ok((of_files, of_journal))
}

/// Starts the worker. A journalctl that fails is started again.
///
/// # Errors
/// When no thread can be started.
pub fn start(parts: JournalParts, stop: Stop) -> io::Result<Stage> {
    let JournalParts { config, state_dir, own_process, detector, matcher: in_force, hits, marks, board } =
        parts;
    let matcher = in_force.load();
    let file = PositionFile::new(&state_dir);
    let known = file.load();
    // At the first start, and when it is not known any more how far it was read, the journal is read from its end.
    let position = known.clone().unwrap_or_else(|| Position {
        cursor: String::new(),
        realtime: u64::try_from(clock::now().as_micros()).unwrap_or(0),
    });
    let reader = Reader {
        detector: Detector::new(&detector, NAME, matcher.clone()),
        told: Told::default(),
        meter: board.add(NAME, "journal"),
        outbox: Outbox::new(hits),
        position: position.clone(),
        sought: None,
        units: config.units.iter().map(|unit| unit.clone().into_bytes()).collect(),
        own: Own {
            pid: own_process.to_string().into_bytes(),
            since: u64::try_from(clock::now().as_micros()).unwrap_or(0),
        },
        lines: 0,
        line: Vec::new(),
        news: false,
    };
    let worker = Worker {
        config,
        stop,
        in_force,
        matcher,
        marks,
        reader,
        export: Export::default(),
        child: None,
        restart_at: Instant::now(),
        attempts: 0,
        begun_at: position.clone(),
        file,
        saved: known.unwrap_or_default(),
        safe: position.clone(),
        marked: VecDeque::new(),
        last_marked: position,
        mark: 0,
    };
    std::thread::Builder::new().name("journal".into()).spawn(move || worker.run())
}

/// What becomes of an entry.
struct Reader {
    detector: Detector,
    told: Told,
    meter: Arc<Meter>,
    outbox: Outbox,
    /// The last entry that was read.
    position: Position,
    /// The entry with which journalctl should begin: it was read before.
    sought: Option<Position>,
    units: Vec<Vec<u8>>,
    own: Own,
    lines: u64,
    line: Vec<u8>,
    /// Something came since journalctl was started, if only the entry that was read before.
    news: bool,
}

/// This process.
struct Own {
    pid: Vec<u8>,
    /// What is older, another process of the same number wrote, perhaps before the machine was started anew.
    since: u64,
}

struct Worker {
    config: JournalConfig,
    stop: Stop,
    in_force: MatcherInForce,
    matcher: Arc<Matcher>,
    marks: Receiver<u64>,
    reader: Reader,
    export: Export,
    child: Option<Journalctl>,
    restart_at: Instant,
    /// Starts of journalctl that gave nothing new.
    attempts: u32,
    /// Where it began: the entry that is given again there is nothing new.
    begun_at: Position,
    file: PositionFile,
    saved: Position,
    /// The hits of everything before are on disk.
    safe: Position,
    /// Positions that wait for that.
    marked: VecDeque<(u64, Position)>,
    last_marked: Position,
    mark: u64,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        self.save();
        let mut round_at = Instant::now();
        while !self.stop.is_asked() {
            self.reader.outbox.flush()?;
            self.look(&mut piece);
            self.mark_position()?;
            while let Ok(mark) = self.marks.try_recv() {
                self.take_mark(mark);
            }
            if round_at.elapsed() >= ROUND_EVERY {
                round_at = Instant::now();
                self.reader.handle_timeout();
                self.tell();
                self.save();
            }
        }
        self.finish()
    }

    /// Reads what there is, or waits a while.
    fn look(&mut self, piece: &mut [u8]) {
        let is_open = self.reader.outbox.is_open() && self.marked.len() < MARKS_MAX;
        if self.child.is_none() && is_open && self.restart_at <= Instant::now() {
            self.begin();
        }
        let Some(child) = self.child.as_mut().filter(|_| is_open) else {
            self.stop.wait(Duration::from_millis(u64::from(WAIT_MILLISECONDS / 4)));
            return;
        };
        child.wait(WAIT_MILLISECONDS);
        // After waiting: what came meanwhile is compared with what is in force by then.
        if self.in_force.refresh(&mut self.matcher) {
            self.reader.detector.set_matcher(self.matcher.clone());
        }
        for _ in 0..PIECES_AT_ONCE {
            match child.read(piece) {
                Ok(0) => return self.end(),
                Ok(read) => {
                    let reader = &mut self.reader;
                    let bytes = piece.get(..read).unwrap_or_default();
                    self.export.take(bytes, &mut |entry| reader.handle_entry(entry));
                    if !reader.outbox.is_open() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return self.end(),
            }
        }
    }

    fn begin(&mut self) {
        let position = &self.reader.position;
        // `--after-cursor` would pass over the entry after a gap: where the cursor's entry is gone, journalctl begins
        // with the next one, and skips it all the same. So the entry itself is asked for, and looked for.
        let from = match self.attempts {
            0 if !position.cursor.is_empty() => From::Cursor(position.cursor.clone()),
            _ => From::Since(position.realtime),
        };
        self.reader.sought = Some(position.clone()).filter(|position| !position.cursor.is_empty());
        self.reader.news = false;
        self.begun_at = position.clone();
        self.export = Export::default();
        match Journalctl::start(&from, self.config.folder.as_deref()) {
            Ok(child) => {
                info!("following the journal");
                self.child = Some(child);
            }
            Err(error) => self.restart_later(&format!(
                "journalctl cannot be started: {error}; install systemd's journalctl, or set journal.enabled = false"
            )),
        }
    }

    /// journalctl has ended.
    fn end(&mut self) {
        let Some(mut child) = self.child.take() else { return };
        let said = child.said();
        self.note_progress();
        if self.attempts >= ATTEMPTS_MAX && said.contains("Bad message") {
            // What cannot be read stays behind, told, rather than everything after it.
            self.reader.report_gap();
            self.reader.position = Position {
                cursor: String::new(),
                realtime: u64::try_from(clock::now().as_micros()).unwrap_or(0),
            };
        }
        self.restart_later(&format!("journalctl ended and is started again: {said}"));
    }

    fn note_progress(&mut self) {
        // By their time: of entries of the same microsecond each would seem new in its turn.
        if self.reader.position.realtime != self.begun_at.realtime {
            self.attempts = 0;
        }
    }

    fn restart_later(&mut self, trouble: &str) {
        if self.reader.meter.set_trouble(trouble) {
            warn!("{trouble}");
        }
        let pause = RESTART_AFTER * 2u32.saturating_pow(self.attempts.min(16));
        self.restart_at = Instant::now() + pause.min(RESTART_AFTER_MAX);
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Complaints of a running journalctl, as of a missing permission, stand in the status.
    fn tell(&mut self) {
        let Some(child) = &mut self.child else { return };
        let said = child.said();
        if self.reader.news && !said.contains("not seeing messages") {
            child.forget_said();
            self.reader.meter.set_trouble("");
            self.note_progress();
        } else if !said.is_empty() {
            let told = format!("journalctl says: {said}; the agent's user wants group systemd-journal");
            self.reader.meter.set_trouble(&told);
        }
    }

    fn mark_position(&mut self) -> Result<(), SpoolStopped> {
        if self.reader.position == self.last_marked || self.marked.len() >= MARKS_MAX {
            return Ok(());
        }
        let mark = (self.mark + 1) | OWN_MARKS;
        if self.reader.outbox.mark(mark)? {
            self.mark += 1;
            self.last_marked = self.reader.position.clone();
            self.marked.push_back((mark, self.last_marked.clone()));
        }
        Ok(())
    }

    fn take_mark(&mut self, safe: u64) {
        while let Some((_, position)) = self.marked.pop_front_if(|(mark, _)| *mark <= safe) {
            self.safe = position;
        }
    }

    fn save(&mut self) {
        if self.safe == self.saved {
            return;
        }
        match self.file.save(&self.safe) {
            Ok(()) => self.saved = self.safe.clone(),
            Err(error) => {
                let trouble = format!(
                    "how far the journal is read cannot be saved: {error}; check the space left and state_dir"
                );
                if self.reader.meter.set_trouble(&trouble) {
                    warn!("{trouble}");
                }
            }
        }
    }

    /// The last hits of open cooldowns, and the position before them.
    fn finish(mut self) -> anyhow::Result<()> {
        self.child = None;
        self.reader.detector.finish(clock::now());
        self.reader.take_hits();
        let deadline = Instant::now() + STOP_SECONDS_MAX;
        while Instant::now() < deadline {
            self.reader.outbox.flush()?;
            self.mark_position()?;
            let is_marked = self.reader.position == self.last_marked && self.reader.outbox.is_empty();
            if is_marked && self.marked.is_empty() {
                break;
            }
            if let Ok(mark) = self.marks.recv_timeout(Duration::from_millis(WAIT_MILLISECONDS.into())) {
                self.take_mark(mark);
            }
        }
        self.save();
        Ok(())
    }
}

impl Reader {
    fn handle_entry(&mut self, entry: &Entry) {
        let cursor = String::from_utf8_lossy(&entry.cursor).into_owned();
        let realtime = std::str::from_utf8(&entry.realtime).ok().and_then(|text| text.parse().ok());
        let position = Position { cursor, realtime: realtime.unwrap_or(self.position.realtime) };
        if let Some(sought) = &self.sought {
            if sought.cursor == position.cursor {
                self.sought = None;
                self.news = true;
                return;
            }
            // What is as old may have been read before; its hits have the same identities then.
            if position.realtime > sought.realtime {
                self.sought = None;
                self.report_gap();
            }
        }
        self.news = true;
        if is_wanted(entry, &self.units) && !self.own.wrote(entry, position.realtime) {
            self.read(entry);
        }
        self.position = position;
    }

    /// Reads each line of a message, as it would stand in a file.
    fn read(&mut self, entry: &Entry) {
        let identifier = [&entry.identifier, &entry.command].into_iter().find(|name| !name.is_empty());
        let pid = [&entry.pid, &entry.said_pid].into_iter().find(|pid| !pid.is_empty());
        let mut place = place_of(&entry.cursor);
        for text in lines_of(&entry.message) {
            self.lines += 1;
            self.line.clear();
            if let Some(identifier) = identifier {
                self.line.extend_from_slice(identifier);
                if let Some(pid) = pid {
                    [b"[", pid.as_slice(), b"]"].iter().for_each(|part| self.line.extend_from_slice(part));
                }
                self.line.extend_from_slice(b": ");
            }
            self.line.extend_from_slice(text);
            let line = Line { number: self.lines, offset: Some(place), bytes: &self.line };
            self.detector.handle_line(clock::now(), line);
            self.take_hits();
            self.meter.count_read(1);
            place = place.wrapping_add(1);
        }
        self.meter.count_dropped(u64::from(entry.is_cut));
    }

    fn take_hits(&mut self) {
        self.outbox.take_hits(&mut self.detector);
        self.told.count_hits(&self.detector, &self.meter);
    }

    fn handle_timeout(&mut self) {
        self.detector.handle_timeout(clock::now());
        self.take_hits();
        self.told.tell(&self.detector, &self.meter);
    }

    /// Messages may be gone that were not read: nobody can say how many.
    fn report_gap(&mut self) {
        warn!("the journal does not hold any more what was read last; messages after it may be lost");
        self.meter.count_dropped(1);
        let last_at = clock::now();
        let read_at = i64::try_from(self.position.realtime).unwrap_or(i64::MAX);
        let first_at = Timestamp::from_micros(read_at).min(last_at);
        let loss =
            Loss { id: None, count: 1, reason: LossReason::LogTruncated, first_at, last_at, gap: None };
        self.outbox.put(Record::Loss(loss));
    }
}

impl Own {
    fn wrote(&self, entry: &Entry, realtime: u64) -> bool {
        entry.pid == self.pid && realtime >= self.since
    }
}

/// Everything of the units that are named, or of all when none is.
fn is_wanted(entry: &Entry, units: &[Vec<u8>]) -> bool {
    let is_named = |unit: &[u8]| units.iter().any(|known| known == unit);
    units.is_empty() || is_named(&entry.unit) || (entry.transport == b"kernel" && is_named(b"kernel"))
}

/// A place for an entry in place of an offset: the same whenever it is read, and another for each entry. It fits a
/// signed number with room for the lines of the message.
fn place_of(cursor: &[u8]) -> u64 {
    let digest = Sha256::digest(cursor);
    digest.iter().take(8).fold(0u64, |sum, byte| sum << 8 | u64::from(*byte)) >> 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check([unit, transport]: [&str; 2], units: &[&str], expected: bool) {
        let [unit, transport] = [unit, transport].map(|text| text.as_bytes().to_vec());
        let entry = Entry { unit, transport, ..Entry::default() };
        let units: Vec<Vec<u8>> = units.iter().map(|unit| unit.as_bytes().to_vec()).collect();
        assert_eq!(is_wanted(&entry, &units), expected, "{entry:?}");
    }

    #[test]
    fn without_units_everything_is_read() {
        check(["ssh.service", "syslog"], &[], true);
        check(["", "kernel"], &[], true);
        check(["", ""], &[], true);
    }

    #[test]
    fn what_the_agent_says_is_not_read_but_what_had_its_number_before() {
        let own = Own { pid: b"99".to_vec(), since: 1000 };
        let wrote = |pid: &str, realtime| own.wrote(&Entry { pid: pid.into(), ..Entry::default() }, realtime);
        assert_eq!(
            [wrote("99", 1000), wrote("99", 999), wrote("98", 1000), wrote("", 1000)],
            [true, false, false, false]
        );
    }

    #[test]
    fn with_units_only_theirs_are_read() {
        let units = &["ssh.service", "kernel"];
        check(["ssh.service", "syslog"], units, true);
        check(["", "kernel"], units, true);
        check(["", "kernel"], &["ssh.service"], false);
        check(["cron.service", "syslog"], units, false);
        check(["ssh.service.d", "syslog"], units, false);
        check(["", "syslog"], units, false);
    }

    #[test]
    fn each_entry_has_a_place_of_its_own_with_room_behind_it() {
        let places: Vec<u64> =
            (0..1000u32).map(|number| place_of(format!("s=1;i={number:x}").as_bytes())).collect();
        assert_eq!(places.iter().collect::<std::collections::BTreeSet<_>>().len(), places.len());
        assert!(places.iter().all(|place| *place <= u64::MAX >> 2));
        assert_eq!(place_of(b"s=1;i=7"), places[7]);
    }
}

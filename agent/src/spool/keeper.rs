//! The spool's thread: takes hits from the workers, writes them in batches, tells the log worker which
//! positions and the uplink which sequences are safe. Trouble with the disk never ends it.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use protocol::identity::{Epoch, LossId};
use protocol::message::{Loss, LossReason, Record};
use protocol::{Hit, Severity};
use tokio::sync::watch;
use tracing::{info, warn};

use super::disk::{Disk, LocalDisk};
use super::entry::{self, Entry};
use super::folder::{Durability, SpoolFolder};
use super::log::{AppendError, SegmentLog};
use super::record::{HEADER_BYTES, PAYLOAD_BYTES_MAX};
use super::sink::{HitSink, Input, Signals, SpoolControl};
use crate::clock;
use crate::config::SpoolConfig;
use crate::published::Published;
use crate::stages::Stage;

/// Hits on their way to the spool. Live ones beyond that are dropped and counted, lines wait.
const HITS_QUEUED_MAX: usize = 1024;
/// Live hits in one write to the disk, and those that wait for a disk that takes nothing.
const LIVE_MAX: usize = 512;
/// Hits of lines that wait for room while live ones go on: what was on its way when lines were told to wait.
const PATIENT_MAX: usize = 2 * HITS_QUEUED_MAX;
/// How long the thread waits for hits before it looks at acknowledgements.
const TICK: Duration = Duration::from_millis(500);
/// How often a full spool tries again.
const FULL_TICK: Duration = Duration::from_millis(250);
/// How often what is acknowledged is written down; a crash sends again what came since.
const POSITION_EVERY: Duration = Duration::from_secs(1);
/// How often a full spool says what was lost since.
const LOSSES_EVERY: Duration = Duration::from_secs(60);
/// A log that a broken disk closed is opened again after this time, then after twice that, up to the second.
const OPEN_AGAIN_AFTER: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(30)];

/// What is safe on disk. Sequences are those on disk; the methods give the collector's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Safe {
    /// Identity of this run of sequences.
    pub epoch: Epoch,
    /// The collector's sequence is the one on disk less this.
    pub base: u64,
    /// Newest that is safe.
    pub last: u64,
    /// Everything up to here is acknowledged.
    pub acknowledged: u64,
    /// Bytes of all segments.
    pub bytes: u64,
}

impl Safe {
    /// What a log holds.
    pub fn of(log: &SegmentLog) -> Self {
        let position = log.position();
        Self {
            epoch: position.epoch,
            base: position.base,
            last: log.last(),
            acknowledged: position.acknowledged,
            bytes: log.bytes(),
        }
    }

    /// Newest safe sequence, as the collector counts.
    pub fn newest(&self) -> u64 {
        self.last - self.base
    }

    /// Everything up to here is acknowledged, as the collector counts.
    pub fn stored(&self) -> u64 {
        self.acknowledged - self.base
    }

    /// Records that wait.
    pub fn depth(&self) -> u64 {
        self.last - self.acknowledged
    }
}

/// A started spool.
pub struct SpoolHandles {
    /// For the workers.
    pub sink: HitSink,
    /// For the log worker: marks whose hits are safe.
    pub marks: Receiver<u64>,
    /// For uplink and status.
    pub control: SpoolControl,
    /// Ends when every [`HitSink`] is gone.
    pub thread: Stage,
}

/// Says what a hit is worth, when there is no room for all.
pub type SeverityOf = Box<dyn Fn(&Hit) -> Severity + Send>;

/// Opens the spool in a folder and starts its thread; of all hits the oldest is worth least.
///
/// # Errors
/// When its folder cannot be used, with what to do.
pub fn start(folder: &Path, config: &SpoolConfig) -> anyhow::Result<SpoolHandles> {
    start_on(LocalDisk::new(folder), config, Box::new(|_| Severity::default()))
}

/// Opens the spool on a disk and starts its thread.
///
/// # Errors
/// When the disk cannot be used, with what to do.
pub fn start_on(
    disk: impl Disk + 'static,
    config: &SpoolConfig,
    severity_of: SeverityOf,
) -> anyhow::Result<SpoolHandles> {
    let folder = Arc::new(SpoolFolder::new(disk));
    let (mut log, recovered) = SegmentLog::open(Arc::clone(&folder), config.bytes_max)?;
    log.keep_ballast();
    info!(records = recovered.records, damaged = recovered.damaged, "spool opened");
    let signals = Arc::new(Signals::default());
    let (to_keeper, inputs) = sync_channel(HITS_QUEUED_MAX);
    let (marks_safe, marks) = channel();
    let (publish, safe) = watch::channel(Safe::of(&log));
    let worker = Arc::new(());
    let trouble = Published::new(String::new());
    let mut keeper = Keeper {
        folder: Arc::clone(&folder),
        bytes_max: config.bytes_max,
        safe_last: log.last(),
        log: Some(log),
        severity_of,
        inputs,
        workers: Arc::downgrade(&worker),
        signals: Arc::clone(&signals),
        publish,
        marks_safe,
        trouble: trouble.clone(),
        out_of_space: false,
        open_again: (Instant::now(), OPEN_AGAIN_AFTER[0]),
        live: Vec::new(),
        patient: Vec::new(),
        marks: Vec::new(),
        looked_at: Instant::now(),
        losses_at: Instant::now(),
        gave_up: false,
    };
    if recovered.damaged > 0 {
        warn!(records = recovered.damaged, "part of the spool was damaged; what is left is sent");
    }
    if recovered.untold > 0 {
        let loss = keeper.payload(damage(recovered.untold));
        keeper.live.extend(loss);
    }
    let thread = std::thread::Builder::new().name("spool".into()).spawn(move || {
        keeper.run();
        Ok(())
    })?;
    let control = SpoolControl { safe, signals: Arc::clone(&signals), folder, trouble };
    Ok(SpoolHandles { sink: HitSink { to_keeper, signals, _worker: worker }, marks, control, thread })
}

fn damage(count: u64) -> Record {
    let at = clock::now();
    Record::Loss(Loss {
        id: None,
        count,
        reason: LossReason::SpoolDamaged,
        first_at: at,
        last_at: at,
        gap: None,
    })
}

struct Keeper {
    folder: Arc<SpoolFolder>,
    bytes_max: u64,
    /// `None` after an error of the disk, until it can be opened again.
    log: Option<SegmentLog>,
    /// The newest sequence that is safe, also while there is no log.
    safe_last: u64,
    severity_of: SeverityOf,
    inputs: Receiver<Input>,
    workers: Weak<()>,
    signals: Arc<Signals>,
    publish: watch::Sender<Safe>,
    marks_safe: Sender<u64>,
    trouble: Published<String>,
    /// The file system had no room for the last write.
    out_of_space: bool,
    /// When the log is opened again, and how long the next wait is.
    open_again: (Instant, Duration),
    /// Payloads of live traffic that are not on disk yet.
    live: Vec<Vec<u8>>,
    /// Payloads of lines that are not on disk yet.
    patient: Vec<Vec<u8>>,
    /// Marks behind them.
    marks: Vec<u64>,
    looked_at: Instant,
    losses_at: Instant,
    /// Hits had to be given up, and that was said.
    gave_up: bool,
}

impl Keeper {
    fn run(mut self) {
        while !self.gather() {
            self.write();
            self.follow_uplink();
        }
        self.push_losses();
        self.write();
        if !self.live.is_empty() {
            warn!(
                records = self.live.len(),
                "stopped while the disk was full or failing: these hits are lost"
            );
        }
        if let Some(log) = self.log {
            log.close();
        }
    }

    /// Waits for input, then takes what is there. Gives whether all workers are gone and all is taken.
    fn gather(&mut self) -> bool {
        // While the disk takes nothing the queue fills behind a full batch: lines wait, live hits are counted.
        if self.is_loaded() {
            std::thread::sleep(FULL_TICK);
            return self.workers.strong_count() == 0;
        }
        let waits = !self.live.is_empty() || !self.patient.is_empty();
        match self.inputs.recv_timeout(if waits { FULL_TICK } else { TICK }) {
            Ok(input) => self.take(input),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
        while !self.is_loaded() {
            match self.inputs.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => break,
            }
        }
        false
    }

    fn is_loaded(&self) -> bool {
        self.live.len() >= LIVE_MAX || self.patient.len() >= PATIENT_MAX
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Record(record) => self.patient.extend(self.payload(*record)),
            Input::Live(record) => self.live.extend(self.payload(*record)),
            Input::Mark(mark) => self.marks.push(mark),
        }
    }

    fn payload(&self, mut record: Record) -> Option<Vec<u8>> {
        let severity = match &mut record {
            Record::Hit(hit) => (self.severity_of)(hit),
            Record::Loss(loss) => {
                loss.id.get_or_insert_with(|| LossId(rand::random()));
                Severity::default()
            }
            Record::Unknown => Severity::default(),
        };
        match entry::encode(&record, severity) {
            Ok(payload) if payload.len() <= PAYLOAD_BYTES_MAX => return Some(payload),
            Ok(payload) => warn!(bytes = payload.len(), "a hit is too long for the spool and is dropped"),
            Err(error) => warn!(%error, "a hit cannot be written and is dropped"),
        }
        self.signals.count_lost(clock::now());
        None
    }

    /// Writes what was gathered, as far as there is room; afterwards the marks behind it are safe.
    fn write(&mut self) {
        let written = self.write_all();
        let is_short = |log: &SegmentLog| log.room() < log.quota().lines_keep_free;
        let no_room = !self.patient.is_empty() || self.log.as_ref().is_none_or(is_short);
        match written {
            Ok(()) | Err(AppendError::Full { .. }) => {
                self.out_of_space = false;
                self.open_again.1 = OPEN_AGAIN_AFTER[0];
                self.say(String::new());
            }
            Err(error @ AppendError::NoSpace { .. }) => {
                self.say(error.to_string());
                self.out_of_space = true;
                if let Some(log) = &mut self.log {
                    log.give_up_ballast();
                }
            }
            Err(error @ AppendError::Disk { .. }) => self.break_off(error.to_string()),
        }
        self.tell_room(no_room || !self.trouble.load().is_empty());
        self.publish_safe();
        if self.patient.is_empty() {
            for mark in self.marks.drain(..) {
                // The log worker ends before the spool.
                let _ = self.marks_safe.send(mark);
            }
        }
    }

    fn write_all(&mut self) -> Result<(), AppendError> {
        if self.live.is_empty() && self.patient.is_empty() && self.trouble.load().is_empty() {
            return Ok(());
        }
        self.open_log()?;
        if let Some(log) = &self.log
            && self.out_of_space
            && !log.has_space()
        {
            return Err(self.still_no_space());
        }
        while !self.live.is_empty() {
            match self.log.as_mut().map(|log| append(log, &mut self.live, 0)) {
                Some(Err(AppendError::Full { .. })) => {
                    if !self.make_room()? {
                        break;
                    }
                }
                Some(written) => written?,
                None => break,
            }
        }
        while let Some(log) = &mut self.log
            && !self.patient.is_empty()
        {
            let keep_free = log.quota().lines_keep_free;
            append(log, &mut self.patient, keep_free)?;
        }
        Ok(())
    }

    fn still_no_space(&self) -> AppendError {
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        AppendError::NoSpace { folder: self.folder.disk().path().to_owned(), error }
    }

    /// Opens the log again after an error, when it is time.
    fn open_log(&mut self) -> Result<(), AppendError> {
        if self.log.is_some() {
            return Ok(());
        }
        let failed = |reason: String| AppendError::Disk {
            folder: self.folder.disk().path().to_owned(),
            error: std::io::Error::other(reason),
        };
        let (at, pause) = self.open_again;
        if Instant::now() < at {
            return Err(failed("it failed before".into()));
        }
        self.open_again.1 = (pause * 2).min(OPEN_AGAIN_AFTER[1]);
        match SegmentLog::open_again(Arc::clone(&self.folder), self.bytes_max, self.safe_last) {
            Ok(log) => {
                info!("the spool was opened again after an error of the disk");
                self.log = Some(log);
                Ok(())
            }
            Err(error) => {
                self.open_again.0 = Instant::now() + pause;
                Err(failed(error.to_string()))
            }
        }
    }

    /// The disk failed: nothing more is written through what is open now.
    fn break_off(&mut self, trouble: String) {
        if let Some(log) = self.log.take() {
            self.safe_last = log.last();
            self.open_again.0 = Instant::now() + self.open_again.1;
        }
        // The first reason says more than those of further attempts.
        if self.trouble.load().is_empty() || self.out_of_space {
            self.say(trouble);
        }
        self.out_of_space = false;
    }

    /// Says once what is wrong, or that nothing is any more.
    fn say(&self, trouble: String) {
        let before = self.trouble.load();
        if before.is_empty() == trouble.is_empty() {
            return;
        }
        match trouble.as_str() {
            "" => info!("the spool's disk takes hits again"),
            trouble => warn!("{trouble}"),
        }
        self.trouble.publish(trouble);
    }

    /// Gives up the oldest hits that are worth least, or of those that have no room the ones that are worth less yet.
    /// Gives whether there is anything left to be tried.
    fn make_room(&mut self) -> Result<bool, AppendError> {
        let Some(log) = &mut self.log else { return Ok(false) };
        let new = self.live.iter().filter_map(|payload| entry::severity(payload)).min();
        if let Some(old) = log.lowest().filter(|old| new.is_none_or(|new| *old <= new)) {
            let count = match log.give_up(old) {
                Err(AppendError::Full { .. }) => 0,
                given_up => given_up?,
            };
            self.signals.lost_total.fetch_add(count, Ordering::Relaxed);
            if count > 0 {
                if !std::mem::replace(&mut self.gave_up, true) {
                    warn!(
                        bytes_max = self.bytes_max,
                        "the spool is full: the oldest hits of the lowest severity are given up; see to the connection, or raise spool.bytes_max"
                    );
                }
                return Ok(true);
            }
        }
        let Some(new) = new else { return Ok(false) };
        let (dropped, kept) = std::mem::take(&mut self.live)
            .into_iter()
            .partition(|payload| entry::severity(payload) == Some(new));
        self.live = kept;
        let dropped: Vec<Vec<u8>> = dropped;
        for payload in dropped {
            let at = match entry::decode(&payload) {
                Entry::Record(Record::Hit(hit)) => hit.last_at,
                _ => clock::now(),
            };
            self.signals.count_lost(at);
        }
        Ok(true)
    }

    /// Tells lines to wait, or to come.
    fn tell_room(&mut self, full: bool) {
        if self.signals.closed.swap(full, Ordering::Relaxed) && !full {
            self.gave_up = false;
            info!(
                lost = self.signals.lost_total.load(Ordering::Relaxed),
                "the spool takes lines' hits again"
            );
        }
    }

    /// What was lost while the spool was full goes into the spool itself.
    fn push_losses(&mut self) {
        self.losses_at = Instant::now();
        if let Some(loss) = self.signals.take_lost() {
            self.live.extend(self.payload(Record::Loss(loss)));
        }
    }

    fn follow_uplink(&mut self) {
        if let Some(log) = &mut self.log {
            if self.signals.renew_epoch.swap(false, Ordering::Relaxed)
                && let Err(error) = log.renew_epoch()
            {
                warn!(%error, "a new epoch of the spool cannot be written down");
            }
            if let Err(error) = log.acknowledge(self.signals.acknowledged.load(Ordering::Relaxed)) {
                let folder = self.folder.disk().path().to_owned();
                self.break_off(AppendError::Disk { folder, error }.to_string());
            }
        }
        if self.looked_at.elapsed() >= POSITION_EVERY
            && let Some(log) = &mut self.log
        {
            self.looked_at = Instant::now();
            log.keep_ballast();
            log.save_position(Durability::Lazy);
        }
        let closed = self.signals.closed.load(Ordering::Relaxed);
        if !closed || self.losses_at.elapsed() >= LOSSES_EVERY {
            self.push_losses();
        }
        self.publish_safe();
    }

    fn publish_safe(&mut self) {
        let Some(log) = &self.log else { return };
        let safe = Safe::of(log);
        if safe != *self.publish.borrow() {
            self.publish.send_replace(safe);
        }
    }
}

/// Appends the first of what waits, as many as one write takes, when more than `keep_free` stays free.
fn append(log: &mut SegmentLog, payloads: &mut Vec<Vec<u8>>, keep_free: u64) -> Result<(), AppendError> {
    let mut bytes = 0;
    let fits = |payload: &&Vec<u8>| {
        bytes += (payload.len() + HEADER_BYTES) as u64;
        bytes <= log.quota().batch_bytes_max
    };
    let count = payloads.iter().take_while(fits).count().max(1);
    let batch = payloads.get(..count).unwrap_or_default();
    let wanted: usize = batch.iter().map(|payload| payload.len() + HEADER_BYTES).sum();
    if log.room() < keep_free + wanted as u64 {
        return Err(AppendError::Full { bytes_max: log.quota().bytes_max });
    }
    log.append(batch)?;
    payloads.drain(..count);
    Ok(())
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;

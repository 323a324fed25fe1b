//! The spool's thread: takes hits from the workers, writes them in batches, tells the log worker which
//! positions and the uplink which sequences are safe.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use protocol::identity::Epoch;
use protocol::message::{Loss, LossReason, Record};
use protocol::{Hit, Timestamp};
use tokio::sync::watch;
use tracing::{info, warn};

use super::log::{AppendError, SegmentLog};
use super::position::Durability;
use super::record::PAYLOAD_BYTES_MAX;
use crate::clock;
use crate::config::SpoolConfig;
use crate::stages::Stage;

/// Hits on their way to the spool. Live ones beyond that are dropped and counted, lines wait.
const HITS_QUEUED_MAX: usize = 1024;
/// One write to the disk.
const BATCH_RECORDS_MAX: usize = 512;
/// How long the thread waits for hits before it looks at acknowledgements.
const TICK: Duration = Duration::from_millis(500);
/// How often a full spool tries again.
const FULL_TICK: Duration = Duration::from_millis(250);

/// How often what is acknowledged is written down; a crash sends again what came since.
const POSITION_EVERY: Duration = Duration::from_secs(1);

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
    fn of(log: &SegmentLog) -> Self {
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

enum Input {
    Record(Box<Record>),
    /// Everything sent before it belongs to positions up to this mark.
    Mark(u64),
}

/// What workers and uplink tell without waiting.
#[derive(Debug, Default)]
struct Signals {
    /// The spool takes nothing: its disk or its quota is full.
    closed: AtomicBool,
    /// Live hits lost meanwhile, not yet reported.
    lost: AtomicU64,
    lost_first: AtomicI64,
    lost_last: AtomicI64,
    /// Live hits lost since the start.
    lost_total: AtomicU64,
    /// What the uplink says may be deleted, as sequence on disk.
    acknowledged: AtomicU64,
    renew_epoch: AtomicBool,
}

/// Where workers put their hits.
#[derive(Clone, Debug)]
pub struct HitSink {
    to_keeper: SyncSender<Input>,
    signals: Arc<Signals>,
    /// The spool ends when the last of these is gone.
    _worker: Arc<()>,
}

impl std::fmt::Debug for Input {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Input")
    }
}

/// Why a record was not put.
#[derive(Debug)]
pub enum NotPut {
    /// No room now.
    Full(Box<Record>),
    /// Never again.
    Stopped(SpoolStopped),
}

/// The spool's thread is gone; the process is ending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spool has stopped")]
pub struct SpoolStopped;

impl HitSink {
    /// A hit of live traffic, which cannot wait: while the spool is full it is dropped and counted.
    pub fn offer(&self, hit: Hit) {
        let at = hit.last_at;
        let closed = self.signals.closed.load(Ordering::Relaxed);
        if closed || self.to_keeper.try_send(Input::Record(Box::new(Record::Hit(Box::new(hit))))).is_err() {
            self.signals.count_lost(at);
        }
    }

    /// A loss of live traffic to report; dropped like a hit while the spool is full.
    pub fn offer_loss(&self, loss: Loss) {
        if self.is_open() {
            // A queue that is full now has more to say about losses in a minute.
            let _ = self.to_keeper.try_send(Input::Record(Box::new(Record::Loss(loss))));
        }
    }

    /// A hit of a line, or a loss of lines: given back while there is no room, to be put again later.
    ///
    /// # Errors
    /// With the record, or when the spool has stopped.
    pub fn put(&self, record: Box<Record>) -> Result<(), NotPut> {
        self.to_keeper.try_send(Input::Record(record)).map_err(|refused| match refused {
            TrySendError::Full(Input::Record(record)) => NotPut::Full(record),
            _ => NotPut::Stopped(SpoolStopped),
        })
    }

    /// Asks to be told, by [`SpoolHandles::marks`], when everything put so far is safe.
    /// Gives whether there was room for the question.
    ///
    /// # Errors
    /// When the spool has stopped.
    pub fn mark(&self, mark: u64) -> Result<bool, SpoolStopped> {
        match self.to_keeper.try_send(Input::Mark(mark)) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(SpoolStopped),
        }
    }

    /// Notes that a live hit was lost on its way here.
    pub fn count_lost(&self, at: Timestamp) {
        self.signals.count_lost(at);
    }

    /// Whether lines should be read; while the spool is full they wait in their files.
    pub fn is_open(&self) -> bool {
        !self.signals.closed.load(Ordering::Relaxed)
    }
}

impl Signals {
    fn count_lost(&self, at: Timestamp) {
        self.lost_total.fetch_add(1, Ordering::Relaxed);
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lost_first.store(at.as_micros(), Ordering::Relaxed);
        }
        self.lost_last.store(at.as_micros(), Ordering::Relaxed);
    }

    fn take_lost(&self) -> Option<Loss> {
        let count = self.lost.swap(0, Ordering::Relaxed);
        let at = |micros: &AtomicI64| Timestamp::from_micros(micros.load(Ordering::Relaxed));
        (count > 0).then(|| Loss {
            count,
            reason: LossReason::SpoolFull,
            first_at: at(&self.lost_first),
            last_at: at(&self.lost_last),
            gap: None,
        })
    }
}

/// What the uplink and `status` use.
#[derive(Clone, Debug)]
pub struct SpoolControl {
    /// What is safe, published after each write.
    pub safe: watch::Receiver<Safe>,
    signals: Arc<Signals>,
}

impl SpoolControl {
    /// The collector committed everything up to this sequence, as it counts in `safe`'s epoch.
    pub fn acknowledge(&self, safe: &Safe, up_to: u64) {
        self.signals.acknowledged.fetch_max(up_to + safe.base, Ordering::Relaxed);
    }

    /// The collector knows more of this epoch than the spool does: begin a new one and send again.
    pub fn renew_epoch(&self) {
        self.signals.renew_epoch.store(true, Ordering::Relaxed);
    }

    /// Whether the spool takes nothing.
    pub fn is_full(&self) -> bool {
        self.signals.closed.load(Ordering::Relaxed)
    }

    /// Live hits dropped since the start because the spool was full.
    pub fn lost(&self) -> u64 {
        self.signals.lost_total.load(Ordering::Relaxed)
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
    /// Ends when every [`HitSink`] is gone, or with the disk's error.
    pub thread: Stage,
}

/// Opens the spool and starts its thread.
///
/// # Errors
/// When its folder cannot be used, with what to do.
pub fn start(folder: &Path, config: &SpoolConfig) -> anyhow::Result<SpoolHandles> {
    let (log, recovered) = SegmentLog::open(folder, config.bytes_max)?;
    info!(records = recovered.records, damaged = recovered.damaged, "spool opened");
    let signals = Arc::new(Signals::default());
    let (to_keeper, inputs) = sync_channel(HITS_QUEUED_MAX);
    let (marks_safe, marks) = channel();
    let (publish, safe) = watch::channel(Safe::of(&log));
    let worker = Arc::new(());
    let mut keeper = Keeper {
        log,
        inputs,
        workers: Arc::downgrade(&worker),
        signals: signals.clone(),
        publish,
        marks_safe,
        payloads: Vec::new(),
        marks: Vec::new(),
        position_saved_at: Instant::now(),
    };
    if recovered.damaged > 0 {
        warn!(records = recovered.damaged, "part of the spool was damaged; what is left is sent");
        keeper.push(&damage(recovered.damaged));
    }
    let thread = std::thread::Builder::new().name("spool".into()).spawn(move || Ok(keeper.run()?))?;
    let control = SpoolControl { safe, signals: signals.clone() };
    Ok(SpoolHandles { sink: HitSink { to_keeper, signals, _worker: worker }, marks, control, thread })
}

fn damage(count: u64) -> Record {
    let at = clock::now();
    Record::Loss(Loss { count, reason: LossReason::SpoolDamaged, first_at: at, last_at: at, gap: None })
}

struct Keeper {
    log: SegmentLog,
    inputs: Receiver<Input>,
    workers: Weak<()>,
    signals: Arc<Signals>,
    publish: watch::Sender<Safe>,
    marks_safe: Sender<u64>,
    /// Encoded records that are not on disk yet.
    payloads: Vec<Vec<u8>>,
    /// Marks behind them.
    marks: Vec<u64>,
    position_saved_at: Instant,
}

impl Keeper {
    fn run(mut self) -> Result<(), AppendError> {
        while !self.gather() {
            self.write()?;
            self.follow_uplink();
        }
        self.push_losses();
        self.write()?;
        if !self.payloads.is_empty() {
            warn!(records = self.payloads.len(), "stopped while the disk was full: these hits are lost");
        }
        self.log.close();
        Ok(())
    }

    /// Waits for input, then takes what is there. Gives whether all workers are gone and all is taken.
    fn gather(&mut self) -> bool {
        let full = self.signals.closed.load(Ordering::Relaxed);
        // While the disk is full the queue fills behind a full batch: lines wait, live hits are counted.
        if self.payloads.len() >= BATCH_RECORDS_MAX {
            std::thread::sleep(FULL_TICK);
            return self.workers.strong_count() == 0;
        }
        match self.inputs.recv_timeout(if full { FULL_TICK } else { TICK }) {
            Ok(input) => self.take(input),
            Err(RecvTimeoutError::Timeout) => return false,
            Err(RecvTimeoutError::Disconnected) => return true,
        }
        while self.payloads.len() < BATCH_RECORDS_MAX {
            match self.inputs.try_recv() {
                Ok(input) => self.take(input),
                Err(_) => break,
            }
        }
        false
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Record(record) => self.push(&record),
            Input::Mark(mark) => self.marks.push(mark),
        }
    }

    fn push(&mut self, record: &Record) {
        match protocol::frame::encode(record) {
            Ok(frame) => {
                let payload = frame.get(protocol::frame::LENGTH_BYTES..).unwrap_or_default();
                if payload.len() <= PAYLOAD_BYTES_MAX {
                    self.payloads.push(payload.to_vec());
                } else {
                    warn!(bytes = payload.len(), "a hit is too long for the spool and is dropped");
                    self.signals.count_lost(clock::now());
                }
            }
            Err(error) => warn!(%error, "a hit cannot be written and is dropped"),
        }
    }

    /// Writes what was gathered; afterwards the marks behind it are safe.
    fn write(&mut self) -> Result<(), AppendError> {
        if !self.payloads.is_empty() {
            match self.log.append(&self.payloads) {
                Ok(_) => {}
                Err(error @ AppendError::Disk { .. }) => return Err(error),
                Err(error) => {
                    if !self.signals.closed.swap(true, Ordering::Relaxed) {
                        warn!("{error}");
                    }
                    return Ok(());
                }
            }
            self.payloads.clear();
            self.reopen();
            self.publish.send_replace(Safe::of(&self.log));
        }
        for mark in self.marks.drain(..) {
            // The log worker ends before the spool.
            let _ = self.marks_safe.send(mark);
        }
        Ok(())
    }

    /// There is room again: says so once.
    fn reopen(&mut self) {
        if self.signals.closed.swap(false, Ordering::Relaxed) {
            info!(lost = self.signals.lost_total.load(Ordering::Relaxed), "the spool takes hits again");
        }
    }

    /// What was lost while the spool was full goes into the spool itself.
    fn push_losses(&mut self) {
        if let Some(loss) = self.signals.take_lost() {
            self.push(&Record::Loss(loss));
        }
    }

    fn follow_uplink(&mut self) {
        let before = Safe::of(&self.log);
        if self.signals.renew_epoch.swap(false, Ordering::Relaxed)
            && let Err(error) = self.log.renew_epoch()
        {
            warn!(%error, "a new epoch of the spool cannot be written down");
        }
        if let Err(error) = self.log.acknowledge(self.signals.acknowledged.load(Ordering::Relaxed)) {
            warn!(%error, "a delivered segment cannot be removed");
        }
        if self.position_saved_at.elapsed() >= POSITION_EVERY {
            self.position_saved_at = Instant::now();
            self.log.save_position(Durability::Lazy);
        }
        if !self.signals.closed.load(Ordering::Relaxed) {
            self.push_losses();
        }
        let safe = Safe::of(&self.log);
        if safe != before {
            self.publish.send_replace(safe);
        }
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;

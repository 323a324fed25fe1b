//! What the spool's thread shares with those around it: where workers put their hits, what the uplink and `status`
//! are told. Nobody waits for anybody here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};

use protocol::message::{Loss, LossReason, Record};
use protocol::{Hit, Timestamp};
use tokio::sync::watch;

use super::folder::SpoolFolder;
use super::keeper::Safe;
use super::reader::SpoolReader;
use crate::published::Published;

/// What comes to the spool's thread.
pub(super) enum Input {
    /// It can wait: of a line, which is read again otherwise.
    Record(Box<Record>),
    /// It cannot: of live traffic.
    Live(Box<Record>),
    /// Everything sent before it belongs to positions up to this mark.
    Mark(u64),
}

/// What workers and uplink tell without waiting.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// Lines wait: the disk takes nothing, or only live hits go into what is left of the limit.
    pub closed: AtomicBool,
    /// Live hits lost meanwhile, not yet reported.
    lost: AtomicU64,
    lost_first: AtomicI64,
    lost_last: AtomicI64,
    /// Hits lost since the start for want of room.
    pub lost_total: AtomicU64,
    /// What the uplink says may be deleted, as sequence on disk.
    pub acknowledged: AtomicU64,
    pub renew_epoch: AtomicBool,
}

/// Where workers put their hits.
#[derive(Clone, Debug)]
pub struct HitSink {
    pub(super) to_keeper: SyncSender<Input>,
    pub(super) signals: Arc<Signals>,
    /// The spool ends when the last of these is gone.
    pub(super) _worker: Arc<()>,
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
    /// A hit of live traffic, which cannot wait: when the queue is full it is dropped and counted. In a full spool
    /// it takes the place of older ones that are worth no more.
    pub fn offer(&self, hit: Hit) {
        let at = hit.last_at;
        if self.to_keeper.try_send(Input::Live(Box::new(Record::Hit(Box::new(hit))))).is_err() {
            self.signals.count_lost(at);
        }
    }

    /// A loss of live traffic to report; dropped like a hit while the spool is full.
    pub fn offer_loss(&self, loss: Loss) {
        if self.is_open() {
            // A queue that is full now has more to say about losses in a minute.
            let _ = self.to_keeper.try_send(Input::Live(Box::new(Record::Loss(loss))));
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

    /// Asks to be told, by [`super::SpoolHandles::marks`], when everything put so far is safe.
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
    pub fn count_lost(&self, at: Timestamp) {
        self.lost_total.fetch_add(1, Ordering::Relaxed);
        if self.lost.fetch_add(1, Ordering::Relaxed) == 0 {
            self.lost_first.store(at.as_micros(), Ordering::Relaxed);
        }
        self.lost_last.store(at.as_micros(), Ordering::Relaxed);
    }

    pub fn take_lost(&self) -> Option<Loss> {
        let count = self.lost.swap(0, Ordering::Relaxed);
        let at = |micros: &AtomicI64| Timestamp::from_micros(micros.load(Ordering::Relaxed));
        (count > 0).then(|| Loss {
            id: None,
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
    pub(super) signals: Arc<Signals>,
    pub(super) folder: Arc<SpoolFolder>,
    pub(super) trouble: Published<String>,
}

impl SpoolControl {
    /// A reader of what is safe.
    pub fn reader(&self) -> SpoolReader {
        SpoolReader::beside(Arc::clone(&self.folder))
    }

    /// The collector committed everything up to this sequence, as it counts in `safe`'s epoch.
    pub fn acknowledge(&self, safe: &Safe, up_to: u64) {
        self.signals.acknowledged.fetch_max(up_to + safe.base, Ordering::Relaxed);
    }

    /// The collector knows more of this epoch than the spool does: begin a new one and send again.
    pub fn renew_epoch(&self) {
        self.signals.renew_epoch.store(true, Ordering::Relaxed);
    }

    /// Whether lines wait because the spool has no room for them.
    pub fn is_full(&self) -> bool {
        self.signals.closed.load(Ordering::Relaxed)
    }

    /// What is wrong with the disk and what to do; empty while nothing is.
    pub fn trouble(&self) -> String {
        self.trouble.load().as_ref().clone()
    }

    /// Hits lost since the start because there was no room for them.
    pub fn lost(&self) -> u64 {
        self.signals.lost_total.load(Ordering::Relaxed)
    }
}

//! The open cooldowns of followed logs on their way to the state. They are taken with a position, in the moment in which
//! every line before it was counted, and saved with it: what is read again after a crash is counted as it was.

use std::time::{Duration, Instant};

use detect::{Detector, OpenHit};

/// How often the cooldowns of a log are taken; the position of lines that counted since waits for the next time.
const TAKEN_EVERY: Duration = Duration::from_secs(1);
/// How often cooldowns are taken that nothing was added to: another source may have told of the same.
const TAKEN_AGAIN_EVERY: Duration = Duration::from_secs(10);
/// Hits of all logs that are kept, the newest of each; the others begin again after a crash.
const HITS_MAX: usize = 256;
/// Their bytes.
const BYTES_MAX: usize = 128 << 10;
/// What each log may keep, however many there are.
const HITS_EACH_MIN: usize = 2;
const BYTES_EACH_MIN: usize = 4 << 10;

/// The cooldowns of one log, by its name in the state.
pub type KeptHits = Vec<(Vec<u8>, Vec<OpenHit>)>;

/// When a log's cooldowns were taken, and whether there were any.
#[derive(Debug, Default)]
pub struct Kept {
    taken_at: Option<Instant>,
    changes: u64,
    is_some: bool,
}

impl Kept {
    /// Gives back what was saved: it closes when it would have.
    pub fn give_back(&mut self, detector: &mut Detector, open: Vec<OpenHit>) {
        self.is_some = !open.is_empty();
        // The newest comes first.
        open.into_iter().rev().for_each(|open| detector.reopen(crate::clock::now(), open));
    }

    /// Whether everything that a log's detector counted is among what was taken.
    pub fn is_whole(&self, detector: &Detector) -> bool {
        self.changes == detector.cooldown_changes()
    }

    /// Whether it is time to take them.
    pub fn is_due(&self, detector: &Detector) -> bool {
        let every = if self.is_whole(detector) { TAKEN_AGAIN_EVERY } else { TAKEN_EVERY };
        let is_late = self.taken_at.is_none_or(|at| at.elapsed() >= every);
        is_late && (self.is_some || !self.is_whole(detector))
    }

    /// Takes them, as much as one of so many logs may keep; `None` when there are none, and were none before.
    pub fn take(&mut self, detector: &Detector, logs: usize) -> Option<Vec<OpenHit>> {
        let before = self.is_some;
        let hits_max = (HITS_MAX / logs.max(1)).max(HITS_EACH_MIN);
        let open = detector.open_hits(hits_max, (BYTES_MAX / logs.max(1)).max(BYTES_EACH_MIN));
        *self = Self {
            taken_at: Some(Instant::now()),
            changes: detector.cooldown_changes(),
            is_some: !open.is_empty(),
        };
        (before || self.is_some).then_some(open)
    }

    /// What was taken is not saved: it is taken again.
    pub fn take_back(&mut self) {
        *self = Self { taken_at: None, changes: u64::MAX, is_some: true };
    }
}

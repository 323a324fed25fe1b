//! One followed path with its detector: lines go in, hits go out to the spool, and what is to be told is counted.

use std::sync::Arc;
use std::time::Instant;

use detect::{Detector, Line};
use protocol::message::{Loss, LossReason, Record};
use tracing::warn;

use super::follow::{Follower, PathPosition, Turn};
use super::kept::Kept;
use super::line_reader::Block;
use super::log_status::{LogStatus, name_of};
use super::outbox::Outbox;
use super::{Meter, Told};
use crate::clock;

/// One path with its detector.
pub struct Followed {
    /// Reads it.
    pub follower: Follower,
    /// Looks through its lines.
    pub detector: Detector,
    /// What of its counts is told.
    pub told: Told,
    /// Its open cooldowns, as far as they are saved.
    pub kept: Kept,
    /// Where they are told.
    pub meter: Arc<Meter>,
    /// What status tells of it.
    pub log: LogStatus,
    /// Its name in the state.
    pub name: Vec<u8>,
    /// What was marked last.
    pub marked: PathPosition,
    /// What is known to be safe.
    pub safe: PathPosition,
    /// Whether events tell of it.
    pub watched: bool,
    /// Whether it is to be looked at now.
    pub due: bool,
    /// When it was.
    pub looked_at: Instant,
    /// Whether a pattern brought it.
    pub of_pattern: bool,
    /// Since when nothing is there.
    pub over_since: Option<Instant>,
}

/// Reads one path.
pub fn read(followed: &mut Followed, block: &mut Block, outbox: &mut Outbox) -> Turn {
    followed.looked_at = Instant::now();
    let now = clock::now();
    let detector = &mut followed.detector;
    let turn = followed.follower.turn(block, &mut |line| {
        detector.handle_line(now, Line { number: line.number, offset: Some(line.place), bytes: line.bytes });
        outbox.take_hits(detector);
        outbox.has_room()
    });
    followed.told.count_hits(&followed.detector, &followed.meter);
    count(followed, &turn, outbox);
    turn
}

fn count(followed: &mut Followed, turn: &Turn, outbox: &mut Outbox) {
    let meter = &followed.meter;
    meter.count_read(turn.counts.lines);
    followed.told.tell(&followed.detector, meter);
    meter.count_dropped(turn.counts.cut + turn.gaps.len() as u64);
    let at = clock::now();
    for gap in &turn.gaps {
        let (file, from, to) = (followed.log.name.as_str(), gap.from, gap.to());
        warn!(file, from, to, "possible gap: the log was truncated or taken away before all of it was read");
        // Nobody can say how many lines: each truncation counts one.
        let loss = Loss {
            id: None,
            count: 1,
            reason: LossReason::LogTruncated,
            first_at: at,
            last_at: at,
            gap: None,
        };
        outbox.put(Record::Loss(Loss { gap: Some(gap.named(file)), ..loss }));
    }
    for path in &turn.unreadable {
        warn!(path = %name_of(path), "a rotated log cannot be unpacked: what was not read of it is lost");
    }
    let trouble = turn.trouble.as_ref().map(ToString::to_string).unwrap_or_default();
    report(meter, &trouble);
    let mut log = followed.log.clone();
    log.count(turn, at);
    log.lag_bytes = followed.follower.lag_bytes();
    if log != followed.log {
        followed.log = log.clone();
        meter.set_log(log);
    }
}

/// While the spool takes nothing, the log files are the buffer.
pub fn tell_waiting(followed: &mut Followed) {
    let lag_bytes = followed.follower.lag_bytes();
    if lag_bytes != followed.log.lag_bytes {
        followed.log.lag_bytes = lag_bytes;
        followed.meter.set_log(followed.log.clone());
    }
    if lag_bytes > 0 {
        report(&followed.meter, "the spool is full: this log is read on when the spool has room");
    }
}

/// Hands on the hits that came without a line, as when a cooldown ends.
pub fn hand_on(followed: &mut Followed, outbox: &mut Outbox) {
    outbox.take_hits(&mut followed.detector);
    followed.told.count_hits(&followed.detector, &followed.meter);
}

/// Tells what is wrong, once.
pub fn report(meter: &Meter, trouble: &str) {
    if meter.set_trouble(trouble) && !trouble.is_empty() {
        warn!("{trouble}");
    }
}

//! One hit for many repeats: the first opens a cooldown, further ones only count until it closes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Hit, SeenIn, Timestamp};

use crate::counters::Counters;
use crate::detector::Report;

/// Cooldowns open at once; the oldest is closed early when there are more.
const OPEN_MAX: usize = 16_384;

/// What counts as a repeat: the same indicator at the same host of the town in the same field.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub indicator: Box<str>,
    pub host: Option<IpAddr>,
    pub seen_in: SeenIn,
}

struct Open {
    hit: Hit,
    closes_at: Timestamp,
}

/// The open cooldowns and the hits to give out.
pub(crate) struct Cooldowns {
    report: Report,
    seconds: i64,
    open: HashMap<Arc<Key>, Open, RandomState>,
    /// In the order of opening, which is that of closing too.
    order: VecDeque<(Timestamp, Arc<Key>)>,
    ready: VecDeque<Hit>,
}

impl Cooldowns {
    pub fn new(report: Report, seconds: u32) -> Self {
        Self {
            report,
            seconds: i64::from(seconds),
            open: HashMap::with_hasher(RandomState::default()),
            order: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }

    /// Counts a repeat; false when no such cooldown is open at this time.
    pub fn repeat(&mut self, key: &Key, at: Timestamp) -> bool {
        let Some(open) = self.open.get_mut(key).filter(|open| at < open.closes_at) else { return false };
        open.hit.count = open.hit.count.saturating_add(1);
        open.hit.last_at = open.hit.last_at.max(at);
        true
    }

    /// Opens a cooldown with its first hit.
    pub fn begin(&mut self, key: Arc<Key>, hit: Hit, counters: &mut Counters) {
        if self.open.contains_key(&key) {
            // Over, but behind one that is not: packet times went back.
            self.order.retain(|(_, other)| *other != key);
            self.close(&key);
        }
        if self.order.len() >= OPEN_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            counters.hits_closed_early += 1;
            self.close(&oldest);
        }
        if self.report == Report::AtOnce {
            self.ready.push_back(hit.clone());
        }
        let closes_at = hit.at.plus_seconds(self.seconds);
        self.order.push_back((closes_at, Arc::clone(&key)));
        self.open.insert(key, Open { hit, closes_at });
    }

    /// Closes what is due.
    pub fn handle_timeout(&mut self, at: Timestamp) {
        while self.order.front().is_some_and(|(closes_at, _)| *closes_at <= at) {
            if let Some((_, key)) = self.order.pop_front() {
                self.close(&key);
            }
        }
    }

    /// When the next cooldown closes.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.order.front().map(|(closes_at, _)| *closes_at)
    }

    /// Closes all.
    pub fn finish(&mut self) {
        while let Some((_, key)) = self.order.pop_front() {
            self.close(&key);
        }
    }

    pub fn poll_hit(&mut self) -> Option<Hit> {
        self.ready.pop_front()
    }

    fn close(&mut self, key: &Key) {
        let Some(open) = self.open.remove(key) else { return };
        if self.report == Report::AtEnd || open.hit.count > 1 {
            self.ready.push_back(open.hit);
        }
    }
}

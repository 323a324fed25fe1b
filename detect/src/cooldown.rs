//! One hit for many repeats: the first opens a cooldown, further ones only count until it closes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{FlowEnd, Hit, Place, SeenIn, Timestamp};

use crate::counters::Counters;
use crate::detector::Report;
use crate::door::KnownHits;
use crate::flow::Entry;

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
    /// The hit changed since it was given out.
    changed: bool,
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
        open.changed = true;
        true
    }

    /// Notes what went over a flow by now in the hits that were seen in it.
    pub fn bring_up_to_date(&mut self, known: &KnownHits, entry: &Entry, ended: Option<FlowEnd>) {
        let place = Place::Flow { flow: entry.flow() };
        for key in known.iter() {
            let Some(open) = self.open.get_mut(key).filter(|open| open.hit.place == place) else { continue };
            open.hit.traffic = Some(entry.traffic(ended));
            if matches!(key.seen_in, SeenIn::FlowSrc | SeenIn::FlowDst) {
                open.hit.last_at = open.hit.last_at.max(entry.last_at());
            }
            open.changed = true;
        }
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
        self.open.insert(key, Open { hit, closes_at, changed: false });
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
        if self.report == Report::AtEnd || open.changed {
            self.ready.push_back(open.hit);
        }
    }
}

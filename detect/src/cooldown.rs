//! One hit for many repeats: the first opens a cooldown, further ones only count until it closes.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{FlowEnd, Hit, Note, Observable, Place, SeenIn, Timestamp};

use crate::counters::Counters;
use crate::detector::Report;
use crate::door::KnownHits;
use crate::flow::Entry;

/// Cooldowns open at once; the oldest is closed early when there are more.
const OPEN_MAX: usize = 16_384;
/// What an open hit takes beside its own contents: its key with the counts of an `Arc`, its place in the map and
/// in the two queues, each at the least favourable load and while it grows.
const OPEN_BYTES: usize = size_of::<Key>()
    + 2 * size_of::<usize>()
    + 7 * (size_of::<(Arc<Key>, Open)>() + 1)
    + 3 * (size_of::<Due>() + size_of::<Box<Hit>>());

/// What counts as a repeat: the same indicator at the same host of the town in the same field.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    pub indicator: Box<str>,
    pub host: Option<IpAddr>,
    pub seen_in: SeenIn,
}

/// When a cooldown closes, and which.
type Due = (Timestamp, Arc<Key>);

/// A hit whose cooldown is open, for a detector that goes on after this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenHit {
    /// With its count so far.
    pub hit: Hit,
    /// It was joined with another source's hit: it only counts, and does not go out again.
    pub is_witness: bool,
}

struct Open {
    hit: Box<Hit>,
    closes_at: Timestamp,
    /// The hit changed since it was given out.
    changed: bool,
    is_witness: bool,
}

/// The open cooldowns and the hits to give out.
pub(crate) struct Cooldowns {
    report: Report,
    seconds: i64,
    open: HashMap<Arc<Key>, Open, RandomState>,
    /// In the order of opening, which is that of closing too. Of a key opened again the former place is void.
    order: VecDeque<Due>,
    ready: VecDeque<Box<Hit>>,
    /// Bytes of the hits that are open or wait to be polled.
    bytes: usize,
    bytes_max: usize,
    /// How often a hit was opened, counted or closed.
    changes: u64,
}

impl Cooldowns {
    pub fn new(report: Report, seconds: u32, bytes_max: usize) -> Self {
        Self {
            report,
            seconds: i64::from(seconds),
            open: HashMap::with_hasher(RandomState::default()),
            order: VecDeque::new(),
            ready: VecDeque::new(),
            bytes: 0,
            bytes_max,
            changes: 0,
        }
    }

    /// Bytes of the hits that are open or wait to be polled.
    pub fn held(&self) -> usize {
        self.bytes
    }

    /// Counts a repeat; false when no such cooldown is open at this time.
    pub fn repeat(&mut self, key: &Key, at: Timestamp) -> bool {
        let Some(open) = self.open.get_mut(key).filter(|open| at < open.closes_at) else { return false };
        open.hit.count = open.hit.count.saturating_add(1);
        open.hit.last_at = open.hit.last_at.max(at);
        open.changed = true;
        self.changes += 1;
        true
    }

    /// Notes what went over a flow by now in the hits that were seen in it. True when the cooldown of a hit on one of
    /// its ends is over: the flow goes on, and is to be reported again.
    pub fn bring_up_to_date(&mut self, known: &KnownHits, entry: &Entry, ended: Option<FlowEnd>) -> bool {
        let mut is_over = false;
        let place = Place::Flow { flow: entry.flow() };
        for key in known.iter() {
            let is_end = matches!(key.seen_in, SeenIn::FlowSrc | SeenIn::FlowDst);
            let Some(open) = self.open.get_mut(key) else {
                is_over |= is_end;
                continue;
            };
            if open.hit.place != place {
                continue;
            }
            open.hit.traffic = Some(entry.traffic(ended));
            if is_end {
                open.hit.last_at = open.hit.last_at.max(entry.last_at());
            }
            open.changed = true;
        }
        is_over
    }

    /// Opens a cooldown with its first hit. Where hits that nobody polled take all the room, it is lost and counted.
    pub fn begin(&mut self, key: Arc<Key>, hit: Hit, counters: &mut Counters) {
        // Over, but behind one that is not: packet times went back.
        self.close(&key);
        let bytes = bytes_of(&hit, &key);
        let given_out = if self.report == Report::AtOnce { heap_bytes_of(&hit) } else { 0 };
        while self.order.len() >= OPEN_MAX || self.bytes + bytes + given_out > self.bytes_max {
            let Some(oldest) = self.order.pop_front() else {
                counters.hits_lost += 1;
                return;
            };
            counters.hits_closed_early += u64::from(self.close_due(&oldest));
        }
        counters.hits += 1;
        self.bytes += bytes + given_out;
        if self.report == Report::AtOnce {
            self.ready.push_back(Box::new(hit.clone()));
        }
        let closes_at = hit.at.plus_seconds(self.seconds);
        self.order.push_back((closes_at, Arc::clone(&key)));
        self.open.insert(key, Open { hit: Box::new(hit), closes_at, changed: false, is_witness: false });
        self.changes += 1;
    }

    /// How often a hit was opened, counted or closed.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The hits of open cooldowns, the newest first, as many as there is room for.
    pub fn open_hits(&self, hits_max: usize, bytes_max: usize) -> Vec<OpenHit> {
        let mut bytes = 0;
        let newest = self.order.iter().rev();
        let open = newest.filter_map(|(closes_at, key)| {
            let open = self.open.get(key).filter(|open| open.closes_at == *closes_at)?;
            // Without a cooldown there is nothing to go on with.
            (open.closes_at > open.hit.at).then_some(open)
        });
        let fitting = open.take(hits_max).take_while(|open| {
            bytes += heap_bytes_of(&open.hit);
            bytes <= bytes_max
        });
        fitting.map(|open| OpenHit { hit: (*open.hit).clone(), is_witness: open.is_witness }).collect()
    }

    /// Opens a cooldown that another detector had, where there is room. Its hit is not given out; its count is when it
    /// closes, as it would have there.
    pub fn reopen(&mut self, now: Timestamp, OpenHit { hit, is_witness }: OpenHit) {
        let key = Key { indicator: hit.indicator.as_str().into(), host: hit.host, seen_in: hit.seen_in };
        let bytes = bytes_of(&hit, &key);
        let key = Arc::new(key);
        let is_full = self.order.len() >= OPEN_MAX || self.bytes + bytes > self.bytes_max;
        if is_full || self.open.contains_key(&key) {
            return;
        }
        self.bytes += bytes;
        // A clock that was put back must not keep it open for longer.
        let closes_at = hit.at.min(now).plus_seconds(self.seconds);
        self.order.push_back((closes_at, Arc::clone(&key)));
        let changed = hit.count > 1;
        self.open.insert(key, Open { hit: Box::new(hit), closes_at, changed, is_witness });
    }

    /// Closes what is due.
    #[inline]
    pub fn handle_timeout(&mut self, at: Timestamp) {
        while self.order.front().is_some_and(|(closes_at, _)| *closes_at <= at) {
            if let Some(due) = self.order.pop_front() {
                self.close_due(&due);
            }
        }
    }

    /// When the next cooldown closes.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.order.front().map(|(closes_at, _)| *closes_at)
    }

    /// Closes all.
    pub fn finish(&mut self) {
        while let Some(due) = self.order.pop_front() {
            self.close_due(&due);
        }
    }

    pub fn poll_hit(&mut self) -> Option<Hit> {
        let hit = self.ready.pop_front()?;
        self.bytes = self.bytes.saturating_sub(heap_bytes_of(&hit));
        Some(*hit)
    }

    /// Closes a cooldown, unless its key was opened again since.
    fn close_due(&mut self, (closes_at, key): &Due) -> bool {
        let is_it = self.open.get(key).is_some_and(|open| open.closes_at == *closes_at);
        if is_it {
            self.close(key);
        }
        is_it
    }

    fn close(&mut self, key: &Key) {
        let Some(open) = self.open.remove(key) else { return };
        self.changes += 1;
        if (self.report == Report::AtEnd || open.changed) && !open.is_witness {
            self.bytes = self.bytes.saturating_sub(bytes_of(&open.hit, key) - heap_bytes_of(&open.hit));
            self.ready.push_back(open.hit);
        } else {
            self.bytes = self.bytes.saturating_sub(bytes_of(&open.hit, key));
        }
    }
}

/// Bytes of an open hit.
fn bytes_of(hit: &Hit, key: &Key) -> usize {
    OPEN_BYTES + key.indicator.len() + heap_bytes_of(hit)
}

/// Bytes of a hit on its own.
fn heap_bytes_of(hit: &Hit) -> usize {
    let texts = [&hit.input, &hit.indicator, &hit.evidence].map(String::len);
    let lists = hit.also.iter().chain(&hit.witnesses).map(|text| size_of::<String>() + text.len());
    size_of::<Hit>()
        + texts.into_iter().sum::<usize>()
        + lists.sum::<usize>()
        + text_bytes_of(&hit.observable)
        + hit.notes.len() * size_of::<Note>()
        + hit.named_origins.len() * size_of::<IpAddr>()
        + hit.logged.as_deref().map_or(0, |logged| {
            size_of_val(logged) + logged.format.len() + logged.time.len() + logged.host.len()
        })
}

fn text_bytes_of(observable: &Observable) -> usize {
    match observable {
        Observable::Domain(domain) => domain.as_str().len(),
        Observable::Url(url) => url.as_str().len(),
        Observable::Email(email) => email.as_str().len(),
        Observable::UserAgent(agent) => agent.as_str().len(),
        Observable::Ja4(ja4) => ja4.as_str().len(),
        Observable::Ip(_)
        | Observable::Md5(_)
        | Observable::Ja3(_)
        | Observable::Sha1(_)
        | Observable::Sha256(_) => 0,
    }
}

#[cfg(test)]
#[path = "cooldown_tests.rs"]
mod tests;

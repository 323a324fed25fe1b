//! One conversation that a capture and a log tell of, or two logs, is one hit with two witnesses: the one that was
//! given out first is given out again with the other's name. Works on hits that are given out, so that neither waits.

use std::collections::{BTreeSet, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Flow, Hit, HitId, Place, Timestamp, Transport};

use super::translation::same_ends;
use crate::cooldown::OpenHit;

/// A firewall writes its line when a connection begins or ends, each may be this far from what was captured.
const APART_MICROS: i64 = 120_000_000;
/// Hits that are known; the oldest is forgotten when there are more, and may be met by no other.
const KNOWN_MAX: usize = 1024;
/// Hits of one value for one reason that are compared with one another.
const ALIKE_MAX: usize = 64;
/// Identities that are remembered of one conversation.
const IDS_MAX: usize = 16;
/// After its cooldown the last count of a hit comes within this time.
const UPDATE_MICROS: i64 = 60_000_000;

/// Hits given out lately.
pub(super) struct Witnesses {
    hasher: RandomState,
    cooldown_micros: i64,
    known: HashMap<u64, Known>,
    by_value: HashMap<u64, VecDeque<u64>>,
    by_id: HashMap<HitId, u64>,
    due: BTreeSet<(Timestamp, u64)>,
    next: u64,
}

struct Known {
    hit: Hit,
    value: u64,
    /// Its own identity first, then those of hits that turned out to be the same conversation.
    ids: Vec<HitId>,
    due_at: Timestamp,
}

/// What becomes of a hit that is to be given out.
pub(super) enum Met {
    /// It goes out as it is.
    Alone(Box<Hit>),
    /// It is another witness of a hit that was given out before.
    Witness {
        /// The hit with its witness.
        of: Box<Hit>,
        /// The one that is none of its own.
        witness: Box<Hit>,
    },
    /// More is known of a hit that was given out before.
    Again(Box<Hit>),
    /// Nothing new.
    Nothing,
}

impl Witnesses {
    pub fn new(cooldown_micros: i64) -> Self {
        Self {
            hasher: RandomState::default(),
            cooldown_micros,
            known: HashMap::new(),
            by_value: HashMap::new(),
            by_id: HashMap::new(),
            due: BTreeSet::new(),
            next: 0,
        }
    }

    /// Takes a hit on its way out.
    pub fn meet(&mut self, now: Timestamp, hit: Hit) -> Met {
        self.forget(now);
        if let Some(number) = self.by_id.get(&hit.hit_id).copied() {
            return self.update(number, hit);
        }
        let flows = flows_of(&hit);
        if flows.is_empty() {
            return Met::Alone(Box::new(hit));
        }
        let value = self.hasher.hash_one((&hit.observable, &hit.indicator));
        let numbers = self.by_value.get(&value).into_iter().flatten().rev();
        let met = numbers.copied().find(|number| {
            let known = self.known.get(number);
            known.is_some_and(|known| is_the_same(&known.hit, &hit, &flows))
        });
        match met {
            Some(number) => self.join(now, number, hit),
            None => {
                self.insert(now, value, hit.clone());
                Met::Alone(Box::new(hit))
            }
        }
    }

    /// What is said anew of a hit that went out. Of one that was another's witness only the name counts.
    fn update(&mut self, number: u64, mut hit: Hit) -> Met {
        let Some(known) = self.known.get_mut(&number) else { return Met::Alone(Box::new(hit)) };
        if known.ids.first() != Some(&hit.hit_id) {
            return Met::Nothing;
        }
        for witness in std::mem::take(&mut known.hit.witnesses) {
            if !hit.witnesses.contains(&witness) {
                hit.witnesses.push(witness);
            }
        }
        hit.nat = hit.nat.or(known.hit.nat);
        hit.logged = hit.logged.or(known.hit.logged.take());
        known.hit = hit.clone();
        Met::Again(Box::new(hit))
    }

    /// What is known of a hit beyond what its detector does.
    pub fn complete(&self, open: &mut OpenHit) {
        let number = self.by_id.get(&open.hit.hit_id);
        let Some(known) = number.and_then(|number| self.known.get(number)) else { return };
        if known.ids.first() == Some(&open.hit.hit_id) {
            open.hit.witnesses.clone_from(&known.hit.witnesses);
            open.hit.nat = open.hit.nat.or(known.hit.nat);
            open.hit.logged = open.hit.logged.take().or_else(|| known.hit.logged.clone());
        } else {
            open.is_witness = true;
        }
    }

    fn join(&mut self, now: Timestamp, number: u64, other: Hit) -> Met {
        let due_at = super::after(now, self.cooldown_micros.max(APART_MICROS).saturating_add(UPDATE_MICROS));
        let Some(known) = self.known.get_mut(&number) else { return Met::Alone(Box::new(other)) };
        let witness = other.clone();
        if known.ids.len() < IDS_MAX {
            known.ids.push(other.hit_id);
            self.by_id.insert(other.hit_id, number);
        }
        self.due.remove(&(known.due_at, number));
        known.due_at = due_at;
        self.due.insert((due_at, number));
        let hit = &mut known.hit;
        for witness in std::iter::once(other.input).chain(other.witnesses) {
            if witness != hit.input && !hit.witnesses.contains(&witness) {
                hit.witnesses.push(witness);
            }
        }
        // A firewall knows what it translated; whoever captured on one side of it does not.
        hit.nat = hit.nat.or(other.nat);
        hit.logged = hit.logged.take().or(other.logged);
        hit.host = hit.host.or(other.host);
        hit.remote = hit.remote.or(other.remote);
        hit.last_at = hit.last_at.max(other.last_at);
        Met::Witness { of: Box::new(hit.clone()), witness: Box::new(witness) }
    }

    fn insert(&mut self, now: Timestamp, value: u64, hit: Hit) {
        if self.known.len() >= KNOWN_MAX
            && let Some((_, oldest)) = self.due.first().copied()
        {
            self.remove(oldest);
        }
        let alike = self.by_value.get(&value).filter(|alike| alike.len() >= ALIKE_MAX);
        if let Some(oldest) = alike.and_then(|alike| alike.front().copied()) {
            self.remove(oldest);
        }
        let number = self.next;
        self.next += 1;
        let due_at = super::after(now, APART_MICROS);
        self.by_id.insert(hit.hit_id, number);
        self.by_value.entry(value).or_default().push_back(number);
        self.due.insert((due_at, number));
        self.known.insert(number, Known { ids: vec![hit.hit_id], hit, value, due_at });
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((_, number)) = self.due.first().copied().filter(|(due_at, _)| *due_at <= now) {
            self.remove(number);
        }
    }

    fn remove(&mut self, number: u64) {
        let Some(gone) = self.known.remove(&number) else { return };
        self.due.remove(&(gone.due_at, number));
        for id in &gone.ids {
            self.by_id.remove(id);
        }
        if let Some(alike) = self.by_value.get_mut(&gone.value) {
            alike.retain(|other| *other != number);
            if alike.is_empty() {
                self.by_value.remove(&gone.value);
            }
        }
    }
}

/// Whether another input tells of the same conversation, about the same value for the same reason. Two captures are
/// joined elsewhere, by what only packets show.
fn is_the_same(known: &Hit, hit: &Hit, flows: &[Flow]) -> bool {
    let is_log = |hit: &Hit| matches!(hit.place, Place::Line { .. });
    let is_new_input = known.input != hit.input && !known.witnesses.contains(&hit.input);
    is_new_input
        && (is_log(known) || is_log(hit))
        && known.indicator == hit.indicator
        && known.observable == hit.observable
        && are_near(known, hit)
        && flows_of(known).iter().any(|one| flows.iter().any(|other| may_be_one(one, other)))
}

/// The times at which both were seen, or which the line itself gives, are near to one another.
fn are_near(one: &Hit, other: &Hit) -> bool {
    let times = |hit: &Hit| {
        let written = hit.logged.as_ref().and_then(|logged| logged.at);
        [Some(hit.at), Some(hit.last_at), written].into_iter().flatten().collect::<Vec<_>>()
    };
    let others = times(other);
    times(one).iter().any(|at| others.iter().any(|other| at.micros_since(*other).abs() <= APART_MICROS))
}

/// The same ends. A line that names no protocol says nothing against one.
fn may_be_one(one: &Flow, other: &Flow) -> bool {
    let is_open = one.proto == Transport::Other || other.proto == Transport::Other;
    same_ends(one, other) || (is_open && same_ends(&Flow { proto: other.proto, ..*one }, other))
}

/// The conversation that a hit tells of, on both sides of a translation. One whose source port nobody knows could be
/// any between the same hosts.
pub(super) fn flows_of(hit: &Hit) -> Vec<Flow> {
    let flow = match &hit.place {
        Place::Flow { flow } => Some(*flow),
        Place::Line { .. } => hit.logged.as_ref().and_then(|logged| logged.flow),
    };
    let outer = hit.nat.map(|nat| nat.outer_flow);
    let has_ports = |flow: &Flow| flow.src_port != 0 && flow.dst_port != 0;
    flow.into_iter().chain(outer).filter(has_ports).collect()
}

#[cfg(test)]
#[path = "witnesses_tests.rs"]
mod tests;

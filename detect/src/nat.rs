//! Joins what a gateway's sensor sees twice: the same conversation inside, with the town's host, and outside, with
//! the translated address, becomes one hit. Connection tracking says so where it can be asked; without it only
//! what is certain is joined, and what merely looks alike is kept twice and says so.

mod conversation;
mod translation;
mod witnesses;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use protocol::{Flow, Hit, HitId, Timestamp};

use crate::cooldown::OpenHit;
use crate::counters::Counters;
use crate::detector::DetectorConfig;
use crate::home::Home;
use conversation::Conversation;
pub use translation::Tracked;
use translation::{Likeness, Translation, flow_of, likeness, same_ends, starts_differ};
use witnesses::{Met, Witnesses, flows_of};

/// How long a hit that connection tracking knows waits for its other side: two capture rings of 100 ms, and some.
const TRACKED_MICROS: i64 = 300_000;
/// How long one that it does not know waits: until nothing can come any more that looks like its other side.
const UNTRACKED_MICROS: i64 = 1_300_000;
/// Connection tracking confirms an entry when the first packet leaves: until then it is asked again this often.
const ASK_AGAIN_MICROS: i64 = 60_000;
/// How long a hit is known after it was given out, for a worker that is behind.
const LATE_MICROS: i64 = 2_000_000;
/// A hit that was joined is known until its last update has come, when its cooldown closes, and this much longer.
const UPDATE_MICROS: i64 = 60_000_000;
/// An untranslated conversation is seen on two interfaces within this time.
const SAME_MICROS: i64 = 1_000_000;
/// Hits of one value in one field that are compared with one another; of more, none is joined without proof.
const CANDIDATES_MAX: usize = 64;
/// Hits that wait at once; the oldest is given out early when there are more, and counted.
const WAITING_MAX: usize = 4096;
/// The same where all waits for the end.
const WAITING_TO_THE_END_MAX: usize = 65_536;
/// Hits that are looked at for one that nobody took yet.
const READY_SEARCHED_MAX: usize = 8192;
/// Hits that are known after they were given out; the oldest is forgotten when there are more.
const GIVEN_MAX: usize = 4096;

/// For how long a hit waits for its other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// By the clock, and connection tracking is asked; a hit given out is given out again when its other side comes.
    Live,
    /// By packet time; each hit is given out once.
    Replay,
    /// Until the input ends, because several captures are read one after the other.
    ToTheEnd,
}

/// What connection tracking is to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question {
    number: u64,
    /// The flow as it was seen: either direction may be the original one, and either side of a translation.
    pub flow: Flow,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It knows the flow.
    Tracked(Tracked),
    /// It does not know it yet, or no longer.
    Unknown,
    /// It cannot be asked.
    Unavailable,
}

/// Hits of all inputs in, one hit for each conversation out.
pub struct Joiner {
    home: Home,
    cooldown_micros: i64,
    patience: Patience,
    hasher: RandomState,
    /// In the order of arrival.
    conversations: BTreeMap<u64, Conversation>,
    /// Lines among them that keep their place.
    lines: BTreeMap<u64, Hit>,
    waiting: BTreeSet<u64>,
    given: BTreeSet<u64>,
    by_key: HashMap<u64, Vec<u64>>,
    by_id: HashMap<HitId, u64>,
    schedule: BTreeSet<(Timestamp, u64)>,
    questions: VecDeque<Question>,
    witnesses: Witnesses,
    /// The time that was told last.
    now: Timestamp,
    ready: VecDeque<Hit>,
    next: u64,
    counters: Counters,
}

impl Joiner {
    /// A joiner for hits of detectors with this configuration.
    pub fn new(config: &DetectorConfig, patience: Patience) -> Self {
        Self {
            home: Home::new(&config.home_networks),
            cooldown_micros: i64::from(config.cooldown_seconds) * 1_000_000,
            patience,
            hasher: RandomState::default(),
            conversations: BTreeMap::new(),
            lines: BTreeMap::new(),
            waiting: BTreeSet::new(),
            given: BTreeSet::new(),
            by_key: HashMap::new(),
            by_id: HashMap::new(),
            schedule: BTreeSet::new(),
            questions: VecDeque::new(),
            witnesses: Witnesses::new(i64::from(config.cooldown_seconds) * 1_000_000),
            now: Timestamp::default(),
            ready: VecDeque::new(),
            next: 0,
            counters: Counters::default(),
        }
    }

    /// Takes a hit, or what a detector says anew of one. Hits of log lines pass at once; only where all waits for
    /// the end they keep their place.
    pub fn handle_hit(&mut self, now: Timestamp, hit: Hit) {
        self.handle_timeout(now);
        let Some(flow) = flow_of(&hit) else {
            self.handle_line(now, hit);
            return;
        };
        if let Some(number) = self.by_id.get(&hit.hit_id).copied() {
            let news = self.conversations.get_mut(&number).is_some_and(|known| known.update(hit));
            if news {
                self.report_again(number);
            }
            // A detector that reports once has no updates: the same capture was named twice.
            self.counters.hits_joined += u64::from(self.patience != Patience::Live);
            return;
        }
        let key = self.hasher.hash_one((&hit.observable, hit.seen_in, &hit.indicator));
        let mut fresh = Conversation::new(hit, flow, key, now);
        let known = self.find_conversation(&fresh, None);
        if let Some(number) = known.or_else(|| self.find_by_start(&mut fresh)) {
            self.join(number, fresh);
            return;
        }
        let patience = if self.patience == Patience::ToTheEnd { i64::MAX } else { UNTRACKED_MICROS };
        fresh.due_at = after(now, patience);
        self.insert(fresh);
        self.hurry(now);
    }

    /// What connection tracking should be asked now.
    pub fn poll_question(&mut self) -> Option<Question> {
        self.questions.pop_front()
    }

    /// Takes the answer to a question.
    pub fn handle_answer(&mut self, now: Timestamp, question: Question, answer: Answer) {
        self.now = self.now.max(now);
        let number = question.number;
        let Some(asked) = self.conversations.get_mut(&number).filter(|asked| !asked.is_given()) else {
            return;
        };
        let (due_at, ask_at) = (after(asked.arrived, TRACKED_MICROS), after(now, ASK_AGAIN_MICROS));
        match answer {
            Answer::Tracked(tracked) => {
                let translation = tracked.translation(&self.home);
                asked.is_tracked = true;
                asked.translation = translation.filter(|known| known.has(&question.flow));
                self.set_due(number, due_at);
                self.join_tracked(number);
            }
            Answer::Unknown if ask_at < due_at => {
                asked.ask_at = Some(ask_at);
                self.schedule.insert((ask_at, number));
            }
            Answer::Unknown | Answer::Unavailable => {}
        }
    }

    /// Does what is due at this time: asks again, gives hits out, forgets those that were.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        self.now = self.now.max(now);
        while self.schedule.first().is_some_and(|(at, _)| *at <= now) {
            let Some((at, number)) = self.schedule.pop_first() else { return };
            let Some(known) = self.conversations.get_mut(&number) else { continue };
            if known.ask_at.take_if(|ask_at| *ask_at <= at).is_some() {
                self.questions.push_back(Question { number, flow: known.flow() });
            }
            if known.due_at <= at && known.is_given() {
                self.remove(number);
            } else if known.due_at <= at {
                self.give_out(number, now);
            }
        }
    }

    /// When [`Joiner::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.schedule.first().map(|(at, _)| *at)
    }

    /// The next hit to hand on.
    pub fn poll_hit(&mut self) -> Option<Hit> {
        self.ready.pop_front()
    }

    /// All inputs ended: gives out what still waits, in the order of arrival.
    pub fn finish(&mut self, now: Timestamp) {
        while let Some(number) = self.waiting.first().copied() {
            self.give_out(number, now);
        }
    }

    /// What was joined, and what could not be.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn handle_line(&mut self, now: Timestamp, hit: Hit) {
        // A line that tells of no conversation has no other witness.
        let may_pass = self.waiting.is_empty() && flows_of(&hit).is_empty();
        if self.patience != Patience::ToTheEnd || may_pass {
            self.emit(hit);
            return;
        }
        let number = self.next;
        self.next += 1;
        self.lines.insert(number, hit);
        self.waiting.insert(number);
        self.hurry(now);
    }

    fn hurry(&mut self, now: Timestamp) {
        let to_the_end = self.patience == Patience::ToTheEnd;
        if self.waiting.len() > if to_the_end { WAITING_TO_THE_END_MAX } else { WAITING_MAX }
            && let Some(oldest) = self.waiting.first().copied()
        {
            self.counters.hits_join_hurried += u64::from(!self.lines.contains_key(&oldest));
            self.give_out(oldest, now);
        }
    }

    fn insert(&mut self, mut fresh: Conversation) {
        let number = self.next;
        self.next += 1;
        self.by_id.extend(fresh.ids().map(|id| (id, number)));
        self.by_key.entry(fresh.key).or_default().push(number);
        self.waiting.insert(number);
        self.schedule.insert((fresh.due_at, number));
        if self.patience == Patience::Live {
            self.questions.push_back(Question { number, flow: fresh.flow() });
        }
        fresh.ask_at = None;
        self.conversations.insert(number, fresh);
    }

    fn remove(&mut self, number: u64) -> Option<Conversation> {
        let known = self.conversations.remove(&number)?;
        self.schedule.remove(&(known.due_at, number));
        self.waiting.remove(&number);
        self.given.remove(&number);
        for id in known.ids() {
            self.by_id.remove(&id);
        }
        if let Some(numbers) = self.by_key.get_mut(&known.key) {
            numbers.retain(|other| *other != number);
            if numbers.is_empty() {
                self.by_key.remove(&known.key);
            }
        }
        Some(known)
    }

    fn set_due(&mut self, number: u64, due_at: Timestamp) {
        let Some(known) = self.conversations.get_mut(&number) else { return };
        self.schedule.remove(&(known.due_at, number));
        known.due_at = due_at;
        self.schedule.insert((due_at, number));
    }

    /// Conversations about the same value in the same field, newest first.
    fn alike<'a>(&'a self, hit: &'a Hit, key: u64) -> impl Iterator<Item = (u64, &'a Conversation)> {
        let numbers = self.by_key.get(&key).into_iter().flatten().rev();
        numbers
            .filter_map(|number| Some((*number, self.conversations.get(number)?)))
            .filter(|(_, known)| known.is_about(hit))
    }

    /// The conversation that this is another view of, by its ends and what connection tracking said of either.
    fn find_conversation(&self, fresh: &Conversation, not: Option<u64>) -> Option<u64> {
        let flow = fresh.flow();
        let is_it = |known: &Conversation| {
            let apart = known.hit.at.micros_since(fresh.hit.at).abs();
            if known.was_seen_at(&fresh.hit.input, &flow) {
                return false;
            }
            match (&known.translation, &fresh.translation) {
                (Some(known), _) if known.has(&flow) => apart <= self.cooldown_micros,
                (_, Some(fresh)) if fresh.has(&known.flow()) => apart <= self.cooldown_micros,
                _ => {
                    let same = same_ends(&known.flow(), &flow) && apart <= SAME_MICROS;
                    same && !starts_differ(&known.hit, &fresh.hit)
                }
            }
        };
        let mut alike = self.alike(&fresh.hit, fresh.key);
        alike.find(|(number, known)| Some(*number) != not && is_it(known)).map(|(number, _)| number)
    }

    /// The conversation whose TCP connection began with the same number on the other side of a translation.
    fn find_by_start(&self, fresh: &mut Conversation) -> Option<u64> {
        let mut found =
            self.candidates(fresh, None).into_iter().filter_map(|(number, likeness)| match likeness {
                Likeness::Start(translation) => Some((number, translation)),
                _ => None,
            });
        let (number, translation) = found.next()?;
        if found.next().is_some() {
            return None;
        }
        fresh.translation = Some(translation);
        Some(number)
    }

    /// Another view of a conversation: it is no hit of its own.
    fn join(&mut self, number: u64, other: Conversation) {
        let Some(known) = self.conversations.get_mut(&number) else { return };
        self.counters.hits_joined += 1;
        known.is_tracked |= other.is_tracked;
        known.translation = known.translation.or(other.translation);
        known.absorb(other);
        let ids: Vec<HitId> = known.ids().collect();
        let is_translated = known.translation.is_some();
        let due_at = match known.is_given() {
            true => known.due_at.max(after(known.arrived, self.cooldown_micros + UPDATE_MICROS)),
            false => known.due_at.min(after(known.arrived, TRACKED_MICROS)),
        };
        if known.is_given() {
            self.report_again(number);
        }
        self.by_id.extend(ids.into_iter().map(|id| (id, number)));
        if is_translated && self.patience == Patience::Live {
            self.set_due(number, due_at);
        }
    }

    /// Connection tracking has spoken: perhaps the other side is here already.
    fn join_tracked(&mut self, number: u64) {
        let Some(asked) = self.conversations.get(&number) else { return };
        let Some(other) = self.find_conversation(asked, Some(number)) else { return };
        self.join_two(number, other);
    }

    /// Joins two of which at least one waits. What was given out stays; else the older one does.
    fn join_two(&mut self, one: u64, other: u64) {
        let is_given = |number| self.conversations.get(&number).is_some_and(Conversation::is_given);
        let kept = match (is_given(one), is_given(other)) {
            (true, _) => one,
            (_, true) => other,
            _ => one.min(other),
        };
        let gone = if kept == one { other } else { one };
        if let Some(gone) = self.remove(gone) {
            self.join(kept, gone);
        }
    }

    /// Gives a waiting hit out, joined with its other side if that is certain by now.
    fn give_out(&mut self, number: u64, now: Timestamp) {
        if let Some(line) = self.lines.remove(&number) {
            self.waiting.remove(&number);
            self.emit(line);
            return;
        }
        let Some(known) = self.conversations.get(&number) else { return };
        let number = match (known.is_tracked, known.translation) {
            (false, None) => self.join_by_tuple(number),
            _ => number,
        };
        let Some(known) = self.conversations.get_mut(&number).filter(|known| !known.is_given()) else {
            return;
        };
        let (report, is_translated) = (known.report(&self.home), known.translation.is_some());
        self.emit(report);
        let keep = if is_translated { self.cooldown_micros + UPDATE_MICROS } else { LATE_MICROS };
        self.waiting.remove(&number);
        self.given.insert(number);
        self.set_due(number, after(now, keep));
        if self.given.len() > GIVEN_MAX
            && let Some(oldest) = self.given.first().copied()
        {
            self.remove(oldest);
        }
    }

    /// Decides without connection tracking; gives the conversation that is left.
    fn join_by_tuple(&mut self, number: u64) -> u64 {
        let Some(known) = self.conversations.get(&number) else { return number };
        let candidates = self.candidates(known, Some(number));
        match self.partner(number, &candidates) {
            Some((other, translation)) => {
                if let Some(known) = self.conversations.get_mut(&number) {
                    known.translation = Some(translation);
                }
                self.join_two(number, other);
                if self.conversations.contains_key(&number) { number } else { other }
            }
            None => {
                let others: Vec<u64> = candidates
                    .iter()
                    .filter(|(other, _)| self.port_partner(*other).is_none_or(|partner| partner.0 == number))
                    .map(|(other, _)| *other)
                    .collect();
                if !others.is_empty() {
                    self.flag_uncertain(number);
                }
                others.into_iter().for_each(|other| self.flag_uncertain(other));
                number
            }
        }
    }

    /// The one other side, if there is exactly one and it has no other either.
    fn partner(&self, number: u64, candidates: &[(u64, Likeness)]) -> Option<(u64, Translation)> {
        if candidates.len() >= CANDIDATES_MAX {
            return None;
        }
        if let Some((other, translation)) = self.port_partner(number) {
            let back = self.port_partner(other)?;
            return (back.0 == number).then_some((other, translation));
        }
        let free = |(other, _): &&(u64, Likeness)| self.port_partner(*other).is_none();
        let mut free = candidates.iter().filter(free);
        let (other, Likeness::Adjacent(translation)) = free.next()? else { return None };
        if free.next().is_some() {
            return None;
        }
        let back = self.candidates(self.conversations.get(other)?, Some(*other));
        matches!(back.as_slice(), [(only, _)] if *only == number).then_some((*other, *translation))
    }

    /// The one candidate with the same port, or sequence number.
    fn port_partner(&self, number: u64) -> Option<(u64, Translation)> {
        let candidates = self.candidates(self.conversations.get(&number)?, Some(number));
        let mut found = candidates.into_iter().filter_map(|(other, likeness)| match likeness {
            Likeness::Start(translation) | Likeness::Port(translation) => Some((other, translation)),
            _ => None,
        });
        let only = found.next()?;
        found.next().is_none().then_some(only)
    }

    /// What looks like the other side of a conversation that connection tracking does not know.
    fn candidates(&self, of: &Conversation, number: Option<u64>) -> Vec<(u64, Likeness)> {
        self.alike(&of.hit, of.key)
            .filter(|(other, known)| {
                Some(*other) != number && !known.is_tracked && known.translation.is_none()
            })
            .filter_map(|(other, known)| Some((other, likeness(&of.hit, &known.hit, &self.home)?)))
            .take(CANDIDATES_MAX)
            .collect()
    }

    fn flag_uncertain(&mut self, number: u64) {
        let Some(known) = self.conversations.get_mut(&number) else { return };
        if known.is_uncertain {
            return;
        }
        known.is_uncertain = true;
        self.counters.hits_join_uncertain += 1;
        if known.is_given() {
            self.report_again(number);
        }
    }

    fn report_again(&mut self, number: u64) {
        if self.patience != Patience::Live {
            return;
        }
        if let Some(known) = self.conversations.get_mut(&number) {
            let report = known.report(&self.home);
            self.emit(report);
        }
    }

    /// Gives a hit out, unless it is another witness of one that went before.
    /// Adds to a hit of a log, whose cooldown is open, what other sources told of it.
    pub fn complete(&self, open: &mut OpenHit) {
        self.witnesses.complete(open);
    }

    fn emit(&mut self, hit: Hit) {
        let (again, instead) = match self.witnesses.meet(self.now, hit) {
            Met::Alone(hit) => return self.ready.push_back(*hit),
            Met::Nothing => return,
            Met::Again(hit) => (hit, None),
            Met::Witness { of, witness } => (of, Some(witness)),
        };
        let mut waiting = self.ready.iter_mut().rev().take(READY_SEARCHED_MAX);
        let waiting = waiting.find(|waiting| waiting.hit_id == again.hit_id);
        self.counters.hits_joined += u64::from(instead.is_some());
        match (waiting, self.patience) {
            (Some(waiting), _) => *waiting = *again,
            (None, Patience::Live) => self.ready.push_back(*again),
            // What was printed stays as it was.
            (None, _) => self.ready.extend(instead.map(|hit| *hit)),
        }
    }
}

fn after(at: Timestamp, micros: i64) -> Timestamp {
    Timestamp::from_micros(at.as_micros().saturating_add(micros))
}

#[cfg(test)]
#[path = "nat_tests.rs"]
mod tests;

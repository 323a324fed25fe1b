//! Layers against a model: chains of deltas, folded into overlays and merged into new bases, must be what a full
//! build of the same lines is.

use std::sync::Arc;

use protocol::bundle::{BundleLimits, Line, Revocation, SetHash};
use protocol::delta::{DeltaHeader, DeltaReader};
use protocol::index::{Builder, Index, Layers, Overlay, OverlayError};
use protocol::{Action, Indicator, LookFor, Serial, Timestamp};

use super::index::{check, one_layer, open, plan, raw, set_of};
use super::random::Random;
use super::{made, spelled};

const CHAINS: u64 = 16;
const DELTAS: usize = 6;
const QUERIES: usize = 80;

/// A change as a delta has it: whether the line is new, and the line.
type Change = (bool, Line);

fn delta(from: SetHash, to: SetHash, changes: &[Change]) -> Vec<u8> {
    let header = DeltaHeader {
        vedetta_delta: 1,
        serial: Serial(2),
        base: Serial(1),
        base_set: from,
        set: to,
        created: Timestamp::default(),
        issuer: "cosc-esempio".into(),
        changes: changes.len() as u64,
    };
    let mut lines = serde_json::to_vec(&header).unwrap();
    for (added, line) in changes {
        lines.extend(if *added { b"\n+" } else { b"\n-" });
        lines.extend(raw(line));
    }
    lines.push(b'\n');
    zstd::encode_all(&lines[..], 1).unwrap()
}

/// The layers after a delta, the changes folded into one overlay.
fn apply(layers: &Layers, delta: &[u8]) -> Result<Layers, OverlayError> {
    let mut reader = DeltaReader::new(delta, BundleLimits::default())?;
    let mut overlay = Overlay::of(layers)?;
    overlay.apply(layers, &mut reader)?;
    let mut builder = Builder::new(plan(Some(layers.base().meta().set)), Vec::new(), Vec::new())?;
    overlay.write(&mut builder)?;
    let (_, bytes) = builder.finish(overlay.set())?;
    Ok(Layers::new(Arc::clone(layers.base()), Some(open(bytes)))?)
}

/// One base of everything in force.
fn merge(layers: &Layers) -> Arc<Index> {
    let mut builder = Builder::new(plan(None), Vec::new(), Vec::new()).unwrap();
    layers.stored().unwrap().for_each(|line| builder.add(&line.unwrap()).unwrap());
    open(builder.finish(layers.set()).unwrap().1)
}

/// Lines that go, come, and change, and what is left. A line goes or comes once.
fn changed(random: &mut Random, lines: &[Line], number: usize) -> (Vec<Line>, Vec<Change>) {
    let (mut old, mut new) = (lines.to_vec(), Vec::new());
    let mut changes: Vec<Change> = Vec::new();
    for at in 0..random.below(40) {
        let place = random.below(old.len());
        let fresh = made::indicator(random, number * 1000 + at).map(Line::Indicator);
        let (goes, comes) = match (random.below(6), old.get(place).cloned()) {
            (0, Some(gone)) => (Some(gone), None),
            (1, Some(Line::Indicator(gone))) => {
                let mut new = gone.clone();
                made::decorate(random, &mut new, number * 1000 + at);
                if random.one_in(2) {
                    new.id.clone_from(&gone.id);
                }
                (Some(Line::Indicator(gone)), Some(Line::Indicator(new)))
            }
            (2, Some(Line::Indicator(twin))) => {
                let id = format!("indicator--twin{number}-{at}");
                (None, Some(Line::Indicator(Indicator { id, ..twin })))
            }
            (3, Some(Line::Indicator(known))) if random.one_in(2) => {
                (None, Some(Line::Revocation(Revocation::Indicator(known.id))))
            }
            _ => (None, fresh),
        };
        if let Some(gone) = goes {
            old.retain(|line| *line != gone);
            changes.push((false, gone));
        }
        let gone = |line: &Line| changes.iter().any(|(added, gone)| !added && gone == line);
        let is_there = |line: &Line| old.iter().chain(&new).any(|known| made::is_same(known, line));
        if let Some(line) = comes.filter(|line| !is_there(line) && !gone(line)) {
            new.push(line.clone());
            changes.insert(random.below(changes.len() + 1), (true, line));
        }
    }
    (old.into_iter().chain(new).collect(), changes)
}

fn in_order(layers: &Layers) -> Vec<String> {
    let mut stored: Vec<String> =
        layers.stored().unwrap().map(|line| format!("{:?}", line.unwrap())).collect();
    stored.sort();
    stored
}

#[test]
fn chains_of_deltas_are_what_a_full_build_is() {
    for seed in 0..CHAINS {
        let mut random = Random::new(seed);
        let size = random.below(200);
        let mut lines = made::lines(&mut random, size);
        let mut layers = one_layer(&lines);
        for number in 0..DELTAS {
            let (next, changes) = changed(&mut random, &lines, number);
            let delta = delta(set_of(&lines), set_of(&next), &changes);
            layers = apply(&layers, &delta)
                .unwrap_or_else(|error| panic!("chain {seed}, delta {number}: {error}"));
            if random.one_in(3) {
                layers = Layers::new(merge(&layers), None).unwrap();
            }
            lines = next;
            let full = one_layer(&lines);
            assert_eq!(layers.set(), full.set(), "chain {seed}, delta {number}");
            assert_eq!(layers.kinds(), full.kinds(), "chain {seed}, delta {number}");
            assert_eq!(in_order(&layers), in_order(&full), "chain {seed}, delta {number}");
            for _ in 0..QUERIES {
                let spelled = spelled::spelled(&mut random, &lines);
                let Some(seen) = spelled.observable() else { continue };
                let at = made::time(&mut random);
                for (which, layers) in [("layers", &layers), ("full", &full)] {
                    check(layers, &lines, (&seen, spelled.port), at).unwrap_or_else(|wrong| {
                        panic!("chain {seed}, delta {number}, {which}, {spelled:?}: {wrong}")
                    });
                }
            }
        }
    }
}

fn line(value: &str) -> Line {
    Line::Indicator(Indicator::plain(LookFor::guess(value).unwrap()))
}

fn check_refused(changes: &[Change], to: &[Line], expected: fn(&OverlayError) -> bool) {
    let lines = [line("evil.example"), line("203.0.113.0/24")];
    let layers = one_layer(&lines);
    let refused = apply(&layers, &delta(set_of(&lines), set_of(to), changes)).err();
    assert!(refused.as_ref().is_some_and(expected), "{changes:?}: {refused:?}");
}

#[test]
fn a_delta_that_does_not_fit_is_refused() {
    let (evil, network, new) = (line("evil.example"), line("203.0.113.0/24"), line("new.example"));
    let is_set = |error: &OverlayError| matches!(error, OverlayError::Set | OverlayError::Delta(_));
    // It comes to another set than it says.
    check_refused(&[(true, new.clone())], &[evil.clone(), network.clone()], is_set);
    // It takes out what is not there, and says the sum that comes of it.
    let mut to = set_of(&[evil.clone(), network.clone()]);
    to.remove(&raw(&new));
    let lines = [evil.clone(), network.clone()];
    let layers = one_layer(&lines);
    let refused = apply(&layers, &delta(set_of(&lines), to, &[(false, new.clone())])).err();
    assert!(matches!(refused, Some(OverlayError::Set)), "{refused:?}");
    // It takes out the same line twice.
    let mut to = set_of(std::slice::from_ref(&network));
    to.remove(&raw(&evil));
    let twice = [(false, evil.clone()), (false, evil.clone())];
    let refused = apply(&layers, &delta(set_of(&lines), to, &twice)).err();
    assert!(matches!(refused, Some(OverlayError::Set)), "{refused:?}");
    // It starts from another set.
    let refused =
        apply(&layers, &delta(set_of(std::slice::from_ref(&new)), set_of(&lines), &[(true, evil)])).err();
    assert!(matches!(refused, Some(OverlayError::Base)), "{refused:?}");
}

#[test]
fn a_line_that_goes_and_comes_back_is_in_force() {
    let evil = line("evil.example");
    let lines = vec![evil.clone()];
    let layers = one_layer(&lines);
    let none = apply(&layers, &delta(set_of(&lines), SetHash::default(), &[(false, evil.clone())])).unwrap();
    let seen = protocol::Observable::guess("evil.example").unwrap();
    let at = Timestamp::from_seconds(1, 0);
    check(&none, &[], (&seen, None), at).unwrap();
    let again = apply(&none, &delta(SetHash::default(), set_of(&lines), &[(true, evil.clone())])).unwrap();
    check(&again, &lines, (&seen, None), at).unwrap();
    assert_eq!(again.kinds().values().sum::<u64>(), 1);
    let both = [(false, evil.clone()), (true, evil)];
    let at_once = apply(&layers, &delta(set_of(&lines), set_of(&lines), &both)).unwrap();
    check(&at_once, &lines, (&seen, None), at).unwrap();
    assert_eq!(at_once.kinds().values().sum::<u64>(), 1);
}

#[test]
fn an_entry_of_the_allow_list_comes_and_goes_with_deltas() {
    let evil = line("evil.example");
    let mut entry = Indicator::plain(LookFor::guess("www.evil.example").unwrap());
    entry.action = Action::Allow;
    let entry = Line::Indicator(entry);
    let (one, two) = (vec![evil.clone()], vec![evil, entry.clone()]);
    let layers = one_layer(&one);
    let allowed = apply(&layers, &delta(set_of(&one), set_of(&two), &[(true, entry.clone())])).unwrap();
    let gone = apply(&allowed, &delta(set_of(&two), set_of(&one), &[(false, entry)])).unwrap();
    let seen = protocol::Observable::guess("a.www.evil.example").unwrap();
    for (layers, lines) in [(&layers, &one), (&allowed, &two), (&gone, &one)] {
        check(layers, lines, (&seen, None), Timestamp::default()).unwrap();
    }
}

//! Indexes in memory, and what each look-up must come to.

use std::cmp::Reverse;
use std::sync::Arc;

use protocol::bundle::{Line, Revocation, SetHash};
use protocol::index::{Builder, Index, Layers, Matches, Plan, Sanity, Standing, Value};
use protocol::{Action, Observable, Serial, Timestamp};

use super::made;
use super::model::{self, Closeness, Expected};
use super::random::Random;

/// Takes everything; `below` is the set that the changes are to.
pub fn plan(below: Option<SetHash>) -> Plan {
    let sanity = Sanity::TakeAll;
    Plan { serial: Serial(1), secret: [7; 32], sanity, source: "made for a test".into(), below }
}

pub fn raw(line: &Line) -> Vec<u8> {
    serde_json::to_vec(line).unwrap()
}

pub fn set_of(lines: &[Line]) -> SetHash {
    let mut set = SetHash::default();
    lines.iter().for_each(|line| set.add(&raw(line)));
    set
}

/// The bytes of an index of these lines.
pub fn bytes_of(lines: &[Line]) -> Vec<u8> {
    built(plan(None), (lines, &[]), set_of(lines))
}

/// The bytes of an index as planned.
pub fn built(plan: Plan, (lines, removed): (&[Line], &[Line]), set: SetHash) -> Vec<u8> {
    let mut builder = Builder::new(plan, Vec::new(), Vec::new()).unwrap();
    lines.iter().for_each(|line| builder.add(line).unwrap());
    removed.iter().for_each(|line| builder.add_removed(line).unwrap());
    builder.finish(set).unwrap().1
}

/// The lines in one layer.
pub fn one_layer(lines: &[Line]) -> Layers {
    Layers::new(open(bytes_of(lines)), None).unwrap()
}

pub fn open(bytes: Vec<u8>) -> Arc<Index> {
    Arc::new(Index::open(Box::new(bytes)).unwrap())
}

/// These lines in one layer, or in two of which the upper one adds some and takes out others.
pub fn in_force(random: &mut Random, lines: &[Line]) -> Layers {
    if random.one_in(2) {
        return one_layer(lines);
    }
    let kept = random.below(lines.len() + 1);
    let (mut below, above) = (lines[..kept].to_vec(), &lines[kept..]);
    let mut removed = Vec::new();
    for number in 0..random.below(1 + lines.len() / 4) {
        let Some(mut gone) = made::indicator(random, number + 100_000) else { continue };
        // What goes is often the same value as one that stays.
        if let Some(Line::Indicator(stays)) = lines.get(random.below(2 * lines.len())) {
            gone.look_for = stays.look_for.clone();
        }
        let revoked = Line::Revocation(Revocation::Indicator(gone.id.clone()));
        let gone = if random.one_in(5) { revoked } else { Line::Indicator(gone) };
        if lines.iter().chain(&removed).all(|line| !made::is_same(line, &gone)) {
            below.insert(random.below(below.len() + 1), gone.clone());
            removed.push(gone);
        }
    }
    let changes = built(plan(Some(set_of(&below))), (above, &removed), set_of(lines));
    Layers::new(open(bytes_of(&below)), Some(open(changes))).unwrap()
}

/// Hands on a value as it is looked up.
pub fn with_value<T>(seen: &Observable, port: Option<u16>, with: impl FnOnce(Value<'_>) -> T) -> T {
    match seen {
        Observable::Ip(address) => with(Value::Ip(*address, port)),
        Observable::Domain(domain) => with(Value::Domain(domain.as_str())),
        Observable::Url(url) => with(Value::UrlKey(&url.match_key())),
        Observable::Email(email) => with(Value::Email(email.as_str())),
        Observable::UserAgent(agent) => with(Value::UserAgent(agent.as_str())),
        Observable::Ja4(ja4) => with(Value::Ja4(ja4.as_str())),
        Observable::Md5(digest) => with(Value::Md5(digest.0)),
        Observable::Ja3(digest) => with(Value::Ja3(digest.0)),
        Observable::Sha1(digest) => with(Value::Sha1(digest.0)),
        Observable::Sha256(digest) => with(Value::Sha256(digest.0)),
    }
}

/// Compares one look-up with the oracle.
pub fn check(
    layers: &Layers,
    lines: &[Line],
    (seen, port): (&Observable, Option<u16>),
    at: Timestamp,
) -> Result<(), String> {
    let expected = model::expected(lines, seen, port, at);
    let found =
        with_value(seen, port, |value| layers.look_up(value, at)).map_err(|error| error.to_string())?;
    compare(&found, &expected)?;
    let something = !expected.counting.is_empty() || expected.silenced + expected.revoked > 0;
    if something && !with_value(seen, port, |value| layers.may_hold(value)) {
        return Err("the filter says no".into());
    }
    Ok(())
}

/// Compares what was found with what the oracle says.
pub fn compare(found: &Matches, expected: &Expected) -> Result<(), String> {
    let ids = found.indicators.iter().map(|found| found.id.to_string()).collect();
    let (silenced, revoked) = (found.silenced, found.revoked);
    let found = Expected { counting: in_order(ids, expected), silenced, revoked };
    if found == *expected { Ok(()) } else { Err(format!("found {found:?}, expected {expected:?}")) }
}

/// What was found, in the oracle's order where both call it equally close.
fn in_order(ids: Vec<String>, expected: &Expected) -> Vec<(Reverse<Closeness>, String)> {
    let closest = Reverse((usize::MAX, true));
    let closeness = expected.counting.iter().map(|(closeness, _)| *closeness);
    let mut found: Vec<_> = ids
        .into_iter()
        .zip(closeness.chain(std::iter::repeat(closest)))
        .map(|(id, closeness)| (closeness, id))
        .collect();
    found.sort();
    found
}

/// People who ask why are told of every indicator on the value, and the same as a sighting is.
pub fn check_judged(
    layers: &Layers,
    lines: &[Line],
    (seen, port): (&Observable, Option<u16>),
    at: Timestamp,
) -> Result<(), String> {
    let expected = model::expected(lines, seen, port, at);
    let judged =
        with_value(seen, port, |value| layers.judge(value, at)).map_err(|error| error.to_string())?;
    let on_value = lines.iter().filter_map(|line| match line {
        Line::Indicator(indicator) => {
            model::closeness(&indicator.look_for, seen, port).map(|_| format!("{indicator:?}"))
        }
        Line::Revocation(_) => None,
    });
    let mut on_value: Vec<String> = on_value.collect();
    let mut told: Vec<String> = judged.iter().map(|judged| format!("{:?}", judged.indicator)).collect();
    on_value.sort();
    told.sort();
    if on_value != told {
        return Err(format!("judged {told:?}, expected {on_value:?}"));
    }
    let standing = |wanted: &dyn Fn(&Standing) -> bool| {
        let detecting = judged.iter().filter(|judged| judged.indicator.action == Action::Detect);
        detecting.filter(|judged| wanted(&judged.standing)).count()
    };
    let counts = standing(&|standing| *standing == Standing::Counts);
    let silenced = standing(&|standing| matches!(standing, Standing::Silenced { .. }));
    let revoked = standing(&|standing| *standing == Standing::Revoked);
    if (counts, silenced, revoked)
        != (expected.counting.len(), expected.silenced as usize, expected.revoked as usize)
    {
        return Err(format!("judged {judged:?}, expected {expected:?}"));
    }
    Ok(())
}

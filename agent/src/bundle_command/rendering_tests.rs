//! What the commands print, over indexes in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use protocol::bundle::{Line, Revocation, SetHash};
use protocol::index::{Builder, Index, Layers, Plan, Sanity};
use protocol::{Action, Indicator, LookFor, Serial, Severity, Timestamp, Tlp};

use super::check::{Question, Tally};
use super::show::{self, Choice};
use super::stats::{self, Stats};
use crate::bundles::in_force::InForce;
use crate::paint::Paint;

fn index(serial: u64, below: Option<SetHash>, lines: &[Line], removed: &[Line]) -> Arc<Index> {
    let plan = Plan {
        serial: Serial(serial),
        secret: [3; 32],
        sanity: Sanity::HoldAbsurd { own: Vec::new() },
        source: "memory".into(),
        below,
    };
    let mut builder = Builder::new(plan, Vec::new(), Vec::new()).unwrap();
    lines.iter().for_each(|line| builder.add(line).unwrap());
    removed.iter().for_each(|line| builder.add_removed(line).unwrap());
    let (_, bytes) = builder.finish(SetHash::default()).unwrap();
    Arc::new(Index::open(Box::new(bytes)).unwrap())
}

fn layers(lines: &[Line]) -> Layers {
    Layers::new(index(7, None, lines, &[]), None).unwrap()
}

/// The record of layers, as it is read from JSON.
fn in_force(layers: &Layers) -> InForce {
    let held: BTreeMap<_, _> = layers.base().meta().held.clone();
    let kinds = layers.kinds();
    let record = serde_json::json!({
        "serial": layers.serial(), "issuer": "cosc-esempio", "indicators": kinds.values().sum::<u64>(),
        "created": "2026-11-20T08:00:00Z", "verified_at": "2026-11-20T09:30:00Z", "kinds": kinds, "held": held,
        "allowed": 1, "revocations": 0, "changes": 3, "index_bytes": 25_600, "resident_bytes": 4_321,
    });
    serde_json::from_value(record).unwrap()
}

fn plain(value: &str) -> Indicator {
    Indicator::plain(LookFor::guess(value).unwrap())
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// What is printed for values, and what it comes to.
fn printed(lines: &[Indicator], values: &[&str], paint: Paint) -> (String, Tally) {
    let lines: Vec<Line> = lines.iter().cloned().map(Line::Indicator).collect();
    let layers = layers(&lines);
    let at = time("2026-11-22T10:00:00Z");
    let question = Question { layers: &layers, at, kind: None, json: false, paint };
    let (mut out, values) = (Vec::new(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
    let tally = question.ask(&values, &mut out).unwrap();
    (String::from_utf8(out).unwrap(), tally)
}

#[test]
fn a_verdict_comes_first_and_then_why() {
    let known = Indicator {
        id: "indicator--1".into(),
        threat: "Falena\u{1b}[2J".into(),
        severity: Severity::High,
        tlp: Tlp::AmberStrict,
        alert: "COSC-ESEMPIO-2026-0012".into(),
        source: "alert-0012.csv".into(),
        valid_until: Some(time("2027-01-01T00:00:00Z")),
        ..plain("evil.example")
    };
    let expired = Indicator { valid_until: Some(time("2026-01-31T12:30:00Z")), ..plain("www.evil.example") };
    let (text, tally) =
        printed(&[known, expired], &["http://www.evil.example/a", "good.example"], Paint::Plain);
    let expected = "\
MATCHES   http://www.evil.example/a
  looked up as url http://www.evil.example/a: no indicator
  looked up as domain www.evil.example
    expired   domain www.evil.example, medium, TLP:AMBER, until 2026-01-31 12:30 UTC
    counts    domain evil.example, high, TLP:AMBER+STRICT, until 2027-01-01
              threat Falena\u{fffd}[2J, alert COSC-ESEMPIO-2026-0012, source alert-0012.csv, indicator--1
no match  good.example
";
    assert_eq!(text, expected);
    assert_eq!(tally, Tally { matched: 1, unmatched: 1, unread: 0 });
    let sentence = tally.sentence(time("2026-11-22T10:00:00Z"), Serial(7)).unwrap();
    assert_eq!(sentence, "1 of 2 match bundle 7 at 2026-11-22 10:00 UTC");
}

#[test]
fn what_silences_and_what_is_held_back_is_said() {
    let allow = Indicator { id: "allow-1".into(), action: Action::Allow, ..plain("mail.evil.example") };
    let (text, tally) =
        printed(&[plain("evil.example"), allow], &["mail.evil.example", "10.0.0.9"], Paint::Plain);
    let expected = "\
silenced  mail.evil.example
    allows    domain mail.evil.example, without end
              allow-1
    silenced  domain evil.example, medium, TLP:AMBER, without end
              by the allow-list's allow-1
no match  10.0.0.9
    indicators on it are held back: a private address, which every town has
";
    assert_eq!(text, expected);
    assert_eq!(tally, Tally { matched: 0, unmatched: 2, unread: 0 });
}

#[test]
fn colours_change_nothing_but_colours() {
    let set = [plain("evil.example"), plain("old.example")];
    let values = ["evil.example", "a.example", "https://evil.example:8443/"];
    let (coloured, _) = printed(&set, &values, Paint::Colours);
    let mut bare = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\u{1b}') {
        bare += before;
        rest = after.split_once('m').unwrap().1;
    }
    bare += rest;
    assert_ne!(coloured, bare);
    assert_eq!(bare, printed(&set, &values, Paint::Plain).0);
}

#[test]
fn numbers_are_told_by_kind_and_layer() {
    let line = |value: &str| Line::Indicator(plain(value));
    let mut values: Vec<Line> = ["a.example", "b.example", "203.0.113.7", "10.0.0.0/8"].map(line).into();
    values.extend((0..7).map(|number| line(&format!("192.168.0.{number}"))));
    let base = index(4, None, &values, &[]);
    let new = ["c.example", "d.example", "203.0.113.7:80"].map(line);
    let overlay = index(5, Some(base.meta().set), &new, &[line("a.example")]);
    let layers = Layers::new(base, Some(overlay)).unwrap();
    let record = in_force(&layers);
    let stats = Stats::of(&record, &layers);
    let table = stats::Table { stats: &stats, paint: Paint::Plain }.to_string();
    let expected = "\
Bundle       5 of cosc-esempio
Made         2026-11-20 08:00 UTC
Verified     2026-11-20 09:30 UTC

KIND                  IN FORCE    FULL INDEX         CHANGES
domain                       3             2           +2 -1
ip                           1             1
ip_port                      1             0              +1
all                          5             3           +3 -1

Allow-list   1
Revocations  0
Held back    8, which would match what every town has; they are not looked for
          8  a private address, which every town has
             10.0.0.0/8, 192.168.0.0, 192.168.0.1, 192.168.0.2, 192.168.0.3, ...
On disk      25.0 KiB
In memory    4.2 KiB, 864.2 bytes an indicator
";
    assert_eq!(table, expected);
    let shown = show::Table { in_force: &record, layers: &layers }.to_string();
    let expected = "\
Bundle       5 of cosc-esempio
Made         2026-11-20 08:00 UTC
Verified     2026-11-20 09:30 UTC
Indicators   5 (domain 3, ip 1, ip_port 1)
Allow-list   1
Held back    8
Index        full index of bundle 4, 3 changes since; 25.0 KiB
";
    assert_eq!(shown, expected);
    let mut out = Vec::new();
    show::lines(&layers, &Choice::default(), &mut out).unwrap();
    let values = ["b.example", "203.0.113.7", "c.example", "d.example", "203.0.113.7:80"];
    let expected: String =
        values.map(line).iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

fn texts() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[a-zA-Z0-9 _-]{1,20}", "\\PC{1,30}"]
}

fn times() -> impl Strategy<Value = Option<Timestamp>> {
    proptest::option::of((0..4_000_000_000_i64).prop_map(|seconds| Timestamp::from_seconds(seconds, 7)))
}

fn values() -> impl Strategy<Value = LookFor> {
    let guessed = prop_oneof![
        "[a-z0-9]{1,12}\\.evil\\.example",
        "203\\.0\\.113\\.[1-9][0-9]?(:[1-9][0-9]{1,3})?",
        "198\\.51\\.100\\.0/(2[5-9])",
        "2001:db8:[1-9a-f]{1,4}::[1-9a-f]{1,4}",
        "https?://[a-z]{3,9}\\.evil\\.example/[a-zA-Z0-9/?=&%.-]{0,30}",
        "[a-f0-9]{32}",
        "[a-f0-9]{64}",
        "[a-z]{1,9}@evil\\.example",
    ];
    let patterns = prop_oneof![
        "[a-z]{1,5}-\\*\\.evil\\.example".prop_map(|text| ("wildcard", text)),
        "evil\\.example/[a-z]{1,9}".prop_map(|text| ("url_prefix", text)),
        "[a-z]{4,20}/[0-9]".prop_map(|text| ("user_agent_part", text)),
        "[a-z]{1,9}\\.example".prop_map(|text| ("email_domain", text)),
        "[a-z]{4,20}/[0-9]".prop_map(|text| ("user_agent", text)),
    ];
    prop_oneof![
        3 => guessed.prop_filter_map("no value", |text| LookFor::guess(&text).ok()),
        1 => patterns.prop_filter_map("no pattern", |(kind, text)| LookFor::parse(kind, &text).ok()),
    ]
}

prop_compose! {
    fn indicators()(
        look_for in values(),
        id in "[a-z0-9-]{1,30}",
        allow in proptest::bool::weighted(0.1),
        (threat, alert, source) in (texts(), texts(), texts()),
        (severity, tlp) in (0..4_usize, 0..4_usize),
        confidence in 0..=100_u8,
        (valid_from, valid_until) in (times(), times()),
    ) -> Indicator {
        let action = if allow { Action::Allow } else { Action::Detect };
        let (severity, tlp) = (Severity::ALL[severity], Tlp::ALL[tlp]);
        Indicator {
            look_for, id, action, threat, severity, confidence, tlp, valid_from, valid_until, alert, source,
        }
    }
}

fn revocations() -> impl Strategy<Value = Revocation> {
    prop_oneof![
        "[A-Z0-9-]{1,30}".prop_map(Revocation::Alert),
        "[a-z0-9-]{1,30}".prop_map(Revocation::Indicator)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn every_line_of_a_bundle_is_shown_as_it_stands_there(
        indicators in proptest::collection::vec(indicators(), 0..40),
        revocations in proptest::collection::vec(revocations(), 0..4),
        limit in 0..50_u64,
    ) {
        let indicators = indicators.into_iter().map(Line::Indicator);
        let mut lines: Vec<Line> = indicators.chain(revocations.into_iter().map(Line::Revocation)).collect();
        lines.sort_by(Line::order);
        lines.dedup_by(|a, b| Line::order(a, b).is_eq());
        let written = |line: &Line| serde_json::to_string(line).unwrap() + "\n";
        let layers = layers(&lines);
        let shown = |choice: &Choice| {
            let mut out = Vec::new();
            let count = show::lines(&layers, choice, &mut out).unwrap();
            (String::from_utf8(out).unwrap(), count)
        };
        let all: String = lines.iter().map(written).collect();
        prop_assert_eq!(shown(&Choice::default()), (all, lines.len() as u64));

        let urls: Vec<String> = lines
            .iter()
            .filter(|line| matches!(line, Line::Indicator(indicator) if indicator.look_for.kind() == "url"))
            .map(written)
            .collect();
        let wanted = urls.iter().take(usize::try_from(limit).unwrap());
        let expected = (wanted.clone().cloned().collect::<String>(), wanted.count() as u64);
        prop_assert_eq!(shown(&Choice { kind: Some("url".into()), limit: Some(limit) }), expected);
    }
}

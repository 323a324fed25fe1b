//! The index as a whole: what is put in is found, and nothing else.

use std::sync::Arc;

use super::*;
use crate::bundle::Revocation;
use crate::indicator::{Action, Indicator, LookFor};
use crate::observable::Observable;
use crate::time::Timestamp;

fn plan() -> Plan {
    Plan {
        serial: Serial(7),
        secret: [9; 32],
        sanity: Sanity::TakeAll,
        source: "test".to_owned(),
        below: None,
    }
}

fn layers_of(lines: &[Line]) -> Layers {
    let mut builder = Builder::new(plan(), Vec::new(), Vec::new()).unwrap();
    lines.iter().for_each(|line| builder.add(line).unwrap());
    let (summary, bytes) = builder.finish(SetHash::default()).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    let index = Index::open(Box::new(bytes)).unwrap();
    assert_eq!(*index.meta(), summary.meta);
    Layers::new(Arc::new(index), None).unwrap()
}

fn line(value: &str) -> Line {
    Line::Indicator(Indicator::plain(LookFor::guess(value).unwrap()))
}

fn pattern(kind: &str, value: &str) -> Line {
    let mut indicator = Indicator::plain(LookFor::parse(kind, value).unwrap());
    indicator.id = value.to_owned();
    Line::Indicator(indicator)
}

fn find(layers: &Layers, seen: Value<'_>, at: i64) -> Vec<String> {
    let matches = layers.look_up(seen, Timestamp::from_micros(at)).unwrap();
    matches.indicators.iter().map(|found| found.id.to_string()).collect()
}

fn with_value<T>(seen: &str, port: Option<u16>, with: impl FnOnce(Value<'_>) -> T) -> T {
    match Observable::guess(seen).unwrap() {
        Observable::Ip(address) => with(Value::Ip(address, port)),
        Observable::Domain(name) => with(Value::Domain(name.as_str())),
        Observable::Url(url) => with(Value::UrlKey(&url.match_key())),
        Observable::Email(email) => with(Value::Email(email.as_str())),
        Observable::Md5(digest) => with(Value::Md5(digest.0)),
        Observable::Sha256(digest) => with(Value::Sha256(digest.0)),
        other => panic!("{other:?}"),
    }
}

fn check(lines: &[Line], seen: &str, port: Option<u16>, expected: &[&str]) {
    let layers = layers_of(lines);
    with_value(seen, port, |value| assert_eq!(find(&layers, value, 5), expected, "{seen}"));
}

fn lines(values: &[&str]) -> Vec<Line> {
    values.iter().map(|value| line(value)).collect()
}

#[test]
fn an_address_matches_itself_and_all_networks_around_it_the_closest_first() {
    let set = lines(&["203.0.0.0/8", "203.0.113.0/24", "203.0.113.5", "198.51.100.0/24", "203.0.113.5:443"]);
    check(&set, "203.0.113.5", None, &["203.0.113.5", "203.0.113.0/24", "203.0.0.0/8"]);
    check(
        &set,
        "203.0.113.5",
        Some(443),
        &["203.0.113.5:443", "203.0.113.5", "203.0.113.0/24", "203.0.0.0/8"],
    );
    check(&set, "203.0.112.5", Some(80), &["203.0.0.0/8"]);
    check(&set, "192.0.2.1", None, &[]);
    let set = lines(&["2001:db8::/32", "2001:db8:1::/48", "::/0", "2001:db8:1::8/127"]);
    check(&set, "2001:db8:1::9", None, &["2001:db8:1::8/127", "2001:db8:1::/48", "2001:db8::/32", "::/0"]);
    check(&lines(&["0.0.0.0/0"]), "203.0.113.5", None, &["0.0.0.0/0"]);
    check(&lines(&["203.0.113.5:443"]), "203.0.113.5", Some(80), &[]);
}

#[test]
fn a_domain_covers_the_names_below_it_and_no_look_alike() {
    let set = lines(&["evil.example", "b.evil.example"]);
    check(&set, "a.b.evil.example", None, &["b.evil.example", "evil.example"]);
    check(&set, "notevil.example", None, &[]);
    check(&lines(&["a.evil.example"]), "evil.example", None, &[]);
    check(&set, "mallory@mail.evil.example", None, &["evil.example"]);
}

#[test]
fn patterns_cover_what_they_say() {
    let set = [pattern("wildcard", "login-*.evil.example"), pattern("email_domain", "evil.example")];
    check(&set, "www.login-3.evil.example", None, &["login-*.evil.example"]);
    check(&set, "login.evil.example", None, &[]);
    check(&set, "m@a.evil.example", None, &["evil.example"]);
    let set = [pattern("url_prefix", "evil.example/kit"), line("http://evil.example/kit/a")];
    check(&set, "http://evil.example/kit/a", None, &["http://evil.example/kit/a", "evil.example/kit"]);
    check(&set, "https://evil.example/kit?x", None, &["evil.example/kit"]);
    check(&set, "https://evil.example/kitten", None, &[]);
    let layers = layers_of(&[pattern("user_agent_part", "sqlmap"), pattern("user_agent_part", "map/1")]);
    assert_eq!(find(&layers, Value::UserAgent("SQLmap/1.7"), 5), ["sqlmap", "map/1"]);
    assert!(find(&layers, Value::UserAgent("curl/8"), 5).is_empty());
}

#[test]
fn an_allow_entry_silences_what_is_no_more_specific() {
    let mut allow = Indicator::plain(LookFor::guess("good.example").unwrap());
    (allow.action, allow.id) = (Action::Allow, "allowed".to_owned());
    let set =
        [line("example.example"), line("good.example"), line("bad.good.example"), Line::Indicator(allow)];
    let layers = layers_of(&set);
    let look_up = |name| layers.look_up(Value::Domain(name), Timestamp::from_micros(5)).unwrap();
    assert_eq!((look_up("www.good.example").indicators.len(), look_up("www.good.example").silenced), (0, 1));
    assert_eq!(find(&layers, Value::Domain("bad.good.example"), 5), ["bad.good.example"]);
    let judged = layers.judge(Value::Domain("good.example"), Timestamp::from_micros(5)).unwrap();
    assert!(judged.iter().any(|judged| judged.standing == Standing::Silenced { by: "allowed".to_owned() }));
}

#[test]
fn validity_and_revocation_count_and_twins_are_all_named() {
    let mut twins: Vec<Indicator> =
        (0..4).map(|_| Indicator::plain(LookFor::guess("evil.example").unwrap())).collect();
    for (twin, id) in twins.iter_mut().zip(["one", "two", "three", "four"]) {
        twin.id = id.to_owned();
    }
    twins[1].valid_until = Some(Timestamp::from_micros(10));
    twins[2].alert = "COSC-ESEMPIO-2026-0012".to_owned();
    twins[3].valid_from = Some(Timestamp::from_micros(10));
    let mut set: Vec<Line> = twins.into_iter().map(Line::Indicator).collect();
    let at = |layers: &Layers, at| find(layers, Value::Domain("evil.example"), at);
    assert_eq!(at(&layers_of(&set), 9), ["one", "two", "three"]);
    assert_eq!(at(&layers_of(&set), 10), ["one", "three", "four"]);
    set.push(Line::Revocation(Revocation::Alert("COSC-ESEMPIO-2026-0012".to_owned())));
    assert_eq!(at(&layers_of(&set), 10), ["one", "four"]);
    set.push(Line::Revocation(Revocation::Indicator("one".to_owned())));
    assert_eq!(at(&layers_of(&set), 10), ["four"]);
}

#[test]
fn many_lines_are_all_found_and_come_back_as_they_were() {
    let values = (0..4_000).map(|at| match at % 4 {
        0 => format!("a{at}.evil{}.example", at % 7),
        1 => format!("203.0.{}.{}", at / 256 % 256, at % 256),
        2 => format!("{at:032x}"),
        _ => format!("http://h{at}.example/{}", "x".repeat(at % 700)),
    });
    let mut values: Vec<String> = values.collect();
    values.sort();
    values.dedup();
    let set: Vec<Line> = values.iter().map(|value| line(value)).collect();
    let layers = layers_of(&set);
    for value in &values {
        with_value(value, None, |seen| assert_eq!(find(&layers, seen, 5), [value.as_str()]));
    }
    let back: Vec<Line> = layers.stored().unwrap().map(Result::unwrap).collect();
    assert!(back == set);
    assert_eq!(layers.indicators(), set.len() as u64);
}

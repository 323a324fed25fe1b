//! Hits of both sides of a translation: what is joined, by what, and what is kept apart.

use std::net::IpAddr;

use proptest::prelude::*;
use protocol::{
    Direction, Flow, HitId, NatEvidence, Note, Observable, Place, SeenIn, Serial, Traffic, Transport, Vantage,
};

use super::*;

const BEGIN: i64 = 1_790_000_000_000_000;
const COOLDOWN: i64 = 300_000_000;

pub(super) fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(BEGIN + micros)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// `tcp 10.0.0.5:5000 203.0.113.9:443`, the addresses of version 6 in brackets.
pub(super) fn flow(text: &str) -> Flow {
    let mut words = text.split(' ');
    let proto = match words.next().unwrap() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        _ => Transport::Icmp,
    };
    let mut end = || {
        let (address, port) = words.next().unwrap().rsplit_once(':').unwrap();
        (ip(address.trim_matches(['[', ']'])), port.parse().unwrap())
    };
    let ((src, src_port), (dst, dst_port)) = (end(), end());
    Flow { proto, src, src_port, dst, dst_port }
}

/// A hit as the detector of an input gives it out.
pub(super) fn view(micros: i64, input: &str, text: &str, start: Option<u32>) -> Hit {
    let flow = flow(text);
    let sides = Home::new(&[]).sides(flow.src, flow.dst);
    let observable = Observable::guess("cattivo.example").unwrap();
    let place = Place::Flow { flow };
    Hit {
        hit_id: HitId::derive(at(micros), input, (&observable, SeenIn::TlsSni), &place, "i"),
        at: at(micros),
        input: input.into(),
        observable,
        seen_in: SeenIn::TlsSni,
        place,
        indicator: "i".into(),
        also: Vec::new(),
        direction: sides.direction,
        host: sides.host,
        remote: sides.remote,
        count: 1,
        last_at: at(micros),
        bundle: Serial(7),
        evidence: String::new(),
        notes: Vec::new(),
        named_origins: Vec::new(),
        traffic: Some(Traffic { start, ..Traffic::default() }),
        nat: None,
        witnesses: Vec::new(),
        logged: None,
    }
}

/// What connection tracking knows, as pairs of original and reply; it can be asked unless there is nothing.
struct Gateway(Vec<Tracked>);

impl Gateway {
    fn new(entries: &[(&str, &str)]) -> Self {
        let tracked =
            |(original, reply): &(&str, &str)| Tracked { original: flow(original), reply: flow(reply) };
        Self(entries.iter().map(tracked).collect())
    }

    fn answer(&self, asked: &Flow) -> Answer {
        let knows =
            |tracked: &&Tracked| same_ends(&tracked.original, asked) || same_ends(&tracked.reply, asked);
        match self.0.iter().find(knows) {
            Some(tracked) => Answer::Tracked(*tracked),
            None if self.0.is_empty() => Answer::Unavailable,
            None => Answer::Unknown,
        }
    }
}

fn joiner(patience: Patience) -> Joiner {
    Joiner::new(&DetectorConfig::default(), patience)
}

/// Lets time pass as the agent does.
fn pass(joiner: &mut Joiner, gateway: &Gateway, now: Timestamp) -> Vec<Hit> {
    joiner.handle_timeout(now);
    while let Some(question) = joiner.poll_question() {
        joiner.handle_answer(now, question, gateway.answer(&question.flow));
    }
    std::iter::from_fn(|| joiner.poll_hit()).collect()
}

/// Runs views through a joiner, the capture being 100 ms behind, and gives what came out last of each hit.
fn run(patience: Patience, gateway: &Gateway, views: &[Hit]) -> Vec<Hit> {
    let mut joiner = joiner(patience);
    let mut out = Vec::new();
    for hit in views {
        let now = if patience == Patience::Live { after(hit.at, 100_000) } else { hit.at };
        joiner.handle_hit(now, hit.clone());
        out.extend(pass(&mut joiner, gateway, now));
    }
    let end = views.last().map_or(at(0), |hit| hit.at);
    for step in 1..=30 {
        out.extend(pass(&mut joiner, gateway, after(end, step * 100_000)));
    }
    joiner.finish(after(end, 10_000_000));
    out.extend(pass(&mut joiner, gateway, after(end, 10_000_000)));
    let mut last: Vec<Hit> = Vec::new();
    for hit in out {
        match last.iter_mut().find(|known| known.hit_id == hit.hit_id) {
            Some(known) => *known = hit,
            None => last.push(hit),
        }
    }
    last
}

/// A hit in short: direction, host, remote, then what is known of its translation, witnesses and doubts.
fn short(hit: &Hit) -> String {
    let or_dash = |address: Option<IpAddr>| address.map_or("-".into(), |address| address.to_string());
    let mut text = format!("{} {} {}", hit.direction.as_str(), or_dash(hit.host), or_dash(hit.remote));
    if let Some(nat) = &hit.nat {
        let vantage = match nat.vantage {
            Vantage::Inside => "inside",
            Vantage::Outside => "outside",
            Vantage::Both => "both",
        };
        let by = if nat.by == NatEvidence::Conntrack { "known" } else { "alike" };
        text += &format!(" = {}:{} {vantage} {by}", nat.outer, nat.outer_port);
    }
    if !hit.witnesses.is_empty() {
        text += &format!(" +{}", hit.witnesses.join("+"));
    }
    if hit.notes.contains(&Note::NatUncertain) {
        text += " ?";
    }
    text
}

fn check(gateway: &Gateway, views: &[Hit], expected: &[&str]) {
    let patience = if gateway.0.is_empty() { Patience::ToTheEnd } else { Patience::Live };
    let mut told: Vec<String> = run(patience, gateway, views).iter().map(short).collect();
    told.sort();
    assert_eq!(told, expected, "in the order of arrival");
    let mut reversed: Vec<Hit> = views.to_vec();
    reversed.reverse();
    let mut told: Vec<String> = run(patience, gateway, &reversed).iter().map(short).collect();
    told.sort();
    let swapped = |text: &&str| text.replace("+wan0", "+lan0");
    if told != expected {
        assert_eq!(told, expected.iter().map(swapped).collect::<Vec<_>>(), "in the reverse order");
    }
}

const INSIDE: &str = "tcp 10.0.0.5:5000 203.0.113.9:443";
const OUTSIDE: &str = "tcp 198.51.100.1:1024 203.0.113.9:443";
const ANSWER: &str = "tcp 203.0.113.9:443 198.51.100.1:1024";

#[test]
fn a_masqueraded_conversation_is_one_hit_whichever_sides_are_seen() {
    let gateway = Gateway::new(&[(INSIDE, ANSWER)]);
    let (inside, outside) = (view(0, "lan0", INSIDE, None), view(20, "wan0", OUTSIDE, None));
    let told = "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024";
    check(&gateway, &[inside.clone(), outside.clone()], &[&format!("{told} both known +wan0")]);
    check(&gateway, &[inside], &[&format!("{told} inside known")]);
    check(&gateway, &[outside], &[&format!("{told} outside known")]);
}

#[test]
fn a_forwarded_port_is_the_inner_servers_hit() {
    let (public, server) = ("tcp 203.0.113.66:4000 198.51.100.1:8080", "tcp 203.0.113.66:4000 10.0.0.9:80");
    let gateway = Gateway::new(&[(public, "tcp 10.0.0.9:80 203.0.113.66:4000")]);
    let views = [view(0, "wan0", public, None), view(15, "lan0", server, None)];
    let told = run(Patience::Live, &gateway, &views);
    assert_eq!(
        told.iter().map(short).collect::<Vec<_>>(),
        ["inbound 10.0.0.9 203.0.113.66 = 198.51.100.1:8080 both known +wan0"]
    );
    assert_eq!(told[0].place, Place::Flow { flow: flow(server) });
    assert_eq!(told[0].nat.unwrap().outer_flow, flow(public));
    assert_eq!((told[0].input.as_str(), told[0].at), ("lan0", at(0)));
    // Forwarded and masqueraded at once: the server sees the gateway, the town learns who it really was.
    let gateway = Gateway::new(&[(public, "tcp 10.0.0.9:80 10.0.0.1:1030")]);
    let told = run(Patience::Live, &gateway, &[view(0, "lan0", "tcp 10.0.0.1:1030 10.0.0.9:80", None)]);
    assert_eq!(short(&told[0]), "inbound 10.0.0.9 203.0.113.66 = 198.51.100.1:8080 inside known");
}

#[test]
fn a_hairpin_is_internal_and_one_hit_on_one_interface() {
    let asked = "tcp 10.0.0.5:5000 198.51.100.1:80";
    let gateway = Gateway::new(&[(asked, "tcp 10.0.0.9:80 10.0.0.1:1024")]);
    let views = [view(0, "lan0", asked, None), view(9, "lan0", "tcp 10.0.0.1:1024 10.0.0.9:80", None)];
    check(&gateway, &views, &["internal 10.0.0.5 - = 10.0.0.1:1024 both known"]);
}

#[test]
fn an_untranslated_conversation_has_no_translation_and_is_one_hit() {
    let routed = "tcp [fd00::5]:5000 [2001:db8::9]:443";
    let views = [view(0, "lan0", routed, Some(7)), view(12, "wan0", routed, Some(7))];
    let known = Gateway::new(&[(routed, "tcp [2001:db8::9]:443 [fd00::5]:5000")]);
    check(&known, &views, &["outbound fd00::5 2001:db8::9 +wan0"]);
    check(&Gateway::new(&[]), &views, &["outbound fd00::5 2001:db8::9 +wan0"]);
}

#[test]
fn without_connection_tracking_only_what_is_certain_is_joined() {
    let unknown = Gateway::new(&[]);
    let both = "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024 both alike +wan0";
    let of = |micros, input, flow, start| view(micros, input, flow, start);
    // The first sequence number.
    check(&unknown, &[of(0, "lan0", INSIDE, Some(7)), of(700_000, "wan0", OUTSIDE, Some(7))], &[both]);
    check(
        &unknown,
        &[of(0, "lan0", INSIDE, Some(7)), of(20, "wan0", OUTSIDE, Some(8))],
        &["outbound 10.0.0.5 203.0.113.9", "transit - 203.0.113.9"],
    );
    // No other candidate, adjacent in time.
    check(&unknown, &[of(0, "lan0", INSIDE, None), of(20, "wan0", OUTSIDE, Some(7))], &[both]);
    check(
        &unknown,
        &[of(0, "lan0", INSIDE, None), of(700_000, "wan0", OUTSIDE, None)],
        &["outbound 10.0.0.5 203.0.113.9 ?", "transit - 203.0.113.9 ?"],
    );
    check(
        &unknown,
        &[of(0, "lan0", INSIDE, None), of(1_100_000, "wan0", OUTSIDE, None)],
        &["outbound 10.0.0.5 203.0.113.9", "transit - 203.0.113.9"],
    );
    // ICMP has no ports that could tell.
    let (inside, outside) = ("icmp 10.0.0.5:0 203.0.113.9:0", "icmp 198.51.100.1:0 203.0.113.9:0");
    check(
        &unknown,
        &[of(0, "lan0", inside, None), of(20, "wan0", outside, None)],
        &["outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:0 both alike +wan0"],
    );
    // A forwarded port.
    let (public, server) = ("udp 203.0.113.66:4000 198.51.100.1:500", "udp 203.0.113.66:4000 10.0.0.9:500");
    check(
        &unknown,
        &[of(9, "lan0", server, None), of(0, "wan0", public, None)],
        &["inbound 10.0.0.9 203.0.113.66 = 198.51.100.1:500 both alike +wan0"],
    );
}

#[test]
fn two_hosts_behind_one_address_are_told_apart_by_their_ports_or_not_at_all() {
    let unknown = Gateway::new(&[]);
    let udp = |host: &str, port: u16| format!("udp {host}:{port} 203.0.113.9:443");
    let inside = |host: &str, port| view(i64::from(port % 10), "lan0", &udp(host, port), None);
    let outside = |port| view(20 + i64::from(port % 10), "wan0", &udp("198.51.100.1", port), None);
    check(
        &unknown,
        &[inside("10.0.0.5", 5001), inside("10.0.0.6", 6002), outside(1023), outside(1024)],
        &[
            "outbound 10.0.0.5 203.0.113.9 ?",
            "outbound 10.0.0.6 203.0.113.9 ?",
            "transit - 203.0.113.9 ?",
            "transit - 203.0.113.9 ?",
        ],
    );
    check(
        &unknown,
        &[inside("10.0.0.5", 5001), inside("10.0.0.6", 6002), outside(5001), outside(6002)],
        &[
            "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:5001 both alike +wan0",
            "outbound 10.0.0.6 203.0.113.9 = 198.51.100.1:6002 both alike +wan0",
        ],
    );
    // The outside counts the second host as a repeat: it is one hit there.
    check(
        &unknown,
        &[inside("10.0.0.6", 6002), inside("10.0.0.5", 5001), outside(5001)],
        &[
            "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:5001 both alike +wan0",
            "outbound 10.0.0.6 203.0.113.9",
        ],
    );
    // The same port twice inside.
    check(
        &unknown,
        &[inside("10.0.0.5", 5001), inside("10.0.0.6", 5001), outside(5001)],
        &["outbound 10.0.0.5 203.0.113.9 ?", "outbound 10.0.0.6 203.0.113.9 ?", "transit - 203.0.113.9 ?"],
    );
}

#[test]
fn a_question_through_the_gateways_own_resolver_is_another_conversation() {
    let unknown = Gateway::new(&[]);
    let views = [
        view(0, "lan0", "udp 10.0.0.5:5000 10.0.0.1:53", None),
        view(90, "wan0", "udp 198.51.100.1:5000 203.0.113.53:53", None),
    ];
    check(&unknown, &views, &["internal 10.0.0.5 -", "transit - 203.0.113.53"]);
}

#[test]
fn updates_keep_the_joined_identity_and_the_inner_sides_count() {
    let gateway = Gateway::new(&[(INSIDE, ANSWER)]);
    let mut joiner = joiner(Patience::Live);
    let (mut inside, mut outside) = (view(0, "lan0", INSIDE, None), view(20, "wan0", OUTSIDE, None));
    joiner.handle_hit(at(100_000), outside.clone());
    assert!(pass(&mut joiner, &gateway, at(100_000)).is_empty());
    let first = pass(&mut joiner, &gateway, at(500_000));
    assert_eq!(
        first.iter().map(short).collect::<Vec<_>>(),
        ["outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024 outside known"]
    );
    joiner.handle_hit(at(600_000), inside.clone());
    let again = pass(&mut joiner, &gateway, at(600_000));
    assert_eq!(
        again.iter().map(short).collect::<Vec<_>>(),
        ["outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024 both known +wan0"]
    );
    assert_eq!(again[0].hit_id, first[0].hit_id);
    (inside.count, inside.last_at) = (4, at(200_000_000));
    (outside.count, outside.last_at) = (9, at(200_000_000));
    joiner.handle_hit(at(COOLDOWN + 1_000_000), outside);
    joiner.handle_hit(at(COOLDOWN + 1_000_000), inside);
    let last = pass(&mut joiner, &gateway, at(COOLDOWN + 1_000_000));
    assert_eq!(last.len(), 1);
    assert_eq!((last[0].hit_id, last[0].count), (first[0].hit_id, 4));
    assert_eq!(short(&last[0]), short(&again[0]));
}

#[test]
fn an_entry_that_is_confirmed_late_is_asked_for_again() {
    let mut joiner = joiner(Patience::Live);
    joiner.handle_hit(at(0), view(0, "lan0", INSIDE, None));
    assert!(
        pass(
            &mut joiner,
            &Gateway::new(&[("udp 10.0.0.7:1 10.0.0.8:1", "udp 10.0.0.8:1 10.0.0.7:1")]),
            at(0)
        )
        .is_empty()
    );
    let gateway = Gateway::new(&[(INSIDE, ANSWER)]);
    assert!(pass(&mut joiner, &gateway, at(ASK_AGAIN_MICROS)).is_empty());
    let told = pass(&mut joiner, &gateway, at(TRACKED_MICROS));
    assert_eq!(short(&told[0]), "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024 inside known");
    assert_eq!(joiner.poll_timeout(), Some(at(TRACKED_MICROS + COOLDOWN + UPDATE_MICROS)));
}

#[test]
fn lines_pass_at_once_and_what_waits_comes_out_in_order_at_the_end() {
    let mut joiner = joiner(Patience::Live);
    joiner.handle_hit(at(0), view(0, "lan0", INSIDE, None));
    let line =
        Hit { place: Place::Line { line: 1, offset: None }, ..view(1, "/var/log/syslog", INSIDE, None) };
    joiner.handle_hit(at(1), line.clone());
    assert_eq!(joiner.poll_hit(), Some(line));
    assert_eq!(joiner.poll_hit(), None);
    joiner.handle_hit(at(2), view(2, "lan0", "tcp 10.0.0.6:5000 203.0.113.9:443", None));
    joiner.finish(at(3));
    let hosts: Vec<_> =
        std::iter::from_fn(|| joiner.poll_hit()).map(|hit| hit.host.unwrap().to_string()).collect();
    assert_eq!(hosts, ["10.0.0.5", "10.0.0.6"]);
}

#[test]
fn a_long_flow_reported_again_after_its_cooldown_is_a_new_hit() {
    let gateway = Gateway::new(&[(INSIDE, ANSWER)]);
    let later = COOLDOWN + 1_000_000;
    let views = [
        view(0, "lan0", INSIDE, None),
        view(20, "wan0", OUTSIDE, None),
        view(later, "lan0", INSIDE, None),
        view(later + 20, "wan0", OUTSIDE, None),
    ];
    let told = run(Patience::Live, &gateway, &views);
    let told: Vec<_> = told.iter().map(|hit| (hit.at, short(hit))).collect();
    let text = "outbound 10.0.0.5 203.0.113.9 = 198.51.100.1:1024 both known +wan0".to_owned();
    assert_eq!(told, [(at(0), text.clone()), (at(later), text)]);
}

#[test]
fn more_than_may_wait_are_given_out_early_and_counted() {
    let mut joiner = joiner(Patience::Live);
    for number in 0..WAITING_MAX + 3 {
        let port = u16::try_from(number % 60_000).unwrap();
        let text = format!("udp 10.0.{}.5:{port} 203.0.113.9:443", number / 60_000);
        let mut hit = view(i64::try_from(number).unwrap() * 3_000_000, "lan0", &text, None);
        hit.indicator = number.to_string();
        joiner.handle_hit(at(0), hit);
    }
    assert_eq!(joiner.counters().hits_join_hurried, 3);
    assert_eq!(std::iter::from_fn(|| joiner.poll_hit()).count(), 3);
}

/// A conversation of an invented gateway: which host, which remote, whether each side is seen, and how late.
fn conversations() -> impl Strategy<Value = Vec<(u8, u8, u8, i64)>> {
    prop::collection::vec((1..6_u8, 0..3_u8, 1..4_u8, 0..900_000_i64), 1..24)
}

proptest! {
    #[test]
    fn connection_tracking_gives_each_conversation_exactly_one_hit(made in conversations()) {
        let mut entries = Vec::new();
        let mut views = Vec::new();
        for (number, (host, remote, seen, delay)) in made.iter().enumerate() {
            let remote = format!("203.0.113.{remote}:443");
            let (inner, outer) = (format!("10.0.0.{host}:{}", 5000 + number), format!("198.51.100.1:{}", 1024 + number));
            let begun = i64::try_from(number).unwrap() * 200_000;
            entries.push((format!("tcp {inner} {remote}"), format!("tcp {remote} {outer}")));
            if seen & 1 != 0 {
                views.push((begun + delay, view(begun, "lan0", &format!("tcp {inner} {remote}"), None)));
            }
            if seen & 2 != 0 {
                views.push((begun, view(begun + 15, "wan0", &format!("tcp {outer} {remote}"), None)));
            }
        }
        let entries: Vec<(&str, &str)> = entries.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
        let gateway = Gateway::new(&entries);
        views.sort_by_key(|(arrives, _)| *arrives);
        let mut joiner = joiner(Patience::Live);
        let mut out = Vec::new();
        for (arrives, hit) in views {
            joiner.handle_hit(at(arrives), hit);
            out.extend(pass(&mut joiner, &gateway, at(arrives)));
        }
        joiner.finish(at(60_000_000));
        out.extend(pass(&mut joiner, &gateway, at(60_000_000)));
        let mut flows: Vec<(HitId, Flow)> = out.iter().map(|hit| (hit.hit_id, hit.nat.unwrap().outer_flow)).collect();
        flows.sort();
        flows.dedup();
        prop_assert_eq!(flows.len(), made.len());
        prop_assert!(out.iter().all(|hit| hit.direction == Direction::Outbound && hit.host.is_some()));
    }

    #[test]
    fn sequence_numbers_never_join_two_conversations(made in conversations()) {
        let mut views = Vec::new();
        for (number, (host, remote, seen, _)) in made.iter().enumerate() {
            let start = u32::try_from(number).unwrap() + 77;
            let begun = i64::try_from(number).unwrap() * 10_000;
            let port = 5000 + number;
            if seen & 1 != 0 {
                let text = format!("tcp 10.0.0.{host}:{port} 203.0.113.{remote}:443");
                views.push(view(begun, "lan0", &text, Some(start)));
            }
            if seen & 2 != 0 {
                let text = format!("tcp 198.51.100.1:{port} 203.0.113.{remote}:443");
                views.push(view(begun + 15, "wan0", &text, Some(start)));
            }
        }
        let told = run(Patience::Replay, &Gateway::new(&[]), &views);
        prop_assert_eq!(told.len(), made.len());
        let starts: BTreeSet<_> = told.iter().map(|hit| hit.traffic.unwrap().start).collect();
        prop_assert_eq!(starts.len(), made.len());
        prop_assert!(told.iter().all(|hit| !hit.notes.contains(&Note::NatUncertain)));
    }
}

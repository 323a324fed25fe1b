//! What a capture and logs tell of one conversation.

use protocol::hit::{Logged, Nat};
use protocol::{Hit, HitId, NatEvidence, Place, SeenIn, Timestamp, Vantage};

use crate::cooldown::OpenHit;
use crate::detector::DetectorConfig;
use crate::nat::tests::{at, flow, view};
use crate::nat::{Joiner, Patience};

const SECOND: i64 = 1_000_000;

/// A hit of a log line that tells of this conversation; an empty one is none.
fn line(micros: i64, input: &str, text: &str) -> Hit {
    let place = Place::Line { line: 1, offset: Some(micros as u64) };
    let mut hit =
        view(micros, input, if text.is_empty() { "tcp 10.0.0.5:5 203.0.113.9:443" } else { text }, None);
    hit.hit_id = HitId::derive(hit.at, input, (&hit.observable, SeenIn::LogDomain), &place, "i");
    let flow = (!text.is_empty()).then(|| flow(text));
    hit.logged = Some(Box::new(Logged { format: "fortigate".into(), flow, ..Logged::default() }));
    (hit.place, hit.seen_in, hit.traffic) = (place, SeenIn::LogDomain, None);
    hit
}

/// Input and witnesses of each hit as a collector has it in the end, by identity.
fn joined(patience: Patience, hits: Vec<Hit>) -> Vec<String> {
    let mut joiner = Joiner::new(&DetectorConfig::default(), patience);
    let mut known: Vec<Hit> = Vec::new();
    let mut take = |joiner: &mut Joiner| {
        while let Some(hit) = joiner.poll_hit() {
            match known.iter_mut().find(|known| known.hit_id == hit.hit_id) {
                Some(known) => *known = hit,
                None => known.push(hit),
            }
        }
    };
    let mut last = Timestamp::default();
    for hit in hits {
        last = hit.at;
        joiner.handle_timeout(last);
        take(&mut joiner);
        joiner.handle_hit(last, hit);
        take(&mut joiner);
    }
    joiner.finish(last);
    take(&mut joiner);
    known.iter().map(|hit| format!("{} {:?}", hit.input, hit.witnesses)).collect()
}

const FLOW: &str = "tcp 10.0.0.5:5000 203.0.113.9:443";

#[test]
fn a_line_about_a_captured_conversation_is_its_witness() {
    let seen = |apart| joined(Patience::Live, vec![view(0, "lan0", FLOW, None), line(apart, "fw", FLOW)]);
    assert_eq!(seen(2 * SECOND), [r#"lan0 ["fw"]"#]);
    assert_eq!(seen(119 * SECOND), [r#"lan0 ["fw"]"#]);
    assert_eq!(seen(125 * SECOND), ["lan0 []", "fw []"]);
}

#[test]
fn a_capture_and_another_log_may_come_after_the_line() {
    let hits = vec![line(0, "fw", FLOW), view(SECOND, "lan0", FLOW, None), line(9 * SECOND, "proxy", FLOW)];
    assert_eq!(joined(Patience::Live, hits), [r#"fw ["lan0", "proxy"]"#]);
}

#[test]
fn another_port_or_protocol_or_an_unknown_port_is_another_conversation() {
    for other in [
        "tcp 10.0.0.5:5001 203.0.113.9:443",
        "udp 10.0.0.5:5000 203.0.113.9:443",
        "tcp 10.0.0.5:0 203.0.113.9:443",
        "",
    ] {
        let hits = vec![view(0, "lan0", FLOW, None), line(2 * SECOND, "fw", other)];
        assert_eq!(joined(Patience::Live, hits), ["lan0 []", "fw []"], "{other}");
    }
}

#[test]
fn what_the_firewall_translated_is_found_from_outside() {
    let outside = "tcp 192.0.2.1:60964 203.0.113.9:443";
    let mut logged = line(2 * SECOND, "fw", FLOW);
    logged.nat = Some(Nat {
        outer: "192.0.2.1".parse().unwrap(),
        outer_port: 60964,
        vantage: Vantage::Both,
        by: NatEvidence::Log,
        outer_flow: flow(outside),
    });
    let hits = vec![view(0, "wan0", outside, None), logged];
    assert_eq!(joined(Patience::Live, hits), [r#"wan0 ["fw"]"#]);
}

#[test]
fn later_counts_of_both_are_one_hit() {
    let (mut flow, mut log) = (view(0, "lan0", FLOW, None), line(2 * SECOND, "fw", FLOW));
    let first = vec![flow.clone(), log.clone()];
    (flow.count, log.count) = (7, 5);
    (flow.at, log.at) = (at(0), at(2 * SECOND));
    let mut joiner = Joiner::new(&DetectorConfig::default(), Patience::Live);
    for hit in first {
        joiner.handle_timeout(at(2 * SECOND));
        joiner.handle_hit(at(2 * SECOND), hit);
    }
    joiner.handle_timeout(at(10 * SECOND));
    while joiner.poll_hit().is_some() {}
    joiner.handle_hit(at(290 * SECOND), flow.clone());
    joiner.handle_hit(at(302 * SECOND), log);
    joiner.finish(at(302 * SECOND));
    let given: Vec<(HitId, u64)> =
        std::iter::from_fn(|| joiner.poll_hit()).map(|hit| (hit.hit_id, hit.count)).collect();
    assert!(!given.is_empty());
    assert!(given.windows(2).all(|two| two[0].0 == two[1].0), "one came as a hit of its own: {given:?}");
}

#[test]
fn recordings_are_joined_whichever_is_read_first() {
    for hits in [
        vec![view(0, "lan0", FLOW, None), line(2 * SECOND, "fw", FLOW)],
        vec![line(0, "fw", FLOW), view(2 * SECOND, "lan0", FLOW, None)],
    ] {
        assert_eq!(joined(Patience::ToTheEnd, hits).len(), 1);
    }
}

#[test]
fn a_flood_of_hits_is_bounded_and_none_is_lost() {
    let hits: Vec<Hit> = (1..5000)
        .map(|port| line(i64::from(port), "fw", &format!("tcp 10.0.0.5:{port} 203.0.113.9:443")))
        .collect();
    assert_eq!(joined(Patience::Live, hits).len(), 4999);
}

#[test]
fn an_open_hit_is_completed_by_what_others_told_of_it() {
    let open = |joiner: &Joiner, hit: &Hit| {
        let mut open = OpenHit { hit: hit.clone(), is_witness: false };
        joiner.complete(&mut open);
        (open.hit.witnesses, open.is_witness)
    };
    let (captured, first, other) =
        (view(0, "lan0", FLOW, None), line(SECOND, "fw", FLOW), line(0, "dns", ""));
    let mut joiner = Joiner::new(&DetectorConfig::default(), Patience::Live);
    joiner.handle_hit(captured.at, captured);
    joiner.handle_timeout(at(10 * SECOND));
    joiner.handle_hit(at(10 * SECOND), first.clone());
    joiner.handle_hit(at(10 * SECOND), other.clone());
    assert_eq!(open(&joiner, &first), (Vec::new(), true), "it is the captured hit's witness");
    assert_eq!(open(&joiner, &other), (Vec::new(), false));
    let mut joiner = Joiner::new(&DetectorConfig::default(), Patience::Live);
    joiner.handle_hit(at(0), first.clone());
    joiner.handle_hit(at(0), line(2 * SECOND, "proxy", FLOW));
    assert_eq!(open(&joiner, &first), (vec!["proxy".to_owned()], false));
}

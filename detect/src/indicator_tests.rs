//! Indicators as detectors meet them: when they are valid, what silences them, how many one value has, and what
//! happens when their index cannot be read.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::bundle::{Line as BundleLine, Revocation, SetHash};
use protocol::index::{Builder, Index, Layers, Plan, ReadAt, Sanity};
use protocol::{Action, Hit, Indicator, LookFor, Serial, Timestamp};

use crate::made::{Side, dns_answer, dns_question, udp};
use crate::{Counters, Detector, DetectorConfig, Line, Link, Matcher};

const HOST: [u8; 4] = [10, 0, 0, 5];
const RESOLVER: [u8; 4] = [10, 0, 0, 1];
const OUTSIDE: [u8; 4] = [203, 0, 113, 5];
const CLIENT: Side = Side { src: (HOST, 40_000), dst: (OUTSIDE, 8080) };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds, 0)
}

/// An indicator with an identifier of its own.
fn indicator(kind: &str, value: &str, id: &str) -> Indicator {
    Indicator { id: id.to_owned(), ..Indicator::plain(LookFor::parse(kind, value).unwrap()) }
}

fn allow(kind: &str, value: &str) -> Indicator {
    Indicator { action: Action::Allow, ..indicator(kind, value, "allow") }
}

fn bytes_of(lines: &[BundleLine]) -> Vec<u8> {
    let sanity = Sanity::TakeAll;
    let plan = Plan { serial: Serial(7), secret: [5; 32], sanity, source: String::new(), below: None };
    let mut builder = Builder::new(plan, Vec::new(), Vec::new()).unwrap();
    lines.iter().for_each(|line| builder.add(line).unwrap());
    builder.finish(SetHash::default()).unwrap().1
}

fn matcher_on(disk: impl ReadAt + 'static) -> Arc<Matcher> {
    let index = Index::open(Box::new(disk)).unwrap();
    Arc::new(Matcher::new(Layers::new(Arc::new(index), None).unwrap()))
}

fn matcher(lines: impl IntoIterator<Item = Indicator>) -> Arc<Matcher> {
    let lines: Vec<BundleLine> = lines.into_iter().map(BundleLine::Indicator).collect();
    matcher_on(bytes_of(&lines))
}

/// Hits and counters of frames, one a second from a time on.
fn frames(matcher: &Arc<Matcher>, from: i64, frames: &[Vec<u8>]) -> (Vec<Hit>, Counters) {
    let mut detector = Detector::new(&DetectorConfig::default(), "test", Arc::clone(matcher));
    for (number, frame) in (from..).zip(frames) {
        detector.handle_frame(at(number), Link::Ethernet, frame);
    }
    (std::iter::from_fn(|| detector.poll_hit()).collect(), detector.counters())
}

fn lines(matcher: &Arc<Matcher>, lines: &[&str]) -> (Vec<Hit>, Counters) {
    let mut detector = Detector::new(&DetectorConfig::default(), "test", Arc::clone(matcher));
    for (number, line) in (1..).zip(lines) {
        detector.handle_line(at(0), Line { number, offset: None, bytes: line.as_bytes() });
    }
    (std::iter::from_fn(|| detector.poll_hit()).collect(), detector.counters())
}

fn question(name: &str) -> Vec<u8> {
    udp((HOST, 53_124), (RESOLVER, 53), &dns_question(name))
}

fn request(text: &str) -> Vec<Vec<u8>> {
    vec![CLIENT.syn(100), CLIENT.back().syn_ack(0), CLIENT.data(101, text.as_bytes())]
}

/// Each hit as where it was seen and the indicators that it names.
fn told(hits: &[Hit]) -> Vec<String> {
    let each = hits.iter().map(|hit| {
        let ids = [std::slice::from_ref(&hit.indicator), &hit.also].concat();
        format!("{} {}: {}", hit.seen_in.as_str(), hit.observable, ids.join(" "))
    });
    each.collect()
}

#[test]
fn an_indicator_counts_by_the_time_of_the_packet() {
    let mut valid = indicator("domain", "evil.example", "one");
    (valid.valid_from, valid.valid_until) = (Some(at(10)), Some(at(20)));
    let matcher = matcher([valid]);
    for (seconds, expected) in [(9, 0), (10, 1), (19, 1), (20, 0), (1000, 0)] {
        let (hits, _) = frames(&matcher, seconds, &[question("evil.example")]);
        assert_eq!(hits.len(), expected, "after {seconds} seconds");
    }
}

#[test]
fn two_indicators_on_one_value_are_one_hit_that_names_both() {
    let two = [indicator("domain", "evil.example", "wide"), indicator("domain", "evil.example", "twin")];
    let matcher = matcher(two.into_iter().chain([indicator("domain", "www.evil.example", "close")]));
    let (hits, counters) = frames(&matcher, 0, &[question("www.evil.example")]);
    assert_eq!(told(&hits), ["dns.query www.evil.example: close wide twin"]);
    assert_eq!(counters.matches, 1);
}

#[test]
fn an_entry_of_the_allow_list_silences_what_is_no_closer_and_is_counted() {
    let evil = indicator("domain", "evil.example", "wide");
    let close = indicator("domain", "a.good.evil.example", "close");
    let matcher = matcher([evil, close, allow("domain", "good.evil.example")]);
    let names = ["evil.example", "www.good.evil.example", "a.good.evil.example"].map(question);
    let (hits, counters) = frames(&matcher, 0, &names);
    assert_eq!(told(&hits), ["dns.query evil.example: wide", "dns.query a.good.evil.example: close"]);
    assert_eq!((counters.silenced, counters.revoked), (2, 0));
}

#[test]
fn what_was_revoked_is_no_hit_and_is_counted() {
    let mut of_alert = indicator("domain", "evil.example", "one");
    of_alert.alert = "ESEMPIO-2026-0001".to_owned();
    let lines = [
        BundleLine::Indicator(of_alert),
        BundleLine::Indicator(indicator("domain", "evil.example", "two")),
        BundleLine::Indicator(indicator("domain", "evil.example", "three")),
        BundleLine::Revocation(Revocation::Alert("ESEMPIO-2026-0001".to_owned())),
        BundleLine::Revocation(Revocation::Indicator("two".to_owned())),
    ];
    let (hits, counters) = frames(&matcher_on(bytes_of(&lines)), 0, &[question("evil.example")]);
    assert_eq!(told(&hits), ["dns.query evil.example: three"]);
    assert_eq!((counters.revoked, counters.silenced), (2, 0));
}

#[test]
fn a_listed_domain_is_found_in_addresses_of_mail_and_a_domain_of_mail_in_no_question() {
    let matcher = matcher([
        indicator("domain", "evil.example", "domain"),
        indicator("email_domain", "mail.example", "senders"),
    ]);
    let mail = "EHLO gw.example\r\nMAIL FROM:<Mallory@x.Evil.example>\r\nRCPT TO:<anna@a.mail.example>\r\n";
    let at_mail = Side { src: (HOST, 40_000), dst: (OUTSIDE, 25) };
    let sent = [at_mail.syn(100), at_mail.data(101, mail.as_bytes()), question("a.mail.example")];
    let (hits, _) = frames(&matcher, 0, &sent);
    assert_eq!(
        told(&hits),
        ["smtp.from mallory@x.evil.example: domain", "smtp.rcpt anna@a.mail.example: senders"]
    );
}

#[test]
fn a_url_below_a_path_is_found_in_requests_and_in_lines() {
    let matcher = matcher([indicator("url_prefix", "http://evil.example/kit/", "prefix")]);
    for (target, expected) in [("/kit", 1), ("/kit/a?b#c", 1), ("/kitten", 0), ("/", 0), ("/Kit", 0)] {
        let text = format!("GET {target} HTTP/1.1\r\nHost: EVIL.example:80\r\n\r\n");
        let (hits, _) = frames(&matcher, 0, &request(&text));
        assert_eq!(hits.len(), expected, "{target}");
        let (hits, _) = lines(&matcher, &[&format!("proxy: 10.0.0.5 GET https://evil.example{target} 200")]);
        assert_eq!(hits.len(), expected, "{target} in a line");
    }
}

#[test]
fn a_wildcard_is_found_in_questions() {
    let matcher = matcher([indicator("wildcard", "login-*.evil.example", "wildcard")]);
    for (name, expected) in [
        ("LOGIN-7.evil.example", 1),
        ("www.login-.evil.example", 1),
        ("login.evil.example", 0),
        ("evil.example", 0),
        ("login-7.notevil.example", 0),
    ] {
        assert_eq!(frames(&matcher, 0, &[question(name)]).0.len(), expected, "{name}");
    }
}

#[test]
fn a_part_of_a_user_agent_is_found_in_any_case() {
    let matcher = matcher([indicator("user_agent_part", "Evil-Bot", "part")]);
    for (agent, expected) in [("Mozilla/5.0 (EVIL-bot/2)", 1), ("evil-bot", 1), ("evil bot", 0)] {
        let text = format!("GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: {agent}\r\n\r\n");
        let (hits, _) = frames(&matcher, 0, &request(&text));
        assert_eq!(hits.len(), expected, "{agent}");
    }
}

#[test]
fn an_address_at_a_port_is_found_at_that_port_of_a_flow_only() {
    let matcher = matcher([indicator("ip_port", "203.0.113.5:8080", "endpoint")]);
    let to = |port| Side { src: (HOST, 40_000), dst: (OUTSIDE, port) }.syn(1);
    let from = |port| Side { src: (OUTSIDE, port), dst: (HOST, 443) }.syn(1);
    assert_eq!(told(&frames(&matcher, 0, &[to(8080)]).0), ["flow.dst 203.0.113.5: endpoint"]);
    assert_eq!(told(&frames(&matcher, 0, &[from(8080)]).0), ["flow.src 203.0.113.5: endpoint"]);
    let elsewhere = [to(8081), from(443), udp((HOST, 53_124), (RESOLVER, 53), &dns_question("a.example"))];
    assert!(frames(&matcher, 0, &elsewhere).0.is_empty());
    let answer = udp((RESOLVER, 53), (HOST, 8080), &dns_answer("a.example", "b.example", OUTSIDE));
    assert!(frames(&matcher, 0, &[answer]).0.is_empty());
}

/// A disk that is sound while the index is opened, and then is not.
struct Failing {
    bytes: Vec<u8>,
    failed: Arc<AtomicBool>,
    garbage: Option<u8>,
}

impl ReadAt for Failing {
    fn size(&self) -> io::Result<u64> {
        self.bytes.size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        match (self.failed.load(Ordering::Relaxed), self.garbage) {
            (false, _) => self.bytes.read_at(offset, into),
            (true, Some(byte)) => {
                into.fill(byte);
                Ok(())
            }
            (true, None) => Err(io::Error::other("the disk is gone")),
        }
    }
}

#[test]
fn an_index_that_cannot_be_read_is_counted_and_gives_no_hit() {
    let bytes = bytes_of(&[BundleLine::Indicator(indicator("domain", "evil.example", "one"))]);
    for garbage in [None, Some(0), Some(0xff)] {
        let failed = Arc::new(AtomicBool::new(false));
        let disk = Failing { bytes: bytes.clone(), failed: Arc::clone(&failed), garbage };
        let matcher = matcher_on(disk);
        assert_eq!(frames(&matcher, 0, &[question("evil.example")]).0.len(), 1);
        assert!(!matcher.is_damaged());
        failed.store(true, Ordering::Relaxed);
        let (hits, counters) = frames(&matcher, 0, &["evil.example", "a.example"].map(question));
        assert!(hits.is_empty(), "{hits:?}");
        assert_eq!((counters.look_ups_failed, counters.dns_messages), (1, 2));
        assert!(matcher.is_damaged());
    }
}

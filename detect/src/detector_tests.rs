//! The detector as its callers see it: frames and lines in, sightings and hits out.

use protocol::{Direction, Indicator, LookFor, Serial};

use super::*;
use crate::made::{Side, client_hello, dns_answer, dns_question, tls_records, udp};

const HOST: [u8; 4] = [10, 0, 0, 5];
const RESOLVER: [u8; 4] = [10, 0, 0, 1];
const OUTSIDE: [u8; 4] = [203, 0, 113, 5];
const CLIENT: Side = Side { src: (HOST, 40_000), dst: (OUTSIDE, 443) };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds, 0)
}

/// What is seen in frames, one a second, without the addresses of flows and fingerprints.
fn seen(frames: &[Vec<u8>]) -> Vec<String> {
    let mut detector = Detector::observer(&DetectorConfig::default(), "test");
    for (number, frame) in (0..).zip(frames) {
        detector.handle_frame(at(number), Link::Ethernet, frame);
    }
    detector.finish(at(1000));
    let mut seen = Vec::new();
    while let Some(sighting) = detector.poll_sighting() {
        if !matches!(sighting.seen_in, SeenIn::FlowSrc | SeenIn::FlowDst | SeenIn::TlsJa3 | SeenIn::TlsJa4) {
            seen.push(format!("{} {}", sighting.seen_in.as_str(), sighting.observable));
        }
    }
    seen
}

fn matcher(values: &[&str]) -> Arc<Matcher> {
    let indicators = values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
    Arc::new(Matcher::build(Serial(7), indicators).unwrap())
}

fn detector(values: &[&str], report: Report) -> Detector {
    let config = DetectorConfig { report, ..DetectorConfig::default() };
    Detector::new(&config, "test", matcher(values))
}

fn hits(detector: &mut Detector) -> Vec<Hit> {
    std::iter::from_fn(|| detector.poll_hit()).collect()
}

/// The segments of a stream of the client, the first at sequence 101.
fn segments(stream: &[u8], length: usize) -> Vec<Vec<u8>> {
    let chunks = stream.chunks(length).enumerate();
    chunks.map(|(number, part)| CLIENT.data(101 + u32::try_from(number * length).unwrap(), part)).collect()
}

#[test]
fn a_question_and_its_answer_give_names_and_addresses() {
    let frames = [
        udp((HOST, 53_124), (RESOLVER, 53), &dns_question("Evil.Example")),
        udp((RESOLVER, 53), (HOST, 53_124), &dns_answer("evil.example", "cdn.example", OUTSIDE)),
    ];
    assert_eq!(
        seen(&frames),
        [
            "dns.query evil.example",
            "dns.query evil.example",
            "dns.answer cdn.example",
            "dns.answer 203.0.113.5",
        ]
    );
}

#[test]
fn a_hello_is_read_however_it_is_cut() {
    let hello = client_hello("evil.example");
    let whole = tls_records(&hello, 16_384);
    let split = tls_records(&hello, 100);
    for stream in [&whole, &split] {
        for length in [1460, 700, 64] {
            let mut frames = vec![CLIENT.syn(100), CLIENT.back().syn_ack(0)];
            frames.extend(segments(stream, length));
            assert_eq!(seen(&frames), ["tls.sni evil.example"], "segments of {length}");
        }
    }
}

#[test]
fn segments_out_of_order_and_sent_twice_do_not_matter() {
    let stream = tls_records(&client_hello("evil.example"), 16_384);
    let parts = segments(&stream, 500);
    let order = [2, 0, 0, 2, 1, 1];
    let mut frames = vec![CLIENT.syn(100)];
    frames.extend(order.iter().map(|number| parts[*number].clone()));
    assert_eq!(seen(&frames), ["tls.sni evil.example"]);
}

#[test]
fn a_name_is_reported_though_the_rest_of_its_hello_is_lost() {
    let stream = tls_records(&client_hello("evil.example"), 16_384);
    let mut frames = segments(&stream[..stream.len() - 2], 1460);
    frames.insert(0, CLIENT.syn(100));
    assert_eq!(seen(&frames), ["tls.sni_cut evil.example"]);
}

#[test]
fn a_hello_after_starttls_or_connect_is_read() {
    let hello = tls_records(&client_hello("evil.example"), 16_384);
    let mail = [b"EHLO gw.example\r\n".to_vec(), b"STARTTLS\r\n".to_vec(), hello.clone()];
    let proxy = [b"CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n".to_vec(), hello];
    for (steps, expected) in [
        (&mail[..], &["smtp.helo gw.example", "tls.sni evil.example"][..]),
        (&proxy[..], &["http.host evil.example", "tls.sni evil.example"]),
    ] {
        let mut frames = vec![CLIENT.syn(100)];
        let mut sequence = 101;
        for step in steps {
            frames.push(CLIENT.data(sequence, step));
            sequence += u32::try_from(step.len()).unwrap();
        }
        assert_eq!(seen(&frames), expected);
    }
}

#[test]
fn dns_over_tcp_is_read_and_other_protocols_do_not_hide_at_its_port() {
    let at_dns = Side { src: (HOST, 40_000), dst: (OUTSIDE, 53) };
    let question = dns_question("evil.example");
    let mut stream = u16::try_from(question.len()).unwrap().to_be_bytes().to_vec();
    stream.extend(question);
    let (first, second) = stream.split_at(1);
    let frames = [at_dns.syn(100), at_dns.data(101, first), at_dns.data(102, second)];
    assert_eq!(seen(&frames), ["dns.query evil.example"]);
    let hello = tls_records(&client_hello("evil.example"), 16_384);
    assert_eq!(seen(&[at_dns.syn(100), at_dns.data(101, &hello)]), ["tls.sni evil.example"]);
}

#[test]
fn requests_are_read_one_after_the_other_over_bodies_of_both_kinds() {
    let stream = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 16\r\n\r\nGET /no HTTP/1.1\
        POST /b?u=http://x.example/ HTTP/1.1\r\nHost: B.Example:8080\r\nTransfer-Encoding: chunked\r\n\r\n\
        5\r\nGET /\r\n0\r\n\r\nGET http://c.example/c HTTP/1.0\r\nUser-Agent: evil-bot/1.0\r\n\r\n";
    for length in [1460, 7] {
        let mut frames = vec![CLIENT.syn(100)];
        frames.extend(segments(stream, length));
        let seen = seen(&frames);
        let heads: Vec<&str> =
            seen.iter().map(|seen| &**seen).filter(|seen| !seen.starts_with("http.body")).collect();
        assert_eq!(
            heads,
            [
                "http.host a.example",
                "http.url http://a.example/a",
                "http.host b.example",
                "http.url http://b.example:8080/b?u=http://x.example/",
                "http.host c.example",
                "http.url http://c.example/c",
                "http.user_agent evil-bot/1.0",
            ],
            "segments of {length}"
        );
    }
}

#[test]
fn a_request_after_lost_bytes_is_read() {
    let first = b"POST /a HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100000\r\n\r\n";
    let mut frames = vec![CLIENT.syn(100), CLIENT.data(101, first)];
    for number in 0..20 {
        let request = format!("GET /{number} HTTP/1.1\r\nHost: b.example\r\n\r\n");
        frames.push(CLIENT.data(200_000 + number * 100, request.as_bytes()));
    }
    let seen = seen(&frames);
    assert!(seen.contains(&"http.host b.example".to_owned()), "{seen:?}");
}

#[test]
fn a_syn_sent_again_after_a_reset_begins_another_connection() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    let frames = [CLIENT.syn(100), CLIENT.reset(7), CLIENT.syn(100), CLIENT.data(101, &hello)];
    assert_eq!(seen(&frames), ["tls.sni evil.example"]);
}

#[test]
fn who_began_is_told_by_the_syn_else_by_the_ports() {
    let src_of = |frame: Vec<u8>| {
        let mut detector = Detector::observer(&DetectorConfig::default(), "test");
        detector.handle_frame(at(0), Link::Ethernet, &frame);
        let sighting = detector.poll_sighting().unwrap();
        assert_eq!(sighting.seen_in, SeenIn::FlowSrc);
        sighting.observable.to_string()
    };
    assert_eq!(src_of(CLIENT.syn(1)), "10.0.0.5");
    assert_eq!(src_of(CLIENT.back().syn_ack(1)), "10.0.0.5");
    assert_eq!(src_of(CLIENT.back().data(1, b"x")), "10.0.0.5");
    assert_eq!(src_of(CLIENT.back().syn(1)), "203.0.113.5", "a SYN wins over the ports");
    assert_eq!(src_of(udp((RESOLVER, 53), (HOST, 53_124), b"")), "10.0.0.5");
}

#[test]
fn what_an_icmp_error_quotes_is_no_traffic() {
    let quoted = CLIENT.syn(1);
    let mut frame = Vec::new();
    let builder = etherparse::PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(RESOLVER, HOST, 64);
    builder.icmpv4_raw(3, 1, [0; 4]).write(&mut frame, &quoted[14..]).unwrap();
    let mut detector = Detector::observer(&DetectorConfig::default(), "test");
    detector.handle_frame(at(0), Link::Ethernet, &frame);
    let seen: Vec<String> =
        std::iter::from_fn(|| detector.poll_sighting()).map(|seen| seen.observable.to_string()).collect();
    assert_eq!(seen, ["10.0.0.1", "10.0.0.5"]);
}

#[test]
fn one_flow_gives_one_hit_and_counts_the_rest() {
    let mut detector = detector(&["evil.example"], Report::AtOnce);
    let question = udp((HOST, 53_124), (RESOLVER, 53), &dns_question("www.evil.example"));
    let answer =
        udp((RESOLVER, 53), (HOST, 53_124), &dns_answer("www.evil.example", "x.evil.example", OUTSIDE));
    detector.handle_frame(at(0), Link::Ethernet, &question);
    detector.handle_frame(at(1), Link::Ethernet, &answer);
    let first = hits(&mut detector);
    assert_eq!(first.len(), 1);
    let hit = &first[0];
    assert_eq!((hit.count, hit.direction, hit.remote), (1, Direction::Internal, None));
    assert_eq!(
        (hit.observable.to_string().as_str(), hit.indicator.as_str()),
        ("www.evil.example", "evil.example")
    );
    assert_eq!((hit.host, hit.evidence.as_str()), (Some(HOST.into()), "www.evil.example"));
    detector.handle_timeout(at(300));
    let last = hits(&mut detector);
    assert_eq!(last.len(), 1, "the same hit once more, with its count");
    assert_eq!((last[0].hit_id, last[0].count, last[0].last_at), (hit.hit_id, 3, at(1)));
}

#[test]
fn at_the_end_each_hit_comes_once_with_its_count() {
    let run = || {
        let mut detector = detector(&["203.0.113.0/24", "203.0.113.5:443"], Report::AtEnd);
        for number in 0..5u16 {
            let flow = Side { src: (HOST, 40_000 + number), dst: (OUTSIDE, 443) };
            detector.handle_frame(at(i64::from(number)), Link::Ethernet, &flow.syn(1));
            assert!(detector.poll_hit().is_none());
        }
        detector.finish(at(10));
        hits(&mut detector)
    };
    let first = run();
    assert_eq!(first.len(), 1);
    let hit = &first[0];
    assert_eq!((hit.count, hit.at, hit.last_at), (5, at(0), at(4)));
    assert_eq!(
        (hit.indicator.as_str(), hit.also.as_slice()),
        ("203.0.113.5:443", &["203.0.113.0/24".to_owned()][..])
    );
    assert_eq!(
        (hit.direction, hit.host, hit.remote),
        (Direction::Outbound, Some(HOST.into()), Some(OUTSIDE.into()))
    );
    assert_eq!(run(), first, "the same capture gives the same hits");
}

#[test]
fn after_the_cooldown_a_hit_is_another_one() {
    let mut detector = detector(&["203.0.113.5"], Report::AtOnce);
    let mut ids = Vec::new();
    for (number, second) in [0, 299, 300, 1000].into_iter().enumerate() {
        let flow = Side { src: (HOST, 40_000 + u16::try_from(number).unwrap()), dst: (OUTSIDE, 443) };
        detector.handle_frame(at(second), Link::Ethernet, &flow.syn(1));
        ids.extend(hits(&mut detector).into_iter().map(|hit| (hit.hit_id, hit.count)));
    }
    let counts: Vec<u64> = ids.iter().map(|(_, count)| *count).collect();
    assert_eq!(counts, [1, 2, 1, 1]);
    assert_eq!(ids[0].0, ids[1].0);
    assert_ne!(ids[1].0, ids[2].0);
}

#[test]
fn an_indicator_counts_only_while_it_is_valid_by_packet_time() {
    let mut indicator = Indicator::plain(LookFor::guess("203.0.113.5").unwrap());
    indicator.valid_until = Some(at(100));
    let matcher = Arc::new(Matcher::build(Serial(1), [indicator]).unwrap());
    let mut detector = Detector::new(&DetectorConfig::default(), "test", matcher);
    for (second, expected) in [(100, 0), (99, 1)] {
        let flow = Side { src: (HOST, 40_000 + u16::try_from(second).unwrap()), dst: (OUTSIDE, 443) };
        detector.handle_frame(at(second), Link::Ethernet, &flow.syn(1));
        assert_eq!(hits(&mut detector).len(), expected);
    }
}

#[test]
fn another_bundle_counts_from_the_next_frame_on_and_flows_stay() {
    let mut detector = detector(&["nothing.example"], Report::AtOnce);
    let request = |number| format!("GET /{number} HTTP/1.1\r\nHost: evil.example\r\n\r\n").into_bytes();
    let first = request(1);
    detector.handle_frame(at(0), Link::Ethernet, &CLIENT.syn(100));
    detector.handle_frame(at(1), Link::Ethernet, &CLIENT.data(101, &first));
    detector.set_matcher(matcher(&["evil.example"]));
    let sequence = 101 + u32::try_from(first.len()).unwrap();
    detector.handle_frame(at(2), Link::Ethernet, &CLIENT.data(sequence, &request(2)));
    let hits = hits(&mut detector);
    assert_eq!(hits.len(), 1);
    assert_eq!((hits[0].seen_in, hits[0].remote), (SeenIn::HttpHost, Some(OUTSIDE.into())));
    assert!(hits[0].evidence.starts_with("GET /2 HTTP/1.1"), "{}", hits[0].evidence);
}

#[test]
fn the_flow_table_never_exceeds_its_cap_and_counts_what_it_forgets() {
    let config = DetectorConfig { flows_max: 64, ..DetectorConfig::default() };
    let mut detector = Detector::observer(&config, "test");
    for number in 0..1000 {
        let flow = Side { src: (HOST, 1024 + number), dst: (OUTSIDE, 443) };
        detector.handle_frame(at(0), Link::Ethernet, &flow.syn(1));
        assert!(detector.flows() <= 64);
        while detector.poll_sighting().is_some() {}
    }
    let counters = detector.counters();
    assert_eq!((counters.flows_begun, counters.flows_evicted), (1000, 1000 - 64));
}

#[test]
fn a_line_gives_a_hit_with_its_number_and_the_towns_host() {
    let mut detector = detector(&["203.0.113.5"], Report::AtOnce);
    let line = b"Nov 22 10:00:00 gw kernel: SRC=203.0.113.5 DST=10.0.0.5 PROTO=TCP DPT=22";
    detector.handle_line(at(0), Line { number: 3, offset: Some(120), bytes: line });
    let hits = hits(&mut detector);
    assert_eq!(hits.len(), 1);
    let hit = &hits[0];
    assert_eq!(hit.place, protocol::Place::Line { line: 3, offset: Some(120) });
    assert_eq!(
        (hit.direction, hit.host, hit.remote),
        (Direction::Inbound, Some(HOST.into()), Some(OUTSIDE.into()))
    );
    assert_eq!(hit.evidence.as_bytes(), line);
}

#[test]
fn more_than_is_kept_of_all_streams_is_given_up_and_counted() {
    let mut detector = Detector::observer(&DetectorConfig::default(), "test");
    let half = vec![b'A'; 1400];
    let head = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &half].concat();
    for number in 0..60_000u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let flow = Side { src: ([10, 1, high, low], 40_000), dst: (OUTSIDE, 80) };
        detector.handle_frame(at(0), Link::Ethernet, &flow.data(1, &head));
        while detector.poll_sighting().is_some() {}
    }
    assert!(detector.held <= detector.held_max + 4096, "{}", detector.held);
    assert!(detector.counters().streams_evicted > 1000);
    detector.finish(at(1));
    assert_eq!(detector.held, 0);
}

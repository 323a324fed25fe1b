//! No bytes make the detector panic, hang or keep more than its limits.

use std::sync::Arc;

use proptest::prelude::*;
use protocol::{Indicator, LookFor, Serial, Timestamp};

use crate::made::{Side, client_hello, dns_answer, seen_by, tls_records, udp};
use crate::reader::Towards;
use crate::{Detector, DetectorConfig, Line, Link, Matcher, dns, dtls, quic, tls};

const LINKS: [Link; 22] = [
    Link::Ethernet,
    Link::CookedV1,
    Link::CookedV2,
    Link::RawIp,
    Link::Loopback,
    Link::Ppp,
    Link::PppWithDirection,
    Link::Pppoe,
    Link::CiscoHdlc,
    Link::FrameRelay,
    Link::Wireless,
    Link::Radiotap,
    Link::Prism,
    Link::Ppi,
    Link::Infiniband,
    Link::Fddi,
    Link::TokenRing,
    Link::Llc,
    Link::SunAtm,
    Link::Mpls,
    Link::Nflog,
    Link::Slip,
];
const TUNNEL_PORTS: [u16; 17] =
    [53, 443, 1701, 2152, 3544, 4341, 4789, 4790, 5072, 5247, 5353, 5355, 6081, 6343, 6635, 8472, 37008];
const HOST: ([u8; 4], u16) = ([10, 0, 0, 5], 40_000);

fn at(micros: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + micros)
}

fn bytes(length_max: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..length_max)
}

/// A good message with some bytes changed and its end cut.
fn damaged(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let length = good.len();
    (prop::collection::vec((0..length, any::<u8>()), 0..8), 0..=length).prop_map(move |(changes, cut)| {
        let mut bytes = good.clone();
        for (at, byte) in changes {
            bytes[at] = byte;
        }
        bytes.truncate(cut);
        bytes
    })
}

fn run(frames: &[(Link, Vec<u8>)]) {
    let indicators = ["evil.example", "0.0.0.0/0", "::/0"].map(|value| LookFor::guess(value).unwrap());
    let matcher = Arc::new(Matcher::build(Serial(1), indicators.map(Indicator::plain)).unwrap());
    for mut detector in [
        Detector::observer(&DetectorConfig::default(), "test"),
        Detector::new(&DetectorConfig::default(), "test", matcher),
    ] {
        for (number, (link, frame)) in (0..).zip(frames) {
            detector.handle_frame(at(number), *link, frame);
        }
        detector.finish(at(1_000_000));
        while detector.poll_sighting().is_some() || detector.poll_hit().is_some() {}
        assert_eq!(detector.flows(), 0);
        assert_eq!(detector.counters().frames, u64::try_from(frames.len()).unwrap());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_frame_of_any_link_type(link in prop::sample::select(&LINKS[..]), frame in bytes(200)) {
        run(&[(link, frame)]);
    }

    #[test]
    fn damaged_frames(frame in damaged(udp(HOST, ([10, 0, 0, 1], 53), &dns_answer("a.example", "b.example", [1; 4])))) {
        run(&[(Link::Ethernet, frame)]);
    }

    #[test]
    fn ip_of_any_protocol_with_any_payload(number in any::<u8>(), payload in bytes(120)) {
        let length = u16::try_from(20 + payload.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, number, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        packet.extend(&payload);
        let mut v6 = vec![0x60, 0, 0, 0, 0, length[1] - 20, number, 64];
        v6.extend([0x20; 32]);
        v6.extend(&payload);
        run(&[(Link::RawIp, packet), (Link::RawIp, v6)]);
    }

    #[test]
    fn datagrams_of_tunnels_and_quic(port in prop::sample::select(&TUNNEL_PORTS[..]), payload in bytes(300)) {
        run(&[(Link::Ethernet, udp(HOST, ([203, 0, 113, 5], port), &payload))]);
    }

    #[test]
    fn streams_in_any_order(
        segments in prop::collection::vec((0u32..6000, bytes(400)), 1..40),
        start in prop::sample::select(vec![
            b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec(),
            tls_records(&client_hello("evil.example"), 90),
            b"EHLO x\r\n".to_vec(),
        ]),
    ) {
        let side = Side { src: HOST, dst: ([203, 0, 113, 5], 8080) };
        let mut frames = vec![(Link::Ethernet, side.syn(0)), (Link::Ethernet, side.data(1, &start))];
        for (sequence, payload) in segments {
            frames.push((Link::Ethernet, side.data(sequence, &payload)));
        }
        run(&frames);
    }

    #[test]
    fn a_stream_gives_the_same_names_however_it_is_cut_and_mixed(
        seed in any::<u64>(), length in 20usize..1400, fragment in 1usize..3000,
    ) {
        let stream = tls_records(&client_hello("evil.example"), fragment);
        let side = Side { src: HOST, dst: ([203, 0, 113, 5], 443) };
        let mut parts: Vec<Vec<u8>> = stream
            .chunks(length)
            .enumerate()
            .map(|(number, part)| side.data(1 + u32::try_from(number * length).unwrap(), part))
            .collect();
        if parts.len() <= 12 && !parts.is_empty() {
            let turn = usize::try_from(seed % 12).unwrap() % parts.len();
            parts.rotate_left(turn);
        }
        // Records of a few bytes grow the hello beyond what is kept; then it is counted.
        let mut detector = Detector::observer(&DetectorConfig::default(), "test");
        detector.handle_frame(at(0), Link::Ethernet, &side.syn(0));
        for part in &parts {
            detector.handle_frame(at(1), Link::Ethernet, part);
        }
        detector.finish(at(2));
        let seen = std::iter::from_fn(|| detector.poll_sighting())
            .any(|sighting| sighting.observable.to_string() == "evil.example");
        prop_assert!(seen || detector.counters().heads_too_long > 0);
    }

    #[test]
    fn any_line(line in bytes(600)) {
        let mut detector = Detector::observer(&DetectorConfig::default(), "test");
        detector.handle_line(at(0), Line { number: 1, offset: None, bytes: &line });
    }

    #[test]
    fn lines_of_what_values_are_made_of(line in "[0-9a-f.:/@%\\[\\]\"' =<>()A-Zhtps_-]{0,300}") {
        let mut detector = Detector::observer(&DetectorConfig::default(), "test");
        detector.handle_line(at(0), Line { number: 1, offset: None, bytes: line.as_bytes() });
    }

    #[test]
    fn any_message_of_each_protocol(message in bytes(300), hello in damaged(client_hello("evil.example"))) {
        seen_by(|sink| {
            dns::read(&message, sink);
            dns::read_stream(&message, sink);
            quic::Initials::default().read(&message, sink);
        });
        seen_by(|sink| {
            for (carrier, bytes) in [(tls::Carrier::Stream, &message), (tls::Carrier::Datagrams, &hello)] {
                tls::Messages::new(carrier).read(bytes, sink);
                tls::read_cut_hello(bytes, carrier, sink);
            }
            quic::google_server_name(&message);
            let mut handshakes = dtls::Handshakes::default();
            handshakes.read(&message, Towards::Server, sink);
            handshakes.end(sink);
        });
    }

    #[test]
    fn damaged_answers(message in damaged(dns_answer("www.evil.example", "cdn.example", [203, 0, 113, 5]))) {
        seen_by(|sink| dns::read(&message, sink));
    }
}

//! Packets taken apart in every way, and what the detector says of them.

use proptest::prelude::*;

use super::*;
use crate::made::{dns_question, udp};
use crate::{Detector, DetectorConfig, Link};

const SRC: ([u8; 4], u16) = ([10, 0, 0, 5], 40_000);
const DST: ([u8; 4], u16) = ([203, 0, 113, 5], 53);
const NAME: &str = "a-long-enough-name-for-many-fragments.evil.example";

/// A datagram with a question as the payload of an IP packet.
fn datagram() -> Vec<u8> {
    udp(SRC, DST, &dns_question(NAME)).split_off(34)
}

/// An IPv4 fragment of a UDP packet.
fn v4(offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let field = u16::try_from(offset / 8).unwrap() | if more { 0x2000 } else { 0 };
    let length = u16::try_from(20 + bytes.len()).unwrap().to_be_bytes();
    let field = field.to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 7, field[0], field[1], 64, 17, 0, 0];
    packet.extend(SRC.0);
    packet.extend(DST.0);
    packet.extend(bytes);
    packet
}

/// The same in IPv6.
fn v6(offset: usize, more: bool, bytes: &[u8]) -> Vec<u8> {
    let field = (u16::try_from(offset).unwrap() | u16::from(more)).to_be_bytes();
    let length = u16::try_from(8 + bytes.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], 44, 64];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([17, 0, field[0], field[1], 0, 0, 0, 7]);
    packet.extend(bytes);
    packet
}

type Make = fn(usize, bool, &[u8]) -> Vec<u8>;

/// The datagram in fragments of so many bytes.
fn apart(make: Make, size: usize) -> Vec<Vec<u8>> {
    let whole = datagram();
    let last = whole.len().div_ceil(size) - 1;
    whole.chunks(size).enumerate().map(|(number, bytes)| make(number * size, number < last, bytes)).collect()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000).plus_seconds(seconds)
}

fn detector() -> Detector {
    Detector::observer(&DetectorConfig::default(), "test")
}

/// What is seen of packets: names, and the destinations of flows with their ports.
fn seen(detector: &mut Detector) -> Vec<String> {
    std::iter::from_fn(|| detector.poll_sighting())
        .filter(|sighting| sighting.seen_in != protocol::SeenIn::FlowSrc)
        .map(|sighting| match sighting.place {
            protocol::Place::Flow { flow } if sighting.seen_in == protocol::SeenIn::FlowDst => {
                format!(
                    "{}:{}{}",
                    sighting.observable,
                    flow.dst_port,
                    if sighting.notes.is_empty() { "" } else { " noted" }
                )
            }
            _ => sighting.observable.to_string(),
        })
        .collect()
}

fn check(packets: &[Vec<u8>], expected: &[&str]) -> Counters {
    let mut detector = detector();
    for packet in packets {
        detector.handle_frame(at(0), Link::RawIp, packet);
    }
    detector.finish(at(1));
    assert_eq!(seen(&mut detector), expected);
    assert_eq!(detector.held(), 0);
    detector.counters()
}

const WHOLE_V4: [&str; 2] = ["203.0.113.5:53", NAME];
const WHOLE_V6: [&str; 2] = ["2001:db8::2:53", NAME];

#[test]
fn a_packet_in_fragments_is_one_flow() {
    for size in [8, 16, 24, 56] {
        check(&apart(v4, size), &WHOLE_V4);
        check(&apart(v6, size), &WHOLE_V6);
    }
}

#[test]
fn the_order_does_not_matter() {
    for turn in 1..7 {
        for (make, expected) in [(v4 as Make, WHOLE_V4), (v6, WHOLE_V6)] {
            let mut packets = apart(make, 16);
            let turn = turn % packets.len();
            packets.rotate_left(turn);
            check(&packets, &expected);
            packets.reverse();
            check(&packets, &expected);
        }
    }
}

#[test]
fn a_fragment_sent_twice_is_no_overlap() {
    for (make, expected) in [(v4 as Make, WHOLE_V4), (v6, WHOLE_V6)] {
        let mut packets = apart(make, 16);
        packets.insert(2, packets[1].clone());
        packets.insert(0, packets[1].clone());
        assert_eq!(check(&packets, &expected).fragments_overlap, 0);
    }
}

#[test]
fn where_ipv4_overlaps_the_first_bytes_count_and_the_flow_is_marked() {
    let mut packets = apart(v4, 16);
    packets.insert(1, v4(24, true, &[b'x'; 16]));
    let mut detector = detector();
    for packet in &packets {
        detector.handle_frame(at(0), Link::RawIp, packet);
    }
    detector.finish(at(1));
    let seen = seen(&mut detector);
    assert_eq!(seen[0], "203.0.113.5:53 noted");
    assert!(seen[1].contains('x') && seen[1].len() == NAME.len());
    assert!(detector.counters().fragments_overlap > 0);
}

#[test]
fn where_ipv6_overlaps_the_packet_is_dropped() {
    let mut packets = apart(v6, 16);
    packets.insert(1, v6(8, true, &[b'x'; 24]));
    assert_eq!(check(&packets, &["2001:db8::2:0"]).fragments_overlap, 1);
}

#[test]
fn a_packet_that_stays_incomplete_says_what_its_first_fragment_says() {
    let packets = apart(v4, 56);
    check(&packets[..1], &["203.0.113.5:53"]);
    check(&packets[1..], &["203.0.113.5:0"]);
    check(&[v4(0, true, &datagram()[..59])], &["203.0.113.5:53"]);
    let mut detector = detector();
    detector.handle_frame(at(0), Link::RawIp, &packets[0]);
    detector.handle_timeout(at(20));
    assert_eq!(seen(&mut detector).len(), 0);
    assert!(detector.poll_timeout().is_some_and(|due| due <= at(31)));
    detector.handle_timeout(at(31));
    assert_eq!(seen(&mut detector), ["203.0.113.5:53"]);
    assert_eq!((detector.counters().fragments_late, detector.held()), (1, 0));
}

#[test]
fn lengths_that_cannot_be_are_refused() {
    let good = apart(v4, 16);
    for bad in [
        v4(65_528, false, &[0; 16]), // beyond the largest packet
        v4(0, true, &[0; 7]),        // less than offsets count
        v4(16, true, &[]),           // nothing
    ] {
        let mut packets = good.clone();
        packets.insert(1, bad);
        assert_eq!(check(&packets, &WHOLE_V4).fragments_malformed, 1);
    }
    let mut packets = good.clone();
    packets.rotate_right(1);
    packets.insert(1, v4(160, false, b"later than the last"));
    packets.insert(1, v4(8, false, &[0; 8])); // two ends
    assert_eq!(check(&packets, &WHOLE_V4).fragments_malformed, 2);
}

#[test]
fn fragments_of_one_packet_are_bounded() {
    let packets: Vec<_> = (0..600).map(|number| v4(number * 16, true, &[0; 8])).collect();
    assert_eq!(check(&packets, &["203.0.113.5:0"]).fragments_too_many, 600 - 512);
}

#[test]
fn a_flood_stays_within_its_memory() {
    let (mut fragments, mut counters) = (Fragments::new(64 << 10), Counters::default());
    let bytes = [7; 1000];
    for id in 0..2000 {
        let fragment = Fragment {
            src: SRC.0.into(),
            dst: DST.0.into(),
            is_v6: false,
            id,
            number: 17,
            hops: 64,
            offset: 0,
            more: true,
            bytes: &bytes,
            length: bytes.len(),
        };
        assert!(fragments.take(at(0), (&fragment, 0), &mut counters).is_none());
        while let Some(whole) = fragments.give_up(at(0), &mut counters) {
            assert_eq!(whole.bytes.len(), 1020);
        }
        assert!(fragments.held() <= 64 << 10);
    }
    assert!(counters.fragments_evicted > 1900);
}

#[test]
fn fragments_that_make_fragments_whole_come_to_an_end() {
    // Each packet made whole is itself the last fragment of the next.
    let mut inside = v6(16, false, &[0; 8]).split_off(40);
    let mut detector = detector();
    for id in 1..40u8 {
        let mut first = v6(0, true, &[0; 16]);
        first[47] = id;
        detector.handle_frame(at(0), Link::RawIp, &first);
        inside[7] = id;
        let mut outer = v6(0, false, &[]).split_off(40);
        (outer[0], outer[7]) = (44, id + 1);
        inside = [outer, inside].concat();
    }
    detector.finish(at(1));
    assert_eq!(detector.held(), 0);
}

#[test]
fn tunnels_inside_fragments_are_opened() {
    let mut inner = udp(SRC, DST, &dns_question(NAME)).split_off(14);
    inner.truncate(usize::from(inner[3]));
    let mut packets = Vec::new();
    for (offset, more) in [(48, false), (0, true)] {
        let bytes = if more { &inner[..48] } else { &inner[48..] };
        let mut packet = v4(offset, more, bytes);
        packet[9] = 4;
        packet[12..16].copy_from_slice(&[192, 0, 2, 1]);
        packets.push(packet);
    }
    check(&packets, &["203.0.113.5:0", "203.0.113.5:53", NAME]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn however_it_is_cut_and_mixed_a_packet_gives_the_same(
        sizes in prop::collection::vec(1usize..5, 12), turns in prop::collection::vec(any::<usize>(), 12), is_v6 in any::<bool>(),
    ) {
        let (make, expected) = if is_v6 { (v6 as Make, WHOLE_V6) } else { (v4 as Make, WHOLE_V4) };
        let whole = datagram();
        let (mut packets, mut from) = (Vec::new(), 0);
        for size in sizes {
            let end = (from + size * 8).min(whole.len());
            packets.push(make(from, end < whole.len(), &whole[from..end]));
            from = end;
            if end == whole.len() {
                break;
            }
        }
        if from < whole.len() {
            packets.push(make(from, false, &whole[from..]));
        }
        for turn in turns {
            let (one, other) = (turn % packets.len(), (turn >> 8) % packets.len());
            packets.swap(one, other);
        }
        check(&packets, &expected);
    }

    #[test]
    fn any_fragments_end_within_their_memory(
        pieces in prop::collection::vec((0usize..40, any::<bool>(), 0usize..60, 0u8..3, any::<bool>()), 1..60),
    ) {
        let mut detector = detector();
        for (offset, more, length, id, is_v6) in pieces {
            let mut packet = if is_v6 { v6(offset * 8, more, &[7; 60][..length]) } else { v4(offset * 8, more, &[7; 60][..length]) };
            packet[if is_v6 { 47 } else { 5 }] = id;
            detector.handle_frame(at(0), Link::RawIp, &packet);
        }
        detector.finish(at(1));
        prop_assert_eq!(detector.held(), 0);
    }
}

//! The same packet under every link header, tag and tunnel.

use super::*;
use crate::made::udp;

/// Source and destination of each packet in a frame, outermost first.
fn packets(link: Link, frame: &[u8]) -> Vec<String> {
    let mut counters = Counters::default();
    let mut packets = Packets::of_frame(link, frame);
    let mut seen = Vec::new();
    while let Some(packet) = packets.next(&mut counters) {
        seen.push(match packet.segment {
            Segment::Tcp(tcp) => {
                format!("tcp {}:{} {}:{}", packet.src, tcp.src_port, packet.dst, tcp.dst_port)
            }
            Segment::Udp { src_port, dst_port, payload } => {
                format!("udp {}:{src_port} {}:{dst_port} {}", packet.src, packet.dst, payload.len())
            }
            Segment::Other(proto) => format!("{proto:?} {} {}", packet.src, packet.dst),
        });
    }
    seen
}

fn check(link: Link, frame: &[u8], expected: &[&str]) {
    assert_eq!(packets(link, frame), expected);
}

const SEEN: &str = "udp 10.0.0.5:1000 203.0.113.5:53 3";

fn ethernet() -> Vec<u8> {
    udp(([10, 0, 0, 5], 1000), ([203, 0, 113, 5], 53), b"abc")
}

fn ip() -> Vec<u8> {
    ethernet().split_off(14)
}

fn with(header: &[u8]) -> Vec<u8> {
    [header, &ip()].concat()
}

#[test]
fn every_link_type_leads_to_the_packet() {
    check(Link::Ethernet, &ethernet(), &[SEEN]);
    check(Link::RawIp, &ip(), &[SEEN]);
    check(Link::CookedV1, &with(&[0, 0, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0, 8, 0]), &[SEEN]);
    check(Link::CookedV2, &with(&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0]), &[SEEN]);
    check(Link::Loopback, &with(&[2, 0, 0, 0]), &[SEEN]);
    check(Link::Loopback, &with(&[0, 0, 0, 2]), &[SEEN]);
    check(Link::Ppp, &with(&[0xff, 3, 0, 0x21]), &[SEEN]);
    check(Link::Ppp, &with(&[0x21]), &[SEEN]);
}

#[test]
fn link_types_have_libpcaps_numbers() {
    for (dlt, link) in [
        (1, Link::Ethernet),
        (113, Link::CookedV1),
        (276, Link::CookedV2),
        (0, Link::Loopback),
        (108, Link::Loopback),
        (12, Link::RawIp),
        (14, Link::RawIp),
        (101, Link::RawIp),
        (228, Link::RawIp),
        (229, Link::RawIp),
    ] {
        assert_eq!(Link::from_dlt(dlt), Some(link), "{dlt}");
    }
    assert_eq!(Link::from_dlt(105), None);
}

#[test]
fn tags_are_peeled() {
    let macs = [1; 12];
    for tags in [
        &[0x81, 0, 0, 5, 8, 0][..],
        &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 5, 8, 0],
        &[0x91, 0, 0, 7, 0x81, 0, 0, 5, 8, 0],
        &[0x88, 0x47, 0, 1, 0, 64, 0, 2, 1, 64],
        &[0x88, 0x64, 0x11, 0, 0, 1, 0, 50, 0, 0x21],
        &[0, 50, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0],
        &[0x89, 0x26, 0, 0, 0, 0, 8, 0],
    ] {
        check(Link::Ethernet, &with(&[&macs, tags].concat()), &[SEEN]);
    }
}

#[test]
fn tunnels_give_both_packets() {
    let outer = |number: u8, inside: &[u8]| {
        let length = u16::try_from(20 + inside.len()).unwrap().to_be_bytes();
        let mut packet =
            vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, number, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        packet.extend(inside);
        packet
    };
    let other = "Other 192.0.2.1 198.51.100.1";
    check(Link::RawIp, &outer(4, &ip()), &[other, SEEN]);
    check(Link::RawIp, &outer(47, &with(&[0x20, 0, 8, 0, 0, 0, 0, 9])), &[other, SEEN]);
    check(Link::RawIp, &outer(47, &[&[0, 0, 0x65, 0x58][..], &ethernet()].concat()), &[other, SEEN]);
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet()].concat();
    let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 9, 9, 9, 9][..], &ethernet()].concat();
    let gtp = with(&[0x32, 255, 0, 31, 0, 0, 0, 1, 0, 1, 0, 0]);
    for (port, payload) in [(4789, vxlan), (6081, geneve), (2152, gtp)] {
        let frame = udp(([192, 0, 2, 1], 40_000), ([198, 51, 100, 1], port), &payload);
        assert_eq!(packets(Link::Ethernet, &frame).last().map(String::as_str), Some(SEEN), "{port}");
    }
}

#[test]
fn extension_headers_of_ipv6_are_walked() {
    let mut packet = vec![0x60, 0, 0, 0, 0, 27, 0, 64];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend([60, 0, 1, 4, 0, 0, 0, 0]); // hop by hop
    packet.extend([17, 0, 1, 4, 0, 0, 0, 0]); // destination options
    packet.extend([3, 232, 0, 53, 0, 11, 0, 0, b'a', b'b', b'c']);
    check(Link::RawIp, &packet, &["udp 2001:db8::1:1000 2001:db8::2:53 3"]);
}

#[test]
fn later_fragments_and_cut_headers_give_only_addresses() {
    let mut fragment = ip();
    fragment[7] = 10; // offset
    check(Link::RawIp, &fragment, &["Udp 10.0.0.5 203.0.113.5"]);
    let cut = &ip()[..24];
    check(Link::RawIp, cut, &["Udp 10.0.0.5 203.0.113.5"]);
}

#[test]
fn other_frames_are_counted_by_reason() {
    let count = |frame: &[u8]| {
        let mut counters = Counters::default();
        let mut packets = Packets::of_frame(Link::Ethernet, frame);
        assert!(packets.next(&mut counters).is_none());
        (counters.frames_not_ip, counters.frames_malformed)
    };
    assert_eq!(count(&[&[1; 12][..], &[8, 6, 0, 1]].concat()), (1, 0));
    assert_eq!(count(&[1; 9]), (0, 1));
    assert_eq!(count(&[&[1; 12][..], &[8, 0, 0x45]].concat()), (0, 1));
}

#[test]
fn debris_of_tunnels_gives_no_addresses() {
    let packet = |ttl: u8, src: u8| {
        vec![0x45, 0, 0, 24, 0, 0, 0, 0, ttl, 4, 0, 0, src, 0, 2, 1, 198, 51, 100, 1, 0x30, 0, 0, 0]
    };
    assert_eq!(packets(Link::RawIp, &packet(0, 192)).len(), 0);
    assert_eq!(packets(Link::RawIp, &packet(64, 240)).len(), 0);
    assert_eq!(packets(Link::RawIp, &packet(64, 192)).len(), 1);
}

#[test]
fn tunnels_in_tunnels_end() {
    let mut packet = ip();
    for _ in 0..50 {
        let length = u16::try_from(20 + packet.len()).unwrap().to_be_bytes();
        let mut outer =
            vec![0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, 4, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        outer.extend(packet);
        packet = outer;
    }
    assert_eq!(packets(Link::RawIp, &packet).len(), usize::from(DEPTH_MAX));
}

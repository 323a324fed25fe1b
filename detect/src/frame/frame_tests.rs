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
    assert_eq!(Link::from_dlt(105), Some(Link::Wireless));
    assert_eq!(Link::from_dlt(147), None);
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
        &[0x89, 0x3f, 0, 0, 0, 0, 0, 0, 8, 0],
    ] {
        check(Link::Ethernet, &with(&[&macs, tags].concat()), &[SEEN]);
    }
}

/// A pair of addresses and a length, then LLC with SNAP.
const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

#[test]
fn rare_links_lead_to_the_packet() {
    check(Link::PppWithDirection, &with(&[1, 3, 0, 0x21]), &[SEEN]);
    check(Link::PppWithDirection, &with(&[1, 0xff, 3, 0, 0x21]), &[SEEN]);
    check(Link::Pppoe, &with(&[0x11, 0, 0, 1, 0, 50, 0, 0x21]), &[SEEN]);
    check(Link::Ppp, &with(&[0xff, 3, 0, 0x3d, 0xc0, 0, 0, 7, 0, 0x21]), &[SEEN]);
    check(Link::Ppp, &with(&[0xff, 3, 0, 0x3d, 0x40, 0, 0, 7, 0, 0x21]), &[]);
    check(Link::Ppp, &with(&[0x0f, 0, 8, 0]), &[SEEN]);
    check(Link::CiscoHdlc, &with(&[0x0f, 0, 8, 0]), &[SEEN]);
    check(Link::FrameRelay, &with(&[0x18, 0x41, 3, 0xcc]), &[SEEN]);
    check(Link::FrameRelay, &with(&[0x18, 0x41, 3, 0, 0x80, 0, 0, 0, 8, 0]), &[SEEN]);
    check(Link::FrameRelay, &with(&[0x18, 0x40, 0x41, 8, 0]), &[SEEN]);
    check(Link::Infiniband, &with(&[&[0; 40][..], &[8, 0, 0, 0]].concat()), &[SEEN]);
    check(Link::Fddi, &with(&[&[0x50; 13][..], &SNAP].concat()), &[SEEN]);
    check(Link::TokenRing, &with(&[&[0x10, 0x40][..], &[1; 12], &SNAP].concat()), &[SEEN]);
    check(Link::TokenRing, &with(&[&[0x10, 0x40][..], &[0x81; 12], &[4, 0, 0, 0], &SNAP].concat()), &[SEEN]);
    check(Link::Llc, &with(&[0x06, 0x06, 0x03]), &[SEEN]);
    check(Link::Llc, &[&[0xaa, 0xaa, 3, 0, 0x80, 0xc2, 0, 7, 0, 0][..], &ethernet()].concat(), &[SEEN]);
    check(Link::SunAtm, &with(&[&[2, 0, 0, 8][..], &SNAP].concat()), &[SEEN]);
    check(Link::Mpls, &with(&[0, 1, 1, 64]), &[SEEN]);
    check(Link::Slip, &with(&[0; 16]), &[SEEN]);
    check(Link::Nflog, &with(&[2, 0, 0, 0, 6, 0, 10, 0, b'x', 0, 0, 0, 35, 0, 9, 0]), &[SEEN]);
    check(Link::Ppi, &[&[0, 0, 8, 0, 1, 0, 0, 0][..], &ethernet()].concat(), &[SEEN]);
}

/// A radio frame of this type and these flags, with more behind its three addresses.
fn radio(kind: u8, flags: u8, more: &[u8]) -> Vec<u8> {
    [&[kind, flags, 0, 0][..], &[2; 18], &[0x10, 0], more].concat()
}

#[test]
fn radio_frames_in_clear_are_read() {
    let llc = with(&SNAP);
    let plain = radio(0x08, 1, &llc);
    check(Link::Wireless, &plain, &[SEEN]);
    check(Link::Wireless, &radio(0x88, 1, &[&[0, 0][..], &llc].concat()), &[SEEN]);
    check(Link::Wireless, &radio(0x88, 0x81, &[&[0; 6][..], &llc].concat()), &[SEEN]);
    check(Link::Wireless, &radio(0x08, 3, &[&[4; 6][..], &llc].concat()), &[SEEN]);
    check(Link::Radiotap, &[&[0, 0, 9, 0, 2, 0, 0, 0, 0][..], &plain].concat(), &[SEEN]);
    let padded =
        [&[0, 0, 9, 0, 2, 0, 0, 0, 0x20][..], &radio(0x88, 1, &[&[0; 4][..], &llc].concat())].concat();
    check(Link::Radiotap, &padded, &[SEEN]);
    let timer = [&[0, 0, 17, 0, 3, 0, 0, 0][..], &[0; 8], &[0x20]].concat();
    check(Link::Radiotap, &[timer, radio(0x88, 1, &[&[0; 4][..], &llc].concat())].concat(), &[SEEN]);
    let avs = [&[0x80, 0x21, 0x10, 1, 0, 0, 0, 64][..], &[0; 56]].concat();
    check(Link::Prism, &[avs, plain].concat(), &[SEEN]);
    // Management, no data, a later fragment.
    check(Link::Wireless, &radio(0x80, 0, &llc), &[]);
    check(Link::Wireless, &radio(0x48, 1, &llc), &[]);
    let mut later = radio(0x08, 1, &llc);
    later[22] = 0x11;
    check(Link::Wireless, &later, &[]);
}

#[test]
fn radio_frames_in_an_aggregate_are_read_one_by_one() {
    let one = [&[3; 12][..], &[0, 39], &with(&SNAP), &[0, 0, 0]].concat();
    let frame = radio(0x88, 1, &[&[0x80, 0][..], &one, &one].concat());
    check(Link::Wireless, &frame, &[SEEN, SEEN]);
}

#[test]
fn what_needs_keys_is_counted() {
    for (link, frame) in [
        (Link::Wireless, radio(0x08, 0x41, &with(&SNAP))),
        (Link::Ethernet, with(&[&[1; 12][..], &[0x88, 0xe5, 0x0c, 0, 0, 0, 0, 1, 8, 0]].concat())),
    ] {
        let mut counters = Counters::default();
        assert!(Packets::of_frame(link, &frame).next(&mut counters).is_none());
        assert_eq!(counters.frames_encrypted, 1);
    }
}

#[test]
fn frames_inside_frames_are_read() {
    let behind = |type_and_tag: &[u8]| [&[1; 12][..], type_and_tag, &ethernet()].concat();
    check(Link::Ethernet, &behind(&[0x88, 0xe7, 0, 0, 0, 7]), &[SEEN]); // provider backbone
    check(Link::Ethernet, &behind(&[0x89, 3, 0, 0x40]), &[SEEN]); // FabricPath
    check(Link::Ethernet, &behind(&[0x22, 0xf3, 0, 0x40, 0, 1, 0, 2, 9, 9, 9, 9]), &[SEEN]); // TRILL with options
    check(Link::Ethernet, &behind(&[0x89, 0x4f, 0x0f, 2, 1, 3, 0, 0, 0, 0]), &[SEEN]); // service chain
    check(Link::Ethernet, &behind(&[0x88, 0x47, 0, 1, 1, 64, 0, 0, 0, 0]), &[SEEN]); // pseudowire
    check(Link::Ethernet, &behind(&[0x88, 0x47, 0, 1, 1, 64]), &[SEEN]); // without control word
    let authenticated = [0x88, 0xe5, 0x20, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0, 1, 8, 0];
    check(Link::Ethernet, &with(&[&[1; 12][..], &authenticated].concat()), &[SEEN]);
}

#[test]
fn tunnels_in_datagrams_give_the_packet_inside() {
    let ethernet = ethernet();
    let framed = |header: &[u8]| [header, &ethernet].concat();
    for (port, payload) in [
        (1701, with(&[0, 2, 0, 1, 0, 2, 0xff, 3, 0, 0x21])),
        (1701, with(&[0x4a, 2, 0, 50, 0, 1, 0, 2, 0, 0, 0, 0, 0, 2, 9, 9, 0x21])),
        (1701, framed(&[0, 3, 0, 0, 0, 0, 0, 9, 1, 2, 3, 4])),
        (8472, framed(&[8, 0, 0, 0, 0, 0, 7, 0])),
        (4790, with(&[0x0c, 0, 0, 1, 0, 0, 7, 0])),
        (4790, framed(&[0x0c, 0, 0, 3, 0, 0, 7, 0])),
        (6635, with(&[0, 1, 0, 64, 0, 1, 1, 64])),
        (37008, framed(&[1, 0, 0, 1, 0, 0, 10, 1, 9, 1])),
        (4341, with(&[0; 8])),
        (5072, with(&[&[0x42, 0x52, 0x11, 4][..], &[7; 40]].concat())),
        (5247, framed(&[0, 0x10, 2, 0, 0, 0, 0, 0])),
        (5247, [&[0, 0x10, 3, 0, 0, 0, 0, 0][..], &radio(0x08, 1, &with(&SNAP))].concat()),
        (5247, [&[0, 0x10, 3, 0, 0, 0, 0, 0][..], &radio(1, 0x08, &with(&SNAP))].concat()),
    ] {
        let frame = udp(([192, 0, 2, 1], 40_000), ([198, 51, 100, 1], port), &payload);
        assert_eq!(packets(Link::Ethernet, &frame).last().map(String::as_str), Some(SEEN), "{port}");
    }
    let control =
        udp(([192, 0, 2, 1], 1701), ([198, 51, 100, 1], 1701), &with(&[0xc8, 2, 0, 50, 0, 1, 0, 2]));
    assert_eq!(packets(Link::Ethernet, &control).len(), 1);
}

#[test]
fn sampled_heads_give_only_addresses() {
    let head = ethernet();
    let mut record = vec![0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 45, 0, 0, 0, 0, 0, 0, 0, 45];
    record.extend(&head);
    record.extend([0; 3]);
    record[7] = u8::try_from(record.len() - 8).unwrap();
    let sample = [&[0; 32][..], &record].concat();
    let mut datagram = vec![0, 0, 0, 5, 0, 0, 0, 1, 192, 0, 2, 1];
    datagram.extend([0; 16]);
    for _ in 0..2 {
        datagram.extend([0, 0, 0, 1, 0, 0, 0, u8::try_from(sample.len()).unwrap()]);
        datagram.extend(&sample);
    }
    let frame = udp(([192, 0, 2, 1], 40_000), ([198, 51, 100, 1], 6343), &datagram);
    let seen = packets(Link::Ethernet, &frame);
    assert_eq!(seen[1..], ["Udp 10.0.0.5 203.0.113.5", "Udp 10.0.0.5 203.0.113.5"]);
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
    check(Link::RawIp, &outer(97, &[&[0x30, 0][..], &ethernet()].concat()), &[other, SEEN]);
    check(Link::RawIp, &outer(103, &with(&[0x21, 0, 0, 0, 0, 0, 0, 0])), &[other, SEEN]);
    check(Link::RawIp, &outer(115, &with(&[0, 0, 0, 9, 0, 0, 0, 0])), &[other, SEEN]);
    check(Link::RawIp, &outer(115, &[0, 0, 0, 0, 0xc8, 3, 0, 12]), &[other]);
    check(Link::RawIp, &outer(47, &with(&[0x20, 0, 8, 0, 0, 0, 0, 9])), &[other, SEEN]);
    check(Link::RawIp, &outer(47, &[&[0, 0, 0x65, 0x58][..], &ethernet()].concat()), &[other, SEEN]);
    check(
        Link::RawIp,
        &outer(47, &[&[0, 0, 0x82, 0x10][..], &radio(0x08, 1, &with(&SNAP))].concat()),
        &[other, SEEN],
    );
    let vxlan = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &ethernet()].concat();
    let geneve = [&[1, 0, 0x65, 0x58, 0, 0, 7, 0, 9, 9, 9, 9][..], &ethernet()].concat();
    let gtp = with(&[0x32, 255, 0, 31, 0, 0, 0, 1, 0, 1, 0, 0]);
    for (port, payload) in [(4789, vxlan), (6081, geneve), (2152, gtp)] {
        let frame = udp(([192, 0, 2, 1], 40_000), ([198, 51, 100, 1], port), &payload);
        assert_eq!(packets(Link::Ethernet, &frame).last().map(String::as_str), Some(SEEN), "{port}");
    }
}

/// An IPv6 packet with these headers, the first of them of this kind.
fn v6(kind: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0, 0, u8::try_from(rest.len()).unwrap(), kind, 64];
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    packet.extend([0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
    packet.extend(rest);
    packet
}

const DATAGRAM: [u8; 11] = [3, 232, 0, 53, 0, 11, 0, 0, b'a', b'b', b'c'];
const SEEN_V6: &str = "udp 2001:db8::1:1000 2001:db8::2:53 3";

#[test]
fn extension_headers_of_ipv6_are_walked_in_any_order() {
    let header = |next: u8| [next, 0, 1, 4, 0, 0, 0, 0];
    let authentication =
        |next: u8| [next, 4, 0, 0, 0, 0, 0, 9, 0, 0, 0, 1, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5];
    check(Link::RawIp, &v6(0, &[&header(60)[..], &header(17), &DATAGRAM].concat()), &[SEEN_V6]);
    check(Link::RawIp, &v6(60, &[&header(43)[..], &header(0), &header(17), &DATAGRAM].concat()), &[SEEN_V6]);
    check(Link::RawIp, &v6(51, &[&authentication(60)[..], &header(17), &DATAGRAM].concat()), &[SEEN_V6]);
    for kind in [135, 139, 140] {
        check(Link::RawIp, &v6(kind, &[&header(17)[..], &DATAGRAM].concat()), &[SEEN_V6]);
    }
    check(Link::RawIp, &v6(44, &[&header(17)[..2], &[0, 0, 0, 0, 0, 9], &DATAGRAM].concat()), &[SEEN_V6]); // whole
    let addresses = "Other 2001:db8::1 2001:db8::2";
    check(Link::RawIp, &v6(253, &DATAGRAM), &[addresses]); // unknown
    check(Link::RawIp, &v6(60, &[17, 9, 0, 0, 0, 0, 0, 0]), &[addresses]); // longer than the packet
}

#[test]
fn fragments_and_cut_headers_give_only_addresses() {
    let only = "Udp 10.0.0.5 203.0.113.5";
    let mut fragment = ip();
    fragment[7] = 10; // offset
    check(Link::RawIp, &fragment, &[only]);
    check(Link::RawIp, &ip()[..24], &[only]);
    let mut options = ip();
    (options[0], options[3]) = (0x4f, 200); // the capture ends within its options
    check(Link::RawIp, &options, &[only]);
    options[3] = 40; // longer than the packet itself
    check(Link::RawIp, &options, &[]);
}

#[test]
fn what_an_error_quotes_is_no_traffic() {
    let quote = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &ip()].concat();
    let mut packet = ip()[..20].to_vec();
    (packet[9], packet[3]) = (1, 59);
    check(Link::RawIp, &[packet, quote.clone()].concat(), &["Icmp 10.0.0.5 203.0.113.5"]);
    check(Link::RawIp, &v6(58, &quote), &["Icmp 2001:db8::1 2001:db8::2"]);
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

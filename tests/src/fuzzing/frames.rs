//! Targets below TCP and UDP: frames of every link type, IP packets of every protocol, fragments.

use detect::Link;

use super::input::Input;
use super::watch::Watch;

/// Numbers of libpcap: Ethernet, cooked, raw, loopback, PPP, PPPoE, 802.11 with and without radiotap, and others.
pub const LINK_NUMBERS: &[i32] =
    &[1, 113, 276, 101, 0, 108, 9, 50, 51, 105, 127, 119, 163, 192, 12, 14, 104, 107, 219];

/// Frames of one link type.
pub fn frames(bytes: &[u8]) {
    let mut input = Input(bytes);
    let number = input.choice(LINK_NUMBERS).unwrap_or_default();
    let Some(link) = Link::from_dlt(number) else { return };
    let mut watch = Watch::default();
    while !input.is_empty() {
        watch.frame(link, input.piece());
    }
    watch.finish();
}

/// IP packets of any protocol whose lengths are right.
pub fn packets(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut watch = Watch::default();
    while !input.is_empty() {
        let (version, protocol) = (input.byte(), input.byte());
        let payload = input.piece();
        let packet = if version % 2 == 0 { v4(protocol, (0, 0), payload) } else { v6(protocol, payload) };
        watch.frame(Link::RawIp, &packet);
    }
    watch.finish();
}

/// One datagram in fragments, each where the input says: in any order, twice, overlapping, with other contents.
pub fn fragments(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.byte();
    let datagram = input.piece();
    let mut watch = Watch::default();
    while !input.is_empty() {
        let (start, units, how) = (input.byte(), input.byte(), input.byte());
        let start = usize::from(start) * 8;
        let rest = datagram.get(start..).unwrap_or_default();
        let mut part = rest.get(..usize::from(units) * 8).unwrap_or(rest).to_vec();
        if how & 1 != 0
            && let Some(byte) = part.first_mut()
        {
            *byte ^= how;
        }
        let more = (start + part.len() < datagram.len()) != (how & 2 != 0);
        let offset = u16::try_from(start / 8).unwrap_or_default();
        let identifier = u16::from(how >> 6);
        let packet = if flags % 2 == 0 {
            v4(flags / 2, (identifier, offset | if more { 0x2000 } else { 0 }), &part)
        } else {
            let [high, low] = (offset << 3 | u16::from(more)).to_be_bytes();
            let header = [flags / 2, 0, high, low, 0, 0, 0, how >> 6];
            v6(44, &[&header[..], &part].concat())
        };
        watch.frame(Link::RawIp, &packet);
    }
    watch.finish();
}

/// An IPv4 packet. `fragment`: identifier, and flags with offset.
pub fn v4(protocol: u8, fragment: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
    let mut packet = vec![0x45, 0];
    for number in [length, fragment.0, fragment.1] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend([64, protocol, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1]);
    packet.extend(payload);
    packet
}

/// An IPv6 packet.
pub fn v6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend(u16::try_from(payload.len()).unwrap_or(u16::MAX).to_be_bytes());
    packet.extend([next, 64]);
    for last in [1, 2] {
        packet.extend([0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    packet.extend(payload);
    packet
}

/// A UDP datagram with its header.
pub fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap_or(u16::MAX);
    let mut datagram = Vec::new();
    for number in [ports[0], ports[1], length, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

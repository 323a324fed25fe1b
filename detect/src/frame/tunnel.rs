//! Thin layers that carry packets inside packets: IP in IP, GRE, VXLAN, Geneve, GTP-U, Teredo.

use etherparse::{IpNumber, ip_number};

use super::{Layer, be16};

/// What an IP packet of this protocol carries, when that is a packet.
pub(super) fn in_ip(number: IpNumber, bytes: &[u8]) -> Option<(Layer, &[u8])> {
    match number {
        ip_number::IPV4 | ip_number::IPV6 => Some((Layer::Ip, bytes)),
        ip_number::GRE => gre(bytes),
        ip_number::MPLS_IN_IP => Some((Layer::EtherType(0x8847), bytes)),
        _ => None,
    }
}

/// What a datagram carries, when its port and its shape say that it is a packet.
pub(super) fn in_udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Option<(Layer, &[u8])> {
    match (src_port, dst_port) {
        (_, 4789) => vxlan(payload),
        (_, 6081) => geneve(payload),
        (2152, _) | (_, 2152) => gtp(payload),
        (3544, _) | (_, 3544) => teredo(payload),
        _ => None,
    }
}

/// RFC 2784 with the key and sequence number of RFC 2890, and version 1 as PPTP uses it (RFC 2637 §4.1).
fn gre(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let (flags, protocol) = (be16(bytes, 0)?, be16(bytes, 2)?);
    let has = |bit: u16| usize::from(flags & bit != 0) * 4;
    let version = flags & 0x7;
    if version > 1 || flags & 0x4000 != 0 {
        return None; // RFC 1701 routing is gone from the world
    }
    let acknowledgment = if version == 1 { has(0x0080) } else { 0 };
    let rest = bytes.get(4 + has(0x8000) + has(0x2000) + has(0x1000) + acknowledgment..)?;
    match protocol {
        0x880b => (!rest.is_empty()).then_some((Layer::Ppp, rest)),
        // ERSPAN type I has no sequence number and no header, type II has eight bytes (draft-foschiano-erspan).
        0x88be if flags & 0x1000 == 0 => Some((Layer::Ethernet, rest)),
        0x88be => Some((Layer::Ethernet, rest.get(8..)?)),
        0x22eb => {
            let optional = usize::from(rest.get(11)? & 1) * 8;
            Some((Layer::Ethernet, rest.get(12 + optional..)?))
        }
        ether_type => Some((Layer::EtherType(ether_type), rest)),
    }
}

/// RFC 7348 §5: the I flag, three reserved bytes, the network, one reserved byte.
fn vxlan(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<8>()?;
    (header.first()? & 0x08 != 0).then_some((Layer::Ethernet, rest))
}

/// RFC 8926 §3.4.
fn geneve(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let first = *payload.first()?;
    if first >> 6 != 0 {
        return None;
    }
    let options = usize::from(first & 0x3f) * 4;
    Some((Layer::EtherType(be16(payload, 2)?), payload.get(8 + options..)?))
}

/// 3GPP TS 29.281 §5: a G-PDU (type 255) of version 1 carries the subscriber's packet.
fn gtp(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let (flags, kind) = (*payload.first()?, *payload.get(1)?);
    if flags >> 4 != 0x3 || kind != 255 {
        return None;
    }
    let mut at = 8;
    if flags & 0x07 != 0 {
        let mut extension = *payload.get(11)?;
        at = 12;
        while extension != 0 && flags & 0x04 != 0 {
            let words = usize::from(*payload.get(at)?);
            if words == 0 {
                return None;
            }
            at += words * 4;
            extension = *payload.get(at - 1)?;
        }
    }
    ip_inside(payload.get(at..)?)
}

/// RFC 4380 §5.1.1: authentication and origin headers may stand before the IPv6 packet.
fn teredo(mut payload: &[u8]) -> Option<(Layer, &[u8])> {
    if let [0, 1, id, auth, rest @ ..] = payload {
        payload = rest.get(usize::from(*id) + usize::from(*auth) + 9..)?;
    }
    if let [0, 0, _, _, _, _, _, _, rest @ ..] = payload {
        payload = rest;
    }
    (payload.first()? >> 4 == 6).then_some((Layer::Ip, payload))
}

fn ip_inside(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    matches!(bytes.first()? >> 4, 4 | 6).then_some((Layer::Ip, bytes))
}

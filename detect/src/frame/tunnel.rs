//! Thin layers that carry packets inside packets: IP in IP, GRE, L2TP, VXLAN, Geneve, GTP-U, Teredo and their like.

use etherparse::{IpNumber, ip_number};

use super::ethernet::{looks_like_ethernet, looks_like_ip};
use super::wireless::Form;
use super::{Layer, be16, sflow};

/// What an IP packet of this protocol carries, when that is a packet.
pub(super) fn in_ip(number: IpNumber, bytes: &[u8]) -> Option<(Layer, &[u8])> {
    match number {
        ip_number::IPV4 | ip_number::IPV6 => Some((Layer::Ip, bytes)),
        ip_number::GRE => gre(bytes),
        ip_number::MPLS_IN_IP => Some((Layer::EtherType(0x8847), bytes)),
        // RFC 3378: a version, then a frame.
        ip_number::ETHER_IP => bytes.strip_prefix(&[0x30, 0]).map(|rest| (Layer::Ethernet, rest)),
        ip_number::PIM => pim_register(bytes),
        ip_number::LAYER2_TUNNELING_PROTOCOL => {
            (bytes.first_chunk::<4>()? != &[0; 4]).then(|| after_cookie(bytes.get(4..)?))?
        }
        // A frame as the payload of a segment route (RFC 8986 §4.9).
        IpNumber(143) => Some((Layer::Ethernet, bytes)),
        _ => None,
    }
}

/// What a datagram carries, when its port and its shape say that it is a packet.
pub(super) fn in_udp(src_port: u16, dst_port: u16, payload: &[u8]) -> Option<(Layer, &[u8])> {
    match (src_port, dst_port) {
        (_, 4789 | 8472) => vxlan(payload),
        (_, 4790) => vxlan_gpe(payload),
        (_, 6081) => geneve(payload),
        (_, 6635) => mpls(payload),
        (_, 37008) => tzsp(payload),
        (_, sflow::PORT) if payload.starts_with(&[0, 0, 0, 5]) => Some((Layer::Samples, payload)),
        (2152, _) | (_, 2152) => gtp(payload),
        (3544, _) | (_, 3544) => teredo(payload),
        (1701, _) | (_, 1701) => l2tp(payload),
        (4341, _) | (_, 4341) => lisp(payload),
        (5072, _) | (_, 5072) => ayiya(payload),
        (5247, _) | (_, 5247) => capwap(payload),
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
        // Radio frames on their way from an access point to its controller.
        0x8200..=0x82f0 if protocol & 0x0f == 0 => Some((Layer::Wireless(Form::Plain), rest)),
        // Redirected to a cache; the second version has four bytes of its own before the packet.
        0x883e if rest.first()? >> 4 == 4 => Some((Layer::Ip, rest)),
        0x883e => ip_inside(rest.get(4..)?),
        ether_type => Some((Layer::EtherType(ether_type), rest)),
    }
}

/// RFC 7761 §4.9.3: a multicast packet on its way to the rendezvous point; an empty one keeps the state alive.
fn pim_register(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    (*bytes.first()? == 0x21 && be16(bytes, 4)? & 0x4000 == 0).then(|| ip_inside(bytes.get(8..)?))?
}

/// RFC 2661 §3.1 and RFC 3931 §4.1.2: data messages only; a control message has its first bit set.
fn l2tp(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let flags = be16(payload, 0)?;
    let has = |bit: u16, bytes: usize| if flags & bit == 0 { 0 } else { bytes };
    match flags & 0x800f {
        2 => {
            let sequence = 2 + has(0x4000, 2) + 4;
            let at = sequence + has(0x0800, 4);
            let padding = if flags & 0x0200 == 0 { 0 } else { 2 + usize::from(be16(payload, at)?) };
            let rest = payload.get(at + padding..)?;
            (!rest.is_empty()).then_some((Layer::Ppp, rest))
        }
        3 => after_cookie(payload.get(8..)?),
        _ => None,
    }
}

/// Behind the session number stand a cookie and a sublayer whose lengths only the two ends know (RFC 3931 §4.1), so
/// the first place where a packet has the right shape counts.
fn after_cookie(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    [0, 4, 8, 12].into_iter().find_map(|at| match bytes.get(at..)? {
        rest @ [0xff, 0x03, 0x00, 0x21 | 0x57, inside @ ..] if looks_like_ip(inside) => {
            Some((Layer::Ppp, rest))
        }
        rest if looks_like_ethernet(rest) => Some((Layer::Ethernet, rest)),
        rest if looks_like_ip(rest) => Some((Layer::Ip, rest)),
        _ => None,
    })
}

/// RFC 7348 §5: the I flag, three reserved bytes, the network, one reserved byte.
fn vxlan(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<8>()?;
    (header.first()? & 0x08 != 0).then_some((Layer::Ethernet, rest))
}

/// The same with a protocol of its own in the last reserved byte before the network (draft-ietf-nvo3-vxlan-gpe §3).
fn vxlan_gpe(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let (header, rest) = payload.split_first_chunk::<8>()?;
    match *header {
        [flags, _, _, 1 | 2, ..] if flags & 0x0c == 0x0c => ip_inside(rest),
        [flags, _, _, 3, ..] if flags & 0x0c == 0x0c => Some((Layer::Ethernet, rest)),
        [flags, _, _, 4, ..] if flags & 0x0c == 0x0c => Some((Layer::Nsh, rest)),
        [flags, _, _, 0, ..] if flags & 0x0c == 0x08 => Some((Layer::Ethernet, rest)),
        _ => None,
    }
}

/// RFC 7510: labels at once; their bottom must lead to a packet.
fn mpls(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let labels = payload.chunks_exact(4).take(8);
    let bottom = labels.enumerate().find(|(_, label)| label.get(2).is_some_and(|byte| byte & 1 == 1));
    let inside = payload.get((bottom?.0 + 1) * 4..)?;
    (looks_like_ip(inside) || looks_like_ethernet(inside)).then_some((Layer::EtherType(0x8847), payload))
}

/// TaZmen Sniffer Protocol, by which access points and routers mirror frames: version 1, kind, what it carries,
/// tags until one that says end.
fn tzsp(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let ([1, 0 | 1, 0, carries], mut rest) = payload.split_first_chunk::<4>()? else { return None };
    let layer = match carries {
        1 => Layer::Ethernet,
        18 => Layer::Wireless(Form::Plain),
        _ => return None,
    };
    loop {
        rest = match rest {
            [1, inside @ ..] => return Some((layer, inside)),
            [0, after @ ..] => after,
            [_, length, after @ ..] => after.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
}

/// RFC 9300 §5.1: eight bytes, then the packet of the site.
fn lisp(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let rest = payload.get(8..)?;
    looks_like_ip(rest).then_some((Layer::Ip, rest))
}

/// Anything In Anything (draft-massar-v6ops-ayiya §3): lengths of identity and signature in the first two bytes.
fn ayiya(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let ([identity, signature, _, next], _) = payload.split_first_chunk::<4>()?;
    let at = 8 + (1usize << (identity >> 4)) + usize::from(signature >> 4) * 4;
    matches!(next, 4 | 41).then(|| ip_inside(payload.get(at..)?))?
}

/// RFC 5415 §4.3: data channel in clear, whole; the T bit says that the frame is a radio's own.
fn capwap(payload: &[u8]) -> Option<(Layer, &[u8])> {
    let [0, length, flags, options, ..] = *payload.first_chunk::<8>()? else { return None };
    let (is_radio, is_fragment) = (flags & 1 == 1, options & 0x80 != 0);
    let rest = payload.get(usize::from(length >> 3) * 4..)?;
    match (is_radio, is_fragment) {
        (_, true) => None,
        (true, _) => {
            let is_data = |at: usize| rest.get(at).is_some_and(|byte| byte & 0x0f == 0x08);
            let form = if !is_data(0) && is_data(1) { Form::Swapped } else { Form::Plain };
            Some((Layer::Wireless(form), rest))
        }
        (false, _) => looks_like_ethernet(rest).then_some((Layer::Ethernet, rest)),
    }
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

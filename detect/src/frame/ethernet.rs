//! What stands between a frame's start and IP: Ethernet, tags, labels, LLC, PPP, in any order.

use super::wireless::{self, Carried};
use super::{Beside, Layer, Peeled, be16, link, sflow};

/// VLAN tags, MPLS labels and PPPoE headers peeled before a frame is called malformed.
const TAGS_MAX: usize = 16;

/// Removes headers until IP is left.
pub(super) fn peel(mut layer: Layer, mut bytes: &[u8]) -> Peeled<'_> {
    for _ in 0..TAGS_MAX {
        let next = match layer {
            Layer::Ip => return Peeled::Ip(bytes),
            Layer::Foreign => return Peeled::NotIp,
            Layer::Samples => {
                return sflow::Samples::of_datagram(bytes)
                    .map_or(Peeled::NotIp, |samples| Peeled::Beside(Beside::Samples(samples)));
            }
            Layer::Ethernet => bytes.get(14..).zip(be16(bytes, 12)).map(by_type),
            Layer::Ppp => peel_ppp(bytes),
            Layer::Llc => peel_llc(bytes),
            Layer::Snap => peel_snap(bytes),
            Layer::Nsh => peel_nsh(bytes),
            Layer::Wireless(form) => match wireless::carried(bytes, form) {
                Some(Carried::Llc(llc)) => Some((Layer::Llc, llc)),
                Some(Carried::Aggregate(frames)) => return Peeled::Beside(Beside::Radio(frames)),
                Some(Carried::Encrypted) => return Peeled::Encrypted,
                Some(Carried::Nothing) => return Peeled::NotIp,
                None => None,
            },
            Layer::EtherType(0x88e5) => match peel_macsec(bytes) {
                Some(None) => return Peeled::Encrypted,
                Some(inside) => inside,
                None => None,
            },
            Layer::EtherType(ether_type) => peel_type(ether_type, bytes),
        };
        match next {
            Some((inside, rest)) => (layer, bytes) = (inside, rest),
            None => return Peeled::Malformed,
        }
    }
    Peeled::Malformed
}

fn peel_type(ether_type: u16, bytes: &[u8]) -> Option<(Layer, &[u8])> {
    // A tag of so many bytes, the last two of them a type.
    let tag = |length: usize| bytes.get(length..).zip(be16(bytes, length - 2)).map(by_type);
    match ether_type {
        0x0800 | 0x86dd => Some((Layer::Ip, bytes)),
        0x8100 | 0x88a8 | 0x9100 | 0x9200 | 0x9300 => tag(4),
        // VN-Tag (IEEE 802.1BR's forerunner), and the redundancy tag of HSR (IEC 62439-3 §5.7).
        0x8926 | 0x892f => tag(6),
        // E-Tag (IEEE 802.1BR §7.5).
        0x893f => tag(8),
        // FabricPath: a tag of two bytes, then the frame that came in.
        0x8903 => bytes.get(2..).map(|rest| (Layer::Ethernet, rest)),
        // 802.1ah: the service tag, then the customer's Ethernet header.
        0x88e7 => bytes.get(4..).map(|rest| (Layer::Ethernet, rest)),
        // TRILL (RFC 6325 §3.2): options counted in words, in five bits across two bytes.
        0x22f3 => {
            let options = usize::from((be16(bytes, 0)? >> 6) & 0x1f) * 4;
            bytes.get(6 + options..).map(|rest| (Layer::Ethernet, rest))
        }
        0x8847 | 0x8848 => peel_mpls(bytes),
        0x894f => Some((Layer::Nsh, bytes)),
        // PPPoE session (RFC 2516 §4): six bytes, then PPP.
        0x8864 => bytes.get(6..).map(|rest| (Layer::Ppp, rest)),
        0x880b => Some((Layer::Ppp, bytes)),
        0x6558 => Some((Layer::Ethernet, bytes)),
        // A length, as in the first Ethernet standard (IEEE 802.3 §3.2.6).
        0..=1500 => Some((Layer::Llc, bytes)),
        _ => Some((Layer::Foreign, bytes)),
    }
}

fn by_type((rest, ether_type): (&[u8], u16)) -> (Layer, &[u8]) {
    (Layer::EtherType(ether_type), rest)
}

/// Unnumbered information for SNAP, for IP (RFC 948), or for OSI's network layer.
fn peel_llc(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    Some(match bytes {
        [0xaa, 0xaa, 0x03, rest @ ..] => (Layer::Snap, rest),
        [0x06, 0x06, 0x03, rest @ ..] => (Layer::Ip, rest),
        [0xfe, 0xfe, 0x03, rest @ ..] => link::by_network_identifier(rest),
        _ => (Layer::Foreign, bytes),
    })
}

/// RFC 1042 and 802.1H carry an Ethernet type; RFC 2684 §5.2 and RFC 2427 §4.2 a whole frame.
fn peel_snap(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let (organisation, rest) = bytes.split_first_chunk::<3>()?;
    let kind = be16(rest, 0)?;
    let rest = rest.get(2..)?;
    Some(match (organisation, kind) {
        ([0, 0, 0] | [0, 0, 0xf8], ether_type) => (Layer::EtherType(ether_type), rest),
        ([0, 0x80, 0xc2], 1 | 7) if rest.starts_with(&[0, 0]) && !looks_like_ethernet(rest) => {
            (Layer::Ethernet, rest.get(2..)?)
        }
        ([0, 0x80, 0xc2], 1 | 7) => (Layer::Ethernet, rest),
        _ => (Layer::Foreign, rest),
    })
}

/// RFC 1661 §2 and RFC 1662: address and control are optional, the protocol has one or two bytes.
fn peel_ppp(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    if let [0x0f | 0x8f, 0, high, low, rest @ ..] = bytes {
        // Cisco's encapsulation on a line that is said to speak PPP.
        return Some((Layer::EtherType(u16::from_be_bytes([*high, *low])), rest));
    }
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        [odd, rest @ ..] if odd & 1 == 1 => (u16::from(*odd), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return None,
    };
    Some(match protocol {
        0x0021 | 0x0057 => (Layer::Ip, rest),
        // Multilink (RFC 1990 §3) with its long header: the first fragment begins with the packet's headers.
        0x003d if rest.first()? & 0x80 != 0 => (Layer::Ppp, rest.get(4..)?),
        // Bridging (RFC 3518 §4.1): flags, then the kind of address; 1 is Ethernet.
        0x0031 if *rest.get(1)? == 1 => (Layer::Ethernet, rest.get(2..)?),
        0x0281 | 0x0283 => (Layer::EtherType(0x8847), rest),
        _ => (Layer::Foreign, rest),
    })
}

/// RFC 3032: labels until the bottom of the stack. What follows is told by its shape: IP by version and length,
/// else a frame of a pseudowire, with or without its control word (RFC 4385, RFC 4448).
fn peel_mpls(mut bytes: &[u8]) -> Option<(Layer, &[u8])> {
    for _ in 0..TAGS_MAX {
        let (label, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        if label.get(2)? & 1 == 1 {
            return Some(match rest.first()? >> 4 {
                4 | 6 if looks_like_ip(rest) || !looks_like_ethernet(rest) => (Layer::Ip, rest),
                0 if rest.get(4..).is_some_and(looks_like_ethernet) || !looks_like_ethernet(rest) => {
                    (Layer::Ethernet, rest.get(4..)?)
                }
                _ if looks_like_ethernet(rest) => (Layer::Ethernet, rest),
                _ => (Layer::Foreign, rest),
            });
        }
    }
    None
}

/// RFC 8300 §2.2: length in words, and what follows.
fn peel_nsh(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let words = usize::from(bytes.get(1)? & 0x3f);
    let rest = bytes.get(words.max(2) * 4..)?;
    Some(match *bytes.get(3)? {
        1 | 2 => (Layer::Ip, rest),
        3 => (Layer::Ethernet, rest),
        4 => (Layer::Nsh, rest),
        5 => (Layer::EtherType(0x8847), rest),
        _ => (Layer::Foreign, rest),
    })
}

/// IEEE 802.1AE §9.3: what follows the tag when it is only authenticated; `Some(None)` when it is encrypted.
#[expect(clippy::option_option, reason = "cut, closed and open are three answers")]
fn peel_macsec(bytes: &[u8]) -> Option<Option<(Layer, &[u8])>> {
    let flags = *bytes.first()?;
    if flags & 0x0c != 0 {
        return Some(None);
    }
    let length = if flags & 0x20 == 0 { 6 } else { 14 };
    Some(Some(by_type((bytes.get(length + 2..)?, be16(bytes, length)?))))
}

/// Whether bytes are an IP packet by version, header length and total length.
pub(super) fn looks_like_ip(bytes: &[u8]) -> bool {
    match bytes {
        [0x45..=0x4f, _, high, low, ..] => {
            (20..=bytes.len()).contains(&usize::from(u16::from_be_bytes([*high, *low])))
        }
        [0x60..=0x6f, _, _, _, high, low, ..] => {
            usize::from(u16::from_be_bytes([*high, *low])) + 40 <= bytes.len()
        }
        _ => false,
    }
}

/// Whether bytes are a frame with a type that is met behind Ethernet addresses, and what that type promises.
pub(super) fn looks_like_ethernet(bytes: &[u8]) -> bool {
    let first = bytes.get(14).map(|byte| byte >> 4);
    match be16(bytes, 12) {
        Some(0x0800) => first == Some(4),
        Some(0x86dd) => first == Some(6),
        Some(0x0806 | 0x8100 | 0x88a8 | 0x8847 | 0x8863 | 0x8864 | 0x88cc) => true,
        _ => false,
    }
}

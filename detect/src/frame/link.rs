//! How frames of a capture begin, and what stands behind the link header.

use super::wireless::{self, Form};
use super::{Layer, be16};

/// How frames of a capture begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Ethernet, with any VLAN tags.
    Ethernet,
    /// Linux cooked capture, version 1.
    CookedV1,
    /// Linux cooked capture, version 2.
    CookedV2,
    /// IPv4 or IPv6 at once.
    RawIp,
    /// BSD loopback, address family in the capturing host's byte order, or OpenBSD's in network order.
    Loopback,
    /// PPP, with or without HDLC address and control bytes.
    Ppp,
    /// PPP after a byte that tells the direction.
    PppWithDirection,
    /// PPPoE without the Ethernet header.
    Pppoe,
    /// Cisco HDLC.
    CiscoHdlc,
    /// Frame Relay with RFC 2427 or Cisco encapsulation.
    FrameRelay,
    /// 802.11 without anything before it.
    Wireless,
    /// 802.11 after a radiotap header.
    Radiotap,
    /// 802.11 after a Prism or AVS header.
    Prism,
    /// Whatever a "per-packet information" header names.
    Ppi,
    /// IP over InfiniBand (RFC 4391) after the global routing header.
    Infiniband,
    /// FDDI.
    Fddi,
    /// Token Ring.
    TokenRing,
    /// LLC at once: ATM (RFC 2684) and the like.
    Llc,
    /// LLC after the four bytes of a SunATM header.
    SunAtm,
    /// MPLS labels at once.
    Mpls,
    /// Netfilter's log.
    Nflog,
    /// Serial line IP after the sixteen bytes that BSD puts before it.
    Slip,
}

impl Link {
    /// From the data link type that libpcap names (`pcap_datalink(3PCAP)`).
    pub fn from_dlt(dlt: i32) -> Option<Self> {
        Some(match dlt {
            1 => Self::Ethernet,
            113 => Self::CookedV1,
            276 => Self::CookedV2,
            12 | 14 | 101 | 228 | 229 => Self::RawIp,
            0 | 108 => Self::Loopback,
            9 | 50 => Self::Ppp,
            166 | 204 => Self::PppWithDirection,
            51 => Self::Pppoe,
            104 => Self::CiscoHdlc,
            107 => Self::FrameRelay,
            105 => Self::Wireless,
            127 => Self::Radiotap,
            119 | 163 => Self::Prism,
            192 => Self::Ppi,
            242 => Self::Infiniband,
            10 => Self::Fddi,
            6 => Self::TokenRing,
            11 | 100 => Self::Llc,
            123 => Self::SunAtm,
            219 => Self::Mpls,
            239 => Self::Nflog,
            8 => Self::Slip,
            _ => return None,
        })
    }
}

/// What stands behind the link header.
pub(super) fn peel(link: Link, frame: &[u8]) -> Option<(Layer, &[u8])> {
    match link {
        Link::Ethernet => Some((Layer::Ethernet, frame)),
        Link::RawIp => Some((Layer::Ip, frame)),
        Link::Ppp => Some((Layer::Ppp, frame)),
        Link::Pppoe => Some((Layer::EtherType(0x8864), frame)),
        Link::Llc => Some((Layer::Llc, frame)),
        Link::Mpls => Some((Layer::EtherType(0x8847), frame)),
        Link::Wireless => Some((Layer::Wireless(Form::Plain), frame)),
        Link::Radiotap => wireless::radiotap(frame),
        Link::Prism => wireless::prism(frame),
        Link::Ppi => ppi(frame),
        Link::Nflog => nflog(frame),
        Link::FrameRelay => frame_relay(frame),
        Link::TokenRing => token_ring(frame),
        Link::CookedV1 => behind::<16>(frame, 14),
        Link::CookedV2 => behind::<20>(frame, 0),
        Link::CiscoHdlc => behind::<4>(frame, 2),
        Link::Infiniband => behind::<44>(frame, 40),
        Link::SunAtm => frame.get(4..).map(|rest| (Layer::Llc, rest)),
        // A byte for the direction; Linux writes it over the HDLC address, so that its control byte stands alone.
        Link::PppWithDirection => match frame {
            [_, 0x03, rest @ ..] => Some((Layer::Ppp, rest)),
            _ => frame.get(1..).map(|rest| (Layer::Ppp, rest)),
        },
        // Frame control 0101xxxx: asynchronous LLC; ring management is something else (ISO 9314-2 §7.3.3).
        Link::Fddi => match frame.first()? >> 4 {
            5 => frame.get(13..).map(|rest| (Layer::Llc, rest)),
            _ => Some((Layer::Foreign, frame)),
        },
        // The family's number differs between systems (24, 28 and 30 are all IPv6); the packet's own version decides.
        Link::Loopback => frame.get(4..).map(|rest| (Layer::Ip, rest)),
        Link::Slip => frame.get(16..).map(|rest| (Layer::Ip, rest)),
    }
}

/// A header of `N` bytes with the Ethernet type somewhere in it.
fn behind<const N: usize>(frame: &[u8], type_at: usize) -> Option<(Layer, &[u8])> {
    let (header, rest) = frame.split_first_chunk::<N>()?;
    Some((Layer::EtherType(be16(header, type_at)?), rest))
}

/// Access and frame control, two addresses, and the route when the source address says so (IEEE 802.5 §3.3).
fn token_ring(frame: &[u8]) -> Option<(Layer, &[u8])> {
    if frame.get(1)? >> 6 != 1 {
        return Some((Layer::Foreign, frame));
    }
    let route = if frame.get(8)? & 0x80 == 0 { 0 } else { usize::from(frame.get(14)? & 0x1f) };
    frame.get(14 + route..).map(|rest| (Layer::Llc, rest))
}

/// An address of two to four bytes (Q.922 §3.2), then a network layer identifier (RFC 2427 §4), or Cisco's type.
fn frame_relay(frame: &[u8]) -> Option<(Layer, &[u8])> {
    let address = 1 + frame.iter().take(4).position(|byte| byte & 1 == 1)?;
    if address < 2 {
        return None;
    }
    let rest = frame.get(address..)?;
    match rest {
        [0x03, 0x00, rest @ ..] | [0x03, rest @ ..] => Some(by_network_identifier(rest)),
        _ => Some((Layer::EtherType(be16(rest, 0)?), rest.get(2..)?)),
    }
}

/// ISO/IEC TR 9577: what a network layer identifier says.
pub(super) fn by_network_identifier(bytes: &[u8]) -> (Layer, &[u8]) {
    match bytes {
        [0xcc | 0x8e, rest @ ..] => (Layer::Ip, rest),
        [0x80, rest @ ..] => (Layer::Snap, rest),
        _ => (Layer::Foreign, bytes),
    }
}

/// CACE's header: its length and the link type of what follows, both little-endian.
fn ppi(frame: &[u8]) -> Option<(Layer, &[u8])> {
    let [_, _, low, high, a, b, c, d] = *frame.first_chunk::<8>()?;
    let rest = frame.get(usize::from(u16::from_le_bytes([low, high]))..)?;
    match Link::from_dlt(i32::from_le_bytes([a, b, c, d])) {
        Some(Link::Ppi) | None => Some((Layer::Foreign, rest)),
        Some(link) => peel(link, rest),
    }
}

/// Attributes of length, type and value, padded to four bytes, in the byte order of the host that wrote them;
/// the packet is attribute 9.
fn nflog(frame: &[u8]) -> Option<(Layer, &[u8])> {
    let mut rest = frame.get(4..)?;
    for _ in 0..32 {
        let [a, b, c, d] = *rest.first_chunk::<4>()?;
        let little = c != 0;
        let word = |pair: [u8; 2]| if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
        let length = usize::from(word([a, b]));
        if word([c, d]) & 0x7fff == 9 {
            return rest.get(4..length.min(rest.len())).map(|packet| (Layer::Ip, packet));
        }
        if length < 4 {
            return None;
        }
        rest = rest.get(length.next_multiple_of(4)..)?;
    }
    None
}

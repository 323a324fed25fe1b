//! Frames to IP packets: link headers, tags and tunnels are peeled until TCP, UDP or something else is left.
//!
//! Each IP packet on the way is given out, outermost first. What an ICMP error quotes is not traffic.

mod network;
mod tunnel;

use std::net::IpAddr;

use protocol::Transport;

use crate::counters::Counters;

/// Layers of tunnels that are followed; real ones have two or three.
const DEPTH_MAX: u8 = 6;
/// VLAN tags, MPLS labels and PPPoE headers peeled before a frame is called malformed.
const TAGS_MAX: usize = 16;

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
}

impl Link {
    /// From the data link type that libpcap names (`pcap_datalink(3PCAP)`).
    pub fn from_dlt(dlt: i32) -> Option<Self> {
        match dlt {
            1 => Some(Self::Ethernet),
            113 => Some(Self::CookedV1),
            276 => Some(Self::CookedV2),
            12 | 14 | 101 | 228 | 229 => Some(Self::RawIp),
            0 | 108 => Some(Self::Loopback),
            9 | 50 => Some(Self::Ppp),
            _ => None,
        }
    }
}

/// An IP packet and what its transport header says.
#[derive(Debug)]
pub(crate) struct Packet<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Bytes of the packet as its header says, whatever the capture holds.
    pub length: usize,
    pub segment: Segment<'a>,
}

#[derive(Debug)]
pub(crate) enum Segment<'a> {
    Tcp(Tcp<'a>),
    Udp {
        src_port: u16,
        dst_port: u16,
        payload: &'a [u8],
    },
    /// Another protocol, a cut transport header, or a later fragment: only the addresses count.
    Other(Transport),
}

#[derive(Debug)]
pub(crate) struct Tcp<'a> {
    pub src_port: u16,
    pub dst_port: u16,
    pub sequence: u32,
    pub syn: bool,
    pub ack: bool,
    pub fin: bool,
    pub rst: bool,
    /// The capture holds less of the segment than was sent.
    pub cut: bool,
    pub payload: &'a [u8],
}

/// What the bytes that follow are.
#[derive(Clone, Copy, Debug)]
enum Layer {
    Ethernet,
    EtherType(u16),
    Ppp,
    Ip,
}

/// Gives out the IP packets of one frame, from the outside in.
pub(crate) struct Packets<'a> {
    inner: Option<(Layer, &'a [u8])>,
    depth: u8,
}

impl<'a> Packets<'a> {
    pub fn of_frame(link: Link, frame: &'a [u8]) -> Self {
        Self { inner: peel_link(link, frame), depth: 0 }
    }

    /// The next packet inside; `None` when only payload is left.
    pub fn next(&mut self, counters: &mut Counters) -> Option<Packet<'a>> {
        let Some((layer, bytes)) = self.inner.take() else {
            if self.depth == 0 {
                counters.frames_malformed += 1;
            }
            return None;
        };
        if self.depth >= DEPTH_MAX {
            counters.tunnels_too_deep += 1;
            return None;
        }
        self.depth += 1;
        match peel_tags(layer, bytes) {
            Peeled::Ip(bytes) => {
                let Some((packet, inner)) = network::slice(bytes, counters) else {
                    counters.frames_malformed += 1;
                    return None;
                };
                counters.packets += 1;
                self.inner = inner;
                Some(packet)
            }
            Peeled::NotIp => {
                counters.frames_not_ip += 1;
                None
            }
            Peeled::Malformed => {
                counters.frames_malformed += 1;
                None
            }
        }
    }
}

fn peel_link(link: Link, frame: &[u8]) -> Option<(Layer, &[u8])> {
    match link {
        Link::Ethernet => Some((Layer::Ethernet, frame)),
        Link::RawIp => Some((Layer::Ip, frame)),
        Link::Ppp => Some((Layer::Ppp, frame)),
        Link::CookedV1 => {
            let (header, rest) = frame.split_first_chunk::<16>()?;
            Some((Layer::EtherType(be16(header, 14)?), rest))
        }
        Link::CookedV2 => {
            let (header, rest) = frame.split_first_chunk::<20>()?;
            Some((Layer::EtherType(be16(header, 0)?), rest))
        }
        // The family's number differs between systems (24, 28 and 30 are all IPv6); the packet's own version decides.
        Link::Loopback => frame.split_first_chunk::<4>().map(|(_, rest)| (Layer::Ip, rest)),
    }
}

enum Peeled<'a> {
    Ip(&'a [u8]),
    NotIp,
    Malformed,
}

/// Removes Ethernet, VLAN (802.1Q, QinQ), MPLS, PPPoE and PPP headers until IP is left.
fn peel_tags(mut layer: Layer, mut bytes: &[u8]) -> Peeled<'_> {
    for _ in 0..TAGS_MAX {
        let next = match layer {
            Layer::Ip => return Peeled::Ip(bytes),
            Layer::Ethernet => peel_ethernet(bytes),
            Layer::Ppp => peel_ppp(bytes),
            Layer::EtherType(0x0800 | 0x86dd) => Some((Layer::Ip, bytes)),
            Layer::EtherType(0x8100 | 0x88a8 | 0x9100 | 0x9200) => bytes
                .split_first_chunk::<4>()
                .and_then(|(tag, rest)| Some((be16(tag, 2)?, rest)))
                .map(by_type),
            // VN-Tag (IEEE 802.1BR's forerunner): four bytes, then a type.
            Layer::EtherType(0x8926) => bytes
                .split_first_chunk::<6>()
                .and_then(|(tag, rest)| Some((be16(tag, 4)?, rest)))
                .map(by_type),
            Layer::EtherType(0x8847 | 0x8848) => peel_mpls(bytes),
            // PPPoE session (RFC 2516 §4): six bytes, then PPP.
            Layer::EtherType(0x8864) => bytes.split_first_chunk::<6>().map(|(_, rest)| (Layer::Ppp, rest)),
            Layer::EtherType(0x6558) => Some((Layer::Ethernet, bytes)),
            // LLC with SNAP (RFC 1042) carries an Ethernet type; other LLC carries no IP.
            Layer::EtherType(length) if length <= 1500 => match bytes {
                [0xaa, 0xaa, 0x03, 0, 0, 0, high, low, rest @ ..] => {
                    Some((Layer::EtherType(u16::from_be_bytes([*high, *low])), rest))
                }
                _ => return Peeled::NotIp,
            },
            Layer::EtherType(_) => return Peeled::NotIp,
        };
        match next {
            Some((inside, rest)) => (layer, bytes) = (inside, rest),
            None => return Peeled::Malformed,
        }
    }
    Peeled::Malformed
}

fn by_type((ether_type, rest): (u16, &[u8])) -> (Layer, &[u8]) {
    (Layer::EtherType(ether_type), rest)
}

fn peel_ethernet(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<14>()?;
    Some((Layer::EtherType(be16(header, 12)?), rest))
}

/// RFC 1661 §2 and RFC 1662: address and control are optional, the protocol has one or two bytes.
fn peel_ppp(bytes: &[u8]) -> Option<(Layer, &[u8])> {
    let bytes = bytes.strip_prefix(&[0xff, 0x03]).unwrap_or(bytes);
    let (protocol, rest) = match bytes {
        [odd, rest @ ..] if odd & 1 == 1 => (u16::from(*odd), rest),
        [high, low, rest @ ..] => (u16::from_be_bytes([*high, *low]), rest),
        _ => return None,
    };
    Some(match protocol {
        0x0021 | 0x0057 => (Layer::Ip, rest),
        0x0281 | 0x0283 => (Layer::EtherType(0x8847), rest),
        _ => (Layer::EtherType(0xffff), rest),
    })
}

/// RFC 3032: labels until the bottom of the stack; the first nibble then tells IP from a pseudowire (RFC 4385).
fn peel_mpls(mut bytes: &[u8]) -> Option<(Layer, &[u8])> {
    for _ in 0..TAGS_MAX {
        let (label, rest) = bytes.split_first_chunk::<4>()?;
        bytes = rest;
        if label.get(2)? & 1 == 1 {
            return Some(match rest.first()? >> 4 {
                4 | 6 => (Layer::Ip, rest),
                0 => (Layer::Ethernet, rest.get(4..)?),
                _ => (Layer::EtherType(0xffff), rest),
            });
        }
    }
    None
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
#[path = "frame/frame_tests.rs"]
mod tests;

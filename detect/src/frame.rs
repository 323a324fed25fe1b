//! Frames to IP packets: link headers, tags and tunnels are peeled until TCP, UDP or something else is left.
//!
//! Each IP packet on the way is given out, outermost first. What an ICMP error quotes is not traffic.

mod ethernet;
mod extensions;
mod link;
mod network;
mod quick;
mod sflow;
mod tunnel;
mod wireless;

use std::net::IpAddr;

use protocol::Transport;

use crate::counters::Counters;

pub use link::Link;
pub(crate) use network::Fragment;

/// Layers of tunnels that are followed; real ones have two or three.
const DEPTH_MAX: u8 = 6;

/// An IP packet and what its transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    /// Bytes of the packet as its header says, whatever the capture holds.
    pub length: usize,
    pub segment: Segment<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Ethernet,
    EtherType(u16),
    /// LLC (IEEE 802.2).
    Llc,
    /// The identifier of five bytes after LLC's own header.
    Snap,
    Ppp,
    /// RFC 8300.
    Nsh,
    /// 802.11.
    Wireless(wireless::Form),
    /// IPv4 or IPv6, as the packet's own version says.
    Ip,
    /// An sFlow datagram.
    Samples,
    /// Nothing that carries IP.
    Foreign,
}

/// Frames that stand beside each other in one.
enum Beside<'a> {
    /// What is left of an aggregate of radio frames.
    Radio(&'a [u8]),
    /// What is left of an sFlow datagram.
    Samples(sflow::Samples<'a>),
}

/// Gives out the IP packets of one frame, from the outside in.
pub(crate) struct Packets<'a> {
    inner: Option<(Layer, &'a [u8])>,
    beside: Option<(Beside<'a>, u8)>,
    /// The fragment of which the packet given out last consists.
    fragment: Option<Fragment<'a>>,
    depth: u8,
}

impl<'a> Packets<'a> {
    pub fn of_frame(link: Link, frame: &'a [u8]) -> Self {
        Self { inner: link::peel(link, frame), beside: None, fragment: None, depth: 0 }
    }

    /// The packets of one that was put together from fragments, which stood inside so many others.
    pub fn of_whole(packet: &'a [u8], depth: u8) -> Self {
        Self { inner: Some((Layer::Ip, packet)), beside: None, fragment: None, depth }
    }

    /// How many packets are around the one given out last.
    pub fn depth(&self) -> u8 {
        self.depth.saturating_sub(1)
    }

    /// The fragment of which the packet given out last consists, when it is none on its own.
    pub fn take_fragment(&mut self) -> Option<Fragment<'a>> {
        self.fragment.take()
    }

    /// The packet of a frame that holds one plain packet and nothing else of interest, as most do.
    #[inline]
    pub fn plain(link: Link, frame: &'a [u8]) -> Option<Packet<'a>> {
        let (header, rest) = frame.split_first_chunk::<14>()?;
        if link != Link::Ethernet || !matches!(header, [.., 0x08, 0x00] | [.., 0x86, 0xdd]) {
            return None;
        }
        network::plain(rest)
    }

    /// The next packet inside; `None` when only payload is left.
    pub fn next(&mut self, counters: &mut Counters) -> Option<Packet<'a>> {
        let mut is_first = self.depth == 0;
        loop {
            let Some((layer, bytes)) = self.inner.take().or_else(|| self.next_beside()) else {
                counters.frames_malformed += u64::from(is_first);
                return None;
            };
            is_first = false;
            if let Some(packet) = self.open(layer, bytes, counters) {
                return Some(packet);
            }
        }
    }

    fn next_beside(&mut self) -> Option<(Layer, &'a [u8])> {
        let (beside, depth) = self.beside.as_mut()?;
        self.depth = *depth;
        match beside {
            Beside::Samples(samples) => samples.next(),
            Beside::Radio(frames) => {
                let (llc, rest) = wireless::next_of_aggregate(frames)?;
                *frames = rest;
                Some((Layer::Llc, llc))
            }
        }
    }

    fn open(&mut self, layer: Layer, bytes: &'a [u8], counters: &mut Counters) -> Option<Packet<'a>> {
        if self.depth >= DEPTH_MAX {
            counters.tunnels_too_deep += 1;
            return None;
        }
        self.depth += 1;
        match ethernet::peel(layer, bytes) {
            Peeled::Ip(bytes) => match network::slice(bytes, counters) {
                Some(sliced) => {
                    counters.packets += 1;
                    (self.inner, self.fragment) = (sliced.inner, sliced.fragment);
                    return Some(if self.is_sample() {
                        self.only_addresses(sliced.packet)
                    } else {
                        sliced.packet
                    });
                }
                None => counters.frames_malformed += 1,
            },
            Peeled::Beside(beside) if self.beside.is_none() => self.beside = Some((beside, self.depth - 1)),
            Peeled::Encrypted => counters.frames_encrypted += 1,
            Peeled::NotIp | Peeled::Beside(_) => counters.frames_not_ip += 1,
            Peeled::Malformed => counters.frames_malformed += 1,
        }
        None
    }

    fn is_sample(&self) -> bool {
        matches!(self.beside, Some((Beside::Samples(_), _)))
    }

    fn only_addresses(&mut self, packet: Packet<'a>) -> Packet<'a> {
        self.fragment = None;
        let transport = match packet.segment {
            Segment::Tcp(_) => Transport::Tcp,
            Segment::Udp { .. } => Transport::Udp,
            Segment::Other(transport) => transport,
        };
        Packet { segment: Segment::Other(transport), ..packet }
    }
}

/// What is left when everything between the frame's start and IP is removed.
enum Peeled<'a> {
    Ip(&'a [u8]),
    /// Several frames.
    Beside(Beside<'a>),
    /// Only the keys would open it.
    Encrypted,
    NotIp,
    Malformed,
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
#[path = "frame/frame_tests.rs"]
mod tests;

//! One IP packet: addresses, extension headers, fragments, and the transport header inside.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpSlice, UdpSlice, ip_number};
use protocol::Transport;

use super::{Layer, Packet, Segment, Tcp, extensions, quick, tunnel};
use crate::counters::Counters;

/// A packet, what it carries when it is a tunnel, and the fragment that it is when it is one.
pub(super) struct Sliced<'a> {
    pub packet: Packet<'a>,
    pub inner: Option<(Layer, &'a [u8])>,
    pub fragment: Option<Fragment<'a>>,
}

/// A piece of an IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fragment<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub is_v6: bool,
    pub id: u32,
    /// The protocol of what was taken apart.
    pub number: u8,
    /// Time to live or hop limit.
    pub hops: u8,
    /// Where the bytes stand.
    pub offset: usize,
    /// It is not the last.
    pub more: bool,
    pub bytes: &'a [u8],
    /// How many bytes were sent, whatever the capture holds.
    pub length: usize,
}

/// What the fixed header says, whichever the version.
struct Header<'a> {
    src: IpAddr,
    dst: IpAddr,
    is_v6: bool,
    hops: u8,
    /// Of the whole packet.
    length: usize,
    number: u8,
    part: Option<extensions::Part>,
    payload: &'a [u8],
    /// Bytes of payload that the capture does not hold.
    missing: usize,
}

impl<'a> Header<'a> {
    fn fragment(&self, part: extensions::Part, (number, bytes): (IpNumber, &'a [u8])) -> Fragment<'a> {
        Fragment {
            src: self.src,
            dst: self.dst,
            is_v6: self.is_v6,
            id: part.id,
            number: number.0,
            hops: self.hops,
            offset: part.offset,
            more: part.more,
            bytes,
            length: bytes.len() + self.missing,
        }
    }
}

/// Slices an IP packet, nearly all of them quickly.
pub(super) fn slice<'a>(bytes: &'a [u8], counters: &mut Counters) -> Option<Sliced<'a>> {
    match quick::slice(bytes) {
        Some(packet) => Some(Sliced { packet, inner: inside(&packet.segment), fragment: None }),
        None => general(bytes, counters),
    }
}

/// A plain packet that is no tunnel's.
#[inline]
pub(super) fn plain(bytes: &[u8]) -> Option<Packet<'_>> {
    quick::slice(bytes).filter(|packet| inside(&packet.segment).is_none())
}

/// What a datagram carries when it is a tunnel's.
#[inline]
fn inside<'a>(segment: &Segment<'a>) -> Option<(Layer, &'a [u8])> {
    match segment {
        Segment::Udp { src_port, dst_port, payload } => tunnel::in_udp(*src_port, *dst_port, payload),
        Segment::Tcp(_) | Segment::Other(_) => None,
    }
}

/// Slices an IP packet laxly: a cut payload still gives the addresses.
fn general<'a>(bytes: &'a [u8], counters: &mut Counters) -> Option<Sliced<'a>> {
    let header = match bytes.first()? >> 4 {
        4 => v4(bytes),
        6 => v6(bytes),
        _ => None,
    }?;
    let behind = match header.part {
        Some(_) => {
            extensions::Behind { number: Some(header.number), bytes: header.payload, fragment: header.part }
        }
        None => extensions::walk(header.number, header.payload, header.is_v6),
    };
    let number = behind.number.map(IpNumber);
    if number.is_some_and(|number| is_debris(&header, number, behind.bytes)) {
        return None;
    }
    let (src, dst) = (header.src.to_canonical(), header.dst.to_canonical());
    let only_addresses = |transport, fragment| {
        let packet = Packet { src, dst, length: header.length, segment: Segment::Other(transport) };
        Sliced { packet, inner: None, fragment }
    };
    let Some(number) = number else {
        counters.frames_malformed += 1;
        return Some(only_addresses(Transport::Other, None));
    };
    if let Some(part) = behind.fragment {
        counters.packets_fragment += 1;
        let fragment = header.fragment(part, (number, behind.bytes));
        return Some(only_addresses(transport(number), Some(fragment)));
    }
    let segment = match number {
        ip_number::TCP => tcp(behind.bytes, header.missing > 0),
        ip_number::UDP => udp(behind.bytes),
        _ => None,
    };
    let inner = match &segment {
        Some(segment) => inside(segment),
        None => tunnel::in_ip(number, behind.bytes),
    };
    let segment = segment.unwrap_or_else(|| {
        let expected = header.missing == 0 && matches!(number, ip_number::TCP | ip_number::UDP);
        counters.frames_malformed += u64::from(expected);
        Segment::Other(transport(number))
    });
    Some(Sliced { packet: Packet { src, dst, length: header.length, segment }, inner, fragment: None })
}

/// RFC 791 §3.1. A header whose options are cut off by the capture still has its addresses; a length shorter than the
/// header is no packet; none at all is what network cards fill in later (TCP segmentation offload).
fn v4(bytes: &[u8]) -> Option<Header<'_>> {
    let fixed = bytes.first_chunk::<20>()?;
    let header_length = usize::from(fixed.first()? & 0x0f) * 4;
    let options_cut = header_length > bytes.len();
    let mut short = *fixed;
    let header = if options_cut {
        *short.first_mut()? = 0x45;
        Ipv4HeaderSlice::from_slice(&short).ok()?
    } else {
        Ipv4HeaderSlice::from_slice(bytes).ok()?
    };
    let start = if options_cut { bytes.len() } else { header.slice().len() };
    let length = usize::from(header.total_len());
    if length < header_length && (length > 0 || options_cut) {
        return None;
    }
    let end = if length == 0 { bytes.len() } else { length };
    let offset = usize::from(header.fragments_offset().value()) * 8;
    let part =
        extensions::Part { id: u32::from(header.identification()), offset, more: header.more_fragments() };
    Some(Header {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        is_v6: false,
        hops: header.ttl(),
        length: end,
        number: header.protocol().0,
        part: (part.more || offset > 0).then_some(part),
        payload: bytes.get(start..end.min(bytes.len())).unwrap_or_default(),
        missing: end.saturating_sub(bytes.len()),
    })
}

/// RFC 8200 §3. A length of zero stands for more than the field can say (RFC 2675, segmentation offload).
fn v6(bytes: &[u8]) -> Option<Header<'_>> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let length = usize::from(header.payload_length());
    let end = if length == 0 { bytes.len() } else { 40 + length };
    Some(Header {
        src: header.source_addr().into(),
        dst: header.destination_addr().into(),
        is_v6: true,
        hops: header.hop_limit(),
        length: end,
        number: header.next_header().0,
        part: None,
        payload: bytes.get(40..end.min(bytes.len())).unwrap_or_default(),
        missing: end.saturating_sub(bytes.len()),
    })
}

/// A packet said to carry another one that is none, and that no host can have sent from afar: its time to live
/// is over (RFC 1812 §5.3.1, RFC 8200 §3), or its source is no unicast address in use. Damage and invention look
/// like this, and their addresses are noise.
fn is_debris(header: &Header<'_>, number: IpNumber, inside: &[u8]) -> bool {
    let version = match number {
        ip_number::IPV4 => 4,
        ip_number::IPV6 => 6,
        _ => return false,
    };
    let carries_none = inside.first().is_none_or(|first| first >> 4 != version);
    carries_none && (header.hops == 0 || !can_send(header.src))
}

/// Whether hosts have such addresses: in IPv6 global unicast is 2000::/3 so far (RFC 4291 §2.4, IANA), beside
/// unique and link-local ones.
fn can_send(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !matches!(v4.octets(), [0 | 224.., ..]),
        IpAddr::V6(v6) => {
            matches!(v6.octets(), [0x20..=0x3f, ..]) || v6.is_unique_local() || v6.is_unicast_link_local()
        }
    }
}

fn transport(number: IpNumber) -> Transport {
    match number {
        ip_number::TCP => Transport::Tcp,
        ip_number::UDP => Transport::Udp,
        ip_number::ICMP | ip_number::IPV6_ICMP => Transport::Icmp,
        _ => Transport::Other,
    }
}

fn tcp(bytes: &[u8], cut: bool) -> Option<Segment<'_>> {
    let tcp = TcpSlice::from_slice(bytes).ok()?;
    Some(Segment::Tcp(Tcp {
        src_port: tcp.source_port(),
        dst_port: tcp.destination_port(),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        ack: tcp.ack(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        cut,
        payload: tcp.payload(),
    }))
}

fn udp(bytes: &[u8]) -> Option<Segment<'_>> {
    let udp = UdpSlice::from_slice_lax(bytes).ok()?;
    Some(Segment::Udp {
        src_port: udp.source_port(),
        dst_port: udp.destination_port(),
        payload: udp.payload(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::made::{Side, udp};

    /// Where both ways read a packet, they read the same.
    fn check(packet: &[u8]) -> bool {
        let mut counters = Counters::default();
        let Some(quick) = quick::slice(packet) else { return false };
        let general = general(packet, &mut counters).unwrap();
        assert_eq!((quick, inside(&quick.segment)), (general.packet, general.inner));
        assert!(general.fragment.is_none());
        assert_eq!(counters, Counters::default());
        true
    }

    fn plain(v6: bool, tcp: bool, payload: &[u8]) -> Vec<u8> {
        let ends = (([10, 0, 0, 5], 40_000), ([203, 0, 113, 5], 443));
        let mut frame = if tcp {
            Side { src: ends.0, dst: ends.1 }.data(7, payload)
        } else {
            udp(ends.0, ends.1, payload)
        };
        let packet = frame.split_off(14);
        if !v6 {
            return packet;
        }
        let (_, transport) = packet.split_at(20);
        let length = u16::try_from(transport.len()).unwrap().to_be_bytes();
        let mut header = vec![0x60, 0, 0, 0, length[0], length[1], packet[9], 64];
        header.extend([0x20; 32]);
        [header, transport.to_vec()].concat()
    }

    #[test]
    fn plain_packets_go_the_quick_way() {
        for (v6, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
            assert!(check(&plain(v6, tcp, b"abc")), "v6 {v6}, tcp {tcp}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_quick_way_reads_what_the_general_one_reads(
            v6 in any::<bool>(),
            tcp in any::<bool>(),
            changes in prop::collection::vec((0usize..70, any::<u8>()), 0..4),
            cut in 0usize..40,
            padding in 0usize..20,
        ) {
            let mut packet = plain(v6, tcp, b"0123456789");
            packet.resize(packet.len() + padding, 0);
            packet.truncate(packet.len().saturating_sub(cut));
            for (at, byte) in changes {
                if let Some(place) = packet.get_mut(at) {
                    *place = byte;
                }
            }
            check(&packet);
        }
    }
}

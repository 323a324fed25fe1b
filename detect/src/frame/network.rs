//! One IP packet: addresses, extension headers, fragments, and the transport header inside.

use std::net::IpAddr;

use etherparse::{IpNumber, Ipv6ExtensionSlice, LaxIpSlice, TcpSlice, UdpSlice, ip_number};
use protocol::Transport;

use super::{Layer, Packet, Segment, Tcp, tunnel};
use crate::counters::Counters;

/// A packet, and what it carries when it is a tunnel.
pub(super) type Sliced<'a> = (Packet<'a>, Option<(Layer, &'a [u8])>);

/// Slices an IP packet laxly: a wrong length or a cut payload still gives the addresses.
pub(super) fn slice<'a>(bytes: &'a [u8], counters: &mut Counters) -> Option<Sliced<'a>> {
    let (ip, extensions_broken) = LaxIpSlice::from_slice(bytes).ok()?;
    let src = ip.source_addr().to_canonical();
    let dst = ip.destination_addr().to_canonical();
    let length = match &ip {
        LaxIpSlice::Ipv4(v4) => usize::from(v4.header().total_len()),
        LaxIpSlice::Ipv6(v6) => usize::from(v6.header().payload_length()) + 40,
    };
    let payload = ip.payload();
    let (number, bytes, cut) = (payload.ip_number, payload.payload, payload.incomplete);
    if is_debris(&ip, number, bytes) {
        return None;
    }
    if extensions_broken.is_some() {
        counters.frames_malformed += 1;
        return Some(only_addresses((src, dst), length, Transport::Other));
    }
    if payload.fragmented && !is_first_fragment(&ip) {
        counters.packets_fragment += 1;
        return Some(only_addresses((src, dst), length, transport(number)));
    }
    let segment = match number {
        ip_number::TCP => tcp(bytes, cut || payload.fragmented),
        ip_number::UDP => udp(bytes),
        _ => None,
    };
    let inner = match &segment {
        Some(Segment::Udp { src_port, dst_port, payload }) => tunnel::in_udp(*src_port, *dst_port, payload),
        Some(_) => None,
        None => tunnel::in_ip(number, bytes),
    };
    let segment = segment.unwrap_or_else(|| {
        counters.frames_malformed += u64::from(matches!(number, ip_number::TCP | ip_number::UDP));
        Segment::Other(transport(number))
    });
    Some((Packet { src, dst, length, segment }, inner))
}

fn only_addresses<'a>((src, dst): (IpAddr, IpAddr), length: usize, transport: Transport) -> Sliced<'a> {
    (Packet { src, dst, length, segment: Segment::Other(transport) }, None)
}

/// A packet said to carry another one that is none, and that no host can have sent from afar: its time to live
/// is over (RFC 1812 §5.3.1, RFC 8200 §3), or its source is no unicast address in use. Damage and invention look
/// like this, and their addresses are noise.
fn is_debris(ip: &LaxIpSlice<'_>, number: IpNumber, inside: &[u8]) -> bool {
    let version = match number {
        ip_number::IPV4 => 4,
        ip_number::IPV6 => 6,
        _ => return false,
    };
    let expired = match ip {
        LaxIpSlice::Ipv4(v4) => v4.header().ttl() == 0,
        LaxIpSlice::Ipv6(v6) => v6.header().hop_limit() == 0,
    };
    let carries_none = inside.first().is_none_or(|first| first >> 4 != version);
    carries_none && (expired || !can_send(ip.source_addr()))
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

fn is_first_fragment(ip: &LaxIpSlice<'_>) -> bool {
    match ip {
        LaxIpSlice::Ipv4(v4) => v4.header().fragments_offset().value() == 0,
        LaxIpSlice::Ipv6(v6) => v6.extensions().clone().into_iter().all(|extension| match extension {
            Ipv6ExtensionSlice::Fragment(fragment) => fragment.fragment_offset().value() == 0,
            _ => true,
        }),
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

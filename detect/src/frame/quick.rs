//! The packets that nearly all packets are: whole IPv4 without options, or IPv6 without extension headers, that
//! carries TCP or UDP. Everything else is left to the general path, which gives the same for these (a test holds it).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Packet, Segment, Tcp, be16};

const TCP: u8 = 6;
const UDP: u8 = 17;

/// The packet; `None` when it is not one of the plain ones.
#[inline(always)]
pub(super) fn slice(bytes: &[u8]) -> Option<Packet<'_>> {
    match bytes.first()? {
        0x45 => v4(bytes),
        0x60..=0x6f => v6(bytes),
        _ => None,
    }
}

#[inline(always)]
fn v4(bytes: &[u8]) -> Option<Packet<'_>> {
    let (header, _) = bytes.split_first_chunk::<20>()?;
    let [_, _, high, low, _, _, fragment_high, fragment_low, _, protocol, _, _, a, b, c, d, e, f, g, h] =
        *header;
    let length = usize::from(u16::from_be_bytes([high, low]));
    // More fragments, or not the first one (RFC 791 §3.1).
    if u16::from_be_bytes([fragment_high, fragment_low]) & 0x3fff != 0 {
        return None;
    }
    let segment = segment(protocol, bytes.get(20..length)?)?;
    let (src, dst) = (Ipv4Addr::new(a, b, c, d), Ipv4Addr::new(e, f, g, h));
    Some(Packet { src: src.into(), dst: dst.into(), length, segment })
}

#[inline(always)]
fn v6(bytes: &[u8]) -> Option<Packet<'_>> {
    let (header, _) = bytes.split_first_chunk::<40>()?;
    let [_, _, _, _, high, low, protocol, _, addresses @ ..] = header;
    let length = 40 + usize::from(u16::from_be_bytes([*high, *low]));
    let segment = segment(*protocol, bytes.get(40..length)?)?;
    let (src, dst) = addresses.split_first_chunk::<16>()?;
    let address = |octets: [u8; 16]| IpAddr::from(Ipv6Addr::from(octets)).to_canonical();
    Some(Packet { src: address(*src), dst: address(*dst.first_chunk()?), length, segment })
}

#[inline(always)]
fn segment(protocol: u8, bytes: &[u8]) -> Option<Segment<'_>> {
    match protocol {
        TCP => tcp(bytes),
        UDP => udp(bytes),
        _ => None,
    }
}

#[inline(always)]
fn tcp(bytes: &[u8]) -> Option<Segment<'_>> {
    let (header, _) = bytes.split_first_chunk::<20>()?;
    let [a, b, c, d, s0, s1, s2, s3, _, _, _, _, offset, flags, ..] = *header;
    let header_length = usize::from(offset >> 4) * 4;
    if header_length < 20 {
        return None;
    }
    Some(Segment::Tcp(Tcp {
        src_port: u16::from_be_bytes([a, b]),
        dst_port: u16::from_be_bytes([c, d]),
        sequence: u32::from_be_bytes([s0, s1, s2, s3]),
        fin: flags & 0x01 != 0,
        syn: flags & 0x02 != 0,
        rst: flags & 0x04 != 0,
        ack: flags & 0x10 != 0,
        cut: false,
        payload: bytes.get(header_length..)?,
    }))
}

#[inline(always)]
fn udp(bytes: &[u8]) -> Option<Segment<'_>> {
    let length = usize::from(be16(bytes, 4)?);
    let (header, _) = bytes.split_first_chunk::<8>()?;
    let [a, b, c, d, ..] = *header;
    Some(Segment::Udp {
        src_port: u16::from_be_bytes([a, b]),
        dst_port: u16::from_be_bytes([c, d]),
        payload: bytes.get(8..length)?,
    })
}

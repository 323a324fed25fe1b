//! Targets over UDP: datagrams of the protocols that are told by their port or by their shape, and QUIC Initials
//! whose frames are the fuzzer's, sealed as a client would.

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use detect::Link;

use super::frames::{udp, v4};
use super::input::Input;
use super::watch::Watch;

/// DNS, multicast DNS, LLMNR, QUIC, VXLAN, Geneve, GTP-U, Teredo, L2TP, DTLS, IPsec, OpenVPN and others.
pub const PORTS: &[u16] =
    &[53, 5353, 5355, 443, 4789, 6081, 2152, 3544, 1701, 5684, 4500, 1194, 8472, 123, 161, 5060, 9999];

/// Datagrams both ways.
pub fn datagrams(bytes: &[u8]) {
    let mut input = Input(bytes);
    let port = input.choice(PORTS).unwrap_or_default();
    let mut watch = Watch::default();
    while !input.is_empty() {
        let (by_server, payload) = input.message();
        send(&mut watch, port, by_server, payload);
    }
    watch.finish();
}

/// Frames of a client's Initial packets, each piece in a datagram of its own.
pub fn initials(bytes: &[u8]) {
    let mut input = Input(bytes);
    let mut watch = Watch::default();
    let mut number = 0u8;
    while !input.is_empty() {
        let frames = input.piece();
        if let Some(datagram) = seal(number, frames) {
            send(&mut watch, 443, false, &datagram);
        }
        number = number.wrapping_add(1);
    }
    watch.finish();
}

fn send(watch: &mut Watch, port: u16, by_server: bool, payload: &[u8]) {
    let ports = if by_server { [port, 40_000] } else { [40_000, port] };
    let mut packet = v4(17, (0, 0), &udp(ports, payload));
    if by_server {
        packet[12..20].rotate_left(4);
    }
    watch.frame(Link::RawIp, &packet);
}

/// Connection identifier and keys that RFC 9001 prints in Appendix A.
const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const KEY: [u8; 16] = *b"\x1f\x36\x96\x13\xdd\x76\xd5\x46\x77\x30\xef\xcb\xe3\xb1\xa2\x2d";
const IV: [u8; 12] = *b"\xfa\x04\x4b\x2f\x42\xa3\xfd\x3b\x46\xfb\x25\x5c";
const HEADER_KEY: [u8; 16] = *b"\x9f\x50\x44\x9e\x04\xa0\xe8\x10\x28\x3a\x1e\x99\x33\xad\xed\xd2";

/// Seals frames as the client's Initial of version 1 (RFC 9001 §5).
fn seal(number: u8, frames: &[u8]) -> Option<Vec<u8>> {
    let mut payload = frames.to_vec();
    payload.resize(payload.len().max(64), 0);
    let length = u16::try_from(2 + payload.len() + 16).ok().filter(|length| *length < 0x4000)? | 0x4000;
    let mut header = vec![0xc1, 0, 0, 0, 1, 8];
    header.extend(CONNECTION);
    header.extend([0, 0]); // no source identifier, no token
    header.extend(length.to_be_bytes());
    let number_at = header.len();
    header.extend([0, number]);
    let mut nonce = IV;
    nonce[11] ^= number;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).ok()?);
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(header.clone()), &mut payload).ok()?;
    let mut packet = [header, payload].concat();
    let sample = packet.get(number_at + 4..number_at + 20)?;
    let mask = HeaderProtectionKey::new(&AES_128, &HEADER_KEY).ok()?.new_mask(sample).ok()?;
    packet[0] ^= mask[0] & 0x0f;
    packet[number_at] ^= mask[1];
    packet[number_at + 1] ^= mask[2];
    Some(packet)
}

//! TLS and QUIC handshakes as browsers begin them, with a post-quantum key share.

use std::sync::OnceLock;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// RFC 9001 Appendix A: this connection identifier gives these keys.
const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const KEY: [u8; 16] =
    [0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d];
const IV: [u8; 12] = [0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c];
const HP: [u8; 16] =
    [0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2];

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A ClientHello message; `post_quantum` makes it too long for one segment.
pub fn client_hello(name: &str, post_quantum: bool) -> Vec<u8> {
    let length = name.len() as u16;
    let sni = [&(length + 3).to_be_bytes()[..], &[0], &length.to_be_bytes(), name.as_bytes()].concat();
    let share = if post_quantum { 1216 } else { 32 };
    let mut key_share = ((share + 4) as u16).to_be_bytes().to_vec();
    key_share.extend([0x11, 0xec]);
    key_share.extend((share as u16).to_be_bytes());
    key_share.extend(vec![7; share]);
    let extensions = [
        extension(0x1a1a, &[]),
        extension(51, &key_share),
        extension(0, &sni),
        extension(23, &[]),
        extension(10, &[0, 6, 0x11, 0xec, 0, 29, 0, 23]),
        extension(11, &[1, 0]),
        extension(13, &[0, 8, 4, 3, 8, 4, 4, 1, 5, 3]),
        extension(16, b"\0\x0c\x02h2\x08http/1.1"),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(45, &[1, 1]),
        extension(21, &[0; 120]),
    ]
    .concat();
    let ciphers = [0x2a, 0x2a, 0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x2c, 0xc0, 0x30];
    let mut body = [&[3, 3][..], &[9; 32], &[32], &[5; 32], &[0, 16], &ciphers, &[1, 0]].concat();
    body.extend((extensions.len() as u16).to_be_bytes());
    body.extend(extensions);
    let mut hello = (body.len() as u32).to_be_bytes().to_vec();
    hello[0] = 1;
    hello.extend(body);
    hello
}

/// One handshake record.
pub fn tls_record(handshake: &[u8]) -> Vec<u8> {
    [&[0x16, 3, 1][..], &(handshake.len() as u16).to_be_bytes(), handshake].concat()
}

/// A ServerHello of TLS 1.3 and encrypted records after it, so many bytes in all.
pub fn server_hello(bytes: usize) -> Vec<u8> {
    let body = [&[3, 3][..], &[8; 32], &[32], &[5; 32], &[0x13, 1, 0], &[0, 6, 0, 43, 0, 2, 3, 4]].concat();
    let mut hello = (body.len() as u32).to_be_bytes().to_vec();
    hello[0] = 2;
    hello.extend(body);
    let mut flight = tls_record(&hello);
    flight.extend([0x14, 3, 3, 0, 1, 1]);
    flight.extend([0x17, 3, 3, 0x08, 0]);
    flight.resize(bytes, 0x77);
    flight
}

/// A client's Initial of version 1 with a whole ClientHello.
pub fn quic_initial() -> &'static [u8] {
    static INITIAL: OnceLock<Vec<u8>> = OnceLock::new();
    INITIAL.get_or_init(|| {
        let hello = client_hello("www.quic.example", false);
        let length = (hello.len() as u16) | 0x4000;
        seal(&[&[6, 0x40, 0][..], &length.to_be_bytes(), &hello].concat())
    })
}

fn seal(frames: &[u8]) -> Vec<u8> {
    let mut payload = frames.to_vec();
    payload.resize(1_162, 0);
    let length = (2 + payload.len() as u16 + 16) | 0x4000;
    let mut header = vec![0xc1, 0, 0, 0, 1, 8];
    header.extend(CONNECTION);
    header.extend([0, 0]);
    header.extend(length.to_be_bytes());
    let number_at = header.len();
    header.extend([0, 0]);
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).unwrap());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(IV), Aad::from(header.clone()), &mut payload)
        .unwrap();
    let mut packet = [header, payload].concat();
    let sample = &packet[number_at + 4..number_at + 20];
    let mask = HeaderProtectionKey::new(&AES_128, &HP).unwrap().new_mask(sample).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    packet[number_at] ^= mask[1];
    packet[number_at + 1] ^= mask[2];
    packet
}

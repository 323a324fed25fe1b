//! A client's QUIC Initial of version 1, sealed under the keys that RFC 9001 Appendix A prints: what tests and
//! benchmarks give to the reader of Initials.

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

/// This connection identifier gives these keys.
const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const KEY: [u8; 16] =
    [0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d];
const IV: [u8; 12] = [0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c];
const HP: [u8; 16] =
    [0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2];
/// Bytes of frames that header protection always finds a sample in.
const FRAMES_MIN: usize = 64;

/// Seals frames, padded where they are few. `number`: the packet's.
pub fn seal(number: u8, frames: &[u8]) -> Vec<u8> {
    let mut payload = frames.to_vec();
    payload.resize(payload.len().max(FRAMES_MIN), 0);
    let length = u16::try_from(2 + payload.len() + 16).unwrap() | 0x4000;
    let mut header = vec![0xc1, 0, 0, 0, 1, 8];
    header.extend(CONNECTION);
    header.extend([0, 0]); // no source identifier, no token
    header.extend(length.to_be_bytes());
    let number_at = header.len();
    header.extend([0, number]);
    let mut nonce = IV;
    nonce[11] ^= number;
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &KEY).unwrap());
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(header.clone()), &mut payload).unwrap();
    let mut packet = [header, payload].concat();
    let sample = &packet[number_at + 4..number_at + 20];
    let mask = HeaderProtectionKey::new(&AES_128, &HP).unwrap().new_mask(sample).unwrap();
    packet[0] ^= mask[0] & 0x0f;
    packet[number_at] ^= mask[1];
    packet[number_at + 1] ^= mask[2];
    packet
}

//! Initial packets sealed with the keys that RFC 9001 prints in its appendix.

use super::*;
use crate::made::client_hello;
use crate::made::seen_by;

/// RFC 9001 Appendix A: this connection identifier gives these keys.
const CONNECTION: [u8; 8] = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
const KEY: [u8; 16] =
    [0x1f, 0x36, 0x96, 0x13, 0xdd, 0x76, 0xd5, 0x46, 0x77, 0x30, 0xef, 0xcb, 0xe3, 0xb1, 0xa2, 0x2d];
const IV: [u8; 12] = [0xfa, 0x04, 0x4b, 0x2f, 0x42, 0xa3, 0xfd, 0x3b, 0x46, 0xfb, 0x25, 0x5c];
const HP: [u8; 16] =
    [0x9f, 0x50, 0x44, 0x9e, 0x04, 0xa0, 0xe8, 0x10, 0x28, 0x3a, 0x1e, 0x99, 0x33, 0xad, 0xed, 0xd2];

/// Seals frames as the client's Initial of version 1.
fn seal(number: u8, frames: &[u8]) -> Vec<u8> {
    let mut payload = frames.to_vec();
    payload.resize(payload.len().max(64), 0);
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
    let mask = HeaderProtectionKey::new(&AES_128, &HP)
        .unwrap()
        .new_mask(&packet[number_at + 4..number_at + 20])
        .unwrap();
    packet[0] ^= mask[0] & 0x0f;
    packet[number_at] ^= mask[1];
    packet[number_at + 1] ^= mask[2];
    packet
}

fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let number = |value: usize| (u16::try_from(value).unwrap() | 0x4000).to_be_bytes();
    [&[6][..], &number(offset), &number(data.len()), data].concat()
}

/// What is seen in datagrams, without the values of fingerprints.
fn seen(datagrams: &[Vec<u8>]) -> Vec<String> {
    let mut initials = Initials::default();
    let (mut seen, _) = seen_by(|sink| {
        for datagram in datagrams {
            assert!(Initials::begin_in(datagram));
            initials.read(datagram, sink);
        }
        initials.end(sink);
    });
    seen.iter_mut().filter(|line| line.contains("ja")).for_each(|line| line.truncate(8));
    seen
}

const HELLO: [&str; 3] = ["quic.sni evil.example", "quic.ja3", "quic.ja4"];

#[test]
fn a_hello_in_one_initial_is_read() {
    let hello = client_hello("evil.example");
    assert_eq!(seen(&[seal(0, &crypto(0, &hello))]), HELLO);
}

#[test]
fn a_hello_over_two_initials_and_shuffled_frames_is_read() {
    let hello = client_hello("evil.example");
    let (start, end) = hello.split_at(700);
    let (first, second) = start.split_at(300);
    let shuffled = [&[1, 0, 0][..], &crypto(300, second), &[1], &crypto(0, first)].concat();
    assert_eq!(seen(&[seal(0, &shuffled), seal(1, &crypto(700, end))]), HELLO);
    assert_eq!(seen(&[seal(1, &crypto(700, end)), seal(0, &shuffled)]), HELLO);
}

#[test]
fn a_hello_whose_end_does_not_come_gives_its_name() {
    let hello = client_hello("evil.example");
    assert_eq!(seen(&[seal(0, &crypto(0, &hello[..hello.len() - 2]))]), ["quic.sni_cut evil.example"]);
    assert!(seen(&[seal(0, &crypto(0, &hello[..700]))]).is_empty());
    assert!(seen(&[seal(0, &crypto(700, &hello[700..]))]).is_empty());
}

#[test]
fn a_changed_packet_is_counted_and_gives_nothing() {
    let mut packet = seal(0, &crypto(0, &client_hello("evil.example")));
    *packet.last_mut().unwrap() ^= 1;
    let mut done = true;
    let (seen, counters) = seen_by(|sink| done = Initials::default().read(&packet, sink));
    assert!(seen.is_empty());
    assert_eq!((done, counters.quic_malformed, counters.quic_initials), (false, 1, 0));
}

#[test]
fn other_datagrams_are_no_initials() {
    for datagram in [&b""[..], b"\x40abc", b"\xc3\0\0\0\0\x08", &[0xff; 40]] {
        assert!(!Initials::begin_in(datagram));
    }
}

//! Initial packets sealed with the keys that RFC 9001 prints in its appendix.

use super::*;
use crate::made::client_hello;
use crate::made::seen_by;
use crate::sealed::seal;

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

//! TLS and QUIC handshakes as browsers begin them, with a post-quantum key share.

use std::sync::OnceLock;

use super::sealed::seal;

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
        let mut frames = [&[6, 0x40, 0][..], &length.to_be_bytes(), &hello].concat();
        frames.resize(1_162, 0); // a datagram of 1,200 bytes (RFC 9000 §14.1)
        seal(0, &frames)
    })
}

//! Packets and messages for the cases, made by hand so that they can be as odd as they like.

use crate::Fed;

pub const UP: bool = false;
pub const DOWN: bool = true;
const CLIENT: [u8; 4] = [10, 0, 0, 5];
const SERVER: [u8; 4] = [203, 0, 113, 5];

/// An IPv4 packet. `fragment`: identifier, and flags with offset.
pub fn packet(down: bool, (protocol, fragment): (u8, (u16, u16)), payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    for number in [20 + payload.len() as u16, fragment.0, fragment.1] {
        packet.extend(number.to_be_bytes());
    }
    packet.extend([64, protocol, 0, 0]);
    let (src, dst) = if down { (SERVER, CLIENT) } else { (CLIENT, SERVER) };
    packet.extend(src);
    packet.extend(dst);
    packet.extend(payload);
    packet
}

pub fn udp(down: bool, (client, server): (u16, u16), payload: &[u8]) -> Vec<u8> {
    packet(down, (17, (0, 0)), &datagram(down, (client, server), payload))
}

pub fn datagram(down: bool, (client, server): (u16, u16), payload: &[u8]) -> Vec<u8> {
    let (src, dst) = if down { (server, client) } else { (client, server) };
    let mut datagram = Vec::new();
    for number in [src, dst, 8 + payload.len() as u16, 0] {
        datagram.extend(number.to_be_bytes());
    }
    datagram.extend(payload);
    datagram
}

/// TCP connections, one after the other.
#[derive(Default)]
pub struct Wire {
    packets: Vec<Vec<u8>>,
    client_port: u16,
    port: u16,
    next: [u32; 2],
}

impl Wire {
    /// Begins a connection.
    pub fn open(&mut self, port: u16) {
        (self.client_port, self.port) = (self.client_port.wrapping_add(1).max(20_000), port);
        self.next = [1000, 5000];
        self.segment(UP, (1000, 2), &[]);
        self.segment(DOWN, (5000, 18), &[]);
        self.next = [1001, 5001];
    }

    /// Says bytes in segments of at most so many.
    pub fn say(&mut self, down: bool, bytes: &[u8], segment_max: usize) {
        for part in bytes.chunks(segment_max) {
            let next = self.next[usize::from(down)];
            self.segment(down, (next, 16), part);
            self.next[usize::from(down)] = next.wrapping_add(part.len() as u32);
        }
    }

    /// A segment anywhere, so many bytes from the next one.
    pub fn at(&mut self, down: bool, from_next: u32, bytes: &[u8]) {
        let sequence = self.next[usize::from(down)].wrapping_add(from_next);
        self.segment(down, (sequence, 16), bytes);
    }

    fn segment(&mut self, down: bool, (sequence, flags): (u32, u8), payload: &[u8]) {
        let (src, dst) = if down { (self.port, self.client_port) } else { (self.client_port, self.port) };
        let mut segment = Vec::new();
        segment.extend(src.to_be_bytes());
        segment.extend(dst.to_be_bytes());
        segment.extend(sequence.to_be_bytes());
        segment.extend([0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        segment.extend(payload);
        self.packets.push(packet(down, (6, (0, 0)), &segment));
    }

    pub fn fed(self) -> Fed {
        Fed::Packets(self.packets)
    }
}

/// Bytes behind their length in 16 bits.
pub fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}

/// Bytes behind their length in 24 bits.
pub fn long_prefixed(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes()[1..], bytes].concat()
}

/// A ClientHello message with these extensions beside the server name.
pub fn client_hello(extensions: &[u8]) -> Vec<u8> {
    let name = prefixed(&[&[0][..], &prefixed(b"www.shop.example")].concat());
    let name = [&[0, 0][..], &prefixed(&name)].concat();
    let ciphers = [0x13, 1, 0x13, 2, 0x13, 3, 0xc0, 0x2b];
    let all = [extensions, &name].concat();
    let body = [&[3, 3][..], &[9; 32], &[0], &prefixed(&ciphers), &[1, 0], &prefixed(&all)].concat();
    [&[1][..], &long_prefixed(&body)].concat()
}

/// The extensions that browsers send, with a post-quantum key share.
pub fn usual_extensions() -> Vec<u8> {
    let extension = |kind: u8, body: &[u8]| [&[0, kind][..], &prefixed(body)].concat();
    [
        extension(10, &[0, 4, 0x11, 0xec, 0, 29]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(16, &prefixed(b"\x02h2\x08http/1.1")),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(51, &prefixed(&[&[0x11, 0xec][..], &prefixed(&[7; 1216])].concat())),
    ]
    .concat()
}

/// Handshake bytes in records of at most so many.
pub fn records(handshake: &[u8], fragment_max: usize) -> Vec<u8> {
    handshake.chunks(fragment_max).flat_map(|part| [&[0x16, 3, 1][..], &prefixed(part)].concat()).collect()
}

/// What a TLS 1.2 server says: its hello and these certificates.
pub fn server_flight(certificates: &[Vec<u8>]) -> Vec<u8> {
    let hello = [&[3, 3][..], &[8; 32], &[0, 0xc0, 0x2b, 0, 0, 0]].concat();
    let list: Vec<u8> = certificates.iter().flat_map(|each| long_prefixed(each)).collect();
    let certificates = [&[11][..], &long_prefixed(&long_prefixed(&list))].concat();
    [&[2][..], &long_prefixed(&hello), &certificates].concat()
}

pub fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len() as u16;
    let length =
        if length < 0x80 { vec![length as u8] } else { [&[0x82][..], &length.to_be_bytes()].concat() };
    [&[tag][..], &length, body].concat()
}

/// A certificate with these alternative names (RFC 5280 §4.1), signed by nobody.
pub fn certificate(names: &[u8]) -> Vec<u8> {
    let algorithm = der(0x30, &der(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]));
    let name =
        der(0x30, &der(0x31, &der(0x30, &[der(6, &[0x55, 4, 3]), der(12, b"www.shop.example")].concat())));
    let validity = der(0x30, &[der(23, b"260101000000Z"), der(23, b"270101000000Z")].concat());
    let key = der(0x30, &[algorithm.clone(), der(3, &[5; 270])].concat());
    let names = der(0x30, &[der(6, &[0x55, 0x1d, 0x11]), der(4, &der(0x30, names))].concat());
    let extensions = der(0xa3, &der(0x30, &names));
    let signed = [
        &der(0xa0, &der(2, &[2]))[..],
        &der(2, &[1]),
        &algorithm,
        &name,
        &validity,
        &name,
        &key,
        &extensions,
    ];
    der(0x30, &[der(0x30, &signed.concat()), algorithm, der(3, &[6; 72])].concat())
}

/// A CRYPTO frame (RFC 9000 §19.6).
pub fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let number = |value: usize| (value as u16 | 0x4000).to_be_bytes();
    [&[6][..], &number(offset), &number(data.len()), data].concat()
}

/// Writes a deflate stream that unpacks to a thousand times its size: a zero byte, then copies of it (RFC 1951).
pub fn bomb(copies: usize) -> Vec<u8> {
    let (mut bytes, mut free) = (Vec::new(), 0);
    let mut bits = |value: u32, count: u32| {
        for bit in 0..count {
            if free == 0 {
                bytes.push(0u8);
                free = 8;
            }
            *bytes.last_mut().unwrap() |= ((value >> bit & 1) as u8) << (8 - free);
            free -= 1;
        }
    };
    bits(0b011, 3); // the last block, with fixed codes
    bits(0b0000_1100, 8); // the literal 0 is 00110000, most significant bit first
    for _ in 0..copies {
        bits(0b1010_0011, 8); // length 258 is 11000101
        bits(0, 5); // distance 1
    }
    bits(0, 7); // end of block
    bytes
}

/// A DNS name.
pub fn wire_name(name: &str) -> Vec<u8> {
    name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
}

/// A DNS answer with these records.
pub fn dns_answer(question: &[u8], records: u16, bytes: &[u8]) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x81, 0x80, 0, 1];
    message.extend(records.to_be_bytes());
    message.extend([0, 0, 0, 0]);
    [&message, question, &[0, 1, 0, 1], bytes].concat()
}

//! Frames and messages made for tests.

use etherparse::PacketBuilder;
use protocol::{Flow, Transport};

use crate::counters::Counters;
use crate::normal::Scratch;
use crate::reader::{Talk, Towards};
use crate::sighting::{Sink, Wants};
use crate::stream::{Segment, Stream};

/// What a reader sights, each as `seen_in value`, and what it counts. Values without a normal form are left out.
pub(crate) fn seen_by(read: impl FnOnce(&mut Sink<'_>)) -> (Vec<String>, Counters) {
    let (mut seen, mut counters, mut scratch) = (Vec::new(), Counters::default(), Scratch::default());
    let mut door = |sighting: crate::sighting::Sighting<'_>| {
        if let Some(value) = scratch.owned(sighting.seen) {
            seen.push(format!("{} {value}", sighting.seen_in.as_str()));
        }
    };
    read(&mut Sink::new(&mut counters, Wants::ALL, &mut door));
    (seen, counters)
}

/// What is sighted of a connection, one direction after the other as given, in segments of so many bytes; and what is
/// counted. The client is 192.0.2.10, the server port 21 of 198.51.100.1.
pub(crate) fn conversation(parts: &[(Towards, &[u8])], step: usize) -> (Vec<String>, Counters) {
    seen_by(|sink| {
        sink.flow = Some(Flow {
            proto: Transport::Tcp,
            src: [192, 0, 2, 10].into(),
            src_port: 50_000,
            dst: [198, 51, 100, 1].into(),
            dst_port: 21,
        });
        let (mut up, mut down, mut talk) = (Stream::default(), Stream::default(), Talk::default());
        let mut sequences = [0_u32; 2];
        for (towards, bytes) in parts {
            let (stream, sequence) = match towards {
                Towards::Server => (&mut up, &mut sequences[0]),
                Towards::Client => (&mut down, &mut sequences[1]),
            };
            for bytes in bytes.chunks(step) {
                let segment = Segment { sequence: *sequence, bytes, cut: false };
                stream.push(&segment, (*towards, &mut talk), sink);
                *sequence += u32::try_from(bytes.len()).unwrap();
            }
        }
        up.end((Towards::Server, &mut talk), true, sink);
        down.end((Towards::Client, &mut talk), true, sink);
    })
}

pub(crate) fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

/// A DNS question for a name, as a client asks it.
pub(crate) fn dns_question(name: &str) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    push_name(&mut message, name);
    message.extend([0, 1, 0, 1]);
    message
}

/// The answer to it: an alias, then an address for the alias, the owner compressed.
pub(crate) fn dns_answer(name: &str, alias: &str, address: [u8; 4]) -> Vec<u8> {
    let mut message = dns_question(name);
    message[2] = 0x81;
    message[7] = 2;
    let mut target = Vec::new();
    push_name(&mut target, alias);
    message.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60]);
    message.extend(u16::try_from(target.len()).unwrap().to_be_bytes());
    let alias_at = u16::try_from(message.len()).unwrap() | 0xc000;
    message.extend(target);
    message.extend(alias_at.to_be_bytes());
    message.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    message.extend(address);
    message
}

fn push_name(message: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap());
        message.extend(label.as_bytes());
    }
    message.push(0);
}

/// A ClientHello message with some other extensions around the server name.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let key_share = [&[4, 196][..], &[7; 1218]].concat(); // as large as a post-quantum one
    let hello = Hello::default().ciphers(&[0x1301, 0x1302]).extension(0x1a1a, &[]).extension(51, &key_share);
    hello.server_name(name).extension(23, &[]).to_message()
}

/// A ClientHello in the making.
#[derive(Clone)]
pub(crate) struct Hello {
    version: u16,
    cookie: Option<Vec<u8>>,
    ciphers: Vec<u8>,
    extensions: Vec<u8>,
}

impl Default for Hello {
    fn default() -> Self {
        Self { version: 0x0303, cookie: None, ciphers: Vec::new(), extensions: Vec::new() }
    }
}

impl Hello {
    pub fn version(self, version: u16) -> Self {
        Self { version, ..self }
    }

    /// The cookie that a hello of DTLS has room for.
    pub fn cookie(self, cookie: &[u8]) -> Self {
        Self { cookie: Some(cookie.to_vec()), ..self }
    }

    pub fn ciphers(mut self, ciphers: &[u16]) -> Self {
        self.ciphers.extend(ciphers.iter().flat_map(|cipher| cipher.to_be_bytes()));
        self
    }

    pub fn extension(mut self, kind: u16, contents: &[u8]) -> Self {
        self.extensions.extend(kind.to_be_bytes());
        self.extensions.extend(with_length16(contents));
        self
    }

    pub fn server_name(self, name: &str) -> Self {
        let name = [&[0][..], &with_length16(name.as_bytes())].concat();
        self.extension(0, &with_length16(&name))
    }

    /// The message; without extensions it ends before them.
    pub fn to_message(&self) -> Vec<u8> {
        let mut body = [&self.version.to_be_bytes()[..], &[9; 32], &[32], &[5; 32]].concat();
        if let Some(cookie) = &self.cookie {
            body.push(u8::try_from(cookie.len()).unwrap());
            body.extend(cookie);
        }
        body.extend(with_length16(&self.ciphers));
        body.extend([1, 0]);
        if !self.extensions.is_empty() {
            body.extend(with_length16(&self.extensions));
        }
        handshake_message(1, &body)
    }
}

fn with_length16(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

fn with_length24(bytes: &[u8]) -> Vec<u8> {
    [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[1..], bytes].concat()
}

/// A handshake message of TLS.
pub(crate) fn handshake_message(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[kind][..], &with_length24(body)].concat()
}

/// A Certificate message with these certificates.
pub(crate) fn certificate_message(chain: &[Vec<u8>]) -> Vec<u8> {
    let chain: Vec<u8> = chain.iter().flat_map(|certificate| with_length24(certificate)).collect();
    handshake_message(11, &with_length24(&chain))
}

/// A certificate for these names and addresses, with keys and signature that nobody made.
pub(crate) fn certificate(names: &[&str], addresses: &[&[u8]]) -> Vec<u8> {
    let common_name =
        der(0x31, &der(0x30, &[der(0x06, &[0x55, 4, 3]), der(0x0c, b"made for tests")].concat()));
    let mut general: Vec<u8> = names.iter().flat_map(|name| der(0x82, name.as_bytes())).collect();
    general.extend(addresses.iter().flat_map(|address| der(0x87, address)));
    let constraint =
        der(0x30, &[der(0x06, &[0x55, 0x1d, 0x13]), der(1, &[0xff]), der(4, &[0x30, 0])].concat());
    let alternative = der(0x30, &[der(0x06, &[0x55, 0x1d, 0x11]), der(4, &der(0x30, &general))].concat());
    let parts = [
        der(0xa0, &der(2, &[2])),             // version 3
        der(2, &[1]),                         // serial number
        der(0x30, &der(0x06, &[0x2a, 0x03])), // signature algorithm
        der(0x30, &common_name),              // issuer
        der(0x30, &[]),                       // validity
        der(0x30, &common_name),              // subject
        der(0x30, &der(3, &[0; 270])),        // public key
        der(0xa3, &der(0x30, &[constraint, alternative].concat())),
    ];
    let signed = der(0x30, &parts.concat());
    der(0x30, &[signed, der(0x30, &der(0x06, &[0x2a, 0x03])), der(3, &[0; 257])].concat())
}

/// An element of DER.
fn der(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap();
    match length {
        0..0x80 => [&[tag, u8::try_from(length).unwrap()][..], contents].concat(),
        _ => [&[tag, 0x82][..], &length.to_be_bytes(), contents].concat(),
    }
}

/// A datagram of DTLS 1.2 with a piece of a handshake message, which has this sequence number.
pub(crate) fn dtls_fragment(message: &[u8], number: u16, range: std::ops::Range<usize>) -> Vec<u8> {
    let body = &message[4..];
    let piece = &body[range.start..range.end.min(body.len())];
    let mut fragment = message[..4].to_vec();
    fragment.extend(number.to_be_bytes());
    fragment.extend(&u32::try_from(range.start).unwrap().to_be_bytes()[1..]);
    fragment.extend(with_length24(piece));
    [&[0x16, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0][..], &with_length16(&fragment)].concat()
}

/// Handshake bytes in records of at most so many bytes.
pub(crate) fn tls_records(handshake: &[u8], fragment_max: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for fragment in handshake.chunks(fragment_max) {
        records.extend([0x16, 3, 1]);
        records.extend(u16::try_from(fragment.len()).unwrap().to_be_bytes());
        records.extend(fragment);
    }
    records
}

/// An Ethernet frame with a UDP datagram.
pub(crate) fn udp(src: ([u8; 4], u16), dst: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(src.0, dst.0, 64).udp(src.1, dst.1);
    let mut frame = Vec::new();
    builder.write(&mut frame, payload).unwrap();
    frame
}

/// One side of a TCP connection over Ethernet.
#[derive(Clone, Copy)]
pub(crate) struct Side {
    pub src: ([u8; 4], u16),
    pub dst: ([u8; 4], u16),
}

impl Side {
    pub fn back(self) -> Self {
        Self { src: self.dst, dst: self.src }
    }

    pub fn syn(self, sequence: u32) -> Vec<u8> {
        self.frame(sequence, &[], |tcp| tcp.syn())
    }

    pub fn syn_ack(self, sequence: u32) -> Vec<u8> {
        self.frame(sequence, &[], |tcp| tcp.syn().ack(1))
    }

    pub fn fin(self, sequence: u32) -> Vec<u8> {
        self.frame(sequence, &[], |tcp| tcp.fin().ack(1))
    }

    pub fn reset(self, sequence: u32) -> Vec<u8> {
        self.frame(sequence, &[], |tcp| tcp.rst())
    }

    pub fn data(self, sequence: u32, payload: &[u8]) -> Vec<u8> {
        self.frame(sequence, payload, |tcp| tcp.ack(1).psh())
    }

    fn frame(
        self,
        sequence: u32,
        payload: &[u8],
        flags: impl Fn(
            etherparse::PacketBuilderStep<etherparse::TcpHeader>,
        ) -> etherparse::PacketBuilderStep<etherparse::TcpHeader>,
    ) -> Vec<u8> {
        let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(self.src.0, self.dst.0, 64);
        let mut frame = Vec::new();
        flags(builder.tcp(self.src.1, self.dst.1, sequence, 65535)).write(&mut frame, payload).unwrap();
        frame
    }
}

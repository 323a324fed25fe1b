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
        up.end((Towards::Server, &mut talk), sink);
        down.end((Towards::Client, &mut talk), sink);
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
    let name = name.as_bytes();
    let length = u16::try_from(name.len()).unwrap();
    let mut sni = vec![0, 0];
    sni.extend((length + 5).to_be_bytes());
    sni.extend((length + 3).to_be_bytes());
    sni.push(0);
    sni.extend(length.to_be_bytes());
    sni.extend(name);
    let key_share = [&[0, 51, 4, 196][..], &[7; 1220][..]].concat(); // as large as a post-quantum one
    let extensions = [&[0x1a, 0x1a, 0, 0][..], &key_share, &sni, &[0, 23, 0, 0]].concat();
    let mut body = [&[3, 3][..], &[9; 32], &[32], &[5; 32], &[0, 4, 0x13, 1, 0x13, 2], &[1, 0]].concat();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut hello = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    hello[0] = 1;
    hello.extend(body);
    hello
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

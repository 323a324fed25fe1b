//! Conversations as Ethernet frames: a DNS question, a TLS greeting, an HTTP request, or just bytes.

use std::net::{IpAddr, SocketAddr};

use etherparse::{IpHeaders, PacketBuilder, PacketBuilderStep};

use crate::seed::Seed;

/// Payload of one segment: what is left of 1,500 bytes on a line with a tunnel.
const SEGMENT_BYTES: usize = 1_360;

/// What two hosts say to each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exchange {
    /// A DNS question over UDP and, when there is one, its answer.
    Dns {
        /// Name asked for.
        name: String,
        /// Address answered.
        answer: Option<IpAddr>,
    },
    /// A TLS ClientHello with a post-quantum key share (two segments), then encrypted bytes both ways.
    Tls {
        /// Server name.
        name: String,
    },
    /// An HTTP/1.1 request and a short answer.
    Http {
        /// Host header.
        host: String,
        /// Path and query.
        path: String,
        /// User-Agent header.
        user_agent: String,
    },
    /// TCP that means nothing to a sensor.
    Stream {
        /// Bytes each way.
        bytes: usize,
    },
    /// One UDP datagram that means nothing to a sensor.
    Datagram {
        /// Bytes.
        bytes: usize,
    },
}

impl Exchange {
    /// The frames of the whole conversation, in order.
    pub fn frames(&self, client: SocketAddr, server: SocketAddr, seed: &mut Seed) -> Vec<Vec<u8>> {
        match self {
            Self::Dns { name, answer } => {
                let id = seed.bytes(2);
                let mut frames = vec![udp(client, server, &dns_message(&id, name, None))];
                if let Some(answer) = answer {
                    frames.push(udp(server, client, &dns_message(&id, name, Some(*answer))));
                }
                frames
            }
            Self::Tls { name } => {
                let mut talk = Talk::open(client, server, seed);
                talk.say(Side::Client, &client_hello(name, seed));
                talk.say(Side::Server, &sealed_record(seed, 900));
                talk.say(Side::Client, &sealed_record(seed, 300));
                talk.say(Side::Server, &sealed_record(seed, 2_500));
                talk.close()
            }
            Self::Http { host, path, user_agent } => {
                let mut talk = Talk::open(client, server, seed);
                let request = format!(
                    "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\nAccept: */*\r\n\r\n"
                );
                talk.say(Side::Client, request.as_bytes());
                talk.say(
                    Side::Server,
                    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n",
                );
                talk.close()
            }
            Self::Stream { bytes } => {
                let mut talk = Talk::open(client, server, seed);
                talk.say(Side::Client, &seed.bytes(*bytes));
                talk.say(Side::Server, &seed.bytes(*bytes));
                talk.close()
            }
            Self::Datagram { bytes } => vec![udp(client, server, &seed.bytes(*bytes))],
        }
    }
}

#[derive(Clone, Copy)]
enum Side {
    Client,
    Server,
}

/// A TCP connection while it is written down.
struct Talk {
    client: SocketAddr,
    server: SocketAddr,
    client_next: u32,
    server_next: u32,
    frames: Vec<Vec<u8>>,
}

impl Talk {
    fn open(client: SocketAddr, server: SocketAddr, seed: &mut Seed) -> Self {
        let [a, b, c, d, e, f, g, h] = seed.number().to_le_bytes();
        let (client_next, server_next) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        let mut talk = Self { client, server, client_next, server_next, frames: Vec::new() };
        talk.segment(Side::Client, "S", &[]);
        talk.segment(Side::Server, "SA", &[]);
        talk.segment(Side::Client, "A", &[]);
        talk
    }

    fn say(&mut self, side: Side, bytes: &[u8]) {
        for chunk in bytes.chunks(SEGMENT_BYTES) {
            self.segment(side, "PA", chunk);
        }
        let other = if matches!(side, Side::Client) { Side::Server } else { Side::Client };
        self.segment(other, "A", &[]);
    }

    fn close(mut self) -> Vec<Vec<u8>> {
        self.segment(Side::Client, "FA", &[]);
        self.segment(Side::Server, "FA", &[]);
        self.segment(Side::Client, "A", &[]);
        self.frames
    }

    fn segment(&mut self, side: Side, flags: &str, payload: &[u8]) {
        let (from, to, sequence, acknowledged) = match side {
            Side::Client => (self.client, self.server, self.client_next, self.server_next),
            Side::Server => (self.server, self.client, self.server_next, self.client_next),
        };
        let mut step = addressed(from, to).tcp(from.port(), to.port(), sequence, 64_240);
        for flag in flags.chars() {
            step = match flag {
                'S' => step.syn(),
                'F' => step.fin(),
                'P' => step.psh(),
                _ => step.ack(acknowledged),
            };
        }
        let mut frame = Vec::with_capacity(step.size(payload.len()));
        // Writing to a Vec cannot fail, and the sizes above are far below what a header can say.
        if step.write_to_vec(&mut frame, payload).is_ok() {
            self.frames.push(frame);
        }
        let said = u32::try_from(payload.len()).unwrap_or(0) + u32::from(flags.contains(['S', 'F']));
        match side {
            Side::Client => self.client_next = self.client_next.wrapping_add(said),
            Side::Server => self.server_next = self.server_next.wrapping_add(said),
        }
    }
}

/// An Ethernet and IP header from one host to another; both are of one family.
fn addressed(from: SocketAddr, to: SocketAddr) -> PacketBuilderStep<IpHeaders> {
    let ethernet = PacketBuilder::ethernet2(hardware_address(from.ip()), hardware_address(to.ip()));
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => ethernet.ipv4(from.octets(), to.octets(), 63),
        (from, to) => ethernet.ipv6(v6_octets(from), v6_octets(to), 63),
    }
}

fn v6_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// A locally administered hardware address that tells hosts apart.
fn hardware_address(address: IpAddr) -> [u8; 6] {
    let [.., a, b, c, d] = v6_octets(address);
    [0x02, 0x00, a, b, c, d]
}

fn udp(from: SocketAddr, to: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let step = addressed(from, to).udp(from.port(), to.port());
    let mut frame = Vec::with_capacity(step.size(payload.len()));
    // As above: a Vec takes every byte.
    let _ = step.write_to_vec(&mut frame, payload);
    frame
}

/// A DNS message (RFC 1035 §4): the question, and with an answer the response to it.
fn dns_message(id: &[u8], name: &str, answer: Option<IpAddr>) -> Vec<u8> {
    let (flags, answers): ([u8; 2], u8) =
        if answer.is_some() { ([0x81, 0x80], 1) } else { ([0x01, 0x00], 0) };
    let mut message = id.to_vec();
    message.extend(flags);
    message.extend([0, 1, 0, answers, 0, 0, 0, 0]);
    for label in name.split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(63));
        message.extend(label.as_bytes());
    }
    let kind = if matches!(answer, Some(IpAddr::V6(_))) { 28 } else { 1 };
    message.extend([0, 0, kind, 0, 1]);
    if let Some(answer) = answer {
        message.extend([0xc0, 0x0c, 0, kind, 0, 1, 0, 0, 0, 60]);
        match answer {
            IpAddr::V4(v4) => {
                message.extend([0, 4]);
                message.extend(v4.octets());
            }
            IpAddr::V6(v6) => {
                message.extend([0, 16]);
                message.extend(v6.octets());
            }
        }
    }
    message
}

/// A TLS 1.3 ClientHello (RFC 8446 §4.1.2) with a hybrid key share, so that it does not fit one segment.
fn client_hello(name: &str, seed: &mut Seed) -> Vec<u8> {
    let server_name = [&[0][..], &prefixed_u16(name.as_bytes())].concat();
    let key_share = [&[0x11, 0xec][..], &prefixed_u16(&seed.bytes(1_216))].concat();
    let extensions = [
        extension(0, &prefixed_u16(&server_name)),
        extension(43, &[4, 3, 4, 3, 3]),
        extension(10, &[0, 4, 0x11, 0xec, 0, 29]),
        extension(13, &[0, 6, 4, 3, 8, 4, 4, 1]),
        extension(16, &prefixed_u16(b"\x02h2\x08http/1.1")),
        extension(51, &prefixed_u16(&key_share)),
    ];
    let mut hello = vec![3, 3];
    hello.extend(seed.bytes(32));
    hello.push(32);
    hello.extend(seed.bytes(32));
    hello.extend([0, 6, 0x13, 1, 0x13, 2, 0x13, 3, 1, 0]);
    hello.extend(prefixed_u16(&extensions.concat()));
    let handshake = [&[1, 0][..], &prefixed_u16(&hello)].concat();
    [&[22, 3, 1][..], &prefixed_u16(&handshake)].concat()
}

fn extension(kind: u8, body: &[u8]) -> Vec<u8> {
    [&[0, kind][..], &prefixed_u16(body)].concat()
}

/// Bytes behind their length in 16 bits.
fn prefixed_u16(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A TLS record of encrypted application data.
fn sealed_record(seed: &mut Seed, bytes: usize) -> Vec<u8> {
    [&[23, 3, 3][..], &prefixed_u16(&seed.bytes(bytes))].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{SlicedPacket, TransportSlice};

    fn ends() -> (SocketAddr, SocketAddr) {
        ("192.0.2.10:40000".parse().unwrap(), "203.0.113.5:443".parse().unwrap())
    }

    #[test]
    fn every_frame_is_a_packet_between_the_two() {
        let (client, server) = ends();
        for exchange in [
            Exchange::Dns { name: "a.example".into(), answer: Some("203.0.113.9".parse().unwrap()) },
            Exchange::Tls { name: "b.example".into() },
            Exchange::Stream { bytes: 5_000 },
            Exchange::Datagram { bytes: 9 },
        ] {
            let frames = exchange.frames(client, server, &mut Seed::new(1));
            assert!(frames.iter().all(|frame| SlicedPacket::from_ethernet(frame).unwrap().net.is_some()));
            assert!(frames.iter().all(|frame| frame.len() <= 1_514), "{exchange:?}");
        }
    }

    #[test]
    fn a_client_hello_takes_two_segments_in_sequence() {
        let (client, server) = ends();
        let frames = Exchange::Tls { name: "c.example".into() }.frames(client, server, &mut Seed::new(1));
        let tcp = |index: usize| {
            let packet = SlicedPacket::from_ethernet(&frames[index]).unwrap();
            let Some(TransportSlice::Tcp(tcp)) = packet.transport else { panic!("not TCP") };
            (tcp.sequence_number(), tcp.payload().len())
        };
        let ((first, length), (second, rest)) = (tcp(3), tcp(4));
        assert_eq!(second, first.wrapping_add(u32::try_from(length).unwrap()));
        assert!(length == SEGMENT_BYTES && rest > 0);
    }

    #[test]
    fn a_dns_answer_repeats_the_question() {
        let answer = dns_message(&[1, 2], "x.example", Some("203.0.113.9".parse().unwrap()));
        let question = dns_message(&[1, 2], "x.example", None);
        assert_eq!(answer[12..question.len()], question[12..]);
        assert!(answer.ends_with(&[0, 4, 203, 0, 113, 9]));
    }
}

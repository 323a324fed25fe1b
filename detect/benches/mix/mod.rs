//! A generated mix of traffic such as a town's gateway sees: many flows at once, of every kind that has a parser,
//! most bytes in long downloads. The same every time.

mod frames;
mod hellos;
#[path = "../../src/sealed.rs"]
mod sealed;

use std::net::{Ipv4Addr, Ipv6Addr};

pub use frames::{Ends, Frame, dns_answer, dns_question};
pub use hellos::{client_hello, quic_initial, server_hello, tls_record};

/// Conversations under way at the same time.
const AT_ONCE: usize = 2_000;
/// Bytes of TCP payload in a full segment.
const SEGMENT: usize = 1_448;
/// Bytes of a QUIC datagram.
const DATAGRAM: usize = 1_200;

/// A small generator of numbers (splitmix64, Steele et al. 2014): the mix must not change with a library.
pub struct Numbers(u64);

impl Numbers {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// A conversation that gives out one frame after the other.
struct Conversation {
    ends: Ends,
    kind: Kind,
    step: u32,
    steps: u32,
    number: u32,
    sequence: [u32; 2],
}

#[derive(Clone, Copy)]
enum Kind {
    Dns,
    Tls,
    Quic,
    Http,
    Scan,
}

impl Conversation {
    fn new(number: u32, numbers: &mut Numbers) -> Self {
        let (kind, steps) = match numbers.below(1000) {
            0..400 => (Kind::Dns, 2),
            400..750 => (Kind::Tls, 20 + numbers.below(30)),
            750..800 => (Kind::Tls, 400 + numbers.below(800)),
            800..900 => (Kind::Quic, 60 + numbers.below(60)),
            900..960 => (Kind::Http, 8 + numbers.below(16)),
            _ => (Kind::Scan, 1),
        };
        let port = match kind {
            Kind::Dns => 53,
            Kind::Tls | Kind::Quic => 443,
            Kind::Http => 80,
            Kind::Scan => 1 + numbers.below(1024) as u16,
        };
        let host = number % 700;
        let src_port = 20_000 + (number / 700 * 7 % 40_000) as u16;
        let ends = if numbers.below(4) == 0 {
            let host = Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host as u16);
            let server = Ipv6Addr::new(0x2001, 0xdb8, 0, numbers.below(4000) as u16, 0, 0, 0, 1);
            Ends { src: (host.into(), src_port), dst: (server.into(), port) }
        } else {
            let host = Ipv4Addr::new(10, 0, (host >> 8) as u8, host as u8);
            let server = match kind {
                Kind::Dns => Ipv4Addr::new(192, 0, 2, 1 + numbers.below(2) as u8),
                _ => Ipv4Addr::new(203, numbers.below(64) as u8, numbers.below(256) as u8, 9),
            };
            Ends { src: (host.into(), src_port), dst: (server.into(), port) }
        };
        Self { ends, kind, step: 0, steps: steps as u32, number, sequence: [1_000, 9_000] }
    }

    /// The next frame; `None` when it is over.
    fn frame(&mut self) -> Option<Frame> {
        let step = self.step;
        self.step += 1;
        if step >= self.steps {
            return None;
        }
        Some(match self.kind {
            Kind::Dns => self.dns(step),
            Kind::Tls => self.tls(step),
            Kind::Quic => self.quic(step),
            Kind::Http => self.http(step),
            Kind::Scan => self.ends.tcp(1, frames::SYN, &[]),
        })
    }

    fn name(&self) -> String {
        format!("www{}.shop{}.example", self.number % 50, self.number % 9_000)
    }

    fn dns(&self, step: u32) -> Frame {
        match step {
            0 => self.ends.udp(&dns_question(&self.name())),
            _ => self.ends.back().udp(&dns_answer(&self.name(), [203, 0, 113, self.number as u8])),
        }
    }

    fn tls(&mut self, step: u32) -> Frame {
        match step {
            0..3 => self.handshake(step),
            3 => {
                let hello = tls_record(&client_hello(&self.name(), true));
                self.send(&hello[..SEGMENT])
            }
            4 => {
                let hello = tls_record(&client_hello(&self.name(), true));
                self.send(&hello[SEGMENT..])
            }
            5 => self.answer(&server_hello(SEGMENT)),
            6 => self.send(b"\x14\x03\x03\0\x01\x01\x17\x03\x03\0\x35finished, encrypted, as long as it is in TLS 1.3 today"),
            _ => self.transfer(step),
        }
    }

    /// Two full segments and the end of a record from the server, then an acknowledgement.
    fn transfer(&mut self, step: u32) -> Frame {
        match step % 4 {
            0 => self.send(&[]),
            1 => self.answer(&[0x5a; 300]),
            _ => self.answer(&[0x5a; SEGMENT]),
        }
    }

    fn quic(&self, step: u32) -> Frame {
        match step {
            0 => self.ends.udp(quic_initial()),
            step if step % 4 == 0 => self.ends.udp(&[0x41; 40]),
            _ => self.ends.back().udp(&[0x5a; DATAGRAM]),
        }
    }

    fn http(&mut self, step: u32) -> Frame {
        match step {
            0..3 => self.handshake(step),
            3 => {
                let request = format!(
                    "GET /path/{}/index.html?q={} HTTP/1.1\r\nHost: {}\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: text/html\r\nAccept-Language: it-IT,it;q=0.8\r\nConnection: keep-alive\r\n\r\n",
                    self.number % 97,
                    self.number,
                    self.name()
                );
                self.send(request.as_bytes())
            }
            4 => self.answer(
                b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 200000\r\n\r\n<html>",
            ),
            _ => self.transfer(step),
        }
    }

    fn handshake(&mut self, step: u32) -> Frame {
        match step {
            0 => self.ends.tcp(self.sequence[0] - 1, frames::SYN, &[]),
            1 => self.ends.back().tcp(self.sequence[1] - 1, frames::SYN_ACK, &[]),
            _ => self.send(&[]),
        }
    }

    fn send(&mut self, payload: &[u8]) -> Frame {
        let sequence = self.sequence[0];
        self.sequence[0] += payload.len() as u32;
        self.ends.tcp(sequence, frames::ACK, payload)
    }

    fn answer(&mut self, payload: &[u8]) -> Frame {
        let sequence = self.sequence[1];
        self.sequence[1] += payload.len() as u32;
        self.ends.back().tcp(sequence, frames::ACK, payload)
    }
}

/// Frames of many conversations, mixed.
pub struct Mix {
    numbers: Numbers,
    under_way: Vec<Conversation>,
    begun: u32,
}

impl Default for Mix {
    fn default() -> Self {
        let mut numbers = Numbers(7);
        let under_way = (0..AT_ONCE as u32).map(|number| Conversation::new(number, &mut numbers)).collect();
        Self { numbers, under_way, begun: AT_ONCE as u32 }
    }
}

impl Iterator for Mix {
    type Item = Frame;

    fn next(&mut self) -> Option<Frame> {
        loop {
            let at = self.numbers.below(self.under_way.len() as u64) as usize;
            if let Some(frame) = self.under_way[at].frame() {
                return Some(frame);
            }
            self.under_way[at] = Conversation::new(self.begun, &mut self.numbers);
            self.begun += 1;
        }
    }
}

/// Indicators of every kind that the mix does not touch.
pub fn indicators(count: u32) -> impl Iterator<Item = protocol::Indicator> {
    (0..count).filter_map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        let text = match number % 20 {
            0..8 => format!("host{number}.evil{}.example", number % 1000),
            8..14 => format!("198.{}.{b}.{c}", a.wrapping_add(18) % 64),
            14 => format!("2001:db8:ffff::{number:x}"),
            15 => format!("100.{}.{}.0/{}", 64 + b % 64, c, 24 + number % 5),
            16..18 => format!("http://evil{number}.example/a/{c}"),
            18 => format!("{number:032x}"),
            _ => format!("{number:064x}"),
        };
        Some(protocol::Indicator::plain(protocol::LookFor::guess(&text).ok()?))
    })
}

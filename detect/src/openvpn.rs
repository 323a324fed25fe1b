//! OpenVPN's control channel where it is in clear: the TLS handshake inside its packets, with or without the HMAC of
//! `tls-auth`. Data are encrypted and not read.

use crate::reader::{Step, Towards};
use crate::sighting::Sink;
use crate::tls::Records;

/// Upper five bits of a packet's first byte.
mod opcode {
    pub const CONTROL: u8 = 4;
    pub const ACKNOWLEDGEMENT: u8 = 5;
    pub const CLIENT_RESET: u8 = 7;
    pub const SERVER_RESET: u8 = 8;
}

/// First byte and session identifier.
const HEADER: usize = 9;
/// Number and time of a packet that has an HMAC.
const REPLAY: usize = 8;
/// HMACs of MD5, SHA-1, SHA-256 and SHA-512; none.
const HMACS: [usize; 5] = [0, 16, 20, 32, 64];
/// Datagrams of a flow in which the handshake must come.
const DATAGRAMS_MAX: u16 = 256;

/// Reads the packets of one direction.
#[derive(Default)]
pub(crate) struct Side {
    hmac: usize,
    /// Number of the next packet with a piece of the handshake.
    next: u32,
    records: Records,
    /// Bytes too few for the reader of records.
    waiting: Vec<u8>,
    /// Bytes to come that nobody wants.
    skip: usize,
    over: bool,
}

/// Both directions over UDP.
#[derive(Default)]
pub(crate) struct Sides {
    to_server: Side,
    to_client: Side,
    datagrams: u16,
}

/// The length of the HMAC when a packet is a reset, which opens a session.
fn reset(packet: &[u8]) -> Option<usize> {
    let opcode = packet.first()? >> 3;
    // A server's reset acknowledges the client's: one number, and the client's session.
    let acknowledged = match opcode {
        opcode::CLIENT_RESET => 0,
        opcode::SERVER_RESET => 1,
        _ => return None,
    };
    let hmac = HMACS.into_iter().find(|hmac| {
        let replay = if *hmac > 0 { REPLAY } else { 0 };
        packet.len() == HEADER + hmac + replay + 1 + acknowledged * 12 + 4
    })?;
    let (count, number) = (after_hmac(packet, hmac)?.first()?, packet.last_chunk::<4>()?);
    (usize::from(*count) == acknowledged && *number == [0; 4]).then_some(hmac)
}

fn after_hmac(packet: &[u8], hmac: usize) -> Option<&[u8]> {
    packet.get(HEADER + if hmac > 0 { hmac + REPLAY } else { 0 }..)
}

/// Whether a stream begins with a reset, its length before it; `None` when that takes more bytes to tell.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    let Some(([high, low], packet)) = bytes.split_first_chunk::<2>() else {
        return (bytes != [0]).then_some(false);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    if *high != 0 || !(14..=98).contains(&length) {
        return Some(false);
    }
    match packet.first().map(|first| first >> 3) {
        None => None,
        Some(opcode::CLIENT_RESET | opcode::SERVER_RESET) => {
            packet.get(..length).map(|packet| reset(packet).is_some())
        }
        Some(_) => Some(false),
    }
}

/// Whether a datagram is a reset.
pub(crate) fn begins_in(datagram: &[u8]) -> bool {
    reset(datagram).is_some()
}

impl Side {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.records.held() + self.waiting.capacity()
    }

    /// Reads a packet of a stream.
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let Some(([high, low], rest)) = bytes.split_first_chunk::<2>() else { return Step::Consumed(0) };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some(packet) = rest.get(..length) else { return Step::Consumed(0) };
        self.read_packet(packet, sink);
        if self.over { Step::Done } else { Step::Consumed(2 + length) }
    }

    /// Bytes are missing.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.records.gap(sink);
        self.over = true;
    }

    fn read_packet(&mut self, packet: &[u8], sink: &mut Sink<'_>) {
        match packet.first().map(|first| first >> 3) {
            Some(opcode::CLIENT_RESET | opcode::SERVER_RESET) => {
                if let Some(hmac) = reset(packet) {
                    *self = Self { hmac, next: 1, ..Self::default() };
                }
            }
            Some(opcode::CONTROL) => {
                if let Some((number, piece)) = self.control(packet)
                    && number == self.next
                {
                    self.next += 1;
                    self.feed(piece, sink);
                }
            }
            Some(opcode::ACKNOWLEDGEMENT) => {}
            _ => self.over = true,
        }
    }

    /// Number and contents of a control packet, after the numbers that it acknowledges.
    fn control<'a>(&self, packet: &'a [u8]) -> Option<(u32, &'a [u8])> {
        let (count, rest) = after_hmac(packet, self.hmac)?.split_first()?;
        let acknowledged = if *count > 0 { usize::from(*count) * 4 + 8 } else { 0 };
        let (number, piece) = rest.get(acknowledged..)?.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*number), piece))
    }

    fn feed(&mut self, piece: &[u8], sink: &mut Sink<'_>) {
        let passed = self.skip.min(piece.len());
        self.skip -= passed;
        self.waiting.extend_from_slice(piece.get(passed..).unwrap_or_default());
        let waiting = std::mem::take(&mut self.waiting);
        let mut rest = waiting.as_slice();
        while !rest.is_empty() {
            let done = match self.records.read(rest, sink) {
                Step::Consumed(0) => break,
                Step::Consumed(length) => length,
                Step::Skip(length) => usize::try_from(length).unwrap_or(usize::MAX),
                Step::Other(_) | Step::Done => {
                    self.over = true;
                    return;
                }
            };
            self.skip = done.saturating_sub(rest.len());
            rest = rest.get(done..).unwrap_or_default();
        }
        self.waiting = rest.to_vec();
    }
}

impl Sides {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.to_server.held() + self.to_client.held()
    }

    /// Reads a datagram; true when nothing more is to be expected.
    pub fn read(&mut self, datagram: &[u8], towards: Towards, sink: &mut Sink<'_>) -> bool {
        self.datagrams += 1;
        let side = match towards {
            Towards::Server => &mut self.to_server,
            Towards::Client => &mut self.to_client,
        };
        if !side.over {
            side.read_packet(datagram, sink);
        }
        (self.to_server.over && self.to_client.over) || self.datagrams >= DATAGRAMS_MAX
    }

    /// Nothing more will come.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        self.to_server.gap(sink);
        self.to_client.gap(sink);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{client_hello, seen_by, tls_records};

    /// A client's packets with a hello, after its reset.
    fn packets(hmac: usize) -> Vec<Vec<u8>> {
        let guard = if hmac > 0 { vec![7; hmac + REPLAY] } else { Vec::new() };
        let packet = |opcode: u8, acknowledged: &[u8], number: u32, piece: &[u8]| {
            [&[opcode << 3][..], &[5; 8], &guard, acknowledged, &number.to_be_bytes(), piece].concat()
        };
        let mut packets = vec![packet(opcode::CLIENT_RESET, &[0], 0, &[])];
        for (number, piece) in (1..).zip(tls_records(&client_hello("evil.example"), 16_000).chunks(100)) {
            let acknowledged = if number == 1 { [&[1, 0, 0, 0, 0][..], &[6; 8]].concat() } else { vec![0] };
            packets.push(packet(opcode::CONTROL, &acknowledged, number, piece));
        }
        packets
    }

    fn check(packets: &[Vec<u8>]) {
        assert!(begins_in(&packets[0]));
        let (seen, _) = seen_by(|sink| {
            let mut sides = Sides::default();
            for packet in packets {
                sides.read(packet, Towards::Server, sink);
            }
        });
        assert_eq!((seen.len(), seen[0].as_str()), (3, "tls.sni evil.example"));
    }

    #[test]
    fn the_handshake_inside_is_read() {
        HMACS.into_iter().for_each(|hmac| check(&packets(hmac)));
    }

    #[test]
    fn packets_sent_twice_count_once() {
        let twice: Vec<Vec<u8>> =
            packets(20).into_iter().flat_map(|packet| [packet.clone(), packet]).collect();
        check(&twice[1..]);
    }

    #[test]
    fn streams_have_lengths_between_packets() {
        let stream: Vec<u8> = packets(0)
            .iter()
            .flat_map(|packet| [&u16::try_from(packet.len()).unwrap().to_be_bytes()[..], packet].concat())
            .collect();
        assert_eq!(
            (begins(&stream[..10]), begins(&stream[..16]), begins(&stream)),
            (None, Some(true), Some(true))
        );
        let (seen, _) = seen_by(|sink| {
            let (mut side, mut rest) = (Side::default(), stream.as_slice());
            while let Step::Consumed(used @ 1..) = side.read(rest, sink) {
                rest = &rest[used..];
            }
        });
        assert_eq!(seen[0], "tls.sni evil.example");
    }

    #[test]
    fn other_protocols_do_not_begin_so() {
        for bytes in
            [&b"GET / "[..], b"\0\0\0\x55\xffSMB", b"\0\x0e\x20aaaaaaaaaaaaa", b"\0\x0e\x38aaaaaaaaaaaaaa"]
        {
            assert_eq!(begins(bytes), Some(false), "{bytes:?}");
        }
    }
}

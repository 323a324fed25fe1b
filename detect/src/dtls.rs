//! DTLS in clear (RFC 6347, RFC 9147): ClientHellos and certificates out of the fragments of handshake messages.
//!
//! Messages are read as each becomes whole, in whatever order: none of them needs another one.

use crate::reader::Towards;
use crate::sighting::Sink;
use crate::tls::{Carrier, Messages, message, read_cut_hello, record};

/// A record's type, version, epoch, sequence number and length.
const RECORD_HEADER: usize = 13;
/// A fragment's message type, length, sequence number, offset and length.
const FRAGMENT_HEADER: usize = 12;
/// Datagrams of a flow, others between them included, in which the handshake must come; calls send media beside it.
const DATAGRAMS_MAX: u16 = 512;
/// Messages in pieces at once, each way. The oldest is given up for another one.
const OPEN_MAX: usize = 4;
/// A longer message is not put together, and counted.
const MESSAGE_BYTES_MAX: usize = 32 * 1024;
/// Pieces of one message.
const PIECES_MAX: usize = 64;

/// Both directions of an association.
#[derive(Default)]
pub(crate) struct Handshakes {
    to_server: Side,
    to_client: Side,
    datagrams: u16,
}

/// One direction.
#[derive(Default)]
struct Side {
    /// Messages read already, by sequence number, as far as they are counted: others are read again.
    read: u64,
    open: Vec<Open>,
    /// What follows is encrypted.
    over: bool,
}

/// A message that is not whole yet.
struct Open {
    kind: u8,
    number: u16,
    body: Vec<u8>,
    /// Where each piece that has come begins and ends, in order and apart from each other.
    have: Vec<(usize, usize)>,
}

/// A piece of a handshake message (RFC 6347 §4.2.2).
struct Fragment<'a> {
    kind: u8,
    length: usize,
    number: u16,
    offset: usize,
    bytes: &'a [u8],
}

/// Whether a datagram begins with a handshake message in clear.
pub(crate) fn begins_in(datagram: &[u8]) -> bool {
    let Some((record, _)) = Record::split(datagram) else { return false };
    let known = |fragment: Fragment<'_>| message::is_known(fragment.kind);
    record.kind == record::HANDSHAKE
        && record.epoch == 0
        && Fragment::split(record.body).is_some_and(|(f, _)| known(f))
}

impl Handshakes {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        let side = |side: &Side| {
            side.open.iter().map(|open| size_of::<Open>() + open.body.capacity()).sum::<usize>()
        };
        size_of::<Self>() + side(&self.to_server) + side(&self.to_client)
    }

    /// Reads a datagram; true when nothing more is to be expected.
    pub fn read(&mut self, datagram: &[u8], towards: Towards, sink: &mut Sink<'_>) -> bool {
        self.datagrams += 1;
        let side = match towards {
            Towards::Server => &mut self.to_server,
            Towards::Client => &mut self.to_client,
        };
        let mut rest = datagram;
        while let Some((record, after)) = Record::split(rest) {
            rest = after;
            match record.kind {
                record::HANDSHAKE if record.epoch == 0 => side.read(record.body, sink),
                record::ALERT | record::HEARTBEAT if record.epoch == 0 => {}
                _ => side.over = true,
            }
        }
        // RFC 9147 §4: the first bits of an encrypted record of DTLS 1.3.
        side.over |= rest.first().is_some_and(|first| first & 0xe0 == 0x20);
        (self.to_server.over && self.to_client.over) || self.datagrams >= DATAGRAMS_MAX
    }

    /// Nothing more will come: the name may be in what has come of a hello.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        for open in self.to_server.open.drain(..).chain(self.to_client.open.drain(..)) {
            if let (message::CLIENT_HELLO, Some((0, end))) = (open.kind, open.have.first()) {
                sink.counters.tls_malformed += 1;
                read_cut_hello(open.body.get(..*end).unwrap_or_default(), Carrier::Datagrams, sink);
            }
        }
    }
}

impl Side {
    /// Reads the messages and pieces in a record.
    fn read(&mut self, mut body: &[u8], sink: &mut Sink<'_>) {
        while let Some((fragment, rest)) = Fragment::split(body) {
            body = rest;
            let bit = 1_u64.checked_shl(fragment.number.into()).unwrap_or(0);
            let wanted = [message::CLIENT_HELLO, message::CERTIFICATE].contains(&fragment.kind);
            if !wanted || self.read & bit != 0 {
                continue;
            }
            if fragment.bytes.len() == fragment.length {
                self.read |= bit;
                read_message(fragment.kind, fragment.bytes, sink);
            } else if let Some(body) = self.put_together(&fragment, sink) {
                self.read |= bit;
                read_message(fragment.kind, &body, sink);
            }
        }
    }

    /// Keeps a piece; gives the message when it is whole with it.
    fn put_together(&mut self, fragment: &Fragment<'_>, sink: &mut Sink<'_>) -> Option<Vec<u8>> {
        if fragment.length > MESSAGE_BYTES_MAX {
            sink.counters.tls_malformed += 1;
            return None;
        }
        let is_it = |open: &Open| {
            (open.kind, open.number, open.body.len()) == (fragment.kind, fragment.number, fragment.length)
        };
        let at = self.open.iter().position(is_it).unwrap_or_else(|| {
            if self.open.len() >= OPEN_MAX {
                self.open.remove(0);
            }
            self.open.push(Open {
                kind: fragment.kind,
                number: fragment.number,
                body: vec![0; fragment.length],
                have: Vec::new(),
            });
            self.open.len() - 1
        });
        let whole = self.open.get_mut(at)?.take(fragment);
        whole.then(|| self.open.remove(at).body)
    }
}

impl Open {
    /// Puts a piece in its place; true when nothing is missing.
    fn take(&mut self, fragment: &Fragment<'_>) -> bool {
        let (start, end) = (fragment.offset, fragment.offset + fragment.bytes.len());
        if let Some(place) = self.body.get_mut(start..end) {
            place.copy_from_slice(fragment.bytes);
            let (mut start, mut end) = (start, end);
            self.have.retain(|(from, to)| {
                let apart = *to < start || *from > end;
                if !apart {
                    (start, end) = (start.min(*from), end.max(*to));
                }
                apart
            });
            let at = self.have.partition_point(|(from, _)| *from < start);
            if self.have.len() < PIECES_MAX {
                self.have.insert(at, (start, end));
            }
        }
        self.have == [(0, self.body.len())]
    }
}

/// Reads a message that is whole.
fn read_message(kind: u8, body: &[u8], sink: &mut Sink<'_>) {
    let mut header = u32::try_from(body.len()).unwrap_or_default().to_be_bytes();
    header[0] = kind;
    let mut messages = Messages::new(Carrier::Datagrams);
    messages.read(&header, sink);
    messages.read(body, sink);
}

/// A record (RFC 6347 §4.1).
struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of a datagram, and what follows it. A datagram that the capture cut ends its last record.
    fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = datagram.split_first_chunk::<RECORD_HEADER>()?;
        let [kind, major, minor, epoch_high, epoch_low, .., high, low] = *header;
        // The third is what some VPNs speak: DTLS as it was before RFC 4347.
        if !matches!(kind, 20..=26) || !matches!((major, minor), (0xfe, 0xfc..=0xff) | (1, 0)) {
            return None;
        }
        let (body, rest) =
            rest.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).unwrap_or((rest, &[]));
        Some((Self { kind, epoch: u16::from_be_bytes([epoch_high, epoch_low]), body }, rest))
    }
}

impl<'a> Fragment<'a> {
    /// The first fragment in a record, and what follows it.
    fn split(body: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (header, rest) = body.split_first_chunk::<FRAGMENT_HEADER>()?;
        let [kind, a, b, c, d, e, f, g, h, i, j, k] = *header;
        let number24 = |bytes: [u8; 3]| {
            let [high, mid, low] = bytes;
            usize::try_from(u32::from_be_bytes([0, high, mid, low])).ok()
        };
        let (length, offset) = (number24([a, b, c])?, number24([f, g, h])?);
        let declared = number24([i, j, k])?;
        if offset + declared > length {
            return None;
        }
        let (bytes, rest) = rest.split_at_checked(declared).unwrap_or((rest, &[]));
        Some((Self { kind, length, number: u16::from_be_bytes([d, e]), offset, bytes }, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{Hello, certificate, certificate_message, dtls_fragment, seen_by};

    fn check(datagrams: &[Vec<u8>], expected: &[&str]) {
        let (mut seen, _) = seen_by(|sink| {
            let mut handshakes = Handshakes::default();
            for datagram in datagrams {
                handshakes.read(datagram, Towards::Server, sink);
            }
            handshakes.end(sink);
        });
        seen.retain(|line| !line.starts_with("tls.ja3") && !line.contains(&"0".repeat(3)));
        let seen: Vec<&str> = seen
            .iter()
            .map(|line| if line.contains(".ja4 ") { line.split('_').next().unwrap() } else { line.as_str() })
            .collect();
        assert_eq!(seen, expected);
    }

    fn hello() -> Vec<u8> {
        let hello = Hello::default().version(0xfefd).cookie(&[7; 20]).ciphers(&[0x1301]);
        hello.server_name("evil.example").extension(51, &[7; 600]).to_message()
    }

    #[test]
    fn a_hello_in_one_datagram_is_read() {
        let datagram = dtls_fragment(&hello(), 0, 0..usize::MAX);
        assert!(begins_in(&datagram));
        check(&[datagram], &["tls.sni evil.example", "tls.ja4 dd2d010200"]);
    }

    #[test]
    fn fragments_in_any_order_and_twice_give_one_hello() {
        let piece = |range| dtls_fragment(&hello(), 1, range);
        let datagrams =
            [piece(400..usize::MAX), piece(0..250), piece(0..250), piece(200..450), piece(0..250)];
        check(&datagrams, &["tls.sni evil.example", "tls.ja4 dd2d010200"]);
    }

    #[test]
    fn the_hello_with_the_cookie_is_another_one() {
        let [first, second] = [0, 1].map(|number| dtls_fragment(&hello(), number, 0..usize::MAX));
        let both = ["tls.sni evil.example", "tls.ja4 dd2d010200"].repeat(2);
        check(&[first.clone(), first, second], &both);
    }

    #[test]
    fn the_name_is_told_when_the_rest_does_not_come() {
        check(&[dtls_fragment(&hello(), 0, 0..300)], &["tls.sni_cut evil.example"]);
    }

    #[test]
    fn certificates_are_read() {
        let message = certificate_message(&[certificate(&["evil.example"], &[])]);
        let pieces = [0..100, 100..usize::MAX].map(|range| dtls_fragment(&message, 2, range));
        let (seen, _) = seen_by(|sink| {
            let mut handshakes = Handshakes::default();
            for piece in &pieces {
                handshakes.read(piece, Towards::Client, sink);
            }
        });
        assert_eq!((seen.len(), seen[2].as_str()), (3, "dtls.cert_name evil.example"));
    }

    #[test]
    fn other_datagrams_are_no_handshake() {
        for datagram in [&b""[..], &[0x16; 40], b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\0\x0c", &[0x80; 60]] {
            assert!(!begins_in(datagram));
        }
    }
}

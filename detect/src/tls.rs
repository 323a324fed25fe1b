//! TLS ClientHello: the server name. The hello may be spread over several records and segments.

use std::net::IpAddr;

use protocol::SeenIn;

use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};

/// How often an unfinished hello is looked into; a name that is in it is reported before the hello is whole.
const ATTEMPTS_MAX: u8 = 16;

/// Reads records until the ClientHello is whole.
#[derive(Default)]
pub(crate) struct HelloReader {
    attempts: u8,
    name_seen: bool,
}

impl HelloReader {
    /// `bytes` begin with the first record.
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let Some(handshake) = Handshake::of_records(bytes) else {
            sink.counters.tls_malformed += 1;
            return Step::Done;
        };
        if handshake.whole {
            sink.counters.tls_hellos += 1;
            self.look_into(&handshake.hello, sink);
            return Step::Done;
        }
        if self.attempts < ATTEMPTS_MAX {
            self.attempts += 1;
            self.look_into(&handshake.hello, sink);
        }
        Step::Consumed(0)
    }

    /// The rest will not come.
    pub fn read_partial(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        sink.counters.tls_malformed += 1;
        if let Some(handshake) = Handshake::of_records(bytes) {
            self.look_into(&handshake.hello, sink);
        }
    }

    fn look_into(&mut self, hello: &[u8], sink: &mut Sink<'_>) {
        if self.name_seen {
            return;
        }
        if let Some(name) = server_name(hello) {
            self.name_seen = true;
            sight_server_name(name, SeenIn::TlsSni, sink);
        }
    }
}

/// Reports a server name; some clients put an address there, against RFC 6066 §3.
pub(crate) fn sight_server_name(name: &[u8], seen_in: SeenIn, sink: &mut Sink<'_>) {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let seen = match text.parse::<IpAddr>() {
        Ok(address) => Seen::Ip(address),
        Err(_) => Seen::WireName(name),
    };
    sink.sight(Sighting::new(seen, seen_in, name));
}

/// The handshake bytes of consecutive records, the first message being a ClientHello.
struct Handshake<'a> {
    hello: std::borrow::Cow<'a, [u8]>,
    whole: bool,
}

impl<'a> Handshake<'a> {
    /// `None` when the records are no handshake or the message is no ClientHello.
    fn of_records(mut bytes: &'a [u8]) -> Option<Self> {
        let mut joined = std::borrow::Cow::Borrowed(&[][..]);
        while let Some((header, rest)) = bytes.split_first_chunk::<5>() {
            let [kind, major, _, high, low] = *header;
            if kind != 0x16 || major != 3 {
                break; // the hello is cut, or another record stands in between
            }
            let length = usize::from(u16::from_be_bytes([high, low]));
            let (fragment, rest) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            if joined.is_empty() {
                joined = std::borrow::Cow::Borrowed(fragment);
            } else {
                joined.to_mut().extend_from_slice(fragment);
            }
            bytes = rest;
            if let Some(whole) = message_length(&joined)?.filter(|whole| *whole <= joined.len()) {
                match &mut joined {
                    std::borrow::Cow::Borrowed(part) => *part = part.get(..whole)?,
                    std::borrow::Cow::Owned(part) => part.truncate(whole),
                }
                return Some(Self { hello: joined, whole: true });
            }
        }
        Some(Self { hello: joined, whole: false })
    }
}

/// Length of the ClientHello with its header (RFC 8446 §4); the outer `None` when it is another message.
#[expect(clippy::option_option, reason = "another message, not yet known, known")]
fn message_length(handshake: &[u8]) -> Option<Option<usize>> {
    match handshake {
        [1, high, mid, low, ..] => {
            let length = u32::from_be_bytes([0, *high, *mid, *low]);
            Some(usize::try_from(length).ok().map(|length| length + 4))
        }
        [1, ..] | [] => Some(None),
        _ => None,
    }
}

/// The host name in a ClientHello message, header included, which may be cut at any byte.
pub(crate) fn server_name(hello: &[u8]) -> Option<&[u8]> {
    let mut at = Cut(hello.get(4 + 2 + 32..)?); // header, version, random
    at.vector8()?; // session
    at.vector16()?; // cipher suites
    at.vector8()?; // compression methods
    let declared = usize::from(at.number16()?);
    let mut extensions = Cut(at.0.get(..declared).unwrap_or(at.0));
    loop {
        let kind = extensions.number16()?;
        if kind != 0 {
            extensions.vector16()?;
            continue;
        }
        // RFC 6066 §3: a list of names, each with a type; 0 is a host name. A cut list may still hold it whole.
        let declared = usize::from(extensions.number16()?);
        let mut list = Cut(extensions.0.get(..declared).unwrap_or(extensions.0));
        list.number16()?;
        let [0, ..] = list.0 else { return None };
        list.0 = list.0.get(1..)?;
        return list.vector16().filter(|name| !name.is_empty());
    }
}

/// Bytes that may end before their lengths say so.
struct Cut<'a>(&'a [u8]);

impl<'a> Cut<'a> {
    fn number16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (vector, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(vector)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number16()?);
        let (vector, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(vector)
    }
}

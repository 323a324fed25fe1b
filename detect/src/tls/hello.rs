//! ClientHello: the fields that name the server a client wants, and those that tell the client's program.
//!
//! A hello may be cut at any byte; what was read before the cut holds.

use std::net::IpAddr;

use protocol::{Note, SeenIn};

use super::fingerprint;
use crate::sighting::{Seen, Sighting, Sink};

/// Extension types (IANA registry of TLS).
pub(super) mod extension {
    pub const SERVER_NAME: u16 = 0;
    pub const GROUPS: u16 = 10;
    pub const POINT_FORMATS: u16 = 11;
    pub const SIGNATURE_ALGORITHMS: u16 = 13;
    pub const ALPN: u16 = 16;
    pub const EARLY_DATA: u16 = 42;
    pub const SUPPORTED_VERSIONS: u16 = 43;
    pub const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
}

/// What carries a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// TLS over a stream.
    #[default]
    Stream,
    /// DTLS.
    Datagrams,
    Quic,
}

impl Carrier {
    fn seen_in(self) -> [SeenIn; 3] {
        match self {
            Self::Stream | Self::Datagrams => [SeenIn::TlsSni, SeenIn::TlsJa3, SeenIn::TlsJa4],
            Self::Quic => [SeenIn::QuicSni, SeenIn::QuicJa3, SeenIn::QuicJa4],
        }
    }

    /// Where the name of a hello is seen whose rest is missing.
    pub fn cut_name_in(self) -> SeenIn {
        match self {
            Self::Stream | Self::Datagrams => SeenIn::TlsSniCut,
            Self::Quic => SeenIn::QuicSniCut,
        }
    }
}

/// The body of a ClientHello (RFC 8446 §4.1.2, RFC 6347 §4.2.1).
pub(crate) struct ClientHello<'a> {
    pub version: u16,
    pub ciphers: &'a [u8],
    extensions: &'a [u8],
    /// The extensions end where their length says.
    whole: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads a body; `None` when it is cut before the extensions.
    pub fn read(body: &'a [u8], carrier: Carrier) -> Option<Self> {
        let mut at = Cut(body);
        let version = at.number16()?;
        at.0 = at.0.get(32..)?; // random
        at.vector8()?; // session
        if carrier == Carrier::Datagrams {
            at.vector8()?; // cookie
        }
        let ciphers = at.vector16()?;
        at.vector8()?; // compression methods
        if at.0.is_empty() {
            // Before TLS 1.3 a hello may end here (RFC 5246 §7.4.1.2).
            return Some(Self { version, ciphers, extensions: &[], whole: true });
        }
        let declared = usize::from(at.number16()?);
        let whole = declared <= at.0.len();
        Some(Self { version, ciphers, extensions: at.0.get(..declared).unwrap_or(at.0), whole })
    }

    /// Type and contents of each extension, as far as they go.
    pub fn extensions(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        let mut at = Cut(self.extensions);
        std::iter::from_fn(move || {
            let kind = at.number16()?;
            let declared = usize::from(at.number16()?);
            let (contents, rest) = at.0.split_at_checked(declared).unwrap_or((at.0, &[]));
            at.0 = rest;
            Some((kind, contents))
        })
    }

    /// The contents of the first extension of a type.
    pub fn extension(&self, wanted: u16) -> Option<&'a [u8]> {
        self.extensions().find(|(kind, _)| *kind == wanted).map(|(_, contents)| contents)
    }

    /// The host name that the client wants (RFC 6066 §3).
    pub fn server_name(&self) -> Option<&'a [u8]> {
        // A list of names, each with a type; 0 is a host name. A cut list may still hold it whole.
        let mut list = Cut(self.extension(extension::SERVER_NAME)?);
        list.number16()?;
        let [0, name @ ..] = list.0 else { return None };
        Cut(name).vector16().filter(|name| !name.is_empty())
    }

    /// Whether every field and extension ends where its length says.
    pub fn is_whole(&self) -> bool {
        let mut at = Cut(self.extensions);
        while !at.0.is_empty() {
            if at.number16().and_then(|_| at.vector16()).is_none() {
                return false;
            }
        }
        self.whole
    }

    /// Reports the server name.
    pub fn sight_name(&self, seen_in: SeenIn, sink: &mut Sink<'_>) {
        if let Some(name) = self.server_name() {
            let hidden = self.extension(extension::ENCRYPTED_CLIENT_HELLO).is_some();
            sight_server_name(name, (seen_in, hidden), sink);
        }
    }

    /// Reports the server name, and the fingerprints of a whole hello when somebody looks for such.
    pub fn sight(&self, carrier: Carrier, sink: &mut Sink<'_>) {
        let [name_in, ja3_in, ja4_in] = carrier.seen_in();
        self.sight_name(name_in, sink);
        if !(sink.wants.ja3 || sink.wants.ja4) || !self.is_whole() {
            return;
        }
        if sink.wants.ja3 {
            let text = fingerprint::ja3_text(self);
            sink.sight(Sighting::new(Seen::Ja3(fingerprint::md5(&text)), ja3_in, text.as_bytes()));
        }
        if sink.wants.ja4 {
            let (ja4, raw) = fingerprint::ja4(self, carrier);
            sink.sight(Sighting::new(Seen::Ja4(&ja4), ja4_in, raw.as_bytes()));
        }
    }
}

/// Reports a server name; some clients put an address there, against RFC 6066 §3. `hidden`: the client offers
/// to hide the real one.
pub(crate) fn sight_server_name(name: &[u8], (seen_in, hidden): (SeenIn, bool), sink: &mut Sink<'_>) {
    let text = std::str::from_utf8(name).unwrap_or_default();
    let seen = match text.parse::<IpAddr>() {
        Ok(address) => Seen::Ip(address),
        Err(_) => Seen::WireName(name),
    };
    let sighting = Sighting::new(seen, seen_in, name);
    sink.sight(if hidden { sighting.with_note(Note::EchOffered) } else { sighting });
}

/// Bytes that may end before their lengths say so.
pub(super) struct Cut<'a>(pub &'a [u8]);

impl<'a> Cut<'a> {
    pub fn number16(&mut self) -> Option<u16> {
        let (number, rest) = self.0.split_first_chunk::<2>()?;
        self.0 = rest;
        Some(u16::from_be_bytes(*number))
    }

    pub fn vector8(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (vector, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(vector)
    }

    pub fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number16()?);
        let (vector, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(vector)
    }
}

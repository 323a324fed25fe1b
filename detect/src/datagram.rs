//! What the datagrams of a UDP flow carry, told by the port where it is DNS and by their shape elsewhere.

use protocol::SeenIn;

use crate::dns;
use crate::dtls::{self, Handshakes};
use crate::openvpn;
use crate::quic::{self, Initials};
use crate::reader::Towards;
use crate::sighting::Sink;
use crate::tls;

/// Datagrams of a UDP flow in which a handshake must begin. Calls look for a way first (STUN, RFC 8489).
const UNKNOWN_MAX: u8 = 32;

/// The reader of a UDP flow, both directions.
pub(crate) enum Datagrams {
    /// DNS and its kin: every datagram.
    Dns(dns::Kind),
    /// May turn out to be QUIC, DTLS, or DNS on another port, within so many datagrams.
    Unknown {
        left: u8,
    },
    Quic(Box<Initials>),
    Dtls(Box<Handshakes>),
    OpenVpn(Box<openvpn::Sides>),
    /// Nothing more of interest.
    Done,
}

impl Datagrams {
    pub fn for_ports(ports: [u16; 2]) -> Self {
        dns::Kind::of_ports(ports).map_or(Self::Unknown { left: UNKNOWN_MAX }, Self::Dns)
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes it keeps beside its own size.
    pub fn held(&self) -> usize {
        match self {
            Self::Quic(initials) => size_of::<Initials>() + initials.held(),
            Self::Dtls(handshakes) => handshakes.held(),
            Self::OpenVpn(sides) => sides.held(),
            Self::Dns(_) | Self::Unknown { .. } | Self::Done => 0,
        }
    }

    /// Reads a datagram. `room`: bytes that may be kept more than are.
    pub fn read(&mut self, payload: &[u8], (towards, room): (Towards, usize), sink: &mut Sink<'_>) {
        match self {
            Self::Dns(kind) => kind.read(payload, sink),
            Self::Unknown { left } => {
                *left = left.saturating_sub(1);
                let begins = Initials::begin_in(payload);
                if begins && payload.len() + size_of::<Initials>() > room {
                    sink.counters.datagrams_refused += 1;
                    *self = Self::Done;
                } else if begins {
                    let mut initials = Box::new(Initials::default());
                    let done = initials.read(payload, sink);
                    *self = if done { Self::Done } else { Self::Quic(initials) };
                } else if dtls::begins_in(payload) && payload.len() <= room {
                    let mut handshakes = Box::new(Handshakes::default());
                    let done = handshakes.read(payload, towards, sink);
                    *self = if done { Self::Done } else { Self::Dtls(handshakes) };
                } else if openvpn::begins_in(payload) && payload.len() <= room {
                    let mut sides = Box::new(openvpn::Sides::default());
                    sides.read(payload, towards, sink);
                    *self = Self::OpenVpn(sides);
                } else if let Some(name) = quic::google_server_name(payload) {
                    tls::sight_server_name(name, (SeenIn::QuicSni, false), sink);
                    *self = Self::Done;
                } else if dns::is_certain(payload) {
                    dns::read(payload, sink);
                    *self = Self::Dns(dns::Kind::Plain);
                } else if *left == 0 {
                    *self = Self::Done;
                }
            }
            Self::Dtls(handshakes) => {
                if payload.len() > room || handshakes.read(payload, towards, sink) {
                    self.end(sink);
                }
            }
            Self::OpenVpn(sides) => {
                if payload.len() > room || sides.read(payload, towards, sink) {
                    self.end(sink);
                }
            }
            Self::Quic(initials) => {
                let refused = payload.len() > room;
                sink.counters.datagrams_refused += u64::from(refused);
                if refused || initials.read(payload, sink) {
                    *self = Self::Done;
                }
            }
            Self::Done => {}
        }
    }

    /// The flow is over: what waits for more will wait in vain.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        match self {
            Self::Quic(initials) => initials.end(sink),
            Self::Dtls(handshakes) => handshakes.end(sink),
            Self::OpenVpn(sides) => sides.end(sink),
            Self::Dns(_) | Self::Unknown { .. } | Self::Done => {}
        }
        *self = Self::Done;
    }
}

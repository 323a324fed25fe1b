//! What a stream speaks, told by its first bytes and not by its port, and the reader for it.

use crate::dns;
use crate::flow::Way;
use crate::ftp;
use crate::http;
use crate::mail::{imap, pop3, smtp};
use crate::opening;
use crate::openvpn;
use crate::rdp;
use crate::replies::{Heard, Replies};
use crate::sighting::Sink;
use crate::smb;
use crate::ssh;
use crate::tls;

/// Bytes of an unknown protocol in which a ClientHello or a request may still begin a segment (STARTTLS, proxies).
const UNKNOWN_BYTES_MAX: u32 = 16 * 1024;

/// Which party a stream's bytes go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Towards {
    /// The one that was contacted, as far as the sensor saw.
    Server,
    /// The one that began.
    Client,
}

impl Towards {
    /// Which party is reached this way, in a flow that was begun that way.
    pub fn of(way: Way, began: Way) -> Self {
        if way == began { Self::Server } else { Self::Client }
    }
}

/// What the two directions of a connection know together.
#[derive(Default)]
pub(crate) struct Talk {
    /// What a server of mail or files said.
    pub heard: Heard,
    /// Requests that wait for their response.
    pub http: http::Exchange,
    /// Bytes that may be kept more than are, when the segment at hand came.
    pub room: usize,
}

/// Bytes of one direction, in order.
pub(crate) struct Part<'a> {
    /// Begins with the first byte that was not consumed yet; never empty.
    pub bytes: &'a [u8],
    pub towards: Towards,
    pub talk: &'a mut Talk,
}

/// What a reader did with the bytes it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes are done with; 0 when more are needed first.
    Consumed(usize),
    /// So many bytes from here on are of no interest, whether they have come or not.
    Skip(u64),
    /// So many bytes are done with, and what follows may be another protocol.
    Other(usize),
    /// Nothing more of interest in this direction.
    Done,
}

/// The reader of one direction of a stream.
pub(crate) enum Reader {
    /// Nothing known yet.
    Unknown {
        /// Bytes passed over so far.
        passed: u32,
        /// Bytes that were too few to tell; what comes after them may be a protocol's beginning too.
        waiting: u32,
    },
    /// DNS over TCP, told by its port: the first bytes are a length, unless another protocol hides there.
    Dns {
        /// Nothing was read yet.
        fresh: bool,
    },
    Tls(Box<tls::Records>),
    Smtp(Box<smtp::Client>),
    Replies(Replies),
    Pop3(Box<pop3::Server>),
    Imap(Box<imap::Server>),
    Ftp(Box<ftp::Client>),
    Ssh(ssh::SideReader),
    Smb(smb::SideReader),
    Rdp(rdp::SideReader),
    Http(http::Messages),
    Http2(Box<http::Frames>),
    OpenVpn(Box<openvpn::Side>),
    /// Nothing more of interest.
    Done,
}

impl Default for Reader {
    fn default() -> Self {
        Self::Unknown { passed: 0, waiting: 0 }
    }
}

/// What the first bytes of a stream, or of what follows another protocol in it, say.
pub(crate) enum Speaks {
    Known(Reader),
    Other,
    NeedMore,
}

fn speaks(part: &Part<'_>) -> Speaks {
    match tls::begins_handshake(part.bytes) {
        Some(true) => return Speaks::Known(Reader::Tls(Box::default())),
        // Encrypted, or nothing that anybody sends in clear.
        Some(false) if part.bytes.starts_with(&[0x16, 0x03]) => return Speaks::Known(Reader::Done),
        Some(false) => {}
        None => return Speaks::NeedMore,
    }
    if part.bytes.starts_with(http::PREFACE_LINE) {
        return Speaks::Known(Reader::Http2(Box::default()));
    }
    match openvpn::begins(part.bytes) {
        Some(true) => return Speaks::Known(Reader::OpenVpn(Box::default())),
        Some(false) => {}
        None => return Speaks::NeedMore,
    }
    match opening::speaks(part.bytes, &part.talk.heard) {
        Speaks::Other => {}
        told => return told,
    }
    let begins = match http::begins_response(part.bytes) {
        Some(false) => http::begins_request(part.bytes),
        begins => begins,
    };
    match begins {
        Some(true) => Speaks::Known(Reader::Http(http::Messages::default())),
        Some(false) => Speaks::Other,
        None => Speaks::NeedMore,
    }
}

impl Reader {
    /// A reader for a stream between these ports.
    pub fn for_ports(ports: [u16; 2]) -> Self {
        if ports.contains(&dns::PORT) { Self::Dns { fresh: true } } else { Self::default() }
    }

    pub fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// Bytes it keeps beside its own size.
    pub fn held(&self) -> usize {
        match self {
            Self::Tls(records) => records.held(),
            Self::Http(messages) => messages.held(),
            Self::Http2(frames) => frames.held(),
            Self::OpenVpn(side) => side.held(),
            Self::Smtp(client) => client.held(),
            Self::Pop3(server) => server.held(),
            Self::Imap(server) => server.held(),
            Self::Ftp(client) => client.held(),
            _ => 0,
        }
    }

    /// Reads bytes in order, one step.
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        match self {
            Self::Done => Step::Done,
            Self::Dns { fresh } => {
                if *fresh && let Speaks::Known(reader) = speaks(&part) {
                    *self = reader;
                    return self.read(part, sink);
                }
                let step = dns::read_stream(part.bytes, sink);
                *fresh = *fresh && step == Step::Consumed(0);
                step
            }
            Self::Unknown { passed, waiting } => match speaks(&part) {
                Speaks::Known(reader) => {
                    *self = reader;
                    self.read(part, sink)
                }
                Speaks::NeedMore => {
                    *waiting = u32::try_from(part.bytes.len()).unwrap_or(u32::MAX);
                    Step::Consumed(0)
                }
                Speaks::Other if let Some(length) = tls::old_hello(part.bytes) => Step::Skip(length as u64),
                Speaks::Other => {
                    // What waited began elsewhere than what came now: each may be a protocol's beginning.
                    let length = match std::mem::take(waiting) {
                        0 => part.bytes.len(),
                        waited => part.bytes.len().min(usize::try_from(waited).unwrap_or(usize::MAX)),
                    };
                    *passed = passed.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
                    if *passed > UNKNOWN_BYTES_MAX { Step::Done } else { Step::Consumed(length) }
                }
            },
            Self::Tls(records) => records.read(part.bytes, sink),
            Self::Http(messages) => messages.read(part, sink),
            Self::Http2(frames) => frames.read(part.bytes, sink),
            Self::Smtp(client) => client.read(part, sink),
            Self::Replies(replies) => replies.read(part, sink),
            Self::Pop3(server) => server.read(part, sink),
            Self::Imap(server) => server.read(part, sink),
            Self::Ftp(client) => client.read(part, sink),
            Self::Ssh(side) => side.read(&part, sink),
            Self::Smb(side) => side.read(part.bytes, sink),
            Self::Rdp(side) => side.read(part.bytes, sink),
            Self::OpenVpn(side) => side.read(part.bytes, sink),
        }
    }

    /// Bytes are missing after `part`, which may be empty: says what can be said from it, and gets ready to resume.
    /// Gives how many of the bytes that follow are of no interest, the missing ones among them.
    pub fn gap(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> u64 {
        match self {
            Self::Tls(records) => {
                records.gap(sink);
                *self = Self::default();
            }
            Self::Http(messages) => return messages.gap(part.bytes, part.talk, sink),
            Self::Smtp(client) => client.gap(sink),
            Self::Pop3(server) => server.gap(sink),
            Self::Imap(server) => server.gap(sink),
            Self::Replies(replies) => replies.gap(),
            Self::Ftp(client) => client.gap(),
            Self::Ssh(side) => {
                side.read_partial(&part, sink);
                *self = Self::Done;
            }
            Self::Dns { .. } => {
                dns::read_partial(part.bytes, sink);
                *self = Self::Done;
            }
            Self::OpenVpn(side) => {
                side.gap(sink);
                *self = Self::Done;
            }
            // Where the next message begins is not known.
            Self::Http2(_) | Self::Smb(_) | Self::Rdp(_) => *self = Self::Done,
            Self::Unknown { waiting, .. } => *waiting = 0,
            Self::Done => {}
        }
        0
    }

    /// The stream is over after `part`, which may be empty; `closed` when its sender said that all was sent.
    pub fn end(&mut self, part: Part<'_>, closed: bool, sink: &mut Sink<'_>) {
        match self {
            Self::Http(messages) => messages.end(part, closed, sink),
            _ => _ = self.gap(part, sink),
        }
    }
}

//! What a stream speaks, told by its first bytes and not by its port, and the reader for it.

use crate::counters::Counters;
use crate::sighting::Sight;
use crate::{dns, http, tls};

/// Bytes of an unknown protocol in which a ClientHello or a request may still begin a segment (STARTTLS, proxies).
const UNKNOWN_BYTES_MAX: usize = 16 * 1024;

/// The reader of one direction of a stream.
pub(crate) enum Reader {
    /// Nothing known yet.
    Unknown {
        /// Bytes passed over so far.
        passed: usize,
    },
    Tls(tls::HelloReader),
    Http(http::RequestReader),
    /// DNS over TCP, told by its port: the first bytes are a length, unless another protocol hides there.
    Dns {
        /// Nothing was read yet.
        fresh: bool,
    },
    /// Nothing more of interest.
    Done,
}

impl Default for Reader {
    fn default() -> Self {
        Self::Unknown { passed: 0 }
    }
}

enum Speaks {
    Tls,
    Http,
    Other,
    /// A server's answer: what this side says is of no interest.
    Nothing,
    NeedMore,
}

fn speaks(bytes: &[u8]) -> Speaks {
    match bytes {
        [0x16, 0x03, _, _, _, 0x01, ..] => return Speaks::Tls,
        [0x16, 0x03, _, _, _, ..] => return Speaks::Nothing,
        [0x16] | [0x16, 0x03] | [0x16, 0x03, _] | [0x16, 0x03, _, _] => return Speaks::NeedMore,
        _ => {}
    }
    if bytes.starts_with(b"HTTP/1.") {
        return Speaks::Nothing;
    }
    match http::begins_request(bytes) {
        Some(true) => Speaks::Http,
        Some(false) => Speaks::Other,
        None => Speaks::NeedMore,
    }
}

impl Reader {
    /// Reads bytes in order and returns how many it is done with.
    pub fn read(&mut self, bytes: &[u8], counters: &mut Counters, sight: &mut Sight<'_>) -> usize {
        let mut consumed = 0;
        loop {
            let Some(rest) = bytes.get(consumed..).filter(|rest| !rest.is_empty()) else { return consumed };
            match self {
                Self::Done => return bytes.len(),
                Self::Dns { fresh: true } if matches!(speaks(rest), Speaks::Tls | Speaks::Http) => {
                    *self = Self::default();
                }
                Self::Dns { fresh } => {
                    let read = dns::read_stream(rest, counters, sight);
                    *fresh = *fresh && read == 0;
                    return consumed + read;
                }
                Self::Unknown { passed } => match speaks(rest) {
                    Speaks::Tls => *self = Self::Tls(tls::HelloReader::default()),
                    Speaks::Http => *self = Self::Http(http::RequestReader::default()),
                    Speaks::NeedMore => return consumed,
                    Speaks::Nothing => *self = Self::Done,
                    Speaks::Other => {
                        *passed += rest.len();
                        if *passed > UNKNOWN_BYTES_MAX {
                            *self = Self::Done;
                        }
                        return bytes.len();
                    }
                },
                Self::Tls(hello) => match hello.read(rest, counters, sight) {
                    tls::Step::NeedMore => return consumed,
                    tls::Step::Done => *self = Self::Done,
                },
                Self::Http(request) => match request.read(rest, counters, sight) {
                    http::Step::Consumed(0) => return consumed,
                    http::Step::Consumed(bytes) => consumed += bytes,
                    // After CONNECT or an upgrade, or when it was no HTTP after all.
                    http::Step::OtherProtocol(bytes) => {
                        consumed += bytes;
                        *self = Self::default();
                    }
                },
            }
        }
    }

    /// Bytes are missing after `head`: says what can be said from it, and gets ready to resume.
    pub fn gap(&mut self, head: &[u8], counters: &mut Counters, sight: &mut Sight<'_>) {
        match self {
            Self::Tls(hello) => {
                hello.read_partial(head, counters, sight);
                *self = Self::Done;
            }
            Self::Http(request) => {
                request.read_partial(head, counters, sight);
                *self = Self::default();
            }
            Self::Dns { .. } => *self = Self::Done,
            Self::Unknown { .. } | Self::Done => {}
        }
    }
}

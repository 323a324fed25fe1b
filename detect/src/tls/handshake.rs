//! Handshake messages out of the bytes that records carry: what is of interest is kept until it is whole, the rest
//! is passed over. A chain of certificates is read certificate by certificate, however long it is.

use super::certificate;
use super::hello::{Carrier, ClientHello, extension};
use crate::sighting::Sink;

/// Of a longer hello the name is looked for in so many bytes, and no fingerprint is made. Post-quantum keys take
/// 1 to 2 KiB; no known client sends more than 8.
const HELLO_BYTES_MAX: usize = 32 * 1024;
/// A longer certificate is passed over and counted.
const CERTIFICATE_BYTES_MAX: usize = 64 * 1024;
/// The rest of a longer chain is not read, and counted.
const CERTIFICATES_MAX: u8 = 32;

/// Types of messages (RFC 8446 §4, RFC 5246 §7.4).
pub(crate) mod message {
    pub const CLIENT_HELLO: u8 = 1;
    pub const CERTIFICATE: u8 = 11;
    pub const SERVER_HELLO_DONE: u8 = 14;
    pub const CLIENT_KEY_EXCHANGE: u8 = 16;
    pub const FINISHED: u8 = 20;

    /// Whether a message of this type may stand in clear.
    pub fn is_known(kind: u8) -> bool {
        matches!(kind, 0..=6 | 8 | 11..=16 | 20..=25 | 67)
    }
}

/// Whether more may come that is of interest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// What follows is encrypted, or tells nothing.
    Over,
}

/// Where in a message the next byte stands; `left` counts the bytes of the message that are still to come.
#[derive(Clone, Copy, Default)]
enum Stage {
    #[default]
    Header,
    Hello {
        length: usize,
    },
    /// The length of a whole chain.
    ChainLength {
        left: usize,
    },
    CertificateLength {
        left: usize,
    },
    Certificate {
        length: usize,
        left: usize,
    },
    /// Bytes of no interest, then the rest of a chain.
    Pass {
        bytes: usize,
        left: usize,
    },
}

/// The messages of one direction.
#[derive(Default)]
pub(crate) struct Messages {
    carrier: Carrier,
    stage: Stage,
    /// The piece in progress, as far as it has come.
    kept: Vec<u8>,
    certificates: u8,
    /// The certificates of a chain that is not whole yet.
    chain: Vec<Box<[u8]>>,
    /// The last hello promised data before the handshake's end (RFC 8446 §4.2.10).
    pub early_data: bool,
}

impl Messages {
    pub fn new(carrier: Carrier) -> Self {
        Self { carrier, ..Self::default() }
    }

    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.kept.capacity() + self.chain.iter().map(|certificate| certificate.len()).sum::<usize>()
    }

    /// Takes the next bytes.
    pub fn read(&mut self, mut fresh: &[u8], sink: &mut Sink<'_>) -> Progress {
        while !fresh.is_empty() {
            let Some(stage) = self.step(&mut fresh, sink) else {
                self.sight_chain(sink);
                self.kept = Vec::new();
                return Progress::Over;
            };
            self.stage = stage;
            if matches!(stage, Stage::Header) {
                self.sight_chain(sink);
            }
        }
        Progress::More
    }

    /// Reads one piece as far as it has come, and gives the stage after it; `None` when all is read.
    fn step(&mut self, fresh: &mut &[u8], sink: &mut Sink<'_>) -> Option<Stage> {
        let wanted = match self.stage {
            Stage::Header => 4,
            Stage::Hello { length } => length.min(HELLO_BYTES_MAX),
            Stage::ChainLength { .. } | Stage::CertificateLength { .. } => 3,
            Stage::Certificate { length, .. } => length,
            Stage::Pass { bytes, left } => {
                let now = bytes.min(fresh.len());
                *fresh = fresh.get(now..).unwrap_or_default();
                return Some(match bytes - now {
                    0 if left > 0 => Stage::CertificateLength { left },
                    0 => Stage::Header,
                    bytes => Stage::Pass { bytes, left },
                });
            }
        };
        let Some(piece) = gather(&mut self.kept, fresh, wanted) else { return Some(self.stage) };
        let next = match self.stage {
            Stage::Header => header(piece, sink)?,
            Stage::Hello { length } if length > wanted => {
                sink.counters.tls_malformed += 1;
                read_cut_hello(piece, self.carrier, sink);
                return None;
            }
            Stage::Hello { .. } => {
                self.early_data = read_hello(piece, self.carrier, sink);
                Stage::Header
            }
            Stage::ChainLength { left } => after_lengths(left - 3),
            Stage::CertificateLength { left } => one_certificate(number24(piece)?, left - 3, sink)?,
            Stage::Certificate { length, left } => {
                self.certificates += 1;
                self.chain.push(piece.into());
                if self.certificates >= CERTIFICATES_MAX {
                    sink.counters.certificates_refused += 1;
                    return None;
                }
                after_lengths(left - length)
            }
            pass @ Stage::Pass { .. } => pass,
        };
        if self.kept.capacity() > 4 {
            self.kept = Vec::new();
        }
        self.kept.clear();
        Some(next)
    }

    /// Reports the certificates of a chain that is whole: one that breaks off was never shown to its end.
    fn sight_chain(&mut self, sink: &mut Sink<'_>) {
        for certificate in std::mem::take(&mut self.chain) {
            certificate::sight(&certificate, self.carrier, sink);
        }
    }

    /// Bytes are missing: the name may be in what has come of a hello.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        sink.counters.certificates_cut += self.chain.len() as u64;
        if let Stage::Hello { .. } = self.stage {
            sink.counters.tls_malformed += 1;
            read_cut_hello(&self.kept, self.carrier, sink);
        }
        *self = Self::new(self.carrier);
    }
}

/// So many bytes in one piece, without a copy where they are in one piece already. The caller clears what is kept.
fn gather<'kept, 'fresh: 'kept>(
    kept: &'kept mut Vec<u8>,
    fresh: &mut &'fresh [u8],
    wanted: usize,
) -> Option<&'kept [u8]> {
    if kept.is_empty()
        && let Some((piece, rest)) = fresh.split_at_checked(wanted)
    {
        *fresh = rest;
        return Some(piece);
    }
    let missing = wanted.saturating_sub(kept.len()).min(fresh.len());
    let (now, rest) = fresh.split_at_checked(missing)?;
    *fresh = rest;
    kept.extend_from_slice(now);
    (kept.len() >= wanted).then_some(kept)
}

fn number24(bytes: &[u8]) -> Option<usize> {
    let [high, mid, low] = bytes.first_chunk::<3>()?;
    usize::try_from(u32::from_be_bytes([0, *high, *mid, *low])).ok()
}

/// What a message's header says of the bytes that follow.
fn header(header: &[u8], sink: &mut Sink<'_>) -> Option<Stage> {
    let (kind, length) = header.split_first()?;
    let length = number24(length)?;
    match *kind {
        message::CLIENT_HELLO => Some(Stage::Hello { length }),
        message::CERTIFICATE if length >= 3 => Some(Stage::ChainLength { left: length }),
        message::SERVER_HELLO_DONE | message::CLIENT_KEY_EXCHANGE | message::FINISHED => None,
        kind if message::is_known(kind) && length == 0 => Some(Stage::Header),
        kind if message::is_known(kind) => Some(Stage::Pass { bytes: length, left: 0 }),
        _ => {
            sink.counters.tls_malformed += 1;
            None
        }
    }
}

/// What stands in a chain of which so many bytes are left.
fn after_lengths(left: usize) -> Stage {
    match left {
        0 => Stage::Header,
        1..3 => Stage::Pass { bytes: left, left: 0 },
        _ => Stage::CertificateLength { left },
    }
}

/// A certificate of this length in a chain of which so many bytes are left.
fn one_certificate(length: usize, left: usize, sink: &mut Sink<'_>) -> Option<Stage> {
    if length > left {
        sink.counters.tls_malformed += 1;
        return None;
    }
    if length > CERTIFICATE_BYTES_MAX {
        sink.counters.certificates_refused += 1;
        return Some(Stage::Pass { bytes: length, left: left - length });
    }
    Some(if length == 0 { after_lengths(left) } else { Stage::Certificate { length, left } })
}

/// Reads a whole hello; says whether early data follow it.
fn read_hello(body: &[u8], carrier: Carrier, sink: &mut Sink<'_>) -> bool {
    sink.counters.tls_hellos += 1;
    let Some(hello) = ClientHello::read(body, carrier) else {
        sink.counters.tls_malformed += 1;
        return false;
    };
    sink.counters.tls_malformed += u64::from(!hello.is_whole());
    hello.sight(carrier, sink);
    hello.extension(extension::EARLY_DATA).is_some()
}

/// Reports the name in a hello that is cut, under a place of its own: the rest was not seen, and may never have been
/// sent. It has no fingerprint, even where its cut looks like an end.
pub(crate) fn read_cut_hello(body: &[u8], carrier: Carrier, sink: &mut Sink<'_>) {
    if let Some(hello) = ClientHello::read(body, carrier) {
        hello.sight_name(carrier.cut_name_in(), sink);
    }
}

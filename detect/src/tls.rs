//! TLS in clear: ClientHellos and, before TLS 1.3, certificates, in either direction and over any number of records.

mod certificate;
mod fingerprint;
mod handshake;
mod hello;

pub(crate) use handshake::{Messages, Progress, message, read_cut_hello};
pub(crate) use hello::{Carrier, sight_server_name};

use crate::reader::Step;
use crate::sighting::Sink;

/// A record's type, version and length.
const HEADER: usize = 5;
/// RFC 5246 §6.2.3: 2^14 bytes and what encryption may add.
const RECORD_BYTES_MAX: usize = (1 << 14) + 2048;
/// Data that a client may send before the handshake is over (RFC 8446 §4.2.10) while a second hello may still come.
const EARLY_DATA_BYTES_MAX: usize = 64 * 1024;

/// Types of records (RFC 8446 §5.1, RFC 6520 §3).
pub(crate) mod record {
    pub const CHANGE_CIPHER_SPEC: u8 = 20;
    pub const ALERT: u8 = 21;
    pub const HANDSHAKE: u8 = 22;
    pub const APPLICATION_DATA: u8 = 23;
    pub const HEARTBEAT: u8 = 24;
}

/// Reads the records of one direction as long as they are in clear.
#[derive(Default)]
pub(crate) struct Records {
    /// Bytes of the record in progress that are still to come.
    left: usize,
    messages: Messages,
    /// A ChangeCipherSpec went by: what follows is encrypted, unless a second hello answers a HelloRetryRequest.
    changed: bool,
    early_data: usize,
}

/// Whether a handshake begins here; `None` when that takes more bytes to tell.
pub(crate) fn begins_handshake(bytes: &[u8]) -> Option<bool> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        let begin: [u8; 2] = [record::HANDSHAKE, 3];
        let both = begin.len().min(bytes.len());
        return (begin.get(..both) != bytes.get(..both)).then_some(false);
    };
    let [record::HANDSHAKE, 3, 0..=4, ..] = header else { return Some(false) };
    let length = record_length(*header);
    if length == 0 || length > RECORD_BYTES_MAX {
        return Some(false);
    }
    rest.first().map(|kind| message::is_known(*kind))
}

/// The length of a hello as SSL 2.0 framed it, for SSL 3.0 and TLS (RFC 5246 Appendix E.2), when one begins here.
pub(crate) fn old_hello(bytes: &[u8]) -> Option<usize> {
    let [high, low, 1, 3, 0..=3, fields @ ..] = bytes else { return None };
    let (fields, _) = fields.split_first_chunk::<6>()?;
    let [a, b, c, d, e, f] = *fields;
    let [ciphers, session, challenge] = [[a, b], [c, d], [e, f]].map(u16::from_be_bytes);
    let length = u16::from_be_bytes([high & 0x7f, *low]);
    let consistent = high & 0x80 != 0
        && ciphers > 0
        && ciphers % 3 == 0
        && [0, 16].contains(&session)
        && (16..=32).contains(&challenge)
        && ciphers.checked_add(9 + session + challenge) == Some(length);
    consistent.then(|| usize::from(length) + 2)
}

fn record_length([_, _, _, high, low]: [u8; HEADER]) -> usize {
    usize::from(u16::from_be_bytes([high, low]))
}

impl Records {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.messages.held()
    }

    /// `bytes` begin with a record, or go on in one.
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        if self.left == 0 {
            return self.begin_record(bytes, sink);
        }
        let fragment = bytes.get(..self.left).unwrap_or(bytes);
        self.left -= fragment.len();
        match self.messages.read(fragment, sink) {
            Progress::More => Step::Consumed(fragment.len()),
            Progress::Over => Step::Done,
        }
    }

    fn begin_record(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Step::Consumed(0) };
        let length = record_length(*header);
        let [kind, major, ..] = *header;
        if major != 3 || length > RECORD_BYTES_MAX {
            sink.counters.tls_malformed += 1;
            return Step::Done;
        }
        match kind {
            record::HANDSHAKE => {
                if self.changed {
                    let Some(hello) = rest.first_chunk::<6>() else { return Step::Consumed(0) };
                    let [message::CLIENT_HELLO, 0, _, _, 3, 0..=4] = *hello else { return Step::Done };
                    self.changed = false;
                }
                self.left = length;
                Step::Consumed(HEADER)
            }
            record::CHANGE_CIPHER_SPEC => {
                self.changed = true;
                skip(length)
            }
            record::ALERT | record::HEARTBEAT => skip(length),
            record::APPLICATION_DATA
                if self.messages.early_data && self.early_data < EARLY_DATA_BYTES_MAX =>
            {
                self.early_data += HEADER + length;
                skip(length)
            }
            record::APPLICATION_DATA => Step::Done,
            _ => {
                sink.counters.tls_malformed += 1;
                Step::Done
            }
        }
    }

    /// Bytes are missing after those read so far.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.messages.end(sink);
    }
}

/// Past a record with this length.
fn skip(length: usize) -> Step {
    Step::Skip((HEADER + length) as u64)
}

#[cfg(test)]
#[path = "tls/tls_tests.rs"]
mod tests;

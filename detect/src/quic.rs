//! QUIC: the ClientHello in a client's Initial packets (RFC 9001 §5).
//!
//! The keys of Initial packets are derived from a connection identifier in clear, so anyone on the way may read them.

mod google;

use std::collections::BTreeMap;

use aws_lc_rs::aead::quic::{AES_128, HeaderProtectionKey};
use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
use protocol::SeenIn;

pub(crate) use google::server_name as google_server_name;

use crate::counters::Counters;
use crate::sighting::Sink;
use crate::tls::{self, Carrier, Messages};

/// Bytes of handshake kept; hellos with post-quantum keys take about 1,800.
const CRYPTO_BYTES_MAX: usize = 16 * 1024;
/// Pieces of it.
const PIECES_MAX: usize = 64;
/// Datagrams in which the hello must be complete.
const DATAGRAMS_MAX: u8 = 12;
/// Frames in one packet; clients that scatter a hello on purpose use a few dozen.
const FRAMES_MAX: usize = 512;

/// Collects the ClientHello out of the Initial packets of a flow.
#[derive(Default)]
pub(crate) struct Initials {
    keys: Option<Keys>,
    /// Handshake bytes by offset.
    pieces: BTreeMap<usize, Vec<u8>>,
    datagrams: u8,
}

/// What differs between versions: RFC 9001 §5.2, RFC 9369 §3.3, drafts 22 to 34, Google's last ones.
struct Version {
    salt: [u8; 20],
    labels: Labels,
    initial_type: u8,
    /// Type of the frames that carry the handshake.
    crypto: u64,
}

struct Labels {
    key: &'static [u8],
    iv: &'static [u8],
    hp: &'static [u8],
}

const LABELS_V1: Labels = Labels { key: b"quic key", iv: b"quic iv", hp: b"quic hp" };
const LABELS_V2: Labels = Labels { key: b"quicv2 key", iv: b"quicv2 iv", hp: b"quicv2 hp" };
const SALT_V1: [u8; 20] =
    *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
const SALT_V2: [u8; 20] =
    *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";
const SALT_DRAFT_29: [u8; 20] =
    *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99";
const SALT_DRAFT_23: [u8; 20] =
    *b"\xc3\xee\xf7\x12\xc7\x2e\xbb\x5a\x11\xa7\xd2\x43\x2b\xb4\x63\x65\xbe\xf9\xf5\x02";

const SALT_DRAFT_22: [u8; 20] =
    *b"\x7f\xbc\xdb\x0e\x7c\x66\xbb\xe9\x19\x3a\x96\xcd\x21\x51\x9e\xbd\x7a\x02\x64\x4a";
const SALT_Q050: [u8; 20] =
    *b"\x50\x45\x74\xef\xd0\x66\xfe\x2f\x9d\x94\x5c\xfc\xdb\xd3\xa7\xf0\xd3\xb5\x6b\x45";
const SALT_T050: [u8; 20] =
    *b"\x7f\xf5\x79\xe5\xac\xd0\x72\x91\x55\x80\x30\x4c\x43\xa2\x36\x7c\x60\x48\x83\x10";
const SALT_T051: [u8; 20] =
    *b"\x7a\x4e\xde\xf4\xe7\xcc\xee\x5f\xa4\x50\x6c\x19\x12\x4f\xc8\xcc\xda\x6e\x03\x3d";

/// CRYPTO (RFC 9000 §19.6).
const CRYPTO: u64 = 0x06;
/// The same in Google's versions.
const GOOGLE_CRYPTO: u64 = 0x08;

fn version(number: u32) -> Option<Version> {
    let (salt, labels, initial_type) = match number {
        0x0000_0001 => (SALT_V1, LABELS_V1, 0),
        0x6b33_43cf => (SALT_V2, LABELS_V2, 1),
        0xff00_0021..=0xff00_0022 => (SALT_V1, LABELS_V1, 0),
        0xff00_001d..=0xff00_0020 => (SALT_DRAFT_29, LABELS_V1, 0),
        // Drafts 23 to 28, and those that Facebook's applications call by names of their own.
        0xff00_0017..=0xff00_001c | 0xface_b002..=0xface_b00e => (SALT_DRAFT_23, LABELS_V1, 0),
        0xff00_0016 | 0xface_b001 => (SALT_DRAFT_22, LABELS_V1, 0),
        Q050 => (SALT_Q050, LABELS_V1, 0),
        0x5430_3530 => (SALT_T050, LABELS_V1, 0),
        0x5430_3531 => (SALT_T051, LABELS_V1, 0),
        _ => return None,
    };
    let is_googles = matches!(number >> 24, 0x51 | 0x54);
    Some(Version { salt, labels, initial_type, crypto: if is_googles { GOOGLE_CRYPTO } else { CRYPTO } })
}

/// The last version with Google's own handshake.
const Q050: u32 = 0x5130_3530;

impl Initials {
    /// Whether a datagram begins with an Initial packet of a version that can be read.
    pub fn begin_in(datagram: &[u8]) -> bool {
        Packet::split(datagram).is_some_and(|(packet, _)| packet.initial)
    }

    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.pieces.values().map(Vec::capacity).sum()
    }

    /// Reads a datagram; true when nothing more is to be expected.
    pub fn read(&mut self, datagram: &[u8], sink: &mut Sink<'_>) -> bool {
        self.datagrams += 1;
        let mut rest = datagram;
        while let Some((packet, after)) = Packet::split(rest) {
            rest = after;
            if packet.initial && self.read_packet(&packet, sink.counters).is_none() {
                sink.counters.quic_malformed += 1;
            }
        }
        let crypto = self.in_order();
        if let Some(name) = google::chlo_server_name(&crypto) {
            tls::sight_server_name(name, (SeenIn::QuicSni, false), sink);
            return true;
        }
        if message_length(&crypto).is_some_and(|length| length <= crypto.len()) {
            Messages::new(Carrier::Quic).read(&crypto, sink);
            self.pieces.clear();
            return true;
        }
        if self.datagrams >= DATAGRAMS_MAX {
            self.end(sink);
        }
        self.datagrams >= DATAGRAMS_MAX
    }

    /// Nothing more will come: the name may be in what has come of a hello.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        let crypto = self.in_order();
        if let (Some(_), Some(body)) = (message_length(&crypto), crypto.get(4..)) {
            sink.counters.tls_malformed += 1;
            tls::read_cut_hello(body, Carrier::Quic, sink);
        }
        self.pieces.clear();
    }

    /// Decrypts an Initial. The keys of a connection come from the client's first one; after a Retry from the
    /// next. Packets of the server, under other keys, are passed over.
    fn read_packet(&mut self, packet: &Packet<'_>, counters: &mut Counters) -> Option<()> {
        let known = self.keys.as_ref().and_then(|keys| keys.open(packet));
        let plain = match known {
            Some(plain) => plain,
            None => {
                let keys = Keys::derive(&packet.version, packet.destination)?;
                let Some(plain) = keys.open(packet) else {
                    return self.keys.is_some().then_some(());
                };
                self.keys = Some(keys);
                self.pieces.clear();
                plain
            }
        };
        counters.quic_initials += 1;
        self.read_frames(&plain, packet.version.crypto)
    }

    /// PADDING, PING, ACK, CRYPTO and CONNECTION_CLOSE may stand in an Initial (RFC 9000 §12.4).
    fn read_frames(&mut self, plain: &[u8], crypto: u64) -> Option<()> {
        let mut at = Numbers(plain);
        for _ in 0..FRAMES_MAX {
            while let [0, rest @ ..] = at.0 {
                at.0 = rest;
            }
            let Some(kind) = at.next() else { return Some(()) };
            match kind {
                0x01 => {}
                0x02 | 0x03 => {
                    at.next()?; // largest
                    at.next()?; // delay
                    let ranges = at.next()?;
                    let counts = if kind == 0x03 { 3 } else { 0 };
                    for _ in 0..ranges.checked_mul(2)?.checked_add(1 + counts)?.min(4096) {
                        at.next()?;
                    }
                }
                kind if kind == crypto => {
                    let offset = usize::try_from(at.next()?).ok()?;
                    let data = at.take()?;
                    self.keep(offset, data);
                }
                _ => return Some(()),
            }
        }
        Some(())
    }

    fn keep(&mut self, offset: usize, data: &[u8]) {
        let fits = offset.checked_add(data.len()).is_some_and(|end| end <= CRYPTO_BYTES_MAX);
        let longer = self.pieces.get(&offset).is_none_or(|known| known.len() < data.len());
        if fits && longer && self.pieces.len() < PIECES_MAX {
            self.pieces.insert(offset, data.to_vec());
        }
    }

    /// The handshake from its first byte on as far as nothing is missing.
    fn in_order(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (offset, piece) in &self.pieces {
            let Some(known) = bytes.len().checked_sub(*offset) else { break };
            bytes.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        bytes
    }
}

/// Length of a ClientHello with its header (RFC 8446 §4).
fn message_length(crypto: &[u8]) -> Option<usize> {
    let [tls::message::CLIENT_HELLO, high, mid, low, ..] = *crypto else { return None };
    Some(4 + usize::try_from(u32::from_be_bytes([0, high, mid, low])).ok()?)
}

/// A long-header packet (RFC 9000 §17.2).
struct Packet<'a> {
    version: Version,
    initial: bool,
    destination: &'a [u8],
    /// The packet from its first byte to the end of its payload.
    bytes: &'a [u8],
    /// Where the packet number begins.
    number_at: usize,
}

impl<'a> Packet<'a> {
    /// The first packet of a datagram, and what follows it.
    fn split(datagram: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (first, rest) = datagram.split_first()?;
        if first & 0xc0 != 0xc0 {
            return None;
        }
        let (number, rest) = rest.split_first_chunk::<4>()?;
        let version = version(u32::from_be_bytes(*number))?;
        let initial = (first >> 4) & 0x03 == version.initial_type;
        let mut at = Numbers(rest);
        let destination = at.connection_id()?;
        at.connection_id()?;
        if initial {
            at.take()?; // token
        } else if (first >> 4) & 0x03 == (version.initial_type + 3) & 0x03 {
            return None; // a Retry has no length
        }
        let length = usize::try_from(at.next()?).ok()?;
        let number_at = datagram.len() - at.0.len();
        let (bytes, after) = datagram.split_at_checked(number_at.checked_add(length)?)?;
        Some((Self { version, initial, destination, bytes, number_at }, after))
    }
}

struct Keys {
    payload: LessSafeKey,
    iv: [u8; 12],
    header: HeaderProtectionKey,
}

impl Keys {
    /// RFC 9001 §5.2: the client's Initial keys.
    fn derive(version: &Version, destination: &[u8]) -> Option<Self> {
        let salt = hmac::Key::new(HMAC_SHA256, &version.salt);
        let initial = hmac::Key::new(HMAC_SHA256, hmac::sign(&salt, destination).as_ref());
        let client: [u8; 32] = expand(&initial, b"client in")?;
        let client = hmac::Key::new(HMAC_SHA256, &client);
        let key: [u8; 16] = expand(&client, version.labels.key)?;
        let hp: [u8; 16] = expand(&client, version.labels.hp)?;
        Some(Self {
            payload: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?),
            iv: expand(&client, version.labels.iv)?,
            header: HeaderProtectionKey::new(&AES_128, &hp).ok()?,
        })
    }

    /// Removes header protection (RFC 9001 §5.4) and decrypts; `None` under other keys.
    fn open(&self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        let at = packet.number_at;
        let sample = packet.bytes.get(at + 4..at + 20)?;
        let [first_mask, number_mask @ ..] = self.header.new_mask(sample).ok()?;
        let first = packet.bytes.first()? ^ (first_mask & 0x0f);
        let number_length = usize::from(first & 0x03) + 1;
        let mut header = packet.bytes.get(..at + number_length)?.to_vec();
        *header.first_mut()? = first;
        let mut nonce = self.iv;
        let number = header.get_mut(at..)?;
        number.iter_mut().zip(number_mask).for_each(|(byte, mask)| *byte ^= mask);
        // Initial packet numbers are small: the truncated number is the number (RFC 9000 §17.1).
        nonce.iter_mut().rev().zip(number.iter().rev()).for_each(|(byte, number)| *byte ^= number);
        let mut payload = packet.bytes.get(at + number_length..)?.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = self.payload.open_in_place(nonce, Aad::from(header), &mut payload).ok()?.len();
        payload.truncate(length);
        Some(payload)
    }
}

/// HKDF-Expand-Label of RFC 8446 §7.1 with an empty context, at most one block of output (RFC 5869 §2.3): the state of
/// the secret's key is made once for all its labels, and there is nothing to set up for each.
fn expand<const N: usize>(secret: &hmac::Key, label: &[u8]) -> Option<[u8; N]> {
    let length = u16::try_from(N).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let mut block = hmac::Context::with_key(secret);
    for part in [&length[..], &label_length, b"tls13 ", label, &[0, 1]] {
        block.update(part);
    }
    block.sign().as_ref().first_chunk::<N>().copied()
}

/// Variable-length numbers (RFC 9000 §16).
struct Numbers<'a>(&'a [u8]);

impl<'a> Numbers<'a> {
    fn next(&mut self) -> Option<u64> {
        let first = *self.0.first()?;
        let (number, rest) = self.0.split_at_checked(1 << (first >> 6))?;
        self.0 = rest;
        let mut value = u64::from(first & 0x3f);
        for byte in number.iter().skip(1) {
            value = value << 8 | u64::from(*byte);
        }
        Some(value)
    }

    /// Bytes with their length before them.
    fn take(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.next()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn connection_id(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.0.split_first()?;
        let (bytes, rest) = rest.split_at_checked(usize::from(*length))?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
#[path = "quic_tests.rs"]
mod tests;

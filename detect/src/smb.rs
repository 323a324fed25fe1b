//! SMB over TCP, directly or over NetBIOS (MS-SMB, MS-SMB2, RFC 1002): names of hosts in what NTLM says in clear and
//! in the paths of shares. Names of users and what proves them are passed over unread.

use std::net::IpAddr;

use protocol::SeenIn;

use crate::lines::begins_with;
use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};

/// Longest message that is read; session setups are far shorter.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;
/// Longest bundle that is read though something else stands first in it: clients connect before they read.
const BUNDLE_BYTES_MAX: usize = 2 * 1024;
/// Longest name that is read.
const NAME_BYTES_MAX: usize = 512;
/// Messages bundled in one (MS-SMB2 §3.2.4.1.4).
const COMPOUND_MAX: usize = 8;
/// Message types of the NetBIOS session service (RFC 1002 §4.3.1).
const SESSION_MESSAGE: u8 = 0;
const SESSION_REQUEST: u8 = 0x81;
const SESSION_RESPONSE: u8 = 0x82;

/// Reads one direction.
#[derive(Default)]
pub(crate) struct SideReader {
    /// Messages in a row that could not be told.
    odd: u8,
}

/// Whether bytes begin a session; `None` when they are too few to tell.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [SESSION_REQUEST, 0, 0, 0x44, 0x20, ..] | [SESSION_RESPONSE, 0, 0, 0, ..] => Some(true),
        [SESSION_REQUEST, 0, 0, 0x44] | [SESSION_REQUEST | SESSION_RESPONSE, 0, 0] => None,
        [SESSION_REQUEST | SESSION_RESPONSE, 0] | [SESSION_REQUEST | SESSION_RESPONSE] => None,
        [SESSION_MESSAGE, _, _, _, 0xfc..=0xff, rest @ ..] => begins_with(rest, b"SMB"),
        [SESSION_MESSAGE, rest @ ..] if rest.len() < 4 => None,
        _ => Some(false),
    }
}

impl SideReader {
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let Some(([kind, high, middle, low], rest)) = bytes.split_first_chunk::<4>() else {
            return Step::Consumed(0);
        };
        let size = usize::try_from(u32::from_be_bytes([0, *high, *middle, *low])).unwrap_or(usize::MAX);
        if *kind != SESSION_MESSAGE {
            let known = matches!(kind, 0x81..=0x85) && size <= 0xff;
            return if known { Step::Skip(size as u64 + 4) } else { Step::Done };
        }
        let skip = Step::Skip(size as u64 + 4);
        if size < HEAD_MIN {
            return skip;
        }
        let Some(head) = rest.get(..HEAD_MIN) else { return Step::Consumed(0) };
        let size_max = read_max(head);
        if size_max == 0 {
            // Encrypted (MS-SMB2 §2.2.41): so is the rest.
            let encrypted = head.starts_with(b"\xfdSMB");
            self.odd = if has_known_magic(head) { 0 } else { self.odd + 1 };
            return if encrypted || self.odd > 3 { Step::Done } else { skip };
        }
        if size > size_max {
            sink.counters.names_malformed += u64::from(size_max == MESSAGE_BYTES_MAX);
            return skip;
        }
        let Some(message) = rest.get(..size) else { return Step::Consumed(0) };
        read_message(message, sink);
        Step::Consumed(size + 4)
    }
}

/// As much of a message as tells what it is.
const HEAD_MIN: usize = 32;

fn has_known_magic(head: &[u8]) -> bool {
    matches!(head, [0xfc..=0xff, b'S', b'M', b'B', ..])
}

/// Up to which size a message may hold a name: session setups and tree connects, and what is bundled.
fn read_max(head: &[u8]) -> usize {
    let holds_name = match head.first_chunk::<4>() {
        Some(b"\xffSMB") => matches!(head.get(4), Some(0x73 | 0x75)),
        Some(b"\xfeSMB") => matches!(number_at(head, 12, 2), Some(1 | 3)),
        _ => return 0,
    };
    let is_bundle = head.starts_with(b"\xfe") && number_at(head, 20, 4).is_some_and(|next| next > 0);
    match (holds_name, is_bundle) {
        (true, _) => MESSAGE_BYTES_MAX,
        (false, true) => BUNDLE_BYTES_MAX,
        (false, false) => 0,
    }
}

fn read_message(message: &[u8], sink: &mut Sink<'_>) {
    if message.starts_with(b"\xffSMB") {
        read_version_1(message, sink);
        return;
    }
    let mut rest = message;
    for _ in 0..COMPOUND_MAX {
        let next = number_at(rest, 20, 4).filter(|next| *next > 0);
        let one = next.and_then(|next| rest.get(..next)).unwrap_or(rest);
        read_version_2(one, sink);
        let Some(after) = next.and_then(|next| rest.get(next..)) else { return };
        rest = after;
    }
}

/// MS-SMB2 §2.2.1, §2.2.5, §2.2.9.
fn read_version_2(message: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let is_answer = message.get(16)? & 1 != 0;
    match number_at(message, 12, 2)? {
        1 => read_ntlm(message.get(64..)?, sink),
        3 if !is_answer => {
            let (at, length) = (number_at(message, 68, 2)?, number_at(message, 70, 2)?);
            sight_share(message.get(at..at.checked_add(length)?)?, true, sink)
        }
        _ => None,
    }
}

/// MS-CIFS §2.2.4.53, §2.2.4.55.
fn read_version_1(message: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let is_answer = message.get(9)? & 0x80 != 0;
    let unicode = message.get(11)? & 0x80 != 0;
    if message.get(4) == Some(&0x73) {
        return read_ntlm(message.get(32..)?, sink);
    }
    if is_answer {
        return None;
    }
    let words = usize::from(*message.get(32)?);
    let password = number_at(message, 39, 2)?;
    let at = 33 + 2 * words + 2 + password;
    let path = message.get(at..)?;
    // A path of two-byte characters begins at an even place of the message.
    let path = if unicode { path.get(at % 2..)? } else { path };
    let end = match unicode {
        true => path.chunks(2).position(|pair| pair == [0, 0]).map_or(path.len(), |at| 2 * at),
        false => memchr::memchr(0, path)?,
    };
    sight_share(path.get(..end)?, unicode, sink)
}

/// MS-NLMP §2.2.1: the names that sides call themselves by. Users and responses are left alone.
fn read_ntlm(blob: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let message = blob.get(memchr::memmem::find(blob, b"NTLMSSP\0")?..)?;
    let field = |at: usize| {
        let (length, offset) = (number_at(message, at, 2)?, number_at(message, at + 4, 4)?);
        message.get(offset..offset.checked_add(length)?)
    };
    match number_at(message, 8, 4)? {
        1 => {
            // In the code page of the client (§2.2.1.1).
            let given = number_at(message, 12, 4)?;
            let domain = (given & 0x1000 != 0).then(|| field(16)).flatten();
            let workstation = (given & 0x2000 != 0).then(|| field(24)).flatten();
            for name in [domain, workstation].into_iter().flatten() {
                sight_name(&String::from_utf8_lossy(name), sink);
            }
        }
        2 => {
            let unicode = number_at(message, 20, 4)? & 1 != 0;
            sight_text(field(12)?, unicode, sink);
            read_target_info(field(40)?, sink);
        }
        3 => {
            let unicode = number_at(message, 60, 4)? & 1 != 0;
            for name in [field(28), field(44)].into_iter().flatten() {
                sight_text(name, unicode, sink);
            }
        }
        _ => {}
    }
    Some(())
}

/// Pairs of a kind and a text (MS-NLMP §2.2.2.1): 1 to 5 are names of computer, domain and forest.
fn read_target_info(mut pairs: &[u8], sink: &mut Sink<'_>) {
    for _ in 0..16 {
        let (Some(kind), Some(length)) = (number_at(pairs, 0, 2), number_at(pairs, 2, 2)) else { return };
        let Some(value) = pairs.get(4..4 + length) else { return };
        if kind == 0 {
            return;
        }
        if kind <= 5 {
            sight_text(value, true, sink);
        }
        pairs = pairs.get(4 + length..).unwrap_or_default();
    }
}

/// The host in `\\host\share`.
fn sight_share(path: &[u8], unicode: bool, sink: &mut Sink<'_>) -> Option<()> {
    let path = text_of(path, unicode)?;
    let host = path.trim_start_matches('\\').split('\\').next()?;
    sight_name(host, sink);
    Some(())
}

fn sight_text(text: &[u8], unicode: bool, sink: &mut Sink<'_>) {
    if let Some(name) = text_of(text, unicode) {
        sight_name(&name, sink);
    }
}

fn text_of(text: &[u8], unicode: bool) -> Option<String> {
    let text = text.get(..NAME_BYTES_MAX).unwrap_or(text);
    Some(if unicode { from_utf16(text) } else { String::from_utf8_lossy(text).into_owned() })
}

/// Text of two-byte characters, lower byte first.
pub(crate) fn from_utf16(text: &[u8]) -> String {
    let units = text
        .chunks_exact(2)
        .map(|pair| pair.iter().rev().fold(0, |unit, byte| (unit << 8) | u16::from(*byte)));
    char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// Sights a name of the network; flat names of workgroups say nothing outside of them.
fn sight_name(name: &str, sink: &mut Sink<'_>) {
    let seen = match name.parse::<IpAddr>() {
        Ok(address) => Seen::Ip(address),
        Err(_) if name.trim_matches('.').contains('.') => Seen::HostName(name),
        Err(_) => return,
    };
    sink.sight(Sighting::new(seen, SeenIn::SmbName, name.as_bytes()));
}

/// A number of so many bytes, the lowest first.
fn number_at(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let field = bytes.get(at..at.checked_add(length)?)?;
    Some(field.iter().rev().fold(0, |number, byte| (number << 8) | usize::from(*byte)))
}

#[cfg(test)]
#[path = "smb_tests.rs"]
mod tests;

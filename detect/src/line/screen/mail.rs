//! E-mail addresses that are looked for by themselves; those of a domain are found by its name.

use protocol::index::Value;
use protocol::observable::Email;

use super::Look;
use super::bytes::{self, FOREIGN, NAME, UPPER};

/// What never stands in the local part of an address; the rest is for the line's format to tell.
fn ends_local(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, b'<' | b'>' | b'"' | b',' | b';' | b'@' | 0x7f)
}

/// The longest local part that is looked at.
const LOCAL_BYTES_MAX: usize = 256;
/// Marks in a local part, at each of which it may begin.
const MARKS_MAX: usize = 8;

impl Look<'_> {
    pub(super) fn emails(&mut self) -> bool {
        memchr::memchr_iter(b'@', self.line).any(|at| self.email(at))
    }

    fn email(&mut self, at: usize) -> bool {
        let (before, after) = self.line.split_at_checked(at).unwrap_or_default();
        let after = after.get(1..).unwrap_or_default();
        if after.first() == Some(&b'[') {
            return true; // an address in brackets, which is rare
        }
        let window = before.get(before.len().saturating_sub(LOCAL_BYTES_MAX)..).unwrap_or_default();
        let length = window.iter().rev().take_while(|byte| !ends_local(**byte)).count();
        let local = window.get(window.len() - length..).unwrap_or_default();
        let (domain, _) = bytes::run(after.iter(), NAME);
        let domain = after.get(..domain).unwrap_or_default();
        if local.is_empty() || domain.is_empty() {
            return false;
        }
        // It begins after any of these marks, or before one that may belong to it.
        let mut start = Some(0);
        let mut marks = 0;
        while let Some(from) = start {
            marks += 1;
            if marks > MARKS_MAX {
                return true;
            }
            let rest = local.get(from..).unwrap_or_default();
            if self.email_of(rest, domain) {
                return true;
            }
            let is_mark = |byte: &u8| !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'_' | 0x80..);
            let mark = rest.iter().position(is_mark);
            start = mark.map(|mark| from + mark + 1).filter(|from| *from < local.len());
        }
        false
    }

    fn email_of(&mut self, local: &[u8], domain: &[u8]) -> bool {
        let outer = local.iter().take_while(|byte| **byte == b'.').count();
        let inner = local.get(outer..).unwrap_or_default();
        let last = domain.iter().rev().take_while(|byte| matches!(byte, b'.' | b'-')).count();
        let trimmed = domain.get(..domain.len() - last).unwrap_or_default();
        self.one_email(inner, trimmed)
            || (outer > 0 && self.one_email(local, trimmed))
            || (last > 0 && self.one_email(inner, domain))
    }

    fn one_email(&mut self, local: &[u8], domain: &[u8]) -> bool {
        let plain = &mut self.room.plain;
        plain.clear();
        for part in [local, b"@", domain] {
            plain.extend_from_slice(part);
        }
        let Ok(text) = std::str::from_utf8(plain) else { return false };
        // Most are written plainly.
        let changes = |byte: &u8| bytes::kind(*byte) & (UPPER | FOREIGN) != 0;
        if !plain.iter().any(changes) && plain.last() != Some(&b'.') {
            return self.layers.may_hold(Value::Email(text));
        }
        self.room.normal.clear();
        Email::normalise(text, &mut self.room.normal).is_ok()
            && self.layers.may_hold(Value::Email(&self.room.normal))
    }
}

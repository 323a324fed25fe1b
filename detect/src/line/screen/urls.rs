//! URLs: those in normal form are looked up as they stand, others are brought into it first.

use protocol::index::Value;
use protocol::url::{self, URL_BYTES_MAX};

use super::Look;
use super::bytes::{self, DASH, DIGIT, DOT, FOREIGN, LETTER, LOWER};
use crate::line::words;

/// Of a line with more URLs nobody asks here how many of them count.
const URLS_MAX: usize = 64;
/// A longer run of letters before `://` is no scheme that anybody uses.
const SCHEME_BYTES_MAX: usize = 16;

impl Look<'_> {
    /// The text around `://` or what stands for it.
    pub(super) fn scheme_end(&mut self, colon: usize) -> bool {
        let after = self.line.get(colon + 1..).unwrap_or_default();
        let plain = after.starts_with(b"//");
        let escaped = after.starts_with(b"\\/\\/") || after.starts_with(b"\\u002");
        if !plain && !escaped {
            return false;
        }
        let before = self.line.get(..colon).unwrap_or_default();
        let window = before.get(before.len().saturating_sub(SCHEME_BYTES_MAX)..).unwrap_or(before);
        let (letters, kinds) = bytes::run(window.iter().rev(), LETTER | DIGIT);
        let start = colon - letters;
        if letters == 0 {
            return false;
        }
        self.urls_seen += 1;
        let joined = matches!(self.byte_before(start), Some(b'+' | b'-' | b'.'))
            && self.byte_before(start - 1).is_some_and(|byte| bytes::kind(byte) & (LETTER | DIGIT) != 0);
        if letters == SCHEME_BYTES_MAX || joined || self.urls_seen > URLS_MAX {
            return true;
        }
        let rest = self.line.get(start..).unwrap_or_default();
        let rest = rest.get(..=URL_BYTES_MAX).unwrap_or(rest);
        if escaped {
            return self.unescaped_url(rest);
        }
        let end = rest.iter().position(|byte| words::ends_url(*byte)).unwrap_or(rest.len());
        let text = rest.get(..end).unwrap_or_default();
        let is_normal = kinds & !LOWER & !bytes::HEX == 0 && is_normal(text, letters + 3);
        if self.url_with_ends(text, is_normal) {
            return true;
        }
        match rest.get(end) {
            None | Some(0..=b' ' | b'"' | b'<' | b'>') => false,
            Some(b'\\') => self.unescaped_url(rest),
            Some(_) => {
                let ends = |byte: &u8| *byte <= b' ' || matches!(byte, b'"' | b'<' | b'>' | b'\\' | 0x7f);
                let end = rest.iter().position(ends).unwrap_or(rest.len());
                self.url_with_ends(rest.get(..end).unwrap_or_default(), false)
            }
        }
    }

    /// A URL that ends where no URL goes on, or at a mark before.
    fn url_with_ends(&mut self, text: &[u8], is_normal: bool) -> bool {
        let Ok(text) = std::str::from_utf8(text) else { return true };
        if self.url(text, is_normal) {
            return true;
        }
        let ends_plain = text
            .bytes()
            .next_back()
            .is_some_and(|byte| bytes::kind(byte) & (LETTER | DIGIT) != 0 || byte == b'/');
        if !ends_plain && words::trim_sentence(text).is_some_and(|text| self.url(text, is_normal)) {
            return true;
        }
        let Some(end) = text.bytes().position(ends_softly) else { return false };
        text.get(..end).is_some_and(|text| self.url(text, is_normal))
    }

    fn url(&mut self, text: &str, is_normal: bool) -> bool {
        if is_normal {
            return self.layers.may_hold(Value::UrlKey(text));
        }
        let Ok((_, host_end)) = url::normalise(text, &mut self.room.normal) else { return false };
        let key = url::match_key(&self.room.normal, host_end);
        self.layers.may_hold(Value::UrlKey(&key))
    }

    /// A URL with escapes of JSON.
    fn unescaped_url(&mut self, written: &[u8]) -> bool {
        let mut plain = std::mem::take(&mut self.room.plain);
        unescape(written, |byte| byte <= b' ' || byte == b'"', &mut plain);
        let end = plain.iter().position(|byte| words::ends_url(*byte)).unwrap_or(plain.len());
        let may = plain.get(..end).is_some_and(|text| self.url_with_ends(text, false))
            || (end < plain.len() && self.url_with_ends(&plain, false));
        self.room.plain = plain;
        may || self.url_of_php(written)
    }

    /// The URL as the scan reads one whose slashes only are escaped.
    fn url_of_php(&mut self, written: &[u8]) -> bool {
        let ends = |byte: &u8| words::ends_url(*byte) && *byte != b'\\';
        let end = written.iter().position(ends).unwrap_or(written.len());
        let Ok(text) = std::str::from_utf8(written.get(..end).unwrap_or_default()) else { return true };
        let plain = text.replace("\\/", "/");
        let text = plain.split('\\').next().unwrap_or_default();
        self.url_with_ends(text.as_bytes(), false)
    }
}

/// What may end a URL before its line's format does, or the other way round.
#[inline]
fn ends_softly(byte: u8) -> bool {
    matches!(byte, b',' | b';' | b'\'' | b')' | b']' | b'|')
}

/// Whether a URL whose scheme and `://` take `authority` bytes is what it is compared by: the host in lower case
/// without port, a path, no fragment. The host may still be none.
fn is_normal(text: &[u8], authority: usize) -> bool {
    let rest = text.get(authority..).unwrap_or_default();
    let (host, kinds) = bytes::run(rest.iter(), LOWER | DIGIT | DOT | DASH);
    let path = rest.get(host..).unwrap_or_default();
    let ends_in_dot = host.checked_sub(1).and_then(|last| rest.get(last)) == Some(&b'.');
    let is_name = kinds & !(LOWER | DIGIT | DOT | DASH | bytes::HEX) == 0 && !ends_in_dot;
    is_name
        && path.first() == Some(&b'/')
        && memchr::memchr(b'#', path).is_none()
        && !path.iter().any(|byte| bytes::kind(*byte) & FOREIGN != 0)
}

/// What a text with escapes of JSON stands for, up to its end.
pub(super) fn unescape(written: &[u8], ends: impl Fn(u8) -> bool, into: &mut Vec<u8>) {
    into.clear();
    let mut rest = written;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if ends(*byte) {
            break;
        }
        if *byte != b'\\' {
            into.push(*byte);
            continue;
        }
        let Some((escape, after)) = rest.split_first() else { break };
        rest = after;
        match escape {
            b'u' => {
                let code = rest.get(..4).and_then(|digits| std::str::from_utf8(digits).ok());
                let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let letter = code.and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
                into.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
                rest = rest.get(4..).unwrap_or_default();
            }
            b'n' => into.push(b'\n'),
            b'r' => into.push(b'\r'),
            b't' => into.push(b'\t'),
            other => into.push(*other),
        }
    }
}

//! URLs whose host and path stand apart. Which belongs to which only the format knows: every host of the line is asked
//! for with every path.

use std::ops::Range;

use protocol::index::Value;
use protocol::url;

use super::Look;
use super::bytes::{self, DIGIT};
use super::urls::unescape;
use crate::line::words;

/// A line with more hosts or paths is read in full.
const HOSTS_MAX: usize = 8;
const PATHS_MAX: usize = 4;

impl Look<'_> {
    #[inline]
    pub(super) fn note_host(&mut self, span: Range<usize>) {
        if self.looks.urls && self.room.hosts.len() <= HOSTS_MAX {
            self.room.hosts.push(span);
        }
    }

    /// Most addresses are none: the host of a URL has a field of its own.
    #[inline]
    pub(super) fn note_host_of_digits(&mut self, before: u8, span: Range<usize>, dots: u32) {
        let has_path = || self.line.get(span.end..).is_some_and(|after| after.starts_with(b":/"));
        if dots >= 3 && span.len() >= 7 && (matches!(before, b'"' | b'\t' | b'{' | b'=' | b']') || has_path())
        {
            self.note_host(span);
        }
    }

    pub(super) fn urls_of_parts(&mut self) -> bool {
        if self.room.hosts.is_empty() {
            return false;
        }
        let hosts = std::mem::take(&mut self.room.hosts);
        let may = hosts.iter().any(|host| self.path_behind(host)) || self.paths_beside(&hosts);
        self.room.hosts = hosts;
        may
    }

    /// `host/path` without a scheme.
    fn path_behind(&mut self, host: &Range<usize>) -> bool {
        let rest = self.line.get(host.start..).unwrap_or_default();
        let length = host.end - host.start;
        let port = rest.get(length..).unwrap_or_default();
        let port = match port.split_first() {
            Some((b':', digits)) => 1 + bytes::run(digits.iter(), DIGIT).0,
            _ => 0,
        };
        // What follows an address may be a port or the length of a prefix.
        let is_number = rest.get(length + port + 1).is_none_or(u8::is_ascii_digit)
            && rest.get(length - 1).is_some_and(u8::is_ascii_digit);
        rest.get(length + port) == Some(&b'/') && !is_number && self.url_of_parts(b"", path_of(rest))
    }

    fn paths_beside(&mut self, hosts: &[Range<usize>]) -> bool {
        let line = self.line;
        let mut paths = 0;
        for slash in memchr::memchr_iter(b'/', line) {
            let before = slash.checked_sub(1).and_then(|at| line.get(at)).copied().unwrap_or(b' ');
            let before = if before == b'\\' {
                slash.checked_sub(2).and_then(|at| line.get(at)).copied().unwrap_or(b' ')
            } else {
                before
            };
            let is_path =
                matches!(before, b' ' | b'"' | b'\'' | b'\t' | b'=' | b'|' | b',' | b';' | b'(' | b'[')
                    || (before == b':' && line.get(slash + 1) != Some(&b'/'));
            if !is_path {
                continue;
            }
            paths += 1;
            if paths > PATHS_MAX || hosts.len() > HOSTS_MAX {
                return true;
            }
            let path = path_of(line.get(slash..).unwrap_or_default());
            for host in hosts {
                let bare = line.get(host.clone()).unwrap_or_default();
                let after = line.get(host.end..).unwrap_or_default();
                let port = match after.split_first() {
                    Some((b':', digits)) => 1 + bytes::run(digits.iter(), DIGIT).0,
                    _ => 0,
                };
                let with_port = line.get(host.start..host.end + port).unwrap_or(bare);
                if self.url_of_parts(bare, path) || (port > 1 && self.url_of_parts(with_port, path)) {
                    return true;
                }
            }
        }
        false
    }

    fn url_of_parts(&mut self, host: &[u8], path: &[u8]) -> bool {
        if memchr::memchr(b'\\', path).is_none() {
            return self.url_in_schemes(host, path);
        }
        let mut plain = std::mem::take(&mut self.room.unescaped);
        unescape(path, |_| false, &mut plain);
        let may = self.url_in_schemes(host, &plain) || self.url_in_schemes(host, path);
        self.room.unescaped = plain;
        may
    }

    fn url_in_schemes(&mut self, host: &[u8], path: &[u8]) -> bool {
        [&b"http://"[..], b"https://"].iter().any(|scheme| {
            let plain = &mut self.room.plain;
            plain.clear();
            for part in [scheme, host, path] {
                plain.extend_from_slice(part);
            }
            let Ok(text) = std::str::from_utf8(plain) else { return true };
            let Ok((_, host_end)) = url::normalise(text, &mut self.room.normal) else { return false };
            let key = url::match_key(&self.room.normal, host_end);
            let may = self.layers.may_hold(Value::UrlKey(&key));
            may || words::trim_sentence(text).is_some_and(|trimmed| {
                trimmed.len() < text.len()
                    && url::normalise(trimmed, &mut self.room.normal).is_ok_and(|(_, host_end)| {
                        self.layers.may_hold(Value::UrlKey(&url::match_key(&self.room.normal, host_end)))
                    })
            })
        })
    }
}

/// A path up to the space or quote behind it.
fn path_of(rest: &[u8]) -> &[u8] {
    let rest = rest.get(..url::URL_BYTES_MAX).unwrap_or(rest);
    let mut escaped = false;
    let ends = |byte: &u8| {
        let ends = *byte <= b' ' || (*byte == b'"' && !escaped);
        escaped = *byte == b'\\' && !escaped;
        ends
    };
    let end = rest.iter().position(ends).unwrap_or(rest.len());
    rest.get(..end).unwrap_or_default()
}

//! URLs in the text parts of a message: transfer encodings undone as the bytes come, under one limit of output.

use std::borrow::Cow;

use protocol::SeenIn;

use crate::line::url_text;
use crate::lines::{PIECE_BYTES_MAX, Piece};
use crate::sighting::{Seen, Sighting, Sink};

/// Decoded text of one message in which URLs are looked for; of the rest, nothing is read.
const TEXT_BYTES_MAX: usize = 256 * 1024;

/// URLs looked for inside another one.
const URLS_INSIDE_MAX: usize = 4;

/// How the text of a part is written (RFC 2045 §6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Plain,
    QuotedPrintable,
    Base64,
    /// Something that is no text, such as uuencode.
    Unknown,
}

impl Coding {
    pub fn of(value: &[u8]) -> Self {
        let name = value.trim_ascii();
        let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
        if is(b"7bit") || is(b"8bit") || is(b"binary") || name.is_empty() {
            Self::Plain
        } else if is(b"quoted-printable") {
            Self::QuotedPrintable
        } else if is(b"base64") {
            Self::Base64
        } else {
            Self::Unknown
        }
    }
}

/// The text parts of one message.
#[derive(Default)]
pub(super) struct Text {
    coding: Coding,
    is_html: bool,
    /// Text whose line has not ended.
    kept: Vec<u8>,
    /// Text read of this message.
    read: usize,
    /// Base64: bits that make no byte yet, and how many.
    bits: (u32, u32),
    escape: Escape,
}

/// What of an escape of quoted-printable has come (RFC 2045 §6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Escape {
    #[default]
    None,
    Begun,
    Digit(u8),
}

impl Text {
    /// A part begins.
    pub fn begin(&mut self, coding: Coding, is_html: bool) {
        self.kept.clear();
        (self.coding, self.is_html) = (coding, is_html);
        (self.bits, self.escape) = ((0, 0), Escape::None);
    }

    /// The part ended.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        self.scan_kept(sink);
        self.kept = Vec::new();
    }

    pub fn held(&self) -> usize {
        self.kept.capacity()
    }

    /// Whether the limit of the message is reached.
    pub fn is_full(&self) -> bool {
        self.read >= TEXT_BYTES_MAX
    }

    /// Reads a line of the part.
    pub fn read(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        if self.is_full() {
            return;
        }
        match self.coding {
            Coding::Plain if piece.begins && piece.ends => {
                self.read += piece.text.len() + 1;
                scan(piece.text, self.is_html, sink);
            }
            Coding::Plain => {
                for byte in piece.text {
                    self.push(*byte, sink);
                }
                if piece.ends {
                    self.push(b'\n', sink);
                }
            }
            Coding::QuotedPrintable => self.read_quoted(piece, sink),
            Coding::Base64 => self.read_base64(piece.text, sink),
            Coding::Unknown => {}
        }
        if self.is_full() {
            sink.counters.mail_text_cut += 1;
            self.end(sink);
        }
    }

    fn read_quoted(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        // White space before the end of a line was added on the way.
        let text = if piece.ends { piece.text.trim_ascii_end() } else { piece.text };
        for byte in text {
            match (self.escape, *byte) {
                (Escape::None, b'=') => self.escape = Escape::Begun,
                (Escape::None, byte) => self.push(byte, sink),
                (Escape::Begun, byte) if byte.is_ascii_hexdigit() => self.escape = Escape::Digit(byte),
                (Escape::Digit(high), low) if low.is_ascii_hexdigit() => {
                    self.escape = Escape::None;
                    self.push((digit(high) << 4) | digit(low), sink);
                }
                // No escape: it stands for itself.
                (Escape::Begun, byte) => {
                    self.escape = Escape::None;
                    self.push(b'=', sink);
                    self.push(byte, sink);
                }
                (Escape::Digit(high), byte) => {
                    self.escape = Escape::None;
                    for byte in [b'=', high, byte] {
                        self.push(byte, sink);
                    }
                }
            }
        }
        if piece.ends {
            match std::mem::take(&mut self.escape) {
                Escape::Begun => {} // the line goes on
                Escape::None | Escape::Digit(_) => self.push(b'\n', sink),
            }
        }
    }

    fn read_base64(&mut self, text: &[u8], sink: &mut Sink<'_>) {
        for byte in text {
            let Some(value) = sextet(*byte) else {
                if *byte == b'=' {
                    self.bits = (0, 0);
                }
                continue;
            };
            let (bits, count) = self.bits;
            let (bits, count) = ((bits << 6) | u32::from(value), count + 6);
            if count < 8 {
                self.bits = (bits, count);
                continue;
            }
            let rest = count - 8;
            self.bits = (bits & ((1 << rest) - 1), rest);
            self.push(u8::try_from((bits >> rest) & 0xff).unwrap_or_default(), sink);
        }
    }

    /// Takes a byte of text. Lines are looked at when they end; very long ones where a word ends.
    fn push(&mut self, byte: u8, sink: &mut Sink<'_>) {
        self.read += 1;
        if byte == b'\n' {
            return self.scan_kept(sink);
        }
        self.kept.push(byte);
        if self.kept.len() < PIECE_BYTES_MAX {
            return;
        }
        let ends_word = |byte: &u8| matches!(byte, b' ' | b'\t' | b'<' | b'>' | b'"');
        let end = self.kept.iter().rposition(ends_word).unwrap_or(self.kept.len());
        scan(self.kept.get(..end).unwrap_or_default(), self.is_html, sink);
        self.kept.drain(..end.max(1));
    }

    fn scan_kept(&mut self, sink: &mut Sink<'_>) {
        scan(&self.kept, self.is_html, sink);
        self.kept.clear();
    }
}

fn digit(hex: u8) -> u8 {
    match hex {
        b'0'..=b'9' => hex - b'0',
        _ => (hex | 0x20).wrapping_sub(b'a' - 10),
    }
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

/// Sights the URLs of a line. The evidence is the URL alone: what people write to each other stays in the town.
fn scan(line: &[u8], is_html: bool, sink: &mut Sink<'_>) {
    let (mut end, mut inside) = (0, 0);
    for colon in memchr::memchr_iter(b':', line) {
        if line.get(colon + 1..colon + 3) != Some(b"//") {
            continue;
        }
        // A URL that redirects holds others.
        inside = if colon < end { inside + 1 } else { 0 };
        if inside > URLS_INSIDE_MAX || !has_known_scheme(line, colon) {
            continue;
        }
        let Some((start, url)) = url_text(line, colon) else { continue };
        end = end.max(start + url.len());
        let url = if is_html && url.contains("&amp;") {
            Cow::Owned(url.replace("&amp;", "&"))
        } else {
            Cow::Borrowed(url)
        };
        sink.sight(Sighting::new(Seen::Url(&url), SeenIn::SmtpUrl, url.as_bytes()));
    }
}

fn has_known_scheme(line: &[u8], colon: usize) -> bool {
    let before = line.get(colon.saturating_sub(5)..colon).unwrap_or_default();
    [&b"http"[..], b"https", b"ftp"].iter().any(|scheme| {
        let start = before.len().checked_sub(scheme.len());
        start.and_then(|start| before.get(start..)).is_some_and(|end| end.eq_ignore_ascii_case(scheme))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;
    use crate::made::{seen_by, strings};

    fn seen(coding: Coding, is_html: bool, body: &[u8]) -> Vec<String> {
        let (seen, _) = seen_by(|sink| {
            let (mut text, mut lines, mut rest) = (Text::default(), Lines::default(), body);
            text.begin(coding, is_html);
            while let Some(piece) = lines.next_of_counted(rest) {
                text.read(&piece, sink);
                rest = &rest[piece.used..];
            }
            text.end(sink);
        });
        seen
    }

    fn check(coding: Coding, body: &str, expected: &[&str]) {
        assert_eq!(seen(coding, false, body.as_bytes()), strings(expected), "{body:?}");
    }

    #[test]
    fn urls_are_read_in_each_coding() {
        check(Coding::Plain, "See (http://Evil.example/a), now.\r\n", &["smtp.url http://evil.example/a"]);
        check(
            Coding::QuotedPrintable,
            "x=20http://evil.ex=\r\nample/?q=3D1=\r\n&b  \r\nhttps://b.example/=zz\r\n",
            &["smtp.url http://evil.example/?q=1&b", "smtp.url https://b.example/=zz"],
        );
        check(Coding::Base64, "aHR0cDovL2V2\r\naWwuZXhhbXBs\r\nZS9h", &["smtp.url http://evil.example/a"]);
        check(Coding::Base64, "aHR0cDovL2V2aWwuZXhhbXBsZS9hCg==", &["smtp.url http://evil.example/a"]);
        check(Coding::Unknown, "http://evil.example/a\r\n", &[]);
        check(Coding::Plain, "mailto://x ://y a://b gopher://evil.example/\r\n", &[]);
    }

    #[test]
    fn html_writes_ampersands_as_entities() {
        let html = seen(Coding::Plain, true, b"<a href='http://evil.example/?a=1&amp;b=2'>x</a>");
        assert_eq!(html, ["smtp.url http://evil.example/?a=1&b=2"]);
    }

    #[test]
    fn a_url_at_the_end_of_a_piece_is_whole() {
        for length in PIECE_BYTES_MAX - 40..PIECE_BYTES_MAX + 3 {
            let body = format!("{} http://evil.example/a b\r\n", "x".repeat(length));
            assert_eq!(
                seen(Coding::Plain, false, body.as_bytes()),
                ["smtp.url http://evil.example/a"],
                "{length}"
            );
        }
    }

    #[test]
    fn no_more_than_the_limit_is_read() {
        let mut body = "x\r\n".repeat(TEXT_BYTES_MAX / 2);
        body.push_str("http://evil.example/a\r\n");
        assert_eq!(seen(Coding::Plain, false, body.as_bytes()), strings(&[]));
    }
}

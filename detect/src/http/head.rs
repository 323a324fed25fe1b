//! Heads of HTTP/1 messages: where they begin and end, their lines and fields. Reads as leniently as servers do, and
//! copies nothing: what is odd in one field does not hide the others.

use std::borrow::Cow;

/// Longest method that is believed; the longest registered one has 17 letters (UPDATEREDIRECTREF).
const METHOD_BYTES_MAX: usize = 24;
/// A first line without its end is waited for up to this length before it is judged.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// Methods that are believed before their line has ended, or when it names no version (HTTP/0.9).
const METHODS: [&[u8]; 10] =
    [b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE", b"CONNECT", b"PROPFIND"];

/// Whether the bytes begin a request, any line ends before it included. `None` when they are too few to tell.
///
/// SMTP, FTP, RTSP and SIP look alike: the line must name HTTP as its version, or a known method and a path.
pub(crate) fn begins_request(bytes: &[u8]) -> Option<bool> {
    let bytes = skip_line_ends(bytes);
    let is_letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte); // RFC 9110 §5.6.2
    let letters = bytes.iter().take(METHOD_BYTES_MAX + 1).take_while(|byte| is_letter(byte)).count();
    let (method, rest) = bytes.split_at_checked(letters)?;
    match rest.first() {
        _ if letters > METHOD_BYTES_MAX => return Some(false),
        None => return None,
        Some(b' ' | b'\t') if letters > 0 => {}
        Some(_) => return Some(false),
    }
    let known = METHODS.contains(&method);
    let Some(end) = memchr::memchr(b'\n', rest) else {
        let target = rest.trim_ascii_start();
        return match target.first() {
            Some(b'/') if known => Some(true),
            Some(_) if known && begins_with(target, b"http://") => Some(true),
            _ if rest.len() < LINE_BYTES_MAX => None,
            _ => Some(false),
        };
    };
    let line = RequestLine::of(bytes.get(..letters + end).unwrap_or(bytes));
    let foreign = || line.target.rsplit(|byte| is_blank(*byte)).next().is_some_and(names_other_protocol);
    Some(line.version.is_some() || (known && line.target.starts_with(b"/") && !foreign()))
}

/// Whether the bytes begin like a request with one of the usual methods, as far as they go.
pub(crate) fn begins_known_method(bytes: &[u8]) -> bool {
    METHODS.iter().any(|method| match bytes.strip_prefix(*method) {
        Some(rest) => rest.first().is_none_or(|byte| is_blank(*byte)),
        None => method.starts_with(bytes),
    })
}

/// Whether the bytes begin a response; `None` when they are too few to tell.
pub(crate) fn begins_response(bytes: &[u8]) -> Option<bool> {
    let start = b"HTTP/1.";
    match bytes.get(..start.len()) {
        Some(first) => Some(first == start),
        None if start.starts_with(bytes) => None,
        None => Some(false),
    }
}

/// A version such as `RTSP/1.0` or `SIP/2.0` at the end of a line.
fn names_other_protocol(word: &[u8]) -> bool {
    match word {
        [name @ .., b'/', major, b'.', minor] => {
            let is_name = (2..=6).contains(&name.len()) && name.iter().all(u8::is_ascii_uppercase);
            is_name && major.is_ascii_digit() && minor.is_ascii_digit()
        }
        _ => false,
    }
}

fn begins_with(bytes: &[u8], text: &[u8]) -> bool {
    bytes.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// The bytes after the line ends that a client may send before a request (RFC 9112 §2.2).
pub(crate) fn skip_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

/// Where the empty line after the fields ends, looked for from `from` on. A bare LF is a line end too (RFC 9112 §2.2).
pub(crate) fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let fresh = bytes.get(from..)?;
    memchr::memchr_iter(b'\n', fresh).find_map(|at| match fresh.get(at + 1..)? {
        [b'\n', ..] => Some(from + at + 2),
        [b'\r', b'\n', ..] => Some(from + at + 3),
        _ => None,
    })
}

/// The parts of a request's first line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    pub method: &'a [u8],
    /// May hold blanks, as some clients send them, or be empty.
    pub target: &'a [u8],
    /// `HTTP/` and what follows it; none in HTTP/0.9.
    pub version: Option<&'a [u8]>,
}

impl<'a> RequestLine<'a> {
    pub fn of(line: &'a [u8]) -> Self {
        let line = line.trim_ascii();
        let method_end = line.iter().position(|byte| is_blank(*byte)).unwrap_or(line.len());
        let (method, rest) = line.split_at_checked(method_end).unwrap_or((line, &[]));
        let last = rest.iter().rposition(|byte| is_blank(*byte)).map_or(0, |at| at + 1);
        match rest.split_at_checked(last) {
            Some((target, version)) if is_version(version) => {
                Self { method, target: target.trim_ascii(), version: Some(version) }
            }
            _ => Self { method, target: rest.trim_ascii(), version: None },
        }
    }
}

fn is_version(word: &[u8]) -> bool {
    begins_with(word, b"HTTP/") && word.get(5).is_some_and(u8::is_ascii_digit)
}

/// The status of a response's first line.
pub(crate) fn status_of(line: &[u8]) -> Option<u16> {
    let mut words = line.split(|byte| is_blank(*byte)).filter(|word| !word.is_empty());
    let number = words.nth(1)?.get(..3)?;
    std::str::from_utf8(number).ok()?.parse().ok().filter(|status| (100..1000).contains(status))
}

/// A head, whole or cut after a line.
#[derive(Clone, Copy)]
pub(crate) struct Head<'a> {
    pub whole: &'a [u8],
    pub line: &'a [u8],
    fields: &'a [u8],
}

impl<'a> Head<'a> {
    pub fn of(whole: &'a [u8]) -> Self {
        let (line, fields) = cut_line(whole);
        Self { whole, line, fields }
    }

    /// Name and value of each field; lines that are none are passed over.
    pub fn fields(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.fields;
        std::iter::from_fn(move || {
            while !rest.is_empty() {
                let (field, after) = cut_field(rest);
                rest = after;
                if let Some(found) = name_and_value(field) {
                    return Some(found);
                }
            }
            None
        })
    }
}

/// A field's name without the blanks that some put before the colon, and its value, which may span lines.
pub(crate) fn name_and_value(field: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name, value) = field.split_at_checked(memchr::memchr(b':', field)?)?;
    let name = name.trim_ascii();
    let is_name = !name.is_empty() && !name.iter().any(|byte| byte.is_ascii_whitespace());
    is_name.then(|| (name, value.get(1..).unwrap_or_default().trim_ascii()))
}

/// A line without its end, and what follows it.
pub(crate) fn cut_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let Some(end) = memchr::memchr(b'\n', bytes) else { return (bytes, &[]) };
    let line = bytes.get(..end).unwrap_or_default();
    (line.strip_suffix(b"\r").unwrap_or(line), bytes.get(end + 1..).unwrap_or_default())
}

/// A field with the lines folded into it (RFC 9112 §5.2), and what follows it.
fn cut_field(bytes: &[u8]) -> (&[u8], &[u8]) {
    let mut end = 0;
    loop {
        let rest = bytes.get(end..).unwrap_or_default();
        end += memchr::memchr(b'\n', rest).map_or(rest.len(), |at| at + 1);
        if !bytes.get(end).is_some_and(|byte| is_blank(*byte)) {
            break;
        }
    }
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

/// A value on one line: each fold is one blank (RFC 9112 §5.2). `None` when it is no text.
pub(crate) fn text_of(value: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(value).ok()?;
    if !text.contains('\n') {
        return Some(Cow::Borrowed(text));
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    Some(Cow::Owned(lines.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_told_from_other_protocols_by_their_first_line() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(true)),
            (b"GET /a", Some(true)),
            (b"\r\nPROPFIND /a", Some(true)),
            (b"OPTIONS * HTTP/1.1", None),
            (b"OPTIONS * HTTP/1.1\r\n", Some(true)),
            (b"OPTIONS HTTP/1.1\r\n", Some(true)),
            (b"GET http://evil.example/ HTTP/1.0\n", Some(true)),
            (b"CONNECT evil.example:443 HTTP/1.1\r\n", Some(true)),
            (b"get / HTTP/1.1\r\n", Some(true)),
            (b"X!y / http/1.0\r\n", Some(true)),
            (b"GET /old\r\n", Some(true)),
            (b"GE", None),
            (b"GET ", None),
            (b"CONNECT evil.exam", None),
            (b"EHLO mail.example\r\n", Some(false)),
            (b"USER mallory\r\n", Some(false)),
            (b"CWD /pub\r\n", Some(false)),
            (b"OPTIONS rtsp://cam.example/ RTSP/1.0\r\n", Some(false)),
            (b"GET /cam RTSP/1.0\r\n", Some(false)),
            (b"REGISTER sip:evil.example SIP/2.0\r\n", Some(false)),
            (b"SOURCE /radio ICE/1.0\r\n", Some(false)),
            (b"ICY 200 OK\r\n", Some(false)),
            (b"HTTP/1.1 200 OK\r\n", Some(false)),
            (b"\x16\x03\x01", Some(false)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ /", Some(false)),
        ] {
            assert_eq!(begins_request(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_request_line_has_two_or_three_parts() {
        for (line, target, version) in [
            ("GET /a HTTP/1.1", "/a", Some("HTTP/1.1")),
            ("GET  /a b  HTTP/1.1 ", "/a b", Some("HTTP/1.1")),
            ("GET /HTTP/1.1", "/HTTP/1.1", None),
            ("GET HTTP/1.1", "", Some("HTTP/1.1")),
            ("GET", "", None),
        ] {
            let found = RequestLine::of(line.as_bytes());
            let expected = RequestLine {
                method: b"GET",
                target: target.as_bytes(),
                version: version.map(str::as_bytes),
            };
            assert_eq!(found, expected, "{line:?}");
        }
    }

    #[test]
    fn odd_fields_are_read_as_servers_read_them() {
        let head = Head::of(b"GET / HTTP/1.1\r\n A : 1\r\nno field\r\nb:\n  2\r\n\t3\r\n:\r\nC:4");
        let fields: Vec<String> = head
            .fields()
            .map(|(name, value)| format!("{}={}", name.escape_ascii(), text_of(value).unwrap()))
            .collect();
        assert_eq!(fields, ["A=1", "b=2 3", "C=4"]);
    }

    #[test]
    fn a_head_ends_with_an_empty_line_of_either_kind() {
        for (bytes, end) in [
            (&b"a\r\n\r\nb"[..], Some(5)),
            (b"a\n\nb", Some(3)),
            (b"a\n\r\nb", Some(4)),
            (b"a\r\nb\r\n", None),
            (b"a\r\n\r", None),
        ] {
            assert_eq!(head_end(bytes, 0), end, "{}", bytes.escape_ascii());
        }
    }
}

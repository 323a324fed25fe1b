//! HTTP/1 requests on any port: host, URL and user agent, one request after the other in a connection.

use std::net::IpAddr;

use protocol::SeenIn;

use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};

/// Header fields read of one request.
const FIELDS_MAX: usize = 128;
/// Longest method that is believed; the longest registered one has 17 letters (UPDATEREDIRECTREF).
const METHOD_BYTES_MAX: usize = 20;
/// A first line without its end and without a target is waited for up to this length.
const UNFINISHED_BYTES_MAX: usize = 64;

/// Reads the requests of one direction.
#[derive(Default)]
pub(crate) struct RequestReader {
    body: Body,
}

/// What stands before the next request.
#[derive(Clone, Copy, Default)]
enum Body {
    #[default]
    None,
    /// So many bytes.
    Length(u64),
    /// A chunk's size line (RFC 9112 §7.1).
    ChunkSize,
    /// So many bytes of a chunk and its line end.
    Chunk(u64),
    /// Fields after the last chunk.
    Trailer,
}

/// Whether the bytes begin a request: a method in capitals and a blank. `None` when they are too few to tell.
pub(crate) fn begins_request(bytes: &[u8]) -> Option<bool> {
    let bytes = skip_line_ends(bytes);
    let letters =
        bytes.iter().take_while(|byte| byte.is_ascii_uppercase() || matches!(byte, b'-' | b'_')).count();
    match bytes.get(letters) {
        _ if letters > METHOD_BYTES_MAX => Some(false),
        None => None,
        Some(b' ') if letters >= 3 => {
            // SMTP and FTP commands look alike; a request's target begins like one.
            let target = bytes.get(letters + 1..).unwrap_or_default().trim_ascii_start();
            let line = target.split(|byte| *byte == b'\n').next().unwrap_or_default();
            match line.first() {
                None => None,
                Some(b'/' | b'*') => Some(true),
                Some(_) if contains(line, b"://") || contains(line, b" HTTP/") => Some(true),
                Some(_) if line.len() == target.len() && line.len() < UNFINISHED_BYTES_MAX => None,
                Some(_) => Some(false),
            }
        }
        Some(_) => Some(false),
    }
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(bytes, text).is_some()
}

fn skip_line_ends(mut bytes: &[u8]) -> &[u8] {
    while let [b'\r' | b'\n', rest @ ..] = bytes {
        bytes = rest;
    }
    bytes
}

impl RequestReader {
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        match self.body {
            Body::None => self.read_head(bytes, sink),
            Body::Length(length) => {
                self.body = Body::None;
                Step::Skip(length)
            }
            Body::Chunk(length) => {
                self.body = Body::ChunkSize;
                Step::Skip(length)
            }
            Body::ChunkSize => self.read_line(bytes, |line| {
                let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
                let digits = std::str::from_utf8(digits.trim_ascii()).ok()?;
                let size = u64::from_str_radix(digits, 16).ok()?;
                Some(if size == 0 { Body::Trailer } else { Body::Chunk(size.saturating_add(2)) })
            }),
            Body::Trailer => {
                self.read_line(bytes, |line| Some(if line.is_empty() { Body::None } else { Body::Trailer }))
            }
        }
    }

    /// The rest of a head will not come: its first lines are better than nothing.
    pub fn read_partial(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        let cut = bytes.iter().rposition(|byte| *byte == b'\n').and_then(|end| bytes.get(..=end));
        if matches!(self.body, Body::None)
            && let Some(head) = cut
        {
            let head = skip_line_ends(head);
            sink.counters.http_malformed += 1;
            let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
            if let Some(request) = parse(head, &mut fields) {
                sight_request(&request, head, sink);
            }
        }
        self.body = Body::None;
    }

    fn read_head(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let skipped = bytes.len() - skip_line_ends(bytes).len();
        let bytes = skip_line_ends(bytes);
        if begins_request(bytes) == Some(false) {
            return Step::Other(skipped);
        }
        let Some(end) = head_end(bytes) else { return Step::Consumed(skipped) };
        let head = bytes.get(..end).unwrap_or(bytes);
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let Some(request) = parse(head, &mut fields) else {
            sink.counters.http_malformed += 1;
            return Step::Consumed(skipped + end);
        };
        sink.counters.http_requests += 1;
        sight_request(&request, head, sink);
        if request.method == Some("CONNECT") || field(&request, "upgrade").is_some() {
            return Step::Other(skipped + end);
        }
        self.body = body_of(&request);
        Step::Consumed(skipped + end)
    }

    fn read_line(&mut self, bytes: &[u8], next: impl Fn(&[u8]) -> Option<Body>) -> Step {
        let Some(end) = memchr::memchr(b'\n', bytes) else { return Step::Consumed(0) };
        let line = bytes.get(..end).unwrap_or_default();
        match next(line.strip_suffix(b"\r").unwrap_or(line)) {
            Some(body) => {
                self.body = body;
                Step::Consumed(end + 1)
            }
            None => {
                self.body = Body::None;
                Step::Other(end + 1)
            }
        }
    }
}

/// Where the empty line after the fields ends. A bare LF is a line end too (RFC 9112 §2.2).
fn head_end(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find_map(|at| match bytes.get(at + 1..)? {
        [b'\n', ..] => Some(at + 2),
        [b'\r', b'\n', ..] => Some(at + 3),
        _ => None,
    })
}

/// Parses a head, whole or cut after a line; fields that are none are passed over.
fn parse<'h, 'b>(
    head: &'b [u8],
    fields: &'h mut [httparse::Header<'b>],
) -> Option<httparse::Request<'h, 'b>> {
    let mut config = httparse::ParserConfig::default();
    config
        .allow_multiple_spaces_in_request_line_delimiters(true)
        .ignore_invalid_headers_in_requests(true)
        .allow_space_before_first_header_name(true);
    let mut request = httparse::Request::new(fields);
    config.parse_request(&mut request, head).ok()?;
    Some(request)
}

fn field<'b>(request: &httparse::Request<'_, 'b>, name: &str) -> Option<&'b [u8]> {
    let field = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    Some(field.value.trim_ascii()).filter(|value| !value.is_empty())
}

fn body_of(request: &httparse::Request<'_, '_>) -> Body {
    let chunked = field(request, "transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().ends_with(b"chunked"));
    if chunked {
        return Body::ChunkSize;
    }
    let length =
        field(request, "content-length").and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
    length.filter(|length| *length > 0).map_or(Body::None, Body::Length)
}

fn sight_request(request: &httparse::Request<'_, '_>, head: &[u8], sink: &mut Sink<'_>) {
    let target = request.path.unwrap_or_default();
    let host = field(request, "host").and_then(|value| std::str::from_utf8(value).ok());
    if let Some(name) = host.and_then(host_of) {
        sink.sight(Sighting::new(name, SeenIn::HttpHost, head));
    }
    // A query may hold a URL of its own: only a target that begins with a scheme is absolute (RFC 9112 §3.2).
    let url = match (target.starts_with('/'), host) {
        (true, Some(host)) => Some(Seen::UrlParts { scheme: "http", host, target }),
        (true, None) => None,
        (false, _) => target.contains("://").then_some(Seen::Url(target)),
    };
    if let Some(url) = url {
        sink.sight(Sighting::new(url, SeenIn::HttpUrl, head));
    }
    if let Some(agent) = field(request, "user-agent").and_then(|value| std::str::from_utf8(value).ok()) {
        sink.sight(Sighting::new(Seen::UserAgent(agent), SeenIn::HttpUserAgent, head));
    }
}

/// Fields that may leave the town as evidence of a hit: what was asked of whom, by which program, on whose behalf.
const EVIDENCE_FIELDS: &[&str] = &[
    "host",
    "user-agent",
    "referer",
    "x-forwarded-for",
    "forwarded",
    "via",
    "range",
    "content-type",
    "content-length",
];

/// A request's head on one line, without the fields that are nobody's business, such as cookies and credentials.
pub(crate) fn evidence_of(head: &[u8]) -> Vec<u8> {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).enumerate();
    let kept = lines.filter_map(|(number, line)| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        let may_leave = EVIDENCE_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()));
        (number == 0 || may_leave).then_some(line)
    });
    kept.collect::<Vec<_>>().join(&b" | "[..])
}

/// The name or address in a Host field, without its port.
fn host_of(text: &str) -> Option<Seen<'_>> {
    let host = match text.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?,
        None => text.split(':').next()?,
    };
    match host.parse::<IpAddr>() {
        Ok(address) => Some(Seen::Ip(address)),
        Err(_) => (!host.is_empty()).then_some(Seen::HostName(host)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{seen_by, strings};

    #[test]
    fn requests_are_told_from_other_protocols_by_their_first_line() {
        for (bytes, expected) in [
            (&b"GET / HTTP/1.1\r\n"[..], Some(true)),
            (b"\r\nPROPFIND /a", Some(true)),
            (b"OPTIONS * HTTP/1.1", Some(true)),
            (b"GET http://evil.example/ HTTP/1.0", Some(true)),
            (b"CONNECT evil.example:443 HTTP/1.1\r\n", Some(true)),
            (b"GE", None),
            (b"GET ", None),
            (b"CONNECT evil.exam", None),
            (b"EHLO mail.example\r\n", Some(false)),
            (b"USER mallory\r\n", Some(false)),
            (b"get / HTTP/1.1", Some(false)),
            (b"\x16\x03\x01", Some(false)),
            (b"ABCDEFGHIJKLMNOPQRSTUVWXYZ /", Some(false)),
        ] {
            assert_eq!(begins_request(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn cookies_and_credentials_are_no_evidence() {
        let head = b"GET /a HTTP/1.1\r\nHost: evil.example\r\nCookie: s=1\r\nAUTHORIZATION: Basic eA==\r\n folded\r\nUser-Agent: x\r\n\r\n";
        let kept = evidence_of(head);
        assert_eq!(String::from_utf8(kept).unwrap(), "GET /a HTTP/1.1 | Host: evil.example | User-Agent: x");
    }

    fn check(head: &str, expected: &[&str]) {
        let (seen, _) = seen_by(|sink| {
            RequestReader::default().read(head.as_bytes(), sink);
        });
        assert_eq!(seen, strings(expected), "{head:?}");
    }

    #[test]
    fn odd_heads_are_read_as_servers_read_them() {
        check(
            "GET /a HTTP/1.1\nhOST:  Evil.Example \n\n",
            &["http.host evil.example", "http.url http://evil.example/a"],
        );
        check(
            "GET  /a  HTTP/1.1\r\nbad field\r\nHost: 203.0.113.5:8080\r\n\r\n",
            &["http.host 203.0.113.5", "http.url http://203.0.113.5:8080/a"],
        );
        check(
            "GET /a HTTP/1.1\r\nHost: [2001:db8::5]\r\n\r\n",
            &["http.host 2001:db8::5", "http.url http://[2001:db8::5]/a"],
        );
        check("GET /a HTTP/1.1\r\n\r\n", &[]);
    }
}

//! HTTP on any port: what requests ask for, of whom and on whose behalf, and the hashes of what is brought back or sent.

mod body;
mod content;
mod exchange;
mod forwarded;
mod framing;
mod h2;
mod head;
mod hpack;
mod huffman;
mod message;
#[cfg(test)]
mod message_tests;
mod request;

pub(crate) use exchange::Exchange;
pub(crate) use forwarded::Origins;
pub(crate) use h2::{Frames, PREFACE_LINE};
pub(crate) use head::{begins_request, begins_response};
pub(crate) use message::Messages;

/// Fields that may leave the town as evidence of a hit: what was asked of whom, by which program, on whose behalf.
const EVIDENCE_FIELDS: &[&str] = &[
    "host",
    "user-agent",
    "referer",
    "x-forwarded-for",
    "x-real-ip",
    "true-client-ip",
    "forwarded",
    "via",
    "range",
    "content-type",
    "content-encoding",
    "content-length",
];

/// A head on one line, without the fields that are nobody's business, such as cookies and credentials.
pub(crate) fn evidence_of(head: &[u8]) -> Vec<u8> {
    let lines = head.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii_end).enumerate();
    let kept = lines.filter_map(|(number, line)| {
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default().trim_ascii_end();
        let may_leave = EVIDENCE_FIELDS.iter().any(|field| name.eq_ignore_ascii_case(field.as_bytes()));
        (number == 0 || may_leave).then_some(line)
    });
    kept.collect::<Vec<_>>().join(&b" | "[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_and_credentials_are_no_evidence() {
        let head = b"GET /a HTTP/1.1\r\nHost: evil.example\r\nCookie: s=1\r\nAUTHORIZATION: Basic eA==\r\n folded\r\nUser-Agent: x\r\n\r\n";
        let kept = evidence_of(head);
        assert_eq!(String::from_utf8(kept).unwrap(), "GET /a HTTP/1.1 | Host: evil.example | User-Agent: x");
    }
}

//! How long a message's body is, as its fields say (RFC 9112 §6), and whether two readers may differ about it.

/// What the fields that frame a body say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Framing {
    length: Option<u64>,
    chunked: bool,
    /// A Transfer-Encoding was named.
    coded: bool,
    /// The fields contradict themselves, or are written so that some readers take them and some do not.
    odd: bool,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// The next message.
    None,
    /// So many bytes.
    Length(u64),
    /// A chunk's size line (RFC 9112 §7.1).
    ChunkSize,
    /// So many bytes of a chunk.
    Chunk(u64),
    /// The line end after a chunk.
    ChunkEnd,
    /// Fields after the last chunk.
    Trailer,
    /// Everything until the connection closes.
    UntilClose,
    /// Two readers may see different ends: request smuggling is made of this.
    Uncertain,
}

impl Framing {
    /// Takes a field, if it is one that frames; tells whether it is.
    pub fn note(&mut self, name: &[u8], value: &[u8]) -> bool {
        if name.eq_ignore_ascii_case(b"content-length") {
            value.split(|byte| *byte == b',').for_each(|length| self.note_length(length.trim_ascii()));
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.coded = true;
            value.split(|byte| *byte == b',').for_each(|coding| self.note_coding(coding.trim_ascii()));
        } else {
            return false;
        }
        true
    }

    /// Equal lengths that are repeated are one (RFC 9110 §8.6).
    fn note_length(&mut self, digits: &[u8]) {
        let length = number_of(digits, 10);
        self.odd |= length.is_none() || self.length.is_some_and(|other| Some(other) != length);
        self.length = self.length.or(length);
    }

    /// Chunked comes last and once (RFC 9112 §6.1).
    fn note_coding(&mut self, coding: &[u8]) {
        self.odd |= self.chunked;
        if coding.eq_ignore_ascii_case(b"chunked") {
            self.chunked = true;
        } else {
            let known: [&[u8]; 6] = [b"identity", b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress"];
            self.odd |= !known.iter().any(|known| coding.eq_ignore_ascii_case(known));
        }
    }

    pub fn of_request(self) -> Left {
        match self {
            Self { odd: true, .. } | Self { coded: true, length: Some(_), .. } => Left::Uncertain,
            Self { chunked: true, .. } => Left::ChunkSize,
            Self { coded: true, .. } => Left::Uncertain,
            Self { length: None | Some(0), .. } => Left::None,
            Self { length: Some(length), .. } => Left::Length(length),
        }
    }

    /// The body of a response that has one.
    pub fn of_response(self) -> Left {
        match self {
            Self { odd: true, .. } => Left::Uncertain,
            Self { chunked: true, .. } => Left::ChunkSize,
            Self { length: Some(0), .. } => Left::None,
            Self { length: Some(length), .. } => Left::Length(length),
            Self { length: None, .. } => Left::UntilClose,
        }
    }
}

/// The size that a chunk's line names (RFC 9112 §7.1), its extensions passed over.
pub(crate) fn chunk_size(line: &[u8]) -> Option<u64> {
    number_of(line.split(|byte| *byte == b';').next()?.trim_ascii(), 16)
}

/// A number of nothing but digits; the standard library takes a sign too.
fn number_of(digits: &[u8], radix: u32) -> Option<u64> {
    if digits.first() == Some(&b'+') {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, radix).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fields: &[(&str, &str)], request: Left, response: Left) {
        let mut framing = Framing::default();
        for (name, value) in fields {
            assert!(framing.note(name.as_bytes(), value.as_bytes()), "{name}");
        }
        assert_eq!((framing.of_request(), framing.of_response()), (request, response), "{fields:?}");
    }

    #[test]
    fn plain_framing_is_followed() {
        check(&[], Left::None, Left::UntilClose);
        check(&[("content-length", "0")], Left::None, Left::None);
        check(&[("Content-Length", "12")], Left::Length(12), Left::Length(12));
        check(&[("Content-Length", "12, 12"), ("Content-Length", "12")], Left::Length(12), Left::Length(12));
        check(&[("Transfer-Encoding", "Chunked")], Left::ChunkSize, Left::ChunkSize);
        check(&[("Transfer-Encoding", "gzip, chunked")], Left::ChunkSize, Left::ChunkSize);
    }

    #[test]
    fn what_readers_differ_about_is_uncertain() {
        check(
            &[("Content-Length", "12"), ("Transfer-Encoding", "chunked")],
            Left::Uncertain,
            Left::ChunkSize,
        );
        for fields in [
            &[("Content-Length", "12"), ("Content-Length", "13")][..],
            &[("Content-Length", "+12")],
            &[("Content-Length", "12 3")],
            &[("Transfer-Encoding", "xchunked")],
            &[("Transfer-Encoding", "\x0bchunked")],
            &[("Transfer-Encoding", "chunked, identity")],
            &[("Transfer-Encoding", "chunked"), ("Transfer-Encoding", "x")],
        ] {
            check(fields, Left::Uncertain, Left::Uncertain);
        }
    }

    #[test]
    fn a_chunk_size_is_hexadecimal_and_may_have_extensions() {
        for (line, size) in [
            ("1a", Some(26)),
            (" 0001A ;name=\"value\"", Some(26)),
            ("0", Some(0)),
            ("+1", None),
            ("-1", None),
            ("0x1a", None),
            ("", None),
            ("fffffffffffffffff", None),
        ] {
            assert_eq!(chunk_size(line.as_bytes()), size, "{line:?}");
        }
    }
}

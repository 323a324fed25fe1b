//! A message as it passes (RFC 5322, MIME): addresses in its header, URLs in its text parts. Nothing of it is kept
//! but the header field and the line of text that are being read.

use protocol::SeenIn;

use crate::lines::Piece;
use crate::mail::address::each_address;
use crate::mail::text::{Coding, Text};
use crate::sighting::{Seen, Sighting, Sink};

/// Bytes kept of one header field; the rest of a longer one is not read. Lists of a thousand recipients have room.
const FIELD_BYTES_MAX: usize = 48 * 1024;
/// Multiparts inside multiparts that are followed.
const DEPTH_MAX: usize = 8;
/// Longest boundary that is believed; RFC 2046 §5.1.1 allows 70 characters.
const BOUNDARY_BYTES_MAX: usize = 200;
/// A field on one line is evidence as it is up to this length, else only the address is.
const EVIDENCE_LINE_BYTES_MAX: usize = 512;

/// Reads a message line by line.
#[derive(Default)]
pub(crate) struct Message {
    place: Place,
    field: Option<Field>,
    /// Lines of the field, from its name on, with LF between them.
    kept: Vec<u8>,
    field_is_cut: bool,
    content: Content,
    coding: Coding,
    /// Boundaries of the multiparts around, the innermost last.
    boundaries: Vec<Box<[u8]>>,
    text: Text,
}

/// What is being read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// The header of a message.
    #[default]
    Header,
    /// The header of a part.
    PartHeader,
    Text,
    /// Something in which nothing is looked for: attachments, text before the first part and after the last.
    Dull,
}

/// What a part holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Content {
    /// What is not declared is plain text (RFC 2045 §5.2).
    #[default]
    Plain,
    Html,
    Multipart,
    /// Another message.
    Message,
    Other,
}

/// A field that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Addresses(SeenIn),
    ContentType,
    ContentTransferEncoding,
}

/// What the author says (RFC 5322 §3.6.2, §3.6.3), and what programs on the way write.
const ADDRESS_FIELDS: &[(&[u8], SeenIn)] = &[
    (b"from", SeenIn::SmtpHeader),
    (b"to", SeenIn::SmtpHeader),
    (b"cc", SeenIn::SmtpHeader),
    (b"bcc", SeenIn::SmtpHeader),
    (b"reply-to", SeenIn::SmtpHeader),
    (b"sender", SeenIn::SmtpTrace),
    (b"return-path", SeenIn::SmtpTrace),
    (b"delivered-to", SeenIn::SmtpTrace),
    (b"x-original-to", SeenIn::SmtpTrace),
    (b"envelope-to", SeenIn::SmtpTrace),
    (b"errors-to", SeenIn::SmtpTrace),
    (b"return-receipt-to", SeenIn::SmtpTrace),
    (b"disposition-notification-to", SeenIn::SmtpTrace),
    (b"resent-from", SeenIn::SmtpTrace),
    (b"resent-sender", SeenIn::SmtpTrace),
    (b"resent-to", SeenIn::SmtpTrace),
    (b"resent-cc", SeenIn::SmtpTrace),
];

impl Field {
    fn of(line: &[u8], place: Place) -> Option<Self> {
        let name = line.split(|byte| *byte == b':').next()?.trim_ascii_end();
        if name.len() == line.len() {
            return None;
        }
        if name.eq_ignore_ascii_case(b"content-type") {
            return Some(Self::ContentType);
        }
        if name.eq_ignore_ascii_case(b"content-transfer-encoding") {
            return Some(Self::ContentTransferEncoding);
        }
        if place == Place::PartHeader {
            return None;
        }
        let known = ADDRESS_FIELDS.iter().find(|(known, _)| name.eq_ignore_ascii_case(known));
        known.map(|(_, seen_in)| Self::Addresses(*seen_in))
    }
}

impl Message {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        let boundaries: usize = self.boundaries.iter().map(|boundary| boundary.len()).sum();
        size_of::<Self>() + self.kept.capacity() + self.text.held() + boundaries
    }

    /// Nothing is looked for until a line begins with a dash.
    pub fn is_dull(&self) -> bool {
        self.place == Place::Dull || (self.place == Place::Text && self.text.is_full())
    }

    /// Nothing more is looked for at all.
    pub fn is_over(&self) -> bool {
        self.is_dull() && self.boundaries.is_empty()
    }

    /// Reads a line, or a piece of one.
    pub fn read(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        if piece.begins && piece.text.starts_with(b"--") && self.read_boundary(piece.text, sink) {
            return;
        }
        match self.place {
            Place::Header | Place::PartHeader => self.read_header(piece, sink),
            Place::Text => self.text.read(piece, sink),
            Place::Dull => {}
        }
    }

    /// The message is over, as far as it came.
    pub fn end(&mut self, sink: &mut Sink<'_>) {
        self.end_field(sink);
        self.text.end(sink);
        self.place = Place::Dull;
    }

    /// Bytes are missing: the next ones may be of another part.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.end_field(sink);
        self.text.end(sink);
        if matches!(self.place, Place::Header | Place::PartHeader) {
            self.place = Place::Dull;
        }
    }

    fn read_header(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        if !piece.begins {
            self.keep(piece.text, sink);
            return;
        }
        match piece.text.first() {
            None if piece.ends => {
                self.end_field(sink);
                self.begin_body();
            }
            Some(b' ' | b'\t') => {
                self.keep(b"\n", sink);
                self.keep(piece.text, sink);
            }
            _ => {
                self.end_field(sink);
                self.field = Field::of(piece.text, self.place);
                self.keep(piece.text, sink);
            }
        }
    }

    /// Keeps a part of a field that is read.
    fn keep(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        if self.field.is_none() || self.field_is_cut {
            return;
        }
        if self.kept.len() + bytes.len() > FIELD_BYTES_MAX {
            self.field_is_cut = true;
            sink.counters.mail_fields_cut += 1;
            return;
        }
        self.kept.extend_from_slice(bytes);
    }

    fn end_field(&mut self, sink: &mut Sink<'_>) {
        self.field_is_cut = false;
        let Some(field) = self.field.take() else { return };
        let mut kept = std::mem::take(&mut self.kept);
        let value_at = memchr::memchr(b':', &kept).map_or(kept.len(), |colon| colon + 1);
        let value = kept.get(value_at..).unwrap_or_default();
        match field {
            Field::Addresses(seen_in) => each_address(value, |address, range| {
                let line = line_around(&kept, value_at + range.start, value_at + range.end);
                sink.sight(Sighting::new(Seen::Email(address), seen_in, line));
            }),
            Field::ContentType => self.set_content(value, sink),
            Field::ContentTransferEncoding => self.coding = Coding::of(value),
        }
        kept.clear();
        self.kept = kept;
    }

    fn set_content(&mut self, value: &[u8], sink: &mut Sink<'_>) {
        let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        let is = |text: &[u8]| name.eq_ignore_ascii_case(text);
        self.content = if is(b"text/html") {
            Content::Html
        } else if is(b"text/plain") || is(b"text") {
            Content::Plain
        } else if is(b"message/rfc822") || is(b"message/global") {
            Content::Message
        } else if name.get(..10).is_some_and(|start| start.eq_ignore_ascii_case(b"multipart/")) {
            Content::Multipart
        } else {
            Content::Other
        };
        if self.content != Content::Multipart {
            return;
        }
        let Some(boundary) = boundary_of(value) else { return };
        if self.boundaries.len() >= DEPTH_MAX {
            sink.counters.mail_parts_too_deep += 1;
        } else if !self.boundaries.iter().any(|known| **known == *boundary) {
            self.boundaries.push(boundary.into());
        }
    }

    fn begin_body(&mut self) {
        let content = std::mem::take(&mut self.content);
        let coding = std::mem::take(&mut self.coding);
        self.place = match content {
            Content::Plain | Content::Html if coding != Coding::Unknown => {
                self.text.begin(coding, content == Content::Html);
                Place::Text
            }
            Content::Message => Place::Header,
            _ => Place::Dull,
        };
    }

    /// Whether a line that begins with two dashes ends a part (RFC 2046 §5.1.1).
    fn read_boundary(&mut self, line: &[u8], sink: &mut Sink<'_>) -> bool {
        let Some(rest) = line.get(2..) else { return false };
        let parts = |boundary: &[u8]| {
            let after = rest.strip_prefix(boundary)?.trim_ascii_end();
            (after.is_empty() || after == b"--").then_some(after.is_empty())
        };
        let found =
            self.boundaries.iter().enumerate().rev().find_map(|(at, known)| Some((at, parts(known)?)));
        let Some((at, goes_on)) = found else { return false };
        self.end_field(sink);
        self.text.end(sink);
        (self.content, self.coding) = (Content::default(), Coding::default());
        self.boundaries.truncate(if goes_on { at + 1 } else { at });
        self.place = if goes_on { Place::PartHeader } else { Place::Dull };
        true
    }
}

/// The line of a field on which an address stands; of a long one only the address.
fn line_around(field: &[u8], start: usize, end: usize) -> &[u8] {
    // No further than is shown: a list of many addresses may stand on one line.
    let (from, to) =
        (start.saturating_sub(EVIDENCE_LINE_BYTES_MAX), end.saturating_add(EVIDENCE_LINE_BYTES_MAX));
    let before = field.get(from..start).unwrap_or_default();
    let after = field.get(end..to.min(field.len())).unwrap_or_default();
    let begins = memchr::memrchr(b'\n', before).map(|at| from + at + 1).or((from == 0).then_some(0));
    let ends = memchr::memchr(b'\n', after).map(|at| end + at).or((to >= field.len()).then_some(field.len()));
    let line = begins.zip(ends).map(|(begins, ends)| begins..ends);
    let span = line.filter(|line| line.len() <= EVIDENCE_LINE_BYTES_MAX).unwrap_or(start..end);
    field.get(span).unwrap_or_default()
}

/// The boundary parameter of a Content-Type (RFC 2046 §5.1.1), in quotes or not.
fn boundary_of(value: &[u8]) -> Option<&[u8]> {
    let mut rest = value;
    loop {
        let at = memchr::memchr2(b';', b'"', rest)?;
        if rest.get(at) == Some(&b'"') {
            // A parameter's value: a semicolon in it separates nothing.
            let inside = rest.get(at + 1..)?;
            rest = inside.get(memchr::memchr(b'"', inside)? + 1..)?;
            continue;
        }
        rest = rest.get(at + 1..)?.trim_ascii_start();
        let Some((name, after)) = rest.split_at_checked(8) else { continue };
        if !name.eq_ignore_ascii_case(b"boundary") {
            continue;
        }
        let Some(text) = after.trim_ascii_start().strip_prefix(b"=") else { continue };
        let text = text.trim_ascii_start();
        let boundary = match text.strip_prefix(b"\"") {
            Some(inside) => inside.split(|byte| *byte == b'"').next()?,
            None => text.split(|byte| *byte == b';' || byte.is_ascii_whitespace()).next()?,
        };
        let boundary = boundary.trim_ascii_end();
        return (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len()).then_some(boundary);
    }
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;

//! What a format says of a line: which text is whose address, which is a URL, and which only looks like a value.
//! Formats name texts; what a text is worth is decided in one place, [`super::Scan`].

use std::borrow::Cow;
use std::ops::Range;

/// What a text of a line is, by the line's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    /// Who began, as the line's writer calls it: an address, or `address:port` in any spelling.
    Src,
    SrcPort,
    /// Who was contacted, as the line's writer calls it.
    Dst,
    DstPort,
    /// The source before or after a translation, where the line gives both. One beside [`Field::Src`] is enough.
    SrcBefore,
    SrcBeforePort,
    SrcAfter,
    SrcAfterPort,
    /// The destination before or after a translation.
    DstBefore,
    DstBeforePort,
    DstAfter,
    DstAfterPort,
    /// Protocol, by name or IANA number.
    Proto,
    /// Whom a trusted proxy names as the party behind it (X-Forwarded-For, Forwarded); may be a list.
    Forwarded,
    /// An address that is neither source nor destination.
    Address,
    Url,
    /// Host and path of a URL that stand apart; both are needed. A scheme before the host is taken, otherwise `http`.
    UrlHost,
    UrlPath,
    Domain,
    /// A name as a resolver saw it, in which any character may stand.
    DnsName,
    UserAgent,
    Hash,
    Email,
    /// When the line was written, where that stands in the message.
    Time,
    /// Who was logged in: shown, never compared.
    User,
    /// A text that the line writes in another way; values in it are looked for as in any text.
    Text,
    /// Looks like a value and is none: the name of a detection, a version, a rule's number.
    Nothing,
}

/// A text of the line, or what it stands for where the line escapes it.
#[derive(Clone, Debug)]
pub(crate) struct Value<'a> {
    pub text: Cow<'a, [u8]>,
    /// Where it stands in the line.
    pub span: Range<usize>,
}

/// Fields of one line in the order in which the format named them.
#[derive(Debug)]
pub(crate) struct Reading<'a> {
    line: &'a [u8],
    fields: Vec<(Field, Value<'a>)>,
}

/// Fields taken of one line; further ones are left to the free text.
const FIELDS_MAX: usize = 64;

impl<'a> Reading<'a> {
    pub fn of(line: &'a [u8]) -> Self {
        Self { line, fields: Vec::new() }
    }

    /// Notes what a part of the line is. An empty text and the `-` of many formats are nothing.
    pub fn take(&mut self, field: Field, text: &'a [u8]) {
        if let Some(span) = self.span_of(text) {
            self.push(field, Cow::Borrowed(text), span);
        }
    }

    /// Notes what a part of the line stands for that is written with escapes there.
    pub fn take_unescaped(&mut self, field: Field, text: Vec<u8>, written: &'a [u8]) {
        if let Some(span) = self.span_of(written) {
            self.push(field, Cow::Owned(text), span);
        }
    }

    fn push(&mut self, field: Field, text: Cow<'a, [u8]>, span: Range<usize>) {
        let is_empty = text.is_empty() || *text == *b"-";
        if !is_empty && self.fields.len() < FIELDS_MAX {
            self.fields.push((field, Value { text, span }));
        }
    }

    /// Where a part of the line stands in it; `None` for a text that is no part of it.
    fn span_of(&self, part: &[u8]) -> Option<Range<usize>> {
        let start = part.as_ptr().addr().checked_sub(self.line.as_ptr().addr())?;
        let end = start.checked_add(part.len())?;
        (end <= self.line.len()).then_some(start..end)
    }

    /// Forgets what a format noted that turned out not to be the line's.
    pub fn clear(&mut self) {
        self.fields.clear();
    }

    pub fn fields(&self) -> &[(Field, Value<'a>)] {
        &self.fields
    }

    /// The first text of a field.
    pub fn get(&self, field: Field) -> Option<&Value<'a>> {
        self.fields.iter().find(|(known, _)| *known == field).map(|(_, value)| value)
    }
}

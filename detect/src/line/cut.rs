//! Pieces of a text by what stands around them.

use memchr::memmem;

/// What follows the first `mark`.
pub(super) fn after<'a>(text: &'a [u8], mark: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::find(text, mark)?;
    text.get(at + mark.len()..)
}

/// What stands before the first of `ends`, else everything.
pub(super) fn until<'a>(text: &'a [u8], ends: &[u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| ends.contains(byte)).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

/// What stands after the first `mark`, up to one of `ends`.
pub(super) fn between<'a>(text: &'a [u8], mark: &[u8], ends: &[u8]) -> Option<&'a [u8]> {
    Some(until(after(text, mark)?, ends))
}

/// The first word and what follows the blanks behind it.
pub(super) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let text = text.trim_ascii_start();
    let first = until(text, b" \t");
    (first, text.get(first.len()..).unwrap_or_default().trim_ascii_start())
}

/// A text in quotes, which a backslash escapes, at the beginning; and what follows it.
pub(super) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    until_quote(text.strip_prefix(b"\"")?)
}

pub(super) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// The two ends of `203.0.113.5:4000`, `203.0.113.5#4000`: formats that write so have IPv6 addresses without brackets
/// as well, after which the last mark counts.
pub(super) fn at_last(text: &[u8], mark: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memrchr(mark, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// A text up to the quote that closes it, and what follows.
pub(super) fn until_quote(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
        if text.get(at) == Some(&b'"') {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
        at += 2;
    }
}

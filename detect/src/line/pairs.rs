//! Walks over the `key=value key="va lue"` pairs that most firewalls write, each byte once.

use super::reading::{Field, Reading};

/// Pairs looked at in one line; vendors write up to a hundred.
const PAIRS_MAX: usize = 512;

/// The pairs of a text in their order. Words that are no pair are passed over.
pub(super) struct Pairs<'a> {
    rest: &'a [u8],
    left: usize,
}

/// A key and what stands behind it, without quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pair<'a> {
    pub key: &'a [u8],
    pub value: &'a [u8],
    /// Backslashes in the value escape the byte after them.
    escaped: bool,
}

impl<'a> Pairs<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        Self { rest: text, left: PAIRS_MAX }
    }

    /// The value in quotes at the beginning of a text; one that is not closed goes to the end.
    fn quoted(&mut self, quote: u8) -> (&'a [u8], bool) {
        let text = self.rest.get(1..).unwrap_or_default();
        let (mut at, mut escaped) = (0, false);
        while let Some(next) = text.get(at..).and_then(|rest| memchr::memchr2(quote, b'\\', rest)) {
            at += next;
            if text.get(at) == Some(&quote) {
                break;
            }
            escaped = true;
            at += 2;
        }
        if text.get(at) != Some(&quote) {
            at = text.len();
        }
        self.rest = text.get(at + 1..).unwrap_or_default();
        (text.get(..at).unwrap_or_default(), escaped)
    }

    fn unquoted(&mut self) -> &'a [u8] {
        let end = memchr::memchr2(b' ', b'\t', self.rest).unwrap_or(self.rest.len());
        let (mut value, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        while let [before @ .., b',' | b';'] = value {
            value = before;
        }
        value
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Pair<'a>;

    fn next(&mut self) -> Option<Pair<'a>> {
        loop {
            let skipped = self.rest.iter().take_while(|byte| !is_key(**byte)).count();
            self.rest = self.rest.get(skipped..)?;
            let length = self.rest.iter().take_while(|byte| is_key(**byte)).count();
            let (key, rest) = self.rest.split_at_checked(length).filter(|_| length > 0)?;
            self.rest = rest;
            let Some(rest) = rest.strip_prefix(b"=") else { continue };
            self.left = self.left.checked_sub(1)?;
            self.rest = rest;
            let (value, escaped) = match rest.first() {
                Some(quote @ (b'"' | b'\'')) => self.quoted(*quote),
                _ => (self.unquoted(), false),
            };
            return Some(Pair { key, value, escaped });
        }
    }
}

impl<'a> Pair<'a> {
    /// Notes the value as what it is, without its escapes.
    pub fn take(&self, field: Field, reading: &mut Reading<'a>) {
        if self.escaped {
            reading.take_unescaped(field, unescaped(self.value), self.value);
        } else {
            reading.take(field, self.value);
        }
    }
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Only quotes, slashes and backslashes are escaped: a backslash before anything else stands for itself.
fn unescaped(value: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(value.len());
    let mut bytes = value.iter().peekable();
    while let Some(byte) = bytes.next() {
        let escapes =
            *byte == b'\\' && bytes.peek().is_some_and(|next| matches!(next, b'"' | b'\'' | b'\\' | b'/'));
        text.push(if escapes { *bytes.next().unwrap_or(byte) } else { *byte });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let read: Vec<_> = Pairs::of(text.as_bytes())
            .map(|pair| {
                let value = if pair.escaped { unescaped(pair.value) } else { pair.value.to_vec() };
                (String::from_utf8_lossy(pair.key).into_owned(), String::from_utf8_lossy(&value).into_owned())
            })
            .collect();
        let expected: Vec<_> = expected.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert_eq!(read, expected, "{text}");
    }

    #[test]
    fn values_stand_in_quotes_or_end_with_the_word() {
        check("a=1 b=\"x y\" c='z \"w' d=", &[("a", "1"), ("b", "x y"), ("c", "z \"w"), ("d", "")]);
        check("a=1, b=2; c=\"3\",d=4", &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")]);
        check("u=http://a.example/?b=c d=e", &[("u", "http://a.example/?b=c"), ("d", "e")]);
    }

    #[test]
    fn words_between_pairs_are_passed_over() {
        check("Deny tcp (x) a=1 y b.c-d=2 = e", &[("a", "1"), ("b.c-d", "2")]);
    }

    #[test]
    fn escapes_are_taken_out() {
        check(r#"a="x \"y\" \\z \n" b=c\"d"#, &[("a", r#"x "y" \z \n"#), ("b", r#"c\"d"#)]);
    }

    #[test]
    fn what_is_not_closed_goes_to_the_end() {
        check("a=\"x y", &[("a", "x y")]);
        check("a=\"x\\", &[("a", "x\\")]);
        check("a=\"", &[("a", "")]);
    }

    #[test]
    fn pairs_are_bounded() {
        assert_eq!(Pairs::of("a=1 ".repeat(5000).as_bytes()).count(), PAIRS_MAX);
        assert_eq!(Pairs::of(&[b'='; 65_536]).count(), 0);
    }
}

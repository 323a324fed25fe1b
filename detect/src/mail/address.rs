//! Mail addresses out of header fields and SMTP paths. Only the address is read: display names, comments and group
//! names are passed over, and nothing is decoded.

use std::borrow::Cow;
use std::ops::Range;

/// Calls with each address of a list (RFC 5322 §3.4 and the obsolete forms of §4.4), and where it stands.
pub(super) fn each_address(list: &[u8], mut call: impl FnMut(&str, Range<usize>)) {
    let mut walk = Walk::default();
    let mut at = 0;
    while let Some(byte) = list.get(at) {
        if let Some(range) = walk.step(*byte, at) {
            call_with(list, range, &mut call);
        }
        at += if *byte == b'\\' && walk.may_escape() { 2 } else { 1 };
    }
    if let Some(range) = walk.end_element(list.len()) {
        call_with(list, range, &mut call);
    }
}

fn call_with(list: &[u8], range: Range<usize>, call: &mut impl FnMut(&str, Range<usize>)) {
    if let Some(address) = list.get(range.clone()).and_then(address_of) {
        call(&address, range);
    }
}

/// Where a walk through a list stands.
#[derive(Default)]
struct Walk {
    comments: usize,
    quoted: bool,
    /// Inside `[...]`, where colons and commas separate nothing.
    literal: bool,
    /// Where the text inside `<` begins.
    angle: Option<usize>,
    word: Option<Word>,
    /// The address of the element: what stood in angle brackets, else a word with an at sign.
    in_angle: Option<Range<usize>>,
    bare: Option<Range<usize>>,
}

#[derive(Clone, Copy)]
struct Word {
    start: usize,
    has_at: bool,
}

impl Walk {
    fn may_escape(&self) -> bool {
        self.quoted || self.comments > 0
    }

    /// Takes a byte; gives an address when an element of the list ends with it.
    fn step(&mut self, byte: u8, at: usize) -> Option<Range<usize>> {
        if self.comments > 0 {
            match byte {
                b'(' => self.comments += 1,
                b')' => self.comments -= 1,
                _ => {}
            }
            return None;
        }
        match byte {
            b'"' => {
                self.quoted = !self.quoted;
                self.begin_word(at);
            }
            _ if self.quoted => self.note_at_sign(byte),
            _ if self.angle.is_some() => {
                if byte == b'>' {
                    let start = self.angle.take().unwrap_or(at);
                    self.in_angle.get_or_insert(start..at);
                }
            }
            b'(' => {
                self.end_word(at);
                self.comments = 1;
            }
            b'<' => {
                self.end_word(at);
                self.angle = Some(at + 1);
            }
            b'[' | b']' => {
                self.literal = byte == b'[';
                self.begin_word(at);
            }
            b',' | b';' if !self.literal => return self.end_element(at),
            b':' if !self.literal => {
                // What stood before is the name of a group.
                self.end_word(at);
                (self.bare, self.in_angle) = (None, None);
            }
            b' ' | b'\t' | b'\r' | b'\n' => self.end_word(at),
            _ => {
                self.begin_word(at);
                self.note_at_sign(byte);
            }
        }
        None
    }

    fn begin_word(&mut self, at: usize) {
        if self.angle.is_none() {
            self.word.get_or_insert(Word { start: at, has_at: false });
        }
    }

    fn note_at_sign(&mut self, byte: u8) {
        if byte == b'@'
            && let Some(word) = &mut self.word
        {
            word.has_at = true;
        }
    }

    /// Of words that could be the address, the last one is: names come first.
    fn end_word(&mut self, at: usize) {
        if let Some(word) = self.word.take().filter(|word| word.has_at) {
            self.bare = Some(word.start..at);
        }
    }

    fn end_element(&mut self, at: usize) -> Option<Range<usize>> {
        self.end_word(at);
        let (in_angle, bare) = (self.in_angle.take(), self.bare.take());
        in_angle.or(bare)
    }
}

/// The path that follows `MAIL FROM:` or `RCPT TO:` (RFC 5321 §4.1.2), with or without its brackets, and where it ends.
pub(super) fn path(arguments: &[u8]) -> Option<(Cow<'_, str>, usize)> {
    let start = arguments.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
    let text = arguments.get(start..)?;
    let Some(inside) = text.strip_prefix(b"<") else {
        let end = text.iter().position(u8::is_ascii_whitespace).unwrap_or(text.len());
        return Some((address_of(text.get(..end)?)?, start + end));
    };
    let mut quoted = false;
    let mut escaped = false;
    let end = inside.iter().position(|byte| {
        let escapes = quoted && *byte == b'\\' && !escaped;
        if *byte == b'"' && !escaped {
            quoted = !quoted;
        }
        escaped = escapes;
        *byte == b'>' && !quoted
    });
    let end = end.unwrap_or(inside.len());
    Some((address_of(inside.get(..end)?)?, (start + end + 2).min(arguments.len())))
}

/// An address without its source route (RFC 5321 appendix C), and without what programs put around it.
fn address_of(text: &[u8]) -> Option<Cow<'_, str>> {
    let mut text = std::str::from_utf8(text).ok()?.trim();
    if text.starts_with('@') {
        text = text.split_once(':')?.1;
    }
    if let Some((scheme, rest)) = text.split_once(':')
        && (scheme.eq_ignore_ascii_case("mailto") || scheme.eq_ignore_ascii_case("smtp"))
    {
        text = rest;
    }
    if let Some(inside) = text.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')) {
        text = inside;
    }
    if !text.contains('@') {
        return None;
    }
    let Some(quoted) = text.strip_prefix('"') else {
        // No address has blanks (RFC 5322 §3.4.1), but some programs write names before it.
        return text.split_whitespace().rfind(|word| word.contains('@')).map(Cow::Borrowed);
    };
    let Some((local, domain)) = quoted.rsplit_once("\"@") else {
        // The name alone is given, and it is the address.
        return quoted.strip_suffix('"').map(|inside| Cow::Borrowed(inside.trim_matches('\'')));
    };
    let mut plain = String::with_capacity(text.len());
    let mut escaped = false;
    for c in local.chars() {
        if c == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(c);
            escaped = false;
        }
    }
    plain.push('@');
    plain.push_str(domain);
    Some(Cow::Owned(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(list: &str, expected: &[&str]) {
        let mut seen = Vec::new();
        each_address(list.as_bytes(), |address, _| seen.push(address.to_owned()));
        assert_eq!(seen, expected, "{list:?}");
    }

    #[test]
    fn names_and_comments_are_no_addresses() {
        check("a@evil.example", &["a@evil.example"]);
        check("Mallory <a@evil.example>", &["a@evil.example"]);
        check("\"x@other.example\" <a@evil.example>", &["a@evil.example"]);
        check("x@other.example <a@evil.example>", &["a@evil.example"]);
        check("\"Last, First\" <a@evil.example>, b@evil.example", &["a@evil.example", "b@evil.example"]);
        check("x@other.example a@evil.example", &["a@evil.example"]);
        check("a@evil.example (Mallory (x@other.example), of \\) evil)", &["a@evil.example"]);
        check("<a@evil.example> (Mallory)", &["a@evil.example"]);
        check("=?utf-8?q?M=C3=A0?= <a@evil.example>", &["a@evil.example"]);
    }

    #[test]
    fn groups_folds_routes_and_quotes_are_read() {
        check(
            "\"Test Group\":a@x.example, <b@x.example>,\r\n\tC <c@x.example>;, d@x.example",
            &["a@x.example", "b@x.example", "c@x.example", "d@x.example"],
        );
        check("undisclosed-recipients:;", &[]);
        check("<@r1.example,@r2.example:a@x.example>", &["a@x.example"]);
        check("\"a\"@x.example, <\"b\\c\"@x.example>", &["a@x.example", "bc@x.example"]);
        check("a@[IPv6:2001:db8::1], b@x.example", &["a@[IPv6:2001:db8::1]", "b@x.example"]);
    }

    #[test]
    fn what_programs_put_around_an_address_is_removed() {
        check("'a@x.example', <'b@x.example'>", &["a@x.example", "b@x.example"]);
        check("\"a@x.example\", \"'b@x.example'\"", &["a@x.example", "b@x.example"]);
        check("<mailto:a@x.example>, <SMTP:b@x.example>", &["a@x.example", "b@x.example"]);
        check("\"postmaster@\" <x.example a@x.example>", &["a@x.example"]);
    }

    #[test]
    fn what_is_cut_or_broken_gives_no_address() {
        for list in
            ["", "<>", "Mallory", "<a@evil.example", "\"a@evil.example", "(a@evil.example", ",;:,", "\\"]
        {
            check(list, &[]);
        }
        check("\u{e0} a@x.example", &["a@x.example"]);
    }

    #[test]
    fn paths_stand_in_brackets_or_not() {
        for (arguments, expected, end) in [
            ("<a@evil.example> SIZE=1", Some("a@evil.example"), 16),
            (" <a@evil.example>", Some("a@evil.example"), 17),
            ("a@evil.example BODY=8BITMIME", Some("a@evil.example"), 14),
            ("<@relay.example:a@evil.example>", Some("a@evil.example"), 31),
            ("<\"a>b\"@evil.example>", Some("a>b@evil.example"), 20),
            ("<a@evil.example", Some("a@evil.example"), 15),
            ("<>", None, 0),
            ("<postmaster>", None, 0),
        ] {
            let path = path(arguments.as_bytes());
            assert_eq!(path.as_ref().map(|(path, _)| &**path), expected, "{arguments:?}");
            assert_eq!(path.map_or(0, |(_, end)| end), end, "{arguments:?}");
        }
    }
}

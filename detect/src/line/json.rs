//! Members of a JSON text as they are met, without copying and without recursion. What is no JSON is refused soon;
//! what is cut off or nested too deeply is read as far as it goes.

use super::reading::{Field, Reading};

/// Objects and arrays inside each other; nothing deeper is read.
const DEPTH_MAX: usize = 32;
/// Names of the way to a value that are looked at: `source`, `nat`, `ip`.
const WAY: usize = 3;

/// A string, number or word of a JSON text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    /// Names on the way to it, the innermost last; the values of an array have the name of the array.
    pub way: [&'a [u8]; WAY],
    /// As it is written, without quotes.
    pub text: &'a [u8],
    /// Whether something in it is written with a backslash.
    pub is_escaped: bool,
    /// Tells the object that it stands in from others.
    pub object: usize,
}

impl<'a> Member<'a> {
    /// Notes what it is.
    pub fn take(&self, field: Field, reading: &mut Reading<'a>) {
        if self.is_escaped {
            reading.take_unescaped(field, unescaped(self.text), self.text);
        } else {
            reading.take(field, self.text);
        }
    }

    /// The innermost name.
    pub fn name(&self) -> &'a [u8] {
        let [.., name] = self.way;
        name
    }

    /// The name of what it stands in.
    pub fn parent(&self) -> &'a [u8] {
        let [.., parent, _] = self.way;
        parent
    }
}

#[derive(Clone, Copy, Default)]
struct Open<'a> {
    name: &'a [u8],
    is_object: bool,
    number: usize,
}

struct Walk<'a> {
    rest: &'a [u8],
    open: [Open<'a>; DEPTH_MAX],
    depth: usize,
    /// Objects and arrays opened so far.
    opened: usize,
    /// The name that was read and whose value follows.
    name: Option<&'a [u8]>,
}

/// Calls with each value of a text that is a JSON object; `false` when it is none.
pub(super) fn each<'a>(text: &'a [u8], call: &mut dyn FnMut(&Member<'a>)) -> bool {
    let text = text.trim_ascii_start();
    if text.first() != Some(&b'{') {
        return false;
    }
    let mut walk = Walk { rest: text, open: [Open::default(); DEPTH_MAX], depth: 0, opened: 0, name: None };
    loop {
        match walk.step(call) {
            Step::On => {}
            Step::End => return walk.opened > 0,
            Step::Broken => return false,
        }
    }
}

enum Step {
    On,
    End,
    Broken,
}

impl<'a> Walk<'a> {
    fn step(&mut self, call: &mut dyn FnMut(&Member<'a>)) -> Step {
        self.rest = self.rest.trim_ascii_start();
        let Some((first, after)) = self.rest.split_first() else { return Step::End };
        match first {
            b'{' | b'[' => {
                self.rest = after;
                self.open(*first == b'{')
            }
            b'}' | b']' => {
                self.rest = after;
                self.name = None;
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 { Step::End } else { Step::On }
            }
            b',' => {
                self.rest = after;
                self.name = None;
                Step::On
            }
            b'"' => self.string(after, call),
            _ => self.bare(call),
        }
    }

    fn open(&mut self, is_object: bool) -> Step {
        let name = self.name.take().unwrap_or_else(|| self.top().name);
        let Some(place) = self.open.get_mut(self.depth) else { return Step::End };
        self.opened += 1;
        *place = Open { name, is_object, number: self.opened };
        self.depth += 1;
        Step::On
    }

    fn top(&self) -> Open<'a> {
        self.depth.checked_sub(1).and_then(|top| self.open.get(top)).copied().unwrap_or_default()
    }

    fn string(&mut self, after: &'a [u8], call: &mut dyn FnMut(&Member<'a>)) -> Step {
        let (end, is_escaped) = string_end(after);
        let (text, rest) = after.split_at_checked(end).unwrap_or((after, &[]));
        self.rest = rest.get(1..).unwrap_or_default();
        if self.top().is_object && self.name.is_none() {
            let Some(value) = self.rest.trim_ascii_start().strip_prefix(b":") else {
                return if self.rest.is_empty() { Step::End } else { Step::Broken };
            };
            self.name = Some(text);
            self.rest = value;
            return Step::On;
        }
        self.value(text, is_escaped, call);
        Step::On
    }

    fn bare(&mut self, call: &mut dyn FnMut(&Member<'a>)) -> Step {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b',' | b'}' | b']');
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, &[]));
        let is_bare = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
        if text.is_empty() || !text.iter().all(is_bare) || (self.top().is_object && self.name.is_none()) {
            return Step::Broken;
        }
        self.rest = rest;
        self.value(text, false, call);
        Step::On
    }

    fn value(&mut self, text: &'a [u8], is_escaped: bool, call: &mut dyn FnMut(&Member<'a>)) {
        let object = self.top().number;
        let name_at = |depth: usize| {
            depth.checked_sub(1).and_then(|at| self.open.get(at)).map_or(&b""[..], |open| open.name)
        };
        let way = match self.name {
            Some(name) => [name_at(self.depth.saturating_sub(1)), name_at(self.depth), name],
            None => [
                name_at(self.depth.saturating_sub(2)),
                name_at(self.depth.saturating_sub(1)),
                name_at(self.depth),
            ],
        };
        self.name = None;
        call(&Member { way, text, is_escaped, object });
    }
}

/// Where the quote is that closes a string, and whether a backslash stands before it; the end of a text cut off.
fn string_end(text: &[u8]) -> (usize, bool) {
    let mut at = 0;
    let mut is_escaped = false;
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if text.get(at) == Some(&b'"') {
            return (at, is_escaped);
        }
        is_escaped = true;
        at += 2;
    }
    (text.len(), is_escaped)
}

/// What a string stands for (RFC 8259 §7).
pub(super) fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some(at) = memchr::memchr(b'\\', text) {
        let (before, from) = text.split_at_checked(at).unwrap_or((text, &[]));
        plain.extend_from_slice(before);
        let escape = from.get(1).copied().unwrap_or(b'\\');
        let mut used = 2;
        match escape {
            b'n' => plain.push(b'\n'),
            b't' => plain.push(b'\t'),
            b'r' => plain.push(b'\r'),
            b'b' => plain.push(8),
            b'f' => plain.push(12),
            b'u' => {
                let (character, length) = unicode(from);
                plain.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                used = length;
            }
            other => plain.push(other),
        }
        text = from.get(used..).unwrap_or_default();
    }
    plain.extend_from_slice(text);
    plain
}

/// The character of `\u0041`, or of two halves of a pair, and the bytes that it takes.
fn unicode(text: &[u8]) -> (char, usize) {
    let unit = |at: usize| {
        let digits = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    match (unit(0), unit(6)) {
        (Some(high @ 0xd800..=0xdbff), Some(low @ 0xdc00..=0xdfff)) => {
            let code = 0x1_0000 + ((high - 0xd800) << 10) + (low - 0xdc00);
            (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 12)
        }
        (Some(code), _) => (char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER), 6),
        (None, _) => (char::REPLACEMENT_CHARACTER, 2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Option<&[&str]>) {
        let mut read = Vec::new();
        let is_json = each(text.as_bytes(), &mut |member| {
            let way: Vec<_> = member.way.iter().map(|name| String::from_utf8_lossy(name)).collect();
            let value = String::from_utf8(unescaped(member.text)).unwrap();
            read.push(format!("{}={value}", way.join("/").trim_start_matches('/')));
        });
        assert_eq!(
            is_json.then_some(read),
            expected.map(|all| all.iter().map(|one| (*one).to_owned()).collect()),
            "{text}"
        );
    }

    #[test]
    fn values_have_the_names_on_the_way_to_them() {
        check(
            r#" {"a": "x", "b" : {"c": {"d":-1.5e3, "e": [true, {"f":"g"}, ["h"]]}}, "i":null}"#,
            Some(&["a=x", "b/c/d=-1.5e3", "b/c/e=true", "e/e/f=g", "c/e/e=h", "i=null"]),
        );
    }

    #[test]
    fn escapes_stand_for_what_they_mean() {
        check(
            r#"{"a":"q\"\\\/\n\u00e8\ud83d\ude00\ud83d\u12","b":"\\"}"#,
            Some(&["a=q\"\\/\nè😀\u{fffd}\u{fffd}12", "b=\\"]),
        );
    }

    #[test]
    fn what_is_cut_off_or_too_deep_is_read_as_far_as_it_goes() {
        check(r#"{"a":"x","b":"y"#, Some(&["a=x", "b=y"]));
        check(r#"{"a":"x","b"#, Some(&["a=x"]));
        check(&format!("{{\"a\":\"x\",\"b\":{}1", "[".repeat(40_000)), Some(&["a=x"]));
        check(r#"{"a":"x"} and more"#, Some(&["a=x"]));
    }

    #[test]
    fn other_texts_are_none() {
        for text in ["", "[1]", "{a:1}", "{ something }", "{\"a\" 1}", "x{\"a\":1}", "{\"a\":(1)}"] {
            check(text, None);
        }
    }
}

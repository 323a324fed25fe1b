//! Texts with dots: names, and addresses of version four.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use protocol::domain;

use super::Look;
use super::bytes::{self, DASH, DIGIT, DOT, FOREIGN, LOWER, NAME, UPPER};
use super::masks::Of;

/// RFC 1035 §2.3.4.
const NAME_BYTES_MAX: usize = 253;
/// `255.255.255.255`.
const ADDRESS_BYTES_MAX: usize = 15;
/// Letters with marks of Latin alphabets begin with these bytes in UTF-8. No such letter stands for a dot.
const LATIN: std::ops::RangeInclusive<u8> = 0xc3..=0xc9;

impl Look<'_> {
    /// The text around the dot at this place, up to where no name goes on.
    pub(super) fn dot(&mut self, at: usize) -> bool {
        let line = self.line;
        let end = self.masks.end(Of::Names, at + 1);
        // The dot of a sentence's end.
        if end == at + 1 {
            return false;
        }
        let start = self.masks.start(Of::Names, at).max(self.names_done);
        self.names_done = end;
        let Some(run) = line.get(start..end) else { return false };
        let before = self.byte_before(start).unwrap_or(b' ');
        if is_mark(before) && self.glued(before, run, kinds_of(run)) {
            return true;
        }
        // Colons are not among the bytes of names.
        let dots = self.masks.of_span(Of::Marks, start, end);
        if self.masks.are_all(Of::Numbers, start, end) {
            self.note_host_of_digits(before, start..end, dots.count_ones());
            return self.numbers(start..end, dots) || (before == b'(' && self.is_audit_record(start));
        }
        let is_plain = self.masks.are_all(Of::Plain, start, end);
        let kinds = if is_plain { LOWER | DIGIT | DOT } else { kinds_of(run) };
        // Services on the local network have names with blanks, which begin nobody knows where.
        if kinds & DASH != 0 && (has(run, b"._tcp.") || has(run, b"._udp.")) {
            return true;
        }
        // A letter of an international name may follow that is written as an escape sequence.
        if line.get(end) == Some(&b'\\') && is_foreign_escape(line, end) {
            return true;
        }
        if before != b'/' && before != b'@' {
            self.note_host(start..end);
        }
        // Most names are written plainly.
        let is_plain = is_plain
            && run.len() <= NAME_BYTES_MAX
            && run.first().is_some_and(|byte| *byte != b'.')
            && run.last().is_some_and(u8::is_ascii_lowercase);
        if is_plain {
            if self.looks.names {
                self.layers.ask_name(run, dots, &mut self.room.asked);
            }
            return false;
        }
        // What is no ASCII has its turn after the marks.
        kinds & FOREIGN == 0 && self.text(run, kinds)
    }

    /// What follows an escape sequence or a colour.
    fn glued(&mut self, mark: u8, run: &[u8], kinds: u8) -> bool {
        let is_foreign_letter = mark == b'\\' && code_of(run).is_some_and(|code| code >= 0x80);
        is_foreign_letter || run.get(glue(mark, run)..).is_some_and(|rest| self.text(rest, kinds))
    }

    /// Audit records write addresses and command lines in hexadecimal digits; `start` is where the time stands.
    fn is_audit_record(&mut self, start: usize) -> bool {
        let (before, after) = self.line.split_at_checked(start).unwrap_or_default();
        let has = |key: &[u8]| memchr::memmem::find(after, key).is_some();
        // Once: what stands behind the first such time stands behind no later one.
        if self.audit_seen || !before.ends_with(b"audit(") {
            return false;
        }
        self.audit_seen = true;
        has(b"saddr=") || has(b"proctitle=")
    }

    /// Whether an escape sequence stands for a dot of another alphabet, which makes names too.
    pub(super) fn has_escaped_dots(&self) -> bool {
        memchr::memchr_iter(b'\\', self.line).any(|at| {
            let code = self.line.get(at + 1..).and_then(code_of);
            code.is_some_and(|code| (0x2024..=0x2026).contains(&code) || code >= 0x2488)
        })
    }

    /// A text of the bytes of names, whole and the pieces between its dashes.
    fn text(&mut self, run: &[u8], kinds: u8) -> bool {
        let is_outer = |byte: &u8| matches!(byte, b'.' | b'-');
        let first = run.iter().take_while(|byte| is_outer(byte)).count();
        let last = run.iter().rev().take_while(|byte| is_outer(byte)).count();
        let Some(inner) = run.get(first..run.len().saturating_sub(last)) else { return false };
        if self.piece(inner, kinds) || (inner.len() < run.len() && self.piece(run, kinds)) {
            return true;
        }
        kinds & DASH != 0 && self.pieces(inner, kinds)
    }

    /// Pieces between `-`, and in these between `_`: values that something joined.
    fn pieces(&mut self, text: &[u8], kinds: u8) -> bool {
        text.split(|byte| *byte == b'-').any(|part| {
            (part.len() < text.len() && self.piece(part, kinds))
                || (part.contains(&b'_')
                    && part.split(|byte| *byte == b'_').any(|piece| self.piece(piece, kinds)))
        })
    }

    /// A name or an address, if anything; `kinds` is of the text that it is a piece of.
    fn piece(&mut self, text: &[u8], kinds: u8) -> bool {
        let text = text.strip_suffix(b".").unwrap_or(text);
        if !text.contains(&b'.') && !self.looks.single_labels {
            return false;
        }
        // Of a name the last label is no number.
        let ends_in_digit = text.last().is_some_and(u8::is_ascii_digit);
        if ends_in_digit {
            let last = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
            let is_number = last == text.len() || text.iter().rev().nth(last) == Some(&b'.');
            if is_number {
                return bytes::run(text.iter(), DIGIT | DOT).0 == text.len() && self.digits(text);
            }
        }
        self.name(text, kinds & UPPER != 0)
    }

    fn name(&mut self, name: &[u8], has_upper: bool) -> bool {
        if !self.looks.names || name.len() > NAME_BYTES_MAX {
            return false;
        }
        if !has_upper {
            return self.layers.may_hold_name(name);
        }
        self.room.lowered.clear();
        self.room.lowered.extend_from_slice(name);
        self.room.lowered.make_ascii_lowercase();
        self.layers.may_hold_name(&self.room.lowered)
    }

    /// Digits and dots; most are one address.
    #[inline]
    fn numbers(&mut self, span: Range<usize>, dots: u64) -> bool {
        let run = self.line.get(span.clone()).unwrap_or_default();
        if run.len() > ADDRESS_BYTES_MAX {
            return self.digits(run);
        }
        // Most are no address but `5.0`.
        if dots.count_ones() < 3 || !self.looks.addresses {
            return false;
        }
        let is_one = dots.count_ones() == 3 && run.last() != Some(&b'.');
        match self.sixteen_bytes(span).filter(|_| is_one) {
            Some(text) => address(text, dots, run.len()).is_some_and(|address| self.asks_address(address)),
            None => self.digits(run),
        }
    }

    /// Bytes of the line as a number, the first of a span lowest. The upper ones may be what stands behind the span.
    #[inline]
    fn sixteen_bytes(&self, span: Range<usize>) -> Option<u128> {
        if let Some(bytes) = self.line.get(span.start..).and_then(<[u8]>::first_chunk) {
            return Some(u128::from_le_bytes(*bytes));
        }
        let bytes = self.line.get(..span.end)?.last_chunk()?;
        u128::from_le_bytes(*bytes).checked_shr(128 - 8 * u32::try_from(span.len()).ok()?)
    }

    /// Digits and dots: every four numbers in a row that can be an address; between two dots may stand nothing.
    fn digits(&mut self, run: &[u8]) -> bool {
        if !self.looks.addresses {
            return false;
        }
        let (mut address, mut numbers, mut number) = (0_u32, 0_u32, 0_u32);
        for byte in run {
            let digit = u32::from(byte.wrapping_sub(b'0'));
            if digit <= 9 {
                number = number.wrapping_mul(10).wrapping_add(digit);
                continue;
            }
            numbers = if number <= 255 { numbers + 1 } else { 0 };
            address = address << 8 | (number & 0xff);
            number = 0;
            if numbers >= 4 && self.asks_address(Ipv4Addr::from_bits(address).into()) {
                return true;
            }
        }
        let last = address << 8 | (number & 0xff);
        number <= 255 && numbers >= 3 && self.asks_address(Ipv4Addr::from_bits(last).into())
    }

    /// Texts that are no ASCII: international names, whose dots may be others (UTS #46), and what stands beside
    /// letters of an unknown alphabet.
    pub(super) fn foreign(&mut self) -> bool {
        let mut line = self.line;
        let mut mark = b' ';
        while let Some(at) = line.iter().position(|byte| bytes::kind(*byte) & NAME != 0) {
            mark = at.checked_sub(1).and_then(|at| line.get(at)).copied().unwrap_or(mark);
            line = line.get(at..).unwrap_or_default();
            let (length, kinds) = bytes::run(line.iter(), NAME);
            let (run, rest) = line.split_at_checked(length).unwrap_or_default();
            line = rest;
            let is_glued = kinds & FOREIGN != 0 && is_mark(mark);
            let glued = run.get(glue(mark, run)..).filter(|_| is_glued);
            if (kinds & FOREIGN != 0 && self.foreign_text(run, kinds))
                || glued.is_some_and(|rest| self.foreign_text(rest, kinds))
            {
                return true;
            }
            mark = b' ';
        }
        false
    }

    /// As a whole it may be a name; what is ASCII in it may be anything.
    fn foreign_text(&mut self, run: &[u8], kinds: u8) -> bool {
        let may_have_a_dot = kinds & DOT != 0
            || self.looks.single_labels
            || run.iter().any(|byte| *byte >= 0xc0 && !LATIN.contains(byte));
        if !may_have_a_dot {
            return false;
        }
        self.foreign_name(run)
            || run.split(|byte| !byte.is_ascii()).any(|piece| !piece.is_empty() && self.text(piece, kinds))
    }

    fn foreign_name(&mut self, text: &[u8]) -> bool {
        if !self.looks.names || text.len() > 4 * NAME_BYTES_MAX {
            return false;
        }
        let Ok(text) = std::str::from_utf8(text) else { return false };
        self.room.normal.clear();
        domain::normalise(text.trim_matches(['.', '-']), &mut self.room.normal).is_ok()
            && self.layers.may_hold_name(self.room.normal.as_bytes())
    }

    /// Names of one label stand where any word may stand.
    pub(super) fn single_labels(&mut self) -> bool {
        let line = self.line;
        line.split(|byte| bytes::kind(*byte) & NAME == 0)
            .any(|run| !run.is_empty() && self.text(run, UPPER | DASH))
    }
}

/// The address that a text of so many bytes is, of digits and three dots at these places. Without branches: how long
/// each number is, nobody foretells. An empty one is taken for zero.
#[inline]
fn address(text: u128, dots: u64, length: usize) -> Option<IpAddr> {
    let [first, rest] = [dots, dots & (dots.wrapping_sub(1))];
    let ends = [first.trailing_zeros(), rest.trailing_zeros(), rest.ilog2(), u32::try_from(length).ok()?];
    let (mut from, mut address, mut greatest) = (0, 0, 0);
    for end in ends {
        let digits = u32::try_from(text >> (8 * from) & 0xffff_ffff).unwrap_or_default();
        // The last digit comes uppermost, and what is behind it goes.
        let digits = digits.unbounded_shl(32_u32.wrapping_sub(8 * (end - from))) & 0x0f0f_0f0f;
        let number = (digits >> 24) + 10 * (digits >> 16 & 0xf) + 100 * (digits >> 8 & 0xf);
        // Four digits are too many.
        greatest = greatest.max(number).max(if end - from > 3 { 256 } else { 0 });
        address = address << 8 | number;
        from = end + 1;
    }
    (greatest <= 255).then(|| Ipv4Addr::from_bits(address).into())
}

/// Of what kinds the bytes of a run are.
fn kinds_of(run: &[u8]) -> u8 {
    bytes::run(run.iter(), NAME).1
}

/// Whether an escape sequence may begin with this byte.
fn is_mark(byte: u8) -> bool {
    matches!(byte, b'\\' | b'#' | b'%' | b'[' | b';')
}

/// How many bytes behind its mark belong to an escape sequence: `\t`, `\x09`, `\u0009`, `#011`, `%2F`, or a colour,
/// `[31m`.
fn glue(mark: u8, run: &[u8]) -> usize {
    match (mark, run) {
        (b'\\', [b'u', ..]) => 5,
        (b'\\', [b'x' | b'0'..=b'9', ..]) | (b'#', _) => 3,
        (b'\\', _) => 1,
        (b'%', _) => 2,
        _ => 1 + run.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count(),
    }
}

fn has(run: &[u8], part: &[u8]) -> bool {
    memchr::memmem::find(run, part).is_some()
}

/// The code of `u00e0`.
fn code_of(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"u")?.get(..4)?;
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Whether a letter beyond ASCII stands here as an escape sequence.
fn is_foreign_escape(line: &[u8], at: usize) -> bool {
    line.get(at + 1..).and_then(code_of).is_some_and(|code| code >= 0x80)
}

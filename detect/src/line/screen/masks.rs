//! What each byte of a line is, as bits: where a run of a kind begins and ends is then asked without looking at its
//! bytes again.

/// Bytes of a row.
const ROW: usize = 64;
const ONES: u64 = 0x0101_0101_0101_0101;
/// Multiplied with a word that has the lowest bits of its bytes only, brings them together in the upper byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// Kinds of bytes that have bits.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// What names and addresses of version four are made of: letters, digits, `.`, `-`, `_`, and what is no ASCII.
    Names,
    /// Small letters, digits and dots: names that need no normal form.
    Plain,
    /// Digits and dots.
    Numbers,
    /// Hexadecimal digits.
    Hex,
    /// Dots and colons.
    Marks,
}

const KINDS: usize = 5;

/// The bits of one line.
#[derive(Default)]
pub(super) struct Masks {
    rows: Vec<[u64; KINDS]>,
    length: usize,
    pub is_ascii: bool,
}

impl Masks {
    /// Takes a line in the place of the one before.
    pub fn fill(&mut self, line: &[u8]) {
        self.rows.clear();
        self.length = line.len();
        let (blocks, rest) = line.as_chunks::<ROW>();
        let mut high = 0;
        for block in blocks {
            high |= self.push(block);
        }
        let mut last = [0; ROW];
        if let Some(begin) = last.get_mut(..rest.len()) {
            begin.copy_from_slice(rest);
        }
        high |= self.push(&last);
        self.is_ascii = high < 0x80;
    }

    /// Adds a row; gives all bytes of it, each bit that any of them has.
    #[inline]
    fn push(&mut self, block: &[u8; ROW]) -> u8 {
        let mut classes = [0; ROW];
        let mut high = 0;
        for (class, byte) in classes.iter_mut().zip(block) {
            *class = class_of(*byte);
            high |= *byte;
        }
        let mut row = [0; KINDS];
        for (number, word) in classes.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*word);
            for (kind, bits) in row.iter_mut().enumerate() {
                *bits |= (((word >> kind) & ONES).wrapping_mul(GATHER) >> 56) << (8 * number);
            }
        }
        self.rows.push(row);
        high
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The bits of a row, the lowest for its first byte.
    #[inline]
    pub fn row(&self, number: usize, of: Of) -> u64 {
        self.rows.get(number).and_then(|row| row.get(of as usize)).copied().unwrap_or_default()
    }

    /// Where the run that goes on at `at` ends: the first byte from there that is not of the kind.
    #[inline]
    pub fn end(&self, of: Of, at: usize) -> usize {
        let (mut number, place) = (at / ROW, at % ROW);
        let mut others = !self.row(number, of) >> place << place;
        while others == 0 && number < self.rows.len() {
            number += 1;
            others = !self.row(number, of);
        }
        (number * ROW + others.trailing_zeros() as usize).min(self.length)
    }

    /// Where the run that comes before `at` begins.
    #[inline]
    pub fn start(&self, of: Of, at: usize) -> usize {
        let (mut number, place) = (at / ROW, at % ROW);
        let mut others = !self.row(number, of) & ((1 << place) - 1);
        while others == 0 && number > 0 {
            number -= 1;
            others = !self.row(number, of);
        }
        if others == 0 { 0 } else { number * ROW + ROW - others.leading_zeros() as usize }
    }

    /// How many bytes of a kind lie in a span of at most 64 bytes.
    #[inline]
    pub fn count(&self, of: Of, start: usize, end: usize) -> u32 {
        let (number, place) = (start / ROW, start % ROW);
        let two = u128::from(self.row(number, of)) | u128::from(self.row(number + 1, of)) << ROW;
        let wanted = (1_u128 << (end - start).min(ROW)) - 1;
        (two >> place & wanted).count_ones()
    }

    /// Whether 32 hexadecimal digits may stand in a row: 16 of them are in one row of bits then. *No* is certain.
    #[inline]
    pub fn may_have_long_hex(&self) -> bool {
        self.rows.iter().any(|row| {
            let mut run = row.get(Of::Hex as usize).copied().unwrap_or_default();
            for step in [1, 2, 4, 8] {
                run &= run >> step;
            }
            run != 0
        })
    }
}

/// A bit for each kind, in the order of [`Of`]; without branches, so that many are found at once.
#[inline]
fn class_of(byte: u8) -> u8 {
    let within = |first: u8, count: u8| u8::from(byte.wrapping_sub(first) < count);
    let digit = within(b'0', 10);
    let dot = u8::from(byte == b'.');
    let plain = within(b'a', 26) | digit | dot;
    let name = plain | within(b'A', 26) | u8::from(byte == b'-') | u8::from(byte == b'_') | (byte >> 7);
    let hex = digit | u8::from((byte | 0x20).wrapping_sub(b'a') < 6);
    let mark = dot | u8::from(byte == b':');
    name | plain << 1 | (digit | dot) << 2 | hex << 3 | mark << 4
}

#[cfg(test)]
mod tests {
    use super::super::bytes::{COLON, DIGIT, DOT, HEX, LOWER, NAME, kind};
    use super::*;

    const ALL: [(Of, u8); KINDS] = [
        (Of::Names, NAME),
        (Of::Plain, LOWER | DIGIT | DOT),
        (Of::Numbers, DIGIT | DOT),
        (Of::Hex, HEX),
        (Of::Marks, DOT | COLON),
    ];

    #[test]
    fn each_byte_has_the_bits_of_its_kinds() {
        for byte in 0..=255 {
            let class = class_of(byte);
            for (of, kinds) in ALL {
                assert_eq!(class >> of as u8 & 1 == 1, kind(byte) & kinds != 0, "{byte} {kinds}");
            }
        }
    }

    #[test]
    fn runs_begin_and_end_where_their_bytes_do() {
        let line: Vec<u8> = (0..300_u32).map(|at| b"ab.9:-Z "[(at * at / 7 % 8) as usize]).collect();
        for length in [0, 1, 63, 64, 65, 127, 128, 129, 300] {
            let line = &line[..length];
            let mut masks = Masks::default();
            masks.fill(line);
            for (of, kinds) in ALL {
                let is = |byte: &u8| kind(*byte) & kinds != 0;
                for at in 0..length {
                    let end = at + line[at..].iter().take_while(|byte| is(byte)).count();
                    let start = at - line[..at].iter().rev().take_while(|byte| is(byte)).count();
                    assert_eq!((masks.start(of, at), masks.end(of, at)), (start, end), "{at} of {length}");
                    let until = length.min(at + 40);
                    let count = line[at..until].iter().filter(|byte| is(byte)).count();
                    assert_eq!(masks.count(of, at, until) as usize, count);
                }
            }
        }
    }

    #[test]
    fn long_runs_of_hexadecimal_digits_are_found_at_every_place() {
        for length in 28..40 {
            let mut short = Masks::default();
            short.fill(&b"deadbeefdeadbee ".repeat(9));
            assert!(!short.may_have_long_hex());
            for start in 0..140 {
                let line = [vec![b' '; start], vec![b'a'; length], vec![b' '; 200 - start]].concat();
                let mut masks = Masks::default();
                masks.fill(&line);
                assert!(masks.may_have_long_hex() || length < 32, "{length} at {start}");
            }
        }
    }
}

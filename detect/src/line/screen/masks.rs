//! What each byte of a line is, as bits: where a run of a kind begins and ends is then asked without looking at its
//! bytes again.

/// Bytes of a row.
const ROW: usize = 64;
/// Bytes that are looked at together.
const PIECE: usize = 16;
/// Bit N for each byte of the Nth eighth of a row.
const EIGHTHS: [[u8; PIECE]; ROW / PIECE] = {
    let mut eighths = [[0; PIECE]; ROW / PIECE];
    let mut at = 0;
    while at < ROW {
        #[expect(clippy::indexing_slicing, reason = "computed when compiling")]
        {
            eighths[at / PIECE][at % PIECE] = 1 << (at / 8);
        }
        at += 1;
    }
    eighths
};

/// Kinds of bytes that have bits.
#[derive(Clone, Copy)]
pub(super) enum Of {
    /// What names and addresses of version four are made of: letters, digits, `.`, `-`, `_`, and what is no ASCII.
    Names,
    /// Small letters, digits and dots: names that need no normal form.
    Plain,
    /// Digits and dots.
    Numbers,
    /// Dots and colons.
    Marks,
}

const KINDS: usize = 4;

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
        self.is_ascii = line.is_ascii();
        let (blocks, rest) = line.as_chunks::<ROW>();
        self.rows.extend(blocks.iter().map(row_of));
        if rest.is_empty() {
            return;
        }
        // The rest is read with what is before it, if there is enough, and that is shifted out.
        let row = match line.last_chunk::<ROW>() {
            Some(last) => row_of(last).map(|bits| bits >> (ROW - rest.len())),
            None => {
                let mut last = [0; ROW];
                last.iter_mut().zip(rest).for_each(|(to, byte)| *to = *byte);
                row_of(&last)
            }
        };
        self.rows.push(row);
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

    /// The bits of the 64 bytes from `at` on, the lowest for the first.
    #[inline]
    pub fn after(&self, of: Of, at: usize) -> u64 {
        let (number, place) = (at / ROW, at % ROW);
        self.row(number, of) >> place | self.row(number + 1, of) << 1 << (ROW - 1 - place)
    }

    /// The bits of the 64 bytes before `at`, the highest for the last.
    #[inline]
    fn before(&self, of: Of, at: usize) -> u64 {
        let (number, place) = (at / ROW, at % ROW);
        self.row(number.wrapping_sub(1), of) >> place | self.row(number, of) << 1 << (ROW - 1 - place)
    }

    /// Where the run that goes on at `at` ends: the first byte from there that is not of the kind.
    #[inline]
    pub fn end(&self, of: Of, mut at: usize) -> usize {
        loop {
            let others = !self.after(of, at);
            if others != 0 {
                return at + others.trailing_zeros() as usize;
            }
            at += ROW;
        }
    }

    /// Where the run that comes before `at` begins.
    #[inline]
    pub fn start(&self, of: Of, mut at: usize) -> usize {
        loop {
            let others = !self.before(of, at);
            if others != 0 {
                return at - others.leading_zeros() as usize;
            }
            at -= ROW;
        }
    }

    /// The bits of a span, or of its first 64 bytes.
    #[inline]
    pub fn of_span(&self, of: Of, start: usize, end: usize) -> u64 {
        self.after(of, start) & !u64::MAX.unbounded_shl(u32::try_from(end - start).unwrap_or(u32::MAX))
    }

    /// Whether all bytes of a span are of a kind.
    #[inline]
    pub fn are_all(&self, of: Of, start: usize, end: usize) -> bool {
        let count = self.of_span(of, start, end).count_ones() as usize;
        count == end - start || (count == ROW && self.end(of, start + ROW) >= end)
    }

    /// Whether 32 letters and digits may stand in a row: 16 of them are in one row of bits then. *No* is certain.
    #[inline]
    pub fn may_have_long_word(&self) -> bool {
        self.rows.iter().any(|[names, _, _, marks]| {
            let mut run = names & !marks;
            for step in [1, 2, 4, 8] {
                run &= run >> step;
            }
            run != 0
        })
    }
}

/// The bits of a block of bytes, in the order of [`Of`]. Without branches, and in steps that the compiler does for
/// 16 bytes at once.
fn row_of(block: &[u8; ROW]) -> [u64; KINDS] {
    let mut eighths = [[0; PIECE]; KINDS];
    for (piece, bits) in block.as_chunks::<PIECE>().0.iter().zip(&EIGHTHS) {
        for at in 0..PIECE {
            #[expect(clippy::indexing_slicing, reason = "all have as many bytes as a piece")]
            {
                let all = classes(piece[at], bits[at]);
                eighths[0][at] |= all[0];
                eighths[1][at] |= all[1];
                eighths[2][at] |= all[2];
                eighths[3][at] |= all[3];
            }
        }
    }
    eighths.map(|eighths| {
        let mut words = eighths.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        transposed(words.next().unwrap_or_default() | words.next().unwrap_or_default())
    })
}

/// The bit for each kind that a byte is of, in the order of [`Of`].
#[inline(always)]
fn classes(byte: u8, bit: u8) -> [u8; KINDS] {
    let when = |is: bool| if is { bit } else { 0 };
    let within = |first: u8, count: u8| when(byte.wrapping_sub(first) < count);
    let dot = when(byte == b'.');
    let numbers = within(b'0', 10) | dot;
    let plain = numbers | within(b'a', 26);
    let names = plain | within(b'A', 26) | when(byte == b'-') | when(byte == b'_') | when(byte >= 0x80);
    [names, plain, numbers, dot | when(byte == b':')]
}

/// Turns a square of eight times eight bits: bit N of byte M becomes bit M of byte N.
#[inline]
fn transposed(mut bits: u64) -> u64 {
    for (step, wanted) in [(7, 0x00aa_00aa_00aa_00aa), (14, 0x0000_cccc_0000_cccc), (28, 0xf0f0_f0f0)] {
        let change = (bits ^ (bits >> step)) & wanted;
        bits ^= change ^ (change << step);
    }
    bits
}

#[cfg(test)]
mod tests {
    use super::super::bytes::{COLON, DIGIT, DOT, LOWER, NAME, kind};
    use super::*;

    const ALL: [(Of, u8); KINDS] = [
        (Of::Names, NAME),
        (Of::Plain, LOWER | DIGIT | DOT),
        (Of::Numbers, DIGIT | DOT),
        (Of::Marks, DOT | COLON),
    ];

    #[test]
    fn each_byte_has_the_bits_of_its_kinds() {
        for byte in 0..=255 {
            let row = row_of(&[byte; ROW]);
            for (of, kinds) in ALL {
                let expected = if kind(byte) & kinds != 0 { u64::MAX } else { 0 };
                assert_eq!(row[of as usize], expected, "{byte} {kinds}");
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
                    for until in [at, length.min(at + 40), length.min(at + 64), length] {
                        let are: Vec<bool> = line[at..until].iter().map(is).collect();
                        let bits = masks.of_span(of, at, until);
                        let expected =
                            are.iter().take(64).rev().fold(0, |bits, is| bits << 1 | u64::from(*is));
                        assert_eq!(bits, expected, "{at} to {until} of {length}");
                        assert_eq!(masks.are_all(of, at, until), !are.contains(&false));
                    }
                }
            }
        }
    }

    #[test]
    fn long_words_are_found_at_every_place() {
        for length in 28..40 {
            let mut short = Masks::default();
            short.fill(&b"deadbeefdeadbee ".repeat(9));
            assert!(!short.may_have_long_word());
            for start in 0..140 {
                let line = [vec![b' '; start], vec![b'a'; length], vec![b' '; 200 - start]].concat();
                let mut masks = Masks::default();
                masks.fill(&line);
                assert!(masks.may_have_long_word() || length < 32, "{length} at {start}");
            }
        }
    }
}

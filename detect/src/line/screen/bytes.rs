//! What bytes are, by a table; and eight of them compared at once.

/// The upper bit of each byte of a word.
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;
const ONES: u64 = 0x0101_0101_0101_0101;

pub(super) const DIGIT: u8 = 1;
pub(super) const UPPER: u8 = 2;
pub(super) const LOWER: u8 = 4;
pub(super) const DOT: u8 = 8;
/// `-` and `_`, which may stand in names and between values.
pub(super) const DASH: u8 = 16;
/// No ASCII.
pub(super) const FOREIGN: u8 = 32;
/// A hexadecimal digit, beside what it is otherwise.
pub(super) const HEX: u8 = 64;
pub(super) const COLON: u8 = 128;
pub(super) const LETTER: u8 = UPPER | LOWER;
/// What names and addresses of version four are made of.
pub(super) const NAME: u8 = DIGIT | LETTER | DOT | DASH | FOREIGN;

const KINDS: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        #[expect(clippy::indexing_slicing, reason = "computed when compiling")]
        #[expect(clippy::cast_possible_truncation, reason = "below 256")]
        {
            table[byte] = match byte as u8 {
                b'0'..=b'9' => DIGIT | HEX,
                b'a'..=b'f' => LOWER | HEX,
                b'A'..=b'F' => UPPER | HEX,
                b'g'..=b'z' => LOWER,
                b'G'..=b'Z' => UPPER,
                b'.' => DOT,
                b':' => COLON,
                b'-' | b'_' => DASH,
                0x80.. => FOREIGN,
                _ => 0,
            };
        }
        byte += 1;
    }
    table
};

/// What a byte is.
#[inline]
pub(super) fn kind(byte: u8) -> u8 {
    KINDS.get(usize::from(byte)).copied().unwrap_or_default()
}

/// How many bytes of these kinds come first, and which kinds they are.
#[inline]
pub(super) fn run<'a>(bytes: impl Iterator<Item = &'a u8>, wanted: u8) -> (usize, u8) {
    let (mut count, mut kinds) = (0, 0);
    for byte in bytes {
        let kind = kind(*byte);
        if kind & wanted == 0 {
            break;
        }
        (count, kinds) = (count + 1, kinds | kind);
    }
    (count, kinds)
}

/// Bytes that are compared at once.
pub(super) const BLOCK: usize = 64;
/// Multiplied with a word that has the lowest bits of its bytes only, brings them together in the upper byte.
const GATHER: u64 = 0x0102_0408_1020_4080;

/// A bit for each byte that is a dot or a colon, and the upper bits of bytes that are no ASCII. A byte above such a one
/// may be marked wrongly.
#[inline]
pub(super) fn marks(block: &[u8; BLOCK]) -> (u64, u64) {
    let (mut marks, mut high) = (0, 0);
    for (number, word) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        high |= word;
        let found = equal(word, b'.') | equal(word, b':');
        marks |= ((found >> 7).wrapping_mul(GATHER) >> 56) << (8 * number);
    }
    (marks, high & HIGH_BITS)
}

/// The upper bit of each byte that is this one. One above such a byte may be marked wrongly.
#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    let differs = word ^ (ONES * u64::from(byte));
    differs.wrapping_sub(ONES) & !differs & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dot_and_colon_has_its_bit() {
        for at in 0..BLOCK {
            for byte in 0..=255 {
                let mut block = [b'x'; BLOCK];
                block[at] = byte;
                let expected = if matches!(byte, b'.' | b':') { 1 << at } else { 0 };
                let (marks, high) = marks(&block);
                assert_eq!((marks, high != 0), (expected, byte >= 0x80), "{byte} at {at}");
            }
        }
    }
}

//! What bytes are, by a table.

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

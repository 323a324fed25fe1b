//! Lines in UTF-16, as programs on Windows write files: brought into UTF-8 before anything is looked for.

use std::borrow::Cow;

/// Bytes at a line's beginning by which it is judged.
const JUDGED_BYTES: usize = 32;
/// Fewer characters tell nothing, unless a byte order mark stands before them.
const CHARACTERS_MIN: usize = 4;

/// The line in UTF-8 when it is UTF-16, else as it is. A line feed's other half may have stayed with either line: so
/// where the zero bytes stand tells the order.
pub(crate) fn narrowed(line: &[u8]) -> Cow<'_, [u8]> {
    let text = line.strip_prefix(b"\xff\xfe").or_else(|| line.strip_prefix(b"\xfe\xff")).unwrap_or(line);
    let judged = text.get(..JUDGED_BYTES).unwrap_or(text);
    // Hardly any line has one.
    if memchr::memchr(0, judged).is_none() {
        return Cow::Borrowed(line);
    }
    let zeros = |parity: usize| judged.iter().skip(parity).step_by(2).filter(|byte| **byte == 0).count();
    let least = if text.len() < line.len() { 1 } else { CHARACTERS_MIN.max(judged.len() * 3 / 8) };
    let is_big = match (zeros(0), zeros(1)) {
        (0, low) if low >= least => false,
        (high, 0) if high >= least => true,
        _ => return Cow::Borrowed(line),
    };
    let (pairs, rest) = text.as_chunks::<2>();
    let read = if is_big { u16::from_be_bytes } else { u16::from_le_bytes };
    let units = pairs
        .iter()
        .map(|pair| read(*pair))
        .chain(rest.iter().filter(|byte| **byte != 0).map(|byte| u16::from(*byte)));
    let characters =
        char::decode_utf16(units).map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER));
    Cow::Owned(characters.collect::<String>().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &[u8], expected: &str) {
        assert_eq!(String::from_utf8_lossy(&narrowed(line)), expected, "{line:?}");
    }

    #[test]
    fn both_orders_with_and_without_a_mark() {
        let text = "from 203.0.113.5 à 😀";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        for bytes in [&little, &big] {
            check(bytes, text);
        }
        check(&[b"\xff\xfe", &little[..]].concat(), text);
        check(&[b"\xfe\xff", &big[..]].concat(), text);
    }

    #[test]
    fn a_line_feed_of_which_a_half_is_left() {
        let little: Vec<u8> = "a line\n203.0.113.5\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let lines: Vec<_> = little.split(|byte| *byte == b'\n').collect();
        check(lines[0], "a line");
        check(lines[1], "203.0.113.5");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        for line in [
            "",
            "a",
            "plain text of a line",
            "a\0b\0",
            "\0\0\0\0\0\0\0\0\0\0\0\0",
            "x\0\0\0\0 203.0.113.5",
            "\0\0\0\0text of a file with holes",
        ] {
            check(line.as_bytes(), line);
        }
    }
}

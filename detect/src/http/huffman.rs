//! The Huffman code of HPACK (RFC 7541 appendix B). It is canonical, so the symbols in the order of their codes and the
//! number of codes of each length say all of it.

/// Codes of each length in bits, from 0 on. The last of the longest is the end of string, which no string holds.
const COUNTS: [u32; 31] =
    [0, 0, 0, 0, 0, 10, 26, 32, 6, 0, 5, 3, 2, 6, 2, 3, 0, 0, 0, 3, 8, 13, 26, 29, 12, 4, 15, 19, 29, 0, 4];

/// Octets in the order of their codes.
const SYMBOLS: [u8; 256] = [
    48, 49, 50, 97, 99, 101, 105, 111, 115, 116, 32, 37, 45, 46, 47, 51, 52, 53, 54, 55, 56, 57, 61, 65, 95,
    98, 100, 102, 103, 104, 108, 109, 110, 112, 114, 117, 58, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77,
    78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 89, 106, 107, 113, 118, 119, 120, 121, 122, 38, 42, 44, 59, 88,
    90, 33, 34, 40, 41, 63, 39, 43, 124, 35, 62, 0, 36, 64, 91, 93, 126, 94, 125, 60, 96, 123, 92, 195, 208,
    128, 130, 131, 162, 184, 194, 224, 226, 153, 161, 167, 172, 176, 177, 179, 209, 216, 217, 227, 229, 230,
    129, 132, 133, 134, 136, 146, 154, 156, 160, 163, 164, 169, 170, 173, 178, 181, 185, 186, 187, 189, 190,
    196, 198, 228, 232, 233, 1, 135, 137, 138, 139, 140, 141, 143, 147, 149, 150, 151, 152, 155, 157, 158,
    165, 166, 168, 174, 175, 180, 182, 183, 188, 191, 197, 231, 239, 9, 142, 144, 145, 148, 159, 171, 206,
    215, 225, 236, 237, 199, 207, 234, 235, 192, 193, 200, 201, 202, 205, 210, 213, 218, 219, 238, 240, 242,
    243, 255, 203, 204, 211, 212, 214, 221, 222, 223, 241, 244, 245, 246, 247, 248, 250, 251, 252, 253, 254,
    2, 3, 4, 5, 6, 7, 8, 11, 12, 14, 15, 16, 17, 18, 19, 20, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 127,
    220, 249, 10, 13, 22,
];

/// Appends the text of a code; `None` when it is none, or longer than so many octets.
pub(crate) fn decode(code: &[u8], bytes_max: usize, into: &mut Vec<u8>) -> Option<()> {
    let length_max = into.len() + bytes_max;
    let mut at = Place::default();
    for byte in code {
        for bit in (0..8).rev() {
            let Some(symbol) = at.step(u32::from(byte >> bit & 1))? else { continue };
            if into.len() >= length_max {
                return None;
            }
            into.push(symbol);
            at = Place::default();
        }
    }
    at.is_padding().then_some(())
}

/// Where in the code a symbol begins and how far it was read.
#[derive(Default)]
struct Place {
    bits: u32,
    length: usize,
    /// The first code of this length, and how many symbols have shorter ones.
    first: u32,
    shorter: u32,
}

impl Place {
    /// Takes a bit; gives the symbol that ends with it, `None` for what is no code.
    fn step(&mut self, bit: u32) -> Option<Option<u8>> {
        let passed = COUNTS.get(self.length)?;
        self.first = (self.first + passed) << 1;
        self.shorter += passed;
        self.bits = self.bits << 1 | bit;
        self.length += 1;
        let within = self.bits.checked_sub(self.first)?;
        if within >= *COUNTS.get(self.length)? {
            return Some(None);
        }
        let symbol = usize::try_from(self.shorter + within).ok().and_then(|at| SYMBOLS.get(at))?;
        Some(Some(*symbol))
    }

    /// Fewer than eight bits, all ones (RFC 7541 §5.2).
    fn is_padding(&self) -> bool {
        self.length < 8 && self.bits + 1 == 1 << self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(code: &[u8], expected: Option<&str>) {
        let mut text = Vec::new();
        let decoded = decode(code, 100, &mut text).map(|()| String::from_utf8(text).unwrap());
        assert_eq!(decoded.as_deref(), expected, "{code:02x?}");
    }

    #[test]
    fn the_examples_of_rfc_7541_are_read() {
        check(
            &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff],
            Some("www.example.com"),
        );
        check(&[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf], Some("no-cache"));
        check(&[0x25, 0xa8, 0x49, 0xe9, 0x5b, 0xb8, 0xe8, 0xb4, 0xbf], Some("custom-value"));
        check(&[], Some(""));
    }

    #[test]
    fn padding_of_zeros_or_too_long_and_the_end_of_string_are_no_text() {
        check(&[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0x00], None);
        check(&[0xff], None);
        check(&[0xff; 8], None);
    }

    #[test]
    fn every_octet_has_one_code() {
        let mut symbols = SYMBOLS.to_vec();
        symbols.sort_unstable();
        assert_eq!(symbols, (0..=255).collect::<Vec<u8>>());
        assert_eq!(COUNTS.iter().sum::<u32>(), 257);
    }

    #[test]
    fn text_longer_than_allowed_is_refused() {
        let mut text = Vec::new();
        assert_eq!(decode(&[0; 100], 159, &mut text), None);
        assert_eq!(decode(&[0; 100], 160, &mut Vec::new()), Some(()));
    }
}

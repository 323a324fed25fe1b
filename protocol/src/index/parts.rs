//! Parts of user agents: whether one stands in a text, and where the records of those are that do.

use aho_corasick::AhoCorasick;

use super::IndexError;

/// Letters in a row that are looked at together. No part is shorter.
const GRAM_BYTES: usize = 4;
/// Bits for the beginnings of parts.
const GRAM_BITS: usize = 1 << 16;

/// Parts of user agents.
pub struct Parts {
    automaton: AhoCorasick,
    offsets: Vec<u64>,
    grams: Box<[u64]>,
    step: usize,
}

impl Parts {
    /// Reads them as the builder wrote them; `None` when there are none.
    pub fn read(mut bytes: &[u8]) -> Result<Option<Self>, IndexError> {
        let damaged = || IndexError::damaged("the parts of user agents");
        let (mut offsets, mut texts) = (Vec::new(), Vec::new());
        while !bytes.is_empty() {
            let (offset, rest) = bytes.split_first_chunk::<8>().ok_or_else(damaged)?;
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
            let (text, rest) =
                rest.split_at_checked(usize::from(u16::from_le_bytes(*length))).ok_or_else(damaged)?;
            offsets.push(u64::from_le_bytes(*offset));
            texts.push(text);
            bytes = rest;
        }
        let Some(shortest) = texts.iter().map(|text| text.len()).min() else { return Ok(None) };
        let step = shortest.checked_sub(GRAM_BYTES).ok_or_else(damaged)? + 1;
        let mut grams = vec![0; GRAM_BITS / 64].into_boxed_slice();
        for gram in texts.iter().flat_map(|text| text.windows(GRAM_BYTES).take(step)) {
            let (word, bit) = place_of(gram);
            if let Some(word) = grams.get_mut(word) {
                *word |= bit;
            }
        }
        let automaton =
            AhoCorasick::builder().ascii_case_insensitive(true).build(texts).map_err(|_| damaged())?;
        Ok(Some(Self { automaton, offsets, grams, step }))
    }

    /// Whether a part stands in a text. Of as many places in a row as the shortest part has beginnings, one is looked
    /// at: where a part stands, one of its first letters in a row is seen.
    pub fn are_in(&self, text: &[u8]) -> bool {
        let may_begin = |gram: &[u8]| {
            let (word, bit) = place_of(gram);
            self.grams.get(word).is_some_and(|word| word & bit != 0)
        };
        text.windows(GRAM_BYTES).skip(self.step - 1).step_by(self.step).any(may_begin)
            && self.automaton.is_match(text)
    }

    /// Where the records of the parts in a user agent are.
    pub fn on(&self, agent: &str) -> Vec<u64> {
        let mut new = vec![true; self.offsets.len()];
        let found = self.automaton.find_overlapping_iter(agent).map(|found| found.pattern().as_usize());
        let first = |at: &usize| new.get_mut(*at).is_some_and(std::mem::take);
        found.filter(first).filter_map(|at| self.offsets.get(at).copied()).collect()
    }

    /// Bytes of memory that they keep.
    pub fn resident_bytes(&self) -> usize {
        self.automaton.memory_usage() + 8 * (self.offsets.len() + self.grams.len())
    }
}

/// The word and the bit for letters in a row, large or small.
#[inline]
fn place_of(gram: &[u8]) -> (usize, u64) {
    let gram = gram.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes)) | 0x2020_2020;
    let place = gram.wrapping_mul(0x9e37_79b1) >> (32 - GRAM_BITS.ilog2());
    (place as usize / 64, 1 << (place % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(texts: &[&str]) -> Parts {
        let mut bytes = Vec::new();
        for text in texts {
            bytes.extend_from_slice(&7_u64.to_le_bytes());
            bytes.extend_from_slice(&u16::try_from(text.len()).unwrap().to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        Parts::read(&bytes).unwrap().unwrap()
    }

    #[test]
    fn parts_are_found_at_every_place_and_in_every_case() {
        for texts in
            [&["nikto"][..], &["kit/"], &["masscan/1.", "zgrab-of-somebody"], &["scan", "a-long-part"]]
        {
            let parts = parts(texts);
            for text in texts {
                for before in 0..20 {
                    for after in [0, 1, 9] {
                        let line =
                            format!("{}{}{}", " ".repeat(before), text.to_uppercase(), "x".repeat(after));
                        assert!(parts.are_in(line.as_bytes()), "{line}");
                        let cut = &line.as_bytes()[..before + text.len() - 1];
                        assert!(!parts.are_in(cut), "{}", String::from_utf8_lossy(cut));
                    }
                }
            }
        }
    }

    #[test]
    fn a_part_that_is_too_short_is_damage() {
        assert!(Parts::read(&[0, 0, 0, 0, 0, 0, 0, 0, 3, 0, b'b', b'o', b't']).is_err());
        assert!(Parts::read(&[]).unwrap().is_none());
    }
}

//! The keyed hash of the index: 64 bits of a value in normal form. The key is random for each index, so that nobody
//! who writes names into traffic can choose ones that collide.
//!
//! Built of folded multiplications. Names are hashed label by label from the right and paths segment by segment
//! from the left, so that one pass gives the hash of every parent. The format depends on it: a change needs another
//! [`super::INDEX_FORMAT`].

use sha2::{Digest as _, Sha256};

/// What a hash is of: the same bytes as different things have different hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    Ip4 = 1,
    Ip6,
    Endpoint,
    Network4,
    Network6,
    Name,
    Url,
    UrlPrefix,
    Email,
    UserAgent,
    Ja4,
    Md5,
    Ja3,
    Sha1,
    Sha256,
    UserAgentPart,
    RevokedAlert,
    RevokedIndicator,
}

/// The key, spread out of a secret.
#[derive(Clone, Debug)]
pub struct Hasher {
    start: u64,
    step: u64,
    last: u64,
    spread: u64,
}

/// The product of two numbers, its halves folded into one.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let (low, high) = a.carrying_mul(b, 0);
    low ^ high
}

/// Fewer than eight bytes; those of another number of bytes may be the same.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32
        }
        _ => {
            let at = |at: usize| bytes.get(at).copied().map_or(0, u64::from);
            at(0) | at(bytes.len() / 2) << 8 | at(bytes.len().saturating_sub(1)) << 16
        }
    }
}

impl Hasher {
    /// The key of a secret, which is hashed so that any secret makes good factors.
    pub fn new(secret: &[u8; 32]) -> Self {
        let spread: [u8; 32] = Sha256::digest(secret).into();
        let mut words = spread.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
        let mut next = || words.next().unwrap_or_default();
        // Factors are odd, so that no bit of what they multiply is lost.
        Self { start: next(), step: next() | 1, last: next() | 1, spread: next() | 1 }
    }

    /// The hash of bytes.
    #[inline]
    pub fn bytes(&self, tag: Tag, bytes: &[u8]) -> u64 {
        self.finish(self.mix(self.start, bytes), tag)
    }

    /// The hash of a number.
    #[inline]
    pub fn number(&self, tag: Tag, number: u64) -> u64 {
        self.finish(fold(self.start ^ number, self.step), tag)
    }

    /// The hash of two numbers.
    #[inline]
    pub fn numbers(&self, tag: Tag, first: u64, second: u64) -> u64 {
        self.finish(fold(fold(self.start ^ first, self.step) ^ second, self.step), tag)
    }

    /// Calls with the number of labels and the hash of each parent of a name, the shortest first, itself last.
    #[inline]
    pub fn parents(&self, tag: Tag, name: &[u8], mut each: impl FnMut(u32, u64)) {
        let mut state = self.start;
        for (labels, label) in (1..).zip(name.rsplit(|byte| *byte == b'.')) {
            state = self.mix(state, label);
            each(labels, self.finish(state, tag));
        }
    }

    /// As [`Hasher::parents`] for a name of at most 64 bytes; bit N of `dots` tells of byte N.
    #[inline]
    pub fn dotted_parents(&self, tag: Tag, (name, mut dots): (&[u8], u64), mut each: impl FnMut(u32, u64)) {
        let (mut state, mut end) = (self.start, name.len());
        for labels in 1.. {
            // Behind the last dot that is left.
            let start = 64 - dots.leading_zeros() as usize;
            state = self.mix(state, name.get(start..end).unwrap_or_default());
            each(labels, self.finish(state, tag));
            let Some(dot) = start.checked_sub(1) else { break };
            dots ^= 1 << dot;
            end = dot;
        }
    }

    /// Calls with the number of segments and the hash of each beginning of `HOST/SEGMENT/SEGMENT` that has a
    /// segment at least, the shortest first.
    pub fn beginnings(&self, tag: Tag, place: &str, mut each: impl FnMut(u32, u64)) {
        let mut state = self.start;
        for (segments, segment) in (0..).zip(place.as_bytes().split(|byte| *byte == b'/')) {
            state = self.mix(state, segment);
            if segments > 0 {
                each(segments, self.finish(state, tag));
            }
        }
    }

    /// The checksum of bytes that stand at a place: parts that change places, or come from another index, are noticed.
    pub fn checksum(&self, place: u64, bytes: &[u8]) -> u32 {
        let [a, b, c, d, ..] = self.start.to_le_bytes();
        let mut sum = crc32fast::Hasher::new_with_initial(u32::from_le_bytes([a, b, c, d]));
        sum.update(&place.to_le_bytes());
        sum.update(bytes);
        sum.finalize()
    }

    /// More bits for a hash.
    #[inline]
    pub fn more(&self, hash: u64) -> u64 {
        fold(hash ^ self.start, self.spread)
    }

    /// Takes bytes in. How many they are goes in with the last, so that no two sequences of pieces are alike: short
    /// ones are read as words that overlap.
    #[inline]
    fn mix(&self, mut state: u64, bytes: &[u8]) -> u64 {
        let factor = self.step ^ (bytes.len() as u64 | 0x80).rotate_right(8);
        let Some(last) = bytes.last_chunk::<8>() else {
            return fold(state ^ short(bytes), factor);
        };
        let before_last = bytes.split_last().map_or(bytes, |(_, rest)| rest);
        for word in before_last.as_chunks::<8>().0 {
            state = fold(state ^ u64::from_le_bytes(*word), self.step);
        }
        fold(state ^ u64::from_le_bytes(*last), factor)
    }

    #[inline]
    fn finish(&self, state: u64, tag: Tag) -> u64 {
        fold(state ^ (tag as u64).rotate_right(8), self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    fn hasher() -> Hasher {
        Hasher::new(&std::array::from_fn(|at| u8::try_from(at * 37 % 251).unwrap()))
    }

    #[test]
    fn a_parent_has_the_hash_that_it_has_alone() {
        let hasher = hasher();
        let hashes = |name: &str| {
            let mut all = Vec::new();
            hasher.parents(Tag::Name, name.as_bytes(), |labels, hash| all.push((labels, hash)));
            all
        };
        let all = hashes("a-long-label.b.evil.example");
        assert_eq!(all.len(), 4);
        assert_eq!(hashes("evil.example").last(), all.get(1));
        assert_eq!(hashes("a-long-label.b.evil.example").last(), all.last());
    }

    #[test]
    fn beginnings_of_a_place_end_at_segments() {
        let hasher = hasher();
        let hashes = |place| {
            let mut all = Vec::new();
            hasher.beginnings(Tag::UrlPrefix, place, |segments, hash| all.push((segments, hash)));
            all
        };
        assert_eq!(hashes("evil.example"), []);
        assert_eq!(hashes("evil.example/a/b").len(), 2);
        assert_eq!(hashes("evil.example/a/b")[0], hashes("evil.example/a")[0]);
        assert_ne!(hashes("evil.example/a/b")[1], hashes("evil.example/ab")[0]);
    }

    #[test]
    fn pieces_cut_elsewhere_and_other_tags_differ() {
        let hasher = hasher();
        let mut all = HashSet::new();
        for name in
            ["a.b", "ab", "a..b", "b.a", "a.b.", "abcdefgh.i", "abcdefg.hi", "abcdefghi", "\0", "", "\0\0"]
        {
            let mut last = 0;
            hasher.parents(Tag::Name, name.as_bytes(), |_, hash| last = hash);
            assert!(all.insert(last), "{name}");
            let dots = name.bytes().rev().fold(0, |dots, byte| dots << 1 | u64::from(byte == b'.'));
            let mut dotted = Vec::new();
            hasher.dotted_parents(Tag::Name, (name.as_bytes(), dots), |labels, hash| {
                dotted.push((labels, hash))
            });
            let mut parents = Vec::new();
            hasher.parents(Tag::Name, name.as_bytes(), |labels, hash| parents.push((labels, hash)));
            assert_eq!(dotted, parents, "{name}");
            assert!(all.insert(hasher.bytes(Tag::Url, name.as_bytes())), "{name}");
        }
        assert!(all.insert(hasher.number(Tag::Ip4, 0)) && all.insert(hasher.number(Tag::Ip6, 0)));
        assert!(all.insert(hasher.numbers(Tag::Ip6, 0, 0)) && all.insert(hasher.numbers(Tag::Ip6, 0, 1)));
    }

    #[test]
    fn bits_are_spread_evenly() {
        let hasher = hasher();
        let mut buckets = [0u32; 64];
        for number in 0..64_000 {
            buckets[usize::try_from(hasher.number(Tag::Ip4, number) >> 58).unwrap()] += 1;
        }
        assert!(buckets.iter().all(|count| (800..1200).contains(count)), "{buckets:?}");
    }
}

//! A blocked Bloom filter: all bits of a key are in one cache line, so that *no* costs one miss of the cache.
//! (Putze, Sanders, Singler: Cache-, Hash- and Space-Efficient Bloom Filters, 2007.)

use std::io::{self, Write};

use super::IndexError;

/// Bits for each key: with [`PROBES`], three values in a thousand that are not there pass.
const BITS_PER_KEY: u64 = 14;
/// Bits set for each key.
const PROBES: u32 = 6;
/// Bytes of a block.
pub const BLOCK_BYTES: usize = 64;

/// As large and as aligned as a line of the cache.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Block([u64; 8]);

/// A set of hashes that may say *yes* wrongly, never *no*.
#[derive(Default)]
pub struct Filter {
    blocks: Box<[Block]>,
}

impl Filter {
    /// An empty filter for so many keys.
    pub fn for_keys(keys: u64) -> Self {
        let blocks = if keys == 0 { 0 } else { keys * BITS_PER_KEY / 512 + 1 };
        Self {
            blocks: vec![Block::default(); usize::try_from(blocks).unwrap_or_default()].into_boxed_slice(),
        }
    }

    /// How many blocks it has.
    pub fn blocks(&self) -> u64 {
        self.blocks.len() as u64
    }

    /// Puts a key in; `more` are further bits of its hash.
    pub fn insert(&mut self, hash: u64, more: u64) {
        let place = self.place(hash);
        if let Some(block) = self.blocks.get_mut(place) {
            for (word, bit) in positions(more) {
                if let Some(word) = block.0.get_mut(word) {
                    *word |= 1 << bit;
                }
            }
        }
    }

    /// Whether a key may be in it.
    #[inline]
    pub fn contains(&self, hash: u64, more: u64) -> bool {
        let Some(Block(words)) = self.blocks.get(self.place(hash)) else { return false };
        // Without branches and with few steps: the processor goes on with the next key while this line is fetched.
        let all = positions(more)
            .fold(1, |all, (word, bit)| all & (words.get(word).copied().unwrap_or_default() >> bit));
        all & 1 != 0
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        let (_, high) = hash.carrying_mul(self.blocks.len() as u64, 0);
        usize::try_from(high).unwrap_or(usize::MAX)
    }

    /// Bytes of memory that it keeps.
    pub fn resident_bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    /// Writes it, little-endian.
    pub fn write(&self, mut into: impl Write) -> io::Result<()> {
        for Block(words) in &self.blocks {
            for word in words {
                into.write_all(&word.to_le_bytes())?;
            }
        }
        Ok(())
    }

    /// Reads a filter of so many blocks, piece by piece.
    pub fn read(
        blocks: usize,
        mut read: impl FnMut(&mut [u8]) -> Result<(), IndexError>,
    ) -> Result<Self, IndexError> {
        let mut all = Vec::with_capacity(blocks);
        let mut piece = vec![0; (1024 * BLOCK_BYTES).min(blocks * BLOCK_BYTES)];
        while all.len() < blocks {
            let bytes = (blocks - all.len()).min(1024) * BLOCK_BYTES;
            let piece = piece.get_mut(..bytes).unwrap_or_default();
            read(piece)?;
            all.extend(piece.as_chunks::<BLOCK_BYTES>().0.iter().map(|block| {
                let mut words = block.as_chunks::<8>().0.iter().map(|word| u64::from_le_bytes(*word));
                Block(std::array::from_fn(|_| words.next().unwrap_or_default()))
            }));
        }
        Ok(Self { blocks: all.into_boxed_slice() })
    }
}

/// The word and the bit of each probe.
#[inline]
fn positions(more: u64) -> impl Iterator<Item = (usize, u64)> {
    (0..PROBES).map(move |probe| {
        let bits = more >> (probe * 9);
        (usize::try_from(bits >> 6 & 7).unwrap_or_default(), bits & 63)
    })
}

#[cfg(test)]
mod tests {
    use super::super::hash::{Hasher, Tag};
    use super::*;

    #[test]
    fn what_was_put_in_is_there_and_little_else() {
        let hasher = Hasher::new(&[7; 32]);
        let hash = |number| {
            let hash = hasher.number(Tag::Ip4, number);
            (hash, hasher.more(hash))
        };
        let mut filter = Filter::for_keys(100_000);
        (0..100_000).map(hash).for_each(|(hash, more)| filter.insert(hash, more));
        assert!((0..100_000).map(hash).all(|(hash, more)| filter.contains(hash, more)));
        let wrong = (100_000..300_000).map(hash).filter(|(hash, more)| filter.contains(*hash, *more)).count();
        assert!(wrong < 1200, "{wrong} of 200,000");
        let mut bytes = Vec::new();
        filter.write(&mut bytes).unwrap();
        let mut from = bytes.as_slice();
        let read =
            Filter::read(filter.blocks.len(), |into| Ok(io::Read::read_exact(&mut from, into)?)).unwrap();
        assert!((0..100_000).map(hash).all(|(hash, more)| read.contains(hash, more)));
        assert!(!Filter::for_keys(0).contains(3, 4));
    }
}

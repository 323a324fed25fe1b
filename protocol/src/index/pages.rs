//! The sorted store: pages of a hash table, each with a checksum. A value's home page follows from its hash, so that
//! one page is read for it; what has no room there is on the pages that follow.

use std::io::Write;

use serde::{Deserialize, Serialize};

use super::hash::Hasher;
use super::{IndexError, ReadAt};

/// Bytes of a page, as of a page of memory.
pub const PAGE_BYTES: usize = 4096;
/// Checksum, number of entries, flags.
const HEAD_BYTES: usize = 8;
/// Bytes of an offset in the file: up to one tebibyte.
const OFFSET_BYTES: usize = 5;
/// Entries of a page; each has a fingerprint of four bytes.
const PAGE_ENTRIES: usize = (PAGE_BYTES - HEAD_BYTES) / (4 + OFFSET_BYTES);
/// How full pages are on average, so that hardly one flows over.
const PAGE_ENTRIES_MEAN: u64 = PAGE_ENTRIES as u64 * 85 / 100;
/// Entries on one value that are kept.
pub const ENTRIES_PER_VALUE_MAX: u32 = 256;
/// The following page goes on with entries of this one.
const CONTINUES: u16 = 1;
/// The largest offset that an entry holds.
pub const OFFSET_MAX: u64 = (1 << (8 * OFFSET_BYTES)) - 1;

/// How many home pages so many entries take.
pub fn pages_for(entries: u64) -> u64 {
    if entries == 0 { 0 } else { entries / PAGE_ENTRIES_MEAN + 1 }
}

fn home(hash: u64, pages: u64) -> u64 {
    hash.carrying_mul(pages, 0).1
}

/// What of a hash stands in an entry; its page tells the high bits.
fn fingerprint(hash: u64) -> [u8; 4] {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    [a, b, c, d]
}

/// Writes pages from entries that come sorted by their hash.
pub struct PageWriter {
    hasher: Hasher,
    pages: u64,
    at: u64,
    reach: u64,
    waiting: Vec<(u64, u64)>,
}

impl PageWriter {
    /// For a table of so many home pages.
    pub fn new(pages: u64, hasher: Hasher) -> Self {
        Self { hasher, pages, at: 0, reach: 1, waiting: Vec::with_capacity(PAGE_ENTRIES) }
    }

    /// Takes an entry.
    pub fn push(&mut self, hash: u64, offset: u64, mut into: impl Write) -> Result<(), IndexError> {
        while self.at < home(hash, self.pages) {
            self.write_page(0, &mut into)?;
        }
        if self.waiting.len() >= PAGE_ENTRIES {
            self.write_page(CONTINUES, &mut into)?;
        }
        self.waiting.push((hash, offset));
        Ok(())
    }

    /// Writes what is left and gives how many pages there are, and how many a look-up reads at most.
    pub fn finish(mut self, mut into: impl Write) -> Result<(u64, u64), IndexError> {
        while self.at < self.pages || !self.waiting.is_empty() {
            self.write_page(0, &mut into)?;
        }
        Ok((self.at, self.reach))
    }

    fn write_page(&mut self, flags: u16, mut into: impl Write) -> Result<(), IndexError> {
        if let Some((hash, _)) = self.waiting.first() {
            self.reach = self.reach.max(self.at - home(*hash, self.pages) + 1);
        }
        let mut page = Vec::with_capacity(PAGE_BYTES);
        page.extend_from_slice(&[0; 4]);
        let count = u16::try_from(self.waiting.len()).unwrap_or(u16::MAX);
        page.extend_from_slice(&count.to_le_bytes());
        page.extend_from_slice(&flags.to_le_bytes());
        self.waiting.iter().for_each(|(hash, _)| page.extend_from_slice(&fingerprint(*hash)));
        for (_, offset) in &self.waiting {
            page.extend_from_slice(offset.to_le_bytes().get(..OFFSET_BYTES).unwrap_or_default());
        }
        page.resize(PAGE_BYTES, 0);
        let checksum = self.hasher.checksum(self.at, page.get(4..).unwrap_or_default());
        if let Some(place) = page.first_chunk_mut() {
            *place = checksum.to_le_bytes();
        }
        into.write_all(&page)?;
        self.waiting.clear();
        self.at += 1;
        Ok(())
    }
}

/// The pages of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// Where in the file they begin.
    pub from: u64,
    /// How many are home pages.
    pub homes: u64,
    /// How many there are with those that the last flowed over to.
    pub all: u64,
    /// How many a look-up reads at most.
    pub reach: u64,
}

impl Pages {
    /// Calls with the offset of each entry whose hash is probably this one.
    pub fn look_up(
        &self,
        (store, hasher): (&dyn ReadAt, &Hasher),
        hash: u64,
        mut each: impl FnMut(u64),
    ) -> Result<(), IndexError> {
        if self.homes == 0 {
            return Ok(());
        }
        let first = home(hash, self.homes);
        let fingerprint = u32::from_le_bytes(fingerprint(hash));
        let mut page = [0; PAGE_BYTES];
        for number in first..self.all.min(first.saturating_add(self.reach)) {
            store.read_at(self.from + number * PAGE_BYTES as u64, &mut page)?;
            let page = Page::check(&page, (number, hasher))?;
            page.offsets_of(fingerprint).for_each(&mut each);
            if page.flags & CONTINUES == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// A page whose checksum is right.
struct Page<'a> {
    flags: u16,
    fingerprints: &'a [u8],
    offsets: &'a [u8],
}

impl<'a> Page<'a> {
    fn check(page: &'a [u8; PAGE_BYTES], (number, hasher): (u64, &Hasher)) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("a page");
        let (checksum, rest) = page.split_first_chunk::<4>().ok_or_else(damaged)?;
        if hasher.checksum(number, rest) != u32::from_le_bytes(*checksum) {
            return Err(damaged());
        }
        let (count, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let (flags, rest) = rest.split_first_chunk::<2>().ok_or_else(damaged)?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (fingerprints, rest) = rest.split_at_checked(4 * count).ok_or_else(damaged)?;
        let offsets = rest.get(..OFFSET_BYTES * count).ok_or_else(damaged)?;
        Ok(Self { flags: u16::from_le_bytes(*flags), fingerprints, offsets })
    }

    fn offsets_of(&self, fingerprint: u32) -> impl Iterator<Item = u64> {
        let fingerprints = self.fingerprints.as_chunks::<4>().0;
        let offsets = self.offsets.as_chunks::<OFFSET_BYTES>().0;
        let each = fingerprints.iter().zip(offsets);
        each.filter(move |(found, _)| u32::from_le_bytes(**found) == fingerprint).map(|(_, offset)| {
            let [a, b, c, d, e] = *offset;
            u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hasher() -> Hasher {
        Hasher::new(&[3; 32])
    }

    fn written(hashes: &[u64]) -> (Vec<u8>, Pages) {
        let mut bytes = Vec::new();
        let homes = pages_for(hashes.len() as u64);
        let mut writer = PageWriter::new(homes, hasher());
        for (at, hash) in hashes.iter().enumerate() {
            writer.push(*hash, at as u64 + 1, &mut bytes).unwrap();
        }
        let (all, reach) = writer.finish(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, all * PAGE_BYTES as u64);
        (bytes, Pages { from: 0, homes, all, reach })
    }

    fn offsets(bytes: &Vec<u8>, pages: &Pages, hash: u64) -> Vec<u64> {
        let mut found = Vec::new();
        pages.look_up((bytes, &hasher()), hash, |offset| found.push(offset)).unwrap();
        found
    }

    #[test]
    fn every_entry_is_found_on_full_and_on_empty_pages() {
        // All in the first and the last home page, with nothing between.
        let mut hashes: Vec<u64> = (0..3000).map(|at| at * 1000).collect();
        hashes.extend((0..300).map(|at| u64::MAX - 300_000 + at * 1000));
        let (bytes, pages) = written(&hashes);
        for (at, hash) in hashes.iter().enumerate() {
            assert_eq!(offsets(&bytes, &pages, *hash), [at as u64 + 1], "{at}");
        }
        assert!(offsets(&bytes, &pages, 5).is_empty());
    }

    #[test]
    fn all_entries_of_one_value_are_found_over_several_pages() {
        let hashes: Vec<u64> = [vec![7; 200], vec![u64::MAX / 2; 256], vec![u64::MAX - 5; 200]].concat();
        let (bytes, pages) = written(&hashes);
        assert_eq!(offsets(&bytes, &pages, u64::MAX / 2).len(), 256);
        assert_eq!(offsets(&bytes, &pages, u64::MAX - 5).len(), 200);
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let (mut bytes, pages) = written(&[5, 6, 7]);
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            assert!(pages.look_up((&bytes, &hasher()), 6, |_| ()).is_err(), "byte {at}");
            bytes[at] ^= 1;
        }
    }
}

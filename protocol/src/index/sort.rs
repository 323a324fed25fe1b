//! Sorts more entries than memory holds: runs of half a million go to the scratch storage and are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{IndexError, Storage};

/// A hash, and what it leads to.
pub type Entry = (u64, u64);

/// Entries of one run: 8 MiB.
const RUN_ENTRIES: usize = 1 << 19;
const ENTRY_BYTES: usize = 16;
/// Entries of a run that are read at once.
const PIECE_ENTRIES: usize = 4096;

/// Takes entries in any order and gives them out sorted.
pub struct Sorter<S> {
    scratch: S,
    run: Vec<Entry>,
    run_entries: usize,
    /// How many entries each run in the scratch storage has.
    runs: Vec<usize>,
}

impl<S: Storage> Sorter<S> {
    /// Sorts with this storage.
    pub fn new(scratch: S) -> Self {
        Self::with_runs_of(RUN_ENTRIES, scratch)
    }

    fn with_runs_of(run_entries: usize, scratch: S) -> Self {
        Self { scratch, run: Vec::new(), run_entries, runs: Vec::new() }
    }

    /// Takes an entry.
    pub fn push(&mut self, entry: Entry) -> Result<(), IndexError> {
        if self.run.len() >= self.run_entries {
            self.spill()?;
        }
        self.run.push(entry);
        Ok(())
    }

    fn spill(&mut self) -> Result<(), IndexError> {
        self.run.sort_unstable();
        let mut bytes = Vec::with_capacity(PIECE_ENTRIES * ENTRY_BYTES);
        for piece in self.run.chunks(PIECE_ENTRIES) {
            bytes.clear();
            for (hash, target) in piece {
                bytes.extend_from_slice(&hash.to_le_bytes());
                bytes.extend_from_slice(&target.to_le_bytes());
            }
            self.scratch.write_all(&bytes)?;
        }
        self.runs.push(self.run.len());
        self.run.clear();
        Ok(())
    }

    /// Gives each entry out, the smallest first.
    pub fn finish(mut self, mut each: impl FnMut(Entry) -> Result<(), IndexError>) -> Result<(), IndexError> {
        if self.runs.is_empty() {
            self.run.sort_unstable();
            return self.run.into_iter().try_for_each(each);
        }
        self.spill()?;
        self.run = Vec::new();
        self.scratch.flush()?;
        let mut from = 0;
        let mut cursors = Vec::new();
        let mut heap = BinaryHeap::new();
        for (at, entries) in self.runs.iter().enumerate() {
            let mut cursor = Cursor { from, left: *entries, piece: Vec::new() };
            from += (entries * ENTRY_BYTES) as u64;
            if let Some(entry) = cursor.next(&self.scratch)? {
                heap.push(Reverse((entry, at)));
            }
            cursors.push(cursor);
        }
        while let Some(Reverse((entry, at))) = heap.pop() {
            each(entry)?;
            if let Some(cursor) = cursors.get_mut(at)
                && let Some(next) = cursor.next(&self.scratch)?
            {
                heap.push(Reverse((next, at)));
            }
        }
        Ok(())
    }
}

/// How far a run was read.
struct Cursor {
    from: u64,
    left: usize,
    /// The next entries, the last first.
    piece: Vec<Entry>,
}

impl Cursor {
    fn next(&mut self, scratch: &impl Storage) -> Result<Option<Entry>, IndexError> {
        if self.piece.is_empty() && self.left > 0 {
            let mut bytes = vec![0; self.left.min(PIECE_ENTRIES) * ENTRY_BYTES];
            scratch.read_at(self.from, &mut bytes)?;
            self.from += bytes.len() as u64;
            self.left -= bytes.len() / ENTRY_BYTES;
            let words = bytes.as_chunks::<8>().0;
            self.piece.extend(
                words
                    .as_chunks::<2>()
                    .0
                    .iter()
                    .rev()
                    .map(|[hash, target]| (u64::from_le_bytes(*hash), u64::from_le_bytes(*target))),
            );
        }
        Ok(self.piece.pop())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_out_sorted_however_many_runs_there_are() {
        for (entries, run) in [(0, 10), (10, 10), (11, 10), (100_000, 9_999), (100_000, 100_000)] {
            let mut sorter = Sorter::with_runs_of(run, Vec::new());
            let mut expected: Vec<Entry> =
                (0..entries).map(|at: u64| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 3, at)).collect();
            expected.iter().for_each(|entry| sorter.push(*entry).unwrap());
            let mut sorted = Vec::new();
            sorter
                .finish(|entry| {
                    sorted.push(entry);
                    Ok(())
                })
                .unwrap();
            expected.sort_unstable();
            assert!(sorted == expected, "{entries} in runs of {run}");
        }
    }
}

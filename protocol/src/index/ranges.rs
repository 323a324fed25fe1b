//! Networks as merged ranges of addresses, in memory: tells at once that no network covers an address. Which ones do,
//! the store says. Networks of version six count by their upper 64 bits here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::IndexError;

/// Ranges of one version that are kept: 4 MiB. More are made coarser, which costs look-ups, never a match.
const RANGES_MAX: usize = 1 << 18;
/// Pieces of the space for each range, of which a bit tells whether a range touches it.
const PIECES_PER_RANGE: usize = 16;

/// Ranges that are read at once.
const READ_AT_ONCE: usize = 4096;

/// First and last address of ranges, both included.
pub type Range = (u64, u64);

/// Takes networks in any order.
#[derive(Default)]
pub struct RangeBuilder(Vec<Range>);

impl RangeBuilder {
    /// Takes a range.
    pub fn push(&mut self, range: Range) {
        if self.0.len() >= 2 * RANGES_MAX {
            self.0 = merged(std::mem::take(&mut self.0));
        }
        self.0.push(range);
    }

    /// Disjoint ranges in order, at most [`RANGES_MAX`].
    pub fn finish(self) -> Vec<Range> {
        merged(self.0)
    }
}

/// Sorts and joins ranges that touch, at a grain that leaves few enough.
fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut grain = 0;
    loop {
        let mut out: Vec<Range> = Vec::new();
        for (first, last) in &ranges {
            let (first, last) = (first >> grain << grain, last | ((1 << grain) - 1));
            match out.last_mut() {
                Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
                _ => out.push((first, last)),
            }
        }
        if out.len() <= RANGES_MAX {
            return out;
        }
        (ranges, grain) = (out, grain + 1);
    }
}

/// The version of an address and its place among the ranges.
pub fn place(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => upper(address.to_bits()),
    }
}

/// The range of a network.
pub fn range_of(network: &IpNet) -> Range {
    (place(network.network()), place(network.broadcast()))
}

fn upper(bits: u128) -> u64 {
    u64::try_from(bits >> 64).unwrap_or_default()
}

/// Ranges to look in. A map of bits answers for most addresses out of the nearer caches: a bit stands for a piece of
/// the space, and is set where a range touches it.
#[derive(Default)]
pub struct Ranges {
    ranges: Vec<Range>,
    touched: Vec<u64>,
    /// How many ranges begin before each word of the map.
    before: Vec<u32>,
    /// Where the map begins, and the size of a piece as a power of two.
    start: u64,
    shift: u32,
}

impl Ranges {
    /// Ranges that are disjoint and in order; others are refused as damaged.
    pub fn new(ranges: Vec<Range>) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("the networks");
        let in_order = ranges.windows(2).all(|two| matches!(two, [(_, last), (first, _)] if last < first));
        if !in_order || ranges.iter().any(|(first, last)| first > last) {
            return Err(damaged());
        }
        let (Some((start, _)), Some((_, end))) = (ranges.first().copied(), ranges.last().copied()) else {
            return Ok(Self::default());
        };
        let wanted = (ranges.len() * PIECES_PER_RANGE).next_power_of_two().ilog2();
        let shift = (64 - (end - start).leading_zeros()).saturating_sub(wanted);
        let words = usize::try_from((end - start) >> shift >> 6).map_err(|_| damaged())? + 1;
        let (mut touched, mut before) = (vec![0; words], vec![0; words + 1]);
        for (first, last) in &ranges {
            let (from, to) = ((first - start) >> shift, (last - start) >> shift);
            for piece in from..=to {
                if let Some(word) = usize::try_from(piece >> 6).ok().and_then(|at| touched.get_mut(at)) {
                    *word |= 1_u64 << (piece & 63);
                }
            }
            let after = usize::try_from(from >> 6).ok().and_then(|at| before.get_mut(at + 1));
            *after.ok_or_else(damaged)? += 1;
        }
        before.iter_mut().fold(0, |sum, count| {
            *count += sum;
            *count
        });
        Ok(Self { ranges, touched, before, start, shift })
    }

    /// Reads so many ranges, piece by piece.
    pub fn read(
        count: usize,
        read: &mut dyn FnMut(&mut [u8]) -> Result<(), IndexError>,
    ) -> Result<Self, IndexError> {
        let mut ranges = Vec::with_capacity(count);
        let mut piece = vec![0; READ_AT_ONCE.min(count) * size_of::<Range>()];
        while ranges.len() < count {
            let bytes = (count - ranges.len()).min(READ_AT_ONCE) * size_of::<Range>();
            let piece = piece.get_mut(..bytes).unwrap_or_default();
            read(piece)?;
            let words = piece.as_chunks::<8>().0.as_chunks::<2>().0;
            ranges.extend(
                words.iter().map(|[first, last]| (u64::from_le_bytes(*first), u64::from_le_bytes(*last))),
            );
        }
        Self::new(ranges)
    }

    /// Whether a network covers the address at this place, or one close to it.
    pub fn contains(&self, place: u64) -> bool {
        // What lies before the start is far behind the end then.
        let piece = place.wrapping_sub(self.start) >> self.shift;
        let at = usize::try_from(piece >> 6).unwrap_or(usize::MAX);
        let word = self.touched.get(at).copied().unwrap_or_default();
        word >> (piece & 63) & 1 != 0 && self.is_in_a_range(place, at)
    }

    /// The last range that begins at or before the place is among those of its word, or the last before them.
    fn is_in_a_range(&self, place: u64, word: usize) -> bool {
        let Some([from, to]) = self.before.get(word..).and_then(|rest| rest.first_chunk()) else {
            return false;
        };
        let (from, to) = (*from as usize, *to as usize);
        let of_word = self.ranges.get(from..to).unwrap_or_default();
        let after = from + of_word.partition_point(|(first, _)| *first <= place);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, last)| place <= *last)
    }

    /// Bytes of memory that they keep.
    pub fn resident_bytes(&self) -> usize {
        size_of::<Range>() * self.ranges.capacity() + 8 * self.touched.capacity() + 4 * self.before.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_its_networks_and_in_no_other() {
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed >> 32
        };
        for count in [0, 1, 2, 3, 100, 5000] {
            let networks: Vec<Range> = (0..count)
                .map(|_| {
                    let (address, bits) = (random(), random() % 20);
                    (address >> bits << bits, address | ((1 << bits) - 1))
                })
                .collect();
            let mut builder = RangeBuilder::default();
            networks.iter().for_each(|range| builder.push(*range));
            let ranges = Ranges::new(builder.finish()).unwrap();
            let edges = networks.iter().flat_map(|(first, last)| {
                [*first, *last, first.saturating_sub(1), (last + 1).min(u64::from(u32::MAX))]
            });
            let mut places: Vec<u64> = edges.take(4000).collect();
            places.extend((0..2000).map(|_| random()).chain([0, u64::from(u32::MAX)]));
            for place in places {
                let expected = networks.iter().any(|(first, last)| (*first..=*last).contains(&place));
                assert_eq!(ranges.contains(place), expected, "{place} of {count}");
            }
        }
    }

    #[test]
    fn the_whole_space_of_either_version_is_one_range() {
        for bits in [32, 64] {
            let end = u64::MAX >> (64 - bits);
            let ranges = Ranges::new(vec![(0, end)]).unwrap();
            assert!(ranges.contains(0) && ranges.contains(end) && ranges.contains(end / 3));
        }
    }

    #[test]
    fn too_many_ranges_get_coarser_and_lose_none() {
        let mut builder = RangeBuilder::default();
        let each = || (0..RANGES_MAX as u64 * 3).map(|at| at * 1024);
        each().for_each(|first| builder.push((first, first + 7)));
        let ranges = builder.finish();
        assert!(ranges.len() <= RANGES_MAX);
        let ranges = Ranges::new(ranges).unwrap();
        assert!(each().all(|first| ranges.contains(first) && ranges.contains(first + 7)));
    }

    #[test]
    fn ranges_out_of_order_are_damage() {
        for ranges in [&[(5, 6), (1, 2)][..], &[(5, 4)], &[(1, 5), (5, 6)]] {
            assert!(Ranges::new(ranges.to_vec()).is_err());
        }
    }
}

//! Networks as merged ranges of addresses, in memory: tells at once that no network covers an address. Which ones do,
//! the store says. Networks of version six count by their upper 64 bits here.

use std::net::IpAddr;

use ipnet::IpNet;

use super::IndexError;

/// Ranges of one version that are kept: 4 MiB. More are made coarser, which costs look-ups, never a match.
const RANGES_MAX: usize = 1 << 18;
/// Entries of the directory into the ranges.
const DIRECTORY_BITS_MAX: u32 = 16;

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

/// Ranges to look in.
#[derive(Default)]
pub struct Ranges {
    /// The first of each range, and the last.
    firsts: Vec<u64>,
    lasts: Vec<u64>,
    /// How many ranges begin before each bucket of addresses.
    directory: Vec<u32>,
    shift: u32,
}

impl Ranges {
    /// Ranges that are disjoint and in order; others are refused as damaged.
    pub fn new(ranges: &[Range], address_bits: u32) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("the networks");
        let in_order = ranges.windows(2).all(|two| matches!(two, [(_, last), (first, _)] if last < first));
        if !in_order || ranges.iter().any(|(first, last)| first > last) {
            return Err(damaged());
        }
        if ranges.is_empty() {
            return Ok(Self::default());
        }
        let bits = ranges.len().ilog2().clamp(1, DIRECTORY_BITS_MAX);
        let shift = address_bits - bits;
        let mut directory = Vec::with_capacity((1 << bits) + 1);
        let mut before = 0_usize;
        for bucket in 0..=1_u64 << bits {
            let starts = bucket.checked_shl(shift).filter(|start| start >> shift == bucket);
            while ranges.get(before).is_some_and(|(first, _)| starts.is_none_or(|start| *first < start)) {
                before += 1;
            }
            directory.push(u32::try_from(before).map_err(|_| damaged())?);
        }
        let (firsts, lasts) = ranges.iter().copied().unzip();
        Ok(Self { firsts, lasts, directory, shift })
    }

    /// Whether a network covers the address at this place, or one close to it.
    pub fn contains(&self, place: u64) -> bool {
        let bucket = usize::try_from(place >> self.shift).unwrap_or(usize::MAX);
        let Some([from, to]) = self.directory.get(bucket..).and_then(|rest| rest.first_chunk()) else {
            return false;
        };
        let (from, to) = (*from as usize, *to as usize);
        let firsts = self.firsts.get(from..to).unwrap_or_default();
        let after = from + firsts.partition_point(|first| *first <= place);
        after.checked_sub(1).and_then(|at| self.lasts.get(at)).is_some_and(|last| place <= *last)
    }

    /// Bytes of memory that they keep.
    pub fn resident_bytes(&self) -> usize {
        16 * self.firsts.capacity() + 4 * self.directory.capacity()
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
            let ranges = Ranges::new(&builder.finish(), 32).unwrap();
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
            let ranges = Ranges::new(&[(0, end)], bits).unwrap();
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
        let ranges = Ranges::new(&ranges, 32).unwrap();
        assert!(each().all(|first| ranges.contains(first) && ranges.contains(first + 7)));
    }

    #[test]
    fn ranges_out_of_order_are_damage() {
        for ranges in [&[(5, 6), (1, 2)][..], &[(5, 4)], &[(1, 5), (5, 6)]] {
            assert!(Ranges::new(ranges, 32).is_err());
        }
    }
}

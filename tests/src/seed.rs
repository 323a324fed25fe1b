//! Repeatable randomness: the same seed gives the same traffic on every machine and in every version.

/// SplitMix64 (Steele, Lea, Flood 2014): small, good enough for traffic, useless for secrets.
#[derive(Clone, Debug)]
pub struct Seed(u64);

impl Seed {
    /// Begins at a number.
    pub fn new(number: u64) -> Self {
        Self(number)
    }

    /// The next 64 bits.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from `from` up to, not including, `below`.
    pub fn between(&mut self, from: u64, below: u64) -> u64 {
        from + self.number() % below.saturating_sub(from).max(1)
    }

    /// A port of a client.
    pub fn port(&mut self) -> u16 {
        u16::try_from(self.between(32_768, 61_000)).unwrap_or(40_000)
    }

    /// One of several.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        let index = self.between(0, from.len() as u64);
        usize::try_from(index).ok().and_then(|index| from.get(index))
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.number().to_le_bytes());
        words.take(length.div_ceil(8)).flatten().take(length).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_itself_and_no_other() {
        assert_eq!(Seed::new(7).bytes(20), Seed::new(7).bytes(20));
        assert_ne!(Seed::new(7).bytes(20), Seed::new(8).bytes(20));
        assert_eq!(Seed::new(1).number(), 0x910a_2dec_8902_5cc1);
    }

    #[test]
    fn numbers_stay_between_their_bounds() {
        let mut seed = Seed::new(3);
        assert!((0..1000).all(|_| (5..9).contains(&seed.between(5, 9))));
        assert_eq!(seed.pick::<u8>(&[]), None);
    }
}

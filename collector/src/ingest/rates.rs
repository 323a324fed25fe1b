//! How often one party may begin a connection: so many at once, then one at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Parties that are remembered while they are above their steady rate.
const PARTIES_MAX: usize = 16_384;

/// A token bucket for each party, kept as the time at which it is full again (GCRA).
#[derive(Debug)]
pub(super) struct Rate<K> {
    burst: u32,
    every: Duration,
    full_at: HashMap<K, Instant>,
}

impl<K: Eq + Hash> Rate<K> {
    /// `burst` at once, and one more `every` so often.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, full_at: HashMap::new() }
    }

    /// Takes a token; `false` when there is none, or when too many parties are busy to remember another.
    pub fn take(&mut self, party: K, now: Instant) -> bool {
        if self.full_at.len() >= PARTIES_MAX {
            self.full_at.retain(|_, full_at| *full_at > now);
            if self.full_at.len() >= PARTIES_MAX && !self.full_at.contains_key(&party) {
                return false;
            }
        }
        let full_at = self.full_at.entry(party).or_insert(now);
        let next = (*full_at).max(now) + self.every;
        if next > now + self.every * self.burst {
            return false;
        }
        *full_at = next;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_then_one_at_a_time_and_others_are_not_touched() {
        let mut rate = Rate::new(3, Duration::from_secs(2));
        let start = Instant::now();
        let mut take = |party, seconds| rate.take(party, start + Duration::from_secs(seconds));
        assert_eq!([0, 0, 0, 0].map(|at| take("a", at)), [true, true, true, false]);
        assert!(take("b", 0));
        assert_eq!([1, 2, 2, 4, 4].map(|at| take("a", at)), [false, true, false, true, false]);
        assert_eq!([60, 60, 60, 60].map(|at| take("a", at)), [true, true, true, false]);
    }

    #[test]
    fn the_table_does_not_grow_for_ever_and_is_emptied_by_time() {
        let mut rate = Rate::new(1, Duration::from_secs(1));
        let start = Instant::now();
        for party in 0..PARTIES_MAX {
            assert!(rate.take(party, start));
        }
        assert!(!rate.take(PARTIES_MAX, start));
        assert!(rate.take(PARTIES_MAX, start + Duration::from_secs(2)));
        assert_eq!(rate.full_at.len(), 1);
    }
}

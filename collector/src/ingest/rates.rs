//! How often one party may do something, such as begin a connection: so many at once, then one at a time.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Parties that are remembered while they are above their steady rate.
const PARTIES_MAX: usize = 16_384;

/// A token bucket for each party.
#[derive(Debug)]
pub(super) struct Rate<K> {
    burst: u32,
    every: Duration,
    buckets: HashMap<K, Bucket>,
}

/// A token bucket, kept as the time at which it is full again (GCRA). A token is the time that fills it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    full_at: Instant,
}

impl<K: Eq + Hash> Rate<K> {
    /// `burst` at once, and one more `every` so often.
    pub fn new(burst: u32, every: Duration) -> Self {
        Self { burst, every, buckets: HashMap::new() }
    }

    /// Takes a token; `false` when there is none, or when too many parties are busy to remember another.
    pub fn take(&mut self, party: K, now: Instant) -> bool {
        if self.buckets.len() >= PARTIES_MAX {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= PARTIES_MAX && !self.buckets.contains_key(&party) {
                return false;
            }
        }
        let bucket = self.buckets.entry(party).or_insert_with(|| Bucket::full(now));
        let mut spent = *bucket;
        spent.spend(self.every, now);
        if !spent.over(self.every * self.burst, now).is_zero() {
            return false;
        }
        *bucket = spent;
        true
    }
}

impl Bucket {
    /// A full one.
    pub fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    fn is_full(self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Takes out what fills in this time.
    pub fn spend(&mut self, time: Duration, now: Instant) {
        self.full_at = self.full_at.max(now) + time;
    }

    /// How long it takes until no more is taken out than a bucket holds that fills in `limit`.
    pub fn over(self, limit: Duration, now: Instant) -> Duration {
        self.full_at.saturating_duration_since(now).saturating_sub(limit)
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
        assert_eq!(rate.buckets.len(), 1);
    }
}

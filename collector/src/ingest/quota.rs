//! How many records one certificate may have stored, over all its connections: one sensor at full flood, broken or in
//! foreign hands, must not slow the others. What is above waits in the sensor's spool, because nothing is read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::rates::Bucket;

/// 1,000 records a second: a town's backlog of an hour is through in a minute; twenty floods at once still leave room.
const RECORD_EVERY: Duration = Duration::from_millis(1);
/// What a sensor may send at once after a quiet time: 10,000 records.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A token bucket, shared by the connections of one identity. More than it holds is spent by at most what they have
/// under way.
#[derive(Clone, Debug)]
pub(super) struct Quota(Arc<Mutex<Bucket>>);

impl Quota {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Bucket::full(now))))
    }

    /// Records came.
    pub fn spend(&self, records: usize, now: Instant) {
        let Ok(mut bucket) = self.0.lock() else { return };
        bucket.spend(RECORD_EVERY * u32::try_from(records).unwrap_or(u32::MAX), now);
    }

    /// How long nothing should be read.
    pub fn wait(&self, now: Instant) -> Duration {
        self.0.lock().map_or(Duration::ZERO, |bucket| bucket.over(AT_ONCE, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_read_at_its_rate_and_a_quiet_time_gives_room_again() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let quota = Quota::new(start);
        quota.spend(10_000, at(0));
        assert_eq!(quota.wait(at(0)), Duration::ZERO);
        quota.spend(2_000, at(0));
        assert_eq!(quota.wait(at(0)), Duration::from_secs(2));
        assert_eq!(quota.clone().wait(at(1)), Duration::from_secs(1), "its connections have one bucket");
        assert_eq!(quota.wait(at(2)), Duration::ZERO);
        quota.spend(11_000, at(1_000));
        assert_eq!(quota.wait(at(1_000)), Duration::from_secs(1), "more than a full bucket was saved");
    }
}

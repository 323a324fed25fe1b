//! How many records one certificate may have stored, over all its connections: one sensor at full flood, broken or in
//! foreign hands, must not slow the others. What is above waits in the sensor's spool, because nothing is read.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A town's backlog of an hour is through in a minute; twenty floods at once still leave room.
const RECORDS_A_SECOND: f64 = 1_000.0;
/// What a sensor may send at once after a quiet time.
const RECORDS_AT_ONCE: f64 = 10_000.0;

/// A token bucket, shared by the connections of one identity.
#[derive(Clone, Debug)]
pub(super) struct Quota(Arc<Mutex<Bucket>>);

#[derive(Debug)]
struct Bucket {
    /// Below zero by at most what the connections have under way.
    left: f64,
    at: Instant,
}

impl Quota {
    /// A full bucket.
    pub fn new(now: Instant) -> Self {
        Self(Arc::new(Mutex::new(Bucket { left: RECORDS_AT_ONCE, at: now })))
    }

    /// Records came.
    pub fn spend(&self, records: usize, now: Instant) {
        let Ok(mut bucket) = self.0.lock() else { return };
        bucket.fill(now);
        bucket.left -= f64::from(u32::try_from(records).unwrap_or(u32::MAX));
    }

    /// How long nothing should be read.
    pub fn wait(&self, now: Instant) -> Duration {
        let Ok(mut bucket) = self.0.lock() else { return Duration::ZERO };
        bucket.fill(now);
        Duration::from_secs_f64((-bucket.left).max(0.0) / RECORDS_A_SECOND)
    }
}

impl Bucket {
    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.left = (self.left + passed * RECORDS_A_SECOND).min(RECORDS_AT_ONCE);
        self.at = now;
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

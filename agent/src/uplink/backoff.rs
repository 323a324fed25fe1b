//! How long to wait before the next attempt: full jitter, so that a thousand sensors do not come back at once.

use std::time::Duration;

const BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(300);
/// A connection that lasted so long counts as good: the next attempt begins at the base again.
const GOOD_AFTER: Duration = Duration::from_secs(300);
/// A collector that says goodbye has all its sensors back within this time, not at once.
const RETURN_WITHIN: Duration = Duration::from_secs(20);

/// Counts attempts.
#[derive(Debug, Default)]
pub struct Backoff {
    attempts: u32,
}

impl Backoff {
    /// A connection lasted so long after its welcome.
    pub fn handle_connected(&mut self, lasted: Duration) {
        if lasted >= GOOD_AFTER {
            self.attempts = 0;
        }
    }

    /// The wait after the collector closed a good connection because it stops; `chance` is between 0 and 1.
    pub fn wait_for_return(chance: f64) -> Duration {
        RETURN_WITHIN.mul_f64(chance.clamp(0.0, 1.0))
    }

    /// The wait that a collector asked for, and up to half of it more, so that those it asked do not come together.
    pub fn wait_as_asked(asked: Duration, chance: f64) -> Duration {
        asked.mul_f64(1.0 + chance.clamp(0.0, 1.0) / 2.0)
    }

    /// The next wait; `chance` is between 0 and 1.
    pub fn next_wait(&mut self, chance: f64) -> Duration {
        let most = BASE.saturating_mul(1 << self.attempts.min(16)).min(CAP);
        self.attempts = self.attempts.saturating_add(1);
        // Never at once: a collector that closes every connection must not be hammered.
        (most.mul_f64(chance.clamp(0.0, 1.0))).max(BASE / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_begin_again_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let seconds: Vec<u64> = (0..11).map(|_| backoff.next_wait(1.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.handle_connected(Duration::from_secs(61));
        assert_eq!(backoff.next_wait(0.5).as_secs(), 150);
        backoff.handle_connected(Duration::from_secs(301));
        assert_eq!(backoff.next_wait(1.0).as_secs(), 1);
        assert!(backoff.next_wait(0.0) > Duration::ZERO);
    }

    #[test]
    fn those_whom_a_collector_sends_away_do_not_come_back_together() {
        assert_eq!(Backoff::wait_for_return(0.5), RETURN_WITHIN / 2);
        let asked = Duration::from_secs(30);
        assert_eq!(Backoff::wait_as_asked(asked, 0.0), asked);
        assert_eq!(Backoff::wait_as_asked(asked, 1.0), Duration::from_secs(45));
    }
}

//! When a sensor whose connection ended comes back, so that a thousand of them do not come at once: full jitter that
//! grows to five minutes, and spread over the time that a collector names.

use std::time::Duration;

const BASE: Duration = Duration::from_secs(1);
const CAP: Duration = Duration::from_secs(300);
/// A connection that lasted so long counts as good: the next attempt begins at the base again.
const GOOD_AFTER: Duration = Duration::from_secs(300);
/// A collector that only says that it stops has all its sensors back within this time, not at once.
const RETURN_WITHIN: Duration = Duration::from_secs(20);
/// The longest wait that a collector may ask for.
const ASKED_MAX: Duration = Duration::from_secs(600);

/// How a connection, or an attempt at one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parting {
    /// The collector asked to wait so long.
    Asked(Duration),
    /// The collector closed a connection that it had welcomed, because it stops.
    GoingAway,
    /// In any other way.
    Broken,
}

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

    /// The wait before the next attempt; `chance` is between 0 and 1, and another one each time.
    pub fn wait_after(&mut self, parting: Parting, chance: f64) -> Duration {
        let chance = chance.clamp(0.0, 1.0);
        let spread = match parting {
            // Up to half of it more, so that those who were asked for the same do not come together.
            Parting::Asked(asked) => asked.min(ASKED_MAX).mul_f64(1.0 + chance / 2.0),
            Parting::GoingAway => RETURN_WITHIN.mul_f64(chance),
            Parting::Broken => Duration::ZERO,
        };
        spread.max(self.next_wait(chance))
    }

    fn next_wait(&mut self, chance: f64) -> Duration {
        let most = BASE.saturating_mul(1 << self.attempts.min(16)).min(CAP);
        self.attempts = self.attempts.saturating_add(1);
        // Never at once: a collector that closes every connection must not be hammered.
        most.mul_f64(chance).max(BASE / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_five_minutes_and_begin_again_after_a_good_connection() {
        let mut backoff = Backoff::default();
        let mut next = |chance| backoff.wait_after(Parting::Broken, chance);
        let seconds: Vec<u64> = (0..11).map(|_| next(1.0).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        backoff.handle_connected(Duration::from_secs(61));
        assert_eq!(backoff.wait_after(Parting::Broken, 0.5).as_secs(), 150);
        backoff.handle_connected(Duration::from_secs(301));
        assert_eq!(backoff.wait_after(Parting::Broken, 1.0).as_secs(), 1);
        assert!(backoff.wait_after(Parting::Broken, 0.0) > Duration::ZERO);
    }

    #[test]
    fn those_whom_a_collector_sends_away_do_not_come_back_together() {
        let check = |parting, chance, seconds| {
            assert_eq!(Backoff::default().wait_after(parting, chance), Duration::from_secs(seconds));
        };
        check(Parting::GoingAway, 0.5, 10);
        let asked = Parting::Asked(Duration::from_secs(30));
        check(asked, 0.0, 30);
        check(asked, 1.0, 45);
        check(Parting::Asked(Duration::from_secs(86_400)), 0.0, 600);
        let asked_for_nothing = Backoff::default().wait_after(Parting::Asked(Duration::ZERO), 0.0);
        assert!(asked_for_nothing > Duration::ZERO);
    }
}

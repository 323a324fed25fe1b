//! When sensors come back to a collector that was restarted: never faster than it takes them. A collector that stops as
//! asked tells each sensor its own time; after a crash, resets tell so many in a second that their connections are gone.

use std::sync::OnceLock;
use std::time::Duration;

use super::seats::Seats;

/// The steady rate of handshakes: so many sensors are asked back in a second, and so many the door begins at length.
/// One takes one to two milliseconds of a core; the hits of those who are back need the rest.
pub(super) const STEADY_A_SECOND: u32 = 100;
/// The same as the time from one to the next.
pub(super) const STEADY_EVERY: Duration = Duration::from_millis(10);

/// A stop may take five seconds; who came earlier would wait longer.
const FIRST_SECONDS: u32 = 5;
/// However few sensors there are, they are spread over this time, because a restart may take longer: with what they
/// add, all are back within twenty seconds.
const SPREAD_SECONDS_MIN: u32 = 8;

/// When the sensors of a collector that stops should be back.
#[derive(Debug, Default)]
pub(super) struct Returns {
    /// Known when the first is told.
    spread_seconds: OnceLock<u32>,
}

impl Returns {
    /// After how many seconds one of them should come; `chance` is between 0 and 1. Sensors add up to half of it.
    pub fn seconds(&self, seats: &Seats, chance: f64) -> u32 {
        let spread = *self.spread_seconds.get_or_init(|| spread(seats.taken()));
        let chosen = Duration::from_secs(spread.into()).mul_f64(chance.clamp(0.0, 1.0));
        FIRST_SECONDS.saturating_add(u32::try_from(chosen.as_secs()).unwrap_or(spread))
    }
}

fn spread(sensors: usize) -> u32 {
    let sensors = u32::try_from(sensors).unwrap_or(u32::MAX);
    sensors.div_ceil(STEADY_A_SECOND).max(SPREAD_SECONDS_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_given_to_no_more_sensors_than_the_steady_rate() {
        for (sensors, seconds) in [(0, 8), (30, 8), (800, 8), (2_000, 20), (8_192, 82)] {
            assert_eq!(spread(sensors), seconds, "{sensors}");
        }
        let returns = Returns { spread_seconds: OnceLock::from(20) };
        let at = |chance| returns.seconds(&Seats::default(), chance);
        assert_eq!([0.0, 0.049, 0.5, 0.999, 1.0].map(at), [5, 5, 15, 24, 25]);
        assert_eq!(STEADY_EVERY * STEADY_A_SECOND, Duration::from_secs(1));
    }
}

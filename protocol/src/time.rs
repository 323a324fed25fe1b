//! Points in time as every record carries them: microseconds since the Unix epoch, UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::text::text_form;

/// Microseconds since 1970-01-01T00:00:00Z. Written as RFC 3339 with six decimals and `Z`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// What RFC 3339 can write and `jiff` can hold: from the year 1 to the end of 9999.
const MICROS_MIN: i64 = -62_135_596_800_000_000;
const MICROS_MAX: i64 = 253_402_207_200_000_000;

impl Timestamp {
    /// From microseconds since the Unix epoch; values outside the years 1 to 9999 are clamped.
    pub fn from_micros(micros: i64) -> Self {
        Self(micros.clamp(MICROS_MIN, MICROS_MAX))
    }

    /// From whole seconds and microseconds, as captures and `timeval` give them.
    pub fn from_seconds(seconds: i64, micros: i64) -> Self {
        Self::from_micros(seconds.saturating_mul(1_000_000).saturating_add(micros))
    }

    /// Microseconds since the Unix epoch.
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// Since the Unix epoch in whole seconds, as certificates have it; nothing for times before it.
    pub fn since_epoch(self) -> Duration {
        Duration::from_secs(u64::try_from(self.0 / 1_000_000).unwrap_or(0))
    }

    /// This time moved by some microseconds, clamped to the years 1 to 9999.
    pub fn plus_micros(self, micros: i64) -> Self {
        Self::from_micros(self.0.saturating_add(micros))
    }

    /// This time moved by whole seconds, clamped to the years 1 to 9999.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        self.plus_micros(seconds.saturating_mul(1_000_000))
    }

    /// Microseconds from `earlier` to this time; negative when `earlier` is later.
    pub fn micros_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.6}"),
            Err(_) => f.write_str("0001-01-01T00:00:00.000000Z"),
        }
    }
}

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        let at: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
        Ok(Self::from_micros(at.as_microsecond()))
    }
}

/// A text that is not an RFC 3339 time with a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a time: write it as 2026-11-22T10:00:00Z (RFC 3339)")]
pub struct NotATime;

text_form!(Timestamp);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, written: &str) {
        assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), written);
    }

    #[test]
    fn times_are_written_in_utc_with_six_decimals() {
        check("2026-11-22T10:00:00Z", "2026-11-22T10:00:00.000000Z");
        check("2026-11-22T11:00:00.5+01:00", "2026-11-22T10:00:00.500000Z");
    }

    #[test]
    fn a_time_without_zone_is_refused() {
        assert_eq!("2026-11-22T10:00:00".parse::<Timestamp>(), Err(NotATime));
    }

    #[test]
    fn certificates_have_whole_seconds_since_the_epoch() {
        let check = |micros, seconds| {
            assert_eq!(Timestamp::from_micros(micros).since_epoch(), Duration::from_secs(seconds));
        };
        check(1_999_999, 1);
        check(0, 0);
        check(-1_999_999, 0);
    }

    #[test]
    fn absurd_times_are_clamped_and_still_written() {
        assert_eq!(Timestamp::from_seconds(i64::MAX, 0).to_string(), "9999-12-30T22:00:00.000000Z");
        assert!(Timestamp::from_micros(i64::MIN).to_string().parse::<Timestamp>().is_ok());
    }
}

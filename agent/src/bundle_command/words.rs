//! Times, sizes and lists as the tables of `bundle` write them.

use std::fmt::{self, Display};

use protocol::Timestamp;

/// A time to the minute, in UTC.
pub struct Moment(pub Timestamp);

impl Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.to_string();
        let (day, rest) = text.split_once('T').unwrap_or((&text, ""));
        match rest.get(..5).unwrap_or_default() {
            "00:00" => f.write_str(day),
            minute => write!(f, "{day} {minute} UTC"),
        }
    }
}

/// From when until when an indicator counts.
pub fn validity(from: Option<Timestamp>, until: Option<Timestamp>) -> String {
    match (from.map(Moment), until.map(Moment)) {
        (None, None) => "without end".to_owned(),
        (Some(from), None) => format!("from {from} on"),
        (None, Some(until)) => format!("until {until}"),
        (Some(from), Some(until)) => format!("from {from} until {until}"),
    }
}

/// A number of bytes in the largest unit that fits, with one decimal.
pub struct Bytes(pub u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit {
                return write!(f, "{}.{} {name}", self.0 / unit, self.0 % unit * 10 / unit);
            }
        }
        write!(f, "{} bytes", self.0)
    }
}

/// Bytes for each of some things, with one decimal; `None` for nothing.
pub fn bytes_each(bytes: u64, things: u64) -> Option<String> {
    let tenths = bytes.saturating_mul(10).checked_div(things)?;
    Some(format!("{}.{}", tenths / 10, tenths % 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_as_exact_as_a_person_needs() {
        let moment = |text: &str| Moment(text.parse().unwrap()).to_string();
        assert_eq!(moment("2026-11-22T10:07:31Z"), "2026-11-22 10:07 UTC");
        assert_eq!(moment("2026-11-22T00:00:00Z"), "2026-11-22");
    }

    #[test]
    fn a_validity_has_no_two_readings() {
        let time = |text: &str| Some(text.parse().unwrap());
        let (from, until) = (time("2026-11-01T00:00:00Z"), time("2026-12-01T12:00:00Z"));
        assert_eq!(validity(None, None), "without end");
        assert_eq!(validity(from, None), "from 2026-11-01 on");
        assert_eq!(validity(None, until), "until 2026-12-01 12:00 UTC");
        assert_eq!(validity(from, until), "from 2026-11-01 until 2026-12-01 12:00 UTC");
    }

    #[test]
    fn sizes_are_short() {
        let bytes = |count| Bytes(count).to_string();
        assert_eq!([bytes(1023), bytes(1536), bytes(20 << 20)], ["1023 bytes", "1.5 KiB", "20.0 MiB"]);
        assert_eq!(bytes_each(19_500_000, 10_000_000).unwrap(), "1.9");
        assert_eq!(bytes_each(1, 0), None);
    }
}

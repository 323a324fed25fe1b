//! When a line was written, by the time that it carries: in any of the spellings of devices and servers, and with
//! what a spelling leaves out, the year or the zone, taken from the time at which the line was read.
//!
//! The written time is evidence and orders nothing: what writes a line may have its clock set to anything.

use protocol::Timestamp;

const MICROS: i64 = 1_000_000;
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
/// Zones lie in whole quarters of an hour.
const ZONE_STEP: i64 = HOUR / 4;
/// The first and last zone, in seconds east of Greenwich.
const ZONES: std::ops::RangeInclusive<i64> = -12 * HOUR..=14 * HOUR;
/// Zones by name that are certain, and those of Europe.
const ZONE_NAMES: [(&[u8], i64); 9] = [
    (b"Z", 0),
    (b"UTC", 0),
    (b"GMT", 0),
    (b"WET", 0),
    (b"CET", HOUR),
    (b"WEST", HOUR),
    (b"CEST", 2 * HOUR),
    (b"EET", 2 * HOUR),
    (b"EEST", 3 * HOUR),
];
const MONTHS: [&[u8; 3]; 12] =
    [b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"];

/// When a line was written that was read at `read_at`; `None` for a time in no known spelling.
///
/// A live line is read soon after it was written: of the years and zones that its time could be in, the one is taken
/// that brings it nearest to `read_at`. A time that no zone brings to `read_at` is of an old line, and taken as UTC.
pub(crate) fn written_at(time: &[u8], read_at: Timestamp) -> Option<Timestamp> {
    let time = time.trim_ascii();
    let time = time.strip_prefix(b"[").unwrap_or(time);
    if let Some((at, _)) = epoch(time) {
        return Some(at);
    }
    let (civil, _) = [bsd, iso, utm, access_log, month_first].into_iter().find_map(|read| read(time))?;
    civil.at(read_at)
}

/// A time as it is written: year and zone may be left out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Civil {
    year: Option<i64>,
    month: i64,
    day: i64,
    /// Since midnight.
    micros: i64,
    /// Seconds east of Greenwich.
    zone: Option<i64>,
}

impl Civil {
    fn new((year, month, day): (Option<i64>, i64, i64), micros: i64, zone: Option<i64>) -> Option<Self> {
        let days = match month {
            2 if year.is_none_or(is_leap) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let is_valid = (1..=12).contains(&month) && (1..=days).contains(&day);
        is_valid.then_some(Self { year, month, day, micros, zone })
    }

    fn at(self, read_at: Timestamp) -> Option<Timestamp> {
        let Some(year) = self.year else {
            let this = year_of(read_at.as_micros().div_euclid(DAY * MICROS));
            let years = [this - 1, this, this + 1].into_iter();
            let each = years.filter_map(|year| Self { year: Some(year), ..self }.checked()?.at(read_at));
            return each.min_by_key(|at| at.micros_since(read_at).abs());
        };
        let local = days_since_epoch(year, self.month, self.day) * DAY * MICROS + self.micros;
        let zone = self.zone.unwrap_or_else(|| zone_between(local, read_at.as_micros()));
        Some(Timestamp::from_micros(local - zone * MICROS))
    }

    /// The 29th of February is not in every year.
    fn checked(self) -> Option<Self> {
        Self::new((self.year, self.month, self.day), self.micros, self.zone)
    }
}

/// The zone in which a local time is the nearest to the time of reading.
fn zone_between(local: i64, read_at: i64) -> i64 {
    let step = ZONE_STEP * MICROS;
    let zone = (local - read_at + step / 2).div_euclid(step) * ZONE_STEP;
    if ZONES.contains(&zone) { zone } else { 0 }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01, by the calendar of ISO 8601: years begin in March here, so that leap days come last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

fn year_of(days: i64) -> i64 {
    let guess = 1970 + days.div_euclid(366);
    (guess..).find(|year| days_since_epoch(year + 1, 1, 1) > days).unwrap_or(guess)
}

/// What reads a time at the beginning of a text; gives how long it is.
type Read = Option<(Civil, usize)>;

/// RFC 3164 and what Cisco and others make of it: `Nov  2 10:00:00`, with a year before, within or after it, with a
/// fraction, with `*` or `.` for a clock that is not in time, with the name of a zone.
pub(super) fn bsd(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    if matches!(text.first(), Some(b'*' | b'.')) {
        cursor.at = 1;
    }
    let mut year = cursor.attempt(|cursor| cursor.year().filter(|_| cursor.spaces()));
    let month = cursor.month()?;
    let day = cursor.spaces().then(|| cursor.digits(1, 2))??;
    if !cursor.spaces() {
        return None;
    }
    year = year.or_else(|| cursor.attempt(|cursor| cursor.year().filter(|_| cursor.spaces())));
    let micros = cursor.clock()?;
    year = year.or_else(|| {
        cursor.attempt(|cursor| {
            let year = cursor.spaces().then(|| cursor.year())??;
            // An IPv6 address may follow.
            let after = cursor.text.get(cursor.at..)?;
            let after = after.strip_prefix(b":").unwrap_or(after);
            matches!(after.first(), None | Some(b' ')).then_some(year)
        })
    });
    let zone = cursor.zone();
    Some((Civil::new((year, month, day), micros, zone)?, cursor.at))
}

/// RFC 3339 and its relatives: `2026-11-22T10:00:00.5+01:00`, `2026-11-22 10:00:00`, `2026/11/22 10:00:00 +0100`.
pub(super) fn iso(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let year = cursor.year()?;
    let separator = cursor.next().filter(|byte| matches!(byte, b'-' | b'/'))?;
    cursor.at += 1;
    let month = cursor.digits(2, 2)?;
    cursor.byte(separator)?;
    let day = cursor.digits(2, 2)?;
    cursor.next().filter(|byte| matches!(byte, b'T' | b't' | b' '))?;
    cursor.at += 1;
    let (micros, zone) = (cursor.clock()?, cursor.zone());
    Some((Civil::new((Some(year), month, day), micros, zone)?, cursor.at))
}

/// Sophos UTM: `2026:11:22-10:00:00`.
pub(super) fn utm(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let year = cursor.year()?;
    let month = cursor.byte(b':').and_then(|()| cursor.digits(2, 2))?;
    let day = cursor.byte(b':').and_then(|()| cursor.digits(2, 2))?;
    let micros = cursor.byte(b'-').and_then(|()| cursor.clock())?;
    Some((Civil::new((Some(year), month, day), micros, None)?, cursor.at))
}

/// Access logs of web servers: `22/Nov/2026:10:00:00 +0100`.
fn access_log(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let day = cursor.digits(1, 2)?;
    let month = cursor.byte(b'/').and_then(|()| cursor.month())?;
    let year = cursor.byte(b'/').and_then(|()| cursor.year())?;
    let micros = cursor.byte(b':').and_then(|()| cursor.clock())?;
    let zone = cursor.zone();
    Some((Civil::new((Some(year), month, day), micros, zone)?, cursor.at))
}

/// Suricata's and Snort's alerts: `11/22/2026-10:00:00.000000`.
fn month_first(text: &[u8]) -> Read {
    let mut cursor = Cursor { text, at: 0 };
    let month = cursor.digits(2, 2)?;
    let day = cursor.byte(b'/').and_then(|()| cursor.digits(2, 2))?;
    let year = cursor.byte(b'/').and_then(|()| cursor.year())?;
    let micros = cursor.byte(b'-').and_then(|()| cursor.clock())?;
    Some((Civil::new((Some(year), month, day), micros, None)?, cursor.at))
}

/// A count since 1970: of seconds, of which a fraction may follow, or of milli-, micro- or nanoseconds.
pub(super) fn epoch(text: &[u8]) -> Option<(Timestamp, usize)> {
    let mut cursor = Cursor { text, at: 0 };
    let count = cursor.digits(9, 19)?;
    let micros = match cursor.at {
        9 | 10 => count * MICROS + cursor.fraction(),
        13 => count * 1000,
        16 => count,
        19 => count / 1000,
        _ => return None,
    };
    let ends =
        cursor.next().is_none_or(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b'.' | b'-' | b':'));
    ends.then_some((Timestamp::from_micros(micros), cursor.at))
}

/// A place in a text that is read from left to right.
struct Cursor<'a> {
    text: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn next(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        let is = self.next() == Some(wanted);
        self.at += usize::from(is);
        is.then_some(())
    }

    /// Goes on only when the whole of it is there.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let from = self.at;
        let read = read(self);
        if read.is_none() {
            self.at = from;
        }
        read
    }

    /// One space, or two before a day of one digit.
    fn spaces(&mut self) -> bool {
        let from = self.at;
        while self.at < from + 2 && self.next() == Some(b' ') {
            self.at += 1;
        }
        self.at > from
    }

    /// A whole number of so many digits.
    fn digits(&mut self, min: usize, max: usize) -> Option<i64> {
        let rest = self.text.get(self.at..)?;
        let length = rest.iter().take(max + 1).take_while(|byte| byte.is_ascii_digit()).count();
        if length < min || length > max {
            return None;
        }
        self.at += length;
        std::str::from_utf8(rest.get(..length)?).ok()?.parse().ok()
    }

    fn year(&mut self) -> Option<i64> {
        self.digits(4, 4).filter(|year| (1970..=2199).contains(year))
    }

    fn month(&mut self) -> Option<i64> {
        let name = self.text.get(self.at..self.at + 3)?;
        let at = MONTHS.iter().position(|month| name.eq_ignore_ascii_case(*month))?;
        self.at += 3;
        i64::try_from(at + 1).ok()
    }

    /// `10:00:00` with or without a fraction, as microseconds since midnight. Leap seconds are written as 60.
    fn clock(&mut self) -> Option<i64> {
        let hour = self.digits(1, 2).filter(|hour| *hour < 24)?;
        let minute = self.byte(b':').and_then(|()| self.digits(2, 2)).filter(|minute| *minute < 60)?;
        let second = self.byte(b':').and_then(|()| self.digits(2, 2)).filter(|second| *second <= 60)?;
        Some((hour * HOUR + minute * 60 + second) * MICROS + self.fraction())
    }

    /// The microseconds of a fraction that may follow.
    fn fraction(&mut self) -> i64 {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let [b'.' | b',', digits @ ..] = rest else { return 0 };
        let length = digits.iter().take(9).take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return 0;
        }
        self.at += 1 + length;
        let six = digits.iter().take(length).chain(std::iter::repeat(&b'0')).take(6);
        six.fold(0, |micros, digit| micros * 10 + i64::from(digit - b'0'))
    }

    /// `Z`, `+01:00`, `+0100`, `+01` or a name, after a space or at once.
    fn zone(&mut self) -> Option<i64> {
        self.attempt(|cursor| {
            cursor.spaces();
            let rest = cursor.text.get(cursor.at..)?;
            let Some(sign @ (b'+' | b'-')) = cursor.next() else {
                let length = rest.iter().take(5).take_while(|byte| byte.is_ascii_alphabetic()).count();
                let ends = rest
                    .get(length)
                    .is_none_or(|byte| matches!(byte, b' ' | b':' | b']' | b'"' | b'\t' | b','));
                let name = rest.get(..length).filter(|_| ends)?;
                let (_, zone) = ZONE_NAMES.iter().find(|(known, _)| *known == name)?;
                cursor.at += length;
                return Some(*zone);
            };
            cursor.at += 1;
            let (hours, minutes) = match cursor.attempt(|cursor| cursor.digits(4, 4)) {
                Some(both) => (both / 100, both % 100),
                None => {
                    let hours = cursor.digits(2, 2)?;
                    (hours, cursor.byte(b':').and_then(|()| cursor.digits(2, 2)).unwrap_or(0))
                }
            };
            let east = hours * HOUR + minutes * 60;
            let zone = if sign == b'-' { -east } else { east };
            (ZONES.contains(&zone) && minutes < 60).then_some(zone)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line with this time that was read at a time was written at another.
    fn check(time: &str, read_at: &str, expected: &str) {
        let at = written_at(time.as_bytes(), read_at.parse().unwrap());
        assert_eq!(at, Some(expected.parse().unwrap()), "{time} read at {read_at}: {at:?}");
    }

    #[test]
    fn spellings_that_say_everything_need_no_reading_time() {
        let read_at = "2030-05-05T00:00:00Z";
        for time in [
            "2026-11-22T10:00:00.5+01:00",
            "2026-11-22T09:00:00.500Z",
            "2026-11-22T09:00:00,500Z",
            "2026-11-22 10:00:00.5 +0100",
            "2026-11-22 10:00:00.5+01",
            "2026-11-22 04:00:00.5-0500",
            "2026/11/22 10:00:00.5 CET",
            "[22/Nov/2026:10:00:00.500 +0100]",
            "22/Nov/2026:14:45:00.5 +0545",
            "Nov 22 2026 09:00:00.500 UTC",
            "*Nov 22 2026 10:00:00.5 CET: ",
            "2026 Nov 22 10:00:00.5 CET",
            "Nov 22 11:00:00.5 2026 CEST",
            "1795338000.5",
            "1795338000500",
            "1795338000500000",
            "1795338000500000000",
        ] {
            check(time, read_at, "2026-11-22T09:00:00.5Z");
        }
    }

    #[test]
    fn a_zone_that_is_left_out_is_the_one_nearest_to_the_reading_time() {
        for time in
            ["Nov 22 10:00:00", "2026:11:22-10:00:00", "2026-11-22 10:00:00", "11/22/2026-10:00:00.000000"]
        {
            check(time, "2026-11-22T09:00:02Z", "2026-11-22T09:00:00Z");
            check(time, "2026-11-22T10:03:00Z", "2026-11-22T10:00:00Z");
            check(time, "2026-11-22T09:59:58Z", "2026-11-22T10:00:00Z");
            check(time, "2026-11-22T04:15:09Z", "2026-11-22T04:15:00Z");
            check(time, "2026-11-22T22:00:00Z", "2026-11-22T22:00:00Z");
            check(time, "2026-11-21T20:00:00Z", "2026-11-21T20:00:00Z");
        }
    }

    #[test]
    fn an_old_line_without_a_zone_is_taken_as_utc() {
        check("2026-11-22 10:00:00", "2026-11-29T09:00:00Z", "2026-11-22T10:00:00Z");
        check("Nov 22 10:00:00", "2027-01-03T09:00:00Z", "2026-11-22T10:00:00Z");
    }

    #[test]
    fn a_year_that_is_left_out_is_the_one_nearest_to_the_reading_time() {
        check("Dec 31 23:59:59", "2026-12-31T23:00:01Z", "2026-12-31T22:59:59Z");
        check("Jan  1 00:00:00", "2026-12-31T23:00:01Z", "2026-12-31T23:00:00Z");
        check("Dec 31 23:59:59", "2027-01-01T00:00:05Z", "2026-12-31T23:59:59Z");
        check("Jan 1 00:00:03", "2027-01-01T00:00:05Z", "2027-01-01T00:00:03Z");
        check("Feb 29 12:00:00", "2028-02-29T12:00:00Z", "2028-02-29T12:00:00Z");
        check("Feb 29 12:00:00", "2027-02-28T12:00:00Z", "2028-02-29T12:00:00Z");
    }

    #[test]
    fn days_are_counted_as_the_calendar_does() {
        for (text, days) in
            [("1970-01-01", 0), ("2000-02-29", 11_016), ("2026-11-22", 20_779), ("2100-03-01", 47_541)]
        {
            let parts: Vec<i64> = text.split('-').map(|part| part.parse().unwrap()).collect();
            assert_eq!(days_since_epoch(parts[0], parts[1], parts[2]), days, "{text}");
            assert_eq!(year_of(days), parts[0], "{text}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "-",
            "Nov",
            "Nov 22",
            "Nov 32 10:00:00",
            "Foo 22 10:00:00",
            "2026-13-01 00:00:00",
            "2026-11-22",
            "2026-11-22 24:00:00",
            "2027-02-29T00:00:00Z",
            "Feb 30 00:00:00",
            "12345",
            "10.0.0.5",
            "1795338000.5.1",
            "99999999999999999999",
        ] {
            assert_eq!(
                written_at(text.as_bytes(), Timestamp::from_seconds(1_795_338_000, 0)),
                None,
                "{text}"
            );
        }
    }
}

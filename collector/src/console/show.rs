//! How values are shown: foreign text with nothing hidden in it, network values defanged, times in Rome with
//! UTC beside them. HTML escaping is askama's; the types here that skip it write digits and own words only.

use std::fmt;
use std::net::IpAddr;

use askama::filters::HtmlSafe;
use jiff::tz::TimeZone;
use protocol::Timestamp;

/// Characters of a value in a table; the hit's page shows all of it.
const CELL_CHARS_MAX: usize = 90;
/// Characters of a name in a narrow column.
const NAME_CHARS_MAX: usize = 40;

/// Italian time, with its summers, wherever the collector runs.
static ROME: TimeZone = jiff::tz::get!("Europe/Rome");

/// Foreign text in which controls, bidirectional marks and other invisible characters are written out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shown(String);

impl Shown {
    /// The whole text.
    pub(crate) fn new(text: &str) -> Self {
        Self(reveal(text, usize::MAX))
    }

    /// Text of several lines that this program broke; everything else as in [`Shown::new`].
    pub(crate) fn lines(text: &str) -> Self {
        let lines: Vec<String> = text.lines().map(|line| reveal(line, usize::MAX)).collect();
        Self(lines.join("\n"))
    }

    /// At most [`CELL_CHARS_MAX`] characters of it.
    pub(crate) fn short(text: &str) -> Self {
        Self(reveal(text, CELL_CHARS_MAX))
    }

    /// At most [`NAME_CHARS_MAX`] characters of it.
    pub(crate) fn name(text: &str) -> Self {
        Self(reveal(text, NAME_CHARS_MAX))
    }

    /// Whether there is nothing to show.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn reveal(text: &str, chars_max: usize) -> String {
    let mut out = String::with_capacity(text.len().min(chars_max.saturating_mul(4)));
    let mut marks = 0;
    for (position, c) in text.chars().enumerate() {
        if position >= chars_max {
            out.push('…');
            break;
        }
        marks = if is_combining(c) { marks + 1 } else { 0 };
        if c.is_control() || is_invisible(c) || marks > 2 {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// What an operator typed or followed as a link, without characters that nobody sees.
pub(crate) fn without_hidden(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect()
}

/// Characters that reorder, hide or imitate text (Unicode TR #36): format controls, fillers, variation selectors, tags.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{10ffff}')
}

/// Marks that pile up on the letter before them and would run into the lines around.
fn is_combining(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

/// A value of a kind as operators read it aloud and paste it without a click: `evil[.]example`, `hxxps://…`.
/// `protocol::defang::refang` undoes it.
pub(crate) fn defang(kind: &str, value: &str) -> String {
    match kind {
        "ip" => defang_address(value),
        "domain" | "email" => value.replace('.', "[.]"),
        "url" => {
            let Some((scheme, rest)) = value.split_once("://") else { return value.replace('.', "[.]") };
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            let (host, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
            let scheme = match scheme {
                "http" => "hxxp",
                "https" => "hxxps",
                other => other,
            };
            format!("{scheme}://{}{path}", host.replace('.', "[.]"))
        }
        _ => value.to_owned(),
    }
}

/// An address, defanged; with a port or a prefix length as well. Private addresses lead nowhere and stay readable.
pub(crate) fn defang_address(address: &str) -> String {
    let private = match address.parse() {
        Ok(IpAddr::V4(address)) => address.is_private() || address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_unique_local() || address.is_loopback() || address.is_unicast_link_local()
        }
        Err(_) => false,
    };
    if private {
        return address.to_owned();
    }
    if address.contains('.') { address.replace('.', "[.]") } else { address.replace(':', "[:]") }
}

/// A point in time: `22/11/2026 11:00:00` in Rome, the UTC time in its title.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct When {
    at: i64,
    exact: bool,
}

impl When {
    /// To the second.
    pub(crate) fn new(micros: i64) -> Self {
        Self { at: micros, exact: false }
    }

    /// To the millisecond, with the name of the zone.
    pub(crate) fn exact(micros: i64) -> Self {
        Self { at: micros, exact: true }
    }
}

impl HtmlSafe for When {}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stamp = Timestamp::from_micros(self.at);
        let Ok(at) = jiff::Timestamp::from_microsecond(stamp.as_micros()) else { return f.write_str("—") };
        let utc = at.to_zoned(TimeZone::UTC);
        let rome = at.to_zoned(ROME.clone());
        let (utc_form, rome_form) = if self.exact {
            ("%Y-%m-%d %H:%M:%S%.3f UTC", "%d/%m/%Y %H:%M:%S%.3f %Z")
        } else {
            ("%Y-%m-%d %H:%M:%S UTC", "%d/%m/%Y %H:%M:%S")
        };
        write!(
            f,
            "<time datetime=\"{stamp}\" title=\"{}\">{}</time>",
            utc.strftime(utc_form),
            rome.strftime(rome_form)
        )
    }
}

/// A time that may be unknown; a dash then.
pub(crate) fn when(micros: Option<i64>) -> Maybe<When> {
    Maybe(micros.map(When::new))
}

/// A value or a dash that screen readers pass over in silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Maybe<T>(pub(crate) Option<T>);

impl<T: HtmlSafe> HtmlSafe for Maybe<T> {}

impl<T: fmt::Display> fmt::Display for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("—"),
        }
    }
}

/// How long ago, in the largest unit that says something: `3 min`, `5 h`, `2 g`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span(i64);

impl Span {
    /// A span of microseconds, of either sign.
    pub(crate) fn micros(micros: i64) -> Self {
        Self(micros)
    }
}

impl HtmlSafe for Span {}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.unsigned_abs() / 1_000_000;
        match seconds {
            0..60 => write!(f, "{seconds} s"),
            60..3600 => write!(f, "{} min", seconds / 60),
            3600..172_800 => write!(f, "{} h", seconds / 3600),
            _ => write!(f, "{} g", seconds / 86_400),
        }
    }
}

/// A number in groups of three, as Italian writes it: `1.234.567`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Count(pub(crate) i64);

impl HtmlSafe for Count {}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.unsigned_abs().to_string();
        if self.0 < 0 {
            f.write_str("-")?;
        }
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                f.write_str(".")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// The time that a `datetime-local` field means in Rome, in microseconds; an hour that does not exist in spring
/// is the one after it, the doubled hour in autumn its first.
pub(crate) fn rome_micros(local: &str) -> Option<i64> {
    let at: jiff::civil::DateTime = local.parse().ok()?;
    Some(at.to_zoned(ROME.clone()).ok()?.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summer_and_winter_are_shown_in_rome_with_utc_beside() {
        let check = |utc: &str, rome: &str, zone: &str| {
            let at = utc.parse::<Timestamp>().unwrap().as_micros();
            let html = When::new(at).to_string();
            assert!(html.contains(&format!(">{rome}<")), "{html}");
            let title = utc.replace('T', " ").replace('Z', " UTC");
            assert!(html.contains(&format!("title=\"{title}\"")), "{html}");
            assert!(When::exact(at).to_string().ends_with(&format!("{rome}.000 {zone}</time>")));
        };
        check("2026-11-22T10:00:00Z", "22/11/2026 11:00:00", "CET");
        check("2026-07-01T10:00:00Z", "01/07/2026 12:00:00", "CEST");
        check("2026-10-25T00:30:00Z", "25/10/2026 02:30:00", "CEST");
        check("2026-10-25T01:30:00Z", "25/10/2026 02:30:00", "CET");
    }

    #[test]
    fn absurd_times_are_shown_and_do_not_stop_the_page() {
        for at in [i64::MIN, i64::MAX, 0] {
            let html = When::exact(at).to_string();
            assert!(html.starts_with("<time "), "{html} {at}");
        }
    }

    #[test]
    fn a_local_time_is_read_as_rome_means_it() {
        let check = |local: &str, utc: Option<&str>| {
            let utc = utc.map(|utc| utc.parse::<Timestamp>().unwrap().as_micros());
            assert_eq!(rome_micros(local), utc, "{local}");
        };
        check("2026-11-22T11:00", Some("2026-11-22T10:00:00Z"));
        check("2026-07-01T12:00", Some("2026-07-01T10:00:00Z"));
        check("2026-03-29T02:30", Some("2026-03-29T01:30:00Z"));
        check("yesterday", None);
    }

    #[test]
    fn nothing_stays_hidden_in_foreign_text() {
        let check = |text: &str, shown: &str| assert_eq!(Shown::new(text).to_string(), shown);
        check("plain città 日本 🙂", "plain città 日本 🙂");
        check("gpj\u{202e}exe", "gpj\\u{202e}exe");
        check("a\0\x1b[31m\r\n", "a\\u{0}\\u{1b}[31m\\u{d}\\u{a}");
        check("ev\u{200b}il\u{e0041}", "ev\\u{200b}il\\u{e0041}");
        check("e\u{301}\u{302}\u{303}\u{304}", "e\u{301}\u{302}\\u{303}\\u{304}");
        assert_eq!(Shown::short(&"x".repeat(5000)).to_string().chars().count(), CELL_CHARS_MAX + 1);
    }

    #[test]
    fn what_is_defanged_can_be_refanged() {
        for (kind, value, shown) in [
            ("ip", "203.0.113.5", "203[.]0[.]113[.]5"),
            ("ip", "192.168.1.1", "192.168.1.1"),
            ("ip", "fd00::1", "fd00::1"),
            ("ip", "2001:db8::5", "2001[:]db8[:][:]5"),
            ("domain", "www.evil.example", "www[.]evil[.]example"),
            ("url", "http://evil.example/a.b?c.d", "hxxp://evil[.]example/a.b?c.d"),
            ("url", "https://evil.example:8443", "hxxps://evil[.]example:8443"),
            ("email", "m.rossi@evil.example", "m[.]rossi@evil[.]example"),
            ("user_agent", "Mozilla/5.0", "Mozilla/5.0"),
        ] {
            assert_eq!(defang(kind, value), shown);
            assert_eq!(protocol::defang::refang(shown), value);
        }
    }

    #[test]
    fn numbers_and_spans_are_short() {
        let counts = [0, 999, 1000, 1_234_567, -12_345].map(|count| Count(count).to_string());
        assert_eq!(counts, ["0", "999", "1.000", "1.234.567", "-12.345"]);
        let spans = [5, 119, 7200, 200_000].map(|seconds: i64| Span::micros(seconds * 1_000_000).to_string());
        assert_eq!(spans, ["5 s", "1 min", "2 h", "2 g"]);
    }
}

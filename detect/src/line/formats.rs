//! The formats that are known, each in a file of its own with a table of lines. A format only says which text is
//! what; a line of no known format is read as free text.

mod auditd;
mod cef;
mod cisco;
mod conntrack;
mod filterlog;
mod fortigate;
mod json;
mod keyvalue;
mod logins;
mod mail;
mod mikrotik;
mod netfilter;
mod proxy;
mod resolvers;
mod sonicwall;
mod sophos;
mod stormshield;
mod suricata;
mod watchguard;
mod web;
mod windows;
mod zeek;
mod zyxel;

use super::header::Logged;
use super::reading::{Field, Reading};

/// A format of log lines.
pub(crate) struct Format {
    /// What `logs test` calls it.
    pub name: &'static str,
    /// Names the fields of a line of this format; `false` for any other line, soon.
    pub read: for<'a> fn(&Logged<'a>, &mut Reading<'a>) -> bool,
}

/// How far a program's name is looked for in a line without a known header.
const PROGRAM_WITHIN: usize = 96;

/// In the order in which they are tried.
static FORMATS: &[Format] = &[
    filterlog::FORMAT,
    cisco::FORMAT,
    cisco::IOS,
    netfilter::FORMAT,
    conntrack::FORMAT,
    watchguard::FORMAT,
    sonicwall::FORMAT,
    stormshield::FORMAT,
    sophos::XG,
    sophos::UTM,
    fortigate::FORMAT,
    zyxel::FORMAT,
    mikrotik::FORMAT,
    suricata::EVE,
    suricata::FAST,
    zeek::JSON,
    zeek::TSV,
    proxy::SQUID,
    proxy::HAPROXY,
    web::ACCESS,
    web::NGINX_ERROR,
    web::APACHE_ERROR,
    mail::POSTFIX,
    mail::EXIM,
    mail::DOVECOT,
    logins::SSH,
    logins::FTP,
    logins::OPENVPN,
    logins::FAIL2BAN,
    resolvers::DNSMASQ,
    resolvers::UNBOUND,
    resolvers::BIND,
    auditd::FORMAT,
    windows::JSON,
    windows::TEXT,
    cef::CEF,
    cef::LEEF,
];

/// Tried when no other format has the line, and never remembered: the next line may have a certain one.
static BROAD: &[Format] = &[json::FORMAT, keyvalue::FORMAT];

/// The format of the lines before, which the next one most likely has too.
#[derive(Clone, Copy, Default)]
pub(crate) struct Hint(Option<&'static Format>);

impl Hint {
    /// As if the lines before had this format.
    pub fn of(format: &'static Format) -> Self {
        Self(Some(format))
    }
}

/// Every format, in the order in which they are tried.
pub(crate) fn all() -> impl Iterator<Item = &'static Format> {
    FORMATS.iter().chain(BROAD)
}

/// Reads a line by the format that it has; `None` when it has none that is known.
pub(crate) fn recognise<'a>(
    logged: &Logged<'a>,
    hint: &mut Hint,
    reading: &mut Reading<'a>,
) -> Option<&'static Format> {
    for format in hint.0.into_iter().chain(FORMATS) {
        if (format.read)(logged, reading) {
            hint.0 = Some(format);
            return Some(format);
        }
        reading.clear();
    }
    for format in BROAD {
        if (format.read)(logged, reading) {
            return Some(format);
        }
        reading.clear();
    }
    None
}

/// Whether a line is a program's: by its header, or where it has none that is known, by its beginning.
fn is_of(logged: &Logged<'_>, program: &[u8]) -> bool {
    if !logged.program.is_empty() {
        return logged.program.starts_with(program);
    }
    let beginning = logged.message.get(..PROGRAM_WITHIN).unwrap_or(logged.message);
    memchr::memmem::find(beginning, program).is_some()
}

/// What stands before and after the time of web servers and proxies, `[22/Nov/2026:10:00:00 +0100]`.
fn at_web_time(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr::memmem::find(text.get(from..)?, b"/20")?;
        // The day and the month stand before the year.
        let start = at.checked_sub(7)?;
        let end = at + memchr::memchr(b']', text.get(at..)?)?;
        if text.get(start) == Some(&b'[') && end <= at + 32 {
            return Some((text.get(..start)?, text.get(end + 1..)?.trim_ascii_start()));
        }
        from = at + 1;
    }
}

/// Notes a URL that a line gives whole, or as a path beside the host that was asked for it. Without a URL, the host
/// is a name that was asked for.
fn take_url<'a>(reading: &mut Reading<'a>, scheme: &str, host: &'a [u8], url: &'a [u8]) {
    let with_scheme = |text: &[u8]| [scheme.as_bytes(), b"://", text].concat();
    if url.is_empty() {
        reading.take(Field::Domain, host);
    } else if memchr::memmem::find(url.get(..12).unwrap_or(url), b"://").is_some() {
        reading.take(Field::Url, url);
    } else if !host.is_empty() {
        reading.take_unescaped(Field::UrlHost, with_scheme(host), host);
        reading.take(Field::UrlPath, url);
    } else if !url.starts_with(b"/") {
        reading.take_unescaped(Field::Url, with_scheme(url), url);
    }
}

#[cfg(test)]
pub(crate) mod made {
    //! Tables of lines: what each format's test compares.

    use super::*;
    use crate::line::made::{seen, view};

    /// The line is of this format and gives exactly these sightings (`log.src 192.0.2.1:443`), in any order.
    pub fn check(format: &Format, line: &str, expected: &[&str]) {
        check_bytes(format, line.as_bytes(), expected);
    }

    /// The same of a line that is no UTF-8.
    pub fn check_bytes(format: &Format, line: &[u8], expected: &[&str]) {
        let shown = String::from_utf8_lossy(line);
        assert_eq!(view(line).format, Some(format.name), "{shown}");
        let mut expected = expected.to_vec();
        expected.sort_unstable();
        assert_eq!(seen(line), expected, "{shown}");
    }

    /// The line is not of this format.
    pub fn check_not(format: &Format, line: &str) {
        let mut reading = Reading::of(line.as_bytes());
        assert!(!(format.read)(&Logged::of(line.as_bytes()), &mut reading), "{line}");
    }
}

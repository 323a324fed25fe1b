//! URLs in normal form: scheme and host in lower case, no user name, no default port, the rest as written.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::str::FromStr;

use crate::domain::{self, Domain};
use crate::text::text_form;

/// Longer URLs are refused; indicators and evidence stay readable.
pub const URL_BYTES_MAX: usize = 4096;

/// A URL with an authority (RFC 3986), in normal form. Only [`Url::parse`] makes one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Url {
    text: Box<str>,
    host_start: u16,
    host_end: u16,
}

/// Why a text is no URL that can be looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAUrl {
    /// No `scheme://`.
    #[error("no scheme such as https://")]
    Scheme,
    /// The host is neither a domain name nor an address.
    #[error("the host is neither a name nor an address")]
    Host,
    /// The port is not a number up to 65535.
    #[error("the port is not a number up to 65535")]
    Port,
    /// Longer than [`URL_BYTES_MAX`].
    #[error("longer than 4096 bytes")]
    TooLong,
    /// Spaces or control characters.
    #[error("spaces or control characters")]
    Characters,
}

/// The host of a URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Domain(Domain),
    /// An address, without brackets.
    Ip(IpAddr),
}

impl Url {
    /// Reads a URL as people and programs write it. A user name and password are dropped.
    ///
    /// # Errors
    /// Says which part cannot be read.
    pub fn parse(text: &str) -> Result<Self, NotAUrl> {
        let mut normal = String::with_capacity(text.len());
        let (host_start, host_end) = normalise(text, &mut normal)?;
        Ok(Self {
            text: normal.into_boxed_str(),
            host_start: u16::try_from(host_start).map_err(|_| NotAUrl::TooLong)?,
            host_end: u16::try_from(host_end).map_err(|_| NotAUrl::TooLong)?,
        })
    }

    /// The whole URL.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The host as written in the normal form, addresses of IPv6 with brackets.
    pub fn host_str(&self) -> &str {
        self.text.get(usize::from(self.host_start)..usize::from(self.host_end)).unwrap_or_default()
    }

    /// The host as a name or an address.
    pub fn host(&self) -> Option<Host> {
        parse_host(self.host_str()).ok()
    }

    /// What two URLs are compared by: the whole text without a fragment, and with `/` for an empty path
    /// (RFC 3986 §6.2.3).
    pub fn match_key(&self) -> Cow<'_, str> {
        match_key(&self.text, usize::from(self.host_end))
    }
}

/// What a URL in normal form is compared by; `host_end` is where its host ends.
pub fn match_key(text: &str, host_end: usize) -> Cow<'_, str> {
    let text = text.split_once('#').map_or(text, |(before, _)| before);
    let (head, tail) = text.split_at_checked(host_end).unwrap_or((text, ""));
    match tail.find(['/', '?']) {
        Some(at) if tail.as_bytes().get(at) == Some(&b'/') => Cow::Borrowed(text),
        Some(at) => {
            let (port, query) = tail.split_at_checked(at).unwrap_or((tail, ""));
            Cow::Owned(format!("{head}{port}/{query}"))
        }
        None => Cow::Owned(format!("{text}/")),
    }
}

/// Host and path of a [`Url::match_key`]: without scheme and query.
pub fn place(match_key: &str) -> &str {
    let rest = match_key.split_once("://").map_or(match_key, |(_, rest)| rest);
    rest.split_once('?').map_or(rest, |(place, _)| place)
}

/// Writes the normal form of a URL into `into`, as [`Url::parse`] reads it, and gives where its host begins and
/// ends there. Costs no allocation when `into` has room and the host is plain.
///
/// # Errors
/// As [`Url::parse`].
pub fn normalise(text: &str, into: &mut String) -> Result<(usize, usize), NotAUrl> {
    into.clear();
    if text.len() > URL_BYTES_MAX {
        return Err(NotAUrl::TooLong);
    }
    // Most are ASCII, of which this passes many bytes at once.
    let is_refused = |byte: u8| byte <= b' ' || byte == 0x7f;
    if text.bytes().any(is_refused) || (!text.is_ascii() && text.chars().any(char::is_control)) {
        return Err(NotAUrl::Characters);
    }
    let (scheme, rest) = text.split_once("://").ok_or(NotAUrl::Scheme)?;
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    if !scheme.bytes().all(letters) || !scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic()) {
        return Err(NotAUrl::Scheme);
    }
    into.extend(scheme.chars().map(|c| c.to_ascii_lowercase()));
    let default_port = default_port(into);
    into.push_str("://");
    let authority_end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(authority_end).ok_or(NotAUrl::Host)?;
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (host, port) = split_port(authority)?;
    let host_start = into.len();
    write_host(host, into)?;
    let host_end = into.len();
    if let Some(port) = port.filter(|port| default_port != Some(*port)) {
        write!(into, ":{port}").map_err(|_| NotAUrl::Port)?;
    }
    into.push_str(path);
    Ok((host_start, host_end))
}

fn write_host(host: &str, into: &mut String) -> Result<(), NotAUrl> {
    match address_of(host)? {
        Some(IpAddr::V6(address)) => write!(into, "[{address}]").map_err(|_| NotAUrl::Host),
        Some(IpAddr::V4(address)) => write!(into, "{address}").map_err(|_| NotAUrl::Host),
        None => domain::normalise(host, into).map_err(|_| NotAUrl::Host),
    }
}

fn split_port(authority: &str) -> Result<(&str, Option<u16>), NotAUrl> {
    let after_brackets = authority.rfind(']').map_or(0, |at| at + 1);
    let colon = authority.get(after_brackets..).and_then(|rest| rest.find(':'));
    let Some(colon) = colon else { return Ok((authority, None)) };
    let (host, port) = authority.split_at_checked(after_brackets + colon).ok_or(NotAUrl::Port)?;
    match port.strip_prefix(':') {
        Some("") | None => Ok((host, None)),
        Some(port) => port.parse().map(|port| (host, Some(port))).map_err(|_| NotAUrl::Port),
    }
}

fn parse_host(host: &str) -> Result<Host, NotAUrl> {
    match address_of(host)? {
        Some(address) => Ok(Host::Ip(address)),
        None => Domain::parse(host).map(Host::Domain).map_err(|_| NotAUrl::Host),
    }
}

/// The address that a host is, if it is one.
fn address_of(host: &str) -> Result<Option<IpAddr>, NotAUrl> {
    match host.strip_prefix('[') {
        Some(inside) => {
            let address = inside.strip_suffix(']').and_then(|text| text.parse().ok());
            address.map(Some).ok_or(NotAUrl::Host)
        }
        None => Ok(host.parse().ok()),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        "ftp" => Some(21),
        _ => None,
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = NotAUrl;

    fn from_str(text: &str) -> Result<Self, NotAUrl> {
        Self::parse(text)
    }
}

text_form!(Url);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, NotAUrl>) {
        assert_eq!(Url::parse(text).as_ref().map(Url::as_str), expected.as_ref().copied(), "{text:?}");
    }

    #[test]
    fn scheme_and_host_are_lowered_and_the_path_is_kept() {
        check("HTTP://Evil.Example/Path?Q=A#F", Ok("http://evil.example/Path?Q=A#F"));
    }

    #[test]
    fn default_ports_and_user_names_go() {
        check("http://user:secret@evil.example:80/", Ok("http://evil.example/"));
        check("https://evil.example:8443/a", Ok("https://evil.example:8443/a"));
        check("http://[2001:DB8::1]:80/a", Ok("http://[2001:db8::1]/a"));
    }

    #[test]
    fn what_is_no_url_is_refused() {
        check("evil.example/a", Err(NotAUrl::Scheme));
        check("http:///a", Err(NotAUrl::Host));
        check("http://evil.example:99999/", Err(NotAUrl::Port));
        check("http://evil.example/a b", Err(NotAUrl::Characters));
    }

    #[test]
    fn an_empty_path_and_a_slash_match() {
        for (text, key) in [
            ("http://evil.example", "http://evil.example/"),
            ("http://evil.example:8080?a", "http://evil.example:8080/?a"),
            ("http://evil.example/#top", "http://evil.example/"),
        ] {
            assert_eq!(Url::parse(text).unwrap().match_key(), key);
        }
    }

    #[test]
    fn the_host_is_a_name_or_an_address() {
        let host = |text| Url::parse(text).unwrap().host();
        assert_eq!(host("http://[2001:db8::1]/"), Some(Host::Ip("2001:db8::1".parse().unwrap())));
        assert_eq!(host("http://a.example/"), Some(Host::Domain(Domain::parse("a.example").unwrap())));
    }
}

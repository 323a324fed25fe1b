//! Observables: the values that can be seen on the wire or in a log, each in one normal form.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::{self, Domain, NotADomain};
use crate::text::{Hex, bytes_from_hex, display, text_form};
use crate::url::{NotAUrl, Url};

/// What kind of value an observable is; the names are DESIGN's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// IPv4 or IPv6 address.
    Ip,
    /// Domain name.
    Domain,
    /// URL with scheme and host.
    Url,
    /// MD5 of a file.
    Md5,
    /// SHA-1 of a file or certificate.
    Sha1,
    /// SHA-256 of a file or certificate.
    Sha256,
    /// JA3 fingerprint of a TLS client.
    Ja3,
    /// JA4 fingerprint of a TLS or QUIC client.
    Ja4,
    /// HTTP user agent.
    UserAgent,
    /// E-mail address.
    Email,
}

impl Kind {
    /// All kinds, in the order of the contract.
    pub const ALL: [Self; 10] = [
        Self::Ip,
        Self::Domain,
        Self::Url,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Ja3,
        Self::Ja4,
        Self::UserAgent,
        Self::Email,
    ];

    /// The name in JSON, in tables and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ip => "ip",
            Self::Domain => "domain",
            Self::Url => "url",
            Self::Md5 => "md5",
            Self::Sha1 => "sha1",
            Self::Sha256 => "sha256",
            Self::Ja3 => "ja3",
            Self::Ja4 => "ja4",
            Self::UserAgent => "user_agent",
            Self::Email => "email",
        }
    }
}

/// A hash of `N` bytes, written in lower-case hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest<const N: usize>(pub [u8; N]);

impl<const N: usize> fmt::Display for Digest<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl<const N: usize> FromStr for Digest<N> {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        bytes_from_hex(text).map(Self).ok_or(NotObservable::Digest { digits: 2 * N })
    }
}

/// A JA4 fingerprint of a client (BSD-licensed part of JA4), such as `t13d1516h2_8daaf6152771_e5627efa2ab1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ja4(Box<str>);

/// An HTTP user agent: trimmed, case kept, at most 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserAgent(Box<str>);

/// RFC 5321 §4.5.3.1.1 allows 64 octets; senders that write the recipient into the address to which mail bounces
/// need more.
const LOCAL_PART_BYTES_MAX: usize = 200;

/// An e-mail address in lower case with its domain in normal form (RFC 5321 §2.4 lets a server tell
/// cases of the local part apart; none that is looked for does). The domain may be an address in brackets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Email(Box<str>);

/// A value that can be seen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Observable {
    /// An address; IPv4-mapped IPv6 is IPv4.
    Ip(#[serde(serialize_with = "display::serialize", deserialize_with = "address_from_text")] IpAddr),
    /// A domain name.
    Domain(Domain),
    /// A URL.
    Url(Url),
    /// MD5 of a file.
    Md5(Digest<16>),
    /// SHA-1 of a file or certificate.
    Sha1(Digest<20>),
    /// SHA-256 of a file or certificate.
    Sha256(Digest<32>),
    /// JA3 fingerprint.
    Ja3(Digest<16>),
    /// JA4 fingerprint.
    Ja4(Ja4),
    /// HTTP user agent.
    UserAgent(UserAgent),
    /// E-mail address.
    Email(Email),
}

/// Reads an address in any spelling that has no zone.
fn address_from_text<'de, D: Deserializer<'de>>(text: D) -> Result<IpAddr, D::Error> {
    display::deserialize(text).map(|address: IpAddr| address.to_canonical())
}

/// Why a text is no observable of the wanted kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotObservable {
    /// No address.
    #[error("not an IPv4 or IPv6 address")]
    Ip,
    /// No domain name.
    #[error("not a domain name: {0}")]
    Domain(#[from] NotADomain),
    /// No URL.
    #[error("not a URL: {0}")]
    Url(#[from] NotAUrl),
    /// No hash of that length.
    #[error("not a hash of {digits} hexadecimal digits")]
    Digest {
        /// How many digits it must have.
        digits: usize,
    },
    /// No JA4.
    #[error("not a JA4 such as t13d1516h2_8daaf6152771_e5627efa2ab1")]
    Ja4,
    /// No user agent.
    #[error("not a user agent: empty, with control characters, or longer than 1024 bytes")]
    UserAgent,
    /// No e-mail address.
    #[error("not an e-mail address")]
    Email,
    /// No wildcard, or one that covers too much.
    #[error("not a name with * left of at least two whole labels, such as login-*.evil.example")]
    Wildcard,
    /// No URL prefix.
    #[error("not a host and a path without query, such as evil.example/kit; for a whole host name it alone")]
    UrlPrefix,
    /// No part of a user agent.
    #[error("not 4 to 256 bytes of a user agent")]
    UserAgentPart,
    /// No kind fits.
    #[error("not an address, domain, URL, hash or e-mail address")]
    Nothing,
}

impl Observable {
    /// Reads a value of a known kind into normal form. Nothing is refanged here, see [`crate::defang`].
    ///
    /// # Errors
    /// Says what the value should have looked like.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, NotObservable> {
        let text = text.trim();
        Ok(match kind {
            Kind::Ip => Self::Ip(parse_ip(text).ok_or(NotObservable::Ip)?),
            Kind::Domain => Self::Domain(Domain::parse(text)?),
            Kind::Url => Self::Url(Url::parse(text)?),
            Kind::Md5 => Self::Md5(text.parse()?),
            Kind::Sha1 => Self::Sha1(text.parse()?),
            Kind::Sha256 => Self::Sha256(text.parse()?),
            Kind::Ja3 => Self::Ja3(text.parse()?),
            Kind::Ja4 => Self::Ja4(text.parse()?),
            Kind::UserAgent => Self::UserAgent(text.parse()?),
            Kind::Email => Self::Email(text.parse()?),
        })
    }

    /// Reads a value whose kind is told by its shape: URL, e-mail address, address, hash by its length, domain.
    ///
    /// # Errors
    /// [`NotObservable::Nothing`], or why the shape it has is not a valid one.
    pub fn guess(text: &str) -> Result<Self, NotObservable> {
        let text = text.trim();
        if text.contains("://") {
            return Self::parse(Kind::Url, text);
        }
        if text.contains('@') {
            return Self::parse(Kind::Email, text);
        }
        if let Some(address) = parse_ip(text) {
            return Ok(Self::Ip(address));
        }
        if text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            match text.len() {
                32 => return Self::parse(Kind::Md5, text),
                40 => return Self::parse(Kind::Sha1, text),
                64 => return Self::parse(Kind::Sha256, text),
                _ => {}
            }
        }
        if let Ok(ja4) = text.parse() {
            return Ok(Self::Ja4(ja4));
        }
        if !text.contains('.') {
            return Err(NotObservable::Nothing);
        }
        Self::parse(Kind::Domain, text)
    }

    /// What kind of value this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Ip(_) => Kind::Ip,
            Self::Domain(_) => Kind::Domain,
            Self::Url(_) => Kind::Url,
            Self::Md5(_) => Kind::Md5,
            Self::Sha1(_) => Kind::Sha1,
            Self::Sha256(_) => Kind::Sha256,
            Self::Ja3(_) => Kind::Ja3,
            Self::Ja4(_) => Kind::Ja4,
            Self::UserAgent(_) => Kind::UserAgent,
            Self::Email(_) => Kind::Email,
        }
    }
}

/// The value in normal form, without its kind.
impl fmt::Display for Observable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(value) => value.fmt(f),
            Self::Domain(value) => value.fmt(f),
            Self::Url(value) => value.fmt(f),
            Self::Md5(value) | Self::Ja3(value) => value.fmt(f),
            Self::Sha1(value) => value.fmt(f),
            Self::Sha256(value) => value.fmt(f),
            Self::Ja4(value) => value.fmt(f),
            Self::UserAgent(value) => value.fmt(f),
            Self::Email(value) => value.fmt(f),
        }
    }
}

/// An address with or without brackets; a zone is dropped, IPv4-mapped IPv6 becomes IPv4 (RFC 4291 §2.5.5.2).
fn parse_ip(text: &str) -> Option<IpAddr> {
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let text = text.split_once('%').map_or(text, |(address, _)| address);
    text.parse::<IpAddr>().ok().map(|address| address.to_canonical())
}

macro_rules! text_type {
    ($type:ident) => {
        impl $type {
            /// The value in normal form.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_form!($type);
    };
}
text_type!(Ja4);
text_type!(UserAgent);
text_type!(Email);
text_form!(Digest<16>);
text_form!(Digest<20>);
text_form!(Digest<32>);

impl FromStr for Ja4 {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        let text = text.to_ascii_lowercase();
        let mut parts = text.split('_');
        let (Some(a), Some(b), Some(c), None) = (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NotObservable::Ja4);
        };
        let hex = |part: &str| part.len() == 12 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
        let head = a.len() == 10
            && a.starts_with(['t', 'q', 'd'])
            && a.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !head || !hex(b) || !hex(c) {
            return Err(NotObservable::Ja4);
        }
        Ok(Self(text.into_boxed_str()))
    }
}

impl UserAgent {
    /// The normal form of a user agent: trimmed. `None` when it is none.
    pub fn normal(text: &str) -> Option<&str> {
        let text = text.trim();
        let is_one = !text.is_empty() && text.len() <= 1024 && !text.chars().any(char::is_control);
        is_one.then_some(text)
    }
}

impl FromStr for UserAgent {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        Self::normal(text).map(|text| Self(text.into())).ok_or(NotObservable::UserAgent)
    }
}

impl Email {
    /// Appends the normal form of an address, in angle brackets or not, to `into`; plain ones cost no allocation.
    ///
    /// # Errors
    /// When it is none; what was appended until then is left there.
    pub fn normalise(text: &str, into: &mut String) -> Result<(), NotObservable> {
        let text = text.strip_prefix('<').and_then(|text| text.strip_suffix('>')).unwrap_or(text);
        let (local, domain) = text.rsplit_once('@').ok_or(NotObservable::Email)?;
        let odd =
            |c: char| c.is_control() || c.is_whitespace() || matches!(c, '<' | '>' | '"' | ',' | ';' | '@');
        if local.is_empty() || local.len() > LOCAL_PART_BYTES_MAX || local.contains(odd) {
            return Err(NotObservable::Email);
        }
        into.extend(local.chars().flat_map(char::to_lowercase));
        into.push('@');
        if let Some(inside) = domain.strip_prefix('[').and_then(|domain| domain.strip_suffix(']')) {
            let tagged = inside.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
            let address = if tagged { inside.get(5..).unwrap_or_default() } else { inside };
            let address: IpAddr = address.parse().map_err(|_| NotObservable::Email)?;
            let tag = if address.is_ipv6() { "ipv6:" } else { "" };
            into.extend(["[", tag, &address.to_string(), "]"]);
            return Ok(());
        }
        domain::normalise(domain, into).map_err(|_| NotObservable::Email)
    }
}

impl FromStr for Email {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        let mut normal = String::with_capacity(text.len());
        Self::normalise(text, &mut normal)?;
        Ok(Self(normal.into_boxed_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: Kind, value: &str) {
        let seen = Observable::guess(text).unwrap();
        assert_eq!((seen.kind(), seen.to_string().as_str()), (kind, value), "{text:?}");
    }

    #[test]
    fn the_kind_is_told_by_the_shape() {
        check("203.0.113.5", Kind::Ip, "203.0.113.5");
        check("2001:DB8::0001", Kind::Ip, "2001:db8::1");
        check("::ffff:203.0.113.5", Kind::Ip, "203.0.113.5");
        check("fe80::1%eth0", Kind::Ip, "fe80::1");
        check("Evil.Example", Kind::Domain, "evil.example");
        check("https://Evil.Example/A", Kind::Url, "https://evil.example/A");
        check("Mallory@Evil.Example", Kind::Email, "mallory@evil.example");
        check("Mallory@[192.0.2.5]", Kind::Email, "mallory@[192.0.2.5]");
        check("m@[IPv6:2001:DB8::5]", Kind::Email, "m@[ipv6:2001:db8::5]");
        check("D41D8CD98F00B204E9800998ECF8427E", Kind::Md5, "d41d8cd98f00b204e9800998ecf8427e");
        check("t13d1516h2_8daaf6152771_e5627efa2ab1", Kind::Ja4, "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn what_has_no_shape_is_refused() {
        for text in ["", "hello", "1234", "a@b@", "a@[b]", "a@[]", "999.1.1.1", "-", "t13d_1_2"] {
            assert!(Observable::guess(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn json_and_cbor_carry_the_same_text() {
        let seen = Observable::guess("2001:db8::1").unwrap();
        let json = serde_json::to_string(&seen).unwrap();
        assert_eq!(json, r#"{"kind":"ip","value":"2001:db8::1"}"#);
        let mut cbor = Vec::new();
        ciborium::into_writer(&seen, &mut cbor).unwrap();
        let back: Observable = ciborium::from_reader(cbor.as_slice()).unwrap();
        assert_eq!(back, seen);
    }
}

//! Domain names in normal form: lower case, IDNA A-labels, no trailing dot.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use crate::text::text_form;

/// RFC 1035 §2.3.4: 255 octets on the wire, which leaves 253 characters of text.
const NAME_BYTES_MAX: usize = 253;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;

/// A domain name in normal form. Only [`Domain::parse`] and [`Domain::from_wire`] make one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain(Box<str>);

/// Why a text is no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotADomain {
    /// Empty, or nothing but dots.
    #[error("empty name")]
    Empty,
    /// Longer than RFC 1035 allows.
    #[error("name longer than 253 characters or label longer than 63")]
    TooLong,
    /// An empty label, or a character that no host name carries.
    #[error("characters that a domain name cannot have")]
    Characters,
    /// Refused by UTS #46 (IDNA).
    #[error("not a valid international name (IDNA)")]
    Idna,
    /// Four numbers with dots: an address, not a name.
    #[error("an address, not a name")]
    Address,
}

impl Domain {
    /// Reads a name as people and programs write it: any case, U-labels or A-labels, a trailing dot.
    ///
    /// # Errors
    /// Says which rule of RFC 1035 or UTS #46 the text breaks. Underscores are allowed: real names have them.
    pub fn parse(text: &str) -> Result<Self, NotADomain> {
        let mut name = String::with_capacity(text.len());
        normalise(text, &mut name)?;
        Ok(Self(name.into_boxed_str()))
    }

    /// Reads a name seen on the wire, where any octet may stand in a label (RFC 2181 §11): letters are
    /// lowered, everything printable is kept, the spaces in the names of services (RFC 6763 §4.1.1) too. Names with
    /// control characters are refused.
    ///
    /// # Errors
    /// As [`Domain::parse`], without IDNA.
    pub fn from_wire(name: &[u8]) -> Result<Self, NotADomain> {
        let mut text = String::with_capacity(name.len());
        normalise_wire(name, &mut text)?;
        Ok(Self(text.into_boxed_str()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name itself, then each of its parents: `a.b.c`, `b.c`, `c`.
    pub fn with_parents(&self) -> impl Iterator<Item = &str> {
        with_parents(self.as_str())
    }
}

/// A name in normal form, then each of its parents.
pub fn with_parents(name: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(name), |name| name.split_once('.').map(|(_, parent)| parent))
}

/// Appends the normal form of a name to `into`, as [`Domain::parse`] reads it; plain names cost no allocation.
///
/// # Errors
/// As [`Domain::parse`]; what was appended until then is left there.
pub fn normalise(text: &str, into: &mut String) -> Result<(), NotADomain> {
    let start = into.len();
    let text = text.strip_suffix('.').unwrap_or(text);
    let plain = text.is_ascii() && !has_a_label(text.as_bytes());
    if text.len() > 4 * NAME_BYTES_MAX {
        return Err(NotADomain::TooLong);
    }
    if plain {
        push_lowered(text, into);
    } else {
        let ascii = idna::domain_to_ascii(text).map_err(|_| NotADomain::Idna)?;
        into.push_str(ascii.strip_suffix('.').unwrap_or(&ascii));
    }
    let name = into.get(start..).unwrap_or_default();
    let host_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    check_shape(name, host_name)?;
    if name.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err(NotADomain::Address);
    }
    Ok(())
}

/// Whether an A-label may be in it; most names have no two hyphens at all.
fn has_a_label(name: &[u8]) -> bool {
    name.windows(2).any(|two| two == b"--") && name.windows(4).any(|four| four.eq_ignore_ascii_case(b"xn--"))
}

/// Appends the normal form of a wire name to `into`, as [`Domain::from_wire`] reads it, without allocating.
///
/// # Errors
/// As [`Domain::from_wire`]; what was appended until then is left there.
pub fn normalise_wire(name: &[u8], into: &mut String) -> Result<(), NotADomain> {
    let start = into.len();
    let name = name.strip_suffix(b".").unwrap_or(name);
    if name.len() > NAME_BYTES_MAX {
        return Err(NotADomain::TooLong);
    }
    let name = std::str::from_utf8(name).map_err(|_| NotADomain::Characters)?;
    push_lowered(name, into);
    check_shape(into.get(start..).unwrap_or_default(), |byte| byte.is_ascii_graphic() || byte == b' ')
}

/// Appends a text with its ASCII letters lowered.
fn push_lowered(text: &str, into: &mut String) {
    let start = into.len();
    into.push_str(text);
    if let Some(pushed) = into.get_mut(start..) {
        pushed.make_ascii_lowercase();
    }
}

fn check_shape(name: &str, allowed: impl Fn(u8) -> bool) -> Result<(), NotADomain> {
    if name.is_empty() {
        return Err(NotADomain::Empty);
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(NotADomain::TooLong);
    }
    for label in name.split('.') {
        if label.len() > LABEL_BYTES_MAX {
            return Err(NotADomain::TooLong);
        }
        if label.is_empty() || !label.bytes().all(&allowed) {
            return Err(NotADomain::Characters);
        }
    }
    Ok(())
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads a name that is in normal form already, as bundles and hits carry it; wire names included.
impl FromStr for Domain {
    type Err = NotADomain;

    fn from_str(text: &str) -> Result<Self, NotADomain> {
        Self::parse(text).or_else(|_| Self::from_wire(text.as_bytes()))
    }
}

impl Borrow<str> for Domain {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

text_form!(Domain);

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Result<&str, NotADomain>) {
        assert_eq!(Domain::parse(text).as_ref().map(Domain::as_str), expected.as_ref().copied(), "{text:?}");
    }

    #[test]
    fn case_and_trailing_dot_do_not_matter() {
        check("Evil.Example.", Ok("evil.example"));
        check("_DMARC.Evil.Example", Ok("_dmarc.evil.example"));
    }

    #[test]
    fn international_names_become_a_labels() {
        check("città.example", Ok("xn--citt-3na.example"));
        check("XN--CITT-3NA.example", Ok("xn--citt-3na.example"));
    }

    #[test]
    fn an_a_label_that_hides_plain_ascii_is_refused() {
        check("xn--example-.org", Err(NotADomain::Idna)); // RUSTSEC-2024-0421
    }

    #[test]
    fn what_is_no_name_is_refused() {
        check("", Err(NotADomain::Empty));
        check(".", Err(NotADomain::Empty));
        check("a..b", Err(NotADomain::Characters));
        check("a b.example", Err(NotADomain::Characters));
        check("192.0.2.1", Err(NotADomain::Address));
        check(&"a.".repeat(200), Err(NotADomain::TooLong));
        check(&format!("{}.example", "a".repeat(64)), Err(NotADomain::TooLong));
    }

    #[test]
    fn a_name_is_followed_by_its_parents() {
        let domain = Domain::parse("a.b.example").unwrap();
        assert_eq!(domain.with_parents().collect::<Vec<_>>(), ["a.b.example", "b.example", "example"]);
    }

    #[test]
    fn wire_names_keep_odd_characters() {
        assert_eq!(Domain::from_wire(b"*.A/b.Example").unwrap().as_str(), "*.a/b.example");
        assert_eq!(Domain::from_wire(b"A b.example").unwrap().as_str(), "a b.example");
        assert_eq!(Domain::from_wire(b"a\tb.example"), Err(NotADomain::Characters));
    }
}

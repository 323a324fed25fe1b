//! Indicators that cover values that look alike: names with a wildcard, URLs below a path, parts of user agents.

use std::fmt;
use std::str::FromStr;

use crate::domain::Domain;
use crate::observable::NotObservable;
use crate::text::text_form;
use crate::url::{self, Url};

/// Shortest and longest part of a user agent, in bytes: a shorter one is in every second one.
const PART_BYTES: std::ops::RangeInclusive<usize> = 4..=256;

/// A name in normal form with `*` in labels left of a fixed ending of at least two labels. A `*` stands for any run
/// of characters of a label, an empty one included. Covers the names below as well.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wildcard(Box<str>);

impl Wildcard {
    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels right of the last one with a `*`: every name that it covers ends so.
    pub fn fixed_ending(&self) -> &str {
        let after = self.0.rfind('*').unwrap_or(0);
        let dot = self.0.get(after..).and_then(|rest| rest.find('.')).map_or(0, |at| after + at + 1);
        self.0.get(dot..).unwrap_or_default()
    }

    /// Whether it covers a name in normal form.
    pub fn covers(&self, name: &str) -> bool {
        let (mut labels, mut patterns) = (name.rsplit('.'), self.0.rsplit('.'));
        patterns.all(|pattern| labels.next().is_some_and(|label| label_fits(pattern, label)))
    }
}

/// Whether a label fits a pattern; linear in each, for a `*` takes the first place where its rest fits.
fn label_fits(pattern: &str, label: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == label };
    let Some(mut left) = label.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        let Some((_, after)) = left.split_once(part) else { return false };
        left = after;
    }
    true
}

impl FromStr for Wildcard {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        let wildcard = Self(name.into_boxed_str());
        let ending = wildcard.fixed_ending();
        let is_one = wildcard.0.contains('*') && ending.contains('.') && !ending.ends_with('.');
        // A digit in the place of each star tells whether the rest is a name.
        let shape = Domain::parse(&wildcard.0.replace('*', "0")).is_ok();
        if !is_one || !shape || !wildcard.0.is_ascii() || Domain::parse(ending).is_err() {
            return Err(NotObservable::Wildcard);
        }
        Ok(wildcard)
    }
}

/// `HOST[:PORT]/PATH` without scheme, query and last slash; covers whole segments of a path only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UrlPrefix(Box<str>);

impl UrlPrefix {
    /// The host, and the path without its last slash.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it covers a URL, given as [`Url::match_key`].
    pub fn covers(&self, match_key: &str) -> bool {
        let place = url::place(match_key);
        place.strip_prefix(self.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl FromStr for UrlPrefix {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        let text = text.strip_suffix('*').unwrap_or(text);
        let with_scheme = if has_scheme(text) { text.to_owned() } else { format!("any://{text}") };
        let url = Url::parse(&with_scheme)?;
        let key = url.match_key();
        let (host, path) = url::place(&key).split_once('/').ok_or(NotObservable::UrlPrefix)?;
        // A URL at the default port of its scheme names no port, so a prefix of any scheme names neither.
        let host = [":80", ":443"].into_iter().find_map(|port| host.strip_suffix(port)).unwrap_or(host);
        let path = path.trim_end_matches('/');
        if path.is_empty() || key.contains(['?', '*']) {
            return Err(NotObservable::UrlPrefix);
        }
        Ok(Self(format!("{host}/{path}").into_boxed_str()))
    }
}

/// Whether a text begins with a scheme; `://` may stand in a path as well.
pub(crate) fn has_scheme(text: &str) -> bool {
    text.split_once("://").is_some_and(|(scheme, _)| !scheme.contains('/'))
}

/// A part of user agents, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserAgentPart(Box<str>);

impl UserAgentPart {
    /// The text, its ASCII letters in lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for UserAgentPart {
    type Err = NotObservable;

    fn from_str(text: &str) -> Result<Self, NotObservable> {
        let text = text.to_ascii_lowercase();
        if !PART_BYTES.contains(&text.len()) || text.chars().any(char::is_control) {
            return Err(NotObservable::UserAgentPart);
        }
        Ok(Self(text.into_boxed_str()))
    }
}

macro_rules! written {
    ($type:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        text_form!($type);
    };
}
written!(Wildcard);
written!(UrlPrefix);
written!(UserAgentPart);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_covers_labels_that_fit_and_the_names_below() {
        let covers = |pattern: &str, name| pattern.parse::<Wildcard>().unwrap().covers(name);
        assert!(covers("login-*.evil.example", "login-7.evil.example"));
        assert!(covers("login-*.evil.example", "www.login-.evil.example"));
        assert!(!covers("login-*.evil.example", "login.evil.example"));
        assert!(!covers("login-*.evil.example", "evil.example"));
        assert!(!covers("login-*.evil.example", "login-7.notevil.example"));
        assert!(covers("a*b*c.evil.example", "aabbcc.evil.example"));
        assert!(!covers("a*b*c.evil.example", "acb.evil.example"));
        assert!(!covers("a*a.evil.example", "a.evil.example"));
        assert!(
            covers("*.x.evil.example", "a.x.evil.example") && !covers("*.x.evil.example", "x.evil.example")
        );
        assert_eq!("A-*.*.Evil.Example.".parse::<Wildcard>().unwrap().fixed_ending(), "evil.example");
    }

    #[test]
    fn a_wildcard_that_covers_too_much_or_nothing_is_none() {
        for text in [
            "*",
            "*.example",
            "evil.example",
            "evil.*",
            "a*.b..example",
            "a*b",
            "*.a b.example",
            "*.1.2",
            "a*.evil..",
        ] {
            assert!(text.parse::<Wildcard>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_prefix_covers_whole_segments_of_any_scheme() {
        let prefix: UrlPrefix = "https://Evil.example/Kit/*".parse().unwrap();
        assert_eq!(prefix.as_str(), "evil.example/Kit");
        let covers = |text: &str| prefix.covers(&Url::parse(text).unwrap().match_key());
        assert!(covers("http://evil.example/Kit") && covers("https://evil.example/Kit/a/b?c"));
        assert!(covers("http://evil.example/Kit?a=/b"));
        assert!(!covers("http://evil.example/Kitten") && !covers("http://evil.example/"));
        assert!(!covers("http://evil.example:8080/Kit") && !covers("http://a.example/?evil.example/Kit"));
        let redirect: UrlPrefix = "http://evil.example/to/http://a.example/*".parse().unwrap();
        assert_eq!(redirect.as_str(), "evil.example/to/http://a.example");
        assert_eq!(redirect.as_str().parse(), Ok(redirect));
        for text in ["evil.example:80/Kit", "evil.example:443/Kit/", "http://evil.example:443/Kit"] {
            assert_eq!(text.parse::<UrlPrefix>().unwrap().as_str(), "evil.example/Kit", "{text}");
        }
        for text in
            ["evil.example", "evil.example/", "evil.example//", "evil.example/a?b", "evil.example/a*b"]
        {
            assert!(text.parse::<UrlPrefix>().is_err(), "{text}");
        }
    }
}

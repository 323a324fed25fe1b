//! Indicators: what to look for, with the terms of STIX 2.1 and the markings of TLP 2.0.

mod fields;

use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use crate::defang::refang;
use crate::domain::Domain;
use crate::observable::{Kind, NotObservable, Observable};
use crate::pattern::{UrlPrefix, UserAgentPart, Wildcard, has_scheme};
use crate::text::{display, text_form};
use crate::time::Timestamp;

/// Longest identifier, threat, alert or source text, in bytes.
pub const TEXT_BYTES_MAX: usize = 256;

/// What an indicator looks for: an observable, a network, or an address with a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum LookFor {
    /// Exactly this value; a domain also covers all names below it.
    Observable(Observable),
    /// Addresses in a network, or at one port.
    Addresses(Addresses),
    /// Names, URLs, user agents or senders that look alike.
    Pattern(Pattern),
}

/// Indicators about addresses that are no single observable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Addresses {
    /// Every address of a network; host bits are zero.
    Network(#[serde(serialize_with = "display::serialize")] IpNet),
    /// One address at one port, TCP or UDP.
    IpPort(#[serde(serialize_with = "display::serialize")] SocketAddr),
}

/// The network with its host bits cleared; one of IPv4-mapped addresses is of IPv4, as the addresses seen are.
fn normal_network(network: IpNet) -> IpNet {
    let mapped = match network {
        IpNet::V6(v6) => v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(128 - 32)),
        IpNet::V4(_) => None,
    };
    let v4 = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    v4.map_or(network, IpNet::V4).trunc()
}

/// The endpoint without zone and flow label; an IPv4-mapped address is one of IPv4.
fn normal_endpoint(endpoint: SocketAddr) -> SocketAddr {
    SocketAddr::new(endpoint.ip().to_canonical(), endpoint.port())
}

/// Indicators about values that look alike.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(tag = "kind", content = "value", rename_all = "snake_case")]
pub enum Pattern {
    /// Names with `*` in some labels, such as `login-*.evil.example`, and all names below them.
    Wildcard(Wildcard),
    /// URLs below a path, whatever their scheme and query: `evil.example/kit` covers `http://evil.example/kit/a?b`.
    UrlPrefix(UrlPrefix),
    /// User agents that contain a text, whatever its case.
    UserAgentPart(UserAgentPart),
    /// E-mail addresses at a domain or below it; names in DNS do not count.
    EmailDomain(Domain),
}

impl LookFor {
    /// All names of [`LookFor::kind`]: those of [`Kind`] in their order, then those that only indicators have.
    pub const KINDS: [&str; 16] = [
        "ip",
        "domain",
        "url",
        "md5",
        "sha1",
        "sha256",
        "ja3",
        "ja4",
        "user_agent",
        "email",
        "network",
        "ip_port",
        "wildcard",
        "url_prefix",
        "user_agent_part",
        "email_domain",
    ];

    /// Reads a value as an analyst writes it: defanged or not, the kind told by its shape. `*.evil.example` is the
    /// domain, which covers the names below; `login-*.evil.example` is a wildcard, `evil.example/kit/*` a URL prefix
    /// with or without scheme, `@evil.example` and `*@evil.example` the domain of e-mail addresses.
    ///
    /// # Errors
    /// Says why it is none of the known shapes.
    pub fn guess(text: &str) -> Result<Self, NotObservable> {
        let text = &*refang(text);
        if let Some(network) = parse_network(text) {
            return Ok(network);
        }
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            return Ok(Self::Addresses(Addresses::IpPort(normal_endpoint(endpoint))));
        }
        if let Some(pattern) = guess_pattern(text) {
            return pattern.map(Self::Pattern);
        }
        let text = text.strip_prefix("*.").unwrap_or(text);
        Observable::guess(text).map(Self::Observable)
    }

    /// Reads a value whose kind the source names; `kind` is one of [`LookFor::kind`]'s names.
    ///
    /// # Errors
    /// Says what the value should have looked like.
    pub fn parse(kind: &str, text: &str) -> Result<Self, NotObservable> {
        let text = &*refang(text);
        match kind {
            "network" => parse_network(text).ok_or(NotObservable::Ip),
            "wildcard" => Ok(Self::Pattern(Pattern::Wildcard(text.parse()?))),
            "url_prefix" => Ok(Self::Pattern(Pattern::UrlPrefix(text.parse()?))),
            "user_agent_part" => Ok(Self::Pattern(Pattern::UserAgentPart(text.parse()?))),
            "email_domain" => Ok(Self::Pattern(Pattern::EmailDomain(Domain::parse(text)?))),
            "ip_port" => {
                let endpoint = text.parse::<SocketAddr>().map_err(|_| NotObservable::Ip)?;
                Ok(Self::Addresses(Addresses::IpPort(normal_endpoint(endpoint))))
            }
            _ => {
                let kind = Kind::ALL
                    .into_iter()
                    .find(|known| known.as_str() == kind)
                    .ok_or(NotObservable::Nothing)?;
                let text = if kind == Kind::Domain { text.strip_prefix("*.").unwrap_or(text) } else { text };
                Observable::parse(kind, text).map(Self::Observable)
            }
        }
    }

    /// The kind's name in JSON, in tables and in the store.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Observable(observable) => observable.kind().as_str(),
            Self::Addresses(Addresses::Network(_)) => "network",
            Self::Addresses(Addresses::IpPort(_)) => "ip_port",
            Self::Pattern(Pattern::Wildcard(_)) => "wildcard",
            Self::Pattern(Pattern::UrlPrefix(_)) => "url_prefix",
            Self::Pattern(Pattern::UserAgentPart(_)) => "user_agent_part",
            Self::Pattern(Pattern::EmailDomain(_)) => "email_domain",
        }
    }
}

/// The pattern that a text with `*`, or without a local part, stands for. A query or fragment may hold such characters
/// of its own: a URL that has one is taken as it stands.
fn guess_pattern(text: &str) -> Option<Result<Pattern, NotObservable>> {
    if let Some(domain) = text.strip_prefix("*@").or_else(|| text.strip_prefix('@')) {
        let domain = Domain::parse(domain).map_err(NotObservable::from);
        let is_one =
            |domain: Domain| domain.as_str().contains('.').then_some(domain).ok_or(NotObservable::Email);
        return Some(domain.and_then(is_one).map(Pattern::EmailDomain));
    }
    if text.contains(['?', '#']) {
        return None;
    }
    if text.ends_with("/*") {
        // Without a scheme, a folder looks the same unless its name has a dot.
        let is_one = has_scheme(text) || text.split('/').next().is_some_and(|host| host.contains(['.', '[']));
        return is_one.then(|| text.parse().map(Pattern::UrlPrefix));
    }
    let fixed = text.strip_prefix("*.").unwrap_or(text);
    (fixed.contains('*') && !text.contains(['/', '@'])).then(|| text.parse().map(Pattern::Wildcard))
}

/// A network with its host bits cleared. A network of one address is that address.
fn parse_network(text: &str) -> Option<LookFor> {
    let network = normal_network(text.parse::<IpNet>().ok()?);
    if network.prefix_len() == network.max_prefix_len() {
        let address: IpAddr = network.addr().to_canonical();
        return Some(LookFor::Observable(Observable::Ip(address)));
    }
    Some(LookFor::Addresses(Addresses::Network(network)))
}

/// The value in normal form, without its kind.
impl fmt::Display for LookFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Observable(observable) => observable.fmt(f),
            Self::Addresses(Addresses::Network(network)) => network.fmt(f),
            Self::Addresses(Addresses::IpPort(endpoint)) => endpoint.fmt(f),
            Self::Pattern(Pattern::Wildcard(wildcard)) => wildcard.fmt(f),
            Self::Pattern(Pattern::UrlPrefix(prefix)) => prefix.fmt(f),
            Self::Pattern(Pattern::UserAgentPart(part)) => part.fmt(f),
            Self::Pattern(Pattern::EmailDomain(domain)) => domain.fmt(f),
        }
    }
}

/// A word list with a fixed text form; a word that a newer desk uses is read as the default.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, default $default:ident, $($(#[$word_doc:meta])* $variant:ident = $word:literal,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type {
            $($(#[$word_doc])* $variant,)*
        }

        impl $type {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Which of [`Self::ALL`] it is.
            pub fn place(self) -> u8 {
                self as u8
            }

            /// The name in JSON, in the store and on pages.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl Default for $type {
            fn default() -> Self {
                Self::$default
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = Infallible;

            fn from_str(text: &str) -> Result<Self, Infallible> {
                let found = Self::ALL.iter().find(|word| word.as_str().eq_ignore_ascii_case(text));
                Ok(found.copied().unwrap_or_default())
            }
        }

        text_form!($type);
    };
}

words! {
    /// How bad it is when an indicator is seen.
    Severity, default Medium,
    /// Worth knowing.
    Low = "low",
    /// Worth a look.
    Medium = "medium",
    /// Act today.
    High = "high",
    /// Act at once.
    Critical = "critical",
}

words! {
    /// Traffic Light Protocol 2.0 (FIRST). `red` never leaves the desk.
    Tlp, default Amber,
    /// TLP:CLEAR.
    Clear = "clear",
    /// TLP:GREEN.
    Green = "green",
    /// TLP:AMBER.
    Amber = "amber",
    /// TLP:AMBER+STRICT.
    AmberStrict = "amber+strict",
    /// TLP:RED.
    Red = "red",
}

words! {
    /// What a match of an indicator does.
    Action, default Detect,
    /// It is a hit.
    Detect = "detect",
    /// It silences indicators on the same value that are no more specific: an entry of an allow-list.
    Allow = "allow",
}

/// One line of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Indicator {
    /// What to look for.
    #[serde(flatten)]
    pub look_for: LookFor,
    /// STIX identifier, `indicator--UUID`; in a plain list the value itself.
    pub id: String,
    /// What a match does.
    #[serde(skip_serializing_if = "Action::is_default")]
    pub action: Action,
    /// Malware, actor or campaign, as the source names it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub threat: String,
    /// How bad a sighting is.
    pub severity: Severity,
    /// How sure the source is, 0 to 100 (STIX 2.1 §3.2).
    pub confidence: u8,
    /// Who may see it.
    pub tlp: Tlp,
    /// Sightings before this time do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_from: Option<Timestamp>,
    /// Sightings at or after this time do not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_until: Option<Timestamp>,
    /// The alert it came with, such as `COSC-LAZIO-2026-0012`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub alert: String,
    /// File or feed it was read from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub source: String,
}

impl Action {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn confidence_default() -> u8 {
    50
}

impl Indicator {
    /// An indicator with nothing known but the value, as plain lists have them; its id is the value.
    pub fn plain(look_for: LookFor) -> Self {
        Self {
            id: look_for.to_string(),
            look_for,
            action: Action::Detect,
            threat: String::new(),
            severity: Severity::default(),
            confidence: confidence_default(),
            tlp: Tlp::default(),
            valid_from: None,
            valid_until: None,
            alert: String::new(),
            source: String::new(),
        }
    }

    /// Whether a sighting at this time counts.
    pub fn valid_at(&self, at: Timestamp) -> bool {
        self.valid_from.is_none_or(|from| from <= at) && self.valid_until.is_none_or(|until| at < until)
    }

    /// An entry of the allow-list with nothing known but the value, as plain lists have them after a `!`; its id
    /// is the value with the `!`, so that it is not taken for an indicator on the same value.
    pub fn allowed(look_for: LookFor) -> Self {
        Self { id: format!("!{look_for}"), action: Action::Allow, ..Self::plain(look_for) }
    }

    /// Reads one line of an indicator list: JSON as in a bundle, or a plain value, defanged or not, which a `!`
    /// before it puts on the allow-list. Empty lines and `#` comments give `None`.
    ///
    /// # Errors
    /// Says what is wrong with the line.
    pub fn from_list_line(line: &str) -> Option<Result<Self, LineError>> {
        let line = line.trim().trim_start_matches('\u{feff}');
        if line.is_empty() || line.starts_with('#') {
            return None;
        }
        if line.starts_with('{') {
            return Some(serde_json::from_str(line).map_err(|error| LineError::Json(error.to_string())));
        }
        let value = line.split_once(" #").map_or(line, |(value, _)| value).trim();
        let read = match value.strip_prefix('!') {
            Some(value) => LookFor::guess(value).map(Self::allowed),
            None => LookFor::guess(value).map(Self::plain),
        };
        Some(read.map_err(LineError::Value))
    }
}

/// What is wrong with a line of an indicator list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// A JSON line that is no indicator.
    #[error("not an indicator in JSON: {0}")]
    Json(String),
    /// A plain value of no known shape.
    #[error("{0}")]
    Value(NotObservable),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, kind: &str, value: &str) {
        let look_for = LookFor::guess(text).unwrap();
        assert_eq!((look_for.kind(), look_for.to_string().as_str()), (kind, value), "{text:?}");
        let json = serde_json::to_string(&Indicator::plain(look_for.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Indicator>(&json).unwrap().look_for, look_for, "{json}");
    }

    #[test]
    fn analysts_values_are_understood() {
        check("203.0.113[.]0/24", "network", "203.0.113.0/24");
        check("203.0.113.77/24", "network", "203.0.113.0/24");
        check("203.0.113.7/32", "ip", "203.0.113.7");
        check("2001:db8::/32", "network", "2001:db8::/32");
        check("::ffff:203.0.113.7/120", "network", "203.0.113.0/24");
        check("::ffff:203.0.113.7/128", "ip", "203.0.113.7");
        check("203.0.113.5:8443", "ip_port", "203.0.113.5:8443");
        check("[2001:db8::5]:443", "ip_port", "[2001:db8::5]:443");
        check("*.evil[.]example", "domain", "evil.example");
        check("hxxp://evil[.]example/a", "url", "http://evil.example/a");
        check("Login-*.evil[.]example", "wildcard", "login-*.evil.example");
        check("*.login-*.evil.example", "wildcard", "*.login-*.evil.example");
        check("evil[.]example/kit/*", "url_prefix", "evil.example/kit");
        check("hxxp://evil.example:8080/Kit/a/*", "url_prefix", "evil.example:8080/Kit/a");
        check("203.0.113.5/kit/*", "url_prefix", "203.0.113.5/kit");
        check("@evil[.]example", "email_domain", "evil.example");
        check("*[@]Evil.example", "email_domain", "evil.example");
        check("http://evil.example/a*b", "url", "http://evil.example/a*b");
        check("http://evil.example/?q=/*", "url", "http://evil.example/?q=/*");
    }

    #[test]
    fn a_line_of_another_program_is_brought_into_normal_form() {
        for (kind, value, normal) in [
            ("ip", "::ffff:203.0.113.5", "203.0.113.5"),
            ("network", "203.0.113.7/24", "203.0.113.0/24"),
            ("network", "::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("network", "::ffff:0.0.0.0/95", "::fffe:0:0/95"),
            ("ip_port", "[::ffff:203.0.113.5]:443", "203.0.113.5:443"),
            ("ip_port", "[fe80::1%3]:443", "[fe80::1]:443"),
        ] {
            let json = format!(r#"{{"kind":"{kind}","value":"{value}","id":"indicator--1"}}"#);
            let read: Indicator = serde_json::from_str(&json).unwrap();
            assert_eq!((read.look_for.kind(), &*read.look_for.to_string()), (kind, normal));
        }
    }

    #[test]
    fn validity_begins_at_from_and_ends_before_until() {
        let mut indicator = Indicator::plain(LookFor::guess("evil.example").unwrap());
        indicator.valid_from = Some(Timestamp::from_micros(10));
        indicator.valid_until = Some(Timestamp::from_micros(20));
        let valid = |at| indicator.valid_at(Timestamp::from_micros(at));
        assert_eq!([valid(9), valid(10), valid(19), valid(20)], [false, true, true, false]);
    }

    #[test]
    fn a_pattern_that_covers_too_much_is_refused_and_not_read_as_something_else() {
        for (text, error) in [
            ("*.*.example", NotObservable::Wildcard),
            ("*", NotObservable::Wildcard),
            ("evil.*", NotObservable::Wildcard),
            ("http://evil.example/*", NotObservable::UrlPrefix),
            ("evil.example/*", NotObservable::UrlPrefix),
            ("http://evil.example/a*b/*", NotObservable::UrlPrefix),
        ] {
            assert_eq!(LookFor::guess(text), Err(error), "{text}");
        }
        for text in [
            "some/folder/*",
            "@handle",
            "*@*.example",
            "@",
            "*@",
            "http://*.evil.example/kit/*",
            "*@a@evil.example",
        ] {
            assert!(LookFor::guess(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_exclamation_mark_puts_a_value_on_the_allow_list() {
        let read = |line| Indicator::from_list_line(line).unwrap().unwrap();
        let allowed = read("!www.good[.]example # ours");
        assert_eq!((allowed.action, allowed.id.as_str()), (Action::Allow, "!www.good.example"));
        assert_eq!(allowed.look_for, read("www.good.example").look_for);
        assert_eq!(read("! 203.0.113.0/24").action, Action::Allow);
        assert_eq!(read("good.example").action, Action::Detect);
        assert!(Indicator::from_list_line("!").unwrap().is_err());
        assert!(Indicator::from_list_line("!!good.example").unwrap().is_err());
    }

    #[test]
    fn comments_and_bad_lines_are_told_apart() {
        assert!(Indicator::from_list_line("# a comment").is_none());
        assert!(Indicator::from_list_line("   ").is_none());
        assert!(Indicator::from_list_line("evil.example # seen in mail").unwrap().is_ok());
        assert!(Indicator::from_list_line("???").unwrap().is_err());
        assert!(Indicator::from_list_line("{\"kind\":").unwrap().is_err());
    }
}

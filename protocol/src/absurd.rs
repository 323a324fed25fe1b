//! Indicators that would match what every town has, or what many people share: nobody means them, and a sensor that
//! took them would drown its operators. What only prose needs to be judged by stays with the desk's import.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use crate::indicator::{Addresses, LookFor, Pattern};
use crate::observable::Observable;
use crate::pattern::Wildcard;
use crate::suffix::{each_below_is_public_suffix, is_shared};
use crate::url::{Host, Url};

/// Registries give nobody a network wider than these; an indicator that covers one is a mistake.
const PREFIX_V4_MIN: u8 = 8;
const PREFIX_V6_MIN: u8 = 19;

/// Private addresses (RFC 1918) and those of carriers (RFC 6598).
const PRIVATE_V4: [Ipv4Net; 4] = [
    v4(Ipv4Addr::new(10, 0, 0, 0), 8),
    v4(Ipv4Addr::new(172, 16, 0, 0), 12),
    v4(Ipv4Addr::new(192, 168, 0, 0), 16),
    v4(Ipv4Addr::new(100, 64, 0, 0), 10),
];

/// Addresses that nobody meets on the internet: this network, loopback, link-local, benchmarks (RFC 2544), multicast,
/// and what was never given out. Those of documentation (RFC 5737, RFC 3849) pass: exercises use them.
const RESERVED_V4: [Ipv4Net; 6] = [
    v4(Ipv4Addr::new(0, 0, 0, 0), 8),
    v4(Ipv4Addr::new(127, 0, 0, 0), 8),
    v4(Ipv4Addr::new(169, 254, 0, 0), 16),
    v4(Ipv4Addr::new(198, 18, 0, 0), 15),
    v4(Ipv4Addr::new(224, 0, 0, 0), 4),
    v4(Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Names that end so stay inside a network (RFC 6761, RFC 8375, and what routers make up).
const LOCAL_ENDINGS: [&str; 9] =
    ["localhost", "local", "lan", "internal", "intranet", "home", "corp", "localdomain", "arpa"];

/// Hashes of the empty file.
const EMPTY_MD5: [u8; 16] = 0xd41d_8cd9_8f00_b204_e980_0998_ecf8_427e_u128.to_be_bytes();
const EMPTY_SHA1: [u8; 20] =
    *b"\xda\x39\xa3\xee\x5e\x6b\x4b\x0d\x32\x55\xbf\xef\x95\x60\x18\x90\xaf\xd8\x07\x09";
const EMPTY_SHA256: [u8; 32] = *b"\xe3\xb0\xc4\x42\x98\xfc\x1c\x14\x9a\xfb\xf4\xc8\x99\x6f\xb9\x24\
    \x27\xae\x41\xe4\x64\x9b\x93\x4c\xa4\x95\x99\x1b\x78\x52\xb8\x55";

/// User agents of everybody's browsers, without the versions; a part of them is in most requests.
const BROWSERS: [&str; 3] = [
    "mozilla/5.0 (windows nt 10.0; win64; x64) applewebkit/537.36 (khtml, like gecko) chrome/",
    "mozilla/5.0 (iphone; cpu iphone os 18_0 like mac os x) applewebkit/605.1.15 (khtml, like gecko) version/",
    "mozilla/5.0 (x11; linux x86_64; rv:109.0) gecko/20100101 firefox/",
];

/// A label with `*` under a public suffix needs so many letters of its own: `*.co.uk` is everybody.
const WILDCARD_LETTERS_MIN: usize = 4;

/// Why an indicator is absurd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Absurd {
    /// A network wider than /8, or /19 for IPv6.
    TooWide,
    /// An address that every town has, or a network that touches such addresses.
    Private,
    /// An address that nobody meets on the internet, or a network that touches such addresses.
    Reserved,
    /// An address of the town itself, or a network that touches its networks.
    OwnNetwork,
    /// A name without a dot.
    SingleLabel,
    /// A name that stays inside a network.
    LocalName,
    /// A name below which many different people have theirs.
    PublicSuffix,
    /// The hash of nothing.
    EmptyFile,
    /// A text that is in everybody's user agent.
    EveryBrowser,
}

impl Absurd {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::TooWide,
        Self::Private,
        Self::Reserved,
        Self::OwnNetwork,
        Self::SingleLabel,
        Self::LocalName,
        Self::PublicSuffix,
        Self::EmptyFile,
        Self::EveryBrowser,
    ];

    /// A word to count by; never renamed.
    pub fn word(self) -> &'static str {
        match self {
            Self::TooWide => "too_wide",
            Self::Private => "private",
            Self::Reserved => "reserved",
            Self::OwnNetwork => "own_network",
            Self::SingleLabel => "single_label",
            Self::LocalName => "local_name",
            Self::PublicSuffix => "public_suffix",
            Self::EmptyFile => "empty_file",
            Self::EveryBrowser => "every_browser",
        }
    }

    /// Why, in words.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::TooWide => "a network this large covers half the internet",
            Self::Private => "a private address, which every town has",
            Self::Reserved => "a reserved address, which nobody meets on the internet",
            Self::OwnNetwork => "an address of the town's own networks",
            Self::SingleLabel => "a single label: it would cover every name below it",
            Self::LocalName => "a name of local networks",
            Self::PublicSuffix => "a public suffix: the names below it belong to many different people",
            Self::EmptyFile => "the hash of the empty file",
            Self::EveryBrowser => "a text that is in the user agent of everybody's browser",
        }
    }
}

/// Why, in words.
impl fmt::Display for Absurd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.sentence())
    }
}

/// Why an indicator is absurd in a town with these networks of its own; `None` when it is not.
pub fn reason(look_for: &LookFor, own: &[IpNet]) -> Option<Absurd> {
    match look_for {
        LookFor::Observable(observable) => of_observable(observable, own),
        LookFor::Addresses(Addresses::Network(network)) => of_network(network, own),
        LookFor::Addresses(Addresses::IpPort(endpoint)) => of_network(&endpoint.ip().into(), own),
        LookFor::Pattern(Pattern::Wildcard(wildcard)) => of_wildcard(wildcard),
        LookFor::Pattern(Pattern::UrlPrefix(prefix)) => {
            of_host(Url::parse(&format!("http://{prefix}")).ok()?.host()?, own)
        }
        LookFor::Pattern(Pattern::EmailDomain(domain)) => of_name(domain.as_str()),
        LookFor::Pattern(Pattern::UserAgentPart(part)) => {
            let everywhere = BROWSERS.iter().any(|browser| browser.contains(part.as_str()));
            everywhere.then_some(Absurd::EveryBrowser)
        }
    }
}

fn of_observable(observable: &Observable, own: &[IpNet]) -> Option<Absurd> {
    let is_empty_file = match observable {
        Observable::Ip(address) => return of_network(&(*address).into(), own),
        Observable::Domain(domain) => return of_name(domain.as_str()),
        Observable::Url(url) => return of_host(url.host()?, own),
        Observable::Email(email) => {
            let (_, host) = email.as_str().rsplit_once('@')?;
            return if host.starts_with('[') { None } else { local(host) };
        }
        Observable::Md5(hash) => hash.0 == EMPTY_MD5,
        Observable::Sha1(hash) => hash.0 == EMPTY_SHA1,
        Observable::Sha256(hash) => hash.0 == EMPTY_SHA256,
        Observable::Ja3(_) | Observable::Ja4(_) | Observable::UserAgent(_) => false,
    };
    is_empty_file.then_some(Absurd::EmptyFile)
}

/// An address is the network of itself.
fn of_network(network: &IpNet, own: &[IpNet]) -> Option<Absurd> {
    let touches = |other: &IpNet| other.contains(network) || network.contains(other);
    let (too_wide, private, reserved) = match network {
        IpNet::V4(network) => {
            let touches = |other: &Ipv4Net| other.contains(network) || network.contains(other);
            let too_wide = network.prefix_len() < PREFIX_V4_MIN;
            (too_wide, PRIVATE_V4.iter().any(touches), RESERVED_V4.iter().any(touches))
        }
        IpNet::V6(network) => {
            // RFC 4291 §2.4: global unicast is 2000::/3 to this day. Narrower than that, the first address tells.
            let [first, ..] = network.network().segments();
            let (unique_local, global) = (first & 0xfe00 == 0xfc00, first & 0xe000 == 0x2000);
            (network.prefix_len() < PREFIX_V6_MIN, unique_local, !global)
        }
    };
    [
        (too_wide, Absurd::TooWide),
        (private, Absurd::Private),
        (reserved, Absurd::Reserved),
        (own.iter().any(touches), Absurd::OwnNetwork),
    ]
    .into_iter()
    .find_map(|(is_so, why)| is_so.then_some(why))
}

/// What is looked for at a host covers that host at most: a storage service is a public suffix, and a place in it is not.
fn of_host(host: Host, own: &[IpNet]) -> Option<Absurd> {
    match host {
        Host::Ip(address) => of_network(&IpAddr::to_canonical(&address).into(), own),
        Host::Domain(domain) => local(domain.as_str()),
    }
}

fn of_name(name: &str) -> Option<Absurd> {
    local(name).or_else(|| is_shared(name).then_some(Absurd::PublicSuffix))
}

fn local(name: &str) -> Option<Absurd> {
    let ending = name.rsplit('.').next().unwrap_or_default();
    if LOCAL_ENDINGS.contains(&ending) {
        return Some(Absurd::LocalName);
    }
    (ending == name).then_some(Absurd::SingleLabel)
}

/// The label that people register tells whether a pattern is about somebody: `login-*.co.uk` is, `*.co.uk` is not.
fn of_wildcard(wildcard: &Wildcard) -> Option<Absurd> {
    let ending = wildcard.fixed_ending();
    if let Some(why) = local(ending) {
        return Some(why);
    }
    if !is_shared(ending) {
        return None;
    }
    let mut labels = wildcard.as_str().strip_suffix(ending)?.strip_suffix('.')?.rsplit('.');
    let registered = labels.nth(usize::from(each_below_is_public_suffix(ending))).unwrap_or_default();
    let letters = registered.bytes().filter(u8::is_ascii_alphanumeric).count();
    (letters < WILDCARD_LETTERS_MIN).then_some(Absurd::PublicSuffix)
}

const fn v4(address: Ipv4Addr, prefix: u8) -> Ipv4Net {
    Ipv4Net::new_assert(address, prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look_for(value: &str) -> LookFor {
        let (kind, value) = value.split_once(' ').unwrap_or(("", value));
        let parsed = if kind.is_empty() { LookFor::guess(value) } else { LookFor::parse(kind, value) };
        parsed.unwrap_or_else(|error| panic!("{kind} {value}: {error}"))
    }

    fn check(expected: Option<Absurd>, values: &[&str]) {
        let own = ["203.0.113.64/26".parse().unwrap(), "2001:db8:5::/48".parse().unwrap()];
        for value in values {
            assert_eq!(reason(&look_for(value), &own), expected, "{value}");
        }
    }

    #[test]
    fn what_covers_half_the_internet_is_absurd() {
        check(Some(Absurd::TooWide), &["0.0.0.0/0", "203.0.0.0/7", "2000::/3", "::/0", "2001:c000::/18"]);
        check(None, &["198.51.0.0/16", "8.0.0.0/8", "2a00:e000::/19"]);
    }

    #[test]
    fn what_every_town_has_is_absurd() {
        check(
            Some(Absurd::Private),
            &[
                "10.1.2.3",
                "100.64.0.1",
                "fd00::1",
                "172.16.0.0/12",
                "172.0.0.0/8",
                "192.168.1.1:80",
                "fd00::/32",
            ],
        );
        check(
            Some(Absurd::Private),
            &[
                "http://192.168.1.1/a",
                "url_prefix 10.0.0.1/a",
                "http://[::ffff:10.0.0.1]/",
                "::ffff:10.0.0.1",
            ],
        );
        check(
            Some(Absurd::LocalName),
            &["router.lan", "http://localhost/a", "1.0.168.192.in-addr.arpa", "wpad.local"],
        );
        check(
            Some(Absurd::LocalName),
            &["wildcard *.town.lan", "email_domain town.local", "email root@localhost"],
        );
        check(
            Some(Absurd::SingleLabel),
            &["domain com", "domain evil", "http://evil/a", "email_domain evil"],
        );
    }

    #[test]
    fn what_nobody_meets_is_absurd() {
        check(
            Some(Absurd::Reserved),
            &[
                "0.0.0.0",
                "127.0.0.1",
                "169.254.1.1",
                "224.0.0.1",
                "255.255.255.255",
                "198.19.0.1",
                "::1",
                "fe80::1",
            ],
        );
        check(
            Some(Absurd::Reserved),
            &["169.0.0.0/8", "198.0.0.0/8", "ff02::/32", "http://127.0.0.1:8080/a"],
        );
        check(
            Some(Absurd::EmptyFile),
            &[
                "d41d8cd98f00b204e9800998ecf8427e",
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ],
        );
    }

    #[test]
    fn the_towns_own_networks_are_absurd_there() {
        check(
            Some(Absurd::OwnNetwork),
            &["203.0.113.65", "203.0.113.0/24", "203.0.113.127/32", "203.0.113.80/30", "203.0.113.70:443"],
        );
        check(
            Some(Absurd::OwnNetwork),
            &["http://203.0.113.70/a", "url_prefix 203.0.113.70:8080/a", "2001:db8:5::1", "2001:db8::/32"],
        );
        check(None, &["203.0.113.63", "203.0.113.128/25", "2001:db8:6::1", "http://203.0.113.5/a"]);
        assert_eq!(reason(&look_for("203.0.113.65"), &[]), None);
    }

    #[test]
    fn what_many_people_share_is_absurd() {
        check(
            Some(Absurd::PublicSuffix),
            &["co.uk", "ddns.net", "gov.it", "github.io", "any.ck", "xn--55qx5d.cn"],
        );
        check(Some(Absurd::PublicSuffix), &["compute.amazonaws.com", "email_domain co.uk"]);
        check(
            Some(Absurd::PublicSuffix),
            &["wildcard *.co.uk", "wildcard *.*.co.uk", "wildcard a*.github.io"],
        );
        check(
            Some(Absurd::PublicSuffix),
            &["wildcard evil-*.*.github.io", "wildcard login-*.compute.amazonaws.com"],
        );
        check(None, &["evil.co.uk", "www.ck", "evil.ddns.net", "city.kobe.jp", "email_domain evil.co.uk"]);
        check(
            None,
            &[
                "wildcard login-*.github.io",
                "wildcard login-*.*.compute.amazonaws.com",
                "wildcard *.evil.co.uk",
                "wildcard *.evil.example",
            ],
        );
        // A place at a shared host is one person's.
        check(
            None,
            &["https://s3.amazonaws.com/evil/a", "url_prefix s3.amazonaws.com/evil", "email a@github.io"],
        );
    }

    #[test]
    fn what_every_browser_says_is_absurd() {
        check(
            Some(Absurd::EveryBrowser),
            &["user_agent_part Mozilla/5.0", "user_agent_part Windows", "user_agent_part Gecko"],
        );
        check(None, &["user_agent_part EvilBot/1", "user_agent_part python-requests"]);
    }

    #[test]
    fn everything_else_is_looked_for() {
        check(
            None,
            &[
                "203.0.113.5",
                "198.51.100.0/24",
                "2001:db8:7::5",
                "203.0.113.5:443",
                "evil.example",
                "abcdefghijklmnop.onion",
                "evil.nosuchtld",
                "http://evil.example/a.exe",
                "url_prefix evil.example/kit",
                "mallory@evil.example",
                "mallory@[192.0.2.5]",
                "00000000000000000000000000000001",
                "ja3 d41d8cd98f00b204e9800998ecf8427e",
                "user_agent Mozilla/5.0",
            ],
        );
    }

    #[test]
    fn each_reason_has_a_word_of_its_own_and_a_sentence() {
        let words: std::collections::HashSet<_> = Absurd::ALL.map(Absurd::word).into();
        let sentences: std::collections::HashSet<_> = Absurd::ALL.map(|why| why.to_string()).into();
        assert_eq!((words.len(), sentences.len()), (Absurd::ALL.len(), Absurd::ALL.len()));
    }
}

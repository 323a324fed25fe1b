//! The indicators in force, arranged so that a value is compared with all of them by a few look-ups.
//!
//! Maps have a random seed: neither a bundle nor traffic can choose colliding keys.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use foldhash::fast::RandomState;
use hashbrown::{Equivalent, HashMap};
use ipnet::IpNet;
use protocol::domain::with_parents;
use protocol::indicator::Addresses;
use protocol::{Indicator, LookFor, Observable, Serial, Timestamp};

use crate::sighting::Wants;

/// End of a chain of indicators on one value; also the most indicators a matcher holds.
const NONE: u32 = u32::MAX;

/// A set of indicators to compare with.
#[derive(Default)]
pub struct Matcher {
    serial: Serial,
    entries: Vec<Entry>,
    addresses: Table<IpAddr>,
    endpoints: Table<SocketAddr>,
    /// By prefix length, longest last.
    networks_v4: BTreeMap<u8, Table<u32>>,
    networks_v6: BTreeMap<u8, Table<u128>>,
    domains: Table<Box<str>>,
    urls: Table<Box<str>>,
    emails: Table<Box<str>>,
    user_agents: Table<Box<str>>,
    ja4: Table<Box<str>>,
    md5: Table<[u8; 16]>,
    ja3: Table<[u8; 16]>,
    sha1: Table<[u8; 20]>,
    sha256: Table<[u8; 32]>,
}

struct Entry {
    id: Box<str>,
    valid_from: i64,
    valid_until: i64,
    /// The next indicator on the same value.
    next: u32,
}

/// A value in normal form, as it is compared.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Normal<'a> {
    /// An address, and the port beside it.
    Ip(IpAddr, Option<u16>),
    Domain(&'a str),
    /// [`protocol::url::match_key`] of a URL.
    UrlKey(&'a str),
    Email(&'a str),
    UserAgent(&'a str),
    Ja4(&'a str),
    Md5([u8; 16]),
    Ja3([u8; 16]),
    Sha1([u8; 20]),
    Sha256([u8; 32]),
}

/// Indicators that a value matched, the closest first.
pub(crate) type Found = Vec<u32>;

impl Matcher {
    /// A matcher that matches nothing.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Arranges a set of indicators. `serial` is the bundle's number, 0 for a plain list.
    pub fn build(serial: Serial, indicators: impl IntoIterator<Item = Indicator>) -> Self {
        let mut matcher = Self { serial, ..Self::default() };
        for indicator in indicators {
            matcher.insert(indicator);
        }
        matcher
    }

    /// How many indicators it holds.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of the bundle it was built from.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    fn insert(&mut self, indicator: Indicator) {
        let Some(number) = u32::try_from(self.entries.len()).ok().filter(|number| *number != NONE) else {
            return;
        };
        let next = match indicator.look_for {
            LookFor::Addresses(Addresses::IpPort(endpoint)) => self.endpoints.insert(endpoint, number),
            LookFor::Addresses(Addresses::Network(IpNet::V4(network))) => {
                let table = self.networks_v4.entry(network.prefix_len()).or_default();
                table.insert(network.network().to_bits(), number)
            }
            LookFor::Addresses(Addresses::Network(IpNet::V6(network))) => {
                let table = self.networks_v6.entry(network.prefix_len()).or_default();
                table.insert(network.network().to_bits(), number)
            }
            LookFor::Observable(observable) => match observable {
                Observable::Ip(address) => self.addresses.insert(address, number),
                Observable::Domain(domain) => self.domains.insert(domain.as_str().into(), number),
                Observable::Url(url) => self.urls.insert(Box::from(&*url.match_key()), number),
                Observable::Email(email) => self.emails.insert(email.as_str().into(), number),
                Observable::UserAgent(agent) => self.user_agents.insert(agent.as_str().into(), number),
                Observable::Ja4(ja4) => self.ja4.insert(ja4.as_str().into(), number),
                Observable::Md5(digest) => self.md5.insert(digest.0, number),
                Observable::Ja3(digest) => self.ja3.insert(digest.0, number),
                Observable::Sha1(digest) => self.sha1.insert(digest.0, number),
                Observable::Sha256(digest) => self.sha256.insert(digest.0, number),
            },
            LookFor::Pattern(_) => NONE,
        };
        self.entries.push(Entry {
            id: indicator.id.into_boxed_str(),
            valid_from: indicator.valid_from.map_or(i64::MIN, Timestamp::as_micros),
            valid_until: indicator.valid_until.map_or(i64::MAX, Timestamp::as_micros),
            next,
        });
    }

    /// Identifier of an indicator that was found.
    pub(crate) fn id(&self, number: u32) -> &str {
        self.entry(number).map_or("", |entry| &entry.id)
    }

    /// What of the kinds that cost work to make it holds.
    pub(crate) fn wants(&self) -> Wants {
        Wants {
            ja3: !self.ja3.is_empty(),
            ja4: !self.ja4.is_empty(),
            md5: !self.md5.is_empty(),
            sha1: !self.sha1.is_empty(),
            sha256: !self.sha256.is_empty(),
        }
    }

    /// All indicators that cover a value at a time: the value itself, then wider and wider ones.
    pub(crate) fn look_up(&self, value: Normal<'_>, at: Timestamp) -> Found {
        let mut found = Found::new();
        if self.entries.is_empty() {
            return found;
        }
        let mut add = |head: Option<u32>| self.follow(head, at, &mut found);
        match value {
            Normal::Ip(address, port) => {
                if let Some(port) = port.filter(|_| !self.endpoints.is_empty()) {
                    add(self.endpoints.get(&SocketAddr::new(address, port)));
                }
                add(self.addresses.get(&address));
                self.networks_of(address, &mut add);
            }
            Normal::Domain(domain) => {
                if !self.domains.is_empty() {
                    with_parents(domain).for_each(|name| add(self.domains.get(name)));
                }
            }
            Normal::UrlKey(key) => add(self.urls.get(key)),
            Normal::Email(email) => add(self.emails.get(email)),
            Normal::UserAgent(agent) => add(self.user_agents.get(agent)),
            Normal::Ja4(ja4) => add(self.ja4.get(ja4)),
            Normal::Md5(digest) => add(self.md5.get(&digest)),
            Normal::Ja3(digest) => add(self.ja3.get(&digest)),
            Normal::Sha1(digest) => add(self.sha1.get(&digest)),
            Normal::Sha256(digest) => add(self.sha256.get(&digest)),
        }
        found
    }

    fn networks_of(&self, address: IpAddr, add: &mut impl FnMut(Option<u32>)) {
        match address {
            IpAddr::V4(v4) => {
                for (length, table) in self.networks_v4.iter().rev() {
                    let mask = u32::MAX.checked_shl(32 - u32::from(*length)).unwrap_or(0);
                    add(table.get(&(v4.to_bits() & mask)));
                }
            }
            IpAddr::V6(v6) => {
                for (length, table) in self.networks_v6.iter().rev() {
                    let mask = u128::MAX.checked_shl(128 - u32::from(*length)).unwrap_or(0);
                    add(table.get(&(v6.to_bits() & mask)));
                }
            }
        }
    }

    /// Adds the valid indicators of a chain, in the order of the bundle.
    fn follow(&self, head: Option<u32>, at: Timestamp, found: &mut Found) {
        let Some(mut number) = head else { return };
        let first = found.len();
        while let Some(entry) = self.entry(number) {
            if (entry.valid_from..entry.valid_until).contains(&at.as_micros()) {
                found.push(number);
            }
            number = entry.next;
        }
        if let Some(group) = found.get_mut(first..) {
            group.sort_unstable();
        }
    }

    fn entry(&self, number: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(number).ok()?)
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher {{ serial: {}, indicators: {} }}", self.serial, self.entries.len())
    }
}

/// A map from a value to the head of its chain of indicators.
struct Table<K>(HashMap<K, u32, RandomState>);

impl<K> Default for Table<K> {
    fn default() -> Self {
        Self(HashMap::with_hasher(RandomState::default()))
    }
}

impl<K: Eq + Hash> Table<K> {
    /// Puts an indicator at the head of the value's chain and gives back what was there.
    fn insert(&mut self, key: K, number: u32) -> u32 {
        self.0.insert(key, number).unwrap_or(NONE)
    }

    fn get<Q: Hash + Equivalent<K> + ?Sized>(&self, key: &Q) -> Option<u32> {
        if self.0.is_empty() {
            return None;
        }
        self.0.get(key).copied()
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::Scratch;
    use crate::sighting::Seen;

    fn matcher(values: &[&str]) -> Matcher {
        let indicators = values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
        Matcher::build(Serial(1), indicators)
    }

    fn find(matcher: &Matcher, seen: &str, port: Option<u16>, at: i64) -> Found {
        let seen = Observable::guess(seen).unwrap();
        Scratch::default()
            .normal(Seen::Normal(&seen), port, |value| matcher.look_up(value, Timestamp::from_micros(at)))
            .unwrap()
    }

    fn check(indicators: &[&str], seen: &str, port: Option<u16>, expected: &[&str]) {
        let matcher = matcher(indicators);
        let found = find(&matcher, seen, port, 5);
        let ids: Vec<&str> = found.iter().map(|number| matcher.id(*number)).collect();
        assert_eq!(ids, expected, "{seen}");
    }

    #[test]
    fn an_address_matches_itself_and_all_networks_around_it_the_closest_first() {
        let set = ["203.0.0.0/8", "203.0.113.0/24", "203.0.113.5", "198.51.100.0/24"];
        check(&set, "203.0.113.5", None, &["203.0.113.5", "203.0.113.0/24", "203.0.0.0/8"]);
        check(&set, "203.0.112.5", None, &["203.0.0.0/8"]);
        check(&set, "192.0.2.1", None, &[]);
        check(
            &["2001:db8::/32", "2001:db8:1::/48", "::/0"],
            "2001:db8:1::9",
            None,
            &["2001:db8:1::/48", "2001:db8::/32", "::/0"],
        );
        check(&["0.0.0.0/0"], "203.0.113.5", None, &["0.0.0.0/0"]);
    }

    #[test]
    fn an_endpoint_matches_only_at_its_port() {
        check(&["203.0.113.5:8443"], "203.0.113.5", Some(8443), &["203.0.113.5:8443"]);
        check(&["203.0.113.5:8443"], "203.0.113.5", Some(443), &[]);
        check(&["203.0.113.5:8443"], "203.0.113.5", None, &[]);
    }

    #[test]
    fn a_domain_covers_the_names_below_it_and_no_look_alike() {
        check(&["evil.example"], "a.b.evil.example", None, &["evil.example"]);
        check(&["evil.example"], "notevil.example", None, &[]);
        check(&["a.evil.example"], "evil.example", None, &[]);
        check(
            &["evil.example", "b.evil.example"],
            "a.b.evil.example",
            None,
            &["b.evil.example", "evil.example"],
        );
    }

    #[test]
    fn urls_match_without_fragment_and_with_or_without_a_last_slash_on_the_host() {
        check(&["http://evil.example"], "http://EVIL.example/#top", None, &["http://evil.example"]);
        check(&["http://evil.example/a"], "http://evil.example/a?b", None, &[]);
    }

    #[test]
    fn hashes_agents_and_addresses_of_mail_match_exactly() {
        check(&["mallory@evil.example"], "Mallory@evil.example", None, &["mallory@evil.example"]);
        let md5 = "d41d8cd98f00b204e9800998ecf8427e";
        check(&[md5], &md5.to_uppercase(), None, &[md5]);
    }

    #[test]
    fn only_what_is_valid_at_the_time_counts_and_twins_are_all_named() {
        let mut indicators: Vec<Indicator> =
            ["a", "b", "c"].map(|_| Indicator::plain(LookFor::guess("evil.example").unwrap())).into();
        for (indicator, id) in indicators.iter_mut().zip(["one", "two", "three"]) {
            indicator.id = id.to_owned();
        }
        indicators[1].valid_until = Some(Timestamp::from_micros(10));
        let matcher = Matcher::build(Serial(1), indicators);
        let ids = |at| {
            let found = find(&matcher, "evil.example", None, at);
            found.iter().map(|number| matcher.id(*number).to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(9), ["one", "two", "three"]);
        assert_eq!(ids(10), ["one", "three"]);
    }
}

//! Under which hashes a line is stored, and which hashes a value is looked up by.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Value;
use super::hash::{Hasher, Tag};
use crate::bundle::Revocation;
use crate::indicator::{Addresses, LookFor, Pattern};
use crate::observable::Observable;
use crate::url;

/// Keys that share a filter: those that are looked up together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Addresses,
    Networks,
    Names,
    Urls,
    Digests,
    Texts,
}

/// How many classes there are.
pub const CLASSES: usize = 6;

/// A key of the index.
pub type Key = (Class, u64);

/// What is stored at all, so that a look-up leaves out what cannot be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Bit N: there are names of N labels; bit 63 stands for all from 63 on.
    labels: u64,
    /// Bit N: there are paths of N segments; bit 63 stands for all from 63 on.
    segments: u64,
    /// Lengths of the networks of version four.
    lengths_v4: Vec<u8>,
    /// Lengths of the networks of version six.
    lengths_v6: Vec<u8>,
    /// Whether an address is looked for at one port only.
    endpoints: bool,
}

fn bit(number: u32) -> u64 {
    1 << number.min(63)
}

/// Names of which a stored name is an ending.
fn name_of(look_for: &LookFor) -> Option<&str> {
    match look_for {
        LookFor::Observable(Observable::Domain(name)) | LookFor::Pattern(Pattern::EmailDomain(name)) => {
            Some(name.as_str())
        }
        LookFor::Pattern(Pattern::Wildcard(names)) => Some(names.fixed_ending()),
        _ => None,
    }
}

impl Shape {
    /// Notes what is stored.
    pub fn note(&mut self, look_for: &LookFor) {
        if let Some(name) = name_of(look_for) {
            self.labels |= bit(count(name, '.') + 1);
        }
        match look_for {
            LookFor::Pattern(Pattern::UrlPrefix(prefix)) => self.segments |= bit(count(prefix.as_str(), '/')),
            LookFor::Addresses(Addresses::IpPort(_)) => self.endpoints = true,
            LookFor::Addresses(Addresses::Network(network)) => {
                let lengths =
                    if network.addr().is_ipv4() { &mut self.lengths_v4 } else { &mut self.lengths_v6 };
                if let Err(at) = lengths.binary_search(&network.prefix_len()) {
                    lengths.insert(at, network.prefix_len());
                }
            }
            _ => {}
        }
    }

    /// Whether a name of one label is stored.
    pub fn has_single_labels(&self) -> bool {
        self.labels & bit(1) != 0
    }

    /// Whether it can have been noted: each length once, and none beyond an address.
    pub fn is_possible(&self) -> bool {
        let in_order = |lengths: &[u8], most| {
            lengths.is_sorted_by(|one, next| one < next) && lengths.last().is_none_or(|last| *last <= most)
        };
        in_order(&self.lengths_v4, 32) && in_order(&self.lengths_v6, 128)
    }

    /// Calls with every key under which an indicator on a value may be stored, except that of networks.
    pub fn each_key(&self, hasher: &Hasher, value: Value<'_>, mut each: impl FnMut(Key)) {
        match value {
            Value::Ip(address, port) => {
                each((Class::Addresses, address_hash(hasher, address)));
                if let Some(port) = port.filter(|_| self.endpoints) {
                    each((Class::Addresses, endpoint_hash(hasher, SocketAddr::new(address, port))));
                }
            }
            Value::Domain(name) => self.each_name(hasher, name.as_bytes(), &mut each),
            Value::Email(email) => {
                each((Class::Texts, hasher.bytes(Tag::Email, email.as_bytes())));
                self.each_name(hasher, domain_of(email).as_bytes(), &mut each);
            }
            Value::UrlKey(key) => {
                each((Class::Urls, hasher.bytes(Tag::Url, key.as_bytes())));
                if self.segments != 0 {
                    hasher.beginnings(Tag::UrlPrefix, url::place(key), |segments, hash| {
                        if self.segments & bit(segments) != 0 {
                            each((Class::Urls, hash));
                        }
                    });
                }
            }
            Value::UserAgent(agent) => each(key_of_agent(hasher, agent.as_bytes())),
            Value::Ja4(ja4) => each((Class::Texts, hasher.bytes(Tag::Ja4, ja4.as_bytes()))),
            Value::Md5(digest) => each((Class::Digests, hasher.bytes(Tag::Md5, &digest))),
            Value::Ja3(digest) => each((Class::Digests, hasher.bytes(Tag::Ja3, &digest))),
            Value::Sha1(digest) => each((Class::Digests, hasher.bytes(Tag::Sha1, &digest))),
            Value::Sha256(digest) => each((Class::Digests, hasher.bytes(Tag::Sha256, &digest))),
        }
    }

    /// Calls with the key of a name in normal form and of each of its parents that may be stored.
    #[inline]
    pub fn each_name(&self, hasher: &Hasher, name: &[u8], each: &mut impl FnMut(Key)) {
        hasher.parents(Tag::Name, name, |labels, hash| {
            if self.labels & bit(labels) != 0 {
                each((Class::Names, hash));
            }
        });
    }

    /// As [`Shape::each_name`] for a name of at most 64 bytes; bit N of `dots` tells of byte N.
    #[inline]
    pub fn each_dotted(&self, hasher: &Hasher, (name, dots): (&[u8], u64), mut each: impl FnMut(Key)) {
        hasher.dotted_parents(Tag::Name, (name, dots), |labels, hash| {
            if self.labels & bit(labels) != 0 {
                each((Class::Names, hash));
            }
        });
    }

    /// Calls with the key of every network that covers an address and whose length is stored.
    pub fn each_network(&self, hasher: &Hasher, address: IpAddr, mut each: impl FnMut(Key)) {
        let lengths = if address.is_ipv4() { &self.lengths_v4 } else { &self.lengths_v6 };
        for length in lengths.iter().rev() {
            if let Ok(network) = IpNet::new(address, *length) {
                each((Class::Networks, network_hash(hasher, &network.trunc())));
            }
        }
    }
}

fn count(text: &str, separator: char) -> u32 {
    u32::try_from(text.matches(separator).count()).unwrap_or(u32::MAX)
}

fn domain_of(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The key under which a line about a value is stored. An address with a port is also stored under the address in
/// the filter, which is asked first.
pub fn key_of(hasher: &Hasher, look_for: &LookFor) -> Key {
    let by_name = |name: &str| {
        let mut last = 0;
        hasher.parents(Tag::Name, name.as_bytes(), |_, hash| last = hash);
        (Class::Names, last)
    };
    let text = |class, tag, text: &str| (class, hasher.bytes(tag, text.as_bytes()));
    match look_for {
        LookFor::Addresses(Addresses::Network(network)) => (Class::Networks, network_hash(hasher, network)),
        LookFor::Addresses(Addresses::IpPort(endpoint)) => {
            (Class::Addresses, endpoint_hash(hasher, *endpoint))
        }
        LookFor::Pattern(Pattern::Wildcard(names)) => by_name(names.fixed_ending()),
        LookFor::Pattern(Pattern::EmailDomain(name)) => by_name(name.as_str()),
        LookFor::Pattern(Pattern::UrlPrefix(prefix)) => {
            let mut last = 0;
            hasher.beginnings(Tag::UrlPrefix, prefix.as_str(), |_, hash| last = hash);
            (Class::Urls, last)
        }
        LookFor::Pattern(Pattern::UserAgentPart(part)) => {
            text(Class::Texts, Tag::UserAgentPart, part.as_str())
        }
        LookFor::Observable(observable) => match observable {
            Observable::Ip(address) => (Class::Addresses, address_hash(hasher, *address)),
            Observable::Domain(name) => by_name(name.as_str()),
            Observable::Url(url) => text(Class::Urls, Tag::Url, &url.match_key()),
            Observable::Email(email) => text(Class::Texts, Tag::Email, email.as_str()),
            Observable::UserAgent(agent) => key_of_agent(hasher, agent.as_str().as_bytes()),
            Observable::Ja4(ja4) => text(Class::Texts, Tag::Ja4, ja4.as_str()),
            Observable::Md5(digest) => (Class::Digests, hasher.bytes(Tag::Md5, &digest.0)),
            Observable::Ja3(digest) => (Class::Digests, hasher.bytes(Tag::Ja3, &digest.0)),
            Observable::Sha1(digest) => (Class::Digests, hasher.bytes(Tag::Sha1, &digest.0)),
            Observable::Sha256(digest) => (Class::Digests, hasher.bytes(Tag::Sha256, &digest.0)),
        },
    }
}

/// The key of a user agent.
pub fn key_of_agent(hasher: &Hasher, agent: &[u8]) -> Key {
    (Class::Texts, hasher.bytes(Tag::UserAgent, agent))
}

/// The key of a revocation.
pub fn key_of_revocation(hasher: &Hasher, revocation: &Revocation) -> Key {
    match revocation {
        Revocation::Alert(alert) => (Class::Texts, hasher.bytes(Tag::RevokedAlert, alert.as_bytes())),
        Revocation::Indicator(id) => (Class::Texts, hasher.bytes(Tag::RevokedIndicator, id.as_bytes())),
    }
}

fn address_hash(hasher: &Hasher, address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(address) => hasher.number(Tag::Ip4, u64::from(address.to_bits())),
        IpAddr::V6(address) => {
            let (high, low) = halves(address.to_bits());
            hasher.numbers(Tag::Ip6, high, low)
        }
    }
}

fn endpoint_hash(hasher: &Hasher, endpoint: SocketAddr) -> u64 {
    hasher.numbers(Tag::Endpoint, address_hash(hasher, endpoint.ip()), u64::from(endpoint.port()))
}

fn network_hash(hasher: &Hasher, network: &IpNet) -> u64 {
    let (tag, address) = match network.addr() {
        IpAddr::V4(address) => (Tag::Network4, hasher.number(Tag::Network4, u64::from(address.to_bits()))),
        IpAddr::V6(address) => {
            let (high, low) = halves(address.to_bits());
            (Tag::Network6, hasher.numbers(Tag::Network6, high, low))
        }
    };
    hasher.numbers(tag, address, u64::from(network.prefix_len()))
}

fn halves(bits: u128) -> (u64, u64) {
    let [a, b, c, d, e, f, g, h, low @ ..] = bits.to_be_bytes();
    (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(low))
}

/// Whether an indicator covers a value: compared in full, for hashes only lead to what may.
pub fn covers(look_for: &LookFor, value: Value<'_>) -> bool {
    match (look_for, value) {
        (LookFor::Addresses(Addresses::Network(network)), Value::Ip(address, _)) => {
            network.contains(&address)
        }
        (LookFor::Addresses(Addresses::IpPort(endpoint)), Value::Ip(address, port)) => {
            endpoint.ip() == address && Some(endpoint.port()) == port
        }
        (LookFor::Pattern(Pattern::Wildcard(names)), Value::Domain(name)) => names.covers(name),
        (LookFor::Pattern(Pattern::Wildcard(names)), Value::Email(email)) => names.covers(domain_of(email)),
        (LookFor::Pattern(Pattern::EmailDomain(domain)), Value::Email(email)) => {
            is_below(domain_of(email), domain.as_str())
        }
        (LookFor::Pattern(Pattern::UrlPrefix(prefix)), Value::UrlKey(key)) => prefix.covers(key),
        (LookFor::Pattern(Pattern::UserAgentPart(part)), Value::UserAgent(agent)) => {
            agent.to_ascii_lowercase().contains(part.as_str())
        }
        (LookFor::Observable(observable), value) => match (observable, value) {
            (Observable::Ip(mine), Value::Ip(address, _)) => *mine == address,
            (Observable::Domain(domain), Value::Domain(name)) => is_below(name, domain.as_str()),
            (Observable::Domain(domain), Value::Email(email)) => is_below(domain_of(email), domain.as_str()),
            (Observable::Url(url), Value::UrlKey(key)) => url.match_key() == key,
            (Observable::Email(mine), Value::Email(email)) => mine.as_str() == email,
            (Observable::UserAgent(mine), Value::UserAgent(agent)) => mine.as_str() == agent,
            (Observable::Ja4(mine), Value::Ja4(ja4)) => mine.as_str() == ja4,
            (Observable::Md5(mine), Value::Md5(digest)) | (Observable::Ja3(mine), Value::Ja3(digest)) => {
                mine.0 == digest
            }
            (Observable::Sha1(mine), Value::Sha1(digest)) => mine.0 == digest,
            (Observable::Sha256(mine), Value::Sha256(digest)) => mine.0 == digest,
            _ => false,
        },
        _ => false,
    }
}

/// Whether a name is another one or below it.
fn is_below(name: &str, parent: &str) -> bool {
    name.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// How specific an indicator is among those on the same value: the larger, the closer. More labels, longer
/// prefixes, more segments are closer; what stands for one value only is closest.
pub fn specificity(look_for: &LookFor) -> u32 {
    const EXACT: u32 = 1 << 16;
    match look_for {
        LookFor::Addresses(Addresses::IpPort(_)) => EXACT + 1,
        LookFor::Addresses(Addresses::Network(network)) => u32::from(network.prefix_len()),
        LookFor::Observable(Observable::Domain(name)) | LookFor::Pattern(Pattern::EmailDomain(name)) => {
            2 * count(name.as_str(), '.') + 1
        }
        LookFor::Pattern(Pattern::Wildcard(names)) => 2 * count(names.as_str(), '.'),
        LookFor::Pattern(Pattern::UrlPrefix(prefix)) => count(prefix.as_str(), '/'),
        LookFor::Pattern(Pattern::UserAgentPart(part)) => {
            u32::try_from(part.as_str().len()).unwrap_or_default()
        }
        LookFor::Observable(_) => EXACT,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What two hashes that happen to be alike would lead to.
    #[test]
    fn what_a_hash_leads_to_is_compared_in_full() {
        for (kind, text, value) in [
            ("domain", "evil.example", Value::Domain("notevil.example")),
            ("domain", "evil.example", Value::Domain("evil.example.test")),
            ("domain", "evil.example", Value::Email("mallory@notevil.example")),
            ("email_domain", "evil.example", Value::Email("mallory@notevil.example")),
            ("email_domain", "evil.example", Value::Domain("evil.example")),
            ("ip", "203.0.113.5", Value::Ip([203, 0, 113, 4].into(), None)),
            ("ip_port", "203.0.113.5:80", Value::Ip([203, 0, 113, 5].into(), Some(81))),
            ("ip_port", "203.0.113.5:80", Value::Ip([203, 0, 113, 5].into(), None)),
            ("network", "203.0.113.0/24", Value::Ip([203, 0, 112, 255].into(), None)),
            ("url", "http://evil.example/a", Value::UrlKey("http://evil.example/b")),
            ("md5", "900150983cd24fb0d6963f7d28e17f72", Value::Ja3([0x90; 16])),
            ("user_agent", "evil-bot", Value::UserAgent("Evil-Bot")),
        ] {
            let look_for = LookFor::parse(kind, text).unwrap();
            assert!(!covers(&look_for, value), "{text} and {value:?}");
        }
    }
}

//! The indicators in force, as detectors compare with them: the layers of an index, and what a sighting has to know
//! of them. A store that cannot be read is counted and told, so that the index is built anew.

use std::fmt;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;
use protocol::bundle::{Line, SetHash};
use protocol::index::{Builder, Index, IndexError, Layers, Matches, Plan, Sanity, Value};
use protocol::{Indicator, Kind, Serial, Timestamp};

use crate::line::screen::Looks;
use crate::sighting::Wants;

/// A set of indicators to compare with.
pub struct Matcher {
    /// `None` matches nothing.
    layers: Option<Layers>,
    serial: Serial,
    wants: Wants,
    looks: Looks,
    indicators: u64,
    damaged: AtomicBool,
}

impl Matcher {
    /// A matcher that matches nothing.
    pub fn empty() -> Self {
        let wants = Wants { ja3: false, ja4: false, md5: false, sha1: false, sha256: false };
        Self {
            layers: None,
            serial: Serial::default(),
            wants,
            looks: Looks::default(),
            indicators: 0,
            damaged: AtomicBool::new(false),
        }
    }

    /// A matcher over an index.
    pub fn new(layers: Layers) -> Self {
        let kinds = layers.kinds();
        let wants = |kind: Kind| kinds.contains_key(kind.as_str());
        Self {
            serial: layers.serial(),
            wants: Wants {
                ja3: wants(Kind::Ja3),
                ja4: wants(Kind::Ja4),
                md5: wants(Kind::Md5),
                sha1: wants(Kind::Sha1),
                sha256: wants(Kind::Sha256),
            },
            looks: Looks::of(&layers),
            indicators: kinds.values().sum(),
            layers: Some(layers),
            damaged: AtomicBool::new(false),
        }
    }

    /// Arranges a set of indicators in memory, absurd ones included: somebody named each. `serial` is the bundle's
    /// number, 0 for a plain list.
    ///
    /// # Errors
    /// When there are more than an index holds.
    pub fn build(
        serial: Serial,
        indicators: impl IntoIterator<Item = Indicator>,
    ) -> Result<Self, IndexError> {
        let words: [[u8; 8]; 4] = std::array::from_fn(|at| RandomState::default().hash_one(at).to_le_bytes());
        let mut secret = [0; 32];
        secret.copy_from_slice(words.as_flattened());
        let plan = Plan { serial, secret, sanity: Sanity::TakeAll, source: String::new(), below: None };
        let mut builder = Builder::new(plan, Vec::new(), Vec::new())?;
        for indicator in indicators {
            builder.add(&Line::Indicator(indicator))?;
        }
        let (_, bytes) = builder.finish(SetHash::default())?;
        Ok(Self::new(Layers::new(Arc::new(Index::open(Box::new(bytes))?), None)?))
    }

    /// How many indicators it looks for.
    pub fn len(&self) -> u64 {
        self.indicators
    }

    /// Whether it looks for none.
    pub fn is_empty(&self) -> bool {
        self.indicators == 0
    }

    /// Number of the bundle it was built from.
    pub fn serial(&self) -> Serial {
        self.serial
    }

    /// The index that it asks.
    pub fn layers(&self) -> Option<&Layers> {
        self.layers.as_ref()
    }

    /// Whether a look-up found the index damaged or unreadable: what it held is not all looked for any more.
    pub fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Relaxed)
    }

    /// What of the kinds that cost work to make it holds.
    pub(crate) fn wants(&self) -> Wants {
        self.wants
    }

    /// What log lines are looked through for.
    pub(crate) fn looks(&self) -> Looks {
        self.looks
    }

    /// All indicators that count for a value at a time, the closest first.
    pub(crate) fn look_up(&self, value: Value<'_>, at: Timestamp) -> Result<Matches, IndexError> {
        let Some(layers) = &self.layers else { return Ok(Matches::default()) };
        layers.look_up(value, at).inspect_err(|_| self.damaged.store(true, Ordering::Relaxed))
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Matcher {{ serial: {}, indicators: {} }}", self.serial, self.indicators)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::normal::Scratch;
    use crate::sighting::Seen;
    use protocol::{LookFor, Observable};

    #[test]
    fn what_is_seen_is_brought_into_normal_form_and_found() {
        let values = ["evil.example", "203.0.113.5:443", "http://evil.example/a", "mallory@evil.example"];
        let indicators = values.map(|value| Indicator::plain(LookFor::guess(value).unwrap()));
        let matcher = Matcher::build(Serial(1), indicators).unwrap();
        let mut scratch = Scratch::default();
        let mut check = |seen: Seen<'_>, port, expected: &[&str]| {
            let found = scratch.normal(seen, port, |value| matcher.look_up(value, Timestamp::default()));
            let found = found.unwrap().unwrap().indicators;
            let ids: Vec<&str> = found.iter().map(|found| &*found.id).collect();
            assert_eq!(ids, expected, "{seen:?}");
        };
        check(Seen::WireName(b"WWW.Evil.Example."), None, &["evil.example"]);
        check(Seen::Ip("::ffff:203.0.113.5".parse().unwrap()), Some(443), &["203.0.113.5:443"]);
        check(Seen::Ip("203.0.113.5".parse().unwrap()), Some(80), &[]);
        let (scheme, host, target) = ("http", "EVIL.example:80", "/a#top");
        check(Seen::UrlParts { scheme, host, target }, None, &["http://evil.example/a"]);
        check(Seen::Email("<Mallory@Evil.Example>"), None, &["mallory@evil.example", "evil.example"]);
        let seen = Observable::guess("a.evil.example").unwrap();
        check(Seen::Normal(&seen), None, &["evil.example"]);
    }
}

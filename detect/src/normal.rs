//! Values brought into normal form without allocating, so that only a value that matches is ever copied.

use std::net::IpAddr;

use protocol::index::Value;
use protocol::observable::{Email, UserAgent};
use protocol::{Domain, Kind, Observable, domain, url};

use crate::sighting::Seen;

/// Room for the normal forms, used again for each value.
#[derive(Default)]
pub(crate) struct Scratch {
    joined: String,
    normal: String,
}

impl Scratch {
    /// Hands the normal form of a value on; `None` when the value has none.
    pub fn normal<T>(
        &mut self,
        seen: Seen<'_>,
        port: Option<u16>,
        with: impl FnOnce(Value<'_>) -> T,
    ) -> Option<T> {
        self.normal.clear();
        let value = match seen {
            Seen::Ip(address) => Value::Ip(address.to_canonical(), port),
            Seen::WireName(name) => {
                domain::normalise_wire(name, &mut self.normal).ok()?;
                Value::Domain(&self.normal)
            }
            Seen::HostName(name) => {
                domain::normalise(name, &mut self.normal).ok()?;
                Value::Domain(&self.normal)
            }
            Seen::Email(text) => {
                Email::normalise(text, &mut self.normal).ok()?;
                Value::Email(&self.normal)
            }
            Seen::UserAgent(text) => Value::UserAgent(UserAgent::normal(text)?),
            Seen::Ja4(text) => Value::Ja4(text),
            Seen::Md5(digest) => Value::Md5(digest),
            Seen::Ja3(digest) => Value::Ja3(digest),
            Seen::Sha1(digest) => Value::Sha1(digest),
            Seen::Sha256(digest) => Value::Sha256(digest),
            Seen::Normal(observable) => return Some(Value::with(observable, port, with)),
            Seen::Url(_) | Seen::UrlParts { .. } => {
                let (_, host_end) = self.url(seen)?;
                let key = url::match_key(&self.normal, host_end);
                return Some(with(Value::UrlKey(&key)));
            }
        };
        Some(with(value))
    }

    /// The value as one that stands on its own; `None` when it has no normal form.
    pub fn owned(&mut self, seen: Seen<'_>) -> Option<Observable> {
        Some(match seen {
            Seen::Ip(address) => Observable::Ip(IpAddr::to_canonical(&address)),
            Seen::WireName(name) => Observable::Domain(Domain::from_wire(name).ok()?),
            Seen::HostName(name) => Observable::Domain(Domain::parse(name).ok()?),
            Seen::Email(text) => Observable::Email(text.parse().ok()?),
            Seen::UserAgent(text) => Observable::UserAgent(text.parse().ok()?),
            Seen::Ja4(text) => Observable::parse(Kind::Ja4, text).ok()?,
            Seen::Md5(digest) => Observable::Md5(protocol::observable::Digest(digest)),
            Seen::Ja3(digest) => Observable::Ja3(protocol::observable::Digest(digest)),
            Seen::Sha1(digest) => Observable::Sha1(protocol::observable::Digest(digest)),
            Seen::Sha256(digest) => Observable::Sha256(protocol::observable::Digest(digest)),
            Seen::Normal(observable) => observable.clone(),
            Seen::Url(_) | Seen::UrlParts { .. } => {
                self.url(seen)?;
                Observable::Url(self.normal.parse().ok()?)
            }
        })
    }

    /// Writes the normal form of a URL and gives where its host stands.
    fn url(&mut self, seen: Seen<'_>) -> Option<(usize, usize)> {
        let text = match seen {
            Seen::Url(text) => text,
            Seen::UrlParts { scheme, host, target } => {
                self.joined.clear();
                for part in [scheme, "://", host, target] {
                    self.joined.push_str(part);
                }
                &self.joined
            }
            _ => return None,
        };
        url::normalise(text, &mut self.normal).ok()
    }
}

//! Indicators arranged for look-ups: a small resident filter says *no* at once, a sorted store says *yes* for
//! certain and gives the record. Ten indicators or ten million, the gateway's memory holds two bytes of each.
//!
//! Nothing here opens a file: what is stored is reached through [`ReadAt`] and written through [`Storage`]. What is
//! read is never trusted: every part has a checksum, every offset is compared with its bounds.

mod builder;
mod filter;
mod hash;
mod keys;
mod layers;
mod layout;
mod open;
mod overlay;
mod pages;
mod parts;
mod ranges;
mod record;
mod sort;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::bundle::{Line, Serial, SetHash};
use crate::observable::Observable;

pub use builder::{Builder, Summary};
pub use layers::{Asked, Judged, Layers, Match, Matches, Standing};
pub use open::Index;
pub use overlay::{Overlay, OverlayError};

/// The format this program writes and reads; another one is refused and built anew.
pub const INDEX_FORMAT: u32 = 1;
/// Parts of user agents that one index holds; more are held back.
pub const USER_AGENT_PARTS_MAX: u64 = 4096;
/// Examples kept of what was held back for one reason.
pub const HELD_EXAMPLES_MAX: usize = 20;

/// Bytes that can be read at any place, from several threads at once.
pub trait ReadAt: Send + Sync {
    /// How many bytes there are.
    ///
    /// # Errors
    /// What the system says.
    fn size(&self) -> io::Result<u64>;

    /// Fills `into` with the bytes from `offset` on.
    ///
    /// # Errors
    /// When fewer are there, or the system cannot read them.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()>;
}

/// Bytes that are appended and may be read again before they are finished.
pub trait Storage: ReadAt + Write {}

impl<T: ReadAt + Write> Storage for T {}

impl ReadAt for Vec<u8> {
    fn size(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let from = usize::try_from(offset).ok().and_then(|from| self.get(from..)?.get(..into.len()));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Box<T> {
    fn size(&self) -> io::Result<u64> {
        (**self).size()
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, into)
    }
}

/// A value in normal form, as it is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An address, and the port beside it.
    Ip(IpAddr, Option<u16>),
    /// A domain name.
    Domain(&'a str),
    /// [`crate::url::match_key`] of a URL.
    UrlKey(&'a str),
    /// An e-mail address.
    Email(&'a str),
    /// A user agent.
    UserAgent(&'a str),
    /// A JA4 fingerprint.
    Ja4(&'a str),
    /// MD5 of a file.
    Md5([u8; 16]),
    /// JA3 of a TLS client.
    Ja3([u8; 16]),
    /// SHA-1 of a file or certificate.
    Sha1([u8; 20]),
    /// SHA-256 of a file or certificate.
    Sha256([u8; 32]),
}

impl Value<'_> {
    /// Hands on what an observable is looked up by; `port` is the one beside an address.
    pub fn with<T>(observable: &Observable, port: Option<u16>, with: impl FnOnce(Value<'_>) -> T) -> T {
        let value = match observable {
            Observable::Ip(address) => Value::Ip(*address, port),
            Observable::Domain(domain) => Value::Domain(domain.as_str()),
            Observable::Url(url) => return with(Value::UrlKey(&url.match_key())),
            Observable::Email(email) => Value::Email(email.as_str()),
            Observable::UserAgent(agent) => Value::UserAgent(agent.as_str()),
            Observable::Ja4(ja4) => Value::Ja4(ja4.as_str()),
            Observable::Md5(digest) => Value::Md5(digest.0),
            Observable::Ja3(digest) => Value::Ja3(digest.0),
            Observable::Sha1(digest) => Value::Sha1(digest.0),
            Observable::Sha256(digest) => Value::Sha256(digest.0),
        };
        with(value)
    }
}

/// What an index is built for.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The bundle's number; 0 for a plain list.
    pub serial: Serial,
    /// What the keys of the hashes are made of: random, so that nobody can choose values that collide.
    pub secret: [u8; 32],
    /// Whether absurd indicators are held back.
    pub sanity: Sanity,
    /// What the caller wants to find again in [`Meta::source`], such as the hash of the bundle.
    pub source: String,
    /// For changes above another index: the set of that one.
    pub below: Option<SetHash>,
}

/// What is done with indicators that would match what every town has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sanity {
    /// They are taken: somebody named each by hand.
    TakeAll,
    /// They are held back and counted, and so is what touches the town's own networks.
    HoldAbsurd {
        /// The town's own networks.
        own: Vec<IpNet>,
    },
}

/// What an index says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// The bundle's number.
    pub serial: Serial,
    /// The set that it holds, held-back indicators included.
    pub set: SetHash,
    /// The set of the index that this one lies above.
    pub below: Option<SetHash>,
    /// See [`Plan::source`].
    pub source: String,
    /// How it was decided what is absurd.
    pub sanity: Sanity,
    /// Indicators to look for, by [`crate::LookFor::kind`].
    pub kinds: BTreeMap<String, u64>,
    /// Entries of the allow-list among all.
    pub allowed: u64,
    /// Lines that revoke.
    pub revocations: u64,
    /// Lines taken out of the layer below, by kind, `allow` or `revocation`.
    pub removed: BTreeMap<String, u64>,
    /// Indicators held back, by reason.
    pub held: BTreeMap<String, Held>,
}

impl Meta {
    /// Indicators that are looked for.
    pub fn indicators(&self) -> u64 {
        self.kinds.values().sum()
    }
}

/// Indicators held back for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// How many.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<String>,
}

/// One line of what an index holds, in the order in which it was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stored {
    /// In the set.
    Line(Line),
    /// In the layer below, and no longer in the set.
    Removed(Line),
}

/// Why an index cannot be used. It is built anew from its bundle.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// The disk.
    #[error("the index cannot be read or written: {0}")]
    Io(#[from] io::Error),
    /// Written by another version.
    #[error("the index has format {format}, this program reads {INDEX_FORMAT}; it is built anew")]
    Format {
        /// The format it names.
        format: u32,
    },
    /// Not what was written.
    #[error("the index is damaged ({part}); it is built anew")]
    Damaged {
        /// Which part.
        part: &'static str,
    },
    /// A line that no bundle within its limits has.
    #[error("a line of more than 64 KiB; write it shorter")]
    LineTooLong,
    /// More than an index holds.
    #[error("more than {limit} indicators; split the bundle")]
    TooMany {
        /// The limit.
        limit: u64,
    },
}

impl IndexError {
    pub(crate) fn damaged(part: &'static str) -> Self {
        Self::Damaged { part }
    }
}

//! The quick look at a line: whether anything in it may be looked for at all. Most lines end here, without a format
//! being recognised and without anything being copied.
//!
//! *No* is certain: whatever [`super::Scan`] would find in the line and an indicator is on, is found here too. So more
//! texts are asked for than the scan would take: of the values that may begin or end at several places, all.

mod agents;
mod bytes;
mod colons;
mod dots;
mod mail;
mod masks;
mod parts;
mod urls;

use std::net::IpAddr;
use std::ops::Range;

use protocol::Kind;
use protocol::index::{Asked, Layers, Value};

use super::words;
use crate::matcher::Matcher;
use masks::{Masks, Of};

/// What a set of indicators has at all: for the rest nothing is looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Looks {
    addresses: bool,
    names: bool,
    single_labels: bool,
    urls: bool,
    hashes: bool,
    emails: bool,
    agents: bool,
    agent_parts: bool,
}

impl Looks {
    pub fn of(layers: &Layers) -> Self {
        let kinds = layers.kinds();
        let any = |names: &[&str]| names.iter().any(|name| kinds.get(*name).is_some_and(|count| *count > 0));
        Self {
            addresses: any(&[Kind::Ip.as_str(), "ip_port", "network"]),
            names: any(&[Kind::Domain.as_str(), "wildcard", "email_domain"]),
            single_labels: layers.has_single_labels(),
            urls: any(&[Kind::Url.as_str(), "url_prefix"]),
            hashes: any(&[Kind::Md5.as_str(), Kind::Sha1.as_str(), Kind::Sha256.as_str()]),
            emails: any(&[Kind::Email.as_str()]),
            agents: any(&[Kind::UserAgent.as_str()]),
            agent_parts: any(&["user_agent_part"]),
        }
    }
}

/// Looks at lines; keeps room for the normal forms.
#[derive(Default)]
pub(crate) struct Screen {
    masks: Masks,
    room: Room,
}

#[derive(Default)]
struct Room {
    lowered: Vec<u8>,
    plain: Vec<u8>,
    unescaped: Vec<u8>,
    normal: String,
    /// Where names stand that may be the host of a URL whose path stands elsewhere.
    hosts: Vec<Range<usize>>,
    /// What is asked for together when the line was gone through.
    asked: Asked,
}

impl Screen {
    /// Whether an indicator may be on anything in this line.
    pub fn may_match(&mut self, line: &[u8], matcher: &Matcher) -> bool {
        let Some(layers) = matcher.layers() else { return false };
        let looks = matcher.looks();
        self.room.hosts.clear();
        self.room.asked.clear();
        self.masks.fill(line);
        let mut look = Look {
            line,
            masks: &self.masks,
            layers,
            looks,
            room: &mut self.room,
            names_done: 0,
            groups_done: 0,
            urls_seen: 0,
            audit_seen: false,
            has_escapes: false,
        };
        look.marks()
            || (looks.names && look.has_escaped_dots())
            || (looks.urls && look.urls_of_parts())
            || (looks.hashes && look.masks.may_have_long_word() && look.hashes())
            || (looks.emails && look.emails())
            || ((looks.agents || looks.agent_parts) && look.agents())
            || (looks.single_labels && look.single_labels())
    }
}

/// As [`Screen::may_match`], once.
#[cfg(test)]
pub(crate) fn may_match(line: &[u8], matcher: &Matcher) -> bool {
    Screen::default().may_match(line, matcher)
}

/// One line that is looked at.
struct Look<'a> {
    line: &'a [u8],
    masks: &'a Masks,
    layers: &'a Layers,
    looks: Looks,
    room: &'a mut Room,
    /// Up to here names with dots are done with.
    names_done: usize,
    /// Up to here groups with colons are done with.
    groups_done: usize,
    urls_seen: usize,
    /// Whether it was asked what an audit record holds.
    audit_seen: bool,
    /// Whether a backslash stands in the line; found out where user agents are looked for.
    has_escapes: bool,
}

impl Look<'_> {
    /// Goes from dot to dot and from colon to colon: every value apart from hashes and user agents has one.
    fn marks(&mut self) -> bool {
        for number in 0..self.masks.rows() {
            let (names, marks) = (self.masks.row(number, Of::Names), self.masks.row(number, Of::Marks));
            // After the dot of a sentence's end no name goes on; nobody knows of the last of a row.
            let dots = names & marks & (names >> 1 | 1 << 63);
            if self.dots(64 * number, dots) || self.colons(64 * number, marks & !names) {
                return true;
            }
        }
        (!self.masks.is_ascii && self.foreign()) || self.layers.may_hold_any(&self.room.asked)
    }

    /// The dots of a row that begins here; each text is looked at once.
    fn dots(&mut self, first: usize, dots: u64) -> bool {
        let left = |dots: u64, done: usize| match u32::try_from(done.saturating_sub(first)) {
            Ok(done @ 0..64) => dots >> done << done,
            _ => 0,
        };
        let mut dots = left(dots, self.names_done);
        while dots != 0 {
            if self.dot(first + dots.trailing_zeros() as usize) {
                return true;
            }
            dots = left(dots & (dots - 1), self.names_done);
        }
        false
    }

    /// The colons of a row that begins here.
    fn colons(&mut self, first: usize, mut colons: u64) -> bool {
        while colons != 0 {
            if self.colon(first + colons.trailing_zeros() as usize) {
                return true;
            }
            colons &= colons - 1;
        }
        false
    }

    #[inline]
    fn byte_before(&self, at: usize) -> Option<u8> {
        at.checked_sub(1).and_then(|at| self.line.get(at)).copied()
    }

    #[inline]
    fn asks_address(&mut self, address: IpAddr) -> bool {
        self.layers.ask_address(address, &mut self.room.asked)
    }

    /// A hash is a run of hexadecimal digits: one of 32 or more has one at every 32nd place, and goes on from there for
    /// half of its length to one side at least.
    fn hashes(&self) -> bool {
        let mut done = 0;
        for at in (31..self.line.len()).step_by(32) {
            let are_digits = |places: [usize; 4]| {
                places.iter().fold(bytes::HEX, |all, at| {
                    all & bytes::kind(self.line.get(*at).copied().unwrap_or_default())
                }) != 0
            };
            let goes_on =
                are_digits([at, at - 4, at - 9, at - 15]) | are_digits([at, at + 4, at + 9, at + 15]);
            if at < done || !goes_on {
                continue;
            }
            let (before, after) = self.line.split_at_checked(at).unwrap_or_default();
            let before = before.get(done..).unwrap_or_default();
            let (left, _) = bytes::run(before.iter().rev(), bytes::HEX);
            let (right, _) = bytes::run(after.iter(), bytes::HEX);
            done = at + right;
            if left + right >= 32
                && self.line.get(at - left..done).is_some_and(|run| self.hash(run, at - left))
            {
                return true;
            }
        }
        false
    }

    /// Before a hash may stand the digits of an escape sequence: `%2F`, `\x09`, `\u0009`.
    fn hash(&self, run: &[u8], start: usize) -> bool {
        let is_glued = matches!(self.byte_before(start), Some(b'\\' | b'#' | b'%' | b'x' | b'u'));
        let more = if is_glued { 4 } else { 0 };
        let lengths =
            [32, 40, 64].into_iter().filter(|length| (*length..=length + more).contains(&run.len()));
        lengths.filter_map(|length| run.get(run.len() - length..)).any(|digits| {
            let hash = words::hash(digits);
            hash.is_some_and(|hash| Value::with(&hash, None, |value| self.layers.may_hold(value)))
        })
    }
}

#[cfg(test)]
#[path = "screen/screen_tests.rs"]
mod tests;

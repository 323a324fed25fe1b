//! DNS over UDP and TCP, multicast DNS and LLMNR: the names asked for, and the names and addresses answered.

mod name;

use std::net::IpAddr;

use protocol::SeenIn;

use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};
use name::Name;

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const PORT: u16 = 53;
/// The port of multicast DNS (RFC 6762 §3).
const MULTICAST_PORT: u16 = 5353;
/// The port of Link-Local Multicast Name Resolution (RFC 4795 §2).
const LINK_LOCAL_PORT: u16 = 5355;

/// DNS stateful operations carry no names (RFC 8490); all others, known or not, are laid out like a query.
const OPCODE_STATEFUL: u8 = 6;
/// Questions read of one message; real ones have one, those of multicast DNS a dozen.
const QUESTIONS_MAX: u16 = 8;
const QUESTIONS_MULTICAST_MAX: u16 = 64;
/// Records read of one message; those of a zone transfer have hundreds.
const RECORDS_MAX: usize = 512;
/// Of a longer message over TCP the beginning is read.
const STREAM_MESSAGE_MAX: usize = 16 * 1024;

/// Which of the protocols that share DNS's messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// DNS itself.
    Plain,
    /// Multicast DNS (RFC 6762).
    Multicast,
    /// LLMNR (RFC 4795).
    LinkLocal,
}

impl Kind {
    /// What datagrams between these ports are. A service's port beside another one says that the other is only
    /// where a client happened to send from.
    pub fn of_ports(ports: [u16; 2]) -> Option<Self> {
        let has = |port| ports.contains(&port);
        match () {
            () if has(PORT) => Some(Self::Plain),
            () if ports.iter().any(|port| *port < 1024) => None,
            () if has(MULTICAST_PORT) => Some(Self::Multicast),
            () if has(LINK_LOCAL_PORT) => Some(Self::LinkLocal),
            () => None,
        }
    }

    /// Reads one message.
    pub fn read(self, message: &[u8], sink: &mut Sink<'_>) {
        sink.counters.dns_messages += 1;
        if read_sections(self, message, sink).is_none() {
            sink.counters.dns_malformed += 1;
        }
    }

    fn query(self) -> SeenIn {
        match self {
            Self::Plain => SeenIn::DnsQuery,
            Self::Multicast => SeenIn::MdnsQuery,
            Self::LinkLocal => SeenIn::LlmnrQuery,
        }
    }

    fn answer(self) -> SeenIn {
        match self {
            Self::Plain => SeenIn::DnsAnswer,
            Self::Multicast => SeenIn::MdnsAnswer,
            Self::LinkLocal => SeenIn::LlmnrAnswer,
        }
    }
}

/// Reads the messages of a TCP stream, each with its length before it (RFC 1035 §4.2.2).
pub(crate) fn read_stream(bytes: &[u8], sink: &mut Sink<'_>) -> Step {
    let mut consumed = 0;
    while let Some((length, rest)) = bytes.get(consumed..).and_then(|rest| rest.split_first_chunk::<2>()) {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some(message) = rest.get(..length.min(STREAM_MESSAGE_MAX)) else { break };
        read(message, sink);
        if length > message.len() {
            return Step::Skip((consumed + 2 + length) as u64);
        }
        consumed += 2 + length;
    }
    Step::Consumed(consumed)
}

/// Reads what there is of a message in a TCP stream whose rest is missing, if it begins like one.
pub(crate) fn read_partial(bytes: &[u8], sink: &mut Sink<'_>) {
    if let [_, _, message @ ..] = bytes
        && let [_, _, flags, _, 0, 1, ..] = message
        && flags & 0x78 <= 0x28
    {
        read(message, sink);
    }
}

/// Reads one message of DNS itself.
pub(crate) fn read(message: &[u8], sink: &mut Sink<'_>) {
    Kind::Plain.read(message, sink);
}

/// Whether a datagram is DNS beyond doubt, whatever its port: one question for a name of several plain labels,
/// in the class of the Internet and of a kind that clients ask for, and nothing but whole records behind it.
pub(crate) fn is_certain(message: &[u8]) -> bool {
    shape_of(message).is_some()
}

fn shape_of(message: &[u8]) -> Option<()> {
    let [_, _, flags, more_flags, 0, 1, ref counts @ ..] = *message.first_chunk::<12>()? else { return None };
    let (is_answer, opcode, rcode) = (flags & 0x80 != 0, (flags >> 3) & 0x0f, more_flags & 0x0f);
    // The reserved bit is zero; a query asks for recursion, has no error and no records but OPT.
    if opcode != 0 || more_flags & 0x40 != 0 || rcode > 5 || flags & 0x01 == 0 {
        return None;
    }
    let records: usize = counts.chunks_exact(2).filter_map(|pair| be16(pair, 0)).map(usize::from).sum();
    if records > RECORDS_MAX || (!is_answer && (records > 1 || rcode != 0 || flags & 0x06 != 0)) {
        return None;
    }
    let mut name = Name::default();
    let mut at = name.read(message, 12)?;
    let (kind, class) = (be16(message, at)?, be16(message, at + 2)?);
    let asked_for = matches!(kind, 1 | 2 | 5 | 6 | 12 | 15 | 16 | 28 | 33 | 64 | 65 | 255);
    if !asked_for || class != 1 || !name.is_plain() {
        return None;
    }
    at += 4;
    for _ in 0..records {
        let record = Record::read(message, at, &mut name)?;
        if !is_answer && record.kind != 41 {
            return None;
        }
        at = record.end;
    }
    (at == message.len()).then_some(())
}

/// `None` when the message ends too early or contradicts itself; what was read until then is reported.
fn read_sections(kind: Kind, message: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let header = message.first_chunk::<12>()?;
    let is_answer = header.get(2)? & 0x80 != 0;
    let opcode = (header.get(2)? >> 3) & 0x0f;
    let [questions, answers, authorities, additional] =
        [4, 6, 8, 10].map(|at| be16(header, at).unwrap_or_default());
    if opcode == OPCODE_STATEFUL {
        return Some(());
    }
    let questions_max = if kind == Kind::Multicast { QUESTIONS_MULTICAST_MAX } else { QUESTIONS_MAX };
    if questions > questions_max {
        return None;
    }
    let mut at = 12;
    let mut names = [Name::default(), Name::default()];
    let [name, _] = &mut names;
    for _ in 0..questions {
        at = name.read(message, at)?;
        // The highest bit asks for an answer to this host alone (RFC 6762 §5.4).
        let class = be16(message, at + 2)?;
        at += 4;
        if class & 0x7fff <= 255 {
            sight(name, kind.query(), sink);
        }
    }
    // A question by multicast carries the answers that are known, or the records that will be claimed (§7.1, §8.2).
    if !is_answer && kind != Kind::Multicast {
        return Some(());
    }
    let mut left = RECORDS_MAX;
    for (records, is_asked_for) in [(answers, true), (authorities, false), (additional, false)] {
        for _ in 0..records {
            left = left.checked_sub(1)?;
            let [owner, target] = &mut names;
            let record = Record::read(message, at, owner)?;
            // The origin of a zone that a name is not in says nothing.
            if is_asked_for || record.kind != SOA {
                record.sight((message, target), (owner, kind.answer()), sink)?;
            }
            at = record.end;
        }
    }
    Some(())
}

const SOA: u16 = 6;

/// A resource record (RFC 1035 §4.1.3).
struct Record<'a> {
    kind: u16,
    data_at: usize,
    data: &'a [u8],
    /// Where the next begins.
    end: usize,
}

impl<'a> Record<'a> {
    fn read(message: &'a [u8], at: usize, owner: &mut Name) -> Option<Self> {
        let at = owner.read(message, at)?;
        let kind = be16(message, at)?;
        let length = usize::from(be16(message, at + 8)?);
        let (data_at, end) = (at + 10, at + 10 + length);
        Some(Self { kind, data_at, data: message.get(data_at..end)?, end })
    }

    /// Reports the names and addresses in it.
    fn sight(
        &self,
        (message, target): (&[u8], &mut Name),
        (owner, seen_in): (&Name, SeenIn),
        sink: &mut Sink<'_>,
    ) -> Option<()> {
        let mut address = |address: IpAddr| {
            sink.sight(Sighting::new(Seen::Ip(address), seen_in, owner.text()));
        };
        let target_at = match self.kind {
            1 => {
                address((*self.data.first_chunk::<4>()?).into());
                return Some(());
            }
            28 => {
                address((*self.data.first_chunk::<16>()?).into());
                return Some(());
            }
            // NS, CNAME, PTR, DNAME: another name for what was asked; SOA: first the zone's own server.
            2 | 5 | SOA | 12 | 39 => 0,
            15 => 2, // MX: after the preference
            33 => 6, // SRV: after priority, weight and port
            64 | 65 => {
                self.service_hints(message, &mut address)?;
                2 // after the priority
            }
            // Options that do not fit make the whole message one that nobody answers (RFC 6891 §6.1.2, §7).
            41 => return fits(self.data),
            _ => return Some(()),
        };
        target.read(message, self.data_at + target_at)?;
        sight(target, seen_in, sink);
        Some(())
    }

    /// The addresses among the parameters of a service binding, behind its priority and target (RFC 9460 §2.2, §7.3).
    fn service_hints(&self, message: &[u8], address: &mut impl FnMut(IpAddr)) -> Option<()> {
        let begin = name::skip(message, self.data_at + 2)?;
        let mut parameters = self.data.get(begin.checked_sub(self.data_at)?..)?;
        while !parameters.is_empty() {
            let (key, value, rest) = next_option(parameters)?;
            match key {
                4 => value.as_chunks::<4>().0.iter().for_each(|hint| address((*hint).into())),
                6 => value.as_chunks::<16>().0.iter().for_each(|hint| address((*hint).into())),
                _ => {}
            }
            parameters = rest;
        }
        Some(())
    }
}

/// A key, a length and a value, and what follows.
fn next_option(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (value, rest) = bytes.get(4..)?.split_at_checked(usize::from(be16(bytes, 2)?))?;
    Some((be16(bytes, 0)?, value, rest))
}

fn fits(mut options: &[u8]) -> Option<()> {
    while !options.is_empty() {
        (_, _, options) = next_option(options)?;
    }
    Some(())
}

fn sight(name: &Name, seen_in: SeenIn, sink: &mut Sink<'_>) {
    if !name.text().is_empty() {
        sink.sight(Sighting::new(Seen::WireName(name.text()), seen_in, name.text()));
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
#[path = "dns/dns_tests.rs"]
mod tests;

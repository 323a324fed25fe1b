//! Records: what is stored of each line of a bundle, with a checksum. What indicators have in common (threat, alert,
//! source and the like) is stored once and pointed to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::hash::Hasher;
use super::{IndexError, ReadAt};
use crate::bundle::Revocation;
use crate::indicator::{Action, Addresses, Indicator, LookFor, Pattern, Severity, Tlp};
use crate::observable::{Digest, Observable};
use crate::time::Timestamp;

/// Length and checksum in front of each record.
pub const FRAME_BYTES: usize = 6;
/// Most records are read at once with this.
const FIRST_READ_BYTES: usize = 256;

const ALLOW: u8 = 1;
const REMOVED: u8 = 2;
const FROM: u8 = 4;
const UNTIL: u8 = 8;
/// The identifier is `indicator--UUID`, and stored as its sixteen bytes.
const UUID: u8 = 16;
/// The identifier is the value.
const SAME: u8 = 32;
const ID_PREFIX: &str = "indicator--";

/// What a record is; the numbers are those of the format.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    Ip4 = 1,
    Ip6,
    Network4,
    Network6,
    Endpoint4,
    Endpoint6,
    Domain,
    Url,
    Md5,
    Sha1,
    Sha256,
    Ja3,
    Ja4,
    UserAgent,
    Email,
    Wildcard,
    UrlPrefix,
    UserAgentPart,
    EmailDomain,
    RevokedAlert = 64,
    RevokedIndicator,
    Context = 128,
}

impl Form {
    const ALL: [Self; 22] = [
        Self::Ip4,
        Self::Ip6,
        Self::Network4,
        Self::Network6,
        Self::Endpoint4,
        Self::Endpoint6,
        Self::Domain,
        Self::Url,
        Self::Md5,
        Self::Sha1,
        Self::Sha256,
        Self::Ja3,
        Self::Ja4,
        Self::UserAgent,
        Self::Email,
        Self::Wildcard,
        Self::UrlPrefix,
        Self::UserAgentPart,
        Self::EmailDomain,
        Self::RevokedAlert,
        Self::RevokedIndicator,
        Self::Context,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|form| *form as u8 == byte)
    }
}

/// What many indicators have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Context {
    pub threat: String,
    pub alert: String,
    pub source: String,
    pub severity: Severity,
    pub confidence: u8,
    pub tlp: Tlp,
}

impl Context {
    /// That of an indicator.
    pub fn of(indicator: &Indicator) -> Self {
        Self {
            threat: indicator.threat.clone(),
            alert: indicator.alert.clone(),
            source: indicator.source.clone(),
            severity: indicator.severity,
            confidence: indicator.confidence,
            tlp: indicator.tlp,
        }
    }
}

/// A line about a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub look_for: LookFor,
    pub id: Box<str>,
    pub action: Action,
    pub valid_from: Option<Timestamp>,
    pub valid_until: Option<Timestamp>,
    /// Where its [`Context`] is stored.
    pub context: u64,
    /// It takes an indicator of the layer below out.
    pub removed: bool,
}

impl Entry {
    /// The line, given its context.
    pub fn indicator(&self, context: Context) -> Indicator {
        Indicator {
            look_for: self.look_for.clone(),
            id: self.id.to_string(),
            action: self.action,
            threat: context.threat,
            severity: context.severity,
            confidence: context.confidence,
            tlp: context.tlp,
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            alert: context.alert,
            source: context.source,
        }
    }
}

/// A record, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    Entry(Entry),
    Revocation { revocation: Revocation, removed: bool },
    Context(Context),
}

/// Where a record begins, and what its checksum is made with.
pub type Place<'a> = (u64, &'a Hasher);

/// Puts length and checksum in front of a record that was written into `into` from `start` on, where
/// [`FRAME_BYTES`] were left free.
fn close(into: &mut [u8], start: usize, (at, hasher): Place<'_>) -> Result<(), IndexError> {
    let (frame, payload) = into
        .get_mut(start..)
        .and_then(|all| all.split_first_chunk_mut::<FRAME_BYTES>())
        .ok_or(IndexError::LineTooLong)?;
    let [a, b] = u16::try_from(payload.len()).map_err(|_| IndexError::LineTooLong)?.to_le_bytes();
    let [c, d, e, f] = hasher.checksum(at, payload).to_le_bytes();
    *frame = [a, b, c, d, e, f];
    Ok(())
}

fn text(into: &mut Vec<u8>, text: &str) -> Result<(), IndexError> {
    let length = u16::try_from(text.len()).map_err(|_| IndexError::LineTooLong)?;
    into.extend_from_slice(&length.to_le_bytes());
    into.extend_from_slice(text.as_bytes());
    Ok(())
}

/// Writes the record of an indicator.
pub fn write_entry(
    into: &mut Vec<u8>,
    place: Place<'_>,
    indicator: &Indicator,
    (context, removed): (u64, bool),
) -> Result<(), IndexError> {
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_BYTES + 2]);
    let form = write_value(into, &indicator.look_for)?;
    let mut flags = 0;
    let mut flag = |set, flag| flags |= if set { flag } else { 0 };
    flag(indicator.action == Action::Allow, ALLOW);
    flag(removed, REMOVED);
    flag(indicator.valid_from.is_some(), FROM);
    flag(indicator.valid_until.is_some(), UNTIL);
    if let Some(uuid) = uuid_of(&indicator.id) {
        flag(true, UUID);
        into.extend_from_slice(&uuid);
    } else if indicator.look_for.to_string() == indicator.id {
        flag(true, SAME);
    } else {
        text(into, &indicator.id)?;
    }
    for time in [indicator.valid_from, indicator.valid_until].into_iter().flatten() {
        into.extend_from_slice(&time.as_micros().to_le_bytes());
    }
    into.extend_from_slice(&context.to_le_bytes());
    if let Some([first, beside]) = into.get_mut(start + FRAME_BYTES..).and_then(|rest| rest.first_chunk_mut())
    {
        (*first, *beside) = (form as u8, flags);
    }
    close(into, start, place)
}

fn write_value(into: &mut Vec<u8>, look_for: &LookFor) -> Result<Form, IndexError> {
    Ok(match look_for {
        LookFor::Addresses(Addresses::Network(network)) => {
            into.push(network.prefix_len());
            if write_address(into, network.addr()) { Form::Network4 } else { Form::Network6 }
        }
        LookFor::Addresses(Addresses::IpPort(endpoint)) => {
            into.extend_from_slice(&endpoint.port().to_le_bytes());
            if write_address(into, endpoint.ip()) { Form::Endpoint4 } else { Form::Endpoint6 }
        }
        LookFor::Observable(Observable::Ip(address)) => {
            if write_address(into, *address) {
                Form::Ip4
            } else {
                Form::Ip6
            }
        }
        LookFor::Observable(Observable::Md5(digest)) => digest_form(into, &digest.0, Form::Md5),
        LookFor::Observable(Observable::Ja3(digest)) => digest_form(into, &digest.0, Form::Ja3),
        LookFor::Observable(Observable::Sha1(digest)) => digest_form(into, &digest.0, Form::Sha1),
        LookFor::Observable(Observable::Sha256(digest)) => digest_form(into, &digest.0, Form::Sha256),
        LookFor::Observable(Observable::Domain(name)) => text_form(into, name.as_str(), Form::Domain)?,
        LookFor::Observable(Observable::Url(url)) => text_form(into, url.as_str(), Form::Url)?,
        LookFor::Observable(Observable::Ja4(ja4)) => text_form(into, ja4.as_str(), Form::Ja4)?,
        LookFor::Observable(Observable::UserAgent(agent)) => {
            text_form(into, agent.as_str(), Form::UserAgent)?
        }
        LookFor::Observable(Observable::Email(email)) => text_form(into, email.as_str(), Form::Email)?,
        LookFor::Pattern(Pattern::Wildcard(names)) => text_form(into, names.as_str(), Form::Wildcard)?,
        LookFor::Pattern(Pattern::UrlPrefix(prefix)) => text_form(into, prefix.as_str(), Form::UrlPrefix)?,
        LookFor::Pattern(Pattern::UserAgentPart(part)) => {
            text_form(into, part.as_str(), Form::UserAgentPart)?
        }
        LookFor::Pattern(Pattern::EmailDomain(name)) => text_form(into, name.as_str(), Form::EmailDomain)?,
    })
}

/// Whether it is of version four.
fn write_address(into: &mut Vec<u8>, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => into.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => into.extend_from_slice(&address.octets()),
    }
    address.is_ipv4()
}

fn digest_form(into: &mut Vec<u8>, digest: &[u8], form: Form) -> Form {
    into.extend_from_slice(digest);
    form
}

fn text_form(into: &mut Vec<u8>, value: &str, form: Form) -> Result<Form, IndexError> {
    text(into, value)?;
    Ok(form)
}

/// The bytes of a UUID in the one spelling that is given back.
fn uuid_of(id: &str) -> Option<[u8; 16]> {
    let text = id.strip_prefix(ID_PREFIX)?;
    let uuid: [u8; 16] = crate::text::bytes_from_hex(&text.replace('-', ""))?;
    (uuid_text(&uuid) == id).then_some(uuid)
}

fn uuid_text(uuid: &[u8; 16]) -> String {
    let hex = crate::text::Hex(uuid).to_string();
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    format!("{ID_PREFIX}{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32))
}

/// Writes the record of a revocation.
pub fn write_revocation(
    into: &mut Vec<u8>,
    place: Place<'_>,
    revocation: &Revocation,
    removed: bool,
) -> Result<(), IndexError> {
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_BYTES]);
    let (form, value) = match revocation {
        Revocation::Alert(alert) => (Form::RevokedAlert, alert),
        Revocation::Indicator(id) => (Form::RevokedIndicator, id),
    };
    into.extend_from_slice(&[form as u8, if removed { REMOVED } else { 0 }]);
    text(into, value)?;
    close(into, start, place)
}

/// Writes the record of a context.
pub fn write_context(into: &mut Vec<u8>, place: Place<'_>, context: &Context) -> Result<(), IndexError> {
    let start = into.len();
    into.extend_from_slice(&[0; FRAME_BYTES]);
    let (severity, tlp) = (context.severity.place(), context.tlp.place());
    into.extend_from_slice(&[Form::Context as u8, severity, tlp, context.confidence]);
    for value in [&context.threat, &context.alert, &context.source] {
        text(into, value)?;
    }
    close(into, start, place)
}

/// Reads the record at an offset, and gives where the next one begins. Nothing is read at or after `end`.
pub fn read(store: &dyn ReadAt, (offset, hasher): Place<'_>, end: u64) -> Result<(Record, u64), IndexError> {
    let damaged = || IndexError::damaged("a record");
    let left = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
    let mut first = [0; FIRST_READ_BYTES];
    let first = first.get_mut(..left.min(FIRST_READ_BYTES)).unwrap_or_default();
    store.read_at(offset, first)?;
    let (frame, payload) = first.split_first_chunk::<FRAME_BYTES>().ok_or_else(damaged)?;
    let [a, b, checksum @ ..] = *frame;
    let length = usize::from(u16::from_le_bytes([a, b]));
    if length > left - FRAME_BYTES {
        return Err(damaged());
    }
    let mut long = Vec::new();
    let payload = match payload.get(..length) {
        Some(payload) => payload,
        None => {
            long.resize(length, 0);
            store.read_at(offset + FRAME_BYTES as u64, &mut long)?;
            &long
        }
    };
    if hasher.checksum(offset, payload) != u32::from_le_bytes(checksum) {
        return Err(damaged());
    }
    let record = Reader(payload).record().ok_or_else(damaged)?;
    Ok((record, offset + (FRAME_BYTES + length) as u64))
}

/// What is left of a record.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*array)
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    fn text(&mut self) -> Option<&str> {
        let length = usize::from(u16::from_le_bytes(self.array()?));
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }

    fn address(&mut self, is_v4: bool) -> Option<IpAddr> {
        Some(if is_v4 {
            Ipv4Addr::from(self.array::<4>()?).into()
        } else {
            Ipv6Addr::from(self.array::<16>()?).into()
        })
    }

    fn record(mut self) -> Option<Record> {
        let form = Form::of(self.byte()?)?;
        if form == Form::Context {
            return self.context().map(Record::Context);
        }
        let flags = self.byte()?;
        let removed = flags & REMOVED != 0;
        if let Form::RevokedAlert | Form::RevokedIndicator = form {
            let value = self.text()?.to_owned();
            let revocation = if form == Form::RevokedAlert {
                Revocation::Alert(value)
            } else {
                Revocation::Indicator(value)
            };
            return Some(Record::Revocation { revocation, removed });
        }
        let look_for = self.value(form)?;
        let id = if flags & UUID != 0 {
            uuid_text(&self.array()?)
        } else if flags & SAME != 0 {
            look_for.to_string()
        } else {
            self.text()?.to_owned()
        };
        let mut time = |flag| match flags & flag {
            0 => Some(None),
            _ => self.array().map(|bytes| Some(Timestamp::from_micros(i64::from_le_bytes(bytes)))),
        };
        let (valid_from, valid_until) = (time(FROM)?, time(UNTIL)?);
        let context = u64::from_le_bytes(self.array()?);
        let action = if flags & ALLOW == 0 { Action::Detect } else { Action::Allow };
        let id = id.into_boxed_str();
        Some(Record::Entry(Entry { look_for, id, action, valid_from, valid_until, context, removed }))
    }

    fn context(mut self) -> Option<Context> {
        let [severity, tlp, confidence] = self.array()?;
        let severity = *Severity::ALL.get(usize::from(severity))?;
        let tlp = *Tlp::ALL.get(usize::from(tlp))?;
        let mut text = || self.text().map(str::to_owned);
        Some(Context { threat: text()?, alert: text()?, source: text()?, severity, confidence, tlp })
    }

    fn value(&mut self, form: Form) -> Option<LookFor> {
        let observable = match form {
            Form::Ip4 | Form::Ip6 => Observable::Ip(self.address(form == Form::Ip4)?),
            Form::Network4 | Form::Network6 => {
                let length = self.byte()?;
                let network = IpNet::new(self.address(form == Form::Network4)?, length).ok()?;
                return Some(LookFor::Addresses(Addresses::Network(network)));
            }
            Form::Endpoint4 | Form::Endpoint6 => {
                let port = u16::from_le_bytes(self.array()?);
                let address = self.address(form == Form::Endpoint4)?;
                return Some(LookFor::Addresses(Addresses::IpPort(SocketAddr::new(address, port))));
            }
            Form::Md5 => Observable::Md5(Digest(self.array()?)),
            Form::Ja3 => Observable::Ja3(Digest(self.array()?)),
            Form::Sha1 => Observable::Sha1(Digest(self.array()?)),
            Form::Sha256 => Observable::Sha256(Digest(self.array()?)),
            Form::Domain => Observable::Domain(self.text()?.parse().ok()?),
            Form::Url => Observable::Url(self.text()?.parse().ok()?),
            Form::Ja4 => Observable::Ja4(self.text()?.parse().ok()?),
            Form::UserAgent => Observable::UserAgent(self.text()?.parse().ok()?),
            Form::Email => Observable::Email(self.text()?.parse().ok()?),
            Form::Wildcard => return Some(LookFor::Pattern(Pattern::Wildcard(self.text()?.parse().ok()?))),
            Form::UrlPrefix => return Some(LookFor::Pattern(Pattern::UrlPrefix(self.text()?.parse().ok()?))),
            Form::UserAgentPart => {
                return Some(LookFor::Pattern(Pattern::UserAgentPart(self.text()?.parse().ok()?)));
            }
            Form::EmailDomain => {
                return Some(LookFor::Pattern(Pattern::EmailDomain(self.text()?.parse().ok()?)));
            }
            Form::RevokedAlert | Form::RevokedIndicator | Form::Context => return None,
        };
        Some(LookFor::Observable(observable))
    }
}

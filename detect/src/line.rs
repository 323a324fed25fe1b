//! Log lines: what their format says of them, and whatever else stands in their text: addresses, names, URLs, hashes
//! and user agents, and which of the addresses is the source and which the destination.
//!
//! Works on bytes: what is no UTF-8 separates words and loses nothing else.

mod agents;
mod cut;
pub(crate) mod ends;
mod fields;
pub(crate) mod formats;
mod header;
mod json;
mod keys;
#[cfg(test)]
pub(crate) mod made;
mod names;
mod pairs;
mod reading;
pub(crate) mod screen;
mod view;
pub(crate) mod wide;
mod words;
mod written_at;

use std::cell::OnceCell;
use std::net::IpAddr;
use std::ops::Range;

use protocol::hit::{EVIDENCE_BYTES_MAX, LOGGED_TIME_BYTES_MAX, Logged, evidence};
use protocol::url::Host;
use protocol::{Flow, Observable, SeenIn, Timestamp, Url};

use crate::home::{Home, Sides, stays_near};
use crate::http::Origins;
use crate::sighting::{Seen, Sighting};
use ends::{Ends, port_in};
use fields::Role;
use formats::Format;
pub(crate) use formats::Hint;
use header::Logged as Syslog;
use reading::{Field, Reading, Value};
pub use view::{LineView, LineViewer};
pub(crate) use words::url_text;

/// Values taken from one line; the rest of a line with more is not looked at.
const FINDINGS_MAX: usize = 512;
/// URLs looked for in one line.
const URLS_MAX: usize = 64;
/// RFC 5424 §6: the longest HOSTNAME.
const HOST_BYTES_MAX: usize = 255;
/// Where a value stands further back, the evidence begins this many bytes before it.
const EVIDENCE_BEFORE: usize = EVIDENCE_BYTES_MAX / 2;

/// What was found in a line.
pub(crate) struct Scan<'a> {
    logged: Syslog<'a>,
    format: Option<&'static Format>,
    reading: Reading<'a>,
    findings: Vec<Finding>,
    /// Where texts stand in which free text has nothing to look for any more.
    claimed: Vec<Range<usize>>,
    /// Whom a proxy names as the party behind it.
    named_origins: Origins,
    /// The port fields of source and destination, looked up when first needed.
    ports: [OnceCell<Option<u16>>; 2],
}

/// A value with its place in the line.
#[derive(Debug)]
struct Finding {
    observable: Observable,
    port: Option<u16>,
    role: Role,
    at: usize,
}

/// Where a word stands.
#[derive(Clone, Copy)]
struct Place<'t> {
    text: &'t [u8],
    at: usize,
    /// Where the line has the text, when it writes it in another way.
    shown: Option<usize>,
}

impl Place<'_> {
    fn behind(self, offset: usize) -> Self {
        Self { at: self.at + offset, ..self }
    }
}

impl<'a> Scan<'a> {
    /// Reads a line; `hint` remembers the format for the next one of the same source.
    pub fn of(line: &'a [u8], hint: &mut Hint) -> Self {
        let logged = Syslog::of(line);
        let mut reading = Reading::of(line);
        let format = formats::recognise(&logged, hint, &mut reading);
        let mut named_origins = Origins::default();
        for (_, value) in reading.fields().iter().filter(|(field, _)| *field == Field::Forwarded) {
            named_origins.note_any(&value.text);
        }
        let (findings, ports) = (Vec::new(), Default::default());
        let claimed = Vec::new();
        let mut scan = Self { logged, format, reading, findings, claimed, named_origins, ports };
        scan.add_fields();
        scan.add_text();
        scan
    }

    /// Adds what the format names.
    fn add_fields(&mut self) {
        let reading = std::mem::replace(&mut self.reading, Reading::of(self.logged.line));
        for (field, value) in reading.fields() {
            if self.add_field(*field, value, &reading) {
                self.claimed.push(value.span.clone());
            }
        }
        self.reading = reading;
    }

    /// Adds one field; gives whether free text has nothing to look for in it any more.
    fn add_field(&mut self, field: Field, value: &Value<'_>, reading: &Reading<'_>) -> bool {
        let at = value.span.start;
        let Ok(text) = std::str::from_utf8(&value.text) else { return false };
        let observable = match field {
            Field::Nothing | Field::Time => return true,
            Field::Text => {
                self.add_written(&value.text, at);
                return true;
            }
            Field::SrcPort
            | Field::DstPort
            | Field::SrcBeforePort
            | Field::SrcAfterPort
            | Field::DstBeforePort
            | Field::DstAfterPort
            | Field::Proto
            | Field::User
            | Field::UrlPath => return false,
            Field::Url => {
                if let Ok(url) = Url::parse(text) {
                    self.add_url(url, value.span.clone());
                }
                return false;
            }
            Field::UrlHost => {
                self.add_url_of_parts(text, at, reading);
                return false;
            }
            Field::Domain => domain_of(text),
            Field::DnsName => domain_of(text).or_else(|| dns_name_of(text)),
            Field::Forwarded => return self.add_forwarded(text, at),
            Field::UserAgent => Observable::parse(protocol::Kind::UserAgent, text).ok(),
            Field::Hash => words::hash(text.as_bytes()),
            Field::Email => Observable::parse(protocol::Kind::Email, text).ok(),
            _ => return self.add_address_field(field, text, at, reading),
        };
        let Some(observable) = observable else { return false };
        self.add(observable, None, Role::Text, at);
        true
    }

    fn add_address_field(&mut self, field: Field, text: &str, at: usize, reading: &Reading<'_>) -> bool {
        let (role, port_field) = match field {
            Field::Src => (Role::Src, Some(Field::SrcPort)),
            Field::Dst => (Role::Dst, Some(Field::DstPort)),
            Field::SrcBefore => (Role::Nat, Some(Field::SrcBeforePort)),
            Field::SrcAfter => (Role::Nat, Some(Field::SrcAfterPort)),
            Field::DstBefore => (Role::Nat, Some(Field::DstBeforePort)),
            Field::DstAfter => (Role::Nat, Some(Field::DstAfterPort)),
            _ => (Role::Text, None),
        };
        let Some((address, port)) = words::endpoint(text) else { return false };
        let known = match field {
            Field::SrcBefore | Field::SrcAfter => reading.get(Field::Src),
            Field::DstBefore | Field::DstAfter => reading.get(Field::Dst),
            _ => None,
        };
        // Where nothing was translated, some firewalls write the same address again.
        let same = |known: &Value<'_>| words::endpoint(std::str::from_utf8(&known.text).ok()?);
        if known.and_then(same).is_some_and(|(known, _)| known == address) {
            return true;
        }
        let port = port.or_else(|| port_in(reading.get(port_field?)?)).filter(|port| *port > 0);
        self.add(Observable::Ip(address), port, role, at);
        true
    }

    /// Adds each address of a list; gives whether all of it is addresses.
    fn add_forwarded(&mut self, text: &str, at: usize) -> bool {
        let mut all = true;
        for part in text.split(',') {
            match words::endpoint(part) {
                Some((address, port)) => self.add(Observable::Ip(address), port, Role::Text, at),
                None => all = false,
            }
        }
        all
    }

    fn add_url_of_parts(&mut self, host: &str, at: usize, reading: &Reading<'_>) {
        let Some(path) = reading.get(Field::UrlPath).and_then(|path| std::str::from_utf8(&path.text).ok())
        else {
            return;
        };
        let scheme = if host.contains("://") { "" } else { "http://" };
        let slash = if path.starts_with('/') { "" } else { "/" };
        if let Ok(url) = Url::parse(&format!("{scheme}{host}{slash}{path}")) {
            self.add_url(url, at..at + host.len());
        }
    }

    /// Adds what the text holds outside of the places that are done with.
    fn add_text(&mut self) {
        let line = self.logged.line;
        let agents = agents::find(line);
        let urls = self.find_urls();
        words::each(line, |word, at| {
            if !is_within(at, &urls) && !is_within(at, &agents) {
                self.classify(word, Place { text: line, at, shown: None });
            }
        });
        for span in agents {
            // The format says it better where the line escapes it.
            if is_within(span.start, &self.claimed) {
                continue;
            }
            let text = line.get(span.clone()).and_then(|text| std::str::from_utf8(text).ok());
            if let Some(Ok(agent)) = text.map(|text| Observable::parse(protocol::Kind::UserAgent, text)) {
                self.add(agent, None, Role::Text, span.start);
            }
        }
    }

    /// Gives out everything, each value with its role once.
    pub fn sight_all(&self, sight: &mut dyn FnMut(Sighting<'_>)) {
        for (number, finding) in self.findings.iter().enumerate() {
            let same = |other: &Finding| {
                other.observable == finding.observable
                    && other.role == finding.role
                    && other.port == finding.port
            };
            if self.findings.get(..number).unwrap_or_default().iter().any(same) {
                continue;
            }
            let evidence = self.around(finding.at);
            let mut sighting = Sighting::new(Seen::Normal(&finding.observable), finding.seen_in(), evidence);
            sighting.port = finding.port;
            sighting.named_origins = self.named_origins.as_slice();
            sight(sighting);
        }
    }

    /// The line, or of a long one the part around a value.
    fn around(&self, at: usize) -> &'a [u8] {
        if self.logged.line.len() <= EVIDENCE_BYTES_MAX {
            return self.logged.line;
        }
        self.logged.line.get(at.saturating_sub(EVIDENCE_BEFORE)..).unwrap_or(self.logged.line)
    }

    /// When the line was written, as it is written: by the format, else by the header.
    pub fn time(&self) -> &[u8] {
        self.reading.get(Field::Time).map_or(self.logged.time, |value| &value.text)
    }

    /// The port that a field of its own gives to the source or destination.
    fn port_field(&self, role: Role) -> Option<u16> {
        let [src, dst] = &self.ports;
        match role {
            Role::Src => *src.get_or_init(|| fields::port(self.logged.line, role)),
            Role::Dst => *dst.get_or_init(|| fields::port(self.logged.line, role)),
            Role::Nat | Role::Text => None,
        }
    }

    /// The ends that the line's format names; where they are a trusted proxy's, with the party that it names.
    pub fn ends(&self, home: &Home) -> Option<Ends> {
        let ends = Ends::of(&self.reading)?;
        let named = home.behind_proxy(ends.inner_flow().src, self.named_origins.as_slice());
        Some(named.map_or(ends, |address| ends.begun_by(address)))
    }

    /// What the line says beyond its values.
    pub fn logged(&self, flow: Option<Flow>, read_at: Timestamp) -> Logged {
        let shown = |text: &[u8], most: usize| evidence(text.get(..most).unwrap_or(text));
        Logged {
            format: self.format.map_or("", |format| format.name).into(),
            time: shown(self.time(), LOGGED_TIME_BYTES_MAX),
            at: written_at::written_at(self.time(), read_at),
            host: shown(self.logged.host, HOST_BYTES_MAX),
            flow,
        }
    }

    /// Which way the line's conversation went: by named fields, else by the order of the addresses.
    pub fn sides(&self, home: &Home) -> Sides {
        if let Some(ends) = self.ends(home) {
            let (src, dst) = ends.parties(home);
            return home.sides(src, dst);
        }
        let src = self.address(|finding| finding.role == Role::Src);
        let dst = self.address(|finding| finding.role == Role::Dst);
        match (src, dst) {
            (None, None) => self.sides_by_order(home),
            (Some(src), None) if home.contains(src) => {
                home.sides_of_line(Some(src), self.address(|other| other.is_outside(home)))
            }
            (Some(src), None) => home.sides_of_line(Some(src), self.address(|other| other.is_home(home))),
            (None, Some(dst)) if home.contains(dst) => {
                home.sides_of_line(self.address(|other| other.is_outside(home)), Some(dst))
            }
            (None, Some(dst)) => home.sides_of_line(self.address(|other| other.is_home(home)), Some(dst)),
            both => home.sides_of_line(both.0, both.1),
        }
    }

    /// Without named fields, a town's address and an outside one are taken in the order they are written in.
    fn sides_by_order(&self, home: &Home) -> Sides {
        let outside = self.findings.iter().find(|finding| finding.is_outside(home));
        let inside = self.findings.iter().find(|finding| finding.is_home(home));
        match (inside, outside) {
            (Some(inside), Some(outside)) if inside.at < outside.at => {
                home.sides_of_line(inside.address(), outside.address())
            }
            (Some(inside), Some(outside)) => home.sides_of_line(outside.address(), inside.address()),
            // A proxy or resolver names only the town's host that asked.
            (Some(inside), None) => home.sides_of_line(inside.address(), None),
            _ => home.sides_of_line(None, None),
        }
    }

    fn address(&self, wanted: impl Fn(&Finding) -> bool) -> Option<IpAddr> {
        self.findings.iter().filter(|finding| wanted(finding)).find_map(Finding::address)
    }

    /// Finds URLs and gives back where their scheme and authority stand.
    fn find_urls(&mut self) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        for scheme_end in words::SCHEME_ENDS {
            for colon in memchr::memmem::find_iter(self.logged.line, scheme_end).take(URLS_MAX) {
                if let Some((url, span)) = words::url_at(self.logged.line, colon, scheme_end) {
                    self.add_url(url, span.clone());
                    spans.push(span);
                }
            }
        }
        spans
    }

    fn add_url(&mut self, url: Url, span: Range<usize>) {
        let at = span.start;
        match url.host() {
            Some(Host::Ip(address)) => {
                let role = fields::role_of(self.logged.line, span);
                self.add(Observable::Ip(address.to_canonical()), port_of(&url), role, at);
            }
            Some(Host::Domain(domain)) if domain.as_str().contains('.') => {
                self.add(Observable::Domain(domain), None, Role::Text, at);
            }
            _ => {}
        }
        self.add(Observable::Url(url), None, Role::Text, at);
    }

    /// Adds what a text holds that the line writes in another way at `shown`.
    fn add_written(&mut self, text: &[u8], shown: usize) {
        for colon in memchr::memmem::find_iter(text, "://").take(URLS_MAX) {
            if let Some((url, _)) = words::url_at(text, colon, "://") {
                self.add_url(url, shown..shown);
            }
        }
        words::each(text, |word, at| self.classify(word, Place { text, at, shown: Some(shown) }));
    }

    /// Decides what a word is; one that joins several values with colons or dashes is taken apart. Of one that a
    /// format names in part, the rest is looked at.
    fn classify(&mut self, word: &[u8], place: Place<'_>) {
        let Place { text, at, .. } = place;
        let claimed = || self.claimed.iter().find(|span| span.contains(&at));
        let claimed_end = place.shown.is_none().then(claimed).flatten().map(|span| span.end);
        let shown = place.shown.unwrap_or(at);
        if claimed_end.is_some_and(|end| at + word.len() <= end) {
            // The format says what it is.
        } else if word.len() > words::WORD_BYTES_MAX || claimed_end.is_some() {
            words::parts(word, |part, offset| self.classify(part, place.behind(offset)));
        } else if let Some((address, port)) = words::address(word, text, at) {
            let role = fields::role_of(text, at..at + word.len());
            let port = port.or_else(|| self.port_field(role));
            self.add(Observable::Ip(address), port, role, shown);
        } else if let Some(email) = words::email(word) {
            self.add(email, None, Role::Text, shown);
        } else if let Some(hash) = words::hash(word) {
            self.add(hash, None, Role::Text, shown);
        } else if let Some((rest, glued)) = words::unglued(word, text, at) {
            self.classify(rest, place.behind(glued));
        } else if let Some(domain) = words::domain(word, text, at) {
            self.add(Observable::Domain(domain), None, Role::Text, shown);
        } else if !words::is_key(word, text, at) {
            words::parts(word, |part, offset| self.classify(part, place.behind(offset)));
        }
    }

    fn add(&mut self, observable: Observable, port: Option<u16>, role: Role, at: usize) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding { observable, port, role, at });
        }
    }
}

impl Finding {
    fn address(&self) -> Option<IpAddr> {
        match self.observable {
            Observable::Ip(address) => Some(address),
            _ => None,
        }
    }

    fn is_outside(&self, home: &Home) -> bool {
        self.address().is_some_and(|address| !home.contains(address) && !stays_near(address))
    }

    fn is_home(&self, home: &Home) -> bool {
        self.address().is_some_and(|address| home.contains(address))
    }

    fn seen_in(&self) -> SeenIn {
        match (&self.observable, self.role) {
            (Observable::Ip(_), Role::Src) => SeenIn::LogSrc,
            (Observable::Ip(_), Role::Dst) => SeenIn::LogDst,
            (Observable::Ip(_), Role::Nat) => SeenIn::LogNat,
            (Observable::Domain(_), _) => SeenIn::LogDomain,
            (Observable::Url(_), _) => SeenIn::LogUrl,
            (Observable::Md5(_) | Observable::Sha1(_) | Observable::Sha256(_), _) => SeenIn::LogHash,
            (Observable::UserAgent(_), _) => SeenIn::LogUserAgent,
            _ => SeenIn::LogText,
        }
    }
}

/// A name in which any character may stand: services on the local network are called as people call them.
fn dns_name_of(text: &str) -> Option<Observable> {
    let domain = protocol::Domain::from_wire(text.as_bytes()).ok()?;
    domain.as_str().contains('.').then_some(Observable::Domain(domain))
}

fn is_within(at: usize, spans: &[Range<usize>]) -> bool {
    spans.iter().any(|span| span.contains(&at))
}

/// A name; one without a dot is a host's name for itself, which nobody looks for.
fn domain_of(text: &str) -> Option<Observable> {
    let domain = protocol::Domain::parse(text).ok()?;
    domain.as_str().contains('.').then_some(Observable::Domain(domain))
}

fn port_of(url: &Url) -> Option<u16> {
    let after_scheme = url.as_str().split_once("://")?.1;
    let authority = after_scheme.split(['/', '?', '#']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

#[cfg(test)]
#[path = "line/line_tests.rs"]
mod tests;
#[cfg(test)]
#[path = "line/trap_tests.rs"]
mod trap_tests;

//! What a request says: whom it is for, what it asks for, by which program, on whose behalf.

use std::net::IpAddr;

use protocol::SeenIn;

use super::exchange::Asked;
use super::forwarded::Origins;
use super::framing::Framing;
use super::head::{Head, RequestLine, text_of};
use crate::sighting::{Seen, Sighting, Sink};

/// Host fields that are looked at; a request has one (RFC 9112 §3.2), and others are made to deceive.
const HOSTS_MAX: usize = 4;

/// A request's first line and those of its fields that say something.
pub(crate) struct Request<'a> {
    head: Head<'a>,
    line: RequestLine<'a>,
    hosts: [&'a [u8]; HOSTS_MAX],
    hosts_length: usize,
    agent: &'a [u8],
    referer: &'a [u8],
    origins: Origins,
    encoding: Option<&'a [u8]>,
    pub framing: Framing,
    /// It asks for another protocol after this message.
    pub upgrades: bool,
    /// The body waits for a word of the server and may never come (RFC 9110 §10.1.1).
    pub expects: bool,
}

impl<'a> Request<'a> {
    pub fn of(head: Head<'a>) -> Self {
        let mut request = Self {
            head,
            line: RequestLine::of(head.line),
            hosts: [&[]; HOSTS_MAX],
            hosts_length: 0,
            agent: &[],
            referer: &[],
            origins: Origins::default(),
            encoding: None,
            framing: Framing::default(),
            upgrades: false,
            expects: false,
        };
        for (name, value) in head.fields() {
            request.note(name, value);
        }
        request
    }

    fn note(&mut self, name: &'a [u8], value: &'a [u8]) {
        if value.is_empty() {
            return;
        }
        let is = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        if is("host") {
            if let Some(free) = self.hosts.get_mut(self.hosts_length) {
                *free = value;
                self.hosts_length += 1;
            }
        } else if is("user-agent") {
            self.agent = if self.agent.is_empty() { value } else { self.agent };
        } else if is("referer") {
            self.referer = if self.referer.is_empty() { value } else { self.referer };
        } else if is("upgrade") {
            self.upgrades = true;
        } else if is("expect") {
            self.expects = true;
        } else if is("content-encoding") {
            self.encoding = Some(value);
        } else if !self.framing.note(name, value) {
            self.origins.note(name, value);
        }
    }

    pub fn asked(&self) -> Asked {
        match self.line.method {
            b"CONNECT" => Asked::Connect,
            b"HEAD" => Asked::Head,
            _ => Asked::Content,
        }
    }

    pub fn encoding(&self) -> Option<&'a [u8]> {
        self.encoding
    }

    /// Gives out all it says.
    pub fn sight(&self, sink: &mut Sink<'_>) {
        let origins = self.origins.as_slice();
        let mut sight = |seen: Seen<'_>, seen_in: SeenIn| {
            let mut sighting = Sighting::new(seen, seen_in, self.head.whole);
            sighting.named_origins = origins;
            sink.sight(sighting);
        };
        let target = std::str::from_utf8(self.line.target).unwrap_or_default();
        let authority = self.authority_of_target(target);
        let hosts = self.hosts.iter().take(self.hosts_length);
        let hosts = hosts.filter_map(|host| std::str::from_utf8(host).ok());
        let mut seen: [&str; HOSTS_MAX + 1] = Default::default();
        for (host, free) in authority.into_iter().chain(hosts.clone()).filter_map(name_of).zip(0..) {
            if seen.iter().any(|known| known.eq_ignore_ascii_case(host)) {
                continue;
            }
            sight(seen_host(host), SeenIn::HttpHost);
            if let Some(free) = seen.get_mut(free) {
                *free = host;
            }
        }
        // A query may hold a URL of its own: only a target that begins with a scheme is absolute (RFC 9112 §3.2).
        let url = match (target.starts_with('/'), hosts.clone().next()) {
            (true, Some(host)) => Some(Seen::UrlParts { scheme: "http", host, target }),
            (true, None) => None,
            (false, _) => authority.is_some().then_some(Seen::Url(target)).filter(|_| target.contains("://")),
        };
        if let Some(url) = url {
            sight(url, SeenIn::HttpUrl);
        }
        if let Some(agent) = text_of(self.agent).filter(|text| !text.is_empty()) {
            sight(Seen::UserAgent(&agent), SeenIn::HttpUserAgent);
        }
        if let Some(referer) = text_of(self.referer).filter(|text| text.contains("://")) {
            sight(Seen::Url(&referer), SeenIn::HttpReferer);
        }
        for address in origins {
            sight(Seen::Ip(*address), SeenIn::HttpForwarded);
        }
    }

    /// The host and port that a target names itself: `CONNECT host:port`, or a whole URL as a proxy gets it.
    fn authority_of_target<'t>(&self, target: &'t str) -> Option<&'t str> {
        if self.asked() == Asked::Connect {
            return (!target.is_empty()).then_some(target);
        }
        let (scheme, rest) = target.split_once("://")?;
        let is_scheme = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let authority = rest.split(['/', '?', '#']).next().filter(|_| is_scheme)?;
        Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
    }
}

/// The name or address in a Host field, without its port.
pub(crate) fn name_of(text: &str) -> Option<&str> {
    let host = match text.strip_prefix('[') {
        Some(inside) => inside.split(']').next()?,
        None if text.parse::<IpAddr>().is_ok() => text,
        None => text.split(':').next()?,
    };
    (!host.is_empty()).then_some(host)
}

pub(crate) fn seen_host(host: &str) -> Seen<'_> {
    host.parse().map_or(Seen::HostName(host), Seen::Ip)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::Counters;
    use crate::sighting::Wants;

    #[test]
    fn every_sighting_names_the_parties_behind_the_proxy() {
        let head = b"GET / HTTP/1.1\r\nHost: town.example\r\nUser-Agent: x\r\nX-Forwarded-For: 203.0.113.9, 198.51.100.4\r\n\r\n";
        let expected: [IpAddr; 2] = ["203.0.113.9", "198.51.100.4"].map(|address| address.parse().unwrap());
        let (mut counters, mut seen) = (Counters::default(), Vec::new());
        let mut door = |sighting: Sighting<'_>| {
            assert_eq!(sighting.named_origins, expected);
            seen.push(sighting.seen_in.as_str());
        };
        Request::of(Head::of(head)).sight(&mut Sink::new(&mut counters, Wants::ALL, &mut door));
        assert_eq!(seen, ["http.host", "http.url", "http.user_agent", "http.forwarded", "http.forwarded"]);
    }
}

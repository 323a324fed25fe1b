//! The syslog header before a message: RFC 5424, RFC 3164 and what devices make of them. Parsing never fails: what
//! is no header is message.

use super::written_at::{bsd, epoch, iso, utm};

/// Longest name of a host: RFC 5424 §6 says 255.
const HOST_BYTES_MAX: usize = 255;
/// Longest name of a program. RFC 5424 says 48; paths are longer.
const PROGRAM_BYTES_MAX: usize = 128;
/// What programs that are no syslog write after a time: severities and streams, which are no hosts.
const NO_HOSTS: [&str; 14] = [
    "info", "warn", "warning", "error", "err", "debug", "trace", "notice", "fatal", "crit", "critical",
    "stdout", "stderr", "panic",
];

/// A line with its header told apart from its message. What the header lacks is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Logged<'a> {
    /// The whole line.
    pub line: &'a [u8],
    /// Facility and severity (RFC 5424 §6.2.1), 0 to 191.
    pub priority: Option<u8>,
    /// The time as it is written.
    pub time: &'a [u8],
    /// HOSTNAME: what the sender calls itself.
    pub host: &'a [u8],
    /// APP-NAME (RFC 5424) or TAG (RFC 3164), without process number.
    pub program: &'a [u8],
    /// What follows; the whole line when it has no header.
    pub message: &'a [u8],
}

impl<'a> Logged<'a> {
    pub fn of(line: &'a [u8]) -> Self {
        let mut logged = Self::once(line, without_bom(line));
        // A relay writes its own header before the one that it was sent.
        if !logged.time.is_empty() && logged.program.is_empty() {
            let inner = Self::once(line, logged.message);
            if !inner.time.is_empty() || inner.priority.is_some() {
                logged = inner.relayed_by(logged);
            }
        }
        logged.message = unrepeated(logged.message);
        logged
    }

    /// Takes one header off a text of the line.
    fn once(line: &'a [u8], text: &'a [u8]) -> Self {
        let mut logged = Self { line, message: text, ..Self::default() };
        let mut rest = text;
        if let Some((priority, after)) = priority(text) {
            logged.priority = Some(priority);
            rest = after.trim_ascii_start();
            logged.message = rest;
        }
        if let Some(after) = rest.strip_prefix(b"1 ") {
            if logged.read_structured(after) {
                return logged;
            }
            // Meraki writes the version of RFC 5424 and nothing else of it.
            if logged.priority.is_some() && epoch(after).is_some() {
                rest = after;
            }
        }
        rest = without_sequence(rest, logged.priority.is_some());
        match logged.time_of(rest) {
            Some((time, after)) => logged.read_names(time, after),
            None if logged.priority.is_some() => logged.read_without_time(rest),
            None => logged.read_numbered_tag(rest),
        }
        logged
    }

    fn relayed_by(self, relay: Self) -> Self {
        let or = |own: &'a [u8], relays: &'a [u8]| if own.is_empty() { relays } else { own };
        Self {
            priority: self.priority.or(relay.priority),
            time: or(self.time, relay.time),
            host: or(self.host, relay.host),
            ..self
        }
    }

    /// RFC 5424 after its version; `false` when it is something else.
    fn read_structured(&mut self, text: &'a [u8]) -> bool {
        let (time, rest) = word(text);
        let is_time = iso(time).is_some_and(|(_, length)| length == time.len());
        if time != b"-" && !is_time {
            return false;
        }
        let (host, rest) = word(rest);
        let (program, rest) = word(rest);
        let (_process, rest) = word(rest);
        let (_id, rest) = word(rest);
        self.time = unless_nil(time);
        self.host = unless_nil(host);
        self.program = unless_nil(program);
        let message = match data_length(rest) {
            // Juniper has nothing but structured data.
            length if length == rest.len() => unless_nil(rest),
            length => rest.get(length..).unwrap_or_default(),
        };
        self.message = without_bom(message.trim_ascii_start());
        true
    }

    /// The time that a text begins with and that makes it a header, and what follows it.
    fn time_of(&self, text: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let is_sent = self.priority.is_some();
        let first = *text.first()?;
        if !first.is_ascii_alphanumeric() && !matches!(first, b'*' | b'.') {
            return None;
        }
        let certain = bsd(text).or_else(|| utm(text)).map(|(_, length)| length);
        if let Some((time, after)) = certain.and_then(|length| text.split_at_checked(length)) {
            // `Nov 22 10:00:00x` is no time.
            return matches!(after.first(), None | Some(b' ' | b':' | b'\t' | b',')).then_some((time, after));
        }
        let length =
            iso(text).map(|(_, length)| length).or_else(|| Some(epoch(text)?.1).filter(|_| is_sent))?;
        let (time, after) = text.split_at_checked(length)?;
        let names = after.strip_prefix(b" ").or_else(|| after.strip_prefix(b": "))?.trim_ascii_start();
        // Web servers, proxies and programs of all kinds begin with such times too.
        let fits = if text.get(10) == Some(&b'T') || is_sent {
            is_sent || host(names).is_some_and(|(host, _)| !is_no_host(host)) || tag(names).is_some()
        } else {
            let after_host = host(names).map_or(names, |(_, after)| after);
            tag(after_host).is_some_and(|tag| tag.numbered)
        };
        let counts = time.contains(&b':') || host(names).is_some_and(|(host, _)| !is_no_host(host));
        (fits && counts).then_some((time, after))
    }

    /// Host and tag after the time, each of which may be missing.
    fn read_names(&mut self, time: &'a [u8], after: &'a [u8]) {
        self.time = time;
        let rest = after.strip_prefix(b":").unwrap_or(after).trim_ascii_start();
        self.message = rest;
        if rest.starts_with(b"last message repeated") {
            return;
        }
        if let Some(first) = tag(rest) {
            let second = tag(first.after).filter(|second| second.numbered);
            // Cisco writes `host: %ASA-6-…`.
            if first.numbered || (second.is_none() && !first.after.starts_with(b"%")) {
                self.take_tag(&first);
                return;
            }
            (self.host, self.message) = (first.name, first.after);
            if let Some(second) = second {
                self.take_tag(&second);
            }
        } else if let Some((host, after)) = host(rest) {
            // UniFi says its name twice.
            let after = after.strip_prefix(host).and_then(|after| after.strip_prefix(b" ")).unwrap_or(after);
            (self.host, self.message) = (host, after.strip_prefix(b": ").unwrap_or(after).trim_ascii_start());
            if let Some(tag) = tag(self.message) {
                self.take_tag(&tag);
            }
        }
    }

    fn take_tag(&mut self, tag: &Tag<'a>) {
        (self.program, self.message) = (tag.name, tag.after);
    }

    /// pfSense sends `<134>filterlog[1]: …`, ASA `<166>host : %ASA-…`, IOS `<189>7: host: *Mar  1 00:00:00.123: %…`.
    fn read_without_time(&mut self, text: &'a [u8]) {
        self.message = text;
        if let Some(first) = tag(text) {
            match self.time_of(without_sequence(first.after, true)) {
                Some((time, after)) if !first.numbered => {
                    self.read_names(time, after);
                    self.host = first.name;
                }
                _ if first.after.starts_with(b"%") => (self.host, self.message) = (first.name, first.after),
                _ => self.take_tag(&first),
            }
        } else if let Some((host, after)) = host(text) {
            if let Some(message) = after.strip_prefix(b": ").filter(|message| message.starts_with(b"%")) {
                (self.host, self.message) = (host, message);
            } else if let Some(tag) = tag(after).filter(|tag| tag.numbered) {
                self.host = host;
                self.take_tag(&tag);
            }
        }
    }

    /// Without priority and time, only a tag with a process number is a header for certain.
    fn read_numbered_tag(&mut self, text: &'a [u8]) {
        if let Some(tag) = tag(text).filter(|tag| tag.numbered && tag.ended) {
            self.take_tag(&tag);
        }
    }
}

/// `<134>`: 0 to 191.
fn priority(text: &[u8]) -> Option<(u8, &[u8])> {
    let inside = text.strip_prefix(b"<")?;
    let end = inside.iter().take(4).position(|byte| *byte == b'>')?;
    let digits = inside.get(..end).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
    let priority = std::str::from_utf8(digits).ok()?.parse().ok().filter(|priority| *priority <= 191)?;
    Some((priority, inside.get(end + 1..)?))
}

fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text)
}

/// What is left after Cisco's sequence number (`123: `) or the lone colon of its EMBLEM format.
fn without_sequence(text: &[u8], is_sent: bool) -> &[u8] {
    let digits = text.iter().take(11).take_while(|byte| byte.is_ascii_digit()).count();
    let Some(after) = text.get(digits..).and_then(|rest| rest.strip_prefix(b":")) else { return text };
    let (after, is_apart) = after.strip_prefix(b" ").map_or((after, digits == 0), |after| (after, true));
    let is_header =
        is_apart && digits <= 10 && (is_sent || after.starts_with(b"*") || after.starts_with(b"."));
    // The hour of a time is no sequence number.
    let is_hour = matches!(digits, 1 | 2) && after.first().is_some_and(u8::is_ascii_digit);
    if is_header && !is_hour { after } else { text }
}

fn word(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memchr::memchr(b' ', text).unwrap_or(text.len());
    let (word, rest) = text.split_at_checked(end).unwrap_or((text, b""));
    (word, rest.strip_prefix(b" ").unwrap_or(rest))
}

fn unless_nil(text: &[u8]) -> &[u8] {
    if text == b"-" { b"" } else { text }
}

/// How long the structured data at the beginning of a text is; 0 when it begins with something else.
fn data_length(text: &[u8]) -> usize {
    if text.starts_with(b"-") && matches!(text.get(1), None | Some(b' ')) {
        return 1;
    }
    let mut length = 0;
    while let Some(element) = text.get(length..).and_then(element_length) {
        length += element;
    }
    if matches!(text.get(length), None | Some(b' ')) { length } else { 0 }
}

/// `[id name="value" …]`, in which a backslash escapes `"`, `\` and `]` (RFC 5424 §6.3.3).
fn element_length(text: &[u8]) -> Option<usize> {
    let is_name = |byte: &u8| !matches!(byte, b' ' | b'=' | b']' | b'"' | 0..b' ' | 0x7f..);
    let name_length = |at: usize| Some(text.get(at..)?.iter().take_while(|byte| is_name(byte)).count());
    if text.first() != Some(&b'[') || name_length(1)? == 0 {
        return None;
    }
    let mut at = 1 + name_length(1)?;
    loop {
        match text.get(at)? {
            b']' => return Some(at + 1),
            b' ' => {
                at += 1;
                at += name_length(at)?;
                at += text.get(at..)?.starts_with(b"=\"").then_some(2)?;
                loop {
                    at += memchr::memchr2(b'"', b'\\', text.get(at..)?)?;
                    if text.get(at) == Some(&b'"') {
                        break;
                    }
                    at += 2;
                }
                at += 1;
            }
            _ => return None,
        }
    }
}

/// A word that can be a host's name or address, and what follows it.
fn host(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr2(b' ', b'\t', text)?;
    let (word, after) = text.split_at_checked(end).filter(|_| end <= HOST_BYTES_MAX)?;
    let is_host = |byte: &u8| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/' | b'@' | 0x80..)
    };
    let inside = word.strip_prefix(b"[").and_then(|word| word.strip_suffix(b"]")).unwrap_or(word);
    let fits =
        inside.iter().all(is_host) && !inside.iter().all(u8::is_ascii_digit) && !inside.ends_with(b":");
    fits.then(|| (word, after.trim_ascii_start()))
}

fn is_no_host(word: &[u8]) -> bool {
    NO_HOSTS.iter().any(|name| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// A program's name before its message.
struct Tag<'a> {
    name: &'a [u8],
    after: &'a [u8],
    /// A process number follows the name.
    numbered: bool,
    /// A colon follows.
    ended: bool,
}

/// `sshd[1]:`, `postfix/smtpd[1]:`, `kernel:`, `(squid-1)[]:`, `sshd[1]` and the like; no `CEF:0`.
fn tag(text: &[u8]) -> Option<Tag<'_>> {
    let is_name = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'_' | b'.' | b'/' | b'-' | b'+' | b'@' | b'#' | b'(' | b')' | b'~')
    };
    let length = text.iter().take(PROGRAM_BYTES_MAX).take_while(|byte| is_name(byte)).count();
    let (name, mut rest) = text.split_at_checked(length)?;
    if name.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut numbered = false;
    if let Some(inside) = rest.strip_prefix(b"[") {
        let end = inside.iter().take(32).position(|byte| matches!(byte, b']' | b' '))?;
        rest = inside.get(end..)?.strip_prefix(b"]")?;
        numbered = true;
    }
    let ended = rest.starts_with(b":");
    let after = rest.strip_prefix(b":").unwrap_or(rest);
    let is_alone = matches!(after.first(), None | Some(b' ' | b'\t')) || (ended && after.starts_with(b"["));
    (is_alone && (ended || numbered)).then(|| Tag { name, after: after.trim_ascii_start(), numbered, ended })
}

/// `message repeated 2 times: [ … ]` of rsyslog: the message.
fn unrepeated(message: &[u8]) -> &[u8] {
    let inner = || {
        let count = message.strip_prefix(b"message repeated ")?;
        let digits = count.iter().take(11).take_while(|byte| byte.is_ascii_digit()).count();
        let inner = count.get(digits..)?.strip_prefix(b" times: [")?;
        Some(inner.strip_suffix(b"]").unwrap_or(inner).trim_ascii())
    };
    inner().unwrap_or(message)
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;

//! Cisco ASA, PIX, FWSM and Firepower (FTD): sentences that name `interface:address/port (mapped/port)`, and the
//! `Key: value` lists of FTD's connection events.

use std::net::IpAddr;

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "cisco_asa", read };
/// Routers and switches: `%SEC-6-IPACCESSLOGP: list 102 denied tcp 10.0.0.5(3067) -> 203.0.113.5(139), 1 packet`.
pub(super) const IOS: Format = Format { name: "cisco_ios", read: read_ios };

/// Words of a sentence that are looked at; the longest has about fifty.
const WORDS_MAX: usize = 96;

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some((number, text)) = message_of(logged.message) else { return false };
    match number {
        b"304001" => read_request(text, reading),
        b"430001" | b"430002" | b"430003" | b"430004" | b"430005" => read_list(text, reading),
        _ => {
            read_ends(number, text, reading);
            read_session(text, reading);
        }
    }
    true
}

fn read_ios<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some((head, text)) = logged.message.strip_prefix(b"%").and_then(|text| {
        let end = memchr::memchr(b':', text.get(..64).unwrap_or(text))?;
        Some((text.get(..end)?, text.get(end + 1..)?))
    }) else {
        return false;
    };
    let is_name =
        |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-');
    let has_severity = head.windows(3).any(|part| matches!(part, [b'-', b'0'..=b'7', b'-']));
    if !head.iter().all(is_name) || !has_severity {
        return false;
    }
    read_ends(b"", text, reading);
    true
}

/// Number and text of `%ASA-6-302013: …` and `%ASA-session-6-302013: …`.
fn message_of(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = memchr::memchr(b'%', message.get(..256).unwrap_or(message))?;
    let text = message.get(start + 1..)?;
    let is_known = [&b"ASA-"[..], b"FTD-", b"PIX-", b"FWSM-"].iter().any(|name| text.starts_with(name));
    let end = memchr::memchr(b':', text.get(..40).unwrap_or(text)).filter(|_| is_known)?;
    let number = text.get(end.checked_sub(6)?..end).filter(|number| number.iter().all(u8::is_ascii_digit))?;
    Some((number, text.get(end + 1..)?.trim_ascii()))
}

/// An end of a connection as it stands in a sentence.
#[derive(Clone, Copy, Default)]
struct End<'a> {
    address: &'a [u8],
    port: &'a [u8],
    mapped: [&'a [u8]; 2],
    user: &'a [u8],
}

/// Which end the next address is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    First,
    Second,
    /// What the first or second one is mapped to, as ICMP calls it.
    Global,
}

fn read_ends<'a>(number: &[u8], text: &'a [u8], reading: &mut Reading<'a>) {
    let (mut first, mut second): (Option<End<'a>>, Option<End<'a>>) = (None, None);
    let mut global = End::default();
    let (mut next, mut last) = (None, None);
    for word in text.split(|byte| *byte == b' ').take(WORDS_MAX) {
        let keyword = match word {
            b"from" | b"src" | b"for" | b"SRC" | b"client" | b"faddr" | b"packet:" => Some(Next::First),
            b"to" | b"dst" | b"->" | b"==>" | b"DEST" | b"laddr" => Some(Next::Second),
            b"gaddr" => Some(Next::Global),
            // The packet that an ICMP error is about.
            b"Original" => break,
            b"TCP" | b"UDP" | b"ICMP" | b"tcp" | b"udp" | b"icmp" | b"icmp6" => {
                reading.take(Field::Proto, word);
                // `access-list x denied tcp outside/203.0.113.5(4000) -> …`
                (next, last) = (Some(Next::First), None);
                continue;
            }
            _ => None,
        };
        if keyword.is_some() {
            (next, last) = (keyword, None);
            continue;
        }
        if let (Some(inside), Some(last)) = (word.strip_prefix(b"("), last) {
            let end = if last == Next::First { first.as_mut() } else { second.as_mut() };
            if let Some(end) = end {
                note_brackets(end, inside);
            }
            continue;
        }
        let Some(wanted) = next else { continue };
        let Some(end) = endpoint(word) else { continue };
        match wanted {
            Next::First if first.is_none() => first = Some(end),
            Next::Second if second.is_none() => second = Some(end),
            Next::Global => global = end,
            Next::First | Next::Second => {}
        }
        (next, last) = (None, Some(wanted));
    }
    let is_translation = number.starts_with(b"3050") || matches!(number, b"305011" | b"305012");
    match (first, second) {
        (Some(first), Some(second)) if is_translation => {
            take_end(first, [Field::Src, Field::SrcPort, Field::SrcAfter, Field::SrcAfterPort], reading);
            take_end(second, [Field::SrcAfter, Field::SrcAfterPort, Field::Nothing, Field::Nothing], reading);
        }
        (Some(first), Some(mut second)) => {
            second.mapped =
                if global.address.is_empty() { second.mapped } else { [global.address, global.port] };
            take_both(began_second(text, &first, &second), first, second, reading);
        }
        (first, second) => {
            if let Some(end) = first {
                take_end(end, [Field::Src, Field::SrcPort, Field::SrcAfter, Field::SrcAfterPort], reading);
            }
            if let Some(end) = second {
                take_end(end, [Field::Dst, Field::DstPort, Field::DstBefore, Field::DstBeforePort], reading);
            }
        }
    }
}

/// Whether the end named second began: so it is with outbound connections. The end of a connection does not say; there
/// the one with the lower port is the server.
fn began_second(text: &[u8], first: &End<'_>, second: &End<'_>) -> bool {
    if text.starts_with(b"Built outbound") {
        return true;
    }
    let port = |end: &End<'_>| std::str::from_utf8(end.port).ok()?.parse::<u16>().ok();
    text.starts_with(b"Teardown") && port(first) < port(second)
}

fn take_both<'a>(turned: bool, first: End<'a>, second: End<'a>, reading: &mut Reading<'a>) {
    let (src, dst) = if turned { (second, first) } else { (first, second) };
    take_end(src, [Field::Src, Field::SrcPort, Field::SrcAfter, Field::SrcAfterPort], reading);
    // Who comes from outside names the mapped address; the real one is behind it.
    take_end(dst, [Field::Dst, Field::DstPort, Field::DstBefore, Field::DstBeforePort], reading);
}

fn take_end<'a>(end: End<'a>, [address, port, mapped, mapped_port]: [Field; 4], reading: &mut Reading<'a>) {
    reading.take(address, end.address);
    reading.take(port, end.port);
    let [mapped_to, to_port] = end.mapped;
    if mapped_to == end.address && to_port == end.port {
        reading.take(Field::Nothing, mapped_to);
    } else {
        reading.take(mapped, mapped_to);
        reading.take(mapped_port, to_port);
    }
    reading.take(Field::User, end.user);
}

/// `(198.51.100.1/12834)`, `(LOCAL\uno)`.
fn note_brackets<'a>(end: &mut End<'a>, inside: &'a [u8]) {
    let inside = inside.get(..memchr::memchr(b')', inside).unwrap_or(inside.len())).unwrap_or_default();
    if inside.contains(&b'\\') {
        end.user = inside;
    } else if let Some(mapped) = endpoint(inside).filter(|_| end.mapped[0].is_empty()) {
        end.mapped = [mapped.address, mapped.port];
    }
}

/// `outside:203.0.113.5/443`, `203.0.113.5/443`, `outside/203.0.113.5(443)`, `203.0.113.5`, `inside:server-1/80`, each
/// with a user in brackets behind it.
fn endpoint(word: &[u8]) -> Option<End<'_>> {
    let word = word.strip_prefix(b"(").unwrap_or(word);
    let mut text = word;
    while let [before @ .., b',' | b';' | b'.' | b':'] = text {
        text = before;
    }
    let (text, brackets) = match memchr::memchr(b'(', text) {
        // `outside(list):203.0.113.5/443`
        Some(at) => match memmem::find(text, b"):") {
            Some(end) => (text.get(end + 2..)?, &b""[..]),
            None => (text.get(..at)?, text.get(at + 1..)?),
        },
        None => (text.strip_suffix(b")").unwrap_or(text), &b""[..]),
    };
    let mut end = End::default();
    let slash = memchr::memchr(b'/', text);
    let (head, tail) = match slash {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &b""[..]),
    };
    if let Some(address) = address_in(head) {
        (end.address, end.port) = (address, tail);
    } else if let Some(address) = address_in(tail) {
        end.address = address;
    } else if !tail.is_empty() && tail.iter().all(u8::is_ascii_digit) {
        // A name that the device has for an address.
        let colon = memchr::memchr(b':', head).map_or(0, |at| at + 1);
        (end.address, end.port) = (head.get(colon..)?, tail);
    } else {
        return None;
    }
    let inside = brackets.split(|byte| *byte == b')').next().unwrap_or_default();
    if inside.contains(&b'\\') {
        end.user = inside;
    } else if end.port.is_empty() && !inside.is_empty() && inside.iter().all(u8::is_ascii_digit) {
        end.port = inside;
    }
    Some(end)
}

/// The address of `203.0.113.5`, `outside:203.0.113.5`, `outside:2001:db8::5`.
fn address_in(text: &[u8]) -> Option<&[u8]> {
    let is_address = |text: &[u8]| {
        text.len() <= 45 && std::str::from_utf8(text).is_ok_and(|text| text.parse::<IpAddr>().is_ok())
    };
    if is_address(text) {
        return Some(text);
    }
    let after = text.get(memchr::memchr(b':', text)? + 1..)?;
    is_address(after).then_some(after)
}

/// `10.0.0.5 Accessed URL 203.0.113.5:http://evil.example/a`
fn read_request<'a>(text: &'a [u8], reading: &mut Reading<'a>) {
    const ACCESSED: &[u8] = b" Accessed URL ";
    let Some(at) = memmem::find(text, ACCESSED) else { return };
    let client = text.get(..at).unwrap_or_default();
    let (user, client) = match memchr::memrchr(b'@', client) {
        Some(at) => (client.get(..at).unwrap_or_default(), client.get(at + 1..).unwrap_or_default()),
        None => (&b""[..], client),
    };
    let request = text.get(at + ACCESSED.len()..).unwrap_or_default();
    let request = request.strip_prefix(b"JAVA URL ").unwrap_or(request);
    let end =
        memmem::find(request, b":http").or_else(|| memmem::find(request, b":/")).unwrap_or(request.len());
    let (server, url) = request.split_at_checked(end).unwrap_or_default();
    let url = url.strip_prefix(b":").unwrap_or(url);
    reading.take(Field::User, user);
    reading.take(Field::Src, client);
    reading.take(Field::Dst, server);
    take_url(reading, "http", server, url.split(|byte| *byte == b' ').next().unwrap_or_default());
}

/// Users and the addresses that they came from: `User <uno> IP <203.0.113.5>`, `Username = uno, IP = 203.0.113.5`.
fn read_session<'a>(text: &'a [u8], reading: &mut Reading<'a>) {
    let after = |key: &[u8]| {
        let rest = text.get(memmem::find(text, key)? + key.len()..)?.trim_ascii_start();
        let (rest, is_end): (_, fn(&u8) -> bool) = match rest.strip_prefix(b"<") {
            Some(inside) => (inside, |byte| *byte == b'>'),
            None => (rest, |byte| matches!(byte, b' ' | b',' | b'"' | b'\'')),
        };
        Some(rest.get(..rest.iter().position(is_end).unwrap_or(rest.len())).unwrap_or_default())
    };
    for key in [&b"user IP ="[..], b" IP <", b", IP =", b"IP address: ", b"Remote:", b"Peer IP ="] {
        // The brackets are part of the key: `after` takes them off by itself.
        let key = key.strip_suffix(b"<").unwrap_or(key);
        if let Some(address) = after(key).filter(|_| reading.get(Field::Src).is_none()) {
            let address =
                address.strip_suffix(b":500").or_else(|| address.strip_suffix(b":4500")).unwrap_or(address);
            if address_in(address) == Some(address) {
                reading.take(Field::Src, address);
            }
        }
    }
    for key in [&b"IPv4 Address "[..], b"IPv6 Address "] {
        if let Some(address) = after(key).filter(|address| *address != b"::") {
            reading.take(Field::Address, address);
        }
    }
    for key in [&b"User <"[..], b"Username = ", b" user = ", b"Uname: ", b"Username:", b"user \"", b"user '"]
    {
        let key = key.strip_suffix(b"<").unwrap_or(key);
        if let Some(user) = after(key) {
            reading.take(Field::User, user);
            break;
        }
    }
}

/// `SrcIP: 10.0.0.5, DstIP: 203.0.113.5, UserAgent: Mozilla/5.0 (KHTML, like Gecko), URL: http://…`
fn read_list<'a>(text: &'a [u8], reading: &mut Reading<'a>) {
    let mut rest = text;
    for _ in 0..WORDS_MAX {
        let Some(colon) = memmem::find(rest, b": ") else { return };
        let (key, value) = rest.split_at_checked(colon).unwrap_or_default();
        let value = value.get(2..).unwrap_or_default();
        let end = memmem::find_iter(value, b", ").find(|at| is_key(value.get(at + 2..).unwrap_or_default()));
        let (value, after) = value.split_at_checked(end.unwrap_or(value.len())).unwrap_or_default();
        if let Some(field) = list_field(key) {
            reading.take(field, value);
        }
        rest = after.get(2..).unwrap_or_default();
    }
}

fn is_key(text: &[u8]) -> bool {
    let length =
        text.iter().take(40).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
    length > 0 && text.get(length..).is_some_and(|rest| rest.starts_with(b": "))
}

fn list_field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"SrcIP" | b"InitiatorIP" => Field::Src,
        b"SrcPort" | b"InitiatorPort" => Field::SrcPort,
        b"DstIP" | b"ResponderIP" => Field::Dst,
        b"DstPort" | b"ResponderPort" => Field::DstPort,
        b"NAT_InitiatorIP" => Field::SrcAfter,
        b"NAT_InitiatorPort" => Field::SrcAfterPort,
        b"NAT_ResponderIP" => Field::DstAfter,
        b"NAT_ResponderPort" => Field::DstAfterPort,
        b"OriginalClientIP" => Field::Forwarded,
        b"Protocol" => Field::Proto,
        b"URL" | b"HTTPReferer" | b"HTTP_Referer" => Field::Url,
        b"DNSQuery" | b"SSLServerName" => Field::Domain,
        b"UserAgent" => Field::UserAgent,
        b"FileSHA256" => Field::Hash,
        b"User" => Field::User,
        b"FileName" | b"ThreatName" | b"ClientVersion" | b"SSLCertificate" | b"WebApplication" => {
            Field::Nothing
        }
        _ => return None,
    })
}

#[cfg(test)]
#[path = "cisco_tests.rs"]
mod tests;

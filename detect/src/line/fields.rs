//! What the text before an address says about it: a field's name (`SRC=`, `"src_ip":"`, `rhost=`) or a word (`from`).

use std::ops::Range;

/// The part an address plays in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Src,
    Dst,
    /// An address that a translation put in the place of another.
    Nat,
    Text,
}

const SRC: &[&str] = &[
    "src",
    "srcv6",
    "srcip",
    "src_ip",
    "src-ip",
    "srcaddr",
    "src_addr",
    "source",
    "sourceip",
    "source_ip",
    "source.ip",
    "sourceaddress",
    "source_address",
    "saddr",
    "s_ip",
    "client",
    "clientip",
    "client_ip",
    "client-ip",
    "client_addr",
    "clientaddr",
    "clienthost",
    "clientaddress",
    "client_address",
    "client.ip",
    "remote",
    "remip",
    "remoteip",
    "remote_ip",
    "remote-ip",
    "remoteaddr",
    "remote_addr",
    "remoteaddress",
    "remote_address",
    "remotehost",
    "remote_host",
    "rhost",
    "rip",
    "c-ip",
    "c_ip",
    "cip",
    "peer",
    "peerip",
    "peer_ip",
    "attacker",
    "from",
    "fromip",
    "from_ip",
    "orig_h",
    "id.orig_h",
    "ipsrc",
    "ip_src",
    "ip.src",
    "sourceipaddress",
    "callerip",
    "caller_ip",
    "origin_ip",
    "user_ip",
    "userip",
    "x-forwarded-for",
    "x_forwarded_for",
    "x-real-ip",
];
const DST: &[&str] = &[
    "dst",
    "dstv6",
    "dstip",
    "dst_ip",
    "dst-ip",
    "dstaddr",
    "dst_addr",
    "dest",
    "destip",
    "dest_ip",
    "destaddr",
    "destination",
    "destinationip",
    "destination_ip",
    "destination.ip",
    "destinationaddress",
    "destination_address",
    "daddr",
    "d_ip",
    "s-ip",
    "server",
    "serverip",
    "server_ip",
    "lip",
    "laddr",
    "resp_h",
    "id.resp_h",
    "ipdst",
    "ip_dst",
    "ip.dst",
    "target",
    "targetip",
    "target_ip",
    "to",
];
const NAT: &[&str] = &[
    "transip",
    "tranip",
    "natsrc",
    "natdst",
    "nat_src",
    "nat_dst",
    "modsrc",
    "moddst",
    "origsrc",
    "origdst",
    "src_trans_ip",
    "dst_trans_ip",
    "tran_src_ip",
    "tran_dst_ip",
    "src_ip_nat",
    "dst_ip_nat",
    "natsrcip",
    "natdstip",
    "sourcetranslatedaddress",
    "destinationtranslatedaddress",
    "natsrcv6",
    "natdstv6",
    "nat_srcip",
    "nat_dstip",
];
/// Words in free text that name the sender.
const FROM: &[&str] = &["from", "client", "peer", "remote", "by", "attacker"];

/// Fields that only say what kind of value follows; the word before them says whose it is.
const KIND: &[&str] = &["ip", "address", "addr", "host", "ipaddress", "ip_address"];
/// Fields with the port of a source or destination that stands elsewhere in the line.
const SRC_PORT: &[&str] = &["SPT=", "srcport=", "src_port=", "sport=", "spt="];
const DST_PORT: &[&str] = &["DPT=", "dstport=", "dst_port=", "dport=", "dpt="];

/// Longer names of fields are none of these.
const NAME_BYTES_MAX: usize = 64;

/// The port that a line gives in a field of its own to its source or destination.
pub(super) fn port(line: &[u8], role: Role) -> Option<u16> {
    let names = match role {
        Role::Src => SRC_PORT,
        Role::Dst => DST_PORT,
        Role::Nat | Role::Text => return None,
    };
    names.iter().find_map(|name| {
        let at = memchr::memmem::find(line, name.as_bytes())?;
        let value = trim_quote(line.get(at + name.len()..)?);
        let digits = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
        std::str::from_utf8(value.get(..digits)?).ok()?.parse().ok()
    })
}

fn trim_quote(value: &[u8]) -> &[u8] {
    value.strip_prefix(b"\"").unwrap_or(value)
}

/// The role of the value that stands at `span`.
pub(super) fn role_of(line: &[u8], span: Range<usize>) -> Role {
    let role = role_before(line, span.start);
    if role == Role::Text && sends_on(line.get(span.end..).unwrap_or_default()) {
        return Role::Src;
    }
    role
}

/// `address:port->`, `address ->`.
fn sends_on(after: &[u8]) -> bool {
    let port = after.iter().take_while(|byte| matches!(byte, b':' | b'0'..=b'9' | b']')).count();
    after.get(port..).unwrap_or_default().trim_ascii_start().starts_with(b"->")
}

fn role_before(line: &[u8], at: usize) -> Role {
    let before = line.get(..at).unwrap_or_default();
    if before.trim_ascii_end().is_empty() {
        return Role::Src; // access logs begin with the client
    }
    let before = trim_openings(before);
    if let [rest @ .., b'=' | b':'] = before.trim_ascii_end() {
        return by_name(trim_openings(rest.trim_ascii_end()));
    }
    if before.trim_ascii_end().ends_with(b"->") {
        return Role::Dst;
    }
    let gap = before.len() - before.trim_ascii_end().len();
    let word = word_at_end(before.trim_ascii_end());
    if gap > 0 && FROM.iter().any(|from| word.eq_ignore_ascii_case(from.as_bytes())) {
        return Role::Src;
    }
    Role::Text
}

/// The name of the field whose value begins behind a text: `file="`, `"file": "`.
pub(super) fn name_before(before: &[u8]) -> Option<&[u8]> {
    match trim_openings(before).trim_ascii_end() {
        [rest @ .., b'=' | b':'] => Some(word_at_end(trim_openings(rest.trim_ascii_end()))),
        _ => None,
    }
}

/// The word before a value, which quotes may open.
pub(super) fn word_before(before: &[u8]) -> &[u8] {
    let before = trim_openings(before);
    let trimmed = before.trim_ascii_end();
    if trimmed.len() == before.len() { b"" } else { word_at_end(trimmed) }
}

/// Removes the quotes and brackets that open before a value.
fn trim_openings(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b'"' | b'\'' | b'[' | b'(' | b'<' | b'{' | b'\\' | b'/'] = text {
        text = rest;
    }
    text
}

fn word_at_end(text: &[u8]) -> &[u8] {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let length = text.iter().rev().take(NAME_BYTES_MAX).take_while(|byte| is_name(byte)).count();
    text.get(text.len() - length..).unwrap_or_default()
}

fn by_name(before: &[u8]) -> Role {
    let mut name = word_at_end(before);
    if KIND.iter().any(|kind| name.eq_ignore_ascii_case(kind.as_bytes())) {
        let whose = before.get(..before.len() - name.len()).unwrap_or_default().trim_ascii_end();
        name = word_at_end(whose);
    }
    let is = |list: &[&str]| list.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    if is(SRC) {
        Role::Src
    } else if is(DST) {
        Role::Dst
    } else if is(NAT) {
        Role::Nat
    } else {
        Role::Text
    }
}

//! What the text before an address says about it: a field's name (`SRC=`, `"src_ip":"`, `rhost=`) or a word (`from`).

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

/// The role of the value that begins at `at`.
pub(super) fn role_before(line: &[u8], at: usize) -> Role {
    let before = line.get(..at).unwrap_or_default();
    if before.trim_ascii().is_empty() {
        return Role::Src; // access logs begin with the client
    }
    let before = trim_openings(before);
    if let [rest @ .., b'=' | b':'] = before {
        let name = word_at_end(trim_openings(rest.trim_ascii_end()));
        return by_name(name);
    }
    if before.ends_with(b"->") {
        return Role::Dst;
    }
    let gap = before.len() - before.trim_ascii_end().len();
    let word = word_at_end(before.trim_ascii_end());
    if gap > 0 && FROM.iter().any(|from| word.eq_ignore_ascii_case(from.as_bytes())) {
        return Role::Src;
    }
    Role::Text
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
    let length = text.iter().rev().take_while(|byte| is_name(byte)).count();
    text.get(text.len() - length..).unwrap_or_default()
}

fn by_name(name: &[u8]) -> Role {
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

//! WatchGuard Firebox: traffic by position, then key="value" pairs.

use std::net::IpAddr;

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "watchguard", read };

/// Words among which the two addresses stand: interfaces have names of several.
const WORDS_MAX: usize = 32;

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(start) = memmem::find(logged.message, b"msg_id=\"") else { return false };
    // msg_id="3000-0148"
    let Some((id, rest)) = logged.message.get(start + 8..).and_then(|text| text.split_at_checked(10)) else {
        return false;
    };
    if id.get(4) != Some(&b'-') || id.last() != Some(&b'"') {
        return false;
    }
    read_positions(rest, reading);
    let (mut host, mut path, mut is_tls): (&[u8], &[u8], bool) = (b"", b"", false);
    for pair in Pairs::of(rest) {
        match pair.key {
            b"dstname" | b"host" => host = pair.value,
            b"arg" | b"path" => path = pair.value,
            key => {
                is_tls |= key == b"proxy_act" && pair.value.starts_with(b"HTTPS");
                if let Some(field) = field(key) {
                    pair.take(field, reading);
                }
            }
        }
    }
    if path.is_empty() {
        reading.take(Field::Domain, host);
    } else {
        take_url(reading, if is_tls { "https" } else { "http" }, host, path);
    }
    true
}

/// `Allow 1-Trusted 0-External 52 tcp 20 127 10.0.0.5 203.0.113.5 62443 443`, with fewer numbers from proxies.
fn read_positions<'a>(text: &'a [u8], reading: &mut Reading<'a>) {
    let is_address = |word: &[u8]| {
        let looks = word.len() >= 3
            && word.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':'));
        looks && std::str::from_utf8(word).is_ok_and(|word| word.parse::<IpAddr>().is_ok())
    };
    let mut words = text.split(|byte| *byte == b' ').take(WORDS_MAX).peekable();
    while let Some(word) = words.next() {
        if matches!(word, b"tcp" | b"udp" | b"icmp" | b"icmpv6" | b"igmp" | b"esp" | b"gre") {
            reading.take(Field::Proto, word);
        }
        let Some(next) = words.peek().copied().filter(|next| is_address(word) && is_address(next)) else {
            continue;
        };
        reading.take(Field::Src, word);
        reading.take(Field::Dst, next);
        words.next();
        // Of ICMP, type and code follow.
        if !reading.get(Field::Proto).is_some_and(|proto| matches!(&*proto.text, b"tcp" | b"udp")) {
            return;
        }
        let ports = [Field::SrcPort, Field::DstPort].into_iter().zip(words);
        for (field, port) in ports {
            if port.is_empty() || !port.iter().all(u8::is_ascii_digit) {
                return;
            }
            reading.take(field, port);
        }
        return;
    }
}

fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"src_ip" => Field::Src,
        b"dst_ip" => Field::Dst,
        b"src_port" => Field::SrcPort,
        b"dst_port" => Field::DstPort,
        b"src_ip_nat" => Field::SrcAfter,
        b"src_port_nat" => Field::SrcAfterPort,
        b"dst_ip_nat" => Field::DstAfter,
        b"dst_port_nat" => Field::DstAfterPort,
        b"question" | b"sni" | b"cn" => Field::Domain,
        b"md5" | b"sha1" | b"sha256" => Field::Hash,
        b"sender" | b"recipients" => Field::Email,
        b"src_user" | b"dst_user" | b"user" => Field::User,
        b"signature_name" | b"virus" | b"app_name" | b"cat_name" | b"file_name" | b"content_name"
        | b"tls_version" | b"tls_profile" | b"proxy_act" | b"rule_name" | b"sig_vers" => Field::Nothing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    const HEAD: &str = "<142>Nov 22 10:00:00 Firebox FVE0000000001 (2026-11-22T09:00:00) ";

    fn check_rest(rest: &str, expected: &[&str]) {
        check(&FORMAT, &format!("{HEAD}{rest}"), expected);
    }

    #[test]
    fn traffic_by_position() {
        check_rest(
            r#"firewall[10]: msg_id="3000-0148" Allow Firebox 0-External 52 tcp 20 127 198.51.100.1 203.0.113.5 62443 80 offset 8 S 123 win 32 geo_dst="ITA"  (Any From Firebox-00)"#,
            &["log.src 198.51.100.1:62443", "log.dst 203.0.113.5:80"],
        );
        check_rest(
            r#"firewall: msg_id="3000-0148" Deny 0-External Firebox 84 icmp 20 52 203.0.113.5 198.51.100.1 8 0 rc="101" (Unhandled External Packet-00)"#,
            &["log.src 203.0.113.5", "log.dst 198.51.100.1"],
        );
        check_rest(
            r#"firewall: msg_id="3000-0151" Allow 1-Rete interna 0-External udp 2001:db8::5 2001:db8:1::9 51000 53 duration="5" sent_bytes="5" (DNS-00)"#,
            &["log.src 2001:db8::5:51000", "log.dst 2001:db8:1::9:53"],
        );
    }

    #[test]
    fn translations_and_users() {
        check_rest(
            r#"firewall: msg_id="3000-0148" Allow 1-Trusted 0-External 52 tcp 20 127 10.0.0.5 203.0.113.5 62443 443 src_ip_nat="198.51.100.1" src_port_nat="20000" src_user="uno@Firebox-DB" signature_name="Evil.info""#,
            &["log.src 10.0.0.5:62443", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:20000"],
        );
        check_rest(
            r#"firewall: msg_id="3000-0148" Allow 0-External 1-Trusted tcp 203.0.113.5 198.51.100.1 4000 443 dst_ip_nat="10.0.0.9" dst_port_nat="8443""#,
            &["log.src 203.0.113.5:4000", "log.dst 198.51.100.1:443", "log.nat 10.0.0.9:8443"],
        );
    }

    #[test]
    fn requests_of_the_proxies() {
        check_rest(
            r#"http-proxy[5]: msg_id="1AFF-0024" Allow 1-Trusted 0-External tcp 10.0.0.5 203.0.113.5 51000 80 msg="HTTP request" proxy_act="HTTP-Client.1" op="GET" dstname="www.evil.example" arg="/a" md5="0123456789abcdef0123456789abcdef" virus="Evil.info" (HTTP-proxy-00)"#,
            &[
                "log.src 10.0.0.5:51000",
                "log.dst 203.0.113.5:80",
                "log.domain www.evil.example",
                "log.url http://www.evil.example/a",
                "log.hash 0123456789abcdef0123456789abcdef",
            ],
        );
        check_rest(
            r#"dns-proxy[5]: msg_id="1DFF-000F" Deny 1-Trusted 0-External udp 10.0.0.5 203.0.113.53 51000 53 msg="DNS question match" query_type="A" tls_profile="TLS-Client.Standard" question="evil.example" (DNS-proxy-00)"#,
            &["log.src 10.0.0.5:51000", "log.dst 203.0.113.53:53", "log.domain evil.example"],
        );
    }

    #[test]
    fn events_are_free_text() {
        check_rest(
            r#"sessiond[5]: msg_id="3E00-0004" SSL VPN user uno@Firebox-DB from 203.0.113.5 was rejected"#,
            &["log.src 203.0.113.5"],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "msg_id=\"5\" Allow tcp 10.0.0.5 203.0.113.5");
        check_not(&FORMAT, "msg_id=3000-0148 Allow tcp 10.0.0.5 203.0.113.5");
    }
}

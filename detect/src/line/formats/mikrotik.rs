//! MikroTik RouterOS: firewall lines (`a:1->b:2, NAT (a:1->c:3)->b:2`), leases, the web proxy, logins.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "mikrotik", read };

const TOPICS: [&[u8]; 24] = [
    b"account",
    b"bridge",
    b"caps",
    b"certificate",
    b"container",
    b"dhcp",
    b"dns",
    b"firewall",
    b"hotspot",
    b"interface",
    b"ipsec",
    b"l2tp",
    b"ovpn",
    b"ppp",
    b"pppoe",
    b"pptp",
    b"radius",
    b"route",
    b"script",
    b"sstp",
    b"system",
    b"web-proxy",
    b"wireguard",
    b"wireless",
];

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let topic = topic(logged.message);
    if let Some(connection) = connection(logged.message) {
        read_connection(connection, reading);
        return true;
    }
    let Some(text) = topic else { return false };
    let words = |after: &[u8], field: Field, reading: &mut Reading<'a>| {
        if let Some(at) = memmem::find(text, after)
            && let Some(rest) = text.get(at + after.len()..)
        {
            let end = memchr::memchr2(b' ', b',', rest).unwrap_or(rest.len());
            reading.take(field, rest.get(..end).unwrap_or_default());
        }
    };
    if logged.message.starts_with(b"web-proxy") {
        // `10.0.0.5 GET http://… action=allow cache=MISS`
        let mut parts = text.split(|byte| *byte == b' ');
        reading.take(Field::Src, parts.next().unwrap_or_default());
        let _method = parts.next();
        reading.take(Field::Url, parts.next().unwrap_or_default());
        return true;
    }
    words(b"assigned ", Field::Address, reading);
    words(b" from ", Field::Src, reading);
    words(b"user ", Field::User, reading);
    true
}

/// What follows `firewall,info ` and other topics.
fn topic(message: &[u8]) -> Option<&[u8]> {
    let is_topic =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b',' | b'-' | b'!');
    let length = message.iter().take(80).take_while(|byte| is_topic(byte)).count();
    let (topics, rest) = message.split_at_checked(length)?;
    let (first, _) = topics.split_at_checked(memchr::memchr(b',', topics)?)?;
    TOPICS.contains(&first).then(|| rest.trim_ascii_start())
}

/// What follows the protocol of a packet: `10.0.0.5:51000->203.0.113.5:443, NAT …, len 52`.
fn connection(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let inside = memmem::find(message, b"in:")?;
    let after = message.get(inside..)?;
    memmem::find(after, b" out:")?;
    let rest = after.get(memmem::find(after, b"proto ")? + 6..)?;
    let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
    let (proto, rest) = rest.split_at_checked(name)?;
    // `TCP (ACK,FIN), `, `ICMP (type 8, code 0), `
    let rest = match rest.strip_prefix(b" (") {
        Some(flags) => flags.get(memchr::memchr(b')', flags)? + 1..)?,
        None => rest,
    };
    let rest = rest.strip_prefix(b", ")?;
    memmem::find(rest.get(..100).unwrap_or(rest), b"->")?;
    Some((proto, rest))
}

fn read_connection<'a>((proto, text): (&'a [u8], &'a [u8]), reading: &mut Reading<'a>) {
    let until_comma =
        |text: &'a [u8]| text.get(..memchr::memchr(b',', text).unwrap_or(text.len())).unwrap_or_default();
    let arrow = |text: &'a [u8]| {
        let at = memmem::find(text, b"->")?;
        Some((text.get(..at)?, text.get(at + 2..)?))
    };
    reading.take(Field::Proto, proto);
    let Some((src, dst)) = arrow(until_comma(text)) else { return };
    let dst = dst.trim_ascii();
    reading.take(Field::Src, src);
    reading.take(Field::Dst, dst);
    let Some(nat) = memmem::find(text, b", NAT ").and_then(|at| text.get(at + 6..)) else { return };
    // `(before->after)->…` or `before->…`, and the same of the destination.
    let nat = until_comma(nat).trim_ascii();
    let pair = |text: &'a [u8]| {
        let inside = text.strip_prefix(b"(").unwrap_or(text);
        arrow(inside.strip_suffix(b")").unwrap_or(inside)).unwrap_or((text, text))
    };
    let split = match nat.strip_prefix(b"(") {
        Some(inside) => {
            memmem::find(inside, b")->").and_then(|end| Some((inside.get(..end)?, inside.get(end + 3..)?)))
        }
        None => arrow(nat),
    };
    let Some((nat_src, nat_dst)) = split else { return };
    let (src_before, src_after) = pair(nat_src);
    let (dst_before, dst_after) = pair(nat_dst);
    for (field, value, known) in [
        (Field::SrcBefore, src_before, src),
        (Field::SrcAfter, src_after, src),
        (Field::DstBefore, dst_before, dst),
        (Field::DstAfter, dst_after, dst),
    ] {
        reading.take(if value == known { Field::Nothing } else { field }, value);
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn packets() {
        let tcp = "forward: in:ether5_EXT out:Rete interna, src-mac 02:00:00:00:00:01, proto TCP (ACK,FIN), 10.0.0.5:57916->203.0.113.5:443, len 52";
        let ends = ["log.src 10.0.0.5:57916", "log.dst 203.0.113.5:443"];
        for head in [
            "firewall,info ",
            "<134>Nov 22 10:00:00 MikroTik firewall,info ",
            "Nov 22 10:00:00 router firewall,info DROP-x ",
            "",
        ] {
            check(&FORMAT, &format!("{head}{tcp}"), &ends);
        }
        check(
            &FORMAT,
            "firewall,info input: in:<pppoe-out1> out:(unknown 0), connection-state:new proto ICMP (type 8, code 0), 203.0.113.5->192.0.2.9, len 28",
            &["log.src 203.0.113.5", "log.dst 192.0.2.9"],
        );
        check(
            &FORMAT,
            "firewall,info forward: in:ether1 out:bridge, proto UDP, [2001:db8::5]:4000->[2001:db8:1::9]:53, len 71",
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:53"],
        );
        check(
            &FORMAT,
            "firewall,info input: in:ether1 out:(unknown 0), proto ICMP (type 135, code 0), fe80::1->ff02::1, len 64",
            &["log.src fe80::1", "log.dst ff02::1"],
        );
    }

    #[test]
    fn translations() {
        check(
            &FORMAT,
            "firewall,info forward: in:lan out:wan, proto TCP (SYN), 10.0.0.5:57916->203.0.113.5:443, NAT (10.0.0.5:57916->198.51.100.1:57916)->203.0.113.5:443, len 52",
            &["log.src 10.0.0.5:57916", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:57916"],
        );
        check(
            &FORMAT,
            "firewall,info forward: in:wan out:lan, proto TCP (SYN), 203.0.113.5:4000->10.0.0.9:443, NAT 203.0.113.5:4000->(198.51.100.1:8443->10.0.0.9:443), len 52",
            &["log.src 203.0.113.5:4000", "log.dst 10.0.0.9:443", "log.nat 198.51.100.1:8443"],
        );
        check(
            &FORMAT,
            "firewall,info forward: in:wan out:lan, proto TCP (SYN), 203.0.113.5:4000->10.0.0.9:443, NAT (203.0.113.5:4000->10.0.0.1:4000)->(198.51.100.1:8443->10.0.0.9:443), len 52",
            &[
                "log.src 203.0.113.5:4000",
                "log.dst 10.0.0.9:443",
                "log.nat 10.0.0.1:4000",
                "log.nat 198.51.100.1:8443",
            ],
        );
    }

    #[test]
    fn leases_requests_and_logins() {
        check(
            &FORMAT,
            "dhcp,info defconf assigned 10.0.0.5 to 02:00:00:00:00:01 pc-1",
            &["log.text 10.0.0.5"],
        );
        check(
            &FORMAT,
            "web-proxy,account 10.0.0.5 GET http://www.evil.example/a action=allow cache=MISS",
            &["log.src 10.0.0.5", "log.url http://www.evil.example/a", "log.domain www.evil.example"],
        );
        check(
            &FORMAT,
            "<27>Nov 22 10:00:00 router system,error,critical login failure for user root from 203.0.113.5 via ssh",
            &["log.src 203.0.113.5"],
        );
        check(
            &FORMAT,
            "dns,packet query from 10.0.0.5: #123 www.evil.example. A",
            &["log.src 10.0.0.5", "log.domain www.evil.example"],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "firewall: in: out: proto 10.0.0.5");
        check_not(&FORMAT, "mail,info from 203.0.113.5");
        check_not(&FORMAT, "in:a out:b, proto TCP (");
    }
}

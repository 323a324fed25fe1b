//! SonicWall: `address:port:interface:name` for both ends, and the same for what they were translated to.

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "sonicwall", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    let has = |needle: &[u8]| memmem::find(message, needle).is_some();
    if !message.starts_with(b"id=") || !has(b" sn=") || !(has(b" m=") || has(b" fw=")) {
        return false;
    }
    let (mut host, mut path, mut is_tls): (&[u8], &[u8], bool) = (b"", b"", false);
    for pair in Pairs::of(message) {
        let end = match pair.key {
            b"src" | b"srcV6" => Field::Src,
            b"dst" | b"dstV6" => Field::Dst,
            b"natSrc" | b"natSrcV6" => Field::SrcAfter,
            b"natDst" | b"natDstV6" => Field::DstAfter,
            b"dstname" => {
                host = pair.value;
                continue;
            }
            b"arg" => {
                path = pair.value;
                continue;
            }
            key => {
                is_tls |= key == b"proto" && pair.value.ends_with(b"/https");
                if let Some(field) = field(key) {
                    pair.take(field, reading);
                }
                continue;
            }
        };
        let text = endpoint(pair.value);
        // `src=:49702:X0` has its address in `srcV6`.
        if text.starts_with(b":") && !text.starts_with(b"::") {
            continue;
        }
        let known = if end == Field::SrcAfter { Field::Src } else { Field::Dst };
        // Some versions give the same address again, without its port, where nothing was translated.
        let is_same = matches!(end, Field::SrcAfter | Field::DstAfter)
            && reading.get(known).is_some_and(|value| {
                value.text.strip_prefix(text).is_some_and(|port| matches!(port.first(), None | Some(b':')))
            });
        reading.take(if is_same { Field::Nothing } else { end }, text);
    }
    if path.is_empty() {
        reading.take(Field::Domain, host);
    } else {
        take_url(reading, if is_tls { "https" } else { "http" }, host, path);
    }
    true
}

fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"time" => Field::Time,
        b"proto" => Field::Proto,
        b"usr" | b"user" | b"susr" => Field::User,
        b"fileid" => Field::Hash,
        b"ipscat" | b"spycat" | b"appName" | b"appcat" | b"rule" => Field::Nothing,
        _ => return None,
    })
}

/// Address and port of `address:port:interface:name`, in which all but the address may be missing.
fn endpoint(text: &[u8]) -> &[u8] {
    let address = match text.first() {
        Some(b'[') => memchr::memchr(b']', text).map_or(text.len(), |end| end + 1),
        // An IPv6 address without brackets has nothing after it.
        _ if !text.iter().take(16).any(|byte| *byte == b'.') => return text,
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let after = text.get(address..).unwrap_or_default();
    let digits = after.iter().skip(1).take_while(|byte| byte.is_ascii_digit()).count();
    let port = if after.starts_with(b":") && digits > 0 { digits + 1 } else { 0 };
    text.get(..address + port).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    const HEAD: &str =
        r#"<134>  id=firewall sn=0017C5000000 time="2026-11-22 10:00:00 UTC" fw=198.51.100.1 pri=6 c=1024"#;

    fn check_rest(rest: &str, expected: &[&str]) {
        let expected = [&["log.text 198.51.100.1"], expected].concat();
        check(&FORMAT, &format!("{HEAD} {rest}"), &expected);
    }

    #[test]
    fn ends_have_interfaces_and_names() {
        check_rest(
            r#"m=537 msg="Connection Closed" n=5 src=10.0.0.5:54606:X0 dst=203.0.113.5:443:X1:www.evil.example proto=tcp/https sent=5 rcvd=5"#,
            &["log.src 10.0.0.5:54606", "log.dst 203.0.113.5:443", "log.domain www.evil.example"],
        );
        check_rest(
            r#"m=36 msg="TCP packet dropped" src=203.0.113.5::X1 dst=192.0.2.9:23:X1 srcMac=02:00:00:00:00:01 dstMac=02:00:00:00:00:02 proto=tcp/23 rule="5.1.2.3 (WAN->LAN)""#,
            &["log.src 203.0.113.5", "log.dst 192.0.2.9:23"],
        );
        check_rest(
            "m=1233 src=:49702:X0-V5 srcV6=fe80::5 dst=:5355 dstV6=ff02::1:3 proto=udp/5355",
            &["log.src fe80::5", "log.dst ff02::1:3"],
        );
        check_rest(
            "m=98 src=[2001:db8::5]:4000:X0 dst=[2001:db8:1::9]:443:X1 proto=tcp/https",
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:443"],
        );
    }

    #[test]
    fn translations() {
        check_rest(
            "m=98 src=10.0.0.5:54606:X0 natSrc=198.51.100.7:20000 dst=203.0.113.5:80:X1 natDst=203.0.113.5:80 proto=tcp/http",
            &["log.src 10.0.0.5:54606", "log.dst 203.0.113.5:80", "log.nat 198.51.100.7:20000"],
        );
        check_rest(
            "m=98 srcV6=2001:db8::5 natSrcV6=[2001:db8:2::1]:1234 dstV6=2001:db8:1::9 natDstV6=not_an_IP",
            &["log.src 2001:db8::5", "log.dst 2001:db8:1::9", "log.nat 2001:db8:2::1:1234"],
        );
    }

    #[test]
    fn requests_and_users() {
        check_rest(
            r#"m=97 src=10.0.0.5:51000:X0 dst=203.0.113.5:80:X1 proto=tcp/http op=GET result=200 dstname=www.evil.example arg=/a/b.php?c=1 code=5 Category="Malware" usr="uno""#,
            &[
                "log.src 10.0.0.5:51000",
                "log.dst 203.0.113.5:80",
                "log.domain www.evil.example",
                "log.url http://www.evil.example/a/b.php?c=1",
            ],
        );
        check_rest(
            r#"m=608 msg="IPS Detection Alert" ipscat="Evil.info Scan" src=203.0.113.5:4000:X1 dst=10.0.0.9:80:X0"#,
            &["log.src 203.0.113.5:4000", "log.dst 10.0.0.9:80"],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "id=firewall time=\"2026-11-22 10:00:00\" fw=\"x\" tz=+0000 src=10.0.0.5");
        check_not(&FORMAT, "m=5 sn=7 fw=8");
    }
}

//! Stormshield (and Netasq before it): filter, connection, alarm and proxy logs in WebTrends' extended form.
//!
//! `modsrc` is the source after translation, `origdst` the destination before it.

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "stormshield", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    let has = |needle: &[u8]| memmem::find(message, needle).is_some();
    // SonicWall begins with the same words and has a serial number.
    let is_other = !message.starts_with(b"id=firewall ") || has(b" sn=");
    if is_other || !has(b" fw=") || !(has(b" tz=") || has(b" logtype=")) {
        return false;
    }
    let (mut host, mut argument, mut is_tls): (&[u8], &[u8], bool) = (b"", b"", false);
    let (mut time, mut zone): (&[u8], &[u8]) = (b"", b"");
    for pair in Pairs::of(message) {
        match pair.key {
            b"time" => time = pair.value,
            b"tz" => zone = pair.value,
            b"dstname" => host = pair.value,
            b"arg" => argument = pair.value,
            key => {
                is_tls |= key == b"dstport" && pair.value == b"443";
                if let Some(field) = field(key) {
                    pair.take(field, reading);
                }
            }
        }
    }
    if !argument.is_empty() && !host.is_empty() {
        take_url(reading, if is_tls { "https" } else { "http" }, host, argument);
    } else {
        reading.take(Field::Domain, host);
    }
    if !time.is_empty() {
        reading.take_unescaped(Field::Time, [time, zone].join(&b' '), time);
    }
    true
}

fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"src" => Field::Src,
        b"srcport" => Field::SrcPort,
        b"dst" => Field::Dst,
        b"dstport" => Field::DstPort,
        b"modsrc" => Field::SrcAfter,
        b"modsrcport" => Field::SrcAfterPort,
        b"origdst" => Field::DstBefore,
        b"origdstport" => Field::DstBeforePort,
        b"ipproto" => Field::Proto,
        b"address" => Field::Address,
        b"hash" | b"sha256" => Field::Hash,
        b"user" => Field::User,
        b"virus" | b"version" | b"product" | b"filename" | b"rulename" | b"startime" => Field::Nothing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;
    use crate::line::made::view;

    const HEAD: &str =
        r#"id=firewall time="2026-11-22 10:00:00" fw="sns-1" tz=+0100 startime="2026-11-22 10:00:00" pri=5"#;

    fn check_rest(rest: &str, expected: &[&str]) {
        check(&FORMAT, &format!("<134>1 2026-11-22T10:00:00+01:00 sns-1 asqd - - - {HEAD} {rest}"), expected);
        check(&FORMAT, &format!("{HEAD} {rest}"), expected);
    }

    #[test]
    fn connections_with_their_translation() {
        check_rest(
            r#"confid=01 slotlevel=2 ruleid=5 srcif="Ethernet1" srcifname="in" ipproto=udp proto=ntp src=10.0.0.5 srcport=123 srcportname=ntp srcmac=02:00:00:00:00:01 dst=203.0.113.5 dstport=123 dstname=time.evil.example modsrc=198.51.100.1 modsrcport=20123 origdst=203.0.113.6 origdstport=123 ipv=4 action=pass logtype="connection""#,
            &[
                "log.src 10.0.0.5:123",
                "log.dst 203.0.113.5:123",
                "log.nat 198.51.100.1:20123",
                "log.nat 203.0.113.6:123",
                "log.domain time.evil.example",
            ],
        );
        check_rest(
            r#"ipproto=tcp src=2001:db8::5 srcport=4000 dst=2001:db8:1::9 dstport=22 modsrc=2001:db8::5 modsrcport=4000 origdst=2001:db8:1::9 origdstport=22 ipv=6 action=block msg="Port scan" class=protocol alarmid=5 logtype="alarm""#,
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:22"],
        );
    }

    #[test]
    fn requests_of_the_proxies() {
        let proxy = "src=10.0.0.5 srcport=51000 dst=203.0.113.5";
        let ends = ["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:80"];
        check_rest(
            &format!(
                r#"{proxy} dstport=80 proto=http op=GET result=200 dstname=www.evil.example arg="/a?b=1" user="uno" virus="Evil.info" logtype="web""#
            ),
            &[ends[0], ends[1], "log.domain www.evil.example", "log.url http://www.evil.example/a?b=1"],
        );
        check_rest(
            &format!(r#"{proxy} dstport=443 proto=ssl dstname=www.evil.example arg="/" logtype="proxy""#),
            &[
                ends[0],
                "log.dst 203.0.113.5:443",
                "log.domain www.evil.example",
                "log.url https://www.evil.example/",
            ],
        );
        check_rest(
            &format!(
                r#"{proxy} dstport=80 dstname=www.evil.example arg="http://www.evil.example/x" logtype="web""#
            ),
            &[ends[0], ends[1], "log.domain www.evil.example", "log.url http://www.evil.example/x"],
        );
    }

    #[test]
    fn the_time_has_its_zone_apart() {
        let read_at = "2026-11-22T15:00:00Z".parse().unwrap();
        let at = view(HEAD.as_bytes()).written_at(read_at);
        assert_eq!(at, Some("2026-11-22T09:00:00Z".parse().unwrap()));
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "id=firewall sn=0017C5000000 time=\"2026-11-22 10:00:00\" fw=192.0.2.1 tz=x");
        check_not(&FORMAT, "id=\"2001\" fw=x tz=y");
    }
}

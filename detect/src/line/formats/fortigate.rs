//! FortiGate (FortiOS) in its own key=value form: traffic, UTM and event logs. Also FortiOS 4, FortiMail and FortiWeb.
//!
//! `transip` is the source after translation, `tranip` the destination after translation, while `dstip` stays the
//! public address; `trandisp` says which of the two were translated.

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::pairs::{Pair, Pairs};
use crate::line::reading::{Field, Reading};

pub(super) const FORMAT: Format = Format { name: "fortigate", read };

fn read<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let has = |needle: &[u8]| memmem::find(logged.message, needle).is_some();
    if !has(b"type=") || !(has(b"logid=") || has(b"log_id=")) || !has(b" subtype=") {
        return false;
    }
    if !has(b"devid=") && !has(b"devname=") && !has(b"device_id=") && !logged.message.starts_with(b"date=") {
        return false;
    }
    let mut whole = Whole::default();
    for pair in Pairs::of(logged.message) {
        whole.note(&pair, reading);
    }
    whole.finish(reading);
    true
}

/// What has to be seen together.
#[derive(Default)]
struct Whole<'a> {
    /// `date`, `time`, `tz`.
    time: [&'a [u8]; 3],
    event_time: &'a [u8],
    host: &'a [u8],
    url: &'a [u8],
    service: &'a [u8],
    remote: [&'a [u8]; 2],
    local: [&'a [u8]; 2],
    begun_here: bool,
    translated: Vec<(Field, &'a [u8])>,
    untranslated: bool,
}

impl<'a> Whole<'a> {
    fn note(&mut self, pair: &Pair<'a>, reading: &mut Reading<'a>) {
        let [date, time, tz] = &mut self.time;
        match pair.key {
            b"date" => *date = pair.value,
            b"time" => *time = pair.value,
            b"tz" => *tz = pair.value,
            b"eventtime" => self.event_time = pair.value,
            b"hostname" => self.host = pair.value,
            b"url" => self.url = pair.value,
            b"service" => self.service = pair.value,
            b"remip" | b"rem_ip" => self.remote[0] = pair.value,
            b"remport" | b"rem_port" => self.remote[1] = pair.value,
            b"locip" | b"loc_ip" => self.local[0] = pair.value,
            b"locport" | b"loc_port" => self.local[1] = pair.value,
            b"init" => self.begun_here = pair.value == b"local",
            b"trandisp" | b"tran_disp" => self.untranslated = pair.value == b"noop",
            b"transip" | b"tran_sip" => self.translated.push((Field::SrcAfter, pair.value)),
            b"transport" | b"tran_sport" => self.translated.push((Field::SrcAfterPort, pair.value)),
            b"tranip" | b"tran_ip" => self.translated.push((Field::DstAfter, pair.value)),
            b"tranport" | b"tran_port" => self.translated.push((Field::DstAfterPort, pair.value)),
            // The addresses that a name has.
            b"ipaddr" => pair.value.split(|byte| *byte == b',').for_each(|address| {
                reading.take(Field::Address, address.trim_ascii());
            }),
            key => {
                if let Some(field) = field(key) {
                    pair.take(field, reading);
                }
            }
        }
    }

    fn finish(self, reading: &mut Reading<'a>) {
        for (field, value) in self.translated.into_iter().take(8) {
            let is_address = matches!(field, Field::SrcAfter | Field::DstAfter);
            if !self.untranslated && value != b"0.0.0.0" && value != b"::" {
                reading.take(field, value);
            } else if is_address {
                reading.take(Field::Nothing, value);
            }
        }
        let ends = if self.begun_here { [self.local, self.remote] } else { [self.remote, self.local] };
        let fields = [[Field::Src, Field::SrcPort], [Field::Dst, Field::DstPort]];
        for (field, value) in fields.into_iter().flatten().zip(ends.into_iter().flatten()) {
            reading.take(field, value);
        }
        let is_tls = self.service.eq_ignore_ascii_case(b"https") || self.service.eq_ignore_ascii_case(b"ssl");
        take_url(reading, if is_tls { "https" } else { "http" }, self.host, self.url);
        let [date, time, tz] = self.time;
        if self.event_time.len() > 8 {
            reading.take(Field::Time, self.event_time);
        } else if !date.is_empty() && !time.is_empty() {
            reading.take_unescaped(Field::Time, [date, time, tz].join(&b' '), date);
        }
    }
}

fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"srcip" | b"src" => Field::Src,
        b"srcport" | b"src_port" => Field::SrcPort,
        b"dstip" | b"dst" => Field::Dst,
        b"dstport" | b"dst_port" => Field::DstPort,
        b"proto" => Field::Proto,
        b"tunnelip" | b"assignip" => Field::Address,
        b"forwardedfor" => Field::Forwarded,
        b"qname" | b"sni" => Field::Domain,
        b"referralurl" => Field::Url,
        b"agent" => Field::UserAgent,
        b"filehash" | b"analyticscksum" => Field::Hash,
        b"from" | b"to" | b"sender" | b"recipient" => Field::Email,
        b"user" | b"unauthuser" | b"dstuser" | b"xauthuser" => Field::User,
        // Names of detections, applications and files, versions, and numbers as long as a hash.
        b"attack" | b"virus" | b"app" | b"dtype" | b"filename" | b"file" | b"osversion" | b"srcswversion"
        | b"fctuid" | b"fctver" | b"version" | b"policyname" | b"profile" => Field::Nothing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;
    use crate::line::made::view;

    const HEAD: &str = r#"<189>date=2026-11-22 time=10:00:00 devname="fw-1" devid="FGT60F0000000001" eventtime=1795338000500000000 tz="+0100" "#;

    fn check_rest(rest: &str, expected: &[&str]) {
        check(&FORMAT, &format!("{HEAD}{rest}"), expected);
    }

    #[test]
    fn traffic_with_its_translation() {
        let both = r#"logid="0000000013" type="traffic" subtype="forward" level="notice" vd="root" srcip=10.0.0.5 srcport=51000 srcintf="lan" dstip=203.0.113.5 dstport=443 dstintf="wan1" dstcountry="Italy" proto=6 action="close" policyid=1 service="HTTPS""#;
        let ends = ["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:443"];
        check_rest(&format!("{both} trandisp=\"noop\" transip=0.0.0.0 transport=0"), &ends);
        check_rest(
            &format!("{both} trandisp=\"snat\" transip=198.51.100.1 transport=60964 duration=5"),
            &[ends[0], ends[1], "log.nat 198.51.100.1:60964"],
        );
        check_rest(
            &format!(
                "{both} trandisp=\"snat+dnat\" tranip=10.9.0.1 tranport=80 transip=198.51.100.1 transport=60964"
            ),
            &[ends[0], ends[1], "log.nat 198.51.100.1:60964", "log.nat 10.9.0.1:80"],
        );
        check_rest(
            r#"logid="0000000013" type="traffic" subtype="forward" srcip=203.0.113.5 srcport=4000 dstip=198.51.100.1 dstport=80 proto=6 trandisp="dnat" tranip=10.10.10.40 tranport=80 service="HTTP""#,
            &["log.src 203.0.113.5:4000", "log.dst 198.51.100.1:80", "log.nat 10.10.10.40:80"],
        );
        check_rest(
            r#"logid="0001000014" type="traffic" subtype="local" srcip=2001:db8::5 srcport=4000 dstip=2001:db8:1::9 dstport=443 proto=6 app="web.example.app""#,
            &["log.src 2001:db8::5:4000", "log.dst 2001:db8:1::9:443"],
        );
    }

    #[test]
    fn requests_of_the_web_filter() {
        let head = r#"logid="0316013056" type="utm" subtype="webfilter" eventtype="ftgd_blk" srcip=10.0.0.5 srcport=51000 dstip=203.0.113.5 dstport=443 proto=6"#;
        let ends = ["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:443"];
        check_rest(
            &format!(
                r#"{head} service="HTTPS" hostname="www.Evil.example" agent="evil-bot/1.0 \"x\"" url="/kit/a?b=1" direction="outgoing""#
            ),
            &[
                ends[0],
                ends[1],
                "log.domain www.evil.example",
                "log.url https://www.evil.example/kit/a?b=1",
                "log.user_agent evil-bot/1.0 \"x\"",
            ],
        );
        check_rest(
            &format!(
                r#"{head} service="HTTP" hostname="evil.example" url="http://evil.example/a" referralurl="http://b.example/""#
            ),
            &[
                ends[0],
                ends[1],
                "log.domain evil.example",
                "log.url http://evil.example/a",
                "log.domain b.example",
                "log.url http://b.example/",
            ],
        );
    }

    #[test]
    fn names_files_mail_and_attacks() {
        check_rest(
            r#"logid="1501054802" type="utm" subtype="dns" srcip=10.0.0.5 srcport=51000 dstip=203.0.113.53 dstport=53 qname="evil.example" qtype="A" ipaddr="203.0.113.5, 203.0.113.6""#,
            &[
                "log.src 10.0.0.5:51000",
                "log.dst 203.0.113.53:53",
                "log.domain evil.example",
                "log.text 203.0.113.5",
                "log.text 203.0.113.6",
            ],
        );
        check_rest(
            r#"logid="0211008192" type="utm" subtype="virus" srcip=10.0.0.5 dstip=203.0.113.5 srcport=51000 dstport=80 filename="a.example.zip" virus="W32.Evil.net" dtype="av-engine" analyticscksum="0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef" fctuid="0123456789ABCDEF0123456789ABCDEF""#,
            &[
                "log.src 10.0.0.5:51000",
                "log.dst 203.0.113.5:80",
                "log.hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            ],
        );
        check_rest(
            r#"logid="0419016384" type="utm" subtype="ips" srcip=203.0.113.5 srcport=4000 dstip=192.0.2.9 dstport=80 attack="Evil.Scanner.info" attackid=1"#,
            &["log.src 203.0.113.5:4000", "log.dst 192.0.2.9:80"],
        );
        check_rest(
            r#"logid="0513020480" type="utm" subtype="emailfilter" srcip=203.0.113.5 srcport=4000 dstip=192.0.2.9 dstport=25 from="mallory@evil.example" to="uno@comune.example""#,
            &[
                "log.src 203.0.113.5:4000",
                "log.dst 192.0.2.9:25",
                "log.text mallory@evil.example",
                "log.text uno@comune.example",
            ],
        );
    }

    #[test]
    fn tunnels_are_begun_by_the_remote_end_unless_said_otherwise() {
        check_rest(
            r#"logid="0101039426" type="event" subtype="vpn" action="ssl-login-fail" tunneltype="ssl-web" remip=203.0.113.5 user="uno" reason="x""#,
            &["log.src 203.0.113.5"],
        );
        let tunnel = r#"logid="0101037127" type="event" subtype="vpn" remip=203.0.113.5 locip=198.51.100.1 remport=500 locport=500"#;
        check_rest(tunnel, &["log.src 203.0.113.5:500", "log.dst 198.51.100.1:500"]);
        check_rest(
            &format!("{tunnel} init=\"local\""),
            &["log.src 198.51.100.1:500", "log.dst 203.0.113.5:500"],
        );
    }

    #[test]
    fn older_versions() {
        check(
            &FORMAT,
            "Nov 22 10:00:00 fw date=2026-11-22 time=10:00:00 devname=fw device_id=FG1 log_id=0021000002 type=traffic subtype=allowed src=10.0.0.5 src_port=51000 dst=203.0.113.5 dst_port=443 tran_ip=0.0.0.0 tran_port=0 tran_sip=198.51.100.1 tran_sport=60964",
            &["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:60964"],
        );
    }

    #[test]
    fn the_time_is_the_most_exact_one() {
        let read_at = "2026-11-22T09:00:01Z".parse().unwrap();
        for (line, expected) in [
            (format!("{HEAD}logid=1 type=a subtype=b"), "2026-11-22T09:00:00.5Z"),
            (
                "date=2026-11-22 time=10:00:00 tz=\"+0100\" logid=1 type=a subtype=b".to_owned(),
                "2026-11-22T09:00:00Z",
            ),
            ("date=2026-11-22 time=09:45:00 logid=1 type=a subtype=b".to_owned(), "2026-11-22T09:00:00Z"),
        ] {
            assert_eq!(view(line.as_bytes()).written_at(read_at), Some(expected.parse().unwrap()), "{line}");
        }
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&FORMAT, "date=2026-11-22 time=10:00:00 type=traffic srcip=10.0.0.5");
        check_not(&FORMAT, "logid=5 type=traffic subtype=x srcip=10.0.0.5");
        check_not(&FORMAT, "CEF:0|Fortinet|Fortigate|7|1|traffic|3|src=10.0.0.5");
    }
}

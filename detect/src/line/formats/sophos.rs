//! Sophos Firewall (XG, SFOS) and Sophos UTM: two products that log key="value" pairs by other names.

use memchr::memmem;

use super::{Format, take_url};
use crate::line::header::Logged;
use crate::line::pairs::Pairs;
use crate::line::reading::{Field, Reading};

pub(super) const XG: Format = Format { name: "sophos_xg", read: read_xg };
/// The packet filter, the web and mail proxies, intrusion prevention and logins.
pub(super) const UTM: Format = Format { name: "sophos_utm", read: read_utm };

fn read_xg<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    if memmem::find(message, b"log_component=").is_none() || memmem::find(message, b"device").is_none() {
        return false;
    }
    let (mut date, mut time, mut zone): (&[u8], &[u8], &[u8]) = (b"", b"", b"");
    for pair in Pairs::of(message) {
        match pair.key {
            b"date" => date = pair.value,
            b"time" => time = pair.value,
            b"timezone" => zone = pair.value,
            b"src_trans_ip" | b"tran_src_ip" => take_translated(reading, Field::SrcAfter, pair.value),
            b"dst_trans_ip" | b"tran_dst_ip" => take_translated(reading, Field::DstAfter, pair.value),
            b"url" | b"ftp_url" => take_url(reading, "http", b"", pair.value),
            key => {
                if let Some(field) = xg_field(key) {
                    pair.take(field, reading);
                }
            }
        }
    }
    if reading.get(Field::Time).is_none() && !date.is_empty() && !time.is_empty() {
        reading.take_unescaped(Field::Time, [date, time, zone].join(&b' '), date);
    }
    true
}

/// An address that is no translation is written as none at all or as 0.0.0.0.
fn take_translated<'a>(reading: &mut Reading<'a>, field: Field, address: &'a [u8]) {
    let field = if matches!(address, b"0.0.0.0" | b"::") { Field::Nothing } else { field };
    reading.take(field, address);
}

fn xg_field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"timestamp" => Field::Time,
        b"src_ip" | b"source_ip" | b"sourceip" => Field::Src,
        b"src_port" | b"source_port" => Field::SrcPort,
        b"dst_ip" | b"destination_ip" | b"destinationip" => Field::Dst,
        b"dst_port" | b"destination_port" => Field::DstPort,
        b"src_trans_port" | b"tran_src_port" => Field::SrcAfterPort,
        b"dst_trans_port" | b"tran_dst_port" => Field::DstAfterPort,
        b"protocol" => Field::Proto,
        b"ipaddress" | b"ip_address" => Field::Address,
        b"domain" | b"domainname" => Field::Domain,
        b"referer" => Field::Url,
        b"user_agent" => Field::UserAgent,
        b"sha1sum" | b"sha256" | b"checksum" => Field::Hash,
        b"sender" | b"recipient" | b"from_email_address" | b"to_email_address" => Field::Email,
        b"user_name" | b"user" | b"username" | b"login_user" => Field::User,
        b"virus" | b"malware" | b"threatname" | b"signature_msg" | b"application" | b"application_name"
        | b"app_name" | b"file_name" | b"filename" | b"file_path" | b"fw_rule_name" | b"device_serial_id"
        | b"process_user" => Field::Nothing,
        _ => return None,
    })
}

fn read_utm<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    let has = |needle: &[u8]| memmem::find(message, needle).is_some();
    if !message.starts_with(b"id=\"") || !(has(b" severity=\"") || has(b" srcip=\"")) {
        return false;
    }
    let (mut server, mut url): (&[u8], &[u8]) = (b"", b"");
    for pair in Pairs::of(message) {
        match pair.key {
            b"url" => url = pair.value,
            b"server" => server = pair.value,
            key => {
                if let Some(field) = utm_field(key) {
                    pair.take(field, reading);
                }
            }
        }
    }
    take_url(reading, "http", server, url);
    true
}

fn utm_field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"srcip" => Field::Src,
        b"srcport" => Field::SrcPort,
        b"dstip" | b"localip" => Field::Dst,
        b"dstport" => Field::DstPort,
        b"proto" => Field::Proto,
        b"referer" => Field::Url,
        b"ua" => Field::UserAgent,
        b"md5" | b"sha1" | b"sha256" => Field::Hash,
        b"from" | b"to" => Field::Email,
        b"user" => Field::User,
        b"virus" | b"application" | b"filename" | b"reason" | b"request" => Field::Nothing,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;
    use crate::line::made::view;

    #[test]
    fn connections_of_sfos_with_their_translation() {
        check(
            &XG,
            r#"<30>Nov 22 10:00:00 fw device_name="SFW" timestamp="2026-11-22T10:00:00+0100" device_model="XGS" device_serial_id="0123456789abcdef0123456789abcdef" log_id="010101600001" log_type="Firewall" log_component="Firewall Rule" log_subtype="Allowed" fw_rule_id=5 src_ip="10.0.0.5" src_country="R1" dst_ip="203.0.113.5" protocol="TCP" src_port=50875 dst_port=443 src_trans_ip="198.51.100.1" src_trans_port=0 dst_trans_ip="" con_event="Stop""#,
            &["log.src 10.0.0.5:50875", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1"],
        );
        check(
            &XG,
            r#"device="SFW" date=2026-11-22 time=10:00:00 timezone="CET" device_name="XG" device_id=S1 log_id=010102600002 log_type="Firewall" log_component="Firewall Rule" log_subtype="Denied" src_ip=203.0.113.5 dst_ip=198.51.100.1 protocol="UDP" src_port=4000 dst_port=53 tran_src_ip=0.0.0.0 tran_src_port=0 tran_dst_ip=10.0.0.9 tran_dst_port=53"#,
            &["log.src 203.0.113.5:4000", "log.dst 198.51.100.1:53", "log.nat 10.0.0.9:53"],
        );
    }

    #[test]
    fn content_threats_and_mail_of_sfos() {
        let head =
            r#"device_name="SFW" timestamp="2026-11-22T10:00:00+0100" log_type="x" log_component="HTTP""#;
        check(
            &XG,
            &format!(
                r#"{head} user_name="uno" src_ip=10.0.0.5 dst_ip=203.0.113.5 src_port=51000 dst_port=80 url="http://www.evil.example/a" domain="www.evil.example" user_agent="evil-bot/1.0" virus="Mal.Evil.info" file_name="a.example.zip""#
            ),
            &[
                "log.src 10.0.0.5:51000",
                "log.dst 203.0.113.5:80",
                "log.url http://www.evil.example/a",
                "log.domain www.evil.example",
                "log.user_agent evil-bot/1.0",
            ],
        );
        check(
            &XG,
            &format!(
                r#"{head} sourceip=10.0.0.5 destinationip=203.0.113.5 url=evil.example/c2 malware="C2.Generic-A" sha1sum="0123456789abcdef0123456789abcdef01234567""#
            ),
            &[
                "log.src 10.0.0.5",
                "log.dst 203.0.113.5",
                "log.url http://evil.example/c2",
                "log.domain evil.example",
                "log.hash 0123456789abcdef0123456789abcdef01234567",
            ],
        );
        let read_at = "2026-11-22T15:00:01Z".parse().unwrap();
        let older = r#"device="SFW" date=2026-11-22 time=10:00:00 timezone="CET" log_component="HTTP""#;
        for line in [head, older] {
            assert_eq!(
                view(line.as_bytes()).written_at(read_at),
                Some("2026-11-22T09:00:00Z".parse().unwrap())
            );
        }
    }

    #[test]
    fn packets_of_the_utm() {
        check(
            &UTM,
            r#"2026:11:22-10:00:00 utm ulogd[12511]: id="2001" severity="info" sys="SecureNet" sub="packetfilter" name="Packet dropped (GEOIP)" action="drop" fwrule="60019" initf="eth1" srcmac="02:00:00:00:00:01" dstmac="02:00:00:00:00:02" srcip="203.0.113.5" dstip="192.0.2.9" proto="6" length="40" tos="0x00" prec="0x00" ttl="52" srcport="443" dstport="42181" tcpflags="SYN""#,
            &["log.src 203.0.113.5:443", "log.dst 192.0.2.9:42181"],
        );
    }

    #[test]
    fn proxies_of_the_utm() {
        check(
            &UTM,
            r#"<30>2026:11:22-10:00:00 utm httpproxy[1]: id="0001" severity="info" sys="SecureWeb" sub="http" name="http access" action="pass" method="GET" srcip="10.0.0.5" dstip="203.0.113.5" user="uno" statuscode="200" size="5" request="0xdeadbeef" url="http://www.evil.example/a" referer="http://b.example/x" ua="evil-bot/1.0" content-type="text/html""#,
            &[
                "log.src 10.0.0.5",
                "log.dst 203.0.113.5",
                "log.url http://www.evil.example/a",
                "log.domain www.evil.example",
                "log.url http://b.example/x",
                "log.domain b.example",
                "log.user_agent evil-bot/1.0",
            ],
        );
        check(
            &UTM,
            r#"2026:11:22-10:00:00 utm smtpd[1]: id="1000" severity="info" sys="SecureMail" sub="smtp" name="email passed" srcip="203.0.113.5" from="mallory@evil.example" to="uno@comune.example" subject="x" queueid="1aBcDe-0001-AB" size="5""#,
            &["log.src 203.0.113.5", "log.text mallory@evil.example", "log.text uno@comune.example"],
        );
        check(
            &UTM,
            r#"2026:11:22-10:00:00 utm reverseproxy: id="0299" srcip="203.0.113.5" localip="192.0.2.9" size="5" user="-" host="203.0.113.5" method="GET" statuscode="200" url="/a" server="www.comune.example" referer="-""#,
            &[
                "log.src 203.0.113.5",
                "log.dst 192.0.2.9",
                "log.text 203.0.113.5",
                "log.url http://www.comune.example/a",
                "log.domain www.comune.example",
            ],
        );
    }

    #[test]
    fn other_lines_are_not() {
        check_not(&XG, "device_name=x log_type=y src_ip=10.0.0.5");
        check_not(&UTM, "id=firewall time=\"x\" fw=\"y\" src=10.0.0.5");
        check_not(&UTM, "id=\"5\" name=\"x\"");
    }
}

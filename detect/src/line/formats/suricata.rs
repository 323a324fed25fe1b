//! Suricata: a JSON object a line (EVE), and the lines of `fast.log`.

use memchr::memmem;

use super::Format;
use crate::line::cut;
use crate::line::header::Logged;
use crate::line::json::{self, Member};
use crate::line::reading::{Field, Reading};

pub(super) const EVE: Format = Format { name: "suricata eve", read: read_eve };
pub(super) const FAST: Format = Format { name: "suricata fast", read: read_fast };

fn read_eve<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message.trim_ascii_start();
    if !message.starts_with(b"{") || memmem::find(message, b"\"event_type\"").is_none() {
        return false;
    }
    let mut event = Event::default();
    let is_eve = json::each(message, &mut |member| event.read(member, reading));
    event.take_ends(reading);
    is_eve
}

/// What of an event is understood when all of it was read.
#[derive(Default)]
struct Event<'a> {
    /// Ends of the packet, then those of the flow that it is of, where the event gives them.
    ends: [[&'a [u8]; 4]; 2],
    is_to_client: bool,
    is_file: bool,
}

impl<'a> Event<'a> {
    fn read(&mut self, member: &Member<'a>, reading: &mut Reading<'a>) {
        let field = match (member.parent(), member.name()) {
            (b"" | b"flow", b"src_ip" | b"src_port" | b"dest_ip" | b"dest_port") => {
                self.note_end(member);
                return;
            }
            (b"", b"direction") => {
                self.is_to_client = member.text == b"to_client";
                return;
            }
            (b"", b"event_type") => {
                self.is_file = member.text == b"fileinfo";
                return;
            }
            (b"http", b"hostname") => Field::UrlHost,
            // A proxy is asked for the whole URL.
            (b"http", b"url") if member.text.starts_with(b"http") => Field::Url,
            (b"http", b"url") => Field::UrlPath,
            (b"http", b"http_user_agent") => Field::UserAgent,
            (b"http", b"http_refer") => Field::Url,
            (b"tls", b"sni") => Field::Domain,
            (_, b"rrname") => Field::DnsName,
            // The number of a certificate and the MD5 of a handshake's text are as long as the hash of a file.
            (b"tls", b"serial" | b"fingerprint") | (b"ja3" | b"ja3s", b"hash") => Field::Nothing,
            (b"fileinfo" | b"files", b"filename") => Field::Nothing,
            (_, b"rdata") => Field::Address,
            (_, b"proto") => Field::Proto,
            (_, b"xff") => Field::Forwarded,
            (b"fileinfo" | b"files", b"md5" | b"sha1" | b"sha256") => Field::Hash,
            _ => return,
        };
        member.take(field, reading);
    }

    fn note_end(&mut self, member: &Member<'a>) {
        let place = match member.name() {
            b"src_ip" => 0,
            b"src_port" => 1,
            b"dest_ip" => 2,
            _ => 3,
        };
        let whose = usize::from(member.parent() == b"flow");
        if let Some(place) = self.ends.get_mut(whose).and_then(|ends| ends.get_mut(place)) {
            *place = member.text;
        }
    }

    /// The one who began is the flow's source: the packet's may be the one who answers.
    fn take_ends(&self, reading: &mut Reading<'a>) {
        let [packet, flow] = self.ends;
        let [src, src_port, dst, dst_port] = packet;
        let from_service = || matches!((port(src_port), port(dst_port)), (Some(..1024), Some(1024..)));
        let ends = match flow {
            [from, _, to, _] if !from.is_empty() && !to.is_empty() => {
                for address in [src, dst].into_iter().filter(|address| *address == from || *address == to) {
                    reading.take(Field::Nothing, address);
                }
                flow
            }
            _ if self.is_to_client || (self.is_file && from_service()) => [dst, dst_port, src, src_port],
            _ => packet,
        };
        for (field, text) in [Field::Src, Field::SrcPort, Field::Dst, Field::DstPort].into_iter().zip(ends) {
            reading.take(field, text);
        }
    }
}

fn port(text: &[u8]) -> Option<u16> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `[**] [1:2200074:2] TEXT [**] [Classification: …] [Priority: 3] {TCP} 203.0.113.5:28487 -> 192.0.2.9:80`
fn read_fast<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(ends) = cut::after(logged.message, b"[Priority: ").and_then(|rest| cut::after(rest, b"] {"))
    else {
        return false;
    };
    let proto = cut::until(ends, b"}");
    let (src, rest) = cut::word(ends.get(proto.len() + 1..).unwrap_or_default());
    let Some(dst) = rest.strip_prefix(b"-> ") else { return false };
    reading.take(Field::Proto, proto);
    take_end(src, [Field::Src, Field::SrcPort], reading);
    take_end(cut::until(dst, b" "), [Field::Dst, Field::DstPort], reading);
    true
}

/// IPv6 addresses stand without brackets before the port.
fn take_end<'a>(text: &'a [u8], [address_field, port_field]: [Field; 2], reading: &mut Reading<'a>) {
    let Some((address, port)) = cut::at_last(text, b':') else { return };
    reading.take(address_field, address);
    reading.take(port_field, port);
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn events_name_their_ends() {
        check(
            &EVE,
            r#"{"timestamp":"2026-11-22T10:00:00.000001+0100","flow_id":1,"event_type":"alert","src_ip":"203.0.113.5","src_port":4000,"dest_ip":"192.0.2.9","dest_port":443,"proto":"TCP","alert":{"signature_id":2,"signature":"ET MALWARE Win32/Lokibot.AG Checkin"},"tls":{"subject":"CN=a.example","serial":"0123456789abcdef0123456789abcdef","sni":"Evil.Example","ja3":{"hash":"0123456789abcdef0123456789abcdef"}}}"#,
            &[
                "log.src 203.0.113.5:4000",
                "log.dst 192.0.2.9:443",
                "log.domain a.example",
                "log.domain evil.example",
            ],
        );
        check(
            &EVE,
            r#"{"event_type":"flow","src_ip":"2001:db8::5","src_port":4000,"dest_ip":"192.0.2.9","dest_port":53,"proto":"UDP","flow":{"pkts_toserver":1}}"#,
            &["log.src 2001:db8::5:4000", "log.dst 192.0.2.9:53"],
        );
    }

    #[test]
    fn who_began_is_the_source_whoever_sent_the_packet() {
        let expected = ["log.src 10.0.0.4:40000", "log.dst 203.0.113.5:80"];
        for more in [
            r#","event_type":"alert","direction":"to_client""#,
            r#","event_type":"alert","flow":{"src_ip":"10.0.0.4","src_port":40000,"dest_ip":"203.0.113.5","dest_port":80}"#,
            r#","event_type":"fileinfo""#,
        ] {
            let line = format!(
                r#"{{"src_ip":"203.0.113.5","src_port":80,"dest_ip":"10.0.0.4","dest_port":40000{more}}}"#
            );
            check(&EVE, &line, &expected);
        }
    }

    #[test]
    fn requests_give_a_url_and_a_user_agent() {
        check(
            &EVE,
            r#"{"event_type":"http","src_ip":"10.0.0.4","dest_ip":"203.0.113.5","http":{"hostname":"evil.example","url":"\/a\/b.php?x=1","http_user_agent":"bot \"x\"\/1.0","http_refer":"http:\/\/b.example\/c","xff":"198.51.100.7"}}"#,
            &[
                "log.src 10.0.0.4",
                "log.dst 203.0.113.5",
                "log.url http://evil.example/a/b.php?x=1",
                "log.domain evil.example",
                "log.user_agent bot \"x\"/1.0",
                "log.url http://b.example/c",
                "log.domain b.example",
                "log.text 198.51.100.7",
            ],
        );
        check(
            &EVE,
            r#"{"event_type":"http","http":{"hostname":"evil.example","url":"http://evil.example/a"}}"#,
            &["log.url http://evil.example/a", "log.domain evil.example"],
        );
    }

    #[test]
    fn answers_files_and_mails() {
        check(
            &EVE,
            r#"{"event_type":"dns","dns":{"type":"answer","rrname":"evil.sh","answers":[{"rrname":"evil.sh","rrtype":"A","rdata":"203.0.113.5"},{"rrtype":"CNAME","rdata":"b.example"}],"grouped":{"A":["203.0.113.6"]}}}"#,
            &["log.domain evil.sh", "log.text 203.0.113.5", "log.domain b.example", "log.text 203.0.113.6"],
        );
        check(
            &EVE,
            r#"{"event_type":"fileinfo","fileinfo":{"filename":"invoice.zip","md5":"0123456789abcdef0123456789abcdef"},"email":{"from":"Mallory <m@evil.example>","to":["a@b.example"]}}"#,
            &["log.hash 0123456789abcdef0123456789abcdef", "log.text m@evil.example", "log.text a@b.example"],
        );
        check_not(&EVE, r#"{"event":"dns"}"#);
        check_not(&EVE, r#""event_type":"dns""#);
    }

    #[test]
    fn fast_lines() {
        check(
            &FAST,
            "11/22/2026-10:00:00.860293  [**] [1:2200074:2] SURICATA TCPv4 invalid checksum [**] [Classification: Generic] [Priority: 3] {TCP} 203.0.113.5:28487 -> 192.0.2.9:80",
            &["log.src 203.0.113.5:28487", "log.dst 192.0.2.9:80"],
        );
        check(
            &FAST,
            "11/22/2026-10:00:00.860293  [Drop] [**] [1:1:2] ET DROP [**] [Classification: (null)] [Priority: 3] {UDP} 2001:0db8:0000:0000:0000:0000:0000:0005:53 -> 2001:db8::9:4000",
            &["log.src 2001:db8::5:53", "log.dst 2001:db8::9:4000"],
        );
        check_not(&FAST, "[Priority: 3] {TCP} 203.0.113.5");
    }
}

//! Events of Windows, forwarded by NXLog, Winlogbeat, Snare or rsyslog: as JSON, or as the text of the event with its
//! labels.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, json};

pub(super) const JSON: Format = Format { name: "windows json", read: read_json };
pub(super) const TEXT: Format = Format { name: "windows text", read: read_text };

fn read_json<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message.trim_ascii_start();
    if !message.starts_with(b"{") {
        return false;
    }
    let (mut has_number, mut has_writer) = (false, false);
    let is_json = json::each(message, &mut |member| {
        let name = member.name();
        has_number |= matches!(name, b"EventID" | b"event_id" | b"EventId");
        has_writer |=
            matches!(name, b"Channel" | b"channel" | b"SourceName" | b"ProviderName" | b"provider_name");
        let field = match name {
            b"IpAddress" => Field::Src,
            b"Hashes" | b"hashes" => {
                take_import_hash(member.text, reading);
                return;
            }
            _ => match super::json::field_of(member) {
                Some(field) => field,
                None => return,
            },
        };
        member.take(field, reading);
    });
    is_json && has_number && has_writer
}

/// Labels in the text of an event, as Security and Sysmon write them.
const LABELS: &[(&[u8], Field)] = &[
    (b"Source Network Address:", Field::Src),
    (b"Client Address:", Field::Src),
    (b"Source Address:", Field::Src),
    (b"SourceIp:", Field::Src),
    (b"Source Port:", Field::SrcPort),
    (b"Client Port:", Field::SrcPort),
    (b"SourcePort:", Field::SrcPort),
    (b"Destination Address:", Field::Dst),
    (b"DestinationIp:", Field::Dst),
    (b"Destination Port:", Field::DstPort),
    (b"DestinationPort:", Field::DstPort),
    (b"SourceHostname:", Field::Domain),
    (b"DestinationHostname:", Field::Domain),
    (b"QueryName:", Field::Domain),
    (b"Query Name:", Field::Domain),
];

fn read_text<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message;
    let marks = [&b"MSWinEventLog"[..], b"Microsoft-Windows-", b"Microsoft_Windows_"];
    if !marks.iter().any(|mark| memmem::find(logged.line, mark).is_some()) || message.starts_with(b"{") {
        return false;
    }
    for (label, field) in LABELS {
        let Some(mut rest) = cut::after(message, label) else { continue };
        // A tab on the way through rsyslog.
        while let Some(after) = rest
            .strip_prefix(b"#011")
            .or_else(|| rest.strip_prefix(b" "))
            .or_else(|| rest.strip_prefix(b"\t"))
        {
            rest = after;
        }
        reading.take(*field, cut::until(rest, b" \t#\\\r\n,;\""));
    }
    take_import_hash(message, reading);
    true
}

/// The hash of a program's imports is as long as one of a file.
fn take_import_hash<'a>(text: &'a [u8], reading: &mut Reading<'a>) {
    if let Some(hash) = cut::between(text, b"IMPHASH=", b", \t#\\\"") {
        reading.take(Field::Nothing, hash);
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    const MD5: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn objects() {
        check(
            &JSON,
            r#"{"EventTime":"2026-11-22 10:00:00","Hostname":"dc1.corp","EventID":4625,"SourceName":"Microsoft-Windows-Security-Auditing","Channel":"Security","TargetUserName":"bob","IpAddress":"203.0.113.5","IpPort":"4000"}"#,
            &["log.domain dc1.corp", "log.src 203.0.113.5:4000"],
        );
        check(
            &JSON,
            &format!(
                r#"{{"winlog":{{"channel":"Microsoft-Windows-Sysmon/Operational","event_id":22,"event_data":{{"Image":"C:\\Windows\\svc.zip","QueryName":"evil.zip","QueryResults":"type:  5 b.example;::ffff:203.0.113.5;","SourceIp":"10.0.0.4","SourcePort":"50000","DestinationIp":"203.0.113.6","DestinationPort":"443","Hashes":"MD5={MD5},IMPHASH=f123456789abcdef0123456789abcdef"}}}}}}"#
            ),
            &[
                "log.domain evil.zip",
                "log.domain b.example",
                "log.text 203.0.113.5",
                "log.src 10.0.0.4:50000",
                "log.dst 203.0.113.6:443",
                &format!("log.hash {MD5}"),
            ],
        );
        check_not(&JSON, r#"{"EventID":5,"a":"b"}"#);
    }

    #[test]
    fn texts() {
        for blank in ["\t", "#011", " "] {
            check(
                &TEXT,
                &format!(
                    "MSWinEventLog{blank}1{blank}Security{blank}4625{blank}Microsoft-Windows-Security-Auditing{blank}An account failed to log on.   Source Network Address:{blank}203.0.113.5   Source Port:{blank}4000   IMPHASH={MD5}"
                ),
                &["log.src 203.0.113.5:4000"],
            );
        }
        check(
            &TEXT,
            &format!(
                "Nov 22 10:00:00 pc Microsoft-Windows-Sysmon[1]: Network connection detected: SourceIp: 10.0.0.4 SourcePort: 50000 DestinationIp: 2001:db8::5 DestinationHostname: evil.zip DestinationPort: 443 Hashes: MD5={MD5}"
            ),
            &[
                "log.src 10.0.0.4:50000",
                "log.dst 2001:db8::5:443",
                "log.domain evil.zip",
                &format!("log.hash {MD5}"),
            ],
        );
        check_not(&TEXT, "Source Network Address: 203.0.113.5");
    }
}

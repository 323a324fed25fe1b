//! Zeek: JSON lines, and lines of columns between tabs. What the columns are is told by a header line that no other
//! line repeats, so only layouts that their own values make certain are read by column.

use super::Format;
use crate::line::header::Logged;
use crate::line::json::{self, Member};
use crate::line::reading::{Field, Reading};
use crate::line::{cut, keys};

pub(super) const JSON: Format = Format { name: "zeek json", read: read_json };
pub(super) const TSV: Format = Format { name: "zeek tsv", read: read_tsv };

fn read_json<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message.trim_ascii_start();
    if !message.starts_with(b"{") {
        return false;
    }
    // A connection's or a file's number beside a time in seconds is Zeek's alone.
    let (mut has_time, mut has_uid) = (false, false);
    json::each(message, &mut |member| {
        has_time |= member.name() == b"ts";
        has_uid |= matches!(member.name(), b"uid" | b"fuid" | b"conn_uids" | b"certificate.serial");
        read_member(member, reading);
    }) && has_time
        && has_uid
}

fn read_member<'a>(member: &Member<'a>, reading: &mut Reading<'a>) {
    let field = match member.name() {
        b"query" => Field::DnsName,
        b"server_name" | b"helo" | b"domain" | b"hostname" => Field::Domain,
        b"host" => Field::UrlHost,
        b"uri" if member.text.starts_with(b"http") => Field::Url,
        b"uri" => Field::UrlPath,
        b"referrer" => Field::Url,
        b"certificate.serial" | b"filename" | b"ja3" | b"ja3s" => Field::Nothing,
        b"x_originating_ip" | b"tx_hosts" | b"rx_hosts" | b"answers" => Field::Address,
        b"id.orig_h" | b"id.orig_p" | b"id.resp_h" | b"id.resp_p" | b"proto" | b"user_agent" | b"md5"
        | b"sha1" | b"sha256" => match keys::of_key(member.name()) {
            Some(field) => field,
            None => return,
        },
        _ => return,
    };
    member.take(field, reading);
}

/// Columns looked at in one line.
const COLUMNS_MAX: usize = 32;

struct Columns<'a> {
    texts: [&'a [u8]; COLUMNS_MAX],
    count: usize,
}

impl<'a> Columns<'a> {
    fn of(line: &'a [u8]) -> Self {
        let mut columns = Self { texts: [b""; COLUMNS_MAX], count: 0 };
        for (place, text) in columns.texts.iter_mut().zip(line.split(|byte| *byte == b'\t')) {
            *place = text;
            columns.count += 1;
        }
        columns
    }

    fn at(&self, column: usize) -> &'a [u8] {
        self.texts.get(column).copied().unwrap_or_default()
    }

    /// The ends of a connection, which stand in four columns.
    fn take_ends(&self, first: usize, reading: &mut Reading<'a>) -> bool {
        if !cut::is_number(self.at(first + 1)) || !cut::is_number(self.at(first + 3)) {
            return false;
        }
        for (column, field) in
            [Field::Src, Field::SrcPort, Field::Dst, Field::DstPort].into_iter().enumerate()
        {
            reading.take(field, self.at(first + column));
        }
        true
    }
}

fn read_tsv<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let columns = Columns::of(logged.message);
    if columns.count < 6 || !is_time(columns.at(0)) {
        return false;
    }
    if is_uid(columns.at(1), b'C') {
        let is_connection = columns.take_ends(2, reading);
        if is_connection {
            read_connection(&columns, reading);
        }
        return is_connection;
    }
    if !is_uid(columns.at(1), b'F') {
        return false;
    }
    if columns.at(2) == b"3" {
        // The number of a certificate may be as long as the hash of a file.
        reading.take(Field::Nothing, columns.at(3));
        return true;
    }
    if is_uid(columns.at(2), b'C') {
        reading.take(Field::Nothing, columns.at(11));
        return columns.take_ends(3, reading);
    }
    reading.take(Field::Address, columns.at(2));
    reading.take(Field::Address, columns.at(3));
    reading.take(Field::Nothing, columns.at(9));
    is_uid(cut::until(columns.at(4), b","), b'C')
}

/// What follows the ends of a connection.
fn read_connection<'a>(columns: &Columns<'a>, reading: &mut Reading<'a>) {
    let at = |column| columns.at(column);
    if matches!(at(6), b"tcp" | b"udp" | b"icmp") {
        reading.take(Field::Proto, at(6));
        // Older releases have no column for the time that an answer took.
        for query in [9, 8] {
            let class = (at(query + 1), at(query + 2));
            if is_count(at(7)) && is_count(class.0) && is_class(class.1) {
                reading.take(Field::DnsName, at(query));
                return;
            }
        }
    } else if at(6).starts_with(b"TLSv") || at(6).starts_with(b"SSLv") || at(6).starts_with(b"DTLSv") {
        reading.take(Field::Domain, at(9));
    } else if is_count(at(6)) && at(9).starts_with(b"/") && at(7).iter().all(u8::is_ascii_uppercase) {
        reading.take(Field::UrlHost, at(8));
        reading.take(Field::UrlPath, at(9));
        // Newer releases write the version of HTTP before it.
        let has_version = matches!(at(11), b"-" | b"0.9" | b"1.0" | b"1.1" | b"2" | b"2.0" | b"3");
        reading.take(Field::UserAgent, at(if has_version { 12 } else { 11 }));
    }
}

fn is_class(text: &[u8]) -> bool {
    text == b"-" || text.starts_with(b"C_") || text.starts_with(b"qclass-")
}

fn is_count(text: &[u8]) -> bool {
    text == b"-" || cut::is_number(text)
}

/// Seconds since 1970 with a fraction.
fn is_time(text: &[u8]) -> bool {
    let (seconds, fraction) = text.split_at_checked(10).unwrap_or_default();
    cut::is_number(seconds) && fraction.strip_prefix(b".").is_some_and(cut::is_number)
}

/// `CHhAvVGS1DHFjwGM9` names a connection, `FakNcS1Jfe01uljb3` a file.
fn is_uid(text: &[u8], first: u8) -> bool {
    (12..=20).contains(&text.len())
        && text.first() == Some(&first)
        && text.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn objects() {
        check(
            &JSON,
            r#"{"ts":1795341600.1,"uid":"CHhAvVGS1DHFjwGM9","id.orig_h":"10.0.0.4","id.orig_p":40000,"id.resp_h":"203.0.113.5","id.resp_p":80,"method":"GET","host":"evil.example","uri":"/a?b=1","referrer":"http://b.example/","version":"1.1","user_agent":"bot/1.0"}"#,
            &[
                "log.src 10.0.0.4:40000",
                "log.dst 203.0.113.5:80",
                "log.url http://evil.example/a?b=1",
                "log.domain evil.example",
                "log.url http://b.example/",
                "log.domain b.example",
                "log.user_agent bot/1.0",
            ],
        );
        check(
            &JSON,
            r#"{"ts":1795341600.1,"uid":"CHhAvVGS1DHFjwGM9","id.orig_h":"10.0.0.4","id.orig_p":40000,"id.resp_h":"10.0.0.1","id.resp_p":53,"proto":"udp","query":"evil.zip","answers":["b.example","203.0.113.5"]}"#,
            &[
                "log.src 10.0.0.4:40000",
                "log.dst 10.0.0.1:53",
                "log.domain evil.zip",
                "log.domain b.example",
                "log.text 203.0.113.5",
            ],
        );
        check_not(&JSON, r#"{"ts":1795341600.1,"host":"a.example"}"#);
        check_not(&JSON, "uid ts");
    }

    const ENDS: &str = "1795341600.123456\tCHhAvVGS1DHFjwGM9\t10.0.0.4\t40000\t203.0.113.5\t443";

    fn check_columns(more: &str, expected: &[&str]) {
        let ends = ["log.src 10.0.0.4:40000", "log.dst 203.0.113.5:443"];
        check(&TSV, &format!("{ENDS}\t{more}"), &[&ends, expected].concat());
    }

    #[test]
    fn columns_of_connections() {
        check_columns("tcp\tssl\t0.1\t1\t2\tSF\tT\tF\t0\tShA\t5\t300\t5\t300\t-", &[]);
        check_columns(
            "udp\t77\t0.01\tevil.zip\t1\tC_INTERNET\t1\tA\t0\tNOERROR\tF\tF\tT\tT\t0\tb.example,203.0.113.7\t1.0,2.0\tF",
            &["log.domain evil.zip", "log.domain b.example", "log.text 203.0.113.7"],
        );
        check_columns(
            "udp\t77\tevil.zip\t1\tC_INTERNET\t1\tA\t-\t-\tF\tF\tT\tT\t0\t-\t-\tF",
            &["log.domain evil.zip"],
        );
        for name in ["printer of anna (2f)._ipp._tcp.local", "sala \\xe8._ipp._tcp.local"] {
            check_columns(
                &format!("udp\t0\t-\t{name}\t32769\tqclass-32769\t16\tTXT\t-\t-\tF\tT\tF\tF\t0\t-\t-\tF"),
                &[&format!("log.domain {name}")],
            );
        }
        check_columns(
            "TLSv13\tTLS_AES_128_GCM_SHA256\tx25519\tevil.zip\tT\t-\t-\tT",
            &["log.domain evil.zip"],
        );
        check_columns(
            "1\tGET\tevil.example\t/a\thttp://b.example/\t1.1\tbot/1.0 (x)\t-\t0\t5",
            &[
                "log.url http://evil.example/a",
                "log.domain evil.example",
                "log.url http://b.example/",
                "log.domain b.example",
                "log.user_agent bot/1.0 (x)",
            ],
        );
        check_columns(
            "1\tmail.example\t<m@evil.example>\t<a@b.example>\tSun, 22 Nov 2026",
            &["log.domain mail.example", "log.text m@evil.example", "log.text a@b.example"],
        );
    }

    #[test]
    fn files_and_certificates() {
        check(
            &TSV,
            "1795341600.1\tFakNcS1Jfe01uljb3\t203.0.113.5\t10.0.0.4\tCHhAvVGS1DHFjwGM9\tHTTP\t0\tMD5\tapplication/zip\tinvoice.zip\t0.0\t-\tF\t5\t-\t0\t0\tF\t-\t0123456789abcdef0123456789abcdef\t-\t-\t-",
            &["log.text 203.0.113.5", "log.text 10.0.0.4", "log.hash 0123456789abcdef0123456789abcdef"],
        );
        check(
            &TSV,
            "1795341600.1\tFakNcS1Jfe01uljb3\tCHhAvVGS1DHFjwGM9\t10.0.0.4\t40000\t203.0.113.5\t80\tHTTP\t0\tMD5\tapplication/zip\tinvoice.zip",
            &["log.src 10.0.0.4:40000", "log.dst 203.0.113.5:80"],
        );
        check(
            &TSV,
            "1795341600.1\tFakNcS1Jfe01uljb3\t3\t0123456789ABCDEF0123456789ABCDEF\tCN=evil.example\tCN=ca.example\t1.0\t2.0",
            &["log.domain evil.example", "log.domain ca.example"],
        );
    }

    #[test]
    fn other_columns_are_none() {
        check_not(&TSV, "1795341600.1\tabc\t10.0.0.4\t40000\t203.0.113.5\t443");
        check_not(&TSV, "1795341600\tCHhAvVGS1DHFjwGM9\t10.0.0.4\t40000\t203.0.113.5\t443");
        check_not(&TSV, "1795341600.1\tCHhAvVGS1DHFjwGM9\t10.0.0.4\tx\t203.0.113.5\t443");
        check_not(&TSV, "");
    }
}

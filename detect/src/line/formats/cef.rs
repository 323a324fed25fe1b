//! CEF (ArcSight) and LEEF (QRadar): a header between bars and fields behind it, whatever device they are of.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, json, keys};

pub(super) const CEF: Format = Format { name: "cef", read: read_cef };
pub(super) const LEEF: Format = Format { name: "leef", read: read_leef };

/// `CEF:0|Vendor|Product|Version|Event|Name|Severity|src=203.0.113.5 request=http://a.example/ …`
fn read_cef<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(rest) = cut::after(logged.message, b"CEF:") else { return false };
    let Some((version, fields)) = header(rest, 7) else { return false };
    let mut request = Request::default();
    let mut start = None;
    let mut from = 0;
    // A value goes on until the next key, blanks and all.
    while let Some(found) = fields.get(from..).and_then(|rest| memchr::memchr2(b'=', b'\\', rest)) {
        let at = from + found;
        from = at + 1;
        if fields.get(at) == Some(&b'\\') {
            from += 1;
            continue;
        }
        let before = fields.get(..at).unwrap_or_default();
        let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let length = before.iter().rev().take(KEY_BYTES_MAX).take_while(|byte| is_key(byte)).count();
        let key_at = at - length;
        let is_first = key_at == 0 || before.get(key_at - 1) == Some(&b' ');
        if length == 0 || !is_first {
            continue;
        }
        let key = before.get(key_at..).unwrap_or_default();
        if let Some((key, value_at)) = start.replace((key, at + 1)) {
            request.take(key, fields.get(value_at..key_at).unwrap_or_default().trim_ascii_end(), reading);
        }
    }
    if let Some((key, value_at)) = start {
        request.take(key, fields.get(value_at..).unwrap_or_default().trim_ascii_end(), reading);
    }
    reading.take(Field::Nothing, version);
    request.end(reading);
    true
}

/// `LEEF:1.0|Vendor|Product|Version|Event|src=203.0.113.5<tab>…`; the second version may name another mark than a tab.
fn read_leef<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some(rest) = cut::after(logged.message, b"LEEF:") else { return false };
    let Some((version, mut fields)) = header(rest, 5) else { return false };
    let mut mark = if memchr::memchr(b'\t', fields).is_none() { &b"#011"[..] } else { b"\t" };
    let named = cut::until(fields, b"|=");
    if rest.starts_with(b"2") && fields.get(named.len()) == Some(&b'|') {
        fields = fields.get(named.len() + 1..).unwrap_or_default();
        mark = match named {
            b"" | b"x09" | b"0x09" | b"\\t" => mark,
            b"x5E" | b"0x5E" | b"x5e" | b"0x5e" => b"^",
            b"x7C" | b"0x7C" | b"x7c" | b"0x7c" => b"|",
            other => other,
        };
    }
    let mut request = Request::default();
    let mut from = 0;
    while let Some(rest) = fields.get(from..).filter(|rest| !rest.is_empty()) {
        let length = memmem::find(rest, mark).unwrap_or(rest.len());
        let pair = rest.get(..length).unwrap_or_default();
        if let Some(equals) = memchr::memchr(b'=', pair) {
            let (key, value) = pair.split_at_checked(equals).unwrap_or_default();
            request.take(key, value.get(1..).unwrap_or_default(), reading);
        }
        from += length + mark.len();
    }
    reading.take(Field::Nothing, version);
    request.end(reading);
    true
}

/// Longer keys are none of those that are known.
const KEY_BYTES_MAX: usize = 64;

/// The device's version and what follows a header of so many bars; a backslash takes the meaning of a bar.
fn header(text: &[u8], bars: usize) -> Option<(&[u8], &[u8])> {
    let (mut at, mut version, mut begin) = (0, &b""[..], 0);
    for number in 1..=bars {
        loop {
            at += memchr::memchr2(b'|', b'\\', text.get(at..)?)?;
            if text.get(at) == Some(&b'|') {
                break;
            }
            at += 2;
        }
        if number == 4 {
            version = text.get(begin..at)?;
        }
        at += 1;
        begin = at;
    }
    let is_number = text.first().is_some_and(u8::is_ascii_digit);
    is_number.then_some((version, text.get(at..)?))
}

/// A path whose host stands in a field of its own.
#[derive(Default)]
struct Request<'a> {
    host: Option<&'a [u8]>,
    path: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    fn take(&mut self, key: &'a [u8], value: &'a [u8], reading: &mut Reading<'a>) {
        // FortiGate puts its name before the fields that CEF has none for.
        let key = key.strip_prefix(b"FTNTFGT").unwrap_or(key);
        if matches!(key, b"dhost" | b"hostname" | b"dstHost" | b"domain") {
            self.host = Some(value);
        }
        let field = match key {
            b"request" | b"url" | b"requestUrl" => {
                if value.starts_with(b"/") {
                    self.path = Some(value);
                    return;
                }
                Field::Url
            }
            // ArcSight has no other places for IPv6 addresses.
            b"c6a2" => Field::Src,
            b"c6a3" => Field::Dst,
            _ => match keys::of_key(key) {
                Some(field) => field,
                None => return,
            },
        };
        if value.contains(&b'\\') {
            reading.take_unescaped(field, json::unescaped(value), value);
        } else {
            reading.take(field, value);
        }
    }

    fn end(&self, reading: &mut Reading<'a>) {
        if let (Some(host), Some(path)) = (self.host, self.path) {
            reading.take(Field::UrlHost, host);
            reading.take(Field::UrlPath, path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn cef() {
        check(
            &CEF,
            r"<134>Nov 22 10:00:00 fw CEF:0|Some\|Vendor|Product|1.2.3.4|100|Blocked a\|b|8|src=10.0.0.4 spt=50000 dst=203.0.113.5 dpt=443 proto=TCP sourceTranslatedAddress=192.0.2.1 sourceTranslatedPort=60000 request=http://evil.example/a?b\=c requestClientApplication=bot/1.0 (x; y) duser=m@evil.example dhost=evil.zip msg=a b c",
            &[
                "log.src 10.0.0.4:50000",
                "log.dst 203.0.113.5:443",
                "log.nat 192.0.2.1:60000",
                "log.url http://evil.example/a?b=c",
                "log.url http://evil.example/a?b",
                "log.domain evil.example",
                "log.user_agent bot/1.0 (x; y)",
                "log.text m@evil.example",
                "log.domain evil.zip",
            ],
        );
        check(
            &CEF,
            "CEF:0|Fortinet|Fortigate|v7.4.1|13|traffic:forward accept|3|src=10.0.0.4 FTNTFGThostname=evil.example request=/a c6a3=2001:db8::5 FTNTFGTqname=b.sh fname=c.zip",
            &[
                "log.src 10.0.0.4",
                "log.dst 2001:db8::5",
                "log.domain evil.example",
                "log.url http://evil.example/a",
                "log.domain b.sh",
            ],
        );
        check_not(&CEF, "CEF:0|a|b");
        check_not(&CEF, "CEF:x|a|b|c|d|e|f|src=1");
    }

    #[test]
    fn leef() {
        for (head, mark) in [
            ("LEEF:1.0|V|P|1.2.3.4|E|", "\t"),
            ("LEEF:1.0|V|P|1.2.3.4|E|", "#011"),
            ("LEEF:2.0|V|P|1.2.3.4|E|^|", "^"),
            ("LEEF:2.0|V|P|1|E|x5E|", "^"),
            ("LEEF:2.0|V|P|1|E|\t", "\t"),
        ] {
            let line = format!(
                "{head}src=10.0.0.4{mark}srcPort=50000{mark}dst=203.0.113.5{mark}dstPort=443{mark}srcPostNAT=192.0.2.1{mark}usrName=bob x{mark}url=http://evil.example/a"
            );
            check(
                &LEEF,
                &line,
                &[
                    "log.src 10.0.0.4:50000",
                    "log.dst 203.0.113.5:443",
                    "log.nat 192.0.2.1",
                    "log.url http://evil.example/a",
                    "log.domain evil.example",
                ],
            );
        }
        check_not(&LEEF, "LEEF:1.0|a");
    }
}

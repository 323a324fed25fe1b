//! Access and error logs of web servers (nginx, Apache and what writes as they do), with a virtual host in front or
//! without, and Squid's in the same form.

use memchr::memmem;

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const ACCESS: Format = Format { name: "web access", read: read_access };
pub(super) const NGINX_ERROR: Format = Format { name: "nginx error", read: read_nginx_error };
pub(super) const APACHE_ERROR: Format = Format { name: "apache error", read: read_apache_error };

/// Words looked at before the time of an access.
const WORDS_MAX: usize = 16;

fn read_access<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some((before, after)) = super::at_web_time(logged.message) else { return false };
    if before.trim_ascii().is_empty() {
        return read_time_first(after, reading);
    }
    let Some((request, rest)) = cut::quoted(after) else { return false };
    let status = cut::word(rest).0;
    if !cut::is_number(status) && status != b"-" {
        return false;
    }
    let host = read_client(before, reading);
    take_request(request, host, reading);
    take_quoted(rest, reading);
    true
}

/// What stands before the time: the client or a list of those behind it, with the virtual host in front. Gives that.
fn read_client<'a>(before: &'a [u8], reading: &mut Reading<'a>) -> Option<&'a [u8]> {
    let mut before = before.trim_ascii();
    let mut host = None;
    for _ in 0..WORDS_MAX {
        let (word, rest) = cut::word(before);
        let is_address = words::is_address(word.strip_suffix(b",").unwrap_or(word));
        if is_address && word.ends_with(b",") {
            let mut end = 0;
            for part in before.split(|byte| *byte == b',').take(WORDS_MAX) {
                let node = cut::word(part).0;
                if !words::is_address(node) {
                    break;
                }
                end = node.as_ptr().addr() - before.as_ptr().addr() + node.len();
            }
            reading.take(Field::Forwarded, before.get(..end).unwrap_or_default());
            return host;
        }
        if is_address {
            reading.take(Field::Src, word);
            return host;
        }
        if host.is_none() && word.contains(&b'.') {
            host = Some(word);
        }
        before = rest;
    }
    host
}

/// `GET /a HTTP/1.1`, with the host where that is known.
fn take_request<'a>(request: &'a [u8], host: Option<&'a [u8]>, reading: &mut Reading<'a>) {
    let target = cut::word(cut::word(request).1).0;
    if let Some(host) = host.filter(|_| target.starts_with(b"/")) {
        reading.take(Field::UrlHost, host);
        reading.take(Field::UrlPath, target);
    }
}

/// The referrer, the user agent, and of those behind them a list of addresses, each in quotes.
fn take_quoted<'a>(mut rest: &'a [u8], reading: &mut Reading<'a>) {
    for number in 0..4 {
        let Some(at) = memchr::memchr(b'"', rest).filter(|at| *at <= 64) else { return };
        let Some((text, after)) = cut::quoted(rest.get(at..).unwrap_or_default()) else { return };
        match number {
            0 => reading.take(Field::Url, text),
            1 => reading.take(Field::UserAgent, text),
            _ if words::is_address(cut::until(text, b",")) => reading.take(Field::Forwarded, text),
            _ => {}
        }
        rest = after;
    }
}

/// Nginx Proxy Manager begins with the time; so does its fork, which puts nothing but the request in quotes.
fn read_time_first<'a>(after: &'a [u8], reading: &mut Reading<'a>) -> bool {
    if let Some(client) = cut::between(after, b" [Client ", b"]") {
        let (before, rest) =
            after.split_at_checked(memchr::memchr(b'"', after).unwrap_or(0)).unwrap_or_default();
        reading.take(Field::Src, client);
        if let Some((path, rest)) = cut::quoted(rest) {
            if let Some((_, host)) = cut::at_last(before.trim_ascii_end(), b' ') {
                reading.take(Field::UrlHost, host);
                reading.take(Field::UrlPath, path);
            }
            if let Some((agent, _)) = cut::after(rest, b"] \"").and_then(|rest| cut::until_quote(rest)) {
                reading.take(Field::UserAgent, agent);
            }
        }
        return true;
    }
    let (host, rest) = cut::word(after);
    let (client, rest) = cut::word(rest);
    let Some((request, mut rest)) = cut::quoted(cut::word(rest).1) else { return false };
    if !words::is_address(client) {
        return false;
    }
    reading.take(Field::Src, client);
    take_request(request, Some(host).filter(|host| host.contains(&b'.')), reading);
    loop {
        let (word, after) = cut::word(rest);
        rest = after;
        if !cut::is_number(word) {
            break;
        }
    }
    reading.take(Field::UserAgent, rest);
    true
}

/// `… [error] 1124#1124: *163 TEXT, client: 203.0.113.5, server: a.example, request: "GET /x HTTP/1.1", host: "a.example"`
fn read_nginx_error<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    // The request may hold anything, and so may what stands before the client.
    let Some(at) = memmem::find(logged.message, b", client: ") else { return false };
    if memmem::find(logged.message.get(..at).unwrap_or_default(), b"#").is_none() {
        return false;
    }
    let message = logged.message.get(at..).unwrap_or_default();
    let head = memmem::find(message, b", request: \"").and_then(|end| message.get(..end)).unwrap_or(message);
    let client = memmem::rfind(head, b", client: ").and_then(|at| head.get(at + 10..)).unwrap_or_default();
    reading.take(Field::Src, cut::until(client, b", "));
    let Some((request, rest)) = cut::after(message, b", request: ").and_then(cut::quoted) else {
        return true;
    };
    let host = cut::after(rest, b", host: ").and_then(cut::quoted).map(|(host, _)| host);
    take_request(request, host, reading);
    true
}

/// `[TIME] [core:error] [pid 1:tid 2] [client 203.0.113.5:4000] TEXT, referer: …`
fn read_apache_error<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let message = logged.message.trim_ascii_start();
    let Some(at) = memmem::find(message, b"[client ").filter(|at| *at <= 256) else { return false };
    if !message.starts_with(b"[") {
        return false;
    }
    let (before, from) = message.split_at_checked(at).unwrap_or_default();
    let client = cut::until(from.get(8..).unwrap_or_default(), b"]");
    // Releases that name the process write a port, behind IPv6 addresses as well.
    let with_port = memmem::find(before, b"[pid ").and_then(|_| cut::at_last(client, b':'));
    match with_port {
        Some((address, port)) if cut::is_number(port) && words::is_address(address) => {
            reading.take(Field::Src, address);
            reading.take(Field::SrcPort, port);
        }
        _ => reading.take(Field::Src, client),
    }
    let uri = cut::after(from, b"[uri \"").and_then(cut::until_quote);
    let host = cut::after(from, b"[hostname \"").and_then(cut::until_quote);
    if let (Some((host, _)), Some((path, _))) = (host, uri) {
        reading.take(Field::UrlHost, host);
        reading.take(Field::UrlPath, path);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    const TIME: &str = "[22/Nov/2026:10:00:00 +0100]";

    #[test]
    fn common_and_combined() {
        check(
            &ACCESS,
            &format!("203.0.113.5 - - {TIME} \"GET /a.php HTTP/1.1\" 200 5"),
            &["log.src 203.0.113.5"],
        );
        check(
            &ACCESS,
            &format!(
                "2001:db8::5 - bob {TIME} \"GET / HTTP/1.1\" 200 - \"https://b.example/x\" \"bot/1.0 (\\\"q\\\")\" rt=0.1 \"198.51.100.7, 198.51.100.8\""
            ),
            &[
                "log.src 2001:db8::5",
                "log.url https://b.example/x",
                "log.domain b.example",
                "log.user_agent bot/1.0 (\\\"q\\\")",
                "log.text 198.51.100.7",
                "log.text 198.51.100.8",
            ],
        );
        check(
            &ACCESS,
            &format!(
                "203.0.113.5 - - {TIME} \"GET /a HTTP/2.0\" 401 17 \"-\" \"-\" 72 \"front\" \"http://10.0.0.9:80\" 0ms"
            ),
            &["log.src 203.0.113.5", "log.url http://10.0.0.9", "log.text 10.0.0.9"],
        );
        check(
            &ACCESS,
            &format!("198.51.100.7, 203.0.113.5 - - {TIME} \"GET /a HTTP/2.0\" 401 17 \"-\" \"bot/1.0\""),
            &["log.text 198.51.100.7", "log.text 203.0.113.5", "log.user_agent bot/1.0"],
        );
        check(
            &ACCESS,
            &format!(
                "203.0.113.5 - - {TIME} \"GET http://evil.example/a HTTP/1.1\" 200 5 \"-\" \"bot/1.0\" TCP_MISS:HIER_DIRECT"
            ),
            &[
                "log.src 203.0.113.5",
                "log.url http://evil.example/a",
                "log.domain evil.example",
                "log.user_agent bot/1.0",
            ],
        );
    }

    #[test]
    fn a_virtual_host_makes_a_url_of_the_path() {
        let expected = ["log.src 203.0.113.5", "log.url http://a.example/x?y=1", "log.domain a.example"];
        for client in
            ["a.example 203.0.113.5 - -", "a.example:80 203.0.113.5 - bob", "a.example 203.0.113.5 - r1 -"]
        {
            check(&ACCESS, &format!("{client} {TIME} \"GET /x?y=1 HTTP/1.1\" 200 5 \"-\" \"\""), &expected);
        }
        let agent = ["log.user_agent bot/1.0 (x; y)"];
        check(
            &ACCESS,
            &format!(
                "{TIME} a.example 203.0.113.5 0.002 \"GET /x?y=1 HTTP/1.1\" 401 77 935 - bot/1.0 (x; y)"
            ),
            &[&expected[..], &agent].concat(),
        );
        check(
            &ACCESS,
            &format!(
                "{TIME} - 200 200 - GET http a.example \"/x?y=1\" [Client 203.0.113.5] [Length 5] [Gzip -] [Sent-to web] \"bot/1.0 (x; y)\" \"-\""
            ),
            &[&expected[..], &agent].concat(),
        );
    }

    #[test]
    fn errors_name_client_host_and_path() {
        check(
            &NGINX_ERROR,
            "2026/11/22 10:00:00 [error] 1#1: *163 open() \"/var/www/x.sh\" failed (2: No such file), client: 203.0.113.5, server: _, request: \"GET /x, client: 198.51.100.1 HTTP/2.0\", host: \"a.example\", referrer: \"https://b.example/\"",
            &[
                "log.src 203.0.113.5",
                "log.src 198.51.100.1",
                "log.url http://a.example/x,",
                "log.domain a.example",
                "log.url https://b.example/",
                "log.domain b.example",
            ],
        );
        check(
            &APACHE_ERROR,
            "[Sun Nov 22 10:00:00.1 2026] [core:error] [pid 1:tid 2] [client 203.0.113.5:4000] AH1: denied: /srv/x, referer: http://b.example/",
            &["log.src 203.0.113.5:4000", "log.url http://b.example/", "log.domain b.example"],
        );
        check(
            &APACHE_ERROR,
            "[Sun Nov 22 10:00:00.1 2026] [:error] [pid 1] [client 2001:db8::5:4000] [client 2001:db8::5] ModSecurity: Warning. [file \"/etc/a.conf\"] [hostname \"a.example\"] [uri \"/x\"]",
            &[
                "log.src 2001:db8::5:4000",
                "log.src 2001:db8::5",
                "log.url http://a.example/x",
                "log.domain a.example",
            ],
        );
        check(
            &APACHE_ERROR,
            "[Sun Nov 22 10:00:00 2026] [error] [client 2001:db8::5] no",
            &["log.src 2001:db8::5"],
        );
    }

    #[test]
    fn other_lines_are_none() {
        check_not(&ACCESS, "203.0.113.5 - - [yesterday] \"GET / HTTP/1.1\" 200 5");
        check_not(&ACCESS, &format!("203.0.113.5 {TIME} GET /"));
        check_not(&NGINX_ERROR, "hello, client: 203.0.113.5");
        check_not(&APACHE_ERROR, "connected [client 203.0.113.5]");
    }
}

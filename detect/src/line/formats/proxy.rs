//! Squid's own access log, and the lines of HAProxy for HTTP and TCP.

use super::Format;
use crate::line::header::Logged;
use crate::line::reading::{Field, Reading};
use crate::line::{cut, words};

pub(super) const SQUID: Format = Format { name: "squid", read: read_squid };
pub(super) const HAPROXY: Format = Format { name: "haproxy", read: read_haproxy };

/// `TIME ELAPSED CLIENT TCP_MISS/200 BYTES METHOD URL USER HIER_DIRECT/203.0.113.5 TYPE`
fn read_squid<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let (time, rest) = cut::word(logged.message);
    let (elapsed, rest) = cut::word(rest);
    let (client, rest) = cut::word(rest);
    let (result, rest) = cut::word(rest);
    let is_result = [&b"TCP_"[..], b"UDP_", b"NONE", b"TAG_"].iter().any(|start| result.starts_with(start));
    if !is_result || !result.contains(&b'/') || !cut::is_number(elapsed.strip_prefix(b"-").unwrap_or(elapsed))
    {
        return false;
    }
    if !cut::is_number(cut::until(time, b".")) {
        return false;
    }
    let (method, rest) = cut::word(cut::word(rest).1);
    let (target, rest) = cut::word(rest);
    let (user, rest) = cut::word(rest);
    let peer = cut::word(rest).0;
    reading.take(Field::Src, client);
    if method == b"CONNECT" {
        if let Some((host, port)) = cut::at_last(target, b':') {
            reading.take(if words::is_address(host) { Field::Address } else { Field::Domain }, host);
            reading.take(Field::DstPort, port);
        }
    } else {
        reading.take(Field::Url, target);
    }
    reading.take(Field::User, user);
    if let Some((_, server)) = cut::at_last(peer, b'/') {
        reading.take(if words::is_address(server) { Field::Dst } else { Field::Domain }, server);
    }
    true
}

/// `CLIENT:PORT [TIME] FRONTEND BACKEND/SERVER 0/0/0/3/173 200 739 … {HOST|AGENT} "GET / HTTP/1.1"`
fn read_haproxy<'a>(logged: &Logged<'a>, reading: &mut Reading<'a>) -> bool {
    let Some((before, after)) = super::at_web_time(logged.message) else { return false };
    let before = before.trim_ascii_end();
    let client = cut::at_last(before, b' ').map_or(before, |(_, client)| client);
    let Some((address, port)) = cut::at_last(client, b':') else { return false };
    let (_, rest) = cut::word(after);
    let (backend, rest) = cut::word(rest);
    let (times, rest) = cut::word(rest);
    let is_times =
        times.contains(&b'/') && times.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'/' | b'-' | b'+'));
    if !cut::is_number(port) || !backend.contains(&b'/') || !is_times {
        return false;
    }
    reading.take(Field::Src, address);
    reading.take(Field::SrcPort, port);
    if let Some((_, server)) = cut::at_last(backend, b'/') {
        reading.take(Field::Domain, server);
    }
    // Which headers are kept is configured; only a user agent is known by its looks.
    let kept = cut::between(rest, b"{", b"}\"").unwrap_or_default();
    for header in kept.split(|byte| *byte == b'|').filter(|header| words::is_user_agent(header)) {
        reading.take(Field::UserAgent, header);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::super::made::{check, check_not};
    use super::*;

    #[test]
    fn squid() {
        check(
            &SQUID,
            "1795341600.525   1231 10.0.0.4 TCP_MISS/200 1536 GET http://evil.example/a?b=1 bob HIER_DIRECT/203.0.113.5 text/html",
            &[
                "log.src 10.0.0.4",
                "log.url http://evil.example/a?b=1",
                "log.domain evil.example",
                "log.dst 203.0.113.5",
            ],
        );
        check(
            &SQUID,
            "1795341600.525 6 10.0.0.4 TCP_TUNNEL/200 39 CONNECT evil.sh:8443 - HIER_DIRECT/203.0.113.5 -",
            &["log.src 10.0.0.4", "log.domain evil.sh", "log.dst 203.0.113.5:8443"],
        );
        check(
            &SQUID,
            "1795341600.525 0 2001:db8::4 TCP_DENIED/403 39 CONNECT [2001:db8::5]:443 - HIER_NONE/- -",
            &["log.src 2001:db8::4", "log.text 2001:db8::5"],
        );
        check_not(&SQUID, "yesterday 6 10.0.0.4 TCP_MISS/200 39 GET http://a.example/ - NONE/- -");
        check_not(&SQUID, "1795341600.525 6 10.0.0.4 200 39 GET");
    }

    #[test]
    fn haproxy() {
        check(
            &HAPROXY,
            "203.0.113.5:4000 [22/Nov/2026:10:00:00.127] https-in~ web/srv1.example 170/0/0/3/173 200 739 - - --NN 0/0/0/0/0 0/0 {a.example|Mozilla/5.0 (x)} \"GET /x HTTP/1.1\"",
            &[
                "log.src 203.0.113.5:4000",
                "log.domain srv1.example",
                "log.domain a.example",
                "log.user_agent Mozilla/5.0 (x)",
            ],
        );
        check(
            &HAPROXY,
            "2001:db8::5:4000 [22/Nov/2026:10:00:00.127] smtp-in smtp/<NOSRV> -1/-1/0 0 SC 0/0/0/0/0 0/0",
            &["log.src 2001:db8::5:4000"],
        );
        check_not(&HAPROXY, "203.0.113.5 - - [22/Nov/2026:10:00:00 +0100] \"GET / HTTP/1.1\" 200 5");
    }
}

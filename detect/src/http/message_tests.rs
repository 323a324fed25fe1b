//! Messages through whole streams: cut anywhere, pipelined, damaged, packed.

use std::io::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;

use crate::counters::Counters;
use crate::made::{seen_by, strings};
use crate::reader::{Reader, Talk, Towards};
use crate::stream::{Segment, Stream};

/// Reads both directions as they come: what the client sends, what the server answers, each in pieces.
fn talk(turns: &[(Towards, &[u8])], piece: usize) -> (Vec<String>, Counters) {
    seen_by(|sink| {
        let mut state = Talk { room: 1 << 30, ..Talk::default() };
        let [mut up, mut down] = [0, 1].map(|_| Stream::starting_at(Some(0), Reader::default()));
        let mut at = [0u32; 2];
        for (towards, bytes) in turns {
            let server = *towards == Towards::Server;
            let (stream, at) = if server { (&mut up, &mut at[0]) } else { (&mut down, &mut at[1]) };
            for bytes in bytes.chunks(piece) {
                stream.push(&Segment { sequence: *at, bytes, cut: false }, (*towards, &mut state), sink);
                *at += u32::try_from(bytes.len()).unwrap();
                assert!(stream.held() < 100_000);
            }
        }
        up.end((Towards::Server, &mut state), true, sink);
        down.end((Towards::Client, &mut state), true, sink);
    })
}

fn urls(requests: &[u8]) -> Vec<String> {
    let (seen, _) = talk(&[(Towards::Server, requests)], usize::MAX);
    let (bytewise, _) = talk(&[(Towards::Server, requests)], 1);
    assert_eq!(seen, bytewise, "{}", requests.escape_ascii());
    seen.iter().filter_map(|seen| Some(seen.strip_prefix("http.url ")?.to_owned())).collect()
}

fn check(requests: &str, expected: &[&str]) {
    assert_eq!(urls(requests.as_bytes()), strings(expected), "{requests:?}");
}

fn check_seen(requests: &str, expected: &[&str]) {
    let (seen, _) = talk(&[(Towards::Server, requests.as_bytes())], 7);
    assert_eq!(seen, strings(expected), "{requests:?}");
}

/// The SHA-256 of what was brought or sent.
fn hashes(turns: &[(Towards, &[u8])]) -> (Vec<String>, Counters) {
    let (all, counters) = talk(turns, 1000);
    let (bytewise, _) = talk(turns, 1);
    assert_eq!(all, bytewise);
    let body = all.iter().filter_map(|seen| seen.strip_prefix("http.body "));
    (body.filter(|value| value.len() == 64).map(str::to_owned).collect(), counters)
}

fn sha256(bytes: &[u8]) -> String {
    digest(&SHA256, bytes).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_bodies(requests: &str, responses: &[u8], expected: &[&[u8]]) {
    let turns = [(Towards::Server, requests.as_bytes()), (Towards::Client, responses)];
    let expected: Vec<String> = expected.iter().map(|body| sha256(body)).collect();
    assert_eq!(hashes(&turns).0, expected, "{}", responses.escape_ascii());
}

const HOST: &str = "Host: a.example\r\n";

#[test]
fn odd_heads_are_read_as_servers_read_them() {
    let seen = ["http.host evil.example", "http.url http://evil.example/a"];
    check_seen("GET /a HTTP/1.1\nhOST:  Evil.Example \n\n", &seen);
    check_seen("GET  /a  HTTP/1.1\r\n Host : evil.example\r\nbad field\r\n\r\n", &seen);
    check_seen("get /a HTTP/1.1\r\nHost:\r\n evil.example\r\nX:\0\r\n\r\n", &seen);
    check_seen("GET /a\r\nHost: evil.example\r\n\r\n", &seen);
    check_seen("\r\n\r\nX-$ODD /a HTTP/1.0\r\nHost: evil.example\r\n\r\n", &seen);
    check_seen(
        "GET /a HTTP/1.1\r\nHost: 203.0.113.5:8080\r\n\r\n",
        &["http.host 203.0.113.5", "http.url http://203.0.113.5:8080/a"],
    );
    check_seen(
        "GET /a HTTP/1.1\r\nHost: [2001:db8::5]\r\n\r\n",
        &["http.host 2001:db8::5", "http.url http://[2001:db8::5]/a"],
    );
    check_seen("GET /a HTTP/1.1\r\n\r\n", &[]);
    check_seen("GET a HTTP/1.1\r\nHost: evil.example\r\n\r\n", &seen[..1]);
    check_seen("OPTIONS * HTTP/1.1\r\nHost: evil.example\r\n\r\n", &seen[..1]);
}

#[test]
fn agents_referers_and_forwarders_are_seen() {
    check_seen(
        "GET / HTTP/1.1\r\nUser-Agent: Impianto\r\n\t1.0\r\nReferer: http://b.example/x\r\nReferer: about:blank\r\n\
         X-Forwarded-For: 203.0.113.9, 198.51.100.4\r\nForwarded: for=\"[2001:db8::9]:99\"\r\n\r\n",
        &[
            "http.user_agent Impianto 1.0",
            "http.referer http://b.example/x",
            "http.forwarded 203.0.113.9",
            "http.forwarded 198.51.100.4",
            "http.forwarded 2001:db8::9",
        ],
    );
}

#[test]
fn requests_to_proxies_name_their_target() {
    check_seen(
        "GET https://evil.example/a HTTP/1.1\r\nHost: proxy.example\r\n\r\n",
        &["http.host evil.example", "http.host proxy.example", "http.url https://evil.example/a"],
    );
    check_seen(
        "CONNECT evil.example:8443 HTTP/1.1\r\nHost: EVIL.example\r\n\r\nGET /in HTTP/1.1\r\nHost: b.example\r\n\r\n",
        &["http.host evil.example", "http.host b.example", "http.url http://b.example/in"],
    );
}

#[test]
fn what_looks_like_http_gives_nothing() {
    for text in [
        "OPTIONS rtsp://evil.example/cam RTSP/1.0\r\nCSeq: 1\r\nUser-Agent: x\r\n\r\n",
        "DESCRIBE /cam RTSP/1.0\r\nHost: evil.example\r\n\r\n",
        "GET /cam RTSP/1.0\r\nHost: evil.example\r\n\r\n",
        "INVITE sip:bob@evil.example SIP/2.0\r\nHost: evil.example\r\nUser-Agent: x\r\n\r\n",
        "REQMOD icap://evil.example/x ICAP/1.0\r\nHost: evil.example\r\n\r\n",
        "ICY 200 OK\r\nHost: evil.example\r\n\r\n",
        "RETR /pub/a\r\nHost: evil.example\r\n\r\n",
    ] {
        check_seen(text, &[]);
    }
}

#[test]
fn pipelined_requests_are_told_apart_whatever_frames_their_bodies() {
    check(
        &format!(
            "POST /1 HTTP/1.1\r\n{HOST}Content-Length: 5\r\n\r\nabcde\
             POST /2 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n4;x=\"y\"\r\nGET \r\n00A\n0123456789\n0\r\nT: 1\r\n\r\n\
             GET /3 HTTP/1.1\r\n{HOST}\r\n\
             \r\nPUT /4 HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\nabc\
             PUT /5 HTTP/1.1\r\n{HOST}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n\
             GET /6 HTTP/1.1\r\n{HOST}Upgrade: h2c\r\n\r\n\
             GET /7 HTTP/1.1\r\n{HOST}\r\n"
        ),
        &[1, 2, 3, 4, 5, 6, 7]
            .map(|number| format!("http://a.example/{number}"))
            .each_ref()
            .map(|url| &**url),
    );
}

#[test]
fn smuggled_requests_are_seen_and_sync_is_kept() {
    let both = ["http://a.example/1", "http://a.example/hidden", "http://a.example/2"];
    for (fields, body) in [
        (
            "Content-Length: 4\r\nTransfer-Encoding: chunked",
            "2e\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n\r\n0\r\n\r\n",
        ),
        (
            "Content-Length: 47\r\nTransfer-Encoding: chunked",
            "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n",
        ),
        ("Content-Length: 0\r\nContent-Length: 44", "GET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("Transfer-Encoding: xchunked", "\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("Transfer-Encoding: chunked", "zz\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"),
        ("Transfer-Encoding: chunked", "1\r\nabc\r\nGET /hidden HTTP/1.1\r\nHost: a.example\r\n\r\n"),
    ] {
        check(
            &format!("POST /1 HTTP/1.1\r\n{HOST}{fields}\r\n\r\n{body}GET /2 HTTP/1.1\r\n{HOST}\r\n"),
            &both,
        );
    }
}

#[test]
fn heads_without_end_cost_nothing_and_keep_sync() {
    let many = "X: y\r\n".repeat(50_000);
    let long = "y".repeat(300_000);
    let after = format!("GET /2 HTTP/1.1\r\n{HOST}\r\n");
    let both = ["http://a.example/1", "http://a.example/2"];
    check(&format!("GET /1 HTTP/1.1\r\n{HOST}{many}\r\n{after}"), &both);
    check(&format!("GET /1 HTTP/1.1\r\n{HOST}X: {long}\r\n\r\n{after}"), &both);
    check(&format!("POST /1 HTTP/1.1\r\n{HOST}{many}Content-Length: 3\r\n\r\nabc{after}"), &both);
    check(&format!("GET /{long} HTTP/1.1\r\n{HOST}\r\n{after}"), &both[1..]);
    check(&format!("GET /1 HTTP/1.1\r\n{}{HOST}\r\n{after}", "X: y\r\n".repeat(1000)), &both);
}

#[test]
fn bodies_are_hashed_however_they_are_framed() {
    let get = format!("GET / HTTP/1.1\r\n{HOST}\r\n");
    let gets = get.repeat(9);
    check_bodies(&get, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", &[b"evil"]);
    check_bodies(&get, b"HTTP/1.0 200 OK\r\n\r\nevil", &[b"evil"]);
    check_bodies(
        &get,
        b"HTTP/1.1 404\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nev\r\n2\r\nil\r\n0\r\n\r\n",
        &[b"evil"],
    );
    check_bodies(&get, b"HTTP/1.1 206 Part\r\nContent-Length: 4\r\n\r\nevil", &[]);
    check_bodies(&get, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nevil", &[]);
    check_bodies(
        &gets,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 4\r\n\r\nHTTP/1.1 304 Same\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\
          HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb",
        &[b"a", b"b"],
    );
    let head = format!("HEAD / HTTP/1.1\r\n{HOST}\r\n");
    let answers =
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb";
    check_bodies(&format!("{head}{get}"), answers, &[b"b"]);
    check_bodies("", answers, &[b"b"]);
}

#[test]
fn uploads_are_hashed_as_well() {
    let post = format!(
        "POST /1 HTTP/1.1\r\n{HOST}Content-Length: 4\r\n\r\nevilPUT /2 HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
    );
    let (found, counters) = hashes(&[(Towards::Server, post.as_bytes())]);
    assert_eq!(found, [sha256(b"evil"), sha256(b"x")]);
    assert_eq!(counters.http_bodies, 2);
}

fn packed(bytes: &[u8]) -> [(&'static str, Vec<u8>); 5] {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(bytes).unwrap();
    let mut named = flate2::GzBuilder::new()
        .filename("a.exe")
        .comment("b")
        .extra(vec![7; 300])
        .write(Vec::new(), Compression::best());
    named.write_all(bytes).unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
    zlib.write_all(bytes).unwrap();
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
    deflate.write_all(bytes).unwrap();
    [
        ("gzip", gzip.finish().unwrap()),
        ("X-Gzip", named.finish().unwrap()),
        ("deflate", zlib.finish().unwrap()),
        ("Deflate", deflate.finish().unwrap()),
        ("br", bytes.to_vec()),
    ]
}

fn response(encoding: &str, body: &[u8]) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

#[test]
fn packed_bodies_are_hashed_as_they_lie_on_the_disk() {
    let content: Vec<u8> = (0..20_000u32).flat_map(|number| (number * number).to_le_bytes()).collect();
    for (encoding, body) in packed(&content) {
        check_bodies("", &response(encoding, &body), &[&content]);
    }
}

#[test]
fn damaged_and_exploding_bodies_are_counted() {
    for (encoding, body) in packed(&vec![0; 8 << 20]).into_iter().take(4) {
        let (seen, counters) = talk(&[(Towards::Client, &response(encoding, &body))], 1000);
        assert_eq!((seen, counters.http_bombs), (strings(&[]), 1), "{encoding}");
    }
    for (encoding, mut body) in packed(b"some content that is not much").into_iter().take(4) {
        body.truncate(12);
        let (seen, counters) = talk(&[(Towards::Client, &response(encoding, &body))], 1000);
        assert_eq!((seen, counters.http_bodies_broken), (strings(&[]), 1), "{encoding}");
    }
}

#[test]
fn a_body_with_a_gap_is_not_hashed_and_the_next_one_is() {
    let (seen, counters) = seen_by(|sink| {
        let mut state = Talk { room: 1 << 30, ..Talk::default() };
        let mut down = Stream::starting_at(Some(0), Reader::default());
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n";
        let next = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
        let start = u32::try_from(answer.len()).unwrap();
        let mut push = |sequence, bytes: &[u8]| {
            let segment = Segment { sequence, bytes, cut: false };
            down.push(&segment, (Towards::Client, &mut state), sink);
        };
        push(0, answer);
        for piece in (0..100).filter(|piece| *piece != 7) {
            push(start + piece * 1000, &[1; 1000]);
        }
        push(start + 100_000, next);
        down.end((Towards::Client, &mut state), true, sink);
    });
    assert_eq!((seen.len(), counters.http_bodies, counters.http_bodies_broken), (3, 1, 1), "{seen:?}");
    assert!(seen[2].ends_with(&sha256(b"evil")));
}

/// A well-formed request with its URL's number, and a body of one framing.
fn request(number: usize) -> impl Strategy<Value = Vec<u8>> {
    let body = prop::collection::vec(any::<u8>(), 0..300);
    (body, 0..4u8, 1..50usize, any::<bool>()).prop_map(move |(body, framing, chunk, bare)| {
        let mut message = format!("POST /{number} HTTP/1.1\r\n{HOST}").into_bytes();
        match framing {
            0 => message.extend(b"\r\n"),
            1 => {
                message.extend(format!("Content-Length: {}\r\n\r\n", body.len()).bytes());
                message.extend(&body);
            }
            2 => {
                message.extend(b"Transfer-Encoding: chunked\r\n\r\n");
                for chunk in body.chunks(chunk) {
                    message.extend(format!("{:x}\r\n", chunk.len()).bytes());
                    message.extend(chunk);
                    message.extend(b"\r\n");
                }
                message.extend(b"0\r\n\r\n");
            }
            _ => {
                message.extend(
                    format!("Expect: 100-continue\r\ncontent-length : {}\r\n\r\n", body.len() + 1).bytes(),
                );
                message.push(0);
                message.extend(&body);
            }
        }
        if bare { [&b"\r\n"[..], &message].concat() } else { message }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn sync_is_never_lost_after_well_formed_messages(
        requests in (1..12usize).prop_flat_map(|length| (0..length).map(request).collect::<Vec<_>>()),
        piece in 1..700usize,
    ) {
        let (whole, _) = talk(&[(Towards::Server, &requests.concat())], usize::MAX);
        let (cut, counters) = talk(&[(Towards::Server, &requests.concat())], piece);
        prop_assert_eq!(&whole, &cut);
        let urls: Vec<_> = whole.iter().filter_map(|seen| seen.strip_prefix("http.url ")).collect();
        let expected: Vec<_> = (0..requests.len()).map(|number| format!("http://a.example/{number}")).collect();
        prop_assert_eq!(urls, expected);
        prop_assert_eq!(counters.http_malformed, 0);
    }

    #[test]
    fn any_text_after_a_request_does_no_harm(
        text in "(GET|POST|HTTP/1\\.1|[ /\\r\\n:;0-9a-f]|Content-Length|chunked|Transfer-Encoding|\\x00){0,60}",
        piece in 1..50usize,
    ) {
        let stream = format!("GET / HTTP/1.1\r\n{HOST}\r\n{text}");
        talk(&[(Towards::Server, stream.as_bytes()), (Towards::Client, text.as_bytes())], piece);
    }
}

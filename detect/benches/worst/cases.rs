//! For each protocol what is ordinary, and the ways to be slow that somebody could send.
//!
//! The size of a case is that of one message, in KiB where that can be, and all messages of a case have the same
//! bytes together whatever their size is: what costs more a byte when it is larger is read again and again.

use crate::Per::{Byte, Packet};
use crate::sealed::seal;
use crate::wire::{
    DOWN, UP, Wire, bomb, certificate, client_hello, crypto, datagram, der, dns_answer, packet, prefixed,
    records, server_flight, udp, usual_extensions, wire_name,
};
use crate::{Fed, Made, Per};

const MSS: usize = 1460;
/// The most that the largest size is.
const SIZE_MAX: usize = 16;

/// A protocol, what is judged and what is ordinary in it, and what is not.
type Protocol = (&'static str, (Per, Made), &'static [(&'static str, Made)]);

pub const ALL: &[Protocol] = &[
    (
        "http",
        (Byte, |_| http(400, USUAL_HEAD, MSS)),
        &[
            ("a byte a segment", |_| http(40, USUAL_HEAD, 1)),
            ("folded fields", |size| heads(size, b" x\r\n", MSS)),
            ("folded fields, byte by byte", |size| heads(size, b" x\r\n", 1)),
            ("empty fields", |size| heads(size, b"a:\r\n", MSS)),
            ("empty fields, byte by byte", |size| heads(size, b"a:\r\n", 1)),
            ("an endless field, byte by byte", |size| heads(size, b"xxxx", 1)),
            ("an endless answer, byte by byte", |size| {
                saying(size, 80, &[(UP, USUAL_HEAD), (DOWN, b"HTTP/1.1 200 OK\r\n")], (DOWN, b"a: b\r\n", 1))
            }),
            ("addresses of proxies", |size| heads(size, b"X-Forwarded-For: 1.2.3.4,1.2.3.4\r\n", MSS)),
            ("requests of one line", |size| http(size * 200, b"GET / HTTP/1.1\r\n\r\n", MSS)),
            ("chunks of one byte", |size| body(b"Transfer-Encoding: chunked", (size, b"1\r\nx\r\n"), MSS)),
            ("chunks, byte by byte", |size| body(b"Transfer-Encoding: chunked", (size, b"1\r\nx\r\n"), 1)),
            ("chunk extensions", |size| body(b"Transfer-Encoding: chunked", (size, b"1;x=y\r\nx\r\n"), MSS)),
            ("an endless chunk line", |size| body(b"Transfer-Encoding: chunked", (size, b"0"), 1)),
            ("a bomb of gzip", |size| {
                let packed = [b"\x1f\x8b\x08\0\0\0\0\0\0\xff", &bomb(5000 * size)[..]].concat();
                answers(size, b"Content-Encoding: gzip", &packed, MSS)
            }),
            ("parts out of order", |size| {
                out_of_order(size, 80, b"GET / HTTP/1.1\r\nHost: a.example\r\nX: ")
            }),
        ],
    ),
    (
        "http2",
        (Byte, |_| {
            let usual = [
                &[0x82, 0x86][..],
                &literal(0x41, b"www.shop.example"),
                &literal(0x44, b"/a/b?c=d"),
                &literal(0x7a, b"Mozilla/5.0 (X11; Linux x86_64)"),
            ];
            h2(200, &usual.concat(), MSS)
        }),
        &[
            ("fields of one byte", |size| h2(shares(size), &blocks(size, &[0x84]), MSS)),
            ("fields, byte by byte", |size| h2(shares(size) / 4, &blocks(size, &[0x84]), 1)),
            ("new table entries", |size| h2(shares(size), &blocks(size, &[0x40, 1, b'x', 1, b'y']), MSS)),
            ("one large entry again", |size| {
                let entry = literal(0x41, &[b'x'; 120]);
                h2(shares(size), &[entry, vec![0xbe; 60 * size]].concat(), MSS)
            }),
            ("one long path again", |size| {
                let path = [&[0x82, 0x86, 0x41, 1, b'a', 0x44, 0x7f, 0x80, size as u8][..], &[b'/'; 127]];
                let path = [&path.concat()[..], &vec![b'a'; 128 * size]].concat();
                let first = [&[0][..], &prefixed(&path)[..2], &[1, 5, 0, 0, 0, 1], &path].concat();
                let again = [0, 0, 4, 1, 5, 0, 0, 0, 1, 0x82, 0x86, 0xbf, 0xbe].repeat(80 * size);
                connections(shares(size), 8080, &[(UP, PREFACE, MSS), (UP, &first, MSS), (UP, &again, MSS)])
            }),
            ("table sizes", |size| h2(shares(size), &[0x20, 0x3f, 0xe1, 0x1f].repeat(60 * size), MSS)),
            ("continuations of one byte", |size| {
                let more = [0, 0, 1, 9, 0, 0, 0, 0, 1, 0x84].repeat(100 * size);
                connections(
                    shares(size),
                    8080,
                    &[
                        (UP, PREFACE, MSS),
                        (UP, &[0, 0, 2, 1, 1, 0, 0, 0, 1, 0x82, 0x86], MSS),
                        (UP, &more, MSS),
                    ],
                )
            }),
            ("empty frames", |size| {
                saying(size, 8080, &[(UP, PREFACE)], (UP, &[0, 0, 0, 9, 0, 0, 0, 0, 1], MSS))
            }),
        ],
    ),
    (
        "tls",
        (Byte, |_| tls(320, &records(&client_hello(&usual_extensions()), 16_000), MSS)),
        &[
            ("a byte a segment", |size| tls(shares(size), &records(&long_hello(size), 16_000), 1)),
            ("a byte a record", |size| tls(shares(size), &records(&long_hello(size), 1), MSS)),
            ("a byte a record and segment", |size| tls(shares(size), &records(&long_hello(size), 1), 1)),
            ("empty extensions", |size| tls(4 * shares(size), &records(&long_hello(size), 16_000), MSS)),
            ("a hello without end", |size| {
                saying(
                    size,
                    443,
                    &[(UP, &[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb, 3, 3])],
                    (UP, &[3; 64], 1),
                )
            }),
            ("tiny certificates", |size| flight(4 * shares(size), &vec![der(0x30, &[]); 150 * size], MSS)),
            ("many names", |size| flight(4 * shares(size), &[named(size)], MSS)),
            ("many names, byte by byte", |size| flight(shares(size), &[named(size)], 1)),
            ("parts out of order", |size| {
                out_of_order(size, 443, &[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb])
            }),
        ],
    ),
    (
        "quic",
        (Byte, |_| quic(320, &[crypto(0, &client_hello(&usual_extensions())[..1200])])),
        &[
            ("bytes in reverse", |size| quic(shares(size), &scattered(size, 1))),
            ("every other byte, then the rest", |size| {
                let mut pieces = scattered(size, 1);
                pieces.sort_by_key(|piece| piece.len() % 2);
                quic(shares(size), &pieces)
            }),
            ("pieces in reverse", |size| quic(shares(size), &scattered(size, 20))),
            ("no more than pings", |size| quic(shares(size), &vec![vec![1; 1100]; size * 2])),
            ("the same again", |size| quic(shares(size), &vec![crypto(1, &[7; 20]).repeat(40); size * 2])),
        ],
    ),
    (
        "dns",
        (Byte, |_| dns(4000, &addresses(4))),
        &[
            ("chains of pointers", |size| dns(8 * shares(size), &chained(size))),
            ("addresses", |size| dns_over_tcp(8 * shares(size), &addresses(size * 60), MSS)),
            ("addresses, byte by byte", |size| dns_over_tcp(shares(size), &addresses(size * 60), 1)),
            ("chains", |size| dns_over_tcp(8 * shares(size), &chained(size), MSS)),
            ("messages of no length", |size| saying(size, 53, &[], (DOWN, &[0, 0], MSS))),
        ],
    ),
    (
        "ip",
        (Packet, |_| {
            let one = |number: u16| udp(UP, (20_000 + number % 1000, 9999), &[0x5a; 700]);
            Fed::Packets((0..16_000).map(one).collect())
        }),
        &[
            ("tiny fragments", |size| fragments(size, 1, false)),
            ("tiny fragments in reverse", |size| fragments(size, 1, true)),
            ("overlapping fragments", |size| fragments(size, 3, false)),
            ("a fragment of each packet", |size| {
                let first = &datagram(UP, (20_000, 9999), &[0x5a; 8])[..8];
                let one = |number: usize| {
                    let mut packet = packet(UP, (17, (number as u16, 0x2000)), first);
                    packet[15] = (number >> 16) as u8;
                    packet
                };
                Fed::Packets((0..size * 5000).map(one).collect())
            }),
            ("tunnels in tunnels", |size| {
                let around = |inner: Vec<u8>, _| packet(UP, (4, (0, 0)), &inner);
                Fed::Packets(vec![(0..size).fold(udp(UP, (1, 2), b"x"), around); 4000])
            }),
            ("flows of one packet", |size| {
                let one = |number: usize| udp(UP, (number as u16, (number >> 8) as u16), &[]);
                Fed::Packets((0..size * 4000).map(one).collect())
            }),
        ],
    ),
    (
        "mail",
        (Byte, |_| letters(320, &[USUAL_LETTER, b"\r\n.\r\n"].concat(), MSS)),
        &[
            ("a byte a segment", |_| letters(16, USUAL_LETTER, 1)),
            ("an endless header", |size| letter(size, b"", b"x: y\r\n", MSS)),
            ("an endless header, byte by byte", |size| letter(size, b"", b"x: y\r\n", 1)),
            ("an endless field", |size| letter(size, b"To: ", b"a@b.example,\r\n ", MSS)),
            ("an endless field, byte by byte", |size| letter(size, b"To: ", b"a@b.example,\r\n ", 1)),
            ("an endless line, byte by byte", |size| letter(size, b"Subject: ", b"x", 1)),
            ("parts in parts", |size| letters(8 * shares(size), &parts(size * 16), MSS)),
            ("boundaries", |size| letter(size, MULTIPART, b"--x\r\n\r\n", MSS)),
            ("almost boundaries, byte by byte", |size| letter(size, MULTIPART, b"--y", 1)),
            ("links", |size| letter(size, b"\r\n", b"http://a.example/ http://a.example/\r\n", MSS)),
            ("links, byte by byte", |size| letter(size, b"\r\n", b"http://a.example/ ", 1)),
            ("an endless link, byte by byte", |size| letter(size, b"\r\nhttp://a.example/", b"x", 1)),
            ("base64", |size| letter(size, BASE64, b"aHR0cDovL2EuZXhhbXBsZS8g\r\n", MSS)),
            ("base64, byte by byte", |size| letter(size, BASE64, b"aHR0cDovL2EuZXhhbXBsZS8g", 1)),
            ("marks of HTML", |size| letter(size, HTML, b"<a href=", MSS)),
            ("recipients", |size| {
                saying(
                    size,
                    25,
                    &[(DOWN, b"220 mx.example ESMTP\r\n")],
                    (UP, b"RCPT TO:<a@b.example>\r\n", MSS),
                )
            }),
            ("an endless command", |size| {
                saying(size, 25, &[(DOWN, b"220 mx.example ESMTP\r\n"), (UP, b"MAIL FROM:<")], (UP, b"x", 1))
            }),
            ("an endless greeting", |size| saying(size, 25, &[], (DOWN, b"220-mx.example\r\n", 1))),
            ("pop3: an endless header", |size| {
                let before: &[(bool, &[u8])] =
                    &[(DOWN, b"+OK ready\r\n"), (UP, b"RETR 1\r\n"), (DOWN, b"+OK\r\n")];
                saying(size, 110, before, (DOWN, b"To: a@b.example\r\n", 1))
            }),
            ("imap: an endless literal", |size| {
                let before: &[(bool, &[u8])] = &[
                    (DOWN, b"* OK ready\r\n"),
                    (UP, b"a FETCH 1 BODY[]\r\n"),
                    (DOWN, b"* 1 FETCH (BODY[] {60000}\r\n"),
                ];
                saying(size, 143, before, (DOWN, b"To: a@b.example\r\n", 1))
            }),
            ("imap: an endless answer", |size| {
                saying(size, 143, &[(DOWN, b"* OK ready\r\n"), (UP, b"a NOOP\r\n")], (DOWN, b"* (", 1))
            }),
        ],
    ),
    (
        "ftp",
        (Byte, |_| connections(640, 21, &[(DOWN, b"220 ftp ready\r\n", MSS), (UP, USUAL_COMMANDS, MSS)])),
        &[
            ("an endless command", |size| ftp(size, b"STOR ", b"x", 1)),
            ("names", |size| ftp(size, b"", b"RETR x\r\n", MSS)),
            ("names in deep folders", |size| {
                ftp(size, &[b"CWD ", &b"/a".repeat(size * 15)[..], b"\r\n"].concat(), b"RETR x\r\n", MSS)
            }),
            ("folders", |size| ftp(size, b"", b"CWD a\r\n", MSS)),
        ],
    ),
    (
        // Beside an ordinary handshake of TLS, which like these says all in few messages.
        "others",
        (Byte, |_| tls(320, &records(&client_hello(&usual_extensions()), 16_000), MSS)),
        &[
            ("ssh: an endless version", |size| saying(size, 22, &[(UP, b"SSH-2.0-")], (UP, b"x", 1))),
            ("ssh: an endless key exchange", |size| {
                saying(size, 22, &[(UP, b"SSH-2.0-x\r\n\0\0\x44\0\x04\x14")], (UP, b"x,", 1))
            }),
            ("smb: an endless message", |size| {
                saying(size, 445, &[(UP, b"\0\0\x3f\xff\xfeSMB\x40\0\0\0")], (UP, &[0; 16], 1))
            }),
            ("smb: empty messages", |size| {
                saying(size, 445, &[], (UP, &[&b"\0\0\0\x44\xfeSMB\x40\0"[..], &[0; 62]].concat(), MSS))
            }),
            ("rdp: an endless request", |size| {
                saying(
                    size,
                    3389,
                    &[(UP, b"\x03\0\x1f\xff\xfa\xe0\0\0\0\0\0Cookie: mstshash=")],
                    (UP, b"x", 1),
                )
            }),
            ("openvpn: tiny pieces", |size| {
                let reset = [0, 14, 0x38, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0];
                let piece = [0, 15, 0x20, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 1, 0x16];
                saying(size, 1194, &[(UP, &reset)], (UP, &piece, MSS))
            }),
            ("nothing known, byte by byte", |size| saying(size, 9999, &[], (UP, b"xyz\r\n", 1))),
        ],
    ),
    (
        "log",
        (Byte, |_| lines(16_000, USUAL_LINE)),
        &[
            ("schemes", |size| line(size, b"a://")),
            ("links", |size| line(size, b"http://a.b/")),
            ("agents", |size| line(size, b"user-agent='")),
            ("brackets", |size| line(size, b")")),
            ("opening brackets", |size| line(size, b"([{<\"'")),
            ("endpoints", |size| line(size, b"1.2.3.4:")),
            ("names", |size| line(size, b"a.b-")),
            ("one long name", |size| line(size, b"a.")),
            ("fields", |size| line(size, b"SRC=1.2.3.4 ")),
            ("json", |size| line(size, b"{\"a\":\"")),
            ("escapes", |size| line(size, b"\\u0041")),
            ("percents", |size| line(size, b"%25")),
            ("at signs", |size| line(size, b"a@")),
            ("colons", |size| line(size, b"::1-")),
        ],
    ),
];

const USUAL_HEAD: &[u8] = b"GET /a/b/c?d=e HTTP/1.1\r\nHost: www.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Language: it\r\nReferer: http://www.shop.example/\r\nConnection: keep-alive\r\n\r\n";
const USUAL_LETTER: &[u8] = b"From: Uno <uno@comune.example>\r\nTo: Due <due@shop.example>\r\nSubject: Ordine\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBuongiorno, si veda http://www.shop.example/ordine?n=7 e si risponda entro domani.\r\nDistinti saluti, l'ufficio acquisti del Comune\r\n";
const USUAL_COMMANDS: &[u8] = b"USER anonymous\r\nPASS uno@comune.example\r\nTYPE I\r\nCWD /pub/avvisi/2026\r\nPASV\r\nRETR bando-di-gara.pdf\r\nQUIT\r\n";
const USUAL_LINE: &[u8] = b"203.0.113.9 - - [22/Nov/2026:10:00:00 +0100] \"GET /index.php?id=7 HTTP/1.1\" 200 512 \"http://www.shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64)\"";
const MULTIPART: &[u8] = b"Content-Type: multipart/mixed; boundary=x\r\n\r\n";
const BASE64: &[u8] = b"Content-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\n";
const HTML: &[u8] = b"Content-Type: text/html\r\n\r\n";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn http(requests: usize, head: &[u8], segment_max: usize) -> Fed {
    let mut wire = Wire::default();
    for heads in vec![head; requests].chunks(100) {
        wire.open(80);
        wire.say(UP, &heads.concat(), segment_max);
    }
    wire.fed()
}

/// How many messages of this size have the bytes of all.
fn shares(size: usize) -> usize {
    4 * SIZE_MAX / size
}

/// Clients of FTP that say the same again and again.
fn ftp(size: usize, start: &[u8], piece: &[u8], segment_max: usize) -> Fed {
    let before = [(DOWN, &b"220 ftp ready\r\n"[..]), (UP, b"USER a\r\n"), (UP, start)];
    saying(size, 21, &before, (UP, piece, segment_max))
}

/// So many connections, each with what the ends say, in segments of at most so many bytes.
fn connections(count: usize, port: u16, said: &[(bool, &[u8], usize)]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..count {
        wire.open(port);
        for (down, bytes, segment_max) in said {
            wire.say(*down, bytes, *segment_max);
        }
    }
    wire.fed()
}

/// Connections in which the same comes again and again after what was said before.
fn saying(
    size: usize,
    port: u16,
    before: &[(bool, &[u8])],
    (down, piece, segment_max): (bool, &[u8], usize),
) -> Fed {
    let again = piece.repeat(size * 1024 / piece.len());
    let mut said: Vec<_> = before.iter().map(|(down, bytes)| (*down, *bytes, MSS)).collect();
    said.push((down, &again, segment_max));
    // What comes in large segments takes little of the line: more of it makes the time long enough.
    connections(if segment_max == 1 { shares(size) } else { 8 * shares(size) }, port, &said)
}

/// Heads that go on with the same again and again.
fn heads(size: usize, piece: &[u8], segment_max: usize) -> Fed {
    let before = b"GET / HTTP/1.1\r\nHost: www.shop.example\r\n";
    saying(size, 80, &[(UP, before)], (UP, piece, segment_max))
}

/// Answers with this body and a field that says how it is written.
fn answers(size: usize, field: &[u8], body: &[u8], segment_max: usize) -> Fed {
    let head = [b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", field, b"\r\n\r\n"].concat();
    connections(shares(size), 80, &[(UP, USUAL_HEAD, MSS), (DOWN, &head, MSS), (DOWN, body, segment_max)])
}

fn body(field: &[u8], (size, piece): (usize, &[u8]), segment_max: usize) -> Fed {
    answers(size, field, &piece.repeat(size * 1024 / piece.len()), segment_max)
}

/// Segments that overlap and come late, with and without other contents.
fn out_of_order(size: usize, port: u16, start: &[u8]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..4 * shares(size) {
        wire.open(port);
        wire.say(UP, start, MSS);
        for number in 0..size as u32 * 25 {
            wire.at(UP, 1 + number * 7 % 97 * 11, &[number as u8; 40]);
        }
    }
    wire.fed()
}

fn literal(index: u8, value: &[u8]) -> Vec<u8> {
    [&[index, value.len() as u8][..], value].concat()
}

/// The usual fields of a request, then the same again and again, no more than are read.
fn blocks(size: usize, piece: &[u8]) -> Vec<u8> {
    [&[0x82, 0x86][..], &literal(0x44, b"/"), &piece.repeat(60 * size)].concat()
}

/// Requests whose fields are these, one after the other.
fn h2(requests: usize, fields: &[u8], segment_max: usize) -> Fed {
    let mut wire = Wire::default();
    wire.open(8080);
    wire.say(UP, PREFACE, MSS);
    for number in 0..requests as u32 {
        let [.., high, low] = (2 * number + 1).to_be_bytes();
        let frame = [&[0][..], &prefixed(fields)[..2], &[1, 5, 0, 0, high, low], fields].concat();
        wire.say(UP, &frame, segment_max);
    }
    wire.fed()
}

fn tls(count: usize, hello: &[u8], segment_max: usize) -> Fed {
    connections(count, 443, &[(UP, hello, segment_max)])
}

/// A hello of empty extensions, less than what is read of one.
fn long_hello(size: usize) -> Vec<u8> {
    client_hello(&[0x7a, 1, 0, 0].repeat(250 * size))
}

/// A certificate with names.
fn named(size: usize) -> Vec<u8> {
    certificate(&der(0x82, b"a.b").repeat(180 * size))
}

fn flight(count: usize, certificates: &[Vec<u8>], segment_max: usize) -> Fed {
    let hello = records(&client_hello(&[]), 16_000);
    let flight = records(&server_flight(certificates), 16_000);
    connections(count, 443, &[(UP, &hello, MSS), (DOWN, &flight, segment_max)])
}

fn quic(connections: usize, datagrams: &[Vec<u8>]) -> Fed {
    let sealed: Vec<_> = (0..).zip(datagrams).map(|(number, frames)| seal(number, frames)).collect();
    let each = (0..connections).flat_map(|client| {
        sealed.iter().map(move |datagram| udp(UP, (20_000 + client as u16, 443), datagram))
    });
    Fed::Packets(each.collect())
}

/// A hello in CRYPTO frames of so many bytes, the last first, as many datagrams as it takes.
fn scattered(size: usize, piece: usize) -> Vec<Vec<u8>> {
    let hello = client_hello(&[0x7a, 1, 0, 0].repeat(100 * size));
    let frames: Vec<_> =
        hello.chunks(piece).enumerate().map(|(at, data)| crypto(at * piece, data)).rev().collect();
    frames.chunks(1100 / (5 + piece)).map(<[_]>::concat).collect()
}

fn dns(messages: usize, message: &[u8]) -> Fed {
    let one = udp(DOWN, (40_000, 53), &message[..message.len().min(60_000)]);
    Fed::Packets(vec![one; messages])
}

fn dns_over_tcp(count: usize, message: &[u8], segment_max: usize) -> Fed {
    connections(count, 53, &[(DOWN, &prefixed(message), segment_max)])
}

/// An answer with so many addresses.
fn addresses(count: usize) -> Vec<u8> {
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9];
    dns_answer(&wire_name("www.shop.example"), count as u16, &record.repeat(count))
}

/// An answer in which the name of each record is one label and a pointer to the one before.
fn chained(size: usize) -> Vec<u8> {
    let count = size as u16 * 50;
    let mut bytes = Vec::new();
    let start = 12 + 3 + 4;
    for number in 0..count {
        let at = start + bytes.len() as u16;
        let before = if number == 0 { 12 } else { at - 18 };
        bytes.extend([1, b'a']);
        bytes.extend((0xc000 | (before & 0x3fff)).to_be_bytes());
        bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
    }
    dns_answer(&wire_name("z"), count, &bytes)
}

/// Fragments of eight bytes, each so many units long, of datagrams that never become whole.
fn fragments(size: usize, units: usize, in_reverse: bool) -> Fed {
    let payload = datagram(UP, (20_000, 9999), &[0x5a; 8000]);
    let mut packets = Vec::new();
    for identifier in 0..8 * shares(size) as u16 {
        let mut parts: Vec<_> = (0..size as u16 * 30)
            .map(|unit| {
                let start = usize::from(unit) * 8;
                let part = &payload[start..(start + units * 8).min(payload.len())];
                packet(UP, (17, (identifier, 0x2000 | unit)), part)
            })
            .collect();
        if in_reverse {
            parts.reverse();
        }
        packets.extend(parts);
    }
    Fed::Packets(packets)
}

fn smtp(wire: &mut Wire, letter: &[u8], segment_max: usize) {
    wire.open(25);
    wire.say(DOWN, b"220 mx.comune.example ESMTP\r\n", MSS);
    wire.say(UP, b"EHLO mail.shop.example\r\n", segment_max);
    wire.say(DOWN, b"250-mx.comune.example\r\n250 SIZE\r\n", MSS);
    wire.say(UP, b"MAIL FROM:<uno@shop.example>\r\nRCPT TO:<due@comune.example>\r\nDATA\r\n", segment_max);
    wire.say(DOWN, b"250 ok\r\n250 ok\r\n354 go ahead\r\n", MSS);
    wire.say(UP, letter, segment_max);
}

fn letters(count: usize, letter: &[u8], segment_max: usize) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..count {
        smtp(&mut wire, letter, segment_max);
    }
    wire.fed()
}

/// Letters that begin like this and go on with the same again and again.
fn letter(size: usize, start: &[u8], piece: &[u8], segment_max: usize) -> Fed {
    let letter = [start, &piece.repeat(size * 1024 / piece.len())].concat();
    letters(if segment_max == 1 { shares(size) } else { 8 * shares(size) }, &letter, segment_max)
}

/// Parts, each with a part in it.
fn parts(depth: usize) -> Vec<u8> {
    let part =
        |number: usize| format!("Content-Type: multipart/mixed; boundary=b{number}\r\n\r\n--b{number}\r\n");
    (0..depth).map(part).collect::<String>().into_bytes()
}

fn lines(count: usize, line: &[u8]) -> Fed {
    Fed::Lines(vec![line.to_vec(); count])
}

/// Lines of nothing but the same, the longest as long as lines are read.
fn line(size: usize, piece: &[u8]) -> Fed {
    lines(shares(size), &piece.repeat(size * 4000 / piece.len()))
}

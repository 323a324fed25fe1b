//! For each protocol what is ordinary, and the ways to be slow that somebody could send.

use crate::wire::{
    DOWN, UP, Wire, bomb, certificate, client_hello, crypto, datagram, der, dns_answer, initial, packet,
    prefixed, records, server_flight, udp, usual_extensions, wire_name,
};
use crate::{Fed, Made};

const MSS: usize = 1460;

/// A protocol, what is ordinary in it, and what is not.
type Protocol = (&'static str, Made, &'static [(&'static str, Made)]);

pub const ALL: &[Protocol] = &[
    (
        "http",
        |size| http(size * 50, USUAL_HEAD, MSS),
        &[
            ("a byte a segment", |size| http(size * 5, USUAL_HEAD, 1)),
            ("folded fields", |size| head_of(size, b" x\r\n")),
            ("empty fields", |size| head_of(size, b"a:\r\n")),
            ("one endless field", |size| head_of(size, b"xxxx")),
            ("addresses of proxies", |size| head_of(size, b"X-Forwarded-For: 1.2.3.4,1.2.3.4\r\n")),
            ("requests of one line", |size| http(size * 2000, b"GET / HTTP/1.1\r\n\r\n", MSS)),
            ("chunks of one byte", |size| {
                body(size, b"Transfer-Encoding: chunked", &b"1\r\nx\r\n".repeat(8000 * size))
            }),
            ("chunk extensions", |size| {
                body(size, b"Transfer-Encoding: chunked", &b"1;x=y\r\nx\r\n".repeat(8000 * size))
            }),
            ("a bomb of gzip", |size| {
                body(
                    size,
                    b"Content-Encoding: gzip",
                    &[b"\x1f\x8b\x08\0\0\0\0\0\0\xff", &bomb(20_000 * size)[..]].concat(),
                )
            }),
            ("parts out of order", |size| {
                out_of_order(size, 80, b"GET / HTTP/1.1\r\nHost: a.example\r\nX: ")
            }),
        ],
    ),
    (
        "http2",
        |size| {
            h2(
                size * 20,
                &[
                    &[0x82, 0x86][..],
                    &literal(0x41, b"www.shop.example"),
                    &literal(0x44, b"/a/b?c=d"),
                    &literal(0x7a, b"Mozilla/5.0 (X11; Linux x86_64)"),
                ]
                .concat(),
            )
        },
        &[
            ("fields of one byte", |size| {
                h2(size * 4, &[&[0x82, 0x86][..], &literal(0x44, b"/"), &[0x84; 8000]].concat())
            }),
            ("new table entries", |size| {
                h2(
                    size * 4,
                    &literal(0x40, b"").into_iter().chain([1, b'x']).collect::<Vec<_>>().repeat(2000),
                )
            }),
            ("one large entry again", |size| {
                h2(size * 4, &[&literal(0x41, &[b'x'; 120])[..], &[0xbe; 8000]].concat())
            }),
            ("table sizes", |size| h2(size * 4, &[0x20, 0x3f, 0xe1, 0x1f].repeat(2000))),
            ("empty frames", |size| {
                let mut wire = Wire::default();
                wire.open(8080);
                wire.say(UP, PREFACE, MSS);
                wire.say(UP, &[0, 0, 0, 9, 0, 0, 0, 0, 1].repeat(4000 * size), MSS);
                wire.fed()
            }),
        ],
    ),
    (
        "tls",
        |size| tls(size * 40, &records(&client_hello(&usual_extensions()), 16_000), MSS),
        &[
            ("a byte a segment", |size| {
                tls(size * 4, &records(&client_hello(&usual_extensions()), 16_000), 1)
            }),
            ("a byte a record", |size| tls(size * 10, &records(&client_hello(&usual_extensions()), 1), MSS)),
            ("empty extensions", |size| {
                tls(size * 10, &records(&client_hello(&[0x7a, 1, 0, 0].repeat(3000)), 16_000), MSS)
            }),
            ("hellos without end", |size| {
                tls(size * 10, &records(&[&[1, 0xff, 0xff, 0xff][..], &[3; 60_000]].concat(), 16_000), MSS)
            }),
            ("tiny certificates", |size| flight(size * 10, &vec![der(0x30, &[]); 3000])),
            ("one with many names", |size| {
                flight(size * 10, &[certificate(&der(0x82, b"a.b").repeat(3000))])
            }),
            ("parts out of order", |size| {
                out_of_order(size, 443, &[0x16, 3, 1, 0x3f, 0xff, 1, 0, 0x3f, 0xfb])
            }),
        ],
    ),
    (
        "quic",
        |size| quic(size * 40, &[crypto(0, &client_hello(&usual_extensions())[..1200])]),
        &[
            ("bytes in reverse", |size| quic(size * 20, &scattered(1))),
            ("no more than pings", |size| quic(size * 20, &vec![vec![1; 1100]; 10])),
            ("the same again", |size| quic(size * 20, &vec![crypto(1, &[7; 20]).repeat(40); 10])),
        ],
    ),
    (
        "dns",
        |size| dns(size * 500, &addresses(4)),
        &[
            ("chains of pointers", |size| dns(size * 100, &chained())),
            ("addresses, all of 64 KiB", |size| dns_over_tcp(size, &addresses(3500))),
            ("chains, all of 64 KiB", |size| dns_over_tcp(size, &chained())),
            ("bytes of a message", |size| {
                let mut wire = Wire::default();
                for _ in 0..size * 20 {
                    wire.open(53);
                    wire.say(UP, &prefixed(&addresses(40)), 1);
                }
                wire.fed()
            }),
        ],
    ),
    (
        "ip",
        |size| {
            Fed::Packets(
                (0..size * 2000)
                    .map(|number| udp(UP, (20_000 + number as u16 % 1000, 9999), &[0x5a; 700]))
                    .collect(),
            )
        },
        &[
            ("tiny fragments", |size| fragments(size, 1, false)),
            ("tiny fragments in reverse", |size| fragments(size, 1, true)),
            ("overlapping fragments", |size| fragments(size, 3, false)),
            ("tunnels in tunnels", |size| {
                Fed::Packets(vec![
                    (0..12).fold(udp(UP, (1, 2), b"x"), |inner, _| packet(
                        UP,
                        (4, (0, 0)),
                        &inner
                    ));
                    size * 2000
                ])
            }),
            ("flows of one packet", |size| {
                Fed::Packets(
                    (0..size * 8000)
                        .map(|number| udp(UP, (number as u16, (number >> 8) as u16), &[]))
                        .collect(),
                )
            }),
        ],
    ),
    (
        "mail",
        |size| mail(size * 40, &[USUAL_LETTER, b"\r\n.\r\n"].concat()),
        &[
            ("a byte a segment", |size| {
                let mut wire = Wire::default();
                for _ in 0..size * 4 {
                    smtp(&mut wire, USUAL_LETTER, 1);
                }
                wire.fed()
            }),
            ("an endless header", |size| mail(size, &b"x: y\r\n".repeat(10_000))),
            ("an endless folded field", |size| {
                mail(size, &[&b"To: "[..], &b"a@b.example,\r\n ".repeat(6000)].concat())
            }),
            ("parts in parts", |size| mail(size, &parts(800))),
            ("boundaries", |size| {
                mail(
                    size,
                    &[
                        &b"Content-Type: multipart/mixed; boundary=x\r\n\r\n"[..],
                        &b"--x\r\n\r\n".repeat(8000),
                    ]
                    .concat(),
                )
            }),
            ("links", |size| mail(size, &[&b"\r\n"[..], &b"http://a.example/ ".repeat(4000)].concat())),
            ("recipients", |size| {
                let mut wire = Wire::default();
                wire.open(25);
                wire.say(DOWN, b"220 mx.example ESMTP\r\n", MSS);
                wire.say(UP, &b"RCPT TO:<a@b.example>\r\n".repeat(4000 * size), MSS);
                wire.fed()
            }),
        ],
    ),
    (
        "log",
        |size| lines(size * 2000, USUAL_LINE),
        &[
            ("schemes", |size| lines(size * 4, &b"a://".repeat(16_000))),
            ("links", |size| lines(size * 4, &b"http://a.b/".repeat(5000))),
            ("agents", |size| lines(size * 4, &b"user-agent='".repeat(5000))),
            ("brackets", |size| lines(size * 4, &b")".repeat(64_000))),
            ("endpoints", |size| lines(size * 4, &b"1.2.3.4:".repeat(8000))),
            ("names", |size| lines(size * 4, &b"a.b-".repeat(16_000))),
            ("fields", |size| lines(size * 4, &b"SRC=1.2.3.4 ".repeat(5000))),
            ("colons", |size| lines(size * 4, &b"::1-".repeat(16_000))),
        ],
    ),
];

const USUAL_HEAD: &[u8] = b"GET /a/b/c?d=e HTTP/1.1\r\nHost: www.shop.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\nAccept-Language: it\r\nReferer: http://www.shop.example/\r\nConnection: keep-alive\r\n\r\n";
const USUAL_LETTER: &[u8] = b"From: Uno <uno@comune.example>\r\nTo: Due <due@shop.example>\r\nSubject: Ordine\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nBuongiorno, si veda http://www.shop.example/ordine?n=7 e si risponda entro domani.\r\nDistinti saluti, l'ufficio acquisti del Comune\r\n";
const USUAL_LINE: &[u8] = b"203.0.113.9 - - [22/Nov/2026:10:00:00 +0100] \"GET /index.php?id=7 HTTP/1.1\" 200 512 \"http://www.shop.example/\" \"Mozilla/5.0 (X11; Linux x86_64)\"";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

fn http(requests: usize, head: &[u8], segment_max: usize) -> Fed {
    let mut wire = Wire::default();
    for heads in vec![head; requests].chunks(100) {
        wire.open(80);
        wire.say(UP, &heads.concat(), segment_max);
    }
    wire.fed()
}

/// One head that goes on with the same again and again, in several connections.
fn head_of(size: usize, piece: &[u8]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..10 {
        wire.open(80);
        wire.say(UP, b"GET / HTTP/1.1\r\nHost: www.shop.example\r\n", MSS);
        wire.say(UP, &piece.repeat(size * 10_000 / piece.len()), MSS);
    }
    wire.fed()
}

fn body(_size: usize, field: &[u8], body: &[u8]) -> Fed {
    let mut wire = Wire::default();
    wire.open(80);
    wire.say(UP, USUAL_HEAD, MSS);
    wire.say(DOWN, &[b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n", field, b"\r\n\r\n"].concat(), MSS);
    wire.say(DOWN, body, MSS);
    wire.fed()
}

/// Segments that overlap and come late, with and without other contents.
fn out_of_order(size: usize, port: u16, start: &[u8]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..size * 20 {
        wire.open(port);
        wire.say(UP, start, MSS);
        for number in 0..200u32 {
            wire.at(UP, 1 + number * 7 % 97 * 11, &[number as u8; 40]);
        }
    }
    wire.fed()
}

fn literal(index: u8, value: &[u8]) -> Vec<u8> {
    [&[index, value.len() as u8][..], value].concat()
}

/// Requests whose fields are these, each in as many frames as they take.
fn h2(requests: usize, fields: &[u8]) -> Fed {
    let mut wire = Wire::default();
    wire.open(8080);
    wire.say(UP, PREFACE, MSS);
    for number in 0..requests {
        let [.., high, low] = (2 * number + 1).to_be_bytes();
        let frame = [&[0][..], &prefixed(fields)[..2], &[1, 5, 0, 0, high, low], fields].concat();
        wire.say(UP, &frame, MSS);
    }
    wire.fed()
}

fn tls(connections: usize, hello: &[u8], segment_max: usize) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..connections {
        wire.open(443);
        wire.say(UP, hello, segment_max);
    }
    wire.fed()
}

fn flight(connections: usize, certificates: &[Vec<u8>]) -> Fed {
    let flight = records(&server_flight(certificates), 16_000);
    let mut wire = Wire::default();
    for _ in 0..connections {
        wire.open(443);
        wire.say(UP, &records(&client_hello(&[]), 16_000), MSS);
        wire.say(DOWN, &flight, MSS);
    }
    wire.fed()
}

fn quic(connections: usize, datagrams: &[Vec<u8>]) -> Fed {
    let sealed: Vec<_> = (0..).zip(datagrams).map(|(number, frames)| initial(number, frames)).collect();
    let each = (0..connections).flat_map(|client| {
        sealed.iter().map(move |datagram| udp(UP, (20_000 + client as u16, 443), datagram))
    });
    Fed::Packets(each.collect())
}

/// A hello in CRYPTO frames of so many bytes, the last first, as many datagrams as it takes.
fn scattered(piece: usize) -> Vec<Vec<u8>> {
    let hello = client_hello(&usual_extensions());
    let frames: Vec<_> =
        hello.chunks(piece).enumerate().map(|(at, data)| crypto(at * piece, data)).rev().collect();
    frames.chunks(180).map(<[_]>::concat).collect()
}

fn dns(messages: usize, message: &[u8]) -> Fed {
    let one = udp(DOWN, (40_000, 53), &message[..message.len().min(60_000)]);
    Fed::Packets(vec![one; messages])
}

fn dns_over_tcp(size: usize, message: &[u8]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..size * 10 {
        wire.open(53);
        wire.say(DOWN, &prefixed(message), MSS);
    }
    wire.fed()
}

/// An answer with so many addresses.
fn addresses(count: u16) -> Vec<u8> {
    let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9];
    dns_answer(&wire_name("www.shop.example"), count, &record.repeat(usize::from(count)))
}

/// An answer whose names are as long as can be and made of pointers to pointers.
fn chained() -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = 12 + 3 + 4;
    for number in 0..1500u16 {
        let at = start + bytes.len() as u16;
        // The name of each record is one label and a pointer to the one before.
        let before = if number == 0 { 12 } else { at - 18 };
        bytes.extend([1, b'a']);
        bytes.extend((0xc000 | (before & 0x3fff)).to_be_bytes());
        bytes.extend([0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 203, 0, 113, 9]);
    }
    dns_answer(&wire_name("z"), 1500, &bytes)
}

/// Fragments of eight bytes, each so many units long, of datagrams that never become whole.
fn fragments(size: usize, units: usize, in_reverse: bool) -> Fed {
    let payload = datagram(UP, (20_000, 9999), &[0x5a; 8000]);
    let mut packets = Vec::new();
    for identifier in 0..size as u16 * 10 {
        let mut parts: Vec<_> = (0..1000u16)
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

fn mail(letters: usize, letter: &[u8]) -> Fed {
    let mut wire = Wire::default();
    for _ in 0..letters {
        smtp(&mut wire, letter, MSS);
    }
    wire.fed()
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

//! The first inputs of each target: small, well-formed, and made here, so that each can be made again.

use std::iter;

use protocol::bundle::{BUNDLE_FORMAT, BundleLimits, Revocation};
use protocol::delta::DeltaWriter;
use protocol::message::AgentMessage;
use protocol::{BundleReader, BundleWriter, Indicator, Serial, Timestamp, bundle::BundleHeader, frame};

use super::conversations;
use super::datagrams::PORTS;
use super::frames::{LINK_NUMBERS, udp, v4, v6};
use super::hello::{client_hello, dns_answer, dns_question, dtls_hello, handshake, prefixed, records};
use super::input::{message, piece};

/// An input and its name.
type Named = (String, Vec<u8>);

/// The seeds of a target.
pub fn seeds(target: &str) -> Vec<Named> {
    match target {
        "frames" => frames(),
        "packets" => packets(),
        "fragments" => fragments(),
        "cuts" => cuts(),
        "datagrams" => datagrams(),
        "initials" => initials(),
        "lines" => lines(),
        "line_views" => super::log_lines::headers(),
        "line_formats" => super::log_lines::formats(),
        "syslog_frames" => super::splits::connections(),
        "journal_entries" => super::splits::exports(),
        "tail_positions" => super::tails::positions(),
        "list_lines" => list_lines(),
        "normal_forms" => normal_forms(),
        "patterns" => patterns(),
        "index_files" => [("as_it_is", false), ("put_right", true)]
            .map(|(name, repair)| named(name, super::indexes::seed(repair)))
            .into(),
        "bundles" => bundles(),
        "deltas" => deltas(),
        "messages" => messages(),
        _ => streams(target),
    }
}

fn named(name: &str, bytes: Vec<u8>) -> Named {
    (name.to_owned(), bytes)
}

/// A question over UDP in IPv4.
fn packet() -> Vec<u8> {
    v4(17, (0, 0), &udp([40_000, 53], &dns_question("www.evil.example")))
}

fn frames() -> Vec<Named> {
    let (packet, ethernet) = (packet(), [&[2; 6][..], &[4; 6]].concat());
    let of = |headers: &[u8]| [headers, &packet].concat();
    let tunnelled = |port: u16, header: &[u8]| v4(17, (0, 0), &udp([40_000, port], &of(header)));
    let on = |headers: &[u8]| [&ethernet[..], headers, &packet].concat();
    let in_ethernet = on(&[8, 0]);
    let vxlan = v4(17, (0, 0), &udp([40_000, 4789], &[&[8, 0, 0, 0, 0, 0, 9, 0][..], &in_ethernet].concat()));
    let each: Vec<(&str, i32, Vec<u8>)> = vec![
        ("ethernet", 1, in_ethernet.clone()),
        ("vlan", 1, on(&[0x81, 0, 0, 5, 8, 0])),
        ("qinq", 1, on(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 8, 0])),
        ("pppoe", 1, on(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 70, 0, 0x21])),
        ("mpls", 1, on(&[0x88, 0x47, 0, 1, 0x41, 64])),
        ("arp", 1, [&ethernet[..], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[1; 20]].concat()),
        ("cooked", 113, of(&[0, 0, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0, 8, 0])),
        ("cooked_two", 276, of(&[8, 0, 0, 0, 0, 0, 0, 2, 0, 1, 0, 6, 1, 1, 1, 1, 1, 1, 0, 0])),
        ("raw", 101, packet.clone()),
        ("loopback", 0, of(&[2, 0, 0, 0])),
        ("openbsd", 108, of(&[0, 0, 0, 2])),
        ("ppp", 9, of(&[0xff, 3, 0, 0x21])),
        ("wireless", 105, of(&[&[8, 1, 0, 0][..], &[6; 18], &[0, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]].concat())),
        (
            "radiotap",
            127,
            of(&[&[0, 0, 8, 0, 0, 0, 0, 0, 8, 2, 0, 0][..], &[6; 18], &[0, 0, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0]]
                .concat()),
        ),
        ("gre", 101, v4(47, (0, 0), &of(&[0, 0, 8, 0]))),
        ("ip_in_ip", 101, v4(4, (0, 0), &packet)),
        ("six_in_four", 101, v4(41, (0, 0), &v6(17, &udp([40_000, 53], &dns_question("a.evil.example"))))),
        ("vxlan", 101, vxlan),
        ("geneve", 101, tunnelled(6081, &[0, 0, 8, 0, 0, 0, 9, 0])),
        ("gtp", 101, tunnelled(2152, &[0x30, 0xff, 0, 62, 0, 0, 0, 1])),
        (
            "erspan",
            101,
            v4(
                47,
                (0, 0),
                &[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 0, 0, 1, 0, 0, 0, 0][..], &in_ethernet].concat(),
            ),
        ),
        ("l2tp", 101, tunnelled(1701, &[0, 2, 0, 1, 0, 1, 0xff, 3, 0, 0x21])),
        (
            "teredo",
            101,
            v4(17, (0, 0), &udp([3544, 3544], &v6(17, &udp([1, 53], &dns_question("b.example"))))),
        ),
    ];
    let seed = |(name, number, frame): (&str, i32, Vec<u8>)| {
        let link = LINK_NUMBERS.iter().position(|known| *known == number).unwrap_or_default();
        let twice = [piece(&frame), piece(&frame)].concat();
        named(name, [vec![u8::try_from(link).unwrap_or_default()], twice].concat())
    };
    each.into_iter().map(seed).collect()
}

fn packets() -> Vec<Named> {
    let datagram = udp([40_000, 53], &dns_answer("www.evil.example"));
    let quoted = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &packet()].concat();
    let segment = [
        &[0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0][..],
        b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n",
    ]
    .concat();
    let extended = [
        &[43, 0, 1, 4, 0, 0, 0, 0][..],
        &[60, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[17, 0, 1, 4, 0, 0, 0, 0],
        &datagram,
    ]
    .concat();
    [("udp", 17, &datagram), ("icmp", 1, &quoted), ("tcp", 6, &segment), ("extended", 0, &extended)]
        .into_iter()
        .map(|(name, protocol, payload)| {
            let each = |version: u8| [&[version, protocol][..], &piece(payload)].concat();
            named(name, [each(0), each(1)].concat())
        })
        .collect()
}

fn fragments() -> Vec<Named> {
    let answer = udp([53, 40_000], &dns_answer("www.evil.example"));
    let of = |flags: u8, parts: &[[u8; 3]]| [&[flags][..], &piece(&answer), parts.as_flattened()].concat();
    vec![
        named("in_order", of(34, &[[0, 10, 0], [10, 10, 0], [20, 60, 0]])),
        named("turned_round", of(34, &[[20, 60, 0], [10, 10, 0], [0, 10, 0]])),
        named("overlapping", of(34, &[[0, 12, 0], [8, 10, 0], [16, 60, 0]])),
        named("with_other_contents", of(34, &[[0, 12, 0], [0, 12, 5], [8, 10, 5], [16, 60, 0]])),
        named("version_six", of(35, &[[0, 10, 0], [20, 60, 0], [10, 10, 0]])),
        named("without_end", of(35, &[[0, 10, 0], [20, 60, 2], [10, 10, 0]])),
    ]
}

fn streams(target: &str) -> Vec<Named> {
    let of_target = conversations::all().into_iter().filter(|known| known.target == target);
    of_target
        .flat_map(|conversation| {
            let said: Vec<u8> =
                conversation.messages.iter().flat_map(|said| message(said.by_server, &said.bytes)).collect();
            let of = |how: &str, plan: &[u8]| {
                let length = u8::try_from(plan.len()).unwrap_or_default();
                named(&format!("{}{how}", conversation.name), [&[0, length][..], plan, &said].concat())
            };
            // Whole; then in pieces of 21 and 100 bytes, turned round, twice, with other contents and with losses.
            [of("", &[]), of("_cut", &[0x60, 0x93, 0x60, 0x94, 0x65, 0x66]), of("_lost", &[0x60, 0x97, 0xa0])]
        })
        .collect()
}

fn cuts() -> Vec<Named> {
    let conversations = conversations::all();
    let numbered = conversations.iter().zip(0u8..);
    numbered
        .map(|(conversation, number)| {
            named(
                &format!("{}_{}", conversation.target, conversation.name),
                vec![number, 0x60, 0x93, 0x60, 0x94, 0x00],
            )
        })
        .collect()
}

fn datagrams() -> Vec<Named> {
    let on = |port: u16| {
        let at = PORTS.iter().position(|known| *known == port).unwrap_or_default();
        vec![u8::try_from(at).unwrap_or_default()]
    };
    let asked = |port: u16| {
        [
            on(port),
            message(false, &dns_question("www.evil.example")),
            message(true, &dns_answer("www.evil.example")),
        ]
        .concat()
    };
    let tls = records(&client_hello("www.evil.example"), 16_000);
    vec![
        named("dns", asked(53)),
        named("multicast_dns", asked(5353)),
        named("llmnr", asked(5355)),
        named("dtls", [on(5684), message(false, &dtls_hello("www.evil.example"))].concat()),
        named(
            "openvpn",
            [on(1194), message(false, &openvpn(7, &[])), message(false, &openvpn(4, &tls))].concat(),
        ),
        named(
            "gtp",
            [on(2152), message(false, &[&[0x30, 0xff, 0, 62, 0, 0, 0, 1][..], &packet()].concat())].concat(),
        ),
        named("unknown", [on(9999), message(false, &[0x5a; 40]), message(true, &[0xa5; 40])].concat()),
        named(
            "version_negotiation",
            [on(443), message(false, &[0xc0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 0, 0, 0, 0, 1])].concat(),
        ),
    ]
}

/// A packet of OpenVPN's control channel without an HMAC: opcode and key, session, no acknowledgement, number, TLS.
fn openvpn(opcode: u8, tls: &[u8]) -> Vec<u8> {
    let number = u8::from(opcode == 4);
    [&[opcode << 3][..], b"session1", &[0, 0, 0, 0, number], tls].concat()
}

/// CRYPTO frames (RFC 9000 §19.6).
fn crypto(offset: usize, data: &[u8]) -> Vec<u8> {
    let offset = u16::try_from(offset).unwrap_or_default() | 0x4000;
    let length = u16::try_from(data.len()).unwrap_or_default() | 0x4000;
    [&[6][..], &offset.to_be_bytes(), &length.to_be_bytes(), data].concat()
}

fn initials() -> Vec<Named> {
    let hello = client_hello("www.evil.example");
    let (start, end) = hello.split_at(60);
    let pieces = hello.chunks(20).enumerate().rev();
    let scattered: Vec<u8> = pieces.flat_map(|(at, data)| crypto(20 * at, data)).collect();
    let other = handshake(2, &[3; 20]);
    vec![
        named("whole", piece(&crypto(0, &hello))),
        named("two_datagrams", [piece(&crypto(60, end)), piece(&crypto(0, start))].concat()),
        named("scattered", piece(&scattered)),
        named(
            "other_frames",
            piece(&[&[1, 0, 0, 2, 5, 0, 1, 0, 2, 3][..], &crypto(0, &hello), &[0x1c, 0, 0, 0]].concat()),
        ),
        named("no_hello", piece(&crypto(0, &other))),
    ]
}

fn lines() -> Vec<Named> {
    let each = [
        (
            "firewall",
            "Nov 22 10:00:00 gw kernel: [UFW BLOCK] IN=wan0 OUT= SRC=203.0.113.7 DST=192.0.2.9 LEN=40 PROTO=TCP SPT=4000 DPT=22",
        ),
        (
            "web",
            "203.0.113.9 - - [22/Nov/2026:10:00:00 +0100] \"GET /a?id=1 HTTP/1.1\" 200 512 \"http://www.evil.example/\" \"Mozilla/5.0 (X11; Linux x86_64)\"",
        ),
        (
            "proxy",
            "1795000000.123 45 10.0.0.5 TCP_MISS/200 512 CONNECT www.evil.example:443 - HIER_DIRECT/203.0.113.5 -",
        ),
        ("resolver", "Nov 22 10:00:00 gw dnsmasq[7]: reply www.evil.example is 2001:db8::5"),
        ("login", "Nov 22 10:00:00 gw sshd[9]: Failed password for root from 203.0.113.7 port 4711 ssh2"),
        (
            "json",
            "{\"src_ip\":\"203.0.113.7\",\"dest_ip\":\"10.0.0.5\",\"url\":\"http:\\/\\/evil.example\\/a\",\"md5\":\"900150983cd24fb0d6963f7d28e17f72\"}",
        ),
        (
            "mail",
            "Nov 22 10:00:00 mx postfix/smtpd[3]: NOQUEUE: reject: RCPT from unknown[203.0.113.7]: from=<mallory@evil.example> to=<uno@comune.example>",
        ),
        (
            "odd",
            "hxxp://evil[.]example/%2e%2e [::ffff:203.0.113.7]:80 203.0.113.7-203.0.113.9 \u{202e}x\u{fffd}",
        ),
    ];
    each.map(|(name, line)| named(name, format!("{line}\n{line}").into_bytes())).into()
}

fn list_lines() -> Vec<Named> {
    let json = "{\"kind\":\"domain\",\"value\":\"evil.example\",\"id\":\"indicator--1\",\"threat\":\"x\",\"severity\":\"high\"}";
    let each = [
        "203.0.113.0/24",
        "203.0.113.5:8443",
        "hxxp://evil[.]example/a",
        "[2001:db8::5]:443",
        "evil[.]example # comment",
        json,
        "login-*.evil[.]example",
        "evil.example:80/kit/*",
        "!*@good.example",
    ];
    let each =
        each.iter().zip(0u8..).map(|(line, number)| (format!("line_{number}"), line.as_bytes().to_vec()));
    each.collect()
}

fn normal_forms() -> Vec<Named> {
    let each = [
        "EVIL.Example.",
        "http://EVIL.example:80/a/../b?c#d",
        "https://[2001:DB8::5]:8443/%7Ex",
        "ftp://u:p@evil.example",
        "Mallory@EVIL.example",
        "::ffff:203.0.113.5",
        "203.0.113.5",
        "citt\u{e0}.example",
        "xn--citt-3na.example",
        "900150983CD24FB0D6963F7D28E17F72",
        "t13d1516h2_8daaf6152771_e5627efa2ab1",
        "2026-11-22T10:00:00.5+01:00",
        "hxxps[:]//evil(.)example",
        "_dmarc.evil.example",
        "1.2.3",
        "0x7f.1",
        "http://2130706433/",
        "mailto:a@b.example",
        "https://Evil.example:443/Kit//*",
        "*.login-*.evil.example.",
        "*@Evil.example",
    ];
    let each =
        each.iter().zip(0u8..).map(|(text, number)| (format!("text_{number:02}"), text.as_bytes().to_vec()));
    each.chain(iter::once(named("wire", b"a\xffb.example".to_vec()))).collect()
}

fn patterns() -> Vec<Named> {
    let each = [
        (
            "wildcard",
            "login-*.evil.example\nlogin-7.evil.example\nwww.login-.evil.example.\nLogin.evil.example",
        ),
        ("stars", "a*b**c.*.x.example\nabc.b.x.example\naabbcc.d.e.x.example\nacb..x.example"),
        ("below", "*.*.evil.example\na.evil.example\na.b.evil.example\nxevil.example"),
        ("prefix", "hxxp/evil.example:80/Kit/*\nhttp://evil.example/Kit/hxxp"),
        ("port", "evil.example:8443/Kit\nhttps://evil.example:8443/Kit?a\nhttps://evil.example/Kit"),
        ("path", "https://evil.example/a//b/\nhttp://EVIL.example:80/a//b/c#d\nhttp://evil.example/a/b"),
        ("agent", "Evil-Bot\nMozilla/5.0 (eViL-bOT/1.0)\nevil bot"),
    ];
    each.map(|(name, text)| named(name, text.as_bytes().to_vec())).into()
}

fn bundle(serial: u64, values: &[&str], revoked: &str) -> Vec<u8> {
    let lines = values.iter().filter_map(|value| Indicator::from_list_line(value)?.ok());
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: Timestamp::from_seconds(1_700_000_000, 0),
        issuer: "cosc-prova".to_owned(),
        indicators: 0,
        set: None,
    };
    let mut bytes = Vec::new();
    let revocations = vec![Revocation::Alert(revoked.to_owned())];
    // Writing to memory does not fail; a seed without contents would be seen at once.
    let _ = BundleWriter::write_lines(&mut bytes, lines.collect(), revocations, header);
    bytes
}

/// As it is, and its lines for the target to compress.
fn both_ways(compressed: &[u8]) -> Vec<Named> {
    let plain = zstd::decode_all(compressed).unwrap_or_default();
    vec![named("compressed", [&[0], compressed].concat()), named("plain", [vec![1], plain].concat())]
}

fn bundles() -> Vec<Named> {
    let values =
        ["evil.example", "203.0.113.0/24", "http://evil.example/a", "203.0.113.5:80", "!www.good.example"];
    let patterns = ["login-*.evil.example", "evil.example/kit/*", "@evil.example"];
    both_ways(&bundle(7, &[&values[..], &patterns].concat(), "COSC-PROVA-2026-0001"))
}

fn deltas() -> Vec<Named> {
    let base = bundle(7, &["evil.example", "203.0.113.0/24", "!www.good.example"], "COSC-PROVA-2026-0001");
    let next = bundle(9, &["evil.example", "203.0.113.0/25", "evil.example/kit/*"], "COSC-PROVA-2026-0002");
    let [base, next] =
        [&base, &next].map(|bytes| BundleReader::new(&bytes[..], BundleLimits::default()).ok());
    let mut bytes = Vec::new();
    if let (Some(mut base), Some(mut next)) = (base, next) {
        let _ = DeltaWriter::write(&mut bytes, &mut base, &mut next, 100);
    }
    both_ways(&bytes)
}

fn messages() -> Vec<Named> {
    let hello = AgentMessage::Hello {
        protocol: 1,
        version: "0.1.0".to_owned(),
        epoch: protocol::identity::Epoch([7; 16]),
        oldest: 1,
        now: Timestamp::from_seconds(1_700_000_000, 0),
        bundle: Serial(7),
        capabilities: vec!["x".to_owned()],
    };
    let batch = AgentMessage::Batch { first: 1, records: Vec::new() };
    let [hello, batch] = [hello, batch].map(|message| frame::encode(&message).unwrap_or_default());
    vec![
        named("hello", [vec![5], hello.clone()].concat()),
        named("two", [vec![3], hello, batch.clone()].concat()),
        named("cut", [vec![1], batch, prefixed(&[0xa1, 0x60])].concat()),
    ]
}

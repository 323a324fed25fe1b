//! Targets of log lines as `logs test` shows them: whatever header and format a line has, or seems to have.

use std::iter;

use detect::{LineView, LineViewer};
use protocol::hit::EVIDENCE_BYTES_MAX;
use protocol::{Observable, Timestamp};

/// What the scan of a line takes at most.
const SIGHTINGS_MAX: usize = 512;
const FIELDS_MAX: usize = 64;
/// Farther than this from its reading no time lies whose year is left out.
const YEAR_MICROS: i64 = 2 * 366 * 86_400 * 1_000_000;

/// Lines of one source, one after the other, as headers and times are read of them.
pub fn line_views(bytes: &[u8]) {
    let mut viewer = LineViewer::default();
    for line in bytes.split(|byte| *byte == b'\n') {
        let view = viewer.read(line);
        holds(&view, line);
        let read_at = Timestamp::from_seconds(1_795_338_000, 0);
        let years = ["19", "20", "21"];
        if let Some(at) = view.written_at(read_at)
            && !years.iter().any(|year| view.time.contains(year))
            && view.time.bytes().any(|byte| byte.is_ascii_alphabetic())
        {
            assert!(at.micros_since(read_at).abs() < YEAR_MICROS, "{}", view.time);
        }
    }
}

/// Each line by each format on its own.
pub fn line_formats(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        for format in LineViewer::formats() {
            let Some(view) = LineViewer::read_as(format, line) else { continue };
            assert_eq!(view.format, Some(format), "{:?}", String::from_utf8_lossy(line));
            holds(&view, line);
        }
    }
}

/// What is shown of a line is bounded, and every value is its own normal form.
fn holds(view: &LineView, line: &[u8]) {
    assert!(view.sightings.len() <= SIGHTINGS_MAX);
    assert!(view.fields.len() <= FIELDS_MAX);
    let texts = [&view.time, &view.host, &view.program];
    for text in texts.into_iter().chain(view.fields.iter().map(|(_, text)| text)) {
        assert!(text.len() <= EVIDENCE_BYTES_MAX && !text.contains(char::is_control), "{text:?}");
    }
    for sighting in &view.sightings {
        let value = &sighting.observable;
        let again = Observable::parse(value.kind(), &value.to_string());
        assert_eq!(again.as_ref(), Ok(value), "{:?}", String::from_utf8_lossy(line));
    }
}

fn named(name: &str, lines: &[&str]) -> (String, Vec<u8>) {
    (name.to_owned(), lines.join("\n").into_bytes())
}

/// Headers of all kinds, before a message that says little.
pub fn headers() -> Vec<(String, Vec<u8>)> {
    let each: [(&str, &[&str]); 6] = [
        (
            "rfc_5424",
            &[
                "<134>1 2026-11-22T10:00:00.123456+01:00 fw.example filterlog 72237 - - 146,,,",
                r#"<13>1 2026-11-22T09:00:00Z h a - ID47 [x@1 a="1\]\"" b="\\"][y] from 203.0.113.5"#,
                "1 2026-11-22T09:00:00Z h a - - - text",
                "<13>1 - - - - - -",
            ],
        ),
        (
            "rfc_3164",
            &[
                "<38>Nov 22 10:00:00 gw sshd[9]: Failed password for root from 203.0.113.5 port 4711 ssh2",
                "Nov  2 10:00:00 gw last message repeated 3 times",
                "Nov 22 10:00:00 gw sshd[9]: message repeated 2 times: [ from 203.0.113.5]",
            ],
        ),
        (
            "cisco",
            &[
                "<189>123: sw1: 000045: *Mar  1 00:00:00.123 UTC: %SYS-5-CONFIG_I: x",
                "<166>:Nov 22 2026 12:59:50 CET: %ASA-6-302013: x",
                "<189>: 2026 Nov 22 10:00:00 CET: %ETHPORT-5-IF_UP: x",
                "<166>fw : %ASA-6-302013: x",
            ],
        ),
        (
            "other_times",
            &[
                "2026:11:22-00:50:54 utm-1 ulogd[12511]: x",
                "<142>Nov 22 17:24:03 2026 usg x",
                "<134>1 1795338000.123456 MX84 flows x",
                "2026-11-22 10:00:00 gw sshd[9]: x",
                "2026/11/22 10:00:00 [error] 9#9: x",
                "1795338000.123 45 10.0.0.5 TCP_MISS/200",
                "11/22/2026-10:00:00.123456  [**] x",
            ],
        ),
        (
            "relays",
            &[
                "2026-11-22T10:00:00.123456+01:00 relay <134>Nov 22 10:00:01 fw filterlog[1]: x",
                "Nov 22 10:00:00 10.0.0.9 45: *Mar  1 00:00:00.1: %SYS-5-X: x",
            ],
        ),
        (
            "none",
            &[
                "203.0.113.5 - - [22/Nov/2026:10:00:00 +0100] \"GET / HTTP/1.1\" 200 5",
                "<192>x",
                "{\"ts\":1}",
                "",
            ],
        ),
    ];
    each.iter()
        .map(|(name, lines)| named(name, lines))
        .chain(iter::once((
            "bytes".into(),
            b"\xef\xbb\xbf<30>Nov 22 10:00:00 g\xe8 \xff: \0\x1b[2J".to_vec(),
        )))
        .collect()
}

/// Lines of each format of firewalls.
const FORMATS: [(&str, &[&str]); 12] = [
    (
        "fortigate",
        &[
            r#"<189>date=2026-11-22 time=10:00:00 devname="fw-1" devid="FGT1" eventtime=1795338000500000000 tz="+0100" logid="0000000013" type="traffic" subtype="forward" srcip=10.0.0.5 srcport=51000 dstip=203.0.113.5 dstport=443 proto=6 trandisp="snat+dnat" tranip=10.9.0.1 tranport=80 transip=198.51.100.1 transport=60964"#,
            r#"date=2026-11-22 time=10:00:00 devid="FGT1" logid="0316013056" type="utm" subtype="webfilter" srcip=10.0.0.5 dstip=203.0.113.5 service="HTTPS" hostname="www.evil.example" agent="evil-bot/1.0 \"x\"" url="/kit/a?b=1" ipaddr="203.0.113.5, 203.0.113.6""#,
            r#"date=2026-11-22 time=10:00:00 devid="FGT1" logid="0101039426" type="event" subtype="vpn" remip=203.0.113.5 locip=198.51.100.1 init="local" user="uno""#,
        ],
    ),
    (
        "filterlog",
        &[
            "<134>filterlog[1]: 146,,,0123456789abcdef0123456789abcdef,igb1.12,match,block,in,4,0x0,,63,32989,0,DF,6,tcp,60,203.0.113.5,192.0.2.9,49652,853,0,S",
            "7,,,1000000105,igb0,match,pass,in,6,0x00,0xb7a2c,64,udp,17,40,2001:db8::5,2001:db8:1::9,51000,53,40",
        ],
    ),
    (
        "sophos",
        &[
            r#"<30>Nov 22 10:00:00 fw device_name="SFW" timestamp="2026-11-22T10:00:00+0100" log_component="Firewall Rule" src_ip="10.0.0.5" dst_ip="203.0.113.5" protocol="TCP" src_port=50875 dst_port=443 src_trans_ip="198.51.100.1" src_trans_port=0 url=evil.example/c2"#,
            r#"2026:11:22-10:00:00 utm reverseproxy: id="0299" severity="info" srcip="203.0.113.5" localip="192.0.2.9" url="/a" server="www.comune.example" ua="evil-bot/1.0""#,
        ],
    ),
    (
        "watchguard",
        &[
            r#"<142>Nov 22 10:00:00 Firebox FVE1 (2026-11-22T09:00:00) firewall[10]: msg_id="3000-0148" Allow 1-Trusted 0-External 52 tcp 20 127 10.0.0.5 203.0.113.5 62443 443 src_ip_nat="198.51.100.1" src_port_nat="20000" dstname="www.evil.example" arg="/a""#,
        ],
    ),
    (
        "stormshield",
        &[
            r#"id=firewall time="2026-11-22 10:00:00" fw="sns-1" tz=+0100 ipproto=tcp src=10.0.0.5 srcport=123 dst=203.0.113.5 dstport=443 dstname=www.evil.example modsrc=198.51.100.1 modsrcport=20123 origdst=203.0.113.6 origdstport=443 arg="/a" logtype="web""#,
        ],
    ),
    (
        "sonicwall",
        &[
            r#"<134>  id=firewall sn=0017C5000000 time="2026-11-22 10:00:00 UTC" fw=198.51.100.1 m=97 src=10.0.0.5:51000:X0:pc.comune.example natSrc=198.51.100.7:20000 dst=203.0.113.5:443:X1 natSrcV6=[2001:db8:2::1]:1234 natDstV6=not_an_IP proto=tcp/https dstname=www.evil.example arg=/a usr="uno""#,
        ],
    ),
    (
        "zyxel",
        &[
            r#"<142>Nov 22 17:24:03 2026 usg src="[2001:db8::5]:4000" dst="203.0.113.5:443" msg="Traffic Log" note="x" user="uno" cat="Traffic Log" protoID=6 sourceTranslatedAddress=198.51.100.1 sourceTranslatedPort=20000"#,
        ],
    ),
    (
        "cisco_asa",
        &[
            r"<166>Nov 22 2026 12:59:50 fw : %ASA-6-302013: Built outbound TCP connection 7 for outside:203.0.113.5/443 (203.0.113.5/443) to inside:10.0.0.5/4952(LOCAL\uno) (198.51.100.1/12834) (uno)",
            "%ASA-6-106100: access-list x denied tcp outside/203.0.113.5(4000) -> inside/192.0.2.9(23) hit-cnt 1 first hit [0x0, 0x0]",
            "%ASA-6-302020: Built inbound ICMP connection for faddr 203.0.113.5/512 gaddr 198.51.100.1/0 laddr 10.0.0.9/0",
            "%ASA-6-305012: Teardown dynamic UDP translation from inside:10.0.0.5/4952 to outside(nat-list):198.51.100.1/12834 duration 0:00:30",
            "%ASA-5-304001: uno@10.0.0.5 Accessed URL 203.0.113.5:http://www.evil.example/a?b=1",
            "%ASA-4-722051: Group <Default> User <uno> IP <203.0.113.5> IPv4 Address <10.9.0.5> IPv6 address <::> assigned to session",
            "%FTD-1-430003: SrcIP: 10.0.0.5, DstIP: 203.0.113.5, SrcPort: 51000, UserAgent: bot (KHTML, like x), URL: http://www.evil.example/a",
        ],
    ),
    (
        "mikrotik",
        &[
            "firewall,info forward: in:wan out:<pppoe x>, src-mac 02:00:00:00:00:01, proto TCP (SYN,ACK), 203.0.113.5:4000->10.0.0.9:443, NAT (203.0.113.5:4000->10.0.0.1:4000)->(198.51.100.1:8443->10.0.0.9:443), len 52",
            "firewall,info input: in:ether1 out:(unknown 0), proto ICMP (type 135, code 0), fe80::1->[ff02::1], len 64",
            "web-proxy,account 10.0.0.5 GET http://www.evil.example/a action=allow cache=MISS",
            "system,error,critical login failure for user root from 203.0.113.5 via ssh",
        ],
    ),
    (
        "netfilter",
        &[
            "Nov 22 10:00:00 gw kernel: [5.7] [UFW BLOCK] IN=wan0 OUT= MAC=02:00:00:00:00:01 SRC=203.0.113.5 DST=192.0.2.9 PROTO=ICMP TYPE=3 CODE=1 [SRC=192.0.2.9 DST=198.51.100.7 PROTO=TCP SPT=4000 DPT=22 ]",
        ],
    ),
    (
        "conntrack",
        &[
            "[NEW] ORIG: SRC=10.0.0.5 DST=203.0.113.5 PROTO=TCP SPT=51000 DPT=443 PKTS=0 BYTES=0 , REPLY: SRC=203.0.113.5 DST=198.51.100.1 PROTO=TCP SPT=443 DPT=20000",
            "[NEW] tcp 6 120 SYN_SENT src=203.0.113.5 dst=198.51.100.1 sport=4000 dport=443 [UNREPLIED] src=10.0.0.9 dst=203.0.113.5 sport=8443 dport=4000",
        ],
    ),
    ("pairs", &[r#"a="x \"y\" \\" b='z c=d" e= =f logid= type= subtype= devid="#]),
];

/// As [`FORMATS`], a seed for each.
pub fn formats() -> Vec<(String, Vec<u8>)> {
    FORMATS.iter().map(|(name, lines)| named(name, lines)).collect()
}

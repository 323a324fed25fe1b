//! Messages by their numbers.

use super::super::made::{check, check_not};
use super::*;

fn check_message(text: &str, expected: &[&str]) {
    check(&FORMAT, &format!("<166>Nov 22 2026 12:59:50 fw : %ASA-6-{text}"), expected);
    check(&FORMAT, &format!("%FTD-session-6-{text}"), expected);
}

#[test]
fn connections() {
    check_message(
        "302013: Built inbound TCP connection 7 for outside:203.0.113.5/4000 (203.0.113.5/4000) to dmz:10.0.0.9/443 (198.51.100.1/8443)",
        &["log.src 203.0.113.5:4000", "log.dst 10.0.0.9:443", "log.nat 198.51.100.1:8443"],
    );
    check_message(
        r"302013: Built outbound TCP connection 7 for outside:203.0.113.5/443 (203.0.113.5/443) to inside:10.0.0.5/4952(LOCAL\uno) (198.51.100.1/12834) (uno)",
        &["log.src 10.0.0.5:4952", "log.dst 203.0.113.5:443", "log.nat 198.51.100.1:12834"],
    );
    check_message(
        "302015: Built outbound UDP connection 7 for outside:2001:db8::53/53 (2001:db8::53/53) to inside:2001:db8:1::5/51000 (2001:db8:1::5/51000)",
        &["log.src 2001:db8:1::5:51000", "log.dst 2001:db8::53:53"],
    );
    check_message(
        "302014: Teardown TCP connection 7 for outside:203.0.113.5/443 to inside:10.0.0.5/51000 duration 0:00:30 bytes 5 TCP FINs",
        &["log.src 10.0.0.5:51000", "log.dst 203.0.113.5:443"],
    );
    check_message(
        "302014: Teardown TCP connection 7 for outside:203.0.113.5/51000 to inside:10.0.0.9/443 duration 0:00:30 bytes 5 TCP Reset-O",
        &["log.src 203.0.113.5:51000", "log.dst 10.0.0.9:443"],
    );
    check_message(
        "302020: Built outbound ICMP connection for faddr 203.0.113.5/0 gaddr 198.51.100.1/512 laddr 10.0.0.5/512",
        &["log.src 10.0.0.5:512", "log.dst 203.0.113.5", "log.nat 198.51.100.1:512"],
    );
    check_message(
        "302021: Teardown ICMP connection for faddr 203.0.113.5/512 gaddr 198.51.100.1/0 laddr 10.0.0.9/0 type 8 code 0",
        &["log.src 203.0.113.5:512", "log.dst 10.0.0.9", "log.nat 198.51.100.1"],
    );
}

#[test]
fn names_stand_for_addresses() {
    check_message(
        "302013: Built inbound TCP connection 7 for outside:203.0.113.5/4000 (203.0.113.5/4000) to MG:exp_srv/10050 (198.51.100.1/10050)",
        &["log.src 203.0.113.5:4000", "log.nat 198.51.100.1:10050"],
    );
}

#[test]
fn denied_packets() {
    let both = ["log.src 203.0.113.5:4000", "log.dst 192.0.2.9:23"];
    for text in [
        "106001: Inbound TCP connection denied from 203.0.113.5/4000 to 192.0.2.9/23 flags SYN  on interface outside",
        "106006: Deny inbound UDP from 203.0.113.5/4000 to 192.0.2.9/23 on interface outside",
        "106015: Deny TCP (no connection) from 203.0.113.5/4000 to 192.0.2.9/23 flags RST  on interface outside",
        r#"106023: Deny tcp src outside:203.0.113.5/4000 dst inside:192.0.2.9/23 by access-group "outside_in" [0x0, 0x0]"#,
        r#"106023: Deny tcp src outside:203.0.113.5/4000(LOCAL\uno) dst inside:192.0.2.9/23 by access-group "x""#,
        "106100: access-list outside_in denied tcp outside/203.0.113.5(4000) -> inside/192.0.2.9(23) hit-cnt 1 first hit [0xbe9efe96, 0x0]",
        "710003: TCP access denied by ACL from 203.0.113.5/4000 to outside:192.0.2.9/23",
        "419002: Duplicate TCP SYN from outside:203.0.113.5/4000 to inside:192.0.2.9/23 with different initial sequence number",
    ] {
        check_message(text, &both);
    }
    let both = ["log.src 203.0.113.5", "log.dst 192.0.2.9"];
    for text in [
        "106014: Deny inbound icmp src outside:203.0.113.5 dst inside:192.0.2.9 (type 8, code 0)",
        "106016: Deny IP spoof from (203.0.113.5) to 192.0.2.9 on interface outside",
        "106021: Deny TCP reverse path check from 203.0.113.5 to 192.0.2.9 on interface outside",
        "401004: Shunned packet: 203.0.113.5 ==> 192.0.2.9 on interface outside",
    ] {
        check_message(text, &both);
    }
    check_message(
        "313005: No matching connection for ICMP error message: icmp src outside:203.0.113.5 dst inside:192.0.2.9 (type 3, code 3) on outside interface.  Original IP payload: udp src 192.0.2.9/53 dst 203.0.113.6/4000.",
        &["log.src 203.0.113.5", "log.dst 192.0.2.9", "log.text 192.0.2.9:53", "log.text 203.0.113.6:4000"],
    );
    check_message(
        "313001: Denied ICMP type=3, code=1 from 203.0.113.5 on interface outside",
        &["log.src 203.0.113.5"],
    );
}

#[test]
fn translations() {
    check_message(
        "305011: Built dynamic TCP translation from inside:10.0.0.5/4952 to outside:198.51.100.1/12834",
        &["log.src 10.0.0.5:4952", "log.nat 198.51.100.1:12834"],
    );
    check_message(
        "305012: Teardown dynamic UDP translation from inside:10.0.0.5/4952 to outside(nat-list):198.51.100.1/12834 duration 0:00:30",
        &["log.src 10.0.0.5:4952", "log.nat 198.51.100.1:12834"],
    );
    check_message(
        "305009: Built static translation from inside:10.0.0.5 to outside:198.51.100.1",
        &["log.src 10.0.0.5", "log.nat 198.51.100.1"],
    );
}

#[test]
fn requests() {
    check_message(
        "304001: 10.0.0.5 Accessed URL 203.0.113.5:http://www.evil.example/a?b=1",
        &[
            "log.src 10.0.0.5",
            "log.dst 203.0.113.5",
            "log.url http://www.evil.example/a?b=1",
            "log.domain www.evil.example",
        ],
    );
    check_message(
        "304001: uno@10.0.0.5 Accessed URL 203.0.113.5:/a",
        &["log.src 10.0.0.5", "log.dst 203.0.113.5", "log.url http://203.0.113.5/a", "log.text 203.0.113.5"],
    );
    check_message(
        "304002: Access denied URL http://www.evil.example/a SRC 10.0.0.5 DEST 203.0.113.5 on interface inside",
        &[
            "log.src 10.0.0.5",
            "log.dst 203.0.113.5",
            "log.url http://www.evil.example/a",
            "log.domain www.evil.example",
        ],
    );
}

#[test]
fn sessions() {
    for text in [
        "113039: Group <Default> User <uno> IP <203.0.113.5> AnyConnect parent session started.",
        "716001: Group <Default> User <uno> IP <203.0.113.5> WebVPN session started.",
        "113019: Group = Default, Username = uno, IP = 203.0.113.5, Session disconnected. Session Type: SSL, Duration: 0h:05m, Bytes xmt: 5",
        "113015: AAA user authentication Rejected : reason = User was not found : local database : user = uno : user IP = 203.0.113.5",
        "611101: User authentication succeeded: IP address: 203.0.113.5, Uname: uno",
    ] {
        check_message(text, &["log.src 203.0.113.5"]);
    }
    check_message(
        "722051: Group <Default> User <uno> IP <203.0.113.5> IPv4 Address <10.9.0.5> IPv6 address <::> assigned to session",
        &["log.src 203.0.113.5", "log.text 10.9.0.5"],
    );
    check_message(
        "605004: Login denied from 203.0.113.5/51000 to outside:192.0.2.9/ssh for user \"root\"",
        &["log.src 203.0.113.5:51000", "log.dst 192.0.2.9"],
    );
}

#[test]
fn events_of_firepower() {
    check(
        &FORMAT,
        "<113>Nov 22 10:00:00 ftd %FTD-1-430003: EventPriority: Low, DeviceUUID: 00000000-0000-0000-0000-000000000000, InstanceID: 1, AccessControlRuleAction: Allow, SrcIP: 10.0.0.5, DstIP: 203.0.113.5, SrcPort: 51000, DstPort: 80, Protocol: tcp, NAT_InitiatorIP: 198.51.100.1, NAT_InitiatorPort: 20000, ClientVersion: 120.0.0.0, UserAgent: evil-bot/1.0 (KHTML, like x), URL: http://www.evil.example/a, User: uno, FileSHA256: 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef, DNSQuery: c2.evil.example",
        &[
            "log.src 10.0.0.5:51000",
            "log.dst 203.0.113.5:80",
            "log.nat 198.51.100.1:20000",
            "log.user_agent evil-bot/1.0 (KHTML, like x)",
            "log.url http://www.evil.example/a",
            "log.domain www.evil.example",
            "log.domain c2.evil.example",
            "log.hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        ],
    );
}

#[test]
fn routers_and_switches() {
    check(
        &IOS,
        "<189>45: *Nov 22 10:00:00.123: %SEC-6-IPACCESSLOGP: list 102 denied tcp 203.0.113.5(3067) -> 192.0.2.9(139), 1 packet",
        &["log.src 203.0.113.5:3067", "log.dst 192.0.2.9:139"],
    );
    check(
        &IOS,
        "Nov 22 10:00:00 10.0.0.9 %SEC_LOGIN-SW1-4-LOGIN_FAILED: Login failed [user: root] [Source: 203.0.113.5] [localport: 22]",
        &["log.src 203.0.113.5", "log.text 10.0.0.9"],
    );
    check_not(&IOS, "%wheel ALL=(ALL) ALL: x");
    check_not(&IOS, "%MEM-USED: 5");
}

#[test]
fn other_lines_are_not() {
    check_not(&FORMAT, "%SYS-5-CONFIG_I: Configured from console by vty0 (203.0.113.5)");
    check_not(&FORMAT, "%ASA-6: x");
    check_not(&FORMAT, "100% ASA-6-302013: x");
}

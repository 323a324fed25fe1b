//! Headers as devices, relays and files carry them.

use super::*;

/// Priority, time, host, program and message of a line; the priority is 0 for none.
fn check(line: &str, expected: (u8, &str, &str, &str, &str)) {
    check_bytes(line.as_bytes(), expected);
}

fn check_bytes(line: &[u8], (priority, time, host, program, message): (u8, &str, &str, &str, &str)) {
    let logged = Logged::of(line);
    let text = |bytes| String::from_utf8_lossy(bytes);
    let read = (
        logged.priority.unwrap_or(0),
        &*text(logged.time),
        &*text(logged.host),
        &*text(logged.program),
        &*text(logged.message),
    );
    assert_eq!(read, (priority, time, host, program, message), "{}", text(line));
    assert_eq!(logged.line, line);
}

/// The line has no header.
fn check_none(line: &str) {
    check(line, (0, "", "", "", line));
}

#[test]
fn rfc_5424() {
    let time = "2026-11-22T10:00:00.123456+01:00";
    check(
        &format!("<134>1 {time} fw.example filterlog 72237 - - 146,,,"),
        (134, time, "fw.example", "filterlog", "146,,,"),
    );
    check("<13>1 - - - - - - hello", (13, "", "", "", "hello"));
    check("<13>1 - - - - - -", (13, "", "", "", ""));
    check("<13>1 - host app", (13, "", "host", "app", ""));
    check(
        r#"<134>1 2026-11-22T09:00:00Z fw filterlog 9 - [meta sequenceId="1"] 146,,,"#,
        (134, "2026-11-22T09:00:00Z", "fw", "filterlog", "146,,,"),
    );
    check(
        r#"<13>1 2026-11-22T09:00:00Z h a - - [x@1 a="1\]\"" b="\\"][y] text"#,
        (13, "2026-11-22T09:00:00Z", "h", "a", "text"),
    );
    check_bytes(
        b"<13>1 2026-11-22T09:00:00Z h a - - - \xef\xbb\xbftext",
        (13, "2026-11-22T09:00:00Z", "h", "a", "text"),
    );
    check("1 2026-11-22T09:00:00Z h a - - - text", (0, "2026-11-22T09:00:00Z", "h", "a", "text"));
}

#[test]
fn data_that_is_not_structured_is_message() {
    check(
        "<4>1 2026-11-22T09:00:00Z h kernel - - [UFW BLOCK] IN=eth0",
        (4, "2026-11-22T09:00:00Z", "h", "kernel", "[UFW BLOCK] IN=eth0"),
    );
    check(r#"<4>1 - h a - - [x y="1"#, (4, "", "h", "a", r#"[x y="1"#));
    check(r#"<4>1 - h a - - [x y="1\"#, (4, "", "h", "a", r#"[x y="1\"#));
}

#[test]
fn structured_data_is_the_message_where_there_is_no_other() {
    check(
        r#"<14>1 2026-11-22T09:00:00Z srx RT_FLOW - CREATE [junos@2636 source-address="10.0.0.5"]"#,
        (14, "2026-11-22T09:00:00Z", "srx", "RT_FLOW", r#"[junos@2636 source-address="10.0.0.5"]"#),
    );
}

#[test]
fn rfc_3164_with_tags_of_all_kinds() {
    for (tag, program) in [
        ("sshd[9]:", "sshd"),
        ("postfix/smtpd[123]:", "postfix/smtpd"),
        ("/usr/sbin/cron[1]:", "/usr/sbin/cron"),
        ("(squid-1)[7]:", "(squid-1)"),
        ("kernel:", "kernel"),
        ("app[]:", "app"),
        ("app[1]", "app"),
        ("dovecot:", "dovecot"),
    ] {
        check(
            &format!("<38>Nov 22 10:00:00 gw {tag} text: x"),
            (38, "Nov 22 10:00:00", "gw", program, "text: x"),
        );
        check(&format!("Nov  2 10:00:00 {tag} text: x"), (0, "Nov  2 10:00:00", "", program, "text: x"));
    }
    check(
        "Nov 22 10:00:00 gw last message repeated 3 times",
        (0, "Nov 22 10:00:00", "gw", "", "last message repeated 3 times"),
    );
    check(
        "Nov 22 10:00:00 last message repeated 3 times",
        (0, "Nov 22 10:00:00", "", "", "last message repeated 3 times"),
    );
    check(
        "Nov 22 10:00:00 gw sshd[9]: message repeated 2 times: [ Failed password]",
        (0, "Nov 22 10:00:00", "gw", "sshd", "Failed password"),
    );
    check("Nov 22 10:00:00 2001:db8::5 sshd[9]: x", (0, "Nov 22 10:00:00", "2001:db8::5", "sshd", "x"));
    check("Nov 22 10:00:00 gw kernel:[12.5] x", (0, "Nov 22 10:00:00", "gw", "kernel", "[12.5] x"));
}

#[test]
fn devices_that_leave_parts_out_or_put_them_elsewhere() {
    check("<134>filterlog[123]: 5,,,", (134, "", "", "filterlog", "5,,,"));
    check("<134>Nov 22 10:00:00 filterlog[123]: 5,,,", (134, "Nov 22 10:00:00", "", "filterlog", "5,,,"));
    check("filterlog[123]: 5,,,", (0, "", "", "filterlog", "5,,,"));
    check("<189>date=2026-11-22 time=10:00:00", (189, "", "", "", "date=2026-11-22 time=10:00:00"));
    check("<134>  id=firewall sn=1", (134, "", "", "", "id=firewall sn=1"));
    check(
        r#"<142>Nov 22 17:24:03 2026 usg src="10.0.0.5:1""#,
        (142, "Nov 22 17:24:03 2026", "usg", "", r#"src="10.0.0.5:1""#),
    );
    check(
        "2026:11:22-00:50:54 utm-1 ulogd[12511]: id=\"2021\"",
        (0, "2026:11:22-00:50:54", "utm-1", "ulogd", "id=\"2021\""),
    );
    check(
        "<30>2026:11:22-00:50:54 utm-1 httpproxy[1]: x",
        (30, "2026:11:22-00:50:54", "utm-1", "httpproxy", "x"),
    );
    check("Nov 22 10:00:00 fw CEF:0|A|B|", (0, "Nov 22 10:00:00", "fw", "", "CEF:0|A|B|"));
    check("<14>CEF:0|A|B|", (14, "", "", "", "CEF:0|A|B|"));
    check("<134>firewall,info forward: in:ether1", (134, "", "", "", "firewall,info forward: in:ether1"));
    check(
        "<134>1 1795338000.123456 MX84 flows src=10.0.0.5",
        (134, "1795338000.123456", "MX84", "", "flows src=10.0.0.5"),
    );
    check("Nov 22 10:00:00 UDM UDM sshd[9]: x", (0, "Nov 22 10:00:00", "UDM", "sshd", "x"));
    check("<30>1795338000 router dhcp: x", (30, "1795338000", "router", "dhcp", "x"));
    check_bytes(
        b"<30>Nov 22 10:00:00 gw x: caff\xe8 \xff",
        (30, "Nov 22 10:00:00", "gw", "x", "caff\u{fffd} \u{fffd}"),
    );
    check_bytes(b"\xef\xbb\xbf<30>Nov 22 10:00:00 gw x: y", (30, "Nov 22 10:00:00", "gw", "x", "y"));
}

#[test]
fn cisco() {
    for (line, time, host) in [
        ("<166>Nov 22 2026 12:59:50: ", "Nov 22 2026 12:59:50", ""),
        ("<166>Nov 22 2026 12:59:50 fw : ", "Nov 22 2026 12:59:50", "fw"),
        ("<166>Nov 22 2026 12:59:50 fw: ", "Nov 22 2026 12:59:50", "fw"),
        ("<166>Nov 22 12:59:50 fw ", "Nov 22 12:59:50", "fw"),
        ("<166>:Nov 22 12:59:50 CET: ", "Nov 22 12:59:50 CET", ""),
        ("<166>fw : ", "", "fw"),
        ("<166>", "", ""),
        ("<189>123: *Mar  1 00:00:00.123: ", "*Mar  1 00:00:00.123", ""),
        ("<189>123: sw1: *Mar  1 00:00:00.123 UTC: ", "*Mar  1 00:00:00.123 UTC", "sw1"),
        ("<189>123: sw1: 000045: Mar  1 00:00:00.123: ", "Mar  1 00:00:00.123", "sw1"),
        ("<189>: 2026 Nov 22 10:00:00 CET: ", "2026 Nov 22 10:00:00 CET", ""),
        ("Nov 22 10:00:00 10.0.0.9 Nov 22 2026 10:00:00: ", "Nov 22 2026 10:00:00", "10.0.0.9"),
        ("Nov 22 10:00:00 10.0.0.9 45: *Mar  1 00:00:00.1: ", "*Mar  1 00:00:00.1", "10.0.0.9"),
    ] {
        let priority = if line.starts_with("<166") {
            166
        } else if line.starts_with('<') {
            189
        } else {
            0
        };
        check(&format!("{line}%ASA-6-302013: Built"), (priority, time, host, "", "%ASA-6-302013: Built"));
    }
}

#[test]
fn relays_and_files() {
    let time = "2026-11-22T10:00:00.123456+01:00";
    check(&format!("{time} gw sshd[9]: x"), (0, time, "gw", "sshd", "x"));
    check(&format!("{time} gw date=2026-11-22"), (0, time, "gw", "", "date=2026-11-22"));
    check("2026-11-22 10:00:00 gw sshd[9]: x", (0, "2026-11-22 10:00:00", "gw", "sshd", "x"));
    check(
        &format!("{time} relay <134>Nov 22 10:00:01 fw filterlog[1]: x"),
        (134, "Nov 22 10:00:01", "fw", "filterlog", "x"),
    );
    check("Nov 22 10:00:00 relay <134>filterlog[1]: x", (134, "Nov 22 10:00:00", "relay", "filterlog", "x"));
    check("Nov 22 10:00:00 relay Nov 22 10:00:01 fw kernel: x", (0, "Nov 22 10:00:01", "fw", "kernel", "x"));
}

#[test]
fn lines_of_other_kinds_have_no_header() {
    for line in [
        "",
        " ",
        "<",
        "<192>x",
        "<1234>x",
        "<>x",
        r#"203.0.113.5 - - [22/Nov/2026:10:00:00 +0100] "GET / HTTP/1.1" 200 5"#,
        r#"2001:db8::5 - - [22/Nov/2026:10:00:00 +0100] "GET / HTTP/1.1" 200 5"#,
        r#"{"timestamp":"2026-11-22T10:00:00.1+0100","src_ip":"203.0.113.5"}"#,
        r#"date=2026-11-22 time=10:00:00 devname="fw""#,
        "2026-11-22 10:00:00 192.0.2.9 GET /a - 443 - 203.0.113.5 Mozilla/5.0 - 200 0 0 5",
        "2026-11-22 10:00:00 1aBcDe-0001-AB <= mallory@evil.example H=mail.example [203.0.113.5]",
        "2026-11-22 10:00:00 [123] no host name found for IP address 203.0.113.5",
        "2026/11/22 10:00:00 [error] 9#9: *1 open() failed, client: 203.0.113.5",
        "2026-11-22T10:00:00Z INFO server: peer 203.0.113.5",
        "1795338000.123 45 10.0.0.5 TCP_MISS/200 5 GET http://evil.example/ - HIER_DIRECT/203.0.113.5 -",
        "1795338000.123456\tCabc\t10.0.0.5\t53000\t203.0.113.5\t443",
        "[Sun Nov 22 10:00:00.123 2026] [error] [client 203.0.113.5:1] x",
        "type=SYSCALL msg=audit(1795338000.123:45): arch=c000003e",
        "11/22/2026-10:00:00.123456  [**] [1:2:3] x [**] {TCP} 203.0.113.5:1 -> 192.0.2.9:2",
        "CEF:0|A|B|1|2|3|4|src=203.0.113.5",
        "id=firewall time=\"2026-11-22 10:00:00\" fw=\"x\"",
    ] {
        check_none(line);
    }
}

#[test]
fn a_hostile_line_is_read_as_fast_as_any() {
    for unit in ["<1>", "[a b=\"c\"]", "[", "1 ", "Nov 22 10:00:00 a ", "9: ", "a:", "\\\"", "\u{feff}"] {
        let line = format!("<1>1 - - - - - {}", unit.repeat(65_536 / unit.len()));
        let logged = Logged::of(line.as_bytes());
        assert!(logged.message.len() <= line.len());
        let line = unit.repeat(65_536 / unit.len());
        assert!(Logged::of(line.as_bytes()).message.len() <= line.len());
    }
}

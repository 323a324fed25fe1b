//! Lines as gateways, firewalls and servers write them.

use super::made::seen as seen_of;
use super::*;

fn seen(line: &str) -> Vec<String> {
    seen_of(line.as_bytes())
}

fn check(line: &str, expected: &[&str]) {
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(seen(line), expected, "{line}");
}

#[test]
fn fields_name_source_and_destination() {
    check(
        "kernel: IN=wan0 MAC=00:08:a2:0c:1f:12:00:c8:8b:e2:d6:87:08:00 SRC=203.0.113.5 DST=192.0.2.9 SPT=4000 DPT=22",
        &["log.src 203.0.113.5:4000", "log.dst 192.0.2.9:22"],
    );
    check(
        "srcip=10.0.0.4 srcport=53000 dstip=203.0.113.5 dstport=443 transip=192.0.2.1",
        &["log.src 10.0.0.4:53000", "log.dst 203.0.113.5:443", "log.nat 192.0.2.1"],
    );
    check(
        r#"{"src_ip":"10.0.0.4","dest_ip":"2001:db8::5","x":1}"#,
        &["log.src 10.0.0.4", "log.dst 2001:db8::5"],
    );
    check(
        "pam_unix(sshd:auth): authentication failure; uid=0 tty=ssh ruser= rhost=203.0.113.5",
        &["log.src 203.0.113.5"],
    );
    check(
        "Source IP: 10.0.0.4 Source Port: 43130 Destination IP: 203.0.113.5",
        &["log.src 10.0.0.4", "log.dst 203.0.113.5"],
    );
}

#[test]
fn words_and_arrows_name_them_too() {
    check("Failed password for root from 203.0.113.5 port 4711 ssh2", &["log.src 203.0.113.5"]);
    check(
        "proto TCP (SYN), 203.0.113.5:59388->192.0.2.9:23, len 40",
        &["log.src 203.0.113.5:59388", "log.dst 192.0.2.9:23"],
    );
    check(
        "203.0.113.5 - - [22/Nov/2026:10:00:00 +0100] \"GET / HTTP/1.1\" 200 5 \"-\" \"evil-bot/1.0\"",
        &["log.src 203.0.113.5", "log.user_agent evil-bot/1.0"],
    );
    check("connection to 203.0.113.5 refused", &["log.text 203.0.113.5"]);
}

#[test]
fn addresses_stand_in_brackets_with_ports_and_prefixes_of_all_kinds() {
    check(
        "H=mail.example [203.0.113.5]:53343 rejected",
        &["log.domain mail.example", "log.text 203.0.113.5:53343"],
    );
    check("conn [2001:db8::5]:8443 closed", &["log.text 2001:db8::5:8443"]);
    check(
        "Built outbound TCP connection 7 for outside:203.0.113.5/443 to inside:10.0.0.4/4952",
        &["log.text 203.0.113.5:443", "log.text 10.0.0.4:4952"],
    );
    check("seen ::1 and fe80::1%eth0.", &["log.text ::1", "log.text fe80::1"]);
}

#[test]
fn what_only_looks_like_an_address_is_none() {
    check("at 12:34:56 version 1.2.3.4 of Browser/120.0.0.0 mac 00:11:22:33:44:55:66:77 std::vec", &[]);
    check("300.1.2.3 1.2.3 1.2.3.4.5", &[]);
}

#[test]
fn urls_give_their_host_as_well() {
    check(
        "GET http://Evil.Example:8080/a?b=1, then",
        &["log.url http://evil.example:8080/a?b=1", "log.domain evil.example"],
    );
    check(
        "see <https://203.0.113.5/x> (http://a.example/y)",
        &[
            "log.url https://203.0.113.5/x",
            "log.text 203.0.113.5",
            "log.url http://a.example/y",
            "log.domain a.example",
        ],
    );
    check(
        "url=http://a.example/?u=http://b.example/",
        &[
            "log.url http://a.example/?u=http://b.example/",
            "log.domain a.example",
            "log.url http://b.example/",
            "log.domain b.example",
        ],
    );
}

#[test]
fn urls_with_escaped_slashes_are_urls() {
    check(
        r#"{"url":"http:\/\/evil.example:81\/a\/b?c=1","n":"x\ny"}"#,
        &["log.url http://evil.example:81/a/b?c=1", "log.domain evil.example"],
    );
}

#[test]
fn names_hashes_and_mail_addresses_are_found_and_file_names_are_not() {
    check("query[A] Evil.Example from 10.0.0.4", &["log.domain evil.example", "log.src 10.0.0.4"]);
    check("opened /var/www/index.php and /srv/evil.example/a with foo.bar()", &[]);
    check(
        "file sha256=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
        &["log.hash 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"],
    );
    check("from=<Mallory@Evil.example> size=3", &["log.text mallory@evil.example"]);
    check("città.example", &["log.domain xn--citt-3na.example"]);
}

#[test]
fn user_agents_are_read_from_fields_of_any_spelling() {
    check(r#"{"headers":{"User-Agent":["evil-bot/1.0 (x)"]}}"#, &["log.user_agent evil-bot/1.0 (x)"]);
    check(r#"agent="evil-bot/1.0" action=pass"#, &["log.user_agent evil-bot/1.0"]);
    check(
        r#"userAgent: 'Mozilla/5.0 (+http://bot.example/)'"#,
        &[
            "log.user_agent Mozilla/5.0 (+http://bot.example/)",
            "log.url http://bot.example/",
            "log.domain bot.example",
        ],
    );
}

#[test]
fn bytes_that_are_no_text_lose_nothing_around_them() {
    let mut line = b"user=\xff\xfe\0 from ".to_vec();
    line.extend_from_slice(b"203.0.113.5 \xc3");
    let mut found = 0;
    Scan::of(&line, &mut Hint::default()).sight_all(&mut |sighting| {
        assert_eq!(
            crate::normal::Scratch::default().owned(sighting.seen).unwrap().to_string(),
            "203.0.113.5"
        );
        found += 1;
    });
    assert_eq!(found, 1);
}

#[test]
fn a_line_tells_who_began() {
    use protocol::Direction::{Inbound, Internal, Outbound, Transit};
    let home = Home::new(&["192.0.2.0/24".parse().unwrap()]);
    for (line, direction, host, remote) in [
        ("SRC=203.0.113.5 DST=192.0.2.9", Inbound, "192.0.2.9", "203.0.113.5"),
        ("SRC=192.0.2.9 DST=203.0.113.5", Outbound, "192.0.2.9", "203.0.113.5"),
        ("Failed password for root from 203.0.113.5 port 22", Inbound, "", "203.0.113.5"),
        ("query[A] evil.example from 192.0.2.9", Outbound, "192.0.2.9", ""),
        ("block,in,4,tcp,60,203.0.113.5,192.0.2.9,4000,22", Inbound, "192.0.2.9", "203.0.113.5"),
        ("pass,out,4,tcp,60,192.0.2.9,203.0.113.5,4000,443", Outbound, "192.0.2.9", "203.0.113.5"),
        ("src=192.0.2.9 dst=192.0.2.10", Internal, "192.0.2.9", ""),
        ("nothing here about 203.0.113.5", Transit, "", ""),
        ("squid: 192.0.2.9 TCP_MISS/200 GET http://evil.example/a", Outbound, "192.0.2.9", ""),
    ] {
        let sides = Scan::of(line.as_bytes(), &mut Hint::default()).sides(&home);
        let text = |address: Option<IpAddr>| address.map(|address| address.to_string()).unwrap_or_default();
        let told = (sides.direction, text(sides.host), text(sides.remote));
        assert_eq!(told, (direction, host.to_owned(), remote.to_owned()), "{line}");
    }
}

#[test]
fn the_evidence_of_a_long_line_shows_the_value() {
    let line = format!("{} from 203.0.113.5 {}", "x ".repeat(5000), "y ".repeat(5000));
    let mut shown = String::new();
    Scan::of(line.as_bytes(), &mut Hint::default())
        .sight_all(&mut |sighting| shown = evidence(sighting.evidence));
    assert!(shown.contains("from 203.0.113.5 y"), "{shown}");
}

#[test]
fn a_word_that_a_format_names_in_part_is_read_to_its_end() {
    check(
        "id=firewall sn=1 m=5 src=10.0.0.5:51000:X0:pc.comune.example dst=203.0.113.5:80:X1",
        &["log.src 10.0.0.5:51000", "log.domain pc.comune.example", "log.dst 203.0.113.5:80"],
    );
}

//! What looks like a value and is none, and values that something beside them hides.

use super::made::seen;

fn check(line: impl AsRef<[u8]>, expected: &[&str]) {
    let line = line.as_ref();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(seen(line), expected, "{}", String::from_utf8_lossy(line));
}

#[test]
fn names_of_detections_are_no_domains() {
    check("found Win32/Turla.AG and Trojan.GenericKD.Ag and JS.Agent.app in mail", &[]);
    check("stream: Heuristics.Phish.Email FOUND; virus=\"Turla.AG\" threat_name=Cobalt.Sh", &[]);
    check("js.agent.app asked for JS.EXAMPLE", &["log.domain js.agent.app", "log.domain js.example"]);
}

#[test]
fn files_are_no_domains_whatever_their_ending() {
    check("file=invoice.zip exe=\"update.com\" {\"filename\": \"a.mov\"} Image: svc.app comm='x.py'", &[]);
    check("ran ./setup.sh, python3 tool.py, File \"lib.rs\", line 5, C:\\tmp\\a.zip /opt/b.so", &[]);
    check("query: evil.zip for transfer.sh", &["log.domain evil.zip", "log.domain transfer.sh"]);
}

#[test]
fn a_letter_behind_a_backslash_is_an_escape_only_outside_of_paths() {
    check("in C:\\Users\\a\\fattura.zip and \\\\server\\b\\notes.app and {\"f\":\"a\\\\r.zip\"}", &[]);
    check("said \"a\\nevil.example\\tb\"", &["log.domain evil.example"]);
}

#[test]
fn packages_and_classes_are_no_domains() {
    check(
        "at org.apache.catalina.core.Handler(Handler.java:10) by System.Net.Http and java.util.logging",
        &[],
    );
    check("{\"source.address\":1,\"id.orig_h\":2,\"evil.example\":3}", &["log.domain evil.example"]);
    check("com.evil.example and unknown.bazar", &["log.domain com.evil.example", "log.domain unknown.bazar"]);
}

#[test]
fn versions_times_and_object_identifiers_are_no_addresses() {
    check("version 1.2.3.4, firmware: 1.2.3.4, FileVersion=\"1.2.3.4\", v1.2.3.4 ver. 1.2.3.4", &[]);
    check("10.00.00.01 12:34:56.789 .1.3.6.1 1.3.6.1.4.1.8072 1.2.3.4.5 2.0.0.4.1", &[]);
    check("server 203.0.113.5", &["log.text 203.0.113.5"]);
}

#[test]
fn addresses_with_ports_are_written_in_many_ways() {
    check("203.0.113.5.50550 up", &["log.src 203.0.113.5:50550"]);
    check(
        "IP 10.0.0.4.53000 > 203.0.113.5.443: Flags [S]",
        &["log.text 10.0.0.4:53000", "log.text 203.0.113.5:443"],
    );
    check(
        "IP6 2001:db8::4.53000 > 2001:db8::5.443: Flags [S]",
        &["log.text 2001:db8::4:53000", "log.text 2001:db8::5:443"],
    );
    check("peer ::ffff:203.0.113.5 up", &["log.src 203.0.113.5"]);
    check("on [2001:db8::1]:443 and 2001:db8::1%eth0", &["log.text 2001:db8::1", "log.text 2001:db8::1:443"]);
    check("IPv6:2001:db8::5 [IPv6:2001:db8::6]", &["log.text 2001:db8::5", "log.text 2001:db8::6"]);
    check("query by 203.0.113.5#4000", &["log.src 203.0.113.5:4000"]);
}

#[test]
fn hashes_are_whole_words() {
    let md5 = "0123456789abcdef0123456789abcdef";
    check(format!("{md5}{md5}{md5}{md5} {md5}0 0{md5}"), &[]);
    check("01234567-89ab-cdef-0123-456789abcdef aGVsbG8gd29ybGQgaGVsbG8gd29ybGQgaGVs", &[]);
    check(format!("MD5={md5},SHA1=x md5:{md5}"), &[&format!("log.hash {md5}")]);
}

#[test]
fn escapes_beside_a_value_are_no_part_of_it() {
    for escape in [
        "\\n",
        "\\t",
        "\\r\\n",
        "\\u0009",
        "\\x1b[31m",
        "#011",
        "#033[1;31m",
        "\x1b[0;31m",
        "\x1b[m",
        "\\u001b[91m",
        "%3D",
        "%3a",
    ] {
        check(format!("text{escape}203.0.113.5{escape} and"), &["log.text 203.0.113.5"]);
        check(format!("text {escape}evil.example\x1b[0m and"), &["log.domain evil.example"]);
    }
    check("u=http%3A%2F%2Fevil.example%2Fx", &["log.domain evil.example"]);
}

#[test]
fn bytes_beside_a_value_are_no_part_of_it() {
    for (before, after) in [
        ("\0", "\0"),
        ("“", "”"),
        ("\r", "\r"),
        ("«", "»"),
        ("<", ">"),
        ("\u{a0}", "\u{a0}"),
        ("(", "),"),
        ("\t", "\t"),
    ] {
        check(format!("x {before}203.0.113.5{after} y"), &["log.text 203.0.113.5"]);
        check(format!("x {before}evil.example{after} y"), &["log.domain evil.example"]);
    }
    check(
        b"caff\xe8203.0.113.5\xbb \xabevil.example\xbb",
        &["log.domain evil.example", "log.text 203.0.113.5"],
    );
    check(b"a\xc0\xae203.0.113.5 \xff\xfe", &["log.text 203.0.113.5"]);
}

#[test]
fn international_names_are_one_name_however_they_are_written() {
    check(
        "città.example XN--CITT-3NA.example CITTÀ.example: città。example",
        &["log.domain xn--citt-3na.example"],
    );
}

#[test]
fn urls_end_where_the_sentence_begins() {
    for text in [
        "<http://evil.example/a>",
        "\"http://evil.example/a\"",
        "(http://evil.example/a).",
        "http://evil.example/a,",
        "[http://evil.example/a]",
    ] {
        check(format!("see {text} ok"), &["log.domain evil.example", "log.url http://evil.example/a"]);
    }
}

#[test]
fn defanged_values_are_quotations_and_not_looked_for() {
    check("seen evil[.]example and hxxp://203[.]0[.]113[.]5/ in a report", &[]);
}

#[test]
fn user_agents_of_all_spellings() {
    for field in [
        "\"User-Agent\":[\"bot/1.0 (x)\"]",
        "http_user_agent=\"bot/1.0 (x)\"",
        "cs(User-Agent)=\"bot/1.0 (x)\"",
        "ua=\"bot/1.0 (x)\" rt=0.1",
        "User-Agent: bot/1.0 (x)",
        "user_agent=bot/1.0 (x) status=200",
        "\\\"userAgent\\\":\\\"bot/1.0 (x)\\\"",
        "\"GET https://a.example/ HTTP/1.1\" \"bot/1.0 (x)\" ECDHE TLSv1.2",
    ] {
        let seen = seen(format!("a {field}").as_bytes());
        assert!(seen.contains(&"log.user_agent bot/1.0 (x)".to_owned()), "{field}: {seen:?}");
    }
    check("the agent: started, agent=7", &[]);
}

#[test]
fn long_words_hide_nothing() {
    let long = "a".repeat(5000);
    check(
        format!("x={long}@203.0.113.5 {long}:evil.example"),
        &["log.domain evil.example", "log.text 203.0.113.5"],
    );
}

#[test]
fn lines_made_to_take_long_do_not() {
    for piece in [
        "a.",
        ":",
        "%2F",
        "{\"a\":",
        "\\",
        "://",
        "-a",
        "é",
        "1.2.3.",
        "[",
        "\"agent\":\"",
        "/20",
        ", client: ",
        "\\u001b[",
        "=",
        " a=",
        "#011",
    ] {
        let line = piece.repeat(64 * 1024 / piece.len());
        seen(line.as_bytes());
        seen(format!("{{\"a\":\"{line}").as_bytes());
    }
}

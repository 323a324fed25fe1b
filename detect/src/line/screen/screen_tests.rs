//! Whatever a line read in full has, the quick look does not screen away.

use proptest::prelude::*;
use protocol::{Indicator, LookFor, Serial, Timestamp};

use super::*;
use crate::line::Scan;
use crate::line::formats::Hint;
use crate::normal::Scratch;

/// One of each kind, some of several.
const LOOKED_FOR: &[&str] = &[
    "203.0.113.5",
    "2001:db8::5",
    "2001:db8:1:2:3:4:5:6",
    "198.51.100.0/25",
    "2001:db8:ffff::/48",
    "192.0.2.7:443",
    "[2001:db8::7]:443",
    "evil.example",
    "deep.down.evil-twin.example",
    "citt\u{e0}.example",
    "login-*.kit.example",
    "http://url.example/a/b?c=d",
    "http://url.example/",
    "https://203.0.113.9:8443/x.php?id=1",
    "http://[2001:db8::9]/",
    "prefix.example/kit/*",
    "mallory@mail.example",
    "@mail-domain.example",
    "900150983cd24fb0d6963f7d28e17f72",
    "a9993e364706816aba3e25717850c26c9cd0d89d",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
];

fn matcher(values: &[&str]) -> Matcher {
    let indicators = values.iter().map(|value| LookFor::guess(value).unwrap());
    let agents = [("user_agent", "evil-bot/1.0 (x)"), ("user_agent_part", "sqlmap")];
    let agents = agents.map(|(kind, text)| LookFor::parse(kind, text).unwrap());
    Matcher::build(Serial(1), indicators.chain(agents).map(Indicator::plain)).unwrap()
}

/// Every value in full, compared without the screen.
fn hits(line: &[u8], matcher: &Matcher) -> Vec<String> {
    let mut hits = Vec::new();
    let mut scratch = Scratch::default();
    Scan::of(line, &mut Hint::default()).sight_all(&mut |sighting| {
        let look_up = |value: Value<'_>| matcher.look_up(value, Timestamp::default()).unwrap();
        if let Some(found) = scratch.normal(sighting.seen, sighting.port, look_up) {
            hits.extend(found.indicators.iter().map(|found| found.id.to_string()));
        }
    });
    hits
}

fn check(line: &[u8], expected: bool) {
    let matcher = matcher(LOOKED_FOR);
    let hits = hits(line, &matcher);
    let shown = String::from_utf8_lossy(line);
    assert_eq!(!hits.is_empty(), expected, "{hits:?} in {shown}");
    assert_eq!(may_match(line, &matcher), expected, "{shown}");
}

#[test]
fn what_is_looked_for_is_seen_in_every_spelling() {
    for line in [
        "SRC=203.0.113.5 DST=10.0.0.1",
        "::ffff:203.0.113.5",
        "conn [2001:DB8:0:0::5]:443",
        "fe80::1%eth0 2001:db8:1:2:3:4:5:6%eth0.",
        "to 198.51.100.77/4711",
        "192.0.2.7:443 closed",
        "x-203.0.113.5-y",
        "user_203.0.113.5",
        "WWW.Evil.Example. is asked for",
        "a.deep.down.evil-twin.example:25",
        "evil.example-1.2 failed",
        "pre.fix_evil.example_1.2",
        "xn--citt-3na.example",
        "www.XN--CITT-3NA.example",
        "citt\u{e0}.example",
        "CITT\u{c0}.example",
        "login-77.kit.example",
        "get http://URL.example:80/a/b?c=d#top now",
        "http://user:secret@url.example/a/b?c=d",
        "(see http://url.example).",
        r#"{"url":"http:\/\/url.example\/a\/b?c=d"}"#,
        "https://203.0.113.9:8443/x.php?id=1",
        "http://[2001:DB8::9]/",
        "https://prefix.example/kit/x",
        "to=<Mallory@Mail.Example>",
        "relay:mallory@mail.example, b",
        "somebody@mail-domain.example",
        "somebody@evil.example",
        "md5=900150983CD24FB0D6963F7D28E17F72.",
        "sha1:a9993e364706816aba3e25717850c26c9cd0d89d",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        "user_agent=\"evil-bot/1.0 (x)\"",
        "\"GET / HTTP/1.1\" 200 5 \"-\" \"a SqlMap/1\"",
    ] {
        check(line.as_bytes(), true);
    }
}

#[test]
fn what_nobody_looks_for_is_screened_away() {
    for line in [
        "",
        "Nov 22 10:00:00 gw sshd[7]: Failed password for root from 192.0.2.1 port 22 ssh2",
        "kernel: [3217949.737464] IN=e0 OUT= MAC=00:08:a2:0c:1f:12:00:c8:8b:e2:d6:87:08:00 SRC=192.0.2.7 DST=192.0.2.9",
        "1203.0.113.5 203.0.113.50 notevil.example evil.example.test std::vec 12:34:56::",
        "http://url.example:8080/a/b?c=d http://prefix.example/kitten",
        "1900150983cd24fb0d6963f7d28e17f72 mallory@mail.example.test",
        "\u{abb}attivit\u{e0}.pdf\u{bb} perch\u{e9} no",
        r"C:\Windows\System32\svchost.exe",
        "user_agent=\"Mozilla/5.0 (X11; Linux x86_64)\"",
    ] {
        if !line.contains("SRC=192.0.2.7") {
            check(line.as_bytes(), false);
        }
    }
    assert!(!may_match(b"203.0.113.5 evil.example", &Matcher::empty()));
}

#[test]
fn an_address_at_one_port_only_is_read_in_full() {
    let matcher = matcher(LOOKED_FOR);
    assert!(may_match(b"192.0.2.7:80", &matcher) && hits(b"192.0.2.7:80", &matcher).is_empty());
}

#[test]
fn names_without_dots_are_found_when_one_is_looked_for() {
    let single = Matcher::build(Serial(1), [Indicator::plain(LookFor::parse("domain", "badhost").unwrap())]);
    let single = single.unwrap();
    assert!(may_match(b"query[A] badhost from 10.0.0.1", &single));
    assert!(may_match(b"a.BadHost", &single));
    assert!(!may_match(b"query[A] good.host from 10.0.0.1", &single));
}

/// Values as lines spell them, and what looks like them.
const PIECES: &[&str] = &[
    "203.0.113.5",
    "::ffff:203.0.113.5",
    "203.0.113.5.50550",
    "2001:db8::5",
    "2001:DB8:0:0:0:0:0:5",
    "2001:db8:1:2:3:4:5:6",
    "2001:db8:ffff::77",
    "[2001:db8::7]:443",
    "fe80::1%eth0",
    "198.51.100.77",
    "192.0.2.7:443",
    "192.0.2.7",
    "Evil.Example",
    "www.evil.example.",
    "deep.down.evil-twin.example",
    "citt\u{e0}.example",
    "xn--citt-3na.example",
    "citt\u{e0}\u{3002}example",
    "citt\\u00e0.example",
    "login-1.kit.example",
    "evil\u{3002}example",
    "http://url.example/a/b?c=d",
    "HTTP://url.Example:80",
    "http:\\/\\/url.example\\/a\\/b?c=d",
    "http://evil\u{3002}example/",
    "https://203.0.113.9:8443/x.php?id=1",
    "http://[2001:db8::9]",
    "http://prefix.example/kit/a",
    "hxxp://url.example/",
    "http%3A%2F%2Furl.example%2F",
    "mallory@mail.example",
    "a+Mallory@mail.example",
    "root@mail-domain.example",
    "900150983cd24fb0d6963f7d28e17f72",
    "A9993E364706816ABA3E25717850C26C9CD0D89D",
    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    "User-Agent: \"evil-bot/1.0 (x)\"",
    "\"GET / HTTP/1.1\" 200 5 \"-\" \"sqlmap/1.7\"",
    "agent='evil-bot/1.0 (x)'",
    "12:34:56",
    "00:08:a2:0c:1f:12",
    "index.php",
    "std::vec",
    "IN=e0 OUT=e1 SRC=203.0.113.5",
    "a",
    "f0",
    "7",
];
const BETWEEN: &[&str] = &[
    " ", "", "-", "_", ".", ":", "::", "@", "%", "+", "/", "\\", "\"", "'", "=", ",", ";", "|", "<", ">",
    "[", "]", "(", ")", "\t", "\\t", "#011", "\\n", "://", "=\"", "\u{e9}", "\u{3002}", "\u{201c}", "%20",
    "->",
];

fn made_line() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => proptest::sample::select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        6 => proptest::sample::select(BETWEEN).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
        1 => "[a-zA-Z0-9.:/@_-]{0,12}".prop_map(String::into_bytes),
    ];
    proptest::collection::vec(piece, 1..9).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// With all indicators together, and with each alone: then nothing else makes up for what is overlooked.
    #[test]
    fn no_line_with_a_hit_is_screened_away(line in made_line(), which in 0..LOOKED_FOR.len()) {
        for matcher in [matcher(LOOKED_FOR), matcher(&LOOKED_FOR[which..=which])] {
            let hits = hits(&line, &matcher);
            prop_assert!(
                hits.is_empty() || may_match(&line, &matcher),
                "{hits:?} in {:?}", String::from_utf8_lossy(&line)
            );
        }
    }
}

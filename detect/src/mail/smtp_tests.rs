//! Tests of [`Client`] with whole conversations, cut anywhere.

use proptest::prelude::*;

use super::*;
use crate::made::{client_hello, conversation, strings, tls_records};
use crate::reader::Towards;
use Towards::{Client as ToClient, Server as ToServer};

fn check(parts: &[(Towards, &str)], expected: &[&str]) {
    let parts: Vec<_> = parts.iter().map(|(towards, text)| (*towards, text.as_bytes())).collect();
    for step in [1, 7, 1000] {
        let (seen, _) = conversation(&parts, step);
        assert_eq!(seen, strings(expected), "in steps of {step}");
    }
}

#[test]
fn the_first_line_tells_the_protocol() {
    for (bytes, expected) in [
        ("EHLO mail.example\r\n", Some(true)),
        ("helo x", Some(true)),
        ("mail from:<a@x.example>", Some(true)),
        ("EHL", None),
        ("EHLO", None),
        ("MAIL FROM", None),
        ("EHLOX", Some(false)),
        ("HELLO world", Some(false)),
        ("MAIL TO:", Some(false)),
    ] {
        assert_eq!(begins(bytes.as_bytes()), expected, "{bytes:?}");
    }
}

const MESSAGE: &str =
    "From: M <m@evil.example>\r\nTo: t@x.example\r\n\r\n..\r\nhttp://evil.example/a\r\n.\r\n";

#[test]
fn names_envelope_header_and_text_are_seen() {
    check(
        &[
            (ToClient, "220 mx.x.example ESMTP\r\n"),
            (ToServer, "EHLO relay.evil.example\r\n"),
            (ToClient, "250-mx.x.example\r\n250 PIPELINING\r\n"),
            (ToServer, "AUTH LOGIN\r\nbUBldmlsLmV4YW1wbGU=\r\nc2VjcmV0QG5vLmV4YW1wbGU=\r\n"),
            (
                ToServer,
                "MAIL FROM: <b@evil.example> SIZE=1 AUTH=no@no.example\r\nrcpt to:<t@x.example>\r\nDATA\r\n",
            ),
            (ToClient, "250 ok\r\n250 ok\r\n354 go\r\n"),
            (ToServer, MESSAGE),
            (ToServer, "MAIL FROM:<>\r\nRCPT TO:c@x.example\r\nDATA\r\n"),
            (ToClient, "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n"),
            (ToServer, "QUIT\r\nFrom: q@x.example\r\n\r\n.\r\nQUIT\r\nMAIL FROM:<no@no.example>\r\n"),
        ],
        &[
            "smtp.helo mx.x.example",
            "smtp.helo relay.evil.example",
            "smtp.from b@evil.example",
            "smtp.rcpt t@x.example",
            "smtp.header m@evil.example",
            "smtp.header t@x.example",
            "smtp.url http://evil.example/a",
            "smtp.rcpt c@x.example",
            "smtp.header q@x.example",
        ],
    );
}

#[test]
fn names_are_those_of_the_network_only() {
    for (name, expected) in [
        ("localhost", None),
        ("[192.0.2.5]", Some("smtp.helo 192.0.2.5")),
        ("[IPv6:2001:db8::5]", Some("smtp.helo 2001:db8::5")),
        ("192.0.2.5", Some("smtp.helo 192.0.2.5")),
        ("Host.Evil.Example x", Some("smtp.helo host.evil.example")),
        ("[x.y]", None),
        ("[127.0.0.1]", None),
        ("host.", None),
    ] {
        check(&[(ToServer, &format!("EHLO {name}\r\n"))], expected.as_slice());
    }
}

#[test]
fn a_refused_message_is_not_waited_for() {
    let again =
        ["EHLO a\r\nMAIL FROM:<a@x.example>\r\nDATA\r\nRSET\r\nMAIL FROM:<b@x.example>\r\nDATA\r\n", MESSAGE];
    let expected = ["smtp.from a@x.example", "smtp.from b@x.example"];
    let message = ["smtp.header m@evil.example", "smtp.header t@x.example", "smtp.url http://evil.example/a"];
    check(&[(ToServer, &again.concat())], &[&expected[..], &message].concat());
}

#[test]
fn chunks_make_one_message() {
    let (first, second) = MESSAGE.strip_suffix(".\r\n").unwrap().split_at(20);
    let chunks = format!(
        "BDAT {}\r\n{first}BDAT {} LAST\r\n{second}MAIL FROM:<b@x.example>\r\n",
        first.len(),
        second.len()
    );
    check(
        &[(ToServer, "MAIL FROM:<a@x.example>\r\n"), (ToServer, &chunks)],
        &[
            "smtp.from a@x.example",
            "smtp.header m@evil.example",
            "smtp.header t@x.example",
            "smtp.url http://evil.example/a",
            "smtp.from b@x.example",
        ],
    );
}

#[test]
fn attachments_are_passed_over_and_the_next_mail_is_read() {
    let attachment = "bm90aGluZyB0byBzZWU=\r\n".repeat(2000);
    let mail = format!(
        "MAIL FROM:<a@x.example>\r\nDATA\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: application/zip\r\n\r\n{attachment}--b\r\n\r\nhttp://evil.example/a\r\n--b--\r\n{attachment}.\r\nMAIL FROM:<b@x.example>\r\n"
    );
    check(
        &[(ToServer, &mail)],
        &["smtp.from a@x.example", "smtp.url http://evil.example/a", "smtp.from b@x.example"],
    );
}

#[test]
fn what_follows_starttls_is_read_as_tls() {
    let hello = tls_records(&client_hello("mx.x.example"), 1000);
    let plain = b"EHLO relay.x.example\r\nSTARTTLS\r\n";
    for step in [7, 1000] {
        let (seen, _) =
            conversation(&[(ToServer, plain), (ToClient, b"220 go\r\n"), (ToServer, &hello)], step);
        assert!(seen.contains(&"tls.sni mx.x.example".to_owned()), "{seen:?}");
    }
}

#[test]
fn after_a_loss_the_next_mail_is_read() {
    let (seen, _) = crate::made::seen_by(|sink| {
        let mut talk = crate::reader::Talk::default();
        let mut client = Client::default();
        let mut read = |client: &mut Client, text: &str, sink: &mut Sink<'_>| {
            let mut rest = text.as_bytes();
            while let Step::Consumed(used @ 1..) =
                client.read(Part { bytes: rest, towards: ToServer, talk: &mut talk }, sink)
            {
                rest = &rest[used..];
                if rest.is_empty() {
                    break;
                }
            }
        };
        read(&mut client, "MAIL FROM:<a@x.example>\r\nDATA\r\nFrom: a@x.example\r\n", sink);
        client.gap(sink);
        read(&mut client, "From: no@no.example\r\nMAIL FROM:<b@x.example>\r\n", sink);
    });
    assert_eq!(seen, ["smtp.from a@x.example", "smtp.header a@x.example", "smtp.from b@x.example"]);
}

#[test]
fn hostile_streams_are_bounded() {
    let mut talk = crate::reader::Talk::default();
    let mut client = Client::default();
    crate::made::seen_by(|sink| {
        for line in ["MAIL FROM:<", "DATA\r\n", "To: "] {
            client.read(Part { bytes: line.as_bytes(), towards: ToServer, talk: &mut talk }, sink);
        }
        for _ in 0..1000 {
            client.read(Part { bytes: &[b'x'; 4096], towards: ToServer, talk: &mut talk }, sink);
        }
    });
    assert!(client.held() < 200_000);
    let junk =
        ["EHLO x.example\r\n".to_owned(), "x\r\n".repeat(1000), "MAIL FROM:<no@no.example>\r\n".to_owned()];
    check(&[(ToServer, &junk.concat())], &["smtp.helo x.example"]);
}

proptest! {
    #[test]
    fn how_a_stream_is_cut_changes_nothing(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 1..40),
        step in 1..60_usize,
    ) {
        let stream = format!("EHLO x.example\r\n{}", words.concat());
        let whole = conversation(&[(ToServer, stream.as_bytes())], stream.len()).0;
        prop_assert_eq!(conversation(&[(ToServer, stream.as_bytes())], step).0, whole);
    }
}

const WORDS: &[&str] = &[
    "MAIL FROM:<a@x.example>\r\n",
    "RCPT TO:<b@x.example>\r\n",
    "DATA\r\n",
    "RSET\r\n",
    ".\r\n",
    "\r\n",
    "\n",
    "..",
    "From: c@x.example\r\n",
    "To: d@x.example,\r\n",
    " e@x.example\r\n",
    "BDAT 30\r\n",
    "BDAT 9 LAST\r\n",
    "--b\r\n",
    "--b--\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "Content-Type: message/rfc822\r\n",
    "Content-Transfer-Encoding: quoted-printable\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "http://y.example/=\r\n",
    "aHR0cDovL2V2aWwuZXhhbXBsZS9hCg==\r\n",
    "QUIT\r\n",
    "\u{16}\u{3}",
    "x",
    "-",
    "AUTH PLAIN eA==\r\n",
];

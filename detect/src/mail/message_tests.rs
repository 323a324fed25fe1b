//! Tests of [`Message`]: which fields and parts are read, and what hostile ones cost.

use super::*;
use crate::lines::Lines;
use crate::made::{seen_by, strings};

fn read(message: &mut Message, text: &[u8], sink: &mut Sink<'_>) {
    let (mut lines, mut rest) = (Lines::default(), text);
    while let Some(piece) = lines.next_of_counted(rest) {
        message.read(&piece, sink);
        rest = &rest[piece.used..];
    }
}

fn check(text: &str, expected: &[&str]) {
    let (seen, _) = seen_by(|sink| {
        let mut message = Message::default();
        read(&mut message, text.as_bytes(), sink);
        message.end(sink);
    });
    assert_eq!(seen, strings(expected), "{text:?}");
}

#[test]
fn addresses_are_read_in_the_header_only() {
    check(
        "Return-Path: <bounce@x.example>\r\nReceived: from a (b@no.example)\r\nMessage-ID: <1@no.example>\r\n\
         FROM : Mallory <m@evil.example>\r\nTo: \"A, B\" <a@x.example>,\r\n\t<b@x.example>\r\n\
         Subject: To: c@no.example\r\n\r\nFrom: d@no.example\r\n",
        &[
            "smtp.trace bounce@x.example",
            "smtp.header m@evil.example",
            "smtp.header a@x.example",
            "smtp.header b@x.example",
        ],
    );
}

#[test]
fn evidence_is_the_line_of_the_address() {
    let mut evidence = Vec::new();
    let mut counters = crate::counters::Counters::default();
    let mut door =
        |sighting: Sighting<'_>| evidence.push(String::from_utf8(sighting.evidence.to_vec()).unwrap());
    let mut sink = Sink::new(&mut counters, crate::sighting::Wants::ALL, &mut door);
    let long = format!("Cc: {}c@x.example\r\n\r\n", "n ".repeat(400));
    let text = format!("To: a@x.example,\r\n B <b@x.example>\r\n{long}");
    read(&mut Message::default(), text.as_bytes(), &mut sink);
    assert_eq!(evidence, ["To: a@x.example,", " B <b@x.example>", "c@x.example"]);
}

#[test]
fn text_parts_are_read_and_attachments_are_not() {
    check(
        "Content-Type: multipart/mixed; charset=x;\r\n boundary=\"=_b; 1\"\r\n\r\nhttp://no.example/preamble\r\n\
         --=_b; 1\r\nContent-Type: multipart/alternative; boundary=in\r\n\r\n\
         --in\r\n\r\nhttp://a.example/\r\n\
         --in\r\nContent-Type: text/html\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<a href=3D\"http://b.exam=\r\nple/?x&amp;y\">\r\n\
         --in--\r\nhttp://no.example/epilogue\r\n\
         --=_b; 1\r\nContent-Type: application/pdf\r\n\r\nhttp://no.example/attached\r\n\
         --=_b; 1\r\nContent-Transfer-Encoding: base64\r\n\r\naHR0cDovL2MuZXhhbXBsZS8=\r\n\
         --=_b; 1--\r\nhttp://no.example/epilogue\r\n",
        &["smtp.url http://a.example/", "smtp.url http://b.example/?x&y", "smtp.url http://c.example/"],
    );
}

#[test]
fn attached_messages_have_headers_and_parts_have_none() {
    check(
        "Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\nFrom: no@no.example\r\nContent-Type: message/rfc822\r\n\r\n\
         From: m@evil.example\r\nSubject: x\r\n\r\nhttp://evil.example/\r\n--b--\r\n",
        &["smtp.header m@evil.example", "smtp.url http://evil.example/"],
    );
}

#[test]
fn a_part_that_ends_in_its_header_is_over() {
    check(
        "Content-Type: multipart/mixed; boundary=b\r\nFrom: a@x.example\r\n--b\r\n\r\nhttp://a.example/\r\n--b--\r\n",
        &["smtp.header a@x.example", "smtp.url http://a.example/"],
    );
}

#[test]
fn hostile_messages_are_bounded_and_counted() {
    let (_, counters) = seen_by(|sink| {
        let mut message = Message::default();
        read(&mut message, b"To: a@x.example,\r\n", sink);
        for _ in 0..10_000 {
            read(&mut message, b" \"some name\" <b@x.example>,\r\n", sink);
        }
        assert!(message.held() < 3 * FIELD_BYTES_MAX);
        read(&mut message, b"X-Endless: ", sink);
        for _ in 0..1000 {
            read(&mut message, &[b'x'; 1000], sink);
        }
        for depth in 0..1000 {
            let part = format!("Content-Type: multipart/mixed; boundary=b{depth}\r\n\r\n--b{depth}\r\n");
            read(&mut message, part.as_bytes(), sink);
        }
        for _ in 0..10_000 {
            read(&mut message, b"--b1\r\n--b\r\n--\r\n", sink);
        }
        assert!(message.held() < 3 * FIELD_BYTES_MAX);
    });
    assert_eq!(counters.mail_fields_cut, 1);
    assert!(counters.mail_parts_too_deep > 0);
}

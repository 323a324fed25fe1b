//! Tests of what tells these protocols, and a property that holds for all of them: how a stream is cut changes nothing.

use proptest::prelude::*;

use super::*;
use crate::made::conversation;
use crate::reader::Towards;

fn name(bytes: &[u8]) -> &'static str {
    match speaks(bytes, &Heard::default()) {
        Speaks::NeedMore => "more",
        Speaks::Other => "other",
        Speaks::Known(Reader::Smtp(_)) => "smtp",
        Speaks::Known(Reader::Replies(_)) => "replies",
        Speaks::Known(Reader::Pop3(_)) => "pop3",
        Speaks::Known(Reader::Imap(_)) => "imap",
        Speaks::Known(Reader::Ftp(_)) => "ftp",
        Speaks::Known(Reader::Ssh(_)) => "ssh",
        Speaks::Known(Reader::Smb(_)) => "smb",
        Speaks::Known(Reader::Rdp(_)) => "rdp",
        Speaks::Known(Reader::Done) => "done",
        Speaks::Known(_) => "known",
    }
}

#[test]
fn protocols_are_told_by_their_first_bytes() {
    for (bytes, expected) in [
        (&b"EHLO a\r\n"[..], "smtp"),
        (b"220 a\r\n", "replies"),
        (b"220-a\r\n", "replies"),
        (b"+OK a\r\n", "pop3"),
        (b"* OK a\r\n", "imap"),
        (b"* PREAUTH a\r\n", "imap"),
        (b"* 12 FETCH (FLAGS ())\r\n", "imap"),
        (b"USER a\r\n", "ftp"),
        (b"type I\r\n", "ftp"),
        (b"SSH-2.0-a\r\n", "ssh"),
        (b"\0\0\0\x40\xfeSMB", "smb"),
        (b"\x81\0\0\x44\x20CK", "smb"),
        (b"\x03\0\0\x13\x0e\xe0", "rdp"),
        (b"\xff\xfd\x18", "done"),
    ] {
        assert_eq!(name(bytes), expected, "{}", bytes.escape_ascii());
        let too_few = if expected == "done" { 1 } else { 2 };
        assert_eq!(name(&bytes[..too_few]), "more", "{}", bytes.escape_ascii());
    }
}

#[test]
fn others_are_not_taken_for_them() {
    for bytes in [
        &b"GET / HTTP/1.1\r\n"[..],
        b"2200 a",
        b"221 a",
        b"+OK\r\n",
        b"+PONG\r\n",
        b"* FLAGS",
        b"*3\r\n$3\r\nSET",
        b"NICK a\r\nUSER a b c :d\r\n",
        b"STORE a",
        b"\0\0\0\x40\xfeSMC",
        b"\0\x1d\x12\x34\x01\0",
        b"\x03\0\0\x13\x0e\xf0",
        b"\xff\0",
    ] {
        assert_eq!(name(bytes), "other", "{}", bytes.escape_ascii());
    }
}

const WORDS: &[&[u8]] = &[
    b"220 mx.x.example ESMTP\r\n",
    b"354 go\r\n",
    b"EHLO x.example\r\n",
    b"MAIL FROM:<a@x.example>\r\n",
    b"DATA\r\n",
    b"+OK hello\r\n",
    b"+OK\r\n",
    b"From: b@x.example\r\n",
    b"\r\n",
    b".\r\n",
    b"* OK hello\r\n",
    b"* 1 FETCH (BODY[] {30}\r\n",
    b"* 1 FETCH (BODY[]<0> {9}\r\n",
    b"* 1 FETCH (BODY[]<9> {30}\r\n",
    b")\r\n",
    b"USER a\r\n",
    b"TYPE I\r\n",
    b"CWD d\r\n",
    b"RETR f\r\n",
    b"SSH-2.0-x\r\n",
    b"\0\0\0\x08\x05\x14\0\0\0\0\0\0",
    b"\0\0\0\x30\xfeSMB\0\0\0\0\0\0\0\0\x01\0",
    b"\xffSMB\x75",
    b"NTLMSSP\0\x02\0\0\0",
    b"\0\0\0\0\0\0\0\0\0\0\0\0",
    b"\x81\0\0\x44\x20",
    b"\x03\0\0\x20\x1b\xe0",
    b"Cookie: mstshash=x\r\n",
    b"\x03\0\0\x30\x02\xf0\x80",
    b"Duca\x81\x01\xc0",
    b"\x16\x03\x01",
    b"x",
    b"\n",
    b"http://y.example/ ",
];

proptest! {
    #[test]
    fn how_a_stream_is_cut_changes_nothing(
        words in proptest::collection::vec(proptest::sample::select(WORDS), 1..30),
        step in 1..40_usize,
    ) {
        let stream = words.concat();
        // What nobody knows is looked at where segments begin, and so is TLS: only streams that are told at once are compared.
        prop_assume!(!matches!(name(&stream), "other" | "more") && !stream.contains(&0x16));
        for towards in [Towards::Server, Towards::Client] {
            let whole = conversation(&[(towards, &stream)], stream.len()).0;
            prop_assert_eq!(conversation(&[(towards, &stream)], step).0, whole);
        }
    }

    #[test]
    fn any_bytes_are_read_to_their_end(
        start in proptest::sample::select(WORDS),
        rest in proptest::collection::vec(any::<u8>(), 0..600),
        step in 1..200_usize,
    ) {
        conversation(&[(Towards::Server, &[start, &rest].concat())], step);
    }
}

//! Handshakes cut into records and segments of all sizes.

use super::*;
use crate::made::{
    Hello, certificate, certificate_message, client_hello, handshake_message, seen_by, strings, tls_records,
};
use crate::reader::{Reader, Talk, Towards};
use crate::stream::{Segment, Stream};

/// What is seen in a stream whose bytes come in segments like these; without the values of fingerprints and hashes.
fn seen_in_segments<'a>(segments: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
    let (seen, _) = seen_by(|sink| {
        let (mut stream, mut talk, mut sequence) =
            (Stream::starting_at(Some(0), Reader::default()), Talk::default(), 0);
        for bytes in segments {
            let segment = Segment { sequence, bytes, cut: false };
            stream.push(&segment, (Towards::Server, &mut talk), sink);
            sequence += u32::try_from(bytes.len()).unwrap();
            assert!(stream.held() < 80 * 1024);
        }
        stream.end((Towards::Server, &mut talk), true, sink);
    });
    let without_hash = |line: String| match line.split_once(' ') {
        Some((place @ ("tls.ja3" | "tls.ja4" | "tls.cert"), _)) => place.to_owned(),
        _ => line,
    };
    seen.into_iter().map(without_hash).collect()
}

/// The same whatever the size of segments and records.
fn check(handshake: &[u8], after: &[u8], expected: &[&str]) {
    for fragment_max in [4, 100, 16_000] {
        let bytes = [&tls_records(handshake, fragment_max), after].concat();
        for segment_max in [1, 7, 1_400, usize::MAX] {
            let seen = seen_in_segments(bytes.chunks(segment_max));
            assert_eq!(seen, strings(expected), "records of {fragment_max}, segments of {segment_max}");
        }
    }
}

const HELLO: [&str; 3] = ["tls.sni evil.example", "tls.ja3", "tls.ja4"];
const CHANGE: [u8; 6] = [20, 3, 3, 0, 1, 1];
const ENCRYPTED: [u8; 9] = [23, 3, 3, 0, 4, 22, 3, 1, 0];

fn chain() -> [Vec<u8>; 2] {
    [certificate(&["evil.example"], &[]), certificate(&[], &[&[192, 0, 2, 7]])]
}

const CHAIN: [&str; 6] =
    ["tls.cert", "tls.cert", "tls.cert_name evil.example", "tls.cert", "tls.cert", "tls.cert_name 192.0.2.7"];

#[test]
fn a_hello_in_any_records_and_segments_is_read() {
    check(&client_hello("evil.example"), &[CHANGE.as_slice(), &ENCRYPTED].concat(), &HELLO);
}

#[test]
fn a_server_flight_gives_its_certificates() {
    let server_hello = handshake_message(2, &[3; 70]);
    let flight = [server_hello, certificate_message(&chain()), handshake_message(14, &[])].concat();
    check(&flight, &[CHANGE.as_slice(), &ENCRYPTED].concat(), &CHAIN);
}

#[test]
fn a_chain_longer_than_any_buffer_is_read_to_its_end() {
    let many: Vec<String> = (0..900).map(|number| format!("host-{number}.evil.example")).collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    let mut long = certificate(&names, &[]);
    assert!(long.len() > 20_000);
    let flight = certificate_message(&[long.clone(), long.clone(), long.clone(), chain()[1].clone()]);
    let seen = seen_in_segments(tls_records(&flight, 16_000).chunks(1_400));
    assert_eq!(seen.len(), 3 * 902 + 3);
    assert_eq!(seen.last().unwrap(), "tls.cert_name 192.0.2.7");
    long.resize(70_000, 0);
    let flight = certificate_message(&[long, chain()[1].clone()]);
    assert_eq!(seen_in_segments(tls_records(&flight, 16_000).chunks(1_400)), CHAIN[3..]);
}

#[test]
fn a_chain_that_breaks_off_gives_nothing_and_is_counted() {
    let flight = tls_records(&certificate_message(&chain()), 16_000);
    let (seen, counters) = seen_by(|sink| {
        let mut records = Records::default();
        let (mut rest, mut step) = (&flight[..flight.len() - 1], Step::Skip(0));
        while !rest.is_empty() && step != Step::Consumed(0) {
            step = records.read(rest, sink);
            let Step::Consumed(length) = step else { break };
            rest = &rest[length..];
        }
        records.gap(sink);
    });
    assert_eq!((seen, counters.certificates_cut), (vec![], 1));
}

#[test]
fn an_empty_chain_is_followed_by_what_comes_next() {
    let flight = [certificate_message(&[]), certificate_message(&chain())].concat();
    check(&flight, &[], &CHAIN);
}

#[test]
fn the_hello_that_answers_a_retry_is_another_one() {
    let hello = client_hello("evil.example");
    let second = [CHANGE.to_vec(), tls_records(&hello, 16_000), ENCRYPTED.to_vec()].concat();
    check(&hello, &second, &[HELLO, HELLO].concat());
    let early = Hello::default().ciphers(&[1]).server_name("evil.example").extension(42, &[]).to_message();
    let second = [ENCRYPTED.to_vec(), tls_records(&hello, 16_000)].concat();
    check(&early, &second, &[HELLO, HELLO].concat());
    check(&hello, &second, &HELLO);
}

#[test]
fn encrypted_messages_are_not_read() {
    let encrypted = [CHANGE.to_vec(), tls_records(&certificate_message(&chain()), 16_000)].concat();
    check(&client_hello("evil.example"), &encrypted, &HELLO);
}

#[test]
fn alerts_do_not_confuse() {
    let alert = [21, 3, 1, 0, 2, 1, 112];
    let request = tls_records(&handshake_message(0, &[]), 16_000);
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    let bytes = [&request[..], &alert, &hello, &alert, &ENCRYPTED].concat();
    assert_eq!(seen_in_segments([&bytes[..]]), HELLO);
}

#[test]
fn tls_after_plain_text_is_found_where_a_segment_begins() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    let flight = tls_records(&certificate_message(&chain()), 16_000);
    assert_eq!(seen_in_segments([&b"\0\0\0\x08\x04\xd2\x16\x2f"[..], &hello]), HELLO); // PostgreSQL
    assert_eq!(seen_in_segments([&b"S"[..], &flight]), CHAIN); // and its answer
    assert_eq!(
        seen_in_segments([&b"\x03\0\0\x13\x0e\xe0\0\0\0\0\0\x01\0\x08\0\x03\0\0\0"[..], &hello]),
        HELLO
    ); // RDP
    assert_eq!(seen_in_segments([&b"<stream:features>"[..], b"<proceed/>", &flight]), CHAIN); // XMPP
}

#[test]
fn the_old_framing_of_a_hello_is_passed_over() {
    let old = [&[0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 5][..], &[7; 16]].concat();
    let flight = tls_records(&certificate_message(&chain()), 16_000);
    assert_eq!(seen_in_segments([&old[..], &flight]), CHAIN);
    assert_eq!(seen_in_segments([&[&old[..], &flight].concat()[..]]), CHAIN);
}

#[test]
fn a_cut_hello_gives_its_name_and_no_fingerprint() {
    let hello = tls_records(&client_hello("evil.example"), 16_000);
    for cut in hello.len() - 4..hello.len() {
        assert_eq!(seen_in_segments([&hello[..cut]]), ["tls.sni_cut evil.example"]);
    }
    assert!(seen_in_segments([&hello[..600]]).is_empty());
}

#[test]
fn a_hello_whose_lengths_disagree_has_no_fingerprint() {
    let mut message = client_hello("evil.example");
    let last = message.len() - 1;
    message[last] = 1; // the length of the last extension
    check(&message, &[], &["tls.sni evil.example"]);
}

#[test]
fn an_offer_to_hide_the_name_is_noted() {
    let hello = Hello::default().ciphers(&[1]).server_name("outer.example").extension(0xfe0d, &[0; 30]);
    let (mut notes, mut counters) = (Vec::new(), crate::counters::Counters::default());
    let mut door = |sighting: crate::sighting::Sighting<'_>| notes.push(sighting.notes.to_vec());
    let mut sink = Sink::new(&mut counters, crate::sighting::Wants::ALL, &mut door);
    Messages::default().read(&hello.to_message(), &mut sink);
    assert_eq!(notes, [vec![protocol::Note::EchOffered], vec![], vec![]]);
}

#[test]
fn what_only_looks_like_a_record_is_none() {
    for (bytes, expected) in [
        (&b""[..], None),
        (b"\x16\x03", None),
        (b"\x16\x03\x01\x02\x00", None),
        (b"\x16\x03\x01\x02\x00\x01", Some(true)),
        (b"\x16\x03\x01\x02\x00\x0b", Some(true)),
        (b"\x16\x03\x01\x02\x00\x77", Some(false)),
        (b"\x16\x03\x05\x02\x00\x01", Some(false)),
        (b"\x16\x03\x01\xff\x00\x01", Some(false)),
        (b"\x17\x03\x03\x00\x10\x01", Some(false)),
        (b"GET ", Some(false)),
    ] {
        assert_eq!(begins_handshake(bytes), expected, "{bytes:?}");
    }
}

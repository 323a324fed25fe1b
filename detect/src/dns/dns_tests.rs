//! Messages of DNS, multicast DNS and LLMNR, good and broken.

use super::*;
use crate::made::{dns_answer, dns_question, seen_by, strings};

fn check(message: &[u8], expected: &[&str], malformed: u64) {
    let (seen, counters) = seen_by(|sink| read(message, sink));
    assert_eq!((seen, counters.dns_malformed), (strings(expected), malformed));
}

#[test]
fn a_pointer_that_does_not_point_backwards_ends_the_message() {
    let mut message = dns_answer("a.example", "b.example", [1; 4]);
    let owner = message.iter().position(|byte| *byte == 0xc0).unwrap();
    message[owner + 1] = u8::try_from(owner).unwrap(); // to itself
    check(&message, &["dns.query a.example"], 1);
    message[owner + 1] = u8::try_from(owner + 2).unwrap(); // ahead
    check(&message, &["dns.query a.example"], 1);
}

#[test]
fn what_was_read_before_the_cut_is_reported() {
    let message = dns_answer("a.example", "b.example", [203, 0, 113, 5]);
    check(&message, &["dns.query a.example", "dns.answer b.example", "dns.answer 203.0.113.5"], 0);
    check(&message[..message.len() - 1], &["dns.query a.example", "dns.answer b.example"], 1);
    check(&message[..11], &[], 1);
}

#[test]
fn messages_over_tcp_have_their_length_before_them() {
    let question = dns_question("a.example");
    let mut stream = u16::try_from(question.len()).unwrap().to_be_bytes().to_vec();
    stream.extend(&question);
    let mut both = stream.clone();
    both.extend(&stream[..9]);
    let mut consumed = Step::Done;
    let (seen, _) = seen_by(|sink| consumed = read_stream(&both, sink));
    assert_eq!((consumed, seen.len()), (Step::Consumed(stream.len()), 1));
}

#[test]
fn names_keep_their_blanks_and_control_characters_are_passed_over() {
    check(&dns_question("a b.example"), &["dns.query a b.example"], 0);
    check(&dns_question("a\tb.example"), &[], 0);
    check(&dns_question("_dmarc.A.example"), &["dns.query _dmarc.a.example"], 0);
}

/// A name in wire form.
fn wire(name: &str) -> Vec<u8> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    let mut bytes: Vec<u8> =
        labels.flat_map(|label| [&[u8::try_from(label.len()).unwrap()], label.as_bytes()].concat()).collect();
    bytes.push(0);
    bytes
}

fn record(owner: &str, kind: u16, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let fixed = [&kind.to_be_bytes()[..], &[0x80, 1, 0, 0, 0, 60], &length.to_be_bytes()].concat();
    [&wire(owner)[..], &fixed, data].concat()
}

/// A message with a question and so many records in each section.
fn message(flags: u8, name: &str, counts: [u8; 3], records: &[Vec<u8>]) -> Vec<u8> {
    let [answers, authorities, additional] = counts;
    let mut message = vec![0x12, 0x34, flags, 0, 0, 1, 0, answers, 0, authorities, 0, additional];
    message.extend(wire(name));
    message.extend([0, 1, 0x80, 1]);
    message.extend(records.concat());
    message
}

#[test]
fn every_kind_of_record_that_names_something_is_read() {
    let soa = [&wire("ns.a.example")[..], &wire("host.a.example"), &[0; 20]].concat();
    let service = [&[0, 1][..], &wire("svc.example"), &[0, 1, 0, 3, 2, b'h', b'2', 0, 4, 0, 8]].concat();
    let service =
        [&service[..], &[203, 0, 113, 1, 203, 0, 113, 2, 0, 6, 0, 16, 0x20, 1, 0xd, 0xb8], &[1; 12]].concat();
    let records = [
        record("a.example", 2, &wire("ns.example")),
        record("a.example", 5, &wire("alias.example")),
        record("a.example", 6, &soa),
        record("a.example", 12, &wire("host.example")),
        record("a.example", 15, &[&[0, 10][..], &wire("mail.example")].concat()),
        record("a.example", 16, b"\x03txt"),
        record("a.example", 28, &[0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
        record("a.example", 33, &[&[0; 6][..], &wire("sip.example")].concat()),
        record("a.example", 39, &wire("moved.example")),
        record("a.example", 65, &service),
        record("a.example", 64, &[0, 0, 0]),
        record("", 41, &[0, 10, 0, 2, 1, 1]),
    ];
    check(
        &message(0x81, "a.example", [11, 0, 1], &records),
        &[
            "dns.query a.example",
            "dns.answer ns.example",
            "dns.answer alias.example",
            "dns.answer ns.a.example",
            "dns.answer host.example",
            "dns.answer mail.example",
            "dns.answer 2001:db8::1",
            "dns.answer sip.example",
            "dns.answer moved.example",
            "dns.answer 203.0.113.1",
            "dns.answer 203.0.113.2",
            "dns.answer 2001:db8:101:101:101:101:101:101",
            "dns.answer svc.example",
        ],
        0,
    );
}

#[test]
fn authority_and_additional_records_name_servers_and_their_addresses() {
    let soa = [&wire("ns.a.example")[..], &wire("host.a.example"), &[0; 20]].concat();
    let records = [
        record("a.example", 2, &wire("ns.example")),
        record("a.example", 6, &soa),
        record("ns.example", 1, &[203, 0, 113, 5]),
    ];
    check(
        &message(0x81, "a.example", [0, 2, 1], &records),
        &["dns.query a.example", "dns.answer ns.example", "dns.answer 203.0.113.5"],
        0,
    );
    check(&message(0x01, "a.example", [0, 2, 1], &records), &["dns.query a.example"], 0);
}

#[test]
fn options_that_do_not_fit_end_the_message() {
    let records = [record("", 41, &[0, 10, 0, 9, 1]), record("a.example", 1, &[203, 0, 113, 5])];
    check(&message(0x81, "a.example", [0, 0, 2], &records), &["dns.query a.example"], 1);
}

#[test]
fn multicast_and_link_local_names_stand_apart() {
    let records = [record("host.local", 1, &[192, 0, 2, 1])];
    for (ports, flags, expected) in [
        ([5353, 5353], 0x84, &["mdns.query host.local", "mdns.answer 192.0.2.1"][..]),
        ([5353, 40_000], 0, &["mdns.query host.local", "mdns.answer 192.0.2.1"]), // an answer that is known
        ([40_000, 5355], 0x80, &["llmnr.query host.local", "llmnr.answer 192.0.2.1"]),
        ([40_000, 5355], 0, &["llmnr.query host.local"]),
        ([5353, 53], 0, &["dns.query host.local"]),
    ] {
        let kind = Kind::of_ports(ports).unwrap();
        let (seen, _) = seen_by(|sink| kind.read(&message(flags, "host.local", [1, 0, 0], &records), sink));
        assert_eq!(seen, strings(expected), "{ports:?}");
    }
    assert_eq!(Kind::of_ports([5353, 443]), None);
}

#[test]
fn dns_on_another_port_is_told_by_its_shape() {
    let mut good = dns_question("www.a.example");
    assert!(is_certain(&good));
    assert!(is_certain(&dns_answer("www.a.example", "b.example", [1; 4])));
    assert!(!is_certain(&dns_question("www")));
    assert!(!is_certain(&dns_question("www.a.1")));
    assert!(!is_certain(&dns_question("w w.a.example")));
    assert!(!is_certain(&good[..good.len() - 1]));
    good.push(0);
    assert!(!is_certain(&good));
}

#[test]
fn of_a_long_message_over_tcp_the_beginning_is_read() {
    let long = [dns_question("a.example"), vec![0; 40_000]].concat();
    let stream = [&40_027u16.to_be_bytes()[..], &long].concat();
    let mut step = Step::Done;
    let (seen, _) = seen_by(|sink| step = read_stream(&stream[..20_000], sink));
    assert_eq!((step, seen), (Step::Skip(40_029), strings(&["dns.query a.example"])));
    let (seen, _) = seen_by(|sink| assert_eq!(read_stream(&stream[..1], sink), Step::Consumed(0)));
    assert!(seen.is_empty());
}

#[test]
fn of_a_message_whose_end_is_missing_the_question_is_read() {
    let answer = dns_answer("a.example", "b.example", [1; 4]);
    let stream = [&u16::try_from(answer.len()).unwrap().to_be_bytes()[..], &answer].concat();
    let (seen, _) = seen_by(|sink| read_partial(&stream[..stream.len() - 2], sink));
    assert_eq!(seen, strings(&["dns.query a.example", "dns.answer b.example"]));
    let (seen, _) = seen_by(|sink| read_partial(b"SSH-2.0-something else", sink));
    assert!(seen.is_empty());
}

#[test]
fn names_are_as_long_as_they_may_be_and_no_longer() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    check(&dns_question(&longest), &[&format!("dns.query {longest}")], 0);
    check(&dns_question(&format!("{label}.{label}.{label}.{label}")), &[], 1);
}

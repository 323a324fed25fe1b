//! DNS over UDP and TCP: the names asked for, and the names and addresses answered.

use protocol::SeenIn;

use crate::sighting::{Seen, Sighting, Sink};

/// The port of DNS (RFC 1035 §4.2).
pub(crate) const PORT: u16 = 53;

/// DNS stateful operations carry no names (RFC 8490); all others, known or not, are laid out like a query.
const OPCODE_STATEFUL: u8 = 6;
/// Questions read of one message; real ones have one.
const QUESTIONS_MAX: u16 = 8;
/// Records read of one answer.
const RECORDS_MAX: u16 = 128;
/// RFC 1035 §3.1 with labels written as text.
const NAME_BYTES_MAX: usize = 255;
/// Compression pointers followed in one name; each must point backwards, so loops end anyway.
const POINTERS_MAX: u8 = 32;

/// Reads the messages of a TCP stream, each with its length before it (RFC 1035 §4.2.2), and returns how many
/// bytes are done with.
pub(crate) fn read_stream(bytes: &[u8], sink: &mut Sink<'_>) -> usize {
    let mut consumed = 0;
    while let Some((length, rest)) = bytes.get(consumed..).and_then(|rest| rest.split_first_chunk::<2>()) {
        let Some(message) = rest.get(..usize::from(u16::from_be_bytes(*length))) else { break };
        read(message, sink);
        consumed += 2 + message.len();
    }
    consumed
}

/// Reads one message.
pub(crate) fn read(message: &[u8], sink: &mut Sink<'_>) {
    sink.counters.dns_messages += 1;
    if read_sections(message, sink).is_none() {
        sink.counters.dns_malformed += 1;
    }
}

/// `None` when the message ends too early or contradicts itself; what was read until then is reported.
fn read_sections(message: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let header = message.first_chunk::<12>()?;
    let [_, _, flags, _, q_high, q_low, a_high, a_low, ..] = *header;
    let is_answer = flags & 0x80 != 0;
    let opcode = (flags >> 3) & 0x0f;
    let questions = u16::from_be_bytes([q_high, q_low]);
    let answers = u16::from_be_bytes([a_high, a_low]);
    if opcode == OPCODE_STATEFUL {
        return Some(());
    }
    if questions > QUESTIONS_MAX {
        return None;
    }
    let mut at = 12;
    let mut name = Name::default();
    for _ in 0..questions {
        at = name.read(message, at)?;
        let class = be16(message, at + 2)?;
        at += 4;
        if class & 0x7fff <= 255 {
            name.sight(SeenIn::DnsQuery, sink);
        }
    }
    if is_answer {
        for _ in 0..answers.min(RECORDS_MAX) {
            at = read_record(message, at, sink)?;
        }
    }
    Some(())
}

/// Reads one record (RFC 1035 §4.1.3) and returns where the next begins.
fn read_record(message: &[u8], at: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let mut owner = Name::default();
    let at = owner.read(message, at)?;
    let kind = be16(message, at)?;
    let length = usize::from(be16(message, at + 8)?);
    let data_at = at + 10;
    let data = message.get(data_at..data_at + length)?;
    match kind {
        1 => {
            let address = data.first_chunk::<4>()?;
            sink.sight(Sighting::new(Seen::Ip((*address).into()), SeenIn::DnsAnswer, &owner.text));
        }
        28 => {
            let address = std::net::IpAddr::from(*data.first_chunk::<16>()?);
            sink.sight(Sighting::new(Seen::Ip(address), SeenIn::DnsAnswer, &owner.text));
        }
        // NS, CNAME, PTR, DNAME: another name for what was asked.
        2 | 5 | 12 | 39 => read_target(message, data_at, sink)?,
        15 => read_target(message, data_at + 2, sink)?, // MX: after the preference
        33 => read_target(message, data_at + 6, sink)?, // SRV: after priority, weight and port
        _ => {}
    }
    Some(data_at + length)
}

fn read_target(message: &[u8], at: usize, sink: &mut Sink<'_>) -> Option<()> {
    let mut target = Name::default();
    target.read(message, at)?;
    target.sight(SeenIn::DnsAnswer, sink);
    Some(())
}

/// A name as text, reused from record to record.
#[derive(Default)]
struct Name {
    text: Vec<u8>,
}

impl Name {
    /// Reads the name at `at`, following compression, and returns where the bytes after it begin.
    fn read(&mut self, message: &[u8], mut at: usize) -> Option<usize> {
        self.text.clear();
        let mut after = None;
        let mut pointers = 0;
        loop {
            let length = *message.get(at)?;
            match length >> 6 {
                0 if length == 0 => return Some(after.unwrap_or(at + 1)),
                0 => {
                    let label = message.get(at + 1..at + 1 + usize::from(length))?;
                    if self.text.len() + label.len() + 1 > NAME_BYTES_MAX {
                        return None;
                    }
                    if !self.text.is_empty() {
                        self.text.push(b'.');
                    }
                    self.text.extend_from_slice(label);
                    at += 1 + label.len();
                }
                3 => {
                    let to = usize::from(be16(message, at)? & 0x3fff);
                    pointers += 1;
                    if to >= at || pointers > POINTERS_MAX {
                        return None;
                    }
                    after.get_or_insert(at + 2);
                    at = to;
                }
                _ => return None,
            }
        }
    }

    fn sight(&self, seen_in: SeenIn, sink: &mut Sink<'_>) {
        if !self.text.is_empty() {
            sink.sight(Sighting::new(Seen::WireName(&self.text), seen_in, &self.text));
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..)?.first_chunk::<2>()?;
    Some(u16::from_be_bytes(*pair))
}

#[cfg(test)]
mod tests {
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
        let mut consumed = 0;
        let (seen, _) = seen_by(|sink| consumed = read_stream(&both, sink));
        assert_eq!((consumed, seen.len()), (stream.len(), 1));
    }

    #[test]
    fn names_with_blanks_are_passed_over() {
        check(&dns_question("a b.example"), &[], 0);
        check(&dns_question("_dmarc.A.example"), &["dns.query _dmarc.a.example"], 0);
    }
}

//! What SMTP and FTP servers answer: three digits and text (RFC 5321 §4.2, RFC 959 §4.2). Read for the greeting, and
//! for what it tells the reader of the other direction.

use crate::lines::Lines;
use crate::mail::smtp::{TLS_HANDSHAKE, sight_name};
use crate::reader::{Part, Step};
use crate::sighting::Sink;

/// Lines in a row without a code, after which these are no replies.
const UNKNOWN_MAX: u16 = 512;

/// How a server greeted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Greeting {
    /// 220, as SMTP and FTP servers do.
    Code,
    /// `+OK` (RFC 1939 §4).
    Pop3,
    /// `* OK` (RFC 9051 §7.1).
    Imap,
}

/// What was heard of a server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Heard {
    pub greeting: Option<Greeting>,
    /// The latest code; 0 until one comes.
    pub code: u16,
    /// 354 came: the message may be sent.
    pub go_ahead: bool,
}

/// Reads replies.
#[derive(Default)]
pub(crate) struct Replies {
    lines: Lines,
    unknown: u16,
}

impl Replies {
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        if self.lines.at_start() && part.bytes.first() == Some(&TLS_HANDSHAKE) {
            return Step::Other(0);
        }
        let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
        match code_of(piece.text).filter(|_| piece.begins) {
            Some(code) => {
                let heard = &mut part.talk.heard;
                if heard.greeting.is_none() && code == 220 {
                    heard.greeting = Some(Greeting::Code);
                    // RFC 5321 §4.2: the name follows the code. Servers of other protocols greet alike.
                    if memchr::memmem::find(piece.text, b"SMTP").is_some() {
                        sight_name(piece.text.get(4..).unwrap_or_default(), piece.text, sink);
                    }
                }
                heard.code = code;
                heard.go_ahead = heard.go_ahead || code == 354;
                self.unknown = 0;
            }
            None => self.unknown += 1,
        }
        if self.unknown > UNKNOWN_MAX { Step::Done } else { Step::Consumed(piece.used) }
    }

    /// Bytes are missing: what follows begins a line or is none.
    pub fn gap(&mut self) {
        self.lines = Lines::default();
    }
}

fn code_of(line: &[u8]) -> Option<u16> {
    let (digits, rest) = line.split_first_chunk::<3>()?;
    let alone = matches!(rest.first(), None | Some(b' ' | b'-'));
    if !alone || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{seen_by, strings};
    use crate::reader::{Talk, Towards};

    fn check(text: &[u8], expected: &[&str], step: Step) -> Heard {
        let mut talk = Talk::default();
        let (seen, _) = seen_by(|sink| {
            let (mut replies, mut rest) = (Replies::default(), text);
            let last = loop {
                let part = Part { bytes: rest, towards: Towards::Client, talk: &mut talk };
                match replies.read(part, sink) {
                    Step::Consumed(used) if used > 0 && used < rest.len() => rest = &rest[used..],
                    step => break step,
                }
            };
            assert_eq!(last, step, "{}", text.escape_ascii());
        });
        assert_eq!(seen, strings(expected), "{}", text.escape_ascii());
        talk.heard
    }

    #[test]
    fn a_mail_server_says_its_name() {
        let heard = check(
            b"220 mx.evil.example ESMTP\r\n250-x\r\n250 y\r\n",
            &["smtp.helo mx.evil.example"],
            Step::Consumed(7),
        );
        assert_eq!((heard.greeting, heard.code, heard.go_ahead), (Some(Greeting::Code), 250, false));
        check(b"220 files.example FTP\r\n", &[], Step::Consumed(23));
    }

    #[test]
    fn the_go_ahead_is_told_and_tls_is_left_to_others() {
        let heard = check(b"220 x\r\n354 go\r\n250 ok\r\n\x16\x03\x03", &[], Step::Other(0));
        assert!(heard.go_ahead);
    }
}

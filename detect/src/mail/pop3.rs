//! Messages that a POP3 server hands out (RFC 1939): after RETR and TOP, up to a line with a dot.

use crate::lines::{Lines, Piece, begins_with};
use crate::mail::message::Message;
use crate::mail::smtp::{TLS_HANDSHAKE, unstuffed};
use crate::reader::{Part, Step};
use crate::replies::Greeting;
use crate::sighting::Sink;

/// Reads what a server says.
#[derive(Default)]
pub(crate) struct Server {
    phase: Phase,
    lines: Lines,
    message: Message,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Replies,
    /// A reply came that a message may follow.
    Answered,
    Message,
}

/// Whether a server greets as POP3 servers do. Other protocols say a bare `+OK`.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    begins_with(bytes, b"+OK ")
}

impl Server {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.message.held()
    }

    /// Reads what comes next.
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        part.talk.heard.greeting = Some(Greeting::Pop3);
        if self.phase != Phase::Message && self.lines.at_start() && part.bytes.first() == Some(&TLS_HANDSHAKE)
        {
            return Step::Other(0);
        }
        let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
        match self.phase {
            Phase::Answered if piece.begins && is_field(piece.text) => {
                self.phase = Phase::Message;
                self.message.read(&piece, sink);
            }
            Phase::Replies | Phase::Answered => {
                if piece.begins {
                    self.phase =
                        if piece.text.starts_with(b"+OK") { Phase::Answered } else { Phase::Replies };
                }
            }
            Phase::Message => self.read_message(&piece, sink),
        }
        Step::Consumed(piece.used)
    }

    fn read_message(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        if let Some(piece) = unstuffed(piece) {
            self.message.read(&piece, sink);
            return;
        }
        sink.counters.mail_messages += 1;
        self.message.end(sink);
        self.message = Message::default();
        self.phase = Phase::Replies;
    }

    /// Bytes are missing, or the flow is over.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.lines = Lines::default();
        self.message.gap(sink);
        if self.phase == Phase::Answered {
            self.phase = Phase::Replies;
        }
    }
}

/// Whether a line begins a header: a name of printable characters and a colon (RFC 5322 §2.2). Lists have none.
fn is_field(line: &[u8]) -> bool {
    let name = line.iter().take_while(|byte| byte.is_ascii_graphic() && **byte != b':').count();
    name > 0 && line.get(name) == Some(&b':')
}

#[cfg(test)]
mod tests {
    use crate::made::{conversation, strings};
    use crate::reader::Towards;

    fn check(text: &str, expected: &[&str]) {
        for step in [1, 5, 1000] {
            let (seen, _) = conversation(&[(Towards::Client, text.as_bytes())], step);
            assert_eq!(seen, strings(expected), "{text:?} in steps of {step}");
        }
    }

    #[test]
    fn messages_are_read_and_lists_are_not() {
        check(
            "+OK POP3 ready <1.2@no.example>\r\n+OK\r\n+OK list\r\n1 120\r\n2 a:b@no.example\r\n.\r\n\
             +OK 120 octets\r\nReceived: x\r\nFrom: M <m@evil.example>\r\n\r\nhttp://evil.example/a\r\n..\r\n.\r\n\
             -ERR To: no@no.example\r\n+OK\r\nTo: t@evil.example\r\n\r\n.\r\n+OK bye\r\n",
            &["smtp.header m@evil.example", "smtp.url http://evil.example/a", "smtp.header t@evil.example"],
        );
    }
}

//! Messages that an IMAP server hands out (RFC 9051 §7.5.2): literals of FETCH that hold a message or its header.

use crate::lines::{Lines, Piece, begins_with};
use crate::mail::message::Message;
use crate::mail::smtp::TLS_HANDSHAKE;
use crate::reader::{Part, Step};
use crate::replies::Greeting;
use crate::sighting::Sink;

/// Reads what a server says.
#[derive(Default)]
pub(crate) struct Server {
    phase: Phase,
    lines: Lines,
    message: Message,
    message_lines: Lines,
    /// Bytes of the message that came, when the client fetches it in slices.
    came: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Responses,
    /// So many bytes of a message.
    Literal { left: u64 },
}

/// Whether a server speaks as IMAP servers do, in its greeting or in the middle. `None` when it is too soon to tell.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    let Some(rest) = bytes.strip_prefix(b"* ") else { return begins_with(bytes, b"* ") };
    let digits = rest.iter().take(10).take_while(|byte| byte.is_ascii_digit()).count();
    match rest.get(digits..) {
        None | Some([]) => None,
        Some(rest) if digits > 0 => begins_with(rest, b" FETCH ("),
        Some(rest) => match (begins_with(rest, b"OK "), begins_with(rest, b"PREAUTH ")) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        },
    }
}

impl Server {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.message.held()
    }

    /// Reads what comes next.
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        part.talk.heard.greeting = Some(Greeting::Imap);
        match self.phase {
            Phase::Responses => {
                if self.lines.at_start() && part.bytes.first() == Some(&TLS_HANDSHAKE) {
                    return Step::Other(0);
                }
                let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
                match literal_of(piece.text).filter(|_| piece.ends) {
                    None => Step::Consumed(piece.used),
                    Some(size) => self.begin_literal(&piece, size, sink),
                }
            }
            Phase::Literal { left } => self.read_literal(part.bytes, left, sink),
        }
    }

    /// Bytes are missing, or the flow is over.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.lines = Lines::default();
        self.message.gap(sink);
        self.phase = Phase::Responses;
    }

    fn begin_literal(&mut self, piece: &Piece<'_>, size: u64, sink: &mut Sink<'_>) -> Step {
        let Some(slice) = slice_of(piece.text) else {
            return Step::Skip((piece.used as u64).saturating_add(size));
        };
        let from = slice.unwrap_or_default();
        if from == 0 {
            self.message.end(sink);
            (self.message, self.message_lines) = (Message::default(), Lines::default());
            sink.counters.mail_messages += 1;
        } else if self.came != slice {
            return Step::Skip((piece.used as u64).saturating_add(size));
        }
        self.came = slice.map(|from| from.saturating_add(size));
        if size > 0 {
            self.phase = Phase::Literal { left: size };
        }
        Step::Consumed(piece.used)
    }

    fn read_literal(&mut self, bytes: &[u8], left: u64, sink: &mut Sink<'_>) -> Step {
        if self.message.is_over() {
            self.end_literal(sink);
            return Step::Skip(left);
        }
        let piece = match usize::try_from(left).ok().and_then(|left| bytes.get(..left)) {
            Some(window) => self.message_lines.next_of_counted(window),
            None => self.message_lines.next(bytes),
        };
        let Some(piece) = piece else { return Step::Consumed(0) };
        self.message.read(&piece, sink);
        match left.saturating_sub(piece.used as u64) {
            0 => self.end_literal(sink),
            left => self.phase = Phase::Literal { left },
        }
        Step::Consumed(piece.used)
    }

    fn end_literal(&mut self, sink: &mut Sink<'_>) {
        if self.came.is_none() {
            self.message.end(sink);
        }
        self.phase = Phase::Responses;
    }
}

/// The size of the literal that follows a line (RFC 9051 §4.3).
fn literal_of(line: &[u8]) -> Option<u64> {
    let inside = line.strip_suffix(b"}")?;
    let open = memchr::memrchr(b'{', inside)?;
    std::str::from_utf8(inside.get(open + 1..)?).ok()?.parse().ok()
}

/// Whether a literal holds a message or its header, and where in it a slice begins.
fn slice_of(line: &[u8]) -> Option<Option<u64>> {
    let item_at = line.windows(6).rposition(|word| word.eq_ignore_ascii_case(b"BODY[]"));
    if let Some(rest) = item_at.and_then(|at| line.get(at + 6..)) {
        let Some(inside) = rest.strip_prefix(b"<") else { return Some(None) };
        let number = inside.split(|byte| *byte == b'>').next()?;
        return Some(std::str::from_utf8(number).ok()?.parse().ok());
    }
    let holds = |text: &[u8]| line.windows(text.len()).any(|word| word.eq_ignore_ascii_case(text));
    (holds(b"BODY[HEADER") || holds(b"RFC822 {") || holds(b"RFC822.HEADER {")).then_some(None)
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

    fn fetch(item: &str, message: &str) -> String {
        format!("* 7 FETCH (UID 9 {item} {{{}}}\r\n{message} FLAGS (\\Seen))\r\n", message.len())
    }

    #[test]
    fn messages_and_headers_are_read_and_other_literals_are_not() {
        let message = "From: m@evil.example\r\n\r\nhttp://evil.example/a\r\n";
        for item in ["BODY[]", "body[]<0>", "RFC822"] {
            let text = format!("* OK ready\r\n{}a1 OK done\r\n", fetch(item, message));
            check(&text, &["smtp.header m@evil.example", "smtp.url http://evil.example/a"]);
        }
        let fields =
            fetch("BODY[HEADER.FIELDS (FROM TO)]", "From: m@evil.example\r\nTo: t@evil.example\r\n\r\n");
        check(&fields, &["smtp.header m@evil.example", "smtp.header t@evil.example"]);
        check(&fetch("BODY[TEXT]", "From: no@no.example\r\n\r\n"), &[]);
        check(&fetch("RFC822.TEXT", "From: no@no.example\r\n\r\n"), &[]);
    }

    #[test]
    fn a_message_fetched_in_slices_is_one() {
        let slices = [
            fetch("BODY[]<0>", "From: m@evil"),
            fetch("BODY[]<12>", ".example\r\n\r\nx"),
            fetch("BODY[]<99>", "From: no@no.example\r\n"),
        ];
        check(&slices.concat(), &["smtp.header m@evil.example"]);
    }
}

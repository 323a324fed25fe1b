//! What an SMTP client says (RFC 5321): its name, envelopes and messages. Credentials are passed over unread, and
//! after STARTTLS the stream is read as TLS.

use std::net::IpAddr;

use protocol::SeenIn;

use crate::lines::{Lines, Piece, after_verb};
use crate::mail::address::path;
use crate::mail::message::Message;
use crate::reader::{Part, Step};
use crate::replies::Heard;
use crate::sighting::{Seen, Sighting, Sink};

/// Lines in a row that are no command, after which nothing more is expected. Answers to AUTH are such lines.
const UNKNOWN_MAX: u16 = 128;
/// First byte of a TLS record that carries a handshake (RFC 8446 §5.1).
pub(crate) const TLS_HANDSHAKE: u8 = 0x16;

/// Reads what a client says.
#[derive(Default)]
pub(crate) struct Client {
    phase: Phase,
    lines: Lines,
    message: Message,
    /// Lines of a message in chunks, which may end inside a line.
    chunk_lines: Lines,
    unknown: u16,
    /// Bytes were lost inside a message: it may be over.
    in_doubt: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Commands,
    /// The client asked to send a message, and the server may refuse.
    Asked,
    /// A message, up to a line with a dot.
    Message,
    /// So many bytes of a message (RFC 3030), and whether they are its last ones.
    Chunk { left: u64, last: bool },
}

/// Whether a line begins what a client says. `None` when it is too short to tell.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    const FIRST: [&[u8]; 5] = [b"EHLO", b"HELO", b"LHLO", b"MAIL FROM:", b"RCPT TO:"];
    let known = FIRST.iter().find(|first| {
        let both = first.len().min(bytes.len());
        bytes.get(..both).unwrap_or_default().eq_ignore_ascii_case(first.get(..both).unwrap_or_default())
    });
    let Some(first) = known else { return Some(false) };
    match bytes.get(first.len()) {
        None if bytes.len() < first.len() || !first.ends_with(b":") => None,
        None => Some(true),
        Some(next) => Some(first.ends_with(b":") || matches!(next, b' ' | b'\t' | b'\r' | b'\n')),
    }
}

impl Client {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.message.held()
    }

    /// Reads what comes next.
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        match self.phase {
            Phase::Commands => {
                if self.lines.at_start() && part.bytes.first() == Some(&TLS_HANDSHAKE) {
                    return Step::Other(0);
                }
                let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
                if piece.begins {
                    self.command(&piece, &mut part.talk.heard, sink)
                } else {
                    Step::Consumed(piece.used)
                }
            }
            Phase::Asked => {
                let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
                if !part.talk.heard.go_ahead && is_command(piece.text) {
                    self.phase = Phase::Commands;
                    return self.command(&piece, &mut part.talk.heard, sink);
                }
                self.phase = Phase::Message;
                self.message_line(&piece, sink);
                Step::Consumed(piece.used)
            }
            Phase::Message => self.read_message(part, sink),
            Phase::Chunk { left, last } => self.read_chunk(part.bytes, (left, last), sink),
        }
    }

    /// Bytes are missing, or the flow is over.
    pub fn gap(&mut self, sink: &mut Sink<'_>) {
        self.lines = Lines::default();
        if matches!(self.phase, Phase::Message | Phase::Chunk { .. }) {
            self.message.gap(sink);
            self.phase = Phase::Message;
            self.in_doubt = true;
        }
    }

    fn command(&mut self, piece: &Piece<'_>, heard: &mut Heard, sink: &mut Sink<'_>) -> Step {
        let line = piece.text;
        self.unknown = if is_command(line) { 0 } else { self.unknown + 1 };
        if let Some(name) = [b"EHLO", b"HELO", b"LHLO"].into_iter().find_map(|verb| after_verb(line, verb)) {
            sight_name(name, line, sink);
        } else if let Some(rest) = after_two(line, b"MAIL", b"FROM") {
            self.forget_message();
            sight_path(line, rest, SeenIn::SmtpFrom, sink);
        } else if let Some(rest) = after_two(line, b"RCPT", b"TO") {
            sight_path(line, rest, SeenIn::SmtpRcpt, sink);
        } else if after_verb(line, b"DATA").is_some_and(<[u8]>::is_empty) {
            heard.go_ahead = false;
            self.forget_message();
            self.phase = Phase::Asked;
        } else if let Some(arguments) = after_verb(line, b"BDAT") {
            self.begin_chunk(arguments, sink);
        } else if after_verb(line, b"RSET").is_some() {
            self.forget_message();
        } else if after_verb(line, b"QUIT").is_some_and(<[u8]>::is_empty) || self.unknown > UNKNOWN_MAX {
            return Step::Done;
        }
        Step::Consumed(piece.used)
    }

    fn begin_chunk(&mut self, arguments: &[u8], sink: &mut Sink<'_>) {
        let mut words = arguments.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
        let size = words.next().and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
        let Some(left) = size else { return };
        let last = words.next().is_some_and(|word| word.eq_ignore_ascii_case(b"LAST"));
        self.phase = Phase::Chunk { left, last };
        if left == 0 {
            self.end_chunk(last, sink);
        }
    }

    fn read_chunk(&mut self, bytes: &[u8], (left, last): (u64, bool), sink: &mut Sink<'_>) -> Step {
        if self.message.is_over() {
            self.end_chunk(last, sink);
            return Step::Skip(left);
        }
        let size = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = match bytes.get(..size) {
            Some(window) => self.chunk_lines.next_of_counted(window),
            None => self.chunk_lines.next(bytes),
        };
        let Some(piece) = piece else { return Step::Consumed(0) };
        self.message.read(&piece, sink);
        let left = left.saturating_sub(piece.used as u64);
        self.phase = Phase::Chunk { left, last };
        if left == 0 {
            self.end_chunk(last, sink);
        }
        Step::Consumed(piece.used)
    }

    fn end_chunk(&mut self, last: bool, sink: &mut Sink<'_>) {
        self.phase = Phase::Commands;
        if last {
            self.end_message(sink);
        }
    }

    fn read_message(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        let mut used = 0;
        while let Some(rest) = part.bytes.get(used..).filter(|_| self.phase == Phase::Message) {
            if self.message.is_dull() && self.lines.is_fresh() && !self.in_doubt {
                let passed = dull_bytes(rest);
                if passed > 0 {
                    used += passed;
                    continue;
                }
            }
            let Some(piece) = self.lines.next(rest) else { break };
            if self.in_doubt && piece.begins && is_command(piece.text) {
                if used > 0 {
                    self.lines = Lines::default();
                    break;
                }
                self.end_message(sink);
                return self.command(&piece, &mut part.talk.heard, sink);
            }
            used += piece.used;
            self.message_line(&piece, sink);
        }
        Step::Consumed(used)
    }

    fn message_line(&mut self, piece: &Piece<'_>, sink: &mut Sink<'_>) {
        match unstuffed(piece) {
            Some(piece) => self.message.read(&piece, sink),
            None => self.end_message(sink),
        }
    }

    fn end_message(&mut self, sink: &mut Sink<'_>) {
        sink.counters.mail_messages += 1;
        self.message.end(sink);
        self.forget_message();
        self.phase = Phase::Commands;
        self.in_doubt = false;
    }

    fn forget_message(&mut self) {
        (self.message, self.chunk_lines) = (Message::default(), Lines::default());
    }
}

/// The line as it was before a dot at its beginning was doubled; `None` when it ends the message (RFC 5321 §4.5.2).
pub(super) fn unstuffed<'a>(piece: &Piece<'a>) -> Option<Piece<'a>> {
    match piece.text {
        b"." if piece.begins && piece.ends => None,
        [b'.', text @ ..] if piece.begins => Some(Piece { text, ..*piece }),
        _ => Some(*piece),
    }
}

/// Bytes of whole lines in which nothing is looked for, up to one that begins with a dot or a dash.
fn dull_bytes(bytes: &[u8]) -> usize {
    for at in memchr::memchr2_iter(b'.', b'-', bytes) {
        match at.checked_sub(1) {
            None => return 0,
            Some(before) if bytes.get(before) == Some(&b'\n') => return at,
            Some(_) => {}
        }
    }
    memchr::memrchr(b'\n', bytes).map_or(0, |at| at + 1)
}

/// Whether a line is a command and cannot be the first line of a header (RFC 5322 §2.2).
fn is_command(line: &[u8]) -> bool {
    let alone = [&b"RSET"[..], b"QUIT", b"NOOP", b"DATA", b"STARTTLS"];
    let with_word = [&b"EHLO"[..], b"HELO", b"LHLO", b"BDAT"];
    after_two(line, b"MAIL", b"FROM").is_some()
        || after_two(line, b"RCPT", b"TO").is_some()
        || alone.iter().any(|verb| after_verb(line, verb).is_some_and(<[u8]>::is_empty))
        || with_word.iter().any(|verb| after_verb(line, verb).is_some_and(|rest| !rest.is_empty()))
}

/// What follows `MAIL FROM:`, with the blanks that programs put around it.
fn after_two<'a>(line: &'a [u8], verb: &[u8], word: &[u8]) -> Option<&'a [u8]> {
    let rest = after_verb(line, verb)?;
    let (first, rest) = rest.split_at_checked(word.len())?;
    if !first.eq_ignore_ascii_case(word) {
        return None;
    }
    rest.trim_ascii_start().strip_prefix(b":")
}

/// Sights the address of a path; the evidence is the command up to its end, without parameters.
fn sight_path(line: &[u8], arguments: &[u8], seen_in: SeenIn, sink: &mut Sink<'_>) {
    let Some((address, end)) = path(arguments) else { return };
    let after = arguments.len() - end;
    let evidence = line.trim_ascii_end();
    let evidence =
        evidence.len().checked_sub(after).and_then(|length| evidence.get(..length)).unwrap_or(evidence);
    sink.sight(Sighting::new(Seen::Email(&address), seen_in, evidence));
}

/// Sights the name that a program calls itself, when it is one of the network: `localhost` and
/// 0.0.0.0 say nothing.
pub(crate) fn sight_name(text: &[u8], line: &[u8], sink: &mut Sink<'_>) {
    let word = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    let Ok(name) = std::str::from_utf8(word) else { return };
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let tagged = inside.get(..5).is_some_and(|tag| tag.eq_ignore_ascii_case("IPv6:"));
    let literal = if tagged { inside.get(5..).unwrap_or_default() } else { inside };
    let seen = match literal.parse::<IpAddr>() {
        Ok(address) if address.is_unspecified() || address.is_loopback() => return,
        Ok(address) => Seen::Ip(address),
        Err(_) if name.trim_end_matches('.').contains('.') && !name.starts_with('[') => Seen::HostName(name),
        Err(_) => return,
    };
    sink.sight(Sighting::new(seen, SeenIn::SmtpHelo, line));
}

#[cfg(test)]
#[path = "smtp_tests.rs"]
mod tests;

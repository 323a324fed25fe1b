//! One HTTP/1 message after the other in one direction of a connection, requests or responses, without losing sync: bodies
//! are followed whatever frames them, and after damage it reads on at the next thing that begins like a message.

use super::body::{Body, BodyStep};
use super::content::{CONTENT_BYTES_MAX, Content};
use super::evidence_of;
use super::exchange::Asked;
use super::framing::{Framing, Left};
use super::h2::PREFACE_LINE;
use super::head::{
    Head, RequestLine, begins_known_method, begins_request, begins_response, cut_line, head_end,
    name_and_value, skip_line_ends, status_of,
};
use super::request::Request;
use crate::reader::{Part, Step, Talk};
use crate::sighting::Sink;
use crate::tls;

/// A head that is longer is read as far as it goes; the rest is only looked through for what frames the body.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// A longer line in the rest of such a head is passed over in pieces.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// After damage, the next message is looked for in so many bytes.
const LOST_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the messages of one direction.
#[derive(Default)]
pub(crate) struct Messages {
    state: State,
    /// Bytes of the head at hand in which no end was found.
    scanned: usize,
    body: Body,
    /// The body may be absent, and the next message here instead.
    doubtful: bool,
    /// Another protocol may follow this message.
    leaves: bool,
}

#[derive(Default)]
enum State {
    /// Before or in a head, or in the body after it.
    #[default]
    InStep,
    /// In a head that is too long.
    LongHead { after: AfterHead, mid_line: bool },
    /// Damage: so many bytes were looked through for the next message.
    Lost { passed: u64 },
}

/// What follows a head, as far as its first part says.
#[derive(Clone, Copy)]
struct AfterHead {
    framing: Framing,
    answers: Answers,
    leaves: bool,
    doubtful: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answers {
    /// It is a request.
    Nothing,
    /// It is a response that has a body.
    WithBody,
    /// It is a response that has none, whatever its fields say.
    WithoutBody,
}

impl AfterHead {
    fn left(self) -> Left {
        match self.answers {
            Answers::Nothing => self.framing.of_request(),
            Answers::WithBody => self.framing.of_response(),
            Answers::WithoutBody => Left::None,
        }
    }
}

impl Messages {
    /// Bytes it keeps beside its own size.
    pub fn held(&self) -> usize {
        self.body.held()
    }

    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        match &mut self.state {
            State::Lost { .. } => self.find(part.bytes, sink),
            State::LongHead { .. } => self.read_long_head(part, sink),
            State::InStep if !self.body.is_over() => self.read_body(part, sink),
            State::InStep if std::mem::take(&mut self.leaves) => Step::Other(0),
            State::InStep => self.read_head(part, sink),
        }
    }

    /// Bytes are missing after these. Gives how many of those that follow are of no interest.
    pub fn gap(&mut self, bytes: &[u8], talk: &mut Talk, sink: &mut Sink<'_>) -> u64 {
        if matches!(self.state, State::InStep) && !self.body.is_over() {
            if let Some(skip) = self.body.gap(sink) {
                return skip;
            }
        } else if matches!(self.state, State::InStep) {
            self.read_partial(bytes, sink);
        }
        talk.http.forget();
        *self = Self { state: State::Lost { passed: 0 }, ..Self::default() };
        0
    }

    /// The direction is over; `closed` in good order.
    pub fn end(&mut self, part: Part<'_>, closed: bool, sink: &mut Sink<'_>) {
        if closed {
            if std::mem::take(&mut self.doubtful) && !part.bytes.is_empty() {
                _ = self.body.read(part.bytes, sink);
            }
            self.body.close(sink);
        }
        self.gap(part.bytes, part.talk, sink);
    }

    /// The rest of a head will not come: its first lines are better than nothing.
    fn read_partial(&self, bytes: &[u8], sink: &mut Sink<'_>) {
        let bytes = skip_line_ends(bytes);
        let Some(head) = memchr::memrchr(b'\n', bytes).and_then(|end| bytes.get(..=end)) else { return };
        if begins_request(head) == Some(true) {
            sink.counters.http_malformed += 1;
            Request::of(Head::of(head)).sight(sink);
        }
    }

    fn read_head(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        let skipped = part.bytes.len() - skip_line_ends(part.bytes).len();
        if skipped > 0 {
            return Step::Consumed(skipped);
        }
        if self.scanned == 0 {
            let is_message = match begins_response(part.bytes) {
                Some(false) => begins_request(part.bytes),
                other => other,
            };
            match is_message {
                Some(true) => {}
                None => return Step::Consumed(0),
                Some(false) => return self.lose(sink),
            }
        }
        let first_part = part.bytes.get(..HEAD_BYTES_MAX).unwrap_or(part.bytes);
        let Some(end) = head_end(first_part, self.scanned) else {
            if part.bytes.len() >= HEAD_BYTES_MAX {
                return self.begin_long_head(part, sink);
            }
            self.scanned = part.bytes.len().saturating_sub(2).max(1);
            return Step::Consumed(0);
        };
        self.scanned = 0;
        let head = Head::of(part.bytes.get(..end).unwrap_or(part.bytes));
        if begins_response(head.line) == Some(true) {
            self.read_response(head, part.talk, sink)
        } else {
            self.read_request(head, part.talk, sink)
        }
    }

    fn read_request(&mut self, head: Head<'_>, talk: &mut Talk, sink: &mut Sink<'_>) -> Step {
        let end = head.whole.len();
        if begins_request(head.whole) != Some(true) {
            return self.lose(sink); // its line named another protocol in the end
        }
        let request = Request::of(head);
        sink.counters.http_requests += 1;
        request.sight(sink);
        talk.http.ask(request.asked());
        if request.asked() == Asked::Connect {
            return Step::Other(end);
        }
        let after = after_request(&request);
        let content = || Content::new(request.encoding(), || evidence_of(head.whole), talk.room, sink);
        let content = wants_content(after.left()).then(content).flatten();
        self.begin_body(after, content, sink);
        Step::Consumed(end)
    }

    fn read_response(&mut self, head: Head<'_>, talk: &mut Talk, sink: &mut Sink<'_>) -> Step {
        let end = head.whole.len();
        let Some(status) = status_of(head.line) else {
            sink.counters.http_malformed += 1;
            return self.lose(sink);
        };
        sink.counters.http_responses += 1;
        if (100..200).contains(&status) && status != 101 {
            return Step::Consumed(end);
        }
        let asked = talk.http.answer();
        let tunnels = asked == Some(Asked::Connect) && (200..300).contains(&status);
        if status == 101 || tunnels {
            return Step::Other(end);
        }
        if !sink.wants.hashes() && asked != Some(Asked::Connect) {
            return Step::Done;
        }
        let (mut framing, mut encoding) = (Framing::default(), None);
        for (name, value) in head.fields() {
            if name.eq_ignore_ascii_case(b"content-encoding") {
                encoding = Some(value).filter(|value| !value.is_empty());
            } else {
                framing.note(name, value);
            }
        }
        let without = matches!(status, 204 | 304) || asked == Some(Asked::Head);
        let answers = if without { Answers::WithoutBody } else { Answers::WithBody };
        let after = AfterHead { framing, answers, leaves: false, doubtful: asked.is_none() };
        sink.counters.http_bodies_partial += u64::from(status == 206);
        let content = || Content::new(encoding, || evidence_of(head.whole), talk.room, sink);
        let content = (status != 206 && wants_content(after.left())).then(content).flatten();
        self.begin_body(after, content, sink);
        Step::Consumed(end)
    }

    fn begin_body(&mut self, after: AfterHead, content: Option<Box<Content>>, sink: &mut Sink<'_>) {
        let left = after.left();
        if matches!(left, Left::Length(CONTENT_BYTES_BEYOND..)) && sink.wants.hashes() {
            sink.counters.http_bodies_too_long += 1;
        }
        self.state = State::InStep;
        if left == Left::Uncertain {
            sink.counters.http_framing_odd += 1;
            self.state = State::Lost { passed: 0 };
        }
        self.body = Body::new(if left == Left::Uncertain { Left::None } else { left }, content);
        self.leaves = after.leaves;
        self.doubtful = after.doubtful;
    }

    fn read_body(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        if self.doubtful {
            match begins_anew(part.bytes) {
                None => return Step::Consumed(0),
                Some(true) => {
                    (self.doubtful, self.body) = (false, Body::default());
                    return self.read_head(part, sink);
                }
                Some(false) => self.doubtful = false,
            }
        }
        match self.body.read(part.bytes, sink) {
            BodyStep::Step(step) => step,
            BodyStep::Lost => {
                self.body.gap(sink);
                self.lose(sink)
            }
        }
    }

    /// Reads what of a head is there, and goes on with the rest line by line, keeping nothing.
    fn begin_long_head(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        let first_part = part.bytes.get(..HEAD_BYTES_MAX).unwrap_or(part.bytes);
        let end = memchr::memrchr(b'\n', first_part).map(|end| end + 1);
        let head = Head::of(first_part.get(..end.unwrap_or(first_part.len())).unwrap_or(first_part));
        sink.counters.http_heads_long += 1;
        self.scanned = 0;
        let after = if begins_response(head.line) == Some(true) {
            let mut framing = Framing::default();
            head.fields().for_each(|(name, value)| _ = framing.note(name, value));
            let has_none = matches!(status_of(head.line), Some(100..200 | 204 | 304));
            let answers = if has_none { Answers::WithoutBody } else { Answers::WithBody };
            _ = part.talk.http.answer();
            AfterHead { framing, answers, leaves: false, doubtful: true }
        } else {
            sink.counters.http_requests += 1;
            let request = Request::of(head);
            request.sight(sink);
            part.talk.http.ask(request.asked());
            after_request(&request)
        };
        self.state = State::LongHead { after, mid_line: end.is_none() };
        Step::Consumed(head.whole.len())
    }

    fn read_long_head(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        let State::LongHead { after, mid_line } = &mut self.state else { return Step::Consumed(0) };
        let fresh = part.bytes.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', fresh).map(|at| self.scanned + at) else {
            self.scanned = part.bytes.len();
            if part.bytes.len() > LINE_BYTES_MAX {
                (*mid_line, self.scanned) = (true, 0);
                return Step::Consumed(part.bytes.len());
            }
            return Step::Consumed(0);
        };
        self.scanned = 0;
        let (line, _) = cut_line(part.bytes);
        if std::mem::take(mid_line) {
            return Step::Consumed(end + 1);
        }
        if line.is_empty() {
            let after = *after;
            self.begin_body(after, None, sink);
        } else if let Some((name, value)) = name_and_value(line) {
            after.framing.note(name, value);
        }
        Step::Consumed(end + 1)
    }

    /// What should begin a message does not.
    fn lose(&mut self, sink: &mut Sink<'_>) -> Step {
        sink.counters.http_malformed += 1;
        *self = Self { state: State::Lost { passed: 0 }, ..Self::default() };
        Step::Skip(0)
    }

    /// Looks for the next message: at the beginning of what came, and of each line in it.
    fn find(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let State::Lost { passed } = &mut self.state else { return Step::Consumed(0) };
        if tls::begins_handshake(bytes) == Some(true) || bytes.starts_with(PREFACE_LINE) {
            return Step::Other(0);
        }
        let lines = memchr::memchr_iter(b'\n', bytes).map(|end| end + 1);
        for start in std::iter::once(0).chain(lines) {
            let line = bytes.get(start..).unwrap_or_default();
            if line.is_empty() {
                break;
            }
            match begins_beyond_doubt(line) {
                Some(false) => {}
                Some(true) => {
                    self.state = State::InStep;
                    return Step::Skip(start as u64);
                }
                None => {
                    *passed += start as u64;
                    return Step::Consumed(start);
                }
            }
        }
        *passed += bytes.len() as u64;
        if *passed > LOST_BYTES_MAX {
            sink.counters.http_given_up += 1;
            return Step::Done;
        }
        Step::Consumed(bytes.len())
    }
}

/// Bodies from here on are passed over without a look.
const CONTENT_BYTES_BEYOND: u64 = CONTENT_BYTES_MAX + 1;

fn wants_content(left: Left) -> bool {
    match left {
        Left::Length(length) => length <= CONTENT_BYTES_MAX,
        Left::ChunkSize | Left::UntilClose => true,
        _ => false,
    }
}

fn after_request(request: &Request<'_>) -> AfterHead {
    AfterHead {
        framing: request.framing,
        answers: Answers::Nothing,
        leaves: request.upgrades,
        doubtful: request.expects,
    }
}

/// Whether bytes where a body may be begin a message instead.
fn begins_anew(bytes: &[u8]) -> Option<bool> {
    match begins_response(bytes) {
        Some(false) if begins_known_method(bytes) => begins_request(bytes),
        begins => begins,
    }
}

/// Whether a line begins a message beyond doubt: whole, and naming its version. Line ends are no part of it.
fn begins_beyond_doubt(bytes: &[u8]) -> Option<bool> {
    if matches!(bytes.first(), Some(b'\r' | b'\n') | None) {
        return Some(false);
    }
    let is_response = begins_response(bytes)?;
    if !is_response && !begins_request(bytes)? {
        return Some(false);
    }
    if memchr::memchr(b'\n', bytes).is_none() {
        return (bytes.len() >= LINE_BYTES_MAX).then_some(false);
    }
    let (line, _) = cut_line(bytes);
    Some(if is_response { status_of(line).is_some() } else { RequestLine::of(line).version.is_some() })
}

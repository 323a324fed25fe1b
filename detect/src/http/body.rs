//! The body between two messages, followed to its end however it is framed, and read only when its hash is wanted.

use super::content::Content;
use super::framing::{Left, chunk_size};
use crate::reader::Step;
use crate::sighting::Sink;

/// A longer line of a chunk is none. Extensions are rare and short.
const CHUNK_LINE_BYTES_MAX: usize = 1024;
/// A longer field after the last chunk is passed over in pieces.
const TRAILER_LINE_BYTES_MAX: usize = 8 * 1024;

/// What is left of a body.
pub(crate) struct Body {
    left: Left,
    /// Its hash, as long as it is wanted and possible.
    content: Option<Box<Content>>,
    /// Bytes of the line at hand that hold no line end.
    scanned: usize,
    /// The line at hand began in bytes that are gone.
    mid_line: bool,
}

/// What was done with bytes of a body.
pub(crate) enum BodyStep {
    Step(Step),
    /// The chunks contradict themselves: where the next message begins is not known.
    Lost,
}

impl Default for Body {
    fn default() -> Self {
        Self { left: Left::None, content: None, scanned: 0, mid_line: false }
    }
}

impl Body {
    pub fn new(left: Left, content: Option<Box<Content>>) -> Self {
        Self { left, content, scanned: 0, mid_line: false }
    }

    pub fn is_over(&self) -> bool {
        self.left == Left::None
    }

    pub fn held(&self) -> usize {
        self.content.as_ref().map_or(0, |content| content.held())
    }

    /// Reads the body's next bytes.
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> BodyStep {
        match self.left {
            Left::None => BodyStep::Step(Step::Consumed(0)),
            Left::Length(length) => self.read_data(bytes, length, sink),
            Left::Chunk(length) => self.read_data(bytes, length, sink),
            Left::ChunkSize => self.read_line(bytes, CHUNK_LINE_BYTES_MAX, |line| {
                Some(match chunk_size(line)? {
                    0 => Left::Trailer,
                    size => Left::Chunk(size),
                })
            }),
            Left::ChunkEnd => {
                self.read_line(bytes, CHUNK_LINE_BYTES_MAX, |line| line.is_empty().then_some(Left::ChunkSize))
            }
            Left::Trailer => self.read_trailer(bytes, sink),
            Left::UntilClose => match &mut self.content {
                Some(_) => {
                    self.hash(bytes, sink);
                    BodyStep::Step(Step::Consumed(bytes.len()))
                }
                None => BodyStep::Step(Step::Done),
            },
            Left::Uncertain => BodyStep::Lost,
        }
    }

    fn read_data(&mut self, bytes: &[u8], length: u64, sink: &mut Sink<'_>) -> BodyStep {
        let is_chunk = matches!(self.left, Left::Chunk(_));
        let (after, part): (Left, fn(u64) -> Left) =
            if is_chunk { (Left::ChunkEnd, Left::Chunk) } else { (Left::None, Left::Length) };
        if self.content.is_none() {
            self.left = after;
            return BodyStep::Step(Step::Skip(length));
        }
        let here = usize::try_from(length).unwrap_or(usize::MAX).min(bytes.len());
        self.hash(bytes.get(..here).unwrap_or_default(), sink);
        self.left = match length - here as u64 {
            0 => after,
            rest => part(rest),
        };
        if self.is_over() {
            self.finish(sink);
        }
        BodyStep::Step(Step::Consumed(here))
    }

    fn hash(&mut self, bytes: &[u8], sink: &mut Sink<'_>) {
        if self.content.as_mut().is_some_and(|content| !content.update(bytes, sink)) {
            self.content = None;
        }
    }

    /// The body is whole.
    fn finish(&mut self, sink: &mut Sink<'_>) {
        if let Some(content) = self.content.take() {
            content.finish(sink);
        }
    }

    fn read_line(&mut self, bytes: &[u8], most: usize, next: impl Fn(&[u8]) -> Option<Left>) -> BodyStep {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', fresh).map(|at| self.scanned + at) else {
            self.scanned = bytes.len();
            return if bytes.len() > most { BodyStep::Lost } else { BodyStep::Step(Step::Consumed(0)) };
        };
        self.scanned = 0;
        let line = bytes.get(..end).unwrap_or_default();
        match next(line.strip_suffix(b"\r").unwrap_or(line)) {
            Some(left) if end <= most => {
                self.left = left;
                BodyStep::Step(Step::Consumed(end + 1))
            }
            _ => BodyStep::Lost,
        }
    }

    fn read_trailer(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> BodyStep {
        let fresh = bytes.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', fresh).map(|at| self.scanned + at) else {
            self.scanned = bytes.len();
            if bytes.len() > TRAILER_LINE_BYTES_MAX {
                (self.mid_line, self.scanned) = (true, 0);
                return BodyStep::Step(Step::Consumed(bytes.len()));
            }
            return BodyStep::Step(Step::Consumed(0));
        };
        self.scanned = 0;
        let is_last = matches!(bytes.get(..end), Some([] | [b'\r'])) && !self.mid_line;
        self.mid_line = false;
        if is_last {
            self.left = Left::None;
            self.finish(sink);
        }
        BodyStep::Step(Step::Consumed(end + 1))
    }

    /// Bytes are missing: gives how many of those that follow belong to the body, if that is known.
    pub fn gap(&mut self, sink: &mut Sink<'_>) -> Option<u64> {
        if self.content.take().is_some() {
            sink.counters.http_bodies_broken += 1;
        }
        (self.scanned, self.mid_line) = (0, false);
        let (skip, after) = match self.left {
            Left::Length(length) => (length, Left::None),
            Left::Chunk(length) => (length, Left::ChunkEnd),
            _ => return None,
        };
        self.left = after;
        Some(skip)
    }

    /// The connection closed in good order: a body without a length ends with it.
    pub fn close(&mut self, sink: &mut Sink<'_>) {
        if self.left == Left::UntilClose {
            self.left = Left::None;
            self.finish(sink);
        }
    }
}

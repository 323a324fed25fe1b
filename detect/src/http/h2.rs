//! HTTP/2 in clear (RFC 9113): requests of a client that begins with the preface, after an upgrade or at once.

use protocol::SeenIn;

use super::forwarded::Origins;
use super::hpack::Decoder;
use super::request::{name_of, seen_host};
use crate::allowance::Allowance;
use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};

/// The first line of the preface (RFC 9113 §3.4); two empty lines around `SM` follow.
pub(crate) const PREFACE_LINE: &[u8] = b"PRI * HTTP/2.0\r\n";
const PREFACE_BYTES: u64 = 24;
const FRAME_HEADER_BYTES: usize = 9;
/// A frame that carries fields is kept until it is whole; others are passed over. Servers take 16 KiB unless they say more.
const FIELDS_FRAME_BYTES_MAX: usize = 20 * 1024;
/// Fields of a request over several frames.
const BLOCK_BYTES_MAX: usize = 64 * 1024;
/// Frames of one block: empty ones cost their sender nothing.
const CONTINUATIONS_MAX: u8 = 32;
/// A request's values that are kept until its fields are whole.
const VALUE_BYTES_MAX: usize = 8 * 1024;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// Reads the frames of a client.
#[derive(Default)]
pub(crate) struct Frames {
    begun: bool,
    decoder: Decoder,
    /// Fields of a request that go on in the next frame.
    block: Vec<u8>,
    /// How many frames of it there were.
    continuations: u8,
    in_block: bool,
    request: Fields,
    allowance: Allowance,
}

/// The fields of a request that say something.
#[derive(Default)]
struct Fields {
    method: Vec<u8>,
    scheme: Vec<u8>,
    authority: Vec<u8>,
    host: Vec<u8>,
    path: Vec<u8>,
    agent: Vec<u8>,
    referer: Vec<u8>,
    origins: Origins,
}

impl Frames {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.decoder.held() + self.block.capacity() + self.request.held() + size_of::<Self>()
    }

    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        if !std::mem::replace(&mut self.begun, true) {
            return Step::Skip(PREFACE_BYTES);
        }
        let Some((header, rest)) = bytes.split_first_chunk::<FRAME_HEADER_BYTES>() else {
            return Step::Consumed(0);
        };
        let [a, b, c, kind, flags, ..] = *header;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        let is_next = if self.in_block { kind == CONTINUATION } else { kind != CONTINUATION };
        if !is_next {
            return give_up(sink); // RFC 9113 §6.10: nothing may stand between the frames of a block
        }
        if !matches!(kind, HEADERS | CONTINUATION) {
            return Step::Skip((FRAME_HEADER_BYTES + length) as u64);
        }
        if length > FIELDS_FRAME_BYTES_MAX {
            return give_up(sink);
        }
        let Some(payload) = rest.get(..length) else { return Step::Consumed(0) };
        let fragment = if kind == HEADERS { fragment_of(payload, flags) } else { Some(payload) };
        let read = fragment.and_then(|fragment| self.read_fragment(fragment, flags & END_HEADERS != 0, sink));
        match read {
            Some(()) => Step::Consumed(FRAME_HEADER_BYTES + length),
            None => give_up(sink),
        }
    }

    fn read_fragment(&mut self, fragment: &[u8], is_last: bool, sink: &mut Sink<'_>) -> Option<()> {
        let is_first = !std::mem::replace(&mut self.in_block, !is_last);
        self.continuations = if is_first { 0 } else { self.continuations + 1 };
        if self.continuations > CONTINUATIONS_MAX || self.block.len() + fragment.len() > BLOCK_BYTES_MAX {
            return None;
        }
        let whole = is_first && is_last;
        if !whole {
            self.block.extend_from_slice(fragment);
        }
        if !is_last {
            return Some(());
        }
        let block = std::mem::take(&mut self.block);
        self.request.clear();
        let (request, allowance) = (&mut self.request, &mut self.allowance);
        let fragment = if whole { fragment } else { &block };
        allowance.earn(FRAME_HEADER_BYTES + fragment.len());
        let mut in_proportion = true;
        self.decoder.read(fragment, |name, value| {
            in_proportion &= !Fields::is_noted(name) || allowance.spend(value.len());
            if in_proportion {
                request.note(name, value);
            }
        })?;
        if !in_proportion {
            return None;
        }
        request.sight(sink);
        Some(())
    }
}

fn give_up(sink: &mut Sink<'_>) -> Step {
    sink.counters.http_malformed += 1;
    Step::Done
}

/// The fields in a HEADERS frame, without padding and priority (RFC 9113 §6.2).
fn fragment_of(mut payload: &[u8], flags: u8) -> Option<&[u8]> {
    let mut padding = 0;
    if flags & PADDED != 0 {
        let (length, rest) = payload.split_first()?;
        (padding, payload) = (usize::from(*length), rest);
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(5..)?;
    }
    payload.get(..payload.len().checked_sub(padding)?)
}

impl Fields {
    fn held(&self) -> usize {
        self.each().iter().map(|value| value.capacity()).sum()
    }

    fn each(&self) -> [&Vec<u8>; 7] {
        [&self.method, &self.scheme, &self.authority, &self.host, &self.path, &self.agent, &self.referer]
    }

    fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether a field of this name says something.
    fn is_noted(name: &[u8]) -> bool {
        matches!(
            name,
            b":method" | b":scheme" | b":authority" | b":path" | b"host" | b"user-agent" | b"referer"
        ) || Origins::are_in(name)
    }

    fn note(&mut self, name: &[u8], value: &[u8]) {
        let place = match name {
            b":method" => &mut self.method,
            b":scheme" => &mut self.scheme,
            b":authority" => &mut self.authority,
            b":path" => &mut self.path,
            b"host" => &mut self.host,
            b"user-agent" => &mut self.agent,
            b"referer" => &mut self.referer,
            _ => {
                self.origins.note(name, value);
                return;
            }
        };
        if place.is_empty() && value.len() <= VALUE_BYTES_MAX {
            place.extend_from_slice(value);
        }
    }

    /// Gives out what a request says; trailers say nothing.
    fn sight(&self, sink: &mut Sink<'_>) {
        if self.method.is_empty() {
            return;
        }
        sink.counters.http_requests += 1;
        let [method, scheme, authority, host, path, agent, referer] =
            self.each().map(|value| std::str::from_utf8(value).unwrap_or_default());
        let host = if authority.is_empty() { host } else { authority };
        let scheme = if scheme.is_empty() { "http" } else { scheme };
        let head = format!("{method} {path} HTTP/2\nhost: {host}\nuser-agent: {agent}\nreferer: {referer}");
        let mut sight = |seen: Seen<'_>, seen_in: SeenIn| {
            let mut sighting = Sighting::new(seen, seen_in, head.as_bytes());
            sighting.named_origins = self.origins.as_slice();
            sink.sight(sighting);
        };
        if let Some(name) = name_of(host) {
            sight(seen_host(name), SeenIn::Http2Host);
            if path.starts_with('/') {
                sight(Seen::UrlParts { scheme, host, target: path }, SeenIn::Http2Url);
            }
        }
        if !agent.is_empty() {
            sight(Seen::UserAgent(agent), SeenIn::Http2UserAgent);
        }
        if referer.contains("://") {
            sight(Seen::Url(referer), SeenIn::HttpReferer);
        }
        for address in self.origins.as_slice() {
            sight(Seen::Ip(*address), SeenIn::HttpForwarded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{seen_by, strings};

    const REQUEST: &[u8] =
        &[0x82, 0x86, 0x84, 0x41, 12, b'e', b'v', b'i', b'l', b'.', b'e', b'x', b'a', b'm', b'p', b'l', b'e'];

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.extend(payload);
        frame
    }

    /// Reads a client's bytes as a stream would hand them out, and gives what was seen and whether it went on to the end.
    fn check(frames: &[Vec<u8>], expected: &[&str], goes_on: bool) {
        let bytes = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frames.concat()].concat();
        let (mut at, mut reader) = (0, Frames::default());
        let (seen, _) = seen_by(|sink| {
            while at < bytes.len() {
                match reader.read(&bytes[at..], sink) {
                    Step::Consumed(0) | Step::Done | Step::Other(_) => break,
                    Step::Consumed(length) => at += length,
                    Step::Skip(length) => at += usize::try_from(length).unwrap(),
                }
            }
        });
        assert_eq!(seen, strings(expected), "{frames:02x?}");
        assert_eq!(at == bytes.len(), goes_on, "{frames:02x?}");
    }

    const SEEN: [&str; 2] = ["http2.host evil.example", "http2.url http://evil.example/"];

    #[test]
    fn a_request_is_read_whatever_frames_carry_it() {
        let settings = frame(4, 0, &[0, 3, 0, 0, 0, 100]);
        check(&[settings.clone(), frame(HEADERS, 5, REQUEST), frame(0, 1, b"body")], &SEEN, true);
        let (start, end) = REQUEST.split_at(5);
        let pieces = [frame(HEADERS, 1, start), frame(CONTINUATION, 0, &[]), frame(CONTINUATION, 4, end)];
        check(&pieces, &SEEN, true);
        let padded = [&[3, 0, 0, 0, 0, 16][..], REQUEST, &[0; 3]].concat();
        check(&[frame(HEADERS, 0x2d, &padded)], &SEEN, true);
    }

    #[test]
    fn later_requests_use_the_table_of_earlier_ones() {
        let second = [0x82, 0x86, 0x44, 2, b'/', b'b', 0xbf];
        let frames = [frame(HEADERS, 5, REQUEST), frame(HEADERS, 5, &second)];
        let expected = [&SEEN[..], &["http2.host evil.example", "http2.url http://evil.example/b"]].concat();
        check(&frames, &expected, true);
    }

    #[test]
    fn a_long_path_named_again_and_again_by_one_byte_ends_the_reading() {
        let path = [&[0x82, 0x86, 0x44, 0x7f, 0xa1, 0x1e, b'/'][..], &[b'a'; 3999]].concat();
        let mut flood = vec![frame(HEADERS, 5, &path)];
        flood.extend(vec![frame(HEADERS, 5, &[0x82, 0x86, 0xbe]); 1000]);
        check(&flood, &[], false);
        check(&flood[..10], &[], true);
    }

    #[test]
    fn floods_and_contradictions_end_the_reading() {
        let mut flood = vec![frame(HEADERS, 0, &[])];
        flood.extend(vec![frame(CONTINUATION, 0, &[]); 100]);
        check(&flood, &[], false);
        check(&[frame(CONTINUATION, 4, REQUEST)], &[], false);
        check(&[frame(HEADERS, 0, REQUEST), frame(4, 0, &[])], &[], false);
        check(&[frame(HEADERS, 0x0c, &[200, 0x82])], &[], false);
        let large = frame(HEADERS, 0, &[0; 20_000]);
        let more = frame(CONTINUATION, 0, &[0; 20_000]);
        check(&[large, more.clone(), more.clone(), more], &[], false);
    }
}

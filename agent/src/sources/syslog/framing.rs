//! Cuts what a connection sends into messages (RFC 6587): octet counting, or lines that end with LF or NUL, told
//! apart once for each connection. Pure: any split of the stream into pieces gives the same frames.

/// RFC 5425 §4.3.1 asks receivers to take 8,192; web application firewalls send 50 KB. The rest of a longer line is
/// skipped; a longer count ends the connection, because nobody can say where the next frame begins.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;
/// No count has more digits, but times and numbers at the start of a line do.
const DIGITS_MAX: usize = 10;

/// What a sender may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowed {
    /// TCP: a count and a space begin octet counting, anything else a line. A line that begins with digits is one
    /// unless a space follows them.
    Either,
    /// TLS: octet counting only (RFC 5425 §4.3).
    Counting,
}

/// A message of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Without count and delimiter; what is cut ends behind a whole word, so that no address is read in half.
    pub bytes: &'a [u8],
    /// Whether there was more of it.
    pub cut: bool,
}

/// Why nothing more can be read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// Something else than a count and a space where a frame should begin.
    #[error("a frame began without its length; let the sender use octet counting (RFC 6587)")]
    NoCount,
    /// A count beyond [`FRAME_BYTES_MAX`].
    #[error("a frame was announced that is longer than 65536 bytes; let the sender cut its messages")]
    TooLong,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Not told apart yet; what is held are digits.
    First,
    /// Between frames; what is held are digits.
    Count,
    Body {
        left: usize,
    },
    Lines,
    /// In the rest of a line that was too long.
    Skipping,
    Broken(FramingError),
}

/// The state of one connection.
#[derive(Debug)]
pub struct Framing {
    allowed: Allowed,
    mode: Mode,
    /// The begin of the frame whose end did not come yet.
    held: Vec<u8>,
}

impl Framing {
    /// At the begin of a connection.
    pub fn new(allowed: Allowed) -> Self {
        Self { allowed, mode: Mode::First, held: Vec::new() }
    }

    /// Takes what came and gives the frames that it makes whole.
    ///
    /// # Errors
    /// When the stream makes no sense from here on; every further call says so again.
    pub fn take(&mut self, bytes: &[u8], give: &mut dyn FnMut(Frame<'_>)) -> Result<(), FramingError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.mode {
                Mode::First => self.begin(rest),
                Mode::Count => self.count(rest),
                Mode::Body { left } => Ok(self.body(rest, left, give)),
                Mode::Lines => Ok(self.line(rest, give)),
                Mode::Skipping => Ok(self.skip(rest)),
                Mode::Broken(error) => Err(error),
            };
            match used {
                Ok(used) => rest = rest.get(used..).unwrap_or_default(),
                Err(error) => {
                    self.mode = Mode::Broken(error);
                    self.held = Vec::new();
                    return Err(error);
                }
            }
        }
        if self.held.is_empty() && self.held.capacity() > FRAME_BYTES_MAX / 16 {
            // Many connections are silent for hours.
            self.held = Vec::new();
        }
        Ok(())
    }

    /// The connection ended, as its sender meant it or not: gives what is held, and a frame that was cut even when
    /// nothing is left of it.
    pub fn end(&mut self, is_orderly: bool, give: &mut dyn FnMut(Frame<'_>)) {
        let held = std::mem::take(&mut self.held);
        if self.allowed == Allowed::Counting && self.mode == Mode::First {
            // Digits are a count there, never a line.
            self.mode = Mode::Count;
        }
        let cut = match self.mode {
            Mode::Body { .. } => true,
            Mode::First | Mode::Lines => !is_orderly && !held.is_empty(),
            Mode::Count => !held.is_empty(),
            Mode::Skipping | Mode::Broken(_) => false,
        };
        let bytes = match self.mode {
            Mode::Count => &[],
            _ if cut => whole_words(&held),
            _ => held.as_slice(),
        };
        if cut || !bytes.is_empty() {
            give(Frame { bytes, cut });
        }
        self.mode = Mode::First;
    }

    fn begin(&mut self, rest: &[u8]) -> Result<usize, FramingError> {
        let Some(first) = rest.first() else { return Ok(0) };
        match first {
            b'1'..=b'9' | b'0'
                if !(self.held.is_empty() && *first == b'0') && self.held.len() < DIGITS_MAX =>
            {
                self.held.push(*first);
                Ok(1)
            }
            b' ' if !self.held.is_empty() => self.count(rest),
            b'\n' | b'\r' | 0 if self.held.is_empty() => Ok(1),
            _ if self.allowed == Allowed::Counting => Err(FramingError::NoCount),
            _ => {
                self.mode = Mode::Lines;
                Ok(0)
            }
        }
    }

    fn count(&mut self, rest: &[u8]) -> Result<usize, FramingError> {
        match rest.first() {
            // Some senders end each frame with LF as well.
            Some(b'\n' | b'\r' | b' ' | 0) if self.held.is_empty() => {}
            Some(b'0') if self.held.is_empty() => return Err(FramingError::NoCount),
            Some(digit @ b'0'..=b'9') if self.held.len() < DIGITS_MAX => self.held.push(*digit),
            Some(b'0'..=b'9') => return Err(FramingError::TooLong),
            Some(b' ') => {
                let left = self.held.iter().fold(0u64, |sum, digit| 10 * sum + u64::from(digit - b'0'));
                let left = usize::try_from(left).unwrap_or(usize::MAX);
                if left > FRAME_BYTES_MAX {
                    return Err(FramingError::TooLong);
                }
                self.held.clear();
                self.mode = Mode::Body { left };
            }
            _ => return Err(FramingError::NoCount),
        }
        Ok(1)
    }

    fn body(&mut self, rest: &[u8], left: usize, give: &mut dyn FnMut(Frame<'_>)) -> usize {
        let Some(end) = rest.get(..left) else {
            self.held.extend_from_slice(rest);
            self.mode = Mode::Body { left: left - rest.len() };
            return rest.len();
        };
        self.mode = Mode::Count;
        self.give_with_held(end, give);
        left
    }

    fn line(&mut self, rest: &[u8], give: &mut dyn FnMut(Frame<'_>)) -> usize {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | 0));
        let more = rest.get(..end.unwrap_or(rest.len())).unwrap_or(rest);
        let room = FRAME_BYTES_MAX.saturating_sub(self.held.len());
        if let Some(fits) = more.get(..room).filter(|fits| fits.len() < more.len()) {
            self.mode = Mode::Skipping;
            self.held.extend_from_slice(fits);
            give(Frame { bytes: whole_words(&self.held), cut: true });
            self.held.clear();
            return fits.len();
        }
        if end.is_none() {
            self.held.extend_from_slice(more);
            return rest.len();
        }
        self.give_with_held(more, give);
        more.len() + 1
    }

    fn skip(&mut self, rest: &[u8]) -> usize {
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\n' | 0)) else { return rest.len() };
        self.mode = Mode::Lines;
        end + 1
    }

    fn give_with_held(&mut self, end: &[u8], give: &mut dyn FnMut(Frame<'_>)) {
        if self.held.is_empty() {
            give(Frame { bytes: end, cut: false });
        } else {
            self.held.extend_from_slice(end);
            give(Frame { bytes: &self.held, cut: false });
            self.held.clear();
        }
    }
}

/// Up to the last byte that belongs to no address, name or URL: what was cut within one would pass for another.
fn whole_words(bytes: &[u8]) -> &[u8] {
    let ends = |byte: &u8| byte.is_ascii_whitespace() || b"\"',;<>()|".contains(byte);
    let end = bytes.iter().rposition(ends).unwrap_or(0);
    bytes.get(..end).unwrap_or_default()
}

/// The lines of a message, without their ends: senders put several into one datagram or frame, and end it with LF
/// or NUL.
pub fn lines_of(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message.split(|byte| *byte == b'\n').filter_map(|line| {
        let end = line.iter().rposition(|byte| !matches!(byte, b'\r' | 0))?;
        line.get(..=end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(Vec<u8>, bool)>, Result<(), FramingError>);

    fn read(pieces: &[&[u8]], allowed: Allowed, is_orderly: bool) -> Read {
        let mut framing = Framing::new(allowed);
        let mut frames = Vec::new();
        let mut give = |frame: Frame<'_>| frames.push((frame.bytes.to_vec(), frame.cut));
        let taken = pieces.iter().try_for_each(|piece| framing.take(piece, &mut give));
        assert!(framing.held.len() <= FRAME_BYTES_MAX);
        let ended = taken.map(|()| framing.end(is_orderly, &mut give));
        (frames, ended)
    }

    fn check(stream: &[u8], expected: &[&str], end: Result<(), FramingError>) {
        let (frames, ended) = read(&[stream], Allowed::Either, true);
        let frames: Vec<_> =
            frames.iter().map(|(bytes, _)| String::from_utf8_lossy(bytes).into_owned()).collect();
        assert_eq!((frames, ended), (expected.iter().map(ToString::to_string).collect(), end), "{stream:?}");
    }

    #[test]
    fn framing_is_told_apart_by_how_a_connection_begins() {
        check(b"<13>one\n<13>two\n", &["<13>one", "<13>two"], Ok(()));
        check(b"<13>one\0<13>two\0", &["<13>one", "<13>two"], Ok(()));
        check(b"7 <13>one7 <13>two", &["<13>one", "<13>two"], Ok(()));
        check(b"7 <13>one\n7 <13>two\n", &["<13>one", "<13>two"], Ok(()));
        check(b"7 a\nb\0c\nd", &["a\nb\0c\nd"], Ok(()));
        check(b"\n\n<13>one\n\n", &["<13>one", ""], Ok(()));
        check(b"date=2026-11-22 a\n7 <13>one\n", &["date=2026-11-22 a", "7 <13>one"], Ok(()));
    }

    #[test]
    fn a_line_may_begin_with_digits() {
        check(b"2026:11:22-10:00:00 gw a\n", &["2026:11:22-10:00:00 gw a"], Ok(()));
        check(b"192.0.2.7 - - a\n", &["192.0.2.7 - - a"], Ok(()));
        check(b"20261122100000 a\n", &["20261122100000 a"], Ok(()));
        check(b"0 a\n", &["0 a"], Ok(()));
        check(b"42\n", &["42"], Ok(()));
        check(b"42", &["42"], Ok(()));
    }

    #[test]
    fn what_is_no_count_ends_the_connection() {
        check(b"3 abcx", &["abc"], Err(FramingError::NoCount));
        check(b"3 abc0 ", &["abc"], Err(FramingError::NoCount));
        check(b"3 abc2x ", &["abc"], Err(FramingError::NoCount));
        check(b"65537 a", &[], Err(FramingError::TooLong));
        check(b"3 abc99999999999", &["abc"], Err(FramingError::TooLong));
        let lines_by_tls = read(&[b"<13>one\n"], Allowed::Counting, true);
        assert_eq!(lines_by_tls, (vec![], Err(FramingError::NoCount)));
        let count_by_tls = read(&[b"42"], Allowed::Counting, true);
        assert_eq!(count_by_tls, (vec![(vec![], true)], Ok(())));
    }

    #[test]
    fn a_connection_cut_in_a_frame_gives_whole_words() {
        check(b"<13>last without end", &["<13>last without end"], Ok(()));
        check(b"30 <13>from 203.0.113.4", &["<13>from"], Ok(()));
        check(b"3 abc30", &["abc", ""], Ok(()));
        let (frames, ended) = read(&[b"<13>from 203.0.113.4"], Allowed::Either, false);
        assert_eq!((frames, ended), (vec![(b"<13>from".to_vec(), true)], Ok(())));
    }

    #[test]
    fn the_rest_of_a_long_line_is_skipped() {
        let long = [b"evil.example ".repeat(FRAME_BYTES_MAX / 13 + 9), b"\nnext\n".to_vec()].concat();
        let (frames, _) = read(&[&long], Allowed::Either, true);
        assert_eq!(frames.len(), 2);
        assert!(frames[0].1 && frames[0].0.len() > FRAME_BYTES_MAX - 14);
        assert!(frames[0].0.ends_with(b"evil.example"), "a name was cut");
        assert_eq!(frames[1], (b"next".to_vec(), false));
        let whole = [b"x".repeat(FRAME_BYTES_MAX), b"\n".to_vec()].concat();
        let (frames, _) = read(&[&whole], Allowed::Either, true);
        assert_eq!((frames[0].0.len(), frames[0].1), (FRAME_BYTES_MAX, false));
    }

    #[test]
    fn a_message_may_be_several_lines() {
        let lines: Vec<&[u8]> = lines_of(b"<13>one\r\ntwo\0\n\n\0three\0\n\0").collect();
        assert_eq!(lines, [&b"<13>one"[..], b"two", b"\0three"]);
    }

    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let counted = "[a-z<> \n\0]{0,20}".prop_map(|text| format!("{} {text}", text.len()).into_bytes());
        let line = "[0-9a-z<> ]{0,20}[\n\0]".prop_map(String::into_bytes);
        let long = (0usize..3)
            .prop_map(|more| [b"y ".repeat((FRAME_BYTES_MAX - 2) / 2 + more), b"\n".to_vec()].concat());
        let piece = prop_oneof![4 => counted, 4 => line, 1 => long, 1 => any::<Vec<u8>>()];
        prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_frames(
            stream in stream(), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
            counting: bool, is_orderly: bool,
        ) {
            let allowed = if counting { Allowed::Counting } else { Allowed::Either };
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            at.extend([0, stream.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect();
            let bytes: Vec<&[u8]> = stream.chunks(1).collect();
            let whole = read(&[&stream], allowed, is_orderly);
            prop_assert_eq!(&read(&pieces, allowed, is_orderly), &whole);
            prop_assert_eq!(&read(&bytes, allowed, is_orderly), &whole);
        }
    }
}

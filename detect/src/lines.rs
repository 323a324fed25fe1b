//! Lines of text protocols, out of bytes that come in any pieces: bounded, and each byte is looked at once.

/// Longest piece of a line handed on at once. RFC 5321 §4.5.3.1.6 allows 1,000 octets in a line of text; programs
/// write longer ones, which come in several pieces.
pub(crate) const PIECE_BYTES_MAX: usize = 4096;

/// Cuts a stream into lines. Where it cuts depends on the bytes only, not on how they came.
#[derive(Default)]
pub(crate) struct Lines {
    /// Bytes that were offered already and hold no line end.
    scanned: usize,
    /// The next piece goes on with a line.
    inside: bool,
}

/// A line, or a part of a long one, without its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub text: &'a [u8],
    /// It is the beginning of a line.
    pub begins: bool,
    /// It is the end of a line.
    pub ends: bool,
    /// Bytes of the stream that it is made of.
    pub used: usize,
}

impl Lines {
    /// The first piece of `bytes`; `None` when its end has not come. A bare LF is a line end too.
    pub fn next<'a>(&mut self, bytes: &'a [u8]) -> Option<Piece<'a>> {
        let window = bytes.get(..PIECE_BYTES_MAX).unwrap_or(bytes);
        let unseen = window.get(self.scanned..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', unseen).map(|at| self.scanned + at) else {
            if window.len() == PIECE_BYTES_MAX {
                return Some(self.piece((window, false), window.len()));
            }
            self.scanned = window.len();
            return None;
        };
        let line = window.get(..end).unwrap_or_default();
        Some(self.piece((line.strip_suffix(b"\r").unwrap_or(line), true), end + 1))
    }

    /// As [`Self::next`], of bytes after which others follow that belong to something else: the last ones need no
    /// line end.
    pub fn next_of_counted<'a>(&mut self, bytes: &'a [u8]) -> Option<Piece<'a>> {
        if bytes.is_empty() {
            return None;
        }
        match self.next(bytes) {
            Some(piece) => Some(piece),
            None => Some(self.piece((bytes, false), bytes.len())),
        }
    }

    /// Whether the next piece begins a line of which nothing was looked at yet.
    pub fn is_fresh(&self) -> bool {
        !self.inside && self.scanned == 0
    }

    /// Whether the next piece begins a line.
    pub fn at_start(&self) -> bool {
        !self.inside
    }

    fn piece<'a>(&mut self, (text, ends): (&'a [u8], bool), used: usize) -> Piece<'a> {
        self.scanned = 0;
        let begins = !std::mem::replace(&mut self.inside, !ends);
        Piece { text, begins, ends, used }
    }
}

/// What follows the first word of a line, when the word is `verb` in any case and stands alone.
pub(crate) fn after_verb<'a>(line: &'a [u8], verb: &[u8]) -> Option<&'a [u8]> {
    let (first, rest) = line.split_at_checked(verb.len())?;
    let alone = matches!(rest.first(), None | Some(b' ' | b'\t' | b'\r' | b'\n'));
    (alone && first.eq_ignore_ascii_case(verb)).then(|| rest.trim_ascii())
}

/// Whether bytes begin with a text; `None` when they are too few to tell.
pub(crate) fn begins_with(bytes: &[u8], text: &[u8]) -> Option<bool> {
    if bytes.len() >= text.len() {
        return Some(bytes.starts_with(text));
    }
    if text.starts_with(bytes) { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(bytes: &[u8], step: usize) -> Vec<(Vec<u8>, bool, bool)> {
        let (mut lines, mut pieces, mut kept) = (Lines::default(), Vec::new(), Vec::new());
        for fresh in bytes.chunks(step) {
            kept.extend_from_slice(fresh);
            while let Some(piece) = lines.next(&kept) {
                pieces.push((piece.text.to_vec(), piece.begins, piece.ends));
                let used = piece.used;
                kept.drain(..used);
            }
        }
        pieces
    }

    #[test]
    fn lines_end_in_crlf_or_lf() {
        let expected =
            [(b"a".to_vec(), true, true), (b"".to_vec(), true, true), (b"b\rc".to_vec(), true, true)];
        assert_eq!(cut(b"a\r\n\nb\rc\r\nrest", 100), expected);
    }

    #[test]
    fn where_a_long_line_is_cut_does_not_depend_on_how_it_came() {
        for length in [PIECE_BYTES_MAX - 1, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, 3 * PIECE_BYTES_MAX] {
            let mut bytes = vec![b'x'; length];
            bytes.extend(b"\nnext\n");
            let whole = cut(&bytes, bytes.len());
            for step in [1, 7, PIECE_BYTES_MAX] {
                assert_eq!(cut(&bytes, step), whole, "{length} in steps of {step}");
            }
            assert_eq!(whole.last(), Some(&(b"next".to_vec(), true, true)), "{length}");
        }
    }

    #[test]
    fn counted_bytes_need_no_line_end() {
        let mut lines = Lines::default();
        let first = lines.next_of_counted(b"ab").unwrap();
        assert_eq!((first.begins, first.ends, first.used), (true, false, 2));
        let second = lines.next_of_counted(b"c\n").unwrap();
        assert_eq!((second.text, second.begins, second.ends), (&b"c"[..], false, true));
        assert_eq!(lines.next_of_counted(b""), None);
    }

    #[test]
    fn verbs_stand_alone_in_any_case() {
        assert_eq!(after_verb(b"ehlo mail.example ", b"EHLO"), Some(&b"mail.example"[..]));
        assert_eq!(after_verb(b"DATA", b"DATA"), Some(&b""[..]));
        assert_eq!(after_verb(b"DATABASE", b"DATA"), None);
        assert_eq!(after_verb(b"DAT", b"DATA"), None);
    }
}

//! Targets of streams that come in any pieces: what senders of syslog say on a connection, and what journalctl
//! exports. However a stream is cut, the same is read of it.

use agent::sources::journal::export::{Entry, Export, SHORT_BYTES_MAX};
use agent::sources::syslog::framing::{Allowed, FRAME_BYTES_MAX, Frame, Framing, FramingError, lines_of};
use detect::LINE_BYTES_MAX;

use super::input::{Input, piece};

/// Enough that what is too long is followed by something.
const STREAM_BYTES_MAX: usize = 3 * FRAME_BYTES_MAX;

type Frames = (Vec<(Vec<u8>, bool)>, Result<(), FramingError>);

/// A stream, and it once more in pieces as long as the input says, again and again. Each part of it is there so many
/// times, so that few bytes reach what is too long.
fn stream_and_pieces(mut input: Input<'_>) -> (Vec<u8>, Vec<Vec<u8>>) {
    let plan = input.piece();
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < STREAM_BYTES_MAX {
        let times = usize::from(input.byte()) + 1;
        let part = input.piece();
        let room = STREAM_BYTES_MAX - stream.len();
        stream.extend(part.iter().cycle().take(room.min(times * part.len())));
    }
    let length = |byte: &u8| if *byte < 128 { usize::from(*byte) + 1 } else { usize::from(byte - 127) * 512 };
    let mut lengths = plan.iter().map(length).cycle();
    let mut pieces = Vec::new();
    let mut rest = Input(&stream);
    while !rest.is_empty() {
        pieces.push(rest.take(lengths.next().unwrap_or(1000)).to_vec());
    }
    (stream, pieces)
}

/// A connection is read as a plain reading of its whole stream says, whatever pieces it comes in.
pub fn syslog_frames(bytes: &[u8]) {
    let mut input = Input(bytes);
    let flags = input.byte();
    let allowed = if flags & 1 == 0 { Allowed::Either } else { Allowed::Counting };
    let is_orderly = flags & 2 == 0;
    let (stream, pieces) = stream_and_pieces(input);
    let expected = plain(&stream, allowed, is_orderly);
    assert!(frames_of(&[&stream], allowed, is_orderly) == expected, "another reading of the whole");
    assert!(frames_of(&pieces, allowed, is_orderly) == expected, "another reading of the pieces");
    for (frame, _) in &expected.0 {
        let lines: Vec<&[u8]> = lines_of(frame).collect();
        assert!(lines.iter().all(|line| !line.contains(&b'\n') && !line.ends_with(b"\r")));
        assert!(lines.iter().all(|line| line.last().is_some_and(|last| *last != 0)));
        let kept = |bytes: &[u8]| bytes.iter().filter(|byte| !b"\n\r\0".contains(byte)).count();
        assert_eq!(lines.iter().map(|line| kept(line)).sum::<usize>(), kept(frame), "something was lost");
    }
}

fn frames_of<T: AsRef<[u8]>>(pieces: &[T], allowed: Allowed, is_orderly: bool) -> Frames {
    let mut framing = Framing::new(allowed);
    let mut frames = Vec::new();
    let mut give = |frame: Frame<'_>| {
        assert!(frame.bytes.len() <= FRAME_BYTES_MAX);
        frames.push((frame.bytes.to_vec(), frame.cut));
    };
    let taken = pieces.iter().try_for_each(|piece| framing.take(piece.as_ref(), &mut give));
    if taken.is_err() {
        assert_eq!(framing.take(b"1 a", &mut give), taken, "it goes on after an error");
    } else {
        framing.end(is_orderly, &mut give);
    }
    (frames, taken)
}

/// The frames of a whole stream, as RFC 6587 and the limits say.
fn plain(stream: &[u8], allowed: Allowed, is_orderly: bool) -> Frames {
    let begin = stream.iter().position(|byte| !b"\n\r\0".contains(byte)).unwrap_or(stream.len());
    let stream = &stream[begin..];
    let digits = digits(stream);
    let is_count = (1..=10).contains(&digits) && stream[0] != b'0';
    match (stream.get(digits), allowed) {
        (Some(b' '), _) if is_count => counted(stream),
        (None, Allowed::Counting) if is_count => (vec![(Vec::new(), true)], Ok(())),
        (None, Allowed::Counting) if digits == 0 => (Vec::new(), Ok(())),
        (_, Allowed::Counting) => (Vec::new(), Err(FramingError::NoCount)),
        (_, Allowed::Either) => (delimited(stream, is_orderly), Ok(())),
    }
}

fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

fn counted(mut stream: &[u8]) -> Frames {
    let mut frames = Vec::new();
    loop {
        stream = &stream[stream.iter().take_while(|byte| b"\n\r \0".contains(byte)).count()..];
        let digits = digits(stream);
        match (stream.first(), stream.get(digits)) {
            (None, _) => return (frames, Ok(())),
            (Some(b'0'), _) => return (frames, Err(FramingError::NoCount)),
            _ if digits > 10 => return (frames, Err(FramingError::TooLong)),
            (_, None) => {
                frames.push((Vec::new(), true));
                return (frames, Ok(()));
            }
            (_, Some(b' ')) if digits > 0 => {}
            _ => return (frames, Err(FramingError::NoCount)),
        }
        let count: usize = std::str::from_utf8(&stream[..digits]).unwrap().parse().unwrap();
        if count > FRAME_BYTES_MAX {
            return (frames, Err(FramingError::TooLong));
        }
        stream = &stream[digits + 1..];
        let Some((frame, rest)) = stream.split_at_checked(count) else {
            frames.push((whole_words(stream), true));
            return (frames, Ok(()));
        };
        frames.push((frame.to_vec(), false));
        stream = rest;
    }
}

fn delimited(stream: &[u8], is_orderly: bool) -> Vec<(Vec<u8>, bool)> {
    let mut lines: Vec<&[u8]> = stream.split(|byte| b"\n\0".contains(byte)).collect();
    let last = lines.pop().unwrap_or_default();
    let frame = |line: &[u8]| match line.get(..FRAME_BYTES_MAX) {
        Some(begin) if begin.len() < line.len() => (whole_words(begin), true),
        _ => (line.to_vec(), false),
    };
    let mut frames: Vec<_> = lines.into_iter().map(frame).collect();
    if !last.is_empty() {
        let (bytes, is_cut) = frame(last);
        frames.push(if is_cut || is_orderly { (bytes, is_cut) } else { (whole_words(last), true) });
    }
    frames
}

/// Without the word in which it was cut.
fn whole_words(bytes: &[u8]) -> Vec<u8> {
    let ends = |byte: &u8| matches!(byte, b'\t' | b'\n' | 12 | b'\r') || b" \"',;<>()|".contains(byte);
    let after = bytes.iter().rev().position(ends).map_or(bytes.len(), |after| after + 1);
    bytes[..bytes.len() - after].to_vec()
}

/// Whatever journalctl seems to export: entries are bounded, and written once more they are read as themselves.
pub fn journal_entries(bytes: &[u8]) {
    let (stream, pieces) = stream_and_pieces(Input(bytes));
    let entries = entries_of(&[&stream]);
    assert!(entries_of(&pieces) == entries, "another reading of the pieces");
    let mut again = Vec::new();
    for entry in &entries {
        assert!(!entry.cursor.is_empty(), "nobody could go on behind it");
        assert!(entry.message.len() <= LINE_BYTES_MAX);
        assert!(!entry.is_cut || entry.message.len() == LINE_BYTES_MAX, "cut without need");
        for (name, value) in fields(entry) {
            assert!(name == "MESSAGE" || value.len() <= SHORT_BYTES_MAX, "{name}");
            again.extend(field(name, value));
        }
        again.push(b'\n');
    }
    let mut expected = entries;
    expected.iter_mut().for_each(|entry| entry.is_cut = false);
    assert!(entries_of(&[again]) == expected, "another reading of what was written");
}

fn entries_of<T: AsRef<[u8]>>(pieces: &[T]) -> Vec<Entry> {
    let mut export = Export::default();
    let mut entries = Vec::new();
    pieces.iter().for_each(|piece| export.take(piece.as_ref(), &mut |entry| entries.push(entry.clone())));
    entries
}

fn fields(entry: &Entry) -> impl Iterator<Item = (&'static str, &[u8])> {
    let all = [
        ("__CURSOR", &entry.cursor),
        ("__REALTIME_TIMESTAMP", &entry.realtime),
        ("SYSLOG_IDENTIFIER", &entry.identifier),
        ("SYSLOG_PID", &entry.said_pid),
        ("_COMM", &entry.command),
        ("_PID", &entry.pid),
        ("_SYSTEMD_UNIT", &entry.unit),
        ("_TRANSPORT", &entry.transport),
        ("MESSAGE", &entry.message),
    ];
    all.into_iter().map(|(name, value)| (name, value.as_slice())).filter(|(_, value)| !value.is_empty())
}

/// As the journal writes a field: one with bytes that are no text has its length before it.
fn field(name: &str, value: &[u8]) -> Vec<u8> {
    if value.iter().all(|byte| !byte.is_ascii_control()) {
        return [name.as_bytes(), b"=", value, b"\n"].concat();
    }
    [name.as_bytes(), b"\n", &(value.len() as u64).to_le_bytes(), value, b"\n"].concat()
}

/// A part of a seed, and how many times it is there.
type Part<'a> = (u8, &'a [u8]);

/// A seed: lengths of pieces, and parts of a stream.
fn cut(plan: &[u8], parts: &[Part<'_>]) -> Vec<u8> {
    let parts = parts.iter().flat_map(|(times, part)| [vec![times - 1], piece(part)].concat());
    piece(plan).into_iter().chain(parts).collect()
}

/// Connections with both framings, and what goes wrong on them.
pub fn connections() -> Vec<(String, Vec<u8>)> {
    let lines: &[u8] = b"<13>from 203.0.113.5\n<13>evil.example\0\n2026-11-22 a\r\n<13>without end";
    let frames: &[u8] = b"7 <13>one7 <13>two\n9 a\nb\0c\nd e 30 <13>from 203.0.113.4";
    let each: [(&str, u8, &[u8], &[Part<'_>]); 9] = [
        ("lines", 0, &[0], &[(1, lines)]),
        ("lines_cut", 2, &[6, 2], &[(1, lines)]),
        ("counted", 0, &[0, 4], &[(1, frames)]),
        ("counted_by_tls", 1, &[1], &[(1, frames)]),
        ("lines_by_tls", 1, &[9], &[(1, lines)]),
        ("count_by_tls", 1, &[0], &[(1, b"42")]),
        ("long_line", 0, &[255, 0], &[(220, &b"evil.example ".repeat(24)), (1, b"\n<13>next\n")]),
        (
            "longest_frame",
            0,
            &[200, 90],
            &[(1, b"65536 "), (128, &b"y ".repeat(256)), (1, b"3 abc65537 "), (1, b"x")],
        ),
        ("digits", 0, &[0], &[(1, b"1795338000123 a\n"), (1, b"0 a\n192.0.2.7 - a\n")]),
    ];
    each.map(|(name, flags, plan, parts)| (name.to_owned(), [vec![flags], cut(plan, parts)].concat())).into()
}

/// Exports with text, bytes and what is too long.
pub fn exports() -> Vec<(String, Vec<u8>)> {
    let text: &[u8] = b"__CURSOR=s=1;i=2\n__REALTIME_TIMESTAMP=1795338000000000\n_PID=7\nPRIORITY=6\n_COMM=sshd\nMESSAGE=from 203.0.113.5\n\n";
    let message = field("MESSAGE", b"one\ntwo\xff\0");
    let other = field("OTHER", b"x\n\n__CURSOR=no\n");
    let bytes =
        [&b"__CURSOR=s=1;i=3\n_TRANSPORT=kernel\n"[..], &other, &message, b"SYSLOG_PID=9\n\n"].concat();
    let long: &[Part<'_>] =
        &[(1, b"__CURSOR=a\nMESSAGE="), (255, &b"evil.example ".repeat(21)), (1, b"\n\n"), (1, text)];
    let endless: &[Part<'_>] = &[(1, b"__CURSOR=a\nMESSAGE\n"), (8, b"\xff"), (200, &[b'z'; 40]), (1, text)];
    let twice: &[u8] = b"__CURSOR=a\nMESSAGE=from 203.0.113.5\nMESSAGE=7 bytes\n\n";
    let each: [(&str, &[u8], &[Part<'_>]); 6] = [
        ("text", &[0], &[(2, text)]),
        ("bytes", &[3, 0], &[(1, &bytes), (1, text)]),
        ("long", &[255, 7], long),
        ("endless", &[100], endless),
        ("twice", &[0], &[(1, twice)]),
        ("names", &[1], &[(60, b"NAME_WITHOUT_VALUE_"), (1, b"=x\n=\n\n\n__CURSOR=\n\n")]),
    ];
    each.map(|(name, plan, parts)| (name.to_owned(), cut(plan, parts))).into()
}

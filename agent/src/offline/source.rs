//! An input as it lies there: opened, unpacked when it is gzip, and told by its first bytes and not by its name.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::SystemTime;

use detect::LINE_BYTES_MAX;
use flate2::bufread::MultiGzDecoder;
use protocol::Timestamp;

use super::{Progress, STDIN, Unreadable};

/// What gzip may unpack to; more is refused (a gigabyte of zeros takes a megabyte).
const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Bytes looked at to tell what a file is.
const PEEK_BYTES: usize = 4096;
/// Bytes read at once.
const BUFFER_BYTES: usize = 64 * 1024;

/// An opened input, unpacked when it is gzip.
pub(super) struct Source {
    pub(super) reader: Box<dyn BufRead + Send>,
    /// A plain file that libpcap can open by itself.
    pub(super) plain: bool,
    pub(super) modified: Timestamp,
}

impl Source {
    pub(super) fn open(path: &Path, progress: &Progress) -> Result<Self, Unreadable> {
        if path == Path::new(STDIN) {
            let reader = BufReader::with_capacity(BUFFER_BYTES, progress.counting(io::stdin()));
            let modified = time(SystemTime::now());
            return Self { reader: Box::new(reader), plain: false, modified }.unpacked();
        }
        let file = File::open(path).map_err(Unreadable::Open)?;
        let about = file.metadata().map_err(Unreadable::Open)?;
        if about.is_dir() {
            return Err(Unreadable::Open(io::ErrorKind::IsADirectory.into()));
        }
        // A log line's own time cannot be trusted; the file's makes the output the same each time.
        let modified = about.modified().map_or_else(|_| time(SystemTime::now()), time);
        let reader = BufReader::with_capacity(BUFFER_BYTES, progress.counting(file));
        let plain = about.is_file() && path.to_str().is_some_and(|path| path != STDIN);
        Self { reader: Box::new(reader), plain, modified }.unpacked()
    }

    fn unpacked(mut self) -> Result<Self, Unreadable> {
        let start = self.reader.fill_buf().map_err(Unreadable::Read)?;
        if !start.starts_with(&[0x1f, 0x8b, 0x08]) {
            return Ok(self);
        }
        let unpacked = MultiGzDecoder::new(self.reader).take(UNPACKED_BYTES_MAX);
        self.reader = Box::new(BufReader::with_capacity(BUFFER_BYTES, unpacked));
        self.plain = false;
        Ok(self)
    }
}

fn time(at: SystemTime) -> Timestamp {
    match at.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(since) => Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
        Err(before) => {
            let micros = i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(-micros)
        }
    }
}

pub(super) enum Contents {
    /// What libpcap reads.
    Pcap,
    Pcapng,
    Lines,
}

/// Tells by the first bytes what follows.
pub(super) fn what_is(reader: &mut dyn BufRead) -> Result<Contents, Unreadable> {
    let start = reader.fill_buf().map_err(Unreadable::Read)?;
    let start = start.get(..PEEK_BYTES).unwrap_or(start);
    match start {
        [] => Err(Unreadable::Empty),
        // Microseconds, nanoseconds and Kuznetzov's variant in both byte orders.
        [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xcd, 0x34, ..]
        | [0x34, 0xcd, 0xb2, 0xa1, ..] => Ok(Contents::Pcap),
        [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(Contents::Pcapng),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Err(Unreadable::Format("compressed with zstd")),
        [0xfd, b'7', b'z', b'X', b'Z', ..] => Err(Unreadable::Format("compressed with xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', 0x31, 0x41, ..] => Err(Unreadable::Format("compressed with bzip2")),
        [b'P', b'K', 3, 4, ..] => Err(Unreadable::Format("a ZIP archive")),
        [b's', b'n', b'o', b'o', b'p', 0, ..] => Err(Unreadable::Format("a Solaris snoop capture")),
        [b'L', b'P', b'K', b'S', b'H', b'H', b'R', b'H', ..] => Err(Unreadable::Format("a systemd journal")),
        text if is_text(text) => Ok(Contents::Lines),
        _ => Err(Unreadable::Binary),
    }
}

/// A log may hold any byte, but not mostly control characters. A hole of zeros at the start is common after
/// copytruncate.
fn is_text(start: &[u8]) -> bool {
    let hole = start.iter().take_while(|byte| **byte == 0).count();
    let rest = start.get(hole..).unwrap_or_default();
    let odd =
        rest.iter().filter(|byte| **byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x1b)).count();
    odd * 10 <= rest.len() * 3
}

/// Reads a line without its end into `line`, at most one byte more than a detector looks at, and returns how
/// many bytes it took in the file.
pub(super) fn next_line(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
    line.clear();
    let mut taken = 0;
    loop {
        let bytes = match reader.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            bytes => bytes?,
        };
        if bytes.is_empty() {
            break;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        let room = (LINE_BYTES_MAX + 1).saturating_sub(line.len());
        line.extend_from_slice(part.get(..room).unwrap_or(part));
        let used = part.len() + usize::from(end.is_some());
        taken += used as u64;
        reader.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    Ok((taken > 0).then_some(taken))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(start: &[u8]) -> String {
        match what_is(&mut &*start) {
            Ok(Contents::Pcap) => "pcap".to_owned(),
            Ok(Contents::Pcapng) => "pcapng".to_owned(),
            Ok(Contents::Lines) => "lines".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_a_file_is_is_told_by_its_first_bytes() {
        assert_eq!(kind(b"\xd4\xc3\xb2\xa1rest"), "pcap");
        assert_eq!(kind(b"\x0a\x0d\x0d\x0arest"), "pcapng");
        assert_eq!(kind(b"Nov 22 10:00:00 gw kernel: x\n"), "lines");
        assert_eq!(kind(b"\0\0\0\0\0\0\0\0Nov 22 10:00:00 gw kernel: x\n"), "lines");
        assert_eq!(kind(b""), "is empty");
        assert_eq!(kind(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"), "is neither a capture nor text");
        assert!(kind(b"\xfd7zXZ\0").contains("xz"));
    }

    #[test]
    fn lines_end_with_either_ending_and_the_last_needs_none() {
        let mut reader: &[u8] = b"one\ntwo\r\n\nlast";
        let mut lines = Vec::new();
        let mut line = Vec::new();
        while let Some(bytes) = next_line(&mut reader, &mut line).unwrap() {
            lines.push((String::from_utf8(line.clone()).unwrap(), bytes));
        }
        let expected = [("one", 4), ("two", 5), ("", 1), ("last", 4)];
        assert_eq!(lines, expected.map(|(line, bytes)| (line.to_owned(), bytes)));
    }

    #[test]
    fn a_line_without_end_is_not_kept_whole() {
        let endless = vec![b'a'; LINE_BYTES_MAX * 3];
        let mut line = Vec::new();
        let bytes = next_line(&mut &endless[..], &mut line).unwrap();
        assert_eq!((line.len(), bytes), (LINE_BYTES_MAX + 1, Some(endless.len() as u64)));
    }
}

//! Reads captures and log files from disk or standard input into a detector, for `replay` and `observe`.
//!
//! What a file is, is told by its first bytes and not by its name: pcap, pcapng, either of them or a log
//! compressed with gzip, and everything else that is text as log lines.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use detect::{Detector, LINE_BYTES_MAX, Line, Link};
use flate2::bufread::MultiGzDecoder;
use indicatif::ProgressBar;
use pcap::{Capture, Offline};
use protocol::Timestamp;

/// Standard input's name on the command line.
pub const STDIN: &str = "-";
/// What gzip may unpack to; more is refused (a gigabyte of zeros takes a megabyte).
const UNPACKED_BYTES_MAX: u64 = 64 << 30;
/// Bytes looked at to tell what a file is.
const PEEK_BYTES: usize = 4096;

/// Why an input was not read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// Missing, no permission, a folder.
    #[error("cannot be opened: {0}")]
    Open(io::Error),
    /// Broken while reading.
    #[error("cannot be read on: {0}")]
    Read(io::Error),
    /// Nothing in it.
    #[error("is empty")]
    Empty,
    /// libpcap does not understand it, or it is cut.
    #[error("is no capture that libpcap reads to its end: {0}")]
    Capture(pcap::Error),
    /// A link type without an own decoder.
    #[error(
        "has link type {name} ({number}), which is not decoded; Ethernet, Linux cooked, raw IP, loopback and PPP are"
    )]
    LinkType {
        /// libpcap's number.
        number: i32,
        /// libpcap's name.
        name: String,
    },
    /// Compressed with something other than gzip, or another format altogether.
    #[error("is {0}; unpack or convert it first")]
    Format(&'static str),
    /// Neither capture nor text.
    #[error("is neither a capture nor text")]
    Binary,
    /// The program was asked to print to a pipe that somebody closed.
    #[error("the output was closed: {0}")]
    Output(io::Error),
}

/// Takes what the detector has to give out after each frame or line.
pub type Drain<'a> = dyn FnMut(&mut Detector) -> io::Result<()> + 'a;

/// Reads one input to its end into a detector and finishes it.
///
/// # Errors
/// Says why the input, or the rest of it, could not be read; what was read until then is in the detector.
pub fn read(
    path: &Path,
    detector: &mut Detector,
    progress: &ProgressBar,
    drain: &mut Drain<'_>,
) -> Result<(), Unreadable> {
    let mut source = Source::open(path)?;
    progress.set_length(source.bytes);
    let mut reading = Reading { detector, progress, drain, last_at: source.modified };
    let read = match what_is(&mut source.reader)? {
        Contents::Capture if source.plain => reading.capture(Capture::from_file(path)),
        Contents::Capture => reading.piped_capture(source.reader),
        Contents::Lines => reading.lines(source.reader),
    };
    let last_at = reading.last_at;
    detector.finish(last_at);
    drain(detector).map_err(Unreadable::Output)?;
    read
}

/// An opened input, unpacked when it is gzip.
struct Source {
    reader: Box<dyn BufRead + Send>,
    /// A plain file that libpcap can open by itself.
    plain: bool,
    bytes: u64,
    modified: Timestamp,
}

impl Source {
    fn open(path: &Path) -> Result<Self, Unreadable> {
        if path == Path::new(STDIN) {
            let reader = BufReader::with_capacity(PEEK_BYTES * 16, io::stdin());
            return Self {
                reader: Box::new(reader),
                plain: false,
                bytes: 0,
                modified: time(SystemTime::now()),
            }
            .unpacked();
        }
        let file = File::open(path).map_err(Unreadable::Open)?;
        let about = file.metadata().map_err(Unreadable::Open)?;
        if about.is_dir() {
            return Err(Unreadable::Open(io::ErrorKind::IsADirectory.into()));
        }
        // A log line's own time cannot be trusted; the file's makes the output the same each time.
        let modified = about.modified().map_or_else(|_| time(SystemTime::now()), time);
        let reader = BufReader::with_capacity(PEEK_BYTES * 16, file);
        Self {
            reader: Box::new(reader),
            plain: about.is_file() && path.to_str().is_some_and(|path| path != STDIN),
            bytes: about.len(),
            modified,
        }
        .unpacked()
    }

    fn unpacked(mut self) -> Result<Self, Unreadable> {
        let start = self.reader.fill_buf().map_err(Unreadable::Read)?;
        if !start.starts_with(&[0x1f, 0x8b, 0x08]) {
            return Ok(self);
        }
        let unpacked = MultiGzDecoder::new(self.reader).take(UNPACKED_BYTES_MAX);
        self.reader = Box::new(BufReader::with_capacity(PEEK_BYTES * 16, unpacked));
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

enum Contents {
    Capture,
    Lines,
}

/// Tells by the first bytes what follows.
fn what_is(reader: &mut dyn BufRead) -> Result<Contents, Unreadable> {
    let start = reader.fill_buf().map_err(Unreadable::Read)?;
    let start = start.get(..PEEK_BYTES).unwrap_or(start);
    match start {
        [] => Err(Unreadable::Empty),
        // Microseconds, nanoseconds and Kuznetzov's variant in both byte orders; pcapng.
        [0xa1, 0xb2, 0xc3, 0xd4, ..]
        | [0xd4, 0xc3, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0x3c, 0x4d, ..]
        | [0x4d, 0x3c, 0xb2, 0xa1, ..]
        | [0xa1, 0xb2, 0xcd, 0x34, ..]
        | [0x34, 0xcd, 0xb2, 0xa1, ..]
        | [0x0a, 0x0d, 0x0d, 0x0a, ..] => Ok(Contents::Capture),
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

struct Reading<'a, 'd> {
    detector: &'a mut Detector,
    progress: &'a ProgressBar,
    drain: &'a mut Drain<'d>,
    last_at: Timestamp,
}

impl Reading<'_, '_> {
    fn capture(&mut self, opened: Result<Capture<Offline>, pcap::Error>) -> Result<(), Unreadable> {
        let mut capture = opened.map_err(Unreadable::Capture)?;
        let link_type = capture.get_datalink();
        let link = Link::from_dlt(link_type.0).ok_or_else(|| Unreadable::LinkType {
            number: link_type.0,
            name: link_type.get_name().unwrap_or_else(|_| "of no name".to_owned()),
        })?;
        loop {
            match capture.next_packet() {
                Ok(packet) => {
                    let at = Timestamp::from_seconds(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
                    self.last_at = at;
                    self.detector.handle_frame(at, link, packet.data);
                    self.progress.inc(16 + u64::from(packet.header.caplen));
                }
                Err(pcap::Error::NoMorePackets) => return Ok(()),
                Err(error) => return Err(Unreadable::Capture(error)),
            }
            (self.drain)(self.detector).map_err(Unreadable::Output)?;
        }
    }

    /// libpcap wants a file of its own: a thread feeds it through a pipe.
    fn piped_capture(&mut self, mut from: Box<dyn BufRead + Send>) -> Result<(), Unreadable> {
        let (reader, mut writer) = io::pipe().map_err(Unreadable::Read)?;
        let path = PathBuf::from(format!("/dev/fd/{}", reader.as_raw_fd()));
        let feeder = std::thread::spawn(move || -> io::Result<()> {
            match io::copy(&mut from, &mut writer).and_then(|_| writer.flush()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()), // libpcap has given up
                done => done,
            }
        });
        let opened = Capture::from_file(&path);
        drop(reader);
        self.capture(opened)?;
        match feeder.join() {
            Ok(fed) => fed.map_err(Unreadable::Read),
            Err(_) => Err(Unreadable::Read(io::ErrorKind::Other.into())),
        }
    }

    fn lines(&mut self, mut reader: Box<dyn BufRead + Send>) -> Result<(), Unreadable> {
        let mut line = Vec::new();
        let mut number = 0;
        let at = self.last_at;
        while let Some(bytes) = next_line(&mut reader, &mut line).map_err(Unreadable::Read)? {
            number += 1;
            self.detector.handle_line(at, Line { number, offset: None, bytes: &line });
            self.progress.inc(bytes);
            (self.drain)(self.detector).map_err(Unreadable::Output)?;
        }
        Ok(())
    }
}

/// Reads a line without its end into `line`, at most one byte more than a detector looks at, and returns how
/// many bytes it took in the file.
fn next_line(reader: &mut dyn BufRead, line: &mut Vec<u8>) -> io::Result<Option<u64>> {
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
            Ok(Contents::Capture) => "capture".to_owned(),
            Ok(Contents::Lines) => "lines".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_a_file_is_is_told_by_its_first_bytes() {
        assert_eq!(kind(b"\xd4\xc3\xb2\xa1rest"), "capture");
        assert_eq!(kind(b"\x0a\x0d\x0d\x0arest"), "capture");
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

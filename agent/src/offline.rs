//! Reads captures and log files from disk or standard input into a detector, for `replay` and `observe`.
//!
//! What a file is, is told by its first bytes and not by its name: pcap, pcapng, either of them or a log
//! compressed with gzip, and everything else that is text as log lines.

mod pcapng;
mod progress;
pub mod shelf;
mod source;

use std::io::{self, BufRead, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use detect::{Detector, Line, Link};
use pcap::{Capture, Linktype, Offline};
use protocol::Timestamp;

use pcapng::{Blocks, Damage};
pub use progress::Progress;
use source::{Contents, Source, next_line, what_is};

/// Standard input's name on the command line.
pub const STDIN: &str = "-";
/// Progress is told in steps of so many bytes.
const COUNTED_BYTES: u64 = 1 << 20;

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
    /// The same of pcapng.
    #[error("is no pcapng capture that can be read to its end: {0}")]
    Blocks(Damage),
    /// A link type without an own decoder; in pcapng, of one of the interfaces.
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
    /// Its reader ended without a word.
    #[error("made its reader panic; please report it")]
    Panicked,
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
    progress: &Progress,
    drain: &mut Drain<'_>,
) -> Result<(), Unreadable> {
    let mut source = Source::open(path, progress)?;
    let mut reading = Reading { detector, drain, last_at: source.modified };
    let read = match what_is(&mut source.reader)? {
        Contents::Pcap if source.plain => {
            // libpcap reads the file by itself, from its beginning.
            let peeked = source.reader.fill_buf().map_err(Unreadable::Read)?.len();
            progress.take_back(peeked as u64);
            drop(source.reader);
            reading.capture(Capture::from_file(path), &mut |bytes| progress.add(bytes))
        }
        Contents::Pcap => reading.piped_capture(source.reader),
        Contents::Pcapng => reading.blocks(Blocks::new(source.reader)),
        Contents::Lines => reading.lines(source.reader),
    };
    let last_at = reading.last_at;
    detector.finish(last_at);
    drain(detector).map_err(Unreadable::Output)?;
    read
}

/// Reads the lines of a log, each with its number from 1 and at most one byte more than a detector looks at.
///
/// # Errors
/// Says why the input, or the rest of it, could not be read.
pub fn read_lines(
    path: &Path,
    progress: &Progress,
    each: &mut dyn FnMut(u64, &[u8]) -> io::Result<()>,
) -> Result<(), Unreadable> {
    let mut source = Source::open(path, progress)?;
    let Contents::Lines = what_is(&mut source.reader)? else { return Err(Unreadable::Format("a capture")) };
    let (mut line, mut number) = (Vec::new(), 0);
    while next_line(&mut source.reader, &mut line).map_err(Unreadable::Read)?.is_some() {
        number += 1;
        each(number, &line).map_err(Unreadable::Output)?;
    }
    Ok(())
}

struct Reading<'a, 'd> {
    detector: &'a mut Detector,
    drain: &'a mut Drain<'d>,
    last_at: Timestamp,
}

impl Reading<'_, '_> {
    fn capture(
        &mut self,
        opened: Result<Capture<Offline>, pcap::Error>,
        count: &mut dyn FnMut(u64),
    ) -> Result<(), Unreadable> {
        let mut capture = opened.map_err(Unreadable::Capture)?;
        let link_type = capture.get_datalink();
        let link = Link::from_dlt(link_type.0).ok_or_else(|| unknown(link_type))?;
        let mut bytes = 0;
        loop {
            match capture.next_packet() {
                Ok(packet) => {
                    let at = Timestamp::from_seconds(packet.header.ts.tv_sec, packet.header.ts.tv_usec);
                    self.last_at = at;
                    self.detector.handle_frame(at, link, packet.data);
                    bytes += 16 + u64::from(packet.header.caplen);
                }
                Err(pcap::Error::NoMorePackets) => break,
                Err(error) => return Err(Unreadable::Capture(error)),
            }
            if bytes > COUNTED_BYTES {
                count(std::mem::take(&mut bytes));
            }
            (self.drain)(self.detector).map_err(Unreadable::Output)?;
        }
        count(bytes);
        Ok(())
    }

    /// Packets of interfaces whose frames are not decoded are passed over, and said at the end.
    fn blocks(&mut self, mut blocks: Blocks<Box<dyn BufRead + Send>>) -> Result<(), Unreadable> {
        let mut not_decoded = None;
        let read = loop {
            let packet = match blocks.next() {
                Ok(Some(packet)) => packet,
                Ok(None) => break Ok(()),
                Err(damage) => break Err(Unreadable::Blocks(damage)),
            };
            let at = packet.at.unwrap_or(self.last_at);
            self.last_at = at;
            match Link::from_dlt(packet.link_type) {
                Some(link) => self.detector.handle_frame(at, link, packet.bytes),
                None => not_decoded = not_decoded.or(Some(packet.link_type)),
            }
            (self.drain)(self.detector).map_err(Unreadable::Output)?;
        };
        read.and(not_decoded.map_or(Ok(()), |number| Err(unknown(Linktype(number)))))
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
        self.capture(opened, &mut |_| {})?;
        match feeder.join() {
            Ok(fed) => fed.map_err(Unreadable::Read),
            Err(_) => Err(Unreadable::Read(io::ErrorKind::Other.into())),
        }
    }

    fn lines(&mut self, mut reader: Box<dyn BufRead + Send>) -> Result<(), Unreadable> {
        let mut line = Vec::new();
        let mut number = 0;
        let at = self.last_at;
        while next_line(&mut reader, &mut line).map_err(Unreadable::Read)?.is_some() {
            number += 1;
            self.detector.handle_line(at, Line { number, offset: None, bytes: &line });
            (self.drain)(self.detector).map_err(Unreadable::Output)?;
        }
        Ok(())
    }
}

fn unknown(link_type: Linktype) -> Unreadable {
    let name = link_type.get_name().unwrap_or_else(|_| "of no name".to_owned());
    Unreadable::LinkType { number: link_type.0, name }
}

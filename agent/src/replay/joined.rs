//! Hits on their way from the readers of inputs to standard output: the two sides of a gateway's translation become
//! one, by packet time and also when they stand in two captures.

use std::io::{self, Write};

use detect::{Counters, Joiner};
use protocol::{Hit, Timestamp};

use crate::hit_text;

/// Writes a hit as a line for [`Joined`], with what its encoded form leaves out.
pub fn carry(hit: &Hit, lines: &mut Vec<u8>) -> io::Result<()> {
    let start = hit.traffic.and_then(|traffic| traffic.start);
    let word = hit_text::written(hit).ok_or(io::ErrorKind::InvalidData)?;
    writeln!(lines, "{} {word}", start.map_or_else(String::new, |start| start.to_string()))
}

fn carried(line: &[u8]) -> Option<Hit> {
    let (start, word) =
        line.trim_ascii_end().split_at_checked(line.iter().position(|byte| *byte == b' ')?)?;
    let mut hit = hit_text::read(word.trim_ascii_start())?;
    if let Some(traffic) = &mut hit.traffic {
        traffic.start = std::str::from_utf8(start).ok()?.parse().ok();
    }
    Some(hit)
}

/// Takes lines of [`carry`], in pieces of any size, and writes hits, one a line as JSON.
pub struct Joined<W> {
    joiner: Joiner,
    /// A line whose end has not come yet.
    begun: Vec<u8>,
    last_at: Timestamp,
    out: W,
}

impl<W: Write> Joined<W> {
    pub fn new(joiner: Joiner, out: W) -> Self {
        Self { joiner, begun: Vec::new(), last_at: Timestamp::from_micros(0), out }
    }

    /// All inputs are read: writes what still waits for its other side. Gives what was joined.
    pub fn finish(mut self) -> (Counters, io::Result<()>) {
        self.joiner.finish(self.last_at);
        let written = self.hand_on().and_then(|()| self.out.flush());
        (self.joiner.counters(), written)
    }

    fn hand_on(&mut self) -> io::Result<()> {
        while let Some(hit) = self.joiner.poll_hit() {
            serde_json::to_writer(&mut self.out, &hit)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }
}

impl<W: Write> Write for Joined<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let hit = carried(&self.begun).ok_or(io::ErrorKind::InvalidData)?;
                self.begun.clear();
                self.last_at = hit.at;
                self.joiner.handle_hit(hit.at, hit);
            }
        }
        self.hand_on()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

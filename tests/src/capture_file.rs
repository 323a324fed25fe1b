//! Capture files in the classic pcap format, written byte by byte so that a test knows what is in them.

use std::io::{self, Write};

/// First second of every capture that is made here: 2026-11-22T10:00:00Z.
pub const BEGIN_SECONDS: u64 = 1_795_341_600;

/// A frame with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Microseconds since the capture began.
    pub at_micros: u64,
    /// The frame from its Ethernet header.
    pub frame: Vec<u8>,
}

/// Writes a capture of Ethernet frames that begins at [`BEGIN_SECONDS`].
///
/// # Errors
/// When the writer fails.
pub fn write(mut to: impl Write, packets: &[Packet]) -> io::Result<()> {
    let ethernet: u32 = 1;
    to.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
    to.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
    to.write_all(&262_144_u32.to_le_bytes())?;
    to.write_all(&ethernet.to_le_bytes())?;
    for Packet { at_micros, frame } in packets {
        let length = u32::try_from(frame.len()).map_err(io::Error::other)?;
        let seconds = u32::try_from(BEGIN_SECONDS + at_micros / 1_000_000).map_err(io::Error::other)?;
        let micros = u32::try_from(at_micros % 1_000_000).map_err(io::Error::other)?;
        for word in [seconds, micros, length, length] {
            to.write_all(&word.to_le_bytes())?;
        }
        to.write_all(frame)?;
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_format() {
        let mut file = Vec::new();
        write(&mut file, &[Packet { at_micros: 1_000_002, frame: vec![7; 60] }]).unwrap();
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        assert_eq!(file[20..24], [1, 0, 0, 0]);
        assert_eq!(file[24..28], (1_795_341_601_u32).to_le_bytes());
        assert_eq!(file[28..32], [2, 0, 0, 0]);
        assert_eq!(file.len(), 24 + 16 + 60);
    }

    #[test]
    fn the_beginning_is_the_day_it_says() {
        let begin = jiff::Timestamp::from_second(i64::try_from(BEGIN_SECONDS).unwrap()).unwrap();
        assert_eq!(begin.to_string(), "2026-11-22T10:00:00Z");
    }
}

//! Records as they lie in a segment: marker, length, sequence, CRC-32, payload. After damage the scan goes
//! on at the next marker, so that a damaged record loses that record only.

use std::io::{self, Read};

/// Begins every record. 0xff and 0xfe are never part of UTF-8 text, so no hit's evidence can hold it; the
/// last byte is the format's version.
const MARKER: [u8; 4] = [0xff, b'V', 0xfe, 1];
/// Marker, length, sequence, checksum.
pub const HEADER_BYTES: usize = 20;
/// The longest payload: a hit with all its texts at their limits is below 16 KiB.
pub const PAYLOAD_BYTES_MAX: usize = 64 << 10;
/// What the scanner reads at once.
const READ_BYTES: usize = 64 << 10;

/// Appends a record to a buffer.
pub fn encode(sequence: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&MARKER);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&sequence.to_be_bytes());
    out.extend_from_slice(&checksum(length, sequence, payload).to_be_bytes());
    out.extend_from_slice(payload);
}

fn checksum(length: u32, sequence: u64, payload: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&length.to_be_bytes());
    crc.update(&sequence.to_be_bytes());
    crc.update(payload);
    crc.finalize()
}

/// A whole record, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its sequence on disk.
    pub sequence: u64,
    /// Its payload.
    pub payload: Vec<u8>,
    /// Offset of the first byte after it.
    pub end: u64,
}

/// Reads records from a segment and passes over what is damaged.
pub struct Scanner<R> {
    source: R,
    buffer: Vec<u8>,
    /// Bytes of the buffer that were given out.
    taken: usize,
    /// Offset of the first byte that was not given out.
    offset: u64,
    at_end: bool,
    markers_skipped: u64,
}

enum Next {
    Record(Found, usize),
    NeedBytes(usize),
    NoRecord,
}

impl<R: Read> Scanner<R> {
    /// A scanner whose source is at `offset`.
    pub fn new(source: R, offset: u64) -> Self {
        Self { source, buffer: Vec::new(), taken: 0, offset, at_end: false, markers_skipped: 0 }
    }

    /// Markers in bytes that belong to no whole record: about how many records were damaged.
    pub fn markers_skipped(&self) -> u64 {
        self.markers_skipped
    }

    /// The next whole record, `None` at the end.
    ///
    /// # Errors
    /// What the source returns.
    pub fn read_next(&mut self) -> io::Result<Option<Found>> {
        loop {
            match self.look() {
                Next::Record(found, bytes) => {
                    self.drop_front(bytes);
                    return Ok(Some(found));
                }
                Next::NeedBytes(_) if self.at_end && self.ahead().is_empty() => return Ok(None),
                // An end inside a record may be a damaged length: what follows can still hold records.
                Next::NeedBytes(_) if self.at_end => self.skip(),
                Next::NeedBytes(bytes) => self.fill(bytes)?,
                Next::NoRecord => self.skip(),
            }
        }
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.taken..).unwrap_or_default()
    }

    fn look(&self) -> Next {
        let Some((header, rest)) = self.ahead().split_first_chunk::<HEADER_BYTES>() else {
            return Next::NeedBytes(HEADER_BYTES);
        };
        let Some((length, sequence, crc)) = parse_header(header) else { return Next::NoRecord };
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if bytes > PAYLOAD_BYTES_MAX {
            return Next::NoRecord;
        }
        let Some(payload) = rest.get(..bytes) else { return Next::NeedBytes(HEADER_BYTES + bytes) };
        if checksum(length, sequence, payload) != crc {
            return Next::NoRecord;
        }
        let whole = HEADER_BYTES + bytes;
        let end = self.offset + whole as u64;
        Next::Record(Found { sequence, payload: payload.to_vec(), end }, whole)
    }

    /// Passes over one byte at least, to the next place where a marker may begin.
    fn skip(&mut self) {
        let ahead = self.ahead();
        let marker = ahead.starts_with(&MARKER);
        let rest = ahead.get(1..).unwrap_or_default();
        let to = rest.iter().position(|byte| *byte == MARKER[0]).unwrap_or(rest.len()) + 1;
        let to = to.min(ahead.len());
        self.markers_skipped += u64::from(marker);
        self.drop_front(to);
    }

    fn drop_front(&mut self, bytes: usize) {
        self.taken += bytes;
        self.offset += bytes as u64;
    }

    fn fill(&mut self, bytes: usize) -> io::Result<()> {
        self.buffer.drain(..self.taken.min(self.buffer.len()));
        self.taken = 0;
        let wanted = bytes.max(READ_BYTES).saturating_sub(self.buffer.len());
        let read = (&mut self.source).take(wanted as u64).read_to_end(&mut self.buffer)?;
        self.at_end = read == 0;
        Ok(())
    }
}

fn parse_header(header: &[u8; HEADER_BYTES]) -> Option<(u32, u64, u32)> {
    let (marker, rest) = header.split_first_chunk::<4>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let (sequence, rest) = rest.split_first_chunk::<8>()?;
    let crc = rest.first_chunk::<4>()?;
    (*marker == MARKER).then_some((
        u32::from_be_bytes(*length),
        u64::from_be_bytes(*sequence),
        u32::from_be_bytes(*crc),
    ))
}

/// Whether the bytes after the last whole record are the beginning of the next one: a write that was cut
/// short, which nobody was told is safe.
pub fn is_unfinished(tail: &[u8], sequence: u64) -> bool {
    let Some((header, rest)) = tail.split_first_chunk::<HEADER_BYTES>() else {
        return tail.iter().zip(MARKER).all(|(byte, marker)| *byte == marker);
    };
    parse_header(header).is_some_and(|(length, found, _)| {
        let bytes = usize::try_from(length).unwrap_or(usize::MAX);
        found == sequence && bytes <= PAYLOAD_BYTES_MAX && rest.len() < bytes
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scan(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, u64) {
        let mut scanner = Scanner::new(bytes, 0);
        let mut found = Vec::new();
        while let Some(record) = scanner.read_next().unwrap() {
            found.push((record.sequence, record.payload));
        }
        let read: usize =
            found.iter().map(|(_, payload): &(u64, Vec<u8>)| HEADER_BYTES + payload.len()).sum();
        (found, (bytes.len() - read) as u64)
    }

    fn written(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<(u64, Vec<u8>)>) {
        let mut bytes = Vec::new();
        let mut records = Vec::new();
        for (sequence, payload) in (1..).zip(payloads) {
            encode(sequence, payload, &mut bytes);
            records.push((sequence, payload.clone()));
        }
        (bytes, records)
    }

    fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        // Payloads made of the marker's own bytes are the hardest to resynchronise in.
        let byte = prop_oneof![any::<u8>(), Just(0xff), Just(b'V'), Just(0xfe), Just(1)];
        proptest::collection::vec(proptest::collection::vec(byte, 0..200), 1..40)
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(payloads in payloads()) {
            let (bytes, records) = written(&payloads);
            prop_assert_eq!(scan(&bytes), (records, 0));
        }

        #[test]
        fn a_damaged_byte_loses_one_record_and_makes_none_up(
            payloads in payloads(), at in any::<prop::sample::Index>(), flip in 1u8..=255,
        ) {
            let (mut bytes, records) = written(&payloads);
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            let (found, skipped) = scan(&bytes);
            prop_assert!(found.iter().all(|record| records.contains(record)), "a record was made up");
            prop_assert_eq!(found.len(), records.len() - 1);
            prop_assert!(skipped >= HEADER_BYTES as u64);
        }

        #[test]
        fn a_cut_loses_what_is_cut_off(payloads in payloads(), at in any::<prop::sample::Index>()) {
            let (bytes, records) = written(&payloads);
            let at = at.index(bytes.len());
            let whole = records.iter().scan(0, |end, (_, payload)| {
                *end += HEADER_BYTES + payload.len();
                Some(*end)
            });
            let kept = whole.take_while(|end| *end <= at).count();
            prop_assert_eq!(scan(&bytes[..at]).0, &records[..kept]);
        }

        #[test]
        fn no_bytes_make_the_scanner_panic(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let (found, skipped) = scan(&bytes);
            prop_assert!(skipped <= bytes.len() as u64 && found.len() <= bytes.len() / HEADER_BYTES);
        }
    }
}

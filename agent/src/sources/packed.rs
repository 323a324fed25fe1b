//! A rotated log that was compressed: read from its beginning like a plain file, within limits on what it may
//! unpack to. What else than gzip and zstd it may be packed with is only recognised, so that it can be said.

use std::fs::File;
use std::io::{self, BufReader, Read};

use flate2::bufread::MultiGzDecoder;

/// What one file may unpack to; the rest is reported as a gap.
const UNPACKED_BYTES_MAX: u64 = 16 << 30;
/// gzip reaches 1,032; logs stay below a hundred. Beyond that it is no log.
const RATIO_MAX: u64 = 2048;
/// What every file may unpack to, however small it is.
const UNPACKED_BYTES_FREE: u64 = 16 << 20;
/// Memory for what a zstd frame may look back at: 8 MiB, which level 19 needs.
const WINDOW_LOG_MAX: u32 = 23;
/// Unpacked at once.
const PIECE_BYTES: usize = 64 << 10;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// What logrotate does unless told otherwise.
    Gzip,
    /// `compresscmd zstd`.
    Zstd,
    /// xz, bzip2 and lz4, which are not read.
    Unreadable,
}

impl Packing {
    /// By the ending of a name; `None` for a plain file.
    pub fn of(name: &[u8]) -> Option<Self> {
        let dot = name.iter().rposition(|byte| *byte == b'.')?;
        match name.get(dot + 1..)? {
            b"gz" => Some(Self::Gzip),
            b"zst" => Some(Self::Zstd),
            b"xz" | b"bz2" | b"lz4" => Some(Self::Unreadable),
            _ => None,
        }
    }
}

/// What a compressed file unpacks to, read forwards.
pub struct Packed {
    stream: Box<dyn Read + Send>,
    /// How far it is unpacked.
    at: u64,
    /// What was unpacked last, up to there.
    kept: Vec<u8>,
    bytes_max: u64,
}

impl std::fmt::Debug for Packed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packed").field("at", &self.at).finish_non_exhaustive()
    }
}

impl Packed {
    /// Begins to unpack a file.
    ///
    /// # Errors
    /// When it cannot be read, or its kind cannot be unpacked.
    pub fn open(file: File, packing: Packing) -> io::Result<Self> {
        let packed_bytes = file.metadata()?.len();
        let reader = BufReader::with_capacity(PIECE_BYTES, file);
        let stream: Box<dyn Read + Send> = match packing {
            Packing::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Packing::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
                decoder.window_log_max(WINDOW_LOG_MAX)?;
                Box::new(decoder)
            }
            Packing::Unreadable => return Err(io::ErrorKind::Unsupported.into()),
        };
        let bytes_max = packed_bytes.saturating_mul(RATIO_MAX).saturating_add(UNPACKED_BYTES_FREE);
        Ok(Self { stream, at: 0, kept: Vec::new(), bytes_max: bytes_max.min(UNPACKED_BYTES_MAX) })
    }

    /// Fills the buffer from an offset on, which is not before what was asked for last; less at the end.
    ///
    /// # Errors
    /// When the file is damaged or unpacks to too much.
    pub fn read_at(&mut self, buffer: &mut [u8], from: u64) -> io::Result<usize> {
        while self.at < from {
            self.kept.clear();
            let left = from - self.at;
            if self.unpack(usize::try_from(left).unwrap_or(PIECE_BYTES).min(PIECE_BYTES))? == 0 {
                return Ok(0);
            }
        }
        let kept_from = self.at - self.kept.len() as u64;
        let before = from.checked_sub(kept_from).and_then(|before| usize::try_from(before).ok());
        let before = before.ok_or(io::ErrorKind::InvalidInput)?;
        self.kept.drain(..before.min(self.kept.len()));
        while self.kept.len() < buffer.len() {
            let missing = buffer.len() - self.kept.len();
            if self.unpack(missing.min(PIECE_BYTES))? == 0 {
                break;
            }
        }
        let filled = self.kept.len().min(buffer.len());
        if let (Some(to), Some(kept)) = (buffer.get_mut(..filled), self.kept.get(..filled)) {
            to.copy_from_slice(kept);
        }
        Ok(filled)
    }

    fn unpack(&mut self, bytes: usize) -> io::Result<usize> {
        let before = self.kept.len();
        let unpacked = (&mut self.stream).take(bytes as u64).read_to_end(&mut self.kept);
        let gained = self.kept.len() - before;
        self.at += gained as u64;
        if self.at > self.bytes_max {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it unpacks to more than a log would"));
        }
        // What came before the damage is good.
        unpacked.map(|_| gained).or_else(|error| if gained > 0 { Ok(gained) } else { Err(error) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn packed(packing: Packing, text: &[u8]) -> Packed {
        let mut file = tempfile::tempfile().unwrap();
        let bytes = match packing {
            Packing::Zstd => zstd::encode_all(text, 3).unwrap(),
            _ => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                gzip.write_all(text).unwrap();
                gzip.finish().unwrap()
            }
        };
        file.write_all(&bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        Packed::open(file, packing).unwrap()
    }

    fn text() -> Vec<u8> {
        (0..60_000_u32).flat_map(|number| format!("line {number}\n").into_bytes()).collect()
    }

    #[test]
    fn any_part_is_read_as_from_the_plain_file() {
        let text = text();
        for packing in [Packing::Gzip, Packing::Zstd] {
            let mut packed = packed(packing, &text);
            let mut buffer = vec![0; 100_000];
            for from in [0, 10, 10, 70_000, 70_064, 500_000] {
                let filled = packed.read_at(&mut buffer, from as u64).unwrap();
                let expected = &text[from..(from + buffer.len()).min(text.len())];
                assert_eq!(&buffer[..filled], expected, "{packing:?} from {from}");
            }
            assert_eq!(packed.read_at(&mut buffer, text.len() as u64).unwrap(), 0);
            assert_eq!(packed.read_at(&mut buffer, text.len() as u64 + 5).unwrap(), 0);
        }
    }

    #[test]
    fn what_unpacks_to_too_much_is_refused() {
        let mut packed = packed(Packing::Zstd, &vec![0; 64 << 20]);
        let mut buffer = vec![0; PIECE_BYTES];
        let mut from = 0;
        let error = loop {
            match packed.read_at(&mut buffer, from) {
                Ok(filled) => {
                    assert!(filled > 0, "64 MiB of zeros were taken");
                    from += filled as u64;
                }
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(from <= UNPACKED_BYTES_FREE + (RATIO_MAX * 16_384));
    }

    #[test]
    fn what_comes_before_damage_is_read() {
        let text = text();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&text).unwrap();
        let mut bytes = gzip.finish().unwrap();
        bytes.truncate(bytes.len() / 2);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        io::Seek::rewind(&mut file).unwrap();
        let mut packed = Packed::open(file, Packing::Gzip).unwrap();
        let mut buffer = vec![0; 1000];
        assert_eq!(packed.read_at(&mut buffer, 5000).unwrap(), 1000);
        assert_eq!(buffer, text[5000..6000]);
        let mut from = 6000;
        while let Ok(filled) = packed.read_at(&mut buffer, from) {
            assert!(filled > 0, "the damage was taken for an end");
            let at = usize::try_from(from).unwrap();
            assert_eq!(&buffer[..filled], &text[at..at + filled]);
            from += filled as u64;
        }
    }

    #[test]
    fn a_packing_is_known_by_its_ending() {
        for (name, expected) in [
            ("syslog.1.gz", Some(Packing::Gzip)),
            ("syslog.2.zst", Some(Packing::Zstd)),
            ("syslog.2.xz", Some(Packing::Unreadable)),
            ("syslog.1", None),
            ("gz", None),
        ] {
            assert_eq!(Packing::of(name.as_bytes()), expected, "{name}");
        }
    }
}

//! Lines of a compressed file, read as a stream within limits: what bundles and deltas have in common.

use std::io::{self, BufRead, BufReader, Read};

use super::{BundleError, BundleLimits};

/// What RFC 8878 §3.1.1.1.2 recommends every decoder to take: 8 MiB of history.
pub(super) const WINDOW_LOG_MAX: u32 = 23;
/// Bytes that are decompressed at a time.
const CHUNK_BYTES: usize = 64 << 10;

type Compressed<'a> = BufReader<Counted<Box<dyn Read + Send + 'a>>>;

/// Reads one line after the other into one buffer.
pub(crate) struct CompressedLines<'a> {
    lines: BufReader<io::Take<zstd::Decoder<'a, Compressed<'a>>>>,
    limits: BundleLimits,
    line: Vec<u8>,
    number: u64,
}

impl<'a> CompressedLines<'a> {
    /// Begins to read.
    ///
    /// # Errors
    /// When memory for the decoder is missing.
    pub(crate) fn new(compressed: impl Read + Send + 'a, limits: BundleLimits) -> Result<Self, BundleError> {
        let counted = Counted { bytes: Box::new(compressed) as Box<dyn Read + Send + 'a>, count: 0 };
        let mut decoder = zstd::Decoder::new(counted)?;
        decoder.window_log_max(WINDOW_LOG_MAX)?;
        let lines = BufReader::with_capacity(CHUNK_BYTES, decoder.take(limits.bytes_max));
        Ok(Self { lines, limits, line: Vec::new(), number: 0 })
    }

    /// Goes to the next line; false at the end.
    ///
    /// # Errors
    /// When the bytes are damaged or cut, or exceed a limit.
    pub(crate) fn advance(&mut self) -> Result<bool, BundleError> {
        let bytes_max = self.limits.line_bytes_max;
        self.line.clear();
        self.lines.by_ref().take(bytes_max).read_until(b'\n', &mut self.line)?;
        if self.line.is_empty() {
            if self.lines.get_ref().limit() == 0 {
                return Err(BundleError::TooLarge { limit: self.limits.bytes_max, unit: "bytes" });
            }
            return Ok(false);
        }
        if self.line.pop_if(|last| *last == b'\n').is_none() && self.line.len() as u64 >= bytes_max {
            return Err(BundleError::TooLarge { limit: bytes_max, unit: "bytes a line" });
        }
        self.number += 1;
        Ok(true)
    }

    /// The line that was gone to, without its line feed.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// An error about this line.
    pub(crate) fn error(&self, reason: impl ToString) -> BundleError {
        BundleError::Line { line: self.number, reason: reason.to_string() }
    }

    /// Compressed bytes that were taken so far.
    pub(crate) fn compressed_bytes(&self) -> u64 {
        self.lines.get_ref().get_ref().get_ref().get_ref().count
    }
}

/// Counts what is read.
struct Counted<R> {
    bytes: R,
    count: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.bytes.read(into)?;
        self.count += read as u64;
        Ok(read)
    }
}

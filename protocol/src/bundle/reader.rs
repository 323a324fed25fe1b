//! Reads a bundle line by line, and refuses one that is not what its header promises.

use std::io::Read;

use super::lines::CompressedLines;
use super::{BUNDLE_FORMAT, BundleError, BundleHeader, BundleLimits, Line, SetHash};
use crate::indicator::Indicator;

/// Reads a bundle as a stream, within limits. The lines count only when the last one came without an error.
pub struct BundleReader<'a> {
    header: BundleHeader,
    lines: CompressedLines<'a>,
    set: SetHash,
    lines_read: u64,
    unknown: u64,
    done: bool,
}

impl<'a> BundleReader<'a> {
    /// Reads the header.
    ///
    /// # Errors
    /// When the bytes are not zstd or the header is not one that this program reads.
    pub fn new(compressed: impl Read + Send + 'a, limits: BundleLimits) -> Result<Self, BundleError> {
        let mut lines = CompressedLines::new(compressed, limits)?;
        lines.advance()?;
        let header: BundleHeader =
            serde_json::from_slice(lines.line()).map_err(|error| BundleError::Header(error.to_string()))?;
        if header.vedetta_bundle > BUNDLE_FORMAT {
            return Err(BundleError::Format { format: header.vedetta_bundle, newest: BUNDLE_FORMAT });
        }
        if header.indicators > limits.indicators_max {
            return Err(BundleError::TooLarge { limit: limits.indicators_max, unit: "indicators" });
        }
        Ok(Self { header, lines, set: SetHash::default(), lines_read: 0, unknown: 0, done: false })
    }

    /// The header.
    pub fn header(&self) -> &BundleHeader {
        &self.header
    }

    /// The set of all lines read so far, those of unknown kinds included.
    pub fn set(&self) -> SetHash {
        self.set
    }

    /// Lines of a kind that this program does not know, passed over so far.
    pub fn unknown(&self) -> u64 {
        self.unknown
    }

    /// Lines read so far, of [`BundleHeader::indicators`].
    pub fn lines_read(&self) -> u64 {
        self.lines_read
    }

    /// Compressed bytes taken so far, of the length of the file.
    pub fn compressed_bytes(&self) -> u64 {
        self.lines.compressed_bytes()
    }

    /// The bytes of the line that was given last, without its line feed.
    pub fn raw(&self) -> &[u8] {
        self.lines.line()
    }

    /// The indicators alone, entries of the allow-list among them; revocations are passed over.
    pub fn indicators(&mut self) -> impl Iterator<Item = Result<Indicator, BundleError>> + use<'_, 'a> {
        self.filter_map(|line| match line {
            Ok(Line::Indicator(indicator)) => Some(Ok(indicator)),
            Ok(Line::Revocation(_)) => None,
            Err(error) => Some(Err(error)),
        })
    }

    fn read_next(&mut self) -> Result<Option<Line>, BundleError> {
        loop {
            if !self.lines.advance()? {
                return self.check_end().map(|()| None);
            }
            self.lines_read += 1;
            if self.lines_read > self.header.indicators {
                return Err(self.miscounted());
            }
            self.set.add(self.lines.line());
            match Line::read(self.lines.line()) {
                Ok(Some(line)) => return Ok(Some(line)),
                Ok(None) => self.unknown += 1,
                Err(error) => return Err(self.lines.error(error)),
            }
        }
    }

    fn check_end(&self) -> Result<(), BundleError> {
        if self.lines_read != self.header.indicators {
            return Err(self.miscounted());
        }
        match self.header.set {
            Some(promised) if promised != self.set => Err(BundleError::Set { promised, found: self.set }),
            _ => Ok(()),
        }
    }

    fn miscounted(&self) -> BundleError {
        BundleError::Count { promised: self.header.indicators, found: self.lines_read }
    }
}

impl Iterator for BundleReader<'_> {
    type Item = Result<Line, BundleError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        let next = self.read_next().transpose();
        self.done = !matches!(next, Some(Ok(_)));
        next
    }
}

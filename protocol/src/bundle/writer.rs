//! Writes bundles: sorted, each line once, the set named in the header.

use std::cmp::Ordering;
use std::io::{self, Write};

use super::{BundleHeader, Line, Revocation, SetHash};
use crate::indicator::Indicator;

/// How hard a bundle is compressed: it is made once and fetched by every town.
pub const LEVEL: i32 = 10;
/// Higher levels would need more history than [`super::BundleReader`] takes.
const LEVEL_MAX: i32 = 19;

/// Writes a bundle.
pub struct BundleWriter;

impl BundleWriter {
    /// Writes a bundle of indicators alone, as [`BundleWriter::write_lines`] does.
    ///
    /// # Errors
    /// What the sink returns.
    pub fn write_all(
        sink: impl Write,
        indicators: Vec<Indicator>,
        header: BundleHeader,
    ) -> io::Result<BundleHeader> {
        Self::write_lines(sink, indicators, Vec::new(), header)
    }

    /// Sorts, removes repeats of the same value and identifier, and writes header and lines, compressed.
    /// Returns the header as written, with the number of lines and the set.
    ///
    /// # Errors
    /// What the sink returns.
    pub fn write_lines(
        sink: impl Write,
        indicators: Vec<Indicator>,
        revocations: Vec<Revocation>,
        header: BundleHeader,
    ) -> io::Result<BundleHeader> {
        let indicators = indicators.into_iter().map(Line::Indicator);
        let mut lines: Vec<Line> = indicators.chain(revocations.into_iter().map(Line::Revocation)).collect();
        lines.sort_by(Line::order);
        lines.dedup_by(|a, b| Line::order(a, b).is_eq());
        Self::stream(sink, header, LEVEL, || lines.iter())
    }

    /// Writes lines that nobody has to hold: `lines` is called twice and gives the same both times, sorted as
    /// [`Line::order`] says and without repeats. `level` is zstd's, from 1 to 19; the desk uses [`LEVEL`].
    /// Returns the header as written, with the number of lines and the set.
    ///
    /// # Errors
    /// What the sink returns, and [`io::ErrorKind::InvalidInput`] when lines are out of order or differ.
    pub fn stream<I>(
        sink: impl Write,
        header: BundleHeader,
        level: i32,
        lines: impl Fn() -> I,
    ) -> io::Result<BundleHeader>
    where
        I: IntoIterator<Item: std::borrow::Borrow<Line>>,
    {
        let promised = pass(lines(), |_| Ok(()))?;
        let header = BundleHeader { indicators: promised.0, set: Some(promised.1), ..header };
        let mut encoder = zstd::Encoder::new(sink, level.clamp(1, LEVEL_MAX))?;
        encoder.include_checksum(true)?;
        serde_json::to_writer(&mut encoder, &header)?;
        encoder.write_all(b"\n")?;
        let written = pass(lines(), |line| {
            encoder.write_all(line)?;
            encoder.write_all(b"\n")
        })?;
        if written != promised {
            return Err(invalid("the lines are not the same the second time"));
        }
        encoder.finish()?;
        Ok(header)
    }
}

/// Goes through the lines once and gives the bytes of each; returns how many there are and their set.
fn pass<L: std::borrow::Borrow<Line>>(
    lines: impl IntoIterator<Item = L>,
    mut give: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<(u64, SetHash)> {
    let (mut count, mut set, mut bytes) = (0, SetHash::default(), Vec::new());
    let mut before: Option<L> = None;
    for line in lines {
        if before.is_some_and(|before| Line::order(before.borrow(), line.borrow()) != Ordering::Less) {
            return Err(invalid("lines of a bundle must be sorted and without repeats"));
        }
        bytes.clear();
        serde_json::to_writer(&mut bytes, line.borrow())?;
        set.add(&bytes);
        count += 1;
        give(&bytes)?;
        before = Some(line);
    }
    Ok((count, set))
}

fn invalid(reason: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, reason)
}

//! How the file of an index is laid out: a first line that names the format, records, pages, the resident sections,
//! then the layout itself and a footer that leads to it. What a file names is compared with its bounds before use.

use std::io::{self, Write};
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::filter::BLOCK_BYTES;
use super::keys::{CLASSES, Shape};
use super::pages::{PAGE_BYTES, Pages};
use super::{INDEX_FORMAT, IndexError, Meta, ReadAt, USER_AGENT_PARTS_MAX};

/// What a file begins with, the format's number after it.
const MAGIC: [u8; 12] = *b"vedetta idx\n";
/// Bytes of magic and format.
pub const FORMAT_BYTES: usize = MAGIC.len() + 4;
/// Place, length and checksum of the layout.
const FOOTER_BYTES: usize = 16;
/// The parts of user agents, each with offset and length before it, and room for removed ones.
const PARTS_BYTES_MAX: u64 = 2 * USER_AGENT_PARTS_MAX * (10 + 256);
/// The largest layout: shape, counts and examples of what was held back.
const LAYOUT_BYTES_MAX: usize = 1 << 20;

/// Where everything is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Layout {
    /// In hexadecimal.
    pub secret: String,
    pub records: Range<u64>,
    pub pages: Pages,
    pub filters: Vec<Section>,
    /// Version four, version six.
    pub networks: [Section; 2],
    pub parts: Section,
    pub shape: Shape,
    pub meta: Meta,
}

/// A part of the file that is read when it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Section {
    /// Where it begins.
    pub from: u64,
    /// How many elements it has.
    pub count: u64,
    /// Its CRC-32.
    pub checksum: u32,
}

/// What counts and sums on its way.
pub struct Summed<'a> {
    into: &'a mut dyn Write,
    sum: crc32fast::Hasher,
}

impl Write for Summed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.into.write_all(bytes)?;
        self.sum.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.into.flush()
    }
}

/// Something written to, that knows where it stands.
pub trait Position {
    /// Bytes written so far.
    fn position(&self) -> u64;
}

impl Section {
    /// Writes a section of so many elements.
    pub fn write(
        out: &mut (impl Write + Position),
        count: u64,
        write: impl FnOnce(&mut Summed<'_>) -> io::Result<()>,
    ) -> io::Result<Self> {
        let from = out.position();
        let mut summed = Summed { into: out, sum: crc32fast::Hasher::new() };
        write(&mut summed)?;
        Ok(Self { from, count, checksum: summed.sum.finalize() })
    }

    /// Reads the section, whose elements have so many bytes, through `with`, which takes it piece by piece.
    pub fn read<T>(
        self,
        store: &dyn ReadAt,
        with: impl FnOnce(usize, &mut dyn FnMut(&mut [u8]) -> Result<(), IndexError>) -> Result<T, IndexError>,
    ) -> Result<T, IndexError> {
        let damaged = || IndexError::damaged("a section");
        let count = usize::try_from(self.count).map_err(|_| damaged())?;
        let (mut at, mut sum) = (self.from, crc32fast::Hasher::new());
        let read = with(count, &mut |into| {
            store.read_at(at, into)?;
            sum.update(into);
            at += into.len() as u64;
            Ok(())
        })?;
        if sum.finalize() == self.checksum { Ok(read) } else { Err(damaged()) }
    }

    /// Where it ends when an element has so many bytes.
    fn after(self, element_bytes: usize) -> Option<u64> {
        self.count.checked_mul(element_bytes as u64)?.checked_add(self.from)
    }
}

/// What a file begins with.
pub fn header() -> [u8; FORMAT_BYTES] {
    let mut bytes = [0; FORMAT_BYTES];
    let (magic, format) = bytes.split_at_mut(MAGIC.len());
    magic.copy_from_slice(&MAGIC);
    format.copy_from_slice(&INDEX_FORMAT.to_le_bytes());
    bytes
}

impl Layout {
    /// Writes it with the footer, as the last of the file.
    pub fn write(&self, out: &mut (impl Write + Position)) -> Result<(), IndexError> {
        let json = serde_json::to_vec(self).map_err(io::Error::other)?;
        let from = out.position();
        out.write_all(&json)?;
        out.write_all(&from.to_le_bytes())?;
        out.write_all(&u32::try_from(json.len()).map_err(io::Error::other)?.to_le_bytes())?;
        out.write_all(&crc32fast::hash(&json).to_le_bytes())?;
        Ok(())
    }

    /// Reads and checks it: nothing that it names lies outside the file.
    pub fn read(store: &dyn ReadAt) -> Result<Self, IndexError> {
        let damaged = || IndexError::damaged("its layout");
        let size = store.size()?;
        if size < (FORMAT_BYTES + FOOTER_BYTES) as u64 {
            return Err(damaged());
        }
        let mut first = [0; FORMAT_BYTES];
        store.read_at(0, &mut first)?;
        let (magic, format) = first.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(IndexError::damaged("its beginning"));
        }
        let format = u32::from_le_bytes(format.try_into().map_err(|_| damaged())?);
        if format != INDEX_FORMAT {
            return Err(IndexError::Format { format });
        }
        let mut footer = [0; FOOTER_BYTES];
        let end = size - FOOTER_BYTES as u64;
        store.read_at(end, &mut footer)?;
        let (from, rest) = footer.split_first_chunk::<8>().ok_or_else(damaged)?;
        let (length, checksum) = rest.split_first_chunk::<4>().ok_or_else(damaged)?;
        let (from, length) = (u64::from_le_bytes(*from), u32::from_le_bytes(*length) as usize);
        if length > LAYOUT_BYTES_MAX || from.checked_add(length as u64) != Some(end) {
            return Err(damaged());
        }
        let mut json = vec![0; length];
        store.read_at(from, &mut json)?;
        if crc32fast::hash(&json).to_le_bytes() != checksum {
            return Err(damaged());
        }
        let layout: Self = serde_json::from_slice(&json).map_err(|_| damaged())?;
        if layout.fits(from) { Ok(layout) } else { Err(damaged()) }
    }

    fn fits(&self, end: u64) -> bool {
        let pages = Section { from: self.pages.from, count: self.pages.all, checksum: 0 };
        let [v4, v6] = self.networks;
        let filters = self.filters.iter().map(|filter| (*filter, BLOCK_BYTES));
        let sections = [(pages, PAGE_BYTES)].into_iter().chain(filters);
        let mut sections = sections.chain([(v4, 16), (v6, 16), (self.parts, 1)]);
        // One after the other: what is read of them when it is opened is not more than the file has.
        let after = sections.try_fold(self.records.end, |from, (section, element_bytes)| {
            if section.from < from { None } else { section.after(element_bytes) }
        });
        self.records.start >= FORMAT_BYTES as u64
            && self.records.start <= self.records.end
            && self.pages.homes <= self.pages.all
            && self.filters.len() == CLASSES
            && self.parts.count <= PARTS_BYTES_MAX
            && after.is_some_and(|after| after <= end)
            && self.shape.is_possible()
    }
}

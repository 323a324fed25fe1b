//! The hash of a body's content, computed while it goes by: unpacked as it lies on a disk, never kept, bounded both in
//! what goes in and in what comes out.

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use flate2::{Decompress, FlushDecompress, Status};
use md5::{Digest as _, Md5};
use protocol::SeenIn;

use crate::sighting::{Seen, Sighting, Sink, Wants};

/// Larger bodies are not hashed: what hurts a town is a program or a document, not a film. Counted.
pub(crate) const CONTENT_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What unpacks deflate keeps: 32 KiB of window, and tables.
const INFLATE_BYTES: usize = 48 * 1024;
/// Memory that unpacking leaves to everything else that streams keep.
const ROOM_BYTES_MIN: usize = 2 * 1024 * 1024;
/// Content that grows more than so many times, beyond a first part, is made to exhaust who unpacks it.
const GROWTH_MAX: u64 = 128;
const GROWTH_FREE_BYTES: u64 = 64 * 1024;
/// Bytes unpacked at a time.
const PIECE_BYTES: usize = 4096;

/// A body that is being hashed.
pub(crate) struct Content {
    digests: Digests,
    coding: Coding,
    /// Bytes of the body, as it was sent.
    sent: u64,
    /// Bytes that went into the digests.
    bytes: u64,
    evidence: Box<[u8]>,
}

/// How the content is packed.
enum Coding {
    /// Not at all, or in a way that is hashed as it is.
    Plain,
    /// Until the first byte tells zlib (RFC 1950) from bare deflate (RFC 1951): servers send either as `deflate`.
    Deflate,
    Gzip(GzipHeader, Box<Decompress>),
    Inflate(Box<Decompress>),
    /// The packed content is over; what follows is its checksum.
    Over,
}

impl Content {
    /// A hash of what is wanted, if there is room for it. `head`: lines that may leave as evidence.
    pub fn new(
        encoding: Option<&[u8]>,
        head: impl FnOnce() -> Vec<u8>,
        room: usize,
        sink: &mut Sink<'_>,
    ) -> Option<Box<Self>> {
        let digests = Digests::new(sink.wants)?;
        let coding = match encoding {
            Some(name) if name.eq_ignore_ascii_case(b"deflate") => Coding::Deflate,
            Some(name) if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => {
                Coding::Gzip(GzipHeader::default(), Box::new(Decompress::new(false)))
            }
            _ => Coding::Plain,
        };
        if room < ROOM_BYTES_MIN {
            sink.counters.http_bodies_refused += 1;
            return None;
        }
        Some(Box::new(Self { digests, coding, sent: 0, bytes: 0, evidence: head().into() }))
    }

    pub fn held(&self) -> usize {
        let inflate = matches!(self.coding, Coding::Gzip(..) | Coding::Inflate(_));
        size_of::<Self>() + self.evidence.len() + if inflate { INFLATE_BYTES } else { 0 }
    }

    /// Takes bytes of the body as they were sent; false when it cannot be hashed any more, which is counted.
    pub fn update(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> bool {
        if let (Coding::Deflate, Some(first)) = (&self.coding, bytes.first()) {
            // Low bits of 8 are zlib's method; in bare deflate they would be a stored block with odd padding.
            self.coding = Coding::Inflate(Box::new(Decompress::new(first & 0x0f == 8)));
        }
        self.sent += bytes.len() as u64;
        let bytes_max = CONTENT_BYTES_MAX.min(GROWTH_FREE_BYTES + GROWTH_MAX * self.sent);
        let done = match &mut self.coding {
            Coding::Plain => {
                self.bytes += bytes.len() as u64;
                self.digests.update(bytes);
                Ok(false)
            }
            Coding::Gzip(header, inflate) => header
                .pass_over(bytes)
                .and_then(|packed| unpack(inflate, packed, (&mut self.digests, &mut self.bytes), bytes_max)),
            Coding::Inflate(inflate) => {
                unpack(inflate, bytes, (&mut self.digests, &mut self.bytes), bytes_max)
            }
            Coding::Deflate | Coding::Over => Ok(false),
        };
        if self.bytes > bytes_max {
            let is_bomb = bytes_max < CONTENT_BYTES_MAX;
            *(if is_bomb {
                &mut sink.counters.http_bombs
            } else {
                &mut sink.counters.http_bodies_too_long
            }) += 1;
            return false;
        }
        match done {
            Ok(true) => self.coding = Coding::Over,
            Ok(false) => {}
            Err(Damaged) => {
                sink.counters.http_bodies_broken += 1;
                return false;
            }
        }
        true
    }

    /// The body is whole: gives out its digests.
    pub fn finish(self, sink: &mut Sink<'_>) {
        if !matches!(self.coding, Coding::Plain | Coding::Over) {
            sink.counters.http_bodies_broken += 1;
            return;
        }
        if self.bytes == 0 {
            return;
        }
        sink.counters.http_bodies += 1;
        let Digests { md5, sha1, sha256 } = self.digests;
        let mut sight = |seen| sink.sight(Sighting::new(seen, SeenIn::HttpBody, &self.evidence));
        if let Some(md5) = md5 {
            sight(Seen::Md5(md5.finalize().into()));
        }
        if let Some(Ok(sha1)) = sha1.map(|sha1| sha1.finish().as_ref().try_into()) {
            sight(Seen::Sha1(sha1));
        }
        if let Some(Ok(sha256)) = sha256.map(|sha256| sha256.finish().as_ref().try_into()) {
            sight(Seen::Sha256(sha256));
        }
    }
}

/// The packed content contradicts itself.
struct Damaged;

/// Unpacks into the digests until the limit; true when the packed content ended.
fn unpack(
    inflate: &mut Decompress,
    mut packed: &[u8],
    (digests, bytes): (&mut Digests, &mut u64),
    bytes_max: u64,
) -> Result<bool, Damaged> {
    let mut piece = [0; PIECE_BYTES];
    loop {
        let (read_before, made_before) = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress(packed, &mut piece, FlushDecompress::None).map_err(|_| Damaged)?;
        let read = usize::try_from(inflate.total_in() - read_before).unwrap_or(usize::MAX);
        let made = usize::try_from(inflate.total_out() - made_before).unwrap_or(usize::MAX);
        digests.update(piece.get(..made).unwrap_or_default());
        *bytes += made as u64;
        packed = packed.get(read..).unwrap_or_default();
        if status == Status::StreamEnd {
            return Ok(true);
        }
        let stuck = read == 0 && made == 0;
        if *bytes > bytes_max || stuck || (packed.is_empty() && made < PIECE_BYTES) {
            return Ok(false);
        }
    }
}

/// How far a gzip header (RFC 1952 §2.3) was read.
#[derive(Default)]
struct GzipHeader {
    /// Bytes of the fixed part, or of the field at hand, that were read.
    read: usize,
    /// Flags of the fields that are still to come.
    flags: u8,
    part: GzipPart,
    extra: usize,
}

#[derive(Default, PartialEq, Eq)]
enum GzipPart {
    #[default]
    Fixed,
    Fields,
    Over,
}

impl GzipHeader {
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    const CHECKSUM: u8 = 2;

    /// Gives the bytes that follow the header.
    fn pass_over<'a>(&mut self, bytes: &'a [u8]) -> Result<&'a [u8], Damaged> {
        let mut rest = bytes;
        while self.part != GzipPart::Over {
            let Some((byte, after)) = rest.split_first() else { break };
            if self.part == GzipPart::Fields && self.flags == 0 {
                self.part = GzipPart::Over;
                break;
            }
            rest = after;
            self.take(*byte)?;
        }
        Ok(rest)
    }

    fn take(&mut self, byte: u8) -> Result<(), Damaged> {
        if self.part == GzipPart::Fixed {
            match (self.read, byte) {
                (0, 0x1f) | (1, 0x8b) | (2, 8) | (4.., _) => {}
                (3, flags) => self.flags = flags & 0x1e,
                _ => return Err(Damaged),
            }
            self.read += 1;
            if self.read == 10 {
                (self.part, self.read) = (GzipPart::Fields, 0);
            }
            return Ok(());
        }
        self.read += 1;
        let over = if self.flags & Self::EXTRA != 0 {
            match self.read {
                1 => self.extra = usize::from(byte),
                2 => self.extra |= usize::from(byte) << 8,
                _ => {}
            }
            self.read >= 2 && self.read == self.extra + 2
        } else if self.flags & (Self::NAME | Self::COMMENT) != 0 {
            byte == 0
        } else {
            self.read == 2
        };
        if over {
            let fields = [Self::EXTRA, Self::NAME, Self::COMMENT, Self::CHECKSUM];
            let at_hand = fields.into_iter().find(|field| self.flags & field != 0).unwrap_or_default();
            self.flags &= !at_hand;
            self.read = 0;
        }
        Ok(())
    }
}

/// The digests that somebody looks for.
struct Digests {
    md5: Option<Md5>,
    sha1: Option<Context>,
    sha256: Option<Context>,
}

impl Digests {
    /// `None` when nobody looks for any.
    fn new(wants: Wants) -> Option<Self> {
        (wants.md5 || wants.sha1 || wants.sha256).then(|| Self {
            md5: wants.md5.then(Md5::new),
            sha1: wants.sha1.then(|| Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            sha256: wants.sha256.then(|| Context::new(&SHA256)),
        })
    }

    fn update(&mut self, bytes: &[u8]) {
        if let Some(md5) = &mut self.md5 {
            md5.update(bytes);
        }
        for sha in [&mut self.sha1, &mut self.sha256].into_iter().flatten() {
            sha.update(bytes);
        }
    }
}

//! Reads pcapng block by block: each packet with the link type of its own interface, where libpcap refuses a file
//! whose interfaces differ.
//!
//! The format is draft-ietf-opsawg-pcapng. Blocks without packets are passed over; sections may change the byte
//! order and begin their interfaces anew. A file that is cut gives everything before the cut.

use std::io::{self, BufRead, Read as _};
use std::ops::Range;

use protocol::Timestamp;

/// A block with a packet or an interface that is longer is damage: libpcap has the same limit.
const BLOCK_BYTES_MAX: u32 = 16 << 20;
/// Interfaces of one section; `tcpdump -i any` names a few dozen.
const INTERFACES_MAX: usize = 65_536;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
/// Obsolete, still written by old tools.
const PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;

/// Why a file is not read on.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It ends within a block.
    #[error("it ends in the middle of a block")]
    Cut,
    /// Lengths that cannot be.
    #[error("a block has an impossible length")]
    Length,
    /// Not even its beginning can be read.
    #[error("a section does not begin as it must")]
    Section,
    /// A packet of an interface without description.
    #[error("a packet is of an interface that is not described")]
    Interface,
    /// Broken while reading.
    #[error("{0}")]
    Read(#[from] io::Error),
}

/// A packet.
#[derive(Debug)]
pub struct Packet<'a> {
    /// When it was seen; simple packets do not say.
    pub at: Option<Timestamp>,
    /// Link type of its interface.
    pub link_type: i32,
    /// What was captured of it.
    pub bytes: &'a [u8],
}

/// The packets of a file.
pub struct Blocks<R> {
    reader: R,
    order: Order,
    interfaces: Vec<Interface>,
    body: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

#[derive(Clone, Copy, Debug)]
struct Interface {
    link_type: u16,
    snaplen: u32,
    unit: Unit,
    offset_seconds: i64,
}

/// What a time stamp counts, as parts of a second.
#[derive(Clone, Copy, Debug)]
enum Unit {
    PowerOfTen(u8),
    PowerOfTwo(u8),
}

/// A packet's place in the body of its block.
struct Found {
    interface: usize,
    ticks: Option<u64>,
    place: Range<usize>,
}

impl<R: BufRead> Blocks<R> {
    /// Reads from the first byte of a section on.
    pub fn new(reader: R) -> Self {
        Self { reader, order: Order::Little, interfaces: Vec::new(), body: Vec::new() }
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// When the file is damaged; nothing more is to be had of it then.
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Damage> {
        let found = loop {
            let Some(kind) = self.next_block()? else { return Ok(None) };
            let found = match kind {
                INTERFACE => {
                    self.note_interface()?;
                    continue;
                }
                PACKET | ENHANCED_PACKET => self.packet(kind),
                SIMPLE_PACKET => self.simple_packet(),
                _ => continue,
            };
            break found.ok_or(Damage::Length)?;
        };
        let interface = self.interfaces.get(found.interface).ok_or(Damage::Interface)?;
        let bytes = self.body.get(found.place).ok_or(Damage::Length)?;
        let at = found.ticks.map(|ticks| interface.time(ticks));
        Ok(Some(Packet { at, link_type: i32::from(interface.link_type), bytes }))
    }

    /// Reads a block into `body` when it is of interest and gives its kind.
    fn next_block(&mut self) -> Result<Option<u32>, Damage> {
        let mut head = [0; 8];
        match fill(&mut self.reader, &mut head)? {
            0 => return Ok(None),
            8 => {}
            _ => return Err(Damage::Cut),
        }
        let mut kind = self.order.u32(&head, 0).ok_or(Damage::Cut)?;
        let mut read = 8;
        if kind == SECTION {
            let mut magic = [0; 4];
            self.reader.read_exact(&mut magic).map_err(cut)?;
            self.order = match magic {
                [0x4d, 0x3c, 0x2b, 0x1a] => Order::Little,
                [0x1a, 0x2b, 0x3c, 0x4d] => Order::Big,
                _ => return Err(Damage::Section),
            };
            self.interfaces.clear();
            read += 4;
        }
        let length = self.order.u32(&head, 4).ok_or(Damage::Cut)?;
        let rest = length.checked_sub(read + 4).filter(|_| length % 4 == 0).ok_or(Damage::Length)?;
        if matches!(kind, INTERFACE | PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
            if length > BLOCK_BYTES_MAX {
                return Err(Damage::Length);
            }
            self.body.clear();
            if (&mut self.reader).take(u64::from(rest)).read_to_end(&mut self.body)? < rest as usize {
                return Err(Damage::Cut);
            }
        } else {
            let passed = io::copy(&mut (&mut self.reader).take(u64::from(rest)), &mut io::sink())?;
            if passed < u64::from(rest) {
                return Err(Damage::Cut);
            }
            kind = SECTION;
        }
        let mut again = [0; 4];
        self.reader.read_exact(&mut again).map_err(cut)?;
        if self.order.u32(&again, 0) != Some(length) {
            return Err(Damage::Length);
        }
        Ok(Some(kind))
    }

    fn note_interface(&mut self) -> Result<(), Damage> {
        if self.interfaces.len() >= INTERFACES_MAX {
            return Err(Damage::Interface);
        }
        let (order, body) = (self.order, &self.body);
        let link_type = order.u16(body, 0).ok_or(Damage::Length)?;
        let snaplen = order.u32(body, 4).ok_or(Damage::Length)?;
        let mut interface = Interface { link_type, snaplen, unit: Unit::PowerOfTen(6), offset_seconds: 0 };
        let mut options = body.get(8..).unwrap_or_default();
        while let (Some(code @ 1..), Some(length)) = (order.u16(options, 0), order.u16(options, 2)) {
            let value = options.get(4..4 + usize::from(length)).unwrap_or_default();
            match (code, value) {
                (OPTION_RESOLUTION, [unit]) if unit & 0x80 == 0 => interface.unit = Unit::PowerOfTen(*unit),
                (OPTION_RESOLUTION, [unit]) => interface.unit = Unit::PowerOfTwo(unit & 0x7f),
                (OPTION_OFFSET, value) => interface.offset_seconds = order.i64(value).unwrap_or(0),
                _ => {}
            }
            let next = 4 + usize::from(length).next_multiple_of(4);
            options = options.get(next..).unwrap_or_default();
        }
        self.interfaces.push(interface);
        Ok(())
    }

    /// Interface, time stamp in two halves, captured and original length, bytes.
    fn packet(&self, kind: u32) -> Option<Found> {
        let number = |at| self.order.u32(&self.body, at);
        let interface = match kind {
            // 16 bits, and behind them how many were dropped.
            PACKET => usize::from(self.order.u16(&self.body, 0)?),
            _ => number(0)? as usize,
        };
        let ticks = u64::from(number(4)?) << 32 | u64::from(number(8)?);
        let place = 20..20_usize.checked_add(number(12)? as usize)?;
        Some(Found { interface, ticks: Some(ticks), place })
    }

    /// Only the original length is written: what is not padding was captured.
    fn simple_packet(&self) -> Option<Found> {
        let length = self.order.u32(&self.body, 0)?;
        let snaplen = self.interfaces.first().map_or(0, |interface| interface.snaplen);
        let captured = if snaplen == 0 { length } else { length.min(snaplen) };
        let end = (captured as usize).checked_add(4)?.min(self.body.len());
        Some(Found { interface: 0, ticks: None, place: 4..end })
    }
}

impl Interface {
    fn time(&self, ticks: u64) -> Timestamp {
        let micros = match self.unit {
            Unit::PowerOfTen(6) => u128::from(ticks),
            Unit::PowerOfTen(9) => u128::from(ticks / 1_000),
            Unit::PowerOfTen(digits) => {
                let unit = 10_u128.checked_pow(u32::from(digits)).unwrap_or(u128::MAX);
                u128::from(ticks) * 1_000_000 / unit
            }
            Unit::PowerOfTwo(bits) => (u128::from(ticks) * 1_000_000) >> bits,
        };
        let micros = i64::try_from(micros).unwrap_or(i64::MAX);
        Timestamp::from_micros(micros.saturating_add(self.offset_seconds.saturating_mul(1_000_000)))
    }
}

impl Order {
    fn u16(self, bytes: &[u8], at: usize) -> Option<u16> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Little { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) })
    }

    fn u32(self, bytes: &[u8], at: usize) -> Option<u32> {
        let bytes = *bytes.get(at..)?.first_chunk()?;
        Some(if self == Self::Little { u32::from_le_bytes(bytes) } else { u32::from_be_bytes(bytes) })
    }

    fn i64(self, bytes: &[u8]) -> Option<i64> {
        let bytes = *bytes.first_chunk()?;
        Some(if self == Self::Little { i64::from_le_bytes(bytes) } else { i64::from_be_bytes(bytes) })
    }
}

/// Reads until the buffer is full or the input ends; gives how much that was.
fn fill(reader: &mut impl io::Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn cut(error: io::Error) -> Damage {
    if error.kind() == io::ErrorKind::UnexpectedEof { Damage::Cut } else { Damage::Read(error) }
}

#[cfg(test)]
#[path = "pcapng_tests.rs"]
mod tests;

//! Fragments of IP packets, kept until the packet is whole, and given up with what there is of it.
//!
//! Where fragments overlap, IPv4 keeps the bytes that came first, as a stated choice, and the packet is marked; an
//! IPv6 packet is dropped (RFC 5722). A fragment sent twice is no overlap.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use foldhash::quality::RandomState;
use protocol::{Note, Timestamp};

use crate::counters::Counters;
use crate::frame::Fragment;
use crate::sighting::Notes;

/// How long a packet waits for its fragments. RFC 8200 §4.5 asks hosts for 60, RFC 791 for 15; Linux takes 30 for IPv4.
const WAIT_SECONDS: i64 = 30;
/// Fragments of one packet; the smallest of IPv6 networks make 52 of the largest packet, tests and attackers more.
const FRAGMENTS_MAX: usize = 512;
/// The most that a packet can carry behind its first header (RFC 791 §3.1, RFC 8200 §3).
const V4_PAYLOAD_MAX: usize = 65_535 - 20;
const V6_PAYLOAD_MAX: usize = 65_535;
/// What a packet costs beside its bytes: its entry, its places in the index and in the order.
const PACKET_BYTES: usize = 2 * (size_of::<Key>() + size_of::<Packet>()) + 6 * size_of::<Waiting>();
/// Places of packets that are gone stay in the order until they are in front, or more than these and half of all.
const GONE_MAX: usize = 64;
/// What an allocation costs beside its bytes.
const ALLOCATION_BYTES: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// Zero in IPv6, whose fragments may differ in it (RFC 8200 §4.5).
    number: u8,
}

/// A packet's place in the order of arrival.
struct Waiting {
    serial: u64,
    begun_at: Timestamp,
    key: Key,
}

/// Where bytes stand in their packet, and in what is kept of it.
#[derive(Clone, Copy)]
struct Piece {
    start: u16,
    length: u16,
    kept_at: u16,
}

impl Piece {
    fn start(self) -> usize {
        usize::from(self.start)
    }

    fn end(self) -> usize {
        usize::from(self.start) + usize::from(self.length)
    }

    /// Its bytes among those kept.
    fn of(self, kept: &[u8]) -> &[u8] {
        let at = usize::from(self.kept_at);
        kept.get(at..at + usize::from(self.length)).unwrap_or_default()
    }
}

/// A packet that is not whole yet.
struct Packet {
    serial: u64,
    /// In their order, not overlapping.
    pieces: Vec<Piece>,
    /// Bytes of them, as they came.
    kept: Vec<u8>,
    fragments: usize,
    /// Known from the last fragment.
    length: Option<usize>,
    is_v6: bool,
    number: u8,
    hops: u8,
    /// How many packets are around it.
    depth: u8,
    notes: Notes,
    /// Nothing more is kept of it: its fragments overlap in IPv6.
    dropped: bool,
}

/// A packet with a header of its own, whole or as much as there is.
pub(crate) struct Whole {
    pub bytes: Vec<u8>,
    pub depth: u8,
    pub notes: Notes,
}

/// Packets that are not whole yet, oldest first.
pub(crate) struct Fragments {
    packets: HashMap<Key, Packet, RandomState>,
    /// The first is that of a packet that is there; later ones may be gone.
    order: VecDeque<Waiting>,
    serial: u64,
    held: usize,
    held_max: usize,
    /// Where the next packet with a header is made.
    spare: Vec<u8>,
}

impl Fragments {
    /// `held_max`: bytes that may be kept.
    pub fn new(held_max: usize) -> Self {
        let (packets, order) = (HashMap::default(), VecDeque::new());
        Self { packets, order, serial: 0, held: 0, held_max, spare: Vec::new() }
    }

    /// Bytes kept.
    pub fn held(&self) -> usize {
        self.held
    }

    /// When the oldest packet has waited for too long.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        Some(self.order.front()?.begun_at.plus_seconds(WAIT_SECONDS + 1))
    }

    /// Takes a fragment that stood inside so many packets, and gives the packet that it makes whole.
    /// More may be kept than allowed then, until [`Fragments::give_up`] has nothing more to give.
    pub fn take(
        &mut self,
        at: Timestamp,
        (fragment, depth): (&Fragment<'_>, u8),
        counters: &mut Counters,
    ) -> Option<Whole> {
        let number = if fragment.is_v6 { 0 } else { fragment.number };
        let key = Key { src: fragment.src, dst: fragment.dst, id: fragment.id, number };
        let packet = self.packets.entry(key).or_insert_with(|| {
            self.serial += 1;
            self.order.push_back(Waiting { serial: self.serial, begun_at: at, key });
            self.held += PACKET_BYTES;
            Packet::new(self.serial, fragment, depth)
        });
        let before = packet.held();
        packet.take(fragment, counters);
        self.held = (self.held + packet.held()).saturating_sub(before);
        if !packet.is_whole() {
            return None;
        }
        counters.packets_whole += 1;
        self.remove(key)
    }

    /// Whether nothing waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// The next packet that waited for too long, or must make room: what there is of it.
    pub fn give_up(&mut self, at: Timestamp, counters: &mut Counters) -> Option<Whole> {
        let Waiting { begun_at, key, .. } = *self.order.front()?;
        let is_late = at.micros_since(begun_at) > WAIT_SECONDS * 1_000_000;
        if !is_late && self.held <= self.held_max {
            return None;
        }
        let reason = if is_late { &mut counters.fragments_late } else { &mut counters.fragments_evicted };
        *reason += 1;
        self.remove(key)
    }

    /// The input ended: what there is of the oldest packet that is not whole.
    pub fn end(&mut self) -> Option<Whole> {
        let key = self.order.front()?.key;
        self.remove(key)
    }

    /// Takes back the room of a packet that was read, so that a flood of them does not ask for each anew.
    pub fn take_back(&mut self, whole: Whole) {
        self.spare = whole.bytes;
    }

    fn remove(&mut self, key: Key) -> Option<Whole> {
        let packet = self.packets.remove(&key)?;
        self.held = self.held.saturating_sub(PACKET_BYTES + packet.held());
        self.forget_gone();
        Some(packet.with_header(&key, std::mem::take(&mut self.spare)))
    }

    /// Forgets places of packets that are gone: those in front, and all when they are the most.
    fn forget_gone(&mut self) {
        let packets = &self.packets;
        let is_there = |waiting: &Waiting| {
            packets.get(&waiting.key).is_some_and(|packet| packet.serial == waiting.serial)
        };
        while self.order.front().is_some_and(|waiting| !is_there(waiting)) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * packets.len() + GONE_MAX {
            self.order.retain(is_there);
        }
    }
}

impl Packet {
    fn new(serial: u64, fragment: &Fragment<'_>, depth: u8) -> Self {
        Self {
            serial,
            pieces: Vec::new(),
            kept: Vec::new(),
            fragments: 0,
            length: None,
            is_v6: fragment.is_v6,
            number: fragment.number,
            hops: fragment.hops,
            depth,
            notes: Notes::default(),
            dropped: false,
        }
    }

    /// Bytes kept.
    fn held(&self) -> usize {
        let (kept, pieces) = (self.kept.capacity(), self.pieces.capacity() * size_of::<Piece>());
        kept + pieces + if kept > 0 { 2 * ALLOCATION_BYTES } else { 0 }
    }

    fn take(&mut self, fragment: &Fragment<'_>, counters: &mut Counters) {
        self.fragments += 1;
        if self.dropped {
            return;
        }
        if self.fragments > FRAGMENTS_MAX {
            counters.fragments_too_many += 1;
            return;
        }
        // Offsets count eights of bytes: what a fragment that is not the last has beyond those is cut, as Linux does.
        let length = if fragment.more { fragment.length & !7 } else { fragment.length };
        let (start, end) = (fragment.offset, fragment.offset + length);
        let payload_max = if self.is_v6 { V6_PAYLOAD_MAX } else { V4_PAYLOAD_MAX };
        let last_piece_ends = self.pieces.last().map_or(0, |piece| piece.end());
        let cannot_be = end > payload_max
            || (fragment.more && length == 0)
            || self.length.is_some_and(|length| end > length || (!fragment.more && end != length))
            || (!fragment.more && end < last_piece_ends);
        if cannot_be {
            counters.fragments_malformed += 1;
            return;
        }
        if !fragment.more {
            self.length = Some(end);
        }
        if start == 0 {
            (self.number, self.hops) = (fragment.number, fragment.hops);
        }
        self.put(start, fragment.bytes.get(..length).unwrap_or(fragment.bytes), counters);
    }

    /// Puts bytes where no others are.
    fn put(&mut self, start: usize, bytes: &[u8], counters: &mut Counters) {
        let end = start + bytes.len();
        let mut at = self.pieces.partition_point(|piece| piece.end() <= start);
        let beside = self.pieces.get(at).is_none_or(|piece| end <= piece.start());
        if !beside {
            let is_again = |piece: &Piece| piece.start() == start && piece.of(&self.kept) == bytes;
            let again = self.pieces.get(at).is_some_and(is_again);
            if again {
                return;
            }
            counters.fragments_overlap += 1;
            if self.is_v6 {
                self.drop_all();
                return;
            }
            self.notes.add(Note::FragmentsOverlap);
        }
        let mut from = start;
        while from < end {
            let taken = self.pieces.get(at).map(|piece| (piece.start(), piece.end()));
            let until = taken.map_or(end, |(start, _)| start.min(end));
            if from < until {
                let Some(bytes) = bytes.get(from - start..until - start) else { return };
                let Some(piece) = self.keep(from, bytes) else { return };
                self.pieces.insert(at, piece);
                at += 1;
            }
            from = taken.map_or(end, |(_, end)| end);
            at += 1;
        }
    }

    /// Offsets and sums are below the most that a packet can carry, which 16 bits tell.
    fn keep(&mut self, start: usize, bytes: &[u8]) -> Option<Piece> {
        let kept_at = u16::try_from(self.kept.len()).ok()?;
        let (start, length) = (u16::try_from(start).ok()?, u16::try_from(bytes.len()).ok()?);
        self.kept.extend_from_slice(bytes);
        Some(Piece { start, length, kept_at })
    }

    fn drop_all(&mut self) {
        self.dropped = true;
        (self.pieces, self.kept) = (Vec::new(), Vec::new());
    }

    fn is_whole(&self) -> bool {
        // Pieces do not overlap and end where the packet ends, so their bytes tell.
        self.length.is_some_and(|length| length == self.kept.len()) && !self.dropped
    }

    /// The bytes from the start to the first that is missing, behind a header without options.
    /// They are put in the room given.
    fn with_header(&self, key: &Key, mut bytes: Vec<u8>) -> Whole {
        let mut payload_length = 0;
        for piece in &self.pieces {
            if piece.start() > payload_length {
                break;
            }
            payload_length = piece.end();
        }
        // What the header says is more than there is, when some is missing.
        let said = self.length.unwrap_or(payload_length + 8).max(payload_length);
        let header_length = if self.is_v6 { 40 } else { 20 };
        bytes.clear();
        bytes.reserve(header_length + payload_length);
        match (key.src, key.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                let total = u16::try_from(said + 20).unwrap_or(u16::MAX).to_be_bytes();
                bytes.extend([0x45, 0]);
                bytes.extend(total);
                bytes.extend([0, 0, 0, 0, self.hops, self.number, 0, 0]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                bytes.extend([0x60, 0, 0, 0]);
                bytes.extend(u16::try_from(said).unwrap_or(u16::MAX).to_be_bytes());
                bytes.extend([self.number, self.hops]);
                bytes.extend(src.octets());
                bytes.extend(dst.octets());
            }
            _ => {}
        }
        for piece in self.pieces.iter().take_while(|piece| piece.start() < payload_length) {
            bytes.extend_from_slice(piece.of(&self.kept));
        }
        Whole { bytes, depth: self.depth, notes: self.notes }
    }
}

#[cfg(test)]
#[path = "fragments_tests.rs"]
mod tests;

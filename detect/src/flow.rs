//! The flow table: one entry a conversation, both directions, never more than its cap.
//!
//! Silent flows are found by a hand that moves on with each new flow, and the table grows in pieces, so no sweep
//! and no copy ever stops the packets.

use std::hash::{BuildHasher as _, Hasher as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use protocol::{Flow, FlowEnd, Note, Timestamp, Traffic, Transport};

use crate::connection::Connection;
use crate::datagram::Datagrams;
use crate::door::{Known, Where};
use crate::frame::{Packet, Segment, Tcp};
use crate::sighting::Notes;

/// A silent TCP connection is forgotten after this long; RFC 5382 asks NATs for two hours, but what is
/// interesting stands at the beginning.
const TCP_IDLE_SECONDS: i64 = 900;
/// The same for everything else (RFC 4787 §4.3 recommends five minutes to NATs).
const OTHER_IDLE_SECONDS: i64 = 300;
/// A connection that both ends left or one end reset: late segments still belong to it.
const ENDED_IDLE_SECONDS: i64 = 30;
/// Flows the hand looks at for each new one.
const HAND_STEPS: usize = 2;
/// Flows compared to find an old one to forget when the table is full.
const EVICTION_SAMPLE: usize = 16;
/// Flows that keep bytes compared to find an old one that gives them up, and flows looked at to find those: when
/// memory is full of heads they are one in twenty.
const READERS_SAMPLE: usize = 8;
const READERS_STEPS: usize = 128;
/// Entries in one piece of the table.
const PIECE: usize = 1024;

/// The five-tuple with the lower end first, so that both directions are one. Addresses of IPv4 are mapped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlowKey {
    low: [u64; 2],
    high: [u64; 2],
    low_port: u16,
    high_port: u16,
    proto: Transport,
}

/// Which way a packet goes through its flow's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    pub fn reverse(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// The upper half of an IPv4-mapped address (RFC 4291 §2.5.5.2).
const MAPPED: u64 = 0xffff_0000_0000;

#[inline]
fn words(address: IpAddr) -> [u64; 2] {
    match address {
        IpAddr::V4(v4) => [0, MAPPED | u64::from(v4.to_bits())],
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h, low @ ..] = v6.octets();
            [u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes(low)]
        }
    }
}

fn address(words: [u64; 2]) -> IpAddr {
    match words {
        [0, low] if low & !0xffff_ffff == MAPPED => {
            let [_, _, _, _, v4 @ ..] = low.to_be_bytes();
            Ipv4Addr::from(v4).into()
        }
        [high, low] => Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low)).into(),
    }
}

/// With one branch for all words: it is the only comparison that each packet needs.
impl PartialEq for FlowKey {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let ([a, b], [c, d]) = (self.low, self.high);
        let ([e, f], [g, h]) = (other.low, other.high);
        let ports = (self.low_port ^ other.low_port) | (self.high_port ^ other.high_port);
        ((a ^ e) | (b ^ f) | (c ^ g) | (d ^ h) | u64::from(ports)) == 0 && self.proto == other.proto
    }
}

impl FlowKey {
    #[inline]
    pub fn of(packet: &Packet<'_>) -> (Self, Way) {
        let (proto, src_port, dst_port) = match &packet.segment {
            Segment::Tcp(tcp) => (Transport::Tcp, tcp.src_port, tcp.dst_port),
            Segment::Udp { src_port, dst_port, .. } => (Transport::Udp, *src_port, *dst_port),
            Segment::Other(proto) => (*proto, 0, 0),
        };
        let (src, dst) = (words(packet.src), words(packet.dst));
        let ([src_high, src_low], [dst_high, dst_low]) = (src, dst);
        if (src_high, src_low, src_port) <= (dst_high, dst_low, dst_port) {
            (Self { low: src, high: dst, low_port: src_port, high_port: dst_port, proto }, Way::Up)
        } else {
            (Self { low: dst, high: src, low_port: dst_port, high_port: src_port, proto }, Way::Down)
        }
    }

    #[inline]
    fn hash(&self, hasher: &RandomState) -> u64 {
        let mut hash = hasher.build_hasher();
        let ports = u64::from(self.low_port) << 32 | u64::from(self.high_port) << 8 | self.proto as u64;
        match (self.low, self.high) {
            ([0, low], [0, high]) => hash.write_u64((low << 32) ^ (high & 0xffff_ffff) ^ (low & MAPPED)),
            ([a, b], [c, d]) => [a, b, c, d].into_iter().for_each(|word| hash.write_u64(word)),
        }
        hash.write_u64(ports);
        hash.finish()
    }

    /// The ports of the party that began and of the one that was contacted.
    pub fn ports(&self, began: Way) -> (u16, u16) {
        match began {
            Way::Up => (self.low_port, self.high_port),
            Way::Down => (self.high_port, self.low_port),
        }
    }

    /// The conversation, begun by the lower end when `up`.
    pub fn begun_by(&self, began: Way) -> Flow {
        let (low, high) = ((address(self.low), self.low_port), (address(self.high), self.high_port));
        let ((src, src_port), (dst, dst_port)) = match began {
            Way::Up => (low, high),
            Way::Down => (high, low),
        };
        Flow { proto: self.proto, src, src_port, dst, dst_port }
    }
}

/// What is still to be read of a flow.
pub(crate) enum Interest {
    /// Nothing: its packets cost one look-up.
    Nothing,
    /// TCP without payload so far.
    Fresh,
    Tcp(Box<Connection>),
    Udp(Datagrams),
}

impl Interest {
    /// Bytes kept.
    fn held(&self) -> usize {
        match self {
            Self::Tcp(connection) => connection.held(),
            Self::Udp(datagrams) => datagrams.held(),
            Self::Nothing | Self::Fresh => 0,
        }
    }
}

/// How far a TCP connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct TcpState(u8);

impl TcpState {
    /// SYN from the lower end; shifted by one, from the higher one. The same for the others.
    const SYN: u8 = 1;
    const FIN: u8 = 4;
    const RESET: u8 = 16;
    /// The connection began with a SYN without ACK.
    const BEGUN: u8 = 32;
    /// Nothing more is to be read of what the lower end sends.
    const DONE: u8 = 64;

    fn note(&mut self, bit: u8, way: Way) {
        self.0 |= bit << u8::from(way == Way::Down);
    }

    fn has(self, bit: u8, way: Way) -> bool {
        self.0 & (bit << u8::from(way == Way::Down)) != 0
    }

    fn has_both(self, bit: u8) -> bool {
        self.has(bit, Way::Up) && self.has(bit, Way::Down)
    }

    fn is_ended(self) -> bool {
        self.0 & Self::RESET != 0 || self.has_both(Self::FIN)
    }
}

/// One conversation. Aligned so that it never lies across more lines of the processor's cache than it must: for most
/// packets, waiting for it costs more than everything else.
#[repr(align(128))]
pub(crate) struct Entry {
    key: FlowKey,
    last_at: Timestamp,
    /// When its ends are compared again although nothing new was seen.
    pub review_at: Timestamp,
    /// Packets and bytes, up and down.
    packets: [u64; 2],
    bytes: [u64; 2],
    pub interest: Interest,
    pub known: Known,
    /// Sequence numbers of the first bytes, up and down, where a SYN was seen.
    starts: [u32; 2],
    /// Number of the set of indicators that its ends were compared with.
    pub compared_with: u32,
    state: TcpState,
    began: Way,
    pub notes: Notes,
}

impl Entry {
    pub fn new((key, began): (FlowKey, Way), at: Timestamp, interest: Interest) -> Self {
        Self {
            key,
            last_at: at,
            review_at: at,
            packets: [0; 2],
            bytes: [0; 2],
            interest,
            known: None,
            starts: [0; 2],
            compared_with: 0,
            state: TcpState::default(),
            began,
            notes: Notes::default(),
        }
    }

    pub fn flow(&self) -> Flow {
        self.key.begun_by(self.began)
    }

    /// Where something that is seen in it is seen.
    pub fn place(&self) -> Where<'static> {
        Where::Flow(self.key, self.began)
    }

    /// When its last packet came.
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// Which way the party that began sends.
    pub fn began(&self) -> Way {
        self.began
    }

    /// Bytes that it keeps beside its entry.
    pub fn held(&self) -> usize {
        self.interest.held() + self.known.as_ref().map_or(0, |known| known.held())
    }

    /// Counts a packet of so many bytes.
    #[inline]
    pub fn count(&mut self, at: Timestamp, way: Way, length: usize) {
        self.last_at = self.last_at.max(at);
        let [up, down] = &mut self.packets;
        *(if way == Way::Up { up } else { down }) += 1;
        let [up, down] = &mut self.bytes;
        *(if way == Way::Up { up } else { down }) += length as u64;
    }

    /// Notes what the flags of a segment say; true when the connection ends with it.
    pub fn note_tcp(&mut self, tcp: &Tcp<'_>, way: Way) -> bool {
        if !(tcp.syn || tcp.fin || tcp.rst) {
            return false;
        }
        let was_ended = self.state.is_ended();
        if tcp.syn {
            self.state.note(TcpState::SYN, way);
            let [up, down] = &mut self.starts;
            *(if way == Way::Up { up } else { down }) = tcp.sequence.wrapping_add(1);
            if !tcp.ack {
                self.state.0 |= TcpState::BEGUN;
            }
        }
        if tcp.fin {
            self.state.note(TcpState::FIN, way);
        }
        if tcp.rst {
            self.state.0 |= TcpState::RESET;
        }
        self.state.is_ended() && !was_ended
    }

    /// The sequence numbers of the first bytes, up and down, as far as they are known.
    pub fn starts(&self) -> [Option<u32>; 2] {
        let [up, down] = self.starts;
        let known = |way, start| self.state.has(TcpState::SYN, way).then_some(start);
        [known(Way::Up, up), known(Way::Down, down)]
    }

    /// What went over it so far.
    pub fn traffic(&self, ended: Option<FlowEnd>) -> Traffic {
        let ([packets_up, packets_down], [bytes_up, bytes_down]) = (self.packets, self.bytes);
        let (out, back) = ((packets_up, bytes_up), (packets_down, bytes_down));
        let (out, back) = if self.began == Way::Up { (out, back) } else { (back, out) };
        let [up, down] = self.starts();
        Traffic {
            packets_out: out.0,
            packets_back: back.0,
            bytes_out: out.1,
            bytes_back: back.1,
            established: self.state.has_both(TcpState::SYN),
            ended,
            start: if self.began == Way::Up { up } else { down },
        }
    }

    /// Which ends, up and down, said that they had sent all.
    pub fn closed(&self) -> [bool; 2] {
        [Way::Up, Way::Down].map(|way| self.state.has(TcpState::FIN, way))
    }

    /// Why it is over, when its own packets say so.
    pub fn own_end(&self) -> Option<FlowEnd> {
        match self.state {
            state if state.0 & TcpState::RESET != 0 => Some(FlowEnd::Reset),
            state if state.has_both(TcpState::FIN) => Some(FlowEnd::Closed),
            _ => None,
        }
    }

    /// Whether what a packet carries this way is still to be read.
    #[inline]
    pub fn reads(&self, packet: &Packet<'_>, way: Way) -> bool {
        let payload = match &packet.segment {
            Segment::Tcp(tcp) => tcp.payload,
            Segment::Udp { payload, .. } => payload,
            Segment::Other(_) => return false,
        };
        !matches!(self.interest, Interest::Nothing)
            && !payload.is_empty()
            && !self.state.has(TcpState::DONE, way)
    }

    /// Forgets what was kept to read it, as far as nothing more is to be read. `way`: the one that was read last.
    pub fn drop_interest(&mut self, way: Way) {
        let (this_way, both) = match &self.interest {
            Interest::Tcp(connection) => (connection.is_done_with(way), connection.is_done()),
            Interest::Udp(datagrams) => (false, datagrams.is_done()),
            Interest::Nothing | Interest::Fresh => (false, false),
        };
        if this_way {
            self.state.note(TcpState::DONE, way);
        }
        if both {
            self.interest = Interest::Nothing;
        }
    }

    /// Whether its ends are to be compared: with a new set of indicators, or because it has gone on for long.
    #[inline]
    pub fn is_due(&self, at: Timestamp, set_number: u32) -> bool {
        self.compared_with != set_number || at >= self.review_at
    }

    /// Whether a packet neither begins nor ends anything and nothing is due.
    #[inline]
    pub fn goes_on(&self, at: Timestamp, packet: &Packet<'_>, set_number: u32) -> bool {
        let flagged = matches!(&packet.segment, Segment::Tcp(tcp) if tcp.syn || tcp.fin || tcp.rst);
        !flagged && !self.is_due(at, set_number) && !self.is_idle(at)
    }

    /// Why another conversation begins with this packet between the same ends: a new SYN, or a long silence.
    pub fn over_with(&self, at: Timestamp, packet: &Packet<'_>) -> Option<FlowEnd> {
        if let Segment::Tcp(Tcp { syn: true, ack: false, sequence, .. }) = packet.segment {
            let began = self.state.0 & TcpState::BEGUN != 0;
            let [up, down] = self.starts;
            let start = if self.began == Way::Up { up } else { down };
            if !began || self.state.is_ended() || start != sequence.wrapping_add(1) {
                return Some(self.own_end().unwrap_or(FlowEnd::Replaced));
            }
        }
        self.is_idle(at).then(|| self.own_end().unwrap_or(FlowEnd::Idle))
    }

    #[inline]
    pub fn is_idle(&self, at: Timestamp) -> bool {
        let seconds = match self.key.proto {
            Transport::Tcp if self.state.is_ended() => ENDED_IDLE_SECONDS,
            Transport::Tcp => TCP_IDLE_SECONDS,
            _ => OTHER_IDLE_SECONDS,
        };
        at.micros_since(self.last_at) > seconds * 1_000_000
    }

    /// Notes that the start was not seen.
    pub fn note_midstream(&mut self) {
        self.notes.add(Note::Midstream);
    }
}

/// Where an entry is, and the lower half of its key's hash, which spares looking at most other entries.
#[derive(Clone, Copy)]
struct Place {
    slot: u32,
    hash: u32,
}

/// The flows in progress.
pub(crate) struct FlowTable {
    index: HashTable<Place>,
    pieces: Vec<Vec<Option<Entry>>>,
    free: Vec<u32>,
    hasher: RandomState,
    hand: usize,
    /// Where flows that keep bytes were looked for last; the other hand leaves the youngest behind it.
    reader_hand: usize,
    flows_max: usize,
}

/// A place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Slot(u32);

/// A flow that left the table, and why.
pub(crate) struct Forgotten {
    pub entry: Entry,
    pub why: FlowEnd,
}

/// The lower half of a hash, and that half spread again over the bits that the index uses.
#[inline]
fn halves(hash: u64) -> (u32, u64) {
    let [_, _, _, _, low @ ..] = hash.to_be_bytes();
    let low = u32::from_be_bytes(low);
    (low, spread(low))
}

#[inline]
fn spread(low: u32) -> u64 {
    u64::from(low).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl FlowTable {
    pub fn new(flows_max: usize) -> Self {
        Self {
            index: HashTable::new(),
            pieces: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            hand: 0,
            reader_hand: 0,
            flows_max: flows_max.clamp(1, 1 << 28),
        }
    }

    /// How many flows fit in so many bytes: entries, and the index and the free places while they grow, when the old
    /// ones are still there. Flows that left make the index grow once more than those in it ask for.
    pub fn fitting(bytes: usize) -> usize {
        let while_it_grows = |places: usize| places.next_power_of_two() / 2 * 3;
        let bytes_of = |flows: usize| {
            let pieces = flows.div_ceil(PIECE);
            pieces * PIECE.min(flows) * size_of::<Option<Entry>>()
                + while_it_grows(pieces) * size_of::<Vec<Option<Entry>>>()
                + while_it_grows(2 * (flows * 8).div_ceil(7)) * (size_of::<Place>() + 1)
                + while_it_grows(flows) * size_of::<u32>()
        };
        let (mut fits, mut too_many) = (1, bytes / size_of::<Option<Entry>>() + 2);
        while too_many - fits > 1 {
            let flows = fits.midpoint(too_many);
            *(if bytes_of(flows) <= bytes { &mut fits } else { &mut too_many }) = flows;
        }
        fits
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Where the flow of a key is.
    #[inline]
    pub fn find(&self, key: &FlowKey) -> Option<Slot> {
        let (low, spread) = halves(key.hash(&self.hasher));
        let is_it =
            |place: &Place| place.hash == low && self.at(place.slot).is_some_and(|entry| entry.key == *key);
        Some(Slot(self.index.find(spread, is_it)?.slot))
    }

    /// The flow at a place.
    #[inline]
    pub fn entry(&mut self, Slot(slot): Slot) -> Option<&mut Entry> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get_mut(slot / PIECE)?.get_mut(slot % PIECE)?.as_mut()
    }

    /// Takes the flow at a place out.
    pub fn remove(&mut self, Slot(slot): Slot) -> Option<Entry> {
        let at = usize::try_from(slot).ok()?;
        let entry = self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)?.take()?;
        let (_, spread) = halves(entry.key.hash(&self.hasher));
        if let Ok(found) = self.index.find_entry(spread, |place| place.slot == slot) {
            found.remove();
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Makes room for a flow: gives out a silent one if the hand meets one, or an old one if the table is full.
    pub fn make_room(&mut self, at: Timestamp) -> Option<Forgotten> {
        for _ in 0..HAND_STEPS {
            let slot = self.step_hand();
            if self.at(slot).is_some_and(|entry| entry.is_idle(at)) {
                let entry = self.remove(Slot(slot))?;
                let why = entry.own_end().unwrap_or(FlowEnd::Idle);
                return Some(Forgotten { entry, why });
            }
        }
        if self.len() < self.flows_max {
            return None;
        }
        let mut oldest: Option<(Timestamp, u32)> = None;
        for _ in 0..EVICTION_SAMPLE {
            let slot = self.step_hand();
            let found = self.at(slot).map(|entry| (entry.last_at, slot));
            oldest = match (oldest, found) {
                (Some(oldest), Some(found)) => Some(oldest.min(found)),
                (oldest, found) => oldest.or(found),
            };
        }
        let entry = self.remove(Slot(oldest?.1))?;
        let why = entry.own_end().unwrap_or(FlowEnd::Evicted);
        Some(Forgotten { entry, why })
    }

    /// The longest silent of a few flows that keep bytes to be read, the one at this place apart.
    pub fn longest_silent_reader(&mut self, Slot(but): Slot) -> Option<Slot> {
        let used = self.used().max(1);
        let places = (1..=READERS_STEPS).map(|step| (self.reader_hand + step) % used);
        let keeping = places.filter_map(|place| {
            let slot = u32::try_from(place).ok()?;
            let entry = self.at(slot).filter(|entry| slot != but && entry.interest.held() > 0)?;
            Some((entry.last_at, slot, place))
        });
        let longest = keeping.take(READERS_SAMPLE).min();
        self.reader_hand = longest.map_or(self.reader_hand + READERS_STEPS, |(_, _, place)| place) % used;
        longest.map(|(_, slot, _)| Slot(slot))
    }

    /// Puts in a flow that is not in the table.
    pub fn insert(&mut self, entry: Entry) -> Option<Slot> {
        let (hash, spread_hash) = halves(entry.key.hash(&self.hasher));
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => self.grow()?,
        };
        let at = usize::try_from(slot).ok()?;
        *self.pieces.get_mut(at / PIECE)?.get_mut(at % PIECE)? = Some(entry);
        self.index.insert_unique(spread_hash, Place { slot, hash }, |place| spread(place.hash));
        Some(Slot(slot))
    }

    /// A place that was never used.
    fn grow(&mut self) -> Option<u32> {
        if self.pieces.last().is_none_or(|piece| piece.len() == PIECE) {
            self.pieces.push(Vec::with_capacity(PIECE.min(self.flows_max)));
        }
        let before = (self.pieces.len() - 1) * PIECE;
        let piece = self.pieces.last_mut()?;
        piece.push(None);
        u32::try_from(before + piece.len() - 1).ok()
    }

    /// Takes out every flow, in the order of their places.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> + use<> {
        self.index.clear();
        self.free.clear();
        (self.hand, self.reader_hand) = (0, 0);
        std::mem::take(&mut self.pieces).into_iter().flatten().flatten()
    }

    #[inline]
    fn at(&self, slot: u32) -> Option<&Entry> {
        let slot = usize::try_from(slot).ok()?;
        self.pieces.get(slot / PIECE)?.get(slot % PIECE)?.as_ref()
    }

    /// Places that were ever used.
    fn used(&self) -> usize {
        self.pieces.last().map_or(0, |last| (self.pieces.len() - 1) * PIECE + last.len())
    }

    fn step_hand(&mut self) -> u32 {
        self.hand = if self.hand + 1 < self.used() { self.hand + 1 } else { 0 };
        u32::try_from(self.hand).unwrap_or_default()
    }
}

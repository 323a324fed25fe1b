//! The flow table: one entry a conversation, both directions, never more than its cap.
//!
//! Silent flows are found by a hand that moves on with each new flow, so no sweep ever stops the packets.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use protocol::{Flow, Timestamp, Transport};

use crate::door::Known;
use crate::frame::{Packet, Segment};
use crate::quic::Initials;
use crate::stream::Stream;

/// A silent TCP connection is forgotten after this long; RFC 5382 asks NATs for two hours, but what is
/// interesting stands at the beginning.
const TCP_IDLE_SECONDS: i64 = 900;
/// The same for everything else (RFC 4787 §4.3 recommends five minutes to NATs).
const OTHER_IDLE_SECONDS: i64 = 300;
/// Flows the hand looks at for each new one.
const HAND_STEPS: usize = 2;
/// Flows compared to find an old one to forget when the table is full.
const EVICTION_SAMPLE: usize = 16;

/// The five-tuple with the lower end first, so that both directions are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    low: End,
    high: End,
    proto: Transport,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct End {
    address: IpAddr,
    port: u16,
}

/// Which way a packet goes through its flow's key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl FlowKey {
    pub fn of(packet: &Packet<'_>) -> (Self, Way) {
        let (proto, src_port, dst_port) = match &packet.segment {
            Segment::Tcp(tcp) => (Transport::Tcp, tcp.src_port, tcp.dst_port),
            Segment::Udp { src_port, dst_port, .. } => (Transport::Udp, *src_port, *dst_port),
            Segment::Other(proto) => (*proto, 0, 0),
        };
        let src = End { address: packet.src, port: src_port };
        let dst = End { address: packet.dst, port: dst_port };
        if src <= dst {
            (Self { low: src, high: dst, proto }, Way::Up)
        } else {
            (Self { low: dst, high: src, proto }, Way::Down)
        }
    }

    /// The conversation, begun by the lower end when `up`.
    fn begun_by(&self, began: Way) -> Flow {
        let (src, dst) = match began {
            Way::Up => (self.low, self.high),
            Way::Down => (self.high, self.low),
        };
        Flow { proto: self.proto, src: src.address, src_port: src.port, dst: dst.address, dst_port: dst.port }
    }
}

/// What is still to be read of a flow.
pub(crate) enum Interest {
    /// Nothing: its packets cost one look-up.
    Nothing,
    /// DNS over UDP, every datagram.
    Dns,
    /// UDP that may turn out to be QUIC within so many datagrams.
    Datagrams {
        left: u8,
    },
    Quic(Box<Initials>),
    /// TCP; the streams begin with the first payload.
    Tcp {
        first: [Option<u32>; 2],
        streams: Option<Box<[Stream; 2]>>,
    },
}

/// One conversation.
pub(crate) struct Entry {
    key: FlowKey,
    began: Way,
    last_at: Timestamp,
    /// Sequence number of the SYN that began it.
    syn: Option<u32>,
    pub interest: Interest,
    pub known: Known,
}

impl Entry {
    pub fn new((key, began): (FlowKey, Way), at: Timestamp, syn: Option<u32>, interest: Interest) -> Self {
        Self { key, began, last_at: at, syn, interest, known: None }
    }

    pub fn flow(&self) -> Flow {
        self.key.begun_by(self.began)
    }

    /// Bytes of stream heads it keeps.
    pub fn held(&self) -> usize {
        match &self.interest {
            Interest::Tcp { streams: Some(streams), .. } => streams.iter().map(Stream::held).sum(),
            Interest::Quic(initials) => initials.held(),
            _ => 0,
        }
    }

    /// Notes a packet.
    pub fn touch(&mut self, at: Timestamp) {
        self.last_at = self.last_at.max(at);
    }

    /// Whether a packet begins another conversation between the same ends: after a long silence, or with a new SYN.
    pub fn begins_anew(&self, at: Timestamp, syn: Option<u32>) -> bool {
        syn.is_some() && self.syn != syn || self.is_idle(at)
    }

    pub fn is_idle(&self, at: Timestamp) -> bool {
        let seconds = if self.key.proto == Transport::Tcp { TCP_IDLE_SECONDS } else { OTHER_IDLE_SECONDS };
        at.micros_since(self.last_at) > seconds * 1_000_000
    }
}

/// The flows in progress.
pub(crate) struct FlowTable {
    /// Position in `entries` by key.
    index: HashTable<u32>,
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    hasher: RandomState,
    hand: usize,
    flows_max: usize,
}

/// A place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Slot(u32);

/// A flow that left the table, and whether only because it was full.
pub(crate) struct Forgotten {
    pub entry: Entry,
    pub evicted: bool,
}

impl FlowTable {
    pub fn new(flows_max: usize) -> Self {
        Self {
            index: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            hasher: RandomState::default(),
            hand: 0,
            flows_max: flows_max.clamp(1, 1 << 28),
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Where the flow of a key is.
    pub fn find(&self, key: &FlowKey) -> Option<Slot> {
        let hash = self.hasher.hash_one(key);
        let slot = self.index.find(hash, |slot| self.at(*slot).is_some_and(|entry| entry.key == *key))?;
        Some(Slot(*slot))
    }

    /// The flow at a place.
    pub fn entry(&mut self, Slot(slot): Slot) -> Option<&mut Entry> {
        self.entries.get_mut(usize::try_from(slot).ok()?)?.as_mut()
    }

    /// Takes the flow at a place out.
    pub fn remove(&mut self, Slot(slot): Slot) -> Option<Entry> {
        let entry = self.entries.get_mut(usize::try_from(slot).ok()?)?.take()?;
        let hash = self.hasher.hash_one(entry.key);
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot) {
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
                return Some(Forgotten { entry: self.remove(Slot(slot))?, evicted: false });
            }
        }
        if self.len() < self.flows_max {
            return None;
        }
        let sample = std::iter::repeat_with(|| self.step_hand()).take(EVICTION_SAMPLE).collect::<Vec<_>>();
        let with_age = sample.into_iter().filter_map(|slot| Some((self.at(slot)?.last_at, slot)));
        let (_, oldest) = with_age.min()?;
        Some(Forgotten { entry: self.remove(Slot(oldest))?, evicted: true })
    }

    /// Puts in a flow that is not in the table.
    pub fn insert(&mut self, entry: Entry) -> Option<Slot> {
        let hash = self.hasher.hash_one(entry.key);
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.entries.push(None);
                u32::try_from(self.entries.len() - 1).ok()?
            }
        };
        *self.entries.get_mut(usize::try_from(slot).ok()?)? = Some(entry);
        let (entries, hasher) = (&self.entries, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| {
            let entry = usize::try_from(*slot).ok().and_then(|slot| entries.get(slot)?.as_ref());
            entry.map_or(0, |entry| hasher.hash_one(entry.key))
        });
        Some(Slot(slot))
    }

    /// Takes out every flow, in the order of their places.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> {
        self.index.clear();
        self.free.clear();
        std::mem::take(&mut self.entries).into_iter().flatten()
    }

    fn at(&self, slot: u32) -> Option<&Entry> {
        self.entries.get(usize::try_from(slot).ok()?)?.as_ref()
    }

    fn step_hand(&mut self) -> u32 {
        self.hand = if self.hand + 1 < self.entries.len() { self.hand + 1 } else { 0 };
        u32::try_from(self.hand).unwrap_or_default()
    }
}

//! The detector: takes frames and lines, gives out hits, or sightings when it only observes.

use std::sync::Arc;

use ipnet::IpNet;
use protocol::{Hit, Observable, SeenIn, Timestamp};

use crate::cooldown::Cooldowns;
use crate::counters::Counters;
use crate::door::{Door, Known, Scene, Where};
use crate::flow::{Entry, FlowKey, FlowTable, Interest, Slot, Way};
use crate::frame::{Link, Packet, Packets, Segment, Tcp};
use crate::home::Home;
use crate::interest::Reader;
use crate::matcher::Matcher;
use crate::quic::Initials;
use crate::sighting::{Sighting, SightingRecord};
use crate::stream::Stream;
use crate::{dns, line};

/// The rest of a longer line is not read, and counted. Real lines of web application firewalls reach 50 KB.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all stream heads together; streams that would exceed it are not read, and counted.
const HELD_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Datagrams of a UDP flow in which its QUIC Initial must come.
const DATAGRAMS_UNKNOWN_MAX: u8 = 4;

/// When hits are given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Report {
    /// At the first sighting; again with the final count when the cooldown closes.
    #[default]
    AtOnce,
    /// Once, when the cooldown closes or the input ends.
    AtEnd,
}

/// How a detector is set up.
#[derive(Clone, Debug)]
pub struct DetectorConfig {
    /// The town's own networks; when empty, private space.
    pub home_networks: Vec<IpNet>,
    /// Flows followed at once; the longest silent are forgotten beyond it, and counted.
    pub flows_max: usize,
    /// Repeats within this time only count.
    pub cooldown_seconds: u32,
    /// When hits are given out.
    pub report: Report,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            home_networks: Vec::new(),
            flows_max: 114_688, // 7/8 of 2^17, what a hash table of that size holds
            cooldown_seconds: 300,
            report: Report::AtOnce,
        }
    }
}

/// A line of a log.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// Number since the reader began the file, from 1.
    pub number: u64,
    /// Byte offset in the file, where there is one.
    pub offset: Option<u64>,
    /// The line without its end.
    pub bytes: &'a [u8],
}

/// Frames and lines of one input in, hits out.
pub struct Detector {
    flows: FlowTable,
    held: usize,
    door: Door,
    counters: Counters,
}

impl Detector {
    /// A detector that compares. `input` is the interface, log path or capture file as the town names it.
    pub fn new(config: &DetectorConfig, input: &str, matcher: Arc<Matcher>) -> Self {
        Self::with_door(config, input, Some(matcher))
    }

    /// A detector that gives out every sighting and compares nothing.
    pub fn observer(config: &DetectorConfig, input: &str) -> Self {
        Self::with_door(config, input, None)
    }

    fn with_door(config: &DetectorConfig, input: &str, matcher: Option<Arc<Matcher>>) -> Self {
        let cooldowns = Cooldowns::new(config.report, config.cooldown_seconds);
        Self {
            flows: FlowTable::new(config.flows_max),
            held: 0,
            door: Door::new(input, Home::new(&config.home_networks), matcher, cooldowns),
            counters: Counters::default(),
        }
    }

    /// Compares with another set from the next frame or line on. Flows and cooldowns in progress stay.
    pub fn set_matcher(&mut self, matcher: Arc<Matcher>) {
        self.door.set_matcher(matcher);
    }

    /// Takes a captured frame.
    pub fn handle_frame(&mut self, at: Timestamp, link: Link, frame: &[u8]) {
        self.counters.frames += 1;
        self.door.cooldowns.handle_timeout(at);
        let mut packets = Packets::of_frame(link, frame);
        while let Some(packet) = packets.next(&mut self.counters) {
            self.handle_packet(at, &packet);
        }
    }

    /// Takes a log line, read at this time.
    pub fn handle_line(&mut self, at: Timestamp, line: Line<'_>) {
        self.counters.lines += 1;
        self.door.cooldowns.handle_timeout(at);
        let bytes = line.bytes.get(..LINE_BYTES_MAX).unwrap_or(line.bytes);
        self.counters.lines_cut += u64::from(bytes.len() < line.bytes.len());
        let scan = line::Scan::of(bytes);
        let mut known: Known = None;
        let place = Where::Line { line: line.number, offset: line.offset, scan: &scan };
        let mut scene = Scene { at, place, known: &mut known };
        scan.sight_all(&mut |sighting| self.door.sight(&mut scene, sighting));
    }

    /// Does what is due at this time: closes cooldowns, forgets silent flows.
    pub fn handle_timeout(&mut self, at: Timestamp) {
        self.door.cooldowns.handle_timeout(at);
        self.make_room(at);
    }

    /// When [`Detector::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.door.cooldowns.poll_timeout()
    }

    /// The next hit to hand on.
    pub fn poll_hit(&mut self) -> Option<Hit> {
        let hit = self.door.cooldowns.poll_hit()?;
        self.counters.hits += 1;
        Some(hit)
    }

    /// The next sighting, when it only observes.
    pub fn poll_sighting(&mut self) -> Option<SightingRecord> {
        self.door.sightings.pop_front()
    }

    /// The input ended: reads what waits for missing segments and closes all cooldowns.
    pub fn finish(&mut self, at: Timestamp) {
        let entries: Vec<Entry> = self.flows.drain().collect();
        for entry in entries {
            self.end(entry, at);
        }
        self.held = 0;
        self.door.cooldowns.finish();
    }

    /// Flows in progress.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// What was read, dropped and not understood so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.add(&self.door.counters);
        counters
    }

    fn handle_packet(&mut self, at: Timestamp, packet: &Packet<'_>) {
        let (key, way) = FlowKey::of(packet);
        let syn = begins_connection(packet);
        let found = self.flows.find(&key);
        let known =
            found.filter(|slot| self.flows.entry(*slot).is_some_and(|entry| !entry.begins_anew(at, syn)));
        let Some(slot) = known.or_else(|| self.begin((found, key, way), at, packet)) else { return };
        let Some(entry) = self.flows.entry(slot) else { return };
        entry.touch(at);
        if matches!(entry.interest, Interest::Nothing) {
            return;
        }
        let held_before = entry.held();
        let room = HELD_BYTES_MAX.saturating_sub(self.held);
        let mut scene = Scene { at, place: Where::Flow(entry.flow()), known: &mut entry.known };
        let door = &mut self.door;
        let sight = &mut |sighting: Sighting<'_>| door.sight(&mut scene, sighting);
        match &packet.segment {
            Segment::Tcp(tcp) => read_tcp(&mut entry.interest, (tcp, way, room), &mut self.counters, sight),
            Segment::Udp { payload, .. } => {
                read_datagram(&mut entry.interest, (payload, room), &mut self.counters, sight);
            }
            Segment::Other(_) => {}
        }
        self.held = (self.held + entry.held()).saturating_sub(held_before);
    }

    /// Begins a flow, in the place of a former one between the same ends, and sights its ends.
    fn begin(
        &mut self,
        (former, key, way): (Option<Slot>, FlowKey, Way),
        at: Timestamp,
        packet: &Packet<'_>,
    ) -> Option<Slot> {
        match former.and_then(|slot| self.flows.remove(slot)) {
            Some(former) => {
                self.counters.flows_idle += u64::from(former.is_idle(at));
                self.end(former, at);
            }
            None => self.make_room(at),
        }
        self.counters.flows_begun += 1;
        let ends = (key, who_began(packet, way));
        let slot =
            self.flows.insert(Entry::new(ends, at, begins_connection(packet), first_interest(packet)))?;
        let entry = self.flows.entry(slot)?;
        let flow = entry.flow();
        let mut scene = Scene { at, place: Where::Flow(flow), known: &mut entry.known };
        for (address, seen_in) in [(flow.src, SeenIn::FlowSrc), (flow.dst, SeenIn::FlowDst)] {
            self.door.sight(&mut scene, Sighting::new(Observable::Ip(address), seen_in, &[]));
        }
        Some(slot)
    }

    fn make_room(&mut self, at: Timestamp) {
        if let Some(forgotten) = self.flows.make_room(at) {
            let reason = &mut self.counters;
            if forgotten.evicted {
                reason.flows_evicted += 1
            } else {
                reason.flows_idle += 1
            }
            self.end(forgotten.entry, at);
        }
    }

    /// A flow left the table: what still waited for missing bytes is read.
    fn end(&mut self, mut entry: Entry, at: Timestamp) {
        self.held = self.held.saturating_sub(entry.held());
        let flow = entry.flow();
        let Interest::Tcp { streams: Some(streams), .. } = &mut entry.interest else { return };
        let mut scene = Scene { at, place: Where::Flow(flow), known: &mut entry.known };
        let door = &mut self.door;
        for stream in streams.iter_mut() {
            stream.end(&mut self.counters, &mut |sighting| door.sight(&mut scene, sighting));
        }
    }
}

/// Sequence number of a SYN that begins a connection.
fn begins_connection(packet: &Packet<'_>) -> Option<u32> {
    match &packet.segment {
        Segment::Tcp(tcp) if tcp.syn && !tcp.ack => Some(tcp.sequence),
        _ => None,
    }
}

/// Who began: the sender, unless the packet is an answer, by its flags or because it comes from a service's port.
fn who_began(packet: &Packet<'_>, way: Way) -> Way {
    let is_answer = match &packet.segment {
        Segment::Tcp(tcp) if tcp.syn => tcp.ack,
        Segment::Tcp(tcp) => from_service(tcp.src_port, tcp.dst_port),
        Segment::Udp { src_port: dns::PORT, dst_port: dns::PORT, payload } => {
            payload.get(2).is_some_and(|flags| flags & 0x80 != 0)
        }
        Segment::Udp { src_port, dst_port, .. } => from_service(*src_port, *dst_port),
        Segment::Other(_) => false,
    };
    match (way, is_answer) {
        (way, false) => way,
        (Way::Up, true) => Way::Down,
        (Way::Down, true) => Way::Up,
    }
}

/// Whether the start was missed and this packet comes from the serving side. Services listen on low ports;
/// above those, below the usual ephemeral ranges (RFC 6056 §2.1 and Linux: from 32768).
fn from_service(src_port: u16, dst_port: u16) -> bool {
    let rank = |port: u16| match port {
        0..1024 => 0,
        1024..32768 => 1,
        _ => 2,
    };
    rank(src_port) < rank(dst_port)
}

fn first_interest(packet: &Packet<'_>) -> Interest {
    match &packet.segment {
        Segment::Tcp(_) => Interest::Tcp { first: [None; 2], streams: None },
        Segment::Udp { src_port: dns::PORT, .. } | Segment::Udp { dst_port: dns::PORT, .. } => Interest::Dns,
        Segment::Udp { .. } => Interest::Datagrams { left: DATAGRAMS_UNKNOWN_MAX },
        Segment::Other(_) => Interest::Nothing,
    }
}

fn read_tcp(
    interest: &mut Interest,
    (tcp, way, room): (&Tcp<'_>, Way, usize),
    counters: &mut Counters,
    sight: &mut dyn FnMut(Sighting<'_>),
) {
    let Interest::Tcp { first, streams } = interest else { return };
    let [up, down] = first;
    let known_start = if way == Way::Up { up } else { down };
    let sequence = if tcp.syn { tcp.sequence.wrapping_add(1) } else { tcp.sequence };
    if tcp.syn {
        *known_start = Some(sequence);
    }
    if tcp.payload.is_empty() {
        return;
    }
    let dns = tcp.src_port == dns::PORT || tcp.dst_port == dns::PORT;
    let reader = || if dns { Reader::Dns { fresh: true } } else { Reader::default() };
    let [up, down] = *first;
    let streams = streams.get_or_insert_with(|| {
        Box::new([Stream::starting_at(up, reader()), Stream::starting_at(down, reader())])
    });
    let [up, down] = &mut **streams;
    let stream = if way == Way::Up { up } else { down };
    if tcp.payload.len() > room && !stream.is_done() {
        counters.streams_refused += 1;
        stream.give_up();
    }
    stream.push((sequence, tcp.payload, tcp.cut), counters, sight);
    if streams.iter().all(Stream::is_done) {
        *interest = Interest::Nothing;
    }
}

fn read_datagram(
    interest: &mut Interest,
    (payload, room): (&[u8], usize),
    counters: &mut Counters,
    sight: &mut dyn FnMut(Sighting<'_>),
) {
    match interest {
        Interest::Dns => dns::read(payload, counters, sight),
        Interest::Datagrams { left } => {
            *left = left.saturating_sub(1);
            if Initials::begin_in(payload) && payload.len() <= room {
                let mut initials = Box::new(Initials::default());
                let done = initials.read(payload, counters, sight);
                *interest = if done { Interest::Nothing } else { Interest::Quic(initials) };
            } else if *left == 0 {
                *interest = Interest::Nothing;
            }
        }
        Interest::Quic(initials) => {
            if payload.len() > room || initials.read(payload, counters, sight) {
                *interest = Interest::Nothing;
            }
        }
        Interest::Tcp { .. } | Interest::Nothing => {}
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;

//! The detector: takes frames and lines, gives out hits, or sightings when it only observes.

use std::sync::Arc;

use ipnet::IpNet;
use protocol::{FlowEnd, Hit, SeenIn, Timestamp};

use crate::connection::Connection;
use crate::cooldown::{Cooldowns, OpenHit};
use crate::counters::Counters;
use crate::datagram::Datagrams;
use crate::dns;
use crate::door::{Door, Known, Scene, Where};
use crate::flow::{Entry, FlowKey, FlowTable, Interest, Slot, Way};
use crate::fragments::{Fragments, Whole};
use crate::frame::{Link, Packet, Packets, Segment};
use crate::home::Home;
use crate::line;
use crate::matcher::Matcher;
use crate::reader::Towards;
use crate::sighting::{Notes, Seen, Sighting, SightingRecord, Sink, Wants};

/// The rest of a longer line is not read, and counted. Real lines of web application firewalls reach 50 KB.
pub const LINE_BYTES_MAX: usize = 64 * 1024;
/// Flows whose streams are given up at most to make room for a packet: each looks at a few.
const STREAMS_GIVEN_UP_MAX: usize = 2;
/// How often a flow that goes on has its hits brought up to date.
const REVIEW_SECONDS: i64 = 60;

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
    /// Proxies in front of the town's servers that are believed when they name whom they pass on (X-Forwarded-For,
    /// Forwarded). Without one, who is named is a candidate and no origin.
    pub trusted_proxies: Vec<IpNet>,
    /// Flows followed at once; the longest silent are forgotten beyond it, and counted.
    pub flows_max: usize,
    /// Bytes of memory for everything that traffic makes the detector keep. Half of it is for the flow table, which
    /// may lower `flows_max`; a quarter for stream heads; an eighth for open hits; a sixteenth for fragments.
    pub memory_bytes_max: usize,
    /// Repeats within this time only count.
    pub cooldown_seconds: u32,
    /// When hits are given out.
    pub report: Report,
}

impl Default for DetectorConfig {
    fn default() -> Self {
        Self {
            home_networks: Vec::new(),
            trusted_proxies: Vec::new(),
            flows_max: 114_688, // 7/8 of 2^17, what a hash table of that size holds
            memory_bytes_max: 64 << 20,
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
    fragments: Fragments,
    /// Bytes that flows keep beside their entries.
    held: usize,
    held_max: usize,
    door: Door,
    wants: Wants,
    /// Number of the set of indicators in force; changes with each.
    set_number: u32,
    /// Format of the log lines before.
    format: line::Hint,
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
        let cooldowns = Cooldowns::new(config.report, config.cooldown_seconds, config.memory_bytes_max / 8);
        let home = Home::new(&config.home_networks).with_proxies(&config.trusted_proxies);
        let door = Door::new(input, home, matcher, cooldowns);
        Self {
            flows: FlowTable::new(config.flows_max.min(FlowTable::fitting(config.memory_bytes_max / 2))),
            fragments: Fragments::new(config.memory_bytes_max / 16),
            held: 0,
            held_max: config.memory_bytes_max / 4,
            wants: door.wants(),
            door,
            format: line::Hint::default(),
            set_number: 1,
            counters: Counters::default(),
        }
    }

    /// Compares with another set from the next frame or line on. Flows and cooldowns in progress stay; the ends of
    /// a flow in progress are compared with the new set at its next packet.
    pub fn set_matcher(&mut self, matcher: Arc<Matcher>) {
        self.door.set_matcher(matcher);
        self.wants = self.door.wants();
        self.set_number = self.set_number.wrapping_add(1);
    }

    /// Takes a captured frame.
    pub fn handle_frame(&mut self, at: Timestamp, link: Link, frame: &[u8]) {
        self.counters.frames += 1;
        self.door.cooldowns.handle_timeout(at);
        self.give_up_fragments(at);
        if let Some(packet) = Packets::plain(link, frame) {
            self.counters.packets += 1;
            self.handle_packet(at, &packet, Notes::default());
            return;
        }
        self.handle_packets(at, Packets::of_frame(link, frame), Notes::default());
        self.give_up_fragments(at);
    }

    /// Takes a log line, read at this time.
    pub fn handle_line(&mut self, at: Timestamp, line: Line<'_>) {
        self.counters.lines += 1;
        self.door.cooldowns.handle_timeout(at);
        let bytes = line.bytes.get(..LINE_BYTES_MAX).unwrap_or(line.bytes);
        self.counters.lines_cut += u64::from(bytes.len() < line.bytes.len());
        let text = line::wide::narrowed(bytes);
        if self.door.is_out_of_question(&text) {
            return;
        }
        let scan = line::Scan::of(&text, &mut self.format);
        let mut known: Known = None;
        let place = Where::Line { line: line.number, offset: line.offset, scan: &scan };
        let mut scene = Scene { at, place, known: &mut known, traffic: None };
        scan.sight_all(&mut |sighting| self.door.sight(&mut scene, sighting));
    }

    /// Does what is due at this time: closes cooldowns, forgets silent flows.
    pub fn handle_timeout(&mut self, at: Timestamp) {
        self.door.cooldowns.handle_timeout(at);
        self.give_up_fragments(at);
        self.make_room(at);
    }

    /// When [`Detector::handle_timeout`] should be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let due = [self.door.cooldowns.poll_timeout(), self.fragments.poll_timeout()];
        due.into_iter().flatten().min()
    }

    /// The next hit to hand on.
    pub fn poll_hit(&mut self) -> Option<Hit> {
        self.door.cooldowns.poll_hit()
    }

    /// The hits of open cooldowns, the newest first, as many as there is room for: what another detector needs to go on
    /// after this one.
    pub fn open_hits(&self, hits_max: usize, bytes_max: usize) -> Vec<OpenHit> {
        self.door.cooldowns.open_hits(hits_max, bytes_max)
    }

    /// Changes with [`Detector::open_hits`].
    pub fn cooldown_changes(&self) -> u64 {
        self.door.cooldowns.changes()
    }

    /// Goes on with a cooldown of another detector of the same input, where there is room.
    pub fn reopen(&mut self, now: Timestamp, open: OpenHit) {
        self.door.cooldowns.reopen(now, open);
    }

    /// The next sighting, when it only observes.
    pub fn poll_sighting(&mut self) -> Option<SightingRecord> {
        self.door.sightings.pop_front()
    }

    /// The input ended: reads what waits for missing segments and closes all cooldowns.
    pub fn finish(&mut self, at: Timestamp) {
        while let Some(whole) = self.fragments.end() {
            self.handle_whole(at, whole);
        }
        for entry in self.flows.drain() {
            let why = entry.own_end().unwrap_or(FlowEnd::InputEnded);
            self.end(entry, why, at);
        }
        self.door.cooldowns.finish();
    }

    /// Flows in progress.
    pub fn flows(&self) -> usize {
        self.flows.len()
    }

    /// Bytes that flows, fragments and open hits keep, the table of flows apart.
    pub fn held(&self) -> usize {
        self.held + self.fragments.held() + self.door.cooldowns.held()
    }

    /// What was read, dropped and not understood so far.
    pub fn counters(&self) -> Counters {
        let mut counters = self.counters;
        counters.add(&self.door.counters);
        counters
    }

    fn handle_packets(&mut self, at: Timestamp, mut packets: Packets<'_>, notes: Notes) {
        while let Some(packet) = packets.next(&mut self.counters) {
            let Some(fragment) = packets.take_fragment() else {
                self.handle_packet(at, &packet, notes);
                continue;
            };
            let fragment = (&fragment, packets.depth());
            if let Some(whole) = self.fragments.take(at, fragment, &mut self.counters) {
                self.handle_whole(at, whole);
            }
        }
    }

    /// Takes a packet put together from its fragments. It counts as one layer more, so that fragments that make
    /// fragments whole come to an end.
    fn handle_whole(&mut self, at: Timestamp, whole: Whole) {
        self.handle_packets(at, Packets::of_whole(&whole.bytes, whole.depth + 1), whole.notes);
        self.fragments.take_back(whole);
    }

    /// Takes what there is of packets whose fragments did not come, or have no room.
    #[inline]
    fn give_up_fragments(&mut self, at: Timestamp) {
        if self.fragments.is_empty() {
            return;
        }
        while let Some(whole) = self.fragments.give_up(at, &mut self.counters) {
            self.handle_whole(at, whole);
        }
    }

    fn handle_packet(&mut self, at: Timestamp, packet: &Packet<'_>, notes: Notes) {
        let (key, way) = FlowKey::of(packet);
        let found = self.flows.find(&key);
        if let Some(slot) = found
            && let Some(entry) = self.flows.entry(slot)
            && entry.goes_on(at, packet, self.set_number)
        {
            entry.count(at, way, packet.length);
            entry.notes.add_all(notes);
            if entry.reads(packet, way) {
                self.read(slot, at, packet, way);
            }
            return;
        }
        self.handle_turn(at, packet, (found, key, way), notes);
    }

    /// A packet that begins or ends a flow, or comes when the flow's ends are to be compared.
    fn handle_turn(
        &mut self,
        at: Timestamp,
        packet: &Packet<'_>,
        (found, key, way): (Option<Slot>, FlowKey, Way),
        notes: Notes,
    ) {
        let over = found.and_then(|slot| Some((slot, self.flows.entry(slot)?.over_with(at, packet)?)));
        let slot = match (found, over) {
            (Some(slot), None) => Some(slot),
            _ => self.begin((over, key, way), at, packet),
        };
        let Some(slot) = slot else { return };
        let Some(entry) = self.flows.entry(slot) else { return };
        entry.count(at, way, packet.length);
        entry.notes.add_all(notes);
        let ends = matches!(&packet.segment, Segment::Tcp(tcp) if entry.note_tcp(tcp, way));
        if entry.is_due(at, self.set_number) {
            self.review(slot, at);
        }
        self.read(slot, at, packet, way);
        if ends {
            self.leave(slot);
        }
    }

    /// Begins a flow, in the place of a former one between the same ends.
    fn begin(
        &mut self,
        (former, key, way): (Option<(Slot, FlowEnd)>, FlowKey, Way),
        at: Timestamp,
        packet: &Packet<'_>,
    ) -> Option<Slot> {
        match former {
            Some((slot, why)) => {
                let entry = self.flows.remove(slot)?;
                self.counters.flows_idle += u64::from(why == FlowEnd::Idle);
                self.end(entry, why, at);
            }
            None => self.make_room(at),
        }
        self.counters.flows_begun += 1;
        let mut entry = Entry::new((key, who_began(packet, way)), at, first_interest(packet));
        if matches!(&packet.segment, Segment::Tcp(tcp) if !tcp.syn) {
            entry.note_midstream();
        }
        self.flows.insert(entry)
    }

    /// Compares the ends of a flow: when it begins, when another set of indicators is in force, and when it goes on
    /// after the cooldown of its hit. Hits under way are brought up to date.
    fn review(&mut self, slot: Slot, at: Timestamp) {
        let Some(entry) = self.flows.entry(slot) else { return };
        let is_new = entry.compared_with == 0;
        let mut compare = entry.compared_with != self.set_number;
        entry.compared_with = self.set_number;
        entry.review_at = at.plus_seconds(REVIEW_SECONDS);
        let held_before = entry.held();
        let (flow, traffic) = (entry.flow(), entry.traffic(None));
        if let Some(known) = &entry.known {
            compare |= self.door.cooldowns.bring_up_to_date(known, entry, None);
        }
        if !compare || (!is_new && self.door.only_observes()) {
            return;
        }
        let place = entry.place();
        let notes = entry.notes;
        let mut scene = Scene { at, place, known: &mut entry.known, traffic: Some(traffic) };
        for (address, seen_in) in [(flow.src, SeenIn::FlowSrc), (flow.dst, SeenIn::FlowDst)] {
            let mut sighting = Sighting::new(Seen::Ip(address), seen_in, &[]);
            sighting.notes = notes;
            self.door.sight(&mut scene, sighting);
        }
        self.held = (self.held + entry.held()).saturating_sub(held_before);
    }

    /// Reads what a packet carries, as long as its flow is of interest.
    fn read(&mut self, slot: Slot, at: Timestamp, packet: &Packet<'_>, way: Way) {
        let Some(entry) = self.flows.entry(slot).filter(|entry| entry.reads(packet, way)) else { return };
        let (tcp, payload, ports) = match &packet.segment {
            Segment::Tcp(tcp) => (Some(tcp), tcp.payload, [tcp.src_port, tcp.dst_port]),
            Segment::Udp { src_port, dst_port, payload } => (None, *payload, [*src_port, *dst_port]),
            Segment::Other(_) => return,
        };
        let needed = payload.len()
            + if matches!(entry.interest, Interest::Fresh) { size_of::<Connection>() } else { 0 };
        if self.held + needed > self.held_max {
            self.give_up_streams((slot, needed), at);
        }
        let Some(entry) = self.flows.entry(slot) else { return };
        let held_before = entry.held();
        let room = self.held_max.saturating_sub(self.held);
        self.door.room = room;
        if matches!(entry.interest, Interest::Fresh) {
            if room < size_of::<Connection>() {
                self.counters.streams_refused += 1;
                entry.interest = Interest::Nothing;
                return;
            }
            let connection = Connection::new(entry.starts(), entry.began(), ports);
            entry.interest = Interest::Tcp(Box::new(connection));
        }
        let (traffic, place, flow) = (entry.traffic(None), entry.place(), entry.flow());
        let began = entry.began();
        let mut scene = Scene { at, place, known: &mut entry.known, traffic: Some(traffic) };
        let door = &mut self.door;
        let mut sight = |sighting: Sighting<'_>| door.sight(&mut scene, sighting);
        let mut sink = Sink::new(&mut self.counters, self.wants, &mut sight);
        (sink.notes, sink.flow) = (entry.notes, Some(flow));
        match (&mut entry.interest, tcp) {
            (Interest::Tcp(connection), Some(tcp)) => connection.push(tcp, (way, room), &mut sink),
            (Interest::Udp(datagrams), None) => {
                datagrams.read(payload, (Towards::of(way, began), room), &mut sink);
            }
            _ => {}
        }
        entry.notes = sink.notes;
        entry.drop_interest(way);
        self.held = (self.held + entry.held()).saturating_sub(held_before);
    }

    /// Reads what there is of the streams of long silent flows and gives them up; the flows stay. Otherwise heads
    /// that somebody leaves half open would keep all others from being read.
    fn give_up_streams(&mut self, (but, needed): (Slot, usize), at: Timestamp) {
        for _ in 0..STREAMS_GIVEN_UP_MAX {
            if self.held + needed <= self.held_max {
                return;
            }
            let Some(slot) = self.flows.longest_silent_reader(but) else { return };
            let Some(entry) = self.flows.entry(slot) else { return };
            let held_before = entry.held();
            read_rest(entry, (&mut self.door, &mut self.counters, self.wants), at);
            self.counters.streams_evicted += 1;
            self.held = (self.held + entry.held()).saturating_sub(held_before);
        }
    }

    /// A connection ended by its own packets. It is read on: what ends it may be forged, or have overtaken the rest.
    fn leave(&mut self, slot: Slot) {
        let Some(entry) = self.flows.entry(slot) else { return };
        if let Some(known) = &entry.known {
            self.door.cooldowns.bring_up_to_date(known, entry, entry.own_end());
        }
    }

    fn make_room(&mut self, at: Timestamp) {
        if let Some(forgotten) = self.flows.make_room(at) {
            match forgotten.why {
                FlowEnd::Evicted => self.counters.flows_evicted += 1,
                FlowEnd::Idle => self.counters.flows_idle += 1,
                _ => {}
            }
            self.end(forgotten.entry, forgotten.why, at);
        }
    }

    /// A flow left the table: what still waited for missing bytes is read.
    fn end(&mut self, mut entry: Entry, why: FlowEnd, at: Timestamp) {
        self.held = self.held.saturating_sub(entry.held());
        read_rest(&mut entry, (&mut self.door, &mut self.counters, self.wants), at);
        if let Some(known) = &entry.known {
            self.door.cooldowns.bring_up_to_date(known, &entry, Some(why));
        }
    }
}

/// Reads what waited for missing bytes in a flow of which nothing more is to be read.
fn read_rest(entry: &mut Entry, (door, counters, wants): (&mut Door, &mut Counters, Wants), at: Timestamp) {
    let mut interest = std::mem::replace(&mut entry.interest, Interest::Nothing);
    if matches!(interest, Interest::Nothing | Interest::Fresh) {
        return;
    }
    let closed = entry.closed();
    let (traffic, place, notes) = (entry.traffic(None), entry.place(), entry.notes);
    let mut scene = Scene { at, place, known: &mut entry.known, traffic: Some(traffic) };
    let mut sight = |sighting: Sighting<'_>| door.sight(&mut scene, sighting);
    let mut sink = Sink::new(counters, wants, &mut sight);
    sink.notes = notes;
    match &mut interest {
        Interest::Tcp(connection) => connection.end(closed, &mut sink),
        Interest::Udp(datagrams) => datagrams.end(&mut sink),
        Interest::Nothing | Interest::Fresh => {}
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
    if is_answer { way.reverse() } else { way }
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
        Segment::Tcp(_) => Interest::Fresh,
        Segment::Udp { src_port, dst_port, .. } => {
            Interest::Udp(Datagrams::for_ports([*src_port, *dst_port]))
        }
        Segment::Other(_) => Interest::Nothing,
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;

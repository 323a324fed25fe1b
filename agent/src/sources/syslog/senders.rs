//! Everyone who sends, each with its own detector, because a device has its own format, and its own counts. The
//! table is bounded: further senders share an entry that says so.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use detect::{Detector, DetectorConfig, Line, Matcher};
use protocol::Timestamp;

use super::framing::lines_of;
use crate::config::Transport;
use crate::sources::outbox::Outbox;
use crate::sources::{Board, Meter, Refused, Told};

/// A town's gateway takes the logs of a few devices.
const SENDERS_MAX: usize = 256;
/// Open hits of one sender take an eighth of it.
const MEMORY_BYTES_EACH: usize = 4 << 20;
/// A line has no flow.
const FLOWS_MAX: usize = 1;

/// Where a sender is in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SenderNumber(usize);

struct Sender {
    transport: Transport,
    detector: Detector,
    told: Told,
    meter: Arc<Meter>,
    lines: u64,
}

/// All senders.
pub struct Senders {
    config: DetectorConfig,
    board: Board,
    matcher: Arc<Matcher>,
    senders: Vec<Sender>,
    /// `None` for the senders without an entry of their own.
    numbers: HashMap<(Transport, Option<IpAddr>), usize>,
    /// What the last line is known by.
    last: u64,
}

impl Sender {
    /// The sender of a datagram does not wait.
    fn give_hits(&mut self, outbox: &mut Outbox) {
        match self.transport {
            Transport::Udp => outbox.take_hits_of_datagrams(&mut self.detector),
            Transport::Tcp | Transport::Tls => outbox.take_hits(&mut self.detector),
        }
    }
}

impl Senders {
    pub fn new(config: DetectorConfig, board: Board, matcher: Arc<Matcher>) -> Self {
        let config = DetectorConfig { flows_max: FLOWS_MAX, memory_bytes_max: MEMORY_BYTES_EACH, ..config };
        Self { config, board, matcher, senders: Vec::new(), numbers: HashMap::new(), last: 0 }
    }

    /// Compares with another set from now on.
    pub fn set_matcher(&mut self, matcher: Arc<Matcher>) {
        self.senders.iter_mut().for_each(|sender| sender.detector.set_matcher(matcher.clone()));
        self.matcher = matcher;
    }

    /// The entry of a sender, made when it is the first time.
    pub fn number(&mut self, transport: Transport, ip: IpAddr) -> SenderNumber {
        let mut key = (transport, Some(ip));
        if !self.numbers.contains_key(&key) && self.senders.len() >= SENDERS_MAX {
            key.1 = None;
        }
        if let Some(number) = self.numbers.get(&key) {
            return SenderNumber(*number);
        }
        let input = match key.1 {
            Some(ip) => format!("syslog {} {ip}", transport.as_str()),
            None => format!("syslog {} further senders", transport.as_str()),
        };
        self.numbers.insert(key, self.senders.len());
        self.senders.push(Sender {
            transport,
            detector: Detector::new(&self.config, &input, self.matcher.clone()),
            told: Told::default(),
            meter: self.board.add(&input, "syslog"),
            lines: 0,
        });
        SenderNumber(self.senders.len() - 1)
    }

    /// Reads a message.
    pub fn handle_message(
        &mut self,
        number: SenderNumber,
        at: Timestamp,
        message: &[u8],
        outbox: &mut Outbox,
    ) {
        let Some(sender) = self.senders.get_mut(number.0) else { return };
        let before = sender.lines;
        for bytes in lines_of(message) {
            sender.lines += 1;
            // A line that comes over the network has no place to which one could go back. It is known by the time at
            // which it came, in nanoseconds, counted on where the clock does not: unique while the agent runs, and
            // over a restart unless the clock is set back to the very nanosecond.
            let time = u64::try_from(at.as_micros()).unwrap_or(0).saturating_mul(1000);
            self.last = time.max(self.last.saturating_add(1));
            let line = Line { number: sender.lines, offset: Some(self.last), bytes };
            sender.detector.handle_line(at, line);
            sender.give_hits(outbox);
        }
        sender.meter.count_read(sender.lines - before);
        sender.meter.note_last(at);
        sender.told.count_hits(&sender.detector, &sender.meter);
    }

    /// Counts what was not read of a sender.
    pub fn count_refused(&self, number: SenderNumber, refused: Refused) {
        if let Some(sender) = self.senders.get(number.0) {
            sender.meter.count_refused(refused, 1);
        }
    }

    /// Says what is wrong with a sender, or nothing.
    pub fn set_trouble(&self, number: SenderNumber, trouble: &str) {
        if let Some(sender) = self.senders.get(number.0) {
            sender.meter.set_trouble(trouble);
        }
    }

    /// Closes the cooldowns that are over.
    pub fn handle_timeout(&mut self, at: Timestamp, outbox: &mut Outbox) {
        for sender in &mut self.senders {
            sender.detector.handle_timeout(at);
            sender.give_hits(outbox);
            sender.told.count_hits(&sender.detector, &sender.meter);
            sender.told.tell(&sender.detector, &sender.meter);
        }
    }

    /// Closes all cooldowns.
    pub fn finish(&mut self, at: Timestamp, outbox: &mut Outbox) {
        for sender in &mut self.senders {
            sender.detector.finish(at);
            sender.give_hits(outbox);
        }
    }
}

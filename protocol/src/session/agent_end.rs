//! The agent's end: says what it wants from the spool, sends it within the credit, reports what may be deleted.

use std::collections::VecDeque;

use super::SessionError;
use crate::PROTOCOL_VERSION;
use crate::bundle::Serial;
use crate::identity::Epoch;
use crate::message::{AgentMessage, BundleOutcome, CollectorMessage, RENEW, Record, SourceStatus};
use crate::time::Timestamp;

/// Records in one batch.
const BATCH_RECORDS_MAX: usize = 500;
/// A connection that acknowledges nothing for so long is given up, in seconds.
const ACK_SECONDS_MAX: i64 = 60;

/// What a connection begins with.
#[derive(Clone, Debug)]
pub struct AgentHello {
    /// The agent's program version.
    pub version: String,
    /// Lowest sequence in the spool, or the next to be written.
    pub oldest: u64,
    /// Serial of the bundle in force.
    pub bundle: Serial,
}

/// What happened, for the agent to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentEvent {
    /// The collector took the certificate and the greeting; positive skew: the agent's clock is ahead.
    Welcomed {
        /// Microseconds.
        skew_micros: i64,
        /// Whether the collector renews certificates.
        renews: bool,
    },
    /// Records up to this sequence may be deleted.
    Acknowledged {
        /// Sequence.
        up_to: u64,
    },
    /// A signed repository can be fetched.
    BundleAvailable {
        /// Newest bundle in it.
        serial: Serial,
    },
    /// Close the connection and wait.
    RetryAfter {
        /// Seconds.
        seconds: u32,
        /// The collector's words.
        reason: String,
    },
    /// The certificate that [`AgentSession::handle_renewal`] asked for.
    Renewed {
        /// The new certificate, then its authority's (PEM).
        chain_pem: String,
    },
    /// There is no new certificate.
    RenewalRefused {
        /// The collector's words.
        reason: String,
    },
    /// Nothing was acknowledged for a minute: close the connection and try again.
    Stalled,
}

/// Records that the session would send now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Sequence of the first.
    pub from: u64,
    /// How many at most.
    pub records_max: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Apart,
    Greeted,
    Welcomed { credit: u32 },
}

/// One agent's session, over as many connections as it takes.
#[derive(Debug)]
pub struct AgentSession {
    epoch: Epoch,
    state: State,
    /// Highest sequence that is safe on disk.
    spooled: u64,
    acknowledged: u64,
    sent: u64,
    /// Last sequence of each batch that is under way.
    under_way: VecDeque<u64>,
    ack_due: Option<Timestamp>,
    outbox: VecDeque<AgentMessage>,
    events: VecDeque<AgentEvent>,
}

impl AgentSession {
    /// A session of a spool that holds records after `acknowledged` up to `spooled`.
    pub fn new(epoch: Epoch, acknowledged: u64, spooled: u64) -> Self {
        Self {
            epoch,
            state: State::Apart,
            spooled,
            acknowledged,
            sent: acknowledged,
            under_way: VecDeque::new(),
            ack_due: None,
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A connection is open: the greeting goes out.
    pub fn handle_connected(&mut self, now: Timestamp, hello: AgentHello) {
        self.handle_disconnected();
        self.state = State::Greeted;
        self.ack_due = Some(now.plus_seconds(ACK_SECONDS_MAX));
        self.outbox.push_back(AgentMessage::Hello {
            protocol: PROTOCOL_VERSION,
            version: hello.version,
            epoch: self.epoch,
            oldest: hello.oldest,
            now,
            bundle: hello.bundle,
            capabilities: Vec::new(),
        });
    }

    /// The connection is gone: what was under way counts as not sent.
    pub fn handle_disconnected(&mut self) {
        self.state = State::Apart;
        self.sent = self.acknowledged;
        self.under_way.clear();
        self.outbox.clear();
        self.ack_due = None;
    }

    /// A message came from the collector.
    ///
    /// # Errors
    /// When it breaks the protocol; close the connection and try again later.
    pub fn handle_message(&mut self, now: Timestamp, message: CollectorMessage) -> Result<(), SessionError> {
        match message {
            CollectorMessage::Welcome { protocol, now: theirs, stored, credit, capabilities } => {
                self.handle_welcome(protocol, stored, credit)?;
                let renews = capabilities.iter().any(|capability| capability == RENEW);
                self.events.push_back(AgentEvent::Welcomed { skew_micros: now.micros_since(theirs), renews });
                self.ack_due = None;
            }
            CollectorMessage::Ack { up_to } => self.handle_ack(now, up_to)?,
            CollectorMessage::BundleAvailable { serial } => {
                self.events.push_back(AgentEvent::BundleAvailable { serial });
            }
            CollectorMessage::RetryAfter { seconds, reason } => {
                self.events.push_back(AgentEvent::RetryAfter { seconds, reason });
            }
            CollectorMessage::Renewed { chain_pem } => {
                self.events.push_back(AgentEvent::Renewed { chain_pem });
            }
            CollectorMessage::RenewalRefused { reason } => {
                self.events.push_back(AgentEvent::RenewalRefused { reason });
            }
            CollectorMessage::Unknown => {}
        }
        Ok(())
    }

    fn handle_welcome(&mut self, protocol: u32, stored: u64, credit: u32) -> Result<(), SessionError> {
        if self.state != State::Greeted {
            return Err(SessionError::OutOfTurn { message: "welcome" });
        }
        if protocol == 0 || protocol > PROTOCOL_VERSION {
            return Err(SessionError::Version { theirs: protocol });
        }
        // A collector that claims more than was ever written is wrong or restored from another life:
        // only what is on disk can be acknowledged.
        if stored > self.spooled {
            return Err(SessionError::AckBeyondSent { up_to: stored, sent: self.spooled });
        }
        self.state = State::Welcomed { credit: credit.max(1) };
        self.acknowledge(stored);
        self.sent = self.acknowledged;
        Ok(())
    }

    fn handle_ack(&mut self, now: Timestamp, up_to: u64) -> Result<(), SessionError> {
        if !matches!(self.state, State::Welcomed { .. }) {
            return Err(SessionError::OutOfTurn { message: "acknowledgement" });
        }
        if up_to > self.sent {
            return Err(SessionError::AckBeyondSent { up_to, sent: self.sent });
        }
        self.acknowledge(up_to);
        while self.under_way.front().is_some_and(|last| *last <= up_to) {
            self.under_way.pop_front();
        }
        self.ack_due = (!self.under_way.is_empty()).then(|| now.plus_seconds(ACK_SECONDS_MAX));
        Ok(())
    }

    fn acknowledge(&mut self, up_to: u64) {
        if up_to > self.acknowledged {
            self.acknowledged = up_to;
            self.events.push_back(AgentEvent::Acknowledged { up_to });
        }
    }

    /// Records up to this sequence are safe on disk.
    pub fn handle_spooled(&mut self, last: u64) {
        self.spooled = self.spooled.max(last);
    }

    /// What to read from the spool and hand to [`AgentSession::handle_records`]; `None` while there is
    /// nothing to send or no credit.
    pub fn wanted(&self) -> Option<Wanted> {
        let State::Welcomed { credit } = self.state else { return None };
        let room = self.under_way.len() < usize::try_from(credit).unwrap_or(usize::MAX);
        (room && self.sent < self.spooled)
            .then_some(Wanted { from: self.sent + 1, records_max: BATCH_RECORDS_MAX })
    }

    /// Records read for [`AgentSession::wanted`], the first with sequence `first`. It may be later than
    /// wanted when the spool had to drop records; the collector sees the gap.
    pub fn handle_records(&mut self, now: Timestamp, first: u64, records: Vec<Record>) {
        if records.is_empty() || first <= self.sent || !matches!(self.state, State::Welcomed { .. }) {
            return;
        }
        self.sent = first + records.len() as u64 - 1;
        self.under_way.push_back(self.sent);
        self.ack_due.get_or_insert(now.plus_seconds(ACK_SECONDS_MAX));
        self.outbox.push_back(AgentMessage::Batch { first, records });
    }

    /// The agent's health, sent when connected; `fresh_until` is when the metadata of its bundles expires.
    pub fn handle_status(
        &mut self,
        at: Timestamp,
        (bundle, fresh_until): (Serial, Option<Timestamp>),
        sources: Vec<SourceStatus>,
    ) {
        if matches!(self.state, State::Welcomed { .. }) {
            let spooled = self.spooled - self.acknowledged;
            self.outbox.push_back(AgentMessage::Status { at, bundle, spooled, sources, fresh_until });
        }
    }

    /// What became of an offered bundle, sent when connected.
    pub fn handle_bundle(&mut self, serial: Serial, outcome: BundleOutcome) {
        if matches!(self.state, State::Welcomed { .. }) {
            self.outbox.push_back(AgentMessage::Bundle { serial, outcome });
        }
    }

    /// A new key asks for a certificate, when connected. Ask only a collector that renews.
    pub fn handle_renewal(&mut self, request_pem: String) {
        if matches!(self.state, State::Welcomed { .. }) {
            self.outbox.push_back(AgentMessage::Renew { request_pem });
        }
    }

    /// Time passes.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        if self.ack_due.is_some_and(|due| due <= now) {
            self.ack_due = None;
            self.events.push_back(AgentEvent::Stalled);
        }
    }

    /// When [`AgentSession::handle_timeout`] wants to be called.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.ack_due
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<AgentMessage> {
        self.outbox.pop_front()
    }

    /// The next event to act on.
    pub fn poll_event(&mut self) -> Option<AgentEvent> {
        self.events.pop_front()
    }

    /// Records that are safe on disk and not acknowledged.
    pub fn spooled_depth(&self) -> u64 {
        self.spooled.saturating_sub(self.acknowledged)
    }
}

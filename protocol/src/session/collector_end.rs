//! The collector's end: asks its store what it has, hands over what is new, acknowledges what is committed.

use std::collections::VecDeque;

use super::SessionError;
use crate::PROTOCOL_VERSION;
use crate::bundle::Serial;
use crate::identity::Epoch;
use crate::message::{AgentMessage, BundleOutcome, CollectorMessage, RENEW, Record, SourceStatus};
use crate::time::Timestamp;

/// What one connection may have under way.
#[derive(Clone, Copy, Debug)]
pub struct SessionLimits {
    /// Batches that may be unacknowledged at once.
    pub credit: u32,
    /// Records in one batch.
    pub batch_records_max: usize,
}

impl Default for SessionLimits {
    /// Four batches of a thousand records.
    fn default() -> Self {
        Self { credit: 4, batch_records_max: 1000 }
    }
}

/// What happened, for the collector to act on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CollectorEvent {
    /// An agent greets: look up what is committed of its epoch and call [`CollectorSession::handle_stored`].
    Hello {
        /// The agent's program version.
        version: String,
        /// The spool's epoch.
        epoch: Epoch,
        /// Serial of the bundle in force.
        bundle: Serial,
        /// Microseconds that the agent's clock is ahead.
        skew_micros: i64,
    },
    /// Records between what is committed and what the agent still has are gone.
    Gap {
        /// First missing sequence.
        from: u64,
        /// Last missing sequence.
        to: u64,
    },
    /// Commit these in one transaction, then call [`CollectorSession::handle_committed`].
    Commit {
        /// Sequence of the first record.
        first: u64,
        /// The records; none of them was committed before.
        records: Vec<Record>,
    },
    /// The agent's health.
    Status {
        /// The agent's clock.
        at: Timestamp,
        /// Bundle in force.
        bundle: Serial,
        /// Records that wait on the agent.
        spooled: u64,
        /// Each source.
        sources: Vec<SourceStatus>,
        /// When the bundle metadata that it has expires.
        fresh_until: Option<Timestamp>,
    },
    /// What became of a bundle on the agent.
    Bundle {
        /// Its serial.
        serial: Serial,
        /// What became of it.
        outcome: BundleOutcome,
    },
    /// The agent asks for its next certificate: call [`CollectorSession::handle_renewal`] with what comes of it.
    Renew {
        /// Certificate request (PKCS #10, PEM).
        request_pem: String,
    },
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Greeted {
        protocol: u32,
        oldest: u64,
    },
    /// The next sequence to be taken.
    Welcomed {
        next: u64,
    },
}

/// One connection of one agent. What outlives a connection is in the collector's store.
#[derive(Debug)]
pub struct CollectorSession {
    limits: SessionLimits,
    state: State,
    uncommitted: VecDeque<u64>,
    outbox: VecDeque<CollectorMessage>,
    events: VecDeque<CollectorEvent>,
}

impl CollectorSession {
    /// A fresh connection whose certificate was checked.
    pub fn new(limits: SessionLimits) -> Self {
        Self {
            limits,
            state: State::Waiting,
            uncommitted: VecDeque::new(),
            outbox: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A message came from the agent.
    ///
    /// # Errors
    /// When it breaks the protocol; close the connection with the error as its reason.
    pub fn handle_message(&mut self, now: Timestamp, message: AgentMessage) -> Result<(), SessionError> {
        match message {
            AgentMessage::Hello { protocol, version, epoch, oldest, now: theirs, bundle, .. } => {
                if self.state != State::Waiting {
                    return Err(SessionError::OutOfTurn { message: "hello" });
                }
                if protocol == 0 {
                    return Err(SessionError::Version { theirs: protocol });
                }
                self.state =
                    State::Greeted { protocol: protocol.min(PROTOCOL_VERSION), oldest: oldest.max(1) };
                let skew_micros = theirs.micros_since(now);
                self.events.push_back(CollectorEvent::Hello { version, epoch, bundle, skew_micros });
            }
            AgentMessage::Batch { first, records } => self.handle_batch(first, records)?,
            AgentMessage::Status { at, bundle, spooled, sources, fresh_until } => {
                self.welcomed("status")?;
                self.events.push_back(CollectorEvent::Status { at, bundle, spooled, sources, fresh_until });
            }
            AgentMessage::Bundle { serial, outcome } => {
                self.welcomed("bundle")?;
                self.events.push_back(CollectorEvent::Bundle { serial, outcome });
            }
            AgentMessage::Renew { request_pem } => {
                self.welcomed("renewal")?;
                self.events.push_back(CollectorEvent::Renew { request_pem });
            }
            AgentMessage::Unknown => {}
        }
        Ok(())
    }

    fn welcomed(&self, message: &'static str) -> Result<u64, SessionError> {
        match self.state {
            State::Welcomed { next } => Ok(next),
            _ => Err(SessionError::OutOfTurn { message }),
        }
    }

    fn handle_batch(&mut self, first: u64, mut records: Vec<Record>) -> Result<(), SessionError> {
        let next = self.welcomed("batch")?;
        if records.len() > self.limits.batch_records_max {
            return Err(SessionError::OverLimit { what: "records in a batch" });
        }
        if self.uncommitted.len() >= usize::try_from(self.limits.credit).unwrap_or(usize::MAX) {
            return Err(SessionError::OverLimit { what: "unacknowledged batches" });
        }
        let Some(last) = first.checked_add(records.len() as u64).and_then(|end| end.checked_sub(1)) else {
            return Err(SessionError::Sequence { first, expected: next });
        };
        if first == 0 || records.is_empty() {
            return Err(SessionError::Sequence { first, expected: next });
        }
        if first > next {
            self.events.push_back(CollectorEvent::Gap { from: next, to: first - 1 });
        }
        let repeated = next.saturating_sub(first).min(records.len() as u64);
        records.drain(..usize::try_from(repeated).unwrap_or(usize::MAX).min(records.len()));
        if records.is_empty() {
            self.acknowledge_repeats(last);
            return Ok(());
        }
        self.state = State::Welcomed { next: last + 1 };
        self.uncommitted.push_back(last);
        self.events.push_back(CollectorEvent::Commit { first: first + repeated, records });
        Ok(())
    }

    /// A batch of nothing but repeats is acknowledged once everything before it is committed.
    fn acknowledge_repeats(&mut self, last: u64) {
        if self.uncommitted.is_empty() {
            self.outbox.push_back(CollectorMessage::Ack { up_to: last });
        }
    }

    /// The store's answer to [`CollectorEvent::Hello`]: everything of the epoch up to `stored` is committed.
    pub fn handle_stored(&mut self, now: Timestamp, stored: u64) {
        let State::Greeted { protocol, oldest } = self.state else { return };
        if oldest > stored + 1 {
            self.events.push_back(CollectorEvent::Gap { from: stored + 1, to: oldest - 1 });
        }
        self.state = State::Welcomed { next: (stored + 1).max(oldest) };
        self.outbox.push_back(CollectorMessage::Welcome {
            protocol,
            now,
            stored,
            credit: self.limits.credit,
            capabilities: vec![RENEW.to_owned()],
        });
    }

    /// The store committed everything up to this sequence.
    pub fn handle_committed(&mut self, up_to: u64) {
        while self.uncommitted.front().is_some_and(|last| *last <= up_to) {
            self.uncommitted.pop_front();
        }
        self.outbox.push_back(CollectorMessage::Ack { up_to });
    }

    /// The certificate chain that the agent asked for, or why there is none.
    pub fn handle_renewal(&mut self, renewal: Result<String, String>) {
        self.outbox.push_back(match renewal {
            Ok(chain_pem) => CollectorMessage::Renewed { chain_pem },
            Err(reason) => CollectorMessage::RenewalRefused { reason },
        });
    }

    /// A newer signed repository is there.
    pub fn handle_bundle_available(&mut self, serial: Serial) {
        if matches!(self.state, State::Welcomed { .. }) {
            self.outbox.push_back(CollectorMessage::BundleAvailable { serial });
        }
    }

    /// The store cannot take more: the agent keeps its records and comes back.
    pub fn handle_overload(&mut self, seconds: u32, reason: String) {
        self.outbox.push_back(CollectorMessage::RetryAfter { seconds, reason });
    }

    /// The next message to send.
    pub fn poll_transmit(&mut self) -> Option<CollectorMessage> {
        self.outbox.pop_front()
    }

    /// The next event to act on.
    pub fn poll_event(&mut self) -> Option<CollectorEvent> {
        self.events.pop_front()
    }
}

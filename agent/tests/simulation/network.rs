//! Connections of one agent to the collector: bytes come late, in pieces, or only up to one of them; and the collector may
//! hold on to a connection that the agent has left long ago.

use std::collections::VecDeque;

use protocol::Timestamp;
use protocol::frame::{FrameDecoder, encode};
use protocol::identity::Epoch;
use protocol::message::{AgentMessage, CollectorMessage, Record};
use protocol::session::{CollectorEvent, CollectorSession, SessionLimits};

use crate::seed::Seed;
use crate::store::Store;

/// What the collector's writer is asked, in order.
enum Work {
    Greeting,
    Records { first: u64, records: Vec<Record> },
    Gap { from: u64, to: u64 },
}

/// One connection, with the collector's end of it.
pub struct Link {
    to_collector: VecDeque<u8>,
    to_agent: VecDeque<u8>,
    session: CollectorSession,
    heard: FrameDecoder,
    epoch: [u8; 16],
    works: VecDeque<Work>,
    /// Nothing more comes in from the agent.
    pub left: bool,
    /// The collector closed it.
    pub closed: bool,
}

impl Link {
    pub fn new() -> Self {
        Self {
            to_collector: VecDeque::new(),
            to_agent: VecDeque::new(),
            session: CollectorSession::new(SessionLimits::default()),
            heard: FrameDecoder::default(),
            epoch: [0; 16],
            works: VecDeque::new(),
            left: false,
            closed: false,
        }
    }

    pub fn send(&mut self, message: &AgentMessage) {
        if !self.left {
            self.to_collector.extend(encode(message).unwrap());
        }
    }

    /// The agent is gone: of what it sent, some may still arrive.
    pub fn leave(&mut self, seed: &mut Seed) {
        self.left = true;
        self.to_agent.clear();
        let arrives = seed.index(self.to_collector.len() + 1);
        self.to_collector.truncate(arrives);
    }

    /// Whether nothing happens here any more.
    pub fn is_over(&self) -> bool {
        self.closed || (self.left && self.to_collector.is_empty() && self.works.is_empty())
    }

    /// The next bytes for the agent.
    pub fn receive(&mut self, most: usize) -> Vec<u8> {
        let count = most.min(self.to_agent.len());
        self.to_agent.drain(..count).collect()
    }

    /// The collector reads some bytes.
    pub fn arrive(&mut self, most: usize, now: Timestamp) {
        let count = most.min(self.to_collector.len());
        let bytes: Vec<u8> = self.to_collector.drain(..count).collect();
        self.heard.handle_bytes(&bytes);
        while let Some(message) = self.heard.poll_message::<AgentMessage>().expect("frames are whole") {
            self.session.handle_message(now, message).expect("the agent keeps to the protocol");
            self.note_events();
        }
    }

    fn note_events(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                CollectorEvent::Hello { epoch: Epoch(epoch), .. } => {
                    self.epoch = epoch;
                    self.works.push_back(Work::Greeting);
                }
                CollectorEvent::Commit { first, records } => {
                    self.works.push_back(Work::Records { first, records });
                }
                CollectorEvent::Gap { from, to } => self.works.push_back(Work::Gap { from, to }),
                _ => {}
            }
        }
    }

    /// The collector's writer does one work; `told` is false when it is killed between commit and answer.
    pub fn work(&mut self, store: &mut Store, now: Timestamp, told: bool) {
        let Some(work) = self.works.pop_front() else { return };
        match work {
            Work::Greeting => {
                self.session.handle_stored(now, store.stored(self.epoch));
                self.note_events();
            }
            Work::Records { first, records } => {
                self.closed = !store.keep(self.epoch, first, &records);
                if !self.closed && told {
                    self.session.handle_committed(first + records.len() as u64 - 1);
                }
            }
            Work::Gap { from, to } => self.closed = !store.keep_gap(self.epoch, from, to),
        }
        while let Some(message) = self.session.poll_transmit() {
            self.answer(&message);
        }
    }

    fn answer(&mut self, message: &CollectorMessage) {
        if told(self) {
            self.to_agent.extend(encode(message).unwrap());
        }
    }
}

fn told(link: &Link) -> bool {
    !link.left && !link.closed
}

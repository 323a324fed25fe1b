//! Both ends against each other in memory: a bad network, restarts of either side, older and newer peers.

use std::collections::VecDeque;

use proptest::prelude::*;

use super::*;
use crate::bundle::Serial;
use crate::frame::{FrameDecoder, encode};
use crate::identity::Epoch;
use crate::message::{AgentMessage, CollectorMessage, Loss, LossReason, Record};
use crate::time::Timestamp;

const EPOCH: Epoch = Epoch([5; 16]);

fn record(number: u64) -> Record {
    let at = Timestamp::from_micros(0);
    Record::Loss(Loss {
        id: None,
        count: number,
        reason: LossReason::Other,
        first_at: at,
        last_at: at,
        gap: None,
    })
}

fn hello(oldest: u64) -> AgentHello {
    AgentHello { version: "0.1.0".into(), oldest, bundle: Serial(0) }
}

/// An agent with its disk, a collector with its store, and a wire of frames in both directions.
struct World {
    now: Timestamp,
    disk: Vec<u64>,
    next: u64,
    agent: AgentSession,
    collector: Option<CollectorSession>,
    store: Vec<u64>,
    committed: u64,
    to_collector: VecDeque<Vec<u8>>,
    to_agent: VecDeque<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        Self {
            now: Timestamp::from_seconds(1_800_000_000, 0),
            disk: Vec::new(),
            next: 1,
            agent: AgentSession::new(EPOCH, 0, 0),
            collector: None,
            store: Vec::new(),
            committed: 0,
            to_collector: VecDeque::new(),
            to_agent: VecDeque::new(),
        }
    }

    fn spool(&mut self, count: u64) {
        for _ in 0..count {
            self.disk.push(self.next);
            self.next += 1;
        }
        self.agent.handle_spooled(self.next - 1);
    }

    fn connect(&mut self) {
        self.disconnect();
        let oldest = self.disk.first().copied().unwrap_or(self.next);
        self.agent.handle_connected(self.now, hello(oldest));
        self.collector = Some(CollectorSession::new(SessionLimits::default()));
    }

    fn disconnect(&mut self) {
        self.to_collector.clear();
        self.to_agent.clear();
        self.agent.handle_disconnected();
        self.collector = None;
    }

    fn restart_agent(&mut self) {
        self.disconnect();
        let acknowledged = self.disk.first().map_or(self.next - 1, |oldest| oldest - 1);
        self.agent = AgentSession::new(EPOCH, acknowledged, self.next - 1);
    }

    fn agent_turn(&mut self) {
        while let Some(wanted) = self.agent.wanted() {
            let from = self.disk.iter().copied().filter(|sequence| *sequence >= wanted.from).take(3);
            let sequences: Vec<u64> = from.collect();
            self.agent.handle_records(
                self.now,
                sequences[0],
                sequences.iter().copied().map(record).collect(),
            );
        }
        while let Some(message) = self.agent.poll_transmit() {
            self.to_collector.push_back(encode(&message).unwrap());
        }
        while let Some(event) = self.agent.poll_event() {
            if let AgentEvent::Acknowledged { up_to } = event {
                self.disk.retain(|sequence| *sequence > up_to);
            }
        }
    }

    /// Takes one frame; `acknowledge` false is a collector killed between commit and acknowledgement.
    fn collector_turn(&mut self, acknowledge: bool) {
        let Some(collector) = &mut self.collector else { return };
        let Some(frame) = self.to_collector.pop_front() else { return };
        let mut decoder = FrameDecoder::default();
        decoder.handle_bytes(&frame);
        let message: AgentMessage = decoder.poll_message().unwrap().unwrap();
        collector.handle_message(self.now, message).unwrap();
        while let Some(event) = collector.poll_event() {
            match event {
                CollectorEvent::Hello { .. } => collector.handle_stored(self.now, self.committed),
                CollectorEvent::Commit { first, records } => {
                    for (sequence, committed) in (first..).zip(&records) {
                        assert_eq!(*committed, record(sequence), "a record changed on the way");
                        self.store.push(sequence);
                    }
                    self.committed = first + records.len() as u64 - 1;
                    if acknowledge {
                        collector.handle_committed(self.committed);
                    }
                }
                CollectorEvent::Gap { from, to } => panic!("gap {from}..{to} though nothing was dropped"),
                _ => {}
            }
        }
        while let Some(message) = collector.poll_transmit() {
            self.to_agent.push_back(encode(&message).unwrap());
        }
    }

    fn agent_receives(&mut self) {
        let Some(frame) = self.to_agent.pop_front() else { return };
        let mut decoder = FrameDecoder::default();
        decoder.handle_bytes(&frame);
        let message: CollectorMessage = decoder.poll_message().unwrap().unwrap();
        self.agent.handle_message(self.now, message).unwrap();
    }

    fn settle(&mut self) {
        self.connect();
        for _ in 0..10_000 {
            self.agent_turn();
            self.collector_turn(true);
            self.agent_receives();
            self.agent_turn();
            if self.disk.is_empty() && self.to_collector.is_empty() && self.to_agent.is_empty() {
                return;
            }
        }
        panic!("did not settle: {} left", self.disk.len());
    }
}

#[derive(Clone, Debug)]
enum Step {
    Spool(u64),
    Connect,
    Disconnect,
    RestartAgent,
    AgentTurn,
    CollectorTurn,
    CommitWithoutAck,
    AgentReceives,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u64..8).prop_map(Step::Spool),
        2 => Just(Step::Connect),
        1 => Just(Step::Disconnect),
        1 => Just(Step::RestartAgent),
        6 => Just(Step::AgentTurn),
        6 => Just(Step::CollectorTurn),
        1 => Just(Step::CommitWithoutAck),
        6 => Just(Step::AgentReceives),
    ]
}

proptest! {
    #[test]
    fn every_record_is_stored_once_and_in_order(steps in proptest::collection::vec(step(), 1..200)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Spool(count) => world.spool(count),
                Step::Connect => world.connect(),
                Step::Disconnect => world.disconnect(),
                Step::RestartAgent => world.restart_agent(),
                Step::AgentTurn => world.agent_turn(),
                Step::CollectorTurn => world.collector_turn(true),
                Step::CommitWithoutAck => {
                    world.collector_turn(false);
                    world.disconnect();
                }
                Step::AgentReceives => world.agent_receives(),
            }
        }
        world.settle();
        let all: Vec<u64> = (1..world.next).collect();
        prop_assert_eq!(&world.store, &all);
    }
}

fn greeted(oldest: u64, stored: u64) -> CollectorSession {
    let mut agent = AgentSession::new(EPOCH, oldest - 1, oldest + 10);
    agent.handle_connected(Timestamp::default(), hello(oldest));
    let mut collector = CollectorSession::new(SessionLimits::default());
    collector.handle_message(Timestamp::default(), agent.poll_transmit().unwrap()).unwrap();
    assert!(matches!(collector.poll_event(), Some(CollectorEvent::Hello { .. })));
    collector.handle_stored(Timestamp::default(), stored);
    collector
}

#[test]
fn a_gap_in_the_spool_is_reported_not_hidden() {
    let mut collector = greeted(8, 5);
    assert_eq!(collector.poll_event(), Some(CollectorEvent::Gap { from: 6, to: 7 }));
}

#[test]
fn a_batch_that_was_stored_before_is_acknowledged_and_not_stored_again() {
    let mut collector = greeted(1, 5);
    collector.poll_transmit();
    let batch = AgentMessage::Batch { first: 4, records: vec![record(4), record(5)] };
    collector.handle_message(Timestamp::default(), batch).unwrap();
    assert_eq!(collector.poll_event(), None);
    assert_eq!(collector.poll_transmit(), Some(CollectorMessage::Ack { up_to: 5 }));
    let batch = AgentMessage::Batch { first: 5, records: vec![record(5), record(6)] };
    collector.handle_message(Timestamp::default(), batch).unwrap();
    assert_eq!(collector.poll_event(), Some(CollectorEvent::Commit { first: 6, records: vec![record(6)] }));
}

#[test]
fn a_flooding_agent_is_stopped_by_its_credit() {
    let mut collector = greeted(1, 0);
    let send = |collector: &mut CollectorSession, first| {
        collector
            .handle_message(Timestamp::default(), AgentMessage::Batch { first, records: vec![record(first)] })
    };
    for first in 1..=4 {
        send(&mut collector, first).unwrap();
    }
    assert_eq!(send(&mut collector, 5), Err(SessionError::OverLimit { what: "unacknowledged batches" }));
}

#[test]
fn hostile_sequences_are_refused() {
    for first in [0, u64::MAX] {
        let mut collector = greeted(1, 0);
        let batch = AgentMessage::Batch { first, records: vec![record(1), record(2)] };
        let refused = collector.handle_message(Timestamp::default(), batch);
        assert!(matches!(refused, Err(SessionError::Sequence { .. })), "{first}");
    }
}

#[test]
fn a_collector_cannot_make_an_agent_delete_what_it_never_sent() {
    let mut agent = AgentSession::new(EPOCH, 0, 10);
    agent.handle_connected(Timestamp::default(), hello(1));
    let welcome = |stored| welcome(stored, &[]);
    let refused = agent.handle_message(Timestamp::default(), welcome(11));
    assert_eq!(refused, Err(SessionError::AckBeyondSent { up_to: 11, sent: 10 }));
    agent.handle_message(Timestamp::default(), welcome(0)).unwrap();
    let refused = agent.handle_message(Timestamp::default(), CollectorMessage::Ack { up_to: 1 });
    assert_eq!(refused, Err(SessionError::AckBeyondSent { up_to: 1, sent: 0 }));
    assert!(!matches!(agent.poll_event(), Some(AgentEvent::Acknowledged { .. })));
}

fn welcome(stored: u64, capabilities: &[&str]) -> CollectorMessage {
    CollectorMessage::Welcome {
        protocol: 1,
        now: Timestamp::default(),
        stored,
        credit: 4,
        capabilities: capabilities.iter().map(|capability| (*capability).to_owned()).collect(),
    }
}

#[test]
fn a_renewal_goes_both_ways_and_only_after_the_welcome() {
    let mut collector = CollectorSession::new(SessionLimits::default());
    let early = AgentMessage::Renew { request_pem: "r".into() };
    let refused = collector.handle_message(Timestamp::default(), early);
    assert_eq!(refused, Err(SessionError::OutOfTurn { message: "renewal" }));

    let mut collector = greeted(1, 0);
    let mut agent = AgentSession::new(EPOCH, 0, 0);
    agent.handle_connected(Timestamp::default(), hello(1));
    agent.handle_renewal("too early".into());
    assert!(matches!(agent.poll_transmit(), Some(AgentMessage::Hello { .. })));
    assert_eq!(agent.poll_transmit(), None);
    agent.handle_message(Timestamp::default(), collector.poll_transmit().unwrap()).unwrap();
    assert!(matches!(agent.poll_event(), Some(AgentEvent::Welcomed { renews: true, .. })));
    agent.handle_renewal("request".into());
    collector.handle_message(Timestamp::default(), agent.poll_transmit().unwrap()).unwrap();
    let asked = CollectorEvent::Renew { request_pem: "request".into() };
    assert_eq!(collector.poll_event(), Some(asked));
    collector.handle_renewal(Ok("chain".into()));
    collector.handle_renewal(Err("no".into()));
    while let Some(message) = collector.poll_transmit() {
        agent.handle_message(Timestamp::default(), message).unwrap();
    }
    assert_eq!(agent.poll_event(), Some(AgentEvent::Renewed { chain_pem: "chain".into() }));
    assert_eq!(agent.poll_event(), Some(AgentEvent::RenewalRefused { reason: "no".into() }));
}

#[test]
fn only_a_collector_that_says_so_renews() {
    for (capabilities, expected) in [(&[][..], false), (&["teleport"], false), (&["teleport", "renew"], true)]
    {
        let mut agent = AgentSession::new(EPOCH, 0, 0);
        agent.handle_connected(Timestamp::default(), hello(1));
        agent.handle_message(Timestamp::default(), welcome(0, capabilities)).unwrap();
        let Some(AgentEvent::Welcomed { renews, .. }) = agent.poll_event() else { panic!("not welcomed") };
        assert_eq!(renews, expected, "{capabilities:?}");
    }
}

#[test]
fn a_silent_collector_is_given_up() {
    let mut agent = AgentSession::new(EPOCH, 0, 0);
    let start = Timestamp::from_seconds(1_800_000_000, 0);
    agent.handle_connected(start, hello(1));
    let due = agent.poll_timeout().unwrap();
    agent.handle_timeout(due);
    assert_eq!(agent.poll_event(), Some(AgentEvent::Stalled));
}

#[test]
fn a_newer_agent_is_answered_in_the_version_both_speak() {
    let mut collector = CollectorSession::new(SessionLimits::default());
    let newer = AgentMessage::Hello {
        protocol: 9,
        version: "9.0.0".into(),
        epoch: EPOCH,
        oldest: 1,
        now: Timestamp::default(),
        bundle: Serial(0),
        capabilities: vec!["teleport".into()],
    };
    collector.handle_message(Timestamp::default(), newer).unwrap();
    collector.handle_message(Timestamp::default(), AgentMessage::Unknown).unwrap();
    collector.handle_stored(Timestamp::default(), 0);
    assert!(matches!(collector.poll_transmit(), Some(CollectorMessage::Welcome { protocol: 1, .. })));
}

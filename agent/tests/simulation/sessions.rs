//! Both ends of the session with the real log between them, over a network that breaks at any byte, with crashes of either
//! side and a collector that is restored from a backup. A seed is a whole history; VEDETTA_SIM_SEED repeats one,
//! VEDETTA_SIM_FIRST begins elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use protocol::frame::FrameDecoder;
use protocol::identity::LossId;
use protocol::message::CollectorMessage;
use protocol::session::{AgentEvent, AgentHello, AgentSession, SessionError};
use protocol::{Serial, Timestamp};
use vedetta_agent::spool::{Safe, SpoolReader};

use crate::faulty_disk::FaultyDisk;
use crate::network::Link;
use crate::seed::Seed;
use crate::store::Store;
use crate::times::times;
use crate::world::{Known, World};

struct History {
    bytes_max: u64,
    seed: Seed,
    now: Timestamp,
    world: Option<World>,
    /// Hits that are safe and were not given up for all that the agent knows.
    safe: BTreeSet<u64>,
    next: u64,
    session: AgentSession,
    known: Safe,
    reader: SpoolReader,
    heard: FrameDecoder,
    welcomed: bool,
    links: Vec<Link>,
    /// Which link the agent uses.
    current: Option<usize>,
    store: Store,
    backup: Store,
    /// Hits that the collector acknowledged and lost with its store, and losses.
    forgotten: BTreeSet<u64>,
    losses_forgotten: BTreeMap<LossId, u64>,
}

impl History {
    fn new(number: u64) -> Self {
        let bytes_max = (64 << 10) << (number % 3);
        let world = World::open(FaultyDisk::default(), bytes_max, Known::default()).unwrap();
        let known = Safe::of(&world.log);
        Self {
            bytes_max,
            seed: Seed::new(number),
            now: Timestamp::from_seconds(1_800_000_000, 0),
            safe: BTreeSet::new(),
            next: 0,
            session: AgentSession::new(known.epoch, known.stored(), known.newest()),
            known,
            reader: world.reader(),
            heard: FrameDecoder::default(),
            welcomed: false,
            links: Vec::new(),
            current: None,
            store: Store::default(),
            backup: Store::default(),
            forgotten: BTreeSet::new(),
            losses_forgotten: BTreeMap::new(),
            world: Some(world),
        }
    }

    fn world(&mut self) -> &mut World {
        self.world.as_mut().unwrap()
    }

    fn step(&mut self) {
        self.now = self.now.plus_seconds(1);
        match self.seed.below(100) {
            0..12 => self.append(),
            12..16 => self.connect(),
            16..18 => self.disconnect(),
            18..42 => self.arrive(),
            42..66 => self.work(true),
            66..90 => self.receive(),
            90..92 => {
                // Killed between commit and acknowledgement.
                self.work(false);
                self.kill_collector();
            }
            92..94 => self.kill_collector(),
            94 => self.backup = self.store.clone(),
            95 => self.restore(),
            96 => self.restart(true),
            97 => self.restart(false),
            _ => self.cut_power(),
        }
        self.pump();
    }

    fn append(&mut self) {
        let count = 1 + self.seed.below(12);
        self.world().append(count).unwrap();
        self.note_spooled();
    }

    /// What is safe is published by the spool's thread.
    fn note_spooled(&mut self) {
        let world = self.world.as_ref().unwrap();
        self.safe.extend(&world.known.held);
        self.next = world.known.next;
        let safe = Safe::of(&world.log);
        if safe.epoch == self.known.epoch {
            self.known = safe;
            self.session.handle_spooled(safe.newest());
        } else {
            self.disconnect();
            self.begin_session();
        }
    }

    fn begin_session(&mut self) {
        let world = self.world.as_ref().unwrap();
        self.known = Safe::of(&world.log);
        self.session = AgentSession::new(self.known.epoch, self.known.stored(), self.known.newest());
        self.reader = world.reader();
    }

    fn connect(&mut self) {
        self.disconnect();
        self.begin_session();
        let oldest = self.known.stored() + 1;
        let hello = AgentHello { version: "0.1.0".into(), oldest, bundle: Serial(0) };
        self.session.handle_connected(self.now, hello);
        self.heard = FrameDecoder::default();
        self.links.push(Link::new());
        self.current = Some(self.links.len() - 1);
    }

    fn disconnect(&mut self) {
        self.session.handle_disconnected();
        self.welcomed = false;
        if let Some(current) = self.current.take() {
            self.links[current].leave(&mut self.seed);
        }
        if self.links.iter().all(Link::is_over) {
            self.links.clear();
        }
    }

    /// As the uplink does: events first, then messages, then what is wanted of the spool.
    fn pump(&mut self) {
        while let Some(event) = self.session.poll_event() {
            match event {
                AgentEvent::Welcomed { .. } => self.welcomed = true,
                AgentEvent::Acknowledged { up_to } => {
                    let up_to = up_to + self.known.base;
                    self.world().log.acknowledge(up_to).unwrap();
                }
                AgentEvent::Stalled | AgentEvent::RetryAfter { .. } => return self.disconnect(),
                _ => {}
            }
        }
        let Some(current) = self.current else { return };
        loop {
            while let Some(message) = self.session.poll_transmit() {
                self.links[current].send(&message);
            }
            let Some(wanted) = self.session.wanted() else { return };
            let most = wanted.records_max.min(1 + self.seed.index(20));
            match self.reader.read(&self.known, wanted.from, most).unwrap() {
                Some(batch) => self.session.handle_records(self.now, batch.first, batch.records),
                None => return,
            }
        }
    }

    fn any_link(&mut self) -> Option<usize> {
        let current = self.current.filter(|_| !self.seed.once_in(4));
        current.or_else(|| (!self.links.is_empty()).then(|| self.seed.index(self.links.len())))
    }

    fn arrive(&mut self) {
        let most = self.seed.index(6000);
        if let Some(link) = self.any_link().filter(|link| !self.links[*link].closed) {
            self.links[link].arrive(most, self.now);
        }
    }

    fn work(&mut self, told: bool) {
        if let Some(link) = self.any_link().filter(|link| !self.links[*link].closed) {
            self.links[link].work(&mut self.store, self.now, told);
            if self.links[link].closed && self.current == Some(link) {
                self.disconnect();
            }
        }
    }

    fn receive(&mut self) {
        let most = self.seed.index(200);
        self.receive_up_to(most);
    }

    fn receive_up_to(&mut self, most: usize) {
        let Some(current) = self.current else { return };
        self.heard.handle_bytes(&self.links[current].receive(most));
        while let Some(message) = self.heard.poll_message::<CollectorMessage>().unwrap() {
            match self.session.handle_message(self.now, message) {
                Ok(()) => self.pump(),
                Err(SessionError::AckBeyondSent { .. }) if !self.welcomed => {
                    self.world().log.renew_epoch().unwrap();
                    return self.note_spooled();
                }
                Err(error) => panic!("the collector broke the protocol: {error}"),
            }
            if self.current != Some(current) {
                return;
            }
        }
    }

    fn kill_collector(&mut self) {
        self.disconnect();
        self.links.clear();
    }

    fn restore(&mut self) {
        self.kill_collector();
        self.forgotten.extend(self.store.hits.difference(&self.backup.hits));
        self.losses_forgotten.extend(&self.store.losses);
        self.store = self.backup.clone();
    }

    fn restart(&mut self, asked: bool) {
        self.disconnect();
        let World { disk, known, log, .. } = self.world.take().unwrap();
        if asked {
            log.close();
        }
        self.world = Some(World::open(disk.after_kill(), self.bytes_max, known).unwrap());
        self.begin_session();
    }

    fn cut_power(&mut self) {
        self.disconnect();
        let World { disk, known, .. } = self.world.take().unwrap();
        let disk = disk.after_power_cut(&mut self.seed);
        self.world = Some(World::open(disk, self.bytes_max, known).unwrap());
        self.begin_session();
    }

    /// Nothing goes wrong any more: everything that is left arrives, and a fresh hit too.
    fn settle(&mut self) {
        self.deliver_all();
        self.append();
        self.deliver_all();
        assert!(self.store.hits.contains(&(self.next - 1)), "a fresh hit does not arrive");
    }

    fn deliver_all(&mut self) {
        for _ in 0..2000 {
            if Safe::of(&self.world().log).depth() == 0 {
                return;
            }
            self.now = self.now.plus_seconds(1);
            if self.current.is_none() {
                self.connect();
            }
            self.pump();
            for link in 0..self.links.len() {
                if !self.links[link].closed {
                    self.links[link].arrive(usize::MAX, self.now);
                    self.links[link].work(&mut self.store, self.now, true);
                }
            }
            if self.current.is_some_and(|current| self.links[current].closed) {
                self.disconnect();
            }
            self.receive_up_to(usize::MAX);
            self.pump();
        }
        panic!("does not settle: {:?}", Safe::of(&self.world().log));
    }

    fn check(&self) {
        assert!(self.store.hits.iter().all(|number| *number < self.next), "a hit was made up");
        let stored: BTreeSet<u64> = self.store.hits.union(&self.forgotten).copied().collect();
        let missing = self.safe.difference(&stored).count() as u64;
        assert_eq!(missing, self.told(), "safe hits are not stored, or told as lost, both, or twice");
    }

    /// How many hits losses told of, each loss once.
    fn told(&self) -> u64 {
        let mut losses = self.losses_forgotten.clone();
        losses.extend(&self.store.losses);
        losses.values().sum()
    }
}

/// Gives how many hits arrived, and how many were given up.
fn live(number: u64) -> (u64, u64) {
    let mut history = History::new(number);
    for _ in 0..200 {
        history.step();
    }
    history.settle();
    history.check();
    (history.store.hits.len() as u64, history.told())
}

#[test]
fn every_safe_hit_is_stored_or_told_as_lost() {
    if let Ok(seed) = std::env::var("VEDETTA_SIM_SEED") {
        live(seed.parse().expect("a number"));
        return;
    }
    let (mut arrived, mut given_up) = (0, 0);
    let first = times("VEDETTA_SIM_FIRST", 0);
    for number in first..first + times("VEDETTA_SIM_SEEDS", 1000) {
        let Ok(lived) = std::panic::catch_unwind(|| live(number)) else {
            panic!("failed; repeat it with VEDETTA_SIM_SEED={number}")
        };
        arrived += lived.0;
        given_up += lived.1;
    }
    println!("{arrived} hits arrived, {given_up} were given up");
    assert!(arrived > given_up && given_up > 0, "{arrived} hits arrived, {given_up} were given up");
}

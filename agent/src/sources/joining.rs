//! Between the workers and the spool: a thread in which the two sides of a gateway's translation become one hit, and
//! what a capture and a log tell of one conversation. It waits for hits, asks connection tracking, and hands on; nothing
//! is kept of a flow that has no hit.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use detect::{Answer, DetectorConfig, Joiner, Patience, Question};
use protocol::message::{Loss, Record};
use protocol::{Hit, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::conntrack::{Conntrack, Unavailable};
use super::kept::KeptHits;
use crate::clock;
use crate::published::Published;
use crate::spool::{HitSink, NotPut, SpoolStopped};
use crate::stages::Stage;

/// Hits on their way to the joiner; beyond that they are dropped and counted, like those on their way to the spool.
const HITS_QUEUED_MAX: usize = 1024;
/// Those of logs may take so many of these places: lines can wait, packets cannot.
const LOGGED_QUEUED_MAX: usize = HITS_QUEUED_MAX / 2;
/// How long a hit of a log waits between two attempts to put it in a spool that is full.
const PUT_AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How long it waits when nobody is there any more that could read its line again later.
const LAST_PUT_SECONDS_MAX: Duration = Duration::from_secs(5);
/// How often a thread without anything to do looks up.
const IDLE: Duration = Duration::from_secs(60);
/// How long connection tracking that could not be asked is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(60);

/// Whether connection tracking can be asked; part of `status --json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TrackingStatus {
    /// It can.
    pub available: bool,
    /// Why not; empty while it can, and where nothing is captured.
    pub trouble: String,
}

/// What comes to the thread.
#[derive(Debug)]
enum Input {
    Captured(Box<Hit>),
    /// A hit of a log, or a loss.
    Logged(Box<Record>),
    /// The log worker asks to be told when everything before this is safe.
    Mark(u64),
    /// Cooldowns that are to be saved with a mark.
    Open(u64, KeptHits),
}

/// Where capture workers put their hits.
#[derive(Clone, Debug)]
pub struct JoinSink {
    to_joiner: SyncSender<Input>,
    spool: HitSink,
    /// The thread sees by these who is still there.
    _alive: Arc<()>,
}

impl JoinSink {
    /// A hit of live traffic, which cannot wait: while there is no room it is dropped and counted.
    pub fn offer(&self, hit: Hit) {
        let at = hit.last_at;
        if self.to_joiner.try_send(Input::Captured(Box::new(hit))).is_err() {
            self.spool.count_lost(at);
        }
    }

    /// A loss of live traffic to report.
    pub fn offer_loss(&self, loss: Loss) {
        self.spool.offer_loss(loss);
    }
}

/// Where workers of logs put theirs: what does not go in waits in its file or at its sender.
#[derive(Clone, Debug)]
pub struct LogSink {
    to_joiner: SyncSender<Input>,
    spool: HitSink,
    /// How many records of logs are on their way to the thread.
    queued: Arc<AtomicUsize>,
    _alive: Arc<()>,
}

impl LogSink {
    /// A hit of a line, or a loss of lines: given back while there is no room, to be put again later.
    ///
    /// # Errors
    /// With the record, or when the spool has stopped.
    pub fn put(&self, record: Box<Record>) -> Result<(), NotPut> {
        if !self.is_open() || self.queued.load(Ordering::Relaxed) >= LOGGED_QUEUED_MAX {
            return Err(NotPut::Full(record));
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.to_joiner.try_send(Input::Logged(record)).map_err(|refused| {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            match refused {
                TrySendError::Full(Input::Logged(record)) => NotPut::Full(record),
                _ => NotPut::Stopped(SpoolStopped),
            }
        })
    }

    /// Asks to be told, by the spool's marks, when everything put so far is safe. Gives whether there was room for the
    /// question.
    ///
    /// # Errors
    /// When the spool has stopped.
    pub fn mark(&self, mark: u64) -> Result<bool, SpoolStopped> {
        match self.to_joiner.try_send(Input::Mark(mark)) {
            Ok(()) => Ok(true),
            Err(TrySendError::Full(_)) => Ok(false),
            Err(TrySendError::Disconnected(_)) => Err(SpoolStopped),
        }
    }

    /// Hands open cooldowns on, to come back complete before the mark does. Gives whether there was room for them.
    pub fn complete(&self, mark: u64, open: KeptHits) -> bool {
        self.to_joiner.try_send(Input::Open(mark, open)).is_ok()
    }

    /// A hit of something that cannot wait, as a datagram: while there is no room it is dropped and counted.
    pub fn offer(&self, hit: Hit) {
        let at = hit.last_at;
        if self.put(Box::new(Record::Hit(Box::new(hit)))).is_err() {
            self.spool.count_lost(at);
        }
    }

    /// Whether lines should be read; while the spool is full they wait where they are.
    pub fn is_open(&self) -> bool {
        self.spool.is_open()
    }
}

/// A joiner that runs.
pub struct Started {
    /// For capture workers.
    pub captured: JoinSink,
    /// For workers of logs.
    pub logged: LogSink,
    /// Open cooldowns of logs with what other sources told of them, and the marks that they belong to.
    pub completed: Receiver<(u64, KeptHits)>,
    /// Ends when every sink is gone, after it has handed on what it had.
    pub stage: Stage,
}

/// Starts the thread. `tracking` is where it tells whether connection tracking can be asked; `None` when nothing is
/// captured and so nothing to ask.
///
/// # Errors
/// When no thread can be started.
pub fn start(
    config: &DetectorConfig,
    spool: HitSink,
    tracking: Option<Published<TrackingStatus>>,
) -> std::io::Result<Started> {
    let (to_joiner, inputs) = sync_channel(HITS_QUEUED_MAX);
    let (to_worker, completed) = channel();
    let (queued, alive) = (Arc::<AtomicUsize>::default(), Arc::new(()));
    let stage = Joining {
        joiner: Joiner::new(config, Patience::Live),
        inputs,
        to_worker,
        queued: Arc::clone(&queued),
        alive: Arc::downgrade(&alive),
        given_up: false,
        spool: spool.clone(),
        tracking: tracking.map(Tracking::open),
        began: (clock::now(), Instant::now()),
    };
    let stage = std::thread::Builder::new().name("joining".into()).spawn(move || {
        stage.run();
        Ok(())
    })?;
    let captured =
        JoinSink { to_joiner: to_joiner.clone(), spool: spool.clone(), _alive: Arc::clone(&alive) };
    let logged = LogSink { to_joiner, spool, queued, _alive: alive };
    Ok(Started { captured, logged, completed, stage })
}

struct Joining {
    joiner: Joiner,
    inputs: Receiver<Input>,
    to_worker: Sender<(u64, KeptHits)>,
    queued: Arc<AtomicUsize>,
    alive: Weak<()>,
    /// A record of a log could not be put any more: nothing of logs is, so that no mark says it was.
    given_up: bool,
    spool: HitSink,
    tracking: Option<Tracking>,
    began: (Timestamp, Instant),
}

impl Joining {
    fn run(mut self) {
        loop {
            match self.inputs.recv_timeout(self.patience()) {
                Ok(input) => {
                    self.take(input);
                    for _ in 0..HITS_QUEUED_MAX {
                        let Ok(input) = self.inputs.try_recv() else { break };
                        self.take(input);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.work();
        }
        // What connection tracking knows of the last hits is asked once; nobody waits for their other sides.
        self.work();
        let now = self.now();
        self.joiner.finish(now);
        self.hand_on();
    }

    fn take(&mut self, input: Input) {
        let now = self.now();
        match input {
            Input::Captured(hit) => self.joiner.handle_hit(now, *hit),
            Input::Mark(mark) => {
                // A spool that has stopped takes nothing more.
                self.wait_for_room(|spool| spool.mark(mark).unwrap_or(true));
            }
            Input::Open(mark, mut open) => {
                let hits = open.iter_mut().flat_map(|(_, open)| open);
                hits.for_each(|open| self.joiner.complete(open));
                // A worker that ends wants nothing more.
                let _ = self.to_worker.send((mark, open));
            }
            Input::Logged(record) => {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                match *record {
                    Record::Hit(hit) => {
                        // Captured hits that became ready meanwhile are offered, this one is put.
                        self.hand_on();
                        self.joiner.handle_hit(now, *hit);
                        while let Some(hit) = self.joiner.poll_hit() {
                            self.put(Record::Hit(Box::new(hit)));
                        }
                    }
                    record => self.put(record),
                }
            }
        }
    }

    /// Puts a record that is not read again once its line's position is saved.
    fn put(&mut self, record: Record) {
        let mut waiting = Some(Box::new(record));
        self.wait_for_room(|spool| {
            let Some(record) = waiting.take() else { return true };
            if let Err(NotPut::Full(record)) = spool.put(record) {
                waiting = Some(record);
            }
            waiting.is_none()
        });
    }

    /// Tries until it is done, or for a while when nobody waits for it: then its line is read again at the next start,
    /// because no mark behind it is given either.
    fn wait_for_room(&mut self, mut is_done: impl FnMut(&HitSink) -> bool) {
        let mut alone_since = None;
        while !self.given_up && !is_done(&self.spool) {
            if self.alive.strong_count() == 0 {
                let since = alone_since.get_or_insert_with(Instant::now).elapsed();
                self.given_up = since > LAST_PUT_SECONDS_MAX;
            }
            std::thread::sleep(PUT_AGAIN_AFTER);
        }
    }

    /// A clock that nobody sets: a hit must not wait for an hour because the gateway's time was put right.
    fn now(&self) -> Timestamp {
        let (at, instant) = self.began;
        let since = i64::try_from(instant.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(at.as_micros().saturating_add(since))
    }

    fn patience(&self) -> Duration {
        let Some(due) = self.joiner.poll_timeout() else { return IDLE };
        let micros = u64::try_from(due.micros_since(self.now())).unwrap_or(0);
        Duration::from_micros(micros).min(IDLE)
    }

    fn work(&mut self) {
        let now = self.now();
        self.joiner.handle_timeout(now);
        while let Some(question) = self.joiner.poll_question() {
            let answer =
                self.tracking.as_mut().map_or(Answer::Unavailable, |tracking| tracking.answer(&question));
            self.joiner.handle_answer(now, question, answer);
        }
        self.hand_on();
    }

    fn hand_on(&mut self) {
        while let Some(hit) = self.joiner.poll_hit() {
            self.spool.offer(hit);
        }
    }
}

/// Connection tracking as far as it can be asked, and who is told about it.
struct Tracking {
    opened: Option<Conntrack>,
    tried_at: Instant,
    status: Published<TrackingStatus>,
}

impl Tracking {
    fn open(status: Published<TrackingStatus>) -> Self {
        let mut tracking = Self { opened: None, tried_at: Instant::now(), status };
        tracking.try_again();
        tracking
    }

    fn try_again(&mut self) {
        self.tried_at = Instant::now();
        match Conntrack::open() {
            Ok(opened) => {
                self.opened = Some(opened);
                if !self.status.load().available {
                    info!("connection tracking joins what is seen on both sides of a translation");
                }
                self.status.publish(TrackingStatus { available: true, trouble: String::new() });
            }
            Err(error) => self.report(&error),
        }
    }

    /// A trouble is logged when it begins or changes, and stands in the status while it lasts.
    fn report(&mut self, error: &Unavailable) {
        self.opened = None;
        let trouble = error.to_string();
        if self.status.load().trouble != trouble {
            warn!(
                "connection tracking cannot be asked: {trouble}. Only what is certain without it is joined on both sides of a translation"
            );
        }
        self.status.publish(TrackingStatus { available: false, trouble });
    }

    fn answer(&mut self, question: &Question) -> Answer {
        if self.opened.is_none() && self.tried_at.elapsed() >= RETRY_AFTER {
            self.try_again();
        }
        let Some(opened) = &mut self.opened else { return Answer::Unavailable };
        match opened.ask(&question.flow) {
            Ok(Some(tracked)) => Answer::Tracked(tracked),
            Ok(None) => Answer::Unknown,
            Err(error) => {
                self.tried_at = Instant::now();
                self.report(&error);
                Answer::Unavailable
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{Direction, Flow, HitId, Observable, Place, SeenIn, Serial, Transport};

    use super::*;
    use crate::config::SpoolConfig;
    use crate::spool;

    fn hit(number: u16) -> Hit {
        let at = Timestamp::from_micros(i64::from(number));
        let observable = Observable::guess("evil.example").unwrap();
        let (src, dst) = ("192.0.2.10".parse().unwrap(), "203.0.113.9".parse().unwrap());
        let flow = Flow { proto: Transport::Icmp, src, src_port: 0, dst, dst_port: 0 };
        let place = Place::Flow { flow };
        Hit {
            hit_id: HitId::derive(at, "lan0", (&observable, SeenIn::FlowDst), &place, "i"),
            at,
            input: "lan0".into(),
            observable,
            seen_in: SeenIn::FlowDst,
            place,
            indicator: "i".into(),
            also: Vec::new(),
            direction: Direction::Outbound,
            host: Some(src),
            remote: Some(dst),
            count: 1,
            last_at: at,
            bundle: Serial(1),
            evidence: String::new(),
            notes: Vec::new(),
            named_origins: Vec::new(),
            traffic: None,
            nat: None,
            witnesses: Vec::new(),
            logged: None,
        }
    }

    #[test]
    fn hits_that_wait_when_the_agent_stops_reach_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let spool = spool::start(folder.path(), &SpoolConfig { bytes_max: 64 << 20 }).unwrap();
        let status = Published::new(TrackingStatus::default());
        let started = start(&DetectorConfig::default(), spool.sink.clone(), Some(status.clone())).unwrap();
        (0..100).for_each(|number| started.captured.offer(hit(number)));
        drop((started.captured, started.logged, spool.sink));
        started.stage.join().unwrap().unwrap();
        spool.thread.join().unwrap().unwrap();
        assert_eq!(spool.control.safe.borrow().last, 100);
        assert_eq!(spool.control.lost(), 0);
        let status = status.load();
        assert_ne!(status.available, !status.trouble.is_empty(), "it says whether it can ask, or why not");
    }
}

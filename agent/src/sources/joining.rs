//! Between the capture workers and the spool: a thread in which the two sides of a gateway's translation become one
//! hit. It waits for hits, asks connection tracking, and hands on; nothing is kept of a flow that has no hit.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use detect::{Answer, DetectorConfig, Joiner, Patience, Question};
use protocol::message::Loss;
use protocol::{Hit, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::conntrack::{Conntrack, Unavailable};
use crate::clock;
use crate::published::Published;
use crate::spool::HitSink;
use crate::stages::Stage;

/// Hits on their way to the joiner; beyond that they are dropped and counted, like those on their way to the spool.
const HITS_QUEUED_MAX: usize = 1024;
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

/// Where capture workers put their hits.
#[derive(Clone, Debug)]
pub struct JoinSink {
    to_joiner: SyncSender<Hit>,
    spool: HitSink,
}

impl JoinSink {
    /// A hit of live traffic, which cannot wait: while there is no room it is dropped and counted.
    pub fn offer(&self, hit: Hit) {
        let at = hit.last_at;
        if self.to_joiner.try_send(hit).is_err() {
            self.spool.count_lost(at);
        }
    }

    /// A loss of live traffic to report.
    pub fn offer_loss(&self, loss: Loss) {
        self.spool.offer_loss(loss);
    }
}

/// Starts the thread; it ends when every [`JoinSink`] is gone, after it has handed on what it had.
///
/// # Errors
/// When no thread can be started.
pub fn start(
    config: &DetectorConfig,
    spool: HitSink,
    status: Published<TrackingStatus>,
) -> std::io::Result<(JoinSink, Stage)> {
    let (to_joiner, hits) = sync_channel(HITS_QUEUED_MAX);
    let stage = Joining {
        joiner: Joiner::new(config, Patience::Live),
        hits,
        spool: spool.clone(),
        tracking: Tracking::open(status),
        began: (clock::now(), Instant::now()),
    };
    let thread = std::thread::Builder::new().name("joining".into()).spawn(move || {
        stage.run();
        Ok(())
    })?;
    Ok((JoinSink { to_joiner, spool }, thread))
}

struct Joining {
    joiner: Joiner,
    hits: Receiver<Hit>,
    spool: HitSink,
    tracking: Tracking,
    began: (Timestamp, Instant),
}

impl Joining {
    fn run(mut self) {
        loop {
            match self.hits.recv_timeout(self.patience()) {
                Ok(hit) => {
                    let now = self.now();
                    self.joiner.handle_hit(now, hit);
                    let more: Vec<Hit> = self.hits.try_iter().take(HITS_QUEUED_MAX).collect();
                    more.into_iter().for_each(|hit| self.joiner.handle_hit(now, hit));
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
            let answer = self.tracking.answer(&question);
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
        let (sink, thread) = start(&DetectorConfig::default(), spool.sink.clone(), status.clone()).unwrap();
        (0..100).for_each(|number| sink.offer(hit(number)));
        drop((sink, spool.sink));
        thread.join().unwrap().unwrap();
        spool.thread.join().unwrap().unwrap();
        assert_eq!(spool.control.safe.borrow().last, 100);
        assert_eq!(spool.control.lost(), 0);
        let status = status.load();
        assert_ne!(status.available, !status.trouble.is_empty(), "it says whether it can ask, or why not");
    }
}

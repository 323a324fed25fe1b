//! Where frames and lines come from: threads for each interface, one for all log files. Each owns its
//! detectors and hands on nothing but hits.

pub mod capture;
mod conntrack;
mod fanout;
mod file_position;
pub mod follow;
mod followed;
pub mod joining;
pub mod journal;
pub mod kept;
pub mod line_reader;
pub mod log_status;
mod outbox;
mod packed;
mod rotation;
mod saved;
pub mod syslog;
pub mod tail;
mod takeup;
mod turn;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use detect::{Counters, Detector, DetectorConfig, Matcher, Report};
use protocol::Timestamp;
use protocol::message::SourceStatus;

use log_status::LogStatus;

use crate::config::{CaptureConfig, DetectionConfig};
use crate::published::Published;

/// The matcher in force, swapped while frames and lines flow.
pub type MatcherInForce = Published<Matcher>;

/// Why the syslog receiver did not read something, or not all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The kernel had no room for a datagram.
    KernelDropped,
    /// The address is not among the senders.
    NotASender,
    /// Too many connections, of one sender or in all.
    Connection,
    /// No TLS session came of a connection.
    Handshake,
    /// A frame without a length that makes sense.
    Frame,
    /// A frame that was too long or whose connection ended in it.
    CutFrame,
    /// A connection that said nothing for too long.
    Idle,
}

impl Refused {
    const ALL: [(Self, &'static str); 7] = [
        (Self::KernelDropped, "syslog_kernel_dropped"),
        (Self::NotASender, "syslog_not_a_sender"),
        (Self::Connection, "syslog_connections_refused"),
        (Self::Handshake, "syslog_handshakes_failed"),
        (Self::Frame, "syslog_frames_malformed"),
        (Self::CutFrame, "syslog_frames_cut"),
        (Self::Idle, "syslog_connections_idle"),
    ];
}

/// What one source has done since the agent started.
#[derive(Debug)]
pub struct Meter {
    name: String,
    kind: &'static str,
    read: AtomicU64,
    dropped: AtomicU64,
    hits: AtomicU64,
    malformed: AtomicU64,
    last_at: AtomicI64,
    refused: [AtomicU64; Refused::ALL.len()],
    trouble: Published<String>,
    counted: Published<Counters>,
    log: Published<Option<LogStatus>>,
}

impl Meter {
    /// Frames or lines were read.
    pub fn count_read(&self, count: u64) {
        self.read.fetch_add(count, Ordering::Relaxed);
    }

    /// Frames were dropped, lines were cut or skipped.
    pub fn count_dropped(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Hits were found.
    pub fn count_hits(&self, count: u64) {
        self.hits.fetch_add(count, Ordering::Relaxed);
    }

    /// Something was not read, for a reason that is counted by itself.
    pub fn count_refused(&self, refused: Refused, count: u64) {
        let number = Refused::ALL.iter().position(|(known, _)| *known == refused);
        if let Some(counted) = number.and_then(|number| self.refused.get(number)) {
            counted.fetch_add(count, Ordering::Relaxed);
        }
        match refused {
            Refused::Frame | Refused::Handshake => &self.malformed,
            _ => &self.dropped,
        }
        .fetch_add(count, Ordering::Relaxed);
    }

    /// Something came at this time.
    pub fn note_last(&self, at: Timestamp) {
        self.last_at.store(at.as_micros(), Ordering::Relaxed);
    }

    /// Says what is wrong, or nothing. Gives whether that is news.
    pub fn set_trouble(&self, trouble: &str) -> bool {
        let news = self.trouble.load().as_str() != trouble;
        if news {
            self.trouble.publish(trouble.to_owned());
        }
        news
    }

    /// Says how the following of a log does.
    pub fn set_log(&self, log: LogStatus) {
        self.log.publish(Some(log));
    }

    fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.clone(),
            kind: self.kind.into(),
            read: self.read.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            malformed: self.malformed.load(Ordering::Relaxed),
            last_at: Some(self.last_at.load(Ordering::Relaxed))
                .filter(|at| *at != 0)
                .map(Timestamp::from_micros),
            trouble: self.trouble.load().to_string(),
        }
    }
}

/// What of a detector's counts its meter knows. A hit is given out again when more is known of it, but it is one hit.
#[derive(Debug, Default)]
pub struct Told {
    hits: u64,
    counters: Counters,
}

impl Told {
    /// Counts the hits found since the last time.
    pub fn count_hits(&mut self, detector: &Detector, meter: &Meter) {
        let found = detector.counters().hits;
        meter.count_hits(found.saturating_sub(self.hits));
        self.hits = found;
    }

    /// Tells all that was counted since the last time, for `status`.
    pub fn tell(&mut self, detector: &Detector, meter: &Meter) {
        let counters = detector.counters();
        let news = counters.since(&self.counters);
        self.counters = counters;
        meter.counted.update(|known| {
            let mut all = *known;
            all.add(&news);
            all
        });
    }
}

/// The meters of all sources, in the order in which they began.
#[derive(Clone, Debug)]
pub struct Board(Published<Vec<Arc<Meter>>>);

impl Default for Board {
    fn default() -> Self {
        Self(Published::new(Vec::new()))
    }
}

impl Board {
    /// A meter for a new source; `kind` is one of those of [`SourceStatus`].
    pub fn add(&self, name: &str, kind: &'static str) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            name: name.into(),
            kind,
            read: AtomicU64::default(),
            dropped: AtomicU64::default(),
            hits: AtomicU64::default(),
            malformed: AtomicU64::default(),
            last_at: AtomicI64::default(),
            refused: Default::default(),
            trouble: Published::new(String::new()),
            counted: Published::new(Counters::default()),
            log: Published::new(None),
        });
        self.0.update(|meters| meters.iter().chain([&meter]).cloned().collect());
        meter
    }

    /// Takes away a source that is gone for good.
    pub fn remove(&self, gone: &Arc<Meter>) {
        self.0.update(|meters| meters.iter().filter(|meter| !Arc::ptr_eq(meter, gone)).cloned().collect());
    }

    /// Each followed log now.
    pub fn logs(&self) -> Vec<LogStatus> {
        self.0.load().iter().filter_map(|meter| meter.log.load().as_ref().clone()).collect()
    }

    /// Each source now.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.0.load().iter().map(|meter| meter.status()).collect()
    }

    /// What the detectors of all sources read, dropped and did not understand, by reason.
    pub fn counted(&self) -> Counters {
        let mut all = Counters::default();
        self.0.load().iter().for_each(|meter| all.add(&meter.counted.load()));
        all
    }
}

impl Board {
    /// What the syslog receiver did not read, by reason; what is zero is left out.
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for meter in self.0.load().iter() {
            for ((_, name), counted) in Refused::ALL.iter().zip(&meter.refused) {
                let count = counted.load(Ordering::Relaxed);
                if count > 0 {
                    *all.entry((*name).to_owned()).or_default() += count;
                }
            }
        }
        all
    }
}

/// Tells the workers to stop, by going away.
#[derive(Debug)]
pub struct Stopper(#[expect(dead_code, reason = "its end is the message")] Sender<()>);

/// How a worker learns that it should stop.
#[derive(Debug)]
pub struct Stop(Receiver<()>);

/// A worker's stop and what triggers it.
pub fn stop() -> (Stopper, Stop) {
    let (sender, receiver) = std::sync::mpsc::channel();
    (Stopper(sender), Stop(receiver))
}

impl Stop {
    /// Whether it should stop now.
    pub fn is_asked(&self) -> bool {
        self.0.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Waits; gives whether it should stop.
    pub fn wait(&self, duration: Duration) -> bool {
        self.0.recv_timeout(duration) == Err(RecvTimeoutError::Disconnected)
    }
}

/// The configuration of one detector of a capture; what the town left out is the detector's own default. The
/// memory is divided among the workers of all interfaces, the flows among those of one.
pub fn detector_config(detection: &DetectionConfig, capture: &CaptureConfig) -> DetectorConfig {
    let default = DetectorConfig::default();
    let each = capture.workers_each().max(1);
    let all = each * capture.interfaces.len().max(1);
    DetectorConfig {
        home_networks: detection.home_networks.clone().unwrap_or(default.home_networks),
        trusted_proxies: detection.trusted_proxies.clone(),
        flows_max: detection.flows_max.unwrap_or(default.flows_max) / each,
        memory_bytes_max: detection.memory_bytes_max.unwrap_or(default.memory_bytes_max) / all,
        cooldown_seconds: detection.cooldown_seconds.unwrap_or(default.cooldown_seconds),
        report: Report::AtOnce,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_divide_the_budget_and_its_flows() {
        let config = crate::config::Config::parse(
            "[capture]\ninterfaces = [\"lan0\", \"lan1\"]\nworkers = 4\n\
             [detection]\nflows_max = 40000\nmemory_bytes_max = 80000000\n",
            std::path::Path::new("agent.toml"),
        )
        .unwrap();
        let detector = detector_config(&config.detection, &config.capture);
        assert_eq!((detector.flows_max, detector.memory_bytes_max), (10_000, 10_000_000));
    }
}

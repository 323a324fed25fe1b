//! Where frames and lines come from: one thread for each interface, one for all log files. Each owns its
//! detectors and hands on nothing but hits.

pub mod capture;
mod follow;
mod line_reader;
mod rotation;
pub mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError};
use std::time::Duration;

use detect::{DetectorConfig, Matcher, Report};
use protocol::message::SourceStatus;

use crate::config::DetectionConfig;
use crate::published::Published;

/// The matcher in force, swapped while frames and lines flow.
pub type MatcherInForce = Published<Matcher>;

/// What one source has done since the agent started.
#[derive(Debug)]
pub struct Meter {
    name: String,
    kind: &'static str,
    read: AtomicU64,
    dropped: AtomicU64,
    hits: AtomicU64,
    trouble: Published<String>,
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

    /// A hit was found.
    pub fn count_hit(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
    }

    /// Says what is wrong, or nothing. Gives whether that is news.
    pub fn set_trouble(&self, trouble: &str) -> bool {
        let news = self.trouble.load().as_str() != trouble;
        if news {
            self.trouble.publish(trouble.to_owned());
        }
        news
    }

    fn status(&self) -> SourceStatus {
        SourceStatus {
            name: self.name.clone(),
            kind: self.kind.into(),
            read: self.read.load(Ordering::Relaxed),
            dropped: self.dropped.load(Ordering::Relaxed),
            hits: self.hits.load(Ordering::Relaxed),
            trouble: self.trouble.load().to_string(),
        }
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
    /// A meter for a new source; `kind` is `capture` or `log`.
    pub fn add(&self, name: &str, kind: &'static str) -> Arc<Meter> {
        let meter = Arc::new(Meter {
            name: name.into(),
            kind,
            read: AtomicU64::default(),
            dropped: AtomicU64::default(),
            hits: AtomicU64::default(),
            trouble: Published::new(String::new()),
        });
        self.0.update(|meters| meters.iter().chain([&meter]).cloned().collect());
        meter
    }

    /// Each source now.
    pub fn statuses(&self) -> Vec<SourceStatus> {
        self.0.load().iter().map(|meter| meter.status()).collect()
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

/// The detector's configuration; what the town left out is the detector's own default.
pub fn detector_config(config: &DetectionConfig) -> DetectorConfig {
    let default = DetectorConfig::default();
    DetectorConfig {
        home_networks: config.home_networks.clone().unwrap_or(default.home_networks),
        flows_max: config.flows_max.unwrap_or(default.flows_max),
        memory_bytes_max: default.memory_bytes_max,
        cooldown_seconds: config.cooldown_seconds.unwrap_or(default.cooldown_seconds),
        report: Report::AtOnce,
    }
}

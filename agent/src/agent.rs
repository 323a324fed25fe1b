//! The wiring: the stages in the order of the data, from interfaces and log files over the spool to the
//! collector. If a stage ends by itself the process ends; stopping begins at the front.

use std::fs;
use std::path::PathBuf;
use std::sync::mpsc::Receiver;

use anyhow::Context as _;
use detect::DetectorConfig;
use sd_notify::NotifyState;
use tracing::info;

use crate::bundles::store::{BundleStore, StoreConfig};
use crate::config::Config;
use crate::control::{self, StatusParts};
use crate::enrol;
use crate::identity::Identity;
use crate::published::Published;
use crate::severity;
use crate::sources::capture::{self, CaptureParts};
use crate::sources::joining::{self, LogSink, TrackingStatus};
use crate::sources::journal::{self, JournalParts};
use crate::sources::kept::KeptHits;
use crate::sources::syslog::{self, SyslogParts};
use crate::sources::tail::{self, TailParts};
use crate::sources::{self, Board, MatcherInForce};
use crate::spool::{self, LocalDisk};
use crate::stages::{Signals, Stages, Workers, lock};
use crate::uplink::{self, UplinkStatus};

/// Runs the agent until it is asked to stop.
///
/// # Errors
/// When a stage cannot start or ends by itself.
pub fn run(config: Config) -> anyhow::Result<()> {
    let signals = Signals::block()?;
    let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
    enrol::at_first_start(&config, credentials.as_deref())?;
    let identity = Identity::read(&config.state_dir)?;
    let _lock = lock(&config.state_dir)?;

    let board = Board::default();
    let uplink_status = Published::new(UplinkStatus::default());
    let store = BundleStore::start(StoreConfig::of(&config, identity.cosc_root.clone()))
        .context("the folder of bundles cannot be made")?;
    let (bundles, matcher) = (store.store.clone(), store.store.matcher());
    let spool_disk = LocalDisk::new(&config.state_dir.join("spool"));
    let spool = spool::start_on(spool_disk, &config.spool, severity::severity_of(matcher.clone()))?;
    let tracking = Published::new(TrackingStatus::default());
    control::start(
        &config.control_socket,
        StatusParts {
            enrolment: identity.enrolment.clone(),
            spool_bytes_max: config.spool.bytes_max,
            uplink: uplink_status.clone(),
            bundles: bundles.clone(),
            spool: spool.control.clone(),
            board: board.clone(),
            tracking: tracking.clone(),
        },
    )?;

    let detector = sources::detector_config(&config.detection, &config.capture);
    let mut workers = Workers::default();
    workers.add("bundles", store.stopper, store.stage);
    let captures = !config.capture.interfaces.is_empty();
    let joining = joining::start(&detector, spool.sink.clone(), captures.then_some(tracking))?;
    let parts = CaptureParts {
        config: config.capture.clone(),
        detector: detector.clone(),
        matcher: matcher.clone(),
        hits: joining.captured,
        board: board.clone(),
    };
    for interface in &config.capture.interfaces {
        capture::start(interface, &parts, &mut workers)?;
    }
    drop(parts);
    let lines = Lines { detector, matcher, hits: joining.logged, board: board.clone() };
    lines.start(&config, (spool.marks, joining.completed), &mut workers)?;
    workers.add_behind("joining", joining.stage);
    drop(spool.sink);
    let addresses = config.collector.addresses.unwrap_or_else(|| identity.enrolment.addresses.clone());
    let parts = uplink::Parts {
        addresses,
        state_dir: config.state_dir.clone(),
        spool: spool.control,
        board,
        bundles,
        status: uplink_status,
    };
    let uplink = uplink::start(&identity, parts)?;
    info!(agent = %identity.enrolment.agent, comune = identity.enrolment.comune, "watching");
    sd_notify::notify(&[NotifyState::Ready])?;
    let stages = Stages { workers, spool: spool.thread, uplink };
    let ended = stages.run(&signals);
    // Another agent may have taken the name meanwhile; this one answers nobody any more.
    let _ = fs::remove_file(&config.control_socket);
    ended
}

/// What the sources of lines share.
struct Lines {
    detector: DetectorConfig,
    matcher: MatcherInForce,
    hits: LogSink,
    board: Board,
}

impl Lines {
    fn start(
        self,
        config: &Config,
        (marks, completed): (Receiver<u64>, Receiver<(u64, KeptHits)>),
        workers: &mut Workers,
    ) -> anyhow::Result<()> {
        let Self { detector, matcher, hits, board } = self;
        if !config.syslog.listens.is_empty() {
            let parts = SyslogParts {
                config: config.syslog.clone(),
                detector: detector.clone(),
                matcher: matcher.clone(),
                hits: hits.clone(),
                board: board.clone(),
            };
            let (stopper, stop) = sources::stop();
            workers.add("syslog", stopper, syslog::start(parts, stop)?);
        }
        let (of_files, of_journal) = journal::divide(marks)?;
        if let Some(journal) = &config.journal {
            let parts = JournalParts {
                config: journal.clone(),
                state_dir: config.state_dir.clone(),
                own_process: std::process::id(),
                detector: detector.clone(),
                matcher: matcher.clone(),
                hits: hits.clone(),
                marks: of_journal,
                board: board.clone(),
            };
            let (stopper, stop) = sources::stop();
            workers.add("journal", stopper, journal::start(parts, stop)?);
        }
        if !config.logs.files.is_empty() {
            let logs = config.logs.clone();
            let marks = of_files;
            let state_folder = config.state_dir.join("state");
            let parts =
                TailParts { config: logs, state_folder, detector, matcher, hits, marks, completed, board };
            let (stopper, stop) = sources::stop();
            workers.add("logs", stopper, tail::start(parts, stop)?);
        }
        Ok(())
    }
}

//! The threads of a running agent: watched until a signal comes, then stopped from the front. A thread that
//! ends by itself ends the process, and systemd starts it again.

use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use sd_notify::NotifyState;
use tracing::info;

use crate::sources::Stopper;

/// How often the threads are looked at.
const LOOK_MILLISECONDS: u16 = 500;

/// An agent that was killed holds its lock for as long as the system takes to clear it away.
const LOCK_SECONDS_MAX: Duration = Duration::from_secs(3);

/// A stage's thread.
pub type Stage = JoinHandle<anyhow::Result<()>>;

/// SIGTERM and SIGINT, taken as a message instead of an interruption.
pub struct Signals(SignalFd);

impl Signals {
    /// Must be called before any thread begins: threads inherit it.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn block() -> anyhow::Result<Self> {
        let mut set = SigSet::empty();
        set.add(Signal::SIGTERM);
        set.add(Signal::SIGINT);
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?))
    }

    /// Waits a while; gives whether one came.
    fn wait(&self) -> anyhow::Result<bool> {
        let mut ready = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(LOOK_MILLISECONDS)) {
            Err(nix::errno::Errno::EINTR) | Ok(0) => return Ok(false),
            polled => polled?,
        };
        Ok(self.0.read_signal()?.is_some())
    }
}

/// Takes the state folder for this process, for as long as the lock is held.
///
/// # Errors
/// When another agent has it.
pub fn lock(state_dir: &Path) -> anyhow::Result<Flock<File>> {
    fs::create_dir_all(state_dir)
        .with_context(|| format!("{} cannot be made; set state_dir", state_dir.display()))?;
    let path = state_dir.join("lock");
    let file = File::create(&path).with_context(|| {
        format!("{} cannot be written; give the folder to the agent's user", path.display())
    })?;
    let deadline = Instant::now() + LOCK_SECONDS_MAX;
    let mut file = file;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(locked) => return Ok(locked),
            Err((file, _)) if Instant::now() < deadline => file,
            Err(_) => bail!(
                "another vedetta-agent uses {}; stop it first (systemctl stop vedetta-agent)",
                state_dir.display()
            ),
        };
        std::thread::sleep(LOCK_SECONDS_MAX / 20);
    }
}

/// Interfaces and logs, each with what stops it.
#[derive(Default)]
pub struct Workers {
    workers: Vec<(String, Option<Stopper>, Stage)>,
}

impl Workers {
    /// Adds a worker that is running.
    pub fn add(&mut self, name: &str, stopper: Stopper, stage: Stage) {
        self.workers.push((name.to_owned(), Some(stopper), stage));
    }

    /// Adds a stage behind the workers, which ends by itself when they are gone.
    pub fn add_behind(&mut self, name: &str, stage: Stage) {
        self.workers.push((name.to_owned(), None, stage));
    }

    fn ended(&self) -> Option<&str> {
        self.workers.iter().find(|(_, _, stage)| stage.is_finished()).map(|(name, ..)| name.as_str())
    }

    /// Asks all of them at once, then waits for each.
    fn stop(self) -> anyhow::Result<()> {
        let stages: Vec<(String, Stage)> =
            self.workers.into_iter().map(|(name, _stopped, stage)| (name, stage)).collect();
        stages.into_iter().try_for_each(|(name, stage)| join(&name, stage))
    }
}

/// Everything that runs.
pub struct Stages {
    /// Sources, which hold the senders to the spool.
    pub workers: Workers,
    /// Ends when the workers are gone.
    pub spool: Stage,
    /// Ends when the spool is gone.
    pub uplink: Stage,
}

impl Stages {
    /// Watches until a signal comes or a stage ends.
    ///
    /// # Errors
    /// The reason of the stage that ended.
    pub fn run(self, signals: &Signals) -> anyhow::Result<()> {
        loop {
            if signals.wait()? {
                info!("stopping");
                // Only the service manager would want to know.
                let _ = sd_notify::notify(&[NotifyState::Stopping]);
                return self.stop();
            }
            let ended = self.workers.ended().map(str::to_owned);
            let ended = ended.or_else(|| self.spool.is_finished().then(|| "spool".to_owned()));
            let ended = ended.or_else(|| self.uplink.is_finished().then(|| "uplink".to_owned()));
            if let Some(name) = ended {
                self.stop()?;
                bail!("the stage {name} ended by itself; see the log above");
            }
        }
    }

    /// From the front: sources finish their cooldowns, the spool writes, the uplink sends.
    fn stop(self) -> anyhow::Result<()> {
        let workers = self.workers.stop();
        let spool = join("spool", self.spool);
        let uplink = join("uplink", self.uplink);
        spool.and(workers).and(uplink)
    }
}

fn join(name: &str, stage: Stage) -> anyhow::Result<()> {
    match stage.join() {
        Ok(ended) => ended.with_context(|| format!("stage {name}")),
        Err(_) => bail!("the stage {name} panicked; please report it"),
    }
}

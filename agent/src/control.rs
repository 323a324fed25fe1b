//! The control socket: the running agent answers `status` and takes imports on it, `vedetta-agent` asks.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use protocol::Timestamp;
use protocol::message::SourceStatus;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::bundles::import::take_folder;
use crate::bundles::in_force::{Building, InForce, RefusedBundle, is_stale};
use crate::bundles::store::{Applied, BundleStore};
use crate::clock;
use crate::identity::Enrolment;
use crate::published::Published;
use crate::sources::Board;
use crate::sources::joining::TrackingStatus;
use crate::sources::log_status::LogStatus;
use crate::spool::SpoolControl;
use crate::uplink::UplinkStatus;

/// The owner and the group may ask.
const SOCKET_MODE: u32 = 0o660;
/// A question or an answer that takes longer is given up.
const PATIENCE: Duration = Duration::from_secs(5);
/// A path of 4 KiB, each byte escaped, and the word before it.
const QUESTION_BYTES_MAX: u64 = 32 << 10;
const ANSWER_BYTES_MAX: u64 = 4 << 20;
const STATUS: &str = "status";
/// Followed by the path of a folder as JSON.
const IMPORT: &str = "import ";
/// While an import is under way, something is told at least this often.
const IMPORT_QUIET_MAX: Duration = Duration::from_secs(120);

/// How the agent does; the JSON form of `status --json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The program's version.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// The clock at the time of the answer.
    pub now: Timestamp,
    /// The town.
    pub comune: String,
    /// The sensor.
    pub agent: String,
    /// The way to the collector.
    pub uplink: UplinkStatus,
    /// The bundle in force; null for none.
    pub bundle: Option<InForce>,
    /// The index that is being built beside it.
    #[serde(default)]
    pub building: Option<Building>,
    /// The bundle that was refused last since the start.
    #[serde(default)]
    pub bundle_refused: Option<RefusedBundle>,
    /// What is wrong with the index in force and what is done about it; empty for nothing.
    #[serde(default)]
    pub bundle_trouble: String,
    /// When the metadata of bundles that was verified last expires.
    #[serde(default)]
    pub bundle_fresh_until: Option<Timestamp>,
    /// Whether it has: this sensor may be kept from newer bundles.
    #[serde(default)]
    pub bundle_stale: bool,
    /// Hits that wait.
    pub spool: SpoolStatus,
    /// Each source.
    pub sources: Vec<SourceStatus>,
    /// Each followed log: what waits in it and what may be lost.
    #[serde(default)]
    pub logs: Vec<LogStatus>,
    /// Whether the two sides of a translation are joined by connection tracking.
    #[serde(default)]
    pub connection_tracking: TrackingStatus,
    /// What all detectors read, dropped and did not understand since the start, by reason; what is zero is left out.
    #[serde(default)]
    pub counted: BTreeMap<String, u64>,
}

/// Hits that wait on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolStatus {
    /// Records that are not acknowledged.
    pub records: u64,
    /// Bytes on disk.
    pub bytes: u64,
    /// The configured limit.
    pub bytes_max: u64,
    /// Whether lines wait because it has no room for them.
    pub full: bool,
    /// Hits lost since the start because there was no room for all.
    pub hits_lost: u64,
    /// What is wrong with its disk; empty for nothing.
    #[serde(default)]
    pub trouble: String,
}

/// Where the answers come from.
pub struct StatusParts {
    /// Who.
    pub enrolment: Enrolment,
    /// The limit of the spool.
    pub spool_bytes_max: u64,
    /// The way to the collector.
    pub uplink: Published<UplinkStatus>,
    /// The bundle in force.
    pub bundles: BundleStore,
    /// The spool.
    pub spool: SpoolControl,
    /// The sources.
    pub board: Board,
    /// Whether connection tracking can be asked.
    pub tracking: Published<TrackingStatus>,
}

/// Why the socket cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Somebody answers there.
    #[error("another vedetta-agent is running: it answers on {}; stop it first (systemctl stop vedetta-agent)", .0.display())]
    InUse(PathBuf),
    /// The folder.
    #[error("the control socket {} cannot be made: {error}; set control_socket to a folder that the agent may write", path.display())]
    Unusable {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Answers on the socket from now on, in a thread that ends with the process.
///
/// # Errors
/// When the socket cannot be made.
pub fn start(path: &Path, parts: StatusParts) -> Result<(), ControlError> {
    if UnixStream::connect(path).is_ok() {
        return Err(ControlError::InUse(path.into()));
    }
    let listener = bind(path).map_err(|error| ControlError::Unusable { path: path.into(), error })?;
    let started = clock::now();
    let answer_all = move || {
        for stream in listener.incoming() {
            let answered = stream.and_then(|stream| answer(&stream, &parts, started));
            if let Err(error) = answered {
                warn!(%error, "a question on the control socket was not answered");
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    };
    std::thread::Builder::new()
        .name("control".into())
        .spawn(answer_all)
        .map(drop)
        .map_err(|error| ControlError::Unusable { path: path.into(), error })
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Left by an agent that was killed: nobody answers on it.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

fn answer(stream: &UnixStream, parts: &StatusParts, started: Timestamp) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut question = String::new();
    BufReader::new(stream.take(QUESTION_BYTES_MAX)).read_line(&mut question)?;
    let mut writer = stream;
    if let Some(path) = question.trim().strip_prefix(IMPORT) {
        let (store, path) = (parts.bundles.clone(), serde_json::from_str(path)?);
        let stream = stream.try_clone()?;
        let import = move || {
            // The one who asked may have gone; the import goes on without.
            let _ = answer_import(&stream, &store, path);
        };
        return std::thread::Builder::new().name("import".into()).spawn(import).map(drop);
    }
    if question.trim() == STATUS {
        writer.write_all(&serde_json::to_vec(&parts.report(started))?)?;
    }
    Ok(())
}

/// What is said while an import is under way, one a line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ImportSaid {
    Building(Building),
    Waiting,
    Applied(Box<Applied>),
    Failed(String),
}

fn answer_import(mut stream: &UnixStream, store: &BundleStore, path: PathBuf) -> io::Result<()> {
    let mut say = |said: &ImportSaid| -> io::Result<()> {
        let mut line = serde_json::to_vec(said)?;
        line.push(b'\n');
        stream.write_all(&line)
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = |building: Option<&Building>| {
        let said = building.cloned().map_or(ImportSaid::Waiting, ImportSaid::Building);
        let _ = say(&said); // the end is said to whoever is left
    };
    let said = match runtime.block_on(take_folder(store, &path, told)) {
        Ok(applied) => ImportSaid::Applied(Box::new(applied)),
        Err(error) => ImportSaid::Failed(format!("{error:#}")),
    };
    say(&said)
}

impl StatusParts {
    fn counted(&self) -> BTreeMap<String, u64> {
        let mut all = self.board.refused();
        let counters = self.board.counted();
        let counted = counters.each().filter(|(_, count)| *count > 0);
        all.extend(counted.map(|(name, count)| (name.to_owned(), count)));
        all
    }

    fn report(&self, started: Timestamp) -> StatusReport {
        let safe = *self.spool.safe.borrow();
        let bundles = self.bundles.status().load();
        StatusReport {
            version: env!("CARGO_PKG_VERSION").into(),
            started,
            now: clock::now(),
            comune: self.enrolment.comune.clone(),
            agent: self.enrolment.agent.to_string(),
            uplink: self.uplink.load().as_ref().clone(),
            bundle: bundles.in_force.clone(),
            building: bundles.building.clone(),
            bundle_refused: bundles.refused.clone(),
            bundle_trouble: bundles.trouble.clone(),
            bundle_fresh_until: bundles.fresh_until,
            bundle_stale: is_stale(bundles.fresh_until, clock::now()),
            spool: SpoolStatus {
                records: safe.depth(),
                bytes: safe.bytes,
                bytes_max: self.spool_bytes_max,
                full: self.spool.is_full(),
                hits_lost: self.spool.lost(),
                trouble: self.spool.trouble(),
            },
            sources: self.board.statuses(),
            logs: self.board.logs(),
            connection_tracking: self.tracking.load().as_ref().clone(),
            counted: self.counted(),
        }
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody is there.
    #[error("the agent is not running (nobody answers on {}); start it: systemctl start vedetta-agent", .0.display())]
    NotRunning(PathBuf),
    /// The caller may not ask.
    #[error("no permission to ask the agent on {}; run this command as root, or as a member of the agent's group", .0.display())]
    Permission(PathBuf),
    /// The agent was asked to do something and could not.
    #[error("{0}")]
    Refused(String),
    /// Something else.
    #[error("the agent did not answer on {}: {error}; see journalctl -u vedetta-agent", path.display())]
    NoAnswer {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// Asks the running agent how it does.
///
/// # Errors
/// Says what to do when there is no answer.
pub fn ask(path: &Path) -> Result<StatusReport, AskError> {
    question(path).map_err(|error| not_answered(path, error))
}

fn not_answered(path: &Path, error: io::Error) -> AskError {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::NotRunning(path.into()),
        io::ErrorKind::PermissionDenied => AskError::Permission(path.into()),
        _ => AskError::NoAnswer { path: path.into(), error },
    }
}

/// Asks the running agent to import a signed repository; `tell` hears how far it is.
///
/// # Errors
/// Says what to do when there is no answer, or why the bundle is not in force.
pub fn ask_to_import(
    path: &Path,
    repository: &Path,
    tell: &mut dyn FnMut(&Building),
) -> Result<Applied, AskError> {
    match import_by_agent(path, repository, tell) {
        Ok(said) => said.map_err(AskError::Refused),
        Err(error) => Err(not_answered(path, error)),
    }
}

fn import_by_agent(
    path: &Path,
    repository: &Path,
    tell: &mut dyn FnMut(&Building),
) -> io::Result<Result<Applied, String>> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(IMPORT_QUIET_MAX))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{IMPORT}{}", serde_json::to_string(repository)?)?;
    for line in BufReader::new(stream.take(ANSWER_BYTES_MAX)).lines() {
        match serde_json::from_str(&line?)? {
            ImportSaid::Building(building) => tell(&building),
            ImportSaid::Waiting => {}
            ImportSaid::Applied(applied) => return Ok(Ok(*applied)),
            ImportSaid::Failed(reason) => return Ok(Err(reason)),
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn question(path: &Path) -> io::Result<StatusReport> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    writeln!(stream, "{STATUS}")?;
    let mut json = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_is_not_running_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let told = |path: &Path| ask(path).unwrap_err().to_string();
        assert!(told(&path).contains("systemctl start vedetta-agent"), "{}", told(&path));
        // A socket left by an agent that was killed.
        drop(UnixListener::bind(&path).unwrap());
        assert!(told(&path).contains("not running"), "{}", told(&path));
        bind(&path).unwrap();
    }
}

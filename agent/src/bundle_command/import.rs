//! `bundle import DIR`: puts the bundle of a signed repository in force. A running agent reads it from a copy below its
//! state folder, because its sandbox hides most of the machine, and a stick may be readable by root alone.

use std::fs::{self, File};
use std::io::{self, IsTerminal as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use nix::fcntl::{Flock, FlockArg};
use protocol::repository::METADATA_BYTES_MAX;
use sha2::{Digest as _, Sha256};

use super::ImportArguments;
use super::stick::{Stick, StickError};
use crate::bundles::import::import;
use crate::bundles::in_force::Building;
use crate::bundles::store::Applied;
use crate::config::{Config, ConfigError};
use crate::control::AskError;
use crate::identity;
use crate::paint::harmless;

/// Below the state folder: what the running agent reads.
const COPY: &str = "import";
/// Held by the command that makes the copy.
const COPY_LOCK: &str = "import.lock";

const COPYING: &str = "copying {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {wide_bar}";
const BUILDING: &str = "building the index: {human_pos}/{human_len} lines, {eta} left {wide_bar}";

/// Runs the command.
///
/// # Errors
/// Why the bundle is not in force, in a sentence that says what to do; what was in force before stays.
pub fn run(arguments: &ImportArguments) -> anyhow::Result<ExitCode> {
    let config = Config::read(&arguments.config.path)?;
    let stick = Stick::find(&arguments.folder)?;
    let root = root(&config.state_dir, arguments.root.as_deref())?;
    let bar = Bar::new();
    let imported = if is_answered(&config.control_socket)? {
        let copy = Copy::make(&config.state_dir, &stick, &bar)?;
        bar.wait("the agent verifies the copy");
        import(&config, root, &copy.folder, &mut |building| bar.building(building))
    } else {
        bar.wait("verifying");
        import(&config, root, stick.folder(), &mut |building| bar.building(building))
    };
    bar.0.finish_and_clear();
    let name = arguments.folder.display();
    let imported = imported.map_err(|error| with_advice(error, &config.state_dir));
    println!("{}", sentence(&imported.with_context(|| format!("{name} is not imported"))?));
    Ok(ExitCode::SUCCESS)
}

/// Adds what a person does about a full disk; a running agent tells its trouble in words alone.
fn with_advice(error: anyhow::Error, state_dir: &Path) -> anyhow::Error {
    if !format!("{error:#}").contains(nix::errno::Errno::ENOSPC.desc()) {
        return error;
    }
    error.context(format!("free some space in {} and import again", state_dir.display()))
}

/// Whether an agent is there.
fn is_answered(socket: &Path) -> Result<bool, AskError> {
    match UnixStream::connect(socket) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(AskError::Permission(socket.to_owned()))
        }
        Err(_) => Ok(false),
    }
}

/// What came of it, in one line.
fn sentence(applied: &Applied) -> String {
    let in_force = &applied.in_force;
    let already = if applied.is_new { "" } else { " already" };
    let held: u64 = in_force.held.values().map(|held| held.count).sum();
    let held = match held {
        0 => String::new(),
        held => format!("; {held} more are held back, see vedetta-agent bundle stats"),
    };
    format!(
        "bundle {} of {} is in force{already}: {} indicators are looked for{held}",
        in_force.serial,
        harmless(&in_force.issuer),
        in_force.indicators,
    )
}

/// The root that the repository must lead back to: the one pinned at enrolment, or the one that is named.
fn root(state_dir: &Path, named: Option<&Path>) -> anyhow::Result<Vec<u8>> {
    let pinned_path = identity::folder(state_dir).join(identity::COSC_ROOT);
    let pinned = match read_root(&pinned_path) {
        Ok(pinned) => Some(pinned),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => {
            let denied = error.kind() == io::ErrorKind::PermissionDenied;
            let advice = if denied { "run this command as root" } else { "enrol again to pin it anew" };
            bail!("the pinned root {} cannot be read: {error}; {advice}", pinned_path.display());
        }
    };
    let Some(path) = named else {
        return pinned.ok_or_else(|| {
            anyhow::Error::new(ConfigError::NotEnrolled { missing: pinned_path })
                .context("whose bundles to believe is not known; name the COSC's root with --root ROOT.json")
        });
    };
    let named = read_root(path).with_context(|| {
        format!("{}: cannot be read; name the COSC's first root, 1.root.json", path.display())
    })?;
    if let Some(pinned) = pinned {
        let digest = |root: &[u8]| protocol::text::Hex(&Sha256::digest(root)).to_string();
        ensure!(
            pinned == named,
            "{} is not the root that enrolment pinned (SHA-256 {}, pinned is {}); leave --root out, or enrol with \
             that COSC's collector: vedetta-agent enrol --replace CODE",
            path.display(),
            digest(&named),
            digest(&pinned),
        );
    }
    Ok(named)
}

fn read_root(path: &Path) -> io::Result<Vec<u8>> {
    let mut root = Vec::new();
    io::Read::read_to_end(&mut io::Read::take(File::open(path)?, METADATA_BYTES_MAX), &mut root)?;
    Ok(root)
}

/// The copy that the running agent reads; it goes away with the command.
struct Copy {
    folder: PathBuf,
    _lock: Flock<File>,
}

impl Copy {
    fn make(state_dir: &Path, stick: &Stick, bar: &Bar) -> anyhow::Result<Self> {
        let path = state_dir.join(COPY_LOCK);
        let unwritable = |error| StickError::Unwritable { path: path.clone(), error };
        let lock = File::options().create(true).append(true).open(&path).map_err(unwritable)?;
        // Root made it; the agent's user may be the next to import.
        let owner = fs::metadata(state_dir).map_err(unwritable)?;
        if lock.metadata().map_err(unwritable)?.uid() != owner.uid() {
            fchown(&lock, Some(owner.uid()), Some(owner.gid())).map_err(unwritable)?;
        }
        let Ok(lock) = Flock::lock(lock, FlockArg::LockExclusiveNonblock) else {
            bail!("another import is at work; wait for its end")
        };
        let copy = Self { folder: state_dir.join(COPY), _lock: lock };
        // Left by a command that was killed.
        match fs::remove_dir_all(&copy.folder) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unwritable(error).into()),
            _ => {}
        }
        bar.copying(stick.bytes());
        stick.copy(&copy.folder, state_dir, &|bytes| bar.0.inc(bytes))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        // What stays is removed by the next import.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How far it is, for a person at a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    fn style(&self, template: &str) {
        if let Ok(style) = ProgressStyle::with_template(template) {
            self.0.set_style(style);
        }
    }

    fn wait(&self, words: &'static str) {
        self.style("{msg} {spinner}");
        self.0.set_message(words);
    }

    fn copying(&self, bytes: u64) {
        self.style(COPYING);
        self.0.set_length(bytes);
    }

    fn building(&self, building: &Building) {
        if building.total == 0 {
            return; // the bundle's header is not read yet
        }
        if self.0.length() != Some(building.total) || self.0.position() > building.done {
            self.style(BUILDING);
            self.0.reset();
            self.0.set_length(building.total);
        }
        self.0.set_position(building.done);
    }
}

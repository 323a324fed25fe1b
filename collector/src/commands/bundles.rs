//! `bundles` and `export`: how far each town is, what some towns have first, and the repository for a stick.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::{Args, Subcommand};
use protocol::repository::{METADATA_FOLDER, TARGETS_FOLDER};

use super::{open_store, print_json, shown};
use crate::bundles::online::{OnlineKey, Order, Renewed};
use crate::bundles::root::CoscRoot;
use crate::bundles::verify::{Repository, Wanted, verify};
use crate::clock;
use crate::config::Config;
use crate::store::courses::Course;
use crate::store::lag::{self, Progress};
use crate::store::rollouts::{self, Rollout};

/// Show how far each town is with bundles.
#[derive(Debug, Args)]
pub struct Bundles {
    /// Print one sensor a line as JSON, and what some towns have first as one more.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    decision: Option<Decision>,
}

/// What an operator decides about a bundle that some towns have first.
#[derive(Debug, Subcommand)]
enum Decision {
    /// Give it to all towns now.
    #[command(
        after_help = "Example:\n  vedetta-collector bundles release 12 --reason \"looked at the hits: genuine\""
    )]
    Release(Decided),
    /// Give it to nobody else.
    #[command(
        after_help = "Example:\n  vedetta-collector bundles stop 12 --reason \"matches our own mail server\""
    )]
    Stop(Decided),
}

#[derive(Debug, Args)]
struct Decided {
    /// The bundle.
    serial: u64,
    /// Why, for the record.
    #[arg(long)]
    reason: String,
}

/// Write the repository as it is offered to a folder, such as a stick for a town without a line.
#[derive(Debug, Args)]
pub struct Export {
    /// A folder that is empty or not there yet.
    folder: PathBuf,
}

impl Bundles {
    /// Prints the list, or writes the decision; the service acts on it within seconds.
    ///
    /// # Errors
    /// When there is nothing to decide, or the store fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = open_store(config)?;
        let (decided, from, to) = match self.decision {
            Some(Decision::Release(decided)) => (decided, &["canary", "stopped"][..], "release_asked"),
            Some(Decision::Stop(decided)) => (decided, &["canary"][..], "stopped"),
            None => {
                return print(&lag::look(&store).await?, rollouts::look(&store).await?.as_ref(), self.json);
            }
        };
        let Decided { serial, reason } = decided;
        if !rollouts::decide(&store, serial, (from, to), ("command line", reason)).await? {
            bail!(
                "bundle {serial} is not one that only some towns have; `vedetta-collector bundles` says which is"
            );
        }
        println!("bundle {serial}: the service does it within seconds; `vedetta-collector bundles` shows it");
        Ok(())
    }
}

fn print(sensors: &[Progress], rollout: Option<&Rollout>, json: bool) -> anyhow::Result<()> {
    if json {
        sensors.iter().try_for_each(print_json)?;
        return rollout.map_or(Ok(()), |rollout| print_json(&serde_json::json!({ "rollout": rollout })));
    }
    for sensor in sensors {
        println!("{}", line(sensor));
        for course in &sensor.courses {
            println!("    {}", course_line(course));
        }
    }
    if let Some(rollout) = rollout {
        let Rollout { serial, before, state, reason, towns, .. } = rollout;
        let towns: Vec<String> = towns.iter().map(|town| shown(town)).collect();
        println!(
            "bundle {serial} first in {}; others had {before}; {state} {}",
            towns.join(", "),
            shown(reason)
        );
        if state == "canary" {
            println!("all others have it from {} on, unless something speaks against it", rollout.until());
        }
    }
    if sensors.is_empty() {
        eprintln!(
            "no sensor is enrolled yet; `vedetta-collector invite --istat CODE --comune NAME` prints a code"
        );
    }
    Ok(())
}

fn line(sensor: &Progress) -> String {
    let Progress { comune_name, host_name, in_force, offered, behind, outcome, outcome_of, reason, .. } =
        sensor;
    let mut line = format!("{}  {}  in force {in_force} of {offered}", shown(comune_name), shown(host_name));
    if let Some(since) = sensor.behind_since.filter(|_| *behind > 0) {
        line.push_str(&format!("  behind by {behind} since {since}"));
    }
    if let Some(at) = sensor.outcome_at {
        line.push_str(&format!("  {outcome} {outcome_of} at {at} {}", shown(reason)));
    }
    if sensor.fresh_until.is_some_and(|until| until < clock::now()) {
        line.push_str("  STALE: nothing fresh reaches it");
    }
    line
}

/// What became of one bundle on a sensor, and when.
fn course_line(course: &Course) -> String {
    let Course { serial, offered_at, fetched_at, applied_at, refused_at, reason } = course;
    let mut line = format!("bundle {serial}:");
    let times =
        [("offered", offered_at), ("fetched", fetched_at), ("in force", applied_at), ("refused", refused_at)];
    for (what, at) in times {
        if let Some(at) = at {
            line.push_str(&format!("  {what} {at}"));
        }
    }
    if refused_at.is_some() {
        line.push_str(&format!(" {}", shown(reason)));
    }
    line
}

impl Export {
    /// Writes the folder, signed anew where the collector may, and verifies it as a sensor will.
    ///
    /// # Errors
    /// When nothing is offered, the folder is not empty, or what was written does not verify.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let state = &config.state;
        let offered =
            state.repository().canonicalize().context("no bundle is offered yet; push one first")?;
        if let Ok(mut entries) = fs::read_dir(&self.folder) {
            ensure!(entries.next().is_none(), "{} is not empty; name a new folder", self.folder.display());
        }
        // The timestamp first: what it names stays for a while, whatever the service signs meanwhile.
        copy(&offered, &self.folder, |name| name == "timestamp.json")?;
        copy(&offered, &self.folder, |name| name != "timestamp.json")?;
        let pinned = CoscRoot::open(state)?;
        let newest =
            fs::read(state.tuf().join("root.json")).context("no bundle was verified yet; push one")?;
        let renewed = OnlineKey::open(state)?.renew(&self.folder, Order::Copy, &newest, clock::now());
        let until = match renewed {
            Ok(Renewed::Until(until)) => format!("signed by this collector, good until {until}"),
            Ok(Renewed::NotNamed) => "with the desk's signatures".to_owned(),
            Err(error) => format!("with the signatures that are offered, because {error}"),
        };
        let memory = tempfile_beside(&self.folder)?;
        let (tuf, into) = (memory.join("tuf"), memory.join("taken"));
        let repository = Repository::folder(&self.folder);
        let verified = verify(repository, pinned.as_str().as_bytes(), &tuf, &into, Wanted::FULL).await;
        fs::remove_dir_all(&memory).with_context(|| memory.display().to_string())?;
        let verified = verified.context("what was written is not what sensors believe")?;
        println!(
            "bundle {} is in {}, {until}; on the gateway: vedetta-agent bundle import DIR",
            verified.serial,
            self.folder.display()
        );
        Ok(())
    }
}

/// A folder for what the verification remembers; it goes away.
fn tempfile_beside(folder: &Path) -> anyhow::Result<PathBuf> {
    let number: u64 = rand::random();
    let memory = folder.join(format!(".verified-{number:016x}"));
    fs::create_dir(&memory).with_context(|| memory.display().to_string())?;
    Ok(memory)
}

fn copy(from: &Path, to: &Path, is_wanted: impl Fn(&str) -> bool) -> anyhow::Result<()> {
    for name in [METADATA_FOLDER, TARGETS_FOLDER] {
        let (from, to) = (from.join(name), to.join(name));
        fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
        for file in fs::read_dir(&from).with_context(|| from.display().to_string())? {
            let file = file.with_context(|| from.display().to_string())?;
            let is_file = file.file_type().is_ok_and(|kind| kind.is_file());
            if is_file && file.file_name().to_str().is_some_and(&is_wanted) {
                let to = to.join(file.file_name());
                fs::copy(file.path(), &to).with_context(|| to.display().to_string())?;
            }
        }
    }
    Ok(())
}

//! Importing a signed repository from a folder, such as one on a USB stick: by the running agent when there is one,
//! else by this process, which then holds the agent's lock.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use nix::unistd::Uid;

use super::in_force::Building;
use super::store::{Applied, BundleStore, MERGE_ABOVE, Started, StoreConfig};
use super::verify::Repository;
use crate::config::Config;
use crate::control::{self, AskError};
use crate::stages::lock;

/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The folder of bundles below the state folder.
pub fn folder(config: &Config) -> PathBuf {
    config.state_dir.join("bundles")
}

/// Imports the newest bundle of a signed repository; `tell` hears how far the index is. A running agent must be able
/// to read the folder, and believes the root of its own enrolment; without one `cosc_root` is believed.
///
/// # Errors
/// Why it is not in force, and what to do; what is in force stays.
pub fn import(
    config: &Config,
    cosc_root: Vec<u8>,
    repository: &Path,
    tell: &mut dyn FnMut(&Building),
) -> anyhow::Result<Applied> {
    let repository = repository.canonicalize().with_context(|| {
        format!("{}: cannot be read; name the folder that holds metadata and targets", repository.display())
    })?;
    match control::ask_to_import(&config.control_socket, &repository, tell) {
        Err(AskError::NotRunning(_)) => import_alone(config, cosc_root, &repository, tell),
        asked => Ok(asked?),
    }
}

fn import_alone(
    config: &Config,
    cosc_root: Vec<u8>,
    repository: &Path,
    tell: &mut dyn FnMut(&Building),
) -> anyhow::Result<Applied> {
    let _lock = lock(&config.state_dir)?;
    let folder = folder(config);
    let _given = GivenToOwner(&config.state_dir, &folder);
    let Started { store, stopper, stage } = BundleStore::start(StoreConfig {
        folder: folder.clone(),
        cosc_root,
        home_networks: config.detection.home_networks.clone().unwrap_or_default(),
        merge_above: MERGE_ABOVE,
    })
    .with_context(|| format!("{} cannot be used; run this command as root", folder.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let imported = runtime.block_on(take_folder(&store, repository, |building| {
        if let Some(building) = building {
            tell(building);
        }
    }));
    drop((store, stopper));
    // What the keeper's thread says was said already.
    let _ = stage.join();
    imported
}

/// Takes a repository in a folder; `tell` hears twice a second what is being built, if anything is.
///
/// # Errors
/// Why it is not in force.
pub async fn take_folder(
    store: &BundleStore,
    repository: &Path,
    mut tell: impl FnMut(Option<&Building>),
) -> anyhow::Result<Applied> {
    let taking = store.take(|| Repository::folder(repository), |_| {});
    tokio::pin!(taking);
    let taken = loop {
        tokio::select! {
            taken = &mut taking => break taken,
            () = tokio::time::sleep(TELL_EVERY) => {
                tell(store.status().load().building.as_ref());
            }
        }
    };
    Ok(taken?)
}

/// The agent has a user of its own, and an administrator imports as root: what was written becomes the agent's.
struct GivenToOwner<'a>(&'a Path, &'a Path);

impl Drop for GivenToOwner<'_> {
    fn drop(&mut self) {
        let Ok(owner) = fs::metadata(self.0) else { return };
        let (user, group) = (owner.uid(), owner.gid());
        if !Uid::effective().is_root() || user == Uid::effective().as_raw() {
            return;
        }
        give(&self.0.join("lock"), user, group);
        let mut folders = vec![self.1.to_path_buf()];
        while let Some(folder) = folders.pop() {
            give(&folder, user, group);
            for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
                match entry.file_type() {
                    Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                    Ok(kind) if kind.is_file() => give(&entry.path(), user, group),
                    _ => {}
                }
            }
        }
    }
}

fn give(path: &Path, user: u32, group: u32) {
    if let Err(error) = lchown(path, Some(user), Some(group)) {
        tracing::warn!(path = %path.display(), %error, "the agent may be unable to read it; give it to the agent's user");
    }
}

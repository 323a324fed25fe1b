//! The repository that is offered to sensors: verified from the trusted root, swapped as a whole.

use std::cmp::Ordering;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use protocol::bundle::{BundleError, BundleLimits};
use protocol::message::Rollout;
use protocol::repository::order;
use protocol::{BundleHeader, BundleReader, Indicator, Serial};
use tokio::sync::mpsc;

use super::online::{self, OnlineError, OnlineKey, Order, Renewed};
use super::rollout::{Offered, Reach, first_towns};
use super::root::{CoscRoot, RootError};
use super::staging::{Staging, StagingError};
use super::verify::{self, Refusal, Repository, Wanted};
use crate::clock;
use crate::folders::{StateFolder, make_private_folder, sync_folder};
use crate::store::bundles::Upkeep;
use crate::store::{Store, StoreError, bundles, rollouts};

/// Indicators in one transaction: hits are committed between them.
const INDICATORS_AT_ONCE: usize = 5_000;

/// Why a pushed repository is not offered.
#[derive(Debug, thiserror::Error)]
pub enum OfferError {
    /// No COSC is trusted.
    #[error(transparent)]
    Root(#[from] RootError),
    /// It is not what the COSC signed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An older bundle than the one that is offered.
    #[error("bundle {pushed} is older than bundle {offered}, which is offered already")]
    Older {
        /// Pushed.
        pushed: Serial,
        /// Offered.
        offered: Serial,
    },
    /// The verified bundle could not be read again.
    #[error("the bundle cannot be read: {0}")]
    Bundle(#[from] BundleError),
    /// The staged files could not be kept.
    #[error(transparent)]
    Staging(#[from] StagingError),
    /// The own disk failed.
    #[error("{}: {error}", path.display())]
    File {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A pushed bundle, and what is offered to whom with it.
pub struct Pushed {
    /// The bundle.
    pub header: BundleHeader,
    /// What is offered.
    pub offered: Offered,
}

/// Verifies a staged repository, stores its indicators and offers it in place of the one before, or with a `rollout`
/// beside it to some towns. When it fails at any point, what was offered before still is.
///
/// # Errors
/// Why it is not offered.
pub async fn offer(
    state: &StateFolder,
    store: &Store,
    staging: Staging,
    online_key: &OnlineKey,
    (pushed_by, rollout): (String, Option<Rollout>),
) -> Result<Pushed, OfferError> {
    let root = CoscRoot::open(state)?;
    let taken_out = state.tuf().join("taken-out");
    let repository = Repository::folder(staging.folder());
    let root = root.as_str().as_bytes();
    let verified = verify::verify(repository, root, &state.tuf(), &taken_out, Wanted::FULL).await?;
    let (newest_root, provenance) = (verified.root.clone(), verified.provenance.clone());
    let (header, bundle) = verified.into_full()?;
    let (offered, known) = bundles::newest(store).await?;
    let stands = order((header.serial, &provenance), (offered, known.as_ref()));
    if stands == Ordering::Less {
        return Err(OfferError::Older { pushed: header.serial, offered });
    }
    if stands == Ordering::Greater {
        store_indicators(store, bundle.clone(), header.serial).await?;
    }
    // Only what a desk signed is remembered by the verification, so that its next push counts as newer than that,
    // whatever this collector signed meanwhile.
    let served = [state.canary(), state.repository()].into_iter().find(|link| link.exists());
    let order = Order::After(served.as_deref());
    let renewed = online_key.renew(staging.folder(), order, &newest_root, clock::now());
    bundles::keep_upkeep(store, upkeep(renewed, staging.folder())).await?;
    let may_wait = header.serial > offered || stands == Ordering::Equal;
    let rollout = rollout.filter(|_| may_wait && state.repository().exists());
    let reach = reach(store, header.serial, rollout).await?;
    let folder = state.clone();
    let is_for_all = reach == Reach::All;
    let put = tokio::task::spawn_blocking(move || put_in_place(&folder, staging, is_for_all));
    put.await.map_err(|_| StoreError::Closed)??;
    let offered = bundles::keep(store, (header.clone(), provenance), pushed_by, reach).await?;
    if let Err(error) = fs::remove_file(&bundle) {
        tracing::warn!(file = %bundle.display(), %error, "a verified bundle's copy could not be removed");
    }
    Ok(Pushed { header, offered })
}

/// Who has a pushed bundle at once. One that takes the place of a higher number is never held back: that number is what
/// nobody should have. Towns that are among the first already stay so: they cannot go back.
async fn reach(store: &Store, serial: Serial, rollout: Option<Rollout>) -> Result<Reach, StoreError> {
    let Some(Rollout { share_percent, minutes }) = rollout else { return Ok(Reach::All) };
    let before = bundles::offered(store).await?.canary;
    if before.as_ref().is_some_and(|canary| canary.serial == serial) {
        return Ok(Reach::AsBefore);
    }
    if serial <= bundles::newest(store).await?.0 {
        return Ok(Reach::All);
    }
    let towns = rollouts::towns_with_sensors(store).await?;
    let mut first = first_towns(serial, &towns, share_percent);
    first.extend(before.iter().flat_map(|canary| canary.towns.iter().cloned()));
    // Where the first towns are all towns, there is nothing to wait for.
    let is_all = towns.iter().all(|town| first.contains(town));
    Ok(if is_all { Reach::All } else { Reach::First { minutes, towns: first } })
}

/// Signs what is on offer anew with the online key. Only while nothing is being pushed. Gives whether something is
/// on offer.
///
/// # Errors
/// When the store fails; what keeps the key from signing is logged and kept for operators.
pub async fn renew(state: &StateFolder, store: &Store, online_key: &OnlineKey) -> Result<bool, StoreError> {
    let repository = state.repository();
    let remembered = state.tuf().join("root.json");
    let Ok(root) = fs::read(&remembered) else { return Ok(false) };
    if !repository.exists() {
        return Ok(false);
    }
    let mut worst =
        upkeep(online_key.renew(&repository, Order::After(None), &root, clock::now()), &repository);
    if state.canary().exists() {
        let canary = upkeep(
            online_key.renew(&state.canary(), Order::After(None), &root, clock::now()),
            &state.canary(),
        );
        if canary.state == "failed" {
            worst = canary;
        }
    }
    bundles::keep_upkeep(store, worst).await?;
    Ok(true)
}

/// What operators are told of the signatures on offer.
fn upkeep(renewed: Result<Renewed, OnlineError>, repository: &Path) -> Upkeep {
    let as_signed = || online::fresh_until(repository);
    match renewed {
        Ok(Renewed::Until(until)) => {
            Upkeep { state: "signed", fresh_until: Some(until), trouble: String::new() }
        }
        Ok(Renewed::NotNamed) => {
            tracing::info!(
                "the COSC's root does not name this collector's online key: the desk's signatures are served"
            );
            Upkeep { state: "not_named", fresh_until: as_signed(), trouble: String::new() }
        }
        Err(error) => {
            tracing::warn!(%error, "the signatures on offer are not renewed; they are served as they are");
            Upkeep { state: "failed", fresh_until: as_signed(), trouble: error.to_string() }
        }
    }
}

/// Reads on a thread that may block and stores what comes, a few thousand at a time.
async fn store_indicators(store: &Store, bundle: PathBuf, serial: Serial) -> Result<(), OfferError> {
    let (chunks, mut to_store) = mpsc::channel::<Vec<Indicator>>(2);
    let reading = tokio::task::spawn_blocking(move || -> Result<(), OfferError> {
        let file = File::open(&bundle).map_err(|error| OfferError::File { path: bundle, error })?;
        let mut reader = BundleReader::new(file, BundleLimits::default())?;
        loop {
            let chunk: Vec<Indicator> =
                reader.indicators().take(INDICATORS_AT_ONCE).collect::<Result<_, _>>()?;
            if chunk.is_empty() || chunks.blocking_send(chunk).is_err() {
                return Ok(());
            }
        }
    });
    while let Some(chunk) = to_store.recv().await {
        bundles::keep_indicators(store, serial, chunk).await?;
    }
    reading.await.map_err(|_| StoreError::Closed)?
}

/// `repository` is a link to one of `repositories`: renaming a new link over it is one step, so that a sensor
/// never meets half of one.
fn put_in_place(state: &StateFolder, staging: Staging, is_for_all: bool) -> Result<(), OfferError> {
    let link = if is_for_all { state.repository() } else { state.canary() };
    let beside = link.with_added_extension("new");
    let failed = |path: &PathBuf| {
        let path = path.clone();
        move |error| OfferError::File { path, error }
    };
    let folder = staging.keep()?;
    sync_folder(&state.repositories()).map_err(failed(&folder))?;
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&beside)(error)),
        _ => {}
    }
    symlink(&folder, &beside).map_err(failed(&beside))?;
    fs::rename(&beside, &link).map_err(failed(&link))?;
    if is_for_all {
        match fs::remove_file(state.canary()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&link)(error)),
            _ => {}
        }
    }
    sync_folder(state.path()).map_err(failed(&link))?;
    remove_all_but_offered(state);
    Ok(())
}

/// Offers to all what some towns had first: one renaming.
///
/// # Errors
/// What the system says; doing it again when it was done already is none.
pub fn release(state: &StateFolder) -> io::Result<()> {
    match fs::rename(state.canary(), state.repository()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_folder(state.path())?;
    remove_all_but_offered(state);
    Ok(())
}

/// Removes repositories that are not offered: those before, and those that a crash left half pushed.
/// Only while nothing is being pushed.
pub fn remove_all_but_offered(state: &StateFolder) {
    let offered = [state.repository(), state.canary()].map(|link| fs::canonicalize(link).ok());
    let Ok(folders) = fs::read_dir(state.repositories()) else { return };
    for folder in folders.filter_map(Result::ok).map(|entry| entry.path()) {
        if offered.contains(&fs::canonicalize(&folder).ok()) {
            continue;
        }
        if let Err(error) = fs::remove_dir_all(&folder) {
            tracing::warn!(folder = %folder.display(), %error, "an old repository could not be removed");
        }
    }
}

/// Makes the folders that pushes and fetches need.
///
/// # Errors
/// When the disk fails.
pub fn make_folders(state: &StateFolder) -> io::Result<()> {
    make_private_folder(&state.repositories())?;
    make_private_folder(&state.tuf())
}

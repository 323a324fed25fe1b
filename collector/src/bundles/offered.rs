//! The repository that is offered to sensors: verified from the trusted root, swapped as a whole.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use protocol::bundle::{BundleError, BundleLimits};
use protocol::{BundleHeader, BundleReader, Indicator, Serial};
use tokio::sync::mpsc;

use super::online::{self, OnlineError, OnlineKey, Renewed};
use super::root::{CoscRoot, RootError};
use super::staging::{Staging, StagingError};
use super::verify::{self, Refusal, Repository, Wanted};
use crate::clock;
use crate::folders::{StateFolder, make_private_folder, sync_folder};
use crate::store::bundles::Upkeep;
use crate::store::{Store, StoreError, bundles};

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

/// Verifies a staged repository, stores its indicators and offers it in place of the one before. When it
/// fails at any point, what was offered before still is.
///
/// # Errors
/// Why it is not offered.
pub async fn offer(
    state: &StateFolder,
    store: &Store,
    staging: Staging,
    online_key: &OnlineKey,
    pushed_by: String,
) -> Result<BundleHeader, OfferError> {
    let root = CoscRoot::open(state)?;
    let taken_out = state.tuf().join("taken-out");
    let repository = Repository::folder(staging.folder());
    let root = root.as_str().as_bytes();
    let verified = verify::verify(repository, root, &state.tuf(), &taken_out, Wanted::FULL).await?;
    let newest_root = verified.root.clone();
    let (header, bundle) = verified.into_full()?;
    let offered = bundles::newest(store).await?;
    if header.serial < offered {
        return Err(OfferError::Older { pushed: header.serial, offered });
    }
    if header.serial > offered {
        store_indicators(store, bundle.clone(), header.serial).await?;
    }
    // Only what a desk signed is remembered by the verification, so that its next push counts as newer than that,
    // whatever this collector signed meanwhile.
    let renewed = online_key.renew(staging.folder(), &[&state.repository()], &newest_root, clock::now());
    bundles::keep_upkeep(store, upkeep(renewed, staging.folder())).await?;
    let folder = state.clone();
    let put = tokio::task::spawn_blocking(move || put_in_place(&folder, staging));
    put.await.map_err(|_| StoreError::Closed)??;
    bundles::keep(store, header.clone(), pushed_by).await?;
    if let Err(error) = fs::remove_file(&bundle) {
        tracing::warn!(file = %bundle.display(), %error, "a verified bundle's copy could not be removed");
    }
    Ok(header)
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
    let renewed = online_key.renew(&repository, &[], &root, clock::now());
    bundles::keep_upkeep(store, upkeep(renewed, &repository)).await?;
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
fn put_in_place(state: &StateFolder, staging: Staging) -> Result<(), OfferError> {
    let link = state.repository();
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
    sync_folder(state.path()).map_err(failed(&link))?;
    remove_all_but_offered(state);
    Ok(())
}

/// Removes repositories that are not offered: those before, and those that a crash left half pushed.
/// Only while nothing is being pushed.
pub fn remove_all_but_offered(state: &StateFolder) {
    let offered = fs::canonicalize(state.repository()).ok();
    let Ok(folders) = fs::read_dir(state.repositories()) else { return };
    for folder in folders.filter_map(Result::ok).map(|entry| entry.path()) {
        if fs::canonicalize(&folder).ok() == offered {
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

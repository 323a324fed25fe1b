//! Why a bundle is not in force, each with what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use protocol::Serial;
use protocol::bundle::BundleError;
use protocol::index::IndexError;

use super::verify::Refusal;

/// Why an offered bundle is not in force. What was in force before stays.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The repository is not believed, or could not be fetched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A signed bundle that is older than the one in force.
    #[error("the repository's newest bundle is {offered}, older than {in_force}, which is in force")]
    Older {
        /// Offered.
        offered: Serial,
        /// In force.
        in_force: Serial,
    },
    /// Verified changes that do not lead from what is in force to what they promise.
    #[error("the changes do not fit: {reason}")]
    FullNeeded {
        /// Why.
        reason: String,
    },
    /// A verified bundle that cannot be put in force.
    #[error("the verified bundle cannot be put in force: {0}")]
    Unusable(#[from] LoadError),
}

impl NotTaken {
    /// Whether trying again soon is of no use: only another bundle, or a person, can help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.is_of_the_repository(),
            Self::Older { .. } | Self::FullNeeded { .. } | Self::Unusable(_) => true,
        }
    }
}

/// Why a bundle cannot be put in force.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk.
    #[error("{}: {error}{}", path.display(), advice(error))]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not the bytes that were verified.
    #[error("{} is not the file that was verified; the collector is asked for it again", path.display())]
    Altered {
        /// Which file.
        path: PathBuf,
    },
    /// Not a bundle.
    #[error("{}: {error}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BundleError,
    },
    /// The index.
    #[error("{}: {error}{}", path.display(), index_advice(error))]
    Index {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: IndexError,
    },
    /// Changes that cannot be applied.
    #[error("{}: {reason}", path.display())]
    Changes {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing would be looked for any more.
    #[error(
        "bundle {serial} leaves nothing to look for ({}), where {before} indicators are in force; ask the desk what it meant",
        why_nothing(held)
    )]
    Nothing {
        /// Its number.
        serial: Serial,
        /// Indicators in force.
        before: u64,
        /// How many are held back, by reason.
        held: Vec<(String, u64)>,
    },
    /// The agent stops, or a newer bundle came.
    #[error("interrupted; it is tried again at the next offer")]
    Interrupted,
}

impl LoadError {
    /// Whether the verified files are gone or are not what was verified, so that only fetching them again helps.
    pub(super) fn is_of_the_files(&self) -> bool {
        match self {
            Self::Disk { error, .. } => error.kind() == io::ErrorKind::NotFound,
            Self::Altered { .. } | Self::Bundle { .. } | Self::Changes { .. } => true,
            Self::Index { .. } | Self::Nothing { .. } | Self::Interrupted => false,
        }
    }
}

/// What a person does about a disk that does not work.
fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; free some space there, it is tried again at the next offer"
        }
        io::ErrorKind::ReadOnlyFilesystem => "; mount it writable, it is tried again at the next offer",
        io::ErrorKind::PermissionDenied => "; give the folder to the agent's user (chown -R vedetta-agent)",
        _ => "",
    }
}

fn index_advice(error: &IndexError) -> &'static str {
    match error {
        IndexError::Io(error) => advice(error),
        _ => "",
    }
}

fn why_nothing(held: &[(String, u64)]) -> String {
    if held.is_empty() {
        return "it is empty".to_owned();
    }
    let reasons: Vec<String> = held.iter().map(|(reason, count)| format!("{count} times {reason}")).collect();
    format!("held back: {}", reasons.join("; "))
}

/// Says which file it was.
pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_path_buf();
    move |error| LoadError::Disk { path, error }
}

/// Says which index it was.
pub(super) fn index(path: &Path) -> impl FnOnce(IndexError) -> LoadError {
    let path = path.to_path_buf();
    move |error| LoadError::Index { path, error }
}

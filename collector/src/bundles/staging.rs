//! A pushed repository on its way: files that are there already are taken over, the others are written here,
//! and the whole goes away unless it is verified and put in place.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use protocol::message::OfferedFile;
use protocol::repository::{METADATA_FOLDER, RepositoryPath, TARGETS_FOLDER};
use protocol::text::Hex;
use sha2::{Digest as _, Sha256};

use crate::folders::{StateFolder, make_private_folder, sync_folder};

/// Files of one repository.
pub const FILES_MAX: usize = 4096;
/// Bytes of one repository.
pub const REPOSITORY_BYTES_MAX: u64 = 4 << 30;

/// Why an offer is not taken.
#[derive(Debug, thiserror::Error)]
pub enum StagingError {
    /// More than this collector takes.
    #[error("the repository is too large: {what} is above the limit of {limit}")]
    TooLarge {
        /// What.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// The same name twice.
    #[error("{0} is offered twice")]
    Twice(RepositoryPath),
    /// The own disk failed.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// A folder for one pushed repository.
#[derive(Debug)]
pub struct Staging {
    folder: PathBuf,
    kept: bool,
}

impl Staging {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn new(state: &StateFolder) -> Result<Self, StagingError> {
        let number: u64 = rand::random();
        let staging = Self { folder: state.repositories().join(format!("{number:016x}")), kept: false };
        for name in [METADATA_FOLDER, TARGETS_FOLDER] {
            let folder = staging.folder.join(name);
            make_private_folder(&folder).map_err(|error| StagingError::File { path: folder, error })?;
        }
        Ok(staging)
    }

    /// The folder, with `metadata` and `targets` below it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where a file of it belongs.
    pub fn path(&self, path: &RepositoryPath) -> PathBuf {
        self.folder.join(path.as_str())
    }

    /// Checks an offer and takes over what `offered_before` has; gives what must be sent. Metadata always is.
    ///
    /// # Errors
    /// When the offer is above the limits or the disk fails.
    pub fn take_over(
        &self,
        offer: &[OfferedFile],
        offered_before: &Path,
    ) -> Result<Vec<OfferedFile>, StagingError> {
        check_limits(offer)?;
        let mut wanted = Vec::new();
        for file in offer {
            let before = offered_before.join(file.path.as_str());
            if is_the_file_of_that_name(&before, file)
                && fs::hard_link(&before, self.path(&file.path)).is_ok()
            {
                continue;
            }
            wanted.push(file.clone());
        }
        Ok(wanted)
    }

    /// Makes everything safe on disk and keeps the folder.
    ///
    /// # Errors
    /// When the disk fails; the folder goes away then.
    pub fn keep(mut self) -> Result<PathBuf, StagingError> {
        for folder in [METADATA_FOLDER, TARGETS_FOLDER].map(|name| self.folder.join(name)) {
            sync_folder(&folder).map_err(|error| StagingError::File { path: folder, error })?;
        }
        sync_folder(&self.folder).map_err(|error| StagingError::File { path: self.folder.clone(), error })?;
        self.kept = true;
        Ok(self.folder.clone())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.folder)
        {
            tracing::warn!(folder = %self.folder.display(), %error, "a refused repository could not be removed");
        }
    }
}

fn check_limits(offer: &[OfferedFile]) -> Result<(), StagingError> {
    if offer.len() > FILES_MAX {
        return Err(StagingError::TooLarge { what: "the number of files".into(), limit: FILES_MAX as u64 });
    }
    let mut names: Vec<&RepositoryPath> = offer.iter().map(|file| &file.path).collect();
    names.sort();
    if let Some([twice, _]) = names.array_windows().find(|[a, b]| a == b) {
        return Err(StagingError::Twice((*twice).clone()));
    }
    if let Some(file) = offer.iter().find(|file| file.bytes > file.path.bytes_max()) {
        return Err(StagingError::TooLarge { what: file.path.to_string(), limit: file.path.bytes_max() });
    }
    let bytes = offer.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
    if bytes > REPOSITORY_BYTES_MAX {
        return Err(StagingError::TooLarge { what: "the sum of bytes".into(), limit: REPOSITORY_BYTES_MAX });
    }
    Ok(())
}

/// Whether a file that is there has the length offered and the SHA-256 that its name says. Metadata has no
/// hash in its name and is always sent.
fn is_the_file_of_that_name(path: &Path, offered: &OfferedFile) -> bool {
    let Some(hash) = offered
        .path
        .as_str()
        .strip_prefix(TARGETS_FOLDER)
        .and_then(|name| name.strip_prefix('/')?.split_once('.'))
        .map(|(hash, _)| hash)
    else {
        return false;
    };
    let same_length = fs::metadata(path).is_ok_and(|found| found.is_file() && found.len() == offered.bytes);
    same_length && sha256_of(path).is_ok_and(|found| found == hash)
}

fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        hash.update(bytes);
    }
    Ok(Hex(&hash.finalize()).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(path: &str, bytes: u64) -> OfferedFile {
        OfferedFile { path: path.parse().unwrap(), bytes }
    }

    fn staging() -> (tempfile::TempDir, Staging) {
        let folder = tempfile::tempdir().unwrap();
        let staging = Staging::new(&StateFolder::new(folder.path())).unwrap();
        (folder, staging)
    }

    fn check_refused(offer: &[OfferedFile], sentence: &str) {
        let (_folder, staging) = staging();
        let refused = staging.take_over(offer, Path::new("/nowhere")).unwrap_err().to_string();
        assert!(refused.contains(sentence), "{refused}");
    }

    #[test]
    fn an_offer_above_the_limits_is_refused_before_a_byte_is_sent() {
        check_refused(&[offered("metadata/timestamp.json", 2 << 20)], "metadata/timestamp.json");
        check_refused(&[offered("targets/a", 1), offered("targets/a", 1)], "twice");
        let many: Vec<_> = (0..5000).map(|number| offered(&format!("targets/{number}"), 1)).collect();
        check_refused(&many, "number of files");
        let large: Vec<_> = (0..5).map(|number| offered(&format!("targets/{number}"), 1 << 30)).collect();
        check_refused(&large, "sum of bytes");
    }

    #[test]
    fn a_bundle_that_is_there_is_taken_over_unless_it_was_altered() {
        let (_folder, staging) = staging();
        let before = tempfile::tempdir().unwrap();
        fs::create_dir(before.path().join("targets")).unwrap();
        let hash = Hex(&Sha256::digest(b"bundle")).to_string();
        let (good, altered) = (format!("targets/{hash}.b"), format!("targets/{}.b", "0".repeat(64)));
        fs::write(before.path().join(&good), b"bundle").unwrap();
        fs::write(before.path().join(&altered), b"bundle").unwrap();
        let offer = [offered(&good, 6), offered(&altered, 6), offered("metadata/timestamp.json", 6)];
        let wanted = staging.take_over(&offer, before.path()).unwrap();
        let wanted: Vec<&str> = wanted.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(wanted, [altered.as_str(), "metadata/timestamp.json"]);
        assert_eq!(fs::read(staging.folder().join(&good)).unwrap(), b"bundle");
    }

    #[test]
    fn what_is_not_kept_goes_away() {
        let (folder, refused) = staging();
        let path = refused.folder().to_owned();
        drop(refused);
        assert!(!path.exists());
        let kept = Staging::new(&StateFolder::new(folder.path())).unwrap().keep().unwrap();
        assert!(kept.join("metadata").is_dir());
    }
}

//! The files on offer as they are given out: read once when they are offered, so that a thousand sensors that fetch
//! them at once cost a thousand answers and not a thousand readings, and meet files that belong together.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use protocol::repository::{METADATA_FOLDER, RepositoryPath, TARGETS_FOLDER};

/// Longer files, which are full bundles, are read from the disk each time.
const HELD_BYTES_MAX: u64 = 256 << 10;
/// What is held in memory at most; the files after it are read from the disk.
const HELD_BYTES_SUM_MAX: u64 = 16 << 20;
/// Files that a repository may have: a push is far below.
const FILES_MAX: usize = 4096;

/// One file.
#[derive(Clone, Debug)]
pub(super) enum Shelved {
    /// Its bytes.
    Held(Bytes),
    /// Open, so that it can be read although another repository takes its place meanwhile.
    OnDisk { file: Arc<File>, bytes: u64 },
}

/// The files of one repository.
#[derive(Debug, Default)]
pub(super) struct Shelf(HashMap<RepositoryPath, Shelved>);

impl Shelf {
    /// Everything in a repository's two folders that is a file with a name of a repository. A repository that is not
    /// there has nothing.
    ///
    /// # Errors
    /// What the disk says.
    pub fn read(repository: &Path) -> io::Result<Self> {
        let mut files = HashMap::new();
        let mut held = 0;
        // Metadata first: it is what every sensor asks for.
        for folder in [METADATA_FOLDER, TARGETS_FOLDER] {
            let entries = match fs::read_dir(repository.join(folder)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries.take(FILES_MAX) {
                let entry = entry?;
                // A link or a folder was not put there by a push.
                if !entry.file_type()?.is_file() {
                    continue;
                }
                let name = entry.file_name();
                let path = name.to_str().and_then(|name| format!("{folder}/{name}").parse().ok());
                let Some(path) = path else { continue };
                files.insert(path, shelve(&entry.path(), &mut held)?);
            }
        }
        Ok(Self(files))
    }

    /// The file of this name.
    pub fn find(&self, path: &RepositoryPath) -> Option<Shelved> {
        self.0.get(path).cloned()
    }
}

fn shelve(path: &Path, held: &mut u64) -> io::Result<Shelved> {
    let file = File::open(path)?;
    let bytes = file.metadata()?.len();
    if bytes > HELD_BYTES_MAX || held.saturating_add(bytes) > HELD_BYTES_SUM_MAX {
        return Ok(Shelved::OnDisk { file: Arc::new(file), bytes });
    }
    *held = held.saturating_add(bytes);
    Ok(Shelved::Held(fs::read(path)?.into()))
}

impl Shelved {
    /// How long it is.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Held(held) => held.len() as u64,
            Self::OnDisk { bytes, .. } => *bytes,
        }
    }

    /// Up to so many bytes from an offset on; none at its end.
    ///
    /// # Errors
    /// When the disk fails, or has less than before.
    pub async fn read_at(&self, offset: u64, bytes_max: usize) -> io::Result<Bytes> {
        let missing = self.bytes().saturating_sub(offset);
        let wanted = usize::try_from(missing).unwrap_or(bytes_max).min(bytes_max);
        if wanted == 0 {
            return Ok(Bytes::new());
        }
        match self {
            Self::Held(held) => {
                let from = usize::try_from(offset).unwrap_or(held.len()).min(held.len());
                Ok(held.slice(from..from.saturating_add(wanted).min(held.len())))
            }
            Self::OnDisk { file, .. } => {
                let file = Arc::clone(file);
                let reading = tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; wanted];
                    file.read_exact_at(&mut buffer, offset)?;
                    Ok(buffer.into())
                });
                reading.await.map_err(io::Error::other)?
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn whole(shelved: &Shelved, from: u64) -> Vec<u8> {
        let mut whole = Vec::new();
        loop {
            let bytes = shelved.read_at(from + whole.len() as u64, 1000).await.unwrap();
            if bytes.is_empty() {
                return whole;
            }
            whole.extend(bytes);
        }
    }

    #[tokio::test]
    async fn short_files_are_held_long_ones_stay_on_the_disk_and_nothing_else_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = || Shelf::read(folder.path()).unwrap();
        assert!(shelf().0.is_empty());
        let targets = folder.path().join(TARGETS_FOLDER);
        fs::create_dir_all(targets.join("folder")).unwrap();
        let [short, long] = [1_500, usize::try_from(HELD_BYTES_MAX).unwrap() + 1]
            .map(|bytes| (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect::<Vec<u8>>());
        fs::write(targets.join("short"), &short).unwrap();
        fs::write(targets.join("long"), &long).unwrap();
        fs::write(targets.join("no name of a repository"), "x").unwrap();
        std::os::unix::fs::symlink("/etc/hostname", targets.join("link")).unwrap();
        let shelf = shelf();
        // What is offered next takes the names.
        fs::remove_dir_all(&targets).unwrap();

        let find = |name: &str| shelf.find(&format!("{TARGETS_FOLDER}/{name}").parse().unwrap());
        let [held, on_disk] = ["short", "long"].map(|name| find(name).unwrap());
        assert!(matches!(held, Shelved::Held(_)) && matches!(on_disk, Shelved::OnDisk { .. }));
        for (shelved, bytes) in [(held, short), (on_disk, long)] {
            assert_eq!(whole(&shelved, 0).await, bytes);
            assert_eq!(whole(&shelved, 700).await, bytes[700..]);
            assert!(whole(&shelved, bytes.len() as u64).await.is_empty());
            assert!(shelved.read_at(u64::MAX, 1).await.unwrap().is_empty());
        }
        assert_eq!(shelf.0.len(), 2);
    }

    #[test]
    fn what_is_held_has_a_limit() {
        let folder = tempfile::tempdir().unwrap();
        let targets = folder.path().join(TARGETS_FOLDER);
        fs::create_dir_all(&targets).unwrap();
        let one = vec![0; usize::try_from(HELD_BYTES_MAX).unwrap()];
        for number in 0..=HELD_BYTES_SUM_MAX / HELD_BYTES_MAX {
            fs::write(targets.join(number.to_string()), &one).unwrap();
        }
        let shelf = Shelf::read(folder.path()).unwrap();
        let on_disk = shelf.0.values().filter(|it| matches!(it, Shelved::OnDisk { .. })).count();
        assert_eq!(on_disk, 1);
    }
}

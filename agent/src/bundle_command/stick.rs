//! A signed repository on a stick: found, and copied for the running agent, which may not be able to read the stick.
//!
//! Only regular files with a repository's names are read, within their limits: whoever prepared the stick must not make
//! a command that runs as root hand out another file. Nothing is believed here; `bundles::verify` does that.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use protocol::repository::{METADATA_FOLDER, RepositoryPath, TARGETS_FOLDER};

/// Every repository has it.
const TIMESTAMP: &str = "timestamp.json";
/// Files of one repository; a desk keeps a few dozen.
const FILES_MAX: usize = 4096;
/// Copied at once.
const PIECE_BYTES: usize = 256 << 10;

/// A folder that looks like a repository.
#[derive(Debug)]
pub struct Stick {
    folder: PathBuf,
    files: Vec<(RepositoryPath, u64)>,
}

/// Why a folder is no repository, or cannot be copied.
#[derive(Debug, thiserror::Error)]
pub enum StickError {
    /// Nothing there.
    #[error("{}: there is no such folder; is the stick mounted? Name the folder with `metadata` and `targets` in it", .0.display())]
    Missing(PathBuf),
    /// Not a folder.
    #[error("{} is a file; name the folder with `metadata` and `targets` in it", .0.display())]
    File(PathBuf),
    /// A folder without a repository.
    #[error("{} holds no signed repository: metadata/timestamp.json is missing in it; name the folder with `metadata` and `targets`{}", folder.display(), nearby(nearest.as_deref()))]
    NoRepository {
        /// The folder.
        folder: PathBuf,
        /// A folder in it that holds one.
        nearest: Option<PathBuf>,
    },
    /// No permission, or a broken stick.
    #[error("{} cannot be read: {error}; run this command as root, and try another stick if that does not help", path.display())]
    Unreadable {
        /// Which file or folder.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Longer than any file of its name.
    #[error("{} is longer than its limit of {limit} bytes: this is no repository of a desk; copy it anew", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// More files than any repository.
    #[error("{} holds more than {FILES_MAX} files: this is no repository of a desk; copy it anew", .0.display())]
    TooMany(PathBuf),
    /// No room for the copy.
    #[error("no space left for {bytes} bytes in {}; free some and import again", folder.display())]
    NoSpace {
        /// What the copy takes.
        bytes: u64,
        /// Where.
        folder: PathBuf,
    },
    /// The state folder.
    #[error("{} cannot be written: {error}; run this command as root", path.display())]
    Unwritable {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

fn nearby(nearest: Option<&Path>) -> String {
    nearest.map(|nearest| format!(", such as {}", nearest.display())).unwrap_or_default()
}

impl Stick {
    /// Looks at a folder.
    ///
    /// # Errors
    /// When it is no repository or cannot be read; says what to do.
    pub fn find(folder: &Path) -> Result<Self, StickError> {
        let unreadable = |error| StickError::Unreadable { path: folder.to_owned(), error };
        let folder = match folder.canonicalize() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StickError::Missing(folder.to_owned()));
            }
            found => found.map_err(unreadable)?,
        };
        if !fs::metadata(&folder).map_err(unreadable)?.is_dir() {
            return Err(StickError::File(folder));
        }
        match fs::symlink_metadata(folder.join(METADATA_FOLDER).join(TIMESTAMP)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                let nearest = nearest(&folder);
                return Err(StickError::NoRepository { folder, nearest });
            }
            found => found.map(drop).map_err(unreadable)?,
        }
        let mut files = Vec::new();
        for name in [METADATA_FOLDER, TARGETS_FOLDER] {
            list(&folder, name, &mut files)?;
        }
        Ok(Self { folder, files })
    }

    /// The folder, without symbolic links.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, bytes)| bytes).sum()
    }

    /// Copies all files into a new folder `into`, which is given to the owner of `state_dir`, and tells `progress`
    /// the bytes of each piece.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn copy(&self, into: &Path, state_dir: &Path, progress: &dyn Fn(u64)) -> Result<(), StickError> {
        let unwritable = |error| self.unwritable(into, error);
        let owner = fs::metadata(state_dir).map_err(unwritable)?;
        let give = |file: &File| match file.metadata()? {
            made if (made.uid(), made.gid()) == (owner.uid(), owner.gid()) => Ok(()),
            _ => fchown(file, Some(owner.uid()), Some(owner.gid())),
        };
        for folder in [into.to_owned(), into.join(METADATA_FOLDER), into.join(TARGETS_FOLDER)] {
            let made = DirBuilder::new().mode(0o700).create(&folder).and_then(|()| File::open(&folder));
            made.and_then(|folder| give(&folder)).map_err(unwritable)?;
        }
        for (path, _) in &self.files {
            let mut from = self.open(path)?;
            let to = into.join(path.as_str());
            let mut file = File::options().write(true).create_new(true).mode(0o600).open(&to);
            let file = file.as_mut().map_err(|error| self.unwritable(&to, io::Error::from(error.kind())))?;
            give(file).map_err(unwritable)?;
            self.copy_bytes(path, &mut from, file, progress)?;
        }
        Ok(())
    }

    fn copy_bytes(
        &self,
        path: &RepositoryPath,
        from: &mut File,
        to: &mut File,
        progress: &dyn Fn(u64),
    ) -> Result<(), StickError> {
        let (mut piece, mut left) = (vec![0; PIECE_BYTES], path.bytes_max());
        let place = self.folder.join(path.as_str());
        loop {
            let read = from.read(&mut piece);
            let read = read.map_err(|error| StickError::Unreadable { path: place.clone(), error })?;
            let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
            let too_large = StickError::TooLarge { path: place.clone(), limit: path.bytes_max() };
            left = left.checked_sub(bytes.len() as u64).ok_or(too_large)?;
            to.write_all(bytes).map_err(|error| self.unwritable(&place, error))?;
            progress(bytes.len() as u64);
        }
    }

    /// A symbolic link is not followed, and nobody waits for a pipe.
    fn open(&self, path: &RepositoryPath) -> Result<File, StickError> {
        let place = self.folder.join(path.as_str());
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let opened = File::options().read(true).custom_flags(flags).open(&place);
        let regular = opened.and_then(|file| match file.metadata()?.is_file() {
            true => Ok(file),
            false => Err(io::Error::other("it is no regular file")),
        });
        regular.map_err(|error| StickError::Unreadable { path: place, error })
    }

    fn unwritable(&self, path: &Path, error: io::Error) -> StickError {
        if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) {
            return StickError::NoSpace { bytes: self.bytes(), folder: path.to_owned() };
        }
        StickError::Unwritable { path: path.to_owned(), error }
    }
}

/// The repository's files in one of its folders; names that no repository has are passed over.
fn list(folder: &Path, name: &str, files: &mut Vec<(RepositoryPath, u64)>) -> Result<(), StickError> {
    let place = folder.join(name);
    let unreadable = |error| StickError::Unreadable { path: place.clone(), error };
    if fs::symlink_metadata(&place).map_err(unreadable)?.is_symlink() {
        return Err(unreadable(io::Error::other("it is a symbolic link")));
    }
    for entry in fs::read_dir(&place).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.file_name().to_str().map(|file| format!("{name}/{file}"));
        let Some(path) = path.and_then(|path| path.parse::<RepositoryPath>().ok()) else { continue };
        let about = entry.metadata().map_err(unreadable)?;
        if !about.is_file() {
            continue;
        }
        if about.len() > path.bytes_max() {
            return Err(StickError::TooLarge { path: entry.path(), limit: path.bytes_max() });
        }
        if files.len() >= FILES_MAX {
            return Err(StickError::TooMany(folder.to_owned()));
        }
        files.push((path, about.len()));
    }
    files.sort();
    Ok(())
}

/// A folder right below that holds a repository: people name the stick itself.
fn nearest(folder: &Path) -> Option<PathBuf> {
    let below = fs::read_dir(folder).ok()?.flatten().take(FILES_MAX).map(|entry| entry.path());
    let mut found: Vec<PathBuf> =
        below.filter(|path| path.join(METADATA_FOLDER).join(TIMESTAMP).exists()).collect();
    found.sort();
    found.into_iter().next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn repository(folder: &Path) {
        for name in [METADATA_FOLDER, TARGETS_FOLDER] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        fs::write(folder.join("metadata/timestamp.json"), b"{}").unwrap();
        fs::write(folder.join("targets/abc.bundle-1.jsonl.zst"), [7; 300_000]).unwrap();
        fs::write(folder.join("targets/.hidden"), b"x").unwrap();
        fs::write(folder.join("autorun.inf"), b"x").unwrap();
    }

    fn told(folder: &Path) -> String {
        Stick::find(folder).map(|stick| stick.files).unwrap_err().to_string()
    }

    #[test]
    fn a_repository_is_copied_and_nothing_beside_it() {
        let home = tempfile::tempdir().unwrap();
        let (from, state) = (home.path().join("stick"), home.path().join("state"));
        repository(&from);
        fs::create_dir(&state).unwrap();
        let stick = Stick::find(&from).unwrap();
        let (into, copied) = (state.join("import"), std::cell::Cell::new(0));
        stick.copy(&into, &state, &|bytes| copied.set(copied.get() + bytes)).unwrap();
        assert_eq!((copied.get(), stick.bytes()), (300_002, 300_002));
        assert_eq!(fs::read(into.join("targets/abc.bundle-1.jsonl.zst")).unwrap(), [7; 300_000]);
        assert!(!into.join("targets/.hidden").exists() && !into.join("autorun.inf").exists());
        assert_eq!(fs::metadata(&into).unwrap().mode() & 0o777, 0o700);
        assert!(stick.copy(&into, &state, &|_| {}).is_err(), "somebody's folder was written into");
    }

    #[test]
    fn what_is_no_repository_says_what_to_do() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::write(path("file"), b"x").unwrap();
        repository(&path("stick/repository"));
        fs::create_dir(path("empty")).unwrap();
        assert!(told(&path("gone")).contains("is the stick mounted"), "{}", told(&path("gone")));
        assert!(told(&path("file")).contains("is a file"), "{}", told(&path("file")));
        assert!(told(&path("empty")).ends_with("`metadata` and `targets`"), "{}", told(&path("empty")));
        assert!(told(&path("stick")).contains("stick/repository"), "{}", told(&path("stick")));
        fs::remove_dir_all(path("stick/repository/targets")).unwrap();
        assert!(told(&path("stick/repository")).contains("cannot be read"));
    }

    #[test]
    fn a_link_on_the_stick_leads_nowhere() {
        let home = tempfile::tempdir().unwrap();
        let (from, state) = (home.path().join("stick"), home.path().join("state"));
        repository(&from);
        fs::create_dir(&state).unwrap();
        fs::write(home.path().join("secret"), b"secret").unwrap();
        symlink(home.path().join("secret"), from.join("targets/bundle-2.jsonl.zst")).unwrap();
        let mut stick = Stick::find(&from).unwrap();
        assert_eq!(stick.files.len(), 2, "{:?}", stick.files);
        // Put there after the look.
        stick.files.push(("targets/bundle-2.jsonl.zst".parse().unwrap(), 6));
        let refused = stick.copy(&state.join("import"), &state, &|_| {}).unwrap_err();
        assert!(matches!(refused, StickError::Unreadable { .. }), "{refused}");
        fs::rename(from.join("targets"), home.path().join("elsewhere")).unwrap();
        symlink(home.path().join("elsewhere"), from.join("targets")).unwrap();
        assert!(told(&from).contains("symbolic link"), "{}", told(&from));
    }

    #[test]
    fn a_file_longer_than_its_name_allows_is_refused() {
        let home = tempfile::tempdir().unwrap();
        repository(home.path());
        let long = home.path().join("metadata/2.root.json");
        File::create(&long).unwrap().set_len((1 << 20) + 1).unwrap();
        assert!(told(home.path()).contains("2.root.json"), "{}", told(home.path()));
    }
}

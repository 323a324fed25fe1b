//! Where the collector keeps what: every path below its state folder is made here.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

/// The collector's state folder.
#[derive(Clone, Debug)]
pub struct StateFolder(PathBuf);

impl StateFolder {
    /// The folder at this path.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The certificate authority that sensors and desks pin.
    pub fn authority_certificate(&self) -> PathBuf {
        self.0.join("authority/ca.pem")
    }

    /// Its key.
    pub fn authority_key(&self) -> PathBuf {
        self.0.join("authority/ca.key")
    }

    /// The server's certificate, then the authority's.
    pub fn server_chain(&self) -> PathBuf {
        self.0.join("server/chain.pem")
    }

    /// The server's key.
    pub fn server_key(&self) -> PathBuf {
        self.0.join("server/key.pem")
    }

    /// Key of stateless resets: with it a restarted collector can tell sensors that their connections are gone.
    pub fn reset_key(&self) -> PathBuf {
        self.0.join("server/reset.key")
    }

    /// Host names and addresses given to `init`, one a line.
    pub fn hosts(&self) -> PathBuf {
        self.0.join("server/hosts")
    }

    /// The database.
    pub fn store(&self) -> PathBuf {
        self.0.join("store.sqlite")
    }

    /// The signed repository that is offered to sensors: a link to one of [`StateFolder::repositories`].
    pub fn repository(&self) -> PathBuf {
        self.0.join("repository")
    }

    /// The repository of a bundle that some towns have first: a link as [`StateFolder::repository`].
    pub fn canary(&self) -> PathBuf {
        self.0.join("canary")
    }

    /// The key that says that the offered bundles are still the newest.
    pub fn online_key(&self) -> PathBuf {
        self.0.join("online/key.pem")
    }

    /// The COSC's TUF root that an operator chose to trust.
    pub fn cosc_root(&self) -> PathBuf {
        self.0.join("cosc-root.json")
    }

    /// What the verification of bundles remembers (TUF's rollback protection).
    pub fn tuf(&self) -> PathBuf {
        self.0.join("tuf")
    }

    /// Repositories as they were pushed, each in a folder of its own; one of them is offered.
    pub fn repositories(&self) -> PathBuf {
        self.0.join("repositories")
    }
}

/// Makes a folder that only its user can enter, with its parents.
///
/// # Errors
/// What the system says.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent() {
        make_private_folder(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.and_then(|()| give_to_owner_of_folder(path)),
    }
}

/// Writes a file that only its user can read, whole or not at all, and safe on disk.
///
/// # Errors
/// What the system says.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_added_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    give_to_owner_of_folder(&beside)?;
    fs::rename(&beside, path)?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// Makes names in a folder safe on disk.
///
/// # Errors
/// What the system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// What root makes in the service's folder belongs to the service, or it could not read it.
///
/// # Errors
/// What the system says.
pub fn give_to_owner_of_folder(path: &Path) -> io::Result<()> {
    let (made, folder) = (fs::metadata(path)?, fs::metadata(path.parent().unwrap_or(Path::new(".")))?);
    if made.uid() != 0 || folder.uid() == 0 {
        return Ok(());
    }
    chown(path, Some(folder.uid()), Some(folder.gid()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_for_this_user_only() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b");
        make_private_folder(&path).unwrap();
        let key = path.join("key.pem");
        write_private_file(&key, b"secret").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&path), mode(&key)), (0o700, 0o600));
        assert_eq!(fs::read(&key).unwrap(), b"secret");
    }
}

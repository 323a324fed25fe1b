//! The sensor's identity on disk: its key, its certificate, whom it trusts, where the collector is. Written
//! by enrolment, whole or not at all; the key never leaves the folder.
//!
//! Key and certificate are one file, so that a renewal replaces both or neither, whenever the machine fails.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::{Gid, Uid, chown};
use protocol::identity::AgentId;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

/// The key, then the sensor's certificate and its authority's.
const CREDENTIALS: &str = "credentials.pem";
const AUTHORITY: &str = "authority.pem";
/// The COSC's first TUF root, in the identity's folder.
pub const COSC_ROOT: &str = "cosc-root.json";
const ENROLMENT: &str = "enrolment.json";

/// Who this sensor is, as the collector said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolment {
    /// The sensor.
    pub agent: AgentId,
    /// Its town's name.
    pub comune: String,
    /// Where the collector listens, `HOST:PORT`.
    pub addresses: Vec<String>,
}

/// Everything that enrolment left.
#[derive(Clone)]
pub struct Identity {
    /// Who.
    pub enrolment: Enrolment,
    /// Private key (PKCS #8), the sensor's certificate, then its authority's (PEM).
    pub credentials_pem: String,
    /// The one authority that collectors are believed by (PEM).
    pub authority_pem: String,
    /// The COSC's first TUF root.
    pub cosc_root: Vec<u8>,
}

/// An identity that is there and cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}; enrol again with a new code: vedetta-agent enrol --replace CODE", path.display())]
pub struct UnusableIdentity {
    path: PathBuf,
    reason: String,
}

/// The identity's folder below the state folder.
pub fn folder(state_dir: &Path) -> PathBuf {
    state_dir.join("identity")
}

impl Identity {
    /// Reads the identity.
    ///
    /// # Errors
    /// [`ConfigError::NotEnrolled`] when there is none, [`UnusableIdentity`] when it cannot be read.
    pub fn read(state_dir: &Path) -> anyhow::Result<Self> {
        let folder = folder(state_dir);
        if !folder.join(ENROLMENT).exists() && !folder.join(CREDENTIALS).exists() {
            return Err(ConfigError::NotEnrolled { missing: folder.join(ENROLMENT) }.into());
        }
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).map_err(|error| UnusableIdentity { reason: error.to_string(), path })
        };
        let enrolment = serde_json::from_str(&text(ENROLMENT)?)
            .map_err(|error| UnusableIdentity { path: folder.join(ENROLMENT), reason: error.to_string() })?;
        Ok(Self {
            enrolment,
            credentials_pem: text(CREDENTIALS)?,
            authority_pem: text(AUTHORITY)?,
            cosc_root: text(COSC_ROOT)?.into_bytes(),
        })
    }
}

/// Puts another key with its certificate in force, in place of the one before: a crash leaves the old pair or the
/// new one.
///
/// # Errors
/// What the file system returns; the pair before stays.
pub fn replace_credentials(state_dir: &Path, credentials_pem: &str) -> io::Result<()> {
    let folder = folder(state_dir);
    let beside = folder.join("credentials.new");
    // What a crash left of an earlier renewal.
    if beside.exists() {
        fs::remove_file(&beside)?;
    }
    write_private(&beside, credentials_pem.as_bytes())?;
    fs::rename(&beside, folder.join(CREDENTIALS))?;
    File::open(&folder)?.sync_all()
}

/// A file that only its owner can read, safe on disk.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// An identity that is being made beside the one in force.
pub struct Draft {
    state_dir: PathBuf,
    folder: PathBuf,
}

impl Draft {
    /// Makes a folder that only its owner can read. Doing it before the code is used shows whether the
    /// identity can be kept.
    ///
    /// # Errors
    /// When the state folder cannot be written.
    pub fn begin(state_dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(state_dir)?;
        let folder = state_dir.join("identity.new");
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        DirBuilder::new().mode(0o700).create(&folder)?;
        Ok(Self { state_dir: state_dir.into(), folder })
    }

    /// Puts the new key down before anything else.
    ///
    /// # Errors
    /// What the file system returns.
    pub fn write_key(&self, key_pem: &str) -> io::Result<()> {
        write_private(&self.folder.join(CREDENTIALS), key_pem.as_bytes())
    }

    /// Writes the rest and puts the identity in force, in place of the one before.
    ///
    /// # Errors
    /// What the file system returns; the one before stays.
    pub fn finish(
        self,
        enrolment: &Enrolment,
        chain_pem: &str,
        authority_pem: &str,
        cosc_root: &[u8],
    ) -> io::Result<()> {
        let json = serde_json::to_vec_pretty(enrolment).map_err(io::Error::other)?;
        let mut credentials = OpenOptions::new().append(true).open(self.folder.join(CREDENTIALS))?;
        credentials.write_all(chain_pem.as_bytes())?;
        credentials.sync_all()?;
        for (name, bytes) in
            [(AUTHORITY, authority_pem.as_bytes()), (COSC_ROOT, cosc_root), (ENROLMENT, &json)]
        {
            write_private(&self.folder.join(name), bytes)?;
        }
        self.give_to_owner()?;
        File::open(&self.folder)?.sync_all()?;
        let place = folder(&self.state_dir);
        if place.exists() {
            // The identity before lies in the draft's folder then, which is removed when this is dropped.
            let exchange = RenameFlags::RENAME_EXCHANGE;
            match renameat2(AT_FDCWD, &self.folder, AT_FDCWD, &place, exchange) {
                Err(Errno::EINVAL | Errno::ENOSYS) => {
                    // A file system that cannot exchange two names.
                    fs::remove_dir_all(&place)?;
                    fs::rename(&self.folder, &place)?;
                }
                exchanged => exchanged?,
            }
        } else {
            fs::rename(&self.folder, &place)?;
        }
        File::open(&self.state_dir)?.sync_all()
    }

    /// Root enrols, the service's own user reads.
    fn give_to_owner(&self) -> io::Result<()> {
        let owner = fs::metadata(&self.state_dir)?;
        let made = fs::metadata(&self.folder)?;
        if (owner.uid(), owner.gid()) == (made.uid(), made.gid()) {
            return Ok(());
        }
        let (user, group) = (Some(Uid::from_raw(owner.uid())), Some(Gid::from_raw(owner.gid())));
        for entry in fs::read_dir(&self.folder)? {
            chown(&entry?.path(), user, group)?;
        }
        chown(&self.folder, user, group)?;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Gone already when it was put in force; the identity before when it took that one's place.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn enrolment(comune: &str) -> Enrolment {
        Enrolment { agent: AgentId([7; 16]), comune: comune.into(), addresses: vec!["192.0.2.1:4740".into()] }
    }

    fn enrol(state_dir: &Path, comune: &str) {
        let draft = Draft::begin(state_dir).unwrap();
        draft.write_key("key\n").unwrap();
        draft.finish(&enrolment(comune), "chain", "authority", b"{}").unwrap();
    }

    #[test]
    fn an_identity_is_replaced_whole_and_only_its_owner_reads_it() {
        let state = tempfile::tempdir().unwrap();
        enrol(state.path(), "Borgo Chiaro");
        enrol(state.path(), "Villa Esempio");
        let identity = Identity::read(state.path()).unwrap();
        assert_eq!(identity.enrolment, enrolment("Villa Esempio"));
        assert_eq!(identity.cosc_root, b"{}");
        assert_eq!(identity.credentials_pem, "key\nchain");
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for file in fs::read_dir(folder(state.path())).unwrap() {
            assert_eq!(mode(file.unwrap().path()), 0o600);
        }
        assert_eq!(mode(folder(state.path())), 0o700);
        let left: Vec<_> =
            fs::read_dir(state.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["identity"]);
    }

    #[test]
    fn an_enrolment_that_fails_leaves_the_one_before() {
        let state = tempfile::tempdir().unwrap();
        enrol(state.path(), "Borgo Chiaro");
        let draft = Draft::begin(state.path()).unwrap();
        draft.write_key("other").unwrap();
        drop(draft);
        assert_eq!(Identity::read(state.path()).unwrap().credentials_pem, "key\nchain");
    }

    #[test]
    fn a_renewal_that_a_crash_ends_anywhere_leaves_a_whole_pair() {
        let state = tempfile::tempdir().unwrap();
        enrol(state.path(), "Borgo Chiaro");
        let (old, new) = ("key\nchain", "other key\nother chain");
        let beside = folder(state.path()).join("credentials.new");
        for written in 0..=new.len() {
            fs::write(&beside, new.get(..written).unwrap()).unwrap();
            assert_eq!(Identity::read(state.path()).unwrap().credentials_pem, old, "{written} bytes");
        }
        replace_credentials(state.path(), new).unwrap();
        assert_eq!(Identity::read(state.path()).unwrap().credentials_pem, new);
        assert!(!beside.exists());
        let mode = fs::metadata(folder(state.path()).join(CREDENTIALS)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_missing_identity_is_a_matter_of_configuration() {
        let state = tempfile::tempdir().unwrap();
        let Err(error) = Identity::read(state.path()) else { panic!("read nothing") };
        assert!(error.is::<ConfigError>() && error.to_string().contains("vedetta-agent enrol"), "{error}");
    }
}

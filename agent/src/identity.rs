//! The sensor's identity on disk: its key, its certificate, whom it trusts, where the collector is. Written
//! once by enrolment, whole or not at all; the key never leaves the folder.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, chown};
use protocol::identity::AgentId;
use serde::{Deserialize, Serialize};

use crate::config::ConfigError;

const KEY: &str = "key.pem";
const CHAIN: &str = "chain.pem";
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
pub struct Identity {
    /// Who.
    pub enrolment: Enrolment,
    /// Private key (PKCS #8, PEM).
    pub key_pem: String,
    /// The sensor's certificate, then its authority's (PEM).
    pub chain_pem: String,
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
        if !folder.join(ENROLMENT).exists() && !folder.join(KEY).exists() {
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
            key_pem: text(KEY)?,
            chain_pem: text(CHAIN)?,
            authority_pem: text(AUTHORITY)?,
            cosc_root: text(COSC_ROOT)?.into_bytes(),
        })
    }
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
        self.write(KEY, key_pem.as_bytes())
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
        self.write(CHAIN, chain_pem.as_bytes())?;
        self.write(AUTHORITY, authority_pem.as_bytes())?;
        self.write(COSC_ROOT, cosc_root)?;
        self.write(ENROLMENT, &json)?;
        self.give_to_owner()?;
        File::open(&self.folder)?.sync_all()?;
        let (place, before) = (folder(&self.state_dir), self.state_dir.join("identity.before"));
        if before.exists() {
            fs::remove_dir_all(&before)?;
        }
        if place.exists() {
            fs::rename(&place, &before)?;
        }
        fs::rename(&self.folder, &place)?;
        File::open(&self.state_dir)?.sync_all()?;
        if before.exists() {
            fs::remove_dir_all(&before)?;
        }
        Ok(())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.folder.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
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
        // Gone already when it was put in force.
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
        draft.write_key("key").unwrap();
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
        let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(folder(state.path()).join(KEY)), 0o600);
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
        assert_eq!(Identity::read(state.path()).unwrap().key_pem, "key");
    }

    #[test]
    fn a_missing_identity_is_a_matter_of_configuration() {
        let state = tempfile::tempdir().unwrap();
        let Err(error) = Identity::read(state.path()) else { panic!("read nothing") };
        assert!(error.is::<ConfigError>() && error.to_string().contains("vedetta-agent enrol"), "{error}");
    }
}

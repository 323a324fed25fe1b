//! The collector's online key: it says again and again that the bundles on offer are still the newest (TUF's snapshot
//! and timestamp), so that a sensor notices when it is kept from them. What is looked for, only the desk signs.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use protocol::Timestamp;
use protocol::repository::{METADATA_FOLDER, next_online_version, seconds_of_online_version};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use sha2::{Digest as _, Sha256};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{
    Hashes, Metafile, Role, RoleType, Root, Signature, Signed, Snapshot, Targets, Timestamp as TimestampRole,
};

use crate::folders::{StateFolder, make_private_folder, write_private_file};

/// A sensor that hears nothing newer for so long is kept from it.
const TIMESTAMP_SECONDS: i64 = 24 * 60 * 60;
const SNAPSHOT_SECONDS: i64 = 7 * 24 * 60 * 60;
/// Clocks of desk and collector may differ by as much.
const SKEW_SECONDS_MAX: i64 = 60 * 60;
/// Snapshots that stay for sensors that have just read an older timestamp.
const SNAPSHOTS_KEPT: usize = 3;

/// The key.
#[derive(Debug)]
pub struct OnlineKey(KeyPair);

/// Which version new signatures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order<'a> {
    /// After what is there, and after what was served from another folder before, as long as the same keys sign.
    After(Option<&'a Path>),
    /// The same as what is there: for a copy that travels for days, beside which the original goes on.
    Copy,
}

/// What became of the signatures on offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewed {
    /// They are new and good until this time.
    Until(Timestamp),
    /// The COSC's root does not name this collector's key: what the desk signed is served as it is.
    NotNamed,
}

/// Why nothing new was signed. What was served before still is.
#[derive(Debug, thiserror::Error)]
pub enum OnlineError {
    /// A file of the key or the repository.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The key's file holds none.
    #[error(
        "{}: not an Ed25519 key (PEM); restore it from a backup, or remove it and let the COSC name the new one",
        .0.display()
    )]
    NoKey(PathBuf),
    /// Metadata that was verified before and is none now.
    #[error("{}: {reason}; push the repository again", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// What the desk signed is too old to be called the newest.
    #[error(
        "the {role} metadata has expired, so the desk has to sign anew and push; or this machine's clock is wrong"
    )]
    Expired {
        /// Which metadata.
        role: RoleType,
    },
    /// The clock says that what is on offer was signed in the future.
    #[error(
        "what is on offer was signed {ahead_seconds} seconds from now: this machine's clock or the signer's is wrong; \
         set it right"
    )]
    Clock {
        /// How far from now.
        ahead_seconds: i64,
    },
    /// The library.
    #[error("signing failed: {0}")]
    Sign(String),
}

impl OnlineKey {
    /// Reads the key, which is made when there is none.
    ///
    /// # Errors
    /// When its file can neither be read nor made.
    pub fn open(state: &StateFolder) -> Result<Self, OnlineError> {
        let path = state.online_key();
        match fs::read_to_string(&path) {
            Ok(pem) => {
                let key = KeyPair::from_pem(&pem).ok().filter(|key| key.algorithm() == &PKCS_ED25519);
                key.map(Self).ok_or(OnlineError::NoKey(path))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate_for(&PKCS_ED25519).map_err(sign)?;
                make_private_folder(path.parent().unwrap_or(&path))
                    .and_then(|()| write_private_file(&path, key.serialize_pem().as_bytes()))
                    .map_err(file(&path))?;
                Ok(Self(key))
            }
            Err(error) => Err(file(&path)(error)),
        }
    }

    /// The public half, as metadata holds it (JSON), for the desk.
    ///
    /// # Errors
    /// None for an Ed25519 key.
    pub fn public_json(&self) -> Result<String, OnlineError> {
        serde_json::to_string(&self.public()).map_err(sign)
    }

    fn public(&self) -> Key {
        let keyval = Ed25519Key { public: self.0.der_bytes().to_vec().into(), _extra: HashMap::new() };
        Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: HashMap::new() }
    }

    fn id(&self) -> Result<Decoded<Hex>, OnlineError> {
        self.public().key_id().map_err(sign)
    }

    /// Whether the root lets this key alone sign both.
    fn is_named(&self, root: &Root) -> Result<bool, OnlineError> {
        let id = self.id()?;
        Ok([RoleType::Snapshot, RoleType::Timestamp].iter().all(|role| {
            root.roles
                .get(role)
                .is_some_and(|named| named.threshold == NonZeroU64::MIN && named.keyids.contains(&id))
        }))
    }

    fn sign<R: Role>(&self, root: &Root, role: R) -> Result<(Vec<u8>, Signed<R>), OnlineError> {
        let message = role.canonical_form().map_err(sign)?;
        let signature = Signature { keyid: self.id()?, sig: self.0.sign(&message).map_err(sign)?.into() };
        let signed = Signed { signed: role, signatures: vec![signature] };
        root.verify_role(&signed).map_err(sign)?;
        let bytes = serde_json::to_vec_pretty(&signed).map_err(sign)?;
        Ok((bytes, signed))
    }

    /// Signs the snapshot and the timestamp of a verified repository anew, the timestamp last: readers find the old
    /// pair or the new one. `root` is the newest verified root.
    ///
    /// # Errors
    /// Why nothing was signed; the repository is then as it was.
    pub fn renew(
        &self,
        repository: &Path,
        order: Order<'_>,
        root: &[u8],
        now: Timestamp,
    ) -> Result<Renewed, OnlineError> {
        let metadata = repository.join(METADATA_FOLDER);
        let root: Signed<Root> = parse(&metadata.join("root.json"), root)?;
        if !self.is_named(&root.signed)? || !root.signed.consistent_snapshot {
            return Ok(Renewed::NotNamed);
        }
        let offered = Offered::read(&metadata)?;
        let now_seconds = now.as_micros().div_euclid(1_000_000);
        self.check_times(&root.signed, &offered, now_seconds)?;
        let version = match order {
            Order::Copy => offered.timestamp.signed.version.max(offered.snapshot.signed.version),
            Order::After(before) => {
                let before = before.map(|folder| folder.join(METADATA_FOLDER));
                let before = before.filter(|before| has_same_online_keys(before, &metadata, &root.signed));
                let served = before.and_then(|before| Offered::read(&before).ok());
                let served = served.filter(|served| root.signed.verify_role(&served.timestamp).is_ok());
                let seen = served.map_or(0, |served| served.versions()).max(offered.versions());
                next_online_version(offered.targets.version.get(), now_seconds, seen)
            }
        };
        let timestamp_seconds = if order == Order::Copy { SNAPSHOT_SECONDS } else { TIMESTAMP_SECONDS };

        let expires =
            |seconds: i64| jiff::Timestamp::from_second(now_seconds.saturating_add(seconds)).map_err(sign);
        let snapshot = Snapshot { version, expires: expires(SNAPSHOT_SECONDS)?, ..offered.snapshot.signed };
        let (bytes, _) = self.sign(&root.signed, snapshot)?;
        let path = metadata.join(format!("{version}.snapshot.json"));
        write_private_file(&path, &bytes).map_err(file(&path))?;
        let hashes = Hashes { sha256: Sha256::digest(&bytes).to_vec().into(), _extra: HashMap::new() };
        let length = Some(bytes.len() as u64);
        let named = Metafile { length, hashes: Some(hashes), version, _extra: HashMap::new() };
        let timestamp = TimestampRole {
            version,
            expires: expires(timestamp_seconds)?,
            meta: HashMap::from([("snapshot.json".to_owned(), named)]),
            ..offered.timestamp.signed
        };
        let (bytes, signed) = self.sign(&root.signed, timestamp)?;
        let path = metadata.join("timestamp.json");
        write_private_file(&path, &bytes).map_err(file(&path))?;
        forget_snapshots(&metadata);
        let until = [signed.signed.expires, root.signed.expires, offered.targets.expires].into_iter().min();
        let until = until.unwrap_or(signed.signed.expires);
        Ok(Renewed::Until(Timestamp::from_micros(until.as_microsecond())))
    }

    /// Nobody would believe what expired, and what is signed by a clock that is behind would be expired already.
    fn check_times(&self, root: &Root, offered: &Offered, now: i64) -> Result<(), OnlineError> {
        for (role, expires) in [(RoleType::Root, root.expires), (RoleType::Targets, offered.targets.expires)]
        {
            if expires.as_second() <= now {
                return Err(OnlineError::Expired { role });
            }
        }
        let timestamp = &offered.timestamp;
        let id = self.id()?;
        let own = timestamp.signatures.iter().any(|signature| signature.keyid == id);
        let signed_at = match own {
            true => Some(timestamp.signed.expires.as_second().saturating_sub(TIMESTAMP_SECONDS)),
            false => seconds_of_online_version(timestamp.signed.version.get()),
        };
        let ahead_seconds = signed_at.map_or(0, |at| at.saturating_sub(now));
        if ahead_seconds > SKEW_SECONDS_MAX {
            return Err(OnlineError::Clock { ahead_seconds });
        }
        Ok(())
    }
}

/// When the first of the metadata on offer expires; `None` when it cannot be read.
pub fn fresh_until(repository: &Path) -> Option<Timestamp> {
    let Offered { timestamp, snapshot, targets } = Offered::read(&repository.join(METADATA_FOLDER)).ok()?;
    let until = [timestamp.signed.expires, snapshot.signed.expires, targets.expires].into_iter().min()?;
    Some(Timestamp::from_micros(until.as_microsecond()))
}

/// The metadata of a repository that was verified when it came.
struct Offered {
    timestamp: Signed<TimestampRole>,
    snapshot: Signed<Snapshot>,
    targets: Targets,
}

impl Offered {
    fn read(metadata: &Path) -> Result<Self, OnlineError> {
        let timestamp: Signed<TimestampRole> = read(&metadata.join("timestamp.json"))?;
        let missing = || OnlineError::Damaged {
            path: metadata.join("timestamp.json"),
            reason: "it names no snapshot".into(),
        };
        let version = timestamp.signed.meta.get("snapshot.json").ok_or_else(missing)?.version;
        let snapshot: Signed<Snapshot> = read(&metadata.join(format!("{version}.snapshot.json")))?;
        let version = snapshot.signed.meta.get("targets.json").ok_or_else(missing)?.version;
        let targets: Signed<Targets> = read(&metadata.join(format!("{version}.targets.json")))?;
        Ok(Self { timestamp, snapshot, targets: targets.signed })
    }

    /// The higher of its two online versions.
    fn versions(&self) -> u64 {
        self.timestamp.signed.version.max(self.snapshot.signed.version).get()
    }
}

/// Whether what was served before is under a root that names the same online keys. With others everybody forgets the
/// versions that were seen (TUF 5.3.11), however high somebody had driven them.
fn has_same_online_keys(before: &Path, metadata: &Path, root: &Root) -> bool {
    let newest_of_both = (1..=root.version.get()).rev().find_map(|version| {
        let name = format!("{version}.root.json");
        let bytes = fs::read(before.join(&name)).ok()?;
        // What lies there beyond the roots that were verified is nobody's.
        fs::read(metadata.join(&name)).is_ok_and(|verified| verified == bytes).then_some(bytes)
    });
    let parsed = newest_of_both.and_then(|bytes| serde_json::from_slice::<Signed<Root>>(&bytes).ok());
    parsed.is_none_or(|parsed| {
        let keys = |root: &Root, role| root.roles.get(role).map(|role| role.keyids.clone());
        [RoleType::Snapshot, RoleType::Timestamp]
            .iter()
            .all(|role| keys(&parsed.signed, role) == keys(root, role))
    })
}

fn read<R: serde::de::DeserializeOwned>(path: &Path) -> Result<R, OnlineError> {
    parse(path, &fs::read(path).map_err(file(path))?)
}

fn parse<R: serde::de::DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<R, OnlineError> {
    serde_json::from_slice(bytes)
        .map_err(|error| OnlineError::Damaged { path: path.into(), reason: error.to_string() })
}

fn forget_snapshots(metadata: &Path) {
    let files = fs::read_dir(metadata).into_iter().flatten().flatten();
    let version = |file: &fs::DirEntry| -> Option<u64> {
        file.file_name().to_str()?.strip_suffix(".snapshot.json")?.parse().ok()
    };
    let mut snapshots: Vec<_> = files.filter_map(|file| Some((version(&file)?, file.path()))).collect();
    snapshots.sort();
    snapshots.truncate(snapshots.len().saturating_sub(SNAPSHOTS_KEPT));
    for (_, path) in snapshots {
        if let Err(error) = fs::remove_file(&path) {
            tracing::warn!(file = %path.display(), %error, "an old snapshot could not be removed");
        }
    }
}

fn file(path: &Path) -> impl Fn(io::Error) -> OnlineError {
    let path = path.to_owned();
    move |error| OnlineError::File { path: path.clone(), error }
}

fn sign(error: impl std::fmt::Display) -> OnlineError {
    OnlineError::Sign(error.to_string())
}

#[cfg(test)]
#[path = "online_tests.rs"]
mod tests;

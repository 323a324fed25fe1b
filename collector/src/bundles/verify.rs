//! Verifies a signed repository (TUF 1.0, by `tough`) from a pinned root and takes its newest bundle out, or what
//! changes to it.
//!
//! Nothing is remembered before everything is verified: `tough` works in a staged copy of what was trusted
//! before, which replaces it only at the end (CVE-2025-2888 came from remembering too early). Agent and
//! collector hold the same file: both verify for themselves, and `protocol` opens no file. The tests are the agent's.

use std::cmp::Ordering;
use std::error::Error as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::StreamExt as _;
use protocol::bundle::{BundleError, BundleLimits};
use protocol::delta::{DeltaHeader, DeltaReader};
use protocol::repository::{
    BUNDLE_BYTES_MAX, METADATA_BYTES_MAX, METADATA_FOLDER, Provenance, TARGETS_FOLDER, bundle_target,
    delta_target, order, serial_of_target, serials_of_delta, signers,
};
use protocol::text::Hex;
use protocol::{BundleHeader, BundleReader, Serial, Timestamp};
use tokio::io::AsyncWriteExt as _;
use tough::error::Error as TufError;
use tough::schema::{RoleType, Target};
use tough::{FilesystemTransport, Limits, RepositoryLoader, TargetName};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

/// Roots that one verification follows, from the pinned one to the newest.
const ROOT_UPDATES_MAX: u64 = 1024;
/// What `tough` remembers between verifications, the timestamp last.
const REMEMBERED: [&str; 5] =
    ["root.json", "targets.json", "snapshot.json", "latest_known_time.json", "timestamp.json"];
/// The pinned root that the remembered files belong to.
const PINNED: &str = "pinned.json";

/// Where the files of a signed repository come from.
#[derive(Debug)]
pub struct Repository {
    transport: Bounded,
    /// `None` for a transport, which knows only the two folders' names.
    folder: Option<PathBuf>,
}

impl Repository {
    /// A repository in a folder, such as one on a USB stick.
    pub fn folder(path: &Path) -> Self {
        Self { transport: Bounded(Box::new(FilesystemTransport)), folder: Some(path.to_owned()) }
    }

    /// A repository behind a transport, which is asked for `vedetta:///metadata/NAME` and `vedetta:///targets/NAME`.
    pub fn over(transport: impl Transport + 'static) -> Self {
        Self { transport: Bounded(Box::new(transport)), folder: None }
    }

    /// The address of one of its folders.
    fn base(&self, name: &str) -> Result<Url, Refusal> {
        let Some(folder) = &self.folder else {
            let address = format!("vedetta:///{name}/");
            return Url::parse(&address).map_err(|error| Refusal::Unreadable(error.to_string()));
        };
        let folder = folder.canonicalize().map_err(disk(folder))?.join(name);
        Url::from_directory_path(&folder).map_err(|()| disk(&folder)(io::ErrorKind::InvalidInput.into()))
    }
}

/// What a caller wants of a repository's newest bundle.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The bundle in force and what is known of it; its changes suffice where the repository has them. `None` for the
    /// full bundle, which is also the way out when changes turn out not to fit.
    pub in_force: Option<(Serial, Option<Provenance>)>,
    /// Who reads the lines.
    pub lines: Lines,
}

impl Wanted {
    /// The full bundle, read here.
    pub const FULL: Self = Self { in_force: None, lines: Lines::ReadHere };
}

/// Who reads the lines of a bundle, and so refuses it when one of them is no line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// They are read here, and so are all changes to the newest bundle that the repository offers to others.
    ReadHere,
    /// The caller reads every one before he relies on any; here it is the header only.
    LeftToCaller,
}

/// A repository whose signatures and age are right, and what was taken out of it.
#[derive(Debug)]
pub struct Verified {
    /// Number of its newest bundle.
    pub serial: Serial,
    /// Who signed that, and which file it is.
    pub provenance: Provenance,
    /// What was taken out, whose hash is right.
    pub taken: Taken,
    /// The newest root that the pinned one leads to.
    pub root: Vec<u8>,
}

impl Verified {
    /// The bundle whose changes were taken out; `None` when it was the full bundle, or nothing.
    pub fn delta_from(&self) -> Option<Serial> {
        match &self.taken {
            Taken::Delta { header, .. } => Some(header.base),
            Taken::Full { .. } | Taken::Nothing => None,
        }
    }

    /// The full bundle, which a caller always gets when he names no bundle in force.
    ///
    /// # Errors
    /// When something else was taken out.
    pub fn into_full(self) -> Result<(BundleHeader, PathBuf), Refusal> {
        match self.taken {
            Taken::Full { header, file } => Ok((header, file)),
            Taken::Delta { .. } | Taken::Nothing => Err(Refusal::NoBundle),
        }
    }
}

/// A file that was taken out of a repository, in the folder that the caller named.
#[derive(Debug)]
pub enum Taken {
    /// The newest bundle.
    Full {
        /// Its first line.
        header: BundleHeader,
        /// Where it is.
        file: PathBuf,
    },
    /// What changes from the bundle in force to the newest.
    Delta {
        /// Its first line.
        header: DeltaHeader,
        /// Where it is.
        file: PathBuf,
    },
    /// The newest bundle is not newer than the one in force.
    Nothing,
}

/// Why a repository is not believed. What was in force before stays.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The pinned root is no root.
    #[error("the COSC's pinned root cannot be used ({0}); enrol again to pin it anew")]
    Root(String),
    /// Not signed by enough of the keys that the root names.
    #[error("the signature of the {role} metadata is not the COSC's; somebody altered or replaced it")]
    Signature {
        /// Which metadata.
        role: String,
    },
    /// Signed, but too long ago.
    #[error(
        "the {role} metadata has expired: nobody renewed it in time, or somebody holds back newer bundles, or this machine's clock is wrong"
    )]
    Expired {
        /// Which metadata.
        role: String,
    },
    /// Older than what was verified before.
    #[error("the repository is older than the one verified before: {0}")]
    Rollback(String),
    /// Signed files that do not belong together.
    #[error("files of different versions are mixed: {0}")]
    Mixed(String),
    /// A file that the metadata names is not there.
    #[error("{file} is missing in the repository")]
    Missing {
        /// Its path in the repository.
        file: String,
    },
    /// A file does not end where it should.
    #[error("{file} is longer than its limit of {limit} bytes")]
    TooLarge {
        /// Its path in the repository.
        file: String,
        /// The limit.
        limit: u64,
    },
    /// The bytes are not those that were signed.
    #[error("{file} is not the file that was signed: its SHA-256 differs; it was altered or cut")]
    Hash {
        /// Its path in the repository.
        file: String,
    },
    /// Metadata that is no metadata.
    #[error("the metadata cannot be read: {0}")]
    Unreadable(String),
    /// Nothing to look for.
    #[error("the repository holds no bundle")]
    NoBundle,
    /// A signed bundle under another bundle's name.
    #[error("the bundle named {named} says that it is number {found}")]
    WrongSerial {
        /// By its name.
        named: Serial,
        /// By its header.
        found: Serial,
    },
    /// A signed delta under another delta's name.
    #[error("the file named {named} says that it leads from bundle {from} to {to}")]
    WrongDelta {
        /// Its name.
        named: String,
        /// By its header.
        from: Serial,
        /// By its header.
        to: Serial,
    },
    /// A signed file that is no bundle within its limits.
    #[error("{file} cannot be read: {error}")]
    Bundle {
        /// Its name.
        file: String,
        /// Why.
        error: BundleError,
    },
    /// The clock went back.
    #[error("this machine's clock stands before the last verification ({0}); set it right")]
    Clock(String),
    /// The transport failed; trying again may help.
    #[error("{file} could not be fetched: {reason}")]
    Fetch {
        /// Its path in the repository.
        file: String,
        /// Why.
        reason: String,
    },
    /// The own disk failed.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Where.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

impl Refusal {
    /// Whether the repository is at fault, and not the way to it or the own disk.
    pub fn is_of_the_repository(&self) -> bool {
        !matches!(self, Self::Fetch { .. } | Self::Disk { .. } | Self::Clock(_) | Self::Root(_))
    }
}

/// Verifies the repository from `trusted_root`, or from the newest root that an earlier verification was
/// led to from it, and puts what is `wanted` into the folder `into`. `datastore` remembers versions between calls;
/// one verification at a time may use it.
///
/// # Errors
/// The first thing that is not as it must be; then nothing is remembered and no file is left.
pub async fn verify(
    repository: Repository,
    trusted_root: &[u8],
    datastore: &Path,
    into: &Path,
    wanted: Wanted,
) -> Result<Verified, Refusal> {
    let (metadata, targets) = (repository.base(METADATA_FOLDER)?, repository.base(TARGETS_FOLDER)?);
    let staged = Staged::open(datastore, trusted_root)?;
    let limits = Limits {
        max_root_size: METADATA_BYTES_MAX,
        max_targets_size: METADATA_BYTES_MAX,
        max_timestamp_size: METADATA_BYTES_MAX,
        max_snapshot_size: METADATA_BYTES_MAX,
        max_root_updates: ROOT_UPDATES_MAX,
    };
    let loader = RepositoryLoader::new(&staged.root, metadata, targets)
        .transport(repository.transport)
        .limits(limits)
        .datastore(&staged.folder);
    let offered = Offered { loaded: loader.load().await.map_err(refusal)?, into };
    let (serial, provenance) = offered.newest()?;
    fs::create_dir_all(into).map_err(disk(into))?;
    let taken = offered.take((serial, &provenance), wanted).await?;
    let root = staged.remember(datastore, trusted_root)?;
    Ok(Verified { serial, provenance, taken, root })
}

/// When the first of the metadata expires that was verified last; `None` when nothing was verified yet. Who hears
/// nothing newer by then may be kept from it.
pub fn fresh_until(datastore: &Path) -> Option<Timestamp> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        signed: Expiring,
    }
    #[derive(serde::Deserialize)]
    struct Expiring {
        expires: jiff::Timestamp,
    }
    let expires = |name: &str| {
        let metadata: Metadata = serde_json::from_slice(&fs::read(datastore.join(name)).ok()?).ok()?;
        Some(metadata.signed.expires)
    };
    let [root, targets, snapshot, _, timestamp] = REMEMBERED.map(expires);
    let first = [root?, targets?, snapshot?, timestamp?].into_iter().min()?;
    Some(Timestamp::from_micros(first.as_microsecond()))
}

/// A repository whose metadata is verified, and where its files go.
struct Offered<'a> {
    loaded: tough::Repository,
    into: &'a Path,
}

impl Offered<'_> {
    /// What the role of the targets names itself. What roles name to which it delegates does not count: their signers
    /// are not those of a [`Provenance`].
    fn targets(&self) -> impl Iterator<Item = (&TargetName, &Target)> {
        self.loaded.targets().signed.targets.iter()
    }

    /// Number of the newest bundle, who signed it and which file it is.
    fn newest(&self) -> Result<(Serial, Provenance), Refusal> {
        let bundles = self.targets().filter_map(|(name, target)| {
            // The exact spelling, so that the name is also a safe file name: "bundle-+1" parses as 1, too.
            let serial = serial_of_target(name.raw())?;
            (bundle_target(serial) == name.raw()).then_some((serial, target))
        });
        let (serial, target) = bundles.max_by_key(|(serial, _)| *serial).ok_or(Refusal::NoBundle)?;
        let role = self.loaded.root().signed.roles.get(&RoleType::Targets).ok_or(Refusal::NoBundle)?;
        let signers = signers(role.keyids.iter().map(AsRef::as_ref), role.threshold.get());
        Ok((serial, Provenance { signers, sha256: Hex(&target.hashes.sha256).to_string() }))
    }

    async fn take(&self, newest: (Serial, &Provenance), wanted: Wanted) -> Result<Taken, Refusal> {
        let in_force = wanted.in_force.as_ref().map(|(serial, known)| (*serial, known.as_ref()));
        let is_newer = in_force.is_none_or(|in_force| order(newest, in_force) == Ordering::Greater);
        let newest = newest.0;
        if let Some((in_force, _)) = in_force {
            if !is_newer {
                return Ok(Taken::Nothing);
            }
            match self.take_delta(in_force, newest, wanted.lines).await {
                Ok(Some(taken)) => return Ok(taken),
                Ok(None) => {}
                // A delta only saves bytes: what is wrong with it is wrong with nothing else.
                Err(refusal) if refusal.is_of_the_repository() => {
                    tracing::warn!(%refusal, "a delta cannot be used; the full bundle is fetched");
                }
                Err(refusal) => return Err(refusal),
            }
        }
        if wanted.lines == Lines::ReadHere {
            for (from, to) in self.deltas().into_iter().filter(|(_, to)| *to == newest) {
                self.fetch_delta(from, to, wanted.lines).await?;
            }
        }
        let (name, part) = self.fetch(&bundle_target(newest)).await?;
        let lines = wanted.lines;
        let header = part.read(move |file| read_bundle(file, newest, lines)).await?;
        Ok(Taken::Full { header, file: part.keep(self.into, &name)? })
    }

    /// The deltas that the metadata names: from where, and where to.
    fn deltas(&self) -> Vec<(Serial, Serial)> {
        self.targets().filter_map(|(name, _)| serials_of_delta(name.raw())).collect()
    }

    async fn take_delta(&self, from: Serial, to: Serial, lines: Lines) -> Result<Option<Taken>, Refusal> {
        if !self.deltas().contains(&(from, to)) {
            return Ok(None);
        }
        let (header, name, part) = self.fetch_delta(from, to, lines).await?;
        Ok(Some(Taken::Delta { header, file: part.keep(self.into, &name)? }))
    }

    async fn fetch_delta(
        &self,
        from: Serial,
        to: Serial,
        lines: Lines,
    ) -> Result<(DeltaHeader, TargetName, Part), Refusal> {
        let (name, part) = self.fetch(&delta_target(from, to)).await?;
        let header = part.read(move |file| read_delta(file, (from, to), lines)).await?;
        Ok((header, name, part))
    }

    /// Writes a target's bytes as they come; `tough` ends the stream with an error when length or hash differ.
    async fn fetch(&self, name: &str) -> Result<(TargetName, Part), Refusal> {
        let missing = || Refusal::Missing { file: name.to_owned() };
        let name = TargetName::new(name).map_err(refusal)?;
        let target = self.targets().find(|(known, _)| **known == name).ok_or_else(missing)?.1;
        if target.length > BUNDLE_BYTES_MAX {
            return Err(Refusal::TooLarge { file: name.raw().to_owned(), limit: BUNDLE_BYTES_MAX });
        }
        let part = Part(self.into.join(format!("{}.part", name.raw())));
        let mut bytes = self.loaded.read_target(&name).await.map_err(refusal)?.ok_or_else(missing)?;
        let mut file = tokio::fs::File::create(&part.0).await.map_err(disk(&part.0))?;
        while let Some(chunk) = bytes.next().await {
            file.write_all(&chunk.map_err(refusal)?).await.map_err(disk(&part.0))?;
        }
        file.sync_all().await.map_err(disk(&part.0))?;
        Ok((name, part))
    }
}

/// Reads a bundle's header, and its lines where nobody else does.
fn read_bundle(file: fs::File, serial: Serial, lines: Lines) -> Result<BundleHeader, Refusal> {
    let unread = |error| Refusal::Bundle { file: bundle_target(serial), error };
    let mut bundle = BundleReader::new(file, BundleLimits::default()).map_err(unread)?;
    let header = bundle.header().clone();
    if header.serial != serial {
        return Err(Refusal::WrongSerial { named: serial, found: header.serial });
    }
    if lines == Lines::ReadHere {
        bundle.try_for_each(|line| line.map(|_| ())).map_err(unread)?;
    }
    Ok(header)
}

/// Reads a delta's header, and its changes where nobody else does.
fn read_delta(file: fs::File, (from, to): (Serial, Serial), lines: Lines) -> Result<DeltaHeader, Refusal> {
    let unread = |error| Refusal::Bundle { file: delta_target(from, to), error };
    let mut delta = DeltaReader::new(file, BundleLimits::default()).map_err(unread)?;
    let header = delta.header().clone();
    if (header.base, header.serial) != (from, to) {
        let named = delta_target(from, to);
        return Err(Refusal::WrongDelta { named, from: header.base, to: header.serial });
    }
    if lines == Lines::ReadHere {
        delta.try_for_each(|change| change.map(|_| ())).map_err(unread)?;
    }
    Ok(header)
}

/// A file that goes away unless it was renamed.
struct Part(PathBuf);

impl Part {
    /// Reads it away from the threads that serve connections.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(fs::File) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let file = fs::File::open(&self.0).map_err(disk(&self.0))?;
        let read = tokio::task::spawn_blocking(move || read(file)).await;
        read.map_err(|error| Refusal::Unreadable(format!("reading the bundle stopped: {error}")))?
    }

    fn keep(self, folder: &Path, name: &TargetName) -> Result<PathBuf, Refusal> {
        let kept = folder.join(name.raw());
        fs::rename(&self.0, &kept).map_err(disk(&kept))?;
        sync_folder(folder)?;
        Ok(kept)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The working copy of the remembered files; it goes away whatever comes out.
struct Staged {
    folder: PathBuf,
    root: Vec<u8>,
}

impl Staged {
    fn open(datastore: &Path, pinned: &[u8]) -> Result<Self, Refusal> {
        let folder = datastore.join("staged");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(disk(&folder))?;
        let mut staged = Self { folder, root: pinned.to_owned() };
        if fs::read(datastore.join(PINNED)).ok().as_deref() != Some(pinned) {
            return Ok(staged); // nothing remembered, or under another pinned root
        }
        for name in REMEMBERED {
            match fs::copy(datastore.join(name), staged.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Refusal::Disk { path: datastore.join(name), error });
                }
                _ => {}
            }
        }
        // To begin at the pinned root again would let a root that was replaced since speak, and would make
        // `tough` forget the remembered versions each time after its keys were replaced once.
        let newest = fs::read(staged.folder.join("root.json")).unwrap_or_default();
        if serde_json::from_slice::<tough::schema::Signed<tough::schema::Root>>(&newest).is_ok() {
            staged.root = newest;
        }
        Ok(staged)
    }

    /// Puts the working copy in force, each file whole, and gives out the newest root.
    fn remember(self, datastore: &Path, pinned: &[u8]) -> Result<Vec<u8>, Refusal> {
        let newest = self.folder.join("root.json");
        let root = fs::read(&newest).map_err(disk(&newest))?;
        let pin = self.folder.join(PINNED);
        fs::write(&pin, pinned).map_err(disk(&pin))?;
        for name in REMEMBERED.into_iter().chain([PINNED]) {
            let (from, to) = (self.folder.join(name), datastore.join(name));
            fs::File::open(&from).and_then(|file| file.sync_all()).map_err(disk(&from))?;
            fs::rename(&from, &to).map_err(disk(&to))?;
        }
        sync_folder(datastore)?;
        Ok(root)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn sync_folder(folder: &Path) -> Result<(), Refusal> {
    fs::File::open(folder).and_then(|opened| opened.sync_all()).map_err(disk(folder))
}

fn disk(path: &Path) -> impl Fn(io::Error) -> Refusal {
    let path = path.to_owned();
    move |error| Refusal::Disk { path: path.clone(), error }
}

/// A transport that gives no file more bytes than its name may have, whatever signed metadata promises.
#[derive(Clone, Debug)]
struct Bounded(Box<dyn Transport>);

#[derive(Debug, thiserror::Error)]
#[error("longer than {limit} bytes")]
struct Overlong {
    limit: u64,
}

#[tough::async_trait]
impl Transport for Bounded {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let limit = if url.path().ends_with(".json") { METADATA_BYTES_MAX } else { BUNDLE_BYTES_MAX };
        let mut left = limit;
        let stream = self.0.fetch(url.clone()).await?;
        Ok(Box::pin(stream.map(move |chunk| {
            let chunk = chunk?;
            left = left.checked_sub(chunk.len() as u64).ok_or_else(|| {
                TransportError::new_with_cause(TransportErrorKind::Other, url.as_str(), Overlong { limit })
            })?;
            Ok(chunk)
        })))
    }
}

/// What `tough` says, as a cause that a person can act on.
fn refusal(error: TufError) -> Refusal {
    let text = error.to_string();
    match error {
        TufError::VerifyMetadata { role, .. } => Refusal::Signature { role: role.to_string() },
        TufError::VerifyTrustedMetadata { .. } | TufError::ParseTrustedMetadata { .. } => Refusal::Root(text),
        TufError::ExpiredMetadata { role, .. } => Refusal::Expired { role: role.to_string() },
        TufError::OlderMetadata { .. }
        | TufError::OlderSnapshotInTimestamp { .. }
        | TufError::SnapshotRoleMissing { .. }
        | TufError::SnapshotRoleRollback { .. } => Refusal::Rollback(text),
        TufError::VersionMismatch { .. } => Refusal::Mixed(text),
        TufError::SystemTimeSteppedBackward { .. } => Refusal::Clock(text),
        TufError::DatastoreCreate { path, source, .. }
        | TufError::DatastoreOpen { path, source, .. }
        | TufError::DatastoreRemove { path, source, .. } => Refusal::Disk { path, error: source },
        TufError::Transport { url, source, .. } => transport_refusal(&url, &source),
        _ => Refusal::Unreadable(text),
    }
}

fn transport_refusal(url: &Url, error: &TransportError) -> Refusal {
    let mut segments: Vec<&str> = url.path().rsplit('/').take(2).collect();
    segments.reverse();
    let file = segments.join("/");
    if error.kind() == TransportErrorKind::FileNotFound {
        return Refusal::Missing { file };
    }
    let cause = error.source();
    if let Some(overlong) = cause.and_then(|cause| cause.downcast_ref::<Overlong>()) {
        return Refusal::TooLarge { file, limit: overlong.limit };
    }
    match cause.and_then(|cause| cause.downcast_ref::<TufError>()) {
        Some(TufError::MaxSizeExceeded { max_size, .. }) => Refusal::TooLarge { file, limit: *max_size },
        Some(TufError::HashMismatch { .. }) => Refusal::Hash { file },
        _ => Refusal::Fetch { file, reason: cause.map_or_else(|| error.to_string(), ToString::to_string) },
    }
}

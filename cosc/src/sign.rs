//! Signs bundles into a repository (TUF 1.0), and renews what expires soon.
//!
//! Everything new is written beside the repository and verified there as a sensor would; then it moves in file
//! by file, the timestamp last: until that moment readers see the repository as it was.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _, Write};
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::absurd::{self, Absurd};
use protocol::bundle::BundleLimits;
use protocol::repository::{
    METADATA_FOLDER, TARGETS_FOLDER, bundle_target, delta_target, next_online_version, serial_of_target,
    serials_of_delta,
};
use protocol::{Action, BundleReader, Serial, Tlp};
use sha2::{Digest as _, Sha256};
use tough::TargetName;
use tough::schema::{
    Hashes, Metafile, RoleType, Root, Signed, Snapshot, Target, Targets, Timestamp as TimestampRole,
};

use crate::deltas::{self, Delta};
use crate::keys::{self, TUF_VERSION};
use crate::repository::{self, Expired, NamedBundle};
use crate::{files, progress};

/// Days that signed metadata is valid; a sensor that sees nothing newer by then says so.
const TARGETS_DAYS: i64 = 90;
const SNAPSHOT_DAYS: i64 = 30;
const TIMESTAMP_DAYS: i64 = 7;
/// Bundles that stay in the repository, for sensors that are fetching one.
const BUNDLES_KEPT: usize = 3;
/// Versions of metadata files that stay, for the same reason.
const VERSIONS_KEPT: usize = 3;
/// No desk signs as often as this; beyond it, no versions are left for snapshots and timestamps.
const TARGETS_VERSION_MAX: u64 = 1_000_000_000;

/// A target and its name.
type NamedTarget = (String, Target);

/// What was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Newest bundle.
    pub serial: Serial,
    /// Version of the timestamp.
    pub version: u64,
    /// When the first of the metadata expires.
    pub expires: jiff::Timestamp,
    /// The deltas to it that were made, or why one was not, the oldest first.
    pub deltas: Vec<Delta>,
    /// Indicators that every sensor will hold back, by reason.
    pub absurd: BTreeMap<Absurd, u64>,
}

/// Signs a bundle into the repository, which is made when it is not there.
///
/// # Errors
/// When the bundle cannot be read, is not newer than the newest, or the keys are not the repository's.
pub fn sign_bundle(keys: &Path, folder: &Path, bundle: &Path) -> Result<Signing> {
    let checked = check_bundle(bundle)?;
    let serial = checked.serial;
    let (root_files, root) = roots(keys, folder)?;
    let now = Current::read(folder)?;
    let mut bundles = now.bundles;
    if serial > Serial::MAX {
        bail!("bundle {serial} is beyond {}, the last number; make it again with --serial", Serial::MAX);
    }
    if let Some(newest) = bundles.last().filter(|newest| newest.serial >= serial) {
        bail!("{}", not_newer(serial, newest.serial, folder));
    }
    let staged = Staged::new(folder, &root_files)?;
    let (target, path) = staged.take_in(bundle, &bundle_target(serial))?;
    let earlier = bundles.split_off(bundles.len().saturating_sub(BUNDLES_KEPT - 1));
    let (deltas, delta_targets) = staged.put_deltas(&earlier, (serial, &path))?;
    let bundle_targets = earlier
        .into_iter()
        .map(|it| (bundle_target(it.serial), it.target))
        .chain([(bundle_target(serial), target)]);
    let kept: Vec<NamedTarget> = bundle_targets.chain(delta_targets).collect();
    let named = kept.iter().map(|(name, target)| {
        let name = TargetName::new(name).context("no name for a target")?;
        Ok((name, target.clone()))
    });
    let targets_version = next(now.targets);
    let targets = Targets {
        spec_version: TUF_VERSION.to_owned(),
        version: targets_version,
        expires: keys::in_days(TARGETS_DAYS),
        targets: named.collect::<Result<_>>()?,
        delegations: None,
        _extra: HashMap::new(),
    };
    let key = keys::load(keys, RoleType::Targets, &root)?;
    let targets = keys::sign_role(targets, &[&key])?;
    staged.put(METADATA_FOLDER, &format!("{targets_version}.targets.json"), &targets)?;
    let snapshot_version =
        sign_rest(keys, &root, &staged, (now.snapshot, now.timestamp), (targets_version, &targets))?;
    let signing = Signing { deltas, absurd: checked.absurd, ..staged.check()? };
    staged.move_in(folder)?;
    forget_old(folder, &kept, (targets_version, snapshot_version))?;
    Ok(signing)
}

/// Says what to do about a number that is taken.
fn not_newer(serial: Serial, newest: Serial, folder: &Path) -> String {
    let told = format!("bundle {serial} is not newer than bundle {newest} in {}", folder.display());
    if newest == Serial::MAX {
        return format!(
            "{told}, and no number is left: whoever signed that has the targets key; vedetta-cosc root --help says \
             what to do after a theft"
        );
    }
    format!("{told}; make it again with --serial {} or more", newest.0.saturating_add(1))
}

/// What is signed again while the bundles stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renew {
    /// Snapshot and timestamp.
    Online,
    /// The targets, too, by a new key of a root that names other online keys as well; bundles above a number are left
    /// out.
    Targets {
        /// The number.
        keep_to: Serial,
    },
}

/// Whether a repository is there that was signed before.
pub fn has_bundle(folder: &Path) -> bool {
    folder.join(METADATA_FOLDER).join("timestamp.json").exists()
}

/// Renews signatures, so that nothing expires while there is no new bundle.
///
/// # Errors
/// When there is no repository, or the targets have expired and are not renewed.
pub fn refresh(keys: &Path, folder: &Path, renew: Renew) -> Result<Signing> {
    let (root_files, root) = roots(keys, folder)?;
    let now = Current::read(folder)?;
    let Some(targets_version) = NonZeroU64::new(now.targets) else {
        bail!("{} has no signed bundle yet; sign one first", folder.display());
    };
    let expired = now.signed_targets.as_ref().is_none_or(|targets| targets.expires <= jiff::Timestamp::now());
    if expired && renew == Renew::Online {
        bail!("the targets metadata has expired, which --refresh cannot renew: sign a new bundle");
    }
    let staged = Staged::new(folder, &root_files)?;
    let mut online_versions = (now.snapshot, now.timestamp);
    let mut named = now.named;
    let (targets_version, targets) = match (now.signed_targets, renew) {
        (Some(mut targets), Renew::Targets { keep_to }) => {
            targets.targets.retain(|name, _| is_kept(name.raw(), keep_to));
            named.retain(|(name, _)| is_kept(name, keep_to));
            let mut before = targets.version.get();
            if before > TARGETS_VERSION_MAX {
                // Whoever counted so far left no versions to the desk, and nobody remembers them under the new keys.
                (before, online_versions) = (0, (0, 0));
            }
            let version = next(before);
            let targets = Targets { version, expires: keys::in_days(TARGETS_DAYS), ..targets };
            let key = keys::load(keys, RoleType::Targets, &root)?;
            (version, keys::sign_role(targets, &[&key])?)
        }
        _ => {
            let name = format!("{targets_version}.targets.json");
            (targets_version, files::read(&folder.join(METADATA_FOLDER).join(&name))?)
        }
    };
    staged.put(METADATA_FOLDER, &format!("{targets_version}.targets.json"), &targets)?;
    let snapshot_version = sign_rest(keys, &root, &staged, online_versions, (targets_version, &targets))?;
    let signing = staged.check()?;
    staged.move_in(folder)?;
    forget_old(folder, &named, (targets_version, snapshot_version))?;
    Ok(signing)
}

/// Whether neither the bundle of this name nor what a delta of this name leads to is above a number.
fn is_kept(name: &str, keep_to: Serial) -> bool {
    let serial = serial_of_target(name).or_else(|| serials_of_delta(name).map(|(_, to)| to));
    serial.is_some_and(|serial| serial <= keep_to)
}

/// Signs the next snapshot and timestamp over a targets file. Gives the snapshot's version.
fn sign_rest(
    keys: &Path,
    root: &Root,
    staged: &Staged,
    (snapshot_version, timestamp_version): (u64, u64),
    (targets_version, targets): (NonZeroU64, &[u8]),
) -> Result<NonZeroU64> {
    let now = jiff::Timestamp::now().as_second();
    let version = next_online_version(targets_version.get(), now, snapshot_version);
    let mut snapshot = Snapshot::new(TUF_VERSION.to_owned(), version, keys::in_days(SNAPSHOT_DAYS));
    snapshot.meta.insert("targets.json".to_owned(), metafile(targets_version, targets));
    let key = keys::load(keys, RoleType::Snapshot, root)?;
    let snapshot = keys::sign_role(snapshot, &[&key])?;
    staged.put(METADATA_FOLDER, &format!("{version}.snapshot.json"), &snapshot)?;
    let timestamp = TimestampRole {
        spec_version: TUF_VERSION.to_owned(),
        version: next_online_version(targets_version.get(), now, timestamp_version),
        expires: keys::in_days(TIMESTAMP_DAYS),
        meta: HashMap::from([("snapshot.json".to_owned(), metafile(version, &snapshot))]),
        _extra: HashMap::new(),
    };
    let key = keys::load(keys, RoleType::Timestamp, root)?;
    staged.put(METADATA_FOLDER, "timestamp.json", &keys::sign_role(timestamp, &[&key])?)?;
    Ok(version)
}

fn metafile(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(hashes(bytes)),
        version,
        _extra: HashMap::new(),
    }
}

fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: HashMap::new() }
}

fn next(version: u64) -> NonZeroU64 {
    NonZeroU64::MIN.saturating_add(version)
}

/// A bundle that may be signed.
struct Checked {
    serial: Serial,
    absurd: BTreeMap<Absurd, u64>,
}

/// Reads the whole bundle as a sensor will, and looks for what must not leave the desk.
fn check_bundle(path: &Path) -> Result<Checked> {
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let unread = || format!("{} is no bundle that sensors can read", path.display());
    let bar = progress::bytes("checking", file.metadata().with_context(unread)?.len());
    let mut reader = BundleReader::new(bar.wrap_read(file), BundleLimits::default()).with_context(unread)?;
    let serial = reader.header().serial;
    let (mut looked_for, mut absurd) = (0_u64, BTreeMap::new());
    for indicator in reader.indicators() {
        let indicator = indicator.with_context(unread)?;
        if indicator.tlp == Tlp::Red {
            bail!("{} holds TLP:RED ({}), which never leaves the desk", path.display(), indicator.look_for);
        }
        match absurd::reason(&indicator.look_for, &[]) {
            _ if indicator.action == Action::Allow => {}
            Some(why) => *absurd.entry(why).or_default() += 1,
            None => looked_for += 1,
        }
    }
    bar.finish_and_clear();
    if looked_for == 0 {
        let held: Vec<String> = absurd.iter().map(|(why, count)| format!("{count} are {why}")).collect();
        let held = if held.is_empty() { String::new() } else { format!(" ({})", held.join("; ")) };
        bail!(
            "{} is empty{held}: sensors would look for nothing and refuse it; make the bundle again with what is to \
             be looked for",
            path.display()
        );
    }
    Ok(Checked { serial, absurd })
}

/// All roots from the first to the newest, from both folders, and the newest one read.
fn roots(keys: &Path, folder: &Path) -> Result<(Vec<PathBuf>, Root)> {
    let (files, path) = root_files(keys, folder)?;
    let root: Signed<Root> = serde_json::from_slice(&files::read(&path)?)
        .with_context(|| format!("{} is no root", path.display()))?;
    if root.signed.expires <= jiff::Timestamp::now() {
        bail!(
            "{} has expired: two of the root keys must sign a new root first (vedetta-cosc root)",
            path.display()
        );
    }
    Ok((files, root.signed))
}

/// All roots from the first to the newest, from both folders, and the newest by itself.
///
/// # Errors
/// When one is missing, or the folders hold different ones.
pub fn root_files(keys: &Path, folder: &Path) -> Result<(Vec<PathBuf>, PathBuf)> {
    let metadata = folder.join(METADATA_FOLDER);
    let (newest, path) = match repository::newest_root(&metadata) {
        Ok(found) if repository::newest_root(keys).is_ok_and(|(version, _)| version <= found.0) => found,
        _ => repository::newest_root(keys)?,
    };
    let mut files = Vec::new();
    for version in 1..=newest {
        let name = format!("{version}.root.json");
        let [here, there] = [&metadata, keys].map(|folder| folder.join(&name));
        match (fs::read(&here), fs::read(&there)) {
            (Ok(old), Ok(new)) if old != new => bail!(
                "{} and {} differ: this repository belongs to other keys; name its own with --keys",
                here.display(),
                there.display()
            ),
            (Ok(_), _) => files.push(here),
            (Err(_), Ok(_)) => files.push(there),
            (Err(_), Err(_)) => bail!("{name} is in neither {} nor {}", keys.display(), metadata.display()),
        }
    }
    Ok((files, path))
}

/// What the repository holds before signing; all zero when there is none.
#[derive(Default)]
struct Current {
    targets: u64,
    snapshot: u64,
    timestamp: u64,
    signed_targets: Option<Targets>,
    bundles: Vec<NamedBundle>,
    named: Vec<NamedTarget>,
}

impl Current {
    fn read(folder: &Path) -> Result<Self> {
        if !has_bundle(folder) {
            return Ok(Self::default());
        }
        let loaded = repository::load(folder, Expired::Accepted)?;
        let named = repository::named(&loaded, folder).into_iter();
        Ok(Self {
            targets: loaded.targets().signed.version.get(),
            snapshot: loaded.snapshot().signed.version.get(),
            timestamp: loaded.timestamp().signed.version.get(),
            signed_targets: Some(loaded.targets().signed.clone()),
            bundles: repository::bundles(&loaded, folder),
            named: named.map(|it| (it.name, it.target)).collect(),
        })
    }
}

/// New files beside the repository; they go away when anything fails.
struct Staged(PathBuf);

impl Staged {
    fn new(folder: &Path, roots: &[PathBuf]) -> Result<Self> {
        let staged = Self(folder.join(".staged"));
        let _ = fs::remove_dir_all(&staged.0);
        for name in [METADATA_FOLDER, TARGETS_FOLDER] {
            for folder in [staged.0.join(name), folder.join(name)] {
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot create the folder {}", folder.display()))?;
            }
        }
        for root in roots {
            let name = root.file_name().unwrap_or_default().to_string_lossy();
            staged.put(METADATA_FOLDER, &name, &files::read(root)?)?;
        }
        Ok(staged)
    }

    fn put(&self, folder: &str, name: &str, bytes: &[u8]) -> Result<()> {
        files::replace(&self.0.join(folder).join(name), bytes)
    }

    /// Copies a file under its hash and name, without holding it whole.
    fn take_in(&self, file: &Path, name: &str) -> Result<(Target, PathBuf)> {
        let beside = self.0.join(TARGETS_FOLDER).join(name);
        let limit = protocol::repository::BUNDLE_BYTES_MAX;
        let (length, sha256) = copy(file, &beside, limit)
            .with_context(|| format!("cannot copy {} to {}", file.display(), beside.display()))?;
        if length > limit {
            bail!("{} is longer than the {limit} bytes that sensors take", file.display());
        }
        self.keep(&beside, name, length, sha256)
    }

    /// Writes the deltas to the newest bundle from those before it.
    fn put_deltas(
        &self,
        earlier: &[NamedBundle],
        (to, newest): (Serial, &Path),
    ) -> Result<(Vec<Delta>, Vec<NamedTarget>)> {
        let (mut deltas, mut targets) = (Vec::new(), Vec::new());
        for NamedBundle { serial: from, path, .. } in earlier {
            let name = delta_target(*from, to);
            let beside = self.0.join(TARGETS_FOLDER).join(&name);
            let delta = deltas::write((*from, path), newest, &beside)?;
            if let Delta::Written { .. } = delta {
                let (length, sha256) =
                    hash(&beside).with_context(|| format!("cannot read {}", beside.display()))?;
                targets.push((name.clone(), self.keep(&beside, &name, length, sha256)?.0));
            }
            deltas.push(delta);
        }
        Ok((deltas, targets))
    }

    /// Renames a staged file as the metadata will name it.
    fn keep(&self, beside: &Path, name: &str, length: u64, sha256: Vec<u8>) -> Result<(Target, PathBuf)> {
        let hashes = Hashes { sha256: sha256.into(), _extra: HashMap::new() };
        let target = Target { length, hashes, custom: HashMap::new(), _extra: HashMap::new() };
        let kept = beside.with_file_name(repository::file_name(name, &target));
        fs::rename(beside, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
        Ok((target, kept))
    }

    /// Verifies what was signed, from the first root on, as everybody else will.
    fn check(&self) -> Result<Signing> {
        let loaded =
            repository::load(&self.0, Expired::Refused).context("what was signed does not verify")?;
        let serial = repository::bundles(&loaded, &self.0).last().map(|bundle| bundle.serial);
        let expires = [
            loaded.root().signed.expires,
            loaded.targets().signed.expires,
            loaded.snapshot().signed.expires,
            loaded.timestamp().signed.expires,
        ];
        Ok(Signing {
            serial: serial.unwrap_or_default(),
            version: loaded.timestamp().signed.version.get(),
            expires: expires.into_iter().min().unwrap_or(jiff::Timestamp::MIN),
            deltas: Vec::new(),
            absurd: BTreeMap::new(),
        })
    }

    fn move_in(self, folder: &Path) -> Result<()> {
        let mut moves = Vec::new();
        for name in [TARGETS_FOLDER, METADATA_FOLDER] {
            let mut files: Vec<_> = fs::read_dir(self.0.join(name))?.flatten().collect();
            files.sort_by_key(|file| (file.file_name() == "timestamp.json", file.file_name()));
            moves.extend(
                files.into_iter().map(|file| (file.path(), folder.join(name).join(file.file_name()))),
            );
        }
        for (from, to) in moves {
            fs::rename(&from, &to).with_context(|| format!("cannot write {}", to.display()))?;
        }
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Copies a file, hashing what is copied; stops after the limit.
fn copy(from: &Path, to: &Path, limit: u64) -> io::Result<(u64, Vec<u8>)> {
    let file = fs::File::open(from)?;
    let bar = progress::bytes("copying", file.metadata()?.len());
    let mut hashing = Hashing { sink: fs::File::create(to)?, digest: Sha256::new() };
    let length = io::copy(&mut bar.wrap_read(file).take(limit + 1), &mut hashing)?;
    bar.finish_and_clear();
    hashing.sink.sync_all()?;
    Ok((length, hashing.digest.finalize().to_vec()))
}

fn hash(path: &Path) -> io::Result<(u64, Vec<u8>)> {
    let mut hashing = Hashing { sink: io::sink(), digest: Sha256::new() };
    let length = io::copy(&mut fs::File::open(path)?, &mut hashing)?;
    Ok((length, hashing.digest.finalize().to_vec()))
}

/// Hashes what is written through it.
struct Hashing<W> {
    sink: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.sink.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }
}

/// Removes bundles and deltas that the metadata names no longer, metadata of versions long past, and metadata of versions
/// beyond the newest, where the count began anew.
fn forget_old(
    folder: &Path,
    kept: &[NamedTarget],
    (targets_version, snapshot_version): (NonZeroU64, NonZeroU64),
) -> Result<()> {
    for entry in fs::read_dir(folder.join(TARGETS_FOLDER))?.flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        let is_kept = kept.iter().any(|(name, target)| repository::file_name(name, target) == file);
        if file.ends_with(".jsonl.zst") && !is_kept {
            fs::remove_file(entry.path())?;
        }
    }
    for (ending, newest) in [(".snapshot.json", snapshot_version), (".targets.json", targets_version)] {
        let files = fs::read_dir(folder.join(METADATA_FOLDER))?.flatten();
        let mut versions: Vec<(u64, PathBuf)> = files
            .filter_map(|file| {
                let version = file.file_name().to_str()?.strip_suffix(ending)?.parse().ok()?;
                Some((version, file.path()))
            })
            .collect();
        versions.sort();
        let beyond = versions.split_off(versions.partition_point(|(version, _)| *version <= newest.get()));
        versions.truncate(versions.len().saturating_sub(VERSIONS_KEPT));
        for (_, old) in versions.into_iter().chain(beyond) {
            fs::remove_file(old)?;
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "sign_tests.rs"]
mod tests;

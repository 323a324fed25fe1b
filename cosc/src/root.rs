//! Replaces keys: a new root names them, signed by two of the root keys before it and by two of its own, so that every
//! sensor follows, however long it was off. What was signed by a key that is replaced counts no longer from then on.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::Serial;
use rcgen::{KeyPair, PKCS_ED25519};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{RoleType, Root, Signed};

use crate::files::{self, Access};
use crate::keys::{self, ONLINE_ROLES, ROOT_DAYS, key_id, tuf_key};
use crate::sign::{self, Renew};

/// What the new root changes; with nothing it is only renewed.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Private root keys that sign; without one those in the folder of keys.
    pub root_keys: Vec<PathBuf>,
    /// Replaces the root keys that are not among those that sign.
    pub replace_root_key: bool,
    /// Replaces the key that signs bundles, and with it the desk's own snapshot and timestamp keys: only then do sensors
    /// forget how high a thief drove the versions (TUF 5.3.11).
    pub replace_targets_key: bool,
    /// Leaves bundles above this number out of what the new key signs: a thief made them.
    pub keep_bundles_to: Option<u64>,
    /// Replaces the desk's own snapshot and timestamp keys.
    pub replace_desk_keys: bool,
    /// Takes all collectors' online keys out.
    pub remove_online_keys: bool,
    /// Public online keys of collectors that may sign from now on.
    pub add_online_keys: Vec<PathBuf>,
}

/// Signs the next root, and with it the repository where there is one; returns what to tell the person who did it.
///
/// # Errors
/// When too few root keys are there, or the disk refuses. Nothing is overwritten; new keys stay, whatever fails after.
pub fn change(keys: &Path, repository: &Path, changes: &Changes) -> Result<String> {
    let (_, path) = sign::root_files(keys, repository)?;
    let old: Signed<Root> = serde_json::from_slice(&files::read(&path)?)
        .with_context(|| format!("{} is no root", path.display()))?;
    let signers = signers(keys, &changes.root_keys, &old.signed)?;
    let mut new = Next::after(&old.signed);
    if changes.remove_online_keys {
        new.remove_online_keys();
    }
    for path in &changes.add_online_keys {
        keys::add_online_key(&mut new.root, keys::read_online_key(path)?)?;
    }
    if changes.replace_targets_key {
        new.replace(keys, RoleType::Targets, |_| true)?;
    }
    if changes.replace_desk_keys || changes.replace_targets_key {
        let collectors = collectors_keys(&new.root);
        for role in ONLINE_ROLES {
            new.replace(keys, role, |id| !collectors.contains(id))?;
        }
    }
    if changes.replace_root_key {
        let kept: HashSet<_> = signers.iter().map(key_id).collect::<Result<_>>()?;
        new.replace(keys, RoleType::Root, |id| !kept.contains(id))?;
    }
    let Next { root, made } = new.without_unused();
    let version = root.version;
    let made_root = made.iter().filter(|(role, ..)| *role == RoleType::Root).map(|(_, _, key)| key);
    let all: Vec<&KeyPair> = signers.iter().chain(made_root).collect();
    let signed = keys::sign_role(root, &all)?;
    let parsed: Signed<Root> = serde_json::from_slice(&signed)?;
    old.signed
        .verify_role(&parsed)
        .context("the new root is not signed by enough of the root keys before it")?;
    parsed
        .signed
        .verify_role(&parsed)
        .context("the new root is not signed by enough of its own root keys")?;
    // The keys first: a root that names a key which is nowhere would lock everybody out.
    for (_, path, key) in &made {
        files::create_new(path, key.serialize_pem().as_bytes(), Access::Private)?;
    }
    let path = keys.join(format!("{version}.root.json"));
    files::create_new(&path, &signed, Access::Public)?;
    let keep_to = changes.keep_bundles_to.map_or(Serial::MAX, Serial);
    let renew = if changes.replace_targets_key { Renew::Targets { keep_to } } else { Renew::Online };
    let told = match sign::has_bundle(repository) {
        true => {
            let signing = sign::refresh(keys, repository, renew)
                .with_context(|| format!("{} is signed, the repository is not yet", path.display()))?;
            match signing.serial {
                Serial(0) => format!(
                    "{} names it and holds no bundle any more; sign one and push it now, so that sensors and \
                     collectors follow",
                    repository.display()
                ),
                serial => format!(
                    "{} names it and bundle {serial} is signed anew; push it now, so that sensors and collectors \
                     follow",
                    repository.display()
                ),
            }
        }
        false => "there is no repository yet: the first bundle that is signed takes it along".to_owned(),
    };
    Ok(instructions(&path, &made, &told))
}

/// The root to come.
struct Next {
    root: Root,
    /// New private keys, with the files that they are to be in.
    made: Vec<(RoleType, PathBuf, KeyPair)>,
}

impl Next {
    fn after(old: &Root) -> Self {
        let version = old.version.saturating_add(1);
        let root = Root { version, expires: keys::in_days(ROOT_DAYS), ..old.clone() };
        Self { root, made: Vec::new() }
    }

    /// Puts one new key in the place of those that are out.
    fn replace(&mut self, keys: &Path, role: RoleType, is_out: impl Fn(&Decoded<Hex>) -> bool) -> Result<()> {
        let path = new_file(keys, role, self.root.version.get())?;
        let key = KeyPair::generate_for(&PKCS_ED25519).context("cannot make a key")?;
        let Some(named) = self.root.roles.get_mut(&role) else { bail!("the root has no {role} role") };
        let before = named.keyids.len();
        named.keyids.retain(|id| !is_out(id));
        if before == named.keyids.len() {
            bail!(
                "no {role} key is left to be replaced: name with --root-key only those root keys that stay, the others \
                 are replaced"
            );
        }
        let missing = before.saturating_sub(named.keyids.len());
        if missing > 1 && role == RoleType::Root {
            bail!("{missing} root keys would be replaced at once; name all that stay with --root-key");
        }
        named.keyids.push(key_id(&key)?);
        self.root.keys.insert(key_id(&key)?, tuf_key(&key));
        self.made.push((role, path, key));
        Ok(())
    }

    fn remove_online_keys(&mut self) {
        let out = collectors_keys(&self.root);
        for role in ONLINE_ROLES {
            if let Some(named) = self.root.roles.get_mut(&role) {
                named.keyids.retain(|id| !out.contains(id));
            }
        }
    }

    fn without_unused(mut self) -> Self {
        let used: HashSet<_> = self.root.roles.values().flat_map(|role| role.keyids.clone()).collect();
        self.root.keys.retain(|id, _| used.contains(id));
        self
    }
}

/// The desk has a key for each online role, a collector one for both.
fn collectors_keys(root: &Root) -> HashSet<Decoded<Hex>> {
    let [snapshot, timestamp] = ONLINE_ROLES.map(|role| {
        root.roles
            .get(&role)
            .map(|named| named.keyids.iter().cloned().collect::<HashSet<_>>())
            .unwrap_or_default()
    });
    snapshot.intersection(&timestamp).cloned().collect()
}

/// A name that is free: nothing is overwritten, and the old key may still be wanted as evidence.
fn new_file(keys: &Path, role: RoleType, version: u64) -> Result<PathBuf> {
    let name = match role {
        RoleType::Root => {
            let number = (4_u64..).find(|number| !keys.join(format!("root-{number}.pem")).exists());
            format!("root-{}.pem", number.unwrap_or(version))
        }
        role => format!("{role}-{version}.pem"),
    };
    let path = keys.join(name);
    if path.exists() {
        bail!("{} exists already and no root names it; move it away", path.display());
    }
    Ok(path)
}

/// The root keys that sign, each of them named by the old root, and enough of them.
fn signers(keys: &Path, named: &[PathBuf], old: &Root) -> Result<Vec<KeyPair>> {
    let mut paths = named.to_vec();
    if paths.is_empty() {
        let entries =
            fs::read_dir(keys).with_context(|| format!("cannot read the folder {}", keys.display()))?;
        paths.extend(entries.flatten().map(|entry| entry.path()).filter(|path| is_root_key(path)));
        paths.sort();
    }
    let Some(role) = old.roles.get(&RoleType::Root) else { bail!("the root has no root role") };
    let mut signers: Vec<KeyPair> = Vec::new();
    for path in &paths {
        let key = keys::read_private(path)?;
        let id = key_id(&key)?;
        let is_named = role.keyids.contains(&id);
        if !is_named && !named.is_empty() {
            bail!("{} is none of the root keys that version {} names", path.display(), old.version);
        }
        let is_new = signers.iter().all(|known| key_id(known).is_ok_and(|known| known != id));
        if is_named && is_new {
            signers.push(key);
        }
    }
    if (signers.len() as u64) < role.threshold.get() {
        bail!(
            "{} root keys have to sign, {} are here; name the files with --root-key, such as those on two sticks",
            role.threshold,
            signers.len()
        );
    }
    Ok(signers)
}

fn is_root_key(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| {
        name.starts_with("root-") && path.extension().is_some_and(|extension| extension == "pem")
    })
}

fn instructions(root: &Path, made: &[(RoleType, PathBuf, KeyPair)], told: &str) -> String {
    let mut text = format!("The next root is {}; {told}.\n", root.display());
    for (role, path, _) in made {
        let what = match role {
            RoleType::Root => "move off-line, to the place of the one that it replaces",
            RoleType::Targets => "keep off-line except while signing bundles",
            _ => "keep at the desk",
        };
        text.push_str(&format!("New {role} key: {} ({what}).\n", path.display()));
    }
    text.push_str(
        "Files of replaced keys sign nothing any more; destroy them when nobody needs them as evidence.",
    );
    text
}

#[cfg(test)]
#[path = "root_tests.rs"]
mod tests;

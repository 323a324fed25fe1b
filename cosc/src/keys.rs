//! The keys that sign what towns look for (Ed25519), and the first root that names them.
//!
//! Three root keys, of which two must sign, stay off-line and apart; nothing that a collector or a sensor
//! holds can replace them.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow, bail};
use protocol::enrolment::fingerprint;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use sha2::{Digest as _, Sha256};
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{Role, RoleKeys, RoleType, Root, Signature, Signed};

use crate::files::{self, Access};

/// Version of the TUF specification that the metadata names.
pub const TUF_VERSION: &str = "1.0.0";
/// How long a root is valid before a ceremony must renew it.
pub const ROOT_DAYS: i64 = 365;
/// Root signatures that every sensor asks for.
const ROOT_THRESHOLD: u64 = 2;
const ROOT_KEYS: [&str; 3] = ["root-1.pem", "root-2.pem", "root-3.pem"];
const FIRST_ROOT: &str = "1.root.json";

/// The keys that sign bundles from day to day, by their role.
pub const DAILY_ROLES: [(RoleType, &str); 3] = [
    (RoleType::Targets, "targets.pem"),
    (RoleType::Snapshot, "snapshot.pem"),
    (RoleType::Timestamp, "timestamp.pem"),
];

/// The roles that a collector's online key may sign.
pub const ONLINE_ROLES: [RoleType; 2] = [RoleType::Snapshot, RoleType::Timestamp];

/// Makes all keys and the first root in a folder; returns what to tell the person who did it. A collector's online key
/// may sign snapshot and timestamp beside the desk's own.
///
/// # Errors
/// When one of the files exists already, the online key is none, or the disk refuses.
pub fn generate(out: &Path, online_key: Option<&Path>) -> Result<String> {
    let online_key = online_key.map(read_online_key).transpose()?;
    let names = ROOT_KEYS.into_iter().chain(DAILY_ROLES.map(|(_, name)| name)).chain([FIRST_ROOT]);
    for name in names {
        if out.join(name).exists() {
            bail!(
                "{} exists already: keys are never overwritten; name another folder with --out",
                out.join(name).display()
            );
        }
    }
    files::private_folder(out)?;
    let new_key = |name: &str| -> Result<KeyPair> {
        let key = KeyPair::generate_for(&PKCS_ED25519).context("cannot make a key")?;
        files::create_new(&out.join(name), key.serialize_pem().as_bytes(), Access::Private)?;
        Ok(key)
    };
    let root_keys = ROOT_KEYS.into_iter().map(new_key).collect::<Result<Vec<_>>>()?;
    let daily = DAILY_ROLES.map(|(role, name)| new_key(name).map(|key| (role, key)));
    let daily = daily.into_iter().collect::<Result<Vec<_>>>()?;
    let mut root = first_root(&root_keys, &daily)?;
    if let Some(key) = online_key {
        add_online_key(&mut root, key)?;
    }
    let signers: Vec<&KeyPair> = root_keys.iter().collect();
    let root = sign_role(root, &signers)?;
    files::create_new(&out.join(FIRST_ROOT), &root, Access::Public)?;
    Ok(instructions(out, &Sha256::digest(&root).into()))
}

fn first_root(root_keys: &[KeyPair], daily: &[(RoleType, KeyPair)]) -> Result<Root> {
    let mut keys = HashMap::new();
    let mut add = |key: &KeyPair| -> Result<_> {
        let key = tuf_key(key);
        let id = key.key_id().context("cannot compute a key's identifier")?;
        keys.insert(id.clone(), key);
        Ok(id)
    };
    let threshold = NonZeroU64::new(ROOT_THRESHOLD).unwrap_or(NonZeroU64::MIN);
    let keyids = root_keys.iter().map(&mut add).collect::<Result<Vec<_>>>()?;
    let mut roles = HashMap::from([(RoleType::Root, RoleKeys { keyids, threshold, _extra: HashMap::new() })]);
    for (role, key) in daily {
        let keyids = vec![add(key)?];
        roles.insert(*role, RoleKeys { keyids, threshold: NonZeroU64::MIN, _extra: HashMap::new() });
    }
    Ok(Root {
        spec_version: TUF_VERSION.to_owned(),
        consistent_snapshot: true,
        version: NonZeroU64::MIN,
        expires: in_days(ROOT_DAYS),
        keys,
        roles,
        _extra: HashMap::new(),
    })
}

/// Reads the public key that a collector printed (`vedetta-collector online-key`).
///
/// # Errors
/// When the file cannot be read or holds another kind of key.
pub fn read_online_key(path: &Path) -> Result<Key> {
    let wanted = || {
        format!(
            "{} is no collector's online key: have its operator run `vedetta-collector online-key > {}`",
            path.display(),
            path.file_name().unwrap_or_default().to_string_lossy()
        )
    };
    let key: Key = serde_json::from_slice(&files::read(path)?).with_context(wanted)?;
    match key {
        Key::Ed25519 { .. } => Ok(key),
        _ => Err(anyhow!(wanted())),
    }
}

/// Lets a collector's online key sign snapshot and timestamp, beside the keys that do.
///
/// # Errors
/// When the root names it already.
pub fn add_online_key(root: &mut Root, key: Key) -> Result<()> {
    let id = key.key_id().context("cannot compute a key's identifier")?;
    for role in ONLINE_ROLES {
        let Some(named) = root.roles.get_mut(&role) else { bail!("the root has no {role} role") };
        if named.keyids.contains(&id) {
            bail!("the root names this online key already");
        }
        named.keyids.push(id.clone());
    }
    root.keys.insert(id, key);
    Ok(())
}

fn instructions(out: &Path, sha256: &[u8; 32]) -> String {
    let [first, second, third] = ROOT_KEYS;
    format!(
        "Keys and first root are in {folder}.\n\n\
         SHA-256 of 1.root.json, to be compared by voice with every collector's operator:\n  {fingerprint}\n\n\
         Move off-line, to three different places, and delete here (two of them make a new root):\n  \
         {first}  {second}  {third}\n\
         Keep off-line except while signing bundles:\n  targets.pem\n\
         Keep at the desk (they only say that the newest bundle is still the newest):\n  snapshot.pem  timestamp.pem\n\
         Give to each collector (vedetta-collector trust-root FILE):\n  1.root.json",
        folder = out.display(),
        fingerprint = fingerprint(sha256),
    )
}

/// Reads the private key of a daily role that the root names: the first one, or the one that replaced it.
///
/// # Errors
/// When no file is there, one is no key, or none is a key that the root names for this role.
pub fn load(keys: &Path, role: RoleType, root: &Root) -> Result<KeyPair> {
    let name =
        DAILY_ROLES.into_iter().find(|(known, _)| *known == role).map_or("root-1.pem", |(_, name)| name);
    let newer = format!("{role}-");
    let entries = fs::read_dir(keys).with_context(|| format!("cannot read the folder {}", keys.display()))?;
    let is_newer = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_prefix(&newer).is_some_and(|rest| rest.ends_with(".pem"))
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_newer).collect();
    paths.push(keys.join(name));
    if paths.len() > 1 {
        paths.retain(|path| path.exists());
    }
    for path in &paths {
        let key = read_private(path)?;
        let id = key_id(&key)?;
        if root.roles.get(&role).is_some_and(|named| named.keyids.contains(&id)) {
            return Ok(key);
        }
    }
    bail!(
        "{} is not the {role} key that the repository's root names; --keys must be the folder that keygen made for it",
        keys.join(name).display()
    )
}

/// Reads a private key.
///
/// # Errors
/// When the file is not there or is no key.
pub fn read_private(path: &Path) -> Result<KeyPair> {
    let pem = String::from_utf8(files::read(path)?).unwrap_or_default();
    KeyPair::from_pem(&pem).with_context(|| format!("{} is no private key in PEM (PKCS #8)", path.display()))
}

/// The identifier by which metadata names a key.
///
/// # Errors
/// None for the keys of this program.
pub fn key_id(key: &KeyPair) -> Result<Decoded<Hex>> {
    tuf_key(key).key_id().context("cannot compute a key's identifier")
}

/// The metadata file of a role, signed.
///
/// # Errors
/// When a key cannot sign; none of the keys that [`load`] gives out does that.
pub fn sign_role<R: Role>(role: R, signers: &[&KeyPair]) -> Result<Vec<u8>> {
    let message = role.canonical_form().context("cannot write metadata in canonical form")?;
    let mut signatures = Vec::new();
    for signer in signers {
        let keyid = tuf_key(signer).key_id().context("cannot compute a key's identifier")?;
        let sig = signer.sign(&message).context("cannot sign")?.into();
        signatures.push(Signature { keyid, sig });
    }
    let mut bytes = serde_json::to_vec_pretty(&Signed { signed: role, signatures })?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A time that many days from this moment, in whole seconds, as TUF wants it.
pub fn in_days(days: i64) -> jiff::Timestamp {
    let at = jiff::Timestamp::now().as_second().saturating_add(days.saturating_mul(86_400));
    jiff::Timestamp::from_second(at).unwrap_or(jiff::Timestamp::MAX)
}

/// A key as metadata holds it.
pub fn tuf_key(key: &KeyPair) -> Key {
    let keyval = Ed25519Key { public: key.der_bytes().to_vec().into(), _extra: HashMap::new() };
    Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: HashMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn keys_are_private_and_the_root_is_signed_by_the_three() {
        let home = tempfile::tempdir().unwrap();
        let keys = home.path().join("keys");
        let told = generate(&keys, None).unwrap();
        for name in ROOT_KEYS.into_iter().chain(DAILY_ROLES.map(|(_, name)| name)) {
            let mode = fs::metadata(keys.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            assert!(told.contains(name), "{name}");
        }
        let bytes = fs::read(keys.join(FIRST_ROOT)).unwrap();
        assert!(told.contains(&fingerprint(&Sha256::digest(&bytes).into())));
        let root: Signed<Root> = serde_json::from_slice(&bytes).unwrap();
        root.signed.verify_role(&root).unwrap();
        assert_eq!(root.signatures.len(), 3);
        assert_eq!(root.signed.roles[&RoleType::Root].threshold.get(), 2);
        load(&keys, RoleType::Targets, &root.signed).unwrap();
    }

    #[test]
    fn keys_are_never_overwritten() {
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("snapshot.pem"), "precious").unwrap();
        let refused = generate(home.path(), None).unwrap_err().to_string();
        assert!(refused.contains("snapshot.pem exists already"), "{refused}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_folders_key_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let [ours, others] = ["ours", "others"].map(|name| home.path().join(name));
        generate(&ours, None).unwrap();
        generate(&others, None).unwrap();
        let root: Signed<Root> =
            serde_json::from_slice(&files::read(&ours.join(FIRST_ROOT)).unwrap()).unwrap();
        let refused = load(&others, RoleType::Targets, &root.signed).unwrap_err().to_string();
        assert!(refused.contains("not the targets key"), "{refused}");
    }
}

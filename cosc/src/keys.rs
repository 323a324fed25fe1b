//! The keys that sign what towns look for (Ed25519), and the first root that names them.
//!
//! Three root keys, of which two must sign, stay off-line and apart; nothing that a collector or a sensor
//! holds can replace them.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use protocol::enrolment::fingerprint;
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use sha2::{Digest as _, Sha256};
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

/// Makes all keys and the first root in a folder; returns what to tell the person who did it.
///
/// # Errors
/// When one of the files exists already, or the disk refuses.
pub fn generate(out: &Path) -> Result<String> {
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
    let root = first_root(&root_keys, &daily)?;
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

/// Reads the private key of a daily role and makes sure that the root names it.
///
/// # Errors
/// When the file is not there, is no key, or is a key that the root does not name for this role.
pub fn load(keys: &Path, role: RoleType, root: &Root) -> Result<KeyPair> {
    let name =
        DAILY_ROLES.into_iter().find(|(known, _)| *known == role).map_or("root-1.pem", |(_, name)| name);
    let path = keys.join(name);
    let pem = String::from_utf8(files::read(&path)?).unwrap_or_default();
    let key = KeyPair::from_pem(&pem)
        .with_context(|| format!("{} is no private key in PEM (PKCS #8)", path.display()))?;
    let id = tuf_key(&key).key_id().context("cannot compute a key's identifier")?;
    if !root.roles.get(&role).is_some_and(|named| named.keyids.contains(&id)) {
        bail!(
            "{} is not the {role} key that the repository's root names; --keys must be the folder that keygen made for it",
            path.display()
        );
    }
    Ok(key)
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

fn tuf_key(key: &KeyPair) -> Key {
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
        let told = generate(&keys).unwrap();
        for name in ROOT_KEYS.into_iter().chain(DAILY_ROLES.map(|(_, name)| name)) {
            let mode = std::fs::metadata(keys.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
            assert!(told.contains(name), "{name}");
        }
        let bytes = std::fs::read(keys.join(FIRST_ROOT)).unwrap();
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
        std::fs::write(home.path().join("snapshot.pem"), "precious").unwrap();
        let refused = generate(home.path()).unwrap_err().to_string();
        assert!(refused.contains("snapshot.pem exists already"), "{refused}");
        assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 1);
    }

    #[test]
    fn another_folders_key_is_refused() {
        let home = tempfile::tempdir().unwrap();
        let [ours, others] = ["ours", "others"].map(|name| home.path().join(name));
        generate(&ours).unwrap();
        generate(&others).unwrap();
        let root: Signed<Root> =
            serde_json::from_slice(&files::read(&ours.join(FIRST_ROOT)).unwrap()).unwrap();
        let refused = load(&others, RoleType::Targets, &root.signed).unwrap_err().to_string();
        assert!(refused.contains("not the targets key"), "{refused}");
    }
}

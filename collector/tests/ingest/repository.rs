//! A COSC with one key for everything, and the repository that it signs.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};

use protocol::bundle::{BUNDLE_FORMAT, BundleLimits};
use protocol::delta::DeltaWriter;
use protocol::message::OfferedFile;
use protocol::repository::bundle_target;
use protocol::{BundleHeader, BundleReader, BundleWriter, Indicator, LookFor, Serial, Timestamp};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use tempfile::TempDir;
use tough::editor::RepositoryEditor;
use tough::editor::signed::PathExists;
use tough::key_source::KeySource;
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{Role as _, RoleKeys, RoleType, Root, Signature, Signed};
use tough::sign::{Sign, parse_keypair};

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[derive(Debug)]
struct Der(Vec<u8>);

#[tough::async_trait]
impl KeySource for Der {
    async fn as_sign(&self) -> Result<Box<dyn Sign>, AnyError> {
        Ok(Box::new(parse_keypair(&self.0)?))
    }

    async fn write(&self, _value: &str, _key_id: &str) -> Result<(), AnyError> {
        Ok(())
    }
}

pub struct SignedRepository {
    folder: TempDir,
    key: KeyPair,
}

fn in_a_week() -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * 7)
}

impl SignedRepository {
    pub fn new() -> Self {
        let repository =
            Self { folder: TempDir::new().unwrap(), key: KeyPair::generate_for(&PKCS_ED25519).unwrap() };
        fs::create_dir_all(repository.path().join("metadata")).unwrap();
        fs::create_dir_all(repository.path().join("targets")).unwrap();
        fs::write(repository.root_file(), repository.root()).unwrap();
        repository
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn root_file(&self) -> PathBuf {
        self.path().join("metadata/1.root.json")
    }

    fn root(&self) -> Vec<u8> {
        let keyval = Ed25519Key { public: self.key.der_bytes().to_vec().into(), _extra: HashMap::new() };
        let key = Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: HashMap::new() };
        let keyid = key.key_id().unwrap();
        let role =
            RoleKeys { keyids: vec![keyid.clone()], threshold: NonZeroU64::MIN, _extra: HashMap::new() };
        let roles = [RoleType::Root, RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp];
        let signed = Root {
            spec_version: "1.0.0".into(),
            consistent_snapshot: true,
            version: NonZeroU64::MIN,
            expires: in_a_week(),
            roles: roles.into_iter().map(|it| (it, role.clone())).collect(),
            keys: [(keyid.clone(), key)].into(),
            _extra: HashMap::new(),
        };
        let sig = self.key.sign(&signed.canonical_form().unwrap()).unwrap().into();
        serde_json::to_vec_pretty(&Signed { signed, signatures: vec![Signature { keyid, sig }] }).unwrap()
    }

    /// Signs these bundles with all metadata at one version.
    pub async fn sign(&self, version: u64, bundles: &[(u64, &[&str])]) {
        let named =
            bundles.iter().map(|(serial, values)| (bundle_target(Serial(*serial)), bundle(*serial, values)));
        self.sign_files(version, &named.collect::<Vec<_>>()).await;
    }

    /// Signs files under any name.
    pub async fn sign_files(&self, version: u64, files: &[(String, Vec<u8>)]) {
        let inbox = TempDir::new().unwrap();
        let version = NonZeroU64::new(version).unwrap();
        let mut editor = RepositoryEditor::new(self.root_file()).await.unwrap();
        for (name, bytes) in files {
            let file = inbox.path().join(name);
            fs::write(&file, bytes).unwrap();
            editor.add_target_path(file).await.unwrap();
        }
        editor.targets_version(version).unwrap().targets_expires(in_a_week()).unwrap();
        editor.snapshot_version(version).snapshot_expires(in_a_week());
        editor.timestamp_version(version).timestamp_expires(in_a_week());
        let keys: [Box<dyn KeySource>; 1] = [Box::new(Der(self.key.serialize_der()))];
        let signed = editor.sign(&keys).await.unwrap();
        signed.write(self.path().join("metadata")).await.unwrap();
        signed.copy_targets(inbox.path(), self.path().join("targets"), PathExists::Replace).await.unwrap();
    }

    /// Every file, as a desk offers it.
    pub fn files(&self) -> Vec<OfferedFile> {
        let mut files = Vec::new();
        for folder in ["metadata", "targets"] {
            for entry in fs::read_dir(self.path().join(folder)).unwrap().map(Result::unwrap) {
                let path = format!("{folder}/{}", entry.file_name().to_str().unwrap());
                let bytes = entry.metadata().unwrap().len();
                files.push(OfferedFile { path: path.parse().unwrap(), bytes });
            }
        }
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    /// The file of a bundle.
    pub fn target(&self, serial: u64) -> PathBuf {
        self.target_named(&bundle_target(Serial(serial)))
    }

    /// The file of a target.
    pub fn target_named(&self, ending: &str) -> PathBuf {
        let files = fs::read_dir(self.path().join("targets")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|file| file.to_str().unwrap().ends_with(ending)).unwrap()
    }
}

/// What changes from one bundle to another.
pub fn delta(base: &[u8], next: &[u8]) -> Vec<u8> {
    let [mut base, mut next] = [base, next].map(|it| BundleReader::new(it, BundleLimits::default()).unwrap());
    let mut bytes = Vec::new();
    DeltaWriter::write(&mut bytes, &mut base, &mut next, 1_000).unwrap();
    bytes
}

pub fn bundle(serial: u64, values: &[&str]) -> Vec<u8> {
    let indicators = values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap())).collect();
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(serial),
        created: Timestamp::default(),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    let mut bytes = Vec::new();
    BundleWriter::write_all(&mut bytes, indicators, header).unwrap();
    bytes
}

//! Repositories made with `tough`'s editor, then altered in the ways of TUF's list of attacks.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;

use protocol::bundle::BUNDLE_FORMAT;
use protocol::bundle::BundleLimits;
use protocol::delta::DeltaWriter;
use protocol::repository::{bundle_target, delta_target};
use protocol::{BundleHeader, BundleReader, BundleWriter, Indicator, LookFor, Serial, Timestamp};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use tempfile::TempDir;
use tough::editor::RepositoryEditor;
use tough::editor::signed::PathExists;
use tough::key_source::KeySource;
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{Role as _, RoleKeys, RoleType, Root, Signature, Signed};
use tough::sign::{Sign, parse_keypair};
use tough::{FilesystemTransport, Transport, TransportError, TransportStream};
use url::Url;

use super::verify::*;

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

/// A desk with one key for root and one for everything else, its repository, and an agent's folders.
pub(super) struct Desk {
    home: TempDir,
    root_key: KeyPair,
    online_key: KeyPair,
    pub pinned: Vec<u8>,
}

fn tuf_key(key: &KeyPair) -> Key {
    let keyval = Ed25519Key { public: key.der_bytes().to_vec().into(), _extra: HashMap::new() };
    Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: HashMap::new() }
}

fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn in_days(days: i64) -> jiff::Timestamp {
    jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24 * days)
}

fn root_file(version: u64, root_key: &KeyPair, online_key: &KeyPair, signers: &[&KeyPair]) -> Vec<u8> {
    let [root, online] = [root_key, online_key].map(tuf_key);
    let role = |key: &Key| RoleKeys {
        keyids: vec![key.key_id().unwrap()],
        threshold: NonZeroU64::MIN,
        _extra: HashMap::new(),
    };
    let others = [RoleType::Targets, RoleType::Snapshot, RoleType::Timestamp].map(|it| (it, role(&online)));
    let signed = Root {
        spec_version: "1.0.0".into(),
        consistent_snapshot: true,
        version: NonZeroU64::new(version).unwrap(),
        expires: in_days(365),
        roles: others.into_iter().chain([(RoleType::Root, role(&root))]).collect(),
        keys: [root, online].map(|key| (key.key_id().unwrap(), key)).into(),
        _extra: HashMap::new(),
    };
    let message = signed.canonical_form().unwrap();
    let sign = |key: &&KeyPair| Signature {
        keyid: tuf_key(key).key_id().unwrap(),
        sig: key.sign(&message).unwrap().into(),
    };
    let signatures = signers.iter().map(sign).collect();
    serde_json::to_vec_pretty(&Signed { signed, signatures }).unwrap()
}

pub(super) fn bundle(serial: u64, values: &[&str]) -> Vec<u8> {
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

pub(super) fn delta(base: &[u8], next: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let [mut base, mut next] = [base, next].map(|it| BundleReader::new(it, BundleLimits::default()).unwrap());
    DeltaWriter::write(&mut bytes, &mut base, &mut next, 1_000).unwrap();
    bytes
}

/// Bundles 1 to 3 and the deltas to the third, by their names; `edit` alters one before all are signed.
pub(super) fn with_deltas(edit: impl Fn(&str, Vec<u8>) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let bundles =
        [bundle(1, &["a.example"]), bundle(2, &["a.example", "b.example"]), bundle(3, &["b.example"])];
    let mut targets = Vec::new();
    for (serial, base) in (1..).zip(&bundles) {
        targets.push((bundle_target(Serial(serial)), base.clone()));
        if serial < 3 {
            targets.push((delta_target(Serial(serial), Serial(3)), delta(base, &bundles[2])));
        }
    }
    targets.into_iter().map(|(name, bytes)| (name.clone(), edit(&name, bytes))).collect()
}

impl Desk {
    pub fn new() -> Self {
        let (root_key, online_key) = (new_key(), new_key());
        let pinned = root_file(1, &root_key, &online_key, &[&root_key]);
        let desk = Self { home: TempDir::new().unwrap(), root_key, online_key, pinned };
        fs::create_dir_all(desk.path("repository/metadata")).unwrap();
        fs::write(desk.path("repository/metadata/1.root.json"), &desk.pinned).unwrap();
        desk
    }

    pub fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.path("repository/metadata").join(name)
    }

    fn target(&self, serial: u64) -> PathBuf {
        self.target_named(&bundle_target(Serial(serial)))
    }

    /// The one file of the repository's targets whose name ends so.
    fn target_named(&self, ending: &str) -> PathBuf {
        let files = fs::read_dir(self.path("repository/targets")).unwrap();
        let mut files = files.map(|file| file.unwrap().path());
        files.find(|file| file.to_str().unwrap().ends_with(ending)).unwrap()
    }

    /// Signs bundles with all metadata at one version, valid for some days.
    async fn sign(&self, version: u64, bundles: &[(u64, Vec<u8>)], days: i64) {
        let named = bundles.iter().map(|(serial, bytes)| (bundle_target(Serial(*serial)), bytes.clone()));
        self.sign_targets(version, &named.collect::<Vec<_>>(), days).await;
    }

    /// Signs files under any name.
    pub async fn sign_targets(&self, version: u64, targets: &[(String, Vec<u8>)], days: i64) {
        let inbox = TempDir::new().unwrap();
        let mut roots: Vec<PathBuf> = fs::read_dir(self.path("repository/metadata"))
            .unwrap()
            .map(|file| file.unwrap().path())
            .filter(|file| file.to_str().unwrap().ends_with(".root.json"))
            .collect();
        roots.sort();
        let version = NonZeroU64::new(version).unwrap();
        let mut editor = RepositoryEditor::new(roots.last().unwrap()).await.unwrap();
        for (name, bytes) in targets {
            let file = inbox.path().join(name);
            fs::write(&file, bytes).unwrap();
            editor.add_target_path(file).await.unwrap();
        }
        editor.targets_version(version).unwrap().targets_expires(in_days(days)).unwrap();
        editor.snapshot_version(version).snapshot_expires(in_days(days));
        editor.timestamp_version(version).timestamp_expires(in_days(days));
        let keys: [Box<dyn KeySource>; 1] = [Box::new(Der(self.online_key.serialize_der()))];
        let signed = editor.sign(&keys).await.unwrap();
        signed.write(self.path("repository/metadata")).await.unwrap();
        let out = self.path("repository/targets");
        signed.copy_targets(inbox.path(), out, PathExists::Replace).await.unwrap();
    }

    async fn verify(&self) -> Result<Verified, Refusal> {
        self.verify_from(Repository::folder(&self.path("repository"))).await
    }

    async fn verify_from(&self, repository: Repository) -> Result<Verified, Refusal> {
        verify(repository, &self.pinned, &self.path("tuf"), &self.path("bundles"), Wanted::FULL).await
    }

    /// As a sensor asks that has a bundle in force and reads every line itself.
    async fn verify_since(&self, in_force: u64) -> Result<Verified, Refusal> {
        let wanted = Wanted { in_force: Some((Serial(in_force), None)), lines: Lines::LeftToCaller };
        let repository = Repository::folder(&self.path("repository"));
        verify(repository, &self.pinned, &self.path("tuf"), &self.path("bundles"), wanted).await
    }

    /// Verifies and expects a refusal whose sentence has these words, and nothing left of the attempt.
    async fn refused(&self, words: &str) -> Refusal {
        let before = self.left();
        let refused = self.verify().await.map(|verified| verified.serial).unwrap_err();
        assert!(refused.to_string().contains(words), "{refused:?}: {refused}");
        assert_eq!(self.left(), before, "after {refused}");
        refused
    }

    /// Every file of the agent's side with its bytes.
    fn left(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folders = ["tuf", "bundles"].map(|folder| fs::read_dir(self.path(folder)));
        let files = folders.into_iter().flatten().flatten().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }
}

#[tokio::test]
async fn a_good_repository_gives_its_newest_bundle() {
    let desk = Desk::new();
    let bundles = [(9, bundle(9, &["old.example"])), (10, bundle(10, &["a.example", "203.0.113.5"]))];
    desk.sign(1, &bundles, 7).await;
    let verified = desk.verify().await.unwrap();
    assert_eq!((verified.serial, verified.delta_from()), (Serial(10), None));
    let (header, file) = verified.into_full().unwrap();
    assert_eq!((header.serial, header.indicators), (Serial(10), 2));
    assert_eq!(file, desk.path("bundles/bundle-10.jsonl.zst"));
    assert_eq!(fs::read(&file).unwrap(), bundles[1].1);
    let again = desk.verify().await.unwrap();
    assert_eq!(again.serial, Serial(10));
}

#[tokio::test]
async fn a_sensor_takes_the_changes_to_the_bundle_that_it_has() {
    let desk = Desk::new();
    let targets = with_deltas(|_, bytes| bytes);
    desk.sign_targets(1, &targets, 7).await;
    for (in_force, name, delta_from) in [
        (1, "delta-1-3.jsonl.zst", Some(Serial(1))),
        (2, "delta-2-3.jsonl.zst", Some(Serial(2))),
        (0, "bundle-3.jsonl.zst", None),
    ] {
        let verified = desk.verify_since(in_force).await.unwrap();
        assert_eq!((verified.serial, verified.delta_from()), (Serial(3), delta_from));
        let (Taken::Full { file, .. } | Taken::Delta { file, .. }) = verified.taken else {
            panic!("{in_force}")
        };
        assert_eq!(file, desk.path("bundles").join(name));
        let signed = &targets.iter().find(|(known, _)| known == name).unwrap().1;
        assert_eq!(fs::read(&file).unwrap(), *signed);
        fs::remove_file(&file).unwrap();
    }
    for in_force in [3, 4] {
        let verified = desk.verify_since(in_force).await.unwrap();
        assert!(matches!(verified.taken, Taken::Nothing), "{in_force}");
        assert_eq!(verified.serial, Serial(3));
        assert!(verified.into_full().is_err());
    }
    assert_eq!(fs::read_dir(desk.path("bundles")).unwrap().count(), 0, "nothing else was left");
}

#[tokio::test]
async fn changes_that_cannot_be_used_cost_nothing_but_the_full_bundle() {
    let desk = Desk::new();
    let targets = with_deltas(|_, bytes| bytes);
    let other = targets.iter().find(|(name, _)| name == "delta-2-3.jsonl.zst").unwrap().1.clone();
    let spoiled: [&dyn Fn(&PathBuf); 3] =
        [&|path| fs::remove_file(path).unwrap(), &|path| fs::write(path, b"cut").unwrap(), &|path| {
            fs::write(path, fs::read(path).unwrap().into_iter().rev().collect::<Vec<_>>()).unwrap()
        }];
    for (version, spoil) in (1..).zip(spoiled) {
        desk.sign_targets(version, &targets, 7).await;
        spoil(&desk.target_named("delta-1-3.jsonl.zst"));
        assert_eq!(desk.verify_since(1).await.unwrap().delta_from(), None);
        // Who reads for all the others says so instead.
        assert!(desk.verify().await.unwrap_err().to_string().contains("delta-1-3.jsonl.zst"));
        fs::remove_dir_all(desk.path("repository/targets")).unwrap();
    }
    for (version, wrong, words) in [
        (4, other, "says that it leads from bundle 2 to 3"),
        (5, b"not zstd".to_vec(), "delta-1-3.jsonl.zst cannot be read"),
    ] {
        let edit = |name: &str, bytes| if name == "delta-1-3.jsonl.zst" { wrong.clone() } else { bytes };
        desk.sign_targets(version, &with_deltas(edit), 7).await;
        assert_eq!(desk.verify_since(1).await.unwrap().delta_from(), None);
        assert_eq!(desk.verify_since(2).await.unwrap().delta_from(), Some(Serial(2)));
        assert!(desk.verify().await.unwrap_err().to_string().contains(words));
    }
}

#[tokio::test]
async fn lines_are_read_by_one_of_the_two() {
    let desk = Desk::new();
    // A second compressed frame after the first: one line more than the header promises.
    let overfull = [bundle(1, &["a.example"]), bundle(1, &["b.example"])].concat();
    desk.sign(1, &[(1, overfull)], 7).await;
    desk.refused("bundle-1.jsonl.zst cannot be read").await;
    let verified = desk.verify_since(0).await.unwrap();
    assert_eq!(verified.into_full().unwrap().0.indicators, 1);
}

#[tokio::test]
async fn a_bundle_that_was_altered_cut_or_prolonged_is_refused() {
    let desk = Desk::new();
    let good = bundle(1, &["a.example"]);
    desk.sign(1, &[(1, good.clone())], 7).await;
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for (altered, words) in [
        (flipped, "SHA-256 differs"),
        (good[..good.len() - 1].to_vec(), "SHA-256 differs"),
        ([good.as_slice(), b"!"].concat(), "longer than its limit"),
        (bundle(1, &["b.example"]), ""),
    ] {
        fs::write(desk.target(1), altered).unwrap();
        desk.refused(words).await;
    }
    fs::write(desk.target(1), good).unwrap();
    desk.verify().await.unwrap();
}

#[tokio::test]
async fn what_a_stranger_signed_is_refused() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let stranger = Desk::new();
    stranger.sign(2, &[(2, bundle(2, &["b.example"]))], 7).await;
    for name in ["timestamp.json", "2.snapshot.json", "2.targets.json"] {
        fs::copy(stranger.metadata(name), desk.metadata(name)).unwrap();
    }
    fs::copy(
        stranger.target(2),
        desk.path("repository/targets").join(stranger.target(2).file_name().unwrap()),
    )
    .unwrap();
    let refused = desk.refused("not the COSC's").await;
    assert!(matches!(refused, Refusal::Signature { role } if role == "timestamp"));
}

#[tokio::test]
async fn a_stolen_online_key_cannot_be_mixed_with_a_strangers_targets() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let stranger = Desk::new();
    stranger.sign(1, &[(2, bundle(2, &["b.example"]))], 7).await;
    fs::copy(stranger.metadata("1.targets.json"), desk.metadata("1.targets.json")).unwrap();
    desk.refused("1.targets.json").await;
}

#[tokio::test]
async fn older_metadata_than_was_seen_is_refused_even_after_a_new_root() {
    let mut desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let kept: Vec<_> = ["timestamp.json", "1.snapshot.json", "1.targets.json"]
        .map(|name| (desk.metadata(name), fs::read(desk.metadata(name)).unwrap()))
        .into();
    desk.sign(2, &[(2, bundle(2, &["b.example"]))], 7).await;
    assert_eq!(desk.verify().await.unwrap().serial, Serial(2));
    for (path, bytes) in &kept {
        fs::write(path, bytes).unwrap();
    }
    assert!(matches!(desk.refused("older than the one").await, Refusal::Rollback(_)));

    let online_key = new_key();
    let root = root_file(2, &desk.root_key, &online_key, &[&desk.root_key]);
    fs::write(desk.metadata("2.root.json"), &root).unwrap();
    desk.refused("not the COSC's").await; // the old online key speaks no longer
    desk.online_key = online_key;
    desk.sign(3, &[(3, bundle(3, &["c.example"]))], 7).await;
    let old = fs::read(desk.metadata("timestamp.json")).unwrap();
    desk.sign(4, &[(3, bundle(3, &["c.example"]))], 7).await;
    let verified = desk.verify().await.unwrap();
    let newest: Signed<Root> = serde_json::from_slice(&verified.root).unwrap();
    assert_eq!(newest.signed.version.get(), 2);
    fs::write(desk.metadata("timestamp.json"), old).unwrap();
    desk.refused("older than the one").await;
}

#[tokio::test]
async fn a_root_that_was_replaced_does_not_come_back() {
    let mut desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let leaked = std::mem::replace(&mut desk.online_key, new_key());
    let root = root_file(2, &desk.root_key, &desk.online_key, &[&desk.root_key]);
    fs::write(desk.metadata("2.root.json"), &root).unwrap();
    desk.sign(2, &[(2, bundle(2, &["b.example"]))], 7).await;
    desk.verify().await.unwrap();
    fs::remove_file(desk.metadata("2.root.json")).unwrap();
    desk.online_key = leaked;
    desk.sign(9, &[(9, bundle(9, &["innocent.example"]))], 7).await;
    desk.refused("not the COSC's").await;
}

#[tokio::test]
async fn a_new_root_needs_the_old_roots_signature() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let stranger = new_key();
    let root = root_file(2, &stranger, &stranger, &[&stranger]);
    fs::write(desk.metadata("2.root.json"), root).unwrap();
    assert!(matches!(desk.refused("root").await, Refusal::Signature { role } if role == "root"));
}

#[tokio::test]
async fn expired_metadata_is_refused() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], -1).await;
    assert!(matches!(desk.refused("expired").await, Refusal::Expired { .. }));
}

#[tokio::test]
async fn a_clock_that_went_back_is_noticed() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    desk.verify().await.unwrap();
    let later = serde_json::to_vec(&in_days(3)).unwrap();
    fs::write(desk.path("tuf/latest_known_time.json"), later).unwrap();
    assert!(matches!(desk.refused("clock").await, Refusal::Clock(_)));
}

#[tokio::test]
async fn what_is_missing_or_cut_is_named() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    let names = ["timestamp.json", "1.snapshot.json", "1.targets.json"].map(|name| desk.metadata(name));
    for path in names.into_iter().chain([desk.target(1)]) {
        let name = path.file_name().unwrap().to_str().unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(matches!(desk.refused(name).await, Refusal::Missing { .. }), "{name}");
        for cut in [0, bytes.len() / 2, bytes.len() - 2] {
            fs::write(&path, &bytes[..cut]).unwrap();
            desk.refused("").await;
        }
        fs::write(&path, bytes).unwrap();
    }
    desk.verify().await.unwrap();
}

#[tokio::test]
async fn a_signed_file_that_is_no_bundle_or_another_is_refused() {
    let desk = Desk::new();
    desk.sign(1, &[(1, b"not zstd".to_vec())], 7).await;
    assert!(matches!(desk.refused("bundle-1.jsonl.zst cannot be read").await, Refusal::Bundle { .. }));
    desk.sign(2, &[(2, bundle(7, &["a.example"]))], 7).await;
    desk.refused("says that it is number 7").await;
    desk.sign(3, &[], 7).await;
    desk.refused("holds no bundle").await;
}

#[tokio::test]
async fn another_pinned_root_forgets_what_was_remembered() {
    let desk = Desk::new();
    desk.sign(5, &[(5, bundle(5, &["a.example"]))], 7).await;
    desk.verify().await.unwrap();
    let other = Desk::new();
    other.sign(1, &[(1, bundle(1, &["b.example"]))], 7).await;
    let repository = Repository::folder(&other.path("repository"));
    let (tuf, into) = (desk.path("tuf"), desk.path("bundles"));
    let verified = verify(repository, &other.pinned, &tuf, &into, Wanted::FULL).await;
    assert_eq!(verified.unwrap().serial, Serial(1));
    let repository = Repository::folder(&other.path("repository"));
    let refused = verify(repository, b"{}", &tuf, &into, Wanted::FULL).await.unwrap_err();
    assert!(matches!(refused, Refusal::Root(_)), "{refused}");
}

/// Serves a folder as a collector would, but a file whose name ends so never ends.
#[derive(Clone, Debug)]
pub(super) struct Endless {
    pub folder: PathBuf,
    pub ending: &'static str,
}

#[tough::async_trait]
impl Transport for Endless {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        if url.path().ends_with(self.ending) {
            let chunk = || Ok(tough::Bytes::from(vec![b' '; 1 << 20]));
            return Ok(Box::pin(futures_util::stream::repeat_with(chunk)));
        }
        assert_eq!(url.scheme(), "vedetta");
        let path = self.folder.join(url.path().trim_start_matches('/'));
        FilesystemTransport.fetch(Url::from_file_path(path).unwrap()).await
    }
}

#[tokio::test]
async fn endless_data_stops_at_the_limit() {
    let desk = Desk::new();
    desk.sign(1, &[(1, bundle(1, &["a.example"]))], 7).await;
    for ending in ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", ".zst"] {
        let transport = Endless { folder: desk.path("repository"), ending };
        let refused = desk.verify_from(Repository::over(transport)).await.unwrap_err();
        assert!(matches!(&refused, Refusal::TooLarge { file, .. } if file.ends_with(ending)), "{refused:?}");
    }
    let transport = Endless { folder: desk.path("repository"), ending: "nothing" };
    desk.verify_from(Repository::over(transport)).await.unwrap();
}

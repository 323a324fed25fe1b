//! TUF's list of attacks, one line each: what somebody does to a repository that a sensor trusts, the word with which it
//! is refused, nothing remembered of it, and the honest repository believed again afterwards.

use std::collections::HashMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::PathBuf;

use protocol::repository::bundle_target;
use protocol::{BundleHeader, Serial};
use rcgen::{KeyPair, PKCS_ED25519, PublicKeyData as _, SigningKey as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tough::TargetName;
use tough::schema::key::{Ed25519Key, Ed25519Scheme, Key};
use tough::schema::{
    DelegatedRole, Delegations, Hashes, Metafile, PathPattern, PathSet, Role, RoleKeys, RoleType, Root,
    Signature, Signed, Snapshot, Target, Targets, Timestamp as TimestampRole,
};

use super::verify::*;
use super::verify_tests::{Endless, bundle};

/// Keys of a COSC as its desk makes them: root 2 of 3, one for the targets, one each of desk and collector for the
/// online roles.
pub(super) struct Keys {
    root: Vec<KeyPair>,
    pub targets: KeyPair,
    pub online: Vec<KeyPair>,
}

/// One state of a repository; every part of it can be wrong by itself.
#[derive(Clone)]
pub(super) struct Plan {
    pub root: u64,
    pub timestamp: u64,
    pub snapshot: u64,
    pub targets: u64,
    pub serial: u64,
    /// Days until root, timestamp, snapshot and targets expire.
    pub days: [i64; 4],
    /// What the timestamp says of the snapshot and the snapshot of the targets, where that is not the truth.
    pub snapshot_said: Option<u64>,
    pub targets_said: Option<u64>,
}

impl Plan {
    pub(super) fn honest(version: u64) -> Self {
        Self {
            root: 1,
            timestamp: version,
            snapshot: version,
            targets: version,
            serial: version,
            days: [365, 1, 7, 90],
            snapshot_said: None,
            targets_said: None,
        }
    }
}

pub(super) struct Place {
    home: TempDir,
    pub keys: Keys,
    pub pinned: Vec<u8>,
}

pub(super) fn new_key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ED25519).unwrap()
}

fn new_keys() -> Keys {
    Keys {
        root: vec![new_key(), new_key(), new_key()],
        targets: new_key(),
        online: vec![new_key(), new_key()],
    }
}

fn extra() -> HashMap<String, Value> {
    HashMap::new()
}

fn number(version: u64) -> NonZeroU64 {
    NonZeroU64::new(version).unwrap()
}

fn in_days(days: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + days * 86_400).unwrap()
}

fn tuf_key(key: &KeyPair) -> Key {
    let keyval = Ed25519Key { public: key.der_bytes().to_vec().into(), _extra: extra() };
    Key::Ed25519 { keyval, scheme: Ed25519Scheme::Ed25519, _extra: extra() }
}

fn signed<R: Role>(role: R, signers: &[&KeyPair]) -> Vec<u8> {
    let message = role.canonical_form().unwrap();
    let signature = |key: &&KeyPair| Signature {
        keyid: tuf_key(key).key_id().unwrap(),
        sig: key.sign(&message).unwrap().into(),
    };
    serde_json::to_vec(&Signed { signed: role, signatures: signers.iter().map(signature).collect() }).unwrap()
}

fn hashes(bytes: &[u8]) -> Hashes {
    Hashes { sha256: Sha256::digest(bytes).to_vec().into(), _extra: extra() }
}

fn metafile(version: u64, bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(hashes(bytes)),
        version: number(version),
        _extra: extra(),
    }
}

fn root_of(version: u64, keys: &Keys, days: i64) -> Root {
    let role = |keys: &[&KeyPair], threshold| RoleKeys {
        keyids: keys.iter().map(|key| tuf_key(key).key_id().unwrap()).collect(),
        threshold: number(threshold),
        _extra: extra(),
    };
    let online: Vec<&KeyPair> = keys.online.iter().collect();
    let all = keys.root.iter().chain([&keys.targets]).chain(&keys.online);
    Root {
        spec_version: "1.0.0".into(),
        consistent_snapshot: true,
        version: number(version),
        expires: in_days(days),
        roles: [
            (RoleType::Root, role(&keys.root.iter().collect::<Vec<_>>(), 2)),
            (RoleType::Targets, role(&[&keys.targets], 1)),
            (RoleType::Snapshot, role(&online, 1)),
            (RoleType::Timestamp, role(&online, 1)),
        ]
        .into(),
        keys: all.map(|key| (tuf_key(key).key_id().unwrap(), tuf_key(key))).collect(),
        _extra: extra(),
    }
}

impl Place {
    pub(super) fn new() -> Self {
        let keys = new_keys();
        let pinned = signed(root_of(1, &keys, 365), &[&keys.root[0], &keys.root[1]]);
        let place = Self { home: TempDir::new().unwrap(), keys, pinned };
        for folder in ["metadata", "targets"] {
            fs::create_dir_all(place.path("repository").join(folder)).unwrap();
        }
        place.put("1.root.json", &place.pinned);
        place
    }

    pub(super) fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        fs::write(self.path("repository/metadata").join(name), bytes).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path("repository/metadata").join(name)).unwrap()
    }

    /// Signs everything by plan, with the collector's key in the online roles.
    pub(super) fn publish(&self, plan: &Plan) {
        let bytes = bundle(plan.serial, &["evil.example"]);
        let name = bundle_target(Serial(plan.serial));
        let path = format!("targets/{}.{name}", protocol::text::Hex(&Sha256::digest(&bytes)));
        fs::write(self.path("repository").join(path), &bytes).unwrap();
        let target =
            Target { length: bytes.len() as u64, hashes: hashes(&bytes), custom: extra(), _extra: extra() };
        let targets = Targets {
            spec_version: "1.0.0".into(),
            version: number(plan.targets),
            expires: in_days(plan.days[3]),
            targets: [(TargetName::new(name).unwrap(), target)].into(),
            delegations: None,
            _extra: extra(),
        };
        let targets = signed(targets, &[&self.keys.targets]);
        let said = plan.targets_said.unwrap_or(plan.targets);
        self.put(&format!("{said}.targets.json"), &targets);
        let mut snapshot = Snapshot::new("1.0.0".into(), number(plan.snapshot), in_days(plan.days[2]));
        snapshot.meta.insert("targets.json".into(), metafile(said, &targets));
        let snapshot = signed(snapshot, &[&self.keys.online[1]]);
        let said = plan.snapshot_said.unwrap_or(plan.snapshot);
        self.put(&format!("{said}.snapshot.json"), &snapshot);
        let timestamp = TimestampRole {
            spec_version: "1.0.0".into(),
            version: number(plan.timestamp),
            expires: in_days(plan.days[1]),
            meta: [("snapshot.json".into(), metafile(said, &snapshot))].into(),
            _extra: extra(),
        };
        self.put("timestamp.json", &signed(timestamp, &[&self.keys.online[1]]));
        if plan.root > 1 || plan.days[0] != 365 {
            let [first, second, _] = self.keys.root.as_slice() else { panic!("three root keys") };
            let root = root_of(plan.root, &self.keys, plan.days[0]);
            self.put(&format!("{}.root.json", plan.root), &signed(root, &[first, second]));
        }
    }

    /// New keys for everything, named by a root that the old and the new keys sign.
    fn replace_keys(&mut self, version: u64, days: i64) {
        let new = new_keys();
        let root = root_of(version, &new, days);
        let signers = [&self.keys.root[0], &self.keys.root[2], &new.root[0], &new.root[1]];
        self.put(&format!("{version}.root.json"), &signed(root, &signers));
        self.keys = new;
    }

    async fn verify(&self) -> Result<BundleHeader, Refusal> {
        self.verify_from(Repository::folder(&self.path("repository"))).await
    }

    /// As a collector gives the files out, one by one.
    async fn verify_over_the_wire(&self) -> Result<BundleHeader, Refusal> {
        let collector = Endless { folder: self.path("repository"), ending: "nothing" };
        self.verify_from(Repository::over(collector)).await
    }

    async fn verify_from(&self, repository: Repository) -> Result<BundleHeader, Refusal> {
        let (tuf, into) = (self.path("tuf"), self.path("taken"));
        let verified = verify(repository, &self.pinned, &tuf, &into, Wanted::FULL).await?;
        let (header, file) = verified.into_full()?;
        fs::remove_file(file).unwrap();
        Ok(header)
    }

    pub(super) async fn believed(&self, serial: u64) {
        assert_eq!(self.verify().await.unwrap().serial, Serial(serial));
    }

    /// Every file of the sensor's side with its bytes.
    fn remembered(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let folders = ["tuf", "taken"].map(|folder| fs::read_dir(self.path(folder)));
        let files = folders.into_iter().flatten().flatten().map(|file| file.unwrap().path());
        let mut files: Vec<_> = files.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
        files.sort();
        files
    }

    pub(super) async fn refused(&self, attack: &str, words: &str) {
        let before = self.remembered();
        let told = match self.verify().await {
            Ok(header) => panic!("{attack}: bundle {} is believed", header.serial),
            Err(refusal) => refusal.to_string(),
        };
        assert!(told.contains(words), "{attack}: {told}");
        assert!(self.remembered() == before, "{attack}: something was remembered");
    }
}

/// What somebody does to a repository of version 5 that the sensor has seen.
type Attack = fn(&Place);

/// Signs again what a file holds, edited, with these keys.
fn resigned(place: &Place, name: &str, signers: &[&KeyPair], edit: impl Fn(&mut Value)) {
    let mut file: Value = serde_json::from_slice(&place.read(name)).unwrap();
    edit(&mut file["signed"]);
    let bytes = match file["signed"]["_type"].as_str().unwrap() {
        "root" => signed(serde_json::from_value::<Root>(file["signed"].clone()).unwrap(), signers),
        "timestamp" => {
            signed(serde_json::from_value::<TimestampRole>(file["signed"].clone()).unwrap(), signers)
        }
        "snapshot" => signed(serde_json::from_value::<Snapshot>(file["signed"].clone()).unwrap(), signers),
        _ => signed(serde_json::from_value::<Targets>(file["signed"].clone()).unwrap(), signers),
    };
    place.put(name, &bytes);
}

const ATTACKS: &[(&str, &str, Attack)] = &[
    ("arbitrary software: a stranger signs the timestamp", "not the COSC's", |place| {
        resigned(place, "timestamp.json", &[&new_key()], |_| {});
    }),
    ("arbitrary software: the online key signs targets", "not the COSC's", |place| {
        place.publish(&Plan::honest(6));
        resigned(place, "6.targets.json", &[&place.keys.online[1]], |_| {});
        let targets = place.read("6.targets.json");
        let mut snapshot = Snapshot::new("1.0.0".into(), number(6), in_days(7));
        snapshot.meta.insert("targets.json".into(), metafile(6, &targets));
        let snapshot = signed(snapshot, &[&place.keys.online[1]]);
        place.put("6.snapshot.json", &snapshot);
        let timestamp = TimestampRole {
            spec_version: "1.0.0".into(),
            version: number(6),
            expires: in_days(1),
            meta: [("snapshot.json".into(), metafile(6, &snapshot))].into(),
            _extra: extra(),
        };
        place.put("timestamp.json", &signed(timestamp, &[&place.keys.online[1]]));
    }),
    ("arbitrary software: the targets key signs the timestamp", "not the COSC's", |place| {
        resigned(place, "timestamp.json", &[&place.keys.targets], |_| {});
    }),
    ("rollback of the timestamp", "older than the one", |place| {
        place.publish(&Plan { timestamp: 4, ..Plan::honest(6) });
    }),
    ("rollback of the snapshot", "older than the one", |place| {
        place.publish(&Plan { snapshot: 4, ..Plan::honest(6) });
    }),
    ("rollback of the targets", "older than the one", |place| {
        place.publish(&Plan { targets: 4, ..Plan::honest(6) });
    }),
    ("freeze: an expired timestamp", "timestamp metadata has expired", |place| {
        place.publish(&Plan { days: [365, -1, 7, 90], ..Plan::honest(6) });
    }),
    ("freeze: an expired snapshot", "snapshot metadata has expired", |place| {
        place.publish(&Plan { days: [365, 1, -1, 90], ..Plan::honest(6) });
    }),
    ("freeze: expired targets", "targets metadata has expired", |place| {
        place.publish(&Plan { days: [365, 1, 7, -1], ..Plan::honest(6) });
    }),
    ("freeze: an expired root", "root metadata has expired", |place| {
        place.publish(&Plan { root: 2, days: [-1, 1, 7, 90], ..Plan::honest(6) });
    }),
    ("mix and match: an old snapshot under the new name", "6.snapshot.json", |place| {
        place.publish(&Plan::honest(6));
        place.put("6.snapshot.json", &place.read("5.snapshot.json"));
    }),
    ("mix and match: old targets under the new name", "6.targets.json", |place| {
        place.publish(&Plan::honest(6));
        place.put("6.targets.json", &place.read("5.targets.json"));
    }),
    ("mix and match: a snapshot of another version than said", "versions are mixed", |place| {
        place.publish(&Plan { snapshot_said: Some(7), ..Plan::honest(6) });
    }),
    ("mix and match: targets of another version than said", "versions are mixed", |place| {
        place.publish(&Plan { targets_said: Some(7), ..Plan::honest(6) });
    }),
    ("wrong software: a bundle under another's name", "says that it is number 6", |place| {
        place.publish(&Plan::honest(6));
        let bytes = bundle(6, &["evil.example"]);
        let path = format!("targets/{}.bundle-7.jsonl.zst", protocol::text::Hex(&Sha256::digest(&bytes)));
        fs::write(place.path("repository").join(path), &bytes).unwrap();
        chain(place, 6, |targets| {
            let target = targets.targets.values().next().unwrap().clone();
            targets.targets = [(TargetName::new("bundle-7.jsonl.zst").unwrap(), target)].into();
        });
    }),
    ("wrong length: fewer bytes signed than there are", "longer than its limit", |place| {
        place.publish(&Plan::honest(6));
        chain(place, 6, |targets| targets.targets.values_mut().for_each(|target| target.length -= 1));
    }),
    ("wrong hash: other bytes under the signed name", "", |place| {
        place.publish(&Plan::honest(6));
        let named = fs::read_dir(place.path("repository/targets")).unwrap().map(|file| file.unwrap().path());
        for path in named.filter(|path| path.to_str().unwrap().contains("bundle-6")) {
            let mut bytes = fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            fs::write(path, bytes).unwrap();
        }
    }),
    ("endless data: targets longer than any bundle", "longer than its limit", |place| {
        place.publish(&Plan::honest(6));
        chain(place, 6, |targets| targets.targets.values_mut().for_each(|target| target.length = u64::MAX));
    }),
    ("a root that skips a version", "root", |place| {
        place.publish(&Plan::honest(6));
        let root = root_of(3, &place.keys, 365);
        place.put("2.root.json", &signed(root, &[&place.keys.root[0], &place.keys.root[1]]));
    }),
    ("a root of the same version", "root", |place| {
        place.put("2.root.json", &place.read("1.root.json"));
    }),
    ("threshold: a root signed by one of three", "root metadata is not the COSC's", |place| {
        let root = root_of(2, &place.keys, 365);
        place.put("2.root.json", &signed(root, &[&place.keys.root[0]]));
    }),
    ("threshold: one key signs twice (RUSTSEC-2020-0024)", "root metadata is not the COSC's", |place| {
        let root = root_of(2, &place.keys, 365);
        place.put("2.root.json", &signed(root, &[&place.keys.root[0], &place.keys.root[0]]));
    }),
    ("threshold: one key under two identifiers (RUSTSEC-2020-0024)", "metadata", |place| {
        let root = root_of(2, &place.keys, 365);
        let mut file: Value = serde_json::from_slice(&signed(root, &[&place.keys.root[0]])).unwrap();
        let again = file["signatures"][0].clone();
        let own = again["keyid"].as_str().unwrap().to_owned();
        let other = "0".repeat(64);
        file["signed"]["keys"][&other] = file["signed"]["keys"][&own].clone();
        file["signed"]["roles"]["root"]["keyids"].as_array_mut().unwrap().push(other.clone().into());
        file["signatures"].as_array_mut().unwrap().push(again);
        file["signatures"][1]["keyid"] = other.into();
        place.put("2.root.json", &serde_json::to_vec(&file).unwrap());
    }),
    ("threshold: old keys alone sign a root with new ones", "root metadata is not the COSC's", |place| {
        let new = new_keys();
        let root = root_of(2, &new, 365);
        place.put("2.root.json", &signed(root, &[&place.keys.root[0], &place.keys.root[1]]));
    }),
    ("threshold: new keys alone sign themselves in", "root metadata is not the COSC's", |place| {
        let new = new_keys();
        let root = root_of(2, &new, 365);
        place.put("2.root.json", &signed(root, &[&new.root[0], &new.root[1]]));
    }),
    ("threshold: one old and one new key", "root metadata is not the COSC's", |place| {
        let new = new_keys();
        let root = root_of(2, &new, 365);
        place.put("2.root.json", &signed(root, &[&place.keys.root[0], &new.root[1]]));
    }),
    // CVE-2025-2888: the timestamp is right and would raise what is remembered, the snapshot is not.
    ("remembering too early: a high timestamp over an old snapshot", "older than the one", |place| {
        place.publish(&Plan { timestamp: 1_000, snapshot: 4, ..Plan::honest(6) });
    }),
    ("remembering too early: high online metadata over old targets", "older than the one", |place| {
        place.publish(&Plan { timestamp: 1_000, snapshot: 1_000, targets: 4, ..Plan::honest(6) });
    }),
    ("remembering too early: all metadata right, the bundle missing", "missing in the repository", |place| {
        place.publish(&Plan {
            timestamp: 1_000,
            snapshot: 1_000,
            targets: 1_000,
            serial: 9,
            ..Plan::honest(6)
        });
        fs::remove_dir_all(place.path("repository/targets")).unwrap();
        fs::create_dir(place.path("repository/targets")).unwrap();
    }),
    // A sensor's clock a year ahead sees everything a year nearer to its end.
    ("a clock a year ahead", "this machine's clock is wrong", |place| {
        place.publish(&Plan { days: [365, 1 - 365, 7 - 365, 90 - 365], ..Plan::honest(6) });
    }),
];

/// Edits the targets of a version and signs everything over them again.
fn chain(place: &Place, version: u64, edit: impl Fn(&mut Targets)) {
    chain_with(place, version, None, edit);
}

/// Does so beside the metadata of a role that they delegate to.
fn chain_with(place: &Place, version: u64, delegated: Option<(&str, &[u8])>, edit: impl Fn(&mut Targets)) {
    let file: Signed<Targets> =
        serde_json::from_slice(&place.read(&format!("{version}.targets.json"))).unwrap();
    let mut targets = file.signed;
    edit(&mut targets);
    let targets = signed(targets, &[&place.keys.targets]);
    place.put(&format!("{version}.targets.json"), &targets);
    let mut snapshot = Snapshot::new("1.0.0".into(), number(version), in_days(7));
    snapshot.meta.insert("targets.json".into(), metafile(version, &targets));
    if let Some((role, metadata)) = delegated {
        place.put(&format!("1.{role}.json"), metadata);
        snapshot.meta.insert(format!("{role}.json"), metafile(1, metadata));
    }
    let snapshot = signed(snapshot, &[&place.keys.online[0]]);
    place.put(&format!("{version}.snapshot.json"), &snapshot);
    let timestamp = TimestampRole {
        spec_version: "1.0.0".into(),
        version: number(version),
        expires: in_days(1),
        meta: [("snapshot.json".into(), metafile(version, &snapshot))].into(),
        _extra: extra(),
    };
    place.put("timestamp.json", &signed(timestamp, &[&place.keys.online[0]]));
}

#[tokio::test]
async fn every_attack_is_refused_leaves_nothing_and_ends_with_it() {
    for (attack, words, act) in ATTACKS {
        let place = Place::new();
        place.publish(&Plan::honest(5));
        place.believed(5).await;
        act(&place);
        place.refused(attack, words).await;
        let _ = fs::remove_file(place.path("repository/metadata/2.root.json"));
        place.publish(&Plan::honest(6));
        place.believed(6).await;
    }
}

#[tokio::test]
async fn files_that_no_metadata_names_are_never_fetched() {
    let place = Place::new();
    place.publish(&Plan::honest(5));
    // Extraneous dependencies: a later bundle lies there, and a delegation nobody signed names it.
    let bytes = bundle(9, &["extraneous.example"]);
    for name in [
        "bundle-9.jsonl.zst".to_owned(),
        format!("{}.bundle-9.jsonl.zst", protocol::text::Hex(&Sha256::digest(&bytes))),
    ] {
        fs::write(place.path("repository/targets").join(name), &bytes).unwrap();
    }
    place.put("1.extraneous.json", b"{}");
    place.believed(5).await;
}

#[tokio::test]
async fn what_others_sign_by_delegation_is_no_bundle() {
    let place = Place::new();
    place.publish(&Plan::honest(5));
    let (other, bytes) = (new_key(), bundle(9, &["delegated.example"]));
    let name = bundle_target(Serial(9));
    let file = format!("repository/targets/{}.{name}", protocol::text::Hex(&Sha256::digest(&bytes)));
    fs::write(place.path(&file), &bytes).unwrap();
    let target =
        Target { length: bytes.len() as u64, hashes: hashes(&bytes), custom: extra(), _extra: extra() };
    let mut theirs = Targets::new("1.0.0".into(), number(1), in_days(90));
    (theirs.delegations, theirs.targets) = (None, [(TargetName::new(name).unwrap(), target)].into());
    let role = DelegatedRole {
        name: "other".into(),
        keyids: vec![tuf_key(&other).key_id().unwrap()],
        threshold: number(1),
        paths: PathSet::Paths(vec![PathPattern::new("*").unwrap()]),
        terminating: false,
        targets: None,
    };
    let keys: HashMap<_, _> = [(tuf_key(&other).key_id().unwrap(), tuf_key(&other))].into();
    let theirs = signed(theirs, &[&other]);
    chain_with(&place, 5, Some(("other", &theirs)), |targets| {
        targets.delegations = Some(Delegations { keys: keys.clone(), roles: vec![role.clone()] });
    });
    place.believed(5).await;
}

#[tokio::test]
async fn a_fast_forward_ends_with_the_key_that_signed_it() {
    let mut place = Place::new();
    place.publish(&Plan::honest(5));
    place.believed(5).await;
    // Somebody with the collector's key leaves no version for anybody else.
    let high = u64::MAX - 1;
    place.publish(&Plan { timestamp: high, snapshot: high, ..Plan::honest(5) });
    place.believed(5).await;
    place.publish(&Plan::honest(6));
    place.refused("an honest repository after it", "older than the one").await;
    let stolen = place.keys.online.pop().unwrap();
    place.keys.online.push(new_key());
    place.publish(&Plan { root: 2, ..Plan::honest(6) });
    place.believed(6).await;
    resigned(&place, "timestamp.json", &[&stolen], |_| {});
    place.refused("the key that was replaced", "not the COSC's").await;
}

#[tokio::test]
async fn a_clock_that_was_a_year_behind_catches_up() {
    let place = Place::new();
    // What it sees then is a year further from its end.
    place.publish(&Plan { days: [365, 366, 372, 455], ..Plan::honest(5) });
    place.believed(5).await;
    place.publish(&Plan::honest(6));
    place.believed(6).await;
}

#[tokio::test]
async fn months_and_three_roots_later_the_newest_bundle_is_taken() {
    let mut place = Place::new();
    place.publish(&Plan::honest(5));
    place.believed(5).await;
    let old = place.read("timestamp.json");
    for version in 2..=4 {
        // Each of them has expired meanwhile, but the last.
        let days = if version == 4 { 365 } else { -30 };
        place.replace_keys(version, days);
        place.publish(&Plan { days: [365, days.min(1), days, days], ..Plan::honest(5 + version) });
    }
    let known = place.remembered();
    assert_eq!(place.verify_over_the_wire().await.unwrap().serial, Serial(9));
    for (path, _) in place.remembered() {
        fs::remove_file(path).unwrap();
    }
    known.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
    place.believed(9).await;
    place.put("timestamp.json", &old);
    place.refused("a timestamp by keys that were replaced", "not the COSC's").await;
    // A sensor that was never on before begins at the first root, too.
    fs::remove_dir_all(place.path("tuf")).unwrap();
    place.publish(&Plan::honest(10));
    place.believed(10).await;
    fs::remove_dir_all(place.path("tuf")).unwrap();
    assert_eq!(place.verify_over_the_wire().await.unwrap().serial, Serial(10));
}

#[tokio::test]
async fn when_the_metadata_expires_is_known_from_what_was_remembered() {
    let place = Place::new();
    assert_eq!(fresh_until(&place.path("tuf")), None);
    place.publish(&Plan::honest(5));
    place.believed(5).await;
    let until = fresh_until(&place.path("tuf")).unwrap();
    let in_a_day = in_days(1).as_microsecond();
    assert!((until.as_micros() - in_a_day).abs() < 60_000_000, "{until}");
}

//! The online key over repositories that a COSC of the tests signs; each result is verified as a sensor does.

use super::*;
use crate::bundles::verify::{Repository, Wanted, verify};
use protocol::bundle::BUNDLE_FORMAT;
use protocol::repository::{TARGETS_FOLDER, bundle_target};
use protocol::{BundleHeader, BundleWriter, Indicator, LookFor, Serial};
use tempfile::TempDir;
use tough::TargetName;
use tough::schema::{RoleKeys, Target};

/// A COSC with one key, and a collector.
struct Place {
    home: TempDir,
    desk: OnlineKey,
    key: OnlineKey,
    /// Names the desk's key for everything and `online` for the online roles.
    root: Vec<u8>,
}

fn extra() -> HashMap<String, serde_json::Value> {
    HashMap::new()
}

fn now() -> Timestamp {
    crate::clock::now()
}

fn in_days(days: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() + days * 86_400).unwrap()
}

impl Place {
    fn new() -> Self {
        let home = TempDir::new().unwrap();
        let [desk, key] = ["desk", "collector"].map(|name| {
            let folder = home.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            OnlineKey::open(&StateFolder::new(folder)).unwrap()
        });
        let root = root_of(1, &desk, &[&desk, &key]);
        let place = Self { home, desk, key, root };
        for folder in [METADATA_FOLDER, TARGETS_FOLDER] {
            fs::create_dir_all(place.repository().join(folder)).unwrap();
        }
        fs::write(place.metadata("1.root.json"), &place.root).unwrap();
        place
    }

    fn repository(&self) -> PathBuf {
        self.home.path().join("repository")
    }

    fn metadata(&self, name: &str) -> PathBuf {
        self.repository().join(METADATA_FOLDER).join(name)
    }

    /// The desk signs bundle and targets `number`, at a time of its own.
    fn desk_signs(&self, number: u64, at: i64, targets_days: i64) {
        let mut bundle = Vec::new();
        let header = BundleHeader {
            vedetta_bundle: BUNDLE_FORMAT,
            serial: Serial(number),
            created: Timestamp::default(),
            issuer: "cosc-esempio".into(),
            indicators: 0,
            set: None,
        };
        let indicator = Indicator::plain(LookFor::guess("evil.example").unwrap());
        BundleWriter::write_all(&mut bundle, vec![indicator], header).unwrap();
        let sha256 = Sha256::digest(&bundle).to_vec();
        let name = bundle_target(Serial(number));
        let path = format!("{}.{name}", protocol::text::Hex(&sha256));
        fs::write(self.repository().join(TARGETS_FOLDER).join(path), &bundle).unwrap();
        let hashes = Hashes { sha256: sha256.into(), _extra: extra() };
        let target = Target { length: bundle.len() as u64, hashes, custom: extra(), _extra: extra() };
        let version = NonZeroU64::new(number).unwrap();
        let targets = Targets {
            spec_version: "1.0.0".into(),
            version,
            expires: in_days(targets_days),
            targets: [(TargetName::new(name).unwrap(), target)].into(),
            delegations: None,
            _extra: extra(),
        };
        let root: Signed<Root> = serde_json::from_slice(&self.root).unwrap();
        let put = |name: &str, bytes: &[u8]| {
            fs::write(self.metadata(name), bytes).unwrap();
            let sha256 = Sha256::digest(bytes).to_vec().into();
            (bytes.len() as u64, Hashes { sha256, _extra: extra() })
        };
        let targets = self.desk.sign(&root.signed, targets).unwrap().0;
        let (length, hashes) = put(&format!("{number}.targets.json"), &targets);
        let online = next_online_version(number, at, 0);
        let mut snapshot = Snapshot::new("1.0.0".into(), online, in_days(30));
        let named = Metafile { length: Some(length), hashes: Some(hashes), version, _extra: extra() };
        snapshot.meta.insert("targets.json".into(), named);
        let snapshot = self.desk.sign(&root.signed, snapshot).unwrap().0;
        let (length, hashes) = put(&format!("{online}.snapshot.json"), &snapshot);
        let named = Metafile { length: Some(length), hashes: Some(hashes), version: online, _extra: extra() };
        let timestamp = TimestampRole {
            spec_version: "1.0.0".into(),
            version: online,
            expires: in_days(7),
            meta: [("snapshot.json".into(), named)].into(),
            _extra: extra(),
        };
        put("timestamp.json", &self.desk.sign(&root.signed, timestamp).unwrap().0);
    }

    fn renew(&self, at: Timestamp) -> Result<Renewed, OnlineError> {
        self.key.renew(&self.repository(), Order::After(None), &self.root, at)
    }

    /// The repository as it is, in another folder.
    fn copied(&self, name: &str) -> PathBuf {
        let copy = self.home.path().join(name);
        let copied = std::process::Command::new("cp").arg("-r").arg(self.repository()).arg(&copy).status();
        assert!(copied.unwrap().success());
        copy
    }

    fn timestamp(&self) -> Vec<u8> {
        fs::read(self.metadata("timestamp.json")).unwrap()
    }

    /// The serial that a sensor with a memory of that name takes out.
    async fn sensor(&self, memory: &str) -> Result<u64, String> {
        let (tuf, into) = (self.home.path().join(memory), self.home.path().join("taken"));
        let repository = Repository::folder(&self.repository());
        let verified = verify(repository, &self.root, &tuf, &into, Wanted::FULL).await;
        verified.map(|it| it.serial.0).map_err(|refusal| refusal.to_string())
    }
}

fn root_of(version: u64, desk: &OnlineKey, online: &[&OnlineKey]) -> Vec<u8> {
    let role = |keys: &[&OnlineKey]| RoleKeys {
        keyids: keys.iter().map(|it| it.id().unwrap()).collect(),
        threshold: NonZeroU64::MIN,
        _extra: extra(),
    };
    let signed = Root {
        spec_version: "1.0.0".into(),
        consistent_snapshot: true,
        version: NonZeroU64::new(version).unwrap(),
        expires: in_days(365),
        roles: [
            (RoleType::Root, role(&[desk])),
            (RoleType::Targets, role(&[desk])),
            (RoleType::Snapshot, role(online)),
            (RoleType::Timestamp, role(online)),
        ]
        .into(),
        keys: online.iter().chain([&desk]).map(|it| (it.id().unwrap(), it.public())).collect(),
        _extra: extra(),
    };
    let signature = Signature {
        keyid: desk.id().unwrap(),
        sig: desk.0.sign(&signed.canonical_form().unwrap()).unwrap().into(),
    };
    serde_json::to_vec(&Signed { signed, signatures: vec![signature] }).unwrap()
}

fn seconds(at: Timestamp) -> i64 {
    at.as_micros() / 1_000_000
}

#[tokio::test]
async fn what_the_collector_signs_is_believed_and_versions_rise_whoever_signed_last() {
    let place = Place::new();
    place.desk_signs(1, seconds(now()), 90);
    assert_eq!(place.sensor("s").await.unwrap(), 1);
    for hours in 0..4 {
        let at = now().plus_seconds(hours * 3600);
        assert_eq!(place.renew(at).unwrap(), Renewed::Until(at_seconds(at).plus_seconds(86_400)));
        assert_eq!(place.sensor("s").await.unwrap(), 1);
    }
    let snapshots = fs::read_dir(place.repository().join(METADATA_FOLDER)).unwrap();
    let snapshots = snapshots.filter(|it| it.as_ref().unwrap().path().to_str().unwrap().contains("snapshot"));
    assert_eq!(snapshots.count(), SNAPSHOTS_KEPT);
    // A newer bundle that the desk signed before the collector's last signature wins all the same, by stick or push.
    place.desk_signs(2, seconds(now()) - 600, 90);
    assert_eq!(place.sensor("s").await.unwrap(), 2);
    let before = place.timestamp();
    place.renew(now()).unwrap();
    assert_eq!(place.sensor("s").await.unwrap(), 2);
    fs::write(place.metadata("timestamp.json"), before).unwrap();
    assert!(place.sensor("s").await.unwrap_err().contains("older than the one verified before"));
}

fn at_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_seconds(seconds(at), 0)
}

#[tokio::test]
async fn a_push_that_the_desk_signed_before_continues_what_was_served() {
    let place = Place::new();
    place.desk_signs(1, seconds(now()), 90);
    place.renew(now().plus_seconds(1800)).unwrap();
    assert_eq!(place.sensor("s").await.unwrap(), 1);
    let served = place.copied("served");
    // The desk refreshes the same bundle by its own clock, which is behind what was served.
    place.desk_signs(1, seconds(now()) + 5, 90);
    assert!(place.sensor("s").await.unwrap_err().contains("older"));
    place.key.renew(&place.repository(), Order::After(Some(&served)), &place.root, now()).unwrap();
    assert_eq!(place.sensor("s").await.unwrap(), 1);
}

#[tokio::test]
async fn versions_that_a_thief_drove_to_their_end_are_forgotten_with_other_online_keys() {
    let place = Place::new();
    // So many versions of the targets leave none for what is signed over them.
    place.desk_signs(2_000_000_000, seconds(now()), 90);
    assert_eq!(place.sensor("s").await.unwrap(), 2_000_000_000);
    let served = place.copied("served");
    place.desk_signs(5, seconds(now()), 90);
    let renew = |root: &[u8]| place.key.renew(&place.repository(), Order::After(Some(&served)), root, now());
    renew(&place.root).unwrap();
    assert!(place.sensor("s").await.unwrap_err().contains("older"));
    let more = OnlineKey(KeyPair::generate_for(&PKCS_ED25519).unwrap());
    let root = root_of(2, &place.desk, &[&place.desk, &place.key, &more]);
    fs::write(place.metadata("2.root.json"), &root).unwrap();
    place.desk_signs(6, seconds(now()), 90);
    renew(&root).unwrap();
    assert_eq!(place.sensor("s").await.unwrap(), 6);
    let signed: Signed<TimestampRole> = serde_json::from_slice(&place.timestamp()).unwrap();
    assert_eq!(signed.signed.version.get() / 10_000_000_000, 6, "it counts from the desk's version");
}

#[tokio::test]
async fn clocks_that_are_a_year_off_lock_nobody_out() {
    const YEAR: i64 = 365 * 86_400;
    let place = Place::new();
    place.desk_signs(1, seconds(now()), 90);
    place.sensor("s").await.unwrap();
    let before = place.timestamp();
    // A collector whose clock is wrong serves what there is, and says so.
    let behind = place.renew(now().plus_seconds(-YEAR)).unwrap_err();
    assert!(matches!(behind, OnlineError::Clock { .. }), "{behind}");
    let ahead = place.renew(now().plus_seconds(YEAR)).unwrap_err();
    assert!(matches!(ahead, OnlineError::Expired { role: RoleType::Root | RoleType::Targets }), "{ahead}");
    assert_eq!(place.timestamp(), before);
    // A clock ahead by less than anything expires: what it signed is followed by higher versions.
    place.renew(now().plus_seconds(80 * 86_400)).unwrap();
    assert_eq!(place.sensor("s").await.unwrap(), 1);
    assert!(matches!(place.renew(now()).unwrap_err(), OnlineError::Clock { .. }));
    place.desk_signs(2, seconds(now()), 90);
    assert_eq!(place.sensor("s").await.unwrap(), 2);
    assert!(matches!(place.renew(now()).unwrap(), Renewed::Until(_)));
    // A desk whose clock was a year ahead or behind when it signed.
    for (number, off) in [(3, YEAR), (4, -YEAR), (5, 0)] {
        place.desk_signs(number, seconds(now()) + off, 90);
        assert_eq!(place.sensor("s").await.unwrap(), number);
        assert_eq!(place.renew(now()).is_ok(), off <= 0, "{off}");
        assert_eq!(place.sensor("s").await.unwrap(), number);
    }
}

#[tokio::test]
async fn a_key_that_the_root_does_not_name_changes_nothing() {
    let mut place = Place::new();
    place.desk_signs(1, seconds(now()), 90);
    let before = place.timestamp();
    place.root = root_of(1, &place.desk, &[&place.desk]);
    assert_eq!(place.renew(now()).unwrap(), Renewed::NotNamed);
    assert_eq!(place.timestamp(), before);
    place.desk_signs(2, seconds(now()), -1);
    place.root = root_of(1, &place.desk, &[&place.desk, &place.key]);
    assert!(matches!(place.renew(now()).unwrap_err(), OnlineError::Expired { role: RoleType::Targets }));
}

#[test]
fn the_key_is_private_and_stays_the_same() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = TempDir::new().unwrap();
    let state = StateFolder::new(folder.path());
    let made = OnlineKey::open(&state).unwrap().public_json().unwrap();
    assert_eq!(OnlineKey::open(&state).unwrap().public_json().unwrap(), made);
    assert_eq!(fs::metadata(state.online_key()).unwrap().permissions().mode() & 0o777, 0o600);
    fs::write(state.online_key(), "rubbish").unwrap();
    assert!(matches!(OnlineKey::open(&state), Err(OnlineError::NoKey(_))));
}

//! Bundles through signing to verification by `tough`, as every sensor does it.

use protocol::delta::DeltaReader;
use protocol::{BundleWriter, Indicator, LookFor};
use tempfile::TempDir;
use tough::IntoVec as _;

use super::*;
use crate::bundle_fixture::header;

struct Desk {
    home: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { home: TempDir::new().unwrap() };
        keys::generate(&desk.path("keys"), None).unwrap();
        desk
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn bundle(&self, serial: u64, edit: impl Fn(&mut Indicator)) -> PathBuf {
        let mut indicator = Indicator::plain(LookFor::guess(&format!("n{serial}.example")).unwrap());
        edit(&mut indicator);
        let path = self.path(&format!("bundle-{serial}.jsonl.zst"));
        BundleWriter::write_all(fs::File::create(&path).unwrap(), vec![indicator], header(serial)).unwrap();
        path
    }

    /// A bundle of so many names, of which the first `old` are in every one of them.
    fn large(&self, serial: u64, old: u32, new: u32) -> PathBuf {
        let name = |text: String| Indicator::plain(LookFor::guess(&text).unwrap());
        let olds = (0..old).map(|number| name(format!("old{number}.example")));
        let news = (0..new).map(|number| name(format!("new{serial}-{number}.example")));
        let path = self.path(&format!("bundle-{serial}.jsonl.zst"));
        let lines = olds.chain(news).collect();
        BundleWriter::write_all(fs::File::create(&path).unwrap(), lines, header(serial)).unwrap();
        path
    }

    fn sign_large(&self, serial: u64, old: u32, new: u32) -> Signing {
        sign_bundle(&self.path("keys"), &self.path("repository"), &self.large(serial, old, new)).unwrap()
    }

    /// The verified bytes of a target.
    fn target(&self, name: &str) -> Vec<u8> {
        let loaded = repository::load(&self.path("repository"), Expired::Refused).unwrap();
        let name = TargetName::new(name).unwrap();
        repository::block_on(async {
            loaded.read_target(&name).await.unwrap().unwrap().into_vec().await.unwrap()
        })
        .unwrap()
    }

    fn sign(&self, serial: u64) -> Result<Signing> {
        let bundle = self.bundle(serial, |_| {});
        sign_bundle(&self.path("keys"), &self.path("repository"), &bundle)
    }

    fn refused(&self, signing: Result<Signing>) -> String {
        assert!(!self.path("repository/.staged").exists());
        format!("{:#}", signing.unwrap_err())
    }

    /// Verifies from the first root and reads the newest bundle.
    fn newest(&self) -> Vec<u8> {
        let folder = self.path("repository");
        let loaded = repository::load(&folder, Expired::Refused).unwrap();
        self.target(&bundle_target(repository::bundles(&loaded, &folder).pop().unwrap().serial))
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(&format!("repository/{folder}"))).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn a_signed_bundle_verifies_and_three_are_kept() {
    let desk = Desk::new();
    for serial in [1, 2, 5, 6] {
        let signing = desk.sign(serial).unwrap();
        assert_eq!(signing.serial, Serial(serial));
        assert_eq!(desk.newest(), fs::read(desk.path(&format!("bundle-{serial}.jsonl.zst"))).unwrap());
    }
    let targets = desk.names("targets");
    assert_eq!(targets.len(), 3);
    assert!(targets.iter().all(|name| !name.ends_with("bundle-1.jsonl.zst")), "{targets:?}");
    assert_eq!(repository::newest(&desk.path("repository")).unwrap().unwrap().serial, Serial(6));
    assert_eq!(repository::files(&desk.path("repository")).unwrap().len(), 3 + desk.names("metadata").len());
}

#[test]
fn deltas_to_the_newest_bundle_are_signed_and_go_with_their_bundles() {
    let desk = Desk::new();
    assert_eq!(desk.sign_large(1, 2_000, 5).deltas, []);
    desk.sign_large(2, 2_000, 7);
    let signing = desk.sign_large(3, 2_000, 9);
    let changes: Vec<_> = signing
        .deltas
        .iter()
        .map(|delta| match delta {
            Delta::Written { from, changes, bytes } => (from.0, *changes, *bytes < 1_000),
            Delta::None { why, .. } => panic!("{why}"),
        })
        .collect();
    assert_eq!(changes, [(1, 14, true), (2, 16, true)]);
    let bytes = desk.target("delta-2-3.jsonl.zst");
    let mut delta = DeltaReader::new(bytes.as_slice(), BundleLimits::default()).unwrap();
    let newest = desk.newest();
    let mut bundle = BundleReader::new(newest.as_slice(), BundleLimits::default()).unwrap();
    assert!(delta.by_ref().all(|change| change.is_ok()) && bundle.by_ref().all(|line| line.is_ok()));
    assert_eq!((delta.header().serial, delta.header().set), (Serial(3), bundle.set()));

    let signing = desk.sign_large(4, 2_000, 1);
    assert!(matches!(
        signing.deltas.as_slice(),
        [Delta::Written { from: Serial(2), .. }, Delta::Written { from: Serial(3), .. }]
    ));
    refresh(&desk.path("keys"), &desk.path("repository"), Renew::Online).unwrap();
    let names: Vec<String> =
        desk.names("targets").iter().map(|name| name.split_once('.').unwrap().1.to_owned()).collect();
    let expected = [2, 3, 4].map(|serial| bundle_target(Serial(serial)));
    let expected: std::collections::BTreeSet<String> =
        expected.into_iter().chain([2, 3].map(|from| delta_target(Serial(from), Serial(4)))).collect();
    assert_eq!(names.into_iter().collect::<std::collections::BTreeSet<_>>(), expected);
    let offered = repository::files(&desk.path("repository")).unwrap();
    assert_eq!(offered.iter().filter(|file| file.path.as_str().contains(".delta-")).count(), 2);
}

#[test]
fn a_delta_that_saves_nothing_or_cannot_be_made_is_told_and_not_signed() {
    let desk = Desk::new();
    desk.sign_large(1, 10, 10);
    let signing = desk.sign_large(2, 10, 10);
    assert!(matches!(&signing.deltas[..], [Delta::None { why, .. }] if why.contains("bytes")), "{signing:?}");
    let first = desk.names("targets").into_iter().find(|name| name.contains("bundle-2")).unwrap();
    fs::remove_file(desk.path("repository/targets").join(first)).unwrap();
    let signing = desk.sign_large(3, 10, 10);
    let why: Vec<_> = signing.deltas.iter().map(|delta| format!("{delta:?}")).collect();
    assert!(why[1].contains("No such file"), "{why:?}");
    assert!(desk.names("targets").iter().all(|name| !name.contains("delta-")));
}

#[test]
fn refreshing_needs_no_targets_key() {
    let desk = Desk::new();
    let first = desk.sign(1).unwrap();
    fs::remove_file(desk.path("keys/targets.pem")).unwrap();
    let mut versions = vec![first.version];
    for _ in 2..=6 {
        let signing = refresh(&desk.path("keys"), &desk.path("repository"), Renew::Online).unwrap();
        assert_eq!(signing.serial, Serial(1));
        assert!(signing.expires >= first.expires && Some(&signing.version) > versions.last());
        versions.push(signing.version);
    }
    assert_eq!(desk.newest(), fs::read(desk.path("bundle-1.jsonl.zst")).unwrap());
    let mut expected =
        vec!["1.root.json".to_owned(), "1.targets.json".to_owned(), "timestamp.json".to_owned()];
    expected.extend(versions.iter().rev().take(3).map(|version| format!("{version}.snapshot.json")));
    expected.sort();
    assert_eq!(desk.names("metadata"), expected);
    let signing = sign_bundle(&desk.path("keys"), &desk.path("repository"), &desk.bundle(2, |_| {}));
    assert!(desk.refused(signing).contains("targets.pem"));
}

#[test]
fn only_a_newer_bundle_is_signed() {
    let desk = Desk::new();
    desk.sign(4).unwrap();
    let before = fs::read(desk.path("repository/metadata/timestamp.json")).unwrap();
    for serial in [3, 4] {
        assert!(desk.refused(desk.sign(serial)).contains("--serial 5"), "{serial}");
    }
    assert_eq!(fs::read(desk.path("repository/metadata/timestamp.json")).unwrap(), before);
}

#[test]
fn what_sensors_would_refuse_is_not_signed() {
    let desk = Desk::new();
    let (keys, folder) = (desk.path("keys"), desk.path("repository"));
    let red = desk.bundle(1, |indicator| indicator.tlp = Tlp::Red);
    assert!(desk.refused(sign_bundle(&keys, &folder, &red)).contains("TLP:RED"));
    let noise = desk.path("noise");
    fs::write(&noise, "noise").unwrap();
    assert!(desk.refused(sign_bundle(&keys, &folder, &noise)).contains("no bundle that sensors can read"));
    assert!(desk.refused(sign_bundle(&keys, &folder, &desk.path("missing"))).contains("missing"));
    assert!(desk.refused(refresh(&keys, &folder, Renew::Online)).contains("sign one first"));
}

#[test]
fn a_bundle_of_which_sensors_would_hold_back_everything_is_not_signed() {
    let desk = Desk::new();
    let (keys, folder) = (desk.path("keys"), desk.path("repository"));
    let private = |indicator: &mut Indicator| indicator.look_for = LookFor::guess("10.0.0.1").unwrap();
    let refused = desk.refused(sign_bundle(&keys, &folder, &desk.bundle(1, private)));
    assert!(
        refused.contains("1 are a private address") && refused.contains("make the bundle again"),
        "{refused}"
    );
    let allowed = desk.bundle(1, |indicator| indicator.action = Action::Allow);
    assert!(desk.refused(sign_bundle(&keys, &folder, &allowed)).contains("is empty"));
}

#[test]
fn other_keys_cannot_sign_into_a_repository() {
    let (desk, other) = (Desk::new(), Desk::new());
    desk.sign(1).unwrap();
    let signing = sign_bundle(&other.path("keys"), &desk.path("repository"), &desk.bundle(2, |_| {}));
    assert!(desk.refused(signing).contains("belongs to other keys"));
}

#[test]
fn a_damaged_repository_is_not_pushed() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    let folder = desk.path("repository");
    let target = folder.join("targets").join(&desk.names("targets")[0]);
    let bytes = fs::read(&target).unwrap();
    fs::write(&target, &bytes[1..]).unwrap();
    assert!(format!("{:#}", repository::files(&folder).unwrap_err()).contains("damaged"));
    fs::remove_file(&target).unwrap();
    assert!(format!("{:#}", repository::files(&folder).unwrap_err()).contains("incomplete"));
    fs::write(&target, &bytes).unwrap();
    repository::files(&folder).unwrap();
    let snapshot = desk.names("metadata").into_iter().find(|name| name.ends_with(".snapshot.json")).unwrap();
    fs::write(folder.join("metadata").join(snapshot), "{}").unwrap();
    assert!(format!("{:#}", repository::files(&folder).unwrap_err()).contains("not whole"));
    assert!(
        format!("{:#}", repository::files(&desk.path("nowhere")).unwrap_err())
            .contains("no signed repository")
    );
}

#[test]
fn versions_that_a_thief_drove_to_their_end_begin_anew_with_new_keys() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    let (keys, folder) = (desk.path("keys"), desk.path("repository"));
    let (root_files, root) = roots(&keys, &folder).unwrap();
    let now = Current::read(&folder).unwrap();
    let high = NonZeroU64::MAX;
    let targets = Targets { version: high, ..now.signed_targets.unwrap() };
    let targets = keys::sign_role(targets, &[&keys::load(&keys, RoleType::Targets, &root).unwrap()]).unwrap();
    let staged = Staged::new(&folder, &root_files).unwrap();
    staged.put(METADATA_FOLDER, &format!("{high}.targets.json"), &targets).unwrap();
    sign_rest(&keys, &root, &staged, (now.snapshot, now.timestamp), (high, &targets)).unwrap();
    assert_eq!(staged.check().unwrap().version, high.get());
    staged.move_in(&folder).unwrap();

    let changes = crate::root::Changes { replace_targets_key: true, ..Default::default() };
    crate::root::change(&keys, &folder, &changes).unwrap();
    let versions = || {
        let loaded = repository::load(&folder, Expired::Refused).unwrap();
        (loaded.targets().signed.version.get(), loaded.timestamp().signed.version < high)
    };
    assert_eq!(versions(), (1, true));
    desk.sign(2).unwrap();
    assert_eq!(versions(), (2, true));
    assert!(desk.names("metadata").iter().all(|name| !name.contains(&high.to_string())));
}

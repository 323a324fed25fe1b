//! Bundles through signing to verification by `tough`, as every sensor does it.

use protocol::bundle::BUNDLE_FORMAT;
use protocol::{BundleHeader, BundleWriter, Indicator, LookFor, Timestamp};
use tempfile::TempDir;
use tough::IntoVec as _;

use super::*;

struct Desk {
    home: TempDir,
}

impl Desk {
    fn new() -> Self {
        let desk = Self { home: TempDir::new().unwrap() };
        keys::generate(&desk.path("keys")).unwrap();
        desk
    }

    fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    fn bundle(&self, serial: u64, edit: impl Fn(&mut Indicator)) -> PathBuf {
        let mut indicator = Indicator::plain(LookFor::guess(&format!("n{serial}.example")).unwrap());
        edit(&mut indicator);
        let header = BundleHeader {
            vedetta_bundle: BUNDLE_FORMAT,
            serial: Serial(serial),
            created: Timestamp::default(),
            issuer: "cosc-esempio".into(),
            indicators: 0,
            set: None,
        };
        let path = self.path(&format!("bundle-{serial}.jsonl.zst"));
        BundleWriter::write_all(fs::File::create(&path).unwrap(), vec![indicator], header).unwrap();
        path
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
        let newest = repository::bundles(&loaded, &folder).pop().unwrap();
        let name = TargetName::new(bundle_target(newest.serial)).unwrap();
        repository::block_on(async {
            loaded.read_target(&name).await.unwrap().unwrap().into_vec().await.unwrap()
        })
        .unwrap()
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
    assert_eq!(repository::newest_serial(&desk.path("repository")).unwrap(), Some(Serial(6)));
    assert_eq!(repository::files(&desk.path("repository")).unwrap().len(), 3 + desk.names("metadata").len());
}

#[test]
fn refreshing_needs_no_targets_key() {
    let desk = Desk::new();
    let first = desk.sign(1).unwrap();
    fs::remove_file(desk.path("keys/targets.pem")).unwrap();
    for later in 2..=6 {
        let signing = refresh(&desk.path("keys"), &desk.path("repository")).unwrap();
        assert_eq!((signing.serial, signing.version), (Serial(1), later));
        assert!(signing.expires >= first.expires);
    }
    assert_eq!(desk.newest(), fs::read(desk.path("bundle-1.jsonl.zst")).unwrap());
    assert_eq!(
        desk.names("metadata"),
        [
            "1.root.json",
            "1.targets.json",
            "4.snapshot.json",
            "5.snapshot.json",
            "6.snapshot.json",
            "timestamp.json"
        ]
    );
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
    assert!(desk.refused(refresh(&keys, &folder)).contains("sign one first"));
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
    fs::write(folder.join("metadata/1.snapshot.json"), "{}").unwrap();
    assert!(format!("{:#}", repository::files(&folder).unwrap_err()).contains("not whole"));
    assert!(
        format!("{:#}", repository::files(&desk.path("nowhere")).unwrap_err())
            .contains("no signed repository")
    );
}

//! Ceremonies in a folder; each result is verified from the first root on, as every sensor does it.

use protocol::{BundleWriter, Indicator, LookFor, Serial};
use tempfile::TempDir;

use super::*;
use crate::bundle_fixture::header;
use crate::repository::{self, Expired};

struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        let desk = Self(TempDir::new().unwrap());
        keys::generate(&desk.path("keys"), None).unwrap();
        desk
    }

    fn path(&self, below: &str) -> PathBuf {
        self.0.path().join(below)
    }

    fn change(&self, edit: impl FnOnce(&mut Changes)) -> Result<String> {
        let mut changes = Changes::default();
        edit(&mut changes);
        change(&self.path("keys"), &self.path("repository"), &changes)
    }

    fn refused(&self, edit: impl FnOnce(&mut Changes)) -> String {
        let before = self.files();
        let refused = format!("{:#}", self.change(edit).unwrap_err());
        assert_eq!(self.files(), before, "{refused}");
        refused
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.path("keys")).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        files
    }

    fn sign(&self, serial: u64) -> Result<sign::Signing> {
        let indicator = Indicator::plain(LookFor::guess(&format!("n{serial}.example")).unwrap());
        let path = self.path("bundle");
        BundleWriter::write_all(fs::File::create(&path).unwrap(), vec![indicator], header(serial)).unwrap();
        sign::sign_bundle(&self.path("keys"), &self.path("repository"), &path)
    }

    /// What verifies from the first root on: the root's version and the newest bundle.
    fn verified(&self) -> (u64, Serial) {
        let loaded = repository::load(&self.path("repository"), Expired::Refused).unwrap();
        let newest = repository::bundles(&loaded, &self.path("repository")).pop().unwrap().serial;
        (loaded.root().signed.version.get(), newest)
    }

    fn root(&self) -> Root {
        let (_, path) = repository::newest_root(&self.path("keys")).unwrap();
        serde_json::from_slice::<Signed<Root>>(&fs::read(path).unwrap()).unwrap().signed
    }

    fn online_key(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let key = tuf_key(&KeyPair::generate_for(&PKCS_ED25519).unwrap());
        fs::write(&path, serde_json::to_vec(&key).unwrap()).unwrap();
        path
    }
}

fn sorted<T: Ord + Clone>(list: &[T]) -> Vec<T> {
    let mut list = list.to_vec();
    list.sort();
    list
}

#[test]
fn every_key_is_replaced_one_after_the_other_and_the_repository_follows() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    let first = desk.root();
    let keys = |names: [&str; 2]| names.map(|name| desk.path("keys").join(name)).to_vec();
    for (number, pair) in
        (2..).zip([["root-1.pem", "root-2.pem"], ["root-2.pem", "root-4.pem"], ["root-4.pem", "root-5.pem"]])
    {
        let told = desk
            .change(|it| {
                it.root_keys = keys(pair);
                it.replace_root_key = true;
                it.replace_targets_key = true;
                it.replace_desk_keys = true;
            })
            .unwrap();
        assert!(told.contains(&format!("targets-{number}.pem")) && told.contains("push it now"), "{told}");
        assert_eq!(desk.verified(), (number, Serial(number - 1)));
        desk.sign(number).unwrap();
        assert_eq!(desk.verified(), (number, Serial(number)));
    }
    let last = desk.root();
    let old: HashSet<_> = first.keys.into_keys().collect();
    assert!(last.keys.keys().all(|id| !old.contains(id)), "nothing is left of the first keys");
    assert_eq!(last.keys.len(), 6);
}

#[test]
fn a_key_that_was_replaced_signs_nothing_any_more() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    desk.change(|it| it.replace_targets_key = true).unwrap();
    fs::remove_file(desk.path("keys/targets-2.pem")).unwrap();
    let refused = format!("{:#}", desk.sign(2).unwrap_err());
    assert!(refused.contains("not the targets key"), "{refused}");
    // Metadata that the old key signs for the new root does not verify.
    let metadata = desk.path("repository/metadata");
    let old = keys::read_private(&desk.path("keys/targets.pem")).unwrap();
    let name = metadata.join("2.targets.json");
    let targets: Signed<tough::schema::Targets> = serde_json::from_slice(&fs::read(&name).unwrap()).unwrap();
    fs::write(&name, keys::sign_role(targets.signed, &[&old]).unwrap()).unwrap();
    assert!(repository::load(&desk.path("repository"), Expired::Refused).is_err());
}

#[test]
fn a_lost_root_key_is_replaced_by_the_two_that_are_left() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    fs::remove_file(desk.path("keys/root-2.pem")).unwrap();
    let stays = ["root-1.pem", "root-3.pem"].map(|name| desk.path("keys").join(name)).to_vec();
    desk.change(|it| {
        it.root_keys = stays;
        it.replace_root_key = true;
    })
    .unwrap();
    assert_eq!(desk.verified(), (2, Serial(1)));
    let named = desk.root().roles[&RoleType::Root].keyids.clone();
    let held = ["root-1.pem", "root-3.pem", "root-4.pem"]
        .map(|name| key_id(&keys::read_private(&desk.path("keys").join(name)).unwrap()).unwrap());
    assert_eq!(sorted(&named), sorted(&held));
}

#[test]
fn collectors_keys_come_and_go_and_the_desks_stay() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    let [first, second] = ["a.json", "b.json"].map(|name| desk.online_key(name));
    desk.change(|it| it.add_online_keys = vec![first.clone()]).unwrap();
    assert!(desk.refused(|it| it.add_online_keys = vec![first.clone()]).contains("already"));
    desk.change(|it| {
        it.remove_online_keys = true;
        it.add_online_keys = vec![second];
    })
    .unwrap();
    desk.change(|it| it.replace_desk_keys = true).unwrap();
    let root = desk.root();
    for role in ONLINE_ROLES {
        assert_eq!(root.roles[&role].keyids.len(), 2, "the desk's and the collector's");
        keys::load(&desk.path("keys"), role, &root).unwrap();
    }
    assert_eq!(desk.verified(), (4, Serial(1)));
    assert!(
        desk.refused(|it| it.add_online_keys = vec![desk.path("keys/1.root.json")]).contains("online-key")
    );
}

#[test]
fn too_few_or_wrong_root_keys_sign_nothing() {
    let desk = Desk::new();
    let one = vec![desk.path("keys/root-1.pem")];
    let twice = vec![desk.path("keys/root-1.pem"), desk.path("keys/root-1.pem")];
    for few in [one, twice] {
        assert!(desk.refused(|it| it.root_keys = few).contains("2 root keys have to sign, 1 are here"));
    }
    let stranger = Desk::new();
    let wrong = vec![desk.path("keys/root-1.pem"), stranger.path("keys/root-1.pem")];
    assert!(desk.refused(|it| it.root_keys = wrong).contains("none of the root keys"));
    let all = ["root-1.pem", "root-2.pem", "root-3.pem"].map(|name| desk.path("keys").join(name)).to_vec();
    let refused = desk.refused(|it| {
        it.root_keys = all;
        it.replace_root_key = true;
    });
    assert!(refused.contains("only those root keys that stay"), "{refused}");
}

#[test]
fn a_first_root_may_name_a_collectors_key() {
    let desk = Desk(TempDir::new().unwrap());
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    fs::write(desk.path("online.json"), serde_json::to_vec(&tuf_key(&key)).unwrap()).unwrap();
    keys::generate(&desk.path("keys"), Some(&desk.path("online.json"))).unwrap();
    desk.sign(1).unwrap();
    assert_eq!(desk.verified(), (1, Serial(1)));
    let root = desk.root();
    for role in ONLINE_ROLES {
        assert_eq!(root.roles[&role].keyids.len(), 2);
        assert_eq!(root.roles[&role].threshold.get(), 1);
        assert!(root.roles[&role].keyids.contains(&key_id(&key).unwrap()));
    }
}

#[test]
fn what_a_thief_signed_into_the_repository_is_left_out_and_the_count_goes_on() {
    let desk = Desk::new();
    desk.sign(1).unwrap();
    desk.sign(2).unwrap();
    desk.sign(Serial::MAX.0).unwrap();
    let refused = format!("{:#}", desk.sign(3).unwrap_err());
    assert!(refused.contains("no number is left") && refused.contains("after a theft"), "{refused}");
    let stolen = desk.root();
    desk.change(|it| {
        it.replace_targets_key = true;
        it.keep_bundles_to = Some(2);
    })
    .unwrap();
    assert_eq!(desk.verified(), (2, Serial(2)));
    let targets = fs::read_dir(desk.path("repository/targets")).unwrap();
    assert!(targets.flatten().all(|file| !file.file_name().to_str().unwrap().contains("bundle-9")));
    desk.sign(3).unwrap();
    assert_eq!(desk.verified(), (2, Serial(3)));
    for role in ONLINE_ROLES {
        assert_ne!(stolen.roles[&role].keyids, desk.root().roles[&role].keyids, "{role} begins anew, too");
    }
}

//! The bundle in force: the last one verified, kept on disk with its hash, so that a restart looks for the
//! same things without a network. A serial never goes down, and what is refused changes nothing.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Write as _};
use std::path::{Path, PathBuf};

use detect::Matcher;
use protocol::bundle::{BundleError, BundleLimits};
use protocol::{BundleReader, Serial, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tracing::{info, warn};

use super::verify::{Refusal, Repository, Verified, Wanted, verify};
use crate::clock;
use crate::published::Published;
use crate::sources::MatcherInForce;

/// Beside the bundle: which one is in force.
const RECORD: &str = "in-force.json";

/// The bundle in force, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number.
    pub serial: Serial,
    /// Its indicators.
    pub indicators: u64,
    /// The desk that made it.
    pub issuer: String,
    /// When the desk made it.
    pub created: Timestamp,
    /// When this sensor verified it.
    pub verified_at: Timestamp,
    /// Its file.
    file: String,
    /// The file's SHA-256.
    sha256: String,
    /// SHA-256 of the COSC's root that it was verified by: after an enrolment elsewhere it does not count.
    root_sha256: String,
}

/// Why an offered bundle is not in force.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// The repository is not believed, or could not be fetched.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// A signed bundle that is older than the one in force.
    #[error("the repository's newest bundle is {offered}, older than {in_force}, which is in force")]
    Older {
        /// Offered.
        offered: Serial,
        /// In force.
        in_force: Serial,
    },
    /// A verified bundle that cannot be put in force.
    #[error("the verified bundle cannot be put in force: {0}")]
    Unusable(#[from] LoadError),
}

/// Why a bundle cannot be read from disk.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The disk.
    #[error("{}: {error}", path.display())]
    Disk {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Not the bytes that were verified.
    #[error("{} is not the file that was verified", path.display())]
    Altered {
        /// Which file.
        path: PathBuf,
    },
    /// Not a bundle.
    #[error("{}: {error}", path.display())]
    Bundle {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: BundleError,
    },
    /// The work was interrupted because the agent stops.
    #[error("interrupted")]
    Interrupted,
}

/// Owns the folder of bundles and publishes the matcher.
pub struct BundleStore {
    folder: PathBuf,
    cosc_root: Vec<u8>,
    matcher: MatcherInForce,
    in_force: Published<Option<InForce>>,
}

impl BundleStore {
    /// Opens the folder and puts the last verified bundle in force, if its file is still what was verified.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn open(folder: &Path, cosc_root: Vec<u8>) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let root_sha256 = hex(&Sha256::digest(&cosc_root));
        let loaded = match read_record(folder).filter(|record| record.root_sha256 == root_sha256) {
            Some(record) => match load(folder, &record) {
                Ok(matcher) => Some((record, matcher)),
                Err(error) => {
                    warn!("{error}; nothing is looked for until the collector offers the bundle again");
                    None
                }
            },
            None => None,
        };
        let (record, matcher) =
            loaded.map_or((None, Matcher::empty()), |(record, matcher)| (Some(record), matcher));
        if let Some(record) = &record {
            info!(serial = %record.serial, indicators = record.indicators, "bundle in force");
        }
        Ok(Self {
            folder: folder.into(),
            cosc_root,
            matcher: Published::new(matcher),
            in_force: Published::new(record),
        })
    }

    /// What the workers compare with.
    pub fn matcher(&self) -> MatcherInForce {
        self.matcher.clone()
    }

    /// What `status` tells.
    pub fn in_force(&self) -> Published<Option<InForce>> {
        self.in_force.clone()
    }

    /// Number of the bundle in force, 0 for none.
    pub fn serial(&self) -> Serial {
        self.in_force.load().as_ref().as_ref().map_or(Serial(0), |in_force| in_force.serial)
    }

    /// Fetches and verifies the repository's newest bundle; it is not in force yet. `None` when it is already.
    ///
    /// # Errors
    /// Why it is not taken; what is in force stays.
    pub async fn fetch(&self, repository: Repository) -> Result<Option<Fetched>, NotTaken> {
        let datastore = self.folder.join("tuf");
        let verified = verify(repository, &self.cosc_root, &datastore, &self.folder, Wanted::FULL).await?;
        self.judge(verified)
    }

    fn judge(&self, verified: Verified) -> Result<Option<Fetched>, NotTaken> {
        let in_force = self.serial();
        if verified.serial < in_force {
            return Err(NotTaken::Older { offered: verified.serial, in_force });
        }
        if verified.serial == in_force {
            return Ok(None);
        }
        let (header, bundle) = verified.into_full()?;
        let file = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let record = InForce {
            serial: header.serial,
            indicators: header.indicators,
            issuer: header.issuer,
            created: header.created,
            verified_at: clock::now(),
            file,
            sha256: String::new(),
            root_sha256: hex(&Sha256::digest(&self.cosc_root)),
        };
        Ok(Some(Fetched { record }))
    }

    /// Builds the matcher and swaps it in; sources take it up between two packets.
    ///
    /// # Errors
    /// Why it is not in force; what was before stays.
    pub async fn apply(&self, fetched: Fetched) -> Result<InForce, NotTaken> {
        let folder = self.folder.clone();
        let built = tokio::task::spawn_blocking(move || {
            let mut record = fetched.record;
            let path = folder.join(&record.file);
            record.sha256 = hash(&path)?;
            let matcher = build(&path)?;
            write_record(&folder, &record)?;
            remove_others(&folder, &record.file);
            Ok::<_, LoadError>((record, matcher))
        });
        let (record, matcher) = built.await.unwrap_or(Err(LoadError::Interrupted))?;
        self.matcher.publish(matcher);
        self.in_force.publish(Some(record.clone()));
        info!(serial = %record.serial, indicators = record.indicators, "bundle in force");
        Ok(record)
    }
}

/// A bundle that is verified and not in force yet.
#[derive(Debug)]
pub struct Fetched {
    record: InForce,
}

impl Fetched {
    /// Its number.
    pub fn serial(&self) -> Serial {
        self.record.serial
    }
}

fn disk(path: &Path) -> impl FnOnce(io::Error) -> LoadError {
    let path = path.to_path_buf();
    move |error| LoadError::Disk { path, error }
}

fn hash(path: &Path) -> Result<String, LoadError> {
    let mut file = File::open(path).map_err(disk(path))?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = file.read(&mut buffer).map_err(disk(path))?;
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        digest.update(bytes);
    }
    Ok(hex(&digest.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    protocol::text::Hex(bytes).to_string()
}

/// Reads a bundle whose hash is what was verified.
fn load(folder: &Path, record: &InForce) -> Result<Matcher, LoadError> {
    let path = folder.join(&record.file);
    if hash(&path)? != record.sha256 {
        return Err(LoadError::Altered { path });
    }
    build(&path)
}

/// Arranges the indicators of a bundle.
fn build(path: &Path) -> Result<Matcher, LoadError> {
    let file = BufReader::new(File::open(path).map_err(disk(path))?);
    let bundle_error = |error| LoadError::Bundle { path: path.to_owned(), error };
    let mut reader = BundleReader::new(file, BundleLimits::default()).map_err(bundle_error)?;
    let serial = reader.header().serial;
    let mut failed = None;
    let mut given = reader.indicators();
    let indicators = std::iter::from_fn(|| match given.next()? {
        Ok(indicator) => Some(indicator),
        Err(error) => {
            failed = Some(error);
            None
        }
    });
    let matcher = Matcher::build(serial, indicators);
    match failed {
        Some(error) => Err(bundle_error(error)),
        None => matcher.map_err(|error| disk(path)(io::Error::other(error))),
    }
}

fn read_record(folder: &Path) -> Option<InForce> {
    let path = folder.join(RECORD);
    let record: InForce = serde_json::from_slice(&fs::read(&path).ok()?)
        .inspect_err(
            |error| warn!(path = %path.display(), %error, "the record of the bundle in force cannot be read"),
        )
        .ok()?;
    // A name only: the record must not lead out of the folder.
    (Path::new(&record.file).file_name()? == record.file.as_str()).then_some(record)
}

fn write_record(folder: &Path, record: &InForce) -> Result<(), LoadError> {
    let (path, unfinished) = (folder.join(RECORD), folder.join("in-force.new"));
    let write = || -> io::Result<()> {
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(record)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)?;
        File::open(folder)?.sync_all()
    };
    write().map_err(disk(&path))
}

/// Bundles that are no longer in force give their space back.
fn remove_others(folder: &Path, kept: &str) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_bundle = name.to_str().is_some_and(|name| name.contains("bundle-") && name != kept);
        if is_bundle && let Err(error) = fs::remove_file(entry.path()) {
            warn!(path = %entry.path().display(), %error, "an old bundle cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundles::verify::Taken;
    use protocol::bundle::BUNDLE_FORMAT;
    use protocol::repository::bundle_target;
    use protocol::{BundleHeader, BundleWriter, Indicator, LookFor};

    const ROOT: &[u8] = b"{}";

    /// A bundle in the folder, as `verify` leaves it.
    fn verified(folder: &Path, serial: u64, values: &[&str]) -> Verified {
        let bundle = folder.join(bundle_target(Serial(serial)));
        let header = BundleHeader {
            vedetta_bundle: BUNDLE_FORMAT,
            serial: Serial(serial),
            created: Timestamp::default(),
            issuer: "cosc-esempio".into(),
            indicators: 0,
            set: None,
        };
        let indicators =
            values.iter().map(|value| Indicator::plain(LookFor::guess(value).unwrap())).collect();
        let header = BundleWriter::write_all(File::create(&bundle).unwrap(), indicators, header).unwrap();
        let taken = Taken::Full { header, file: bundle };
        Verified { serial: Serial(serial), taken, root: ROOT.to_vec() }
    }

    fn open(folder: &Path, root: &[u8]) -> (BundleStore, usize) {
        let store = BundleStore::open(folder, root.to_vec()).unwrap();
        let indicators = store.matcher().load().len();
        (store, usize::try_from(indicators).unwrap())
    }

    async fn put_in_force(store: &BundleStore, serial: u64, values: &[&str]) {
        let fetched = store.judge(verified(&store.folder, serial, values)).unwrap().unwrap();
        store.apply(fetched).await.unwrap();
    }

    #[tokio::test]
    async fn a_restart_looks_for_the_same_things() {
        let folder = tempfile::tempdir().unwrap();
        let (store, none) = open(folder.path(), ROOT);
        assert_eq!((store.serial(), none), (Serial(0), 0));
        put_in_force(&store, 3, &["evil.example"]).await;
        put_in_force(&store, 4, &["evil.example", "203.0.113.5"]).await;
        let (again, indicators) = open(folder.path(), ROOT);
        assert_eq!((again.serial(), indicators), (Serial(4), 2));
        assert!(!folder.path().join(bundle_target(Serial(3))).exists(), "the old bundle takes space");
    }

    #[tokio::test]
    async fn a_serial_never_goes_down() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = open(folder.path(), ROOT);
        put_in_force(&store, 4, &["evil.example"]).await;
        let refused = store.judge(verified(folder.path(), 3, &["203.0.113.5"]));
        assert!(matches!(refused, Err(NotTaken::Older { offered: Serial(3), in_force: Serial(4) })));
        assert!(store.judge(verified(folder.path(), 4, &["evil.example"])).unwrap().is_none());
        assert_eq!(store.matcher().load().serial(), Serial(4));
    }

    #[tokio::test]
    async fn a_bundle_that_was_altered_on_disk_is_not_put_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = open(folder.path(), ROOT);
        put_in_force(&store, 4, &["evil.example"]).await;
        verified(folder.path(), 4, &["other.example"]);
        let (altered, indicators) = open(folder.path(), ROOT);
        assert_eq!((altered.serial(), indicators), (Serial(0), 0));
    }

    #[tokio::test]
    async fn a_bundle_of_another_cosc_does_not_count_after_an_enrolment_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let (store, _) = open(folder.path(), ROOT);
        put_in_force(&store, 4, &["evil.example"]).await;
        let (elsewhere, indicators) = open(folder.path(), b"{\"other\":1}");
        assert_eq!((elsewhere.serial(), indicators), (Serial(0), 0));
        put_in_force(&elsewhere, 1, &["203.0.113.5"]).await;
        assert_eq!(elsewhere.serial(), Serial(1));
    }

    #[test]
    fn a_record_that_leads_out_of_the_folder_is_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let record = InForce {
            serial: Serial(9),
            indicators: 1,
            issuer: String::new(),
            created: Timestamp::default(),
            verified_at: Timestamp::default(),
            file: "../bundle-9.jsonl.zst".into(),
            sha256: String::new(),
            root_sha256: hex(&Sha256::digest(ROOT)),
        };
        write_record(folder.path(), &record).unwrap();
        assert_eq!(read_record(folder.path()), None);
    }
}

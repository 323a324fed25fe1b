//! The record of what is in force: which bundle, which deltas since, which index files. It is replaced whole, so a
//! crash leaves the old or the new one, and every file that it names was on disk before it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use protocol::bundle::SetHash;
use protocol::index::Held;
use protocol::repository::Provenance;
use protocol::{Serial, Timestamp};
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::index_file::SCRATCH;

/// Names the files in force.
const RECORD: &str = "in-force.json";
/// The next record, until it replaces the one before.
const UNFINISHED: &str = "in-force.new";
/// The form that this program writes and reads.
const RECORD_FORMAT: u32 = 2;
/// Beginnings of the names of files that the record may name; others in the folder are left alone.
const OWN: [&str; 6] = ["bundle-", "delta-", "base-", "overlay-", SCRATCH, UNFINISHED];
/// Where verified files arrive, below the folder.
const ARRIVED: &str = "arrived";

/// What is in force, on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The form of this record.
    pub vedetta_bundles: u32,
    /// Number of the bundle in force.
    pub serial: Serial,
    /// The set in force.
    pub set: SetHash,
    /// The desk that made it.
    pub issuer: String,
    /// When the desk made it.
    pub created: Timestamp,
    /// When this sensor verified it.
    pub verified_at: Timestamp,
    /// SHA-256 of the COSC's root that it was verified by: after an enrolment elsewhere it does not count.
    pub root_sha256: String,
    /// Who signed it, and which file it is: its number counts among bundles of the same signers only. `None` when that
    /// was not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The full bundle that the index is built from.
    pub bundle: Source,
    /// The deltas since, in order.
    pub deltas: Vec<Source>,
    /// The index of the full bundle, or of it and some of the deltas.
    pub base: Name,
    /// The index of the changes above it.
    pub overlay: Option<Name>,
    /// Indicators held back, by reason: an index counts only those that it met itself.
    pub held: BTreeMap<String, Held>,
}

/// A verified file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Source {
    /// In the folder.
    pub file: Name,
    /// The file's SHA-256.
    pub sha256: String,
    /// Number of the bundle that it leads to.
    pub serial: Serial,
    /// Bytes of the file.
    pub bytes: u64,
    /// Lines after the header.
    pub lines: u64,
}

/// Name of a file in the folder; never a path, so that a record does not lead out of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(super) struct Name(String);

#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not the name of a file in the folder of bundles")]
pub(super) struct NotAName(String);

impl Name {
    /// A name that no other file has: `KIND-SERIAL-RANDOM.ENDING`.
    pub fn new(kind: &str, serial: Serial, ending: &str) -> Self {
        Self(format!("{kind}-{serial}-{:016x}.{ending}", rand::random::<u64>()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        Self::try_from(text.to_owned())
    }
}

impl TryFrom<String> for Name {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        let plain = (1..=200).contains(&text.len()) && !text.starts_with('.') && text.bytes().all(letter);
        if plain { Ok(Self(text)) } else { Err(NotAName(text)) }
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

/// Why there is no record.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoRecord {
    #[error("there is none")]
    None,
    #[error("{0}")]
    Unreadable(#[from] io::Error),
    #[error("it is damaged, or of another version of this program ({0})")]
    Malformed(String),
}

impl Record {
    pub const FORMAT: u32 = RECORD_FORMAT;

    /// Reads the record of a folder.
    pub fn read(folder: &Path) -> Result<Self, NoRecord> {
        let json = fs::read(folder.join(RECORD)).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => NoRecord::None,
            _ => NoRecord::Unreadable(error),
        })?;
        let record: Self =
            serde_json::from_slice(&json).map_err(|error| NoRecord::Malformed(error.to_string()))?;
        if record.vedetta_bundles != RECORD_FORMAT {
            return Err(NoRecord::Malformed(format!("form {}", record.vedetta_bundles)));
        }
        Ok(record)
    }

    /// Puts the record in the place of the one before. The files that it names must be on disk, their names too.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        // Names first: a record must never survive a crash that the name of its index did not.
        sync_folder(folder)?;
        let unfinished = folder.join(UNFINISHED);
        let mut file = File::create(&unfinished)?;
        file.write_all(&serde_json::to_vec_pretty(self)?)?;
        file.sync_all()?;
        fs::rename(&unfinished, folder.join(RECORD))?;
        sync_folder(folder)
    }

    /// Every file that it names.
    pub fn files(&self) -> impl Iterator<Item = &Name> {
        let sources = std::iter::once(&self.bundle).chain(&self.deltas).map(|source| &source.file);
        sources.chain([&self.base]).chain(&self.overlay)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The folder below `folder` where verified files arrive; they are taken over by [`adopt`].
pub(super) fn arrived(folder: &Path) -> PathBuf {
    folder.join(ARRIVED)
}

/// Takes a verified file over under a name that no record has used.
pub(super) fn adopt(folder: &Path, arrived: &Path, name: &Name) -> io::Result<()> {
    fs::rename(arrived, folder.join(name.as_str()))
}

/// Removes what neither the record names nor somebody still writes: files of bundles before, or left by a crash.
pub(super) fn remove_leftovers<'a>(folder: &Path, kept: impl IntoIterator<Item = &'a Name>) {
    let kept: BTreeSet<&str> = kept.into_iter().map(Name::as_str).collect();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_left = name
            .to_str()
            .is_some_and(|name| OWN.iter().any(|own| name.starts_with(own)) && !kept.contains(name));
        if is_left && let Err(error) = fs::remove_file(entry.path()) {
            warn!(path = %entry.path().display(), %error, "a file that is no longer needed cannot be removed");
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn record(serial: u64) -> Record {
        let source = |file: &str| Source {
            file: file.parse().unwrap(),
            sha256: "00".repeat(32),
            serial: Serial(serial),
            bytes: 3,
            lines: 1,
        };
        Record {
            vedetta_bundles: RECORD_FORMAT,
            serial: Serial(serial),
            set: SetHash::default(),
            issuer: "cosc-esempio".into(),
            created: Timestamp::default(),
            verified_at: Timestamp::default(),
            root_sha256: String::new(),
            provenance: Some(Provenance { signers: "11".repeat(32), sha256: "00".repeat(32) }),
            bundle: source("bundle-1-a.jsonl.zst"),
            deltas: vec![source("delta-2-b.jsonl.zst")],
            base: "base-1-c.index".parse().unwrap(),
            overlay: Some("overlay-2-d.index".parse().unwrap()),
            held: BTreeMap::new(),
        }
    }

    #[test]
    fn a_record_replaces_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Record::read(folder.path()), Err(NoRecord::None)));
        for serial in [7, 8] {
            record(serial).write(folder.path()).unwrap();
            assert_eq!(Record::read(folder.path()).unwrap(), record(serial));
        }
        fs::write(folder.path().join(UNFINISHED), b"{").unwrap();
        assert_eq!(Record::read(folder.path()).unwrap().serial, Serial(8));
    }

    #[test]
    fn a_record_from_before_signers_were_kept_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let before = Record { provenance: None, ..record(7) };
        before.write(folder.path()).unwrap();
        assert!(!fs::read_to_string(folder.path().join(RECORD)).unwrap().contains("provenance"));
        assert_eq!(Record::read(folder.path()).unwrap(), before);
    }

    #[test]
    fn a_record_that_leads_out_of_the_folder_is_none() {
        let folder = tempfile::tempdir().unwrap();
        record(7).write(folder.path()).unwrap();
        let good = fs::read_to_string(folder.path().join(RECORD)).unwrap();
        for (from, to) in [
            ("bundle-1-a.jsonl.zst", "../bundle-1-a.jsonl.zst"),
            ("delta-2-b.jsonl.zst", "/etc/passwd"),
            ("base-1-c.index", ".."),
            ("overlay-2-d.index", "a\\u0000b"),
            ("overlay-2-d.index", ""),
            ("\"vedetta_bundles\": 2", "\"vedetta_bundles\": 3"),
        ] {
            assert!(good.contains(from), "{from}");
            fs::write(folder.path().join(RECORD), good.replace(from, to)).unwrap();
            assert!(matches!(Record::read(folder.path()), Err(NoRecord::Malformed(_))), "{to:?} is a name");
        }
    }

    #[test]
    fn only_what_the_record_does_not_name_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let kept = record(2);
        let left = ["bundle-0-e.jsonl.zst", "base-0-f.index", "in-force.new", "scratch-1"];
        let others = ["in-force.json", "tuf", "notes.txt"];
        let named: Vec<&str> = kept.files().map(Name::as_str).collect();
        for name in named.iter().chain(&left).chain(&others) {
            fs::write(folder.path().join(name), b"").unwrap();
        }
        remove_leftovers(folder.path(), kept.files());
        for name in named.iter().chain(&others) {
            assert!(folder.path().join(name).exists(), "{name} is gone");
        }
        for name in left {
            assert!(!folder.path().join(name).exists(), "{name} was left");
        }
    }
}

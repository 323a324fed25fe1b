//! What is in force, as `status` and `bundle show` tell it, and the way in for those who only look.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use protocol::index::{Held, Index, IndexError, Layers, Meta, ReadAt};
use protocol::repository::Provenance;
use protocol::{Serial, Timestamp};
use serde::{Deserialize, Serialize};

use super::index_file::IndexFile;
use super::record::{Name, NoRecord, Record};

/// A record may be replaced, and its files removed, between two looks at the folder.
const LOOKS_MAX: usize = 5;

/// The bundle in force, as `status` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number.
    pub serial: Serial,
    /// Indicators that are looked for.
    pub indicators: u64,
    /// The desk that made it.
    pub issuer: String,
    /// When the desk made it.
    pub created: Timestamp,
    /// When this sensor verified it.
    pub verified_at: Timestamp,
    /// Indicators that are looked for, by kind.
    #[serde(default)]
    pub kinds: BTreeMap<String, u64>,
    /// Indicators that are held back because they are absurd here, by reason.
    #[serde(default)]
    pub held: BTreeMap<String, Held>,
    /// Entries of the allow-list.
    #[serde(default)]
    pub allowed: u64,
    /// Revocations.
    #[serde(default)]
    pub revocations: u64,
    /// Changes that are kept above the full index.
    #[serde(default)]
    pub changes: u64,
    /// Bytes of the index on disk.
    #[serde(default)]
    pub index_bytes: u64,
    /// Bytes of memory that the index keeps.
    #[serde(default)]
    pub resident_bytes: u64,
}

/// Everything about bundles that `status` tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleStatus {
    /// What is in force; null for nothing.
    pub in_force: Option<InForce>,
    /// What is being built.
    pub building: Option<Building>,
    /// What was refused last since the start.
    pub refused: Option<RefusedBundle>,
    /// What is wrong with the index in force and what is done about it; empty for nothing.
    #[serde(default)]
    pub trouble: String,
    /// When the metadata of bundles that was verified last expires.
    #[serde(default)]
    pub fresh_until: Option<Timestamp>,
    /// Who signed what is or should be in force, and which file it is.
    #[serde(skip)]
    pub provenance: Option<Provenance>,
}

/// Whether nothing newer came before the metadata expired: somebody may keep this sensor from newer bundles.
pub fn is_stale(fresh_until: Option<Timestamp>, now: Timestamp) -> bool {
    fresh_until.is_some_and(|until| until < now)
}

/// An index that is being built beside the one in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Building {
    /// The bundle that it leads to.
    pub serial: Serial,
    /// Why it is built.
    pub why: Why,
    /// Lines read.
    pub done: u64,
    /// Lines in all.
    pub total: u64,
    /// When it began.
    pub since: Timestamp,
}

/// Why an index is built.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// A new bundle.
    Bundle,
    /// The one in force cannot be used as it is.
    Rebuild,
    /// Many changes are merged into the full index.
    Merge,
}

/// A bundle that is not in force, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedBundle {
    /// When.
    pub at: Timestamp,
    /// Its number, when it was known.
    pub serial: Option<Serial>,
    /// Why.
    pub reason: String,
}

/// Why nothing can be looked at.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// There is no bundle.
    #[error(
        "no bundle is in force: {} holds none; the collector offers one, or import one: vedetta-agent bundle import DIR",
        .0.display()
    )]
    Nothing(PathBuf),
    /// The record.
    #[error("{}: the record of the bundle in force cannot be read: {reason}", folder.display())]
    Record {
        /// The folder.
        folder: PathBuf,
        /// Why.
        reason: String,
    },
    /// An index file.
    #[error("{}: {error}", path.display())]
    Index {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: IndexError,
    },
}

/// Opens what is in force in a folder of bundles; nothing in it is changed, and an agent may be at work there.
///
/// # Errors
/// When there is nothing, or it cannot be read or is damaged.
pub fn open_in_force(folder: &Path) -> Result<(InForce, Layers), OpenError> {
    let mut looks = 0;
    loop {
        looks += 1;
        let record = Record::read(folder).map_err(|error| match error {
            NoRecord::None => OpenError::Nothing(folder.into()),
            other => OpenError::Record { folder: folder.into(), reason: other.to_string() },
        })?;
        match open_layers(folder, &record) {
            Ok(layers) => return Ok((InForce::of(folder, &record, &layers), layers)),
            Err(OpenError::Index { error: IndexError::Io(error), .. })
                if error.kind() == io::ErrorKind::NotFound && looks < LOOKS_MAX => {}
            Err(error) => return Err(error),
        }
    }
}

/// Opens the files of a record and sees that they belong to it and to each other.
pub(super) fn open_layers(folder: &Path, record: &Record) -> Result<Layers, OpenError> {
    let base = open_index(folder, &record.base)?;
    let overlay = record.overlay.as_ref().map(|name| open_index(folder, name)).transpose()?;
    let layers = Layers::new(base, overlay).map_err(|error| {
        let path = folder.join(record.overlay.as_ref().unwrap_or(&record.base).as_str());
        OpenError::Index { path, error }
    })?;
    if (layers.serial(), layers.set()) != (record.serial, record.set) {
        return Err(does_not_belong(folder, record.overlay.as_ref().unwrap_or(&record.base)));
    }
    Ok(layers)
}

fn does_not_belong(folder: &Path, name: &Name) -> OpenError {
    let error = io::Error::new(io::ErrorKind::InvalidData, "it is not the index that the record means");
    OpenError::Index { path: folder.join(name.as_str()), error: error.into() }
}

/// Opens an index of the folder.
pub(super) fn open_index(folder: &Path, name: &Name) -> Result<Arc<Index>, OpenError> {
    let path = folder.join(name.as_str());
    let opened = IndexFile::open(&path).map_err(IndexError::from);
    let opened = opened.and_then(|file| Index::open(Box::new(file) as Box<dyn ReadAt>));
    opened.map(Arc::new).map_err(|error| OpenError::Index { path, error })
}

impl InForce {
    /// What is in force by a record and the indexes that are open.
    pub(super) fn of(folder: &Path, record: &Record, layers: &Layers) -> Self {
        let kinds = layers.kinds();
        let bytes = |name: &Name| fs::metadata(folder.join(name.as_str())).map_or(0, |file| file.len());
        let metas =
            || [Some(layers.base()), layers.overlay()].into_iter().flatten().map(|index| index.meta());
        let sum = |count: fn(&Meta) -> u64| metas().map(count).sum::<u64>();
        let removed = |kind: &str| metas().filter_map(|meta| meta.removed.get(kind)).sum::<u64>();
        Self {
            serial: layers.serial(),
            indicators: kinds.values().sum(),
            issuer: record.issuer.clone(),
            created: record.created,
            verified_at: record.verified_at,
            kinds,
            held: record.held.clone(),
            allowed: sum(|meta| meta.allowed).saturating_sub(removed("allow")),
            revocations: sum(|meta| meta.revocations).saturating_sub(removed("revocation")),
            changes: changes(layers),
            index_bytes: [Some(&record.base), record.overlay.as_ref()].into_iter().flatten().map(bytes).sum(),
            resident_bytes: layers.resident_bytes() as u64,
        }
    }
}

/// How many changes there are above the full index.
pub(super) fn changes(layers: &Layers) -> u64 {
    layers.overlay().map_or(0, |overlay| {
        let meta = overlay.meta();
        meta.indicators() + meta.allowed + meta.revocations + meta.removed.values().sum::<u64>()
    })
}

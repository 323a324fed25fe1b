//! Builds index files from verified bundles and deltas: streamed, beside the one in force, in the memory that the
//! builder takes. Nothing that is built here counts before the record names it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::BundleReader;
use protocol::bundle::{BundleLimits, Line, SetHash};
use protocol::delta::DeltaReader;
use protocol::index::{Builder, HELD_EXAMPLES_MAX, Held, Index, Layers, Overlay, Plan, ReadAt, Sanity};
use protocol::{Serial, absurd};
use sha2::{Digest as _, Sha256};
use tracing::{debug, info};

use super::in_force::{Building, BundleStatus, Why};
use super::index_file::IndexFile;
use super::not_taken::{LoadError, disk, index};
use super::record::{Name, Source};
use crate::clock;
use crate::published::Published;

/// How often a long build says in the log how far it is.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Lines between two looks at the clock and at whether to go on.
const LINES_AT_ONCE: u64 = 1024;
const READ_BYTES: usize = 256 << 10;
/// Everything else on the gateway comes first.
const NICE: i32 = 19;

/// Where indexes are built, and for whom.
#[derive(Clone)]
pub(super) struct Workshop {
    pub folder: PathBuf,
    pub sanity: Sanity,
    /// Where the progress is told.
    pub status: Published<BundleStatus>,
}

/// An index that was built and is safe on disk.
pub(super) struct Built {
    pub name: Name,
    pub index: Arc<Index>,
    /// The bundle that it was built from; `None` for a merge.
    pub source: Option<Source>,
}

/// A long build: how far it is, and whether it should go on.
pub(super) struct Progress {
    status: Published<BundleStatus>,
    interrupted: Arc<AtomicBool>,
    building: Building,
    told: Instant,
    logged: Instant,
}

impl Progress {
    pub fn begin(shop: &Workshop, interrupted: Arc<AtomicBool>, (serial, why): (Serial, Why)) -> Self {
        let building = Building { serial, why, done: 0, total: 0, since: clock::now() };
        let now = Instant::now();
        let progress = Self { status: shop.status.clone(), interrupted, building, told: now, logged: now };
        progress.publish();
        progress
    }

    fn begin_lines(&mut self, total: u64) {
        self.building.total = total;
        self.publish();
        info!(serial = %self.building.serial, why = ?self.building.why, lines = total, "building an index");
    }

    /// One line more was read.
    fn count(&mut self) -> Result<(), LoadError> {
        self.building.done += 1;
        if !self.building.done.is_multiple_of(LINES_AT_ONCE) {
            return Ok(());
        }
        if self.interrupted.load(Ordering::Relaxed) {
            return Err(LoadError::Interrupted);
        }
        if self.told.elapsed() >= Duration::from_millis(250) {
            self.told = Instant::now();
            self.publish();
        }
        if self.logged.elapsed() >= LOG_EVERY {
            self.logged = Instant::now();
            let Building { serial, done, total, .. } = &self.building;
            info!(%serial, done, total, "building an index");
        }
        Ok(())
    }

    fn publish(&self) {
        let building = &self.building;
        self.status.update(|status| BundleStatus { building: Some(building.clone()), ..status.clone() });
    }
}

/// Gives the processor to everybody else first. Linux keeps the priority of each thread (nice(2)), so the workers
/// that read packets keep theirs.
pub(super) fn lower_priority() {
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        debug!(%error, "the thread that builds keeps its priority");
    }
}

impl Workshop {
    fn plan(&self, serial: Serial, source: String) -> Plan {
        Plan { serial, secret: rand::random(), sanity: self.sanity.clone(), source, below: None }
    }

    pub fn path(&self, name: &Name) -> PathBuf {
        self.folder.join(name.as_str())
    }

    /// An index of a full bundle. `sha256` is what the file must have, when that is known.
    pub fn full(
        &self,
        file: &Name,
        sha256: Option<&str>,
        name: Name,
        mut progress: Progress,
    ) -> Result<Built, LoadError> {
        let path = self.path(file);
        let bundle_error = |error| LoadError::Bundle { path: path.clone(), error };
        let (found, bytes) = hash(&path)?;
        if sha256.is_some_and(|sha256| sha256 != found) {
            return Err(LoadError::Altered { path });
        }
        let opened = BufReader::with_capacity(READ_BYTES, File::open(&path).map_err(disk(&path))?);
        let mut reader = BundleReader::new(opened, BundleLimits::default()).map_err(bundle_error)?;
        let (serial, lines) = (reader.header().serial, reader.header().indicators);
        progress.begin_lines(lines);
        let built = self.write(&name, self.plan(serial, file.as_str().to_owned()), |builder, out| {
            for line in &mut reader {
                builder.add(&line.map_err(bundle_error)?).map_err(index(out))?;
                progress.count()?;
            }
            Ok(reader.set())
        })?;
        let source = Source { file: file.clone(), sha256: found, serial, bytes, lines };
        Ok(Built { name, index: built, source: Some(source) })
    }

    /// One index of everything in force.
    pub fn merged(&self, layers: &Layers, name: Name, mut progress: Progress) -> Result<Built, LoadError> {
        progress.begin_lines(layers.indicators());
        // What is held back is not stored: the merged index is for the home networks of the one before.
        let below = layers.base().meta();
        let sanity = below.sanity.clone();
        let plan = Plan { sanity, ..self.plan(layers.serial(), below.source.clone()) };
        let built = self.write(&name, plan, |builder, out| {
            for line in layers.stored().map_err(index(out))? {
                let line = line.map_err(index(out))?;
                builder.add(&line).map_err(index(out))?;
                progress.count()?;
            }
            Ok(layers.set())
        })?;
        Ok(Built { name, index: built, source: None })
    }

    /// An index of changes above `base`, and the layers that it makes with it. `held` is what was held back before.
    pub fn changed(
        &self,
        layers: &Layers,
        base: &Name,
        deltas: &[Source],
        mut held: HeldBack,
    ) -> Result<Changed, LoadError> {
        let serial = deltas.last().map_or(layers.serial(), |delta| delta.serial);
        let name = Name::new("overlay", serial, "index");
        let mut overlay = Overlay::of(layers).map_err(index(&self.path(base)))?;
        for delta in deltas {
            self.apply(layers, &mut overlay, delta)?;
            if !held.is_empty() {
                self.no_longer_hold(&mut held, delta)?;
            }
        }
        let plan = overlay.plan(layers, self.plan(serial, base.as_str().to_owned()));
        let built = self.write(&name, plan, |builder, out| {
            overlay.write(builder).map_err(index(out))?;
            Ok(overlay.set())
        })?;
        for (reason, more) in &built.meta().held {
            let known = held.entry(reason.clone()).or_default();
            known.count += more.count;
            known.examples.extend_from_slice(&more.examples);
            known.examples.truncate(HELD_EXAMPLES_MAX);
        }
        let layers = Layers::new(Arc::clone(layers.base()), Some(built)).map_err(index(&self.path(&name)))?;
        Ok(Changed { name, layers, held })
    }

    fn apply(&self, layers: &Layers, overlay: &mut Overlay, delta: &Source) -> Result<(), LoadError> {
        let path = self.path(&delta.file);
        if hash(&path)?.0 != delta.sha256 {
            return Err(LoadError::Altered { path });
        }
        let mut reader = open_delta(&path)?;
        overlay.apply(layers, &mut reader).map_err(|error| unfit(&path, &error))
    }

    /// What is held back is not stored, only counted: a delta that takes some of it out lowers the count.
    fn no_longer_hold(&self, held: &mut HeldBack, delta: &Source) -> Result<(), LoadError> {
        let Sanity::HoldAbsurd { own } = &self.sanity else { return Ok(()) };
        let path = self.path(&delta.file);
        for change in open_delta(&path)? {
            let change = change.map_err(|error| unfit(&path, &error))?;
            let Some(Line::Indicator(indicator)) = change.line.filter(|_| !change.added) else { continue };
            let Some(reason) = absurd::reason(&indicator.look_for, own) else { continue };
            if let Some(known) = held.get_mut(&reason.to_string()) {
                let value = indicator.look_for.to_string();
                known.count = known.count.saturating_sub(1);
                known.examples.retain(|example| *example != value);
            }
        }
        held.retain(|_, held| held.count > 0);
        Ok(())
    }

    /// Writes an index and opens it; what was not finished is removed.
    fn write(
        &self,
        name: &Name,
        plan: Plan,
        fill: impl FnOnce(&mut Builder<IndexFile, IndexFile>, &Path) -> Result<SetHash, LoadError>,
    ) -> Result<Arc<Index>, LoadError> {
        let path = self.path(name);
        let write = || {
            let out = IndexFile::create(&path).map_err(disk(&path))?;
            let scratch = IndexFile::scratch(&self.folder).map_err(disk(&self.folder))?;
            let mut builder = Builder::new(plan, out, scratch).map_err(index(&path))?;
            let set = fill(&mut builder, &path)?;
            let (_, out) = builder.finish(set).map_err(index(&path))?;
            out.finish().map_err(disk(&path))?;
            let file = IndexFile::open(&path).map_err(disk(&path))?;
            Index::open(Box::new(file) as Box<dyn ReadAt>).map_err(index(&path))
        };
        write().map(Arc::new).inspect_err(|_| self.discard(name))
    }

    /// Removes what will not be in force.
    pub fn discard(&self, name: &Name) {
        // Best effort: what stays is removed at the next start.
        let _ = fs::remove_file(self.path(name));
    }

    /// A verified file, as a record names it.
    pub fn source(&self, file: Name, serial: Serial, lines: u64) -> Result<Source, LoadError> {
        let (sha256, bytes) = hash(&self.path(&file))?;
        Ok(Source { file, sha256, serial, bytes, lines })
    }
}

fn open_delta(path: &Path) -> Result<DeltaReader<'static>, LoadError> {
    let file = BufReader::new(File::open(path).map_err(disk(path))?);
    DeltaReader::new(file, BundleLimits::default()).map_err(|error| unfit(path, &error))
}

fn unfit(path: &Path, error: &dyn Display) -> LoadError {
    LoadError::Changes { path: path.into(), reason: error.to_string() }
}

/// SHA-256 of a file, and its bytes.
fn hash(path: &Path) -> Result<(String, u64), LoadError> {
    let mut file = File::open(path).map_err(disk(path))?;
    let (mut digest, mut bytes) = (Sha256::new(), 0);
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(disk(path))?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
        digest.update(piece);
        bytes += piece.len() as u64;
    }
    Ok((hex(&digest.finalize()), bytes))
}

/// Lower-case hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    protocol::text::Hex(bytes).to_string()
}

/// An index of changes, and what is in force with it.
pub(super) struct Changed {
    pub name: Name,
    pub layers: Layers,
    /// What is held back with it.
    pub held: HeldBack,
}

/// Indicators held back, by reason.
pub(super) type HeldBack = BTreeMap<String, Held>;

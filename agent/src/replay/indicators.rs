//! The indicators that `replay` compares with, arranged in files without a name, so that ten million fit as well.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use ipnet::IpNet;
use protocol::bundle::{BundleLimits, Line, SetHash};
use protocol::index::{Builder, Index, Layers, Plan, ReadAt, Sanity, Storage};
use protocol::{BundleReader, Indicator, Serial, absurd};

use crate::bundles::index_file::IndexFile;
use crate::bundles::verify::{Lines, Repository, Verified, Wanted, verify};

/// The longest line of a list; the rest of a longer one is no indicator.
const LINE_BYTES_MAX: u64 = 16 << 10;
/// A list up to this size is arranged in memory, so that it needs no folder for temporary files.
const IN_MEMORY_BYTES_MAX: u64 = 4 << 20;
/// Bad lines that are listed; the rest is counted.
const LISTED_MAX: u64 = 50;

/// Nothing is compared with before the last line was read.
const WANTED: Wanted = Wanted { in_force: None, lines: Lines::LeftToCaller };

/// An index that is needed by this process only.
type Throwaway = Builder<Box<dyn Storage>, Box<dyn Storage>>;

/// Reads a list of indicators; lines that are none, and those that match what every town has, are listed on standard
/// error. The latter are looked for all the same: somebody named them.
pub(super) fn of_list(path: &Path) -> anyhow::Result<Layers> {
    let about = || format!("{}: cannot be read; --indicators wants a list, one value a line", path.display());
    let file = File::open(path).with_context(about)?;
    let is_small = file.metadata().is_ok_and(|about| about.is_file() && about.len() <= IN_MEMORY_BYTES_MAX);
    let mut builder = builder(Serial::default(), Sanity::TakeAll, is_small)?;
    let mut lines = BufReader::with_capacity(256 << 10, file);
    let mut bad = Listed::new("are no indicators");
    let mut odd = Listed::new("match what every town has, or what many people share");
    let (mut set, mut taken) = (SetHash::default(), 0_u64);
    let mut line = Vec::new();
    for number in 1_u64.. {
        line.clear();
        if (&mut lines).take(LINE_BYTES_MAX).read_until(b'\n', &mut line).with_context(about)? == 0 {
            break;
        }
        if !line.ends_with(b"\n") && line.len() as u64 >= LINE_BYTES_MAX {
            lines.skip_until(b'\n').with_context(about)?;
        }
        let place = || format!("{}:{number}", path.display());
        let indicator = match Indicator::from_list_line(&String::from_utf8_lossy(&line)) {
            None => continue,
            Some(Ok(indicator)) => indicator,
            Some(Err(error)) => {
                bad.note(|| format!("{}: {error}", place()));
                continue;
            }
        };
        if let Some(reason) = absurd::reason(&indicator.look_for, &[]) {
            odd.note(|| {
                format!(
                    "{}: {}: {}; it is looked for all the same",
                    place(),
                    indicator.look_for,
                    reason.sentence()
                )
            });
        }
        set.add(&serde_json::to_vec(&indicator)?);
        builder.add(&Line::Indicator(indicator)).with_context(no_room)?;
        taken += 1;
    }
    bad.conclude(path);
    odd.conclude(path);
    if taken == 0 {
        bail!("{}: no indicator in it", path.display());
    }
    finish(builder, set)
}

/// Verifies a signed repository and arranges its newest bundle, as a sensor of a town with these networks does.
pub(super) fn of_bundle(repository: &Path, root: &Path, home_networks: &[IpNet]) -> anyhow::Result<Layers> {
    let root = fs::read(root).with_context(|| {
        format!("{}: cannot be read; name the COSC's root with --root ROOT.json", root.display())
    })?;
    let workspace = Workspace::new().context("no folder for the verified bundle can be made; see TMPDIR")?;
    let (datastore, bundles) = (workspace.0.join("tuf"), workspace.0.join("bundles"));
    fs::create_dir(&datastore)?;
    fs::create_dir(&bundles)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verified = runtime
        .block_on(verify(Repository::folder(repository), &root, &datastore, &bundles, WANTED))
        .and_then(Verified::into_full);
    let (header, bundle) =
        verified.with_context(|| format!("{}: the bundle is refused", repository.display()))?;
    eprintln!("bundle {} of {}, verified", header.serial, header.issuer);
    let sanity = Sanity::HoldAbsurd { own: home_networks.to_vec() };
    let mut builder = builder(header.serial, sanity, false)?;
    let mut reader = BundleReader::new(BufReader::new(File::open(&bundle)?), BundleLimits::default())?;
    for line in &mut reader {
        builder.add(&line?).with_context(no_room)?;
    }
    let layers = finish(builder, reader.set())?;
    for (reason, held) in &layers.base().meta().held {
        eprintln!("held back: {} {reason}, such as {}", held.count, held.examples.join(", "));
    }
    Ok(layers)
}

fn builder(serial: Serial, sanity: Sanity, in_memory: bool) -> anyhow::Result<Throwaway> {
    let place = || -> io::Result<Box<dyn Storage>> {
        if in_memory {
            return Ok(Box::new(Vec::new()));
        }
        Ok(Box::new(IndexFile::scratch(&std::env::temp_dir())?))
    };
    let plan = Plan { serial, secret: rand::random(), sanity, source: String::new(), below: None };
    let places = place().and_then(|out| Ok((out, place()?))).with_context(no_room)?;
    Builder::new(plan, places.0, places.1).with_context(no_room)
}

fn finish(builder: Throwaway, set: SetHash) -> anyhow::Result<Layers> {
    let (_, out) = builder.finish(set).with_context(no_room)?;
    let index = Index::open(Box::new(out) as Box<dyn ReadAt>)?;
    Ok(Layers::new(Arc::new(index), None)?)
}

fn no_room() -> String {
    let folder = std::env::temp_dir();
    format!("the indicators cannot be arranged in {}; name another folder with TMPDIR", folder.display())
}

/// Lines on standard error, the first of many.
struct Listed {
    what: &'static str,
    noted: u64,
}

impl Listed {
    fn new(what: &'static str) -> Self {
        Self { what, noted: 0 }
    }

    fn note(&mut self, text: impl FnOnce() -> String) {
        self.noted += 1;
        if self.noted <= LISTED_MAX {
            eprintln!("{}", text());
        }
    }

    fn conclude(&self, path: &Path) {
        if self.noted > LISTED_MAX {
            eprintln!("{}: {} more lines {}", path.display(), self.noted - LISTED_MAX, self.what);
        }
    }
}

/// A folder that goes away with the command.
struct Workspace(PathBuf);

impl Workspace {
    fn new() -> io::Result<Self> {
        let name = format!("vedetta-replay-{}-{:08x}", process::id(), rand::random::<u32>());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0); // best effort: it is in the folder for temporary files
    }
}

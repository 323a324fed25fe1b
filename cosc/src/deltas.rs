//! Deltas beside a new bundle: from each earlier one that the repository keeps, where a sensor saves by it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context as _, Result};
use protocol::bundle::BundleLimits;
use protocol::delta::{DeltaWriter, NoDelta};
use protocol::{BundleReader, Serial};

use crate::progress;

/// What became of the delta from one bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delta {
    /// It was written.
    Written {
        /// The bundle that it starts from.
        from: Serial,
        /// How many lines come and go.
        changes: u64,
        /// Its length.
        bytes: u64,
    },
    /// Sensors with that bundle fetch the full one.
    None {
        /// The bundle that it would start from.
        from: Serial,
        /// Why.
        why: String,
    },
}

/// Writes the delta between two bundles into `out`, unless it is no smaller than half the full bundle.
///
/// # Errors
/// When `out` cannot be written; a bundle that cannot be read or compared only means that there is no delta.
pub fn write((from, base): (Serial, &Path), next: &Path, out: &Path) -> Result<Delta> {
    let none = |why: String| {
        let _ = fs::remove_file(out);
        Ok(Delta::None { from, why })
    };
    let sink = File::create(out).with_context(|| format!("cannot create {}", out.display()))?;
    let bar = progress::bytes("comparing", length(base) + length(next));
    let open = |path: &Path| -> Result<_, String> {
        let file = File::open(path).map_err(|error| format!("{}: {error}", path.display()))?;
        BundleReader::new(bar.wrap_read(file), BundleLimits::default()).map_err(|error| error.to_string())
    };
    let (mut old, mut new) = match (open(base), open(next)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(why), _) | (_, Err(why)) => return none(why),
    };
    // A delta with more lines than the bundle is never half its length.
    let changes_max = new.header().indicators;
    let header = match DeltaWriter::write(&sink, &mut old, &mut new, changes_max) {
        Ok(header) => header,
        Err(NoDelta::Sink(error)) => return Err(failed(out, error)),
        Err(why) => return none(why.to_string()),
    };
    bar.finish_and_clear();
    sink.sync_all().map_err(|error| failed(out, error))?;
    let (bytes, full) = (length(out), length(next));
    if bytes >= full / 2 {
        return none(format!("it would have {bytes} bytes, the full bundle has {full}"));
    }
    Ok(Delta::Written { from, changes: header.changes, bytes })
}

fn failed(out: &Path, error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot write {}", out.display()))
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |data| data.len())
}

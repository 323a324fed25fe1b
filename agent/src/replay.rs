//! `replay`: compares captures and logs with indicators and prints each hit once, one a line as JSON.

mod joined;

use std::io::{self, BufWriter, Read as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::{fs, process};

use anyhow::{Context as _, bail};
use clap::Args;
use detect::{Detector, DetectorConfig, Joiner, Matcher, Patience, Report};
use ipnet::IpNet;
use protocol::bundle::BundleLimits;
use protocol::{BundleReader, Indicator, Serial};

use crate::bundles::verify::{Repository, Verified, Wanted, verify};
use crate::replay::joined::Joined;
use crate::summary::{InputArguments, Inputs, Work};

/// The root that enrolment pinned on this machine.
const PINNED_ROOT: &str = "/var/lib/vedetta-agent/identity/cosc-root.json";
/// A list is read whole; a bundle is the form for more.
const LIST_BYTES_MAX: u64 = 1 << 30;
/// Bad lines that are listed; the rest is counted.
const BAD_LINES_LISTED_MAX: usize = 50;

/// What to compare with what.
#[derive(Debug, Args)]
pub struct ReplayArguments {
    /// A list of indicators: one value a line, defanged or not, or JSON Lines as in a bundle. `login-*.evil.example`,
    /// `evil.example/kit/*` and `@evil.example` cover what looks alike; `!www.good.example` silences what is no more
    /// specific; `#` begins a comment.
    #[arg(long, value_name = "FILE", required_unless_present = "bundle", conflicts_with = "bundle")]
    pub indicators: Option<PathBuf>,
    /// A signed repository; its newest bundle is verified and used.
    #[arg(long, value_name = "DIR")]
    pub bundle: Option<PathBuf>,
    /// The COSC's root that the repository must lead back to; the one pinned at enrolment unless named.
    #[arg(long, value_name = "ROOT.json", requires = "bundle", default_value = PINNED_ROOT)]
    pub root: PathBuf,
    /// A network of the town; may be repeated. Private space when none is named.
    #[arg(long = "home-net", value_name = "CIDR")]
    pub home_networks: Vec<IpNet>,
    /// In what.
    #[command(flatten)]
    pub inputs: InputArguments,
}

/// Runs the command. Nothing but hits goes to standard output.
///
/// # Errors
/// When the indicators cannot be read, or standard output cannot be written.
pub fn run(arguments: &ReplayArguments) -> anyhow::Result<ExitCode> {
    let matcher = match (&arguments.indicators, &arguments.bundle) {
        (Some(list), _) => matcher_of_list(list)?,
        (None, Some(repository)) => matcher_of_bundle(repository, &arguments.root)?,
        (None, None) => bail!("name the indicators with --indicators FILE or --bundle DIR"),
    };
    eprintln!("{} indicators", matcher.len());
    let matcher = Arc::new(matcher);
    let config = DetectorConfig {
        home_networks: arguments.home_networks.clone(),
        report: Report::AtEnd,
        ..DetectorConfig::default()
    };
    // The two sides of a gateway may stand in two captures: then nothing is certain before all are read.
    let patience = if arguments.inputs.inputs.len() > 1 { Patience::ToTheEnd } else { Patience::Replay };
    let mut out = Joined::new(Joiner::new(&config, patience), BufWriter::new(io::stdout().lock()));
    let detector_for = Box::new(move |name: &str| Detector::new(&config, name, Arc::clone(&matcher)));
    let mut inputs = Inputs::default();
    inputs.read_all(&arguments.inputs, Work { detector_for, drain }, &mut out)?;
    let (counters, printed) = out.finish();
    inputs.note_output(&counters, printed);
    inputs.conclude("hits")
}

fn drain(detector: &mut Detector, lines: &mut Vec<u8>) -> io::Result<()> {
    while let Some(hit) = detector.poll_hit() {
        joined::carry(&hit, lines)?;
    }
    Ok(())
}

/// Reads a list of indicators; lines that are none are listed on standard error.
fn matcher_of_list(path: &Path) -> anyhow::Result<Matcher> {
    let mut text = Vec::new();
    let about = || format!("{}: cannot be read; --indicators wants a list, one value a line", path.display());
    let file = fs::File::open(path).with_context(about)?;
    file.take(LIST_BYTES_MAX).read_to_end(&mut text).with_context(about)?;
    let mut bad = 0;
    let mut indicators: Vec<Indicator> = Vec::new();
    for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
        match Indicator::from_list_line(&String::from_utf8_lossy(line)) {
            None => {}
            Some(Ok(indicator)) => indicators.push(indicator),
            Some(Err(error)) => {
                bad += 1;
                if bad <= BAD_LINES_LISTED_MAX {
                    eprintln!("{}:{}: {error}", path.display(), number + 1);
                }
            }
        }
    }
    if bad > BAD_LINES_LISTED_MAX {
        eprintln!("{}: {} more lines are no indicators", path.display(), bad - BAD_LINES_LISTED_MAX);
    }
    if indicators.is_empty() {
        bail!("{}: no indicator in it", path.display());
    }
    Ok(Matcher::build(Serial::default(), indicators)?)
}

/// Verifies a signed repository and reads its newest bundle.
fn matcher_of_bundle(repository: &Path, root: &Path) -> anyhow::Result<Matcher> {
    let root = fs::read(root).with_context(|| {
        format!("{}: cannot be read; name the COSC's root with --root ROOT.json", root.display())
    })?;
    let workspace = Workspace::new().context("no folder for the verified bundle can be made; see TMPDIR")?;
    let (datastore, bundles) = (workspace.0.join("tuf"), workspace.0.join("bundles"));
    fs::create_dir(&datastore)?;
    fs::create_dir(&bundles)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let verified = runtime
        .block_on(verify(Repository::folder(repository), &root, &datastore, &bundles, Wanted::FULL))
        .and_then(Verified::into_full);
    let (header, bundle) =
        verified.with_context(|| format!("{}: the bundle is refused", repository.display()))?;
    eprintln!("bundle {} of {}, verified", header.serial, header.issuer);
    let mut reader = BundleReader::new(fs::File::open(&bundle)?, BundleLimits::default())?;
    let indicators: Vec<Indicator> = reader.indicators().collect::<Result<_, _>>()?;
    Ok(Matcher::build(header.serial, indicators)?)
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

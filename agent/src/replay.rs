//! `replay`: compares captures and logs with indicators and prints each hit once, one a line as JSON.

mod indicators;
mod joined;

use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::bail;
use clap::Args;
use detect::{Detector, DetectorConfig, Joiner, Matcher, Patience, Report};
use ipnet::IpNet;

use crate::replay::joined::Joined;
use crate::summary::{InputArguments, Inputs, Work};

/// The root that enrolment pinned on this machine.
const PINNED_ROOT: &str = "/var/lib/vedetta-agent/identity/cosc-root.json";
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
    let layers = match (&arguments.indicators, &arguments.bundle) {
        (Some(list), _) => indicators::of_list(list)?,
        (None, Some(repository)) => {
            indicators::of_bundle(repository, &arguments.root, &arguments.home_networks)?
        }
        (None, None) => bail!("name the indicators with --indicators FILE or --bundle DIR"),
    };
    eprintln!("{} indicators", layers.indicators());
    let matcher = Arc::new(Matcher::new(layers));
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

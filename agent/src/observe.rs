//! `observe`: prints every sighting of captures and logs, one a line as JSON: what the sensor would see.

use std::io::{self, BufWriter, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use detect::{Detector, DetectorConfig};

use crate::summary::Inputs;

/// What to observe.
#[derive(Debug, Args)]
pub struct ObserveArguments {
    /// Captures (pcap, pcapng) and log files, also compressed with gzip; `-` is standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
}

/// Runs the command. Nothing but sightings goes to standard output.
///
/// # Errors
/// When standard output cannot be written, unless somebody closed it on purpose.
pub fn run(arguments: &ObserveArguments) -> anyhow::Result<ExitCode> {
    let config = DetectorConfig::default();
    let mut out = BufWriter::new(io::stdout().lock());
    let mut inputs = Inputs::default();
    inputs.read_all(&arguments.inputs, |name| Detector::observer(&config, name), &mut |detector| {
        while let Some(sighting) = detector.poll_sighting() {
            serde_json::to_writer(&mut out, &sighting)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    });
    inputs.close_output(out.flush());
    inputs.conclude("sightings")
}

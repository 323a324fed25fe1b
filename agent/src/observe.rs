//! `observe`: prints every sighting of captures and logs, one a line as JSON: what the sensor would see.

use std::io;
use std::process::ExitCode;

use clap::Args;
use detect::{Detector, DetectorConfig};

use crate::summary::{InputArguments, Inputs, Work};

/// What to observe.
#[derive(Debug, Args)]
pub struct ObserveArguments {
    /// Of what.
    #[command(flatten)]
    pub inputs: InputArguments,
}

/// Runs the command. Nothing but sightings goes to standard output.
///
/// # Errors
/// When standard output cannot be written, unless somebody closed it on purpose.
pub fn run(arguments: &ObserveArguments) -> anyhow::Result<ExitCode> {
    let config = DetectorConfig::default();
    let detector_for = Box::new(move |name: &str| Detector::observer(&config, name));
    let mut inputs = Inputs::default();
    inputs.read_all(&arguments.inputs, Work { detector_for, drain }, &mut io::stdout().lock())?;
    inputs.conclude("sightings")
}

fn drain(detector: &mut Detector, lines: &mut Vec<u8>) -> io::Result<()> {
    while let Some(sighting) = detector.poll_sighting() {
        serde_json::to_writer(&mut *lines, &sighting)?;
        lines.push(b'\n');
    }
    Ok(())
}

//! Inputs one after the other, with progress on a terminal and a summary on standard error.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use detect::{Counters, Detector};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::offline::{self, Drain, STDIN, Unreadable};

/// Exit code when some input could not be read.
const EXIT_INCOMPLETE: u8 = 1;

/// What came of a list of inputs.
#[derive(Default)]
pub struct Inputs {
    read: usize,
    refused: usize,
    counters: Counters,
    given_out: u64,
    output: Option<io::Error>,
}

impl Inputs {
    /// Reads all inputs, each into its own detector. What cannot be read is said and passed over.
    pub fn read_all(
        &mut self,
        paths: &[PathBuf],
        mut detector_for: impl FnMut(&str) -> Detector,
        drain: &mut Drain<'_>,
    ) {
        for path in paths {
            let name = name_of(path);
            let mut detector = detector_for(&name);
            let progress = progress_bar(&name);
            let read = offline::read(path, &mut detector, &progress, drain);
            progress.finish_and_clear();
            let counters = detector.counters();
            self.counters.add(&counters);
            match read {
                Ok(()) => self.read += 1,
                Err(Unreadable::Empty) => {
                    eprintln!("{name}: is empty");
                    self.read += 1;
                }
                Err(Unreadable::Output(error)) => {
                    self.output = Some(error);
                    return;
                }
                Err(error) => {
                    eprintln!("{name}: {error}");
                    self.refused += 1;
                }
            }
        }
    }

    /// Notes how flushing the output ended.
    pub fn close_output(&mut self, flushed: io::Result<()>) {
        if let Err(error) = flushed {
            self.output.get_or_insert(error);
        }
    }

    /// Writes the summary and decides the exit code: 0 when all was read. A closed pipe ends quietly.
    ///
    /// # Errors
    /// When the output could not be written for another reason.
    pub fn conclude(mut self, what: &str) -> anyhow::Result<ExitCode> {
        match self.output.take() {
            Some(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Some(error) => {
                return Err(anyhow::Error::from(error).context("standard output cannot be written"));
            }
            None => {}
        }
        self.given_out = if what == "hits" { self.counters.hits } else { self.counters.sightings };
        let inputs = if self.read + self.refused == 1 { "input" } else { "inputs" };
        eprintln!("{} of {} {inputs} read, {} {what}", self.read, self.read + self.refused, self.given_out);
        let counts: Vec<String> = self
            .counters
            .each()
            .filter(|(_, count)| *count > 0)
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        if !counts.is_empty() {
            eprintln!("{}", counts.join(", "));
        }
        let all = self.refused == 0;
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(EXIT_INCOMPLETE) })
    }
}

fn name_of(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Bytes, rate and remaining time; nothing when standard error is no terminal, or when the data goes to the same one.
fn progress_bar(name: &str) -> ProgressBar {
    if !io::stderr().is_terminal() || io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(4));
    if let Ok(style) =
        ProgressStyle::with_template("{prefix} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {wide_bar}")
    {
        bar.set_style(style);
    }
    bar.set_prefix(name.to_owned());
    bar.enable_steady_tick(Duration::from_millis(250));
    bar
}

//! A list of inputs read on several cores: output in the order of the inputs, progress on a terminal, a summary on
//! standard error. The output is the same whatever the number of cores.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Context as _;
use clap::Args;
use detect::{Counters, Detector};

use crate::offline::shelf::{Next, Shelf};
use crate::offline::{self, Progress, STDIN, Unreadable};

/// Exit code when some input could not be read.
const EXIT_INCOMPLETE: u8 = 1;
/// Inputs read at once at most, whatever is asked for.
const JOBS_MAX: usize = 256;
/// Lines are handed on in pieces of about this size.
const PIECE_BYTES: usize = 64 * 1024;

/// Which inputs, and how many at once.
#[derive(Debug, Args)]
pub struct InputArguments {
    /// Captures (pcap, pcapng) and log files, also compressed with gzip; `-` is standard input.
    #[arg(required = true, value_name = "INPUT")]
    pub inputs: Vec<PathBuf>,
    /// Inputs read at once; one on each core unless given. Each has a detector with memory of its own.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub jobs: Option<u16>,
}

/// What is done with each input.
pub struct Work {
    /// Makes the detector of an input by its name.
    pub detector_for: Box<dyn Fn(&str) -> Detector + Send + Sync>,
    /// Writes what a detector has to give out, one a line.
    pub drain: fn(&mut Detector, &mut Vec<u8>) -> io::Result<()>,
}

/// What came of a list of inputs.
#[derive(Default)]
pub struct Inputs {
    read: usize,
    refused: usize,
    counters: Counters,
    output: Option<io::Error>,
}

/// What came of one.
struct Outcome {
    counters: Counters,
    read: Result<(), Unreadable>,
}

struct Readers {
    paths: Vec<PathBuf>,
    work: Work,
    shelf: Shelf<Outcome>,
    next: AtomicUsize,
    progress: Progress,
}

impl Inputs {
    /// Reads all inputs, each into its own detector. What cannot be read is said and passed over. When nobody takes
    /// the output any more it comes back at once; what readers still do ends with the program.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn read_all(
        &mut self,
        arguments: &InputArguments,
        work: Work,
        out: &mut dyn Write,
    ) -> anyhow::Result<()> {
        let paths = arguments.inputs.clone();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let jobs = arguments.jobs.map_or(cores, usize::from).min(paths.len()).min(JOBS_MAX);
        let progress = Progress::of(&paths);
        progress.inputs_over(0, paths.len());
        let readers = Readers { paths, work, shelf: Shelf::default(), next: AtomicUsize::new(0), progress };
        let readers = Arc::new(readers);
        for job in 0..jobs.max(1) {
            let share = Arc::clone(&readers);
            let started = thread::Builder::new().name(format!("input {job}")).spawn(move || share.read());
            // Fewer threads are slower, and nothing else.
            if job == 0 {
                started.context("no thread can be started")?;
            }
        }
        for (number, path) in readers.paths.iter().enumerate() {
            match give_out(&readers.shelf, out) {
                Ok(outcome) => self.note(&name_of(path), outcome, &readers.progress),
                Err(error) => {
                    readers.shelf.close();
                    self.output = Some(error);
                    break;
                }
            }
            readers.progress.inputs_over(number + 1, readers.paths.len());
        }
        readers.progress.end();
        Ok(())
    }

    fn note(&mut self, name: &str, outcome: Outcome, progress: &Progress) {
        self.counters.add(&outcome.counters);
        match outcome.read {
            Ok(()) => self.read += 1,
            Err(Unreadable::Empty) => {
                progress.say(&format!("{name}: is empty"));
                self.read += 1;
            }
            Err(error) => {
                progress.say(&format!("{name}: {error}"));
                self.refused += 1;
            }
        }
    }

    /// Notes what was counted on the way from the readers to the output, and how that ended.
    pub fn note_output(&mut self, counters: &Counters, written: io::Result<()>) {
        self.counters.add(counters);
        if let Err(error) = written {
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
        let hits = self.counters.hits.saturating_sub(self.counters.hits_joined);
        let given_out = if what == "hits" { hits } else { self.counters.sightings };
        let inputs = if self.read + self.refused == 1 { "input" } else { "inputs" };
        eprintln!("{} of {} {inputs} read, {given_out} {what}", self.read, self.read + self.refused);
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

/// Writes the output of the input whose turn it is, to its end.
fn give_out(shelf: &Shelf<Outcome>, out: &mut dyn Write) -> io::Result<Outcome> {
    loop {
        match shelf.take() {
            Next::Lines(lines) => out.write_all(&lines)?,
            Next::Spilled(mut file) => drop(io::copy(&mut file, out)?),
            Next::End(outcome) => {
                out.flush()?;
                return Ok(outcome);
            }
        }
    }
}

impl Readers {
    /// Reads inputs that nobody has begun yet, until none is left.
    fn read(&self) {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(path) = self.paths.get(number) else { return };
            let mut ending = Ending { shelf: &self.shelf, number, outcome: None };
            ending.outcome = Some(self.read_one(number, path));
        }
    }

    fn read_one(&self, number: usize, path: &Path) -> Outcome {
        let mut detector = (self.work.detector_for)(&name_of(path));
        let before = self.paths.get(..number).unwrap_or_default();
        if path == Path::new(STDIN) && before.iter().any(|other| other == path) {
            // Whoever named it first reads it to its end.
            return Outcome { counters: detector.counters(), read: Err(Unreadable::Empty) };
        }
        let mut lines = Vec::new();
        let read = offline::read(path, &mut detector, &self.progress, &mut |detector| {
            (self.work.drain)(detector, &mut lines)?;
            if lines.len() < PIECE_BYTES {
                return Ok(());
            }
            let next = Vec::with_capacity(lines.capacity());
            self.shelf.put(number, std::mem::replace(&mut lines, next))
        });
        let read = match self.shelf.put(number, lines) {
            Err(error) if read.is_ok() => Err(Unreadable::Output(error)),
            _ => read,
        };
        Outcome { counters: detector.counters(), read }
    }
}

/// Says how an input ended, also when its reader panics: the others wait for it.
struct Ending<'a> {
    shelf: &'a Shelf<Outcome>,
    number: usize,
    outcome: Option<Outcome>,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let panicked = || Outcome { counters: Counters::default(), read: Err(Unreadable::Panicked) };
        self.shelf.end(self.number, self.outcome.take().unwrap_or_else(panicked));
    }
}

fn name_of(path: &Path) -> String {
    if path == Path::new(STDIN) { "standard input".to_owned() } else { path.display().to_string() }
}

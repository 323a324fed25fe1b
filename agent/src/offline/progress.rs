//! How far all inputs together have been read: bytes, rate and the time that is left, on a terminal.

use std::io::{self, IsTerminal as _, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::STDIN;

const STYLE: &str = "{msg} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left {wide_bar}";
/// What is not known in all: standard input has no length.
const STYLE_ENDLESS: &str = "{msg} {bytes} {bytes_per_sec} {spinner}";

/// One line for all inputs; nothing when standard error is no terminal, or when the data goes to the same one.
#[derive(Clone)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Begins for these inputs.
    pub fn of(paths: &[PathBuf]) -> Self {
        if !io::stderr().is_terminal() || io::stdout().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let lengths: Option<Vec<u64>> = paths.iter().map(|path| length(path)).collect();
        let total = lengths.map(|lengths| lengths.iter().sum());
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr_with_hz(4));
        if let Ok(style) = ProgressStyle::with_template(if total.is_some() { STYLE } else { STYLE_ENDLESS }) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(250));
        Self(bar)
    }

    /// Bytes were read.
    pub fn add(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    /// Bytes will be read again.
    pub fn take_back(&self, bytes: u64) {
        self.0.dec(bytes);
    }

    /// A reader that counts what it reads.
    pub fn counting<R: Read>(&self, reader: R) -> impl Read + use<R> {
        self.0.wrap_read(reader)
    }

    /// How many inputs are over.
    pub fn inputs_over(&self, over: usize, all: usize) {
        self.0.set_message(format!("{over} of {all} inputs"));
    }

    /// Says something above the line.
    pub fn say(&self, words: &str) {
        self.0.suspend(|| eprintln!("{words}"));
    }

    /// Takes the line away.
    pub fn end(&self) {
        self.0.finish_and_clear();
    }
}

/// What is not there counts nothing; standard input and devices have no length.
fn length(path: &Path) -> Option<u64> {
    if path == Path::new(STDIN) {
        return None;
    }
    match path.metadata() {
        Ok(about) if about.is_file() => Some(about.len()),
        Ok(about) if about.is_dir() => Some(0),
        Ok(_) => None,
        Err(_) => Some(0),
    }
}

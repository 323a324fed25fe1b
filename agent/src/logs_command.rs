//! `logs`: what the agent reads in the lines of a log, so that an administrator sees whether a device is understood
//! before relying on it.

mod shown;

use std::collections::BTreeMap;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use detect::{LineView, LineViewer};
use serde::Serialize;

use crate::offline::{self, Progress, Unreadable};
use crate::paint::Paint;
use shown::Shown;

/// The commands of `logs`.
#[derive(Debug, Subcommand)]
pub enum LogsCommand {
    /// Show line by line which format was recognised and what was read.
    #[command(
        after_help = "Nothing is sent and no indicator is needed. Exit status 1 when a file could not be read to its end.\n\nExample:\n  vedetta-agent logs test --limit 20 /var/log/firewall.log\n  tail -n 500 /var/log/syslog | vedetta-agent logs test --unknown -"
    )]
    Test(TestArguments),
}

/// What to show of which files.
#[derive(Debug, Args)]
pub struct TestArguments {
    /// Log files, plain or gzip; `-` for standard input.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Show so many lines of each file; all are counted.
    #[arg(long, value_name = "LINES")]
    pub limit: Option<u64>,
    /// Show only lines of no known format.
    #[arg(long, conflicts_with = "summary")]
    pub unknown: bool,
    /// Show only how many lines there are of each format.
    #[arg(long)]
    pub summary: bool,
    /// Print each line's reading as JSON, one a line.
    #[arg(long, conflicts_with = "summary")]
    pub json: bool,
}

/// Runs a command.
///
/// # Errors
/// When standard output cannot be written, unless somebody closed it on purpose.
pub fn run(command: &LogsCommand) -> anyhow::Result<ExitCode> {
    let LogsCommand::Test(arguments) = command;
    let mut test = Test {
        arguments,
        paint: Paint::of_stdout(),
        out: BufWriter::new(io::stdout().lock()),
        counts: Counts::default(),
    };
    let progress = Progress::of(&arguments.files);
    let mut is_whole = true;
    for file in &arguments.files {
        match test.read(file, &progress) {
            Ok(()) => {}
            Err(Unreadable::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
                return Ok(ExitCode::SUCCESS);
            }
            Err(Unreadable::Output(error)) => return Err(error.into()),
            Err(error) => {
                is_whole = false;
                progress.say(&format!("{}: {error}", file.display()));
            }
        }
    }
    progress.end();
    test.conclude()?;
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Test<'a, W: Write> {
    arguments: &'a TestArguments,
    paint: Paint,
    out: W,
    counts: Counts,
}

/// Lines by what was understood of them.
#[derive(Debug, Default)]
struct Counts {
    lines: u64,
    of_format: BTreeMap<&'static str, u64>,
    free_text: u64,
    nothing_read: u64,
}

/// A line as `--json` prints it.
#[derive(Serialize)]
struct Numbered<'a> {
    input: String,
    line: u64,
    #[serde(flatten)]
    view: &'a LineView,
}

impl<W: Write> Test<'_, W> {
    fn read(&mut self, file: &Path, progress: &Progress) -> Result<(), Unreadable> {
        let mut viewer = LineViewer::default();
        let mut shown = 0;
        offline::read_lines(file, progress, &mut |number, line| {
            let view = viewer.read(line);
            self.counts.count(&view);
            let is_wanted = !(self.arguments.summary || self.arguments.unknown && view.format.is_some());
            if !is_wanted || self.arguments.limit.is_some_and(|limit| shown >= limit) {
                return Ok(());
            }
            shown += 1;
            self.show(file, (number, line), &view)
        })
    }

    fn show(&mut self, file: &Path, (number, line): (u64, &[u8]), view: &LineView) -> io::Result<()> {
        if !self.arguments.json {
            return write!(self.out, "{}", Shown { number, line, view, paint: self.paint });
        }
        let numbered = Numbered { input: file.to_string_lossy().into_owned(), line: number, view };
        serde_json::to_writer(&mut self.out, &numbered)?;
        self.out.write_all(b"\n")
    }

    /// Tells how much was understood, beside the data or below it.
    fn conclude(mut self) -> io::Result<()> {
        self.out.flush()?;
        if self.arguments.summary {
            self.out.write_all(self.counts.table(self.paint).as_bytes())?;
            return self.out.flush();
        }
        let paint = if io::stderr().is_terminal() { self.paint } else { Paint::Plain };
        eprint!("{}", self.counts.table(paint));
        Ok(())
    }
}

impl Counts {
    fn count(&mut self, view: &LineView) {
        self.lines += 1;
        match view.format {
            Some(format) => *self.of_format.entry(format).or_default() += 1,
            None => self.free_text += 1,
        }
        self.nothing_read += u64::from(view.sightings.is_empty());
    }

    fn table(&self, paint: Paint) -> String {
        let share = |lines: u64| lines.saturating_mul(1000).checked_div(self.lines).unwrap_or(0);
        let row = |name: &str, lines: u64| {
            let share = share(lines);
            format!("{name:<24} {lines:>10} lines {:>4}.{} %\n", share / 10, share % 10)
        };
        let mut by_count: Vec<_> = self.of_format.iter().collect();
        by_count.sort_by_key(|(_, lines)| std::cmp::Reverse(**lines));
        let mut table: String = by_count.iter().map(|(format, lines)| row(format, **lines)).collect();
        if self.free_text > 0 {
            table.push_str(&row("no known format", self.free_text));
            table.push_str(&paint.care(
                "Lines of no known format are compared all the same: what stands in them is found, but not always who is source and who destination. See them with --unknown.",
            ));
            table.push('\n');
        }
        if self.nothing_read > 0 {
            table.push_str(&row("nothing to compare in", self.nothing_read));
        }
        if self.lines == 0 {
            table.push_str("no lines\n");
        }
        table
    }
}

//! `bundle`: what is in force on this sensor, whether a value would match, and a bundle from a stick.

mod check;
mod import;
mod look_ups;
#[cfg(test)]
mod rendering_tests;
mod show;
mod stats;
mod stick;
mod words;

use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use protocol::index::Layers;
use protocol::{Kind, LookFor, Timestamp};

use crate::bundles::in_force::{InForce, open_in_force};
use crate::cli::ConfigArgument;
use crate::clock;
use crate::config::{Config, ConfigError};

/// No value matched.
const EXIT_NONE: u8 = 1;
/// It cannot be told whether a value matches.
const EXIT_UNKNOWN: u8 = 2;

/// What to do with bundles.
#[derive(Debug, Subcommand)]
pub enum BundleCommand {
    /// Show which bundle is in force, or every line of it.
    #[command(
        after_help = "Lines are JSON as in a bundle; indicators that are held back are not among them (see stats).\n\n\
        Examples:\n  vedetta-agent bundle show\n  \
        vedetta-agent bundle show --lines --kind domain | jq -r .value | sort"
    )]
    Show(ShowArguments),
    /// Say whether a sensor would report a value, and by which indicators.
    #[command(
        after_help = "Exit status 0 when at least one value matches, 1 when none does, 2 when it cannot be told.\n\n\
        Examples:\n  vedetta-agent bundle check 'hxxps://evil[.]example/kit' 203.0.113.7:8443\n  \
        vedetta-agent bundle check --at 2026-11-01T00:00:00Z evil.example\n  \
        cut -d' ' -f3 queries.log | vedetta-agent bundle check --json - | jq -r 'select(.matches).value'"
    )]
    Check(CheckArguments),
    /// Put the bundle of a signed repository in force, such as one on a USB stick.
    #[command(
        after_help = "It is verified exactly as one from the collector. The agent may run meanwhile; root may do this, \
        and the agent's own user if it can read the folder.\n\n\
        Example:\n  mount -o ro /dev/sdb1 /mnt && vedetta-agent bundle import /mnt/repository"
    )]
    Import(ImportArguments),
    /// Count what is in force by kind, what is held back and why, and what the index costs.
    #[command(after_help = "Example:\n  vedetta-agent bundle stats --json | jq .held")]
    Stats(StatsArguments),
}

/// What to show.
#[derive(Debug, Args)]
pub struct ShowArguments {
    /// Print every line, as JSON Lines.
    #[arg(long, conflicts_with = "json")]
    lines: bool,
    /// Only indicators of this kind.
    #[arg(long, requires = "lines", value_parser = any_kind())]
    kind: Option<String>,
    /// At most so many lines.
    #[arg(long, value_name = "N", requires = "lines")]
    limit: Option<u64>,
    /// Print the record as JSON.
    #[arg(long)]
    json: bool,
    /// The configuration.
    #[command(flatten)]
    config: ConfigArgument,
}

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArguments {
    /// Values, defanged or not; `-` reads them from standard input, one a line.
    #[arg(required = true, value_name = "VALUE")]
    values: Vec<String>,
    /// What the values are; told by their shape unless given.
    #[arg(long, value_parser = seen_kind())]
    kind: Option<String>,
    /// The time of the sighting, by which validity is judged; now unless given.
    #[arg(long, value_name = "RFC3339")]
    at: Option<Timestamp>,
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    /// The configuration.
    #[command(flatten)]
    config: ConfigArgument,
}

/// What to import.
#[derive(Debug, Args)]
pub struct ImportArguments {
    /// The folder of the repository, with `metadata` and `targets` in it.
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,
    /// The COSC's root, for a sensor that is not enrolled yet; an enrolled one believes the root that it pinned.
    #[arg(long, value_name = "ROOT.json")]
    pub root: Option<PathBuf>,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgument,
}

/// How to count.
#[derive(Debug, Args)]
pub struct StatsArguments {
    /// Print the numbers as JSON.
    #[arg(long)]
    json: bool,
    /// The configuration.
    #[command(flatten)]
    config: ConfigArgument,
}

fn seen_kind() -> PossibleValuesParser {
    PossibleValuesParser::new(Kind::ALL.map(Kind::as_str))
}

fn any_kind() -> PossibleValuesParser {
    PossibleValuesParser::new(LookFor::KINDS)
}

/// Runs a command.
///
/// # Errors
/// What a person has to read and act on.
pub fn run(command: BundleCommand) -> anyhow::Result<ExitCode> {
    match command {
        BundleCommand::Show(arguments) => show(&arguments),
        BundleCommand::Check(arguments) => check(&arguments).or_else(|error| {
            // 1 would say that no value matches.
            if error.is::<ConfigError>() {
                return Err(error);
            }
            eprintln!("vedetta-agent: {error:#}");
            Ok(ExitCode::from(EXIT_UNKNOWN))
        }),
        BundleCommand::Import(arguments) => import::run(&arguments),
        BundleCommand::Stats(arguments) => stats(&arguments),
    }
}

/// Opens what is in force, whether or not the agent runs.
fn open(config: &ConfigArgument) -> anyhow::Result<(InForce, Layers)> {
    let state_dir = Config::read(&config.path)?.state_dir;
    let folder = state_dir.join("bundles");
    open_in_force(&folder).map_err(|error| {
        let error = anyhow::Error::new(error);
        match folder.read_dir() {
            Err(denied) if denied.kind() == io::ErrorKind::PermissionDenied => error.context(format!(
                "no permission to read {}; run this command as root, or as the agent's user",
                folder.display()
            )),
            _ => error,
        }
    })
}

fn show(arguments: &ShowArguments) -> anyhow::Result<ExitCode> {
    let (in_force, layers) = open(&arguments.config)?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&in_force)?);
    } else if arguments.lines {
        let choice = show::Choice { kind: arguments.kind.clone(), limit: arguments.limit };
        let mut out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        match show::lines(&layers, &choice, &mut out) {
            Err(show::Interrupted::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {}
            written => drop(written.context("the lines end here")?),
        }
    } else {
        print!("{}", show::Table { in_force: &in_force, layers: &layers });
    }
    Ok(ExitCode::SUCCESS)
}

fn check(arguments: &CheckArguments) -> anyhow::Result<ExitCode> {
    let (_, layers) = open(&arguments.config)?;
    let at = arguments.at.unwrap_or_else(clock::now);
    let kind = arguments.kind.as_ref();
    let kind = kind.and_then(|name| Kind::ALL.into_iter().find(|kind| kind.as_str() == name));
    let paint = crate::paint::Paint::of_stdout();
    let question = check::Question { layers: &layers, at, kind, json: arguments.json, paint };
    let mut out = io::LineWriter::new(io::stdout().lock());
    let asked = question.ask(&arguments.values, &mut out);
    let tally = match asked {
        Err(error) if is_closed_pipe(&error) => return Ok(ExitCode::SUCCESS),
        asked => asked?,
    };
    if !arguments.json
        && let Some(sentence) = tally.sentence(at, layers.serial())
    {
        eprintln!("{sentence}");
    }
    Ok(match tally {
        check::Tally { matched: 1.., .. } => ExitCode::SUCCESS,
        check::Tally { unread: 1.., .. } => ExitCode::from(EXIT_UNKNOWN),
        _ => ExitCode::from(EXIT_NONE),
    })
}

/// `| head` closes the pipe early, which is no error.
fn is_closed_pipe(error: &anyhow::Error) -> bool {
    let io_kind = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .map(io::Error::kind)
            .or_else(|| cause.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind))
    };
    error.chain().any(|cause| io_kind(cause) == Some(io::ErrorKind::BrokenPipe))
}

fn stats(arguments: &StatsArguments) -> anyhow::Result<ExitCode> {
    let (in_force, layers) = open(&arguments.config)?;
    let stats = stats::Stats::of(&in_force, &layers);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&stats)?);
    } else {
        print!("{}", stats::Table { stats: &stats, paint: crate::paint::Paint::of_stdout() });
    }
    Ok(ExitCode::SUCCESS)
}

//! The command line of `vedetta-agent`: what may be typed, and which module does it.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::config::Config;
use crate::observe::{self, ObserveArguments};
use crate::replay::{self, ReplayArguments};
use crate::{agent, control, enrol, status};

/// Where the package puts the configuration.
const CONFIG_PATH: &str = "/etc/vedetta/agent.toml";

/// Vedetta's sensor on a town's gateway.
#[derive(Debug, Parser)]
#[command(name = "vedetta-agent", version, about, propagate_version = true)]
pub struct Cli {
    /// What to log to standard error: error, warn, info, debug or trace.
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL")]
    pub log_level: LevelFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch the interfaces and log files of the configuration and send hits to the collector.
    #[command(after_help = "Example:\n  vedetta-agent run --config /etc/vedetta/agent.toml")]
    Run(ConfigArgument),
    /// Read the configuration and say what is wrong with it.
    #[command(after_help = "Example:\n  vedetta-agent check-config --config /etc/vedetta/agent.toml")]
    CheckConfig(ConfigArgument),
    /// Turn an enrolment code into this sensor's identity.
    #[command(after_help = "Example:\n  runuser -u vedetta-agent -- vedetta-agent enrol CODE")]
    Enrol(EnrolArguments),
    /// Ask the running agent how it does.
    #[command(after_help = "Example:\n  vedetta-agent status --json | jq .sources")]
    Status(StatusArguments),
    /// Compare captures and log files with indicators and print the hits.
    #[command(
        after_help = "Exit status 1 when an input could not be read to its end.\n\nExample:\n  vedetta-agent replay --indicators list.txt --home-net 192.0.2.0/24 capture.pcap gateway.log"
    )]
    Replay(ReplayArguments),
    /// Print everything the sensor would see in captures and log files.
    #[command(
        after_help = "Exit status 1 when an input could not be read to its end.\n\nExample:\n  vedetta-agent observe --jobs 2 monday.pcapng tuesday.pcap.gz | jq -r .value | sort | uniq -c"
    )]
    Observe(ObserveArguments),
}

/// Which configuration.
#[derive(Debug, Args)]
pub struct ConfigArgument {
    /// The configuration file.
    #[arg(long = "config", value_name = "FILE", default_value = CONFIG_PATH)]
    pub path: PathBuf,
}

/// How to enrol.
#[derive(Debug, Args)]
pub struct EnrolArguments {
    /// The code that the collector's operator gave, `-` to read it from standard input.
    #[arg(value_name = "CODE")]
    pub code: String,
    /// Replace the identity that this sensor has.
    #[arg(long)]
    pub replace: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgument,
}

/// How to show the status.
#[derive(Debug, Args)]
pub struct StatusArguments {
    /// Print the whole report as JSON.
    #[arg(long)]
    pub json: bool,
    /// The configuration.
    #[command(flatten)]
    pub config: ConfigArgument,
}

/// Logs go to standard error, in colour only on a terminal.
pub fn start_logging(level: LevelFilter) {
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}

/// Runs a command.
///
/// # Errors
/// What a person has to read and act on; the exit code is `main`'s business.
pub fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Replay(arguments) => replay::run(&arguments),
        Command::Observe(arguments) => observe::run(&arguments),
        Command::Run(config) => {
            agent::run(Config::read(&config.path)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Enrol(arguments) => {
            enrol::run(&Config::read(&arguments.config.path)?, &arguments.code, arguments.replace)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Status(arguments) => {
            let report = control::ask(&Config::read(&arguments.config.path)?.control_socket)?;
            if arguments.json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{}", status::Table(&report));
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig(config) => {
            Config::read(&config.path)?;
            println!("{}: good", config.path.display());
            Ok(ExitCode::SUCCESS)
        }
    }
}

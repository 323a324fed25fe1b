//! The command line of `vedetta-agent`: what may be typed, and which module does it.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::bundle_command::{self, BundleCommand};
use crate::config::Config;
use crate::logs_command::{self, LogsCommand};
use crate::observe::{self, ObserveArguments};
use crate::replay::{self, ReplayArguments};
use crate::{agent, control, enrol, status};

/// Where the package puts the configuration.
const CONFIG_PATH: &str = "/etc/vedetta/agent.toml";

/// Vedetta's sensor on a town's gateway.
#[derive(Debug, Parser)]
#[command(name = "vedetta-agent", version, about, propagate_version = true)]
pub struct Cli {
    /// What to log to standard error: error, warn, info, debug or trace; info unless given, warn for `bundle` and `logs`.
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<LevelFilter>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// What to log. The commands of `bundle` and `logs` say by themselves what came of them.
    pub fn level(&self) -> LevelFilter {
        let is_bundle = matches!(self.command, Command::Bundle(_) | Command::Logs(_));
        self.log_level.unwrap_or(if is_bundle { LevelFilter::WARN } else { LevelFilter::INFO })
    }
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
    #[command(
        after_help = "A service that is not enrolled yet enrols itself at its start with the credential enrolment-code:\n  install -D -m 600 FILE /etc/credstore/vedetta-agent.enrolment-code && systemctl start vedetta-agent\n\nExamples:\n  runuser -u vedetta-agent -- vedetta-agent enrol CODE\n  vedetta-agent enrol --code-file - <code"
    )]
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
    /// Look at the bundle in force, check values against it, or import one from a stick.
    #[command(
        subcommand,
        after_help = "Example:\n  vedetta-agent bundle check 'evil[.]example' && echo it would be reported"
    )]
    Bundle(BundleCommand),
    /// See whether the agent understands a log.
    #[command(subcommand, after_help = "Example:\n  vedetta-agent logs test /var/log/firewall.log")]
    Logs(LogsCommand),
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
    #[arg(value_name = "CODE", required_unless_present = "code_file")]
    pub code: Option<String>,
    /// File that holds the code, `-` for standard input; unlike an argument nobody else on this machine sees it.
    #[arg(long, value_name = "FILE", conflicts_with = "code")]
    pub code_file: Option<PathBuf>,
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
        Command::Bundle(command) => bundle_command::run(command),
        Command::Logs(command) => logs_command::run(&command),
        Command::Run(config) => {
            agent::run(Config::read(&config.path)?)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Enrol(arguments) => {
            let code = match &arguments.code_file {
                Some(file) => enrol::code_in(file)?,
                None => enrol::code_as_typed(arguments.code.as_deref().unwrap_or_default())?,
            };
            enrol::run(&Config::read(&arguments.config.path)?, &code, arguments.replace)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    fn check_examples(command: &clap::Command) {
        for subcommand in command.get_subcommands().filter(|it| it.get_name() != "help") {
            let help = subcommand.clone().render_help().to_string();
            assert!(help.contains("Example"), "{} has no example", subcommand.get_name());
            check_examples(subcommand);
        }
    }

    #[test]
    fn the_command_line_is_consistent_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        check_examples(&command);
    }

    #[test]
    fn lines_are_chosen_only_where_lines_are_shown() {
        let parse = |words: &[&str]| {
            let words = ["vedetta-agent", "bundle"].iter().chain(words);
            Cli::try_parse_from(words).map(drop).map_err(|error| error.kind())
        };
        assert!(parse(&["show", "--lines", "--kind", "email_domain", "--limit", "3"]).is_ok());
        assert!(
            parse(&["show", "--kind", "domain"]).is_err() && parse(&["show", "--lines", "--json"]).is_err()
        );
        assert!(parse(&["check", "--kind", "network", "a"]).is_err() && parse(&["check"]).is_err());
        assert!(parse(&["import"]).is_err() && parse(&["import", "a", "b"]).is_err());
    }
}

//! The command line: what can be asked of `vedetta-collector`, and which function answers.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use tracing::level_filters::LevelFilter;

use crate::config::{Config, ConfigError};
use crate::{collector, commands};

/// Where the packages put the configuration.
pub const CONFIG_DEFAULT: &str = "/etc/vedetta/collector.toml";

/// Where the hits of many towns meet.
#[derive(Debug, Parser)]
#[command(name = "vedetta-collector", version, about, max_term_width = 100)]
pub struct Cli {
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = CONFIG_DEFAULT)]
    pub config: PathBuf,
    /// What to log to standard error: error, warn, info, debug or trace.
    #[arg(long, global = true, value_name = "LEVEL", default_value = "info")]
    pub log_level: LevelFilter,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands; all but `init` and `run` also work while the service runs.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make the certificate authority, the server's certificate, the store and the first operator.
    #[command(
        after_help = "Example:\n  vedetta-collector init --host collector.example --operator anna --cosc-root 1.root.json"
    )]
    Init(commands::init::Init),
    /// Take in hits, offer bundles and serve the console until stopped.
    #[command(after_help = "Example:\n  vedetta-collector run --config /etc/vedetta/collector.toml")]
    Run,
    /// Read the configuration and say whether it is right.
    #[command(after_help = "Example:\n  vedetta-collector check-config --config /etc/vedetta/collector.toml")]
    CheckConfig,
    /// Trust a COSC: its TUF root decides which bundles are genuine.
    #[command(after_help = "Example:\n  vedetta-collector trust-root 1.root.json")]
    TrustRoot(commands::desks::TrustRoot),
    /// Print the public key with which this collector keeps bundles fresh, for the desk's root.
    #[command(after_help = "Example:\n  vedetta-collector online-key > online-key.json")]
    OnlineKey(commands::desks::PrintOnlineKey),
    /// Print a one-time code that enrols one sensor of a town.
    #[command(
        after_help = "Examples:\n  vedetta-collector invite --istat 999001 --comune \"Borgo Chiaro\"\n  vedetta-collector invite --replaces 07070707"
    )]
    Invite(commands::sensors::Invite),
    /// Show how far each town is with bundles, and decide about one that some towns have first.
    #[command(
        after_help = "Example:\n  vedetta-collector bundles\n  vedetta-collector bundles stop 12 --reason \"matches our own mail server\""
    )]
    Bundles(commands::bundles::Bundles),
    /// Write the repository as it is offered to a folder, for a town without a line.
    #[command(after_help = "Example:\n  vedetta-collector export /mnt/vedetta")]
    Export(commands::bundles::Export),
    /// List the sensors.
    #[command(after_help = "Example:\n  vedetta-collector agents --json")]
    Agents(commands::sensors::Agents),
    /// Take a sensor's or a desk's certificates back; its connections end within a second.
    #[command(after_help = "Example:\n  vedetta-collector revoke AGENT --reason \"gateway replaced\"")]
    Revoke(commands::sensors::Revoke),
    /// Sign a desk's request, so that it may push bundles; prints its certificate chain.
    #[command(
        after_help = "Example:\n  vedetta-collector admit-desk desk.req.pem --name cosc-esempio > chain.pem"
    )]
    AdmitDesk(commands::desks::AdmitDesk),
    /// Print stored hits, oldest first.
    #[command(
        after_help = "Example:\n  vedetta-collector hits --comune \"Borgo Chiaro\" --kind domain --json"
    )]
    Hits(commands::hits::Hits),
    /// Add or disable an operator of the console.
    #[command(after_help = "Example:\n  vedetta-collector operator add bruno")]
    Operator(commands::operators::OperatorCommand),
}

/// Why a command failed, and so with which exit code.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong: exit 78.
    Config(ConfigError),
    /// Anything else: exit 1.
    Other(anyhow::Error),
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Config(error)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    /// Says what went wrong and what to do.
    pub fn run(self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Other(error.into()))?;
        runtime.block_on(self.dispatch())
    }

    async fn dispatch(self) -> Result<(), Failure> {
        if let Command::Init(init) = self.command {
            return init.run(&self.config).await;
        }
        let config = Config::read(&self.config)?;
        match self.command {
            Command::Init(_) => {}
            Command::Run => collector::run(config).await?,
            Command::CheckConfig => println!("{}: fine", self.config.display()),
            Command::TrustRoot(command) => command.run(&config).await?,
            Command::OnlineKey(command) => command.run(&config)?,
            Command::Invite(command) => command.run(&config).await?,
            Command::Bundles(command) => command.run(&config).await?,
            Command::Export(command) => command.run(&config).await?,
            Command::Agents(command) => command.run(&config).await?,
            Command::Revoke(command) => command.run(&config).await?,
            Command::AdmitDesk(command) => command.run(&config).await?,
            Command::Hits(command) => command.run(&config).await?,
            Command::Operator(command) => command.run(&config).await?,
        }
        Ok(())
    }
}

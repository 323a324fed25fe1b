//! The sensor on a town's gateway: reads arguments, runs the command, turns its result into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use vedetta_agent::cli::{self, Cli};
use vedetta_agent::config::ConfigError;

/// Wrong configuration (sysexits.h EX_CONFIG): systemd does not start the agent again.
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    cli::start_logging(cli.level());
    match cli::run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("vedetta-agent: {error:#}");
            let config = error.chain().any(|cause| cause.is::<ConfigError>());
            if config { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

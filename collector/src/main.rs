//! `vedetta-collector`: reads arguments, starts logging, runs the command and decides the exit code.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser as _;
use vedetta_collector::cli::{Cli, Failure};

/// systemd does not restart a service that ends so (`RestartPreventExitStatus=78`, EX_CONFIG of sysexits.h).
const EXIT_CONFIG: u8 = 78;

fn main() -> ExitCode {
    let cli = Cli::parse();
    tracing_subscriber::fmt()
        .with_max_level(cli.log_level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Config(error)) => {
            eprintln!("vedetta-collector: {error}");
            ExitCode::from(EXIT_CONFIG)
        }
        Err(Failure::Other(error)) => {
            eprintln!("vedetta-collector: {error:#}");
            ExitCode::FAILURE
        }
    }
}

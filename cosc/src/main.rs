//! `vedetta-cosc`: reads arguments, runs one command, maps its result to the exit code.

use std::process::ExitCode;

use clap::Parser as _;
use vedetta_cosc::cli::{Cli, Outcome, run};

fn main() -> ExitCode {
    let cli = Cli::parse(); // wrong usage ends here, with exit code 2
    match run(cli) {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Partly) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vedetta-cosc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

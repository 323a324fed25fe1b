//! The commands of the command line but `run`: each works on the same store as the service, beside it.

pub mod bundles;
pub mod desks;
pub mod hits;
pub mod init;
pub mod operators;
pub mod sensors;

use std::io::Write as _;

use anyhow::Context as _;

use crate::clip::clip;
use crate::config::Config;
use crate::store::Store;

fn open_store(config: &Config) -> anyhow::Result<Store> {
    Ok(Store::open(&config.state.store())?)
}

/// One line of JSON on standard output.
fn print_json(value: &impl serde::Serialize) -> anyhow::Result<()> {
    let line = serde_json::to_string(value)?;
    writeln!(std::io::stdout(), "{line}").context("standard output")
}

/// A text from the network or a person as a terminal may show it.
fn shown(text: &str) -> String {
    clip(text, protocol::hit::EVIDENCE_BYTES_MAX)
}

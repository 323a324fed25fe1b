//! The detector's hands on a gateway: packets, log files, disk and network, and the commands of `vedetta-agent`.

pub mod bundles;
pub mod cli;
pub mod config;

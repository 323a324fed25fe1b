//! The detector's hands on a gateway: packets, log files, disk and network, and the commands of `vedetta-agent`.

pub mod agent;
pub mod bundle_command;
pub mod bundles;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod enrol;
mod hit_text;
pub mod identity;
pub mod logs_command;
pub mod observe;
pub mod offline;
pub mod paint;
pub mod published;
pub mod replay;
pub mod severity;
pub mod sources;
pub mod spool;
pub mod stages;
pub mod state;
pub mod status;
pub mod summary;
pub mod uplink;

#[cfg(test)]
#[path = "../tests/made/hit.rs"]
mod made_hit;
#[cfg(test)]
#[path = "../tests/made/times.rs"]
mod times;

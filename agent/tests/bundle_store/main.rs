//! The store of bundles: what is in force survives kills, full disks and damage, and changes lead to the same set as
//! full bundles do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod chains;
mod damage;
mod kills;
mod made;
mod refusals;
#[path = "../made/times.rs"]
mod times;

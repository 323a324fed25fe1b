//! The collector: takes in the hits of many towns' sensors, keeps them, offers signed bundles and shows
//! operators what arrived. `collector.rs` is the wiring; `store` is the only place with SQL.

pub mod accounts;
pub mod arrivals;
pub mod authority;
pub mod bundles;
pub mod cli;
pub mod clip;
pub mod clock;
pub mod collector;
pub mod commands;
pub mod config;
pub mod console;
pub mod folders;
pub mod ingest;
pub mod origins;
pub mod store;

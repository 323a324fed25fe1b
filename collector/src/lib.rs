//! The collector: takes in the hits of many towns' sensors, keeps them, offers signed bundles and shows
//! operators what arrived. `collector.rs` is the wiring; `store` is the only place with SQL.

pub mod accounts;
pub mod arrivals;
pub mod bundles;
pub mod clock;
pub mod config;
pub mod folders;
pub mod store;

//! The agent's network side against a collector in the same process: real sockets, certificates and files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod delivery;
mod enrolment;
#[path = "../made/hit.rs"]
mod hit;
mod network;
mod peer;
mod relay;
mod renewal;
#[path = "../made/times.rs"]
mod times;

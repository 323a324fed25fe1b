//! The agent's network side against a collector in the same process: real sockets, certificates and files.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests may")]

mod delivery;
mod enrolment;
mod network;
mod peer;
mod relay;
mod renewal;

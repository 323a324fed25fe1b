//! Hits on disk: an append-only log of checksummed segments, written by one thread and read by the uplink.
//!
//! A hit is safe when `fdatasync` returned, and only then is anyone told. A full disk stops nothing: log
//! lines wait in their files, live hits are counted and reported as a [`Loss`](protocol::message::Loss).

mod keeper;
mod log;
#[cfg(test)]
mod log_tests;
mod position;
mod reader;
mod record;

pub use keeper::{HitSink, NotPut, Safe, SpoolControl, SpoolHandles, SpoolStopped, start};
pub use log::{AppendError, OpenError, Recovered, SegmentLog};
pub use reader::{Batch, SpoolReader};

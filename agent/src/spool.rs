//! Hits on disk: an append-only log of checksummed segments, written by one thread and read by the uplink.
//!
//! A hit is safe when `fdatasync` returned, and only then is anyone told. A full disk stops nothing: log
//! lines wait in their files, live hits take the place of older ones that are worth no more, and what is given up is
//! reported as a [`Loss`](protocol::message::Loss). A disk that fails is opened again and again, and said.

mod disk;
mod entry;
mod folder;
mod keeper;
mod log;
#[cfg(test)]
mod log_tests;
mod position;
mod quota;
mod reader;
mod record;
mod shed;
mod sink;
mod survey;

pub use disk::{Disk, DiskFile, LocalDisk, Opening};
pub use entry::{Entry, decode, encode};
pub use folder::{Durability, SpoolFolder};
pub use keeper::{Safe, SeverityOf, SpoolHandles, start, start_on};
pub use log::{AppendError, OpenError, Recovered, SegmentLog};
pub use position::Position;
pub use quota::Quota;
pub use reader::{Batch, SpoolReader};
pub use sink::{HitSink, NotPut, SpoolControl, SpoolStopped};

//! The collector as a process, with real QUIC on loopback: what sensors, desks and strangers may do, and what
//! is left in its store.

mod bundles;
mod enrolment;
mod full_disk;
mod isolation;
mod process;
mod refusals;
mod repository;
mod sensor;
mod sessions;

//! The COSC's desk: reads indicator files, makes bundles, signs them with keys that need no network, and
//! pushes the signed repository to a collector.

pub mod bundle;
#[cfg(test)]
mod bundle_fixture;
pub mod cli;
pub mod deltas;
pub mod files;
pub mod import;
pub mod keys;
pub mod progress;
pub mod push;
pub mod repository;
pub mod request;
pub mod root;
pub mod sign;

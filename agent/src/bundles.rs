//! Signed bundles: verification, and the one that is in force.

pub mod store;
pub mod verify;
#[cfg(test)]
mod verify_tests;

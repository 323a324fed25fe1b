//! Signed bundles: verification.

pub mod verify;

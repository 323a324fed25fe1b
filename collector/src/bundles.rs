//! Signed bundles: whom to trust, how a pushed repository is verified and offered.

pub mod offered;
pub mod online;
pub mod rollout;
pub mod root;
pub mod staging;
pub mod verify;

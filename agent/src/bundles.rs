//! Signed bundles: verification, the indexes that are built from them, and the one that is in force.

#[cfg(test)]
mod attack_tests;
mod building;
pub mod import;
pub mod in_force;
pub mod index_file;
mod keeper;
pub mod not_taken;
mod opening;
mod record;
pub mod store;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod theft_tests;
pub mod verify;
#[cfg(test)]
mod verify_tests;

pub use import::import;
pub use in_force::open_in_force;

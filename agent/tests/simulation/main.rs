//! The spool on a disk that loses power, fills up and fails; and both ends of the session over a network that breaks at
//! any byte. Everything runs in memory and repeats itself by its seed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests may"
)]

mod crash_points;
mod damage;
mod faulty_disk;
mod made;
#[path = "../made/hit.rs"]
mod made_hit;
mod network;
mod power_cuts;
mod seed;
mod sessions;
mod store;
#[path = "../made/times.rs"]
mod times;
mod troubles;
mod world;

//! The store of bundles: what is in force survives kills, full disks and damage, and changes lead to the same set as
//! full bundles do.

mod chains;
mod damage;
mod kills;
mod made;
mod refusals;

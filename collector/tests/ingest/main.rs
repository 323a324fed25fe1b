//! The collector as a process, with real QUIC on loopback: what sensors, desks and strangers may do, and what
//! is left in its store.

#[cfg(test)]
mod authorities;
#[cfg(test)]
mod bundles;
#[cfg(test)]
mod desk;
#[cfg(test)]
mod early;
#[cfg(test)]
mod enrolment;
#[cfg(test)]
mod fleet;
#[cfg(test)]
mod flood;
#[cfg(test)]
mod forge;
#[cfg(test)]
mod full_disk;
#[cfg(test)]
mod isolation;
#[cfg(test)]
mod kills;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod process;
#[cfg(test)]
mod refusals;
#[cfg(test)]
mod renewal;
#[cfg(test)]
mod repository;
#[cfg(test)]
mod returning;
#[cfg(test)]
mod sensor;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod towns;
#[cfg(test)]
mod troubles;
#[cfg(test)]
mod twins;

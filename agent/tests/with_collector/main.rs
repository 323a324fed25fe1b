//! The agent's network side against a collector in the same process: real sockets, certificates and files.

mod delivery;
mod enrolment;
mod peer;

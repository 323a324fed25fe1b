//! Frames and log lines in, hits out. Nothing here sleeps, reads a file or asks the time: time and bytes
//! are arguments, so a recorded capture gives the same hits as the live one.

mod allowance;
mod connection;
mod cooldown;
mod counters;
mod datagram;
mod detector;
mod dns;
mod door;
mod dtls;
mod flow;
mod fragments;
mod frame;
mod ftp;
mod home;
#[cfg(test)]
mod hostile_tests;
mod http;
#[cfg(test)]
mod indicator_tests;
#[cfg(test)]
mod lifetime_tests;
mod line;
mod lines;
#[cfg(test)]
mod made;
mod mail;
mod matcher;
mod nat;
mod normal;
mod opening;
mod openvpn;
#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod origin_tests;
mod quic;
mod rdp;
mod reader;
mod replies;
#[cfg(test)]
mod sealed;
mod sighting;
mod smb;
mod ssh;
mod stream;
mod tls;

pub use cooldown::OpenHit;
pub use counters::Counters;
pub use detector::{Detector, DetectorConfig, LINE_BYTES_MAX, Line, Report};
pub use frame::Link;
pub use line::{LineView, LineViewer};
pub use matcher::Matcher;
pub use nat::{Answer, Joiner, Patience, Question, Tracked};
pub use sighting::SightingRecord;

//! Fuzz targets: each takes any bytes and asserts what must hold whatever they are, not only that nothing panics.
//!
//! `tests/fuzz` runs them with coverage as guide; `tests/fuzz_corpus.rs` replays their seeds, changed at random, in CI.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a target panics when it finds something, and its own packets are as long as it made them"
)]

mod conversations;
mod datagrams;
mod frames;
mod hello;
mod indexes;
mod input;
mod log_lines;
#[allow(dead_code, reason = "indicators are compared one by one")]
#[path = "../../protocol/tests/oracle/model.rs"]
mod model;
mod mutation;
mod patterns;
mod records;
mod seeds;
mod splits;
mod streams;
mod tails;
mod texts;
mod watch;

pub use mutation::mutated;
pub use seeds::seeds;

/// A target: its name, which is that of its corpus and of its file in `fuzz_targets`, and what takes the bytes.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("frames", frames::frames),
    ("packets", frames::packets),
    ("fragments", frames::fragments),
    ("tls", streams::tls),
    ("http", streams::http),
    ("http2", streams::http2),
    ("mail", streams::mail),
    ("ftp", streams::ftp),
    ("ssh", streams::ssh),
    ("windows", streams::windows),
    ("dns_over_tcp", streams::dns_over_tcp),
    ("cuts", streams::cuts),
    ("datagrams", datagrams::datagrams),
    ("initials", datagrams::initials),
    ("lines", texts::lines),
    ("line_views", log_lines::line_views),
    ("line_formats", log_lines::line_formats),
    ("syslog_frames", splits::syslog_frames),
    ("journal_entries", splits::journal_entries),
    ("tail_positions", tails::tail_positions),
    ("list_lines", texts::list_lines),
    ("normal_forms", texts::normal_forms),
    ("patterns", patterns::patterns),
    ("index_files", indexes::index_files),
    ("bundles", records::bundles),
    ("deltas", records::deltas),
    ("messages", records::messages),
];

/// The target of this name.
pub fn target(name: &str) -> Option<fn(&[u8])> {
    TARGETS.iter().find(|(known, _)| *known == name).map(|(_, target)| *target)
}

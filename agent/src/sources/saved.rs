//! What the state holds of followed logs: positions, and the cooldowns that were open there.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use detect::OpenHit;
use serde::Serialize;

use super::follow::PathPosition;
use crate::hit_text;
use crate::state::State;

/// What is saved of a log, each under a name of its own.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Saved {
    /// Under its path's.
    Position(PathPosition),
    /// Under [`open_name`]: hits, and whether each is another one's witness.
    Open(Vec<(bool, String)>),
}

impl Saved {
    /// Cooldowns as they are saved.
    pub fn open(open: &[OpenHit]) -> Self {
        let written = |open: &OpenHit| Some((open.is_witness, hit_text::written(&open.hit)?));
        Self::Open(open.iter().filter_map(written).collect())
    }
}

/// What was saved of a log.
#[derive(Default)]
pub struct Loaded {
    /// Where it is read on.
    pub position: Option<PathPosition>,
    /// What is counted on.
    pub open: Vec<OpenHit>,
}

impl Loaded {
    /// What the state has. Without its position a log's lines are counted again, so that its cooldowns begin again, too.
    pub fn of(state: &State, path: &Path) -> Self {
        let name = path_name(path);
        let Some(position) = state.load(&name) else { return Self::default() };
        let open: Vec<(bool, String)> = state.load(&open_name(&name)).unwrap_or_default();
        let read = |(is_witness, word): &(bool, String)| {
            Some(OpenHit { hit: hit_text::read(word.as_bytes())?, is_witness: *is_witness })
        };
        Self { position: Some(position), open: open.iter().filter_map(read).collect() }
    }
}

/// The name of a path's position.
pub fn path_name(path: &Path) -> Vec<u8> {
    [b"path ", path.as_os_str().as_bytes()].concat()
}

/// The name of the cooldowns that belong to a position.
pub fn open_name(path_name: &[u8]) -> Vec<u8> {
    [b"open hits of ", path_name].concat()
}

/// The name of a pattern.
pub fn pattern_name(path: &Path) -> Vec<u8> {
    [b"pattern ", path.as_os_str().as_bytes()].concat()
}

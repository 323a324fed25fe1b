//! What the state holds of followed logs: positions, and the cooldowns that were open there.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use detect::OpenHit;
use serde::Serialize;

use super::follow::PathPosition;
use crate::state::State;

/// What is saved of a log, each under a name of its own.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Saved {
    /// Under its path's.
    Position(PathPosition),
    /// Under [`open_name`].
    Open(Vec<OpenHit>),
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
        Self { position: Some(position), open: state.load(&open_name(&name)).unwrap_or_default() }
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

//! The table `[journal]`: whether systemd's journal is followed. It is off unless it is asked for, because on many
//! gateways rsyslog writes the same messages into files.

use std::path::PathBuf;

use serde::Deserialize;

use super::{Impossible, absolute};

/// Names that a person would list.
const UNITS_MAX: usize = 256;

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JournalTable {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    units: Vec<String>,
    folder: Option<PathBuf>,
}

/// What of the journal is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JournalConfig {
    /// Units whose messages are read, `kernel` for the kernel's; empty for all.
    pub units: Vec<String>,
    /// Another folder than the machine's own journal, such as that of systemd-journal-remote.
    pub folder: Option<PathBuf>,
}

impl JournalTable {
    pub(super) fn checked(self) -> Result<Option<JournalConfig>, Impossible> {
        let Self { enabled, units, folder } = self;
        for (number, unit) in units.iter().enumerate() {
            let is_unit =
                unit.contains('.') && unit.len() <= 255 && unit.bytes().all(|byte| byte.is_ascii_graphic());
            if number >= UNITS_MAX || !(is_unit || unit == "kernel") {
                return Err(Impossible::new(
                    format!("journal.units[{number}]"),
                    format!("{unit:?}"),
                    "at most 256 names with their endings, such as \"ssh.service\", or \"kernel\"",
                ));
            }
        }
        let folder = folder.map(|folder| absolute("journal.folder", folder)).transpose()?;
        Ok(enabled.then_some(JournalConfig { units, folder }))
    }
}

//! `bundle show`: which bundle is in force, and every line of it.

use std::fmt::{self, Display};
use std::io::{self, Write};

use protocol::bundle::Line;
use protocol::index::{IndexError, Layers};

use super::words::{Bytes, Moment};
use crate::bundles::in_force::InForce;
use crate::paint::harmless;

/// Which lines are printed.
#[derive(Clone, Debug, Default)]
pub struct Choice {
    /// Indicators of this kind only, by the name that [`protocol::LookFor::kind`] gives.
    pub kind: Option<String>,
    /// At most so many lines.
    pub limit: Option<u64>,
}

/// Why lines were not printed to their end.
#[derive(Debug, thiserror::Error)]
pub enum Interrupted {
    /// The index.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Who reads them.
    #[error(transparent)]
    Output(#[from] io::Error),
}

/// Writes what is in force line by line, as in a bundle and without its header. One line is in memory at a time, and
/// the names of those that changes took out.
/// Gives how many were written.
///
/// # Errors
/// When the index is damaged or `out` takes no more; what was written until then is right.
pub fn lines(layers: &Layers, choice: &Choice, out: &mut dyn Write) -> Result<u64, Interrupted> {
    let mut written = 0;
    for line in layers.stored()? {
        if choice.limit.is_some_and(|limit| written >= limit) {
            break;
        }
        let line = line?;
        let is_chosen = match (&choice.kind, &line) {
            (None, _) => true,
            (Some(kind), Line::Indicator(indicator)) => kind == indicator.look_for.kind(),
            (Some(_), Line::Revocation(_)) => false,
        };
        if !is_chosen {
            continue;
        }
        serde_json::to_writer(&mut *out, &line).map_err(io::Error::from)?;
        out.write_all(b"\n")?;
        written += 1;
    }
    out.flush()?;
    Ok(written)
}

/// The first lines of each table: whose bundle is in force.
pub struct Head<'a>(pub &'a InForce);

impl Display for Head<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_force = self.0;
        writeln!(f, "Bundle       {} of {}", in_force.serial, harmless(&in_force.issuer))?;
        writeln!(f, "Made         {}", Moment(in_force.created))?;
        writeln!(f, "Verified     {}", Moment(in_force.verified_at))
    }
}

/// What is in force, for people.
pub struct Table<'a> {
    /// The record.
    pub in_force: &'a InForce,
    /// What it is made of.
    pub layers: &'a Layers,
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_force = self.in_force;
        let kinds: Vec<String> =
            in_force.kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
        let held: u64 = in_force.held.values().map(|held| held.count).sum();
        write!(f, "{}", Head(in_force))?;
        writeln!(f, "Indicators   {}{kinds}", in_force.indicators)?;
        for (name, count) in
            [("Allow-list", in_force.allowed), ("Revocations", in_force.revocations), ("Held back", held)]
        {
            if count > 0 {
                writeln!(f, "{name:<12} {count}")?;
            }
        }
        let base = self.layers.base().meta().serial;
        let changes = match in_force.changes {
            0 => String::new(),
            1 => ", 1 change since".to_owned(),
            changes => format!(", {changes} changes since"),
        };
        writeln!(f, "Index        full index of bundle {base}{changes}; {}", Bytes(in_force.index_bytes))
    }
}

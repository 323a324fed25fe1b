//! `bundle stats`: what the bundle in force holds, what of it is held back, and what it costs.

use std::collections::BTreeMap;
use std::fmt::{self, Display};

use protocol::absurd::Absurd;
use protocol::index::{Index, Layers, Meta};
use protocol::{LookFor, Serial};
use serde::Serialize;

use super::show::Head;
use super::words::{Bytes, bytes_each};
use crate::bundles::in_force::InForce;
use crate::paint::{Paint, harmless};

/// Examples of what is held back that are shown; `--json` has all that are kept.
const EXAMPLES_SHOWN: usize = 5;

/// The record, and each index by itself: the JSON form of `bundle stats --json`.
#[derive(Serialize)]
pub struct Stats<'a> {
    /// All together.
    #[serde(flatten)]
    pub in_force: &'a InForce,
    /// The full index.
    pub base: Layer<'a>,
    /// The changes above it; null for none.
    pub overlay: Option<Layer<'a>>,
}

/// One index.
#[derive(Serialize)]
pub struct Layer<'a> {
    /// The bundle that it leads to.
    pub serial: Serial,
    /// What it says about itself.
    #[serde(flatten)]
    meta: Contents<'a>,
    /// Bytes of memory that it keeps.
    pub resident_bytes: usize,
}

#[derive(Serialize)]
struct Contents<'a> {
    indicators: u64,
    kinds: &'a BTreeMap<String, u64>,
    allowed: u64,
    revocations: u64,
    removed: &'a BTreeMap<String, u64>,
}

impl<'a> Layer<'a> {
    fn of(index: &'a Index) -> Self {
        let meta: &Meta = index.meta();
        let contents = Contents {
            indicators: meta.indicators(),
            kinds: &meta.kinds,
            allowed: meta.allowed,
            revocations: meta.revocations,
            removed: &meta.removed,
        };
        Self { serial: meta.serial, meta: contents, resident_bytes: index.resident_bytes() }
    }

    /// Indicators that it adds and takes out; of all kinds when none is named.
    fn counts(&self, kind: Option<&str>) -> (u64, u64) {
        let count = |of: &BTreeMap<String, u64>| match kind {
            Some(kind) => of.get(kind).copied().unwrap_or(0),
            None => {
                of.iter().filter(|(kind, _)| LookFor::KINDS.contains(&kind.as_str())).map(|(_, it)| it).sum()
            }
        };
        (count(self.meta.kinds), count(self.meta.removed))
    }
}

impl<'a> Stats<'a> {
    /// Of what is in force.
    pub fn of(in_force: &'a InForce, layers: &'a Layers) -> Self {
        let overlay = layers.overlay().map(|overlay| Layer::of(overlay));
        Self { in_force, base: Layer::of(layers.base()), overlay }
    }
}

/// The numbers as tables.
pub struct Table<'a> {
    /// Which numbers.
    pub stats: &'a Stats<'a>,
    /// How.
    pub paint: Paint,
}

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Head(self.stats.in_force))?;
        self.kinds(f)?;
        self.held(f)?;
        self.costs(f)
    }
}

impl Table<'_> {
    fn kinds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stats = self.stats;
        let heading = format!("{:<18}{:>12}", "KIND", "IN FORCE");
        let layers = format!("{:>14}{:>16}", "FULL INDEX", "CHANGES");
        let layers = if stats.overlay.is_some() { layers } else { String::new() };
        writeln!(f, "\n{}", self.paint.strong(&format!("{heading}{layers}")))?;
        for (kind, count) in &stats.in_force.kinds {
            self.row(f, (kind, *count), Some(kind))?;
        }
        self.row(f, ("all", stats.in_force.kinds.values().sum()), None)?;
        writeln!(f)
    }

    fn row(&self, f: &mut fmt::Formatter<'_>, (name, count): (&str, u64), kind: Option<&str>) -> fmt::Result {
        if let Some(overlay) = &self.stats.overlay {
            let (added, removed) = overlay.counts(kind);
            let changes = match (added, removed) {
                (0, 0) => String::new(),
                (added, 0) => format!("+{added}"),
                (0, removed) => format!("-{removed}"),
                (added, removed) => format!("+{added} -{removed}"),
            };
            let base = self.stats.base.counts(kind).0;
            return writeln!(f, "{}", format!("{name:<18}{count:>12}{base:>14}{changes:>16}").trim_end());
        }
        writeln!(f, "{name:<18}{count:>12}")
    }

    fn held(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_force = self.stats.in_force;
        writeln!(f, "Allow-list   {}", in_force.allowed)?;
        writeln!(f, "Revocations  {}", in_force.revocations)?;
        let held: u64 = in_force.held.values().map(|held| held.count).sum();
        if held == 0 {
            return writeln!(f, "Held back    none");
        }
        let sentence = format!("{held}, which would match what every town has; they are not looked for");
        writeln!(f, "Held back    {}", self.paint.care(&sentence))?;
        for (reason, held) in &in_force.held {
            let shown = held.examples.iter().take(EXAMPLES_SHOWN).map(|example| harmless(example));
            let mut shown: Vec<_> = shown.collect();
            if held.count > shown.len() as u64 {
                shown.push("...".into());
            }
            let known = Absurd::ALL.into_iter().find(|absurd| absurd.word() == reason);
            let reason = known.map_or(reason.as_str(), |known| known.sentence());
            writeln!(f, "  {:>9}  {reason}", held.count)?;
            writeln!(f, "             {}", self.paint.faint(&shown.join(", ")))?;
        }
        Ok(())
    }

    fn costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let in_force = self.stats.in_force;
        writeln!(f, "On disk      {}", Bytes(in_force.index_bytes))?;
        let resident = Bytes(in_force.resident_bytes);
        match bytes_each(in_force.resident_bytes, in_force.indicators) {
            Some(each) => writeln!(f, "In memory    {resident}, {each} bytes an indicator"),
            None => writeln!(f, "In memory    {resident}"),
        }
    }
}

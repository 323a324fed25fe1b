//! `hits`: stored hits for scripts.

use std::io::{self, BufWriter, Write as _};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use super::{open_store, shown};
use crate::config::Config;
use crate::store::hits::{self, HitFilter, StoredHit};

/// Print stored hits, oldest first.
#[derive(Debug, Args)]
pub struct Hits {
    /// Only this kind: ip, domain, url, md5, sha1, sha256, ja3, ja4, user_agent, email.
    #[arg(long)]
    kind: Option<String>,
    /// Only this town, by identifier or name.
    #[arg(long)]
    comune: Option<String>,
    /// Only this value, exactly.
    #[arg(long)]
    value: Option<String>,
    /// Print one hit a line as JSON.
    #[arg(long)]
    json: bool,
}

impl Hits {
    /// Prints them.
    ///
    /// # Errors
    /// When the store or standard output fails.
    pub async fn run(self, config: &Config) -> anyhow::Result<()> {
        let store = open_store(config)?;
        let filter = HitFilter { kind: self.kind, comune: self.comune, value: self.value };
        let mut out = BufWriter::new(io::stdout().lock());
        let mut row = 0;
        loop {
            let page = hits::page_after(&store, row, filter.clone()).await?;
            let Some(last) = page.last() else { break };
            row = last.row;
            for hit in &page {
                let hit = joined(hit)?;
                let line = if self.json { hit.to_string() } else { sentence(&hit) };
                match writeln!(out, "{line}") {
                    // Whoever read, such as `head`, has enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                    written => written.context("standard output")?,
                }
            }
        }
        out.flush().context("standard output")
    }
}

/// The hit as DESIGN's contract has it, plus where it came from.
fn joined(stored: &StoredHit) -> anyhow::Result<Value> {
    let mut hit: Value = serde_json::from_str(&stored.hit_json)
        .with_context(|| format!("hit {} in the store is damaged", stored.row))?;
    if let Some(fields) = hit.as_object_mut() {
        fields.insert("comune".into(), stored.comune.clone().into());
        fields.insert("agent".into(), stored.agent.clone().into());
        fields.insert("received_at".into(), stored.received_at.to_string().into());
    }
    Ok(hit)
}

fn sentence(hit: &Value) -> String {
    let text = |field: &str| hit.get(field).and_then(Value::as_str).map_or_else(|| "-".to_owned(), shown);
    let count = hit.get("count").and_then(Value::as_u64).unwrap_or(1);
    format!(
        "{}  {}  {}  {} {}  {}  host {}  remote {}  x{count}",
        text("at"),
        text("comune"),
        text("direction"),
        text("kind"),
        text("value"),
        text("seen_in"),
        text("host"),
        text("remote"),
    )
}

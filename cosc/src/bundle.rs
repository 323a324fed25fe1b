//! Makes a bundle of what was imported: what is set aside stays out, TLP:RED stops everything.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::bundle::BUNDLE_FORMAT;
use protocol::indicator::TEXT_BYTES_MAX;
use protocol::{Action, BundleHeader, BundleWriter, Indicator, LookFor, Serial, Severity, Timestamp, Tlp};
use uuid::Uuid;

use crate::files;
use crate::import::{Candidate, Imported};
use crate::repository;

/// The namespace of indicator identifiers (RFC 9562 §5.5): the same value has the same identifier in every bundle.
const NAMESPACE: Uuid = Uuid::from_u128(0x7b0c_4f0e_52a1_5d6b_9c57_3a1e_0d5e_7701);

/// What the operator says about a bundle; it wins over what the files say.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The desk's name.
    pub issuer: String,
    /// The bundle's number; one more than the newest of `repository` when not given.
    pub serial: Option<u64>,
    /// The signed repository that the bundle will go to.
    pub repository: Option<PathBuf>,
    /// The alert that the indicators came with.
    pub alert: Option<String>,
    /// Malware, actor or campaign.
    pub threat: Option<String>,
    /// How bad a sighting is.
    pub severity: Option<Severity>,
    /// Who may see them.
    pub tlp: Option<Tlp>,
    /// Days from this moment that they are looked for.
    pub valid_days: Option<u32>,
    /// Whether doubtful candidates are taken, too.
    pub with_doubtful: bool,
}

/// A bundle that was written.
#[derive(Debug)]
pub struct Written {
    /// Its first line.
    pub header: BundleHeader,
    /// Indicators by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Indicators that never expire.
    pub endless: u64,
    /// Doubtful candidates that were left out.
    pub doubtful: u64,
}

/// Writes a bundle of the accepted candidates.
///
/// # Errors
/// When nothing is left, something is TLP:RED, or an option is wrong.
pub fn write(imported: &Imported, options: &Options, now: Timestamp, out: &Path) -> Result<Written> {
    let serial = choose_serial(options)?;
    check_options(options)?;
    refuse_red(imported, options)?;
    let taken = |candidate: &&Candidate| options.with_doubtful || candidate.doubt.is_none();
    let chosen = imported.accepted.iter().filter(taken);
    let indicators: Vec<Indicator> = chosen.map(|candidate| indicator(candidate, options, now)).collect();
    let doubtful = imported.accepted.len() - indicators.len();
    if indicators.is_empty() {
        bail!(
            "nothing to look for is left: {} values were set aside, {doubtful} are doubtful (see --with-doubtful); \
             the bundle is not written",
            imported.rejected.len()
        );
    }
    let mut kinds = BTreeMap::new();
    for indicator in &indicators {
        *kinds.entry(indicator.look_for.kind()).or_default() += 1;
    }
    let endless = indicators.iter().filter(|indicator| indicator.valid_until.is_none()).count() as u64;
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial,
        created: now,
        issuer: options.issuer.clone(),
        indicators: 0,
        set: None,
    };
    let mut bytes = Vec::new();
    let header =
        BundleWriter::write_all(&mut bytes, indicators, header).context("cannot compress the bundle")?;
    files::replace(out, &bytes)?;
    Ok(Written { header, kinds, endless, doubtful: doubtful as u64 })
}

fn choose_serial(options: &Options) -> Result<Serial> {
    match (options.serial, &options.repository) {
        (Some(0), _) => bail!("--serial must be 1 or more: 0 stands for no bundle"),
        (Some(serial), _) => Ok(Serial(serial)),
        (None, Some(folder)) => {
            let newest = repository::newest_serial(folder)?.unwrap_or_default();
            Ok(Serial(newest.0.saturating_add(1)))
        }
        (None, None) => {
            bail!("name the bundle's number with --serial N, or its repository with --repository DIR")
        }
    }
}

fn check_options(options: &Options) -> Result<()> {
    let texts = [("--issuer", Some(&options.issuer)), ("--alert", options.alert.as_ref())];
    for (name, text) in texts.into_iter().chain([("--threat", options.threat.as_ref())]) {
        let Some(text) = text else { continue };
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            bail!("{name} must be 1 to {TEXT_BYTES_MAX} bytes of plain text");
        }
    }
    Ok(())
}

fn refuse_red(imported: &Imported, options: &Options) -> Result<()> {
    const WHY: &str = "TLP:RED is for the eyes of those who were there and never leaves the desk";
    if options.tlp == Some(Tlp::Red) {
        bail!("--tlp red: {WHY}");
    }
    if let Some(red) = imported.accepted.iter().find(|candidate| candidate.said.tlp == Some(Tlp::Red)) {
        bail!("{}: {} is TLP:RED: {WHY}; remove it or ask its source", red.place, red.look_for);
    }
    Ok(())
}

fn indicator(candidate: &Candidate, options: &Options, now: Timestamp) -> Indicator {
    let said = &candidate.said;
    let text = |chosen: &Option<String>, found: &str| chosen.clone().unwrap_or_else(|| shortened(found));
    let until = options.valid_days.map(|days| now.plus_seconds(i64::from(days) * 86_400));
    Indicator {
        look_for: candidate.look_for.clone(),
        id: identifier(&candidate.look_for),
        action: Action::Detect,
        threat: text(&options.threat, &said.threat),
        severity: options.severity.or(said.severity).unwrap_or_default(),
        confidence: said.confidence.unwrap_or(50),
        tlp: options.tlp.or(said.tlp).unwrap_or_default(),
        valid_from: said.valid_from,
        valid_until: until.or(said.valid_until),
        alert: text(&options.alert, &said.alert),
        source: if said.source.is_empty() {
            shortened(&candidate.place.file)
        } else {
            shortened(&said.source)
        },
    }
}

/// The identifier of a value: the same in every bundle, so that hits can be counted across them.
pub fn identifier(look_for: &LookFor) -> String {
    let name = format!("{}:{look_for}", look_for.kind());
    format!("indicator--{}", Uuid::new_v5(&NAMESPACE, name.as_bytes()))
}

/// At most [`TEXT_BYTES_MAX`] bytes, cut between characters, without control characters.
fn shortened(text: &str) -> String {
    let mut out = String::new();
    for c in text.trim().chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > TEXT_BYTES_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
#[path = "bundle_tests.rs"]
mod tests;

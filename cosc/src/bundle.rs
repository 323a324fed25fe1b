//! Makes a bundle of what was imported: what is set aside stays out, TLP:RED stops everything.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use protocol::bundle::{BUNDLE_FORMAT, BundleLimits, Revocation};
use protocol::indicator::TEXT_BYTES_MAX;
use protocol::{
    Action, BundleHeader, BundleReader, BundleWriter, Indicator, LookFor, Serial, Severity, Timestamp, Tlp,
};
use uuid::Uuid;

use crate::files;
use crate::import::{Candidate, Imported, report};
use crate::repository::{self, NamedBundle};

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
    /// What is not looked for any more.
    pub revoked: Vec<Revocation>,
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
    /// Entries of the allow-list.
    pub allowed: u64,
    /// Revocations.
    pub revocations: u64,
    /// Indicators that the allow-list or a revocation silences.
    pub silenced: u64,
    /// Values that were left out as absurd, in words; empty when there were none.
    pub absurd: String,
    /// Number and lines of the repository's newest bundle, in whose place this one comes.
    pub before: Option<(Serial, u64)>,
}

/// Writes a bundle of the accepted candidates, the allow-list and what is revoked.
///
/// # Errors
/// When nothing is left to look for, something is TLP:RED, or an option is wrong.
pub fn write(imported: &Imported, options: &Options, now: Timestamp, out: &Path) -> Result<Written> {
    let newest = match &options.repository {
        Some(folder) => repository::newest(folder)?,
        None => None,
    };
    let serial = choose_serial(options, newest.as_ref())?;
    check_options(options)?;
    refuse_red(imported, options)?;
    let taken = |candidate: &&Candidate| options.with_doubtful || candidate.doubt.is_none();
    let chosen = imported.accepted.iter().filter(taken);
    let indicators: Vec<Indicator> = chosen.map(|candidate| indicator(candidate, options, now)).collect();
    let doubtful = imported.accepted.len() - indicators.len();
    let mut revocations = imported.revocations.clone();
    revocations.extend(options.revoked.iter().cloned());
    let silenced = silenced(&indicators, &imported.allowed, &revocations);
    if indicators.len() == silenced {
        bail!("{}", nothing_left(imported, doubtful, silenced));
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
    let counted = (imported.allowed.len() as u64, revocations.len() as u64);
    let allowed = imported.allowed.iter().map(|candidate| allowed(candidate, options));
    let indicators = indicators.into_iter().chain(allowed).collect();
    let mut bytes = Vec::new();
    let header = BundleWriter::write_lines(&mut bytes, indicators, revocations, header)
        .context("cannot compress the bundle")?;
    files::replace(out, &bytes)?;
    Ok(Written {
        header,
        kinds,
        endless,
        doubtful: doubtful as u64,
        allowed: counted.0,
        revocations: counted.1,
        silenced: silenced as u64,
        absurd: report::absurd(imported),
        before: newest.as_ref().and_then(lines_of),
    })
}

/// How many indicators are revoked, or on a value of the allow-list. Others may be silenced where two values meet.
fn silenced(indicators: &[Indicator], allowed: &[Candidate], revocations: &[Revocation]) -> usize {
    let allowed: HashSet<&LookFor> = allowed.iter().map(|candidate| &candidate.look_for).collect();
    let revoked: HashSet<&Revocation> = revocations.iter().collect();
    let is_silenced = |indicator: &&Indicator| {
        allowed.contains(&indicator.look_for)
            || revoked.contains(&Revocation::Indicator(indicator.id.clone()))
            || (!indicator.alert.is_empty() && revoked.contains(&Revocation::Alert(indicator.alert.clone())))
    };
    indicators.iter().filter(is_silenced).count()
}

fn nothing_left(imported: &Imported, doubtful: usize, silenced: usize) -> String {
    let mut why = vec![format!("{} values were set aside", imported.rejected.len())];
    if !imported.absurd.is_empty() {
        why.push(format!("of them absurd: {}", report::absurd(imported)));
    }
    why.push(format!("{doubtful} are doubtful (see --with-doubtful)"));
    why.push(format!("{silenced} are revoked or in the allow-list"));
    format!(
        "nothing to look for is left, and every sensor would refuse such a bundle: {}; the bundle is not written; \
         import --json shows why of each value",
        why.join(", ")
    )
}

/// How many lines a bundle has; a file that is not there or damaged is for `sign` to tell.
fn lines_of(bundle: &NamedBundle) -> Option<(Serial, u64)> {
    let file = fs::File::open(&bundle.path).ok()?;
    let reader = BundleReader::new(file, BundleLimits::default()).ok()?;
    Some((bundle.serial, reader.header().indicators))
}

fn choose_serial(options: &Options, newest: Option<&NamedBundle>) -> Result<Serial> {
    match (options.serial, &options.repository) {
        (Some(0), _) => bail!("--serial must be 1 or more: 0 stands for no bundle"),
        (Some(serial), _) if Serial(serial) > Serial::MAX => {
            bail!("--serial must be {} or less", Serial::MAX)
        }
        (Some(serial), _) => Ok(Serial(serial)),
        (None, Some(_)) => {
            // Where no number is left, signing says what to do.
            Ok(Serial(newest.map_or(0, |bundle| bundle.serial.0).saturating_add(1)).min(Serial::MAX))
        }
        (None, None) => {
            bail!("name the bundle's number with --serial N, or its repository with --repository DIR")
        }
    }
}

fn check_options(options: &Options) -> Result<()> {
    let texts = [("--issuer", Some(&options.issuer)), ("--alert", options.alert.as_ref())];
    let alerts = options.revoked.iter().filter_map(|revocation| match revocation {
        Revocation::Alert(alert) => Some(("--revoke-alert", Some(alert))),
        Revocation::Indicator(_) => None,
    });
    for (name, text) in texts.into_iter().chain([("--threat", options.threat.as_ref())]).chain(alerts) {
        let Some(text) = text else { continue };
        if text.trim().is_empty() || text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
            bail!("{name} must be 1 to {TEXT_BYTES_MAX} bytes of plain text");
        }
    }
    for revocation in &options.revoked {
        let Revocation::Indicator(id) = revocation else { continue };
        if id.strip_prefix("indicator--").is_none_or(|id| Uuid::try_parse(id).is_err()) {
            bail!(
                "--revoke {id}: not an identifier such as indicator--1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed, which hits \
                 and bundles show; to silence a value, write it to a file and name that with --allow"
            );
        }
    }
    Ok(())
}

fn refuse_red(imported: &Imported, options: &Options) -> Result<()> {
    const WHY: &str = "TLP:RED is for the eyes of those who were there and never leaves the desk";
    if options.tlp == Some(Tlp::Red) {
        bail!("--tlp red: {WHY}");
    }
    let mut all = imported.accepted.iter().chain(&imported.allowed);
    if let Some(red) = all.find(|candidate| candidate.said.tlp == Some(Tlp::Red)) {
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

/// An entry of the allow-list. Neither the alert nor its validity is the bundle's: what silences must not go away with
/// what is looked for.
fn allowed(candidate: &Candidate, options: &Options) -> Indicator {
    let name = format!("allow:{}:{}", candidate.look_for.kind(), candidate.look_for);
    let none = Options { issuer: options.issuer.clone(), tlp: options.tlp, ..Options::default() };
    Indicator {
        id: format!("indicator--{}", Uuid::new_v5(&NAMESPACE, name.as_bytes())),
        action: Action::Allow,
        alert: String::new(),
        ..indicator(candidate, &none, Timestamp::default())
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

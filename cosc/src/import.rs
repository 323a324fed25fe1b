//! Reads indicator files as they come: plain lists, prose, tables, MISP, STIX, OpenIOC, other JSON, bundles.
//!
//! Nothing is dropped silently: a value becomes a candidate, or is set aside with a reason and its place.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use indicatif::ProgressBar;
use protocol::absurd::{self, Absurd};
use protocol::bundle::Revocation;
use protocol::observable::Observable;
use protocol::url::Host;
use protocol::{LookFor, Severity, Timestamp, Tlp};

pub mod columns;
pub mod json;
pub mod judge;
pub mod misp;
pub mod openioc;
pub mod read;
pub mod report;
pub mod said;
pub mod stix;
pub mod table;
pub mod text;

/// Values that one import takes, read or set aside. More are refused as a whole, not cut.
const VALUES_MAX: usize = 5_000_000;

/// Where a value was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Its line from 1; 0 where a format has no lines.
    pub line: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.file) } else { write!(f, "{}:{}", self.file, self.line) }
    }
}

/// How sure it is that a text was meant as an indicator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// In a field that holds indicators.
    Named,
    /// Alone on its line or in its cell.
    Alone,
    /// Somewhere in prose.
    InText,
    /// There, but with a reason to look at it before it is looked for.
    Doubtful(&'static str),
}

/// What the source says about a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Malware, actor or campaign.
    pub threat: String,
    /// How bad.
    pub severity: Option<Severity>,
    /// Who may see it.
    pub tlp: Option<Tlp>,
    /// 0 to 100.
    pub confidence: Option<u8>,
    /// From when.
    pub valid_from: Option<Timestamp>,
    /// Until when.
    pub valid_until: Option<Timestamp>,
    /// Alert reference.
    pub alert: String,
    /// Feed or sender.
    pub source: String,
}

/// A value to look for.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// The value.
    pub look_for: LookFor,
    /// Where it was first found.
    pub place: Place,
    /// How often it was found.
    pub count: u64,
    /// What the source says.
    pub said: Said,
    /// Why a person should decide; such candidates stay out of a bundle unless asked for.
    pub doubt: Option<&'static str>,
}

/// A value that is not looked for.
#[derive(Clone, Debug)]
pub struct Rejected {
    /// As it was written.
    pub text: String,
    /// Its kind, when it has one.
    pub kind: Option<&'static str>,
    /// Why.
    pub reason: String,
    /// Where it was first found.
    pub place: Place,
    /// How often it was found.
    pub count: u64,
}

/// What files are read for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// Their values are looked for, unless they are absurd.
    #[default]
    LookFor,
    /// Their values silence, and may be what every town has.
    Allow,
}

/// All that was read from some files.
#[derive(Debug, Default)]
pub struct Imported {
    /// Candidates in the order they were found, doubtful ones among them.
    pub accepted: Vec<Candidate>,
    /// Values that silence: an allow-list.
    pub allowed: Vec<Candidate>,
    /// What earlier bundles revoked.
    pub revocations: Vec<Revocation>,
    /// How many of the values set aside are absurd, by reason.
    pub absurd: BTreeMap<Absurd, u64>,
    /// What was set aside or could not be read.
    pub rejected: Vec<Rejected>,
    /// Files that could not be read, with the reason.
    pub unread: Vec<(String, String)>,
    /// Parts of files that were passed over on purpose.
    pub notes: Vec<String>,
    purpose: Purpose,
    accepted_at: HashMap<LookFor, usize>,
    allowed_at: HashMap<LookFor, usize>,
    rejected_at: HashMap<(String, String), usize>,
    progress: Option<ProgressBar>,
}

/// The import has more values than [`Imported`] keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {VALUES_MAX} values; import fewer files at once")]
pub struct TooMany;

impl Imported {
    /// Nothing read yet.
    pub fn new(purpose: Purpose) -> Self {
        Self { purpose, ..Self::default() }
    }

    /// Takes in a value; [`judge`] says whether it is a candidate.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn handle_value(
        &mut self,
        look_for: LookFor,
        found: Found,
        place: &Place,
        said: &Said,
    ) -> Result<(), TooMany> {
        if self.purpose == Purpose::Allow {
            return match found {
                Found::Doubtful(_) => Ok(()),
                Found::Named | Found::Alone | Found::InText => self.handle_allowed(look_for, place, said),
            };
        }
        if let Some(reason) = judge::set_aside(&look_for, found) {
            let kind = Some(look_for.kind());
            let known = self.rejected.len();
            self.reject(look_for.to_string(), kind, reason, place)?;
            if let Some(absurd) = absurd::reason(&look_for, &[]).filter(|_| self.rejected.len() > known) {
                *self.absurd.entry(absurd).or_default() += 1;
            }
            return Ok(());
        }
        let doubt = if let Found::Doubtful(why) = found { Some(why) } else { None };
        if let Some(known) = self.accepted_at.get(&look_for).and_then(|at| self.accepted.get_mut(*at)) {
            known.count += 1;
            known.said.complete(said);
            known.doubt = known.doubt.and(doubt);
            return Ok(());
        }
        self.check_room()?;
        let host = host_of(&look_for);
        self.accepted_at.insert(look_for.clone(), self.accepted.len());
        self.accepted.push(Candidate { look_for, place: place.clone(), count: 1, said: said.clone(), doubt });
        match host {
            Some(host) => self.handle_host(host, place, said),
            None => Ok(()),
        }
    }

    /// Takes in a value that silences.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn handle_allowed(&mut self, look_for: LookFor, place: &Place, said: &Said) -> Result<(), TooMany> {
        if let Some(known) = self.allowed_at.get(&look_for).and_then(|at| self.allowed.get_mut(*at)) {
            known.count += 1;
            known.said.complete(said);
            return Ok(());
        }
        self.check_room()?;
        self.allowed_at.insert(look_for.clone(), self.allowed.len());
        let (place, said) = (place.clone(), said.clone());
        self.allowed.push(Candidate { look_for, place, count: 1, said, doubt: None });
        Ok(())
    }

    /// Takes in what an earlier bundle revoked.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn handle_revocation(&mut self, revocation: Revocation) -> Result<(), TooMany> {
        self.check_room()?;
        if !self.revocations.contains(&revocation) {
            self.revocations.push(revocation);
        }
        Ok(())
    }

    /// Adds the allow-list that other files hold.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn allow(&mut self, other: Self) -> Result<(), TooMany> {
        other.allowed.into_iter().try_for_each(|it| self.handle_allowed(it.look_for, &it.place, &it.said))
    }

    /// Offers the host of a URL: inside TLS it is all that a gateway sees, but it may be half the internet's host.
    fn handle_host(&mut self, host: LookFor, place: &Place, said: &Said) -> Result<(), TooMany> {
        const WHY: &str = "the host of a listed URL: all of it would be looked for";
        if self.accepted_at.contains_key(&host) || judge::set_aside(&host, Found::Doubtful(WHY)).is_some() {
            return Ok(());
        }
        self.handle_value(host, Found::Doubtful(WHY), place, said)
    }

    /// Sets a text aside.
    ///
    /// # Errors
    /// When there are too many values.
    pub fn reject(
        &mut self,
        text: String,
        kind: Option<&'static str>,
        reason: impl Into<String>,
        place: &Place,
    ) -> Result<(), TooMany> {
        let reason = reason.into();
        let key = (text.clone(), reason.clone());
        if let Some(known) = self.rejected_at.get(&key).and_then(|at| self.rejected.get_mut(*at)) {
            known.count += 1;
            return Ok(());
        }
        self.check_room()?;
        self.rejected_at.insert(key, self.rejected.len());
        self.rejected.push(Rejected { text, kind, reason, place: place.clone(), count: 1 });
        Ok(())
    }

    /// Shows from here on how much of a file was read.
    fn begin_file(&mut self, progress: ProgressBar) {
        self.progress = Some(progress);
    }

    /// Moves the progress on.
    fn passed(&self, bytes: usize) {
        if let Some(progress) = &self.progress {
            progress.inc(bytes as u64);
        }
    }

    /// Remembers something to tell, once.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn check_room(&self) -> Result<(), TooMany> {
        let values = self.accepted.len() + self.allowed.len() + self.revocations.len() + self.rejected.len();
        if values >= VALUES_MAX { Err(TooMany) } else { Ok(()) }
    }
}

fn host_of(look_for: &LookFor) -> Option<LookFor> {
    let LookFor::Observable(Observable::Url(url)) = look_for else { return None };
    Some(LookFor::Observable(match url.host()? {
        Host::Domain(domain) => Observable::Domain(domain),
        Host::Ip(address) => Observable::Ip(address),
    }))
}

impl Said {
    /// Fills what is still unknown from another mention of the same value; the stricter marking stays.
    fn complete(&mut self, other: &Self) {
        self.tlp = self.tlp.max(other.tlp);
        self.severity = self.severity.or(other.severity);
        self.confidence = self.confidence.or(other.confidence);
        self.valid_from = self.valid_from.or(other.valid_from);
        self.valid_until = self.valid_until.or(other.valid_until);
        let texts = [
            (&mut self.threat, &other.threat),
            (&mut self.alert, &other.alert),
            (&mut self.source, &other.source),
        ];
        for (mine, theirs) in texts.into_iter().filter(|(mine, _)| mine.is_empty()) {
            mine.clone_from(theirs);
        }
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;

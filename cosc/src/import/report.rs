//! Prints what an import found: JSON for programs, a table for people, trouble on standard error.

use std::collections::BTreeMap;
use std::io::{self, Write};

use protocol::Action;
use protocol::bundle::Revocation;
use serde::Serialize;

use super::{Candidate, Imported, Rejected};

/// Lines of trouble that people are shown; `--json` has all of them.
const TROUBLE_LINES_MAX: usize = 40;

/// One candidate or rejected value, a line of `import --json`.
#[derive(Serialize)]
struct Row<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<Action>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    file: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u64>,
    count: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    threat: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<protocol::Severity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tlp: Option<protocol::Tlp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confidence: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_from: Option<protocol::Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    valid_until: Option<protocol::Timestamp>,
    #[serde(skip_serializing_if = "str::is_empty")]
    alert: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    source: &'a str,
}

impl<'a> Row<'a> {
    fn candidate(candidate: &'a Candidate) -> Self {
        let Candidate { look_for, place, count, said, doubt } = candidate;
        Self {
            kind: Some(look_for.kind()),
            value: look_for.to_string(),
            verdict: doubt.map(|_| "doubtful"),
            action: None,
            reason: *doubt,
            file: &place.file,
            line: Some(place.line).filter(|line| *line > 0),
            count: *count,
            threat: &said.threat,
            severity: said.severity,
            tlp: said.tlp,
            confidence: said.confidence,
            valid_from: said.valid_from,
            valid_until: said.valid_until,
            alert: &said.alert,
            source: &said.source,
        }
    }

    fn allowed(candidate: &'a Candidate) -> Self {
        Self { action: Some(Action::Allow), ..Self::candidate(candidate) }
    }

    fn rejected(rejected: &'a Rejected) -> Self {
        let Rejected { text, kind, reason, place, count } = rejected;
        Self {
            kind: *kind,
            value: text.clone(),
            verdict: Some("rejected"),
            action: None,
            reason: Some(reason),
            file: &place.file,
            line: Some(place.line).filter(|line| *line > 0),
            count: *count,
            threat: "",
            severity: None,
            tlp: None,
            confidence: None,
            valid_from: None,
            valid_until: None,
            alert: "",
            source: "",
        }
    }
}

/// One row a line: the candidates, the allow-list, what is revoked, then what was set aside.
///
/// # Errors
/// What the sink returns.
pub fn json(imported: &Imported, mut out: impl Write) -> io::Result<()> {
    let looked_for = imported.accepted.iter().map(Row::candidate);
    for row in looked_for.chain(imported.allowed.iter().map(Row::allowed)) {
        write_line(&mut out, &row)?;
    }
    for revocation in &imported.revocations {
        write_line(&mut out, revocation)?;
    }
    for row in imported.rejected.iter().map(Row::rejected) {
        write_line(&mut out, &row)?;
    }
    out.flush()
}

fn write_line(out: &mut impl Write, row: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, row)?;
    out.write_all(b"\n")
}

/// The candidates and the allow-list as a list that can be edited and imported again; doubtful ones and what is
/// revoked are comments in it.
///
/// # Errors
/// What the sink returns.
pub fn list(imported: &Imported, mut out: impl Write) -> io::Result<()> {
    for Candidate { look_for, place, doubt, .. } in &imported.accepted {
        let (place, kind) = (plain(&place.to_string()), look_for.kind());
        match doubt {
            None => writeln!(out, "{look_for} # {kind} {place}")?,
            Some(why) => writeln!(out, "# doubtful: {look_for} # {kind} {place}: {why}")?,
        }
    }
    for Candidate { look_for, place, .. } in &imported.allowed {
        writeln!(out, "!{look_for} # {} {}", look_for.kind(), plain(&place.to_string()))?;
    }
    for revocation in &imported.revocations {
        writeln!(out, "# revoked: {}", told(revocation))?;
    }
    out.flush()
}

/// What was set aside and what could not be read, for people, with a summary.
///
/// # Errors
/// What the sink returns.
pub fn trouble(imported: &Imported, mut out: impl Write) -> io::Result<()> {
    for (file, reason) in &imported.unread {
        writeln!(out, "{}: {reason}", plain(file))?;
    }
    for note in &imported.notes {
        writeln!(out, "{}", plain(note))?;
    }
    for Rejected { text, reason, place, .. } in imported.rejected.iter().take(TROUBLE_LINES_MAX) {
        let text: String = text.chars().take(80).collect();
        writeln!(out, "{}: set aside: {}: {}", plain(&place.to_string()), plain(&text), plain(reason))?;
    }
    if let Some(more) = imported.rejected.len().checked_sub(TROUBLE_LINES_MAX).filter(|more| *more > 0) {
        writeln!(out, "and {more} more set aside; import --json shows all")?;
    }
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for candidate in &imported.accepted {
        *kinds.entry(candidate.look_for.kind()).or_default() += 1;
    }
    let kinds: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let repeats: u64 = imported.accepted.iter().map(|candidate| candidate.count - 1).sum();
    let doubtful = imported.accepted.iter().filter(|candidate| candidate.doubt.is_some()).count();
    let (read, aside) = (imported.accepted.len(), imported.rejected.len());
    if !imported.absurd.is_empty() {
        writeln!(out, "absurd, and never looked for: {}", absurd(imported))?;
    }
    if imported.allowed.len() + imported.revocations.len() > 0 {
        let (allowed, revoked) = (imported.allowed.len(), imported.revocations.len());
        writeln!(out, "{allowed} values of an allow-list, {revoked} revocations")?;
    }
    writeln!(out, "{read} values{kinds}, {doubtful} of them doubtful, {aside} set aside, {repeats} repeats")
}

/// How many values are absurd, by reason.
pub fn absurd(imported: &Imported) -> String {
    let counts = imported.absurd.iter().map(|(why, count)| format!("{count} {why}"));
    counts.collect::<Vec<_>>().join("; ")
}

fn told(revocation: &Revocation) -> String {
    match revocation {
        Revocation::Alert(alert) => format!("alert {}", plain(alert)),
        Revocation::Indicator(id) => format!("indicator {}", plain(id)),
    }
}

/// Foreign text as it may go to a terminal: no control characters, no change of direction.
pub fn plain(text: &str) -> String {
    let harmless = |c: char| {
        let turns = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || turns { '\u{fffd}' } else { c }
    };
    text.chars().map(harmless).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_files_text_cannot_drive_the_terminal() {
        assert_eq!(plain("a\u{1b}[2Jb\u{202e}c\u{9b}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }
}

//! `status` for people: the answer of the running agent as a short table.

use std::fmt::{self, Display, Write as _};

use protocol::Timestamp;

use crate::bundles::in_force::{Building, InForce, RefusedBundle, Why};
use crate::control::StatusReport;
use crate::sources::log_status::LogStatus;

/// Where lines of counts are broken.
const LINE_CHARACTERS_MAX: usize = 100;
/// What is less is on its way.
const LAG_BYTES_TOLD: u64 = 1 << 20;

/// The report as a table; colours and widths are left to nobody.
pub struct Table<'a>(pub &'a StatusReport);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "Sensor      {} of {}", report.agent, report.comune)?;
        writeln!(f, "Running     version {}, for {}", report.version, Age(report.now, report.started))?;
        uplink(f, report)?;
        certificate(f, report)?;
        bundle(f, report)?;
        spool(f, report)?;
        translation(f, report)?;
        sources(f, report)?;
        counted(f, report)
    }
}

fn uplink(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let uplink = &report.uplink;
    match uplink.connected_since {
        Some(since) => {
            writeln!(f, "Collector   {}, connected for {}", uplink.collector, Age(report.now, since))
        }
        None if uplink.last_error.is_empty() => writeln!(f, "Collector   connecting"),
        None => writeln!(f, "Collector   NOT connected: {}", uplink.last_error),
    }
}

fn certificate(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    match report.uplink.certificate_until {
        None => Ok(()),
        Some(until) if until <= report.now => writeln!(
            f,
            "Certificate ENDED {} ago: ask the collector's operator for a new code, then vedetta-agent enrol --replace CODE",
            Age(report.now, until)
        ),
        Some(until) => writeln!(f, "Certificate good for {}", Age(until, report.now)),
    }
}

fn bundle(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    match &report.bundle {
        Some(bundle) => in_force(f, bundle, report.now)?,
        None if report.building.is_some() => writeln!(f, "Bundle      none yet: nothing is looked for")?,
        None => writeln!(f, "Bundle      none yet: nothing is looked for until the collector offers one")?,
    }
    if !report.bundle_trouble.is_empty() {
        writeln!(f, "  ! {}", report.bundle_trouble)?;
    }
    if let Some(until) = report.bundle_fresh_until.filter(|_| report.bundle_stale) {
        writeln!(
            f,
            "  ! STALE: no fresh signature for {}: the collector is away, or keeps newer bundles back, or this clock is wrong",
            Age(report.now, until)
        )?;
    }
    if let Some(Building { serial, why, done, total, since }) = &report.building {
        let why = match why {
            Why::Bundle => "",
            Why::Rebuild => " anew",
            Why::Merge => ", changes merged",
        };
        let age = Age(report.now, *since);
        writeln!(f, "Index       building {serial}{why}: {done} of {total}, for {age}")?;
    }
    if let Some(RefusedBundle { at, reason, .. }) = &report.bundle_refused {
        writeln!(f, "Refused     {} ago: {reason}", Age(report.now, *at))?;
    }
    Ok(())
}

fn in_force(f: &mut fmt::Formatter<'_>, bundle: &InForce, now: Timestamp) -> fmt::Result {
    let InForce { serial, issuer, indicators, created, changes, .. } = bundle;
    writeln!(
        f,
        "Bundle      {serial} of {issuer}: {indicators} indicators, made {} ago",
        Age(now, *created)
    )?;
    let held: u64 = bundle.held.values().map(|held| held.count).sum();
    if held > 0 {
        let reasons = bundle.held.iter().map(|(reason, held)| format!("{} times {reason}", held.count));
        writeln!(f, "Held back   {held}: {}", reasons.collect::<Vec<_>>().join("; "))?;
    }
    if bundle.allowed + bundle.revocations > 0 {
        writeln!(
            f,
            "Silenced    by {} entries of the allow-list, {} revocations",
            bundle.allowed, bundle.revocations
        )?;
    }
    write!(f, "Index       {} on disk, {} in memory", Size(bundle.index_bytes), Size(bundle.resident_bytes))?;
    if *changes > 0 {
        write!(f, ", {changes} changes since the full one")?;
    }
    writeln!(f)
}

fn spool(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let spool = &report.spool;
    write!(f, "Spool       {} hits wait, {} of {}", spool.records, Size(spool.bytes), Size(spool.bytes_max))?;
    if !spool.trouble.is_empty() {
        write!(f, "; TROUBLE: {}", spool.trouble)?;
    } else if spool.full {
        write!(f, "; FULL: free disk space or raise spool.bytes_max")?;
    }
    if spool.hits_lost > 0 {
        write!(f, "; {} hits lost for want of room", spool.hits_lost)?;
    }
    writeln!(f)
}

fn translation(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let tracking = &report.connection_tracking;
    match (tracking.available, tracking.trouble.as_str()) {
        (true, _) => writeln!(f, "NAT         both sides are joined by connection tracking"),
        (false, "") => Ok(()),
        (false, trouble) => writeln!(f, "NAT         connection tracking cannot be asked: {trouble}"),
    }
}

fn sources(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let width = report.sources.iter().map(|source| source.name.chars().count()).max().unwrap_or(0).max(6);
    writeln!(f, "\n{:width$}  {:>7}  {:>12}  {:>9}  {:>7}", "SOURCE", "KIND", "READ", "DROPPED", "HITS")?;
    for source in &report.sources {
        write!(
            f,
            "{:width$}  {:>7}  {:>12}  {:>9}  {:>7}",
            source.name, source.kind, source.read, source.dropped, source.hits
        )?;
        if let Some(last_at) = source.last_at {
            write!(f, "  last {} ago", Age(report.now, last_at))?;
        }
        if source.malformed > 0 {
            write!(f, "  {} malformed", source.malformed)?;
        }
        writeln!(f)?;
        if !source.trouble.is_empty() {
            writeln!(f, "  ! {}", source.trouble)?;
        }
        let log = report.logs.iter().find(|log| source.kind == "log" && log.name == source.name);
        log.map_or(Ok(()), |log| log_file(f, log, report.now))?;
    }
    Ok(())
}

/// Of a log, only what is not as it should be.
fn log_file(f: &mut fmt::Formatter<'_>, log: &LogStatus, now: Timestamp) -> fmt::Result {
    if log.lag_bytes >= LAG_BYTES_TOLD {
        writeln!(f, "  {} wait in it and are not read yet", Size(log.lag_bytes))?;
    }
    if let Some(gap) = log.possible_gap {
        let times = if log.gaps == 1 { "once".to_owned() } else { format!("{} times", log.gaps) };
        write!(
            f,
            "  ! lines may be lost, {times}: it was truncated or removed before all was read; the last time"
        )?;
        write!(f, " {} ago, from byte {}", Age(now, gap.at), gap.from)?;
        if log.bytes_lost > 0 {
            write!(f, "; {} in all are lost for certain", Size(log.bytes_lost))?;
        }
        writeln!(f)?;
    }
    let resets: u64 = log.tail_identity_reset.values().sum();
    if resets > 0 {
        writeln!(f, "  begun anew {resets} times, because its content was no longer what had been read")?;
    }
    if log.lines_cut > 0 {
        writeln!(f, "  {} lines were too long: {} not looked at", log.lines_cut, Size(log.bytes_cut))?;
    }
    Ok(())
}

/// Every reason with its count, several on a line.
fn counted(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let mut column = LINE_CHARACTERS_MAX;
    for (name, count) in &report.counted {
        let word = format!("{name} {count}");
        let wanted = word.len() + 2;
        if column + wanted > LINE_CHARACTERS_MAX {
            write!(f, "\n{word}")?;
            column = word.len();
        } else {
            write!(f, ", {word}")?;
            column += wanted;
        }
    }
    if report.counted.is_empty() { Ok(()) } else { writeln!(f) }
}

/// The time from the second to the first, in the largest unit that fits.
struct Age(Timestamp, Timestamp);

impl Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = (self.0.micros_since(self.1) / 1_000_000).max(0);
        for (unit, name) in [(86_400, "d"), (3_600, "h"), (60, "min")] {
            if seconds >= 2 * unit {
                return write!(f, "{} {name}", seconds / unit);
            }
        }
        write!(f, "{seconds} s")
    }
}

struct Size(u64);

impl Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")] {
            if self.0 >= unit {
                let mut text = String::new();
                write!(text, "{}.{}", self.0 / unit, self.0 % unit * 10 / unit)?;
                return write!(f, "{} {name}", text.trim_end_matches(".0"));
            }
        }
        write!(f, "{} B", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::SpoolStatus;
    use crate::sources::joining::TrackingStatus;
    use crate::sources::log_status::PossibleGap;
    use crate::uplink::UplinkStatus;
    use protocol::Serial;
    use protocol::index::Held;
    use protocol::message::SourceStatus;

    fn report() -> StatusReport {
        let now: Timestamp = "2026-11-22T10:00:00Z".parse().unwrap();
        StatusReport {
            version: "0.1.0".into(),
            started: now.plus_seconds(-7300),
            now,
            comune: "Borgo Chiaro".into(),
            agent: "07".repeat(16),
            uplink: UplinkStatus {
                collector: "collector.example:4740".into(),
                connected_since: Some(now.plus_seconds(-90)),
                certificate_until: Some(now.plus_seconds(20 * 86_400)),
                ..UplinkStatus::default()
            },
            bundle: None,
            building: None,
            bundle_refused: None,
            bundle_trouble: String::new(),
            bundle_fresh_until: None,
            bundle_stale: false,
            spool: SpoolStatus {
                records: 3,
                bytes: 1536,
                bytes_max: 1 << 30,
                full: false,
                hits_lost: 0,
                trouble: String::new(),
            },
            sources: vec![SourceStatus {
                name: "lan0".into(),
                kind: "capture".into(),
                read: 12,
                trouble: "interface lan0 is down: ip link set lan0 up".into(),
                malformed: 4,
                last_at: Some(now.plus_seconds(-7)),
                ..SourceStatus::default()
            }],
            logs: Vec::new(),
            connection_tracking: TrackingStatus::default(),
            counted: [("frames".to_owned(), 12), ("flows_evicted".to_owned(), 3)].into(),
        }
    }

    #[test]
    fn the_table_says_what_a_person_needs() {
        let text = Table(&report()).to_string();
        for part in [
            "of Borgo Chiaro",
            "for 2 h",
            "collector.example:4740, connected for 90 s",
            "none yet",
            "Certificate good for 20 d",
            "3 hits wait, 1.5 KiB of 1 GiB",
            "  last 7 s ago  4 malformed\n",
            "  ! interface lan0 is down",
            "flows_evicted 3, frames 12\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn the_bundle_says_what_is_looked_for_and_what_is_not() {
        let mut report = report();
        let now = report.now;
        report.bundle = Some(InForce {
            serial: Serial(7),
            indicators: 9,
            issuer: "cosc-esempio".into(),
            created: now.plus_seconds(-300),
            verified_at: now,
            kinds: [("domain".to_owned(), 9)].into(),
            held: [("a private address".to_owned(), Held { count: 2, examples: Vec::new() })].into(),
            allowed: 3,
            revocations: 1,
            changes: 4,
            index_bytes: 2048,
            resident_bytes: 512,
        });
        report.building = Some(Building {
            serial: Serial(8),
            why: Why::Merge,
            done: 5,
            total: 9,
            since: now.plus_seconds(-2),
        });
        report.bundle_refused =
            Some(RefusedBundle { at: now.plus_seconds(-30), serial: None, reason: "it is empty".into() });
        report.bundle_trouble = "the index is damaged".into();
        report.bundle_fresh_until = Some(now.plus_seconds(-7200));
        report.bundle_stale = true;
        let text = Table(&report).to_string();
        for part in [
            "7 of cosc-esempio: 9 indicators, made 5 min ago",
            "Held back   2: 2 times a private address",
            "by 3 entries of the allow-list, 1 revocations",
            "2 KiB on disk, 512 B in memory, 4 changes",
            "building 8, changes merged: 5 of 9, for 2 s",
            "Refused     30 s ago: it is empty",
            "  ! the index is damaged",
            "  ! STALE: no fresh signature for 2 h",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn a_log_says_what_waits_and_what_may_be_lost() {
        let mut report = report();
        let now = report.now;
        let name = "/var/log/fw.log".to_owned();
        report.sources.push(SourceStatus {
            name: name.clone(),
            kind: "log".into(),
            ..SourceStatus::default()
        });
        let quiet =
            LogStatus { name: name.clone(), lag_bytes: 900, lines_partial: 3, ..LogStatus::default() };
        report.logs = vec![quiet];
        let before = Table(&report).to_string();
        report.logs = vec![LogStatus {
            name,
            lag_bytes: 3 << 20,
            lines_cut: 2,
            bytes_cut: 2048,
            tail_identity_reset: [("shorter".to_owned(), 3)].into(),
            gaps: 3,
            bytes_lost: 512,
            possible_gap: Some(PossibleGap { at: now.plus_seconds(-30), from: 70, to: Some(582) }),
            ..LogStatus::default()
        }];
        let text = Table(&report).to_string();
        for part in [
            "  3 MiB wait in it",
            "lines may be lost, 3 times",
            "30 s ago, from byte 70; 512 B in all are lost for certain",
            "begun anew 3 times",
            "2 lines were too long: 2 KiB not looked at",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
            assert!(!before.contains(part), "{part:?} is told although all is well");
        }
    }

    #[test]
    fn trouble_stands_out() {
        let mut report = report();
        report.uplink = UplinkStatus { last_error: "no answer".into(), ..UplinkStatus::default() };
        report.uplink.certificate_until = Some(report.now.plus_seconds(-3 * 86_400));
        report.spool.full = true;
        report.spool.hits_lost = 4;
        report.connection_tracking.trouble = "no permission".into();
        let text = Table(&report).to_string();
        assert!(text.contains("NOT connected: no answer"), "{text}");
        assert!(text.contains("tracking cannot be asked: no permission"), "{text}");
        assert!(text.contains("Certificate ENDED 3 d ago: ask"), "{text}");
        assert!(text.contains("FULL") && text.contains("4 hits lost"), "{text}");
    }
}

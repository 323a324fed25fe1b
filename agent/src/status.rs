//! `status` for people: the answer of the running agent as a short table.

use std::fmt::{self, Display, Write as _};

use protocol::Timestamp;

use crate::control::StatusReport;

/// Where lines of counts are broken.
const LINE_CHARACTERS_MAX: usize = 100;

/// The report as a table; colours and widths are left to nobody.
pub struct Table<'a>(pub &'a StatusReport);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = self.0;
        writeln!(f, "Sensor      {} of {}", report.agent, report.comune)?;
        writeln!(f, "Running     version {}, for {}", report.version, Age(report.now, report.started))?;
        uplink(f, report)?;
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

fn bundle(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    match &report.bundle {
        Some(bundle) => writeln!(
            f,
            "Bundle      {} of {}: {} indicators, made {} ago",
            bundle.serial,
            bundle.issuer,
            bundle.indicators,
            Age(report.now, bundle.created)
        ),
        None => writeln!(f, "Bundle      none yet: nothing is looked for until the collector offers one"),
    }
}

fn spool(f: &mut fmt::Formatter<'_>, report: &StatusReport) -> fmt::Result {
    let spool = report.spool;
    write!(f, "Spool       {} hits wait, {} of {}", spool.records, Size(spool.bytes), Size(spool.bytes_max))?;
    if spool.full {
        write!(f, "; FULL: free disk space or raise spool.bytes_max")?;
    }
    if spool.hits_lost > 0 {
        write!(f, "; {} hits lost while it was full", spool.hits_lost)?;
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
        writeln!(
            f,
            "{:width$}  {:>7}  {:>12}  {:>9}  {:>7}",
            source.name, source.kind, source.read, source.dropped, source.hits
        )?;
        if !source.trouble.is_empty() {
            writeln!(f, "  ! {}", source.trouble)?;
        }
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
    use crate::uplink::UplinkStatus;
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
                ..UplinkStatus::default()
            },
            bundle: None,
            spool: SpoolStatus { records: 3, bytes: 1536, bytes_max: 1 << 30, full: false, hits_lost: 0 },
            sources: vec![SourceStatus {
                name: "lan0".into(),
                kind: "capture".into(),
                read: 12,
                trouble: "interface lan0 is down: ip link set lan0 up".into(),
                ..SourceStatus::default()
            }],
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
            "3 hits wait, 1.5 KiB of 1 GiB",
            "  ! interface lan0 is down",
            "flows_evicted 3, frames 12\n",
        ] {
            assert!(text.contains(part), "{part:?} is missing in\n{text}");
        }
    }

    #[test]
    fn trouble_stands_out() {
        let mut report = report();
        report.uplink = UplinkStatus { last_error: "no answer".into(), ..UplinkStatus::default() };
        report.spool.full = true;
        report.spool.hits_lost = 4;
        report.connection_tracking.trouble = "no permission".into();
        let text = Table(&report).to_string();
        assert!(text.contains("NOT connected: no answer"), "{text}");
        assert!(text.contains("tracking cannot be asked: no permission"), "{text}");
        assert!(text.contains("FULL") && text.contains("4 hits lost"), "{text}");
    }
}

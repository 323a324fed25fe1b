//! A line as a person sees it who asks whether a device's log is understood.

use protocol::hit::evidence;
use protocol::{Observable, Timestamp};
use serde::Serialize;

use super::Scan;
use super::formats::{self, Hint};
use super::header::Logged;
use super::reading::{Field, Reading};
use super::wide::narrowed;
use super::written_at::written_at;
use crate::detector::LINE_BYTES_MAX;
use crate::sighting::Seen;

/// Reads lines one after the other and remembers their format, as the agent does for each source.
#[derive(Default)]
pub struct LineViewer {
    hint: Hint,
}

/// What was understood of a line. Texts have their control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineView {
    /// Name of the format; `None` for free text.
    pub format: Option<&'static str>,
    /// Facility and severity of the syslog header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<u8>,
    /// Time as the line gives it; empty when it gives none.
    pub time: String,
    /// Host of the syslog header.
    pub host: String,
    /// Program of the syslog header.
    pub program: String,
    /// Fields that the format names, in their order.
    pub fields: Vec<(&'static str, String)>,
    /// What is compared with the indicators.
    pub sightings: Vec<LineSighting>,
}

/// A value that is compared with the indicators.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LineSighting {
    /// The value.
    #[serde(flatten)]
    pub observable: Observable,
    /// As what it was seen.
    pub seen_in: protocol::SeenIn,
    /// The port beside an address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

impl LineViewer {
    /// Reads a line, of which at most [`crate::LINE_BYTES_MAX`] bytes count.
    pub fn read(&mut self, line: &[u8]) -> LineView {
        let line = narrowed(line.get(..LINE_BYTES_MAX).unwrap_or(line));
        let scan = Scan::of(&line, &mut self.hint);
        let mut sightings = Vec::new();
        scan.sight_all(&mut |sighting| {
            if let Seen::Normal(observable) = sighting.seen {
                let (seen_in, port) = (sighting.seen_in, sighting.port);
                sightings.push(LineSighting { observable: observable.clone(), seen_in, port });
            }
        });
        let fields = scan.reading.fields().iter();
        LineView {
            format: scan.format.map(|format| format.name),
            priority: scan.logged.priority,
            time: evidence(scan.time()),
            host: evidence(scan.logged.host),
            program: evidence(scan.logged.program),
            fields: fields.map(|(field, value)| (field.name(), evidence(&value.text))).collect(),
            sightings,
        }
    }
}

impl LineViewer {
    /// Names of the formats that are known, in the order in which they are tried.
    pub fn formats() -> impl Iterator<Item = &'static str> {
        formats::all().map(|format| format.name)
    }

    /// As [`Self::read`], by this format alone; `None` for a line of another.
    pub fn read_as(format: &str, line: &[u8]) -> Option<LineView> {
        let line = line.get(..LINE_BYTES_MAX).unwrap_or(line);
        let format = formats::all().find(|known| known.name == format)?;
        if !(format.read)(&Logged::of(line), &mut Reading::of(line)) {
            return None;
        }
        Some(Self { hint: Hint::of(format) }.read(line))
    }
}

impl LineView {
    /// When the line was written, by the time that it gives; what that leaves out is taken from when it was read.
    pub fn written_at(&self, read_at: Timestamp) -> Option<Timestamp> {
        written_at(self.time.as_bytes(), read_at)
    }
}

impl Field {
    fn name(self) -> &'static str {
        match self {
            Self::Src => "src",
            Self::SrcPort => "src_port",
            Self::Dst => "dst",
            Self::DstPort => "dst_port",
            Self::SrcBefore => "src_before_nat",
            Self::SrcBeforePort => "src_port_before_nat",
            Self::SrcAfter => "src_after_nat",
            Self::SrcAfterPort => "src_port_after_nat",
            Self::DstBefore => "dst_before_nat",
            Self::DstBeforePort => "dst_port_before_nat",
            Self::DstAfter => "dst_after_nat",
            Self::DstAfterPort => "dst_port_after_nat",
            Self::Proto => "proto",
            Self::Forwarded => "forwarded_for",
            Self::Address => "address",
            Self::Url => "url",
            Self::UrlHost => "url_host",
            Self::UrlPath => "url_path",
            Self::Domain | Self::DnsName => "domain",
            Self::UserAgent => "user_agent",
            Self::Hash => "hash",
            Self::Email => "email",
            Self::Time => "time",
            Self::User => "user",
            Self::Text => "text",
            Self::Nothing => "no_value",
        }
    }
}

//! Hits: sightings that matched an indicator, each known for ever by its [`HitId`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::bundle::Serial;
use crate::observable::Observable;
use crate::sighting::{Flow, Note, Place, SeenIn, Traffic};
use crate::text::{Hex, bytes_from_hex, display, display_list, display_option, text_form};
use crate::time::Timestamp;

/// Evidence is cut to this many bytes: enough to judge a hit, too little to be a browsing log.
pub const EVIDENCE_BYTES_MAX: usize = 1024;

/// Who began, seen from the town.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The outside began.
    Inbound,
    /// A host of the town began.
    Outbound,
    /// Both ends are the town's.
    Internal,
    /// Neither end is the town's, or it cannot be told.
    #[serde(other)]
    Transit,
}

impl Direction {
    /// The name in JSON, in the store and on pages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
            Self::Internal => "internal",
            Self::Transit => "transit",
        }
    }
}

/// 128 bits derived from what was seen, where and when: the same sighting read twice has the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HitId(pub [u8; 16]);

impl HitId {
    /// Derives the identity of a hit. A flow is known by its tuple and the time of its first sighting; a
    /// line by its input and byte offset (or number), whatever the time at which it is read again.
    pub fn derive(
        at: Timestamp,
        input: &str,
        seen: (&Observable, SeenIn),
        place: &Place,
        indicator: &str,
    ) -> Self {
        let (observable, seen_in) = seen;
        let mut hash = Sha256::new();
        let mut field = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        field(b"vedetta hit 1");
        field(observable.kind().as_str().as_bytes());
        field(observable.to_string().as_bytes());
        field(seen_in.as_str().as_bytes());
        field(indicator.as_bytes());
        match place {
            Place::Flow { flow } => {
                field(&at.as_micros().to_be_bytes());
                field(
                    format!("{:?} {} {} {} {}", flow.proto, flow.src, flow.src_port, flow.dst, flow.dst_port)
                        .as_bytes(),
                );
            }
            Place::Line { line, offset } => {
                field(input.as_bytes());
                field(&offset.unwrap_or(*line).to_be_bytes());
            }
        }
        let digest = hash.finalize();
        let mut id = [0; 16];
        id.iter_mut().zip(digest.iter()).for_each(|(to, from)| *to = *from);
        Self(id)
    }
}

impl fmt::Display for HitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

/// A text that is not 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an identifier of 32 hexadecimal digits")]
pub struct NotAHitId;

impl FromStr for HitId {
    type Err = NotAHitId;

    fn from_str(text: &str) -> Result<Self, NotAHitId> {
        bytes_from_hex(text).map(Self).ok_or(NotAHitId)
    }
}

text_form!(HitId);

/// A sighting that matched, with what an operator needs to judge it. The JSON form is DESIGN's contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hit {
    /// When it was first seen: packet time, or the time a log line was read.
    pub at: Timestamp,
    /// Interface, log path or capture file, as the town named it.
    pub input: String,
    /// What was seen.
    #[serde(flatten)]
    pub observable: Observable,
    /// In which field.
    pub seen_in: SeenIn,
    /// In which flow or line.
    #[serde(flatten)]
    pub place: Place,
    /// Identifier of the indicator that matched (STIX `indicator--UUID`, or the value in a plain list).
    pub indicator: String,
    /// Further indicators on the same observable.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<String>,
    /// Who began.
    pub direction: Direction,
    /// The town's own host, before NAT as far as the sensor saw it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "display_option")]
    pub host: Option<IpAddr>,
    /// The party outside: for inbound the source, for outbound the host contacted. Absent where the flow's
    /// other end only carried the observable, as a resolver or a mail relay does.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "display_option")]
    pub remote: Option<IpAddr>,
    /// How often it was seen within the cooldown, from 1.
    pub count: u64,
    /// When it was last seen within the cooldown.
    pub last_at: Timestamp,
    /// Identity; a later hit with the same one only raises `count`.
    pub hit_id: HitId,
    /// Serial of the bundle in force; 0 for a plain list.
    pub bundle: Serial,
    /// The line, request or name it was seen in, at most [`EVIDENCE_BYTES_MAX`] bytes, control characters escaped.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub evidence: String,
    /// What must be known to judge it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Addresses that a proxy named as the party behind it (X-Forwarded-For, Forwarded): candidates for the
    /// origin that nobody vouches for, at most [`NAMED_ORIGINS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "display_list")]
    pub named_origins: Vec<IpAddr>,
    /// What went over the flow until the hit was last given out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traffic: Option<Traffic>,
    /// The same conversation on the other side of the gateway's translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<Nat>,
    /// Further inputs that saw the same conversation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<String>,
    /// What the line says beyond the value, for a hit in a log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logged: Option<Box<Logged>>,
}

/// What a log line says beyond the value that was seen in it. Its clock is not trusted: a hit's own times are those at
/// which the line was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Logged {
    /// Name of the line's format; empty for free text.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub format: String,
    /// Time as the line gives it, at most [`LOGGED_TIME_BYTES_MAX`] bytes, control characters escaped.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub time: String,
    /// That time, where it can be read. A line without year or zone gets those of the time at which it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What the sender calls itself in the syslog header, at most 255 bytes (RFC 5424 section 6.2.4).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// The conversation that the line tells of as it looks inside the town, where it names both ends.
    /// A port that it does not name is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flow: Option<Flow>,
}

/// Bytes kept of a time as a line gives it.
pub const LOGGED_TIME_BYTES_MAX: usize = 64;

/// Addresses that a proxy named which are kept of one hit.
pub const NAMED_ORIGINS_MAX: usize = 8;

/// The gateway's translation of a conversation. The hit's own flow is the one inside, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nat {
    /// The address that the town's host has outside.
    #[serde(with = "display")]
    pub outer: IpAddr,
    /// The port it has there.
    pub outer_port: u16,
    /// On which side the sensor saw the conversation.
    pub vantage: Vantage,
    /// How the two sides were joined.
    pub by: NatEvidence,
    /// The conversation as it looks outside.
    pub outer_flow: Flow,
}

/// On which side of a translation a conversation was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vantage {
    /// Towards the town's hosts.
    Inside,
    /// Towards the internet.
    Outside,
    /// On both sides.
    #[serde(other)]
    Both,
}

/// What says that two flows are one conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NatEvidence {
    /// The kernel's connection tracking.
    Conntrack,
    /// A log line that names both sides.
    Log,
    /// The same remote end, port, protocol and contents at the same time, and no other candidate.
    #[serde(other)]
    TimeAndTuple,
}

/// Bytes of a line or request as evidence: UTF-8 kept, the rest and all control and bidirectional
/// characters escaped, cut to [`EVIDENCE_BYTES_MAX`].
pub fn evidence(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            let hidden = c.is_control()
                || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
            if hidden {
                out.extend(c.escape_unicode());
            } else {
                out.push(c);
            }
            if out.len() > EVIDENCE_BYTES_MAX {
                break;
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
        if out.len() > EVIDENCE_BYTES_MAX {
            break;
        }
    }
    let mut end = out.len().min(EVIDENCE_BYTES_MAX);
    while !out.is_char_boundary(end) {
        end -= 1;
    }
    out.truncate(end);
    out.shrink_to_fit();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sighting::{Flow, Transport};

    fn hit() -> Hit {
        let flow = Flow {
            proto: Transport::Udp,
            src: "192.0.2.10".parse().unwrap(),
            src_port: 53124,
            dst: "198.51.100.1".parse().unwrap(),
            dst_port: 53,
        };
        let at = "2026-11-22T10:00:00Z".parse().unwrap();
        let observable = Observable::guess("evil.example").unwrap();
        let place = Place::Flow { flow };
        Hit {
            hit_id: HitId::derive(at, "eth0", (&observable, SeenIn::DnsQuery), &place, "indicator--1"),
            at,
            input: "eth0".into(),
            observable,
            seen_in: SeenIn::DnsQuery,
            place,
            indicator: "indicator--1".into(),
            also: Vec::new(),
            direction: Direction::Outbound,
            host: Some(flow.src),
            remote: None,
            count: 1,
            last_at: at,
            bundle: Serial(7),
            evidence: String::new(),
            notes: Vec::new(),
            named_origins: Vec::new(),
            traffic: None,
            nat: None,
            witnesses: Vec::new(),
            logged: None,
        }
    }

    #[test]
    fn the_json_line_is_the_contract() {
        let json = serde_json::to_value(hit()).unwrap();
        assert_eq!(json["at"], "2026-11-22T10:00:00.000000Z");
        assert_eq!(json["kind"], "domain");
        assert_eq!(json["value"], "evil.example");
        assert_eq!(json["seen_in"], "dns.query");
        assert_eq!(json["flow"]["src"], "192.0.2.10");
        assert_eq!(json["flow"]["dst_port"], 53);
        assert_eq!(json["direction"], "outbound");
        assert_eq!(json["bundle"], 7);
        assert_eq!(json["count"], 1);
    }

    #[test]
    fn a_hit_survives_both_encodings() {
        let hit = hit();
        let json = serde_json::to_string(&hit).unwrap();
        assert_eq!(serde_json::from_str::<Hit>(&json).unwrap(), hit);
        let mut cbor = Vec::new();
        ciborium::into_writer(&hit, &mut cbor).unwrap();
        assert_eq!(ciborium::from_reader::<Hit, _>(cbor.as_slice()).unwrap(), hit);
    }

    #[test]
    fn a_line_read_again_later_is_the_same_hit() {
        let seen = Observable::guess("203.0.113.5").unwrap();
        let place = |offset| Place::Line { line: 3, offset: Some(offset) };
        let id = |at: &str, offset| {
            HitId::derive(
                at.parse().unwrap(),
                "/var/log/syslog",
                (&seen, SeenIn::LogText),
                &place(offset),
                "i",
            )
        };
        assert_eq!(id("2026-11-22T10:00:00Z", 90), id("2026-11-23T10:00:00Z", 90));
        assert_ne!(id("2026-11-22T10:00:00Z", 90), id("2026-11-22T10:00:00Z", 91));
    }

    #[test]
    fn evidence_is_short_and_harmless() {
        assert_eq!(evidence(b"a\x1b[31mb\0"), "a\\u{1b}[31mb\\u{0}");
        assert_eq!(evidence("x\u{202e}y".as_bytes()), "x\\u{202e}y");
        assert_eq!(evidence(b"\xff\xe8"), "\\xff\\xe8");
        assert!(evidence("è".repeat(5000).as_bytes()).len() <= EVIDENCE_BYTES_MAX);
    }
}

//! The messages between agent, collector and desk. Fields are named, unknown fields and unknown messages
//! are skipped, so old and new programs talk.

use serde::{Deserialize, Serialize};

use crate::bundle::Serial;
use crate::hit::Hit;
use crate::identity::{Epoch, LossId};
use crate::repository::RepositoryPath;
use crate::time::Timestamp;

/// One sequenced record of the agent's spool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A hit.
    Hit(Box<Hit>),
    /// Hits that the agent had to give up, and why: loss is never silent.
    Loss(Loss),
    /// A record that a newer agent writes; it is acknowledged and passed over.
    #[serde(other)]
    Unknown,
}

/// Hits or input that were lost, as far as the agent can say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// Which loss: it is counted once, however often it is told. Agents before did not give one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<LossId>,
    /// How many hits, lines or packets.
    pub count: u64,
    /// Of what, and why.
    pub reason: LossReason,
    /// When it began.
    pub first_at: Timestamp,
    /// When it ended.
    pub last_at: Timestamp,
    /// Of a log, where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap: Option<LogGap>,
}

/// Where lines of a log may be lost: everything written from an offset on, before the file was truncated or removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogGap {
    /// The log, as hits name it.
    pub input: String,
    /// How often the file had been truncated before.
    pub generation: u32,
    /// The first byte that was not read.
    pub from: u64,
    /// Up to here bytes were there for certain; null when nothing is known to be lost.
    pub to: Option<u64>,
}

/// Why something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LossReason {
    /// The spool was full.
    SpoolFull,
    /// Part of the spool was damaged.
    SpoolDamaged,
    /// A log was truncated before it was read.
    LogTruncated,
    /// The kernel dropped packets.
    PacketsDropped,
    /// The kernel dropped datagrams of syslog before they were read.
    SyslogDropped,
    /// A reason that a newer agent knows.
    #[serde(other)]
    Other,
}

/// How one source of an agent does, since the agent started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceStatus {
    /// Interface, log path, journal, sender of syslog or address where syslog is awaited.
    pub name: String,
    /// `capture`, `log`, `journal`, `syslog` or `listen`.
    pub kind: String,
    /// Packets or lines read; where syslog is awaited, datagrams or connections.
    pub read: u64,
    /// Packets that the kernel or the interface dropped, lines cut or skipped.
    pub dropped: u64,
    /// Hits found.
    pub hits: u64,
    /// Frames and connections that made no sense.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub malformed: u64,
    /// When something came last, for senders of syslog.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_at: Option<Timestamp>,
    /// What is wrong with it, empty when nothing is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What became of an offered bundle on an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum BundleOutcome {
    /// Fetched and verified.
    Fetched,
    /// In force.
    Applied {
        /// Indicators in force.
        indicators: u64,
    },
    /// Not in force, with the reason; the one before stays.
    Refused {
        /// Why, for the operator.
        reason: String,
    },
    /// A state that a newer agent knows.
    #[serde(other)]
    Unknown,
}

/// From agent to collector on the session's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", tag = "type", rename_all = "snake_case")]
pub enum AgentMessage {
    /// The first message of a connection.
    Hello {
        /// Newest protocol version the agent speaks.
        protocol: u32,
        /// The agent's program version.
        version: String,
        /// The spool's epoch.
        epoch: Epoch,
        /// Lowest sequence that the spool still holds, or the next to be written when it is empty.
        oldest: u64,
        /// The agent's clock.
        now: Timestamp,
        /// Serial of the bundle in force, 0 for none.
        #[serde(default)]
        bundle: Serial,
        /// Optional abilities, by name.
        #[serde(default)]
        capabilities: Vec<String>,
    },
    /// Records with consecutive sequences.
    Batch {
        /// Sequence of the first record; the spool counts from 1.
        first: u64,
        /// The records.
        records: Vec<Record>,
    },
    /// The agent's health, about once a minute.
    Status {
        /// The agent's clock.
        at: Timestamp,
        /// Serial of the bundle in force, 0 for none.
        bundle: Serial,
        /// Records in the spool that are not acknowledged.
        spooled: u64,
        /// Each source.
        sources: Vec<SourceStatus>,
        /// When the newest metadata of bundles that it verified expires: later it may be kept from newer bundles.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fresh_until: Option<Timestamp>,
    },
    /// What became of an offered bundle.
    Bundle {
        /// Its serial, 0 when the agent could not read it.
        serial: Serial,
        /// What became of it.
        #[serde(flatten)]
        outcome: BundleOutcome,
    },
    /// Asks for the next certificate, for a key that was made on the gateway. Only collectors with [`RENEW`] are
    /// asked.
    Renew {
        /// Certificate request (PKCS #10, PEM) signed by the new key.
        request_pem: String,
    },
    /// A message that a newer agent sends.
    #[serde(other)]
    Unknown,
}

/// The ability of a collector to answer [`AgentMessage::Renew`].
pub const RENEW: &str = "renew";

/// From collector to agent on the session's stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum CollectorMessage {
    /// The answer to `Hello`; only now is the agent's certificate known to be accepted.
    Welcome {
        /// The protocol version both speak.
        protocol: u32,
        /// The collector's clock.
        now: Timestamp,
        /// Highest sequence of the agent's epoch that is committed, 0 for none.
        stored: u64,
        /// Batches that may be unacknowledged at once.
        credit: u32,
        /// Optional abilities, by name.
        #[serde(default)]
        capabilities: Vec<String>,
    },
    /// Everything up to this sequence is committed.
    Ack {
        /// Sequence.
        up_to: u64,
    },
    /// A signed repository is there to be fetched.
    BundleAvailable {
        /// Newest bundle in it.
        serial: Serial,
    },
    /// The collector cannot take more; try again later.
    RetryAfter {
        /// Seconds to wait.
        seconds: u32,
        /// Why, for the agent's log.
        reason: String,
    },
    /// The certificate that was asked for; the one of this connection is good until the new one is used.
    Renewed {
        /// The new certificate, then its authority's (PEM).
        chain_pem: String,
    },
    /// There is no new certificate; the one of this connection stays as it is.
    RenewalRefused {
        /// Why, for the agent's log.
        reason: String,
    },
    /// A message that a newer collector sends.
    #[serde(other)]
    Unknown,
}

/// From agent to collector, first frame on a stream of its own: one file of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FetchRequest {
    /// Which file.
    pub path: RepositoryPath,
    /// Bytes to pass over, to resume.
    #[serde(default)]
    pub offset: u64,
}

/// The answer on that stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FetchReply {
    /// The file's bytes follow, raw, from the offset to the stream's end.
    Found {
        /// Bytes of the whole file.
        bytes: u64,
    },
    /// The repository has no such file.
    NotFound,
    /// An answer that a newer collector gives.
    #[serde(other)]
    Unknown,
}

/// From desk to collector on the one stream of a push.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum DeskMessage {
    /// The files of a repository; the collector answers with [`PushReply::Want`].
    Offer {
        /// Every file.
        files: Vec<OfferedFile>,
        /// Which towns have it first; without it all have it at once.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout: Option<Rollout>,
    },
    /// Bytes of a wanted file, in order; the collector knows its length from the offer.
    Chunk {
        /// At most 256 KiB.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// A message that a newer desk sends.
    #[serde(other)]
    Unknown,
}

/// The largest chunk of a push, in bytes.
pub const CHUNK_BYTES_MAX: usize = 256 << 10;

/// One file of an offered repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfferedFile {
    /// Its name.
    pub path: RepositoryPath,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A share of the towns has a bundle first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollout {
    /// Which share, in percent; at least one town.
    pub share_percent: u8,
    /// After so many minutes the others have it, too, unless something speaks against it.
    pub minutes: u32,
}

/// How far a bundle is that some towns have first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum RolloutState {
    /// These towns have it.
    Canary {
        /// Their names.
        towns: Vec<String>,
        /// When the others have it.
        until: Timestamp,
    },
    /// All towns have it.
    Released,
    /// Nobody else will have it.
    Stopped {
        /// Why.
        reason: String,
    },
    /// A state that a newer collector knows.
    #[serde(other)]
    Unknown,
}

/// From collector to desk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum PushReply {
    /// Send these, one after the other, in this order.
    Want {
        /// The files that the collector does not have with that length, and all metadata.
        paths: Vec<RepositoryPath>,
    },
    /// Verified, in force and announced; [`PushReply::Progress`] follows while the stream is open.
    Accepted {
        /// Newest bundle.
        serial: Serial,
        /// Indicators in it.
        indicators: u64,
        /// Sensors that are connected.
        connected: u64,
    },
    /// Not taken; what was in force before stays.
    Refused {
        /// Why, and what to do.
        reason: String,
    },
    /// What became of it on one sensor.
    Progress {
        /// The town's name.
        comune: String,
        /// The sensor.
        agent: String,
        /// The bundle.
        serial: Serial,
        /// What became of it.
        #[serde(flatten)]
        outcome: BundleOutcome,
    },
    /// How far a bundle is that some towns have first.
    Rollout {
        /// The bundle.
        serial: Serial,
        /// How far.
        #[serde(flatten)]
        state: RolloutState,
    },
    /// A message that a newer collector sends.
    #[serde(other)]
    Unknown,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{LENGTH_BYTES, decode, encode};

    /// Sends `json` as a newer or older peer would and reads it as this program does.
    fn received<M: serde::de::DeserializeOwned>(json: &serde_json::Value) -> M {
        let frame = encode(json).unwrap();
        decode(&frame[LENGTH_BYTES..]).unwrap()
    }

    #[test]
    fn unknown_messages_and_fields_are_skipped() {
        let unknown = serde_json::json!({"type": "teleport", "to": {"x": [1, 2, 3]}});
        assert_eq!(received::<AgentMessage>(&unknown), AgentMessage::Unknown);
        assert_eq!(received::<CollectorMessage>(&unknown), CollectorMessage::Unknown);
        let ack = serde_json::json!({"type": "ack", "up_to": 7, "mood": "good"});
        assert_eq!(received::<CollectorMessage>(&ack), CollectorMessage::Ack { up_to: 7 });
    }

    #[test]
    fn older_greetings_have_no_optional_fields() {
        let hello = serde_json::json!({
            "type": "hello", "protocol": 1, "version": "0.0.1", "epoch": "00".repeat(16), "oldest": 1,
            "now": "2026-11-22T10:00:00Z",
        });
        let AgentMessage::Hello { bundle, capabilities, .. } = received(&hello) else {
            panic!("not a hello")
        };
        assert_eq!((bundle, capabilities.len()), (Serial(0), 0));
        let welcome = serde_json::json!({
            "type": "welcome", "protocol": 1, "now": "2026-11-22T10:00:00Z", "stored": 0, "credit": 4,
        });
        let CollectorMessage::Welcome { capabilities, .. } = received(&welcome) else {
            panic!("not a welcome")
        };
        assert!(capabilities.is_empty());
    }

    #[test]
    fn records_and_reasons_of_the_future_are_kept_apart() {
        let batch = serde_json::json!({"type": "batch", "first": 3, "records": [
            {"record": "loss", "count": 2, "reason": "gremlins", "first_at": "2026-11-22T10:00:00Z", "last_at": "2026-11-22T10:00:00Z"},
            {"record": "poem", "text": "..."},
        ]});
        let AgentMessage::Batch { first: 3, records } = received(&batch) else { panic!("not a batch") };
        assert!(matches!(&records[0], Record::Loss(Loss { reason: LossReason::Other, count: 2, .. })));
        assert_eq!(records[1], Record::Unknown);
    }

    /// The same map from its last name to its first, wherever it stands.
    fn turned(value: ciborium::Value) -> ciborium::Value {
        use ciborium::Value::{Array, Map};
        match value {
            Map(entries) => {
                Map(entries.into_iter().rev().map(|(name, value)| (name, turned(value))).collect())
            }
            Array(values) => Array(values.into_iter().map(turned).collect()),
            other => other,
        }
    }

    #[test]
    fn a_batch_is_read_alike_whether_its_tags_come_first_or_last() {
        let hit = serde_json::json!({
            "hit_id": "07".repeat(16), "at": "2026-11-22T10:00:00Z", "last_at": "2026-11-22T10:00:09Z",
            "input": "lan0", "kind": "domain", "value": "evil.example", "seen_in": "dns.query",
            "flow": {"proto": "udp", "src": "192.0.2.10", "src_port": 5, "dst": "198.51.100.53", "dst_port": 53},
            "indicator": "i", "also": ["j"], "direction": "outbound", "host": "192.0.2.10", "count": 3, "bundle": 7,
            "evidence": "é".repeat(500), "notes": ["origin_masked"], "named_origins": ["2001:db8::9"],
        });
        let mut line = hit.clone();
        let fields = line.as_object_mut().unwrap();
        fields.remove("flow");
        fields.extend([("line".to_owned(), 3.into()), ("offset".to_owned(), 77.into())]);
        let [hit, line] = [hit, line].map(|it| Record::Hit(Box::new(serde_json::from_value(it).unwrap())));
        let loss = Loss {
            id: None,
            count: 2,
            reason: LossReason::SpoolFull,
            first_at: at(1),
            last_at: at(2),
            gap: None,
        };
        let records = vec![hit, line, Record::Loss(loss), Record::Unknown];
        let batch = AgentMessage::Batch { first: 9, records };
        let frame = encode(&batch).unwrap();
        let lying: ciborium::Value = decode(&frame[LENGTH_BYTES..]).unwrap();
        assert_eq!(lying.as_map().unwrap()[0].0.as_text(), Some("type"), "the tag comes first");
        assert_eq!(decode::<AgentMessage>(&frame[LENGTH_BYTES..]).unwrap(), batch);
        let frame = encode(&turned(lying)).unwrap();
        assert_eq!(decode::<AgentMessage>(&frame[LENGTH_BYTES..]).unwrap(), batch);
    }

    #[test]
    fn half_a_batch_is_none() {
        for half in [
            serde_json::json!({"type": "batch", "first": 3}),
            serde_json::json!({"type": "batch", "records": []}),
            serde_json::json!({"type": "batch", "first": "three", "records": []}),
            serde_json::json!({"type": "batch", "first": 3, "records": [{"record": "hit", "count": 1}]}),
        ] {
            let whole = encode(&half).unwrap();
            assert!(decode::<AgentMessage>(&whole[LENGTH_BYTES..]).is_err(), "{half}");
            let ciborium::Value::Map(mut entries) = ciborium::Value::serialized(&half).unwrap() else {
                panic!("no map")
            };
            entries.rotate_right(1);
            let tag_first = encode(&ciborium::Value::Map(entries)).unwrap();
            assert!(decode::<AgentMessage>(&tag_first[LENGTH_BYTES..]).is_err(), "{half}");
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::default().plus_seconds(seconds)
    }

    #[test]
    fn flattened_outcomes_and_raw_bytes_survive() {
        let refused = AgentMessage::Bundle {
            serial: Serial(4),
            outcome: BundleOutcome::Refused { reason: "r".into() },
        };
        let frame = encode(&refused).unwrap();
        assert_eq!(decode::<AgentMessage>(&frame[LENGTH_BYTES..]).unwrap(), refused);
        let chunk = DeskMessage::Chunk { bytes: vec![0, 255, 7] };
        let frame = encode(&chunk).unwrap();
        assert_eq!(decode::<DeskMessage>(&frame[LENGTH_BYTES..]).unwrap(), chunk);
    }
}

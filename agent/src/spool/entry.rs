//! What lies in a record of the spool: a hit or loss as the collector gets it, with a last byte that says what it
//! is worth when there is no room for all; or a stretch of sequences whose hits were given up.
//!
//! The byte stands behind the CBOR item, where a decoder does not look, and is none that a text or map ends with.

use protocol::Severity;
use protocol::frame::{self, FrameError, LENGTH_BYTES};
use protocol::message::Record;

/// Ends a hit's payload, plus the severity's place in [`Severity::ALL`]. CBOR gives these bytes no meaning.
const LABEL: u8 = 0xdc;
/// Ends the payload of what is never given up.
const LABEL_KEPT: u8 = 0xdb;
/// Begins the payload of sequences that were given up: a CBOR item which readers that do not know it pass over as
/// a record of a newer agent. Their number follows.
const GIVEN_UP: &[u8] = b"\xa1\x66record\x68given_up";

/// A payload, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record; one of a newer agent, before this one was put back, is passed on as such.
    Record(Record),
    /// So many sequences without a hit: a loss before them tells of it.
    GivenUp(u64),
}

/// A record's payload.
///
/// # Errors
/// When it cannot be encoded.
pub fn encode(record: &Record, severity: Severity) -> Result<Vec<u8>, FrameError> {
    let mut payload = frame::encode(record)?;
    payload.drain(..LENGTH_BYTES.min(payload.len()));
    payload.push(if matches!(record, Record::Hit(_)) { LABEL + severity.place() } else { LABEL_KEPT });
    Ok(payload)
}

/// The payload of sequences that were given up.
pub fn encode_given_up(count: u64) -> Vec<u8> {
    let mut payload = GIVEN_UP.to_vec();
    payload.extend_from_slice(&count.to_be_bytes());
    payload.push(LABEL_KEPT);
    payload
}

/// What a hit is worth; `None` for what is never given up. A hit without a label, as agents before wrote them, is
/// worth as much as one whose indicator does not say.
pub fn severity(payload: &[u8]) -> Option<Severity> {
    let label = *payload.last()?;
    let known = Severity::ALL.iter().zip(LABEL..).find(|(_, known)| *known == label);
    match known {
        Some((severity, _)) => Some(*severity),
        None => (label != LABEL_KEPT).then(Severity::default),
    }
}

/// How many sequences a payload stands for, from its own on.
pub fn span(payload: &[u8]) -> u64 {
    given_up(payload).unwrap_or(1)
}

fn given_up(payload: &[u8]) -> Option<u64> {
    let (count, label) = payload.strip_prefix(GIVEN_UP)?.split_first_chunk::<8>()?;
    (label == [LABEL_KEPT]).then(|| u64::from_be_bytes(*count).max(1))
}

/// Reads a payload.
pub fn decode(payload: &[u8]) -> Entry {
    match given_up(payload) {
        Some(count) => Entry::GivenUp(count),
        None => Entry::Record(frame::decode(payload).unwrap_or(Record::Unknown)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::Timestamp;
    use protocol::message::{Loss, LossReason};

    fn loss(to: u64) -> Record {
        let at = Timestamp::from_micros(0);
        let gap = protocol::message::LogGap { input: "a".into(), generation: 1, from: 0, to: Some(to) };
        Record::Loss(Loss {
            id: None,
            count: 1,
            reason: LossReason::LogTruncated,
            first_at: at,
            last_at: at,
            gap: Some(gap),
        })
    }

    #[test]
    fn given_up_sequences_are_a_record_of_a_newer_agent_to_who_does_not_know_them() {
        let payload = encode_given_up(7);
        assert_eq!(frame::decode::<Record>(&payload).unwrap(), Record::Unknown);
        assert_eq!((decode(&payload), span(&payload), severity(&payload)), (Entry::GivenUp(7), 7, None));
    }

    #[test]
    fn a_loss_is_kept_whatever_it_ends_with() {
        for to in 0..512 {
            let payload = encode(&loss(to), Severity::Low).unwrap();
            assert_eq!(
                (decode(&payload), span(&payload), severity(&payload)),
                (Entry::Record(loss(to)), 1, None)
            );
        }
    }
}

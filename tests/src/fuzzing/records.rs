//! Targets of what agent, collector and desk send each other: bundles, deltas, and messages as they go on a stream.

use protocol::bundle::{BUNDLE_FORMAT, BundleHeader, BundleLimits, Line};
use protocol::delta::{Change, DeltaReader};
use protocol::enrolment::{EnrolReply, EnrolRequest};
use protocol::frame::{self, FrameDecoder};
use protocol::message::{
    AgentMessage, CollectorMessage, DeskMessage, FetchReply, FetchRequest, PushReply, Record,
};
use protocol::{BundleReader, BundleWriter, Serial, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::input::Input;

const LIMITS: BundleLimits = BundleLimits { bytes_max: 1 << 20, line_bytes_max: 4096, indicators_max: 2000 };

/// A bundle as it is, or its lines, which are compressed first.
pub fn bundles(bytes: &[u8]) {
    let compressed = compressed(bytes);
    let Ok(mut reader) = BundleReader::new(&compressed[..], LIMITS) else { return };
    let header = reader.header().clone();
    let Ok(lines) = reader.by_ref().collect::<Result<Vec<Line>, _>>() else { return };
    assert_eq!(reader.lines_read(), header.indicators);
    assert_eq!(lines.len() as u64 + reader.unknown(), header.indicators);
    assert!(header.set.is_none_or(|set| set == reader.set()) && header.indicators <= LIMITS.indicators_max);
    let (mut indicators, mut revocations) = (Vec::new(), Vec::new());
    for line in lines.clone() {
        match line {
            Line::Indicator(indicator) => indicators.push(indicator),
            Line::Revocation(revocation) => revocations.push(revocation),
        }
    }
    let mut written = Vec::new();
    let rewritten = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial: Serial(header.serial.0),
        created: Timestamp::from_seconds(1_700_000_000, 0),
        ..header
    };
    let as_written = BundleWriter::write_lines(&mut written, indicators, revocations, rewritten);
    let Ok(as_written) = as_written else { return };
    let Ok(mut again) = BundleReader::new(&written[..], BundleLimits::default()) else {
        panic!("its own bundle is refused: {as_written:?}");
    };
    assert_eq!(again.header(), &as_written);
    let read: Result<Vec<Line>, _> = again.by_ref().collect();
    let read = read.unwrap_or_default();
    assert!(read.len() <= lines.len() && read.iter().all(|one| lines.contains(one)));
    assert_eq!((read.len() as u64, Some(again.set())), (as_written.indicators, as_written.set));
}

/// A delta as it is, or its lines, which are compressed first. What comes to the set that it names is accepted.
pub fn deltas(bytes: &[u8]) {
    let compressed = compressed(bytes);
    let Ok(mut reader) = DeltaReader::new(&compressed[..], LIMITS) else { return };
    let (header, mut set) = (reader.header().clone(), reader.header().base_set);
    let Ok(changes) = reader.by_ref().collect::<Result<Vec<Change>, _>>() else { return };
    for change in &changes {
        match change.added {
            true => set.add(&change.raw),
            false => set.remove(&change.raw),
        }
        assert_eq!(Line::read(&change.raw).ok(), Some(change.line.clone()));
    }
    assert_eq!((changes.len() as u64, set, reader.set()), (header.changes, header.set, set));
}

fn compressed(bytes: &[u8]) -> Vec<u8> {
    let mut input = Input(bytes);
    match input.byte() % 2 {
        0 => input.0.to_vec(),
        _ => zstd::encode_all(input.0, 1).unwrap_or_default(),
    }
}

/// Messages in frames, however they arrive, and each message on its own.
pub fn messages(bytes: &[u8]) {
    let mut input = Input(bytes);
    let piece = usize::from(input.byte()).max(1);
    let stream = input.0;
    let whole = polled::<AgentMessage>(&[stream]);
    let pieces: Vec<&[u8]> = stream.chunks(piece).collect();
    assert_eq!(whole, polled::<AgentMessage>(&pieces), "the same messages however they are cut");
    let Some(message) = stream.get(frame::LENGTH_BYTES..) else { return };
    own_form::<AgentMessage>(message);
    own_form::<CollectorMessage>(message);
    own_form::<DeskMessage>(message);
    own_form::<PushReply>(message);
    own_form::<FetchRequest>(message);
    own_form::<FetchReply>(message);
    own_form::<EnrolRequest>(message);
    own_form::<EnrolReply>(message);
    own_form::<Record>(message);
}

/// The messages of a stream until its end or its first error.
fn polled<M: DeserializeOwned>(pieces: &[&[u8]]) -> Vec<M> {
    let (mut decoder, mut messages) = (FrameDecoder::default(), Vec::new());
    for piece in pieces {
        decoder.handle_bytes(piece);
        loop {
            match decoder.poll_message() {
                Ok(Some(message)) => messages.push(message),
                Ok(None) => break,
                Err(_) => return messages,
            }
        }
    }
    messages
}

/// What is read is written as something that is read as the same.
fn own_form<M: Serialize + DeserializeOwned>(message: &[u8]) {
    let Ok(value) = frame::decode::<M>(message) else { return };
    let Ok(written) = frame::encode(&value) else { return };
    let again = written.get(frame::LENGTH_BYTES..).and_then(|message| frame::decode::<M>(message).ok());
    let again = again.and_then(|again| frame::encode(&again).ok());
    assert_eq!(again.as_ref(), Some(&written), "{}", std::any::type_name::<M>());
}

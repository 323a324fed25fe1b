//! The bytes of every version that was ever spoken: what an older peer sends is understood, and what this program sends
//! does not change unnoticed.
//!
//! A folder of `tests/wire` holds a version: `messages.jsonl`, what was said, and `frames.hex`, the bytes that the
//! programs of that version made of it. A folder is never changed. When a test says that today's bytes differ from the
//! newest folder's, copy its `messages.jsonl` into a new one, add what is new, and let this test write the bytes:
//! `VEDETTA_WRITE_WIRE=NAME cargo test -p vedetta-protocol --test wire_versions`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "tests may"
)]

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use vedetta_protocol::enrolment::{EnrolReply, EnrolRequest};
use vedetta_protocol::frame::{LENGTH_BYTES, decode, encode};
use vedetta_protocol::message::{
    AgentMessage, CollectorMessage, DeskMessage, FetchReply, FetchRequest, PushReply,
};

/// The folder of what this program speaks.
const NEWEST: &str = "4-losses";

fn folder(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire").join(version)
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// The frame that this program makes of a message, and the message that it reads from a frame, both as text.
struct Spoken {
    frame: Vec<u8>,
    said: String,
    heard: String,
}

fn spoken<M: Serialize + DeserializeOwned + Debug>(message: &Value, frame: Option<&[u8]>) -> Spoken {
    let said: M = serde_json::from_value(message.clone()).unwrap();
    let made = encode(&said).unwrap();
    let heard: M = decode(&frame.unwrap_or(&made)[LENGTH_BYTES..]).unwrap();
    Spoken { said: format!("{said:?}"), heard: format!("{heard:?}"), frame: made }
}

fn speak(line: &str, frame: Option<&[u8]>) -> Spoken {
    let line: Value = serde_json::from_str(line).unwrap();
    let message = &line["message"];
    match line["of"].as_str().unwrap() {
        "agent" => spoken::<AgentMessage>(message, frame),
        "collector" => spoken::<CollectorMessage>(message, frame),
        "fetch" => spoken::<FetchRequest>(message, frame),
        "fetched" => spoken::<FetchReply>(message, frame),
        "enrol" => spoken::<EnrolRequest>(message, frame),
        "enrolled" => spoken::<EnrolReply>(message, frame),
        "desk" => spoken::<DeskMessage>(message, frame),
        "pushed" => spoken::<PushReply>(message, frame),
        other => panic!("{other} says nothing"),
    }
}

#[test]
fn what_every_earlier_version_said_is_understood() {
    let mut versions = 0;
    for entry in fs::read_dir(folder("")).unwrap() {
        let version = entry.unwrap().path();
        let (messages, frames) = (lines(&version.join("messages.jsonl")), lines(&version.join("frames.hex")));
        assert_eq!(messages.len(), frames.len(), "{}", version.display());
        for (message, frame) in messages.iter().zip(&frames) {
            let spoken = speak(message, Some(&bytes(frame)));
            assert_eq!(spoken.said, spoken.heard, "{}", version.display());
            let nothing_known = spoken.heard == "Unknown" || spoken.heard.contains("[Unknown");
            assert!(!nothing_known, "{}: {message}", version.display());
        }
        versions += 1;
    }
    assert_eq!(versions, 4);
}

#[test]
fn what_this_program_says_has_not_changed() {
    let said: Vec<String> = lines(&folder(NEWEST).join("messages.jsonl"))
        .iter()
        .map(|message| hex(&speak(message, None).frame))
        .collect();
    assert_eq!(said, lines(&folder(NEWEST).join("frames.hex")));
}

/// The names of the kinds of messages that a version's lines hold.
#[test]
fn the_newest_version_has_every_message() {
    let mut types: Vec<String> = lines(&folder(NEWEST).join("messages.jsonl"))
        .iter()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            format!("{} {}", line["of"].as_str().unwrap(), line["message"]["type"].as_str().unwrap_or("-"))
        })
        .collect();
    types.sort();
    types.dedup();
    let expected = [
        "agent batch",
        "agent bundle",
        "agent hello",
        "agent renew",
        "agent status",
        "collector ack",
        "collector bundle_available",
        "collector renewal_refused",
        "collector renewed",
        "collector retry_after",
        "collector welcome",
        "desk chunk",
        "desk offer",
        "enrol -",
        "enrolled enrolled",
        "enrolled refused",
        "fetch -",
        "fetched found",
        "fetched not_found",
        "pushed accepted",
        "pushed progress",
        "pushed refused",
        "pushed rollout",
        "pushed want",
    ];
    assert_eq!(types, expected);
}

#[test]
fn write_a_new_version() {
    let Ok(version) = std::env::var("VEDETTA_WRITE_WIRE") else { return };
    let frames: Vec<String> = lines(&folder(&version).join("messages.jsonl"))
        .iter()
        .map(|message| hex(&speak(message, None).frame))
        .collect();
    fs::write(folder(&version).join("frames.hex"), frames.join("\n") + "\n").unwrap();
}

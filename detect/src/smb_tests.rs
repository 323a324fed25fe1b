//! Tests of [`SideReader`] with messages made here.

use crate::made::{conversation, strings};
use crate::reader::Towards;

fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&u32::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

fn version_2(command: u8, answer: bool, body: &[u8]) -> Vec<u8> {
    let mut head = vec![0; 64];
    head[..4].copy_from_slice(b"\xfeSMB");
    head[12] = command;
    head[16] = u8::from(answer);
    [head, body.to_vec()].concat()
}

fn tree_connect(path: &str) -> Vec<u8> {
    let path = utf16(path);
    let length = u8::try_from(path.len()).unwrap();
    version_2(3, false, &[&[9, 0, 0, 0, 72, 0, length, 0][..], &path].concat())
}

/// An NTLM message whose fields, at these places of its head, hold these bytes.
fn ntlm(kind: u8, flags: (usize, u32), fields: &[(usize, Vec<u8>)]) -> Vec<u8> {
    let mut message = vec![0; 72];
    message[..8].copy_from_slice(b"NTLMSSP\0");
    message[8] = kind;
    message[flags.0..flags.0 + 4].copy_from_slice(&flags.1.to_le_bytes());
    for (at, value) in fields {
        let length = u16::try_from(value.len()).unwrap().to_le_bytes();
        let offset = u32::try_from(message.len()).unwrap().to_le_bytes();
        message[*at..at + 2].copy_from_slice(&length);
        message[at + 4..at + 8].copy_from_slice(&offset);
        message.extend(value);
    }
    message
}

fn pairs(values: &[(u8, &str)]) -> Vec<u8> {
    let mut pairs = Vec::new();
    for (kind, value) in values {
        let value = utf16(value);
        pairs.extend([*kind, 0]);
        pairs.extend(u16::try_from(value.len()).unwrap().to_le_bytes());
        pairs.extend(value);
    }
    pairs.extend([0; 4]);
    pairs
}

fn check(messages: &[Vec<u8>], expected: &[&str]) {
    let stream = messages.concat();
    for step in [1, 7, 1000] {
        let (seen, _) = conversation(&[(Towards::Server, &stream)], step);
        assert_eq!(seen, strings(expected), "in steps of {step}");
    }
}

#[test]
fn hosts_of_shares_are_read() {
    let other = framed(&version_2(8, false, &[7; 500]));
    check(
        &[
            other.clone(),
            framed(&tree_connect("\\\\files.evil.example\\IPC$")),
            other,
            framed(&tree_connect("\\\\192.0.2.9\\c")),
        ],
        &["smb.name files.evil.example", "smb.name 192.0.2.9"],
    );
    check(&[framed(&tree_connect("\\\\FLAT\\c"))], &[]);
}

#[test]
fn bundled_messages_are_read() {
    let mut first = version_2(13, false, &[0; 8]);
    first[20] = 72;
    check(&[framed(&[first, tree_connect("\\\\a.evil.example\\x")].concat())], &["smb.name a.evil.example"]);
}

#[test]
fn hosts_of_version_1_are_read() {
    let mut message = vec![0; 32];
    message[..5].copy_from_slice(b"\xffSMB\x75");
    message[11] = 0x80;
    message.extend([4, 0xff, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    message.extend(utf16("\\\\a.evil.example\\x\0"));
    check(&[framed(&message)], &["smb.name a.evil.example"]);
}

#[test]
fn ntlm_says_names_of_hosts_and_never_of_users() {
    let hello = ntlm(1, (12, 0x3000), &[(16, b"evil.example".to_vec()), (24, b"FLAT".to_vec())]);
    check(&[framed(&version_2(1, false, &hello))], &["smb.name evil.example"]);
    let info = pairs(&[(2, "FLAT"), (3, "dc.evil.example"), (4, "evil.example")]);
    let challenge = ntlm(2, (20, 1), &[(12, utf16("FLAT")), (40, info)]);
    check(&[framed(&version_2(1, true, &challenge))], &["smb.name dc.evil.example", "smb.name evil.example"]);
    let fields =
        [(28, utf16("evil.example")), (36, utf16("user.no.example")), (44, utf16("pc.evil.example"))];
    let proof = ntlm(3, (60, 1), &fields);
    check(&[framed(&version_2(1, false, &proof))], &["smb.name evil.example", "smb.name pc.evil.example"]);
}

#[test]
fn a_session_over_netbios_is_read() {
    let request = [&[0x81, 0, 0, 0x44, 0x20][..], &[b'C'; 67]].concat();
    let response = vec![0x82, 0, 0, 0];
    for first in [request, response] {
        check(&[first, framed(&tree_connect("\\\\a.evil.example\\x"))], &["smb.name a.evil.example"]);
    }
}

#[test]
fn broken_and_endless_messages_end_somewhere() {
    let mut cut = framed(&tree_connect("\\\\a.evil.example\\x"));
    cut[4 + 70] = 0xff;
    check(&[cut], &[]);
    let mut huge = framed(&version_2(1, false, &[]));
    huge[1] = 0xff;
    let (seen, counters) = conversation(&[(Towards::Server, &huge)], 1000);
    assert_eq!((seen.len(), counters.names_malformed), (0, 1));
    let mut loops = version_2(13, false, &[0; 8]);
    loops[20] = 1;
    check(&[framed(&loops)], &[]);
}

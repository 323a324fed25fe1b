//! Which of the plain-text and login protocols the first bytes of a stream open.

use crate::ftp;
use crate::lines::begins_with;
use crate::mail::{imap, pop3, smtp};
use crate::rdp;
use crate::reader::{Reader, Speaks};
use crate::replies::{Heard, Replies};
use crate::smb;
use crate::ssh;

/// What bytes say that may begin one of these protocols. Told by the first byte what they cannot be, at no cost.
pub(crate) fn speaks(bytes: &[u8], heard: &Heard) -> Speaks {
    let Some(first) = bytes.first() else { return Speaks::NeedMore };
    match first {
        0 | 0x81 | 0x82 => told(smb::begins(bytes), || Reader::Smb(smb::SideReader::default())),
        3 => told(rdp::begins(bytes), || Reader::Rdp(rdp::SideReader::default())),
        // Telnet negotiates options first (RFC 854); nothing of it is looked for.
        0xff => {
            told(begins_with(bytes, &[0xff]).and(bytes.get(1).map(|code| *code >= 0xfb)), || Reader::Done)
        }
        b'2' => {
            let begins = match bytes.get(3) {
                Some(next) => Some(bytes.starts_with(b"220") && matches!(next, b' ' | b'-')),
                None => begins_with(bytes, b"220 "),
            };
            told(begins, || Reader::Replies(Replies::default()))
        }
        b'+' => told(pop3::begins(bytes), || Reader::Pop3(Box::default())),
        b'*' => told(imap::begins(bytes), || Reader::Imap(Box::default())),
        byte if byte.is_ascii_alphabetic() => begins_text(bytes, heard),
        _ => Speaks::Other,
    }
}

fn begins_text(bytes: &[u8], heard: &Heard) -> Speaks {
    for speaks in [
        told(begins_with(bytes, b"SSH-"), || Reader::Ssh(ssh::SideReader::default())),
        told(smtp::begins(bytes), || Reader::Smtp(Box::default())),
        told(ftp::begins(bytes, heard), || Reader::Ftp(Box::default())),
    ] {
        if !matches!(speaks, Speaks::Other) {
            return speaks;
        }
    }
    Speaks::Other
}

fn told(begins: Option<bool>, reader: impl FnOnce() -> Reader) -> Speaks {
    match begins {
        Some(true) => Speaks::Known(reader()),
        Some(false) => Speaks::Other,
        None => Speaks::NeedMore,
    }
}

#[cfg(test)]
#[path = "opening_tests.rs"]
mod tests;

//! What an FTP client asks for and brings (RFC 959): each file as a URL of the server, the working directory followed.
//! Names and passwords of users are passed over unread.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use protocol::SeenIn;

use crate::allowance::Allowance;
use crate::lines::{Lines, after_verb};
use crate::mail::smtp::TLS_HANDSHAKE;
use crate::reader::{Part, Step, Towards};
use crate::replies::{Greeting, Heard};
use crate::sighting::{Seen, Sighting, Sink};

/// Longest path that is followed; of a longer one nothing is said.
const PATH_BYTES_MAX: usize = 512;
/// Lines in a row that are no FTP command, after which nothing more is expected.
const UNKNOWN_MAX: u16 = 64;
/// FTP's port (RFC 959 §5.2), which URLs leave out.
const PORT: u16 = 21;

/// Commands that name a file whose contents pass, or the name it gets in the end.
const WITH_FILE: [&[u8]; 4] = [b"RETR", b"STOR", b"APPE", b"RNTO"];
/// Commands that no other protocol has, such as POP3 and IRC.
const ONLY_FTP: [&[u8]; 12] = [
    b"PASV", b"EPSV", b"PORT", b"EPRT", b"TYPE", b"CWD", b"CDUP", b"PWD", b"SYST", b"FEAT", b"MDTM", b"NLST",
];
const OTHERS: [&[u8]; 12] = [
    b"USER", b"PASS", b"AUTH", b"PBSZ", b"PROT", b"SIZE", b"OPTS", b"LIST", b"MLSD", b"NOOP", b"REST",
    b"RNFR",
];

/// Reads what a client says.
#[derive(Default)]
pub(crate) struct Client {
    lines: Lines,
    /// Below the directory that the server put the user in, as the path of a URL is (RFC 1738 §3.2.2).
    directory: String,
    /// Where the client wants to go, until the server agreed.
    entering: Option<String>,
    is_sure: bool,
    unknown: u16,
    allowance: Allowance,
}

/// Whether a line begins what a client says; `None` when it is too short to tell.
pub(crate) fn begins(bytes: &[u8], heard: &Heard) -> Option<bool> {
    let letters = bytes.iter().take(5).take_while(|byte| byte.is_ascii_alphabetic()).count();
    let verb = bytes.get(..letters).unwrap_or_default();
    let is_user = heard.greeting.is_none_or(|greeting| greeting == Greeting::Code);
    let known = || ONLY_FTP.iter().copied().chain(is_user.then_some(&b"USER"[..]));
    match bytes.get(letters) {
        None if letters < 5 => {
            let begun =
                known().any(|known| known.get(..letters).is_some_and(|s| s.eq_ignore_ascii_case(verb)));
            if begun { None } else { Some(false) }
        }
        Some(b' ' | b'\r' | b'\n') => Some(known().any(|known| known.eq_ignore_ascii_case(verb))),
        _ => Some(false),
    }
}

impl Client {
    /// Bytes kept.
    pub fn held(&self) -> usize {
        size_of::<Self>() + self.directory.capacity() + self.entering.as_ref().map_or(0, String::capacity)
    }

    /// Reads what comes next.
    pub fn read(&mut self, part: Part<'_>, sink: &mut Sink<'_>) -> Step {
        if self.lines.at_start() && part.bytes.first() == Some(&TLS_HANDSHAKE) {
            return Step::Other(0);
        }
        let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
        self.allowance.earn(piece.used);
        if piece.begins && piece.ends {
            self.command(piece.text, (part.towards, &mut part.talk.heard), sink);
        } else {
            self.unknown += 1;
        }
        if self.unknown > UNKNOWN_MAX { Step::Done } else { Step::Consumed(piece.used) }
    }

    /// Bytes are missing: where the client is may have changed.
    pub fn gap(&mut self) {
        self.lines = Lines::default();
        self.entering = None;
    }

    fn command(&mut self, line: &[u8], (towards, heard): (Towards, &mut Heard), sink: &mut Sink<'_>) {
        if let Some(entered) = self.entering.take().filter(|_| heard.code < 400) {
            self.directory = entered;
        }
        let is = |verbs: &[&[u8]]| verbs.iter().find_map(|verb| after_verb(line, verb));
        self.is_sure = self.is_sure || heard.greeting == Some(Greeting::Code) || is(&ONLY_FTP).is_some();
        if let Some(name) = is(&WITH_FILE) {
            if self.is_sure && !name.is_empty() {
                self.sight_file(name, (line, towards), sink);
            }
        } else if let Some(name) = is(&[b"CWD", b"XCWD"]) {
            (self.entering, heard.code) = (joined(&self.directory, name), 0);
        } else if is(&[b"CDUP", b"XCUP"]).is_some() {
            (self.entering, heard.code) = (joined(&self.directory, b".."), 0);
        } else if is(&ONLY_FTP).is_none() && is(&OTHERS).is_none() {
            self.unknown += 1;
            return;
        }
        self.unknown = 0;
    }

    fn sight_file(&mut self, name: &[u8], (line, towards): (&[u8], Towards), sink: &mut Sink<'_>) {
        let Some(flow) = sink.flow else { return };
        if !self.allowance.spend(self.directory.len() + name.len()) {
            sink.counters.ftp_files_refused += 1;
            return;
        }
        let (address, port) = match towards {
            Towards::Server => (flow.dst, flow.dst_port),
            Towards::Client => (flow.src, flow.src_port),
        };
        let host = match (address, port) {
            (IpAddr::V6(address), PORT) => format!("[{address}]"),
            (IpAddr::V4(address), PORT) => address.to_string(),
            _ => SocketAddr::new(address, port).to_string(),
        };
        let Some(path) = joined(&self.directory, name) else { return };
        let target = escaped(path);
        let url = Seen::UrlParts { scheme: "ftp", host: &host, target: &target };
        sink.sight(Sighting::new(url, SeenIn::FtpUrl, line));
    }
}

/// A path as it stands in a URL (RFC 3986 §3.3).
fn escaped(path: String) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b'?' | b'#' | b'"' | b'<' | b'>');
    if path.bytes().all(is_plain) {
        return path;
    }
    let mut target = String::with_capacity(path.len() + 16);
    for byte in path.bytes() {
        if is_plain(byte) {
            target.push(char::from(byte));
        } else {
            let _ = write!(target, "%{byte:02X}"); // a String takes all that is written
        }
    }
    target
}

/// A name seen from a directory that was made in this way, as a path from the root, without `.` and `..`. `None` when
/// it is too long. Only the name is taken apart: a flood of short names in a deep directory is cheap to send.
fn joined(directory: &str, name: &[u8]) -> Option<String> {
    if directory.len() + name.len() > PATH_BYTES_MAX {
        return None;
    }
    let name = String::from_utf8_lossy(name);
    let start = if name.starts_with('/') { "" } else { directory };
    let mut path = String::with_capacity(start.len() + name.len() + 1);
    path.push_str(start);
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => path.truncate(path.rfind('/').unwrap_or_default()),
            part => {
                path.push('/');
                path.push_str(part);
            }
        }
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{conversation, strings};

    fn check(parts: &[(Towards, &str)], expected: &[&str]) {
        let parts: Vec<_> = parts.iter().map(|(towards, text)| (*towards, text.as_bytes())).collect();
        for step in [1, 5, 1000] {
            let (seen, _) = conversation(&parts, step);
            assert_eq!(seen, strings(expected), "in steps of {step}");
        }
    }

    use Towards::{Client as ToClient, Server as ToServer};

    #[test]
    fn files_are_urls_of_the_server() {
        check(
            &[
                (ToClient, "220 files\r\n"),
                (ToServer, "USER anonymous\r\nPASS x\r\nRETR a b.exe\r\n"),
                (ToServer, "CWD pub\r\n"),
                (ToClient, "250 ok\r\n"),
                (ToServer, "STOR ./x/../evil.exe\r\nCWD nowhere\r\n"),
                (ToClient, "550 no\r\n"),
                (ToServer, "appe log\r\nRETR /etc/passwd\r\nCDUP\r\nRNTO up\r\n"),
            ],
            &[
                "ftp.url ftp://198.51.100.1/a%20b.exe",
                "ftp.url ftp://198.51.100.1/pub/evil.exe",
                "ftp.url ftp://198.51.100.1/pub/log",
                "ftp.url ftp://198.51.100.1/etc/passwd",
                "ftp.url ftp://198.51.100.1/up",
            ],
        );
    }

    #[test]
    fn commands_of_pop3_and_irc_are_not_taken_for_it() {
        check(&[(ToClient, "+OK hello\r\n"), (ToServer, "USER a\r\nRETR 1\r\n")], &[]);
        check(&[(ToServer, "USER a\r\nPASS b\r\nRETR 1\r\n")], &[]);
        check(&[(ToServer, "USER a 0 * :b\r\nJOIN #c\r\nSTOR x\r\n")], &[]);
        check(&[(ToServer, "TYPE I\r\nRETR a\r\n")], &["ftp.url ftp://198.51.100.1/a"]);
    }

    #[test]
    fn paths_are_bounded() {
        let long = format!("TYPE I\r\n{}RETR a\r\n", "CWD 0123456789\r\n".repeat(1000));
        let (seen, _) = conversation(&[(ToServer, long.as_bytes())], 1000);
        assert!(seen.len() <= 1 && seen.iter().all(|url| url.len() < 2 * PATH_BYTES_MAX), "{seen:?}");
    }
}

//! RDP before TLS (MS-RDPBCGR): the cookie of the connection request and, where nothing is encrypted, the name of the
//! client's computer.

use protocol::SeenIn;

use crate::mail::smtp::TLS_HANDSHAKE;
use crate::reader::Step;
use crate::sighting::{Seen, Sighting, Sink};
use crate::smb::from_utf16;

/// Longest message that is read.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// X.224 (ISO 8073 §13): connection request and confirm, and data.
const REQUEST: u8 = 0xe0;
const CONFIRM: u8 = 0xd0;
const DATA: u8 = 0xf0;

/// Reads one direction.
#[derive(Default)]
pub(crate) struct SideReader {}

/// Whether bytes begin a connection: TPKT (RFC 1006 §6) with an X.224 request or confirm that fills it. `None` when
/// they are too few to tell.
pub(crate) fn begins(bytes: &[u8]) -> Option<bool> {
    match bytes {
        [3, 0, high, low, length, kind, ..] => {
            let size = usize::from(u16::from_be_bytes([*high, *low]));
            Some(matches!(*kind, REQUEST | CONFIRM) && size == usize::from(*length) + 5)
        }
        [3] | [3, 0] | [3, 0, ..] => None,
        _ => Some(false),
    }
}

impl SideReader {
    pub fn read(&mut self, bytes: &[u8], sink: &mut Sink<'_>) -> Step {
        let [first, ..] = bytes else { return Step::Consumed(0) };
        match *first {
            TLS_HANDSHAKE => return Step::Other(0),
            3 => {}
            _ => return Step::Done,
        }
        let [_, _, high, low, _, kind, ..] = bytes else { return Step::Consumed(0) };
        let size = usize::from(u16::from_be_bytes([*high, *low]));
        if !(7..=MESSAGE_BYTES_MAX).contains(&size) {
            sink.counters.names_malformed += 1;
            return Step::Done;
        }
        let Some(message) = bytes.get(..size) else { return Step::Consumed(0) };
        match *kind {
            REQUEST => sight_cookie(message, sink),
            CONFIRM => {}
            DATA => {
                sight_client(message, sink);
                return Step::Done;
            }
            _ => return Step::Done,
        }
        Step::Consumed(size)
    }
}

/// MS-RDPBCGR §2.2.1.1: tools that attack are known by theirs.
fn sight_cookie(message: &[u8], sink: &mut Sink<'_>) {
    let Some(start) = memchr::memmem::find(message, b"Cookie: mstshash=") else { return };
    let line = message.get(start..).unwrap_or_default();
    let line = line.get(..memchr::memchr(b'\r', line).unwrap_or(line.len())).unwrap_or_default();
    if let Some(cookie) = line.strip_prefix(b"Cookie: ").and_then(|text| std::str::from_utf8(text).ok()) {
        sink.sight(Sighting::new(Seen::UserAgent(cookie), SeenIn::RdpName, line));
    }
}

/// The client's core data (MS-RDPBCGR §2.2.1.3.2) in the conference request, after its key (T.124 §8.7).
fn sight_client(message: &[u8], sink: &mut Sink<'_>) -> Option<()> {
    let settings = message.get(memchr::memmem::find(message, b"Duca")?..)?;
    // The length that follows the key has one or two bytes.
    let at = memchr::memmem::find(settings.get(..8)?, &[0x01, 0xc0])?;
    let name = from_utf16(settings.get(at + 24..at + 24 + 32)?);
    let name = name.split('\0').next()?.trim();
    if name.is_empty() {
        return None;
    }
    let seen = if name.contains('.') { Seen::HostName(name) } else { Seen::UserAgent(name) };
    sink.sight(Sighting::new(seen, SeenIn::RdpName, name.as_bytes()));
    Some(())
}

#[cfg(test)]
mod tests {
    use crate::made::{conversation, strings};
    use crate::reader::Towards;

    fn request(cookie: &[u8]) -> Vec<u8> {
        let body = [&[0xe0, 0, 0, 0, 0, 0][..], cookie, &[1, 0, 8, 0, 3, 0, 0, 0]].concat();
        let length = u8::try_from(body.len()).unwrap();
        [&[3, 0, 0, length + 5, length][..], &body].concat()
    }

    fn conference(name: &str) -> Vec<u8> {
        let mut core = [&[0x01, 0xc0, 0xd8, 0][..], &[0; 20]].concat();
        let mut field: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
        field.resize(32, 0);
        core.extend(field);
        core.extend([0; 160]);
        let body = [&[2, 0xf0, 0x80, 0x7f, 0x65][..], &[0; 40], b"Duca\x80\xd8", &core].concat();
        let size = u16::try_from(body.len() + 4).unwrap().to_be_bytes();
        [&[3, 0][..], &size, &body].concat()
    }

    fn check(bytes: &[u8], expected: &[&str]) {
        for step in [1, 7, 1000] {
            let (seen, _) = conversation(&[(Towards::Server, bytes)], step);
            assert_eq!(seen, strings(expected), "in steps of {step}");
        }
    }

    #[test]
    fn cookie_and_client_name_are_read() {
        let clear = [request(b"Cookie: mstshash=hello\r\n"), conference("EVIL-PC")].concat();
        check(&clear, &["rdp.name mstshash=hello", "rdp.name EVIL-PC"]);
        check(&[request(b""), conference("pc.evil.example")].concat(), &["rdp.name pc.evil.example"]);
        check(&[request(b""), vec![3, 0, 0, 7, 2, 0xf0, 0x80]].concat(), &[]);
    }

    #[test]
    fn tls_after_the_request_is_read_as_tls() {
        let hello = crate::made::tls_records(&crate::made::client_hello("rdp.example"), 1000);
        let (seen, _) = conversation(&[(Towards::Server, &[request(b""), hello].concat())], 500);
        assert!(seen.contains(&"tls.sni rdp.example".to_owned()), "{seen:?}");
    }
}

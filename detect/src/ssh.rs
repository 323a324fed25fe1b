//! SSH before it is encrypted (RFC 4253): the version text of each side and HASSH, the MD5 of what it offers for the
//! key exchange.

use md5::{Digest as _, Md5};
use protocol::SeenIn;

use crate::lines::Lines;
use crate::reader::{Part, Step, Towards};
use crate::sighting::{Seen, Sighting, Sink};

/// RFC 4253 §6.1 asks receivers to take packets of 35,000 bytes; offers are far shorter.
const PACKET_BYTES_MAX: usize = 20 * 1024;
/// Packets before the offer: ignored and debug ones are allowed.
const PACKETS_MAX: u8 = 4;
const KEXINIT: u8 = 20;
/// Length, padding length, message number and cookie (RFC 4253 §6, §7.1).
const OFFER_AT: usize = 4 + 1 + 1 + 16;

/// Reads one direction.
#[derive(Default)]
pub(crate) struct SideReader {
    lines: Lines,
    has_version: bool,
    packets: u8,
}

impl SideReader {
    pub fn read(&mut self, part: &Part<'_>, sink: &mut Sink<'_>) -> Step {
        if self.has_version {
            return self.read_packet(part, sink);
        }
        let Some(piece) = self.lines.next(part.bytes) else { return Step::Consumed(0) };
        self.has_version = true;
        if let Ok(text) = std::str::from_utf8(piece.text) {
            sink.sight(Sighting::new(Seen::UserAgent(text), SeenIn::SshBanner, piece.text));
        }
        let version_2 = [&b"SSH-2."[..], b"SSH-1.99-"].iter().any(|start| piece.text.starts_with(start));
        if version_2 && piece.ends && sink.wants.md5 { Step::Consumed(piece.used) } else { Step::Done }
    }

    /// Bytes are missing: of an offer, the names may have come.
    pub fn read_partial(&self, part: &Part<'_>, sink: &mut Sink<'_>) {
        if self.has_version && part.bytes.get(5) == Some(&KEXINIT) {
            sight_offer(part.bytes, part.towards, sink);
        }
    }

    fn read_packet(&mut self, part: &Part<'_>, sink: &mut Sink<'_>) -> Step {
        let Some((length, _)) = part.bytes.split_first_chunk::<4>() else { return Step::Consumed(0) };
        let size = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).saturating_add(4);
        self.packets += 1;
        if size > PACKET_BYTES_MAX || self.packets > PACKETS_MAX {
            sink.counters.ssh_malformed += 1;
            return Step::Done;
        }
        let Some(packet) = part.bytes.get(..size) else {
            self.packets -= 1;
            return Step::Consumed(0);
        };
        if packet.get(5) != Some(&KEXINIT) {
            return Step::Consumed(size);
        }
        if sight_offer(packet, part.towards, sink).is_none() {
            sink.counters.ssh_malformed += 1;
        }
        Step::Done
    }
}

/// Sights the fingerprint of an offer: key exchange, encryption, authentication and compression of its own direction.
fn sight_offer(packet: &[u8], towards: Towards, sink: &mut Sink<'_>) -> Option<()> {
    if !sink.wants.md5 {
        return Some(());
    }
    let mut rest = packet.get(OFFER_AT..)?;
    let mut lists = [&[][..]; 8];
    for list in &mut lists {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        (*list, rest) = after.split_at_checked(length)?;
    }
    let [exchange, _, cipher_up, cipher_down, mac_up, mac_down, zip_up, zip_down] = lists;
    let own = match towards {
        Towards::Server => [exchange, cipher_up, mac_up, zip_up],
        Towards::Client => [exchange, cipher_down, mac_down, zip_down],
    };
    let text = own.join(&b";"[..]);
    let digest = Md5::digest(&text).into();
    sink.sight(Sighting::new(Seen::Md5(digest), SeenIn::SshHassh, &text));
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{conversation, strings};

    fn offer(lists: &[&str]) -> Vec<u8> {
        let mut body = vec![6, KEXINIT];
        body.extend([9; 16]);
        for list in lists {
            body.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            body.extend(list.as_bytes());
        }
        body.extend([0; 6 + 5]);
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat()
    }

    const LISTS: [&str; 10] = ["kex", "key", "cs", "sc", "mcs", "msc", "zcs", "zsc", "", ""];

    fn check(parts: &[(Towards, &[u8])], expected: &[&str]) {
        for step in [1, 7, 1000] {
            let (seen, _) = conversation(parts, step);
            assert_eq!(seen, strings(expected), "in steps of {step}");
        }
    }

    #[test]
    fn each_side_has_a_version_and_a_fingerprint() {
        let ignored = [0, 0, 0, 5, 3, 2, 0, 0, 0];
        let client = [&b"SSH-2.0-Evil_1.0\r\n"[..], &ignored, &offer(&LISTS), b"encrypted"].concat();
        let server = [&b"SSH-1.99-Good_2\n"[..], &offer(&LISTS)].concat();
        // MD5 of kex;cs;mcs;zcs and of kex;sc;msc;zsc.
        check(
            &[(Towards::Server, &client), (Towards::Client, &server)],
            &[
                "ssh.banner SSH-2.0-Evil_1.0",
                "ssh.hassh ac5e6e62be8122e6c7ea85c5c57d82eb",
                "ssh.banner SSH-1.99-Good_2",
                "ssh.hassh 83faaea5a2c194293853ba8aaf82dc37",
            ],
        );
    }

    #[test]
    fn broken_offers_and_old_versions_have_none() {
        check(&[(Towards::Server, b"SSH-1.5-Old\nxxxx")], &["ssh.banner SSH-1.5-Old"]);
        let (seen, counters) =
            conversation(&[(Towards::Server, b"SSH-2.0-x\r\n\xff\xff\xff\xff\x04\x14")], 3);
        assert_eq!((seen, counters.ssh_malformed), (strings(&["ssh.banner SSH-2.0-x"]), 1));
        let cut = offer(&LISTS[..3]);
        let (seen, counters) =
            conversation(&[(Towards::Server, &[b"SSH-2.0-x\r\n", &cut[..]].concat())], 1000);
        assert_eq!((seen, counters.ssh_malformed), (strings(&["ssh.banner SSH-2.0-x"]), 1));
    }
}

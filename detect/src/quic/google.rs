//! Google's QUIC before the IETF's: the server name in a client's CHLO, which most of its versions sent in clear.

use memchr::memmem;

/// Where a CHLO begins at the latest: after the packet's header, the hash of its contents and a frame's header.
const CHLO_WITHIN: usize = 64;
/// Entries of a message; clients send about 30.
const ENTRIES_MAX: u16 = 128;

/// The server name in a client's first datagram, of the versions that are not encrypted (Q024 to Q046).
pub(crate) fn server_name(datagram: &[u8]) -> Option<&[u8]> {
    let version = match datagram {
        // A public header that says that it has a connection identifier and a version.
        [flags, _, _, _, _, _, _, _, _, version @ ..] if flags & 0x89 == 0x09 => version.first_chunk::<4>(),
        [first, version @ ..] if first & 0xc0 == 0xc0 => version.first_chunk::<4>(),
        _ => None,
    };
    let [b'Q', b'0', b'2'..=b'4', b'0'..=b'9'] = version? else { return None };
    let head = datagram.get(..CHLO_WITHIN)?;
    chlo_server_name(datagram.get(memmem::find(head, b"CHLO")?..)?)
}

/// The server name in a CHLO: a table of tags, each with the end of its value, then the values.
pub(super) fn chlo_server_name(message: &[u8]) -> Option<&[u8]> {
    let (count, rest) = message.strip_prefix(b"CHLO")?.split_first_chunk::<2>()?;
    let count = u16::from_le_bytes(*count);
    if count > ENTRIES_MAX {
        return None;
    }
    let (entries, values) = rest.get(2..)?.split_at_checked(usize::from(count) * 8)?;
    let (entries, _) = entries.as_chunks::<8>();
    let mut start = 0;
    for [a, b, c, d, end @ ..] in entries {
        let end = usize::try_from(u32::from_le_bytes(*end)).ok()?;
        if [*a, *b, *c, *d] == *b"SNI\0" {
            return values.get(start..end).filter(|name| !name.is_empty());
        }
        start = end;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chlo(name: &[u8]) -> Vec<u8> {
        let mut message = b"CHLO\x03\0\0\0".to_vec();
        let (pad, end) = (100_u32, 100 + u32::try_from(name.len()).unwrap());
        for (tag, end) in [(b"PAD\0", pad), (b"SNI\0", end), (b"VER\0", end + 4)] {
            message.extend(tag);
            message.extend(end.to_le_bytes());
        }
        message.extend([b'-'; 100]);
        message.extend(name);
        message.extend(b"Q043");
        message
    }

    fn check(header: &[u8], expected: Option<&[u8]>) {
        let datagram = [header, &[7; 12], b"\xa0\x01\x04\0", &chlo(b"evil.example")].concat();
        assert_eq!(server_name(&datagram), expected);
    }

    #[test]
    fn public_and_long_headers_are_read() {
        check(b"\x0d\x93\x70\xe1\x5e\x7c\x44\x6d\x08Q035\x01", Some(b"evil.example"));
        check(b"\xc3Q046\x50\xea\xcf\xe6\xe7\x06\xdf\x27\x2d\0\0\0\x04", Some(b"evil.example"));
    }

    #[test]
    fn other_versions_and_headers_are_not() {
        check(b"\x0d\x93\x70\xe1\x5e\x7c\x44\x6d\x08Q0x5\x01", None);
        check(b"\x08\x93\x70\xe1\x5e\x7c\x44\x6d\x08Q035\x01", None);
        check(b"\xc3Q099\x50\xea\xcf\xe6\xe7\x06\xdf\x27\x2d\0\0\0\x04", None);
    }

    #[test]
    fn a_cut_message_gives_no_name() {
        let whole = chlo(b"evil.example");
        assert_eq!(chlo_server_name(&whole), Some(&b"evil.example"[..]));
        for cut in 0..whole.len() - 4 {
            assert_eq!(chlo_server_name(&whole[..cut]), None);
        }
    }
}

//! Fingerprints of the program behind a ClientHello: JA3, and JA4 as far as it is BSD-licensed (the TLS client's).

use std::fmt::Write as _;

use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest as _, Md5};

use super::hello::{Carrier, ClientHello, Cut, extension};

/// Digits of a hash in JA4.
const JA4_DIGITS: usize = 12;

/// Values that clients throw in so that servers stay tolerant (RFC 8701 §2).
fn is_grease(number: u16) -> bool {
    let [high, low] = number.to_be_bytes();
    high == low && low & 0x0f == 0x0a
}

/// The numbers in some bytes, without those of RFC 8701.
fn numbers(bytes: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = bytes.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_be_bytes(*pair)).filter(|number| !is_grease(*number))
}

/// The text whose MD5 is the JA3: version, cipher suites, extensions, groups and point formats in decimal, in the
/// order of the hello (the definition by Salesforce).
pub(super) fn ja3_text(hello: &ClientHello<'_>) -> String {
    let groups = hello.extension(extension::GROUPS).and_then(|contents| Cut(contents).vector16());
    let formats = hello.extension(extension::POINT_FORMATS).and_then(|contents| Cut(contents).vector8());
    let kinds = hello.extensions().map(|(kind, _)| kind).filter(|kind| !is_grease(*kind));
    let mut text = hello.version.to_string();
    push_decimal(&mut text, numbers(hello.ciphers));
    push_decimal(&mut text, kinds);
    push_decimal(&mut text, numbers(groups.unwrap_or_default()));
    push_decimal(&mut text, formats.unwrap_or_default().iter().map(|format| u16::from(*format)));
    text
}

fn push_decimal(text: &mut String, numbers: impl Iterator<Item = u16>) {
    let mut before = ',';
    for number in numbers {
        let _ = write!(text, "{before}{number}");
        before = '-';
    }
    if before == ',' {
        text.push(',');
    }
}

pub(super) fn md5(text: &str) -> [u8; 16] {
    Md5::digest(text).into()
}

/// The JA4 of a hello, and the same with lists in the place of their hashes.
pub(super) fn ja4(hello: &ClientHello<'_>, carrier: Carrier) -> (String, String) {
    let mut ciphers: Vec<u16> = numbers(hello.ciphers).collect();
    let mut kinds: Vec<u16> = hello.extensions().map(|(kind, _)| kind).collect();
    kinds.retain(|kind| !is_grease(*kind));
    let letter = match carrier {
        Carrier::Stream => 't',
        Carrier::Datagrams => 'd',
        Carrier::Quic => 'q',
    };
    let destination = if kinds.contains(&extension::SERVER_NAME) { 'd' } else { 'i' };
    let counts = [ciphers.len(), kinds.len()].map(|count| count.min(99));
    let mut head = format!("{letter}{}{destination}", version(hello));
    let _ = write!(head, "{:02}{:02}", counts[0], counts[1]);
    head.extend(alpn_ends(hello));

    ciphers.sort_unstable();
    kinds.retain(|kind| ![extension::SERVER_NAME, extension::ALPN].contains(kind));
    kinds.sort_unstable();
    let ciphers = hex_list(ciphers);
    let mut rest = hex_list(kinds);
    let algorithms = hello.extension(extension::SIGNATURE_ALGORITHMS);
    let algorithms = algorithms.and_then(|contents| Cut(contents).vector16()).unwrap_or_default();
    if !rest.is_empty() && numbers(algorithms).next().is_some() {
        rest = format!("{rest}_{}", hex_list(numbers(algorithms)));
    }
    (format!("{head}_{}_{}", hash(&ciphers), hash(&rest)), format!("{head}_{ciphers}_{rest}"))
}

/// The version with the highest number that the client offers; those of DTLS count down, but JA4 does not mind.
fn version(hello: &ClientHello<'_>) -> &'static str {
    let offered = hello.extension(extension::SUPPORTED_VERSIONS);
    let offered = offered.and_then(|contents| Cut(contents).vector8()).unwrap_or_default();
    let version = numbers(offered).max().unwrap_or(hello.version);
    match version {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0x0100 => "s1", // DTLS as it was before RFC 4347; some VPNs still speak it
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    }
}

/// The ends of the first protocol name offered; of its hexadecimal form when either is no letter or digit.
fn alpn_ends(hello: &ClientHello<'_>) -> [char; 2] {
    let names = hello.extension(extension::ALPN).and_then(|contents| Cut(contents).vector16());
    let name = names.and_then(|names| Cut(names).vector8()).unwrap_or_default();
    let [Some(first), Some(last)] = [name.first(), name.last()] else { return ['0', '0'] };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [first, last].map(|byte| char::from(byte.to_ascii_lowercase()));
    }
    [first >> 4, last & 0x0f].map(|digit| char::from_digit(digit.into(), 16).unwrap_or('0'))
}

fn hex_list(numbers: impl IntoIterator<Item = u16>) -> String {
    let mut list = String::new();
    for number in numbers {
        let comma = if list.is_empty() { "" } else { "," };
        let _ = write!(list, "{comma}{number:04x}");
    }
    list
}

/// The beginning of a SHA-256; zeros stand for an empty list.
fn hash(list: &str) -> String {
    if list.is_empty() {
        return "0".repeat(JA4_DIGITS);
    }
    let mut digits = String::with_capacity(JA4_DIGITS);
    for byte in digest(&SHA256, list.as_bytes()).as_ref().iter().take(JA4_DIGITS / 2) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::Hello;

    fn check(hello: &Hello, carrier: Carrier, ja3_expected: &str, ja4_expected: &str) {
        let message = hello.to_message();
        let hello = ClientHello::read(&message[4..], carrier).unwrap();
        assert!(hello.is_whole());
        assert_eq!(ja3_text(&hello), ja3_expected);
        let (ja4, raw) = ja4(&hello, carrier);
        assert_eq!(raw, ja4_expected);
        assert_eq!(ja4.len(), 36);
    }

    /// The hello that FoxIO's description of JA4 takes for its example.
    fn browser() -> Hello {
        Hello::default()
            .ciphers(&[
                0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
            ])
            .extension(0x3a3a, &[])
            .extension(0x001b, &[2, 0, 2])
            .server_name("www.example")
            .extension(0x0033, &[0, 0])
            .extension(0x0010, b"\0\x0c\x02h2\x08http/1.1")
            .extension(0x4469, &[0, 3, 2, b'h', b'2'])
            .extension(0x0017, &[])
            .extension(0x002d, &[1, 1])
            .extension(0x000d, b"\0\x10\x04\x03\x08\x04\x04\x01\x05\x03\x08\x05\x05\x01\x08\x06\x06\x01")
            .extension(0x0005, &[1, 0, 0, 0, 0])
            .extension(0x0023, &[])
            .extension(0x0012, &[])
            .extension(0x002b, &[6, 0x0a, 0x0a, 3, 4, 3, 3])
            .extension(0xff01, &[0])
            .extension(0x000b, &[1, 0])
            .extension(0x000a, &[0, 8, 0x1a, 0x1a, 0, 0x1d, 0, 0x17, 0, 0x18])
            .extension(0x0015, &[0; 9])
    }

    #[test]
    fn a_browser_has_the_fingerprint_of_the_descriptions_example() {
        let message = browser().to_message();
        let hello = ClientHello::read(&message[4..], Carrier::Stream).unwrap();
        assert_eq!(ja4(&hello, Carrier::Stream).0, "t13d1516h2_8daaf6152771_e5627efa2ab1");
        assert_eq!(
            ja3_text(&hello),
            "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53,\
             27-0-51-16-17513-23-45-13-5-35-18-43-65281-11-10-21,29-23-24,0"
        );
    }

    #[test]
    fn the_digest_of_the_text_is_the_md5_of_rfc_1321() {
        assert_eq!(md5("abc")[..4], [0x90, 0x01, 0x50, 0x98]);
    }

    #[test]
    fn what_is_not_there_is_left_empty() {
        let bare = Hello::default().ciphers(&[0x0a0a, 5]);
        check(&bare, Carrier::Stream, "771,5,,,", "t12i010000_0005_");
        check(&Hello::default().ciphers(&[]), Carrier::Quic, "771,,,,", "q12i000000__");
    }

    #[test]
    fn drafts_have_no_version_and_the_highest_number_counts() {
        let draft = Hello::default().ciphers(&[5]).extension(43, &[4, 0x7f, 0x1c, 3, 3]);
        check(&draft, Carrier::Stream, "771,5,43,,", "t00i010100_0005_002b");
        let datagrams = Hello::default().version(0xfefd).cookie(b"abc").ciphers(&[5]);
        let newer = datagrams.extension(43, &[4, 0xfe, 0xfd, 0xfe, 0xfc]);
        check(&newer, Carrier::Datagrams, "65277,5,43,,", "dd2i010100_0005_002b");
        let newest =
            Hello::default().version(0xfefd).cookie(b"").ciphers(&[5]).extension(43, &[2, 0xfe, 0xfc]);
        check(&newest, Carrier::Datagrams, "65277,5,43,,", "dd3i010100_0005_002b");
    }

    #[test]
    fn the_ends_of_the_first_protocol_are_hexadecimal_when_either_is_odd() {
        for (name, ends) in [
            (&b"h"[..], "hh"),
            (b"http/1.1", "h1"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"\x30\xab", "3b"),
            (b"\x30\xab\xcd\x31", "01"),
            (b"", "00"),
        ] {
            let length = u8::try_from(name.len()).unwrap();
            let contents = [&[0, length + 1, length][..], name].concat();
            let hello = Hello::default().ciphers(&[5]).extension(16, &contents);
            check(&hello, Carrier::Stream, "771,5,16,,", &format!("t12i0101{ends}_0005_"));
        }
    }
}

//! A certificate sent in clear: its hashes, and the names it is good for (RFC 5280).

use std::net::IpAddr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use protocol::SeenIn;

use super::hello::Carrier;
use crate::sighting::{Seen, Sighting, Sink};

/// Tags of DER (X.690 §8).
mod tag {
    pub const BOOLEAN: u8 = 0x01;
    pub const OCTET_STRING: u8 = 0x04;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const SEQUENCE: u8 = 0x30;
    pub const SET: u8 = 0x31;
    /// `[0]` of a certificate: its version.
    pub const VERSION: u8 = 0xa0;
    /// `[3]` of a certificate.
    pub const EXTENSIONS: u8 = 0xa3;
    /// `[2]` of a general name.
    pub const DNS_NAME: u8 = 0x82;
    /// `[7]` of a general name.
    pub const ADDRESS: u8 = 0x87;
}

/// 2.5.29.17
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];

/// Reports a certificate. Its evidence is the first name that it carries.
pub(super) fn sight(certificate: &[u8], carrier: Carrier, sink: &mut Sink<'_>) {
    sink.counters.certificates += 1;
    let (seen_in, name_in) = match carrier {
        Carrier::Stream | Carrier::Quic => (SeenIn::TlsCert, SeenIn::TlsCertName),
        Carrier::Datagrams => (SeenIn::DtlsCert, SeenIn::DtlsCertName),
    };
    let fields = Fields::read(certificate).unwrap_or_default();
    let evidence = fields.names().find_map(|(kind, name)| (kind == tag::DNS_NAME).then_some(name));
    let evidence = evidence.or_else(|| fields.common_name()).unwrap_or_default();
    if sink.wants.sha1
        && let Ok(hash) = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref().try_into()
    {
        sink.sight(Sighting::new(Seen::Sha1(hash), seen_in, evidence));
    }
    if sink.wants.sha256
        && let Ok(hash) = digest(&SHA256, certificate).as_ref().try_into()
    {
        sink.sight(Sighting::new(Seen::Sha256(hash), seen_in, evidence));
    }
    for (kind, name) in fields.names() {
        let seen = match kind {
            tag::DNS_NAME => Some(Seen::WireName(name)),
            tag::ADDRESS => address(name).map(Seen::Ip),
            _ => None,
        };
        if let Some(seen) = seen {
            sink.sight(Sighting::new(seen, name_in, name));
        }
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// The parts of a certificate that are of interest.
#[derive(Default)]
struct Fields<'a> {
    subject: &'a [u8],
    /// Contents of the subject alternative name.
    names: &'a [u8],
}

impl<'a> Fields<'a> {
    /// RFC 5280 §4.1.
    fn read(certificate: &'a [u8]) -> Option<Self> {
        let body = Der(certificate).of(tag::SEQUENCE)?;
        let mut at = Der(Der(body).of(tag::SEQUENCE)?);
        if at.0.first() == Some(&tag::VERSION) {
            at.next()?;
        }
        for _ in 0..4 {
            at.next()?; // serial number, signature algorithm, issuer, validity
        }
        let subject = at.of(tag::SEQUENCE)?;
        at.next()?; // public key
        let extensions = at.find(|(kind, _)| *kind == tag::EXTENSIONS);
        let names = extensions.and_then(|(_, contents)| alternative_names(contents)).unwrap_or_default();
        Some(Self { subject, names })
    }

    /// Tag and contents of each subject alternative name.
    fn names(&self) -> Der<'a> {
        Der(self.names)
    }

    /// The last common name of the subject.
    fn common_name(&self) -> Option<&'a [u8]> {
        let mut found = None;
        for (kind, attributes) in Der(self.subject) {
            if kind != tag::SET {
                return found;
            }
            let mut attribute = Der(Der(attributes).of(tag::SEQUENCE)?);
            if attribute.of(tag::OBJECT_IDENTIFIER)? == COMMON_NAME {
                found = attribute.next().map(|(_, value)| value);
            }
        }
        found
    }
}

/// Contents of the subject alternative name among a certificate's extensions (RFC 5280 §4.2.1.6).
fn alternative_names(extensions: &[u8]) -> Option<&[u8]> {
    for (_, extension) in Der(Der(extensions).of(tag::SEQUENCE)?) {
        let mut parts = Der(extension);
        if parts.of(tag::OBJECT_IDENTIFIER)? == SUBJECT_ALTERNATIVE_NAME {
            if parts.0.first() == Some(&tag::BOOLEAN) {
                parts.next()?; // critical
            }
            return Der(parts.of(tag::OCTET_STRING)?).of(tag::SEQUENCE);
        }
    }
    None
}

/// Elements of DER one after the other: tag and contents of each.
#[derive(Clone)]
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The contents of the next element, which has this tag.
    fn of(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (kind, contents) = self.next()?;
        (kind == tag).then_some(contents)
    }
}

impl<'a> Iterator for Der<'a> {
    type Item = (u8, &'a [u8]);

    /// A length of up to 127 stands in one byte; of a longer one the first byte says in how many (X.690 §8.1.3).
    fn next(&mut self) -> Option<Self::Item> {
        let (kind, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match *first {
            short @ ..0x80 => (usize::from(short), rest),
            long => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                if digits.is_empty() || digits.len() > 3 {
                    return None;
                }
                (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
            }
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*kind, contents))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::made::{certificate, seen_by};

    fn check(der: &[u8], expected: &[&str]) {
        let (seen, counters) = seen_by(|sink| sight(der, Carrier::Stream, sink));
        assert!(seen[0].starts_with("tls.cert ") && seen[1].starts_with("tls.cert "));
        assert_eq!(seen[2..], *expected);
        assert_eq!(counters.certificates, 1);
    }

    #[test]
    fn names_and_addresses_are_read() {
        check(
            &certificate(&["evil.example", "*.evil.example"], &[&[192, 0, 2, 7]]),
            &["tls.cert_name evil.example", "tls.cert_name *.evil.example", "tls.cert_name 192.0.2.7"],
        );
        let v6 = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
        check(&certificate(&[], &[&v6]), &["tls.cert_name 2001:db8::1"]);
        check(&certificate(&[], &[&[1, 2, 3]]), &[]);
    }

    #[test]
    fn the_hashes_are_those_of_the_whole_certificate() {
        let (seen, _) = seen_by(|sink| sight(b"abc", Carrier::Stream, sink));
        assert_eq!(
            seen,
            [
                "tls.cert a9993e364706816aba3e25717850c26c9cd0d89d",
                "tls.cert ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            ]
        );
    }

    #[test]
    fn a_damaged_certificate_still_has_its_hashes() {
        let whole = certificate(&["evil.example"], &[]);
        for cut in 0..whole.len() {
            let (seen, _) = seen_by(|sink| sight(&whole[..cut], Carrier::Stream, sink));
            assert_eq!(seen.len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn the_first_name_is_the_evidence_and_the_common_name_where_there_is_none() {
        for (names, expected) in [(&["a.example", "b.example"][..], "a.example"), (&[], "made for tests")] {
            let der = certificate(names, &[]);
            let fields = Fields::read(&der).unwrap();
            let first = fields.names().next().map(|(_, name)| name);
            assert_eq!(first.or_else(|| fields.common_name()), Some(expected.as_bytes()));
        }
    }
}

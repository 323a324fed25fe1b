//! Who is at the other end: the identity and serial of the certificate that TLS verified.

use protocol::text::Hex;
use protocol::{Identity, Timestamp};
use quinn::Connection;
use quinn::crypto::rustls::HandshakeData;
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use super::refusal::Refusal;

/// A verified certificate's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub identity: Identity,
    /// Serial of its certificate, hexadecimal.
    pub serial: String,
    /// When it ends.
    pub not_after: Timestamp,
}

/// The protocol that both ends agreed on.
pub(super) fn protocol_of(connection: &Connection) -> Vec<u8> {
    let data = connection.handshake_data().and_then(|data| data.downcast::<HandshakeData>().ok());
    data.and_then(|data| data.protocol).unwrap_or_default()
}

/// The owner of the certificate that the peer showed.
pub(super) fn peer_of(connection: &Connection) -> Result<Peer, Refusal> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(Refusal::NoCertificate)?;
    let leaf = chain.first().ok_or(Refusal::NoCertificate)?;
    peer_in(leaf).ok_or(Refusal::Unknown)
}

/// Exactly one SAN, a URI that is an identity: anything else was not issued here.
pub(super) fn peer_in(certificate: &[u8]) -> Option<Peer> {
    let (_, certificate) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let [GeneralName::URI(uri)] = names.value.general_names.as_slice() else { return None };
    Some(Peer {
        identity: uri.parse().ok()?,
        serial: Hex(certificate.raw_serial()).to_string(),
        not_after: Timestamp::from_seconds(certificate.validity().not_after.timestamp(), 0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    fn check(names: &[SanType], known: bool) {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        assert_eq!(peer_in(certificate.der()).is_some(), known, "{names:?}");
    }

    #[test]
    fn one_uri_of_vedetta_is_an_identity_and_nothing_else_is() {
        let uri = |text: &str| SanType::URI(text.try_into().unwrap());
        let desk = uri("urn:vedetta:desk:cosc-esempio");
        check(std::slice::from_ref(&desk), true);
        check(&[], false);
        check(&[uri("urn:other:desk:a")], false);
        check(&[desk.clone(), desk.clone()], false);
        check(&[desk, SanType::DnsName("collector.example".try_into().unwrap())], false);
    }
}

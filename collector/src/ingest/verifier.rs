//! Judges a peer's certificate as webpki does, and says what an operator has to know when one is refused. Whose a
//! certificate is and whether it was taken back is asked afterwards; here it is dated, signed and short enough.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, SignatureScheme};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::peer::peer_in;
use super::refusal::RefusalLog;

/// What the collector issues is a tenth of it. A longer chain is refused before anything in it is read.
const CHAIN_BYTES_MAX: usize = 12 << 10;

/// A chain that no collector issued.
#[derive(Debug, thiserror::Error)]
#[error("a chain of {bytes} bytes is longer than the limit of {CHAIN_BYTES_MAX}")]
struct ChainTooLong {
    bytes: usize,
}

/// The verifier of the ingest.
#[derive(Debug)]
pub(super) struct PeerVerifier {
    webpki: Arc<dyn ClientCertVerifier>,
    refusals: Arc<RefusalLog>,
}

impl PeerVerifier {
    /// Judges as `webpki` does.
    pub fn new(webpki: Arc<dyn ClientCertVerifier>, refusals: Arc<RefusalLog>) -> Self {
        Self { webpki, refusals }
    }

    /// A certificate of ours that ended: its sensor was off for too long. A forged one is not worth a name.
    fn say_expired(&self, end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) {
        let Some(peer) = peer_in(end_entity) else { return };
        let then = UnixTime::since_unix_epoch(peer.not_after.since_epoch());
        if self.webpki.verify_client_cert(end_entity, intermediates, then).is_ok() {
            let why = format!(
                "its certificate ended at {}: give it a new code (vedetta-collector invite --replaces SENSOR for a \
                 sensor, admit-desk for a desk)",
                peer.not_after
            );
            self.refusals.say_of(&peer.identity.to_string(), &why);
        }
    }
}

impl ClientCertVerifier for PeerVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.webpki.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.webpki.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let bytes = intermediates.iter().fold(end_entity.len(), |sum, it| sum.saturating_add(it.len()));
        if bytes > CHAIN_BYTES_MAX {
            return Err(CertificateError::Other(OtherError(Arc::new(ChainTooLong { bytes }))).into());
        }
        let verified = self.webpki.verify_client_cert(end_entity, intermediates, now);
        if let Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) = &verified
        {
            self.say_expired(end_entity, intermediates);
        }
        verified
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

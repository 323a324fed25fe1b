//! TLS and QUIC of the uplink: TLS 1.3 only, one pinned authority, no resumption, no early data.

use std::sync::Arc;
use std::time::Duration;

use protocol::Timestamp;
use protocol::enrolment::fingerprint;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, IdleTimeout, TransportConfig, VarInt};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use sha2::{Digest as _, Sha256};

use crate::identity::Identity;

/// Middleboxes forget a UDP flow after 30 seconds.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const IDLE_SECONDS_MAX: u32 = 60;
/// Streams that the collector may open: none.
const STREAMS_OF_PEER: VarInt = VarInt::from_u32(0);
const STREAM_WINDOW_BYTES: VarInt = VarInt::from_u32(256 << 10);
const WINDOW_BYTES: VarInt = VarInt::from_u32(1 << 20);

/// An identity that TLS does not take, or a provider without what QUIC needs.
#[derive(Debug, thiserror::Error)]
#[error(
    "the sensor's identity cannot be used for TLS ({0}); enrol again: vedetta-agent enrol --replace CODE"
)]
pub struct TlsError(String);

/// A chain that does not lead to the pinned authority.
#[derive(Debug, thiserror::Error)]
#[error("it does not come from the pinned authority, or is not good now: {0}")]
pub struct IssuedError(String);

fn tls_error(error: impl std::fmt::Display) -> TlsError {
    TlsError(error.to_string())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// The session's configuration: shows the sensor's certificate, believes its authority only.
///
/// # Errors
/// When a file of the identity is not what it should be.
pub fn session_config(identity: &Identity) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(identity.authority_pem.as_bytes()).map_err(tls_error)?;
    roots.add(authority).map_err(tls_error)?;
    let credentials = identity.credentials_pem.as_bytes();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(credentials).collect();
    let key = PrivateKeyDer::from_pem_slice(credentials).map_err(tls_error)?;
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls_error)?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain.map_err(tls_error)?, key)
        .map_err(tls_error)?;
    quic_config(config, protocol::ALPN_SESSION)
}

/// Whether a chain that was given leads from a sensor's certificate to the pinned authority, as the collector will
/// ask at the next connection.
///
/// # Errors
/// When it does not.
pub fn check_issued(
    chain: &[CertificateDer<'_>],
    authority_pem: &str,
    now: Timestamp,
) -> Result<(), IssuedError> {
    let unfit = |error: &dyn std::fmt::Display| IssuedError(error.to_string());
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_slice(authority_pem.as_bytes());
    roots.add(authority.map_err(|error| unfit(&error))?).map_err(|error| unfit(&error))?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|error| unfit(&error))?;
    let (leaf, issuers) = chain.split_first().ok_or_else(|| unfit(&"no certificate"))?;
    let now = UnixTime::since_unix_epoch(now.since_epoch());
    verifier.verify_client_cert(leaf, issuers, now).map_err(|error| unfit(&error))?;
    Ok(())
}

/// The configuration of an enrolment: no certificate yet, and exactly the authority that the code names.
///
/// # Errors
/// When the provider lacks what QUIC needs.
pub fn enrolment_config(authority_sha256: [u8; 32]) -> Result<ClientConfig, TlsError> {
    let verifier = Arc::new(PinnedAuthority { sha256: authority_sha256, provider: provider() });
    let config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(tls_error)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth();
    quic_config(config, protocol::ALPN_ENROL)
}

fn quic_config(mut tls: rustls::ClientConfig, alpn: &[u8]) -> Result<ClientConfig, TlsError> {
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    let quic = QuicClientConfig::try_from(tls).map_err(tls_error)?;
    let mut config = ClientConfig::new(Arc::new(quic));
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_SECONDS_MAX * 1000))))
        .max_concurrent_bidi_streams(STREAMS_OF_PEER)
        .max_concurrent_uni_streams(STREAMS_OF_PEER)
        .stream_receive_window(STREAM_WINDOW_BYTES)
        .receive_window(WINDOW_BYTES)
        .send_window(u64::from(WINDOW_BYTES))
        .datagram_receive_buffer_size(None)
        // Mobile and satellite lines reorder: what is late is not lost, and a hit can wait for what is.
        .packet_threshold(24)
        .time_threshold(2.0)
        // Larger packets save little here, and a way that swallows them only later costs a minute of silence.
        .mtu_discovery_config(None)
        // Drivers that claim it and drop the packets are common on gateways.
        .enable_segmentation_offload(false);
    config.transport_config(Arc::new(transport));
    Ok(config)
}

/// Believes a collector whose chain holds the one authority that the enrolment code names.
#[derive(Debug)]
struct PinnedAuthority {
    sha256: [u8; 32],
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for PinnedAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let pinned = |certificate: &&CertificateDer<'_>| sha256(certificate) == self.sha256;
        let authority = intermediates.iter().find(pinned).ok_or_else(|| {
            let shown: Vec<String> =
                intermediates.iter().map(|certificate| fingerprint(&sha256(certificate))).collect();
            tracing::debug!(?shown, pinned = fingerprint(&self.sha256), "another authority");
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)
        })?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone().into_owned())?;
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), self.provider.clone())
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        webpki.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

//! TLS and QUIC as the ingest speaks them: TLS 1.3 only, no resumption (it would skip the check of the client's
//! certificate), no early data, small windows.

use std::sync::Arc;
use std::time::Duration;

use protocol::{ALPN_ENROL, ALPN_PUSH, ALPN_SESSION};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::IngestError;
use super::refusal::RefusalLog;
use super::verifier::PeerVerifier;
use crate::folders::StateFolder;

/// Streams that a peer may have open: the session and its fetches, which come one after the other.
const STREAMS_MAX: u32 = 4;
/// Bytes in flight on one stream and on one connection: what one peer can make the collector hold.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes that the collector may have unacknowledged towards one peer.
const SEND_WINDOW_BYTES: u64 = 2 << 20;
/// Peers send a keep-alive every 15 s.
const IDLE_TIMEOUT_MILLIS: u32 = 60_000;
/// Handshakes that wait to be looked at, and the bytes that they may hold.
const INCOMING_MAX: usize = 1024;
const INCOMING_BYTES_MAX: u64 = 64 << 10;
const INCOMING_BYTES_SUM_MAX: u64 = 16 << 20;
/// A validated address may come back within this time.
const RETRY_TOKEN_LIFETIME: Duration = Duration::from_secs(15);

/// The server's side of QUIC, with the server's certificate and the authority as the only root for peers.
pub(super) fn server_config(
    state: &StateFolder,
    authority_der: &[u8],
    refusals: &Arc<RefusalLog>,
) -> Result<ServerConfig, IngestError> {
    let unusable = |error: &dyn std::fmt::Display| IngestError::Certificate(error.to_string());
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(state.server_chain())
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&error))?;
    let key = PrivateKeyDer::from_pem_file(state.server_key()).map_err(|error| unusable(&error))?;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(authority_der.to_vec())).map_err(|error| unusable(&error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    // Enrolment comes without a certificate; every other protocol is refused without one after the handshake.
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable(&error))?;
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| unusable(&error))?
        .with_client_cert_verifier(Arc::new(PeerVerifier::new(verifier, Arc::clone(refusals))))
        .with_single_cert(chain, key)
        .map_err(|error| unusable(&error))?;
    tls.alpn_protocols = [ALPN_SESSION, ALPN_PUSH, ALPN_ENROL].map(<[u8]>::to_vec).to_vec();
    tls.send_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});
    tls.max_early_data_size = 0;
    let tls = QuicServerConfig::try_from(tls).map_err(|error| unusable(&error))?;
    let mut server = ServerConfig::with_crypto(Arc::new(tls));
    server
        .transport_config(Arc::new(transport()))
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_SUM_MAX)
        .retry_token_lifetime(RETRY_TOKEN_LIFETIME);
    Ok(server)
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(SEND_WINDOW_BYTES)
        .datagram_receive_buffer_size(None)
        // A way that swallows larger packets from some moment on must not cost the session.
        .mtu_discovery_config(None)
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT_MILLIS))));
    transport
}

//! The QUIC connection to a collector: mutual TLS 1.3 with the one authority that came with this desk's
//! certificate, and messages on one stream.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use protocol::frame::{self, FrameDecoder};
use protocol::message::{DeskMessage, PushReply};
use protocol::{ALPN_PUSH, COLLECTOR_SERVER_NAME};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, ConnectionError, Endpoint, RecvStream, SendStream, TransportConfig, VarInt};
use rustls::RootCertStore;
use rustls::client::Resumption;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::request::{CHAIN, KEY};

const CONNECT_SECONDS_MAX: u64 = 10;
const KEEP_ALIVE_SECONDS: u64 = 15;
const IDLE_SECONDS_MAX: u64 = 60;

/// Who this desk is, and whom it trusts.
pub struct Identity {
    key: PrivateKeyDer<'static>,
    leaf: CertificateDer<'static>,
    authority: CertificateDer<'static>,
}

impl Identity {
    /// Reads `desk.key` and `chain.pem`: the desk's certificate, then the collector's authority. A root that stands above
    /// that one is not trusted for it: it has other children.
    ///
    /// # Errors
    /// Says which file is missing or wrong, and where it comes from.
    pub fn read(folder: &Path) -> Result<Self> {
        let (key, chain) = (folder.join(KEY), folder.join(CHAIN));
        let how = format!("make one with request, and put what admit-desk printed into {}", chain.display());
        let key = PrivateKeyDer::from_pem_file(&key)
            .map_err(|error| anyhow!("{}: {error}; {how}", key.display()))?;
        let certificates = CertificateDer::pem_file_iter(&chain)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| anyhow!("{}: {error}; {how}", chain.display()))?;
        let [leaf, authority, ..] = certificates.as_slice() else {
            bail!(
                "{} must hold this desk's certificate and the collector's authority; {how}",
                chain.display()
            );
        };
        Ok(Self { key, leaf: leaf.clone(), authority: authority.clone() })
    }

    fn client_config(&self) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.authority.clone()).context("the authority in chain.pem is no certificate")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .with_root_certificates(roots)
            .with_client_auth_cert(vec![self.leaf.clone(), self.authority.clone()], self.key.clone_key())
            .context("desk.key and chain.pem do not belong together")?;
        tls.alpn_protocols = vec![ALPN_PUSH.to_vec()];
        tls.resumption = Resumption::disabled();
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(KEEP_ALIVE_SECONDS)));
        transport.max_idle_timeout(Some(Duration::from_secs(IDLE_SECONDS_MAX).try_into()?));
        transport.max_concurrent_bidi_streams(VarInt::from_u32(0));
        transport.max_concurrent_uni_streams(VarInt::from_u32(0));
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
        config.transport_config(Arc::new(transport));
        Ok(config)
    }
}

/// One stream to a collector.
pub struct Connection {
    endpoint: Endpoint,
    connection: quinn::Connection,
    send: SendStream,
    receive: RecvStream,
    decoder: FrameDecoder,
}

impl Connection {
    /// Connects to the first address of `HOST:PORT` that answers.
    ///
    /// # Errors
    /// Says whether the name, the way, the collector's certificate or this desk's is at fault.
    pub async fn open(collector: &str, identity: &Identity) -> Result<Self> {
        let addresses = tokio::net::lookup_host(collector).await.with_context(|| {
            format!("the collector's address {collector} cannot be resolved; write HOST:PORT, such as collector.example:4740")
        })?;
        let config = identity.client_config()?;
        let mut last = anyhow!("{collector} has no address");
        for address in addresses {
            match Self::open_at(address, config.clone()).await {
                Ok(connection) => return Ok(connection),
                Err(error) if address.to_string() == collector => {
                    last = error.context(format!("cannot push to {collector}"));
                }
                Err(error) => last = error.context(format!("cannot push to {collector} ({address})")),
            }
        }
        Err(last)
    }

    async fn open_at(address: SocketAddr, config: ClientConfig) -> Result<Self> {
        let any: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
        let endpoint = Endpoint::client(any).context("cannot open a UDP socket")?;
        let connecting = endpoint.connect_with(config, address, COLLECTOR_SERVER_NAME)?;
        let connected = tokio::time::timeout(Duration::from_secs(CONNECT_SECONDS_MAX), connecting).await;
        let connection = match connected {
            Ok(connected) => connected.map_err(|error| explained(&error))?,
            Err(_) => return Err(explained(&ConnectionError::TimedOut)),
        };
        let (send, receive) = connection.open_bi().await.map_err(|error| explained(&error))?;
        Ok(Self { endpoint, connection, send, receive, decoder: FrameDecoder::default() })
    }

    /// Sends one message.
    ///
    /// # Errors
    /// With the collector's reason when it closed the connection.
    pub async fn send(&mut self, message: &DeskMessage) -> Result<()> {
        let frame = frame::encode(message)?;
        if self.send.write_all(&frame).await.is_ok() {
            return Ok(());
        }
        Err(self.why_closed().await)
    }

    /// Receives the next message within some time.
    ///
    /// # Errors
    /// As [`Connection::next`], or when the time is over.
    pub async fn receive(&mut self, within: Duration) -> Result<PushReply> {
        match tokio::time::timeout(within, self.next()).await {
            Ok(reply) => reply,
            Err(_) => {
                bail!("the collector did not answer within {} seconds; look at its log", within.as_secs())
            }
        }
    }

    /// Receives the next message. Dropping the future loses nothing.
    ///
    /// # Errors
    /// With the collector's reason when it closed the connection.
    pub async fn next(&mut self) -> Result<PushReply> {
        loop {
            if let Some(reply) = self.decoder.poll_message()? {
                return Ok(reply);
            }
            match self.receive.read_chunk(64 << 10, true).await {
                Ok(Some(chunk)) => self.decoder.handle_bytes(&chunk.bytes),
                Ok(None) | Err(_) => return Err(self.why_closed().await),
            }
        }
    }

    /// The reason of a stream's end: its connection's, when that closes with it.
    async fn why_closed(&self) -> anyhow::Error {
        match tokio::time::timeout(Duration::from_secs(2), self.connection.closed()).await {
            Ok(error) => explained(&error),
            Err(_) => anyhow!("the collector ended the stream without a reason; look at its log"),
        }
    }

    /// Says goodbye and waits until it is sent.
    pub async fn close(self) {
        self.connection.close(VarInt::from_u32(0), b"done");
        let _ = tokio::time::timeout(Duration::from_secs(2), self.endpoint.wait_idle()).await;
    }
}

/// RFC 9001 §4.8: TLS alerts are codes from 0x100 to 0x1ff.
fn is_tls_alert(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// A connection's end in words that say what to do.
fn explained(error: &ConnectionError) -> anyhow::Error {
    match error {
        ConnectionError::TimedOut => anyhow!(
            "no answer: is the collector running, is the address right, does UDP reach it through every firewall?"
        ),
        ConnectionError::ApplicationClosed(closed) => {
            let reason = crate::import::report::plain(&String::from_utf8_lossy(&closed.reason));
            anyhow!("the collector refused this desk: {reason} (code {})", closed.error_code)
        }
        ConnectionError::ConnectionClosed(closed) if is_tls_alert(u64::from(closed.error_code)) => anyhow!(
            "the collector does not accept this desk's certificate ({}); ask its operator to admit this desk (admit-desk)",
            closed.error_code
        ),
        ConnectionError::ConnectionClosed(closed) => {
            let reason = crate::import::report::plain(&String::from_utf8_lossy(&closed.reason));
            anyhow!("the collector ended the connection: {} {reason}", closed.error_code)
        }
        ConnectionError::TransportError(error) => anyhow!(
            "the collector's certificate or protocol is not the expected one: {error}; chain.pem must come from this collector"
        ),
        other => anyhow!("the connection ended: {other}"),
    }
}

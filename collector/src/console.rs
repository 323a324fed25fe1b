//! The operators' console: pages over HTTPS, made from compile-time templates, with hits that arrive by themselves.
//!
//! Everything a page needs is in this binary. Nothing is shown without a session, nothing from outside is shown
//! unescaped, and no page carries a script or a style of its own.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::accounts::{self, AccountError};
use crate::arrivals::Arrivals;
use crate::clock;
use crate::config::ConsoleConfig;
use crate::store::Store;

mod bundles;
mod chrome;
mod circumstances;
mod doorkeeper;
mod fault;
mod guard;
mod hit;
mod hits;
mod live;
mod origins;
mod routes;
mod session;
mod show;
mod sign_in;
mod towns;
mod words;

#[cfg(test)]
mod bundle_page_tests;
#[cfg(test)]
mod door_tests;
#[cfg(test)]
mod fixture;
#[cfg(test)]
mod https_tests;
#[cfg(test)]
mod page_tests;

/// Connections at the same time; more are closed at once. A browser needs one (HTTP/2) to six.
const CONNECTIONS_MAX: usize = 512;
/// How long open requests may take when the collector stops; live pages are told at once.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Why the console did not start.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// Another program has the port.
    #[error(
        "console: another program listens on {listen}; stop it (`ss -ltnp 'sport = :{}'` names it) or set \
         `listen` of [console] in collector.toml to another port", listen.port()
    )]
    Busy {
        /// Where it should listen.
        listen: SocketAddr,
    },
    /// The port needs a privilege.
    #[error(
        "console: not allowed to listen on {listen}; ports below 1024 need a privilege, set `listen` of [console] \
         in collector.toml to another port such as 8443"
    )]
    NotAllowed {
        /// Where it should listen.
        listen: SocketAddr,
    },
    /// The socket does not open for another reason.
    #[error("console: cannot listen on {listen}: {error}; check `listen` of [console] in collector.toml")]
    Listen {
        /// Where it should listen.
        listen: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The certificate or its key cannot be used.
    #[error("console: {}: {reason}; `vedetta-collector init` makes certificate and key", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The hash that stands for unknown operators could not be made.
    #[error("console: {0}")]
    Account(#[from] AccountError),
}

/// A console that answers.
pub struct Running {
    /// Where it listens, with the port that the system chose when 0 was configured.
    pub listen: SocketAddr,
    serving: JoinHandle<io::Result<()>>,
}

impl Running {
    /// Waits until the console ended: after `stopping`, or because its socket failed.
    ///
    /// # Errors
    /// What the socket said.
    pub async fn ended(self) -> io::Result<()> {
        self.serving.await.map_err(io::Error::other)?
    }
}

/// Opens the socket and serves the console until `stopping` turns true. The certificate is read again whenever it was
/// `renewed`.
///
/// # Errors
/// When the port or the certificate cannot be had; the sentence says what to do.
pub async fn start(
    config: &ConsoleConfig,
    store: Store,
    arrivals: Arrivals,
    stopping: watch::Receiver<bool>,
    renewed: watch::Receiver<()>,
) -> Result<Running, ConsoleError> {
    let tls = tls(&config.chain, &config.key)?;
    let (socket, listen) = open_socket(config.listen)?;
    let stand_in = tokio::task::spawn_blocking(|| accounts::hash_password(&accounts::generate_password()))
        .await
        .map_err(|error| AccountError::Hash(error.to_string()))??;
    let console = routes::Console::new(store, arrivals, stopping.clone(), stand_in, Arc::new(clock::now));
    let service = routes::router(console).into_make_service_with_connect_info::<SocketAddr>();

    let handle = Handle::new();
    let tls = RustlsConfig::from_config(tls);
    tokio::spawn(show_renewed(tls.clone(), config.clone(), renewed));
    let acceptor = doorkeeper::Doorkeeper::new(RustlsAcceptor::new(tls), CONNECTIONS_MAX);
    let mut server = axum_server::from_tcp(socket)
        .map_err(|error| ConsoleError::Listen { listen, error })?
        .acceptor(acceptor)
        .handle(handle.clone());
    doorkeeper::limit(server.http_builder());
    tokio::spawn(stop(handle, stopping));
    let serving = tokio::spawn(server.serve(service));
    tracing::info!(%listen, "console listens");
    Ok(Running { listen, serving })
}

async fn stop(handle: Handle<SocketAddr>, mut stopping: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop as well.
    let _stopped = stopping.wait_for(|stop| *stop).await;
    handle.graceful_shutdown(Some(STOP_TIMEOUT));
}

async fn show_renewed(shown: RustlsConfig, config: ConsoleConfig, mut renewed: watch::Receiver<()>) {
    while renewed.changed().await.is_ok() {
        match tls(&config.chain, &config.key) {
            Ok(tls) => shown.reload_from_config(tls),
            Err(error) => {
                tracing::error!(%error, "the renewed certificate cannot be used; the one before is shown");
            }
        }
    }
}

fn open_socket(listen: SocketAddr) -> Result<(TcpListener, SocketAddr), ConsoleError> {
    let open = || {
        let socket = TcpListener::bind(listen)?;
        socket.set_nonblocking(true)?;
        let listen = socket.local_addr()?;
        Ok((socket, listen))
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ConsoleError::Busy { listen },
        io::ErrorKind::PermissionDenied => ConsoleError::NotAllowed { listen },
        _ => ConsoleError::Listen { listen, error },
    })
}

fn tls(chain: &Path, key: &Path) -> Result<Arc<rustls::ServerConfig>, ConsoleError> {
    let wrong = |file: &Path, reason: String| ConsoleError::Certificate { file: file.to_owned(), reason };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(chain)
        .and_then(Iterator::collect)
        .map_err(|error| wrong(chain, error.to_string()))?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, error.to_string()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| wrong(chain, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(certificates, private)
        .map_err(|error| wrong(chain, error.to_string()))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

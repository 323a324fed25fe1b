//! The ingest: one UDP port where sensors report and fetch, desks push, and new sensors enrol. QUIC, TLS 1.3.
//!
//! Who a peer is, its certificate says and nothing else; what it may do, the protocol (ALPN) it asked for says.
//! Hits are acknowledged after they are committed, never before.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::arrivals::Arrivals;
use crate::authority::Authority;
use crate::bundles::online::OnlineKey;
use crate::folders::StateFolder;
use crate::store::{Store, StoreError, sessions};

mod door;
mod enrolment;
mod fetch;
mod frames;
mod homes;
mod intake;
mod peer;
mod push;
mod quota;
mod rates;
mod refusal;
mod reset;
mod returning;
mod revocation;
mod rollout;
mod seats;
mod server_certificate;
mod session;
mod shared;
mod shelf;
mod socket;
mod tls;
mod twins;
mod upkeep;
mod verifier;
mod writer;

/// What the ingest works with.
pub struct Setup {
    /// The UDP socket.
    pub listen: SocketAddr,
    /// Server certificate, repository and trusted root.
    pub state: StateFolder,
    /// Signs new sensors' certificates; its certificate is the only root for peers.
    pub authority: Authority,
    /// Keeps the signatures of bundles on offer fresh.
    pub online_key: OnlineKey,
    /// Names and addresses that the server's certificate is for.
    pub hosts: Vec<String>,
    /// `HOST:PORT` as sensors reach it.
    pub public_addresses: Vec<String>,
    /// Where everything is kept.
    pub store: Store,
    /// Told of every committed hit.
    pub arrivals: Arrivals,
}

/// Why the ingest did not start.
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// Another program has the port.
    #[error(
        "ingest: another program listens on UDP {listen}; stop it (`ss -lnup 'sport = :{}'` names it) or set \
         `listen` of [ingest] in collector.toml to another port", listen.port()
    )]
    Busy {
        /// Where it should listen.
        listen: SocketAddr,
    },
    /// The socket does not open for another reason.
    #[error("ingest: cannot listen on UDP {listen}: {error}; check `listen` of [ingest] in collector.toml")]
    Listen {
        /// Where it should listen.
        listen: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The server's certificate or key cannot be used.
    #[error(
        "ingest: the server's certificate cannot be used: {0}; remove the folder `server` and start again"
    )]
    Certificate(String),
    /// A folder cannot be made.
    #[error("ingest: {}: {error}", path.display())]
    Folder {
        /// Which.
        path: std::path::PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// An ingest that answers.
pub struct Running {
    /// Where it listens, with the port that the system chose when 0 was configured.
    pub listen: SocketAddr,
    /// Told when the server's certificate was renewed.
    pub renewed: watch::Receiver<()>,
    door: JoinHandle<()>,
    writer: JoinHandle<()>,
    watchers: [JoinHandle<()>; 4],
}

impl Running {
    /// Waits until the ingest ended: after `stopping`, when everything that arrived is committed.
    pub async fn ended(self) {
        let door = self.door.await;
        // Before the writer, which ends when nobody can hand it anything more.
        self.watchers.iter().for_each(JoinHandle::abort);
        if let Err(error) = door.and(self.writer.await) {
            tracing::error!(%error, "the ingest broke");
        }
    }
}

/// Opens the socket and serves until `stopping` turns true.
///
/// # Errors
/// When the port or the certificate cannot be had; the sentence says what to do.
pub async fn start(setup: Setup, stopping: watch::Receiver<bool>) -> Result<Running, IngestError> {
    let (authority, refusals) = (Arc::new(setup.authority), Arc::new(refusal::RefusalLog::default()));
    let server = tls::server_config(&setup.state, authority.certificate_der(), &refusals)?;
    let socket = socket::open(setup.listen).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => IngestError::Busy { listen: setup.listen },
        _ => IngestError::Listen { listen: setup.listen, error },
    })?;
    let failed = |error| IngestError::Listen { listen: setup.listen, error };
    let endpoint = quinn::Endpoint::new(
        reset::endpoint_config(&setup.state)?,
        Some(server),
        socket,
        Arc::new(quinn::TokioRuntime),
    )
    .map_err(failed)?;
    let listen = endpoint.local_addr().map_err(failed)?;
    // Not before the port is ours: another collector may still run on this folder.
    sessions::part_all(&setup.store).await?;
    let (revocations, revoked) = revocation::start(setup.store.clone()).await?;
    let (renewed, renewals) = watch::channel(());
    let certificate = server_certificate::ServerCertificate {
        endpoint: endpoint.clone(),
        state: setup.state.clone(),
        authority: Arc::clone(&authority),
        hosts: setup.hosts,
        refusals: Arc::clone(&refusals),
        renewed,
    };
    let (writer, to_writer) = writer::start(setup.store.clone(), setup.arrivals);
    let shared = shared::Shared::new(
        shared::Parts {
            store: setup.store,
            state: setup.state,
            authority,
            public_addresses: setup.public_addresses,
            to_writer,
            revoked,
            online_key: setup.online_key,
            refusals,
        },
        stopping,
    )
    .await?;
    let shared = Arc::new(shared);
    let upkeep = tokio::spawn(upkeep::keep_fresh(Arc::clone(&shared)));
    let certificate = tokio::spawn(certificate.keep_good());
    let rollouts = tokio::spawn(rollout::watch(Arc::clone(&shared)));
    let door = tokio::spawn(door::serve(endpoint, shared));
    let watchers = [revocations, upkeep, certificate, rollouts];
    Ok(Running { listen, renewed: renewals, door, writer, watchers })
}

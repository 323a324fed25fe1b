//! Keeps the server's certificate good while the collector runs: new connections are shown the new one, open ones
//! need none.

use std::sync::Arc;
use std::time::Duration;

use protocol::Timestamp;
use quinn::Endpoint;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tracing::{error, info};

use super::refusal::RefusalLog;
use super::tls;
use crate::authority::Authority;
use crate::clock;
use crate::folders::StateFolder;

/// It is renewed months before it ends.
const LOOK_EVERY: Duration = Duration::from_secs(3600);

/// What a renewal needs.
pub(super) struct ServerCertificate {
    pub endpoint: Endpoint,
    pub state: StateFolder,
    pub authority: Arc<Authority>,
    /// Names and addresses that it is for.
    pub hosts: Vec<String>,
    pub refusals: Arc<RefusalLog>,
    /// Told after each renewal.
    pub renewed: watch::Sender<()>,
}

impl ServerCertificate {
    /// Looks from time to time, for as long as the collector runs.
    pub async fn keep_good(self) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.look(clock::now());
        }
    }

    fn look(&self, now: Timestamp) {
        match self.authority.renew_server(&self.state, &self.hosts, now) {
            Ok(false) => {}
            Ok(true) => self.show(),
            Err(error) => error!(%error, "the server's certificate runs out and cannot be renewed"),
        }
    }

    fn show(&self) {
        match tls::server_config(&self.state, self.authority.certificate_der(), &self.refusals) {
            Ok(config) => {
                self.endpoint.set_server_config(Some(config));
                self.renewed.send_replace(());
                info!("the server's certificate was renewed");
            }
            Err(error) => error!(%error, "the renewed certificate cannot be used; the one before is shown"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::COLLECTOR_SERVER_NAME;
    use quinn::crypto::rustls::QuicClientConfig;
    use rustls_pki_types::CertificateDer;

    const DAY: i64 = 86_400;

    /// The certificate that a new connection is shown; the session's protocol, without a certificate of its own.
    async fn shown(server: &Endpoint, authority: &Authority) -> Vec<u8> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from(authority.certificate_der().to_vec())).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![protocol::ALPN_ENROL.to_vec()];
        let config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
        let connecting =
            client.connect_with(config, server.local_addr().unwrap(), COLLECTOR_SERVER_NAME).unwrap();
        let (connection, _served) =
            tokio::join!(async { connecting.await.unwrap() }, async { server.accept().await.unwrap().await });
        let chain = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
        chain.first().unwrap().to_vec()
    }

    #[tokio::test]
    async fn new_connections_are_shown_the_renewed_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path());
        // 250 of 365 days ago: due today.
        let (now, hosts) = (clock::now(), vec!["localhost".to_owned()]);
        let then = now.plus_seconds(-250 * DAY);
        let authority = Arc::new(Authority::create(&state, then).unwrap());
        authority.renew_server(&state, &hosts, then).unwrap();
        let refusals = Arc::new(RefusalLog::default());
        let config = tls::server_config(&state, authority.certificate_der(), &refusals).unwrap();
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let renewed = watch::Sender::new(());
        let mut told = renewed.subscribe();
        let certificate = ServerCertificate {
            endpoint: endpoint.clone(),
            state,
            authority: authority.clone(),
            hosts,
            refusals,
            renewed,
        };

        let first = shown(&endpoint, &authority).await;
        certificate.look(then.plus_seconds(10 * DAY));
        assert_eq!(shown(&endpoint, &authority).await, first, "renewed too early");
        assert!(!told.has_changed().unwrap());
        certificate.look(now);
        assert_ne!(shown(&endpoint, &authority).await, first);
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        certificate.look(now);
        assert!(!told.has_changed().unwrap(), "renewed again");
    }
}

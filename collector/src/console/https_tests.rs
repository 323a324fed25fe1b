//! The console as a browser meets it: real sockets and TLS on loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::sync::watch;

use super::fixture::Fixture;
use super::{ConsoleError, start};
use crate::config::ConsoleConfig;

/// A certificate for `localhost` that signs itself.
pub(super) fn certificate(folder: &Path, listen: &str) -> ConsoleConfig {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let config = ConsoleConfig {
        listen: listen.parse().unwrap(),
        chain: folder.join("c.pem"),
        key: folder.join("k.pem"),
    };
    std::fs::write(&config.chain, made.cert.pem()).unwrap();
    std::fs::write(&config.key, made.signing_key.serialize_pem()).unwrap();
    config
}

/// What the console answers to one request, with the protocol version of TLS.
fn ask(listen: SocketAddr, chain: &Path, request: &str) -> (String, rustls::ProtocolVersion) {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(chain).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = rustls::ClientConnection::new(Arc::new(config), name).unwrap();
    let socket = TcpStream::connect(listen).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _closed_without_notice = stream.read_to_end(&mut answer);
    (String::from_utf8(answer).unwrap(), stream.conn.protocol_version().unwrap())
}

#[tokio::test]
async fn the_console_serves_https_names_a_busy_port_and_stops() {
    let fixture = Fixture::new().await;
    let config = certificate(fixture.folder.path(), "127.0.0.1:0");
    let (stop, stopping) = watch::channel(false);
    let (renew, renewed) = watch::channel(());
    let again = |config: ConsoleConfig| {
        let (store, arrivals) = (fixture.store.clone(), fixture.arrivals.clone());
        let (stopping, renewed) = (stopping.clone(), renewed.clone());
        async move { start(&config, store, arrivals, stopping, renewed).await }
    };
    let running = again(config.clone()).await.unwrap();
    let listen = running.listen;

    let chain = config.chain.clone();
    let request = "GET /sign-in HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let asked = tokio::task::spawn_blocking(move || ask(listen, &chain, request));
    let (answer, version) = asked.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("Accesso operatori"), "{answer}");
    assert_eq!(version, rustls::ProtocolVersion::TLSv1_3);

    // A renewed certificate is shown to whoever connects from then on.
    certificate(fixture.folder.path(), "127.0.0.1:0");
    renew.send_replace(());
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let chain = config.chain.clone();
        if tokio::task::spawn_blocking(move || ask(listen, &chain, request)).await.is_ok() {
            break;
        }
        assert!(tokio::time::Instant::now() < end, "the old certificate is still shown");
    }

    let busy = ConsoleConfig { listen, ..config.clone() };
    let refused = again(busy).await;
    let sentence = refused.err().unwrap().to_string();
    assert!(sentence.contains("another program listens on") && sentence.contains("[console]"), "{sentence}");

    let missing = ConsoleConfig { key: fixture.folder.path().join("nothing.pem"), ..config.clone() };
    let refused = again(missing).await;
    assert!(matches!(refused.err().unwrap(), ConsoleError::Certificate { .. }));

    stop.send(true).unwrap();
    tokio::time::timeout(Duration::from_secs(20), running.ended()).await.unwrap().unwrap();
    assert!(TcpStream::connect(listen).is_err(), "nobody listens any more");
}

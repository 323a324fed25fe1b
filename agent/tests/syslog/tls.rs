//! TLS: senders with the right, a wrong and no certificate, lines without octet counting, a certificate that changes.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};
use vedetta_agent::config::{TlsFiles, Transport};

use crate::receiver::{Receiver, identities, wait_for};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for 127.0.0.1 and its key, PEM.
fn certificate(issuer: &Authority) -> (String, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![SanType::IpAddress("127.0.0.1".parse().unwrap())];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    (certificate.pem(), key.serialize_pem())
}

fn write(folder: &Path, (certificate, key): &(String, String)) {
    fs::write(folder.join("syslog.key"), key).unwrap();
    fs::write(folder.join("syslog.crt"), certificate).unwrap();
}

fn start(folder: &Path, server: &Authority, client: Option<&Authority>) -> Receiver {
    write(folder, &certificate(server));
    let client_ca = client.map(|authority| {
        fs::write(folder.join("ca.crt"), authority.pem()).unwrap();
        folder.join("ca.crt")
    });
    Receiver::start("127.0.0.1", Transport::Tls, |config| {
        config.tls = Some(TlsFiles {
            certificate: folder.join("syslog.crt"),
            key: folder.join("syslog.key"),
            client_ca,
        });
    })
}

type Sender = StreamOwned<ClientConnection, TcpStream>;

fn connect(
    receiver: &Receiver,
    server: &Authority,
    own: Option<&(String, String)>,
    version: &'static SupportedProtocolVersion,
) -> Sender {
    use rustls::pki_types::pem::PemObject as _;
    let mut roots = RootCertStore::empty();
    roots.add(server.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            builder
                .with_client_auth_cert(chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
                .unwrap()
        }
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(session, TcpStream::connect(("127.0.0.1", receiver.port)).unwrap())
}

fn send(sender: &mut Sender, number: u32) -> std::io::Result<()> {
    let message = format!("<13>blocked bad{number}.example");
    sender.write_all(format!("{} {message}", message.len()).as_bytes())?;
    sender.flush()
}

/// Sends and waits for the answer; gives whether the receiver refused.
fn is_refused(mut sender: Sender, number: u32) -> bool {
    let sent = send(&mut sender, number);
    let _ = sender.sock.shutdown(std::net::Shutdown::Write); // it may be closed already
    // An orderly end is refused by nobody; a receiver that closes without a word was done reading.
    let refused = |error: std::io::Error| error.to_string().contains("alert");
    sent.map(|()| 0).and_then(|_| sender.read(&mut [0; 9])).is_err_and(refused)
}

#[test]
fn both_versions_are_spoken() {
    let folder = tempfile::tempdir().unwrap();
    let server = authority("server");
    let receiver = start(folder.path(), &server, None);
    for (number, version) in [(0, &rustls::version::TLS12), (1, &rustls::version::TLS13)] {
        let mut sender = connect(&receiver, &server, None, version);
        send(&mut sender, number).unwrap();
        sender.conn.send_close_notify();
        sender.flush().unwrap();
        wait_for("a line", || receiver.lines() == u64::from(number) + 1);
    }
    let hits = receiver.stop();
    assert_eq!(hits.len(), 2);
    assert!(hits.iter().all(|hit| hit.input == "syslog tls 127.0.0.1"));
}

#[test]
fn senders_show_a_certificate_of_the_configured_authority() {
    let folder = tempfile::tempdir().unwrap();
    let (server, town, other) = (authority("server"), authority("town"), authority("other"));
    let receiver = start(folder.path(), &server, Some(&town));
    let version = &rustls::version::TLS13;
    assert!(is_refused(connect(&receiver, &server, None, version), 0));
    assert!(is_refused(connect(&receiver, &server, Some(&certificate(&other)), version), 1));
    wait_for("two refusals", || receiver.refused("syslog_handshakes_failed") >= 2);
    let listener = &receiver.statuses("listen")[0];
    assert!(listener.trouble.contains("TLS with 127.0.0.1 failed"), "{}", listener.trouble);
    assert!(!is_refused(connect(&receiver, &server, Some(&certificate(&town)), version), 2));
    wait_for("a line", || receiver.lines() == 1);
    let hits = receiver.stop();
    assert_eq!(hits.iter().map(|hit| hit.observable.to_string()).collect::<Vec<_>>(), ["bad2.example"]);
}

#[test]
fn octet_counting_is_mandatory() {
    let folder = tempfile::tempdir().unwrap();
    let server = authority("server");
    let receiver = start(folder.path(), &server, None);
    let mut sender = connect(&receiver, &server, None, &rustls::version::TLS13);
    sender.write_all(b"<13>blocked bad0.example\n").unwrap();
    wait_for("the refusal", || receiver.refused("syslog_frames_malformed") == 1);
    let status = receiver.status("syslog tls 127.0.0.1").unwrap();
    assert!(status.trouble.contains("octet counting"), "{}", status.trouble);
    assert_eq!(receiver.stop().len(), 0);
}

#[test]
fn a_certificate_that_changes_is_read_again_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let (server, next) = (authority("server"), authority("next"));
    let receiver = start(folder.path(), &server, None);
    let works = |issuer: &Authority, number: u32| {
        let mut sender = connect(&receiver, issuer, None, &rustls::version::TLS13);
        send(&mut sender, number).is_ok()
    };
    assert!(works(&server, 0));
    fs::write(folder.path().join("syslog.crt"), "no certificate").unwrap();
    let trouble = || receiver.statuses("listen")[0].trouble.clone();
    wait_for("the trouble", || trouble().contains("syslog.tls_certificate"));
    assert!(works(&server, 1), "the old one stays in force");
    write(folder.path(), &certificate(&next));
    wait_for("the next one", || works(&next, 2));
    wait_for("no trouble", || trouble().is_empty() || trouble().contains("TLS with"));
    wait_for("the lines", || receiver.lines() >= 3);
    assert_eq!(identities(&receiver.stop()).len(), 3);
}

//! Pushes to a small collector of the tests' own, over real QUIC and mutual TLS on loopback.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use protocol::frame::FrameDecoder;
use protocol::{ALPN_PUSH, COLLECTOR_SERVER_NAME, Serial, frame};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, RecvStream, SendStream, ServerConfig, VarInt};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use serde::Serialize;
use tempfile::TempDir;

use super::*;
use crate::{files, keys, sign};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A desk's folder with a signed repository and an identity that `authority` issued.
fn desk(authority: &Authority) -> TempDir {
    let home = TempDir::new().unwrap();
    let path = |below: &str| home.path().join(below);
    keys::generate(&path("keys"), None).unwrap();
    let mut imported = crate::import::Imported::default();
    crate::import::read::contents(b"evil.example\n", "l.txt", &mut imported).unwrap();
    let options =
        crate::bundle::Options { issuer: "cosc-esempio".into(), serial: Some(4), ..Default::default() };
    crate::bundle::write(&imported, &options, protocol::Timestamp::default(), &path("bundle")).unwrap();
    sign::sign_bundle(&path("keys"), &path("repository"), &path("bundle")).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::default().signed_by(&key, authority).unwrap();
    files::private_folder(&path("identity")).unwrap();
    fs::write(path("identity/desk.key"), key.serialize_pem()).unwrap();
    fs::write(path("identity/chain.pem"), leaf.pem() + &authority.pem()).unwrap();
    home
}

/// What the tests' collector does with a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Accept,
    Refuse,
    Close,
}

struct Collector {
    address: SocketAddr,
    /// The files it received.
    thread: JoinHandle<Vec<(String, Vec<u8>)>>,
}

fn collector(authority: &Authority, answer: Answer) -> Collector {
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new([COLLECTOR_SERVER_NAME.to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, authority).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    tls.alpn_protocols = vec![ALPN_PUSH.to_vec()];
    let config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let (tell, told) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        repository::block_on(async move {
            let endpoint = Endpoint::server(config, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
            tell.send(endpoint.local_addr().unwrap()).unwrap();
            let Ok(connection) = endpoint.accept().await.unwrap().await else { return Vec::new() };
            let received = match answer {
                Answer::Close => {
                    connection.close(VarInt::from_u32(2), b"this certificate is a sensor's");
                    Vec::new()
                }
                answer => {
                    let (send, recv) = connection.accept_bi().await.unwrap();
                    let received = take(send, recv, answer).await;
                    connection.closed().await;
                    received
                }
            };
            endpoint.wait_idle().await;
            received
        })
        .unwrap()
    });
    Collector { address: told.recv().unwrap(), thread }
}

async fn take(mut send: SendStream, mut recv: RecvStream, answer: Answer) -> Vec<(String, Vec<u8>)> {
    let mut decoder = FrameDecoder::default();
    let DeskMessage::Offer { files, .. } = next(&mut recv, &mut decoder).await else { panic!("no offer") };
    if answer == Answer::Refuse {
        say(&mut send, &PushReply::Refused { reason: "the timestamp has expired\u{1b}[2J".into() }).await;
        return Vec::new();
    }
    let paths = files.iter().map(|file| file.path.clone()).collect();
    say(&mut send, &PushReply::Want { paths }).await;
    let mut received = Vec::new();
    for file in files {
        let mut contents = Vec::new();
        while (contents.len() as u64) < file.bytes {
            let DeskMessage::Chunk { bytes } = next(&mut recv, &mut decoder).await else {
                panic!("no chunk")
            };
            assert!(!bytes.is_empty() && bytes.len() <= CHUNK_BYTES_MAX);
            contents.extend(bytes);
        }
        received.push((file.path.to_string(), contents));
    }
    say(&mut send, &PushReply::Accepted { serial: Serial(4), indicators: 1, connected: 2 }).await;
    received
}

async fn say<M: Serialize>(send: &mut SendStream, message: &M) {
    send.write_all(&frame::encode(message).unwrap()).await.unwrap();
}

async fn next(recv: &mut RecvStream, decoder: &mut FrameDecoder) -> DeskMessage {
    loop {
        if let Some(message) = decoder.poll_message().unwrap() {
            return message;
        }
        decoder.handle_bytes(&recv.read_chunk(1 << 16, true).await.unwrap().unwrap().bytes);
    }
}

fn pushed(home: &TempDir, collector: &Collector) -> Result<Outcome> {
    let path = |below: &str| -> PathBuf { home.path().join(below) };
    let address = collector.address.to_string();
    let what = What { repository: &path("repository"), rollout: None };
    run(&address, &path("identity"), what, Follow::No, Print::Json)
}

#[test]
fn every_file_arrives_as_it_is() {
    let authority = authority();
    let home = desk(&authority);
    let collector = collector(&authority, Answer::Accept);
    assert_eq!(pushed(&home, &collector).unwrap(), Outcome::Done);
    let received = collector.thread.join().unwrap();
    let names: Vec<&str> = received.iter().map(|(name, _)| name.as_str()).collect();
    assert!(names[0].starts_with("targets/"), "{names:?}");
    assert!(
        names.contains(&"metadata/timestamp.json") && names.contains(&"metadata/1.root.json"),
        "{names:?}"
    );
    for (name, bytes) in &received {
        assert_eq!(&fs::read(home.path().join("repository").join(name)).unwrap(), bytes, "{name}");
    }
}

#[test]
fn a_refusal_is_no_success() {
    let authority = authority();
    let home = desk(&authority);
    let collector = collector(&authority, Answer::Refuse);
    assert_eq!(pushed(&home, &collector).unwrap(), Outcome::Partly);
    collector.thread.join().unwrap();
}

#[test]
fn the_reason_of_a_closed_connection_is_told() {
    let authority = authority();
    let home = desk(&authority);
    let collector = collector(&authority, Answer::Close);
    let error = format!("{:#}", pushed(&home, &collector).unwrap_err());
    assert!(error.contains("this certificate is a sensor's"), "{error}");
    collector.thread.join().unwrap();
}

#[test]
fn another_collector_is_not_believed() {
    let home = desk(&authority());
    let collector = collector(&authority(), Answer::Accept);
    let error = format!("{:#}", pushed(&home, &collector).unwrap_err());
    assert!(error.contains("chain.pem must come from this collector"), "{error}");
    assert!(collector.thread.join().unwrap().is_empty());
}

#[test]
fn a_stranger_is_told_that_its_certificate_is_refused() {
    let (ours, theirs) = (authority(), authority());
    let home = desk(&ours);
    let stranger = desk(&theirs);
    let leaf = fs::read_to_string(stranger.path().join("identity/chain.pem")).unwrap();
    let leaf = leaf.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap().to_owned();
    fs::write(home.path().join("identity/chain.pem"), leaf + &ours.pem()).unwrap();
    fs::copy(stranger.path().join("identity/desk.key"), home.path().join("identity/desk.key")).unwrap();
    let collector = collector(&ours, Answer::Accept);
    let error = format!("{:#}", pushed(&home, &collector).unwrap_err());
    assert!(error.contains("admit this desk"), "{error}");
    assert!(collector.thread.join().unwrap().is_empty());
}

#[test]
fn an_identity_that_is_not_whole_says_how_to_get_one() {
    let authority = authority();
    let home = desk(&authority);
    let identity = home.path().join("identity");
    fs::write(identity.join("chain.pem"), authority.pem()).unwrap();
    let refused = || {
        format!(
            "{:#}",
            run(
                "127.0.0.1:1",
                &identity,
                What { repository: &home.path().join("repository"), rollout: None },
                Follow::No,
                Print::Text
            )
            .unwrap_err()
        )
    };
    assert!(refused().contains("admit-desk"), "{}", refused());
    fs::remove_file(identity.join("chain.pem")).unwrap();
    assert!(refused().contains("admit-desk"), "{}", refused());
    fs::remove_file(identity.join("desk.key")).unwrap();
    assert!(refused().contains("desk.key"), "{}", refused());
}

#[test]
fn sentences_hold_no_control_characters() {
    let refused = PushReply::Refused { reason: "no\u{1b}[2J".into() };
    assert_eq!(sentence(&refused).unwrap(), "refused: no\u{fffd}[2J");
    let outcome = BundleOutcome::Applied { indicators: 3 };
    let progress =
        PushReply::Progress { comune: "Borgo Chiaro".into(), agent: "07".into(), serial: Serial(4), outcome };
    assert_eq!(sentence(&progress).unwrap(), "Borgo Chiaro (07): bundle 4 in force, 3 indicators");
}

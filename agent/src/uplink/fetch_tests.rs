//! A bundle fetched over connections that are cut, by the collector or by the sensor's own end, at places that a seed
//! chooses; the server is a real one on loopback.

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use futures_util::StreamExt as _;
use protocol::COLLECTOR_SERVER_NAME;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::RootCertStore;
use rustls_pki_types::PrivateKeyDer;
use tempfile::TempDir;

use super::*;
use crate::times::times;

const NAME: &str = "vedetta:///targets/abc.bundle-1.jsonl.zst";

/// A collector with one file: where it was asked to begin, and after how many bytes it ends the file early.
struct Server {
    endpoint: Endpoint,
    client: ClientConfig,
    offsets: Arc<Mutex<Vec<u64>>>,
    ends_after: Arc<Mutex<Option<u64>>>,
}

impl Server {
    fn new(file: Vec<u8>) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new([COLLECTOR_SERVER_NAME.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13];
        let tls = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
            .unwrap();
        let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
        let endpoint = Endpoint::server(server, (Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(issuer.der().clone()).unwrap();
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let client = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
        let (offsets, ends_after) = (Arc::default(), Arc::default());
        let server = Self { endpoint, client, offsets, ends_after };
        let (accepting, offsets, ends_after) =
            (server.endpoint.clone(), Arc::clone(&server.offsets), Arc::clone(&server.ends_after));
        tokio::spawn(async move {
            while let Some(incoming) = accepting.accept().await {
                let Ok(connection) = incoming.await else { continue };
                while let Ok((mut send, mut receive)) = connection.accept_bi().await {
                    let mut length = [0; LENGTH_BYTES];
                    receive.read_exact(&mut length).await.unwrap();
                    let mut frame = vec![0; decode_length(length).unwrap()];
                    receive.read_exact(&mut frame).await.unwrap();
                    let request: FetchRequest = decode(&frame).unwrap();
                    offsets.lock().unwrap().push(request.offset);
                    let found = FetchReply::Found { bytes: file.len() as u64 };
                    send.write_all(&encode(&found).unwrap()).await.unwrap();
                    let from = usize::try_from(request.offset).unwrap().min(file.len());
                    let ends = ends_after.lock().unwrap().take();
                    let to =
                        ends.map_or(file.len(), |ends| file.len().min(from + usize::try_from(ends).unwrap()));
                    // A sensor that is gone is no error here.
                    let _ = send.write_all(&file[from..to]).await;
                    let _ = send.finish();
                }
            }
        });
        server
    }

    async fn transport(&self, folder: &Path) -> (CollectorTransport, Endpoint) {
        let endpoint = Endpoint::client((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let address = self.endpoint.local_addr().unwrap();
        let connecting = endpoint.connect_with(self.client.clone(), address, COLLECTOR_SERVER_NAME).unwrap();
        (CollectorTransport::new(connecting.await.unwrap(), folder.to_owned()), endpoint)
    }

    fn last_offset(&self) -> u64 {
        *self.offsets.lock().unwrap().last().unwrap()
    }
}

/// Reads a file until its end, or until the sensor itself breaks off.
async fn read(transport: &CollectorTransport, url: &str, break_off_after: usize) -> Result<Vec<u8>, String> {
    let stream = transport.fetch(Url::parse(url).unwrap()).await;
    let mut stream = stream.map_err(|error| format!("{error:?}"))?;
    let mut whole = Vec::new();
    while let Some(chunk) = stream.next().await {
        whole.extend_from_slice(&chunk.map_err(|error| format!("{error:?}"))?);
        if whole.len() >= break_off_after {
            return Err("broken off".into());
        }
    }
    Ok(whole)
}

fn held(folder: &Path) -> Vec<u64> {
    let files = std::fs::read_dir(folder).into_iter().flatten();
    files.map(|file| file.unwrap().metadata().unwrap().len()).collect()
}

fn content(bytes: usize) -> Vec<u8> {
    let mut seed = 88_172_645_463_325_252_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed.to_le_bytes()[0]
    };
    (0..bytes).map(|_| next()).collect()
}

#[tokio::test]
async fn an_interrupted_bundle_goes_on_where_it_stopped() {
    let cuts = times("VEDETTA_FETCH_CUTS", 24);
    let file = content(3 << 20);
    let server = Server::new(file.clone());
    let folder = TempDir::new().unwrap();
    let mut seed = 1_u64;
    let (mut before, mut done) = (0, None);
    for cut in 0..=cuts {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let some = (seed >> 33) % (2 * file.len() as u64 / cuts.max(1)) + 1;
        // Every second time the collector ends it, else the sensor.
        if cut < cuts && cut % 2 == 0 {
            *server.ends_after.lock().unwrap() = Some(some);
        }
        let break_off =
            if cut < cuts && cut % 2 == 1 { usize::try_from(before + some).unwrap() } else { usize::MAX };
        let (transport, _endpoint) = server.transport(folder.path()).await;
        let result = read(&transport, NAME, break_off).await;
        // Not a byte that came is asked for again, and none is passed over.
        assert_eq!(server.last_offset(), before, "cut {cut}");
        if let Ok(whole) = result {
            done = Some(whole);
            break;
        }
        let [bytes] = held(folder.path())[..] else { panic!("one file is held") };
        assert!(bytes > before && bytes <= file.len() as u64, "{before} to {bytes}");
        before = bytes;
    }
    assert!(done.unwrap() == file, "the whole is what was sent");
    assert!(held(folder.path()).is_empty(), "nothing is left");
}

#[tokio::test]
async fn what_is_held_is_thrown_away_for_another_file_or_when_it_is_refused() {
    let file = content(300_000);
    let server = Server::new(file.clone());
    let folder = TempDir::new().unwrap();
    let (transport, _endpoint) = server.transport(folder.path()).await;
    assert!(read(&transport, NAME, 100_000).await.is_err());
    assert!(held(folder.path())[0] >= 100_000);
    // Metadata is small, has one name for many contents, and leaves it alone.
    assert_eq!(read(&transport, "vedetta:///metadata/timestamp.json", usize::MAX).await.unwrap(), file);
    assert_eq!((server.last_offset(), held(folder.path()).len()), (0, 1));
    let other = "vedetta:///targets/def.bundle-2.jsonl.zst";
    assert!(read(&transport, other, 100_000).await.is_err());
    assert_eq!((server.last_offset(), held(folder.path()).len()), (0, 1));
    // Damaged on the disk: the verification refuses the whole, and the next fetch begins anew.
    assert!(!transport.forget_partial().await, "nothing had gone on from it");
    std::fs::write(folder.path().join("abc.bundle-1.jsonl.zst"), [0; 70_000]).unwrap();
    let wrong = read(&transport, NAME, usize::MAX).await.unwrap();
    assert!(wrong.len() == file.len() && wrong != file);
    assert!(transport.forget_partial().await && !transport.forget_partial().await);
    assert_eq!(read(&transport, NAME, usize::MAX).await.unwrap(), file);
    // More than the file has.
    std::fs::write(folder.path().join("abc.bundle-1.jsonl.zst"), vec![0; 400_000]).unwrap();
    assert_eq!(read(&transport, NAME, usize::MAX).await.unwrap(), file);
}

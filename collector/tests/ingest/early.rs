//! What a client may try before its handshake is over: tickets, early data, an older TLS.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::{ALPN_SESSION, COLLECTOR_SERVER_NAME};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::client::{
    ClientSessionMemoryCache, ClientSessionStore, Resumption, Tls12ClientSessionValue,
    Tls13ClientSessionValue,
};
use rustls::quic::{ClientConnection, Keys, Version};
use rustls::{NamedGroup, Side};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::process::{Collector, DEADLINE};
use crate::sensor::{Credentials, authority, client_tls};

/// Keeps tickets and counts them.
#[derive(Debug)]
pub struct Tickets {
    kept: ClientSessionMemoryCache,
    given: AtomicUsize,
}

impl Default for Tickets {
    fn default() -> Self {
        Self { kept: ClientSessionMemoryCache::new(8), given: AtomicUsize::new(0) }
    }
}

impl Tickets {
    pub fn given(&self) -> usize {
        self.given.load(Ordering::Relaxed)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, name: ServerName<'static>, group: NamedGroup) {
        self.kept.set_kx_hint(name, group);
    }
    fn kx_hint(&self, name: &ServerName<'_>) -> Option<NamedGroup> {
        self.kept.kx_hint(name)
    }
    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}
    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }
    fn remove_tls12_session(&self, _: &ServerName<'static>) {}
    fn insert_tls13_ticket(&self, name: ServerName<'static>, ticket: Tls13ClientSessionValue) {
        self.given.fetch_add(1, Ordering::Relaxed);
        self.kept.insert_tls13_ticket(name, ticket);
    }
    fn take_tls13_ticket(&self, name: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.kept.take_tls13_ticket(name)
    }
}

fn tls(
    collector: &Collector,
    credentials: Option<&Credentials>,
    tickets: &Arc<Tickets>,
) -> rustls::ClientConfig {
    let mut tls = client_tls(authority(collector), ALPN_SESSION, credentials);
    tls.resumption = Resumption::store(Arc::clone(tickets) as Arc<dyn ClientSessionStore>);
    tls.enable_early_data = true;
    tls
}

/// A client that resumes and sends early data whenever it can.
pub fn client(
    collector: &Collector,
    credentials: Option<&Credentials>,
    tickets: &Arc<Tickets>,
) -> ClientConfig {
    let tls = tls(collector, credentials, tickets);
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

/// Connects to a server that has the collector's key and, unlike it, gives tickets for early data.
pub async fn fetch_tickets(collector: &Collector, client: &Endpoint, config: &ClientConfig) {
    let chain = CertificateDer::pem_file_iter(collector.state("server/chain.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(collector.state("server/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN_SESSION.to_vec()];
    tls.max_early_data_size = u32::MAX;
    let server = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()));
    let server = Endpoint::server(server, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = server.local_addr().unwrap();
    let connecting = client.connect_with(config.clone(), address, COLLECTOR_SERVER_NAME).unwrap();
    let (connected, served) =
        tokio::join!(connecting, async { server.accept().await.unwrap().await.unwrap() });
    // The tickets come before the first stream's bytes.
    let mut send = served.open_uni().await.unwrap();
    send.write_all(b"x").await.unwrap();
    send.finish().unwrap();
    let mut recv = connected.unwrap().accept_uni().await.unwrap();
    recv.read_to_end(1).await.unwrap();
}

/// The close code (RFC 9000 §20.1) that answers a client which offers TLS 1.2 and nothing else; 0 for none.
pub async fn hello_of_tls_1_2(collector: &Collector) -> u64 {
    answer_to(collector, |hello| {
        // supported_versions (RFC 8446 §4.2.1) with one entry: 1.3 becomes 1.2.
        let offered = [0, 43, 0, 3, 2, 3, 4];
        let at = hello.windows(offered.len()).position(|bytes| bytes == offered).unwrap();
        hello[at + offered.len() - 1] = 3;
    })
    .await
}

/// The same packet unchanged.
pub async fn hello_as_it_should_be(collector: &Collector) -> u64 {
    answer_to(collector, |_| {}).await
}

/// Whether the first answer to a hello from this address is a Retry (RFC 9000 §17.2.5).
pub async fn is_asked_to_prove(collector: &Collector, local: &str) -> bool {
    let (_, first) = Hello::send(collector, local, |_| {}).await.answer().await;
    first.first().is_some_and(|byte| byte & 0x30 == 0x30)
}

async fn answer_to(collector: &Collector, change: impl FnOnce(&mut [u8])) -> u64 {
    let mut hello = Hello::send(collector, "127.0.0.1:0", change).await;
    loop {
        let (again, answer) = hello.answer().await;
        if let Some(code) = close_code_in(&again.keys, answer) {
            return code;
        }
        hello = again;
    }
}

/// A hello that was sent, by hand.
struct Hello {
    keys: Keys,
    socket: tokio::net::UdpSocket,
}

impl Hello {
    async fn send(collector: &Collector, local: &str, change: impl FnOnce(&mut [u8])) -> Self {
        let config = Arc::new(tls(collector, None, &Arc::new(Tickets::default())));
        let name = ServerName::try_from(COLLECTOR_SERVER_NAME).unwrap();
        // Transport parameters (RFC 9000 §18): nothing but the identifier that this end has, an empty one.
        let mut session = ClientConnection::new(config, Version::V1, name, vec![0x0f, 0]).unwrap();
        let mut hello = Vec::new();
        session.write_hs(&mut hello);
        change(&mut hello);
        let theirs: [u8; 8] = rand::random();
        let suite = rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13().unwrap();
        let keys = Keys::initial(Version::V1, suite, suite.quic.unwrap(), &theirs, Side::Client);
        let socket = tokio::net::UdpSocket::bind(local).await.unwrap();
        for packet in initial_packets(&keys, &theirs, &hello) {
            socket.send_to(&packet, collector.ingest).await.unwrap();
        }
        Self { keys, socket }
    }

    async fn answer(self) -> (Self, Vec<u8>) {
        let mut answer = vec![0; 2048];
        let bytes = tokio::time::timeout(DEADLINE, self.socket.recv(&mut answer)).await.unwrap().unwrap();
        answer.truncate(bytes);
        (self, answer)
    }
}

/// A hello in Initial packets (RFC 9000 §17.2.2), each in a datagram of full size.
fn initial_packets(keys: &Keys, theirs: &[u8], hello: &[u8]) -> Vec<Vec<u8>> {
    const PAYLOAD: usize = 1180;
    const CHUNK: usize = PAYLOAD - 60;
    let packet = |(number, chunk): (usize, &[u8])| {
        let mut payload = vec![6];
        payload.extend(long(number * CHUNK));
        payload.extend(long(chunk.len()));
        payload.extend(chunk);
        payload.resize(PAYLOAD, 0);
        let mut header = vec![0xc3, 0, 0, 0, 1, 8];
        header.extend(theirs);
        header.extend([0, 0]);
        header.extend(long(4 + PAYLOAD + keys.local.packet.tag_len()));
        let number_at = header.len();
        header.extend(u32::try_from(number).unwrap().to_be_bytes());
        let tag = keys.local.packet.encrypt_in_place(number as u64, &header, &mut payload).unwrap();
        payload.extend(tag.as_ref());
        let (first, rest) = header.split_first_mut().unwrap();
        // The sample begins four bytes after the number does, which are the number's own here.
        keys.local.header.encrypt_in_place(&payload[..16], first, &mut rest[number_at - 1..]).unwrap();
        header.extend(payload);
        header
    };
    hello.chunks(CHUNK).enumerate().map(packet).collect()
}

/// A number in two bytes (RFC 9000 §16).
fn long(number: usize) -> [u8; 2] {
    (u16::try_from(number).unwrap() | 0x4000).to_be_bytes()
}

/// The code of a close, 0 for a server hello, nothing for a mere acknowledgement.
fn close_code_in(keys: &Keys, mut answer: Vec<u8>) -> Option<u64> {
    // First byte and version, both identifiers, the token and the length.
    let mut at = 5;
    for _ in 0..2 {
        at += 1 + usize::from(answer[at]);
    }
    let (token, after) = number(&answer, at);
    let (length, number_at) = number(&answer, after + usize::try_from(token).unwrap());
    let end = number_at + usize::try_from(length).unwrap();
    let sample = answer[number_at + 4..number_at + 20].to_vec();
    let (first, rest) = answer.split_first_mut().unwrap();
    keys.remote.header.decrypt_in_place(&sample, first, &mut rest[number_at - 1..number_at + 3]).unwrap();
    let header_end = number_at + usize::from(answer[0] & 3) + 1;
    let packet = answer[number_at..header_end].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    let (header, payload) = answer[..end].split_at_mut(header_end);
    let payload = keys.remote.packet.decrypt_in_place(packet, header, payload).unwrap();
    let mut at = 0;
    while at < payload.len() {
        match payload[at] {
            0 | 1 => at += 1,
            // An acknowledgement with one range: four numbers.
            2 => at = (0..4).fold(at + 1, |next, _| number(payload, next).1),
            0x1c => return Some(number(payload, at + 1).0),
            _ => return Some(0),
        }
    }
    None
}

/// A number of variable length, and where it ends.
fn number(bytes: &[u8], at: usize) -> (u64, usize) {
    let length = 1 << (bytes[at] >> 6);
    let first = u64::from(bytes[at] & 0x3f);
    let rest = &bytes[at + 1..at + length];
    (rest.iter().fold(first, |sum, byte| sum << 8 | u64::from(*byte)), at + length)
}

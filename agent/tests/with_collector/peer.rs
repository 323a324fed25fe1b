//! A collector in the test's own process: a real QUIC server with an authority of its own, the protocol's
//! collector end, and a store in memory. Told to misbehave where a test wants that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use protocol::enrolment::{EnrolRefusal, EnrolReply, EnrolRequest, EnrolmentCode};
use protocol::frame::{FrameDecoder, LENGTH_BYTES, decode, decode_length, encode};
use protocol::identity::{AgentId, Epoch};
use protocol::message::{AgentMessage, CollectorMessage, Record, SourceStatus};
use protocol::session::{CollectorEvent, CollectorSession, SessionLimits};
use protocol::{COLLECTOR_SERVER_NAME, HitId, Timestamp};
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, Incoming, ServerConfig, VarInt};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer, IsCa, KeyPair,
    SanType,
};
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use tokio::sync::oneshot;
use vedetta_agent::identity::{Draft, Enrolment, Identity};

pub const AGENT: AgentId = AgentId([7; 16]);
pub const SECRET: [u8; 16] = [3; 16];
pub const ROOT: &str = "{\"root\":true}";
const DEADLINE: Duration = Duration::from_secs(60);

/// Waits for a condition; fails with what was waited for.
pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.issuer.der()).into()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    fn server(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![COLLECTOR_SERVER_NAME.to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        let chain = vec![leaf.der().clone(), self.issuer.der().clone()];
        (chain, PrivateKeyDer::try_from(key.serialize_der()).unwrap())
    }

    /// The chain for an agent's request, as enrolment and renewal give it.
    pub fn sign(&self, request_pem: &str, days: std::ops::Range<i64>) -> String {
        let mut request = CertificateSigningRequestParams::from_pem(request_pem).unwrap();
        request.params.subject_alt_names = vec![uri()];
        good_for(&mut request.params, days);
        format!("{}{}", request.signed_by(&self.issuer).unwrap().pem(), self.pem())
    }

    /// An identity as enrolment leaves it.
    pub fn enrol(&self, state_dir: &Path, address: SocketAddr) -> Identity {
        self.enrol_for(state_dir, address, -1..30)
    }

    /// The same with a certificate that is good from the one day to the other, counted from today.
    pub fn enrol_for(&self, state_dir: &Path, address: SocketAddr, days: std::ops::Range<i64>) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![uri()];
        good_for(&mut params, days);
        let chain = format!("{}{}", params.signed_by(&key, &self.issuer).unwrap().pem(), self.pem());
        let draft = Draft::begin(state_dir).unwrap();
        draft.write_key(&key.serialize_pem()).unwrap();
        let enrolment =
            Enrolment { agent: AGENT, comune: "Borgo Chiaro".into(), addresses: vec![address.to_string()] };
        draft.finish(&enrolment, &chain, &self.pem(), ROOT.as_bytes()).unwrap();
        Identity::read(state_dir).unwrap()
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
}

/// From the one day to the other, counted from today.
fn good_for(params: &mut CertificateParams, days: std::ops::Range<i64>) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let at = |day: i64| {
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now.checked_add_signed(day * 86_400).unwrap())
    };
    (params.not_before, params.not_after) = (at(days.start), at(days.end));
}

fn uri() -> SanType {
    SanType::URI(format!("urn:vedetta:comune:999001:agent:{AGENT}").try_into().unwrap())
}

/// What a collector keeps over restarts.
#[derive(Default)]
pub struct Store {
    /// What is committed of each epoch.
    pub stored: BTreeMap<[u8; 16], u64>,
    /// How often each hit was inserted, repeats of its identity aside.
    pub hits: BTreeMap<HitId, u64>,
    /// Losses as they came.
    pub losses: Vec<protocol::message::Loss>,
    pub gaps: u64,
    pub statuses: Vec<Vec<SourceStatus>>,
    pub bundles: Vec<String>,
    /// Certificates of the sessions that were welcomed (SHA-256).
    pub welcomed: Vec<[u8; 32]>,
    /// Requests for the next certificate.
    pub renewals: u64,
}

/// How the collector misbehaves.
#[derive(Default)]
pub struct Mood {
    /// Closes each connection with this code instead of a welcome; 0 for none.
    pub refuse: AtomicU64,
    /// Closes the connection after a commit, before the acknowledgement, this many times.
    pub die_before_ack: AtomicU64,
    /// Claims to have this many records more of every epoch than it has.
    pub claim_more: AtomicU64,
    /// Answers enrolments with `Used`.
    pub used: AtomicBool,
    /// Gives another COSC root at enrolment.
    pub other_root: AtomicBool,
    /// Says nothing of renewal, as an older collector.
    pub old: AtomicBool,
    /// How it answers a renewal.
    pub renewal: Mutex<Renewal>,
}

/// How a collector answers the request for the next certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    #[default]
    Right,
    Refused,
    OtherKey,
    OtherAuthority,
    NotLonger,
    Rubbish,
}

/// A running collector, in a thread with a runtime of its own.
pub struct Peer {
    pub address: SocketAddr,
    pub store: Arc<Mutex<Store>>,
    pub mood: Arc<Mood>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

struct Served {
    store: Arc<Mutex<Store>>,
    mood: Arc<Mood>,
    authority: Arc<Authority>,
}

impl Peer {
    pub fn start(authority: &Arc<Authority>, address: &str, store: Arc<Mutex<Store>>) -> Self {
        let mood = Arc::new(Mood::default());
        let served = Served { store: store.clone(), mood: mood.clone(), authority: authority.clone() };
        let (stop, stopped) = oneshot::channel();
        let (listening, listens) = std::sync::mpsc::channel();
        let address: SocketAddr = address.parse().unwrap();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(listen(Arc::new(served), address, listening, stopped));
        });
        let address = listens.recv().unwrap();
        Self { address, store, mood, stop: Some(stop), thread: Some(thread) }
    }

    pub fn hits(&self) -> usize {
        self.store.lock().unwrap().hits.len()
    }

    /// Ends every connection as a restart would, and frees the port.
    pub fn stop(mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }

    /// The code that an operator hands out.
    pub fn code(&self, authority: &Authority) -> EnrolmentCode {
        EnrolmentCode {
            addresses: vec![self.address.to_string()],
            authority_sha256: authority.sha256(),
            root_sha256: Sha256::digest(ROOT.as_bytes()).into(),
            secret: SECRET,
        }
    }
}

async fn listen(
    served: Arc<Served>,
    address: SocketAddr,
    listening: std::sync::mpsc::Sender<SocketAddr>,
    mut stopped: oneshot::Receiver<()>,
) {
    let endpoint = Endpoint::server(server_config(&served.authority), address).unwrap();
    listening.send(endpoint.local_addr().unwrap()).unwrap();
    loop {
        tokio::select! {
            Some(incoming) = endpoint.accept() => drop(tokio::spawn(serve(served.clone(), incoming))),
            _ = &mut stopped => break,
        }
    }
    endpoint.close(VarInt::from_u32(5), b"going away");
    let _ = tokio::time::timeout(Duration::from_secs(1), endpoint.wait_idle()).await;
}

fn server_config(authority: &Authority) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .unwrap();
    let (chain, key) = authority.server();
    let mut tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .unwrap();
    tls.alpn_protocols = vec![protocol::ALPN_SESSION.to_vec(), protocol::ALPN_ENROL.to_vec()];
    tls.send_tls13_tickets = 0;
    ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls).unwrap()))
}

async fn serve(served: Arc<Served>, incoming: Incoming) {
    let Ok(connection) = incoming.await else { return };
    let alpn = connection
        .handshake_data()
        .and_then(|data| data.downcast::<quinn::crypto::rustls::HandshakeData>().ok())
        .and_then(|data| data.protocol);
    let ended = if alpn.as_deref() == Some(protocol::ALPN_ENROL) {
        enrol(&served, &connection).await
    } else {
        session(&served, &connection).await
    };
    if let Err(Closed { code, reason }) = ended {
        connection.close(VarInt::from_u32(code), reason.as_bytes());
    }
}

struct Closed {
    code: u32,
    reason: String,
}

fn closed(error: impl std::fmt::Display) -> Closed {
    Closed { code: 4, reason: error.to_string() }
}

async fn enrol(served: &Served, connection: &Connection) -> Result<(), Closed> {
    let (mut send, mut receive) = connection.accept_bi().await.map_err(closed)?;
    let mut length = [0; LENGTH_BYTES];
    receive.read_exact(&mut length).await.map_err(closed)?;
    let mut frame = vec![0; decode_length(length).map_err(closed)?];
    receive.read_exact(&mut frame).await.map_err(closed)?;
    let request: EnrolRequest = decode(&frame).map_err(closed)?;
    let reply = if served.mood.used.load(Ordering::Relaxed) {
        EnrolReply::Refused { reason: EnrolRefusal::Used }
    } else if request.secret != SECRET {
        EnrolReply::Refused { reason: EnrolRefusal::Unknown }
    } else {
        let other = served.mood.other_root.load(Ordering::Relaxed);
        EnrolReply::Enrolled {
            agent: AGENT,
            comune: "Borgo Chiaro".into(),
            chain_pem: served.authority.sign(&request.request_pem, -1..30),
            addresses: vec!["collector.example:4740".into()],
            cosc_root: if other { "{}".into() } else { ROOT.into() },
        }
    };
    send.write_all(&encode(&reply).map_err(closed)?).await.map_err(closed)?;
    send.finish().map_err(closed)?;
    connection.closed().await;
    Ok(())
}

async fn session(served: &Served, connection: &Connection) -> Result<(), Closed> {
    let refuse = served.mood.refuse.load(Ordering::Relaxed);
    if refuse > 0 {
        return Err(Closed { code: u32::try_from(refuse).unwrap(), reason: "not this one".into() });
    }
    let shown = connection.peer_identity().unwrap().downcast::<Vec<CertificateDer<'static>>>().unwrap();
    let (mut send, mut receive) = connection.accept_bi().await.map_err(closed)?;
    let mut session = CollectorSession::new(SessionLimits::default());
    let mut decoder = FrameDecoder::default();
    let mut epoch = Epoch([0; 16]);
    loop {
        let Some(chunk) = receive.read_chunk(64 << 10, true).await.map_err(closed)? else { return Ok(()) };
        decoder.handle_bytes(&chunk.bytes);
        while let Some(message) = decoder.poll_message::<AgentMessage>().map_err(closed)? {
            session.handle_message(now(), message).map_err(closed)?;
        }
        while let Some(event) = session.poll_event() {
            handle(served, &mut session, &mut epoch, event)?;
        }
        while let Some(mut message) = session.poll_transmit() {
            if let CollectorMessage::Welcome { capabilities, .. } = &mut message {
                served.store.lock().unwrap().welcomed.push(Sha256::digest(&shown[0]).into());
                if served.mood.old.load(Ordering::Relaxed) {
                    capabilities.clear();
                }
            }
            send.write_all(&encode(&message).map_err(closed)?).await.map_err(closed)?;
        }
    }
}

fn handle(
    served: &Served,
    session: &mut CollectorSession,
    epoch: &mut Epoch,
    event: CollectorEvent,
) -> Result<(), Closed> {
    let mut store = served.store.lock().unwrap();
    match event {
        CollectorEvent::Hello { epoch: theirs, .. } => {
            *epoch = theirs;
            let claimed = served.mood.claim_more.swap(0, Ordering::Relaxed);
            let stored = store.stored.get(&theirs.0).copied().unwrap_or(0);
            session.handle_stored(now(), stored + claimed);
        }
        CollectorEvent::Commit { first, records } => {
            let last = first + records.len() as u64 - 1;
            for record in records {
                match record {
                    Record::Hit(hit) => {
                        let count = store.hits.entry(hit.hit_id).or_default();
                        *count = (*count).max(hit.count);
                    }
                    Record::Loss(loss) => store.losses.push(loss),
                    Record::Unknown => {}
                }
            }
            store.stored.insert(epoch.0, last);
            let die = served.mood.die_before_ack.load(Ordering::Relaxed);
            if die > 0 {
                served.mood.die_before_ack.store(die - 1, Ordering::Relaxed);
                return Err(Closed { code: 5, reason: "going away".into() });
            }
            session.handle_committed(last);
        }
        CollectorEvent::Gap { .. } => store.gaps += 1,
        CollectorEvent::Status { sources, .. } => store.statuses.push(sources),
        CollectorEvent::Bundle { outcome, .. } => store.bundles.push(format!("{outcome:?}")),
        CollectorEvent::Renew { request_pem } => {
            store.renewals += 1;
            session.handle_renewal(renew(served, &request_pem));
        }
    }
    Ok(())
}

fn renew(served: &Served, request_pem: &str) -> Result<String, String> {
    let right = |request: &str| Ok(served.authority.sign(request, -1..30));
    match *served.mood.renewal.lock().unwrap() {
        Renewal::Right => right(request_pem),
        Renewal::Refused => Err("not today".into()),
        Renewal::OtherKey => {
            let key = KeyPair::generate().unwrap();
            right(&CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap())
        }
        Renewal::OtherAuthority => Ok(Authority::new().sign(request_pem, -1..30)),
        Renewal::NotLonger => Ok(served.authority.sign(request_pem, -20..1)),
        Renewal::Rubbish => Ok("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".into()),
    }
}

/// A state folder of a test.
pub fn state_dir() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent");
    (folder, path)
}

//! A sensor's and a desk's side of the wire, made from the protocol crate and quinn: its spool is a list.

use std::sync::Arc;
use std::time::Duration;

use protocol::enrolment::{EnrolReply, EnrolRequest, EnrolmentCode};
use protocol::frame::{FrameDecoder, LENGTH_BYTES, decode, decode_length, encode};
use protocol::identity::Epoch;
use protocol::message::{CollectorMessage, Record};
use protocol::session::{AgentEvent, AgentHello, AgentSession};
use protocol::{ALPN_ENROL, ALPN_SESSION, COLLECTOR_SERVER_NAME, Hit, Serial, Timestamp};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::{Collector, DEADLINE};

/// Where a client is that says nothing else.
const HERE: &str = "127.0.0.1:0";

/// A certificate with its key, and the authority that its holder trusts.
#[derive(Clone)]
pub struct Credentials {
    pub chain_pem: String,
    pub key_pem: String,
}

pub fn authority(collector: &Collector) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(collector.state("authority/ca.pem")).unwrap()
}

/// TLS of a client that believes this authority and shows what it has.
pub fn client_tls(
    authority: CertificateDer<'static>,
    alpn: &[u8],
    credentials: Option<&Credentials>,
) -> rustls::ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots);
    let mut tls = match credentials {
        None => tls.with_no_client_auth(),
        Some(credentials) => {
            let chain = CertificateDer::pem_slice_iter(credentials.chain_pem.as_bytes());
            let key = PrivateKeyDer::from_pem_slice(credentials.key_pem.as_bytes()).unwrap();
            tls.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    };
    tls.alpn_protocols = vec![alpn.to_vec()];
    tls
}

/// Opens a connection as whoever holds the credentials.
pub async fn connect(
    collector: &Collector,
    alpn: &[u8],
    credentials: Option<&Credentials>,
) -> Result<Connection, ConnectionError> {
    connect_from(HERE, collector, alpn, credentials).await
}

/// The same from another address of this machine.
pub async fn connect_from(
    local: &str,
    collector: &Collector,
    alpn: &[u8],
    credentials: Option<&Credentials>,
) -> Result<Connection, ConnectionError> {
    let tls = client_tls(authority(collector), alpn, credentials);
    let config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let endpoint = Endpoint::client(local.parse().unwrap()).unwrap();
    endpoint.connect_with(config, collector.ingest, COLLECTOR_SERVER_NAME).unwrap().await
}

/// Why the collector closed a connection: its code and sentence. Something is sent first, because a client
/// believes in a connection before its certificate was judged.
pub async fn refused(connected: Result<Connection, ConnectionError>) -> (u64, String) {
    let error = match connected {
        Err(error) => error,
        Ok(connection) => tokio::time::timeout(DEADLINE, connection.closed()).await.unwrap(),
    };
    match error {
        ConnectionError::ApplicationClosed(close) => {
            (close.error_code.into_inner(), String::from_utf8_lossy(&close.reason).into_owned())
        }
        ConnectionError::ConnectionClosed(close) => (u64::MAX, close.to_string()),
        other => panic!("not refused: {other}"),
    }
}

pub fn new_request() -> (KeyPair, String) {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let request = CertificateParams::default().serialize_request(&key).unwrap().pem().unwrap();
    (key, request)
}

/// Sends a code with a request.
pub async fn ask_to_enrol(collector: &Collector, code: &EnrolmentCode, request_pem: &str) -> EnrolReply {
    ask_to_enrol_from(HERE, collector, code, request_pem).await
}

async fn ask_to_enrol_from(
    local: &str,
    collector: &Collector,
    code: &EnrolmentCode,
    request_pem: &str,
) -> EnrolReply {
    let connection = connect_from(local, collector, ALPN_ENROL, None).await.unwrap();
    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let request = EnrolRequest {
        secret: code.secret,
        request_pem: request_pem.into(),
        host_name: "gateway.example".into(),
        version: "0.1.0".into(),
    };
    write(&mut send, &request).await;
    read(&mut recv).await
}

pub async fn write(send: &mut SendStream, message: &impl Serialize) {
    send.write_all(&encode(message).unwrap()).await.unwrap();
}

pub async fn read<M: DeserializeOwned>(recv: &mut RecvStream) -> M {
    let reading = async {
        let mut length = [0; LENGTH_BYTES];
        recv.read_exact(&mut length).await.unwrap();
        let mut frame = vec![0; decode_length(length).unwrap()];
        recv.read_exact(&mut frame).await.unwrap();
        decode(&frame).unwrap()
    };
    tokio::time::timeout(DEADLINE, reading).await.unwrap()
}

/// A sensor whose spool is a list that never forgets: sequences count from 1.
pub struct Sensor {
    pub credentials: Credentials,
    pub agent: String,
    pub epoch: Epoch,
    pub spool: Vec<Record>,
    pub acknowledged: u64,
    pub bundles_seen: Vec<Serial>,
    /// Seconds, and the collector's words.
    pub retry_after: Option<(u32, String)>,
    /// The bundle that it says to have.
    pub in_force: Serial,
    pub renewal: Option<Result<String, String>>,
}

impl Sensor {
    /// Enrols with a fresh code.
    pub async fn enrol(collector: &Collector, comune: &str) -> Self {
        Self::enrol_from(HERE, collector, comune).await
    }

    /// The same from another address of this machine.
    pub async fn enrol_from(local: &str, collector: &Collector, comune: &str) -> Self {
        let code = collector.invite(comune);
        let (key, request) = new_request();
        let reply = ask_to_enrol_from(local, collector, &code, &request).await;
        let EnrolReply::Enrolled { agent, chain_pem, .. } = reply else { panic!("not enrolled") };
        Self {
            credentials: Credentials { chain_pem, key_pem: key.serialize_pem() },
            agent: agent.to_string(),
            epoch: Epoch([7; 16]),
            spool: Vec::new(),
            acknowledged: 0,
            bundles_seen: Vec::new(),
            retry_after: None,
            in_force: Serial(0),
            renewal: None,
        }
    }

    /// Another machine with the same identity.
    pub fn same_as(other: &Self) -> Self {
        Self {
            credentials: other.credentials.clone(),
            agent: other.agent.clone(),
            epoch: other.epoch,
            spool: Vec::new(),
            acknowledged: 0,
            bundles_seen: Vec::new(),
            retry_after: None,
            in_force: Serial(0),
            renewal: None,
        }
    }

    pub fn find(&mut self, hit: Hit) {
        self.spool.push(Record::Hit(Box::new(hit)));
    }

    fn spooled(&self) -> u64 {
        self.spool.len() as u64
    }

    pub async fn connect(&self, collector: &Collector) -> Live {
        self.over(connect(collector, ALPN_SESSION, Some(&self.credentials)).await.unwrap()).await
    }

    /// A session over a connection that is open.
    pub async fn over(&self, connection: Connection) -> Live {
        let streams = connection.open_bi().await.unwrap();
        self.greet(connection, streams)
    }

    /// The same over its first stream.
    pub fn greet(&self, connection: Connection, (send, recv): (SendStream, RecvStream)) -> Live {
        let mut session = AgentSession::new(self.epoch, self.acknowledged, self.spooled());
        let (version, oldest) = ("0.1.0".to_owned(), self.acknowledged + 1);
        let hello = AgentHello { version, oldest, bundle: self.in_force };
        session.handle_connected(now(), hello);
        Live { connection, send, recv, decoder: FrameDecoder::default(), session, welcomed: false }
    }

    /// Connects and goes on until everything is acknowledged; `false` when the connection ended first.
    pub async fn deliver(&mut self, collector: &Collector) -> bool {
        let mut live = self.connect(collector).await;
        let last = self.spooled();
        live.run_until(self, |sensor, live| live.welcomed && sensor.acknowledged >= last).await
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_micros(jiff::Timestamp::now().as_microsecond())
}

/// One connection of a sensor.
pub struct Live {
    pub connection: Connection,
    pub send: SendStream,
    pub recv: RecvStream,
    decoder: FrameDecoder,
    pub session: AgentSession,
    pub welcomed: bool,
}

impl Live {
    /// Drives the session; `false` when the connection ended before the condition was true.
    pub async fn run_until(&mut self, sensor: &mut Sensor, done: impl Fn(&Sensor, &Self) -> bool) -> bool {
        let running = async {
            loop {
                if !self.send_what_waits(sensor).await {
                    return false;
                }
                if done(sensor, self) {
                    return true;
                }
                if sensor.retry_after.is_some() || !self.receive(sensor).await {
                    return false;
                }
            }
        };
        tokio::time::timeout(DEADLINE, running).await.unwrap()
    }

    pub async fn send_what_waits(&mut self, sensor: &Sensor) -> bool {
        self.session.handle_spooled(sensor.spooled());
        while let Some(wanted) = self.session.wanted() {
            let from = usize::try_from(wanted.from - 1).unwrap();
            let records = sensor.spool[from..].iter().take(wanted.records_max).cloned().collect();
            self.session.handle_records(now(), wanted.from, records);
        }
        while let Some(message) = self.session.poll_transmit() {
            if self.send.write_all(&encode(&message).unwrap()).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Waits for the next bytes and notes what they say; `false` when the connection ended.
    pub async fn receive(&mut self, sensor: &mut Sensor) -> bool {
        let Ok(Some(chunk)) = self.recv.read_chunk(64 << 10, true).await else { return false };
        self.decoder.handle_bytes(&chunk.bytes);
        while let Some(message) = self.decoder.poll_message::<CollectorMessage>().unwrap() {
            self.session.handle_message(now(), message).unwrap();
        }
        while let Some(event) = self.session.poll_event() {
            match event {
                AgentEvent::Welcomed { .. } => self.welcomed = true,
                AgentEvent::Acknowledged { up_to } => sensor.acknowledged = up_to,
                AgentEvent::BundleAvailable { serial } => sensor.bundles_seen.push(serial),
                AgentEvent::RetryAfter { seconds, reason } => sensor.retry_after = Some((seconds, reason)),
                AgentEvent::Renewed { chain_pem } => sensor.renewal = Some(Ok(chain_pem)),
                AgentEvent::RenewalRefused { reason } => sensor.renewal = Some(Err(reason)),
                AgentEvent::Stalled => panic!("stalled"),
            }
        }
        true
    }

    pub async fn closed(&self, within: Duration) -> ConnectionError {
        tokio::time::timeout(within, self.connection.closed()).await.unwrap()
    }
}

/// A hit of a town's host on a name; `number` tells hits apart.
pub fn hit(number: u64) -> Hit {
    hit_with(number, serde_json::json!({}))
}

/// The same with some fields changed.
pub fn hit_with(number: u64, changes: serde_json::Value) -> Hit {
    let mut json = serde_json::json!({
        "hit_id": format!("{number:032x}"), "at": "2026-11-22T10:00:00Z", "last_at": "2026-11-22T10:00:00Z",
        "input": "lan0", "kind": "domain", "value": "evil.example", "seen_in": "dns.query",
        "flow": {"proto": "udp", "src": "192.0.2.10", "src_port": 5000, "dst": "198.51.100.53", "dst_port": 53},
        "indicator": "evil.example", "direction": "outbound", "host": "192.0.2.10", "count": 1, "bundle": 1,
        "evidence": "evil.example",
    });
    let fields = json.as_object_mut().unwrap();
    for (field, value) in changes.as_object().unwrap() {
        fields.insert(field.clone(), value.clone());
    }
    serde_json::from_value(json).unwrap()
}

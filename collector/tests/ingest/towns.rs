//! Sensors of many towns in one process, each with an address and a connection of its own. They come back by the
//! rules that real ones have, fetch what real ones fetch in the same order, and say when what happened.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use protocol::backoff::{Backoff, Parting};
use protocol::bundle::{BundleLimits, SetHash};
use protocol::delta::DeltaReader;
use protocol::frame::{LENGTH_BYTES, decode, decode_length, encode};
use protocol::message::{BundleOutcome, FetchReply, FetchRequest};
use protocol::repository::delta_target;
use protocol::text::Hex;
use protocol::{ALPN_SESSION, COLLECTOR_SERVER_NAME, Serial};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, IdleTimeout, TransportConfig, VarInt};
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::{sleep, timeout};
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;
use vedetta_collector::bundles::verify::{Lines, Repository, Taken, Wanted, verify};

use crate::process::Collector;
use crate::sensor::{Live, Sensor, authority, client_tls, now};

/// As long as a real sensor waits for a handshake, and for the end of what it said last.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(8);
const GOODBYE: Duration = Duration::from_secs(1);
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// The collector's code for an orderly stop.
const GOING_AWAY: u64 = 5;

/// Each sensor comes from an address of its own, as towns do: the door counts by address.
pub fn address(number: usize) -> String {
    format!("127.1.{}.{}:0", number / 250, number % 250 + 1)
}

/// How to reach the collector, whichever process it is.
#[derive(Clone)]
pub struct Way {
    ingest: SocketAddr,
    authority: CertificateDer<'static>,
    root: Arc<[u8]>,
}

impl Way {
    pub fn to(collector: &Collector) -> Self {
        let root = std::fs::read(collector.cosc.root_file()).unwrap().into();
        Self { ingest: collector.ingest, authority: authority(collector), root }
    }
}

/// What happened to one sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// It began a connection.
    Knocks,
    Welcomed,
    Parted(Parting),
    Announced(Serial),
    /// The last byte of what it fetched is there.
    Fetched(Serial),
    /// It is in force, and was reported.
    Applied(Serial),
}

#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub number: usize,
    pub at: Instant,
    pub what: What,
}

/// What all of them are handed.
#[derive(Clone)]
pub struct Common {
    pub way: Way,
    pub seen: UnboundedSender<Seen>,
    /// Whether a bundle is verified in full, as a real sensor does; else fetched, and its hash compared.
    pub verifies: Arc<AtomicBool>,
    /// Where each has a folder.
    pub folder: PathBuf,
}

/// One sensor.
pub struct Town {
    pub number: usize,
    pub sensor: Sensor,
    pub set: SetHash,
    pub common: Common,
}

impl Town {
    fn say(&self, what: What) {
        let _nobody_listens = self.common.seen.send(Seen { number: self.number, at: Instant::now(), what });
    }

    /// Lives for ever, from some time on.
    pub async fn live(mut self, first: Duration) {
        let mut backoff = Backoff::default();
        sleep(first).await;
        loop {
            self.say(What::Knocks);
            let (parting, lasted) = self.connect_once().await;
            self.say(What::Parted(parting));
            backoff.handle_connected(lasted);
            sleep(backoff.wait_after(parting, rand::random())).await;
        }
    }

    async fn connect_once(&mut self) -> (Parting, Duration) {
        let endpoint = Endpoint::client(address(self.number).parse().unwrap()).unwrap();
        let way = &self.common.way;
        let config = config(way, &self.sensor);
        let connecting = endpoint.connect_with(config, way.ingest, COLLECTOR_SERVER_NAME).unwrap();
        let Ok(Ok(connection)) = timeout(HANDSHAKE_TIMEOUT, connecting).await else {
            return (Parting::Broken, Duration::ZERO);
        };
        let Ok(streams) = connection.open_bi().await else { return (Parting::Broken, Duration::ZERO) };
        let mut live = self.sensor.greet(connection, streams);
        let (parting, welcomed_at) = self.converse(&mut live).await;
        live.connection.close(0_u32.into(), b"the agent connects again");
        let _told = timeout(GOODBYE, endpoint.wait_idle()).await;
        (parting, welcomed_at.map_or(Duration::ZERO, |at| at.elapsed()))
    }

    async fn converse(&mut self, live: &mut Live) -> (Parting, Option<Instant>) {
        let (mut welcomed_at, mut looked) = (None, false);
        let mut status = tokio::time::interval_at(tokio::time::Instant::now() + STATUS_EVERY, STATUS_EVERY);
        loop {
            if live.welcomed && welcomed_at.is_none() {
                welcomed_at = Some(Instant::now());
                self.say(What::Welcomed);
                self.say_how_it_is(live);
            }
            if let Some((seconds, _)) = self.sensor.retry_after.take() {
                return (Parting::Asked(Duration::from_secs(seconds.into())), welcomed_at);
            }
            while let Some(serial) = self.sensor.bundles_seen.pop() {
                self.sensor.bundles_seen.clear();
                if serial > self.sensor.in_force {
                    self.say(What::Announced(serial));
                } else if std::mem::replace(&mut looked, true) {
                    continue;
                }
                // What breaks a fetch breaks the connection as well.
                let _broken = self.take(live, serial).await;
            }
            if !live.send_what_waits(&self.sensor).await {
                break;
            }
            tokio::select! {
                more = live.receive(&mut self.sensor) => if !more { break },
                _ = status.tick() => self.say_how_it_is(live),
            }
        }
        let sent_away = matches!(live.connection.close_reason(), Some(ConnectionError::ApplicationClosed(close))
            if close.error_code.into_inner() == GOING_AWAY);
        (if sent_away && welcomed_at.is_some() { Parting::GoingAway } else { Parting::Broken }, welcomed_at)
    }

    fn say_how_it_is(&self, live: &mut Live) {
        live.session.handle_status(now(), (self.sensor.in_force, None), Vec::new());
    }

    /// Takes what is offered, or looks whether its signatures are still good.
    async fn take(&mut self, live: &mut Live, serial: Serial) -> Option<()> {
        let before = self.sensor.in_force;
        let verifies = self.common.verifies.load(Ordering::Relaxed);
        let taken = match verifies {
            true => self.verify(&live.connection).await?,
            false => self.look(&live.connection, serial).await?,
        };
        if serial == before {
            return Some(());
        }
        assert!(taken, "sensor {} got no delta from {before} to {serial}", self.number);
        self.say(What::Fetched(serial));
        self.sensor.in_force = serial;
        live.session.handle_bundle(serial, BundleOutcome::Fetched);
        self.say_how_it_is(live);
        live.session.handle_bundle(serial, BundleOutcome::Applied { indicators: 1 });
        self.say_how_it_is(live);
        live.send_what_waits(&self.sensor).await.then(|| self.say(What::Applied(serial)))
    }

    /// Fetches what a verification asks for, in its order, and compares the delta's hash. Gives whether there was one.
    async fn look(&mut self, connection: &Connection, serial: Serial) -> Option<bool> {
        let fetched = |path: String| async move { fetch(connection, &path).await?.ok() };
        let version = |json: &[u8], of: &str| -> Option<u64> {
            serde_json::from_slice::<serde_json::Value>(json).ok()?["signed"]["meta"][of]["version"].as_u64()
        };
        assert!(fetch(connection, "metadata/2.root.json").await?.is_err(), "another root");
        let timestamp = fetched("metadata/timestamp.json".into()).await?;
        let number = version(&timestamp, "snapshot.json")?;
        let snapshot = fetched(format!("metadata/{number}.snapshot.json")).await?;
        let number = version(&snapshot, "targets.json")?;
        let targets = fetched(format!("metadata/{number}.targets.json")).await?;
        if serial == self.sensor.in_force {
            return Some(false);
        }
        let targets: serde_json::Value = serde_json::from_slice(&targets).ok()?;
        let name = delta_target(self.sensor.in_force, serial);
        let sha256 = targets["signed"]["targets"][&name]["hashes"]["sha256"].as_str()?;
        let delta = fetched(format!("targets/{sha256}.{name}")).await?;
        assert_eq!(Hex(&Sha256::digest(&delta)).to_string(), sha256);
        self.set = DeltaReader::new(delta.as_slice(), BundleLimits::default()).unwrap().header().set;
        Some(true)
    }

    /// Verifies from the pinned root and reads the delta to its end, as a real sensor does before its index is built.
    async fn verify(&mut self, connection: &Connection) -> Option<bool> {
        let folder = self.common.folder.join(self.number.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        let (known, arrived) = (folder.join("known"), folder.join("arrived"));
        let repository = Repository::over(OverConnection(connection.clone()));
        let wanted = Wanted { in_force: Some((self.sensor.in_force, None)), lines: Lines::LeftToCaller };
        let verified = verify(repository, &self.common.way.root, &known, &arrived, wanted).await;
        let verified = verified.inspect_err(|refusal| eprintln!("sensor {}: {refusal}", self.number)).ok()?;
        let Taken::Delta { file, .. } = verified.taken else { return Some(false) };
        self.set = read_delta(&file, Some(self.set));
        Some(true)
    }
}

/// Reads a delta to its end, and so proves that it leads from one set to the next.
fn read_delta(file: &Path, base: Option<SetHash>) -> SetHash {
    let mut delta = DeltaReader::new(File::open(file).unwrap(), BundleLimits::default()).unwrap();
    assert!(base.is_none_or(|base| base == delta.header().base_set), "a delta to something else");
    delta.by_ref().for_each(|change| drop(change.unwrap()));
    delta.set()
}

/// How long a verification of the same files takes that come from a folder.
pub async fn verify_folder(repository: &Path, root: &[u8], folder: &Path, in_force: u64) -> Duration {
    let begun = Instant::now();
    let wanted = Wanted { in_force: Some((Serial(in_force), None)), lines: Lines::LeftToCaller };
    let (known, arrived) = (folder.join("known"), folder.join("arrived"));
    let verified = verify(Repository::folder(repository), root, &known, &arrived, wanted).await.unwrap();
    let Taken::Delta { file, .. } = verified.taken else { panic!("no delta") };
    read_delta(&file, None);
    begun.elapsed()
}

/// TLS and QUIC as a real sensor has them.
fn config(way: &Way, sensor: &Sensor) -> ClientConfig {
    let mut tls = client_tls(way.authority.clone(), ALPN_SESSION, Some(&sensor.credentials));
    tls.resumption = rustls::client::Resumption::disabled();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()));
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(Duration::from_secs(15)))
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(60_000))))
        .stream_receive_window(VarInt::from_u32(256 << 10))
        .receive_window(VarInt::from_u32(1 << 20))
        .datagram_receive_buffer_size(None)
        .enable_segmentation_offload(false)
        .mtu_discovery_config(None);
    config.transport_config(Arc::new(transport));
    config
}

/// A file; an error when there is none, nothing when the connection broke.
async fn fetch(connection: &Connection, path: &str) -> Option<Result<Vec<u8>, ()>> {
    let (mut send, mut recv) = connection.open_bi().await.ok()?;
    let request = FetchRequest { path: path.parse().unwrap(), offset: 0 };
    send.write_all(&encode(&request).unwrap()).await.ok()?;
    send.finish().ok()?;
    let mut length = [0; LENGTH_BYTES];
    recv.read_exact(&mut length).await.ok()?;
    let mut reply = vec![0; decode_length(length).unwrap()];
    recv.read_exact(&mut reply).await.ok()?;
    let FetchReply::Found { bytes } = decode(&reply).unwrap() else { return Some(Err(())) };
    let file = recv.read_to_end(1 << 24).await.ok()?;
    assert_eq!(file.len() as u64, bytes, "{path}");
    Some(Ok(file))
}

/// The repository behind a connection.
#[derive(Clone, Debug)]
struct OverConnection(Connection);

#[tough::async_trait]
impl Transport for OverConnection {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let kind = match fetch(&self.0, url.path().trim_start_matches('/')).await {
            Some(Ok(bytes)) => {
                return Ok(Box::pin(futures_util::stream::iter([Ok(bytes.into())])));
            }
            Some(Err(())) => TransportErrorKind::FileNotFound,
            None => TransportErrorKind::Other,
        };
        Err(TransportError::new(kind, url))
    }
}

//! A sensor's connection: its session on the first stream, a fetch on every other. What the sensor sends is
//! stored under the town and the sensor of its certificate, whatever a message says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::frame::{FrameDecoder, encode};
use protocol::identity::{AgentId, ComuneId};
use protocol::message::{AgentMessage, BundleOutcome, CollectorMessage, PushReply};
use protocol::session::{CollectorEvent, CollectorSession, SessionLimits};
use protocol::{Identity, Serial};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::info;

use super::fetch;
use super::frames::PEER_TIMEOUT;
use super::refusal::Refusal;
use super::seats::Seat;
use super::shared::Shared;
use super::twins::Place;
use super::writer::{Answer, Answers, Work};
use crate::authority::Request;
use crate::clip::clip;
use crate::clock;
use crate::store::records::Clipped;
use crate::store::sensors;
use crate::store::sessions::{Greeting, Health, Spool};
use crate::store::twins::Sign;

/// Bytes read from the stream at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest version and reason that are logged and passed on, in bytes.
const VERSION_BYTES_MAX: usize = 64;
const REASON_BYTES_MAX: usize = 256;
/// A sensor that is told to come back later closes the connection itself, within this time.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(10);
/// The same when the collector stops, which does not wait for a sensor that died unnoticed.
const LEAVE_STOPPING_TIMEOUT: Duration = Duration::from_secs(3);
/// After trouble with the store a sensor comes back in so many seconds.
const RETRY_SECONDS: u32 = 30;

/// A sensor whose certificate was checked.
#[derive(Debug)]
pub(super) struct SensorPeer {
    pub comune: ComuneId,
    pub comune_name: String,
    pub agent: AgentId,
    /// Serial of its certificate.
    pub certificate: String,
    pub place: Place,
    pub seat: Seat,
}

/// Serves until the sensor goes or breaks the protocol.
pub(super) async fn serve(
    connection: &Connection,
    shared: &Arc<Shared>,
    sensor: &SensorPeer,
) -> Result<(), Refusal> {
    let opened = tokio::select! {
        opened = within(connection.accept_bi()) => opened?,
        () = shared.until_stopping() => return Err(Refusal::GoingAway),
    };
    let Ok((send, recv)) = opened else { return Ok(()) };
    let (answers, mut answered) = mpsc::unbounded_channel();
    let mut session = Session {
        machine: CollectorSession::new(SessionLimits::default()),
        decoder: FrameDecoder::default(),
        spool: None,
        connection,
        shared,
        sensor,
        answers,
        told: None,
    };
    session.run((send, recv), &mut answered).await
}

/// Notes that the connection is over; the store says "connected" until a sensor's last one is.
pub(super) async fn part(connection: &Connection, shared: &Shared, sensor: &SensorPeer) {
    info!(comune = %sensor.comune, agent = %sensor.agent, "sensor disconnected");
    let work = Work::Part { agent: sensor.agent, connection: connection.stable_id() };
    let _writer_ended = shared.parts.to_writer.send(work).await;
}

/// Notes it when another machine with the same identity turns out to be connected as well; never returns.
pub(super) async fn watch_for_twin(connection: &Connection, shared: &Shared, sensor: &SensorPeer) {
    sensor.place.until_twin(connection).await;
    note_twin(shared, sensor.agent, Sign::TwoConnections).await;
    std::future::pending().await
}

/// Stores a sign that two machines use one identity.
pub(super) async fn note_twin(shared: &Shared, agent: AgentId, sign: Sign) {
    let _writer_ended = shared.parts.to_writer.send(Work::Twin { agent, sign }).await;
}

fn clipped(outcome: BundleOutcome) -> BundleOutcome {
    match outcome {
        BundleOutcome::Refused { reason } => {
            BundleOutcome::Refused { reason: clip(&reason, REASON_BYTES_MAX) }
        }
        other => other,
    }
}

async fn within<T>(waiting: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(PEER_TIMEOUT, waiting)
        .await
        .map_err(|_| Refusal::Protocol("no stream was opened in time".into()))
}

struct Session<'a> {
    machine: CollectorSession,
    decoder: FrameDecoder,
    /// Known with the greeting.
    spool: Option<Spool>,
    connection: &'a Connection,
    shared: &'a Arc<Shared>,
    sensor: &'a SensorPeer,
    answers: Answers,
    /// The bundle that the sensor was told of.
    told: Option<Serial>,
}

/// Whether a session goes on.
#[derive(PartialEq, Eq)]
enum Then {
    GoOn,
    /// The sensor was told to come back later.
    End,
}

impl Session<'_> {
    async fn run(
        &mut self,
        (mut send, mut recv): (SendStream, RecvStream),
        answered: &mut mpsc::UnboundedReceiver<Answer>,
    ) -> Result<(), Refusal> {
        let mut offered = self.shared.offered.subscribe();
        let mut fetches = JoinSet::new();
        let shared = self.shared;
        let stopping = shared.until_stopping();
        tokio::pin!(stopping);
        loop {
            if !self.transmit(&mut send).await? {
                return Ok(());
            }
            let wait = self.sensor.seat.quota.wait(Instant::now());
            tokio::select! {
                () = tokio::time::sleep(wait), if !wait.is_zero() => {}
                chunk = recv.read_chunk(CHUNK_BYTES, true), if wait.is_zero() => match chunk {
                    Ok(Some(chunk)) => self.take_in(&chunk.bytes).await?,
                    Ok(None) | Err(_) => return Ok(()),
                },
                Some(answer) = answered.recv() => {
                    if self.handle_answer(answer) == Then::End {
                        self.transmit(&mut send).await?;
                        self.let_go(&mut recv, LEAVE_TIMEOUT).await;
                        return Err(Refusal::Overload("come back later".into()));
                    }
                    self.hand_over_all().await?;
                }
                () = &mut stopping => {
                    let seconds = self.shared.returns.seconds(&self.shared.seats, rand::random());
                    self.machine.handle_overload(seconds, Refusal::GoingAway.to_string());
                    self.transmit(&mut send).await?;
                    self.let_go(&mut recv, LEAVE_STOPPING_TIMEOUT).await;
                    return Err(Refusal::GoingAway);
                }
                changed = offered.changed() => {
                    let serial = offered.borrow_and_update().to(self.sensor.comune.as_str());
                    if changed.is_ok() && serial.0 > 0 {
                        self.machine.handle_bundle_available(serial);
                    }
                }
                stream = self.connection.accept_bi() => match stream {
                    Ok(stream) => {
                        let shelf = self.shared.offered.borrow().shelf_for(self.sensor.comune.as_str());
                        fetches.spawn(fetch::answer(stream, shelf));
                    }
                    Err(_) => return Ok(()),
                },
                Some(fetched) = fetches.join_next(), if !fetches.is_empty() => {
                    if let Ok(Err(refusal)) = fetched {
                        return Err(refusal);
                    }
                }
            }
        }
    }

    /// Gives the sensor time to read that it should come back later: what it still sends is thrown away, or
    /// it would wait for room to write and never read.
    async fn let_go(&self, recv: &mut RecvStream, within: Duration) {
        let leaving = async {
            while let Ok(Some(_)) = recv.read_chunk(CHUNK_BYTES, true).await {}
            self.connection.closed().await
        };
        let _gone_or_slow = tokio::time::timeout(within, leaving).await;
    }

    /// `false` when the sensor is gone.
    async fn transmit(&mut self, send: &mut SendStream) -> Result<bool, Refusal> {
        while let Some(message) = self.machine.poll_transmit() {
            let frame = encode(&message)?;
            if !matches!(tokio::time::timeout(PEER_TIMEOUT, send.write_all(&frame)).await, Ok(Ok(()))) {
                return Ok(false);
            }
            let CollectorMessage::BundleAvailable { serial } = message else { continue };
            if self.told.replace(serial) != Some(serial) {
                let work = Work::Offer { agent: self.sensor.agent, serial };
                self.shared.parts.to_writer.send(work).await.map_err(|_| Refusal::GoingAway)?;
            }
        }
        Ok(true)
    }

    async fn take_in(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        self.decoder.handle_bytes(bytes);
        while let Some(message) = self.decoder.poll_message::<AgentMessage>()? {
            self.machine
                .handle_message(clock::now(), message)
                .map_err(|error| Refusal::Protocol(error.to_string()))?;
            self.hand_over_all().await?;
        }
        Ok(())
    }

    async fn hand_over_all(&mut self) -> Result<(), Refusal> {
        while let Some(event) = self.machine.poll_event() {
            self.hand_over(event).await?;
        }
        Ok(())
    }

    async fn hand_over(&mut self, event: CollectorEvent) -> Result<(), Refusal> {
        let work = match event {
            CollectorEvent::Hello { version, epoch, bundle, skew_micros } => {
                let version = clip(&version, VERSION_BYTES_MAX);
                info!(comune = %self.sensor.comune, agent = %self.sensor.agent, version, "sensor connected");
                let spool = Spool { comune: self.sensor.comune.clone(), agent: self.sensor.agent, epoch };
                self.spool = Some(spool.clone());
                self.sensor.place.greet();
                let address = self.connection.remote_address();
                let address = std::net::SocketAddr::new(address.ip().to_canonical(), address.port());
                Work::Greeting {
                    spool,
                    greeting: Greeting {
                        version,
                        bundle,
                        skew_micros,
                        address: address.to_string(),
                        certificate: self.sensor.certificate.clone(),
                    },
                    connection: self.connection.stable_id(),
                    answers: self.answers.clone(),
                }
            }
            CollectorEvent::Commit { first, records } => {
                self.sensor.seat.quota.spend(records.len(), Instant::now());
                let records = Clipped::from(records);
                Work::Records { spool: self.spool()?, first, records, answers: self.answers.clone() }
            }
            CollectorEvent::Gap { from, to } => {
                tracing::warn!(agent = %self.sensor.agent, from, to, "records of this sensor are lost");
                Work::Gap { spool: self.spool()?, from, to, answers: self.answers.clone() }
            }
            CollectorEvent::Status { at, bundle, spooled, sources, fresh_until } => {
                let skew_micros = at.micros_since(clock::now());
                let health = Health { bundle, spooled, skew_micros, sources, fresh_until };
                Work::Health { agent: self.sensor.agent, health }
            }
            CollectorEvent::Bundle { serial, outcome } => {
                let outcome = clipped(outcome);
                self.tell_desks(serial, &outcome);
                Work::Outcome { agent: self.sensor.agent, serial, outcome }
            }
            CollectorEvent::Renew { request_pem } => {
                let renewal = self.renew(&request_pem).await;
                self.machine.handle_renewal(renewal);
                return Ok(());
            }
        };
        let sent = self.shared.parts.to_writer.send(work).await;
        sent.map_err(|_| Refusal::GoingAway)
    }

    /// The next certificate of the sensor of this connection, whatever its request says.
    async fn renew(&self, request_pem: &str) -> Result<String, String> {
        let sensor = self.sensor;
        let key = Request::parse_pem(request_pem).map_err(|error| error.to_string())?;
        let issue = self.shared.issuing(key);
        let identity = Identity::Agent { comune: sensor.comune.clone(), agent: sensor.agent };
        match sensors::renew(&self.shared.parts.store, sensor.certificate.clone(), identity, issue).await {
            Ok(Ok(issued)) => {
                info!(comune = %sensor.comune, agent = %sensor.agent, until = %issued.not_after, "certificate renewed");
                Ok(issued.chain_pem)
            }
            Ok(Err(reason)) => {
                let who = sensor.agent.to_string();
                self.shared.parts.refusals.say(self.connection.remote_address(), &who, reason);
                Err(reason.to_owned())
            }
            Err(error) => Err(error.to_string()),
        }
    }

    fn spool(&self) -> Result<Spool, Refusal> {
        self.spool.clone().ok_or_else(|| Refusal::Protocol("records before the greeting".into()))
    }

    fn tell_desks(&self, serial: Serial, outcome: &BundleOutcome) {
        let agent = self.sensor.agent;
        match outcome {
            BundleOutcome::Refused { reason } => {
                tracing::warn!(comune = %self.sensor.comune, %agent, %serial, reason = ?reason, "bundle refused by a sensor");
            }
            outcome => info!(comune = %self.sensor.comune, %agent, %serial, ?outcome, "bundle on a sensor"),
        }
        let _nobody_follows = self.shared.outcomes.send(PushReply::Progress {
            comune: self.sensor.comune_name.clone(),
            agent: agent.to_string(),
            serial,
            outcome: outcome.clone(),
        });
    }

    fn handle_answer(&mut self, answer: Answer) -> Then {
        match answer {
            Answer::Stored(stored) => {
                self.machine.handle_stored(clock::now(), stored);
                let offered = self.shared.offered.borrow().to(self.sensor.comune.as_str());
                if offered.0 > 0 {
                    self.machine.handle_bundle_available(offered);
                }
                Then::GoOn
            }
            Answer::Committed(up_to) => {
                self.machine.handle_committed(up_to);
                Then::GoOn
            }
            Answer::Failed(reason) => {
                self.machine.handle_overload(RETRY_SECONDS, reason);
                Then::End
            }
        }
    }
}

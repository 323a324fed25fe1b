//! One connection to the collector: greets, sends what is safe on disk, hears what is committed, fetches
//! bundles. Ends with the reason why it ended.

use std::time::{Duration, Instant};

use protocol::frame::{FrameDecoder, encode};
use protocol::message::BundleOutcome;
use protocol::session::{AgentEvent, AgentHello, AgentSession, SessionError};
use protocol::{Serial, Timestamp};
use quinn::{Connection, RecvStream, SendStream, VarInt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Sleep, interval_at, sleep, timeout};
use tracing::{info, warn};

use super::Parts;
use super::fetch::CollectorTransport;
use super::renewal::Renewal;
use super::trouble::Trouble;
use crate::bundles::not_taken::NotTaken;
use crate::bundles::verify::Repository;
use crate::clock;
use crate::spool::{Safe, SpoolReader};

/// How often the collector hears of the sensor's health.
const STATUS_EVERY: Duration = Duration::from_secs(60);
/// A peer that takes nothing for so long is gone.
const SEND_SECONDS_MAX: Duration = Duration::from_secs(60);
/// A stopping agent waits so long for acknowledgements; the rest is sent after the next start.
const DRAIN_SECONDS_MAX: Duration = Duration::from_secs(3);
const READ_BYTES: usize = 64 << 10;
/// A bundle that did not come, or for which the disk was full, is fetched again after this time.
const BUNDLE_RETRY_AFTER: Duration = Duration::from_secs(60);
/// How often the collector is asked for fresh signatures, whether or not it offers something.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// What is no newer is looked at this often at most.
const LOOK_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Clocks that differ by more are worth a line in the log.
const SKEW_SECONDS_MAX: i64 = 30;

/// Why a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// The agent stops.
    Stopped,
    /// The spool began a new epoch: come back at once.
    NewEpoch,
    /// Another certificate is in force: come back with it at once.
    Renewed,
    /// The collector asks to wait.
    RetryAfter(Duration, String),
    /// Nothing is acknowledged any more.
    Stalled,
    /// The collector broke the protocol.
    Protocol(String),
    /// The connection or the disk.
    Trouble(Trouble),
}

/// A connection's work.
pub struct Delivery<'a> {
    parts: &'a Parts,
    renewal: &'a mut Renewal,
    connection: Connection,
    send: SendStream,
    session: AgentSession,
    reader: SpoolReader,
    /// The spool as this connection knows it: one epoch.
    safe: Safe,
    /// When the collector welcomed the sensor.
    pub welcomed_at: Option<Instant>,
    offered: UnboundedSender<Serial>,
}

/// What the loop reacts to.
enum Event {
    Received(Result<Option<bytes::Bytes>, quinn::ReadError>),
    Spooled(bool),
    StatusDue,
    TimedOut,
    Bundle(Serial, BundleOutcome),
    DrainOver,
}

/// Runs a connection to its end. Gives why it ended and how long it was good.
pub async fn run(parts: &Parts, renewal: &mut Renewal, connection: Connection) -> (Ended, Duration) {
    let address = connection.remote_address();
    let opened = connection.open_bi().await;
    let (send, receive) = match opened {
        Ok(streams) => streams,
        Err(error) => return (Ended::Trouble(Trouble::of(&error, address)), Duration::ZERO),
    };
    let safe = *parts.spool.safe.borrow();
    let (offered, offers) = unbounded_channel();
    let mut delivery = Delivery {
        parts,
        renewal,
        connection: connection.clone(),
        send,
        session: AgentSession::new(safe.epoch, safe.stored(), safe.newest()),
        reader: parts.spool.reader(),
        safe,
        welcomed_at: None,
        offered,
    };
    let mut ended = delivery.run(receive, offers).await;
    // The reason that the collector gave says more than the stream that broke.
    if let (Ended::Trouble(_), Some(error)) = (&ended, connection.close_reason()) {
        ended = Ended::Trouble(Trouble::of(&error, address));
    }
    let (code, reason) = match &ended {
        Ended::Protocol(reason) => (4, reason.as_str()),
        Ended::Stopped => (0, "the agent stops"),
        _ => (0, "the agent connects again"),
    };
    connection.close(VarInt::from_u32(code), reason.as_bytes());
    (ended, delivery.welcomed_at.map_or(Duration::ZERO, |at| at.elapsed()))
}

impl Delivery<'_> {
    async fn run(&mut self, mut receive: RecvStream, offers: UnboundedReceiver<Serial>) -> Ended {
        let hello = AgentHello {
            version: env!("CARGO_PKG_VERSION").into(),
            oldest: self.safe.stored() + 1,
            bundle: self.parts.bundles.serial(),
        };
        self.session.handle_connected(clock::now(), hello);
        let (report, mut reports) = unbounded_channel();
        let partial = self.parts.bundles.folder().join("partial");
        let transport = CollectorTransport::new(self.connection.clone(), partial);
        let bundles = take_bundles(self.parts, transport, offers, report);
        tokio::pin!(bundles);
        let mut spooled = self.parts.spool.safe.clone();
        let mut status = interval_at(tokio::time::Instant::now() + STATUS_EVERY, STATUS_EVERY);
        let mut decoder = FrameDecoder::default();
        let mut drain: Option<std::pin::Pin<Box<Sleep>>> = None;
        loop {
            if let Err(ended) = self.pump().await {
                return ended;
            }
            if drain.is_some() && (self.welcomed_at.is_none() || self.session.spooled_depth() == 0) {
                return Ended::Stopped;
            }
            let timer = sleep(self.until_timeout());
            let draining = drain.is_some();
            let event = tokio::select! {
                read = receive.read_chunk(READ_BYTES, true) => {
                    Event::Received(read.map(|chunk| chunk.map(|chunk| chunk.bytes)))
                }
                changed = spooled.changed(), if !draining => Event::Spooled(changed.is_ok()),
                _ = status.tick() => Event::StatusDue,
                () = timer => Event::TimedOut,
                Some((serial, outcome)) = reports.recv() => Event::Bundle(serial, outcome),
                () = &mut bundles => continue,
                () = async { match &mut drain { Some(drain) => drain.await, None => std::future::pending().await } } => Event::DrainOver,
            };
            match event {
                Event::Received(read) => {
                    if let Err(ended) = self.handle_read(read, &mut decoder) {
                        return ended;
                    }
                }
                Event::Spooled(true) => {
                    let safe = *spooled.borrow_and_update();
                    if safe.epoch != self.safe.epoch {
                        return Ended::NewEpoch;
                    }
                    self.safe = safe;
                    self.session.handle_spooled(safe.newest());
                }
                Event::Spooled(false) => drain = Some(Box::pin(sleep(DRAIN_SECONDS_MAX))),
                Event::StatusDue => self.send_status(),
                Event::TimedOut => {
                    self.session.handle_timeout(clock::now());
                    if let Some(request_pem) = self.renewal.handle_timeout(clock::now()) {
                        self.session.handle_renewal(request_pem);
                    }
                }
                Event::Bundle(serial, outcome) => {
                    self.session.handle_bundle(serial, outcome);
                    self.send_status();
                }
                Event::DrainOver => return Ended::Stopped,
            }
        }
    }

    /// Sends what the session wants and acts on what it says, until neither has more.
    async fn pump(&mut self) -> Result<(), Ended> {
        while let Some(event) = self.session.poll_event() {
            self.handle_event(event)?;
        }
        loop {
            while let Some(message) = self.session.poll_transmit() {
                let frame = encode(&message).map_err(|error| Ended::Protocol(error.to_string()))?;
                let sent = timeout(SEND_SECONDS_MAX, self.send.write_all(&frame)).await;
                sent.map_err(|_| Ended::Stalled)?.map_err(lost)?;
            }
            let Some(wanted) = self.session.wanted() else { return Ok(()) };
            match self.reader.read(&self.safe, wanted.from, wanted.records_max) {
                Ok(Some(batch)) => self.session.handle_records(clock::now(), batch.first, batch.records),
                Ok(None) => return Ok(()),
                Err(error) => {
                    return Err(Ended::Trouble(Trouble::Lost {
                        reason: format!("the spool cannot be read: {error}"),
                    }));
                }
            }
        }
    }

    fn handle_read(
        &mut self,
        read: Result<Option<bytes::Bytes>, quinn::ReadError>,
        decoder: &mut FrameDecoder,
    ) -> Result<(), Ended> {
        let Some(bytes) = read.map_err(lost)? else {
            return Err(Ended::Trouble(Trouble::Lost { reason: "the collector ended the session".into() }));
        };
        decoder.handle_bytes(&bytes);
        loop {
            let message = decoder.poll_message().map_err(|error| Ended::Protocol(error.to_string()))?;
            let Some(message) = message else { return Ok(()) };
            if let Err(error) = self.session.handle_message(clock::now(), message) {
                return Err(self.protocol_error(&error));
            }
        }
    }

    fn protocol_error(&self, error: &SessionError) -> Ended {
        if self.welcomed_at.is_none() && matches!(error, SessionError::AckBeyondSent { .. }) {
            warn!("the collector has more of this spool than the disk shows: everything left is sent again");
            self.parts.spool.renew_epoch();
        }
        Ended::Protocol(error.to_string())
    }

    fn handle_event(&mut self, event: AgentEvent) -> Result<(), Ended> {
        match event {
            AgentEvent::Welcomed { skew_micros, renews } => {
                self.welcomed_at = Some(Instant::now());
                self.parts.welcomed(skew_micros);
                self.renewal.handle_welcome(skew_micros, renews);
                let skew_seconds = skew_micros / 1_000_000;
                if skew_seconds.abs() > SKEW_SECONDS_MAX {
                    warn!(
                        skew_seconds,
                        "this clock and the collector's differ; check the time synchronisation"
                    );
                }
                self.send_status();
            }
            AgentEvent::Acknowledged { up_to } => self.parts.spool.acknowledge(&self.safe, up_to),
            AgentEvent::BundleAvailable { serial } => {
                // The receiver lives as long as this connection.
                let _ = self.offered.send(serial);
            }
            AgentEvent::RetryAfter { seconds, reason } => {
                return Err(Ended::RetryAfter(Duration::from_secs(seconds.into()), reason));
            }
            AgentEvent::Renewed { chain_pem } => {
                if self.renewal.handle_renewed(clock::now(), &chain_pem) {
                    return Err(Ended::Renewed);
                }
            }
            AgentEvent::RenewalRefused { reason } => self.renewal.handle_refused(&reason),
            AgentEvent::Stalled => return Err(Ended::Stalled),
        }
        Ok(())
    }

    fn send_status(&mut self) {
        let bundles = &self.parts.bundles;
        let of_bundles = (bundles.serial(), bundles.fresh_until());
        self.session.handle_status(clock::now(), of_bundles, self.parts.board.statuses());
    }

    fn until_timeout(&self) -> Duration {
        let far = Duration::from_secs(3600);
        let until = |at: Timestamp| u64::try_from(at.micros_since(clock::now())).unwrap_or(0);
        let due = self.session.poll_timeout().into_iter().chain(self.renewal.due()).min();
        due.map_or(far, |at| Duration::from_micros(until(at)).min(far))
    }
}

fn lost(error: impl std::fmt::Display) -> Ended {
    Ended::Trouble(Trouble::Lost { reason: error.to_string() })
}

/// Takes the offered bundles one after the other; of several that wait only the newest counts. Without an offer
/// the newest one is fetched when nothing else can mend what is in force, and its signatures every hour: whether they
/// are fresh tells whether this sensor is kept from something.
async fn take_bundles(
    parts: &Parts,
    transport: CollectorTransport,
    mut offers: UnboundedReceiver<Serial>,
    report: UnboundedSender<(Serial, BundleOutcome)>,
) {
    let mut wanted = parts.bundles.wanted();
    let mut failed = None;
    let mut looked_at = None;
    loop {
        let offered = match failed.take() {
            Some(serial) => Some(serial),
            None if wanted.has_changed().unwrap_or(false) => None,
            None => tokio::select! {
                Some(offered) = offers.recv() => Some(offered),
                Ok(()) = wanted.changed() => None,
                () = sleep(LOOK_EVERY) => None,
            },
        };
        let is_wanted = *wanted.borrow_and_update();
        let mut serial = offered.unwrap_or_else(|| parts.bundles.serial());
        while let Ok(newer) = offers.try_recv() {
            serial = newer;
        }
        // A collector that offers the same again and again is not asked each time.
        let is_due = looked_at.is_none_or(|at: Instant| at.elapsed() > LOOK_AGAIN_AFTER);
        if !is_due && !is_wanted && !parts.bundles.wants(serial) {
            continue;
        }
        looked_at = Some(Instant::now());
        let Err(error) = take_bundle(parts, &transport, &report).await else { continue };
        // What came before an interruption may be what is wrong: once more, from the beginning.
        if error.is_final() && transport.forget_partial().await {
            failed = Some(serial);
            looked_at = None;
            continue;
        }
        warn!(%serial, reason = %error, "the offered bundle is refused; the one in force stays");
        // The session may have ended meanwhile.
        let _ = report.send((serial, BundleOutcome::Refused { reason: error.to_string() }));
        if !error.is_final() {
            sleep(BUNDLE_RETRY_AFTER).await;
            failed = Some(serial);
        }
    }
}

async fn take_bundle(
    parts: &Parts,
    transport: &CollectorTransport,
    report: &UnboundedSender<(Serial, BundleOutcome)>,
) -> Result<(), NotTaken> {
    let fetched = |serial| {
        info!(%serial, "bundle verified");
        let _ = report.send((serial, BundleOutcome::Fetched));
    };
    let was_refused = parts.bundles.status().load().refused.is_some();
    let taken = parts.bundles.take(|| Repository::over(transport.clone()), fetched).await?;
    if taken.is_new || was_refused {
        let in_force = taken.in_force;
        let _ = report.send((in_force.serial, BundleOutcome::Applied { indicators: in_force.indicators }));
    }
    Ok(())
}

//! The door: takes connections within limits, asks who comes, and hands each to what it may do.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::{ALPN_ENROL, ALPN_PUSH, ALPN_SESSION, Identity};
use quinn::{Connection, Endpoint, Incoming};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use super::intake::{Admission, Intake, Whence};
use super::peer::{Peer, peer_of, protocol_of};
use super::refusal::Refusal;
use super::session::SensorPeer;
use super::shared::Shared;
use super::{enrolment, push, session};
use crate::store::sensors::{self, RETIRED, Standing};
use crate::store::twins::Sign;

/// Open connections, all together.
const CONNECTIONS_MAX: usize = 8192;
/// Connections that have not shown who they are, all together but those from sensors' homes, and from one address (a /64
/// of IPv6).
const STRANGERS_MAX: usize = 512;
const STRANGERS_PER_ADDRESS_MAX: usize = 32;
/// From so many on, a stranger first has to prove that its address is its own (Retry, RFC 9000 §8.1.2).
const STRANGERS_UNVALIDATED_MAX: usize = 64;
/// A handshake takes a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections get so long to hear that the collector stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Serves the endpoint until the collector stops.
pub(super) async fn serve(endpoint: Endpoint, shared: Arc<Shared>) {
    let (known, mut becoming_known) = mpsc::unbounded_channel();
    let mut door = Door {
        strangers: HashMap::new(),
        strangers_sum: 0,
        intake: Intake::new(Instant::now()),
        open: JoinSet::new(),
        known,
    };
    let mut stopping = shared.stopping.clone();
    let mut seconds = tokio::time::interval(Duration::from_secs(1));
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => door.take_in(incoming, &shared),
                None => break,
            },
            _ = seconds.tick() => door.intake.tell(Instant::now()),
            Some((source, is_home)) = becoming_known.recv() => door.forget_stranger(source, is_home),
            Some(_) = door.open.join_next(), if !door.open.is_empty() => {}
            _ = stopping.wait_for(|stopping| *stopping) => break,
        }
    }
    // Each connection hears why from its own task; whoever does not listen is cut off.
    let ending = async { while door.open.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_TIMEOUT, ending).await.is_err() {
        door.open.shutdown().await;
    }
    endpoint.close(Refusal::GoingAway.code(), Refusal::GoingAway.to_string().as_bytes());
    let _told = tokio::time::timeout(STOP_TIMEOUT, endpoint.wait_idle()).await;
}

struct Door {
    /// Of all sources.
    strangers: HashMap<IpAddr, usize>,
    /// Of those that are nobody's home.
    strangers_sum: usize,
    intake: Intake,
    open: JoinSet<()>,
    known: mpsc::UnboundedSender<(IpAddr, bool)>,
}

/// Counts a connection as a stranger until it is dropped.
struct Stranger {
    source: IpAddr,
    is_home: bool,
    known: mpsc::UnboundedSender<(IpAddr, bool)>,
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _door_closed = self.known.send((self.source, self.is_home));
    }
}

impl Door {
    fn take_in(&mut self, incoming: Incoming, shared: &Arc<Shared>) {
        let address = incoming.remote_address();
        let source = source_of(address);
        let is_home = shared.homes.has(source);
        let from_there = self.strangers.get(&source).copied().unwrap_or(0);
        if self.open.len() >= CONNECTIONS_MAX
            || (self.strangers_sum >= STRANGERS_MAX && !is_home)
            || from_there >= STRANGERS_PER_ADDRESS_MAX
        {
            shared.parts.refusals.say(address, "stranger", "too many connections at once");
            incoming.refuse();
            return;
        }
        match self.admit(&incoming, source, is_home) {
            Admission::Begins => {}
            Admission::Proves => {
                // It comes back with a token, or not at all.
                let _sent = incoming.retry();
                return;
            }
            Admission::TooOften => {
                shared.parts.refusals.say(address, "stranger", "too many handshakes in a short time");
                return incoming.refuse();
            }
            // Told by the second.
            Admission::TooMany => return incoming.refuse(),
        }
        self.strangers_sum += usize::from(!is_home);
        *self.strangers.entry(source).or_default() += 1;
        let stranger = Stranger { source, is_home, known: self.known.clone() };
        self.open.spawn(serve_one(incoming, Arc::clone(shared), stranger));
    }

    fn admit(&mut self, incoming: &Incoming, source: IpAddr, is_home: bool) -> Admission {
        let now = Instant::now();
        if incoming.remote_address_validated() || !incoming.may_retry() {
            let whence = if is_home { Whence::Home } else { Whence::Elsewhere };
            return self.intake.admit(source, whence, now);
        }
        if self.strangers_sum >= STRANGERS_UNVALIDATED_MAX {
            return Admission::Proves;
        }
        self.intake.admit_unproven(source, now)
    }

    fn forget_stranger(&mut self, source: IpAddr, is_home: bool) {
        self.strangers_sum = self.strangers_sum.saturating_sub(usize::from(!is_home));
        if let Some(count) = self.strangers.get_mut(&source) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.strangers.remove(&source);
            }
        }
    }
}

/// Whom an address is counted to: one household has a whole /64 of IPv6.
pub(super) fn source_of(address: SocketAddr) -> IpAddr {
    match address.ip().to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

async fn serve_one(incoming: Incoming, shared: Arc<Shared>, stranger: Stranger) {
    let address = incoming.remote_address();
    let handshake = async { incoming.accept()?.await };
    let connection = match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            shared.parts.refusals.say(address, "stranger", &format!("handshake failed: {error}"));
            return;
        }
        Err(_) => {
            shared.parts.refusals.say(address, "stranger", "handshake not finished in time");
            return;
        }
    };
    let served = match protocol_of(&connection).as_slice() {
        ALPN_ENROL => serve_newcomer(&connection, &shared).await,
        ALPN_SESSION => serve_sensor(&connection, &shared, stranger).await,
        ALPN_PUSH => serve_desk(&connection, &shared, stranger).await,
        _ => Err((String::from("stranger"), Refusal::Protocol("unknown protocol".into()))),
    };
    match served {
        Ok(()) => connection.close(0_u32.into(), b"done"),
        Err((who, refusal)) => {
            if refusal != Refusal::GoingAway {
                shared.parts.refusals.say(address, &who, &refusal.to_string());
            }
            connection.close(refusal.code(), refusal.to_string().as_bytes());
        }
    }
}

/// How a connection ended: well, or by whose refusal.
pub(super) type Served = Result<(), (String, Refusal)>;

/// Who has a certificate is enrolled already, and enrols anew without it.
async fn serve_newcomer(connection: &Connection, shared: &Arc<Shared>) -> Served {
    if connection.peer_identity().is_some() {
        let who =
            peer_of(connection).map_or_else(|_| "stranger".to_owned(), |peer| peer.identity.to_string());
        return Err((who.clone(), Refusal::WrongRole { wanted: "an enrolment", identity: who }));
    }
    enrolment::serve(connection, shared).await
}

async fn serve_sensor(connection: &Connection, shared: &Arc<Shared>, stranger: Stranger) -> Served {
    let peer = peer_of(connection).map_err(as_stranger)?;
    let who = peer.identity.to_string();
    let Identity::Agent { comune, agent } = peer.identity.clone() else {
        return Err((who.clone(), Refusal::WrongRole { wanted: "a sensor", identity: who }));
    };
    let comune_name = check_standing(shared, &peer).await?;
    let seat = shared.seats.take(&peer.identity, Instant::now()).map_err(|refusal| (who.clone(), refusal))?;
    shared.homes.add(connection.remote_address());
    drop(stranger);
    let place = shared.twins.place(agent, connection.stable_id());
    let sensor = SensorPeer { comune, comune_name, agent, certificate: peer.serial.clone(), place, seat };
    let served = tokio::select! {
        biased;
        unwelcome = shared.until_unwelcome(&peer) => Err(unwelcome),
        ended = session::serve(connection, shared, &sensor) => ended,
        () = session::watch_for_twin(connection, shared, &sensor) => Ok(()),
    };
    session::part(connection, shared, &sensor).await;
    served.map_err(|refusal| (who, refusal))
}

async fn serve_desk(connection: &Connection, shared: &Arc<Shared>, stranger: Stranger) -> Served {
    let peer = peer_of(connection).map_err(as_stranger)?;
    let who = peer.identity.to_string();
    if !matches!(peer.identity, Identity::Desk { .. }) {
        return Err((who.clone(), Refusal::WrongRole { wanted: "a desk", identity: who }));
    }
    check_standing(shared, &peer).await?;
    let _seat =
        shared.seats.take(&peer.identity, Instant::now()).map_err(|refusal| (who.clone(), refusal))?;
    shared.homes.add(connection.remote_address());
    drop(stranger);
    let served = tokio::select! {
        biased;
        unwelcome = shared.until_unwelcome(&peer) => Err(unwelcome),
        () = shared.until_stopping() => Err(Refusal::GoingAway),
        ended = push::serve(connection, shared, &who) => ended,
    };
    served.map_err(|refusal| (who, refusal))
}

/// The name of a sensor's town, when its certificate is good.
async fn check_standing(shared: &Shared, peer: &Peer) -> Result<String, (String, Refusal)> {
    let refusal = match sensors::standing(&shared.parts.store, peer.serial.clone(), &peer.identity).await {
        Ok(Standing::Good { comune }) => return Ok(comune),
        Ok(Standing::Revoked { reason }) => {
            if let (RETIRED, Identity::Agent { agent, .. }) = (reason.as_str(), &peer.identity) {
                session::note_twin(shared, *agent, Sign::OldCertificate).await;
            }
            Refusal::Revoked { reason }
        }
        Ok(Standing::Unknown) => Refusal::Unknown,
        Err(error) => Refusal::Overload(error.to_string()),
    };
    Err((peer.identity.to_string(), refusal))
}

fn as_stranger(refusal: Refusal) -> (String, Refusal) {
    ("stranger".to_owned(), refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, source: &str) {
        assert_eq!(source_of(address.parse().unwrap()), source.parse::<IpAddr>().unwrap());
    }

    #[test]
    fn a_network_of_one_household_counts_as_one() {
        check("192.0.2.7:1", "192.0.2.7");
        check("[::ffff:192.0.2.7]:1", "192.0.2.7");
        check("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::");
    }
}

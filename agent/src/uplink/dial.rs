//! Finding a collector: names are resolved each time, the addresses raced as RFC 8305 says ("happy eyeballs"), with the
//! real handshake, because a mere answer proves nothing.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::{sleep, timeout};

use super::trouble::Trouble;

/// A handshake that takes longer is given up.
const HANDSHAKE_SECONDS_MAX: Duration = Duration::from_secs(8);
/// A resolver that takes longer has no answer.
const LOOKUP_SECONDS_MAX: Duration = Duration::from_secs(5);
/// How long a sign of life is waited for after a handshake failed.
const PROBE_SECONDS_MAX: Duration = Duration::from_secs(1);
/// The next address of a name is tried beside the first after this time (RFC 8305 section 5).
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// The next collector, which is second choice.
const NEXT_NAME_AFTER: Duration = Duration::from_secs(2);
/// Addresses that one name may have.
const ADDRESSES_MAX: usize = 8;

/// A connection that is open, and what keeps it so.
pub struct Dialled {
    /// Its socket.
    pub endpoint: Endpoint,
    /// The connection; the collector has not yet judged the certificate.
    pub connection: Connection,
    /// As configured.
    pub name: String,
}

/// Connects to the first collector that answers; those named first have a start of two seconds.
///
/// # Errors
/// The trouble that tells most.
pub async fn dial(names: &[String], config: &ClientConfig) -> Result<Dialled, Trouble> {
    let troubles = match race(names.iter().map(|name| dial_name(name, config)), NEXT_NAME_AFTER).await {
        Ok(dialled) => return Ok(dialled),
        Err(troubles) => troubles,
    };
    Err(most_telling(troubles).unwrap_or(Trouble::Lost { reason: "no collector is configured".into() }))
}

async fn dial_name(name: &str, config: &ClientConfig) -> Result<Dialled, Trouble> {
    let unresolved = |reason: String| Trouble::Unresolved { name: name.to_owned(), reason };
    let found = timeout(LOOKUP_SECONDS_MAX, lookup_host(name)).await;
    let found = found.map_err(|_| unresolved("the resolver does not answer".into()))?;
    let addresses = families_in_turn(found.map_err(|error| unresolved(error.to_string()))?);
    match race(addresses.into_iter().map(|address| connect(address, config)), NEXT_ADDRESS_AFTER).await {
        Ok((endpoint, connection)) => Ok(Dialled { endpoint, connection, name: name.to_owned() }),
        Err(troubles) => {
            Err(most_telling(troubles).unwrap_or_else(|| unresolved("it has no address".into())))
        }
    }
}

/// IPv6 and IPv4 in turn, each in the resolver's order, the family of its first answer first (RFC 8305 section 4).
fn families_in_turn(found: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut seen: Vec<SocketAddr> = Vec::new();
    for address in found {
        if !seen.contains(&address) {
            seen.push(address);
        }
    }
    let first_is_v6 = seen.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) =
        seen.into_iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut turns = Vec::new();
    while turns.len() < ADDRESSES_MAX {
        let pair = [first.next(), second.next()];
        if pair == [None, None] {
            break;
        }
        turns.extend(pair.into_iter().flatten());
    }
    turns.truncate(ADDRESSES_MAX);
    turns
}

/// The first success. Each attempt begins when the one before failed or `next_after` passed, and goes on beside it.
async fn race<T, E, A>(attempts: impl Iterator<Item = A>, next_after: Duration) -> Result<T, Vec<E>>
where
    A: Future<Output = Result<T, E>>,
{
    let mut waiting = attempts.peekable();
    let (mut running, mut failed) = (FuturesUnordered::new(), Vec::new());
    loop {
        running.extend(waiting.next());
        let more = waiting.peek().is_some();
        loop {
            tokio::select! {
                ended = running.next() => match ended {
                    Some(Ok(won)) => return Ok(won),
                    Some(Err(error)) => {
                        failed.push(error);
                        if more {
                            break;
                        }
                    }
                    None if more => break,
                    None => return Err(failed),
                },
                () = sleep(next_after), if more => break,
            }
        }
    }
}

fn most_telling(troubles: Vec<Trouble>) -> Option<Trouble> {
    // Of equals the first: it is the collector of first choice.
    troubles.into_iter().rev().max_by_key(Trouble::weight)
}

async fn connect(address: SocketAddr, config: &ClientConfig) -> Result<(Endpoint, Connection), Trouble> {
    let unreachable = |error: &dyn fmt::Display| Trouble::Unreachable { address, reason: error.to_string() };
    // A socket for each attempt: a middlebox that lost its way with one gets another.
    let endpoint = Endpoint::client(any_address(address)).map_err(|error| unreachable(&error))?;
    let connecting = endpoint
        .connect_with(config.clone(), address, protocol::COLLECTOR_SERVER_NAME)
        .map_err(|error| unreachable(&error))?;
    let trouble = match timeout(HANDSHAKE_SECONDS_MAX, connecting).await {
        Ok(Ok(connection)) => return Ok((endpoint, connection)),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => probe(address).await,
        Ok(Err(error)) => Trouble::of(&error, address),
    };
    tracing::debug!(%address, %trouble, "no connection");
    Err(trouble)
}

fn any_address(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Tells a machine without a collector, and one behind a firewall that swallows UDP, from silence.
async fn probe(address: SocketAddr) -> Trouble {
    // Only a connected socket is told that a port is closed.
    let asked = async {
        let socket = UdpSocket::bind(any_address(address)).await?;
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0]).await
    };
    match timeout(PROBE_SECONDS_MAX, asked).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return Trouble::NotListening { address };
        }
        // What the kernel answers when a filter on this machine drops what it would send.
        Ok(Err(error)) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Trouble::OwnFirewall { address };
        }
        Ok(Err(error)) => return Trouble::Unreachable { address, reason: error.to_string() },
        Ok(Ok(_)) | Err(_) => {}
    }
    // Nothing need listen there: a refusal is a sign of life as well.
    match timeout(PROBE_SECONDS_MAX, TcpStream::connect(address)).await {
        Ok(Ok(_)) => Trouble::UdpBlocked { address },
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Trouble::UdpBlocked { address },
        Ok(Err(_)) | Err(_) => Trouble::Silent { address },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn turns(found: &[&str]) -> Vec<String> {
        let found = found.iter().map(|text| text.parse().unwrap());
        families_in_turn(found).iter().map(SocketAddr::to_string).collect()
    }

    #[test]
    fn families_take_turns_beginning_with_the_resolvers_first() {
        let found = ["[2001:db8::1]:1", "[2001:db8::2]:1", "192.0.2.1:1", "192.0.2.1:1", "192.0.2.2:1"];
        assert_eq!(turns(&found), ["[2001:db8::1]:1", "192.0.2.1:1", "[2001:db8::2]:1", "192.0.2.2:1"]);
        assert_eq!(turns(&["192.0.2.1:1", "[2001:db8::1]:1"]), ["192.0.2.1:1", "[2001:db8::1]:1"]);
        assert!(turns(&[]).is_empty());
        let many: Vec<String> = (0..20).map(|number| format!("192.0.2.{number}:1")).collect();
        assert_eq!(turns(&many.iter().map(String::as_str).collect::<Vec<_>>()).len(), ADDRESSES_MAX);
    }

    /// One attempt of a race, in seconds of paused time: when it ends, and whether well.
    async fn attempt((seconds, good): (u64, bool), begun: &AtomicUsize) -> Result<u64, u64> {
        begun.fetch_add(1, Ordering::Relaxed);
        sleep(Duration::from_secs(seconds)).await;
        if good { Ok(seconds) } else { Err(seconds) }
    }

    async fn raced(attempts: &[(u64, bool)]) -> (Result<u64, Vec<u64>>, usize, u64) {
        let (begun, start) = (AtomicUsize::new(0), tokio::time::Instant::now());
        let racing = attempts.iter().map(|each| attempt(*each, &begun));
        let ended = race(racing, Duration::from_secs(10)).await;
        (ended, begun.into_inner(), start.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_first_has_the_second_beside_it_and_a_failed_one_is_followed_at_once() {
        assert_eq!(raced(&[(3, true), (1, true)]).await, (Ok(3), 1, 3));
        assert_eq!(raced(&[(100, true), (1, true)]).await, (Ok(1), 2, 11));
        assert_eq!(raced(&[(12, true), (100, true)]).await, (Ok(12), 2, 12));
        assert_eq!(raced(&[(1, false), (2, false), (3, true)]).await, (Ok(3), 3, 6));
        assert_eq!(raced(&[(1, false), (2, false)]).await, (Err(vec![1, 2]), 2, 3));
        assert_eq!(raced(&[]).await, (Err(Vec::new()), 0, 0));
    }

    #[test]
    fn of_several_troubles_the_most_telling_is_told() {
        let address = "192.0.2.1:4740".parse().unwrap();
        let refused = Trouble::Refused { code: 3, reason: "revoked".into() };
        let told = most_telling(vec![
            Trouble::Silent { address },
            refused.clone(),
            Trouble::NotListening { address },
        ]);
        assert_eq!(told, Some(refused));
    }
}

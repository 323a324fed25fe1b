//! Finding a collector: names resolved each time, every address tried in turn, and a reason that a person can
//! act on when none answers.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint};
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

/// A handshake that takes longer is given up; the next address is tried.
const HANDSHAKE_SECONDS_MAX: Duration = Duration::from_secs(8);
/// How long a refusal of the port is waited for.
const PROBE_SECONDS_MAX: Duration = Duration::from_secs(1);
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

/// Why there is no connection, or no longer one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The name has no address now.
    Unresolved {
        /// The name.
        name: String,
        /// The resolver's words.
        reason: String,
    },
    /// Nothing came back.
    Silent {
        /// The address.
        address: SocketAddr,
    },
    /// The machine answers, but nothing listens on the port.
    NotListening {
        /// The address.
        address: SocketAddr,
    },
    /// No way there from this machine.
    Unreachable {
        /// The address.
        address: SocketAddr,
        /// The system's words.
        reason: String,
    },
    /// The collector is not of the authority that was pinned.
    OtherAuthority {
        /// The address.
        address: SocketAddr,
    },
    /// The certificate of one side is not valid at this time.
    NotValidNow {
        /// The address.
        address: SocketAddr,
        /// The words of TLS.
        reason: String,
    },
    /// The collector refuses this sensor, and why.
    Refused {
        /// The code of the protocol.
        code: u64,
        /// The collector's words.
        reason: String,
    },
    /// The connection broke.
    Lost {
        /// The words of QUIC.
        reason: String,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unresolved { name, reason } => {
                write!(f, "the name of {name} cannot be resolved ({reason}); check the gateway's DNS")
            }
            Self::Silent { address } => write!(
                f,
                "no answer from {address} over UDP: either a firewall on the way blocks outgoing UDP port {} (allow it), or the collector is down",
                address.port()
            ),
            Self::NotListening { address } => {
                write!(f, "{address} is there but nothing listens on the port: the collector is not running")
            }
            Self::Unreachable { address, reason } => {
                write!(f, "no way to {address} ({reason}); check the gateway's routes")
            }
            Self::OtherAuthority { address } => write!(
                f,
                "{address} does not belong to the authority pinned at enrolment, and is not trusted; if the collector was set up anew, enrol again (vedetta-agent enrol --replace CODE), otherwise somebody is in between"
            ),
            Self::NotValidNow { address, reason } => {
                write!(
                    f,
                    "a certificate is not valid at this time ({reason}, {address}); check this machine's clock"
                )
            }
            Self::Refused { code, reason } => {
                let advice = match code {
                    1 | 2 => "enrol again: vedetta-agent enrol --replace CODE",
                    3 => {
                        "if it should report again, ask the collector's operator for a new code and run vedetta-agent enrol --replace CODE"
                    }
                    4 => "update the older of the two programs",
                    _ => "the agent tries again",
                };
                write!(f, "the collector closed the connection: {reason}; {advice}")
            }
            Self::Lost { reason } => write!(f, "the connection broke: {reason}"),
        }
    }
}

impl Trouble {
    /// What the end of a connection means.
    pub fn of(error: &ConnectionError, address: SocketAddr) -> Self {
        let reason = match error {
            ConnectionError::ApplicationClosed(close) => {
                let reason = String::from_utf8_lossy(&close.reason);
                return Self::Refused { code: close.error_code.into_inner(), reason: plain(&reason) };
            }
            ConnectionError::ConnectionClosed(close) => {
                let text = plain(&close.to_string());
                if is_certificate_alert(u64::from(close.error_code)) {
                    let reason = format!("it does not take this sensor's certificate ({text})");
                    return Self::Refused { code: 1, reason };
                }
                text
            }
            other => plain(&other.to_string()),
        };
        // Authorities of the same name are told apart by their signature only.
        if ["UnknownIssuer", "BadSignature", "NotValidForName"].iter().any(|word| reason.contains(word)) {
            return Self::OtherAuthority { address };
        }
        if reason.contains("Expired") || reason.contains("NotValidYet") || reason.contains("expired") {
            return Self::NotValidNow { address, reason };
        }
        Self::Lost { reason }
    }

    /// Whether it looks as if something on the way drops UDP.
    pub fn suggests_udp_blocked(&self) -> bool {
        matches!(self, Self::Silent { .. })
    }
}

/// Alerts about certificates (RFC 8446 §6.2), as QUIC numbers them (RFC 9001 §4.8).
fn is_certificate_alert(code: u64) -> bool {
    const BAD_CERTIFICATE: u64 = 42;
    const UNKNOWN_AUTHORITY: u64 = 48;
    const ACCESS_DENIED: u64 = 49;
    const CERTIFICATE_REQUIRED: u64 = 116;
    let alert = code.wrapping_sub(0x100);
    (BAD_CERTIFICATE..=UNKNOWN_AUTHORITY).contains(&alert)
        || alert == ACCESS_DENIED
        || alert == CERTIFICATE_REQUIRED
}

/// A peer's words in a log line: short and without control characters.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(300).collect()
}

/// Connects to the first address that answers.
///
/// # Errors
/// The trouble of the last address.
pub async fn dial(names: &[String], config: &ClientConfig) -> Result<Dialled, Trouble> {
    let mut trouble = Trouble::Lost { reason: "no collector is configured".into() };
    for name in names {
        let addresses = match lookup_host(name.as_str()).await {
            Ok(addresses) => addresses.take(ADDRESSES_MAX).collect::<Vec<_>>(),
            Err(error) => {
                trouble = Trouble::Unresolved { name: name.clone(), reason: error.to_string() };
                continue;
            }
        };
        for address in addresses {
            match connect(address, config).await {
                Ok((endpoint, connection)) => {
                    return Ok(Dialled { endpoint, connection, name: name.clone() });
                }
                Err(found) => {
                    tracing::debug!(%address, trouble = %found, "no connection");
                    trouble = found;
                }
            }
        }
    }
    Err(trouble)
}

async fn connect(address: SocketAddr, config: &ClientConfig) -> Result<(Endpoint, Connection), Trouble> {
    let unreachable = |error: &dyn fmt::Display| Trouble::Unreachable { address, reason: error.to_string() };
    // A socket for each attempt: a middlebox that lost its way with one gets another.
    let endpoint = Endpoint::client(any_address(address)).map_err(|error| unreachable(&error))?;
    let connecting = endpoint
        .connect_with(config.clone(), address, protocol::COLLECTOR_SERVER_NAME)
        .map_err(|error| unreachable(&error))?;
    match timeout(HANDSHAKE_SECONDS_MAX, connecting).await {
        Ok(Ok(connection)) => Ok((endpoint, connection)),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(probe(address).await),
        Ok(Err(error)) => Err(Trouble::of(&error, address)),
    }
}

fn any_address(peer: SocketAddr) -> SocketAddr {
    match peer {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    }
}

/// Tells a machine without a collector from silence: only a connected socket is told that a port is closed.
async fn probe(address: SocketAddr) -> Trouble {
    let asked = async {
        let socket = UdpSocket::bind(any_address(address)).await?;
        socket.connect(address).await?;
        socket.send(&[0]).await?;
        socket.recv(&mut [0]).await
    };
    match timeout(PROBE_SECONDS_MAX, asked).await {
        Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Trouble::NotListening { address }
        }
        Ok(Err(error)) => Trouble::Unreachable { address, reason: error.to_string() },
        _ => Trouble::Silent { address },
    }
}

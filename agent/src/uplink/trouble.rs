//! Why there is no connection, in sentences that a person can act on.

use std::fmt;
use std::net::SocketAddr;

use quinn::ConnectionError;

/// The collector's code for an orderly stop.
const GOING_AWAY: u64 = 5;
/// The collector's code for a certificate that ended while its connection was open.
const ENDED: u64 = 7;
/// The alert `certificate_expired`.
const CERTIFICATE_EXPIRED: u64 = 0x100 + 45;

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
    /// Nothing came back, over UDP or TCP.
    Silent {
        /// The address.
        address: SocketAddr,
    },
    /// The machine answers over TCP, while UDP is swallowed.
    UdpBlocked {
        /// The address.
        address: SocketAddr,
    },
    /// This machine's own packet filter drops UDP on its way out.
    OwnFirewall {
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
    /// The collector says that this sensor's certificate is over.
    Ended,
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
                "{address} answers neither over UDP nor over TCP: the collector's machine or the line to it is down, or a firewall on the way drops both; ask whether the collector runs, and allow outgoing UDP port {}",
                address.port()
            ),
            Self::UdpBlocked { address } => write!(
                f,
                "{} is there and answers over TCP, but UDP port {} is swallowed: allow outgoing UDP to it in the firewalls on the way",
                address.ip(),
                address.port()
            ),
            Self::OwnFirewall { address } => write!(
                f,
                "this machine's own firewall drops what is sent to {address}: allow outgoing UDP port {} in it",
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
            Self::Ended => f.write_str(
                "this sensor's certificate has ended, because it was off or cut off for longer than the certificate lasts: ask the collector's operator for a new code (vedetta-collector invite --replaces SENSOR), run vedetta-agent enrol --replace CODE and restart the agent; if it should still be good, check this machine's clock and the collector's",
            ),
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
                let code = close.error_code.into_inner();
                return if code == ENDED {
                    Self::Ended
                } else {
                    Self::Refused { code, reason: plain(&reason) }
                };
            }
            ConnectionError::ConnectionClosed(close) => {
                let text = plain(&close.to_string());
                if u64::from(close.error_code) == CERTIFICATE_EXPIRED {
                    // The same alert says that it has not begun.
                    let not_begun = ["not valid yet", "NotValidYet"].iter().any(|word| text.contains(word));
                    return if not_begun { Self::NotValidNow { address, reason: text } } else { Self::Ended };
                }
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

    /// Whether the collector stops as asked, and will be back.
    pub fn is_going_away(&self) -> bool {
        matches!(self, Self::Refused { code: GOING_AWAY, .. })
    }

    /// Whether a firewall drops UDP, here or on the way.
    pub fn is_udp_blocked(&self) -> bool {
        matches!(self, Self::UdpBlocked { .. } | Self::OwnFirewall { .. })
    }

    /// How much it tells about what to do: of several addresses' troubles the one that tells most is reported.
    pub fn weight(&self) -> u8 {
        match self {
            Self::Refused { .. } | Self::Ended => 7,
            Self::OtherAuthority { .. } => 6,
            Self::NotValidNow { .. } => 5,
            Self::Lost { .. } => 4,
            Self::UdpBlocked { .. } | Self::OwnFirewall { .. } => 3,
            Self::NotListening { .. } => 2,
            Self::Silent { .. } => 1,
            Self::Unreachable { .. } | Self::Unresolved { .. } => 0,
        }
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

#[cfg(test)]
mod tests {
    use quinn::{ConnectionClose, TransportErrorCode};

    use super::*;

    /// The end of a connection by the collector's TLS, or by this side's.
    fn by_collector(alert: u8, reason: &str) -> ConnectionError {
        let close = ConnectionClose {
            error_code: TransportErrorCode::crypto(alert),
            frame_type: None,
            reason: reason.to_owned().into_bytes().into(),
        };
        ConnectionError::ConnectionClosed(close)
    }

    #[test]
    fn each_end_of_a_connection_says_what_to_do() {
        let rows = [
            (by_collector(45, "certificate expired"), "ask the collector's operator for a new code"),
            (by_collector(45, "certificate not valid yet"), "check this machine's clock"),
            (by_collector(48, "unknown issuer"), "enrol again: vedetta-agent enrol --replace CODE"),
            (by_collector(80, "invalid peer certificate: NotValidYet"), "check this machine's clock"),
            (by_collector(80, "invalid peer certificate: UnknownIssuer"), "authority pinned at enrolment"),
            (ConnectionError::TimedOut, "the connection broke"),
        ];
        for (error, words) in rows {
            let told = Trouble::of(&error, "192.0.2.1:4740".parse().unwrap()).to_string();
            assert!(told.contains(words), "{error}: {told}");
        }
    }
}

//! Why a peer is sent away, as it reads it and as the log says it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use quinn::VarInt;
use tracing::warn;

/// Why a connection is closed. The code and the sentence go to the peer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no client certificate: enrol first (vedetta-agent enrol)")]
    NoCertificate,
    #[error("this certificate is not for {wanted}: {identity}")]
    WrongRole { wanted: &'static str, identity: String },
    #[error("this certificate was revoked: {reason}")]
    Revoked { reason: String },
    #[error("this collector does not know this certificate; enrol again")]
    Unknown,
    #[error("this certificate has ended; ask the collector's operator for a new code")]
    Ended,
    #[error("protocol error: {0}")]
    Protocol(String),
    #[error("the collector is stopping")]
    GoingAway,
    #[error("the collector cannot take more: {0}")]
    Overload(String),
}

impl Refusal {
    /// The application's close code (RFC 9000 §20.2).
    pub fn code(&self) -> VarInt {
        VarInt::from_u32(match self {
            Self::NoCertificate => 1,
            Self::WrongRole { .. } => 2,
            Self::Revoked { .. } | Self::Unknown => 3,
            Self::Protocol(_) => 4,
            Self::GoingAway => 5,
            Self::Overload(_) => 6,
            Self::Ended => 7,
        })
    }
}

impl From<protocol::frame::FrameError> for Refusal {
    fn from(error: protocol::frame::FrameError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// Lines about refusals in one window; whoever knocks all day long must not fill the disk with log.
const LINES_MAX: u32 = 60;
const WINDOW: Duration = Duration::from_secs(60);

/// Logs refusals at warn, so many in a minute; the rest is counted.
#[derive(Debug, Default)]
pub(super) struct RefusalLog(Mutex<Window>);

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    lines: u32,
    unsaid: u64,
}

impl RefusalLog {
    /// Says who was refused and why.
    pub fn say(&self, address: SocketAddr, who: &str, why: &str) {
        if self.may_say(Instant::now()) {
            warn!(%address, who, why, "refused");
        }
    }

    /// The same before the address is known.
    pub fn say_of(&self, who: &str, why: &str) {
        if self.may_say(Instant::now()) {
            warn!(who, why, "refused");
        }
    }

    fn may_say(&self, now: Instant) -> bool {
        let Ok(mut window) = self.0.lock() else { return true };
        if window.began.is_none_or(|began| now.duration_since(began) >= WINDOW) {
            if window.unsaid > 0 {
                warn!(more = window.unsaid, "refused more than is logged");
            }
            *window = Window { began: Some(now), lines: 0, unsaid: 0 };
        }
        if window.lines >= LINES_MAX {
            window.unsaid += 1;
            return false;
        }
        window.lines += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_not_logged() {
        let log = RefusalLog::default();
        let start = Instant::now();
        let said = (0..1000).filter(|_| log.may_say(start)).count();
        assert_eq!(said, LINES_MAX as usize);
        assert!(log.may_say(start + WINDOW));
    }
}

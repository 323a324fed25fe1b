//! One sender's connection: bytes, TLS where it is spoken, framing, messages.

use std::io::{self, Read as _};
use std::net::{IpAddr, TcpStream};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{setsockopt, sockopt};

use super::framing::{Allowed, Frame, Framing, FramingError};
use super::senders::SenderNumber;
use super::tls::{Session, Turn};

/// A sender that never finishes its handshake is sent away.
const HANDSHAKE_SECONDS_MAX: Duration = Duration::from_secs(10);
/// Reads of one connection before the others have their turn.
const READS_AT_ONCE: usize = 8;
/// A sender that vanished without a word is noticed after so many seconds, and a few probes.
const KEEP_ALIVE_SECONDS: u32 = 300;

/// A connection that was accepted.
pub struct Connection {
    stream: TcpStream,
    session: Option<Session>,
    framing: Framing,
    /// Where it came in.
    pub listener: usize,
    /// Whose it is.
    pub sender: SenderNumber,
    /// Its address.
    pub ip: IpAddr,
    since: Instant,
    last_at: Instant,
}

/// Why a connection is over.
#[derive(Debug)]
pub enum End {
    /// The sender closed it.
    Closed,
    /// What it sent made no sense.
    Framing(FramingError),
    /// No session came of it, or it broke.
    Tls(String),
    /// It said nothing for too long.
    Idle,
}

impl Connection {
    /// # Errors
    /// When the system refuses to set the socket up.
    pub fn new(
        stream: TcpStream,
        session: Option<Session>,
        (listener, sender, ip): (usize, SenderNumber, IpAddr),
    ) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        setsockopt(&stream, sockopt::KeepAlive, &true)?;
        setsockopt(&stream, sockopt::TcpKeepIdle, &KEEP_ALIVE_SECONDS)?;
        let allowed = if session.is_some() { Allowed::Counting } else { Allowed::Either };
        let now = Instant::now();
        let framing = Framing::new(allowed);
        Ok(Self { stream, session, framing, listener, sender, ip, since: now, last_at: now })
    }

    /// Its socket and what it waits for.
    pub fn waits_for(&self) -> (BorrowedFd<'_>, PollFlags) {
        let writes = self.session.as_ref().is_some_and(Session::wants_write);
        let flags = if writes { PollFlags::POLLIN | PollFlags::POLLOUT } else { PollFlags::POLLIN };
        (self.stream.as_fd(), flags)
    }

    /// Whether TLS is still being agreed on.
    pub fn is_handshaking(&self) -> bool {
        self.session.as_ref().is_some_and(Session::is_handshaking)
    }

    /// It is not read now, by no fault of its sender.
    pub fn is_kept_waiting(&mut self) {
        self.last_at = Instant::now();
    }

    /// Whether it has been silent for too long.
    pub fn is_overdue(&self, idle: Duration) -> Option<End> {
        if self.is_handshaking() && self.since.elapsed() > HANDSHAKE_SECONDS_MAX {
            return Some(End::Tls("the handshake took too long".to_owned()));
        }
        (self.last_at.elapsed() > idle).then_some(End::Idle)
    }

    /// Reads what came; gives why it is over when it is.
    pub fn read(&mut self, piece: &mut [u8], give: &mut dyn FnMut(Frame<'_>)) -> Option<End> {
        for _ in 0..READS_AT_ONCE {
            let was_handshaking = self.is_handshaking();
            let mut framed = Ok(());
            let turn = match &mut self.session {
                Some(session) => session.turn(&mut self.stream, piece, &mut |bytes| {
                    if framed.is_ok() {
                        framed = self.framing.take(bytes, give);
                    }
                }),
                None => self.stream.read(piece).map(|read| {
                    framed = self.framing.take(piece.get(..read).unwrap_or_default(), give);
                    if read == 0 { Turn::Ended { is_orderly: true } } else { Turn::Read }
                }),
            };
            if let Err(error) = framed {
                return Some(End::Framing(error));
            }
            match turn {
                Ok(Turn::Read) => self.last_at = Instant::now(),
                Ok(Turn::Ended { .. }) if was_handshaking => {
                    return Some(End::Tls("it was closed within the handshake".to_owned()));
                }
                Ok(Turn::Ended { is_orderly }) => return Some(self.close(is_orderly, give)),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => return None,
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::InvalidData => {
                        self.close(false, give);
                        return Some(End::Tls(error.to_string()));
                    }
                    _ if was_handshaking => return Some(End::Tls(error.to_string())),
                    _ => return Some(self.close(false, give)),
                },
            }
        }
        None
    }

    /// Gives what is held of a last frame.
    pub fn close(&mut self, is_orderly: bool, give: &mut dyn FnMut(Frame<'_>)) -> End {
        self.framing.end(is_orderly, give);
        End::Closed
    }
}

//! The sockets on which messages are awaited. What cannot be opened is tried again: an address may come late, another
//! program may go away; meanwhile the status says what to do.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, getsockopt, listen, setsockopt,
    socket, sockopt,
};
use protocol::Timestamp;
use protocol::message::{Loss, LossReason};
use tracing::{info, warn};

use super::drops::dropped;
use crate::clock;
use crate::config::{Listen, Transport};
use crate::sources::{Meter, Refused};

/// How long an address that cannot be taken is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long the status tells of a refused sender.
const TOLD_FOR: Duration = Duration::from_secs(60);
/// Connections that wait to be accepted; the kernel's own limit is lower.
const BACKLOG: i32 = 1024;

/// An open socket.
pub enum Socket {
    /// For datagrams.
    Udp(UdpSocket),
    /// For connections.
    Tcp(TcpListener),
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(socket) => socket.as_fd(),
            Self::Tcp(listener) => listener.as_fd(),
        }
    }
}

/// One address of the configuration.
pub struct Listener {
    pub listen: Listen,
    pub meter: Arc<Meter>,
    pub socket: Option<Socket>,
    buffer_bytes: usize,
    tried_at: Option<Instant>,
    /// What the status tells, and since when.
    told: Option<Instant>,
    drops_seen: u32,
    drops_unreported: u64,
    drops_first: Option<Timestamp>,
}

impl Listener {
    pub fn new(listen: Listen, meter: Arc<Meter>, buffer_bytes: usize) -> Self {
        Self {
            listen,
            meter,
            socket: None,
            buffer_bytes,
            tried_at: None,
            told: None,
            drops_seen: 0,
            drops_unreported: 0,
            drops_first: None,
        }
    }

    /// Opens the socket when it is time to try.
    pub fn open(&mut self) {
        if self.socket.is_some() || self.tried_at.is_some_and(|at| at.elapsed() < RETRY_AFTER) {
            return;
        }
        self.tried_at = Some(Instant::now());
        match open(&self.listen, self.buffer_bytes) {
            Ok(socket) => {
                let Listen { transport, address, .. } = self.listen;
                info!(%address, transport = transport.as_str(), "taking syslog");
                self.meter.set_trouble("");
                self.socket = Some(socket);
                self.drops_seen = 0;
            }
            Err(error) => self.report(&explain(&self.listen, &error)),
        }
    }

    /// Says what is wrong until it is opened, or for a minute.
    pub fn tell(&mut self, trouble: &str) {
        self.told = Some(Instant::now());
        self.meter.set_trouble(trouble);
    }

    /// What was wrong is mended.
    pub fn clear(&mut self) {
        self.meter.set_trouble("");
    }

    /// A socket that the system broke is opened anew.
    pub fn close(&mut self, error: &io::Error) {
        self.socket = None;
        self.tried_at = Some(Instant::now());
        self.report(&explain(&self.listen, error));
    }

    fn report(&self, trouble: &str) {
        if self.meter.set_trouble(trouble) {
            warn!("{trouble}");
        }
    }

    /// What is due every second.
    pub fn handle_timeout(&mut self) {
        self.open();
        if self.told.is_some_and(|at| at.elapsed() > TOLD_FOR) {
            self.told = None;
            if self.socket.is_some() {
                self.meter.set_trouble("");
            }
        }
        self.count_drops();
    }

    fn count_drops(&mut self) {
        let Some(Socket::Udp(socket)) = &self.socket else { return };
        let Some(total) = dropped(socket) else { return };
        let new = u64::from(total.wrapping_sub(self.drops_seen));
        self.drops_seen = total;
        if new > 0 {
            self.meter.count_refused(Refused::KernelDropped, new);
            self.drops_unreported += new;
            self.drops_first.get_or_insert_with(clock::now);
        }
    }

    /// What the kernel dropped since it was told last.
    pub fn take_loss(&mut self) -> Option<Loss> {
        let first_at = self.drops_first.take()?;
        let count = std::mem::take(&mut self.drops_unreported);
        let address = self.listen.address;
        warn!(%address, datagrams = count, "syslog was dropped; a larger syslog.udp_buffer_bytes, or TCP, helps");
        Some(Loss {
            id: None,
            count,
            reason: LossReason::SyslogDropped,
            first_at,
            last_at: clock::now(),
            gap: None,
        })
    }
}

fn open(listen: &Listen, buffer_bytes: usize) -> io::Result<Socket> {
    match open_at(listen, listen.address, buffer_bytes) {
        // A kernel without IPv6.
        Err(Errno::EAFNOSUPPORT | Errno::EADDRNOTAVAIL)
            if listen.address.ip().is_unspecified() && listen.address.is_ipv6() && !listen.only_v6 =>
        {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), listen.address.port());
            Ok(open_at(listen, any, buffer_bytes)?)
        }
        opened => Ok(opened?),
    }
}

fn open_at(what: &Listen, address: SocketAddr, buffer_bytes: usize) -> Result<Socket, Errno> {
    let family = if address.is_ipv6() { AddressFamily::Inet6 } else { AddressFamily::Inet };
    let is_udp = what.transport == Transport::Udp;
    let kind = if is_udp { SockType::Datagram } else { SockType::Stream };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor: OwnedFd = socket(family, kind, flags, None)?;
    if address.is_ipv6() {
        // Said in either case: net.ipv6.bindv6only is the town's.
        setsockopt(&descriptor, sockopt::Ipv6V6Only, &what.only_v6)?;
    }
    if is_udp {
        enlarge(&descriptor, buffer_bytes);
    } else {
        setsockopt(&descriptor, sockopt::ReuseAddr, &true)?;
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&descriptor), &SockaddrStorage::from(address))?;
    if is_udp {
        return Ok(Socket::Udp(descriptor.into()));
    }
    listen(&descriptor, Backlog::new(BACKLOG).unwrap_or(Backlog::MAXCONN))?;
    Ok(Socket::Tcp(descriptor.into()))
}

/// With CAP_NET_ADMIN beyond the kernel's limit, else up to it.
fn enlarge(socket: &OwnedFd, bytes: usize) {
    if setsockopt(socket, sockopt::RcvBufForce, &bytes).is_err() {
        // What it gave is told below.
        let _ = setsockopt(socket, sockopt::RcvBuf, &bytes);
    }
    // The kernel doubles what it is asked for, for its own bookkeeping.
    let given = getsockopt(socket, sockopt::RcvBuf).unwrap_or(0) / 2;
    if given < bytes {
        warn!(
            given,
            wanted = bytes,
            "the kernel's buffer for syslog is smaller than syslog.udp_buffer_bytes; raise net.core.rmem_max"
        );
    }
}

fn explain(listen: &Listen, error: &io::Error) -> String {
    let Listen { transport, address, .. } = listen;
    let port = address.port();
    let name = transport.as_str();
    let (letter, key) = match transport {
        Transport::Udp => ("u", "listen_udp"),
        Transport::Tcp => ("t", "listen_tcp"),
        Transport::Tls => ("t", "listen_tls"),
    };
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EADDRINUSE) => format!(
            "{name} {address} is in use: another program takes syslog there, often rsyslog; find it with `ss -l{letter}np 'sport = :{port}'` and stop it, or name another port in syslog.{key}"
        ),
        Some(Errno::EACCES | Errno::EPERM) => format!(
            "no permission to listen on {name} port {port}: start the agent by its unit (systemctl start vedetta-agent), or name a port from 1024 in syslog.{key}"
        ),
        Some(Errno::EADDRNOTAVAIL) => {
            format!("no interface has the address {address} now; it is awaited, or correct syslog.{key}")
        }
        _ => format!("cannot take syslog on {name} {address}: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_says_what_to_do() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let listen = Listen { transport: Transport::Tcp, address, only_v6: false };
        let said = explain(&listen, &open(&listen, 65536).err().unwrap());
        assert!(said.contains("ss -ltnp") && said.contains("syslog.listen_tcp"), "{said}");
        let away = Listen { address: "192.0.2.77:5514".parse().unwrap(), ..listen };
        let said = explain(&away, &open(&away, 65536).err().unwrap());
        assert!(said.contains("no interface has the address 192.0.2.77:5514"), "{said}");
    }

    #[test]
    fn one_socket_takes_both_kinds_of_addresses() {
        let listen = Listen { transport: Transport::Udp, address: "[::]:0".parse().unwrap(), only_v6: false };
        let Socket::Udp(socket) = open(&listen, 1 << 20).unwrap() else { panic!("not for datagrams") };
        let port = socket.local_addr().unwrap().port();
        socket.set_nonblocking(false).unwrap();
        for from in ["127.0.0.1", "::1"] {
            let from: IpAddr = from.parse().unwrap();
            let Ok(sender) = UdpSocket::bind((from, 0)) else { continue };
            sender.send_to(b"x", (from, port)).unwrap();
            let (_, peer) = socket.recv_from(&mut [0; 9]).unwrap();
            assert_eq!(peer.ip().to_canonical(), from);
        }
    }
}

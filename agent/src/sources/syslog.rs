//! The syslog receiver: one thread takes what firewalls and other devices send, over UDP, TCP and TLS, and runs each
//! message to completion. While the spool is full connections are not read and their senders wait; a datagram cannot
//! wait, so what the kernel drops is counted and reported. It keeps nothing and promises nothing for datagrams.

mod connection;
mod drops;
pub mod framing;
mod listeners;
mod senders;
mod tls;

use std::io;
use std::net::{IpAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detect::{DetectorConfig, Matcher};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use protocol::message::Record;

use self::connection::{Connection, End};
use self::framing::Frame;
use self::listeners::{Listener, Socket};
use self::senders::Senders;
use self::tls::TlsDoor;
use super::joining::LogSink;
use super::outbox::Outbox;
use super::{Board, MatcherInForce, Refused, Stop};
use crate::clock;
use crate::config::{SyslogConfig, Transport};
use crate::stages::Stage;

/// The largest datagram, and more than TLS gives at once.
const PIECE_BYTES: usize = 64 * 1024;
/// Datagrams of one socket before connections have their turn.
const DATAGRAMS_AT_ONCE: usize = 2048;
/// Connections taken up before those that are there have their turn.
const ACCEPTED_AT_ONCE: usize = 64;
/// Handshakes cost a signature each; further senders wait in the kernel's queue.
const HANDSHAKES_MAX: usize = 64;
/// How often the stop, cooldowns and sockets that cannot be opened are looked at.
const WAIT_MILLISECONDS: u16 = 200;
/// How often it is tried to hand on what waits for the spool.
const FULL_MILLISECONDS: u16 = 50;
/// How often what is due by time is done.
const ROUND_EVERY: Duration = Duration::from_secs(1);
/// How often drops become a record for the collector.
const LOSS_EVERY: Duration = Duration::from_secs(60);
/// How long a stopping receiver waits for room in the spool.
const STOP_SECONDS_MAX: Duration = Duration::from_secs(5);

/// What the receiver gets.
pub struct SyslogParts {
    /// Where to listen, and to whom.
    pub config: SyslogConfig,
    /// How to detect.
    pub detector: DetectorConfig,
    /// What to compare with.
    pub matcher: MatcherInForce,
    /// Where hits go.
    pub hits: LogSink,
    /// Where counts go.
    pub board: Board,
}

/// Starts the receiver. An address that cannot be taken is tried again.
///
/// # Errors
/// When no thread can be started.
pub fn start(parts: SyslogParts, stop: Stop) -> io::Result<Stage> {
    let SyslogParts { config, detector, matcher: in_force, hits, board } = parts;
    let matcher = in_force.load();
    let listeners = config.listens.iter().map(|listen| {
        let name = format!("syslog {} {}", listen.transport.as_str(), listen.address);
        Listener::new(*listen, board.add(&name, "listen"), config.udp_buffer_bytes)
    });
    let worker = Worker {
        stop,
        in_force,
        matcher: matcher.clone(),
        listeners: listeners.collect(),
        tls: config.tls.as_ref().map(TlsDoor::new),
        connections: Vec::new(),
        senders: Senders::new(detector, board, matcher),
        outbox: Outbox::new(hits),
        piece: vec![0; PIECE_BYTES],
        accepts_from: Instant::now(),
        config,
    };
    std::thread::Builder::new().name("syslog".into()).spawn(move || worker.run())
}

struct Worker {
    config: SyslogConfig,
    stop: Stop,
    in_force: MatcherInForce,
    matcher: Arc<Matcher>,
    listeners: Vec<Listener>,
    tls: Option<TlsDoor>,
    connections: Vec<Connection>,
    senders: Senders,
    outbox: Outbox,
    piece: Vec<u8>,
    /// The system had no room for another connection; until then none is taken up.
    accepts_from: Instant,
}

/// What is ready to be read.
#[derive(Default)]
struct Ready {
    listeners: Vec<usize>,
    connections: Vec<usize>,
}

impl Worker {
    fn run(mut self) -> anyhow::Result<()> {
        self.round();
        let (mut round_at, mut loss_at) = (Instant::now(), Instant::now());
        while !self.stop.is_asked() {
            self.outbox.flush()?;
            let ready = self.wait();
            // After waiting: what came meanwhile is compared with what is in force by then.
            if self.in_force.refresh(&mut self.matcher) {
                self.senders.set_matcher(self.matcher.clone());
            }
            for number in ready.listeners {
                self.look_at(number);
            }
            // From behind: one that ended is replaced by the last.
            for number in ready.connections.into_iter().rev() {
                self.read(number);
            }
            if round_at.elapsed() >= ROUND_EVERY {
                round_at = Instant::now();
                self.round();
            }
            if loss_at.elapsed() >= LOSS_EVERY {
                loss_at = Instant::now();
                self.report_losses();
            }
        }
        self.finish()
    }

    /// Waits until something can be read that may be read.
    fn wait(&self) -> Ready {
        let reads = self.outbox.is_open();
        let accepts = self.connections.len() < self.config.connections_max + ACCEPTED_AT_ONCE
            && self.accepts_from <= Instant::now();
        let handshakes = self.handshakes() < HANDSHAKES_MAX;
        let mut ready = Ready::default();
        let mut waiting = Vec::with_capacity(self.listeners.len() + self.connections.len());
        for (number, listener) in self.listeners.iter().enumerate() {
            let may = match listener.listen.transport {
                Transport::Udp => true,
                Transport::Tcp => accepts,
                Transport::Tls => accepts && handshakes,
            };
            if let Some(socket) = listener.socket.as_ref().filter(|_| may) {
                ready.listeners.push(number);
                waiting.push(PollFd::new(socket.as_fd(), PollFlags::POLLIN));
            }
        }
        for (number, connection) in self.connections.iter().enumerate() {
            if reads || connection.is_handshaking() {
                let (socket, flags) = connection.waits_for();
                ready.connections.push(number);
                waiting.push(PollFd::new(socket, flags));
            }
        }
        let patience = if self.outbox.is_empty() { WAIT_MILLISECONDS } else { FULL_MILLISECONDS };
        if poll(&mut waiting, PollTimeout::from(patience)).is_err() {
            return Ready::default();
        }
        let mut is_ready = waiting.iter().map(|fd| fd.any().unwrap_or(true));
        ready.listeners.retain(|_| is_ready.next().unwrap_or(false));
        ready.connections.retain(|_| is_ready.next().unwrap_or(false));
        ready
    }

    fn handshakes(&self) -> usize {
        self.connections.iter().filter(|connection| connection.is_handshaking()).count()
    }

    fn look_at(&mut self, number: usize) {
        match self.listeners.get(number).and_then(|listener| listener.socket.as_ref()) {
            Some(Socket::Udp(_)) => self.receive(number),
            Some(Socket::Tcp(_)) => self.accept(number),
            None => {}
        }
    }

    fn receive(&mut self, number: usize) {
        let Some(listener) = self.listeners.get_mut(number) else { return };
        let mut refused = None;
        for _ in 0..DATAGRAMS_AT_ONCE {
            let Some(Socket::Udp(socket)) = &listener.socket else { return };
            let (length, peer) = match socket.recv_from(&mut self.piece) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // An answer of the network to nothing that was sent.
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionRefused
                    ) =>
                {
                    continue;
                }
                Err(error) => return listener.close(&error),
            };
            listener.meter.count_read(1);
            let ip = peer.ip().to_canonical();
            if !may_send(&self.config, ip) {
                listener.meter.count_refused(Refused::NotASender, 1);
                refused = Some(ip);
                continue;
            }
            let sender = self.senders.number(Transport::Udp, ip);
            let message = self.piece.get(..length).unwrap_or_default();
            self.senders.handle_message(sender, clock::now(), message, &mut self.outbox);
        }
        if let Some(ip) = refused {
            listener.tell(&not_a_sender(ip));
        }
    }

    fn accept(&mut self, number: usize) {
        for _ in 0..ACCEPTED_AT_ONCE {
            let Some(listener) = self.listeners.get_mut(number) else { return };
            if listener.listen.transport == Transport::Tls
                && self.connections.iter().filter(|connection| connection.is_handshaking()).count()
                    >= HANDSHAKES_MAX
            {
                return;
            }
            let Some(Socket::Tcp(socket)) = &listener.socket else { return };
            match socket.accept() {
                Ok((stream, peer)) => {
                    listener.meter.count_read(1);
                    if let Err((refused, trouble)) = self.take_up(number, stream, peer.ip().to_canonical())
                        && let Some(listener) = self.listeners.get_mut(number)
                    {
                        listener.meter.count_refused(refused, 1);
                        listener.tell(&trouble);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => match error.raw_os_error().map(Errno::from_raw) {
                    Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
                        self.accepts_from = Instant::now() + ROUND_EVERY;
                        return listener.tell(&format!(
                            "no further connection can be taken: {error}; raise LimitNOFILE of vedetta-agent.service"
                        ));
                    }
                    Some(Errno::EINVAL | Errno::EBADF | Errno::ENOTSOCK) => return listener.close(&error),
                    // The sender went away before it was its turn.
                    _ => {}
                },
            }
        }
    }

    fn take_up(&mut self, number: usize, stream: TcpStream, ip: IpAddr) -> Result<(), (Refused, String)> {
        if !may_send(&self.config, ip) {
            return Err((Refused::NotASender, not_a_sender(ip)));
        }
        let of_sender = self.connections.iter().filter(|connection| connection.ip == ip).count();
        if self.connections.len() >= self.config.connections_max {
            let told = "a connection was refused: there are syslog.connections_max already".to_owned();
            return Err((Refused::Connection, told));
        }
        if of_sender >= self.config.connections_per_sender_max {
            let told =
                format!("a connection of {ip} was refused: it has syslog.connections_per_sender_max already");
            return Err((Refused::Connection, told));
        }
        let is_tls = self.listeners.get(number).is_some_and(|one| one.listen.transport == Transport::Tls);
        let session = self.tls.as_ref().filter(|_| is_tls).map(TlsDoor::begin);
        let session = match session {
            Some(None) => return Err((Refused::Handshake, "there is no certificate yet".to_owned())),
            begun => begun.flatten(),
        };
        let transport = if is_tls { Transport::Tls } else { Transport::Tcp };
        let sender = self.senders.number(transport, ip);
        let connection = Connection::new(stream, session, (number, sender, ip))
            .map_err(|error| (Refused::Connection, format!("a connection of {ip} failed: {error}")))?;
        self.connections.push(connection);
        Ok(())
    }

    fn read(&mut self, number: usize) {
        // What was read before may have filled the spool.
        let Some(connection) = self.connections.get_mut(number) else { return };
        if !self.outbox.is_open() && !connection.is_handshaking() {
            return;
        }
        let (senders, outbox) = (&mut self.senders, &mut self.outbox);
        let sender = connection.sender;
        let end = connection.read(&mut self.piece, &mut |frame: Frame<'_>| {
            senders.handle_message(sender, clock::now(), frame.bytes, outbox);
            if frame.cut {
                senders.count_refused(sender, Refused::CutFrame);
            }
        });
        if let Some(end) = end {
            self.end(number, &end);
        }
    }

    /// Forgets a connection and counts why it is over. Frames that were cut are counted where they are read.
    fn end(&mut self, number: usize, end: &End) {
        let connection = self.connections.swap_remove(number);
        match end {
            End::Closed => {}
            End::Framing(error) => {
                self.senders.count_refused(connection.sender, Refused::Frame);
                self.senders.set_trouble(connection.sender, &error.to_string());
            }
            End::Tls(error) => {
                if let Some(listener) = self.listeners.get_mut(connection.listener) {
                    listener.meter.count_refused(Refused::Handshake, 1);
                    listener.tell(&format!("TLS with {} failed: {error}", connection.ip));
                }
            }
            End::Idle => self.senders.count_refused(connection.sender, Refused::Idle),
        }
    }

    /// What is due every second.
    fn round(&mut self) {
        if let Some(door) = &mut self.tls {
            let refreshed = door.refresh();
            let of_tls = self.listeners.iter_mut().filter(|one| one.listen.transport == Transport::Tls);
            match refreshed {
                Ok(false) => {}
                Ok(true) => of_tls.for_each(Listener::clear),
                Err(error) => of_tls.for_each(|listener| listener.tell(&error.to_string())),
            }
        }
        self.listeners.iter_mut().for_each(Listener::handle_timeout);
        let reads = self.outbox.is_open();
        for number in (0..self.connections.len()).rev() {
            let Some(connection) = self.connections.get_mut(number) else { continue };
            if !reads {
                connection.is_kept_waiting();
            }
            if let Some(end) = connection.is_overdue(self.config.idle) {
                self.end(number, &end);
            }
        }
        self.senders.handle_timeout(clock::now(), &mut self.outbox);
    }

    fn report_losses(&mut self) {
        let losses = self.listeners.iter_mut().filter_map(Listener::take_loss);
        losses.for_each(|loss| self.outbox.put(Record::Loss(loss)));
    }

    /// Reads what has come, so that a restart costs as little as can be, then closes all cooldowns.
    fn finish(mut self) -> anyhow::Result<()> {
        for number in 0..self.listeners.len() {
            if matches!(self.listeners.get(number).and_then(|one| one.socket.as_ref()), Some(Socket::Udp(_)))
            {
                self.receive(number);
            }
        }
        for number in (0..self.connections.len()).rev() {
            self.read(number);
        }
        self.round();
        self.report_losses();
        self.senders.finish(clock::now(), &mut self.outbox);
        let deadline = Instant::now() + STOP_SECONDS_MAX;
        loop {
            self.outbox.flush()?;
            if self.outbox.is_empty() || Instant::now() >= deadline {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(FULL_MILLISECONDS.into()));
        }
    }
}

fn may_send(config: &SyslogConfig, ip: IpAddr) -> bool {
    config.senders.iter().any(|network| network.contains(&ip))
}

fn not_a_sender(ip: IpAddr) -> String {
    format!("messages of {ip} are dropped: add it to syslog.senders if it may send")
}

//! A bad network between an agent and a collector: a relay of datagrams that loses, doubles, delays, swallows and
//! changes addresses, by a seed. The kernel's own (netem) is not on every machine.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// What happens to a datagram, each way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Of a hundred datagrams so many are lost.
    pub loss: u32,
    /// Of a hundred so many come twice.
    pub doubled: u32,
    /// How long one takes.
    pub delay: Duration,
    /// Up to so much more, each its own: datagrams overtake each other.
    pub jitter: Duration,
    /// Longer ones are swallowed.
    pub bytes_max: Option<usize>,
    /// Everything is swallowed.
    pub dark: bool,
    /// The agent comes from another port after each time of this length, as through a NAT that forgets.
    pub rebound_every: Option<Duration>,
}

/// The relay; ends when dropped.
pub struct Relay {
    pub address: SocketAddr,
    weather: Arc<Mutex<Weather>>,
    /// Datagrams that were swallowed or lost.
    pub lost: Arc<AtomicU64>,
    /// How often the agent's port changed.
    pub rebound: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    /// Between the agent and `collector`.
    pub fn start(collector: SocketAddr, weather: Weather, seed: u64) -> Self {
        let near = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = near.local_addr().unwrap();
        let mut relay = Self {
            address,
            weather: Arc::new(Mutex::new(weather)),
            lost: Arc::default(),
            rebound: Arc::default(),
            stop: Arc::default(),
            thread: None,
        };
        let mut work = Work {
            near,
            far: far_socket(),
            far_since: Instant::now(),
            collector,
            agent: None,
            weather: relay.weather.clone(),
            lost: relay.lost.clone(),
            rebound: relay.rebound.clone(),
            on_the_way: BinaryHeap::new(),
            number: 0,
            chance: StdRng::seed_from_u64(seed),
        };
        let stop = relay.stop.clone();
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                work.turn();
            }
        });
        relay.thread = Some(thread);
        relay
    }

    /// Changes the weather.
    pub fn set(&self, weather: Weather) {
        *self.weather.lock().unwrap() = weather;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn far_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

/// A datagram and where it is due.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due {
    at: Instant,
    /// Those of the same moment keep their order.
    number: u64,
    to_collector: bool,
    bytes: Vec<u8>,
}

struct Work {
    near: UdpSocket,
    far: UdpSocket,
    far_since: Instant,
    collector: SocketAddr,
    agent: Option<SocketAddr>,
    weather: Arc<Mutex<Weather>>,
    lost: Arc<AtomicU64>,
    rebound: Arc<AtomicU64>,
    on_the_way: BinaryHeap<Reverse<Due>>,
    number: u64,
    chance: StdRng,
}

impl Work {
    fn turn(&mut self) {
        let weather = *self.weather.lock().unwrap();
        if weather.rebound_every.is_some_and(|every| self.far_since.elapsed() >= every) {
            self.far = far_socket();
            self.far_since = Instant::now();
            self.rebound.fetch_add(1, Ordering::Relaxed);
        }
        let mut buffer = [0; 2048];
        // The wait for the agent is short, because the collector's datagrams come on another socket.
        self.near.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        if let Ok((length, agent)) = self.near.recv_from(&mut buffer) {
            self.agent = Some(agent);
            self.take(weather, true, &buffer[..length]);
        }
        loop {
            match self.far.recv_from(&mut buffer) {
                Ok((length, _)) => self.take(weather, false, &buffer[..length]),
                // A collector that is down makes the system refuse what was sent before.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => break,
            }
        }
        while self.on_the_way.peek().is_some_and(|due| due.0.at <= Instant::now()) {
            let due = self.on_the_way.pop().unwrap().0;
            // Nobody hears of a datagram that does not arrive.
            let _ = match (due.to_collector, self.agent) {
                (true, _) => self.far.send_to(&due.bytes, self.collector),
                (false, Some(agent)) => self.near.send_to(&due.bytes, agent),
                (false, None) => Ok(0),
            };
        }
    }

    fn take(&mut self, weather: Weather, to_collector: bool, bytes: &[u8]) {
        let too_long = weather.bytes_max.is_some_and(|most| bytes.len() > most);
        if weather.dark || too_long || self.chance.random_range(0..100) < weather.loss {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let times = if self.chance.random_range(0..100) < weather.doubled { 2 } else { 1 };
        for _ in 0..times {
            let jitter = weather.jitter.mul_f64(self.chance.random());
            self.number += 1;
            let at = Instant::now() + weather.delay + jitter;
            let due = Due { at, number: self.number, to_collector, bytes: bytes.to_vec() };
            self.on_the_way.push(Reverse(due));
        }
    }
}

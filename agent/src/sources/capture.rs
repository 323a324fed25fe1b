//! Packets of one interface: threads that each own one capture handle and one detector, from the kernel's ring
//! to the hit without a queue between. What the kernel drops is counted.

use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use detect::{Detector, DetectorConfig, Link, Matcher};
use nix::net::if_::InterfaceFlags;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pcap::{Active, Capture};
use protocol::Timestamp;
use protocol::message::{Loss, LossReason};
use tracing::{info, warn};

use super::fanout::{Joined, Share};
use super::joining::JoinSink;
use super::{Board, MatcherInForce, Meter, Stop, Told};
use crate::clock;
use crate::config::CaptureConfig;
use crate::stages::Workers;

/// The kernel hands over a block at least this often; it bounds how late a hit is.
const BLOCK_MILLISECONDS: i32 = 100;
/// A worker that waits for packets looks at its stop and at the clock this often.
const WAIT_MILLISECONDS: u16 = 200;
/// Frames between two looks at the stop, the matcher and the hits.
const FRAMES_AT_ONCE: usize = 512;
/// How often drops are asked of the kernel.
const STATISTICS_EVERY: Duration = Duration::from_secs(1);
/// How often drops become a record for the collector.
const LOSS_EVERY: Duration = Duration::from_secs(60);
/// How long a missing interface is left alone.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long a worker waits for the group of its interface.
const GROUP_AFTER: Duration = Duration::from_millis(100);
/// The least ring of a worker, however many share the interface's.
const RING_BYTES_MIN: i32 = 1 << 20;

/// Why an interface cannot be captured.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// The process may not.
    #[error(
        "no permission to capture on {interface}: start the agent by its unit (systemctl start vedetta-agent), or give the program the right once: setcap cap_net_raw+ep /usr/bin/vedetta-agent"
    )]
    Permission {
        /// Which.
        interface: String,
    },
    /// There is no such interface.
    #[error("there is no interface {interface}; there are: {present}. Set capture.interfaces")]
    Missing {
        /// Which.
        interface: String,
        /// What there is.
        present: String,
    },
    /// It is there but down.
    #[error("interface {interface} is down: ip link set {interface} up")]
    Down {
        /// Which.
        interface: String,
    },
    /// It carries frames that the detector cannot read.
    #[error("frames of {interface} have link type {link}, which is not read; capture on another interface")]
    Link {
        /// Which.
        interface: String,
        /// As libpcap numbers it.
        link: i32,
    },
    /// Anything else.
    #[error("cannot capture on {interface}: {reason}")]
    Other {
        /// Which.
        interface: String,
        /// libpcap's words.
        reason: String,
    },
}

/// What every capture worker gets.
#[derive(Clone)]
pub struct CaptureParts {
    /// Sizes.
    pub config: CaptureConfig,
    /// How to detect, as one worker's share.
    pub detector: DetectorConfig,
    /// What to compare with.
    pub matcher: MatcherInForce,
    /// Where hits go.
    pub hits: JoinSink,
    /// Where counts go.
    pub board: Board,
}

/// Starts the workers of one interface. An interface that is missing or down is waited for.
///
/// # Errors
/// When the process may not capture or the frames cannot be read: waiting does not help then.
pub fn start(interface: &str, parts: &CaptureParts, workers: &mut Workers) -> anyhow::Result<()> {
    let meter = parts.board.add(interface, "capture");
    for (number, share) in Share::among(parts.config.workers_each()).into_iter().enumerate() {
        let opened = if share.may_open() { open_first(interface, parts, (&share, &meter))? } else { None };
        let matcher = parts.matcher.load();
        let (stopper, stop) = super::stop();
        let worker = Worker {
            interface: interface.into(),
            number,
            share,
            detector: Detector::new(&parts.detector, interface, matcher.clone()),
            parts: parts.clone(),
            meter: meter.clone(),
            matcher,
            stop,
            drops: Drops::default(),
            told: Told::default(),
        };
        let thread = std::thread::Builder::new().name(format!("{interface} {number}"));
        let stage = thread.spawn(move || {
            worker.run(opened);
            Ok(())
        })?;
        workers.add(interface, stopper, stage);
    }
    Ok(())
}

/// Opens the interface before the worker begins, so that what nobody can wait for ends the start.
fn open_first(
    interface: &str,
    parts: &CaptureParts,
    (share, meter): (&Share, &Meter),
) -> Result<Option<Opened>, CaptureError> {
    match open(interface, &parts.config, share) {
        Ok(opened) => Ok(Some(opened)),
        Err(error @ (CaptureError::Missing { .. } | CaptureError::Down { .. })) => {
            warn!("{error}; the agent waits for it");
            meter.set_trouble(&error.to_string());
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

struct Opened {
    capture: Capture<Active>,
    link: Link,
    joined: Joined,
    /// Frames before this time were another worker's: the handle had no share yet and was given everything.
    since: Timestamp,
}

fn open(interface: &str, config: &CaptureConfig, share: &Share) -> Result<Opened, CaptureError> {
    let other = |error: pcap::Error| explain(interface, &error);
    let workers = i32::try_from(config.workers_each()).unwrap_or(1).max(1);
    let capture = Capture::from_device(interface)
        .map_err(other)?
        .promisc(true)
        .snaplen(config.snaplen_bytes)
        .buffer_size((config.ring_bytes / workers).max(RING_BYTES_MIN))
        .timeout(BLOCK_MILLISECONDS)
        // 4.5 times the CPU (STACK.md): it would take the ring's blocks away.
        .immediate_mode(false)
        .open()
        .map_err(other)?
        .setnonblock()
        .map_err(other)?;
    let number = capture.get_datalink().0;
    let link = Link::from_dlt(number)
        .ok_or_else(|| CaptureError::Link { interface: interface.into(), link: number })?;
    let since = if share.speaks() { Timestamp::from_micros(i64::MIN) } else { clock::now() };
    let joined = share.join(&capture).map_err(|error| CaptureError::Other {
        interface: interface.into(),
        reason: format!("its workers cannot share it ({error}); set capture.workers = 1"),
    })?;
    Ok(Opened { capture, link, joined, since })
}

/// What libpcap's words mean for the person who reads them.
fn explain(interface: &str, error: &pcap::Error) -> CaptureError {
    let reason = error.to_string();
    let interface = interface.to_owned();
    if reason.contains("ermission") || reason.contains("not permitted") {
        return CaptureError::Permission { interface };
    }
    match links().into_iter().find(|link| link.name == interface) {
        None => CaptureError::Missing { interface, present: present_interfaces() },
        Some(link) if !link.is_up => CaptureError::Down { interface },
        Some(_) => CaptureError::Other { interface, reason },
    }
}

fn present_interfaces() -> String {
    let mut names: Vec<String> = links().into_iter().map(|link| link.name).collect();
    if names.is_empty() {
        return "none".into();
    }
    names.sort();
    names.join(", ")
}

struct NetworkLink {
    name: String,
    is_up: bool,
}

/// The interfaces of this network namespace.
fn links() -> Vec<NetworkLink> {
    let mut links: Vec<NetworkLink> = Vec::new();
    for address in nix::ifaddrs::getifaddrs().into_iter().flatten() {
        if links.iter().all(|link| link.name != address.interface_name) {
            let is_up = address.flags.contains(InterfaceFlags::IFF_UP);
            links.push(NetworkLink { name: address.interface_name, is_up });
        }
    }
    links
}

#[derive(Default)]
struct Drops {
    /// As the kernel counts for the open handle.
    seen: u64,
    unreported: u64,
    first_at: Option<Timestamp>,
}

struct Worker {
    interface: String,
    /// Among the workers of the interface, from 0.
    number: usize,
    share: Share,
    parts: CaptureParts,
    meter: Arc<Meter>,
    detector: Detector,
    matcher: Arc<Matcher>,
    stop: Stop,
    drops: Drops,
    told: Told,
}

/// Why a worker no longer reads from its handle.
enum Ended {
    Stopped,
    Interface(CaptureError),
    /// The interface was opened anew by the worker that speaks for it.
    GroupGone,
}

impl Worker {
    fn run(mut self, mut opened: Option<Opened>) {
        loop {
            let mut pause = RETRY_AFTER;
            if let Some(handle) = opened.take() {
                info!(interface = self.interface, worker = self.number, "capturing");
                self.drops.seen = 0;
                let ended = self.watch(handle);
                self.share.leave();
                match ended {
                    Ended::Stopped => break,
                    Ended::Interface(error) => self.report(&error),
                    Ended::GroupGone => pause = GROUP_AFTER,
                }
            } else if !self.share.may_open() {
                pause = GROUP_AFTER;
            }
            if self.stop.wait(pause) {
                break;
            }
            self.detector.handle_timeout(clock::now());
            self.hand_on();
            if !self.share.may_open() {
                continue;
            }
            match open(&self.interface, &self.parts.config, &self.share) {
                Ok(handle) => opened = Some(handle),
                Err(error) => self.report(&error),
            }
        }
        self.detector.finish(clock::now());
        self.hand_on();
        self.report_drops();
    }

    /// A trouble is logged when it begins or changes, and stands in the status while it lasts.
    fn report(&self, error: &CaptureError) {
        if self.meter.set_trouble(&error.to_string()) {
            warn!("{error}");
        }
    }

    fn watch(&mut self, mut opened: Opened) -> Ended {
        if self.share.speaks() {
            self.meter.set_trouble("");
        }
        let (mut statistics_at, mut loss_at) = (Instant::now(), Instant::now());
        loop {
            if self.stop.is_asked() {
                self.count_drops(&mut opened);
                return Ended::Stopped;
            }
            if !self.share.holds(opened.joined) {
                return Ended::GroupGone;
            }
            match self.read_frames(&mut opened) {
                Ok(0) => self.wait(&opened),
                Ok(frames) => self.meter.count_read(frames),
                Err(error) => return Ended::Interface(explain(&self.interface, &error)),
            }
            if statistics_at.elapsed() >= STATISTICS_EVERY {
                statistics_at = Instant::now();
                self.detector.handle_timeout(clock::now());
                self.count_drops(&mut opened);
                self.told.tell(&self.detector, &self.meter);
                self.look_at_link();
            }
            self.hand_on();
            if loss_at.elapsed() >= LOSS_EVERY {
                loss_at = Instant::now();
                self.report_drops();
            }
        }
    }

    /// libpcap goes on reading an interface that is down, and reads nothing.
    fn look_at_link(&mut self) {
        if !self.share.speaks() {
            return;
        }
        match links().into_iter().find(|link| link.name == self.interface) {
            Some(link) if link.is_up => drop(self.meter.set_trouble("")),
            Some(_) => self.report(&CaptureError::Down { interface: self.interface.clone() }),
            // The next read says so.
            None => {}
        }
    }

    fn read_frames(&mut self, opened: &mut Opened) -> Result<u64, pcap::Error> {
        if self.parts.matcher.refresh(&mut self.matcher) {
            self.detector.set_matcher(self.matcher.clone());
        }
        let mut frames = 0;
        while frames < FRAMES_AT_ONCE as u64 {
            match opened.capture.next_packet() {
                Ok(packet) => {
                    let seconds = packet.header.ts.tv_sec;
                    let at = Timestamp::from_seconds(seconds, packet.header.ts.tv_usec);
                    if at < opened.since {
                        continue;
                    }
                    self.detector.handle_frame(at, opened.link, packet.data);
                    frames += 1;
                }
                Err(pcap::Error::TimeoutExpired | pcap::Error::NoMorePackets) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(frames)
    }

    /// Waits for the ring. Errors show at the next read.
    fn wait(&self, opened: &Opened) {
        let mut ready = [PollFd::new(opened.capture.as_fd(), PollFlags::POLLIN)];
        let _ = poll(&mut ready, PollTimeout::from(WAIT_MILLISECONDS));
    }

    fn count_drops(&mut self, opened: &mut Opened) {
        let Ok(statistics) = opened.capture.stats() else { return };
        // The kernel counts in 32 bits and begins again at zero.
        // What the card dropped is one count for all handles of the interface.
        let by_card = if self.share.speaks() { statistics.if_dropped } else { 0 };
        let total = u64::from(statistics.dropped) + u64::from(by_card);
        let new = if total >= self.drops.seen { total - self.drops.seen } else { total };
        self.drops.seen = total;
        if new > 0 {
            self.meter.count_dropped(new);
            self.drops.unreported += new;
            self.drops.first_at.get_or_insert_with(clock::now);
        }
    }

    fn report_drops(&mut self) {
        let Some(first_at) = self.drops.first_at.take() else { return };
        let count = std::mem::take(&mut self.drops.unreported);
        warn!(
            interface = self.interface,
            packets = count,
            "packets dropped; a larger capture.ring_bytes or a faster machine helps"
        );
        let loss = Loss {
            id: None,
            count,
            reason: LossReason::PacketsDropped,
            first_at,
            last_at: clock::now(),
            gap: None,
        };
        self.parts.hits.offer_loss(loss);
    }

    fn hand_on(&mut self) {
        while let Some(hit) = self.detector.poll_hit() {
            self.parts.hits.offer(hit);
        }
        self.told.count_hits(&self.detector, &self.meter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_what_to_do() {
        let told = |interface: &str, words: &str| {
            explain(interface, &pcap::Error::PcapError(words.into())).to_string()
        };
        let missing = told("nosuch0", "nosuch0: No such device exists (SIOCGIFHWADDR: No such device)");
        assert!(missing.contains("there are: ") && missing.contains("lo"), "{missing}");
        let denied = told(
            "lo",
            "lo: You don't have permission to capture on that device (socket: Operation not permitted)",
        );
        assert!(denied.contains("setcap cap_net_raw+ep"), "{denied}");
    }
}

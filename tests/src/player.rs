//! Plays capture files onto an interface, at the pace at which they were recorded, or frames as fast as they go.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use pcap::{Active, Capture, Linktype};

/// A recording that pauses longer than this is not waited for.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Ethernet header before a packet of a capture that has none; nobody is asked to receive it.
const BARE_HEADER: [u8; 12] = [0x02, 0, 0, 0, 0, 1, 0x02, 0, 0, 0, 0, 2];

/// An interface that frames are sent on.
pub struct Player {
    interface: Capture<Active>,
    /// Frames sent.
    pub sent: u64,
    /// Frames that the interface does not take, such as larger ones than its MTU.
    pub refused: u64,
}

impl Player {
    /// Opens an interface.
    ///
    /// # Errors
    /// When there is none of that name, or this program may not send on it.
    pub fn open(interface: &str) -> Result<Self> {
        let interface =
            Capture::from_device(interface).and_then(|device| device.open()).with_context(|| {
                format!("cannot send on {interface}; run as root and name an interface of `ip link`")
            })?;
        Ok(Self { interface, sent: 0, refused: 0 })
    }

    /// Sends frames without a pause; each is sent again until the interface takes it. Gives how long that took.
    ///
    /// # Errors
    /// When the interface takes nothing for a while.
    pub fn send_at_once(&mut self, frames: &[Vec<u8>]) -> Result<Duration> {
        let began = Instant::now();
        for frame in frames {
            let deadline = Instant::now() + PAUSE_MAX;
            while let Err(error) = self.interface.sendpacket(frame.as_slice()) {
                if Instant::now() > deadline {
                    return Err(error).context("the interface takes no frames");
                }
                self.refused += 1;
            }
            self.sent += 1;
        }
        Ok(began.elapsed())
    }

    /// Sends one capture file, pausing as the recording does.
    ///
    /// # Errors
    /// When the file is no capture, or of a link type that cannot be put on Ethernet.
    pub fn play(&mut self, path: &Path) -> Result<()> {
        let mut file = Capture::from_file(path)
            .with_context(|| format!("{} cannot be read as a capture", path.display()))?;
        let link = file.get_datalink();
        let mut last: Option<Duration> = None;
        let mut due = Instant::now();
        loop {
            let packet = match file.next_packet() {
                Ok(packet) => packet,
                Err(pcap::Error::NoMorePackets) => return Ok(()),
                Err(error) => return Err(error).with_context(|| format!("{} is damaged", path.display())),
            };
            let seconds = u64::try_from(packet.header.ts.tv_sec).unwrap_or(0);
            let micros = u64::try_from(packet.header.ts.tv_usec).unwrap_or(0);
            let at = Duration::from_secs(seconds) + Duration::from_micros(micros);
            due += last.map_or(Duration::ZERO, |last| at.saturating_sub(last)).min(PAUSE_MAX);
            last = Some(at);
            let frame = on_ethernet(link, packet.data)?;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            match self.interface.sendpacket(frame) {
                Ok(()) => self.sent += 1,
                Err(_) => self.refused += 1,
            }
        }
    }
}

/// A frame as an Ethernet interface takes it.
fn on_ethernet(link: Linktype, frame: &[u8]) -> Result<Vec<u8>> {
    if link == Linktype::ETHERNET {
        return Ok(frame.to_vec());
    }
    let packet = match link.0 {
        12 | 14 | 101 | 228 | 229 => frame,
        0 | 108 => frame.get(4..).unwrap_or_default(),
        113 => frame.get(16..).unwrap_or_default(),
        276 => frame.get(20..).unwrap_or_default(),
        other => bail!("link type {other} cannot be put on Ethernet; give a capture of Ethernet or raw IP"),
    };
    let protocol =
        if packet.first().is_some_and(|byte| byte >> 4 == 6) { [0x86, 0xdd] } else { [0x08, 0x00] };
    Ok([&BARE_HEADER[..], &protocol, packet].concat())
}

/// Whether a file begins like a capture (pcap in both byte orders and resolutions, pcapng).
///
/// # Errors
/// When it cannot be read.
pub fn is_capture(path: &Path) -> Result<bool> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut magic = [0; 4];
    if file.read_exact(&mut magic).is_err() {
        return Ok(false);
    }
    let little = u32::from_le_bytes(magic);
    let known = [0xa1b2_c3d4, 0xa1b2_3c4d, 0x0a0d_0d0a];
    Ok(known.contains(&little) || known.contains(&little.swap_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_packet_gets_a_header_and_an_unknown_link_a_reason() {
        let framed = on_ethernet(Linktype(101), &[0x60, 1, 2]).unwrap();
        assert_eq!(framed[12..], [0x86, 0xdd, 0x60, 1, 2]);
        assert_eq!(on_ethernet(Linktype(1), &[9]).unwrap(), [9]);
        assert!(on_ethernet(Linktype(105), &[]).unwrap_err().to_string().contains("105"));
    }

    #[test]
    fn a_capture_is_told_from_a_log() {
        let folder = tempfile::tempdir().unwrap();
        for (bytes, expected) in
            [(&b"\xd4\xc3\xb2\xa1 rest"[..], true), (b"Nov 22 host x", false), (b"a", false)]
        {
            let path = folder.path().join("file");
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(is_capture(&path).unwrap(), expected);
        }
    }
}

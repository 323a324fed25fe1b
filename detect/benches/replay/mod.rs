//! The generated mix as a capture file, read from the disk to its hits.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::time::Duration;

use pcap::Capture;
use protocol::{Hit, Timestamp};
use vedetta_detect::{Detector, Link};

use crate::mix::Mix;
use crate::timing::cpu;

/// Packets of one second of the mix.
pub const PACKETS_A_SECOND: u32 = 50_000;

pub fn write_mix(path: &Path, packets: usize) {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    file.write_all(&[0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0])
        .unwrap();
    for (number, frame) in Mix::default().take(packets).enumerate() {
        let number = number as u32;
        let seconds = 1_700_000_000 + number / PACKETS_A_SECOND;
        let micros = number % PACKETS_A_SECOND * (1_000_000 / PACKETS_A_SECOND);
        for field in [seconds, micros, frame.len() as u32, frame.len() as u32] {
            file.write_all(&field.to_le_bytes()).unwrap();
        }
        file.write_all(&frame).unwrap();
    }
    file.flush().unwrap();
}

/// What was read, and what it cost.
#[derive(Default)]
pub struct Read {
    pub packets: u64,
    pub bytes: u64,
    pub cpu: Duration,
}

impl Read {
    pub fn add(&mut self, other: &Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.cpu += other.cpu;
    }

    /// Nanoseconds of CPU time a packet.
    pub fn nanos(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.packets.max(1) as f64
    }
}

/// How a capture is read.
#[derive(Default)]
pub struct Way<'a> {
    /// Added to the time of each packet.
    pub later_seconds: i64,
    /// Called before each block of packets, as long as a capture worker reads without looking up.
    pub between: Option<&'a mut dyn FnMut(&mut Detector)>,
    /// Called with each hit.
    pub hit: Option<&'a mut dyn FnMut(Hit)>,
}

/// Packets that a capture worker reads before it looks whether there is another matcher.
const PACKETS_AT_ONCE: u64 = 512;

/// Reads, decodes, tracks, parses and compares every packet of a capture.
pub fn whole(path: &Path, detector: &mut Detector, mut way: Way<'_>) -> Read {
    let mut read = Read::default();
    let Ok(mut capture) = Capture::from_file(path) else { return read };
    let Some(link) = Link::from_dlt(capture.get_datalink().0) else { return read };
    let begun = cpu();
    while let Ok(packet) = capture.next_packet() {
        if read.packets % PACKETS_AT_ONCE == 0
            && let Some(between) = &mut way.between
        {
            between(detector);
        }
        read.packets += 1;
        read.bytes += packet.data.len() as u64;
        let at =
            Timestamp::from_seconds(packet.header.ts.tv_sec + way.later_seconds, packet.header.ts.tv_usec);
        detector.handle_frame(at, link, packet.data);
        while let Some(hit) = detector.poll_hit() {
            match &mut way.hit {
                Some(take) => take(hit),
                None => drop(std::hint::black_box(hit)),
            }
        }
    }
    read.cpu = cpu() - begun;
    read
}

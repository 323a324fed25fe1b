//! A program that writes a log and rotates it, and knows where each of its lines was.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, Write as _};
use std::net::Ipv6Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Rotated files that are kept: longer than the agent waits for writers that have not noticed.
const KEPT: u64 = 60;
/// Lines that carry an address which is looked for; the others are only there to be read.
const ONE_IN: u64 = 10;
const LINES_AT_ONCE: u64 = 15;
const PAUSE: Duration = Duration::from_millis(10);

/// How a log is rotated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Renamed, and made anew before the writer goes on.
    Create,
    /// Renamed; there is no file until the writer goes on.
    Late,
    /// Copied and truncated.
    CopyTruncate,
    /// Copied, compressed and truncated.
    CopyTruncateCompress,
    /// Renamed and compressed at once.
    Compress,
    /// Deleted and made anew.
    Recreate,
    /// The name is a link, which leads to another file.
    Link,
    /// By Debian's logrotate, with `compress` and `delaycompress`.
    Logrotate,
    /// By Debian's logrotate, with `copytruncate`.
    LogrotateCopy,
}

impl Mode {
    /// Those that this machine can do.
    pub fn all() -> Vec<Self> {
        let mut all = vec![
            Self::Create,
            Self::Late,
            Self::CopyTruncate,
            Self::CopyTruncateCompress,
            Self::Compress,
            Self::Recreate,
            Self::Link,
        ];
        if Command::new("logrotate").arg("--version").output().is_ok() {
            all.extend([Self::Logrotate, Self::LogrotateCopy]);
        }
        all
    }

    /// Whether no line may be lost.
    pub fn is_lossless(self) -> bool {
        !self.truncates() && self != Self::Recreate
    }

    /// Whether the same file is used again.
    pub fn truncates(self) -> bool {
        matches!(self, Self::CopyTruncate | Self::CopyTruncateCompress | Self::LogrotateCopy)
    }
}

/// A line that is looked for.
#[derive(Clone, Copy, Debug)]
pub struct Written {
    pub number: u64,
    /// Offset behind it.
    pub to: u64,
}

/// What was written between two rotations.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    pub lines: Vec<Written>,
    pub bytes: u64,
    /// How much of it was copied before it was truncated.
    pub copied: Option<u64>,
}

/// SplitMix64: the same seed gives the same choices.
pub struct Random(pub u64);

impl Random {
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// One log with its writer.
pub struct Writer {
    pub mode: Mode,
    pub path: PathBuf,
    pub generations: Vec<Generation>,
    pub lines: u64,
    file: File,
    next: u64,
    links: u64,
    random: Random,
}

/// What line number `number` of a log holds.
pub fn address(log: u16, number: u64) -> Ipv6Addr {
    let [.., a, b, c, d] = number.to_be_bytes();
    Ipv6Addr::new(0x2001, 0xdb8, log, u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0, 0, 1)
}

/// Which line of which log that is.
pub fn number(address: Ipv6Addr) -> (u16, u64) {
    let [.., log, high, low, _, _, _] = address.segments();
    (log, u64::from(high) << 16 | u64::from(low))
}

impl Writer {
    /// Makes the log; `name` tells it from others.
    pub fn new(folder: &Path, mode: Mode, seed: u64) -> Self {
        let path = folder.join(format!("{mode:?}.log").to_lowercase());
        if mode == Mode::Link {
            std::os::unix::fs::symlink(link_target(&path, 0), &path).unwrap();
        }
        let file = appending(&path);
        let random = Random(seed.wrapping_mul(31) + mode as u64);
        Self {
            mode,
            path,
            generations: vec![Generation::default()],
            lines: 0,
            file,
            next: 1,
            links: 0,
            random,
        }
    }

    /// Writes for as long as it takes until the log was rotated so often, and some lines more.
    pub fn run(mut self, rotations: u64) -> Self {
        for _ in 0..rotations {
            let until = Instant::now() + Duration::from_millis(300 + self.random.below(900));
            while Instant::now() < until {
                self.write(LINES_AT_ONCE);
                std::thread::sleep(PAUSE);
            }
            self.rotate();
        }
        // The last line is one that is looked for.
        self.write(2 * ONE_IN);
        while !self.lines.is_multiple_of(ONE_IN) {
            self.write(1);
        }
        self
    }

    fn write(&mut self, lines: u64) {
        if lines == 0 {
            return;
        }
        let mut bytes = Vec::new();
        let generation = self.generations.last_mut().unwrap();
        for _ in 0..lines {
            self.lines += 1;
            let line = self.lines;
            if line.is_multiple_of(ONE_IN) {
                let address = address(self.mode as u16, self.next);
                writeln!(bytes, "Nov 22 10:00:00 gw app[{line}]: refused from {address} after a while")
                    .unwrap();
                let to = generation.bytes + bytes.len() as u64;
                generation.lines.push(Written { number: self.next, to });
                self.next += 1;
            } else {
                writeln!(bytes, "Nov 22 10:00:00 gw app[{line}]: nothing that anybody looks for").unwrap();
            }
        }
        generation.bytes += bytes.len() as u64;
        // Now and then a line comes in two pieces.
        let cut = if self.random.below(8) == 0 { self.random.below(bytes.len() as u64) as usize } else { 0 };
        self.file.write_all(&bytes[..cut]).unwrap();
        self.file.write_all(&bytes[cut..]).unwrap();
    }

    fn rotate(&mut self) {
        match self.mode {
            Mode::Create | Mode::Compress => {
                self.shift();
                fs::rename(&self.path, self.numbered(1)).unwrap();
                let new = appending(&self.path);
                self.write_late();
                self.file = new;
                if self.mode == Mode::Compress {
                    gzip(&self.numbered(1));
                }
                self.generations.push(Generation::default());
            }
            Mode::Late => {
                self.shift();
                fs::rename(&self.path, self.numbered(1)).unwrap();
                self.write_late();
                std::thread::sleep(Duration::from_millis(self.random.below(300)));
                self.begin();
            }
            Mode::CopyTruncate | Mode::CopyTruncateCompress => {
                self.shift();
                fs::copy(&self.path, self.numbered(1)).unwrap();
                self.note_copied();
                self.write_late();
                self.file.set_len(0).unwrap();
                if self.mode == Mode::CopyTruncateCompress {
                    gzip(&self.numbered(1));
                }
                self.generations.push(Generation::default());
            }
            Mode::Recreate => {
                fs::remove_file(&self.path).unwrap();
                self.begin();
            }
            Mode::Link => {
                self.links += 1;
                let target = link_target(&self.path, self.links);
                let new = appending(&target);
                let link = self.path.with_extension("new");
                std::os::unix::fs::symlink(target, &link).unwrap();
                fs::rename(link, &self.path).unwrap();
                self.write_late();
                self.file = new;
                if let Some(old) = self.links.checked_sub(KEPT) {
                    fs::remove_file(link_target(&self.path, old)).unwrap();
                }
                self.generations.push(Generation::default());
            }
            Mode::Logrotate => {
                self.logrotate("create\ncompress\ndelaycompress");
                self.write_late();
                self.begin();
            }
            Mode::LogrotateCopy => {
                // Nothing is written meanwhile: what was copied is known.
                self.note_copied();
                self.logrotate("copytruncate\ncompress\ndelaycompress");
                self.generations.push(Generation::default());
            }
        }
    }

    /// A writer that has not noticed yet.
    fn write_late(&mut self) {
        let lines = self.random.below(40);
        self.write(lines);
        if self.random.below(2) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.below(20)));
        }
    }

    fn begin(&mut self) {
        self.file = appending(&self.path);
        self.generations.push(Generation::default());
    }

    fn note_copied(&mut self) {
        let generation = self.generations.last_mut().unwrap();
        generation.copied = Some(generation.bytes);
    }

    fn numbered(&self, number: u64) -> PathBuf {
        self.path.with_extension(format!("log.{number}"))
    }

    fn shift(&self) {
        for number in (1..=KEPT).rev() {
            for ending in ["", ".gz"] {
                let name = |number| format!("{}{ending}", self.numbered(number).display());
                match number {
                    KEPT => drop(fs::remove_file(name(number))),
                    _ => drop(fs::rename(name(number), name(number + 1))),
                }
            }
        }
    }

    fn logrotate(&self, how: &str) {
        let own = self.path.with_extension("conf");
        let rule = format!("{} {{\nsu root root\nrotate {KEPT}\n{how}\n}}\n", self.path.display());
        fs::write(&own, rule).unwrap();
        let state = self.path.with_extension("state");
        let ran = Command::new("logrotate").arg("-f").arg("-s").arg(&state).arg(&own).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    }
}

fn link_target(path: &Path, number: u64) -> PathBuf {
    path.with_extension(format!("log.{number:05}"))
}

fn appending(path: &Path) -> File {
    OpenOptions::new().append(true).create(true).open(path).unwrap()
}

/// As gzip does: with the time of the file, which is removed only when all is written.
fn gzip(path: &Path) {
    let mut plain = std::io::BufReader::new(File::open(path).unwrap());
    let written = plain.get_ref().metadata().unwrap().modified().unwrap();
    let packed = File::create(path.with_added_extension("gz")).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    loop {
        let bytes = plain.fill_buf().unwrap();
        if bytes.is_empty() {
            break;
        }
        gzip.write_all(bytes).unwrap();
        let taken = bytes.len();
        plain.consume(taken);
    }
    gzip.finish().unwrap().set_modified(written).unwrap();
    fs::remove_file(path).unwrap();
}

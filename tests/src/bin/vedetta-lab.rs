//! Makes traffic and logs of invented towns, for the demo and the tests: capture files, growing logs, and frames
//! on an interface.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};
use jiff::Timestamp;
use protocol::bundle::{BUNDLE_FORMAT, Line};
use protocol::{BundleHeader, BundleWriter, Serial};
use vedetta_tests::invented::Invented;
use vedetta_tests::player::{Player, is_capture};
use vedetta_tests::seed::Seed;
use vedetta_tests::{capture_file, scene, story};

#[derive(Parser)]
#[command(about = "Makes traffic and logs of invented towns, for the demo and the tests", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the demo's indicators as a table with headers.
    Indicators,
    /// Write an unsigned bundle of invented indicators, as many as asked for; vedetta-cosc sign takes it.
    Bundle {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        indicators: u64,
        /// The same number gives the same indicators.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// The bundle's number.
        #[arg(long, default_value_t = 1)]
        serial: u64,
        /// Where to write it.
        #[arg(long)]
        out: PathBuf,
    },
    /// Write a capture of the demo's town.
    Capture {
        /// The same number gives the same capture.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How long the capture lasts.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Draw the conversations of this text instead (one a line, see tests/golden).
        #[arg(long)]
        scene: Option<PathBuf>,
        /// Where to write it.
        #[arg(long)]
        out: PathBuf,
    },
    /// Append the demo's log lines to a file, at a pace.
    GrowLog {
        /// The same number gives the same lines.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Lines a second.
        #[arg(long, default_value_t = 4)]
        rate: u32,
        /// How many lines; without it, until this program is ended.
        #[arg(long)]
        lines: Option<u64>,
        /// Append the lines of these files first.
        #[arg(long)]
        first: Vec<PathBuf>,
        /// Where to append.
        #[arg(long)]
        out: PathBuf,
    },
    /// Send the frames of capture files on an interface, as they were recorded.
    Play {
        /// The interface.
        #[arg(long)]
        interface: String,
        /// Begin again at the end, until this program is ended.
        #[arg(long)]
        again: bool,
        /// The captures.
        files: Vec<PathBuf>,
    },
    /// Print `capture` or `log`, by how a file begins.
    Tell {
        /// The file.
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Indicators => print!("{}", story::indicators_csv()),
        Command::Bundle { indicators, seed, serial, out } => {
            let file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
            write_bundle(BufWriter::new(file), Invented::new(seed, indicators), Serial(serial))?;
        }
        Command::Capture { seed, seconds, scene, out } => {
            let mut seed = Seed::new(seed);
            let packets = match scene {
                Some(path) => {
                    let text = std::fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?;
                    scene::packets(&text, &mut seed)?
                }
                None => story::traffic(&mut seed, seconds),
            };
            let file = File::create(&out).with_context(|| format!("cannot write {}", out.display()))?;
            capture_file::write(BufWriter::new(file), &packets)?;
        }
        Command::GrowLog { seed, rate, lines, first, out } => grow_log(seed, rate, lines, &first, &out)?,
        Command::Play { interface, again, files } => play(&interface, again, &files)?,
        Command::Tell { file } => println!("{}", if is_capture(&file)? { "capture" } else { "log" }),
    }
    Ok(())
}

fn write_bundle(sink: impl Write, invented: Invented, serial: Serial) -> Result<()> {
    let header = BundleHeader {
        vedetta_bundle: BUNDLE_FORMAT,
        serial,
        created: protocol::Timestamp::from_micros(Timestamp::now().as_microsecond()),
        issuer: "cosc-esempio".into(),
        indicators: 0,
        set: None,
    };
    // The lowest level: it is made to be measured, not to be fetched.
    BundleWriter::stream(sink, header, 1, || invented.all().map(Line::Indicator))?;
    Ok(())
}

fn grow_log(seed: u64, rate: u32, lines: Option<u64>, first: &[PathBuf], out: &PathBuf) -> Result<()> {
    let mut log = OpenOptions::new().create(true).append(true).open(out)?;
    for path in first {
        let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        std::io::copy(&mut file, &mut log)?;
    }
    let mut seed = Seed::new(seed);
    for number in 0..lines.unwrap_or(u64::MAX) {
        let line = story::log_line(&mut seed, number, Timestamp::now());
        writeln!(log, "{line}")?;
        thread::sleep(Duration::from_secs(1) / rate.max(1));
    }
    Ok(())
}

fn play(interface: &str, again: bool, files: &[PathBuf]) -> Result<()> {
    let mut player = Player::open(interface)?;
    loop {
        for file in files {
            player.play(file)?;
            eprintln!("{}: {} frames sent so far, {} refused", file.display(), player.sent, player.refused);
        }
        if !again {
            return Ok(());
        }
        thread::sleep(Duration::from_secs(1));
    }
}

//! What measuring an index of millions needs: invented indicators, files, this process' memory, parts that run in a
//! process of their own so that the memory of one is not counted for another, and figures beside their limits.

pub mod changes;
mod disk;
mod figures;
#[path = "../../../tests/src/invented.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
pub mod invented;
#[path = "../../../tests/src/seed.rs"]
#[allow(dead_code, unused_imports, reason = "the tests use the rest of it")]
pub mod seed;
pub mod traffic;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use protocol::bundle::{Line, SetHash};
use protocol::index::{Builder, Index, Plan, Sanity, Summary};
use protocol::{Indicator, Serial, Timestamp};

pub use disk::OnDisk;
pub use figures::Figures;
pub use invented::{Invented, Strangers};

/// Every run measures the same indicators.
pub const SEED: u64 = 21;
/// A time at which all of them are valid.
pub fn new_year() -> Timestamp {
    Timestamp::from_seconds(1_767_225_600, 0)
}

/// What the command line asks for.
pub struct Arguments {
    pub indicators: u64,
    pub rounds: usize,
    pub json: bool,
    /// The part to run in this process, and the folder that all parts share.
    pub part: Option<(String, PathBuf)>,
    /// Parts to run, all when empty.
    pub only: Vec<String>,
}

impl Arguments {
    pub fn read(rounds: usize) -> Self {
        let arguments: Vec<String> = std::env::args().collect();
        let after = |name: &str| {
            let at = arguments.iter().position(|argument| argument == name)?;
            Some(arguments.get(at + 1).unwrap_or_else(|| panic!("{name} wants a value")).clone())
        };
        let number = |name: &str, default: u64| {
            after(name)
                .map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} {text}: a number")))
        };
        Self {
            indicators: number("--indicators", 10_000_000),
            rounds: number("--rounds", rounds as u64) as usize,
            json: arguments.iter().any(|argument| argument == "--json"),
            part: after("--part").zip(after("--folder").map(PathBuf::from)),
            only: after("--only")
                .map(|parts| parts.split(',').map(str::to_owned).collect())
                .unwrap_or_default(),
        }
    }

    pub fn invented(&self) -> Invented {
        Invented::new(SEED, self.indicators)
    }

    /// Runs each part in a process of its own, one after the other, in a folder that goes away.
    pub fn run_parts(&self, parts: &[&str]) -> Figures {
        let folder = std::env::temp_dir().join(format!("vedetta-millions-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut figures = Figures::default();
        for part in
            parts.iter().filter(|part| self.only.is_empty() || self.only.iter().any(|only| only == **part))
        {
            eprintln!("{part} ...");
            figures.add_all(self.run_part(part, &folder));
        }
        std::fs::remove_dir_all(&folder).unwrap();
        figures
    }

    fn run_part(&self, part: &str, folder: &Path) -> Figures {
        let run = Command::new(std::env::current_exe().unwrap())
            .args(["--part", part, "--indicators", &self.indicators.to_string()])
            .args(["--rounds", &self.rounds.to_string()])
            .arg("--folder")
            .arg(folder)
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(run.status.success(), "{part}: {}", run.status);
        Figures::read(&run.stdout)
    }
}

/// A field of `/proc/self/status` in bytes.
pub fn memory(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

pub fn plan(serial: u64) -> Plan {
    Plan {
        serial: Serial(serial),
        secret: [7; 32],
        sanity: Sanity::HoldAbsurd { own: Vec::new() },
        source: String::new(),
        below: None,
    }
}

/// The line of an indicator, as it stands in a bundle.
pub fn line(indicator: &Indicator) -> String {
    serde_json::to_string(indicator).unwrap()
}

/// Builds an index of a set in a file and gives what it came to.
pub fn build(path: &Path, indicators: impl Iterator<Item = Indicator>) -> (Summary, SetHash) {
    let scratch = OnDisk::create(&path.with_extension("scratch"));
    let mut builder = Builder::new(plan(1), OnDisk::create(path), scratch).unwrap();
    let mut set = SetHash::default();
    for indicator in indicators {
        set.add(line(&indicator).as_bytes());
        builder.add(&Line::Indicator(indicator)).unwrap();
    }
    let (summary, mut out) = builder.finish(set).unwrap();
    out.sync();
    std::fs::remove_file(path.with_extension("scratch")).unwrap();
    (summary, set)
}

pub fn open(path: &Path) -> Arc<Index> {
    Arc::new(Index::open(Box::new(OnDisk::open(path))).unwrap())
}

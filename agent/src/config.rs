//! The configuration, as written ([`ConfigFile`]) and as checked ([`Config`]). Nothing is opened here.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use protocol::COLLECTOR_PORT;
use serde::Deserialize;

use crate::sources::tail::Beginning;

mod journal;
mod syslog;

pub use journal::JournalConfig;
pub use syslog::{Listen, SyslogConfig, TlsFiles, Transport};

/// Where the package lets the agent keep its state.
const STATE_DIR: &str = "/var/lib/vedetta-agent";
/// The kernel's ring of packets is mapped whole and counts as the agent's memory: 4 MiB hold a tenth of a second
/// at 40 MB/s and leave room below 24 MiB on an old gateway. A fast line wants more.
const RING_BYTES: i64 = 4 << 20;
/// Writers that buffer stop in the middle of a line, but seldom for long.
const PARTIAL_LINE_SECONDS: i64 = 10;
/// Threads that may share an interface.
const WORKERS_MAX: usize = 64;
/// Where `status` finds the running agent.
const CONTROL_SOCKET: &str = "/run/vedetta-agent/control.sock";

/// What is wrong with the configuration; the program ends with 78.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}; write the configuration there or name another file with --config", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// Not TOML, a key that does not exist, or a value of the wrong type.
    #[error("{}: {error}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// Line, key and what is expected.
        error: Box<toml::de::Error>,
    },
    /// A value that cannot be.
    #[error("{}: {key}: {found} is not possible; expected {expected}", path.display())]
    Value {
        /// Which file.
        path: PathBuf,
        /// The key, with its table.
        key: String,
        /// What is written there.
        found: String,
        /// What should be.
        expected: &'static str,
    },
    /// The configuration is good but the sensor has no identity yet.
    #[error(
        "this sensor is not enrolled: {} is missing; ask the collector's operator for a code and run `vedetta-agent enrol CODE`",
        missing.display()
    )]
    NotEnrolled {
        /// The file that enrolment writes.
        missing: PathBuf,
    },
    /// The service was handed a code that enrols nobody.
    #[error("the enrolment code of the service's credential is refused: {reason}")]
    CodeRefused {
        /// The collector's words.
        reason: String,
    },
}

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigFile {
    state_dir: Option<PathBuf>,
    control_socket: Option<PathBuf>,
    home_networks: Option<Vec<String>>,
    #[serde(default)]
    capture: CaptureTable,
    #[serde(default)]
    logs: LogsTable,
    #[serde(default)]
    journal: journal::JournalTable,
    #[serde(default)]
    syslog: syslog::SyslogTable,
    #[serde(default)]
    detection: DetectionTable,
    #[serde(default)]
    spool: SpoolTable,
    #[serde(default)]
    collector: CollectorTable,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CaptureTable {
    #[serde(default)]
    interfaces: Vec<String>,
    workers: Option<i64>,
    snaplen_bytes: Option<i64>,
    ring_bytes: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LogsTable {
    #[serde(default)]
    files: Vec<PathBuf>,
    unknown_files: Option<String>,
    partial_line_seconds: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DetectionTable {
    flows_max: Option<i64>,
    memory_bytes_max: Option<i64>,
    cooldown_seconds: Option<i64>,
    trusted_proxies: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpoolTable {
    bytes_max: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct CollectorTable {
    addresses: Option<Vec<String>>,
}

/// The configuration as checked; each stage is handed its own part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Identity, spool, log positions and bundles live below it.
    pub state_dir: PathBuf,
    /// The socket that `status` asks.
    pub control_socket: PathBuf,
    /// What to capture.
    pub capture: CaptureConfig,
    /// Which logs to follow.
    pub logs: LogsConfig,
    /// Whether to follow systemd's journal, and what of it.
    pub journal: Option<JournalConfig>,
    /// Where to take syslog, and of whom.
    pub syslog: SyslogConfig,
    /// How to detect.
    pub detection: DetectionConfig,
    /// How much disk hits may take.
    pub spool: SpoolConfig,
    /// Where the collector is.
    pub collector: CollectorConfig,
}

/// What to capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaptureConfig {
    /// Names of interfaces, each once.
    pub interfaces: Vec<String>,
    /// Threads that share each interface; 0 for one on each core.
    pub workers: usize,
    /// Bytes kept of each frame.
    pub snaplen_bytes: i32,
    /// The kernel's ring for each interface, divided among its workers.
    pub ring_bytes: i32,
}

impl CaptureConfig {
    /// Threads that share each interface.
    pub fn workers_each(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(WORKERS_MAX)),
            workers => workers,
        }
    }
}

/// Which logs to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogsConfig {
    /// Absolute paths, or patterns with `*` and `?` in the file name.
    pub files: Vec<PathBuf>,
    /// Where files begin that are there at the agent's first start.
    pub unknown_files: Beginning,
    /// A line without an end is looked at when nothing came for so long.
    pub partial_line: Duration,
}

/// How to detect; what is absent is left to the detector's own default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DetectionConfig {
    /// The town's own networks.
    pub home_networks: Option<Vec<IpNet>>,
    /// Flows tracked at once for each interface.
    pub flows_max: Option<usize>,
    /// Bytes that traffic may make all detectors of interfaces keep.
    pub memory_bytes_max: Option<usize>,
    /// Repeats of a hit within this time only raise its count.
    pub cooldown_seconds: Option<u32>,
    /// Proxies that are believed when they name whom they pass on.
    pub trusted_proxies: Vec<IpNet>,
}

/// How much disk hits may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// Bytes of all segments.
    pub bytes_max: u64,
}

/// Where the collector is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorConfig {
    /// `HOST:PORT`, tried in turn; `None` for what enrolment told.
    pub addresses: Option<Vec<String>>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names file, key and what is expected.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
        Self::parse(&text, path)
    }

    /// Checks a text; `path` is for the error.
    ///
    /// # Errors
    /// Names file, key and what is expected.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let file: ConfigFile = toml::from_str(text)
            .map_err(|error| ConfigError::Malformed { path: path.into(), error: Box::new(error) })?;
        Self::try_from(file).map_err(|Impossible { key, found, expected }| ConfigError::Value {
            path: path.into(),
            key,
            found,
            expected,
        })
    }
}

/// A value that cannot be.
#[derive(Debug)]
pub struct Impossible {
    key: String,
    found: String,
    expected: &'static str,
}

impl Impossible {
    fn new(key: impl Into<String>, found: impl Into<String>, expected: &'static str) -> Self {
        Self { key: key.into(), found: found.into(), expected }
    }
}

impl TryFrom<ConfigFile> for Config {
    type Error = Impossible;

    fn try_from(file: ConfigFile) -> Result<Self, Impossible> {
        let detection = file.detection.checked(file.home_networks)?;
        let config = Self {
            state_dir: absolute("state_dir", file.state_dir.unwrap_or_else(|| STATE_DIR.into()))?,
            control_socket: absolute(
                "control_socket",
                file.control_socket.unwrap_or_else(|| CONTROL_SOCKET.into()),
            )?,
            capture: file.capture.checked()?,
            logs: file.logs.checked()?,
            journal: file.journal.checked()?,
            syslog: file.syslog.checked(detection.home_networks.as_deref())?,
            detection,
            spool: file.spool.checked()?,
            collector: file.collector.checked()?,
        };
        let no_logs =
            config.logs.files.is_empty() && config.journal.is_none() && config.syslog.listens.is_empty();
        if config.capture.interfaces.is_empty() && no_logs {
            return Err(Impossible::new(
                "capture.interfaces",
                "nothing to watch",
                "the name of an interface, such as [\"lan0\"], a log file in logs.files, journal.enabled = true or \
                 an address in syslog.listen_udp",
            ));
        }
        Ok(config)
    }
}

impl CaptureTable {
    fn checked(self) -> Result<CaptureConfig, Impossible> {
        let mut interfaces = Vec::new();
        for (number, name) in self.interfaces.into_iter().enumerate() {
            let key = format!("capture.interfaces[{number}]");
            // if_nametoindex(3): IF_NAMESIZE is 16 with the closing zero.
            let plain = |c: char| c.is_ascii_graphic() && c != '/';
            if name.is_empty() || name.len() > 15 || !name.chars().all(plain) {
                return Err(Impossible::new(
                    key,
                    format!("{name:?}"),
                    "the name of an interface as `ip link` shows it",
                ));
            }
            if interfaces.contains(&name) {
                return Err(Impossible::new(key, format!("{name:?} twice"), "each interface once"));
            }
            interfaces.push(name);
        }
        Ok(CaptureConfig {
            interfaces,
            workers: number(
                "capture.workers",
                self.workers.unwrap_or(1),
                (0, WORKERS_MAX as i64),
                "1 to 64 threads, or 0 for one on each core",
            )?,
            snaplen_bytes: number(
                "capture.snaplen_bytes",
                self.snaplen_bytes.unwrap_or(65_535),
                (96, 262_144),
                "96 to 262144 bytes",
            )?,
            ring_bytes: number(
                "capture.ring_bytes",
                self.ring_bytes.unwrap_or(RING_BYTES),
                (1 << 20, 1 << 30),
                "1048576 (1 MiB) to 1073741824 (1 GiB)",
            )?,
        })
    }
}

impl LogsTable {
    fn checked(self) -> Result<LogsConfig, Impossible> {
        for (number, path) in self.files.iter().enumerate() {
            let key = format!("logs.files[{number}]");
            let found = format!("{path:?}");
            if !path.is_absolute() || path.file_name().is_none() {
                return Err(Impossible::new(key, found, "the absolute path of a file"));
            }
            let folder = path.parent().map(|folder| folder.to_string_lossy().into_owned());
            if folder.is_some_and(|folder| folder.contains(['*', '?'])) {
                return Err(Impossible::new(key, found, "`*` and `?` only in the last part of the path"));
            }
        }
        let unknown_files = match self.unknown_files.as_deref() {
            None | Some("end") => Beginning::End,
            Some("beginning") => Beginning::Start,
            Some(other) => {
                let expected = "\"end\" or \"beginning\"";
                return Err(Impossible::new("logs.unknown_files", format!("{other:?}"), expected));
            }
        };
        let seconds = self.partial_line_seconds.unwrap_or(PARTIAL_LINE_SECONDS);
        let seconds: u64 = number("logs.partial_line_seconds", seconds, (1, 3600), "1 to 3600 seconds")?;
        let partial_line = Duration::from_secs(seconds);
        Ok(LogsConfig { files: self.files, unknown_files, partial_line })
    }
}

impl DetectionTable {
    fn checked(self, home_networks: Option<Vec<String>>) -> Result<DetectionConfig, Impossible> {
        let home_networks = home_networks.map(|texts| networks("home_networks", texts)).transpose()?;
        let trusted_proxies = self.trusted_proxies.unwrap_or_default();
        let trusted_proxies = networks("detection.trusted_proxies", trusted_proxies)?;
        let flows_max = self
            .flows_max
            .map(|flows| number("detection.flows_max", flows, (1_000, 10_000_000), "1000 to 10000000 flows"))
            .transpose()?;
        let memory_bytes_max = self
            .memory_bytes_max
            .map(|bytes| {
                let expected = "8388608 (8 MiB) to 68719476736 (64 GiB)";
                number("detection.memory_bytes_max", bytes, (8 << 20, 64 << 30), expected)
            })
            .transpose()?;
        let cooldown_seconds = self
            .cooldown_seconds
            .map(|seconds| number("detection.cooldown_seconds", seconds, (0, 86_400), "0 to 86400 seconds"))
            .transpose()?;
        Ok(DetectionConfig { home_networks, flows_max, memory_bytes_max, cooldown_seconds, trusted_proxies })
    }
}

impl SpoolTable {
    fn checked(self) -> Result<SpoolConfig, Impossible> {
        let bytes_max = number(
            "spool.bytes_max",
            self.bytes_max.unwrap_or(1 << 30),
            (16 << 20, 1 << 40),
            "16777216 (16 MiB) to 1099511627776 (1 TiB)",
        )?;
        Ok(SpoolConfig { bytes_max })
    }
}

impl CollectorTable {
    fn checked(self) -> Result<CollectorConfig, Impossible> {
        let Some(addresses) = self.addresses else { return Ok(CollectorConfig { addresses: None }) };
        let expected = "HOST:PORT, such as \"collector.example:4740\" or \"[2001:db8::1]:4740\"";
        if addresses.is_empty() {
            return Err(Impossible::new("collector.addresses", "an empty list", expected));
        }
        let checked = addresses.iter().enumerate().map(|(number, address)| {
            host_and_port(address).ok_or_else(|| {
                Impossible::new(format!("collector.addresses[{number}]"), format!("{address:?}"), expected)
            })
        });
        Ok(CollectorConfig { addresses: Some(checked.collect::<Result<_, _>>()?) })
    }
}

/// `HOST:PORT` as written, or with the collector's usual port when there is none.
fn host_and_port(address: &str) -> Option<String> {
    if let Ok(ip) = address.parse::<IpAddr>() {
        return Some(std::net::SocketAddr::new(ip, COLLECTOR_PORT).to_string());
    }
    if address.parse::<std::net::SocketAddr>().is_ok_and(|address| address.port() != 0) {
        return Some(address.to_owned());
    }
    let (host, port) = match address.split_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port != 0)?),
        None => (address, COLLECTOR_PORT),
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.len() <= 253 && host.chars().all(letter)).then(|| format!("{host}:{port}"))
}

fn networks(key: &str, texts: Vec<String>) -> Result<Vec<IpNet>, Impossible> {
    let one = |(number, text): (usize, String)| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().map(|network| network.trunc()).or(address).map_err(|_| {
            Impossible::new(
                format!("{key}[{number}]"),
                format!("{text:?}"),
                "a network such as \"192.0.2.0/24\" or \"2001:db8::/32\"",
            )
        })
    };
    texts.into_iter().enumerate().map(one).collect()
}

fn absolute(key: &str, path: PathBuf) -> Result<PathBuf, Impossible> {
    if path.is_absolute() {
        return Ok(path);
    }
    Err(Impossible::new(key, format!("{path:?}"), "an absolute path"))
}

fn number<N: TryFrom<i64>>(
    key: &str,
    value: i64,
    (least, most): (i64, i64),
    expected: &'static str,
) -> Result<N, Impossible> {
    let within = Some(value).filter(|value| (least..=most).contains(value));
    within
        .and_then(|value| N::try_from(value).ok())
        .ok_or_else(|| Impossible::new(key, value.to_string(), expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[capture]\ninterfaces = [\"lan0\"]\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/vedetta/agent.toml")).map_err(|error| error.to_string())
    }

    #[test]
    fn one_interface_is_a_whole_configuration() {
        let config = parse(LEAST).unwrap();
        assert_eq!(config.capture.interfaces, ["lan0"]);
        assert_eq!(config.capture.ring_bytes, 4 << 20);
        assert_eq!(config.state_dir, Path::new("/var/lib/vedetta-agent"));
        assert_eq!(config.spool.bytes_max, 1 << 30);
    }

    #[test]
    fn every_key_is_read() {
        let config = parse(
            r#"
            state_dir = "/srv/vedetta"
            control_socket = "/run/x.sock"
            home_networks = ["192.0.2.7/24", "2001:db8::/32", "198.51.100.1"]
            [capture]
            interfaces = ["lan0", "br-lan.7"]
            workers = 3
            snaplen_bytes = 256
            ring_bytes = 1048576
            [logs]
            files = ["/var/log/syslog", "/var/log/remote/*.log"]
            [detection]
            flows_max = 5000
            memory_bytes_max = 33554432
            cooldown_seconds = 0
            [spool]
            bytes_max = 16777216
            [collector]
            addresses = ["collector.example", "192.0.2.1:4741", "[2001:db8::1]:4740", "2001:db8::2"]
            "#,
        )
        .unwrap();
        let networks: Vec<String> =
            config.detection.home_networks.unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(networks, ["192.0.2.0/24", "2001:db8::/32", "198.51.100.1/32"]);
        assert_eq!(
            config.collector.addresses.unwrap(),
            ["collector.example:4740", "192.0.2.1:4741", "[2001:db8::1]:4740", "[2001:db8::2]:4740"]
        );
        assert_eq!(config.logs.files.len(), 2);
        assert_eq!((config.capture.workers, config.capture.workers_each()), (3, 3));
        assert_eq!(config.detection.memory_bytes_max, Some(32 << 20));
    }

    #[test]
    fn what_is_wrong_names_file_key_and_what_is_expected() {
        for (text, parts) in [
            ("", ["capture.interfaces", "expected the name of an interface"]),
            ("colour = 1", ["colour", "expected one of"]),
            ("[capture]\ninterface = [\"x\"]", ["interface", "expected one of"]),
            ("[capture]\ninterfaces = \"lan0\"", ["interfaces", "expected a sequence"]),
            ("[capture]\ninterfaces = [\"a b\"]", ["capture.interfaces[0]", "`ip link`"]),
            ("[capture]\ninterfaces = [\"a\", \"a\"]", ["capture.interfaces[1]", "each interface once"]),
            ("[capture]\ninterfaces = [\"a\"]\nring_bytes = 5", ["capture.ring_bytes: 5", "1 MiB"]),
            ("[capture]\ninterfaces = [\"a\"]\nworkers = 65", ["capture.workers: 65", "1 to 64"]),
            ("[detection]\nmemory_bytes_max = 1", ["detection.memory_bytes_max: 1", "8 MiB"]),
            ("[logs]\nfiles = [\"syslog\"]", ["logs.files[0]", "absolute path"]),
            ("[logs]\nfiles = [\"/var/*/x\"]", ["logs.files[0]", "last part"]),
            ("home_networks = [\"10.0.0/8\"]", ["home_networks[0]", "192.0.2.0/24"]),
            ("[spool]\nbytes_max = -1", ["spool.bytes_max: -1", "16 MiB"]),
            ("[collector]\naddresses = [\"a:b\"]", ["collector.addresses[0]", "HOST:PORT"]),
            ("[collector]\naddresses = [\"h:0\"]", ["collector.addresses[0]", "HOST:PORT"]),
            ("state_dir = \"here\"", ["state_dir", "absolute path"]),
            ("[detection]\nflows_max = 1", ["detection.flows_max: 1", "1000"]),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with("/etc/vedetta/agent.toml: "), "{error}");
            for part in parts {
                assert!(error.contains(part), "{text:?} gives {error:?} without {part:?}");
            }
        }
    }

    #[test]
    fn a_missing_file_says_what_to_do() {
        let error = Config::read(Path::new("/nonexistent/agent.toml")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/agent.toml") && error.contains("--config"), "{error}");
    }
}

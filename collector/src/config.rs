//! The configuration: as written in `collector.toml`, then as checked. Nothing is opened here.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::folders::StateFolder;

/// Where the packages keep the state.
pub const STATE_DIR_DEFAULT: &str = "/var/lib/vedetta-collector";

/// The file as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConfigFile {
    state_dir: Option<PathBuf>,
    ingest: IngestFile,
    console: ConsoleFile,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct IngestFile {
    listen: Option<String>,
    public_addresses: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ConsoleFile {
    listen: Option<String>,
}

/// The configuration, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where everything is kept.
    pub state: StateFolder,
    /// Where sensors and desks connect.
    pub ingest: IngestConfig,
    /// Where operators connect.
    pub console: ConsoleConfig,
}

/// Where sensors and desks connect.
#[derive(Clone, Debug)]
pub struct IngestConfig {
    /// The UDP socket.
    pub listen: SocketAddr,
    /// `HOST:PORT` as sensors reach it; empty for the hosts that `init` was given, with the port of `listen`.
    pub public_addresses: Vec<String>,
}

/// Where operators connect.
#[derive(Clone, Debug)]
pub struct ConsoleConfig {
    /// The TCP socket.
    pub listen: SocketAddr,
    /// Certificate chain of the server (PEM), leaf first.
    pub chain: PathBuf,
    /// Its key (PEM).
    pub key: PathBuf,
}

/// What is wrong with the configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}; make it with `vedetta-collector init` or name another with --config", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{}: {reason}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, key and what was expected.
        reason: String,
    },
    /// A value that cannot be used.
    #[error("{}: {key} = {value:?}: expected {expected}", file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// The key, with its table.
        key: &'static str,
        /// As written.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// Names file, key and what is expected.
    pub fn read(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| ConfigError::Unreadable { file: file.into(), error })?;
        Self::parse(file, &text)
    }

    /// Checks the text of a file.
    ///
    /// # Errors
    /// Names file, key and what is expected.
    pub fn parse(file: &Path, text: &str) -> Result<Self, ConfigError> {
        let written: ConfigFile = toml::from_str(text).map_err(|error| ConfigError::Syntax {
            file: file.into(),
            reason: error.to_string().trim_end().to_owned(),
        })?;
        let wrong = |key, value: &str, expected| ConfigError::Value {
            file: file.into(),
            key,
            value: value.into(),
            expected,
        };
        let socket = |key, written: Option<String>, default: &str| {
            let text = written.unwrap_or_else(|| default.to_owned());
            text.parse::<SocketAddr>()
                .map_err(|_| wrong(key, &text, "an address with a port, such as \"[::]:4740\""))
        };
        let state_dir = written.state_dir.unwrap_or_else(|| PathBuf::from(STATE_DIR_DEFAULT));
        if !state_dir.is_absolute() {
            return Err(wrong("state_dir", &state_dir.to_string_lossy(), "an absolute path"));
        }
        for address in &written.ingest.public_addresses {
            if !is_host_and_port(address) {
                return Err(wrong(
                    "ingest.public_addresses",
                    address,
                    "host and port, such as \"collector.example:4740\" or \"[2001:db8::1]:4740\"",
                ));
            }
        }
        let state = StateFolder::new(state_dir);
        Ok(Self {
            ingest: IngestConfig {
                listen: socket("ingest.listen", written.ingest.listen, "[::]:4740")?,
                public_addresses: written.ingest.public_addresses,
            },
            console: ConsoleConfig {
                listen: socket("console.listen", written.console.listen, "[::]:8443")?,
                chain: state.server_chain(),
                key: state.server_key(),
            },
            state,
        })
    }
}

/// A name or an address (IPv6 in brackets), a colon, a port above 0.
fn is_host_and_port(text: &str) -> bool {
    if let Ok(socket) = text.parse::<SocketAddr>() {
        return socket.port() > 0;
    }
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    port.parse::<u16>().is_ok_and(|port| port > 0) && protocol::Domain::parse(host).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let error = Config::parse(Path::new("c.toml"), text).unwrap_err().to_string();
        assert!(error.contains("c.toml") && error.contains(expected), "{error}");
    }

    #[test]
    fn an_empty_file_means_the_defaults() {
        let config = Config::parse(Path::new("c.toml"), "").unwrap();
        assert_eq!(config.ingest.listen.port(), 4740);
        assert_eq!(config.console.listen.port(), 8443);
        assert_eq!(config.state.path(), Path::new(STATE_DIR_DEFAULT));
    }

    #[test]
    fn everything_can_be_set() {
        let text = "state_dir = \"/srv/v\"\n[ingest]\nlisten = \"127.0.0.1:1\"\n\
                    public_addresses = [\"c.example:1\", \"[2001:db8::1]:2\", \"192.0.2.1:3\"]\n\
                    [console]\nlisten = \"127.0.0.1:2\"\n";
        let config = Config::parse(Path::new("c.toml"), text).unwrap();
        assert_eq!(config.ingest.public_addresses.len(), 3);
        assert_eq!(config.console.chain, Path::new("/srv/v/server/chain.pem"));
    }

    #[test]
    fn mistakes_name_file_key_and_what_is_expected() {
        check("[ingest]\nlisten = \"here\"", "ingest.listen = \"here\": expected an address with a port");
        check("[console]\nlisten = 8443", "string");
        check("[ingest]\nlissten = \"[::]:1\"", "unknown field `lissten`");
        check("state_dir = \"here\"", "state_dir = \"here\": expected an absolute path");
        check("[ingest]\npublic_addresses = [\"c.example\"]", "ingest.public_addresses = \"c.example\"");
        check("[ingest]\npublic_addresses = [\"c.example:0\"]", "host and port");
        check("state_dir = ", "line 1");
    }
}

//! The table `[syslog]`: where messages of other devices are taken, and of whom. It is off unless an address is named.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;

use super::{Impossible, networks, number};

/// RFC 5426 §3.3 and what senders of RFC 6587 use.
const PORT: u16 = 514;
/// RFC 5425 §4.1.
const TLS_PORT: u16 = 6514;
/// Addresses of one kind: a gateway has a few networks.
const LISTEN_MAX: usize = 16;
/// A firewall that starts or is attacked sends tens of thousands of messages within a second.
const UDP_BUFFER_BYTES: i64 = 8 << 20;
/// A firewall may have nothing to say for a night, and loses the first message on a connection that was closed.
const IDLE_SECONDS: i64 = 86_400;
/// Of whom messages are taken when neither senders nor home networks are named: private space, and always this machine.
const PRIVATE: [&str; 6] =
    ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "fc00::/7", "fe80::/10"];
const OWN: [&str; 2] = ["127.0.0.0/8", "::1/128"];

/// The table as written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SyslogTable {
    #[serde(default)]
    listen_udp: Vec<String>,
    #[serde(default)]
    listen_tcp: Vec<String>,
    #[serde(default)]
    listen_tls: Vec<String>,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_client_ca: Option<PathBuf>,
    senders: Option<Vec<String>>,
    udp_buffer_bytes: Option<i64>,
    connections_max: Option<i64>,
    connections_per_sender_max: Option<i64>,
    idle_seconds: Option<i64>,
}

/// How messages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// Datagrams (RFC 5426).
    Udp,
    /// Connections (RFC 6587).
    Tcp,
    /// Connections with TLS (RFC 5425).
    Tls,
}

impl Transport {
    /// The name in `input` and `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }
}

/// An address where messages are awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listen {
    /// How they come.
    pub transport: Transport,
    /// Where.
    pub address: SocketAddr,
    /// Whether an IPv6 address leaves IPv4 alone, because another entry takes it.
    pub only_v6: bool,
}

/// Files of the TLS listener, absolute or names of systemd's credentials.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// Senders must show a certificate of one of these authorities, PEM.
    pub client_ca: Option<PathBuf>,
}

/// Where syslog is taken, and of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyslogConfig {
    /// Addresses; none for off.
    pub listens: Vec<Listen>,
    /// There when one of the addresses is for TLS.
    pub tls: Option<TlsFiles>,
    /// Who may send.
    pub senders: Vec<IpNet>,
    /// The kernel's buffer of each UDP address.
    pub udp_buffer_bytes: usize,
    /// Connections at once.
    pub connections_max: usize,
    /// Connections at once of one address.
    pub connections_per_sender_max: usize,
    /// A connection that is silent for longer is closed.
    pub idle: Duration,
}

impl SyslogTable {
    pub(super) fn checked(self, home_networks: Option<&[IpNet]>) -> Result<SyslogConfig, Impossible> {
        let mut listens = Vec::new();
        for (key, transport, addresses) in [
            ("syslog.listen_udp", Transport::Udp, &self.listen_udp),
            ("syslog.listen_tcp", Transport::Tcp, &self.listen_tcp),
            ("syslog.listen_tls", Transport::Tls, &self.listen_tls),
        ] {
            for (number, text) in addresses.iter().enumerate() {
                let key = format!("{key}[{number}]");
                listen(key, text, transport, &mut listens)?;
            }
        }
        let is_v4_taken: Vec<bool> = listens.iter().map(|one| is_v4_taken(one, &listens)).collect();
        listens.iter_mut().zip(is_v4_taken).for_each(|(listen, taken)| listen.only_v6 = taken);
        let senders = match self.senders {
            Some(senders) if senders.is_empty() => {
                return Err(Impossible::new(
                    "syslog.senders",
                    "an empty list",
                    "networks that may send, or no such key for the home networks",
                ));
            }
            Some(senders) => networks("syslog.senders", senders)?,
            None => default_senders(home_networks),
        };
        let tls = tls_files(self.tls_certificate, self.tls_key, self.tls_client_ca)?;
        let wants_tls = listens.iter().any(|listen| listen.transport == Transport::Tls);
        if wants_tls != tls.is_some() {
            let (key, found) = if wants_tls {
                ("syslog.tls_certificate", "none for the addresses of listen_tls")
            } else {
                ("syslog.listen_tls", "no address for tls_certificate")
            };
            return Err(Impossible::new(key, found, "listen_tls, tls_certificate and tls_key together"));
        }
        let connections =
            |key, value: Option<i64>, default| number(key, value.unwrap_or(default), (1, 8192), "1 to 8192");
        let (all, each) = (self.connections_max, self.connections_per_sender_max);
        Ok(SyslogConfig {
            listens,
            tls,
            senders,
            udp_buffer_bytes: number(
                "syslog.udp_buffer_bytes",
                self.udp_buffer_bytes.unwrap_or(UDP_BUFFER_BYTES),
                (64 << 10, 1 << 30),
                "65536 (64 KiB) to 1073741824 (1 GiB)",
            )?,
            connections_max: connections("syslog.connections_max", all, 1024)?,
            connections_per_sender_max: connections("syslog.connections_per_sender_max", each, 256)?,
            idle: Duration::from_secs(number(
                "syslog.idle_seconds",
                self.idle_seconds.unwrap_or(IDLE_SECONDS),
                (60, 30 * 86_400),
                "60 to 2592000 seconds",
            )?),
        })
    }
}

fn listen(
    key: String,
    text: &str,
    transport: Transport,
    listens: &mut Vec<Listen>,
) -> Result<(), Impossible> {
    let expected =
        "at most 16 addresses such as \"[::]:514\" for IPv6 and IPv4 or \"192.0.2.1:514\", each once";
    let port = if transport == Transport::Tls { TLS_PORT } else { PORT };
    let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    let address = bare.map(|ip| SocketAddr::new(ip, port)).ok().or_else(|| text.parse().ok());
    let is_udp = transport == Transport::Udp;
    let is_known = |address: SocketAddr| {
        listens.iter().any(|known| known.address == address && is_udp == (known.transport == Transport::Udp))
    };
    let many = listens.iter().filter(|known| known.transport == transport).count() >= LISTEN_MAX;
    match address.filter(|address| address.port() != 0 && !is_known(*address) && !many) {
        Some(address) => {
            listens.push(Listen { transport, address, only_v6: false });
            Ok(())
        }
        None => Err(Impossible::new(key, format!("{text:?}"), expected)),
    }
}

/// Whether another entry takes what would come over IPv4 to this one.
fn is_v4_taken(listen: &Listen, listens: &[Listen]) -> bool {
    let is_udp = |listen: &Listen| listen.transport == Transport::Udp;
    let same = |other: &&Listen| {
        other.address.is_ipv4()
            && other.address.port() == listen.address.port()
            && is_udp(other) == is_udp(listen)
    };
    listen.address.is_ipv6() && listens.iter().any(|other| same(&other))
}

fn default_senders(home_networks: Option<&[IpNet]>) -> Vec<IpNet> {
    let parse =
        |texts: &[&str]| -> Vec<IpNet> { texts.iter().filter_map(|text| text.parse().ok()).collect() };
    let mut senders = match home_networks {
        Some(networks) if !networks.is_empty() => networks.to_vec(),
        _ => parse(&PRIVATE),
    };
    senders.extend(parse(&OWN));
    senders
}

fn tls_files(
    certificate: Option<PathBuf>,
    key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
) -> Result<Option<TlsFiles>, Impossible> {
    let expected =
        "the absolute path of a PEM file, or the name of a credential of systemd (LoadCredential=)";
    let each = [
        ("syslog.tls_certificate", &certificate),
        ("syslog.tls_key", &key),
        ("syslog.tls_client_ca", &client_ca),
    ];
    for (name, path) in each {
        let Some(path) = path else { continue };
        if !path.is_absolute() && path.components().count() != 1 {
            return Err(Impossible::new(name, format!("{}", path.display()), expected));
        }
    }
    match (certificate, key) {
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key, client_ca })),
        (None, None) if client_ca.is_none() => Ok(None),
        (None, _) => Err(Impossible::new("syslog.tls_certificate", "none beside the others", expected)),
        (Some(_), None) => Err(Impossible::new("syslog.tls_key", "none for tls_certificate", expected)),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::Config;

    fn parse(text: &str) -> Result<super::SyslogConfig, String> {
        let text = format!("[capture]\ninterfaces = [\"lan0\"]\n{text}");
        let parsed = Config::parse(&text, Path::new("agent.toml"));
        parsed.map(|config| config.syslog).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_off_unless_an_address_is_named() {
        assert!(parse("").unwrap().listens.is_empty());
        let config = Config::parse("[syslog]\nlisten_udp = [\"[::]:514\"]", Path::new("agent.toml")).unwrap();
        assert_eq!(config.syslog.listens.len(), 1, "syslog alone is something to watch");
    }

    #[test]
    fn addresses_may_leave_out_the_port_and_ipv4_is_taken_once() {
        let config = parse(
            "[syslog]\nlisten_udp = [\"::\", \"192.0.2.1\"]\nlisten_tcp = [\"[::]:514\"]\nlisten_tls = [\"::\"]\n\
             tls_certificate = \"/etc/vedetta/syslog.crt\"\ntls_key = \"syslog.key\"\n",
        )
        .unwrap();
        let told: Vec<String> = config
            .listens
            .iter()
            .map(|one| format!("{} {} {}", one.transport.as_str(), one.address, one.only_v6))
            .collect();
        assert_eq!(
            told,
            ["udp [::]:514 true", "udp 192.0.2.1:514 false", "tcp [::]:514 false", "tls [::]:6514 false"]
        );
    }

    #[test]
    fn senders_are_the_home_networks_and_this_machine_unless_named() {
        let senders = |text: &str| {
            let config = Config::parse(text, Path::new("agent.toml")).unwrap();
            config.syslog.senders.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let on = "[syslog]\nlisten_udp = [\"::\"]\n";
        assert!(senders(on).contains(&"192.168.0.0/16".to_owned()));
        assert_eq!(
            senders(&format!("home_networks = [\"192.0.2.0/24\"]\n{on}")),
            ["192.0.2.0/24", "127.0.0.0/8", "::1/128"]
        );
        assert_eq!(senders(&format!("{on}senders = [\"192.0.2.7\"]\n")), ["192.0.2.7/32"]);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, parts) in [
            ("listen_udp = [\"port 514\"]", ["syslog.listen_udp[0]", "[::]:514"]),
            ("listen_udp = [\"::\", \"[::]:514\"]", ["syslog.listen_udp[1]", "each once"]),
            ("listen_tcp = [\"::\"]\nlisten_tls = [\"[::]:514\"]", ["syslog.listen_tls[0]", "each once"]),
            ("listen_tls = [\"::\"]", ["syslog.tls_certificate", "together"]),
            ("tls_certificate = \"/a\"\ntls_key = \"/b\"", ["syslog.listen_tls", "together"]),
            ("tls_certificate = \"/a\"", ["syslog.tls_key", "PEM"]),
            ("tls_certificate = \"a/b\"", ["syslog.tls_certificate", "credential"]),
            ("senders = [\"lan\"]", ["syslog.senders[0]", "192.0.2.0/24"]),
            ("senders = []", ["syslog.senders", "home networks"]),
            ("udp_buffer_bytes = 5", ["syslog.udp_buffer_bytes: 5", "64 KiB"]),
            ("idle_seconds = 1", ["syslog.idle_seconds: 1", "60 to"]),
            ("connections_max = 0", ["syslog.connections_max: 0", "1 to 8192"]),
            ("listen = [\"::\"]", ["listen", "expected one of"]),
        ] {
            let error = parse(&format!("[syslog]\n{text}\n")).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?} gives {error:?}");
        }
    }
}

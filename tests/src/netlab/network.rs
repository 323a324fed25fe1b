//! The lab's map: an attacker outside, a town with a gateway and one host, a centre with the collector.
//!
//! ```text
//! outside 203.0.113.5, .66 --- wan0 gateway lan0 --- host 192.0.2.10
//!                              up0 |
//!                       centre 198.51.100.20
//! ```
//! The gateway translates the town's addresses to its own (masquerade) and forwards port 8080 to the host.

use super::namespace::Namespace;

/// The attacker's server.
pub const OUTSIDE: &str = "203.0.113.5";
/// The attacker's other address, from which it comes in.
pub const INTRUDER: &str = "203.0.113.66";
/// The gateway as the outside sees it.
pub const GATEWAY: &str = "203.0.113.1";
/// The town's own host.
pub const HOST: &str = "192.0.2.10";
/// The collector.
pub const CENTRE: &str = "198.51.100.20";
/// The interface that looks into the town.
pub const LAN: &str = "lan0";

const FIREWALL: &str = "\
add table ip nat
add chain ip nat after { type nat hook postrouting priority 100 ; }
add rule ip nat after oifname \"wan0\" masquerade
add chain ip nat before { type nat hook prerouting priority -100 ; }
add rule ip nat before iifname \"wan0\" tcp dport 8080 dnat to 192.0.2.10
";

/// The four hosts.
#[derive(Debug)]
pub struct Network {
    /// The attacker.
    pub outside: Namespace,
    /// The town's gateway.
    pub gateway: Namespace,
    /// The town's host.
    pub host: Namespace,
    /// The centre.
    pub centre: Namespace,
}

impl Network {
    /// Builds it; `prefix` keeps labs that run at once apart (at most eight letters).
    ///
    /// # Errors
    /// When this is not root or a tool is missing.
    pub fn new(prefix: &str) -> anyhow::Result<Self> {
        let name = |host: &str| format!("{prefix}-{host}");
        let network = Self {
            outside: Namespace::new(&name("outside"))?,
            gateway: Namespace::new(&name("gateway"))?,
            host: Namespace::new(&name("host"))?,
            centre: Namespace::new(&name("centre"))?,
        };
        let gateway = &network.gateway;
        gateway.connect(("wan0", "203.0.113.1/24"), &network.outside, ("net0", "203.0.113.5/24"))?;
        gateway.connect((LAN, "192.0.2.1/24"), &network.host, ("net0", "192.0.2.10/24"))?;
        gateway.connect(("up0", "198.51.100.1/24"), &network.centre, ("net0", "198.51.100.20/24"))?;
        network.outside.run("ip", &["address", "add", "203.0.113.66/24", "dev", "net0"])?;
        network.outside.run("ip", &["route", "add", "203.0.113.1/32", "dev", "net0", "src", INTRUDER])?;
        network.host.run("ip", &["route", "add", "default", "via", "192.0.2.1"])?;
        gateway.run("sysctl", &["-qw", "net.ipv4.ip_forward=1"])?;
        gateway.run("sh", &["-c", &format!("printf '%s' '{FIREWALL}' | nft -f -")])?;
        Ok(network)
    }
}

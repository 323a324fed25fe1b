//! The invented attack that the demo tells: who the towns' hosts are, what the desk looks for, and what is seen
//! among ordinary traffic and ordinary log lines.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use jiff::Timestamp;

use crate::capture_file::Packet;
use crate::exchange::Exchange;
use crate::seed::Seed;

/// What the desk looks for: value, threat, severity.
const INDICATORS: &[(&str, &str, &str)] = &[
    ("aggiornamenti.cattivo.example", "Finto aggiornamento", "high"),
    ("accesso-posta.truffa.example", "Furto di credenziali", "critical"),
    ("http://consegne.truffa.example/fattura.zip", "Allegato dannoso", "high"),
    ("203.0.113.66", "Forza bruta SSH", "medium"),
    ("198.51.100.128/26", "Rete di bot", "high"),
    ("comando.cattivo.example", "Server di comando", "critical"),
];

/// Names that everybody visits.
const ORDINARY: &[&str] = &[
    "www.comune.example",
    "protocollo.comune.example",
    "posta.regione.example",
    "cdn.giornale.example",
    "meteo.example",
    "ntp.orologio.example",
    "anagrafe.servizi.example",
];

const RESOLVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 53);

/// The desk's list as a table with headers; what is defanged here must be understood by the import.
pub fn indicators_csv() -> String {
    let mut table = String::from("value,threat,severity,alert\n");
    for (index, (value, threat, severity)) in INDICATORS.iter().enumerate() {
        let defanged =
            if index % 2 == 0 { value.replace('.', "[.]").replace("http", "hxxp") } else { (*value).into() };
        table.push_str(&format!("{defanged},{threat},{severity},ESEMPIO-2026-{:03}\n", index + 1));
    }
    table
}

/// Traffic of a town for so many seconds: about eight conversations a second, one in twenty of them looked for.
pub fn traffic(seed: &mut Seed, seconds: u64) -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut at_micros = 0;
    let mut number = 0_u64;
    while at_micros < seconds * 1_000_000 {
        let client = SocketAddr::new(town_host(seed), seed.port());
        let bad = number % 20 == 4;
        let (server, exchange) = if bad { looked_for(seed) } else { ordinary(seed) };
        for (frame, step) in exchange.frames(client, server, seed).into_iter().zip(0_u64..) {
            packets.push(Packet { at_micros: at_micros + step * 300, frame });
        }
        at_micros += seed.between(20_000, 230_000);
        number += 1;
    }
    packets.sort_by_key(|packet| packet.at_micros);
    packets
}

/// One line of a town's system log, without its line end; one in twelve has something looked for.
pub fn log_line(seed: &mut Seed, number: u64, at: Timestamp) -> String {
    let stamp = at.strftime("%b %e %H:%M:%S");
    let (host, remote) = (town_host(seed), ordinary_address(seed));
    let port = seed.port();
    let name = seed.pick(ORDINARY).copied().unwrap_or_default();
    let text = match (number % 12, number % 4) {
        (5, _) if number % 24 == 5 => {
            format!("sshd[{port}]: Failed password for invalid user admin from 203.0.113.66 port {port} ssh2")
        }
        (5, _) => {
            let bot = Ipv4Addr::from(Ipv4Addr::new(198, 51, 100, 128).to_bits() + u32::from(port % 60));
            format!(
                "kernel: [UFW BLOCK] IN=wan0 OUT=lan0 SRC={bot} DST={host} LEN=60 TTL=49 PROTO=TCP SPT={port} DPT=445 SYN"
            )
        }
        (11, _) => format!(
            "squid[812]: {host} TCP_MISS/200 1532 GET http://comando.cattivo.example/r?n={port} - DIRECT"
        ),
        (_, 0) => format!("sshd[{port}]: Accepted publickey for tecnico from {host} port {port} ssh2"),
        (_, 1) => {
            format!(
                "kernel: [UFW ALLOW] IN=lan0 OUT=wan0 SRC={host} DST={remote} LEN=52 PROTO=TCP SPT={port} DPT=443"
            )
        }
        (_, 2) => format!("squid[812]: {host} TCP_TUNNEL/200 {port} CONNECT {name}:443 - DIRECT"),
        _ => format!("dnsmasq[604]: query[A] {name} from {host}"),
    };
    format!("{stamp} gateway {text}")
}

fn ordinary(seed: &mut Seed) -> (SocketAddr, Exchange) {
    let name = seed.pick(ORDINARY).copied().unwrap_or_default().to_owned();
    let remote = ordinary_address(seed);
    match seed.between(0, 6) {
        0 | 1 => (SocketAddr::new(RESOLVER.into(), 53), Exchange::Dns { name, answer: Some(remote) }),
        2 | 3 => (SocketAddr::new(remote, 443), Exchange::Tls { name }),
        4 => {
            let path = format!("/pagina/{}", seed.between(1, 500));
            (
                SocketAddr::new(remote, 80),
                Exchange::Http { host: name, path, user_agent: "Mozilla/5.0".into() },
            )
        }
        _ => (SocketAddr::new(remote, 123), Exchange::Datagram { bytes: 48 }),
    }
}

fn looked_for(seed: &mut Seed) -> (SocketAddr, Exchange) {
    let resolver = SocketAddr::new(RESOLVER.into(), 53);
    let remote = IpAddr::from([203, 0, 113, 80]);
    match seed.between(0, 4) {
        0 => (resolver, Exchange::Dns { name: "aggiornamenti.cattivo.example".into(), answer: Some(remote) }),
        1 => (SocketAddr::new(remote, 443), Exchange::Tls { name: "accesso-posta.truffa.example".into() }),
        2 => (
            SocketAddr::new(remote, 80),
            Exchange::Http {
                host: "consegne.truffa.example".into(),
                path: "/fattura.zip".into(),
                user_agent: "Mozilla/5.0".into(),
            },
        ),
        _ => (SocketAddr::new([198, 51, 100, 140].into(), 6667), Exchange::Stream { bytes: 200 }),
    }
}

fn town_host(seed: &mut Seed) -> IpAddr {
    [192, 0, 2, low_byte(seed.between(10, 60))].into()
}

/// Servers that nobody looks for: the lower half of a documentation network.
fn ordinary_address(seed: &mut Seed) -> IpAddr {
    [198, 51, 100, low_byte(seed.between(60, 120))].into()
}

fn low_byte(number: u64) -> u8 {
    u8::try_from(number & 0xff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_repeats_itself() {
        let told = |number| traffic(&mut Seed::new(number), 5);
        assert_eq!(told(1), told(1));
        assert_ne!(told(1), told(2));
        assert!(told(1).len() > 100 && told(1).is_sorted_by_key(|packet| packet.at_micros));
    }

    #[test]
    fn what_is_looked_for_is_seen_in_traffic_and_in_lines() {
        let packets = traffic(&mut Seed::new(1), 120);
        let seen =
            |word: &str| packets.iter().any(|p| p.frame.windows(word.len()).any(|w| w == word.as_bytes()));
        assert!(seen("accesso-posta.truffa.example") && seen("GET /fattura.zip"));
        let mut seed = Seed::new(1);
        let lines: Vec<String> = (0..48).map(|n| log_line(&mut seed, n, Timestamp::UNIX_EPOCH)).collect();
        for word in ["from 203.0.113.66", "SRC=198.51.100.1", "comando.cattivo.example", "Accepted publickey"]
        {
            assert!(lines.iter().any(|line| line.contains(word)), "{word}");
        }
        assert!(lines[0].starts_with("Jan  1 00:00:00 gateway "), "{}", lines[0]);
    }

    #[test]
    fn every_second_row_of_the_table_is_defanged() {
        let table = indicators_csv();
        assert!(table.contains("hxxp://consegne[.]truffa[.]example/fattura[.]zip,"));
        assert!(table.contains("\n203.0.113.66,") && table.lines().count() == INDICATORS.len() + 1);
    }
}

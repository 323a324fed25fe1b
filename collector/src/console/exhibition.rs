//! A console for eyes: invented towns with everything that a page can show, and a new hit every few seconds.

use std::time::Duration;

use protocol::message::{BundleOutcome, Loss, LossReason, Record, SourceStatus};
use serde_json::json;
use tokio::sync::watch;

use super::fixture::{Fixture, PASSWORD, hit, indicator};
use super::https_tests::certificate;
use super::start;
use crate::clock;
use crate::store::sessions::Spool;

const VALUES: [&str; 5] =
    ["evil.example", "203.0.113.5", "http://dropper.example/gate.php?id=1", "198.51.100.77", "c2.example"];
const THREATS: [&str; 5] =
    ["Invented Stealer", "Botnet Prova", "Phishing Poste Finte", "Scanner", "RAT Esempio"];
const TOWNS: [&str; 5] =
    ["Borgo Chiaro", "Rocca Bianca", "Sant'Agata di Sopra", "Valle Serena sul Fiume Lungo", "Porto Nuovo"];

/// Serves invented towns until the file `stop` appears beside the store, a new hit every few seconds:
/// `cargo test -p vedetta-collector --lib exhibition -- --ignored --nocapture`.
#[tokio::test]
#[ignore = "for eyes: serves until it is told to stop"]
async fn exhibition() {
    let fixture = Fixture::new().await;
    let now = clock::now();
    fixture.pass_seconds(now.micros_since(fixture.now()) / 1_000_000);
    let spools = furnish(&fixture).await;
    let listen = std::env::var("VEDETTA_EXHIBITION").unwrap_or_else(|_| "127.0.0.1:8443".to_owned());
    let config = certificate(fixture.folder.path(), &listen);
    let (stop, stopping) = watch::channel(false);
    let running = start(&config, fixture.store.clone(), fixture.arrivals.clone(), stopping).await.unwrap();
    println!("https://{} as rossi, {}", running.listen, PASSWORD);
    let stop_file = fixture.folder.path().join("stop");
    println!("touch {} to stop", stop_file.display());
    for number in 1_u32.. {
        tokio::time::sleep(Duration::from_secs(1)).await;
        fixture.pass_seconds(1);
        if stop_file.exists() {
            break;
        }
        if number % 4 == 0 {
            let at = clock::now().to_string();
            let changes =
                json!({"at": at, "last_at": at, "host": "192.168.1.77", "value": "live.evil.example"});
            fixture.store(&spools[0], 61 + u64::from(number / 4), vec![hit(100_000 + number, changes)]).await;
        }
    }
    stop.send(true).unwrap();
    running.ended().await.unwrap();
}

/// Five towns, two bundles, some hundred hits, one silent sensor, one that refuses, hostile texts.
async fn furnish(fixture: &Fixture) -> Vec<Spool> {
    let severities = ["critical", "high", "medium", "low"];
    let indicators = VALUES.iter().enumerate().map(|(index, value)| {
        let changes = json!({"threat": THREATS[index], "severity": severities[index % 4],
            "confidence": 60 + index * 8, "tlp": "amber", "alert": "COSC-ESEMPIO-2026-0012",
            "source": "allerta.csv", "valid_from": "2026-11-01T00:00:00Z", "valid_until": "2027-05-01T00:00:00Z"});
        indicator(&format!("indicator--{index}"), value, changes)
    });
    let odd = json!({"threat": "<b>x\u{202e}</b>".repeat(20), "severity": "high"});
    let odd = indicator("indicator--9", "odd.example", odd);
    fixture.bundle(1, indicators.clone().collect()).await;
    fixture.bundle(2, indicators.chain([odd]).collect()).await;
    let mut spools = Vec::new();
    for (name, number) in TOWNS.iter().zip(1_u8..) {
        spools.push(fixture.enrol(name, number).await);
    }
    let now = fixture.now();
    for (spool, index) in spools.iter().zip(0_usize..) {
        let records = (0..60_u32).map(|number| invented(now, index, number));
        fixture.store(spool, 1, records.collect()).await;
    }
    let agent = format!("Mozilla/5.0 <script>alert(1)</script> {}", "x".repeat(700));
    let long = json!({"kind": "user_agent", "value": agent, "seen_in": "http.user_agent", "indicator": "indicator--9",
        "evidence": "GET / HTTP/1.1\u{202e}\r\nUser-Agent: <script>".repeat(9)});
    fixture.store(&spools[0], 61, vec![hit(90_000, long)]).await;
    let loss = Loss { count: 17, reason: LossReason::SpoolFull, first_at: now, last_at: now };
    fixture.store(&spools[2], 61, vec![Record::Loss(loss)]).await;
    describe(fixture, &spools).await;
    spools
}

/// What the sensors say about themselves.
async fn describe(fixture: &Fixture, spools: &[Spool]) {
    let now = fixture.now();
    let source = |name: &str, kind: &str, read, dropped, trouble: &str| SourceStatus {
        name: name.into(),
        kind: kind.into(),
        read,
        dropped,
        hits: read / 900_000,
        trouble: trouble.into(),
    };
    let good = vec![
        source("lan0", "capture", 812_345_678, 0, ""),
        source("/var/log/syslog", "log", 1_234_567, 0, ""),
    ];
    let denied = "permission denied: add vedetta-agent to group adm";
    let bad = vec![
        source("br-lan", "capture", 55_000_000, 12_345, ""),
        source("/var/log/nginx/access.log", "log", 0, 0, denied),
    ];
    fixture.greet(&spools[0], now, good.clone()).await;
    fixture.greet(&spools[1], now.plus_seconds(-3600), good).await;
    fixture.greet(&spools[2], now, bad).await;
    fixture.greet(&spools[3], now.plus_seconds(-60), Vec::new()).await;
    fixture.outcome(&spools[0], 2, BundleOutcome::Applied { indicators: 6 }).await;
    let reason = "the signature of targets.json does not fit the root".to_owned();
    fixture.outcome(&spools[2], 2, BundleOutcome::Refused { reason }).await;
}

fn invented(now: protocol::Timestamp, town: usize, number: u32) -> Record {
    let which = (number as usize + town) % 5;
    let at = now.plus_seconds(-(i64::from(number) * 713 + town as i64 * 31)).to_string();
    let host = format!("192.168.{town}.{}", 10 + number % 7);
    let remote = format!("203.0.113.{}", number % 9);
    let mut changes = json!({"at": at, "last_at": at, "indicator": format!("indicator--{which}"), "value": VALUES[which],
        "count": 1 + number % 40, "host": host});
    let more = match which {
        1 | 3 => {
            json!({"kind": "ip", "seen_in": "log.src", "line": 4000 + number, "input": "/var/log/syslog",
            "direction": "inbound", "remote": VALUES[which],
            "evidence": format!("sshd[812]: Failed password for root from {} port 50122 ssh2", VALUES[which])})
        }
        2 => json!({"kind": "url", "seen_in": "http.url", "remote": remote,
            "evidence": "GET /gate.php?id=1 HTTP/1.1 Host: dropper.example",
            "flow": {"proto": "tcp", "src": host, "src_port": 40122, "dst": remote, "dst_port": 80}}),
        4 => json!({"seen_in": "tls.sni", "remote": remote, "evidence": "c2.example",
            "flow": {"proto": "tcp", "src": host, "src_port": 40123, "dst": remote, "dst_port": 443}}),
        _ => json!({}),
    };
    changes.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hit(u32::try_from(town).unwrap() * 1000 + number, changes)
}

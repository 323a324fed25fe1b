//! The whole way of the data on real hosts: an attacker, a gateway with NAT, a town's host and the collector.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;
use vedetta_tests::netlab::deployment::Deployed;
use vedetta_tests::netlab::network::{GATEWAY, HOST, INTRUDER, Network, OUTSIDE};
use vedetta_tests::netlab::traffic::{self, converse};
use vedetta_tests::netlab::{count_from_environment, wait_for};
use vedetta_tests::seed::Seed;

const DNS_NAME: &str = "domanda.cattivo.example";
const TLS_NAME: &str = "cifrato.cattivo.example";
const HTTP_HOST: &str = "pagina.cattivo.example";
const HTTP_URL: &str = "http://pagina.cattivo.example/carico.bin";
const IN_THE_LOG: &str = "198.51.100.77";

fn indicators() -> Vec<String> {
    [DNS_NAME, TLS_NAME, "hxxp://pagina[.]cattivo[.]example/carico.bin", INTRUDER, IN_THE_LOG]
        .map(str::to_owned)
        .to_vec()
}

fn at(address: &str, port: u16) -> SocketAddr {
    format!("{address}:{port}").parse().unwrap()
}

fn talk(network: &Network, log: &Path) -> anyhow::Result<()> {
    let (outside, host) = (&network.outside, &network.host);
    converse(
        (outside, |ready| traffic::answer_one_question(at(OUTSIDE, 53), ready)),
        (host, || traffic::ask(at(OUTSIDE, 53), DNS_NAME)),
    )?;
    converse(
        (outside, |ready| traffic::serve_one_tls(at(OUTSIDE, 443), TLS_NAME, ready)),
        (host, || traffic::begin_tls(at(OUTSIDE, 443), TLS_NAME)),
    )?;
    converse(
        (outside, |ready| traffic::serve_one_http(at(OUTSIDE, 80), ready)),
        (host, || traffic::get(at(OUTSIDE, 80), HTTP_HOST, "/carico.bin")),
    )?;
    converse(
        (host, |ready| traffic::serve_one_http(at(HOST, 8080), ready)),
        (outside, || traffic::get(at(GATEWAY, 8080), "www.comune.example", "/")),
    )?;
    append(
        log,
        &format!("Nov 22 10:00:00 gw sshd[77]: Failed password for root from {IN_THE_LOG} port 4022 ssh2\n"),
    )
}

fn append(log: &Path, text: &str) -> anyhow::Result<()> {
    Ok(File::options().append(true).open(log)?.write_all(text.as_bytes())?)
}

/// A value's stored hits: what it was seen in, the direction, the town's host, the remote party.
fn facts(hits: &[Value], value: &str) -> Vec<[String; 4]> {
    let text = |hit: &Value, key: &str| hit[key].as_str().unwrap_or("-").to_owned();
    let of_value = hits.iter().filter(|hit| hit["value"] == value);
    of_value.map(|hit| ["seen_in", "direction", "host", "remote"].map(|key| text(hit, key))).collect()
}

#[test]
fn each_conversation_becomes_exactly_one_hit_with_direction_and_inner_host() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdone")?;
    let Deployed { centre, mut collector, sensor, mut agent } =
        Deployed::start(&network, folder.path(), &indicators())?;

    let listening = network.gateway.run("ss", &["-tlnH"])?;
    assert_eq!(listening.trim(), "", "nobody can talk to the sensor over TCP");
    let open = network.gateway.run("ss", &["-ulnpH"])?;
    assert_eq!(open.matches("vedetta-agent").count(), 1, "its way to the collector and no more:\n{open}");
    talk(&network, &sensor.town_log())?;

    let hits = wait_for("five hits", 30, || {
        let hits = centre.hits()?;
        Ok((hits.len() >= 5).then_some(hits))
    })
    .with_context(|| format!("agent:\n{}\ncollector:\n{}", agent.log(), collector.log()))?;
    let expected: [(&str, [&str; 4]); 5] = [
        (DNS_NAME, ["dns.query", "outbound", HOST, "-"]),
        (TLS_NAME, ["tls.sni", "outbound", HOST, OUTSIDE]),
        (HTTP_URL, ["http.url", "outbound", HOST, OUTSIDE]),
        (INTRUDER, ["flow.src", "inbound", HOST, INTRUDER]),
        (IN_THE_LOG, ["log.src", "inbound", "-", IN_THE_LOG]),
    ];
    for (value, facts_of_value) in expected {
        assert_eq!(facts(&hits, value), [facts_of_value.map(str::to_owned)], "{value}");
    }
    assert!(hits.iter().all(|hit| hit["comune"] == "999001" && hit["bundle"] == 1), "{hits:#?}");

    assert_eq!(agent.stop()?, Some(0), "{}", agent.log());
    assert_eq!(collector.stop()?, Some(0), "{}", collector.log());
    assert_eq!(centre.hits()?.len(), 5, "no hit came late or twice");
    Ok(())
}

/// Every line carries an indicator of its own, so a lost and a doubled hit both show.
#[test]
fn killed_collectors_and_agents_lose_nothing_and_double_nothing() -> anyhow::Result<()> {
    let lines = count_from_environment("VEDETTA_LINES", 6000);
    let kills = count_from_environment("VEDETTA_AGENT_KILLS", 200);
    let mut seed = Seed::new(count_from_environment("VEDETTA_KILL_SEED", 1));
    let outage = Duration::from_secs(count_from_environment("VEDETTA_OUTAGE_SECONDS", 15));
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdkill")?;
    let names: Vec<String> = (0..lines).map(|number| format!("n{number}.estratto.example")).collect();
    let Deployed { centre, collector, sensor, mut agent } = Deployed::start(&network, folder.path(), &names)?;

    let log = sensor.town_log();
    // A life lasts a fifth of a second, and lines come over all of them.
    let pause = Duration::from_millis(200 * kills * 100 / lines.max(1));
    let writer = std::thread::spawn(move || -> anyhow::Result<()> {
        let mut file = File::options().append(true).open(&log)?;
        for (number, name) in names.iter().enumerate() {
            writeln!(file, "Nov 22 10:00:00 gw dnsmasq[9]: query[A] {name} from 192.0.2.10")?;
            if number % 100 == 99 {
                std::thread::sleep(pause);
            }
        }
        Ok(())
    });
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(seed.between(5, 251)));
        agent.kill()?;
        agent = sensor.start()?;
    }
    collector.kill()?;
    std::thread::sleep(outage);
    agent.kill()?;
    agent = sensor.start()?;
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let mut collector = centre.start()?;

    // An agent that is killed this often spools the same lines again: a quarter of a million records, of which a
    // certificate has a thousand stored in a second.
    let hits = wait_for("a hit for every line", 400, || {
        let hits = centre.hits()?;
        anyhow::ensure!(hits.len() as u64 >= lines, "{} of {lines}", hits.len());
        Ok(Some(hits))
    })
    .with_context(|| format!("agent:\n{}\ncollector:\n{}", agent.log(), collector.log()))?;
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for hit in &hits {
        *seen.entry(hit["value"].as_str().context("a hit without value")?).or_default() += 1;
    }
    let doubled: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(doubled.is_empty(), "doubled: {doubled:?}");
    assert_eq!(seen.len() as u64, lines);
    assert_eq!(agent.stop()?, Some(0));
    assert_eq!(collector.stop()?, Some(0));
    Ok(())
}

#[test]
fn strangers_revoked_sensors_and_altered_bundles_are_refused_and_the_logs_say_why() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdwho")?;
    let Deployed { centre, mut collector, sensor, mut agent } =
        Deployed::start(&network, folder.path(), &indicators())?;

    // A stranger: the right authority to trust, but a key and a certificate of its own making.
    agent.stop()?;
    let stolen = sensor.folder.join("state/identity");
    let kept = folder.path().join("kept");
    std::fs::create_dir(&kept)?;
    std::fs::copy(stolen.join("credentials.pem"), kept.join("credentials.pem"))?;
    strangers_certificate(&stolen)?;
    let mut stranger = sensor.start()?;
    let why = collector.wait_for_line(&["WARN", "203.0.113.1", "UnknownIssuer"], 20);
    let why = why.or_else(|_| collector.wait_for_line(&["WARN", "refused", "nknown"], 5))?;
    assert!(!why.is_empty());
    stranger.wait_for_line(&["WARN"], 20)?;
    stranger.stop()?;
    std::fs::copy(kept.join("credentials.pem"), stolen.join("credentials.pem"))?;

    // A bundle altered on the collector's disk, then a repository signed by somebody else's keys.
    let mut second = indicators();
    second.push("nuovo.cattivo.example".to_owned());
    centre.sign(&second, "keys", "repository")?;
    centre.push("repository")?;
    // The collector reads what it offers once: it is altered while it is down.
    collector.stop()?;
    alter_bundle(Path::new(&centre.path("collector/repository/targets")), "bundle-2")?;
    let mut collector = centre.start()?;
    let mut agent = sensor.start()?;
    let why = agent.wait_for_line(&["WARN", "bundle", "refused"], 30)?;
    assert!(why.contains("hash") || why.contains("altered") || why.contains("digest"), "{why}");
    collector.wait_for_line(&["WARN", "bundle", "refused", "999001"], 20)?;
    assert_eq!(sensor.status()?["bundle"]["serial"], 1, "the bundle before stays in force");

    centre.desk(&["keygen", "--out", &centre.path("forged-keys")])?;
    centre.sign(&second, "forged-keys", "forged")?;
    let refused = format!("{:#}", centre.push("forged").unwrap_err());
    assert!(refused.contains("signature") || refused.contains("signed"), "{refused}");
    collector.wait_for_line(&["WARN", "push", "refused"], 10)?;
    agent.stop()?;
    collector.stop()?;
    let repository = centre.path("collector/repository");
    std::fs::remove_dir_all(&repository)?;
    copy_folder(Path::new(&centre.path("forged")), Path::new(&repository))?;
    collector = centre.start()?;
    let mut agent = sensor.start()?;
    let words = ["WARN", "bundle", "refused", "sign"];
    agent.wait_for_line(&words, 30)?;
    assert_eq!(sensor.status()?["bundle"]["serial"], 1, "a forged bundle is never in force");

    // A revoked sensor loses its live connection and is not let in again.
    let id = centre.agents()?.first().and_then(|row| row["agent"].as_str().map(str::to_owned));
    centre.collector(&["revoke", &id.context("no sensor")?, "--reason", "gateway rubato"])?;
    collector.wait_for_line(&["WARN", "revoked"], 10)?;
    agent.wait_for_line(&["WARN", "revoked"], 20)?;
    let depth = centre.hits()?.len();
    append(
        &sensor.town_log(),
        &format!("sshd[1]: Failed password for root from {IN_THE_LOG} port 1 ssh2\n"),
    )?;
    wait_for("the hit in the spool", 20, || {
        Ok(sensor.status()?["spool"]["records"].as_u64().filter(|records| *records > 0))
    })?;
    assert_eq!(centre.hits()?.len(), depth, "a revoked sensor's hit was taken");
    assert_eq!(agent.stop()?, Some(0));
    Ok(())
}

/// A certificate with the same names as a sensor's, signed by an authority that nobody asked for.
fn strangers_certificate(identity: &Path) -> anyhow::Result<()> {
    let mut authority = rcgen::CertificateParams::default();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority_key = rcgen::KeyPair::generate()?;
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let mut leaf = rcgen::CertificateParams::default();
    let uri = format!("urn:vedetta:comune:999001:agent:{}", "ab".repeat(16));
    leaf.subject_alt_names = vec![rcgen::SanType::URI(uri.try_into()?)];
    leaf.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    let key = rcgen::KeyPair::generate()?;
    let certificate = leaf.signed_by(&key, &issuer)?;
    std::fs::write(identity.join("credentials.pem"), key.serialize_pem() + &certificate.pem())?;
    Ok(())
}

fn alter_bundle(targets: &Path, name: &str) -> anyhow::Result<()> {
    let entries = std::fs::read_dir(targets)?.collect::<Result<Vec<_>, _>>()?;
    let named = entries.iter().find(|entry| entry.file_name().to_string_lossy().contains(name));
    let path = named.with_context(|| format!("no {name} in {}", targets.display()))?.path();
    let mut bytes = std::fs::read(&path)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    Ok(std::fs::write(path, bytes)?)
}

fn copy_folder(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

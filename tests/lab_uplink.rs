//! The line between a town and the centre, cut and bent by real firewalls: `status` tells each reason apart, and a
//! connection outlives a translation that forgets it.

use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedetta_tests::netlab::deployment::{Deployed, Sensor};
use vedetta_tests::netlab::namespace::Namespace;
use vedetta_tests::netlab::network::Network;
use vedetta_tests::netlab::wait_for;

const NAMES: [&str; 3] = ["primo.cattivo.example", "secondo.cattivo.example", "terzo.cattivo.example"];
const CENTRE_INPUT: &str = "add chain ip filter in { type filter hook input priority 0 ; }";
const GATEWAY_OUTPUT: &str = "add chain ip filter out { type filter hook output priority 0 ; }";

/// A firewall's table, taken away when dropped.
struct Firewall<'a>(&'a Namespace);

impl<'a> Firewall<'a> {
    fn new(host: &'a Namespace, lines: &[&str]) -> Result<Self> {
        let firewall = Self(host);
        for line in ["add table ip filter"].iter().chain(lines) {
            host.run("nft", &[line])?;
        }
        Ok(firewall)
    }
}

impl Drop for Firewall<'_> {
    fn drop(&mut self) {
        let _ = self.0.run("nft", &["delete table ip filter"]);
    }
}

fn uplink(sensor: &Sensor<'_>, field: &str) -> Result<Value> {
    let status = sensor.status()?;
    Ok(status.pointer(&format!("/uplink/{field}")).with_context(|| format!("no {field}: {status}"))?.clone())
}

fn log(sensor: &Sensor<'_>, name: &str) -> Result<()> {
    let mut file = File::options().append(true).open(sensor.town_log())?;
    Ok(writeln!(file, "Nov 22 10:00:00 gw dnsmasq[9]: query[A] {name} from 192.0.2.10")?)
}

fn arrives(deployed: &Deployed<'_>, hits: usize) -> Result<()> {
    wait_for(&format!("{hits} hits"), 60, || {
        let stored = deployed.centre.hits()?.len();
        ensure!(stored <= hits, "{stored} hits of {hits}");
        Ok((stored == hits).then_some(()))
    })
    .with_context(|| deployed.agent.log())
}

/// Starts the agent anew and waits until `status` gives this reason, which is a firewall's doing or not.
fn blames(deployed: &mut Deployed<'_>, words: &str) -> Result<()> {
    deployed.agent.stop()?;
    deployed.agent = deployed.sensor.start()?;
    wait_for(&format!("the reason {words:?}"), 60, || {
        let trouble = uplink(&deployed.sensor, "last_error")?;
        ensure!(trouble.as_str().is_some_and(|text| text.contains(words)), "{trouble}");
        Ok(Some(()))
    })
}

#[test]
fn status_tells_apart_why_the_centre_is_out_of_reach() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdwhy")?;
    let names = NAMES.map(str::to_owned);
    let mut deployed = Deployed::start(&network, folder.path(), &names)?;

    // The machine there answers a stranger's TCP with a reset, as most do; its firewall swallows UDP.
    let swallowed =
        Firewall::new(&network.centre, &[CENTRE_INPUT, "add rule ip filter in udp dport 4740 drop"])?;
    blames(&mut deployed, "allow outgoing UDP to it in the firewalls on the way")?;
    drop(swallowed);

    let own =
        Firewall::new(&network.gateway, &[GATEWAY_OUTPUT, "add rule ip filter out udp dport 4740 drop"])?;
    blames(&mut deployed, "this machine's own firewall")?;
    drop(own);

    let dark =
        Firewall::new(&network.centre, &[CENTRE_INPUT, "add rule ip filter in ip saddr 198.51.100.1 drop"])?;
    blames(&mut deployed, "answers neither over UDP nor over TCP")?;
    drop(dark);

    deployed.collector.stop()?;
    blames(&mut deployed, "the collector is not running")?;
    network.gateway.run("ip", &["link", "set", "up0", "down"])?;
    blames(&mut deployed, "check the gateway's routes")?;

    // What was seen meanwhile waits, and all is well again by itself.
    log(&deployed.sensor, NAMES[0])?;
    network.gateway.run("ip", &["link", "set", "up0", "up"])?;
    deployed.collector = deployed.centre.start()?;
    arrives(&deployed, 1)?;
    wait_for("no trouble", 10, || Ok((uplink(&deployed.sensor, "last_error")? == "").then_some(())))?;
    ensure!(deployed.agent.stop()? == Some(0), "{}", deployed.agent.log());
    Ok(())
}

/// The ports that the centre saw datagrams come from.
fn ports_seen(network: &Network) -> Result<usize> {
    let listed = network.centre.run("nft", &["--json", "list set ip filter ports"])?;
    let listed: Value = serde_json::from_str(&listed)?;
    let ports = listed.pointer("/nftables/1/set/elem").and_then(Value::as_array);
    Ok(ports.with_context(|| format!("no ports: {listed}"))?.len())
}

#[test]
fn a_connection_outlives_a_translation_that_forgets_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdbind")?;
    let gateway = &network.gateway;
    // A router in a hurry: what is silent for a second gets another port at its next word.
    for timeout in ["udp_timeout", "udp_timeout_stream"] {
        gateway.run("sysctl", &["-qw", &format!("net.netfilter.nf_conntrack_{timeout}=1")])?;
    }
    gateway.run(
        "nft",
        &["add rule ip nat after oifname up0 udp dport 4740 masquerade to :20000-60000 random"],
    )?;
    let set = "add set ip filter ports { type inet_service ; flags dynamic ; }";
    let _watch = Firewall::new(
        &network.centre,
        &[set, CENTRE_INPUT, "add rule ip filter in udp dport 4740 add @ports { udp sport }"],
    )?;

    let names = NAMES.map(str::to_owned);
    let mut deployed = Deployed::start(&network, folder.path(), &names)?;
    for (number, name) in NAMES.iter().enumerate() {
        // Longer than the router's memory.
        std::thread::sleep(Duration::from_secs(3));
        log(&deployed.sensor, name)?;
        arrives(&deployed, number + 1)?;
    }
    let said = deployed.agent.log();
    ensure!(said.matches("INFO connected").count() == 1, "the connection was made anew:\n{said}");
    let ports = ports_seen(&network)?;
    // One of the enrolment and one of the first connection are among them.
    ensure!(ports >= 2 + NAMES.len(), "the translation changed only {ports} times");
    ensure!(deployed.agent.stop()? == Some(0), "{said}");
    Ok(())
}

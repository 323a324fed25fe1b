//! A gateway that translates, with a sensor on both of its sides: each conversation is one hit, with and without
//! the right to ask connection tracking.

#![allow(clippy::indexing_slicing, reason = "tests may")]

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use vedetta_tests::netlab::deployment::{Centre, Sensor};
use vedetta_tests::netlab::network::{GATEWAY, HOST, INTRUDER, LAN, Network, OUTSIDE};
use vedetta_tests::netlab::program::{Program, binary};
use vedetta_tests::netlab::traffic::{self, converse};
use vedetta_tests::netlab::wait_for;

const DNS_NAME: &str = "domanda.cattivo.example";
const TLS_NAME: &str = "cifrato.cattivo.example";
const WAN: &str = "wan0";

fn at(address: &str, port: u16) -> Result<SocketAddr> {
    Ok(SocketAddr::new(address.parse()?, port))
}

/// One conversation over UDP and one over TCP from inside, one to the forwarded port from outside.
fn talk(network: &Network) -> Result<()> {
    let (outside, host) = (&network.outside, &network.host);
    let (resolver, page, server, public) =
        (at(OUTSIDE, 53)?, at(OUTSIDE, 443)?, at(HOST, 8080)?, at(GATEWAY, 8080)?);
    converse(
        (outside, move |ready| traffic::answer_one_question(resolver, ready)),
        (host, move || traffic::ask(resolver, DNS_NAME)),
    )?;
    converse(
        (outside, move |ready| traffic::serve_one_tls(page, TLS_NAME, ready)),
        (host, move || traffic::begin_tls(page, TLS_NAME)),
    )?;
    converse(
        (host, move |ready| traffic::serve_one_http(server, ready)),
        (outside, move || traffic::get(public, "www.comune.example", "/")),
    )
}

/// The agent, with all rights or without the one to ask connection tracking.
fn start(network: &Network, sensor: &Sensor<'_>, may_ask: bool) -> Result<Program> {
    if may_ask {
        return sensor.start();
    }
    let mut command = network.gateway.command(Path::new("setpriv"));
    command.args(["--bounding-set=-net_admin", "--inh-caps=-net_admin"]).arg(binary("vedetta-agent")?);
    command.arg("run").arg("--config").arg(sensor.folder.join("agent.toml"));
    Program::start(&mut command, &sensor.folder.join("agent.log"))
}

/// What the test compares of a hit: sides, translation, and who saw it.
fn facts(hit: &Value) -> Value {
    let nat = &hit["nat"];
    json!([
        [hit["value"], hit["seen_in"], hit["direction"], hit["host"], hit["remote"]],
        [nat["outer"], nat["vantage"], nat["by"]],
        [hit["input"], hit["witnesses"]],
    ])
}

fn check(prefix: &str, may_ask: bool) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new(prefix)?;
    // Ports outside are never those inside.
    let gateway = &network.gateway;
    gateway.run("nft", &["flush chain ip nat after"])?;
    let masquerade = "oifname \"wan0\" meta l4proto { tcp, udp } masquerade to :20000-20999";
    gateway.run("nft", &[&format!("add rule ip nat after {masquerade}")])?;

    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let _collector = centre.start()?;
    centre.sign(&[DNS_NAME, TLS_NAME, INTRUDER].map(str::to_owned), "keys", "repository")?;
    centre.push("repository")?;
    let sensor = Sensor::configure(gateway, &folder.path().join("sensor"))?;
    let config = sensor.folder.join("agent.toml");
    let both = std::fs::read_to_string(&config)?
        .replace(&format!("[\"{LAN}\"]"), &format!("[\"{LAN}\", \"{WAN}\"]"));
    std::fs::write(&config, both)?;
    sensor.enrol(&centre, "Borgo Chiaro")?;
    let mut agent = start(&network, &sensor, may_ask)?;
    let status = wait_for("the bundle", 30, || {
        let status = sensor.status()?;
        Ok((status["bundle"]["serial"] == 1).then_some(status))
    })
    .with_context(|| agent.log())?;
    let tracking = &status["connection_tracking"];
    ensure!(tracking["available"] == may_ask, "{tracking}");
    let shown = sensor.agent(&["status"])?;
    let expected = if may_ask { "joined by connection tracking" } else { "cannot be asked: no permission" };
    ensure!(shown.contains(expected), "{shown}");

    talk(&network)?;
    wait_for("three hits", 30, || Ok((centre.hits()?.len() >= 3).then_some(())))
        .with_context(|| agent.log())?;
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    let by = if may_ask { "conntrack" } else { "time_and_tuple" };
    let fact = |value, seen_in, direction, remote: Option<&str>| {
        json!([[value, seen_in, direction, HOST, remote], [GATEWAY, "both", by], [LAN, [WAN]]])
    };
    let expected = [
        fact(DNS_NAME, "dns.query", "outbound", None),
        fact(TLS_NAME, "tls.sni", "outbound", Some(OUTSIDE)),
        fact(INTRUDER, "flow.src", "inbound", Some(INTRUDER)),
    ];
    let hits = wait_for("the last updates", 10, || {
        let hits = centre.hits()?;
        let facts: Vec<Value> = hits.iter().map(facts).collect();
        ensure!(facts.len() == 3 && expected.iter().all(|expected| facts.contains(expected)), "{hits:#?}");
        Ok(Some(hits))
    })?;
    for hit in &hits {
        let port = hit["nat"]["outer_port"].as_u64().context("no outer port")?;
        ensure!(hit["direction"] == "inbound" || (20_000..21_000).contains(&port), "{hit:#}");
    }
    Ok(())
}

#[test]
fn a_translated_conversation_is_one_hit_by_connection_tracking() -> Result<()> {
    check("vdnat", true)
}

#[test]
fn without_the_right_to_ask_it_is_one_hit_by_sequence_numbers_and_time() -> Result<()> {
    check("vdblind", false)
}

/// The gateway's own firewall writes a line about a connection that was captured: the hit gets another witness and stays
/// one, and its translation is what the line says.
#[test]
fn a_captured_conversation_and_its_log_line_are_one_hit() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdlog")?;
    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let _collector = centre.start()?;
    centre.sign(&[INTRUDER.to_owned()], "keys", "repository")?;
    centre.push("repository")?;
    let sensor = Sensor::configure(&network.gateway, &folder.path().join("sensor"))?;
    sensor.enrol(&centre, "Borgo Chiaro")?;
    let mut agent = sensor.start()?;
    wait_for("the bundle", 30, || Ok((sensor.status()?["bundle"]["serial"] == 1).then_some(())))
        .with_context(|| agent.log())?;
    let (server, public) = (at(HOST, 8080)?, at(GATEWAY, 8080)?);
    converse(
        (&network.host, move |ready| traffic::serve_one_http(server, ready)),
        (&network.outside, move || traffic::get(public, "www.comune.example", "/")),
    )?;
    let hit = wait_for("the captured hit", 30, || Ok(centre.hits()?.into_iter().next()))
        .with_context(|| agent.log())?;
    let port = &hit["flow"]["src_port"];
    let line = format!(
        "Nov 22 10:00:00 gw kernel: FORWARDFW IN=wan0 OUT=lan0 SRC={INTRUDER} DST={HOST} LEN=60 PROTO=TCP SPT={port} DPT=8080\n"
    );
    std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(sensor.town_log())?
        .write_all(line.as_bytes())?;
    let log = sensor.town_log().to_string_lossy().into_owned();
    let hits = wait_for("the other witness", 30, || {
        let hits = centre.hits()?;
        let has_witness =
            hits.iter().any(|hit| hit["witnesses"].as_array().is_some_and(|all| !all.is_empty()));
        Ok(has_witness.then_some(hits))
    })
    .with_context(|| agent.log())?;
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    ensure!(hits.len() == 1 && hits[0]["hit_id"] == hit["hit_id"], "{hits:#?}");
    ensure!(hits[0]["input"] == LAN && hits[0]["witnesses"] == json!([log]), "{hits:#?}");
    ensure!(hits[0]["logged"]["format"] == "netfilter", "{hits:#?}");
    Ok(())
}

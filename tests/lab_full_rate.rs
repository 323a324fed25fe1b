//! A sensor on a line that is as fast as this machine can make it: what was sent was received or counted as dropped,
//! what was received was read, and several workers find what one finds.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedetta_tests::exchange::Exchange;
use vedetta_tests::netlab::deployment::{Centre, Sensor};
use vedetta_tests::netlab::network::Network;
use vedetta_tests::netlab::program::Program;
use vedetta_tests::netlab::{count_from_environment, wait_for};
use vedetta_tests::player::Player;
use vedetta_tests::seed::Seed;

/// A line on which nothing but the test speaks.
const LINE: &str = "rate0";
const RING_BYTES: u64 = 32 << 20;

/// The names asked for and greeted, one for each conversation, and the frames of all of them with other traffic
/// between.
fn conversations(count: u64) -> (Vec<String>, Vec<Vec<u8>>) {
    let mut seed = Seed::new(7);
    let (mut names, mut frames) = (Vec::new(), Vec::new());
    for number in 0..count {
        let (low, high) = (number % 200 + 1, number / 200);
        let port = u16::try_from(20_000 + number % 20_000).unwrap();
        let client: SocketAddr = format!("192.0.2.{low}:{port}").parse().unwrap();
        let server =
            |port: u16| SocketAddr::new(format!("203.0.113.{}", high % 200 + 1).parse().unwrap(), port);
        let name = format!("n{number}.veloce.example");
        let said = match number % 3 {
            0 => (Exchange::Dns { name: name.clone(), answer: None }, server(53)),
            1 => (Exchange::Tls { name: name.clone() }, server(443)),
            _ => {
                let (host, path) = (name.clone(), "/a".to_owned());
                (Exchange::Http { host, path, user_agent: "prova/1.0".to_owned() }, server(80))
            }
        };
        frames.extend(said.0.frames(client, said.1, &mut seed));
        let other = SocketAddr::new(client.ip(), port + 20_000);
        frames.extend(Exchange::Stream { bytes: 4_000 }.frames(other, server(8443), &mut seed));
        names.push(name);
    }
    (names, frames)
}

/// Lays the line between the town's host and the gateway, without addresses: nobody else says a word on it.
fn lay_line(network: &Network) -> Result<()> {
    for host in [&network.gateway, &network.host] {
        host.run("sysctl", &["-qw", "net.ipv6.conf.default.disable_ipv6=1"])?;
    }
    let peer = network.host.name();
    let add = ["link", "add", LINE, "type", "veth", "peer", "name", LINE, "netns", peer];
    network.gateway.run("ip", &add)?;
    for host in [&network.gateway, &network.host] {
        host.run("ip", &["link", "set", LINE, "up"])?;
    }
    Ok(())
}

/// The sensor's configuration, with so many workers on the line.
fn configure(sensor: &Sensor<'_>, workers: u64) -> Result<()> {
    let text = format!(
        "state_dir = \"{folder}/state\"\ncontrol_socket = \"{folder}/control.sock\"\n\
         home_networks = [\"192.0.2.0/24\"]\n\
         [capture]\ninterfaces = [\"{LINE}\"]\nworkers = {workers}\nring_bytes = {RING_BYTES}\n\
         [detection]\ncooldown_seconds = 2\n",
        folder = sensor.folder.display(),
    );
    Ok(std::fs::write(sensor.folder.join("agent.toml"), text)?)
}

/// Sends all frames as often as is asked, as fast as the machine can; gives how many, and how long it took.
fn send(network: &Network, frames: &[Vec<u8>], times: u64) -> Result<(u64, Duration)> {
    let frames = frames.to_vec();
    network.host.inside(move || {
        let mut player = Player::open(LINE)?;
        let mut taken = Duration::ZERO;
        for _ in 0..times {
            taken += player.send_at_once(&frames)?;
        }
        Ok((player.sent, taken))
    })
}

/// What the status says of the line: frames read, dropped, and hits.
fn counts(sensor: &Sensor<'_>) -> Result<[u64; 3]> {
    let status = sensor.status()?;
    let line = status["sources"].as_array().and_then(|sources| sources.iter().find(|s| s["name"] == LINE));
    let line = line.with_context(|| format!("no {LINE} in {status}"))?;
    let count = |key: &str| line[key].as_u64().with_context(|| format!("no {key} in {line}"));
    Ok([count("read")?, count("dropped")?, count("hits")?])
}

/// Waits until every frame that was sent is accounted for; nothing may be counted twice either.
fn all_accounted_for(sensor: &Sensor<'_>, sent: u64) -> Result<[u64; 3]> {
    let counts = wait_for("all frames in the status", 120, || {
        let counts = counts(sensor)?;
        ensure!(counts[0] + counts[1] >= sent, "{counts:?} of {sent}");
        Ok(Some(counts))
    })?;
    ensure!(counts[0] + counts[1] == sent, "read, dropped, hits: {counts:?}, but {sent} were sent");
    Ok(counts)
}

/// What must not depend on the number of workers; both ways of a conversation in the traffic of one hit show that
/// one worker saw both.
fn fact(hit: &Value) -> String {
    let keys = ["value", "seen_in", "direction", "host", "remote", "count", "flow", "traffic"];
    keys.map(|key| hit[key].to_string()).join(" ")
}

/// A run from start to stop: the hits that are new in the store.
fn run(
    (network, centre): (&Network, &Centre<'_>),
    (sensor, workers): (&Sensor<'_>, u64),
    (names, frames): (&[String], &[Vec<u8>]),
) -> Result<BTreeSet<String>> {
    configure(sensor, workers)?;
    let before: BTreeSet<String> = centre.hits()?.iter().map(|hit| hit["hit_id"].to_string()).collect();
    let mut agent = sensor.start()?;
    ready(sensor, &mut agent, workers)?;
    let (sent, taken) = send(network, frames, 1)?;
    let [read, dropped, hits] = all_accounted_for(sensor, sent).with_context(|| agent.log())?;
    eprintln!(
        "{workers} workers: sent {sent} in {} ms, received {read}, dropped {dropped}, hits {hits}",
        taken.as_millis()
    );
    // The ring holds all of it, however slow the machine.
    ensure!(dropped == 0 && hits == names.len() as u64, "dropped {dropped}, {hits} hits of {}", names.len());
    let facts = wait_for("the last state of every hit", 60, || {
        let hits = centre.hits()?;
        let new = hits.iter().filter(|hit| !before.contains(&hit["hit_id"].to_string()));
        let ended: BTreeSet<String> = new.filter(|hit| is_final(hit)).map(fact).collect();
        ensure!(ended.len() == names.len(), "{} of {}", ended.len(), names.len());
        Ok(Some(ended))
    })
    .with_context(|| agent.log())?;
    behind(network, sensor, (&mut agent, sent), frames)?;
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    Ok(facts)
}

/// A TCP flow is over when both ends said so; a question over UDP stays open.
fn is_final(hit: &Value) -> bool {
    hit["flow"]["proto"] == "udp" || hit["traffic"]["ended"] == "closed"
}

fn ready(sensor: &Sensor<'_>, agent: &mut Program, workers: u64) -> Result<()> {
    wait_for("the bundle", 30, || Ok((sensor.status()?["bundle"]["serial"] == 1).then_some(())))?;
    for worker in 0..workers {
        agent.wait_for_line(&["capturing", LINE, &format!("worker={worker}")], 20)?;
    }
    Ok(())
}

/// A sensor that cannot keep up: the kernel drops, and the status says how much.
fn behind(
    network: &Network,
    sensor: &Sensor<'_>,
    (agent, sent_before): (&mut Program, u64),
    frames: &[Vec<u8>],
) -> Result<()> {
    let bytes: u64 = frames.iter().map(|frame| frame.len() as u64).sum();
    agent.pause()?;
    let sent = send(network, frames, RING_BYTES * 2 / bytes + 1);
    agent.go_on()?;
    let (sent, taken) = sent?;
    let [read, dropped, _] = all_accounted_for(sensor, sent_before + sent).with_context(|| agent.log())?;
    eprintln!("paused: sent {sent} in {} ms, received {read} in all, dropped {dropped}", taken.as_millis());
    ensure!(dropped > 0, "twice the ring was sent to a sensor that did not read");
    let table = sensor.agent(&["status"])?;
    ensure!(table.contains(&dropped.to_string()), "{table}");
    Ok(())
}

#[test]
fn what_is_sent_is_read_or_counted_and_two_workers_find_what_one_finds() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdrate")?;
    lay_line(&network)?;
    let (names, frames) = conversations(count_from_environment("VEDETTA_CONVERSATIONS", 600));
    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let mut collector = centre.start()?;
    centre.sign(&names, "keys", "repository")?;
    centre.push("repository")?;
    let sensor = Sensor::configure(&network.gateway, Path::new(&folder.path().join("sensor")))?;
    sensor.enrol(&centre, "Borgo Chiaro")?;

    let places = (&network, &centre);
    let alone = run(places, (&sensor, 1), (&names, &frames))?;
    let shared = run(places, (&sensor, 2), (&names, &frames))?;
    let missing: Vec<_> = alone.difference(&shared).collect();
    let more: Vec<_> = shared.difference(&alone).collect();
    assert!(missing.is_empty() && more.is_empty(), "only one: {missing:#?}, only two: {more:#?}");
    assert_eq!(collector.stop()?, Some(0));
    Ok(())
}

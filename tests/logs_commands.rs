//! `vedetta-agent logs` as people and scripts use it, and what `replay` makes of logs: who attacks whom, also across a
//! translation and behind a proxy, and a capture and a log of one conversation.

#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "tests may")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use vedetta_tests::netlab::program::binary;

const UFW: &str = "Nov 22 10:00:00 gw kernel: [UFW BLOCK] IN=wan0 OUT= SRC=203.0.113.5 DST=192.0.2.9 PROTO=TCP SPT=4000 DPT=22";
const FREE: &str = "something met cattivo.example";

fn agent(arguments: &[&str], folder: &Path) -> Result<Output> {
    let mut command = Command::new(binary("vedetta-agent")?);
    Ok(command.args(arguments).current_dir(folder).stdin(Stdio::null()).output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn each_line_says_what_it_is_and_what_was_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("fw.log"), format!("{UFW}\n{FREE}\nnothing \u{1b}[2J\n"))?;
    let output = agent(&["logs", "test", "fw.log"], folder.path())?;
    let (shown, told) = (text(&output.stdout), text(&output.stderr));
    ensure!(output.status.success(), "{told}");
    for expected in
        ["1  netfilter", "log.src 203.0.113.5 port 4000", "2  no known format", "log.domain cattivo.example"]
    {
        ensure!(shown.contains(expected), "no {expected:?} in\n{shown}");
    }
    ensure!(!shown.contains('\u{1b}'), "a terminal would obey the line: {shown:?}");
    ensure!(told.contains("netfilter") && told.contains("33.3 %") && told.contains("--unknown"), "{told}");

    let output = agent(&["logs", "test", "--json", "--unknown", "--limit", "1", "fw.log"], folder.path())?;
    let lines: Vec<Value> =
        text(&output.stdout).lines().map(serde_json::from_str).collect::<serde_json::Result<_>>()?;
    ensure!(lines.len() == 1 && lines[0]["line"] == 2 && lines[0]["format"].is_null(), "{lines:?}");
    ensure!(lines[0]["sightings"][0]["value"] == "cattivo.example", "{lines:?}");
    Ok(())
}

#[test]
fn what_cannot_be_read_is_named_and_the_rest_is_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("fw.log"), format!("{UFW}\n"))?;
    fs::write(
        folder.path().join("capture.pcap"),
        b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x01\0\0\0",
    )?;
    for wrong in ["missing.log", ".", "capture.pcap"] {
        let output = agent(&["logs", "test", "--summary", wrong, "fw.log"], folder.path())?;
        ensure!(output.status.code() == Some(1), "{wrong}: {output:?}");
        ensure!(
            text(&output.stderr).contains(wrong) && text(&output.stdout).contains("netfilter"),
            "{output:?}"
        );
    }
    ensure!(agent(&["logs", "test"], folder.path())?.status.code() == Some(2));
    Ok(())
}

/// Hits of these lines with everything that can be seen looked for.
fn replay(lines: &[&str], indicators: &[&str], further: &[&str]) -> Result<Vec<Value>> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("gw.log"), lines.join("\n"))?;
    fs::write(folder.path().join("list.txt"), indicators.join("\n"))?;
    let mut arguments = vec!["replay", "--indicators", "list.txt"];
    arguments.extend(further);
    arguments.push("gw.log");
    let output = agent(&arguments, folder.path())?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let hits: serde_json::Result<Vec<Value>> =
        text(&output.stdout).lines().map(serde_json::from_str).collect();
    hits.context("a hit that is no JSON")
}

fn parties(hit: &Value) -> String {
    format!("{} {} {}", hit["direction"], hit["host"], hit["remote"]).replace('"', "")
}

#[test]
fn a_firewalls_line_tells_origin_and_translation() -> Result<()> {
    let dnat = "date=2026-11-22 time=10:00:00 devname=\"fw\" devid=\"FGT0\" logid=\"0000000013\" type=\"traffic\" subtype=\"forward\" srcip=203.0.113.5 srcport=40001 dstip=192.0.2.1 dstport=443 proto=6 action=\"accept\" trandisp=\"dnat\" tranip=10.10.10.40 tranport=8443";
    let hits =
        replay(&[dnat], &["203.0.113.5"], &["--home-net", "10.0.0.0/8", "--home-net", "192.0.2.0/24"])?;
    ensure!(hits.len() == 1, "{hits:?}");
    let hit = &hits[0];
    ensure!(parties(hit) == "inbound 10.10.10.40 203.0.113.5", "{hit}");
    ensure!(hit["nat"]["outer"] == "192.0.2.1" && hit["nat"]["by"] == "log", "{hit}");
    let flow = &hit["logged"]["flow"];
    ensure!(flow["src_port"] == 40001 && flow["dst"] == "10.10.10.40" && flow["dst_port"] == 8443, "{hit}");
    ensure!(hit["logged"]["format"] == "fortigate", "{hit}");
    Ok(())
}

#[test]
fn an_origin_that_is_hidden_is_not_made_up() -> Result<()> {
    let line = "kernel: IN=wan0 OUT=lan0 SRC=100.64.7.9 DST=192.0.2.9 PROTO=TCP SPT=4000 DPT=22";
    let hits = replay(&[line], &["192.0.2.9"], &["--home-net", "192.0.2.0/24"])?;
    ensure!(hits.len() == 1 && parties(&hits[0]) == "inbound 192.0.2.9 null", "{hits:?}");
    ensure!(hits[0]["notes"][0] == "origin_masked", "{hits:?}");
    Ok(())
}

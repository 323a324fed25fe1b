//! Detection as data: each folder of `golden` is a capture or a log written as text, the indicators looked for,
//! and the hits that `vedetta-agent replay` must print, byte for byte.
//!
//! `UPDATE_GOLDEN=1` writes what is printed into the folders, to be read before it is committed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use vedetta_tests::netlab::program::binary;
use vedetta_tests::seed::Seed;
use vedetta_tests::{capture_file, scene};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Puts the input of a folder where the agent will read it; the name is part of every hit.
fn place_input(folder: &Path, into: &Path) -> Result<&'static str> {
    let log = folder.join("gateway.log");
    if log.is_file() {
        // A log is read at the time when it was last written to.
        let copy = fs::File::create(into.join("gateway.log"))?;
        std::io::copy(&mut fs::File::open(log)?, &mut &copy)?;
        copy.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(capture_file::BEGIN_SECONDS))?;
        return Ok("gateway.log");
    }
    let packets = scene::packets(&fs::read_to_string(folder.join("scene.txt"))?, &mut Seed::new(1))?;
    capture_file::write(fs::File::create(into.join("lan.pcap"))?, &packets)?;
    Ok("lan.pcap")
}

fn replay(folder: &Path, input: &str) -> Result<Output> {
    let agent = binary("vedetta-agent")?;
    let mut command = Command::new(agent);
    command.args(["replay", "--home-net", "192.0.2.0/24", "--home-net", "2001:db8:10::/48", "--indicators"]);
    Ok(command.args(["indicators.txt", input]).current_dir(folder).output()?)
}

/// Replays a folder twice; both times the same hits come out, and they are the expected ones.
fn check(folder: &Path) -> Result<()> {
    let place = tempfile::tempdir()?;
    fs::copy(folder.join("indicators.txt"), place.path().join("indicators.txt"))?;
    let input = place_input(folder, place.path())?;
    let output = replay(place.path(), input)?;
    let said = String::from_utf8(output.stdout)?;
    let summary = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{}: {summary}", output.status);
    ensure!(!summary.trim().is_empty(), "a summary goes to standard error");
    let again = String::from_utf8(replay(place.path(), input)?.stdout)?;
    let expected = folder.join("expected.jsonl");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&expected, &said)?;
    }
    let wanted =
        fs::read_to_string(&expected).context("no expected.jsonl: run with UPDATE_GOLDEN=1 and read it")?;
    ensure!(said == wanted, "printed:\n{said}\nexpected:\n{wanted}");
    ensure!(said == again, "a second run prints something else:\n{again}");
    Ok(())
}

#[test]
fn every_folder_gives_its_hits_and_gives_them_again() -> Result<()> {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(golden())?.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>()?;
    folders.sort();
    let failures: Vec<String> = folders
        .iter()
        .filter_map(|folder| check(folder).err().map(|error| format!("{}: {error:#}", folder.display())))
        .collect();
    ensure!(folders.len() >= 6, "only {} folders", folders.len());
    ensure!(failures.is_empty(), "{}", failures.join("\n\n"));
    Ok(())
}

#[test]
fn what_is_seen_without_indicators_is_the_contract() -> Result<()> {
    let place = tempfile::tempdir()?;
    let input = place_input(&golden().join("names-in-traffic"), place.path())?;
    let output =
        Command::new(binary("vedetta-agent")?).args(["observe", input]).current_dir(place.path()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let first = String::from_utf8(output.stdout)?;
    let asked = first.lines().find(|line| line.contains("dns.query")).context("no question was seen")?;
    let expected = concat!(
        r#"{"at":"2026-11-22T10:00:00.000000Z","input":"lan.pcap","kind":"domain","value":"www.cattivo.example","#,
        r#""seen_in":"dns.query","flow":{"proto":"udp","src":"192.0.2.10","src_port":40000,"#,
        r#""dst":"198.51.100.53","dst_port":53}"#
    );
    ensure!(asked.starts_with(expected), "{asked}");
    Ok(())
}

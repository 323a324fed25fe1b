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

/// The same indicators from a signed repository: the hits name the bundle, and a changed byte ends it all.
#[test]
fn a_signed_bundle_is_replayed_and_an_altered_one_refused() -> Result<()> {
    let place = tempfile::tempdir()?;
    let folder = golden().join("names-in-traffic");
    fs::copy(folder.join("indicators.txt"), place.path().join("indicators.txt"))?;
    let input = place_input(&folder, place.path())?;
    let desk = |arguments: &[&str]| -> Result<()> {
        let output =
            Command::new(binary("vedetta-cosc")?).args(arguments).current_dir(place.path()).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    };
    desk(&["keygen", "--out", "keys"])?;
    desk(&["bundle", "--issuer", "cosc-esempio", "--serial", "7", "--out", "7.jsonl.zst", "indicators.txt"])?;
    desk(&["sign", "--keys", "keys", "--repository", "repository", "7.jsonl.zst"])?;
    let replay = || -> Result<Output> {
        let mut command = Command::new(binary("vedetta-agent")?);
        command.args(["replay", "--home-net", "192.0.2.0/24", "--home-net", "2001:db8:10::/48"]);
        command.args(["--bundle", "repository", "--root", "keys/1.root.json", input]);
        Ok(command.current_dir(place.path()).output()?)
    };
    let good = replay()?;
    let said = String::from_utf8(good.stdout)?;
    let expected = fs::read_to_string(folder.join("expected.jsonl"))?;
    ensure!(said.lines().count() == expected.lines().count(), "other hits than of the plain list:\n{said}");
    ensure!(said.lines().all(|hit| hit.contains(r#""bundle":7"#)), "{said}");
    for entry in fs::read_dir(place.path().join("repository/targets"))? {
        let path = entry?.path();
        let mut bytes = fs::read(&path)?;
        if let Some(byte) = bytes.last_mut() {
            *byte ^= 1;
        }
        fs::write(path, bytes)?;
    }
    let altered = replay()?;
    ensure!(!altered.status.success() && altered.stdout.is_empty(), "an altered bundle was used");
    let why = String::from_utf8_lossy(&altered.stderr).into_owned();
    ensure!(why.contains("altered"), "{why}");
    Ok(())
}

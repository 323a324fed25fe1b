//! A wrong configuration or wrong usage is one sentence with file, key and what is expected, and an exit code.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Result, ensure};
use vedetta_tests::netlab::program::binary;

fn run(program: &str, arguments: &[&str], folder: &Path) -> Result<Output> {
    Ok(Command::new(binary(program)?).args(arguments).current_dir(folder).output()?)
}

/// The configuration is refused with 78 and a sentence with all of these words.
fn check(program: &str, text: &str, words: &[&str]) -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("wrong.toml"), text)?;
    for command in ["check-config", "run"] {
        let output = run(program, &[command, "--config", "wrong.toml"], folder.path())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let told = words.iter().chain(&["wrong.toml"]).all(|word| said.contains(word));
        ensure!(output.status.code() == Some(78), "{program} {command}: {}: {said}\n{text}", output.status);
        ensure!(told, "{program} {command}: expected {words:?} in {said:?}");
    }
    Ok(())
}

#[test]
fn the_agent_names_file_key_and_what_it_expects() -> Result<()> {
    for (text, words) in [
        ("home_network = [\"192.0.2.0/24\"]\n", &["home_network"][..]),
        ("home_networks = [\"192.0.2.0/33\"]\n", &["home_networks", "192.0.2.0/33", "expected"]),
        ("[detection]\ncooldown_seconds = \"five\"\n", &["cooldown_seconds"]),
        ("[detection]\nflows_max = 0\n", &["flows_max", "expected"]),
        ("[capture]\ninterfaces = [\"lan0\"\n", &["line"]),
    ] {
        check("vedetta-agent", text, words)?;
    }
    Ok(())
}

#[test]
fn the_collector_names_file_key_and_what_it_expects() -> Result<()> {
    for (text, words) in [
        ("[ingest]\nlisten = \"everywhere\"\n", &["listen", "everywhere", "expected"][..]),
        ("[ingest]\nport = 4740\n", &["port"]),
        ("[console]\nlisten = 8443\n", &["listen"]),
        ("[ingest]\npublic_addresses = [\"no port\"]\n", &["public_addresses", "expected"]),
    ] {
        check("vedetta-collector", text, words)?;
    }
    Ok(())
}

#[test]
fn a_missing_configuration_is_a_wrong_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for program in ["vedetta-agent", "vedetta-collector"] {
        let output = run(program, &["check-config", "--config", "nowhere.toml"], folder.path())?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(78) && said.contains("nowhere.toml"), "{program}: {said}");
    }
    Ok(())
}

#[test]
fn the_packages_configuration_is_right() -> Result<()> {
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    for (program, file) in [("vedetta-agent", "agent.toml"), ("vedetta-collector", "collector.toml")] {
        let output = run(program, &["check-config", "--config", file], &packaging)?;
        ensure!(output.status.success(), "{file}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

#[test]
fn wrong_usage_is_two_and_help_is_none() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for program in ["vedetta-agent", "vedetta-collector", "vedetta-cosc"] {
        for arguments in [&["dance"][..], &["--no-such-option"], &[]] {
            let code = run(program, arguments, folder.path())?.status.code();
            ensure!(code == Some(2), "{program} {arguments:?}: {code:?}");
        }
        ensure!(run(program, &["--help"], folder.path())?.status.success(), "{program} --help");
    }
    let code = run("vedetta-agent", &["replay"], folder.path())?.status.code();
    ensure!(code == Some(2), "replay without input: {code:?}");
    Ok(())
}

#[test]
fn an_input_that_cannot_be_read_is_named_and_the_rest_is_read() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("list.txt"), "203.0.113.66\n")?;
    fs::write(folder.path().join("a.log"), "from 203.0.113.66\n")?;
    fs::write(folder.path().join("cut.pcap"), b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00\x00")?;
    let arguments = ["replay", "--indicators", "list.txt", "missing.pcap", "cut.pcap", "a.log"];
    let output = run("vedetta-agent", &arguments, folder.path())?;
    let (said, hits) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
    ensure!(said.contains("missing.pcap") && said.contains("cut.pcap"), "{said}");
    ensure!(hits.lines().count() == 1 && hits.contains("\"input\":\"a.log\""), "{hits}");
    Ok(())
}

#[test]
fn a_list_that_cannot_be_read_is_named_with_its_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::write(folder.path().join("list.txt"), "# fine\n203.0.113.66\nnot an indicator at all\n")?;
    fs::write(folder.path().join("a.log"), "from 203.0.113.66\n")?;
    let output = run("vedetta-agent", &["replay", "--indicators", "list.txt", "a.log"], folder.path())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(said.contains("list.txt") && said.contains('3'), "{}: {said}", output.status);
    let output = run("vedetta-agent", &["replay", "--indicators", "gone.txt", "a.log"], folder.path())?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("gone.txt"), "{}: {said}", output.status);
    Ok(())
}

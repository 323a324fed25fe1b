//! Broken surroundings on a real machine: a busy port, no permission to capture. Each is a sentence that says
//! what to do. Disks have a file of their own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedetta_tests::netlab::deployment::{Centre, Sensor};
use vedetta_tests::netlab::network::Network;
use vedetta_tests::netlab::program::{Program, binary, run};

const NOBODY: &str = "65534";

#[test]
fn a_busy_port_is_named_with_what_to_do() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdbusy")?;
    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let _first = centre.start()?;
    let refused =
        format!("{:#}", centre.collector(&["run"]).err().context("a second one runs beside the first")?);
    ensure!(refused.contains("4740") && refused.contains("listen"), "{refused}");
    ensure!(refused.contains("in use") || refused.contains("another"), "{refused}");
    Ok(())
}

#[test]
fn without_the_capability_the_agent_says_how_to_get_it() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdperm")?;
    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let _collector = centre.start()?;
    let sensor = Sensor::configure(&network.gateway, &folder.path().join("sensor"))?;
    sensor.enrol(&centre, "Borgo Chiaro")?;
    run(Command::new("chown").args(["--recursive", NOBODY]).arg(folder.path()))?;
    // Entering the namespace needs root, so the privileges are dropped inside it.
    let mut inside = network.gateway.command(Path::new("setpriv"));
    inside.args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups", "--bounding-set=-all"]);
    inside.arg(readable_copy("vedetta-agent", folder.path())?);
    inside.arg("run").arg("--config").arg(sensor.folder.join("agent.toml"));
    let mut agent = Program::start(&mut inside, &sensor.folder.join("agent.log"))?;
    agent.wait_for_line(&["permission to capture on lan0", "cap_net_raw"], 20)?;
    Ok(())
}

/// A program where everybody may execute it: the build's folder may be nobody else's to enter.
fn readable_copy(name: &str, folder: &Path) -> Result<PathBuf> {
    let copy = folder.join(name);
    fs::copy(binary(name)?, &copy)?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder, Clone::clone(&mode))?;
    fs::set_permissions(&copy, mode)?;
    Ok(copy)
}

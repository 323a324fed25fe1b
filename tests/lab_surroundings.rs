//! Broken surroundings on a real machine: a busy port, no permission to capture, a full disk. Each is a sentence
//! that says what to do, and none loses a hit.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedetta_tests::netlab::deployment::{Centre, Sensor};
use vedetta_tests::netlab::network::Network;
use vedetta_tests::netlab::program::{Program, binary, run};
use vedetta_tests::netlab::wait_for;

const IN_THE_LOG: &str = "198.51.100.77";
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

/// A small file system in memory, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn new(path: PathBuf) -> Result<Self> {
        fs::create_dir_all(&path)?;
        run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(&path))?;
        Ok(Self(path))
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> Result<PathBuf> {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path)?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(path)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_is_said_and_the_hit_arrives_when_there_is_room() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new("vdfull")?;
    let centre = Centre::set_up(&network.centre, &folder.path().join("centre"))?;
    let _collector = centre.start()?;
    centre.sign(&[IN_THE_LOG.to_owned()], "keys", "repository")?;
    centre.push("repository")?;
    let sensor = Sensor::configure(&network.gateway, &folder.path().join("sensor"))?;
    let disk = SmallDisk::new(sensor.folder.join("state"))?;
    sensor.enrol(&centre, "Borgo Chiaro")?;
    let mut agent = sensor.start()?;
    wait_for("the bundle", 30, || Ok((sensor.status()?["bundle"]["serial"] == 1).then_some(())))?;

    let filler = disk.fill()?;
    let mut log = fs::File::options().append(true).open(sensor.town_log())?;
    writeln!(log, "Nov 22 10:00:00 gw sshd[7]: Failed password for root from {IN_THE_LOG} port 1 ssh2")?;
    agent.wait_for_line(&["no space left", "free some"], 30)?;
    ensure!(centre.hits()?.is_empty(), "a hit arrived that was never safe");

    fs::remove_file(filler)?;
    let hits = wait_for("the hit", 60, || {
        let hits = centre.hits()?;
        Ok((!hits.is_empty()).then_some(hits))
    })
    .with_context(|| agent.log())?;
    ensure!(hits.len() == 1, "{hits:?}");
    ensure!(agent.stop()? == Some(0), "{}", agent.log());
    Ok(())
}

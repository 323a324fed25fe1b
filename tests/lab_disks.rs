//! Disks that fail under the agent's state while hits come: full, without inodes, turned
//! read-only, on a device that takes nothing more. The agent keeps detecting and says what is wrong; with room again, every hit arrives once.

#![allow(clippy::indexing_slicing, reason = "tests may")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use vedetta_tests::netlab::deployment::{Deployed, Sensor};
use vedetta_tests::netlab::network::{Network, OUTSIDE};
use vedetta_tests::netlab::program::{Program, run};
use vedetta_tests::netlab::traffic;
use vedetta_tests::netlab::wait_for;

/// Hits of each part of a story: while all is well, while the disk fails, afterwards.
const LINES: usize = 300;
/// Files and folders of a disk that has few.
const INODES: usize = 200;
/// More than the spool, the state and a bundle need.
const DISK_BYTES: u64 = 24 << 20;

/// A file system of its own below the sensor's folder, unmounted when dropped.
struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    fn mounted(path: PathBuf, arguments: &[&str]) -> Result<Self> {
        fs::create_dir_all(&path)?;
        run(Command::new("mount").args(arguments).arg(&path))?;
        Ok(Self { path })
    }

    /// In memory; `options` of tmpfs(5).
    fn in_memory(path: PathBuf, options: &str) -> Result<Self> {
        Self::mounted(path, &["-t", "tmpfs", "-o", options, "tmpfs"])
    }

    /// Writes until nothing more fits.
    fn fill(&self) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.filler())?;
        while file.write_all(&[0; 4096]).is_ok() {}
        Ok(())
    }

    fn filler(&self) -> PathBuf {
        self.path.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["--lazy"]).arg(&self.path).output();
    }
}

/// ext4 on a device that promises more than the memory behind it can keep: once that is full, the device answers
/// writes with EIO, as a dying disk does.
struct BlockDevice {
    image: PathBuf,
    disk: Option<SmallDisk>,
    backing: SmallDisk,
}

impl BlockDevice {
    fn new(folder: &Path, path: PathBuf) -> Result<Self> {
        let backing = SmallDisk::in_memory(folder.join("backing"), "size=64m")?;
        let image = backing.path.join("image");
        File::create(&image)?.set_len(DISK_BYTES)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        let mut device = Self { image, disk: None, backing };
        device.mount(path)?;
        Ok(device)
    }

    fn mount(&mut self, path: PathBuf) -> Result<()> {
        let image = self.image.display().to_string();
        self.disk = Some(SmallDisk::mounted(path, &["-o", "loop", &image])?);
        Ok(())
    }

    /// From here on the device has no place for what was not written before.
    fn run_out(&self) -> Result<()> {
        self.backing.fill()
    }

    /// What the kernel does with a file system whose journal it cannot trust (ext4(5), `errors=remount-ro`).
    fn abort(&self) -> Result<()> {
        let path = &self.disk.as_ref().context("it is not mounted")?.path;
        run(Command::new("mount").args(["-o", "remount,abort"]).arg(path))?;
        Ok(())
    }

    /// What an administrator does: mends the device, has the file system checked, mounts it again.
    fn mend(&mut self) -> Result<()> {
        let path = self.disk.take().map(|disk| disk.path.clone()).context("it is not mounted")?;
        if self.backing.filler().exists() {
            fs::remove_file(self.backing.filler())?;
        }
        let checked = Command::new("e2fsck").args(["-f", "-y"]).arg(&self.image).output()?;
        ensure!(checked.status.code() <= Some(1), "{checked:?}");
        self.mount(path)
    }
}

/// What is looked for: names of the three parts of the log, and those of packets while the disk fails.
struct Names {
    lines: [Vec<String>; 3],
    live: Vec<String>,
}

impl Names {
    fn new() -> Self {
        let made = |part: &str, count| -> Vec<String> {
            (0..count).map(|number| format!("n{number}.{part}.example")).collect()
        };
        Self { lines: ["prima", "durante", "dopo"].map(|part| made(part, LINES)), live: made("vivo", 40) }
    }

    fn all(&self) -> Vec<String> {
        self.lines.iter().chain([&self.live]).flatten().cloned().collect()
    }
}

fn log(sensor: &Sensor<'_>, names: &[String]) -> Result<()> {
    let mut file = File::options().append(true).open(sensor.town_log())?;
    for name in names {
        writeln!(file, "Nov 22 10:00:00 gw dnsmasq[9]: query[A] {name} from 192.0.2.10")?;
    }
    Ok(())
}

/// The town's host asks for each name; nobody answers.
fn ask(network: &Network, names: &[String]) -> Result<()> {
    let packets: Vec<Vec<u8>> = names.iter().map(|name| traffic::question(name)).collect();
    network.host.inside(move || {
        for packet in packets {
            let socket = UdpSocket::bind("192.0.2.10:0")?;
            socket.send_to(&packet, (OUTSIDE, 53))?;
        }
        Ok(())
    })
}

fn waits(sensor: &Sensor<'_>, records: usize) -> Result<()> {
    wait_for(&format!("{records} hits in the spool"), 60, || {
        let status = sensor.status()?;
        ensure!(status["spool"]["records"].as_u64() >= Some(records as u64), "{}", status["spool"]);
        Ok(Some(()))
    })
}

/// Lets the disk fail until `status` tells of it: room that the agent held in reserve is taken as well.
fn fail_until_told(sensor: &Sensor<'_>, words: &[&str], fail: impl Fn() -> Result<()>) -> Result<()> {
    wait_for(&format!("trouble with {words:?}"), 60, || {
        fail()?;
        let status = sensor.status()?;
        let trouble = status["spool"]["trouble"].as_str().context("no word of the disk")?.to_lowercase();
        ensure!(words.iter().all(|word| trouble.contains(word)), "{trouble:?}");
        Ok(Some(()))
    })
}

/// Waits for a hit of every name, and sees that there is one of each.
fn each_once(deployed: &Deployed<'_>, names: &[String]) -> Result<()> {
    let hits = wait_for("a hit of every name", 120, || {
        let hits = deployed.centre.hits()?;
        ensure!(hits.len() >= names.len(), "{} of {}", hits.len(), names.len());
        Ok(Some(hits))
    })
    .with_context(|| deployed.agent.log())?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for hit in &hits {
        *counts.entry(hit["value"].as_str().context("a hit without value")?).or_default() += 1;
    }
    let wrong: Vec<&String> = names.iter().filter(|name| counts.get(name.as_str()) != Some(&1)).collect();
    ensure!(wrong.is_empty() && hits.len() == names.len(), "not once: {wrong:?}");
    Ok(())
}

/// Hits are spooled while the collector is down; then the disk fails under more of them, of lines and of packets;
/// then it is well again and the collector is back.
fn endure(
    name: &str,
    options: &str,
    fail: fn(&SmallDisk) -> Result<()>,
    mend: fn(&SmallDisk) -> Result<()>,
    words: &[&str],
) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let network = Network::new(name)?;
    let sensor = Sensor::configure(&network.gateway, &folder.path().join("sensor"))?;
    let disk = SmallDisk::in_memory(sensor.folder.join("state"), options)?;
    let names = Names::new();
    let mut deployed = Deployed::with(&network, folder.path(), sensor, &names.all())?;
    deployed.collector.stop()?;
    let [before, during, after] = &names.lines;
    log(&deployed.sensor, before)?;
    waits(&deployed.sensor, LINES)?;

    fail(&disk)?;
    log(&deployed.sensor, during)?;
    ask(&network, &names.live)?;
    fail_until_told(&deployed.sensor, words, || fail(&disk)).with_context(|| deployed.agent.log())?;

    mend(&disk)?;
    log(&deployed.sensor, after)?;
    deployed.collector = deployed.centre.start()?;
    each_once(&deployed, &names.all())?;
    let status = deployed.sensor.status()?;
    ensure!(status["spool"]["trouble"] == "" && status["spool"]["hits_lost"] == 0, "{}", status["spool"]);
    ensure!(deployed.agent.stop()? == Some(0), "{}", deployed.agent.log());
    Ok(())
}

#[test]
fn a_full_disk_loses_no_hit() -> Result<()> {
    let free = |disk: &SmallDisk| Ok(fs::remove_file(disk.filler())?);
    endure("vdfull", &format!("size={DISK_BYTES}"), SmallDisk::fill, free, &["no space", "free"])
}

#[test]
fn a_disk_without_inodes_loses_no_hit() -> Result<()> {
    let take_all = |disk: &SmallDisk| {
        let folder = disk.path.join("fillers");
        fs::create_dir_all(&folder)?;
        let mut names = (0..INODES).map(|number| folder.join(number.to_string()));
        ensure!(names.any(|name| File::create(name).is_err()), "there is no end of inodes");
        Ok(())
    };
    let give_back = |disk: &SmallDisk| Ok(fs::remove_dir_all(disk.path.join("fillers"))?);
    endure("vdinode", &format!("size={DISK_BYTES},nr_inodes={INODES}"), take_all, give_back, &[])
}

/// As [`endure`], with a file system that is dead until it is mounted anew, and for that the agent must let go of it.
fn outlive(name: &str, fail: fn(&BlockDevice) -> Result<()>, words: &[&str]) -> Result<()> {
    if !Path::new("/dev/loop-control").exists() {
        eprintln!("NOT TESTED: this machine has no loop devices (modprobe loop)");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let network = Network::new(name)?;
    let sensor = Sensor::configure(&network.gateway, &folder.path().join("sensor"))?;
    let mut device = BlockDevice::new(folder.path(), sensor.folder.join("state"))?;
    let names = Names::new();
    let mut deployed = Deployed::with(&network, folder.path(), sensor, &names.all())?;
    deployed.collector.stop()?;
    let [before, during, after] = &names.lines;
    log(&deployed.sensor, before)?;
    waits(&deployed.sensor, LINES)?;

    fail(&device)?;
    log(&deployed.sensor, during)?;
    fail_until_told(&deployed.sensor, words, || Ok(())).with_context(|| deployed.agent.log())?;

    // Killed, as systemd does with what a dead disk may hold.
    let nobody = Program::start(&mut Command::new("true"), &folder.path().join("nobody.log"))?;
    std::mem::replace(&mut deployed.agent, nobody).kill()?;
    device.mend()?;
    deployed.agent = deployed.sensor.start()?;
    log(&deployed.sensor, after)?;
    deployed.collector = deployed.centre.start()?;
    each_once(&deployed, &names.lines.concat())?;
    ensure!(deployed.agent.stop()? == Some(0), "{}", deployed.agent.log());
    Ok(())
}

#[test]
fn a_device_that_takes_nothing_more_loses_no_line_nor_what_was_safe() -> Result<()> {
    outlive("vdeio", BlockDevice::run_out, &["cannot"])
}

#[test]
fn a_file_system_that_turned_read_only_loses_no_line_nor_what_was_safe() -> Result<()> {
    outlive("vdro", BlockDevice::abort, &["cannot"])
}

//! A Debian 12 of its own, made by mmdebstrap and booted by systemd-nspawn without any network but loopback.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;

use crate::netlab::program::run;
use crate::netlab::wait_for;

/// What a town's gateway or a centre has before Vedetta is installed.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,libpcap0.8,ca-certificates,iproute2,procps";

/// A running container; powered off and deleted when dropped.
#[derive(Debug)]
pub struct Container {
    name: String,
    nspawn: Child,
    leader: u32,
    root: PathBuf,
    log: PathBuf,
}

impl Container {
    /// Unpacks a fresh Debian 12 below `folder` and boots it. The archive is made once and kept in `cache`.
    ///
    /// # Errors
    /// When this is not root, a tool is missing, or the container does not come up; its console is in the error.
    pub fn boot(name: &str, folder: &Path, cache: &Path) -> anyhow::Result<Self> {
        anyhow::ensure!(
            nix::unistd::geteuid().is_root(),
            "systemd-nspawn needs root (tests/run.sh sees to it)"
        );
        let archive = cache.join("debian12.tar");
        if !archive.is_file() {
            std::fs::create_dir_all(cache)?;
            let half = cache.join("debian12.half.tar");
            let include = format!("--include={PACKAGES}");
            run(Command::new("mmdebstrap").args(["--variant=minbase", &include, "bookworm"]).arg(&half))?;
            std::fs::rename(half, &archive)?;
        }
        let root = folder.join("root");
        std::fs::create_dir_all(&root)?;
        run(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&root))?;
        let log = folder.join("console.log");
        let (nspawn, leader) = start(name, &root, &log)?;
        let container = Self { name: name.into(), nspawn, leader, root, log };
        container.wait()?;
        Ok(container)
    }

    /// Shuts it down and starts it anew, with another boot ID.
    ///
    /// # Errors
    /// When it does not end or does not come up again; its console is in the error.
    pub fn reboot(&mut self) -> anyhow::Result<()> {
        self.shell("systemctl poweroff --no-block")?;
        wait_for("the container's end", 60, || Ok(self.nspawn.try_wait()?))?;
        (self.nspawn, self.leader) = start(&self.name, &self.root, &self.log)?;
        self.wait()
    }

    fn wait(&self) -> anyhow::Result<()> {
        wait_for("the container's systemd", 60, || {
            let state = self.shell("systemctl is-system-running --wait || true")?;
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        })
        .with_context(|| self.console())
    }

    /// Its file system, as seen from here.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// What it printed on its console.
    pub fn console(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Runs a line of shell inside as root and returns what it printed.
    ///
    /// # Errors
    /// When it does not end with 0; its words are in the error.
    pub fn shell(&self, line: &str) -> anyhow::Result<String> {
        let leader = self.leader.to_string();
        run(Command::new("nsenter").args(["--target", &leader, "--all", "--", "/bin/bash", "-euc", line]))
    }
}

/// Boots what lies in `root`; gives systemd-nspawn and the container's first process.
fn start(name: &str, root: &Path, log: &Path) -> anyhow::Result<(Child, u32)> {
    let console = File::create(log)?;
    let mut nspawn = Command::new("systemd-nspawn")
        .arg(format!("--directory={}", root.display()))
        .arg(format!("--machine={name}"))
        .args(["--boot", "--private-network", "--register=no", "--keep-unit", "--quiet", "--console=pipe"])
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .context("systemd-nspawn (Debian package systemd-container)")?;
    let children = format!("/proc/{0}/task/{0}/children", nspawn.id());
    let leader = wait_for("the container's first process", 30, || {
        if let Some(status) = nspawn.try_wait()? {
            anyhow::bail!("systemd-nspawn ended: {status}");
        }
        let text = std::fs::read_to_string(&children)?;
        // Before it there is a child that only sets up.
        let is_systemd = |pid: &u32| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "systemd")
        };
        Ok(text.split_whitespace().filter_map(|pid| pid.parse().ok()).find(is_systemd))
    });
    match leader {
        Ok(leader) => Ok((nspawn, leader)),
        Err(error) => {
            let _ = nspawn.kill();
            Err(error.context(std::fs::read_to_string(log).unwrap_or_default()))
        }
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = self.shell("systemctl poweroff");
        let ended = wait_for("the container's end", 20, || Ok(self.nspawn.try_wait()?));
        if ended.is_err() {
            let _ = self.nspawn.kill();
            let _ = self.nspawn.wait();
        }
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

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
        let console = File::create(&log)?;
        let mut nspawn = Command::new("systemd-nspawn")
            .arg(format!("--directory={}", root.display()))
            .arg(format!("--machine={name}"))
            .args([
                "--boot",
                "--private-network",
                "--register=no",
                "--keep-unit",
                "--quiet",
                "--console=pipe",
            ])
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
            Ok(text.split_whitespace().next().and_then(|pid| pid.parse().ok()))
        });
        let leader = match leader {
            Ok(leader) => leader,
            Err(error) => {
                let _ = nspawn.kill();
                return Err(error.context(std::fs::read_to_string(&log).unwrap_or_default()));
            }
        };
        let container = Self { nspawn, leader, root, log };
        wait_for("the container's systemd", 60, || {
            let state = container.shell("systemctl is-system-running --wait || true")?;
            Ok(matches!(state.trim(), "running" | "degraded").then_some(()))
        })
        .with_context(|| container.console())?;
        Ok(container)
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

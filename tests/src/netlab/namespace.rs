//! One host of the lab: a network namespace with its own addresses, routes and firewall.

use std::fs::File;
use std::process::Command;

use anyhow::Context as _;
use nix::sched::{CloneFlags, setns};

/// A network namespace, deleted with everything in it when dropped.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes an empty one with its loopback up. A left-over of the same name is replaced.
    ///
    /// # Errors
    /// When this is not root, or `ip` is missing.
    pub fn new(name: &str) -> anyhow::Result<Self> {
        anyhow::ensure!(
            nix::unistd::geteuid().is_root(),
            "the lab makes network namespaces: run it as root (tests/run.sh does)"
        );
        let _ = Command::new("ip").args(["netns", "delete", name]).output();
        run("ip", &["netns", "add", name])?;
        let namespace = Self { name: name.to_owned() };
        namespace.run("ip", &["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a command inside and waits for it.
    ///
    /// # Errors
    /// When it cannot be started or does not end with 0; its words are in the error.
    pub fn run(&self, program: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut inside = vec!["netns", "exec", self.name.as_str(), program];
        inside.extend_from_slice(arguments);
        run("ip", &inside)
    }

    /// A command that will run inside.
    pub fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name.as_str()]).arg(program);
        command
    }

    /// Runs a closure on a thread of its own that lives inside: its sockets belong to this host.
    ///
    /// # Errors
    /// When the namespace cannot be entered, or what the closure returns.
    pub fn inside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
    ) -> anyhow::Result<T> {
        let path = format!("/run/netns/{}", self.name);
        let thread = std::thread::spawn(move || {
            let file = File::open(&path).with_context(|| path.clone())?;
            setns(file, CloneFlags::CLONE_NEWNET).with_context(|| format!("enter {path}"))?;
            work()
        });
        thread.join().map_err(|_| anyhow::anyhow!("a thread of the lab panicked"))?
    }

    /// Joins this host and another by a virtual cable; each end has an interface name and an address.
    ///
    /// # Errors
    /// When `ip` refuses.
    pub fn connect(&self, here: (&str, &str), other: &Self, there: (&str, &str)) -> anyhow::Result<()> {
        let peer = ["peer", "name", there.0, "netns", other.name.as_str()];
        let mut arguments = vec!["link", "add", here.0, "netns", self.name.as_str(), "type", "veth"];
        arguments.extend_from_slice(&peer);
        run("ip", &arguments)?;
        for (host, (interface, address)) in [(self, here), (other, there)] {
            host.run("ip", &["address", "add", address, "dev", interface])?;
            host.run("ip", &["link", "set", interface, "up"])?;
        }
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_owned())?;
    anyhow::ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

//! A collector, a desk and a town's sensor, set up with the commands that their people type.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use serde_json::Value;

use super::namespace::Namespace;
use super::network::{CENTRE, LAN, Network};
use super::program::{Program, binary, run};
use super::wait_for;

/// The centre: a collector and the desk's keys, all in one folder.
#[derive(Debug)]
pub struct Centre<'a> {
    host: &'a Namespace,
    folder: PathBuf,
}

impl<'a> Centre<'a> {
    /// Makes the desk's keys and a collector that trusts them, and admits the desk.
    ///
    /// # Errors
    /// What one of the commands said.
    pub fn set_up(host: &'a Namespace, folder: &Path) -> anyhow::Result<Self> {
        let centre = Self { host, folder: folder.to_owned() };
        std::fs::create_dir_all(folder)?;
        std::fs::write(folder.join("password"), "una frase abbastanza lunga\n")?;
        std::fs::write(
            folder.join("collector.toml"),
            format!("state_dir = \"{}\"\n", folder.join("collector").display()),
        )?;
        centre.collector(&[
            "init",
            "--host",
            CENTRE,
            "--operator",
            "turno",
            "--operator-password-file",
            &centre.path("password"),
        ])?;
        std::fs::write(folder.join("online-key.json"), centre.collector(&["online-key"])?)?;
        centre.desk(&[
            "keygen",
            "--out",
            &centre.path("keys"),
            "--online-key",
            &centre.path("online-key.json"),
        ])?;
        centre.collector(&["trust-root", &centre.path("keys/1.root.json")])?;
        centre.desk(&["request", "--name", "cosc-esempio", "--out", &centre.path("desk")])?;
        let chain =
            centre.collector(&["admit-desk", &centre.path("desk/desk.req.pem"), "--name", "cosc-esempio"])?;
        std::fs::write(folder.join("desk/chain.pem"), chain)?;
        Ok(centre)
    }

    /// A path below the centre's folder, as an argument.
    pub fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// Runs a command of the collector's program inside the centre.
    ///
    /// # Errors
    /// What it said.
    pub fn collector(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.host.command(&binary("vedetta-collector")?);
        run(command.args(arguments).args(["--config", &self.path("collector.toml")]))
    }

    /// Runs a command of the desk's program inside the centre.
    ///
    /// # Errors
    /// What it said.
    pub fn desk(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(self.host.command(&binary("vedetta-cosc")?).args(arguments))
    }

    /// Starts the collector and waits until it serves.
    ///
    /// # Errors
    /// When it does not start; its log is in the error.
    pub fn start(&self) -> anyhow::Result<Program> {
        let mut command = self.host.command(&binary("vedetta-collector")?);
        command.args(["run", "--config", &self.path("collector.toml")]);
        let mut program = Program::start(&mut command, &self.folder.join("collector.log"))?;
        let port = || self.host.run("ss", &["-lunH"]).map(|sockets| sockets.contains(":4740").then_some(()));
        if let Err(error) = wait_for("the collector's port", 20, port) {
            let log = program.log();
            return Err(error.context(format!("{:?}\n{log}", program.wait_for_end(1))));
        }
        Ok(program)
    }

    /// Signs a bundle of these values with the keys of a folder, into a repository of another.
    ///
    /// # Errors
    /// What the desk said.
    pub fn sign(&self, values: &[String], keys: &str, repository: &str) -> anyhow::Result<()> {
        self.sign_with(values, keys, repository, &[])
    }

    /// The same, with more arguments of `bundle`.
    ///
    /// # Errors
    /// What the desk said.
    pub fn sign_with(
        &self,
        values: &[String],
        keys: &str,
        repository: &str,
        more: &[&str],
    ) -> anyhow::Result<()> {
        std::fs::create_dir_all(self.path(repository))?;
        let list = self.path(&format!("{repository}-values.txt"));
        let bundle = self.path(&format!("{repository}-bundle.jsonl.zst"));
        std::fs::write(&list, values.join("\n") + "\n")?;
        let _ = std::fs::remove_file(&bundle);
        let repository = self.path(repository);
        let made = [
            "bundle",
            "--issuer",
            "cosc-esempio",
            "--alert",
            "COSC-ESEMPIO-2026-0001",
            "--threat",
            "prova",
            "--severity",
            "high",
            "--repository",
            &repository,
            "--out",
            &bundle,
            &list,
        ];
        self.desk(&[&made, more].concat())?;
        self.desk(&["sign", "--keys", &self.path(keys), "--repository", &repository, &bundle])?;
        Ok(())
    }

    /// Pushes a repository to the running collector.
    ///
    /// # Errors
    /// What the desk or the collector said.
    pub fn push(&self, repository: &str) -> anyhow::Result<String> {
        self.push_as("desk", repository, &[])
    }

    /// The same, with the identity in a folder and more arguments.
    ///
    /// # Errors
    /// What the desk or the collector said.
    pub fn push_as(&self, identity: &str, repository: &str, more: &[&str]) -> anyhow::Result<String> {
        let collector = format!("{CENTRE}:4740");
        let (identity, repository) = (self.path(identity), self.path(repository));
        let push = ["push", "--collector", &collector, "--identity", &identity, "--repository", &repository];
        self.desk(&[&push, more].concat())
    }

    /// Makes an identity for a desk and has it admitted.
    ///
    /// # Errors
    /// What one of the commands said.
    pub fn admit(&self, identity: &str) -> anyhow::Result<()> {
        let name = format!("cosc-{identity}");
        self.desk(&["request", "--name", &name, "--out", &self.path(identity)])?;
        let request = self.path(&format!("{identity}/desk.req.pem"));
        let chain = self.collector(&["admit-desk", &request, "--name", &name])?;
        std::fs::write(self.path(&format!("{identity}/chain.pem")), chain)?;
        Ok(())
    }

    /// How far each sensor is with bundles, and as the last one what some towns have first.
    ///
    /// # Errors
    /// As [`Centre::hits`].
    pub fn bundles(&self) -> anyhow::Result<Vec<Value>> {
        json_lines(&self.collector(&["bundles", "--json"])?)
    }

    /// Every stored hit, as the collector prints it for scripts.
    ///
    /// # Errors
    /// When the collector's command fails or prints something else than JSON.
    pub fn hits(&self) -> anyhow::Result<Vec<Value>> {
        json_lines(&self.collector(&["hits", "--json"])?)
    }

    /// Every enrolled sensor.
    ///
    /// # Errors
    /// As [`Centre::hits`].
    pub fn agents(&self) -> anyhow::Result<Vec<Value>> {
        json_lines(&self.collector(&["agents", "--json"])?)
    }
}

fn json_lines(text: &str) -> anyhow::Result<Vec<Value>> {
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// A town's sensor on its gateway.
#[derive(Debug)]
pub struct Sensor<'a> {
    host: &'a Namespace,
    /// Its configuration, state, log of the program and the log file that it follows.
    pub folder: PathBuf,
}

impl<'a> Sensor<'a> {
    /// Writes a configuration that watches the town's side and one log file.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn configure(host: &'a Namespace, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let sensor = Self { host, folder: folder.to_owned() };
        std::fs::write(sensor.town_log(), "")?;
        std::fs::write(
            folder.join("agent.toml"),
            format!(
                "state_dir = \"{state}\"\ncontrol_socket = \"{socket}\"\nhome_networks = [\"192.0.2.0/24\"]\n\
                 [capture]\ninterfaces = [\"{LAN}\"]\n[logs]\nfiles = [\"{log}\"]\n",
                state = folder.join("state").display(),
                socket = folder.join("control.sock").display(),
                log = sensor.town_log().display(),
            ),
        )?;
        Ok(sensor)
    }

    /// The log file that the sensor follows.
    pub fn town_log(&self) -> PathBuf {
        self.folder.join("auth.log")
    }

    /// Runs a command of the agent's program on the gateway.
    ///
    /// # Errors
    /// What it said.
    pub fn agent(&self, arguments: &[&str]) -> anyhow::Result<String> {
        run(self.command()?.args(arguments).arg("--config").arg(self.folder.join("agent.toml")))
    }

    fn command(&self) -> anyhow::Result<Command> {
        Ok(self.host.command(&binary("vedetta-agent")?))
    }

    /// Invites the town and enrols this sensor with the code.
    ///
    /// # Errors
    /// What one of the commands said.
    pub fn enrol(&self, centre: &Centre<'_>, comune: &str) -> anyhow::Result<()> {
        self.enrol_in(centre, "999001", comune)
    }

    /// The same in a town of another number.
    ///
    /// # Errors
    /// What one of the commands said.
    pub fn enrol_in(&self, centre: &Centre<'_>, istat: &str, comune: &str) -> anyhow::Result<()> {
        let printed = centre.collector(&["invite", "--istat", istat, "--comune", comune])?;
        let code = printed.lines().rfind(|line| !line.trim().is_empty()).context("invite printed no code")?;
        self.agent(&["enrol", code.trim()])?;
        Ok(())
    }

    /// Starts the agent.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self) -> anyhow::Result<Program> {
        let mut command = self.command()?;
        command.arg("run").arg("--config").arg(self.folder.join("agent.toml"));
        Program::start(&mut command, &self.folder.join("agent.log"))
    }

    /// Its status, as `status --json` prints it.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn status(&self) -> anyhow::Result<Value> {
        Ok(serde_json::from_str(&self.agent(&["status", "--json"])?)?)
    }
}

/// A centre and a sensor of Borgo Chiaro, both running, with one bundle in force.
#[derive(Debug)]
pub struct Deployed<'a> {
    /// The centre's commands.
    pub centre: Centre<'a>,
    /// Its collector.
    pub collector: Program,
    /// The town's sensor.
    pub sensor: Sensor<'a>,
    /// Its agent.
    pub agent: Program,
}

impl<'a> Deployed<'a> {
    /// Sets up and starts all of it in a folder, with a bundle of these values.
    ///
    /// # Errors
    /// What one of the programs said.
    pub fn start(network: &'a Network, folder: &Path, values: &[String]) -> anyhow::Result<Self> {
        let sensor = Sensor::configure(&network.gateway, &folder.join("sensor"))?;
        Self::with(network, folder, sensor, values)
    }

    /// Does the same with a sensor whose configuration stands.
    ///
    /// # Errors
    /// As above.
    pub fn with(
        network: &'a Network,
        folder: &Path,
        sensor: Sensor<'a>,
        values: &[String],
    ) -> anyhow::Result<Self> {
        let centre = Centre::set_up(&network.centre, &folder.join("centre"))?;
        let collector = centre.start()?;
        centre.sign(values, "keys", "repository")?;
        centre.push("repository")?;
        sensor.enrol(&centre, "Borgo Chiaro")?;
        let agent = sensor.start()?;
        wait_for("bundle 1 in force", 30, || {
            let status = sensor.status()?;
            let serial = status.pointer("/bundle/serial").and_then(Value::as_u64);
            anyhow::ensure!(serial == Some(1), "status: {status}");
            Ok(Some(()))
        })?;
        Ok(Self { centre, collector, sensor, agent })
    }
}

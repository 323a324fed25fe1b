//! A collector in a folder of its own, and its command line.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use protocol::enrolment::EnrolmentCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use crate::repository::SignedRepository;

/// The invented code of an invented town.
pub fn istat(comune: &str) -> &'static str {
    match comune {
        "Borgo Chiaro" => "999001",
        "Valle Scura" => "999002",
        "Rocca Bianca" => "999003",
        other => panic!("{other} has no code"),
    }
}

/// A count that the environment may raise.
pub fn count(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Nothing here takes longer on a machine that works.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub struct Collector {
    pub folder: TempDir,
    pub ingest: SocketAddr,
    pub cosc: SignedRepository,
    running: Option<Running>,
}

struct Running {
    child: Child,
    log: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Collector {
    /// Made by `init`, trusting a COSC, running.
    pub async fn start() -> Self {
        let mut collector = Self::made().await;
        collector.run().await;
        collector
    }

    /// Made, not running.
    pub async fn made() -> Self {
        let collector = Self::unmade().await;
        collector.init(&[]);
        collector
    }

    /// Makes it, with further arguments.
    pub fn init(&self, arguments: &[&str]) {
        let root = self.cosc.root_file();
        let root = root.to_str().unwrap();
        self.ok(&[&["init", "--host", "localhost", "--operator", "rossi", "--cosc-root", root], arguments]
            .concat());
    }

    /// A folder and a configuration.
    pub async fn unmade() -> Self {
        let folder = TempDir::new().unwrap();
        let cosc = SignedRepository::new();
        cosc.sign(1, &[(1, &["evil.example", "203.0.113.66"])]).await;
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let ingest = socket.local_addr().unwrap();
        drop(socket);
        let text = format!(
            "state_dir = {:?}\n[ingest]\nlisten = \"{ingest}\"\n[console]\nlisten = \"127.0.0.1:0\"\n",
            folder.path().join("state")
        );
        std::fs::write(folder.path().join("collector.toml"), text).unwrap();
        Self { folder, ingest, cosc, running: None }
    }

    pub fn state(&self, below: &str) -> PathBuf {
        self.folder.path().join("state").join(below)
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vedetta-collector"));
        command.arg("--config").arg(self.folder.path().join("collector.toml"));
        command
    }

    pub fn output(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.output(arguments);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        String::from_utf8(output.stdout).unwrap()
    }

    pub async fn run(&mut self) {
        let command = self.command();
        self.run_as(command).await;
    }

    /// Runs it by a command to which `run` is added, and waits until it is ready.
    pub async fn run_as(&mut self, mut command: Command) {
        let mut child = command.arg("run").stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (send, log) = mpsc::unbounded_channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        self.running = Some(Running { child, log, seen: Vec::new() });
        self.wait_for_line("ready").await;
    }

    /// Waits until the log has a line with these words.
    pub async fn wait_for_line(&mut self, words: &str) -> String {
        let running = self.running.as_mut().unwrap();
        let end = tokio::time::Instant::now() + DEADLINE;
        loop {
            if let Some(line) = running.seen.iter().find(|line| line.contains(words)) {
                return line.clone();
            }
            match tokio::time::timeout_at(end, running.log.recv()).await {
                Ok(Some(line)) => running.seen.push(line),
                _ => panic!("no line with {words:?} in {:#?}", running.seen),
            }
        }
    }

    pub fn process_id(&self) -> u32 {
        self.running.as_ref().unwrap().child.id()
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        let mut running = self.running.take().unwrap();
        running.child.kill().unwrap();
        running.child.wait().unwrap();
    }

    /// SIGTERM; gives the exit code. Those who are connected hear it meanwhile.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut running = self.running.take().unwrap();
        let id = running.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let end = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = running.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not stop");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The lines of the log so far that have these words.
    pub fn lines_with(&mut self, words: &str) -> Vec<String> {
        let running = self.running.as_mut().unwrap();
        while let Ok(line) = running.log.try_recv() {
            running.seen.push(line);
        }
        running.seen.iter().filter(|line| line.contains(words)).cloned().collect()
    }

    /// A fresh code for a town.
    pub fn invite(&self, comune: &str) -> EnrolmentCode {
        let line = self.ok(&["invite", "--istat", istat(comune), "--comune", comune]);
        line.lines().last().unwrap().parse().unwrap()
    }

    /// Every stored hit.
    pub fn hits(&self) -> Vec<Value> {
        let lines = self.ok(&["hits", "--json"]);
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The row of one sensor.
    pub fn agent(&self, agent: &str) -> Value {
        let lines = self.ok(&["agents", "--json"]);
        let mut rows = lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        rows.find(|row| row["agent"] == agent).unwrap()
    }

    /// Changes or reads the store behind the collector's back.
    pub fn store(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.state("store.sqlite")).unwrap();
        connection.busy_timeout(DEADLINE).unwrap();
        connection
    }

    pub fn count(&self, sql: &str) -> i64 {
        self.store().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until a query gives this number.
    pub async fn wait_for_count(&self, sql: &str, expected: i64) {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.count(sql);
            if found == expected {
                return;
            }
            assert!(Instant::now() < end, "{sql}: {found}, expected {expected}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

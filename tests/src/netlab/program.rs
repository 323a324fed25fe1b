//! The real programs, started and killed, with their logs kept to be read.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::wait_for;

/// The folder of the built programs: `VEDETTA_BIN_DIR`, or the release or debug folder of this workspace.
///
/// # Errors
/// When there is none; says how to build.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let named = std::env::var_os("VEDETTA_BIN_DIR").map(PathBuf::from);
    let folders =
        named.into_iter().chain(["target/release", "target/debug"].map(|folder| workspace.join(folder)));
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    let found = found.with_context(|| format!("{name} is not built: run `cargo build --release` first"))?;
    found.canonicalize().context("the program's folder")
}

/// Runs a program to its end and gives back its standard output.
///
/// # Errors
/// When it does not end with 0; its words are in the error.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    log: PathBuf,
    /// Bytes that earlier lives had written to the log.
    before: usize,
}

impl Program {
    /// Starts it; standard error is appended to `log`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let file =
            File::options().create(true).append(true).open(log).with_context(|| log.display().to_string())?;
        let before = usize::try_from(file.metadata()?.len())?;
        let child = command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).spawn()?;
        Ok(Self { child, log: log.to_owned(), before })
    }

    /// What it logged so far, over all its lives.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Waits until a line that it logged in this life has all of these words and returns it.
    ///
    /// # Errors
    /// After the deadline, with the log's end; or when the program has ended without writing it.
    pub fn wait_for_line(&mut self, words: &[&str], seconds: u64) -> anyhow::Result<String> {
        let found = |log: &str| {
            let line = log
                .get(self.before..)
                .unwrap_or_default()
                .lines()
                .find(|line| words.iter().all(|word| line.contains(word)));
            line.map(str::to_owned)
        };
        wait_for(&format!("a line with {words:?}"), seconds, || Ok(found(&self.log())))
            .with_context(|| format!("the log of {} says:\n{}", self.log.display(), tail(&self.log())))
    }

    /// Kills it at once, as the kernel does when memory runs out.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Lets it do nothing (SIGSTOP) until [`Program::go_on`].
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> anyhow::Result<()> {
        Ok(kill(self.pid()?, Signal::SIGSTOP)?)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// When it is gone.
    pub fn go_on(&self) -> anyhow::Result<()> {
        Ok(kill(self.pid()?, Signal::SIGCONT)?)
    }

    fn pid(&self) -> anyhow::Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }

    /// Asks it to stop (SIGTERM) and waits for its end; returns its exit code.
    ///
    /// # Errors
    /// When it does not end within 20 seconds.
    pub fn stop(&mut self) -> anyhow::Result<Option<i32>> {
        kill(self.pid()?, Signal::SIGTERM)?;
        let status = wait_for("the program's end", 20, || Ok(self.child.try_wait()?))?;
        Ok(status.code())
    }

    /// Waits for its end by itself; returns its exit code.
    ///
    /// # Errors
    /// When it does not end in time.
    pub fn wait_for_end(&mut self, seconds: u64) -> anyhow::Result<Option<i32>> {
        let status = wait_for("the program's end", seconds, || Ok(self.child.try_wait()?))?;
        Ok(status.code())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines.get(lines.len().saturating_sub(30)..).unwrap_or_default().join("\n")
}

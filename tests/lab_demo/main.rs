//! The demo as a person sees it: started by its script, hits of both towns in a real browser, stopped with Ctrl-C,
//! nothing left behind, and all of it a second time.

mod browser;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use browser::Browser;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vedetta_tests::netlab::program::binary;
use vedetta_tests::netlab::wait_for;

/// The script builds nothing here; from start to its invitation it takes seconds.
const PATIENCE: Duration = Duration::from_secs(120);

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A running demo and what it prints.
struct Demo {
    script: Child,
    lines: Receiver<String>,
    printed: Vec<String>,
}

impl Demo {
    fn start(arguments: &[&str]) -> Result<Self> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "the demo makes network namespaces: run as root (tests/run.sh does)"
        );
        let programs = binary("vedetta-agent")?;
        let programs = programs.parent().context("a program without a folder")?;
        let mut script = Command::new(workspace().join("packaging/demo.sh"))
            .args(arguments)
            .env("VEDETTA_BIN_DIR", programs)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(workspace().join("target/demo-test.log"))?)
            .spawn()?;
        let stdout = BufReader::new(script.stdout.take().context("no standard output")?);
        let (sender, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Ok(Self { script, lines, printed: Vec::new() })
    }

    /// Reads on until a line has this word; gives back what stands behind it.
    fn wait_for(&mut self, word: &str) -> Result<String> {
        loop {
            let Ok(line) = self.lines.recv_timeout(PATIENCE) else {
                let trouble =
                    fs::read_to_string(workspace().join("target/demo-test.log")).unwrap_or_default();
                anyhow::bail!("no line with {word:?}:\n{}\n{trouble}", self.printed.join("\n"));
            };
            self.printed.push(line.clone());
            if let Some((_, rest)) = line.split_once(word) {
                return Ok(rest.split_whitespace().next().unwrap_or_default().to_owned());
            }
        }
    }

    /// Ctrl-C, and the end with exit code 0.
    fn interrupt(mut self) -> Result<String> {
        kill(Pid::from_raw(i32::try_from(self.script.id())?), Signal::SIGINT)?;
        let status = wait_for("the demo's end", 60, || Ok(self.script.try_wait()?))?;
        self.printed.extend(self.lines.iter());
        let printed = self.printed.join("\n");
        ensure!(status.success(), "{status}:\n{printed}");
        Ok(printed)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.script.try_wait(), Ok(None)) {
            let _ = kill(Pid::from_raw(i32::try_from(self.script.id()).unwrap_or(0)), Signal::SIGTERM);
            let _ = self.script.wait();
        }
    }
}

/// Everything on this machine that a demo makes: programs, namespaces, interfaces, folders.
fn traces() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains("/tmp/vedetta-demo.") {
            found.insert(format!("process {} {command}", entry.file_name().display()));
        }
    }
    for (folder, prefix) in
        [("/run/netns", "vedetta-demo-"), ("/sys/class/net", "vd-"), ("/tmp", "vedetta-demo")]
    {
        let names = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let ours = names.filter(|name| name.to_string_lossy().starts_with(prefix));
        found.extend(ours.map(|name| format!("{folder}/{}", name.display())));
    }
    Ok(found)
}

/// Signs in and sees hits of both towns arrive on the page.
async fn look(url: &str, password: &str) -> Result<()> {
    let browser = Browser::open().await?;
    browser.go_to(url).await?;
    browser.fill("name", "turno").await?;
    browser.fill("password", password).await?;
    browser.press("button[type=submit]").await?;
    browser.wait_for_words("h1", &["Riscontri"]).await?;
    browser.wait_for_words("#hits", &["Borgo Chiaro", "Pieve Serena"]).await?;
    browser.wait_for_words("#hits", &["cattivo", "Finto aggiornamento", "Forza bruta SSH"]).await?;
    let shown = browser.count("#hits tr").await?;
    browser.wait_for_more("#hits tr", shown).await?;
    browser.screenshot(&workspace().join("target/lab/console.png")).await?;
    browser.go_to(&format!("{url}towns")).await?;
    browser.wait_for_words("main", &["Comuni e sensori", "Borgo Chiaro", "Pieve Serena"]).await?;
    browser.screenshot(&workspace().join("target/lab/towns.png")).await?;
    browser.close().await
}

#[test]
fn hits_of_both_towns_arrive_in_a_browser_and_ctrl_c_leaves_nothing_twice() -> Result<()> {
    let before = traces()?;
    for round in 1..=2 {
        let mut demo = Demo::start(&[])?;
        let url = demo.wait_for("console ")?;
        let password = demo.wait_for("password ")?;
        demo.wait_for("999001  ")?;
        demo.wait_for("999002  ")?;
        if round == 1 {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(look(&url, &password))?;
        }
        let printed = demo.interrupt()?;
        ensure!(printed.contains("nothing is left behind"), "{printed}");
        let after = traces()?;
        ensure!(after == before, "round {round} left behind: {:?}", after.difference(&before));
    }
    Ok(())
}

#[test]
fn a_demo_of_the_callers_own_files_ends_by_itself() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let [indicators, log, capture] =
        ["list.txt", "gateway.log", "lan.pcap"].map(|name| folder.path().join(name));
    fs::write(&indicators, "proprio[.]altrui[.]example\n203.0.113.77\n")?;
    fs::write(&log, "Nov 22 10:00:00 gw sshd[1]: Failed password for root from 203.0.113.77 port 9 ssh2\n")?;
    let scene = "+0 192.0.2.10 > 198.51.100.53:53 dns proprio.altrui.example\n";
    let packets = vedetta_tests::scene::packets(scene, &mut vedetta_tests::seed::Seed::new(1))?;
    vedetta_tests::capture_file::write(fs::File::create(&capture)?, &packets)?;
    let [indicators, log, capture] = [&indicators, &log, &capture].map(|path| path.display().to_string());
    let mut demo = Demo::start(&["--seconds", "20", "--indicators", &indicators, &log, &capture])?;
    demo.wait_for("proprio.altrui.example")?;
    demo.wait_for("nothing is left behind")?;
    ensure!(demo.printed.iter().any(|line| line.contains("203.0.113.77")), "{}", demo.printed.join("\n"));
    let status = wait_for("the demo's end", 20, || Ok(demo.script.try_wait()?))?;
    ensure!(status.success(), "{status}");
    Ok(())
}

#[test]
fn what_a_killed_demo_left_is_cleared_by_the_next_one() -> Result<()> {
    let before = traces()?;
    let mut killed = Demo::start(&[])?;
    killed.wait_for("password ")?;
    killed.script.kill()?;
    killed.script.wait()?;
    ensure!(traces()? != before, "a killed script cannot clear up");
    let mut next = Demo::start(&["--once"])?;
    next.wait_for("nothing is left behind")?;
    let status = wait_for("the demo's end", 20, || Ok(next.script.try_wait()?))?;
    ensure!(status.success(), "{status}: {}", next.printed.join("\n"));
    let after = traces()?;
    ensure!(after == before, "left behind: {:?}", after.difference(&before));
    Ok(())
}

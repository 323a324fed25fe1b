//! `journalctl` as a child: it reads the journal in every form that systemd gives it, and follows it.

use std::fs;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::export::FIELDS;

/// Without these, `--follow` gives only the boot whose number `/proc` shows: the end of the boot before is left out when
/// the machine is started anew, and everything where a container's `/proc` shows a sandbox the host's number. What other
/// machines sent comes with `--merge`, so this machine's is asked for. systemd 250 refuses `--merge` but for all boots.
const EVERY_BOOT: [&str; 2] = ["--merge", "--boot=all"];
const MACHINE_ID: &str = "/etc/machine-id";
/// What it may write ahead.
const PIPE_BYTES: i32 = 1 << 20;
/// What is kept of its complaints.
const SAID_BYTES_MAX: usize = 512;

/// Where it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum From {
    /// At this entry, which is given again.
    Cursor(String),
    /// At the first entry that is not older, in microseconds.
    Since(u64),
}

/// A running journalctl; ended when dropped.
pub struct Journalctl {
    child: Child,
    stdout: ChildStdout,
    stderr: ChildStderr,
    said: Vec<u8>,
}

impl Journalctl {
    /// # Errors
    /// When it cannot be started.
    pub fn start(from: &From, folder: Option<&Path>) -> io::Result<Self> {
        let mut command = Command::new("journalctl");
        command.args(["--output=export", "--follow", "--no-tail", "--no-pager"]).args(EVERY_BOOT);
        command.arg(format!("--output-fields={FIELDS}"));
        command.arg(match from {
            From::Cursor(cursor) => format!("--cursor={cursor}"),
            From::Since(micros) => format!("--since=@{}.{:06}", micros / 1_000_000, micros % 1_000_000),
        });
        if let Some(folder) = folder {
            command.arg("--directory").arg(folder);
        } else if let Some(id) = machine_id() {
            command.arg(format!("_MACHINE_ID={id}"));
        }
        command.env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        let mut started = Self { child, stdout, stderr, said: Vec::new() };
        started.set_up()?;
        Ok(started)
    }

    fn set_up(&mut self) -> io::Result<()> {
        fcntl(&self.stdout, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        fcntl(&self.stderr, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        // The default is slower, and enough.
        let _ = fcntl(&self.stdout, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(())
    }

    /// Waits until it says something.
    pub fn wait(&self, milliseconds: u16) {
        let mut ready = [PollFd::new(self.stdout.as_fd(), PollFlags::POLLIN)];
        // An error shows at the next read.
        let _ = poll(&mut ready, PollTimeout::from(milliseconds));
    }

    /// What it wrote; 0 when it has ended.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing now.
    pub fn read(&mut self, piece: &mut [u8]) -> io::Result<usize> {
        self.stdout.read(piece)
    }

    /// What it complained of last.
    pub fn said(&mut self) -> String {
        let mut piece = [0; SAID_BYTES_MAX];
        while let Ok(read @ 1..) = self.stderr.read(&mut piece) {
            self.said.extend_from_slice(piece.get(..read).unwrap_or_default());
            let old = self.said.len().saturating_sub(SAID_BYTES_MAX);
            self.said.drain(..old);
        }
        String::from_utf8_lossy(&self.said).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// Forgets what it complained of.
    pub fn forget_said(&mut self) {
        self.said.clear();
    }
}

/// What journald writes into each entry of this machine; none where the machine has no number.
fn machine_id() -> Option<String> {
    let id = fs::read_to_string(MACHINE_ID).ok()?.trim().to_owned();
    (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

impl Drop for Journalctl {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

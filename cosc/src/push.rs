//! Pushes a signed repository to a collector: offers its files, sends those that are wanted, tells what the
//! collector says. Nothing here is secret or trusted: the signatures are inside.

use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use indicatif::ProgressBar;
use protocol::message::{
    BundleOutcome, CHUNK_BYTES_MAX, DeskMessage, OfferedFile, PushReply, Rollout, RolloutState,
};
use protocol::repository::RepositoryPath;
use tokio::io::AsyncReadExt as _;

use crate::cli::Outcome;
use crate::import::report::plain;
use crate::{progress, repository};

mod connection;

use connection::{Connection, Identity};

/// How long a collector may take to verify what it was sent.
const ANSWER_SECONDS_MAX: u64 = 300;

/// A collector says at once which towns have a bundle first.
const ROLLOUT_SECONDS_MAX: Duration = Duration::from_secs(3);

/// Whether to stay after the push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// Leave as soon as the collector accepted.
    No,
    /// Show the towns' progress for some time.
    For(Duration),
    /// Show it until Ctrl-C.
    UntilStopped,
}

/// How answers are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Print {
    /// Sentences.
    Text,
    /// The collector's messages as JSON, one a line.
    Json,
}

impl Print {
    /// By the `--json` flag.
    pub fn choose(json: bool) -> Self {
        if json { Self::Json } else { Self::Text }
    }

    fn show(self, reply: &PushReply) -> Result<()> {
        let mut out = io::stdout().lock();
        match self {
            Self::Json => writeln!(out, "{}", serde_json::to_string(reply)?)?,
            Self::Text => {
                if let Some(sentence) = sentence(reply) {
                    writeln!(out, "{sentence}")?;
                }
            }
        }
        Ok(out.flush()?)
    }
}

fn sentence(reply: &PushReply) -> Option<String> {
    Some(match reply {
        PushReply::Accepted { serial, indicators, connected } => format!(
            "accepted: bundle {serial} with {indicators} indicators is in force; {connected} sensors are connected"
        ),
        PushReply::Refused { reason } => format!("refused: {}", plain(reason)),
        PushReply::Progress { comune, agent, serial, outcome } => {
            let outcome = match outcome {
                BundleOutcome::Fetched => "fetched and verified".to_owned(),
                BundleOutcome::Applied { indicators } => format!("in force, {indicators} indicators"),
                BundleOutcome::Refused { reason } => format!("refused: {}", plain(reason)),
                BundleOutcome::Unknown => "a state that this program does not know".to_owned(),
            };
            format!("{} ({}): bundle {serial} {outcome}", plain(comune), plain(agent))
        }
        PushReply::Rollout { serial, state } => match state {
            RolloutState::Canary { towns, until } => {
                let towns: Vec<String> = towns.iter().map(|town| plain(town)).collect();
                format!("bundle {serial}: first in {}; all others from {until} on", towns.join(", "))
            }
            RolloutState::Released => format!("bundle {serial}: for all towns"),
            RolloutState::Stopped { reason } => {
                format!("bundle {serial}: STOPPED, only the first towns have it: {}", plain(reason))
            }
            RolloutState::Unknown => return None,
        },
        PushReply::Want { .. } | PushReply::Unknown => return None,
    })
}

/// What is pushed, and to whom first.
#[derive(Clone, Copy, Debug)]
pub struct What<'a> {
    /// Folder of the signed repository.
    pub repository: &'a Path,
    /// A share of the towns first; `None` for all at once.
    pub rollout: Option<Rollout>,
}

/// Pushes and prints what the collector answers.
///
/// # Errors
/// When the repository is not whole, the collector cannot be reached or refuses this desk.
pub fn run(
    collector: &str,
    identity: &Path,
    what: What<'_>,
    follow: Follow,
    print: Print,
) -> Result<Outcome> {
    let files = repository::files(what.repository)?;
    let identity = Identity::read(identity)?;
    repository::block_on(async {
        let mut connection = Connection::open(collector, &identity).await?;
        let outcome = push(&mut connection, &files, what, print).await;
        if matches!(outcome, Ok(Outcome::Done)) && what.rollout.is_some() {
            tell_rollout(&mut connection, print).await?;
        }
        if matches!(outcome, Ok(Outcome::Done)) && follow != Follow::No {
            watch(&mut connection, follow, print).await?;
        }
        connection.close().await;
        outcome
    })?
}

/// Offer, want, chunks, answer.
async fn push(
    connection: &mut Connection,
    files: &[OfferedFile],
    what: What<'_>,
    print: Print,
) -> Result<Outcome> {
    connection.send(&DeskMessage::Offer { files: files.to_vec(), rollout: what.rollout }).await?;
    let wanted = match connection.receive(Duration::from_secs(60)).await? {
        PushReply::Want { paths } => paths,
        other => return finish(&other, print),
    };
    send_files(connection, files, what.repository, &wanted).await?;
    loop {
        let reply = connection
            .receive(Duration::from_secs(ANSWER_SECONDS_MAX))
            .await
            .context("everything was sent, but the collector did not say whether it accepts")?;
        if matches!(reply, PushReply::Accepted { .. } | PushReply::Refused { .. }) {
            return finish(&reply, print);
        }
    }
}

fn finish(reply: &PushReply, print: Print) -> Result<Outcome> {
    print.show(reply)?;
    match reply {
        PushReply::Accepted { .. } => Ok(Outcome::Done),
        PushReply::Refused { .. } => Ok(Outcome::Partly),
        _ => bail!("the collector gave an answer that this program does not know; update vedetta-cosc"),
    }
}

async fn send_files(
    connection: &mut Connection,
    files: &[OfferedFile],
    folder: &Path,
    wanted: &[RepositoryPath],
) -> Result<()> {
    let length = |path: &RepositoryPath| files.iter().find(|file| file.path == *path).map(|file| file.bytes);
    let total = wanted.iter().filter_map(length).sum();
    let bar = progress::bytes("sending", total);
    for path in wanted {
        let Some(bytes) = length(path) else { bail!("the collector asks for {path}, which was not offered") };
        send_file(connection, folder, path, bytes, &bar).await?;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn send_file(
    connection: &mut Connection,
    folder: &Path,
    path: &RepositoryPath,
    bytes: u64,
    bar: &ProgressBar,
) -> Result<()> {
    let on_disk = folder.join(path.as_str());
    let unread = || format!("cannot read {}", on_disk.display());
    let mut file = tokio::fs::File::open(&on_disk).await.with_context(unread)?;
    let mut left = bytes;
    while left > 0 {
        let room = usize::try_from(left).unwrap_or(CHUNK_BYTES_MAX).min(CHUNK_BYTES_MAX);
        let mut chunk = vec![0; room];
        let read = file.read(&mut chunk).await.with_context(unread)?;
        if read == 0 {
            bail!("{} became shorter while it was sent; push again", on_disk.display());
        }
        chunk.truncate(read);
        left -= read as u64;
        connection.send(&DeskMessage::Chunk { bytes: chunk }).await?;
        bar.inc(read as u64);
    }
    Ok(())
}

/// Prints which towns have it first. A collector that says nothing of it gave it to all.
async fn tell_rollout(connection: &mut Connection, print: Print) -> Result<()> {
    match connection.receive(ROLLOUT_SECONDS_MAX).await {
        Ok(reply) => print.show(&reply),
        Err(_) => {
            eprintln!(
                "the collector named no first towns: all towns have the bundle (there are too few, or it is old)"
            );
            Ok(())
        }
    }
}

/// Prints each town's progress until it is time, Ctrl-C, or the collector goes away.
async fn watch(connection: &mut Connection, follow: Follow, print: Print) -> Result<()> {
    let until = match follow {
        Follow::For(duration) => duration,
        Follow::No | Follow::UntilStopped => Duration::from_secs(365 * 86_400),
    };
    let stop = tokio::time::sleep(until);
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => return Ok(()),
            _ = tokio::signal::ctrl_c() => return Ok(()),
            reply = connection.next() => {
                let reply = reply.context("the bundle is in force; only its progress cannot be followed any longer")?;
                if matches!(reply, PushReply::Progress { .. } | PushReply::Rollout { .. }) {
                    print.show(&reply)?;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "push_tests.rs"]
mod tests;

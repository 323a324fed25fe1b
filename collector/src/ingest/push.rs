//! A desk's push: its files are staged, verified from the trusted root, put in place as a whole and announced.
//! A desk may bring bundles; only the COSC's keys make them genuine.

use std::sync::Arc;
use std::time::Duration;

use protocol::frame::encode;
use protocol::message::{CHUNK_BYTES_MAX, DeskMessage, OfferedFile, PushReply, RolloutState};
use quinn::{Connection, RecvStream, SendStream};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::broadcast;
use tracing::info;

use super::frames;
use super::refusal::Refusal;
use super::shared::Shared;
use crate::bundles::offered::{self, OfferError, Pushed};
use crate::bundles::rollout::Offered;
use crate::bundles::staging::{Staging, StagingError};
use crate::store::{StoreError, bundles, rollouts};

/// A chunk takes half a minute at 64 kbit/s.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(180);

/// Bytes of outcomes that are written at once.
const LINES_BYTES: usize = 64 << 10;

/// How long a push waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(2);

/// Why a push is not taken; the desk reads it as a sentence.
#[derive(Debug, thiserror::Error)]
enum PushError {
    #[error("another push is under way; try again in a minute")]
    Busy,
    #[error(transparent)]
    Staging(#[from] StagingError),
    #[error(transparent)]
    Offer(#[from] OfferError),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The desk broke the protocol: the connection is closed.
    #[error(transparent)]
    Protocol(#[from] Refusal),
    #[error("the push broke off")]
    BrokeOff,
}

/// Serves one push, then tells what becomes of the bundle until the desk goes.
pub(super) async fn serve(connection: &Connection, shared: &Arc<Shared>, desk: &str) -> Result<(), Refusal> {
    let opened = tokio::time::timeout(frames::PEER_TIMEOUT, connection.accept_bi()).await;
    let Ok(Ok((mut send, mut recv))) = opened else { return Ok(()) };
    // Before the announcement, so that the first outcome is not missed.
    let outcomes = shared.outcomes.subscribe();
    match take(&mut send, &mut recv, shared, desk).await {
        Ok(Pushed { header, offered }) => {
            info!(desk, serial = %header.serial, indicators = header.indicators, "bundle accepted");
            let connected = bundles::sensors_connected(&shared.parts.store).await.unwrap_or(0);
            let accepted =
                PushReply::Accepted { serial: header.serial, indicators: header.indicators, connected };
            let canary = canary(shared, &offered).await;
            if frames::send(&mut send, &accepted).await? {
                if let Some(canary) = canary
                    && !frames::send(&mut send, &canary).await?
                {
                    return Ok(());
                }
                follow(connection, &mut send, outcomes).await?;
            }
            Ok(())
        }
        Err(PushError::Protocol(refusal)) => Err(refusal),
        Err(PushError::BrokeOff) => {
            shared.parts.refusals.say(connection.remote_address(), desk, "the push broke off");
            Ok(())
        }
        Err(error) => {
            let reason = error.to_string();
            shared.parts.refusals.say(connection.remote_address(), desk, &format!("push refused: {reason}"));
            frames::send(&mut send, &PushReply::Refused { reason }).await?;
            frames::finish(&mut send).await;
            Ok(())
        }
    }
}

async fn take(
    send: &mut SendStream,
    recv: &mut RecvStream,
    shared: &Arc<Shared>,
    desk: &str,
) -> Result<Pushed, PushError> {
    let Some(message) = frames::receive(recv).await? else { return Err(PushError::BrokeOff) };
    let DeskMessage::Offer { files, rollout } = message else {
        return Err(Refusal::Protocol("a push begins with an offer".into()).into());
    };
    // Signing anew takes a moment, another push longer.
    let turn = tokio::time::timeout(TURN_TIMEOUT, shared.pushing.acquire()).await;
    let _one_at_a_time = turn.map_err(|_| PushError::Busy)?.map_err(|_| StoreError::Closed)?;
    let state = shared.parts.state.clone();
    let staged = tokio::task::spawn_blocking(move || {
        let staging = Staging::new(&state)?;
        let wanted = staging.take_over(&files, &state.repository())?;
        Ok::<_, StagingError>((staging, wanted))
    });
    let (staging, wanted) = staged.await.map_err(|_| StoreError::Closed)??;
    let paths = wanted.iter().map(|file| file.path.clone()).collect();
    if !frames::send(send, &PushReply::Want { paths }).await? {
        return Err(PushError::BrokeOff);
    }
    for file in &wanted {
        receive_file(recv, &staging, file).await?;
    }
    let parts = &shared.parts;
    let by = (desk.to_owned(), rollout);
    let pushed = offered::offer(&parts.state, &parts.store, staging, &parts.online_key, by).await?;
    let now_offered = pushed.offered.clone();
    shared.offer(|offered| *offered = now_offered).await;
    Ok(pushed)
}

/// What a desk is told when only some towns have its bundle yet.
async fn canary(shared: &Shared, offered: &Offered) -> Option<PushReply> {
    let serial = offered.canary.as_ref()?.serial;
    let rollout = rollouts::look(&shared.parts.store).await.ok().flatten()?;
    let until = rollout.until();
    Some(PushReply::Rollout { serial, state: RolloutState::Canary { towns: rollout.towns, until } })
}

async fn receive_file(recv: &mut RecvStream, staging: &Staging, file: &OfferedFile) -> Result<(), PushError> {
    let path = staging.path(&file.path);
    let failed = |error| StagingError::File { path: path.clone(), error };
    let mut written = tokio::fs::File::create_new(&path).await.map_err(failed)?;
    let mut missing = file.bytes;
    while missing > 0 {
        let received = frames::receive_within(CHUNK_TIMEOUT, recv).await?;
        let Some(message) = received else { return Err(PushError::BrokeOff) };
        let DeskMessage::Chunk { bytes } = message else {
            return Err(Refusal::Protocol("only the wanted files may follow an offer".into()).into());
        };
        let length = bytes.len() as u64;
        if bytes.is_empty() || bytes.len() > CHUNK_BYTES_MAX || length > missing {
            return Err(Refusal::Protocol(format!("a chunk of {length} bytes, {missing} are missing")).into());
        }
        written.write_all(&bytes).await.map_err(failed)?;
        missing -= length;
    }
    written.sync_all().await.map_err(failed)?;
    Ok(())
}

/// Forwards what becomes of bundles on sensors until the desk goes.
async fn follow(
    connection: &Connection,
    send: &mut SendStream,
    mut outcomes: broadcast::Receiver<PushReply>,
) -> Result<(), Refusal> {
    loop {
        let outcome = tokio::select! {
            outcome = outcomes.recv() => outcome,
            _ = connection.closed() => return Ok(()),
        };
        match outcome {
            Ok(outcome) => {
                // What waits goes out together: of a large fleet, thousands of lines come within a second.
                let mut lines = encode(&outcome)?;
                while lines.len() < LINES_BYTES
                    && let Ok(outcome) = outcomes.try_recv()
                {
                    lines.extend(encode(&outcome)?);
                }
                if !frames::send_all(send, &lines).await {
                    return Ok(());
                }
            }
            // The desk reads too slowly: it misses some lines, the store has them all.
            Err(broadcast::error::RecvError::Lagged(_)) => {}
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        }
    }
}

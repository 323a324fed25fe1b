//! Whole messages on a QUIC stream, for exchanges that wait for one message at a time.

use std::time::Duration;

use protocol::frame::{LENGTH_BYTES, decode, decode_length, encode};
use quinn::{ReadExactError, RecvStream, SendStream};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::refusal::Refusal;

/// A peer that takes or gives nothing for so long has gone.
pub(super) const PEER_TIMEOUT: Duration = Duration::from_secs(30);

/// The next message; `None` when the peer is done or gone.
pub(super) async fn receive<M: DeserializeOwned>(stream: &mut RecvStream) -> Result<Option<M>, Refusal> {
    receive_within(PEER_TIMEOUT, stream).await
}

/// The same for messages that a slow line needs longer for.
pub(super) async fn receive_within<M: DeserializeOwned>(
    timeout: Duration,
    stream: &mut RecvStream,
) -> Result<Option<M>, Refusal> {
    let receiving = async {
        let mut length = [0; LENGTH_BYTES];
        match stream.read_exact(&mut length).await {
            Ok(()) => {}
            Err(ReadExactError::FinishedEarly(0) | ReadExactError::ReadError(_)) => return Ok(None),
            Err(ReadExactError::FinishedEarly(_)) => {
                return Err(Refusal::Protocol("a message was cut".into()));
            }
        }
        let mut frame = vec![0; decode_length(length)?];
        match stream.read_exact(&mut frame).await {
            Ok(()) => Ok(Some(decode(&frame)?)),
            Err(ReadExactError::ReadError(_)) => Ok(None),
            Err(ReadExactError::FinishedEarly(_)) => Err(Refusal::Protocol("a message was cut".into())),
        }
    };
    tokio::time::timeout(timeout, receiving)
        .await
        .unwrap_or_else(|_| Err(Refusal::Protocol("no message came in time".into())))
}

/// Sends a message; `false` when the peer is gone or does not read.
pub(super) async fn send<M: Serialize>(stream: &mut SendStream, message: &M) -> Result<bool, Refusal> {
    Ok(send_all(stream, &encode(message)?).await)
}

/// The same with messages that are bytes already.
pub(super) async fn send_all(stream: &mut SendStream, frames: &[u8]) -> bool {
    let sent = tokio::time::timeout(PEER_TIMEOUT, stream.write_all(frames)).await;
    matches!(sent, Ok(Ok(())))
}

/// Says that nothing more comes and waits, not for ever, until the peer has read everything.
pub(super) async fn finish(stream: &mut SendStream) {
    if stream.finish().is_ok() {
        // Whether the peer read it or went away makes no difference here.
        let _read = tokio::time::timeout(PEER_TIMEOUT, stream.stopped()).await;
    }
}

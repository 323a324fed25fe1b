//! Gives out files of the offered repository, and nothing else: the name's type admits no other path.

use std::io;
use std::sync::Arc;

use protocol::message::{FetchReply, FetchRequest};
use quinn::{RecvStream, SendStream};

use super::frames;
use super::refusal::Refusal;
use super::shelf::{Shelf, Shelved};

/// Bytes read and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers one request on its stream.
pub(super) async fn answer(
    (mut send, mut recv): (SendStream, RecvStream),
    shelf: Arc<Shelf>,
) -> Result<(), Refusal> {
    let Some(request) = frames::receive::<FetchRequest>(&mut recv).await? else { return Ok(()) };
    let Some(file) = shelf.find(&request.path) else {
        frames::send(&mut send, &FetchReply::NotFound).await?;
        frames::finish(&mut send).await;
        return Ok(());
    };
    if !frames::send(&mut send, &FetchReply::Found { bytes: file.bytes() }).await? {
        return Ok(());
    }
    if let Err(error) = copy(&file, request.offset, &mut send).await {
        tracing::debug!(path = %request.path, %error, "a fetch broke off");
        // A stream that is only dropped would look like a file that ended.
        let _gone = send.reset(Refusal::Protocol(String::new()).code());
        return Ok(());
    }
    frames::finish(&mut send).await;
    Ok(())
}

/// Copies from the offset to the end.
async fn copy(file: &Shelved, mut offset: u64, send: &mut SendStream) -> io::Result<()> {
    loop {
        let chunk = file.read_at(offset, CHUNK_BYTES).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        offset = offset.saturating_add(chunk.len() as u64);
        let written = tokio::time::timeout(frames::PEER_TIMEOUT, send.write_chunk(chunk)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
    }
}

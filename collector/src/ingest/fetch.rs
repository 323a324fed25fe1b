//! Gives out files of the offered repository, and nothing else: the name's type admits no other path.

use protocol::message::{FetchReply, FetchRequest};
use quinn::{RecvStream, SendStream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::frames;
use super::refusal::Refusal;
use crate::folders::StateFolder;

/// Bytes read from disk and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers one request on its stream.
pub(super) async fn answer(
    (mut send, mut recv): (SendStream, RecvStream),
    state: &StateFolder,
) -> Result<(), Refusal> {
    let Some(request) = frames::receive::<FetchRequest>(&mut recv).await? else { return Ok(()) };
    let path = state.repository().join(request.path.as_str());
    let Some((mut file, bytes)) = open(&path).await else {
        frames::send(&mut send, &FetchReply::NotFound).await?;
        frames::finish(&mut send).await;
        return Ok(());
    };
    if !frames::send(&mut send, &FetchReply::Found { bytes }).await? {
        return Ok(());
    }
    if let Err(error) = copy(&mut file, request.offset, bytes, &mut send).await {
        tracing::warn!(path = %request.path, %error, "a file of the repository cannot be read");
        // The sensor sees a stream that was cut and not a file that ended.
        let _gone = send.reset(Refusal::Protocol(String::new()).code());
        return Ok(());
    }
    frames::finish(&mut send).await;
    Ok(())
}

async fn open(path: &std::path::Path) -> Option<(File, u64)> {
    // A link or a folder of that name was not put there by a push.
    let found = tokio::fs::symlink_metadata(path).await.ok()?;
    if !found.is_file() {
        return None;
    }
    Some((File::open(path).await.ok()?, found.len()))
}

/// Copies from the offset to the length that was announced; a peer that does not read ends it silently.
async fn copy(file: &mut File, offset: u64, bytes: u64, send: &mut SendStream) -> std::io::Result<()> {
    file.seek(std::io::SeekFrom::Start(offset.min(bytes))).await?;
    let mut rest = file.take(bytes.saturating_sub(offset));
    let mut buffer = vec![0; CHUNK_BYTES];
    loop {
        let read = rest.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else { return Ok(()) };
        let written = tokio::time::timeout(frames::PEER_TIMEOUT, send.write_all(chunk)).await;
        if !matches!(written, Ok(Ok(()))) {
            return Ok(());
        }
    }
}

//! Gives out files of the offered repository, and nothing else: the name's type admits no other path.

use std::io;
use std::path::Path;

use protocol::message::{FetchReply, FetchRequest};
use quinn::{RecvStream, SendStream};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};

use super::frames;
use super::refusal::Refusal;

/// Bytes read from disk and written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// Answers one request on its stream.
pub(super) async fn answer(
    (mut send, mut recv): (SendStream, RecvStream),
    repository: &Path,
) -> Result<(), Refusal> {
    let Some(request) = frames::receive::<FetchRequest>(&mut recv).await? else { return Ok(()) };
    let path = repository.join(request.path.as_str());
    let Some((mut file, bytes)) = open(&path).await else {
        frames::send(&mut send, &FetchReply::NotFound).await?;
        frames::finish(&mut send).await;
        return Ok(());
    };
    if !frames::send(&mut send, &FetchReply::Found { bytes }).await? {
        return Ok(());
    }
    if let Err(error) = copy(&mut file, request.offset, bytes, &mut send).await {
        tracing::debug!(path = %request.path, %error, "a fetch broke off");
        // A stream that is only dropped would look like a file that ended.
        let _gone = send.reset(Refusal::Protocol(String::new()).code());
        return Ok(());
    }
    frames::finish(&mut send).await;
    Ok(())
}

async fn open(path: &Path) -> Option<(File, u64)> {
    // A link or a folder of that name was not put there by a push.
    let found = tokio::fs::symlink_metadata(path).await.ok()?;
    if !found.is_file() {
        return None;
    }
    Some((File::open(path).await.ok()?, found.len()))
}

/// Copies from the offset to the length that was announced.
async fn copy(file: &mut File, offset: u64, bytes: u64, send: &mut SendStream) -> io::Result<()> {
    let offset = offset.min(bytes);
    file.seek(io::SeekFrom::Start(offset)).await?;
    let mut missing = bytes - offset;
    let mut rest = file.take(missing);
    let mut buffer = vec![0; CHUNK_BYTES];
    while missing > 0 {
        let read = rest.read(&mut buffer).await?;
        let Some(chunk) = buffer.get(..read).filter(|chunk| !chunk.is_empty()) else {
            return Err(io::ErrorKind::UnexpectedEof.into());
        };
        let written = tokio::time::timeout(frames::PEER_TIMEOUT, send.write_all(chunk)).await;
        written.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?.map_err(io::Error::other)?;
        missing = missing.saturating_sub(chunk.len() as u64);
    }
    Ok(())
}

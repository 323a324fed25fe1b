//! Files of the collector's repository over the open connection: one stream each, within limits. Nothing here
//! is believed; `bundles::verify` does that. A bundle whose fetch is interrupted goes on where it stopped.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use protocol::frame::{LENGTH_BYTES, decode, decode_length, encode};
use protocol::message::{FetchReply, FetchRequest};
use protocol::repository::RepositoryPath;
use quinn::{Connection, RecvStream, VarInt};
use tokio::time::timeout;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

use super::partial::{Held, Partial};

/// A stream that gives nothing for so long is given up.
const QUIET_SECONDS_MAX: Duration = Duration::from_secs(30);
/// An answer before the bytes is a few dozen bytes.
const REPLY_BYTES_MAX: usize = 4096;
const CHUNK_BYTES: usize = 64 << 10;

/// The collector as `tough` sees it.
#[derive(Clone, Debug)]
pub struct CollectorTransport {
    connection: Connection,
    partial: Partial,
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the collector answers what this program does not know; update it")]
    UnknownReply,
    #[error("{bytes} bytes announced, {limit} at most are taken")]
    TooLarge { bytes: u64, limit: u64 },
    #[error("nothing came for {} seconds", QUIET_SECONDS_MAX.as_secs())]
    Quiet,
    #[error("the collector ended the file {missing} bytes early")]
    Cut { missing: u64 },
    #[error("what came before cannot be kept: {0}")]
    Disk(#[from] io::Error),
    #[error("{0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> FetchError {
    FetchError::Broken(error.to_string())
}

enum Answer {
    /// The file's bytes from the offset on, and how many it has in all.
    Bytes(RecvStream, u64),
    NotFound,
}

/// A file on its way: first what is held of it, then what the collector sends.
struct Coming {
    held: Option<Held>,
    receive: RecvStream,
    missing: u64,
    url: Url,
}

impl Coming {
    /// The next bytes; `None` at the file's end.
    async fn next(&mut self) -> Result<Option<bytes::Bytes>, FetchError> {
        if let Some(held) = &mut self.held
            && let Some(bytes) = held.read_again(CHUNK_BYTES).await?
        {
            return Ok(Some(bytes));
        }
        let read = timeout(QUIET_SECONDS_MAX, self.receive.read_chunk(CHUNK_BYTES, true)).await;
        let Some(chunk) = read.map_err(|_| FetchError::Quiet)?.map_err(broken)? else {
            if self.missing > 0 {
                return Err(FetchError::Cut { missing: self.missing });
            }
            if let Some(held) = self.held.take() {
                held.finish().await;
            }
            return Ok(None);
        };
        // A collector that sends more than it announced is stopped by the length that was signed.
        self.missing = self.missing.saturating_sub(chunk.bytes.len() as u64);
        if let Some(held) = &mut self.held {
            held.write(&chunk.bytes).await?;
        }
        Ok(Some(chunk.bytes))
    }
}

impl CollectorTransport {
    /// Over this connection; what is interrupted waits in a folder for the next one.
    pub fn new(connection: Connection, partial: PathBuf) -> Self {
        Self { connection, partial: Partial::new(partial) }
    }

    /// Throws away what came before, because it was refused as a whole. Gives whether a fetch had gone on from it, so
    /// that fetching everything anew may help.
    pub async fn forget_partial(&self) -> bool {
        self.partial.forget().await
    }

    async fn ask(&self, path: &RepositoryPath, offset: u64) -> Result<Answer, FetchError> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(broken)?;
        let request = FetchRequest { path: path.clone(), offset };
        send.write_all(&encode(&request).map_err(broken)?).await.map_err(broken)?;
        send.finish().map_err(broken)?;
        let mut length = [0; LENGTH_BYTES];
        receive.read_exact(&mut length).await.map_err(broken)?;
        let bytes = decode_length(length).map_err(broken)?;
        if bytes > REPLY_BYTES_MAX {
            return Err(FetchError::UnknownReply);
        }
        let mut frame = vec![0; bytes];
        receive.read_exact(&mut frame).await.map_err(broken)?;
        match decode::<FetchReply>(&frame).map_err(broken)? {
            FetchReply::Found { bytes } if bytes <= path.bytes_max() => Ok(Answer::Bytes(receive, bytes)),
            FetchReply::Found { bytes } => {
                // The stream ends here whether or not the collector still knows it.
                let _ = receive.stop(VarInt::from_u32(0));
                Err(FetchError::TooLarge { bytes, limit: path.bytes_max() })
            }
            FetchReply::NotFound => Ok(Answer::NotFound),
            FetchReply::Unknown => Err(FetchError::UnknownReply),
        }
    }

    async fn ask_in_time(&self, path: &RepositoryPath, offset: u64) -> Result<Answer, FetchError> {
        timeout(QUIET_SECONDS_MAX, self.ask(path, offset)).await.unwrap_or(Err(FetchError::Quiet))
    }

    /// Begins a file where an earlier fetch of it stopped.
    async fn begin(&self, path: &RepositoryPath, url: &Url) -> Result<Option<Coming>, FetchError> {
        let mut held = self.partial.open(path).await?;
        let mut offset = held.as_ref().map_or(0, Held::bytes);
        let mut answer = self.ask_in_time(path, offset).await?;
        if let (Answer::Bytes(_, bytes), Some(old)) = (&answer, &mut held)
            && *bytes < offset
        {
            old.restart().await?;
            offset = 0;
            answer = self.ask_in_time(path, offset).await?;
        }
        Ok(match answer {
            Answer::Bytes(receive, bytes) => {
                Some(Coming { held, receive, missing: bytes.saturating_sub(offset), url: url.clone() })
            }
            Answer::NotFound => None,
        })
    }
}

#[tough::async_trait]
impl Transport for CollectorTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path: RepositoryPath =
            url.path().trim_start_matches('/').parse().map_err(|error| {
                TransportError::new_with_cause(TransportErrorKind::FileNotFound, &url, error)
            })?;
        let begun = self.begin(&path, &url).await;
        let begun =
            begun.map_err(|error| TransportError::new_with_cause(TransportErrorKind::Other, &url, error))?;
        let Some(coming) = begun else {
            return Err(TransportError::new(TransportErrorKind::FileNotFound, &url));
        };
        let chunks = futures_util::stream::unfold(Some(coming), |coming| async move {
            let mut coming = coming?;
            match coming.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(coming))),
                Ok(None) => None,
                Err(error) => {
                    let error = TransportError::new_with_cause(TransportErrorKind::Other, &coming.url, error);
                    Some((Err(error), None))
                }
            }
        });
        Ok(Box::pin(chunks))
    }
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;

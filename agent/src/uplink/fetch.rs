//! Files of the collector's repository over the open connection: one stream each, within limits. Nothing here
//! is believed; `bundles::verify` does that.

use std::time::Duration;

use protocol::frame::{LENGTH_BYTES, decode, decode_length, encode};
use protocol::message::{FetchReply, FetchRequest};
use protocol::repository::RepositoryPath;
use quinn::{Connection, RecvStream, VarInt};
use tokio::time::timeout;
use tough::{Transport, TransportError, TransportErrorKind, TransportStream};
use url::Url;

/// A stream that gives nothing for so long is given up.
const QUIET_SECONDS_MAX: Duration = Duration::from_secs(30);
/// An answer before the bytes is a few dozen bytes.
const REPLY_BYTES_MAX: usize = 4096;
const CHUNK_BYTES: usize = 64 << 10;

/// The collector as `tough` sees it.
#[derive(Clone, Debug)]
pub struct CollectorTransport {
    connection: Connection,
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
    #[error("{0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> FetchError {
    FetchError::Broken(error.to_string())
}

enum Answer {
    Bytes(RecvStream),
    NotFound,
}

impl CollectorTransport {
    /// Over this connection.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    async fn ask(&self, path: &RepositoryPath) -> Result<Answer, FetchError> {
        let (mut send, mut receive) = self.connection.open_bi().await.map_err(broken)?;
        let request = FetchRequest { path: path.clone(), offset: 0 };
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
            FetchReply::Found { bytes } if bytes <= path.bytes_max() => Ok(Answer::Bytes(receive)),
            FetchReply::Found { bytes } => {
                // The stream ends here whether or not the collector still knows it.
                let _ = receive.stop(VarInt::from_u32(0));
                Err(FetchError::TooLarge { bytes, limit: path.bytes_max() })
            }
            FetchReply::NotFound => Ok(Answer::NotFound),
            FetchReply::Unknown => Err(FetchError::UnknownReply),
        }
    }
}

#[tough::async_trait]
impl Transport for CollectorTransport {
    async fn fetch(&self, url: Url) -> Result<TransportStream, TransportError> {
        let path: RepositoryPath =
            url.path().trim_start_matches('/').parse().map_err(|error| {
                TransportError::new_with_cause(TransportErrorKind::FileNotFound, &url, error)
            })?;
        let failed =
            |error: FetchError| TransportError::new_with_cause(TransportErrorKind::Other, &url, error);
        let asked = timeout(QUIET_SECONDS_MAX, self.ask(&path)).await;
        let receive = match asked.unwrap_or(Err(FetchError::Quiet)).map_err(failed)? {
            Answer::Bytes(receive) => receive,
            Answer::NotFound => return Err(TransportError::new(TransportErrorKind::FileNotFound, &url)),
        };
        let chunks = futures_util::stream::unfold(Some((receive, url)), |open| async move {
            let (mut receive, url) = open?;
            let read = timeout(QUIET_SECONDS_MAX, receive.read_chunk(CHUNK_BYTES, true)).await;
            let error = match read {
                Ok(Ok(Some(chunk))) => return Some((Ok(chunk.bytes), Some((receive, url)))),
                Ok(Ok(None)) => return None,
                Ok(Err(error)) => broken(error),
                Err(_) => FetchError::Quiet,
            };
            Some((Err(TransportError::new_with_cause(TransportErrorKind::Other, &url, error)), None))
        });
        Ok(Box::pin(chunks))
    }
}

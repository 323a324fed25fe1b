//! One question to the collector that an enrolment code names: will you take this key?

use std::time::Duration;

use protocol::enrolment::{EnrolReply, EnrolRequest, EnrolmentCode};
use protocol::frame::{LENGTH_BYTES, decode, decode_length, encode};
use quinn::{Connection, VarInt};
use tokio::time::timeout;

use super::dial::dial;
use super::tls::{TlsError, enrolment_config};
use super::trouble::Trouble;

/// The collector signs within this time.
const ANSWER_SECONDS_MAX: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// No collector was reached, or not the one that the code names.
    #[error("{0}. The code was not used; try again when this is solved")]
    NoConnection(Trouble),
    /// The connection ended in the middle.
    #[error("the collector did not answer ({0}); try again, and ask for a new code if this one is used up")]
    NoAnswer(String),
    /// This program.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no runtime.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// Connects to the collector, believes exactly the authority that the code names, and asks.
///
/// # Errors
/// Says what to do about it.
pub fn ask(code: &EnrolmentCode, request: &EnrolRequest) -> Result<EnrolReply, AskError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let config = enrolment_config(code.authority_sha256)?;
        let dialled = dial(&code.addresses, &config).await.map_err(AskError::NoConnection)?;
        let answered = timeout(ANSWER_SECONDS_MAX, exchange(&dialled.connection, request)).await;
        let reply =
            answered.unwrap_or_else(|_| Err("no answer in time".into())).map_err(AskError::NoAnswer)?;
        dialled.connection.close(VarInt::from_u32(0), b"enrolled");
        // So that the collector hears the end.
        dialled.endpoint.wait_idle().await;
        Ok(reply)
    })
}

async fn exchange(connection: &Connection, request: &EnrolRequest) -> Result<EnrolReply, String> {
    let address = connection.remote_address();
    let exchanged = async {
        let (mut send, mut receive) = connection.open_bi().await.map_err(|error| error.to_string())?;
        let frame = encode(request).map_err(|error| error.to_string())?;
        send.write_all(&frame).await.map_err(|error| error.to_string())?;
        send.finish().map_err(|error| error.to_string())?;
        let mut length = [0; LENGTH_BYTES];
        receive.read_exact(&mut length).await.map_err(|error| error.to_string())?;
        let mut frame = vec![0; decode_length(length).map_err(|error| error.to_string())?];
        receive.read_exact(&mut frame).await.map_err(|error| error.to_string())?;
        decode(&frame).map_err(|error| error.to_string())
    };
    exchanged.await.map_err(|reason: String| match connection.close_reason() {
        Some(error) => Trouble::of(&error, address).to_string(),
        None => reason,
    })
}

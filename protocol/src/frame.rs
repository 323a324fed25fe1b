//! Framing of messages on a stream: four bytes of length, big-endian, then one CBOR item (RFC 8949).

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message, in bytes. A peer that announces more is refused before anything is read.
pub const FRAME_BYTES_MAX: usize = 1 << 20;
/// Bytes of the length before a message.
pub const LENGTH_BYTES: usize = 4;
/// CBOR nested deeper than this is refused.
const DEPTH_MAX: usize = 16;

/// What a peer did wrong on the stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The announced length is above [`FRAME_BYTES_MAX`].
    #[error("a message of {bytes} bytes is longer than the limit of {FRAME_BYTES_MAX}")]
    TooLong {
        /// Announced.
        bytes: usize,
    },
    /// The bytes are not the message they should be.
    #[error("not a message of this protocol: {0}")]
    Malformed(String),
}

/// One message as it goes on the stream, length first.
///
/// # Errors
/// When it would be longer than a peer takes.
pub fn encode<M: Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    ciborium::into_writer(message, &mut frame).map_err(|error| FrameError::Malformed(error.to_string()))?;
    let bytes = frame.len() - LENGTH_BYTES;
    let length = u32::try_from(bytes).ok().filter(|_| bytes <= FRAME_BYTES_MAX);
    let length = length.ok_or(FrameError::TooLong { bytes })?;
    frame.iter_mut().zip(length.to_be_bytes()).for_each(|(to, from)| *to = from);
    Ok(frame)
}

/// The length that four bytes announce.
///
/// # Errors
/// When it is above [`FRAME_BYTES_MAX`].
pub fn decode_length(length: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if bytes > FRAME_BYTES_MAX { Err(FrameError::TooLong { bytes }) } else { Ok(bytes) }
}

/// The message in a frame, without its length. Unknown fields are skipped.
///
/// # Errors
/// When the bytes are not one CBOR item of that message.
pub fn decode<M: DeserializeOwned>(frame: &[u8]) -> Result<M, FrameError> {
    ciborium::de::from_reader_with_recursion_limit(frame, DEPTH_MAX)
        .map_err(|error| FrameError::Malformed(error.to_string()))
}

/// Cuts a stream of bytes into messages; holds at most one unfinished message.
#[derive(Debug, Default)]
pub struct FrameDecoder {
    buffer: Vec<u8>,
}

impl FrameDecoder {
    /// Takes in bytes as they come.
    pub fn handle_bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// Gives out the next whole message.
    ///
    /// # Errors
    /// As [`decode_length`] and [`decode`]; the stream cannot go on after one.
    pub fn poll_message<M: DeserializeOwned>(&mut self) -> Result<Option<M>, FrameError> {
        let Some((length, rest)) = self.buffer.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let bytes = decode_length(*length)?;
        let Some(frame) = rest.get(..bytes) else { return Ok(None) };
        let message = decode(frame)?;
        self.buffer.drain(..LENGTH_BYTES + bytes);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_out_whole_however_the_bytes_come_in() {
        let mut stream = encode(&"one").unwrap();
        stream.extend(encode(&"two").unwrap());
        let mut decoder = FrameDecoder::default();
        let mut seen = Vec::new();
        for byte in stream {
            decoder.handle_bytes(&[byte]);
            while let Some(text) = decoder.poll_message::<String>().unwrap() {
                seen.push(text);
            }
        }
        assert_eq!(seen, ["one", "two"]);
    }

    #[test]
    fn an_absurd_length_is_refused_at_once() {
        let mut decoder = FrameDecoder::default();
        decoder.handle_bytes(&[0xff, 0xff, 0xff, 0xff]);
        assert!(matches!(decoder.poll_message::<String>(), Err(FrameError::TooLong { .. })));
    }

    #[test]
    fn deep_nesting_is_refused() {
        let mut bytes = vec![0x81; 100_000];
        bytes.push(0x00);
        assert!(decode::<serde_json::Value>(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            let mut decoder = FrameDecoder::default();
            decoder.handle_bytes(&bytes);
            while let Ok(Some(_)) = decoder.poll_message::<crate::message::AgentMessage>() {}
            let _ = decode::<crate::message::CollectorMessage>(&bytes);
        }
    }
}

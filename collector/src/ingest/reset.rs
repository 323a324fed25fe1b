//! Stateless resets (RFC 9000 §10.3) that outlive the process: a sensor learns at its next packet that the
//! collector was restarted, and does not wait a minute for answers that never come. So many sensors hear of it in a second
//! as may come back in one; the others hear of it with a later packet.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use quinn::{ConnectionId, ConnectionIdGenerator, EndpointConfig};

use super::IngestError;
use super::returning::STEADY_EVERY;
use crate::folders::{StateFolder, write_private_file};

const KEY_BYTES: usize = 32;

/// The endpoint's configuration, with the key that an earlier process may have used.
pub(super) fn endpoint_config(state: &StateFolder) -> Result<EndpointConfig, IngestError> {
    let path = state.reset_key();
    let key = kept_key(state).map_err(|error| IngestError::Folder { path, error })?;
    let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &key)));
    config.cid_generator(|| Box::new(RandomIds)).min_reset_interval(STEADY_EVERY);
    Ok(config)
}

fn kept_key(state: &StateFolder) -> io::Result<[u8; KEY_BYTES]> {
    let path = state.reset_key();
    match fs::read(&path) {
        Ok(bytes) => {
            if let Ok(key) = bytes.try_into() {
                return Ok(key);
            }
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let key: [u8; KEY_BYTES] = rand::random();
    write_private_file(&path, &key)?;
    Ok(key)
}

/// Identifiers without a mark of this process: quinn answers only what its generator could have made, and the
/// process before made others.
struct RandomIds;

const ID_BYTES: usize = 8;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_BYTES]>())
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_a_damaged_one_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let state = StateFolder::new(folder.path());
        fs::create_dir(folder.path().join("server")).unwrap();
        let key = kept_key(&state).unwrap();
        assert_eq!(kept_key(&state).unwrap(), key);
        fs::write(state.reset_key(), "short").unwrap();
        assert_ne!(kept_key(&state).unwrap(), key);
    }
}

//! Enrolment: a one-time code becomes a certificate. The only protocol for peers without one.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::enrolment::{EnrolRefusal, EnrolReply, EnrolRequest};
use protocol::identity::AgentId;
use protocol::text::Hex;
use quinn::Connection;
use sha2::{Digest as _, Sha256};
use tracing::info;

use super::door::{Served, source_of};
use super::frames;
use super::refusal::Refusal;
use super::shared::Shared;
use crate::authority::Request;
use crate::bundles::root::CoscRoot;
use crate::clip::clip;
use crate::store::StoreError;
use crate::store::sensors::{self, Applicant, Enrolled};

/// Wrong codes that one address may send in a minute.
const WRONG_CODES_MAX: usize = 5;
const WRONG_CODES_WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered; beyond them every unknown code is refused until a minute passed.
const ADDRESSES_MAX: usize = 10_000;
/// Longest host name (RFC 1035 §2.3.4) and version that are kept, in bytes.
const HOST_NAME_BYTES_MAX: usize = 253;
const VERSION_BYTES_MAX: usize = 64;

/// When which address sent wrong codes.
#[derive(Debug, Default)]
pub(super) struct WrongCodes(HashMap<IpAddr, VecDeque<Instant>>);

impl WrongCodes {
    fn may_try(&mut self, source: IpAddr, now: Instant) -> bool {
        if self.0.len() >= ADDRESSES_MAX {
            self.0.retain(|_, tries| tries.back().is_some_and(|last| is_recent(*last, now)));
        }
        let Some(tries) = self.0.get_mut(&source) else { return self.0.len() < ADDRESSES_MAX };
        while tries.front().is_some_and(|first| !is_recent(*first, now)) {
            tries.pop_front();
        }
        tries.len() < WRONG_CODES_MAX
    }

    fn note(&mut self, source: IpAddr, now: Instant) {
        if self.0.len() < ADDRESSES_MAX || self.0.contains_key(&source) {
            self.0.entry(source).or_default().push_back(now);
        }
    }
}

fn is_recent(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < WRONG_CODES_WINDOW
}

/// Answers one request.
pub(super) async fn serve(connection: &Connection, shared: &Arc<Shared>) -> Served {
    let who = || "enrolment".to_owned();
    let opened = tokio::time::timeout(frames::PEER_TIMEOUT, connection.accept_bi()).await;
    let Ok(Ok((mut send, mut recv))) = opened else { return Ok(()) };
    let request = frames::receive::<EnrolRequest>(&mut recv).await.map_err(|refusal| (who(), refusal))?;
    let Some(request) = request else { return Ok(()) };
    let address = connection.remote_address();
    let reply = match decide(shared, source_of(address), request).await {
        Ok(reply) => reply,
        Err(error) => return Err((who(), Refusal::Overload(error.to_string()))),
    };
    if let EnrolReply::Refused { reason } = &reply {
        shared.parts.refusals.say(address, "enrolment", &format!("{reason:?}: {reason}"));
    }
    frames::send(&mut send, &reply).await.map_err(|refusal| (who(), refusal))?;
    frames::finish(&mut send).await;
    Ok(())
}

/// Why a code could be neither accepted nor refused.
#[derive(Debug, thiserror::Error)]
enum EnrolError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Root(#[from] crate::bundles::root::RootError),
}

async fn decide(
    shared: &Arc<Shared>,
    source: IpAddr,
    request: EnrolRequest,
) -> Result<EnrolReply, EnrolError> {
    let refused = |reason| Ok(EnrolReply::Refused { reason });
    if !shared.wrong_codes.lock().is_ok_and(|mut codes| codes.may_try(source, Instant::now())) {
        return refused(EnrolRefusal::Unknown);
    }
    let Ok(key) = Request::parse_pem(&request.request_pem) else {
        return refused(EnrolRefusal::BadRequest);
    };
    let root = CoscRoot::open(&shared.parts.state)?;
    let applicant = Applicant {
        secret_sha256: Hex(&Sha256::digest(request.secret)).to_string(),
        host_name: clip(&request.host_name, HOST_NAME_BYTES_MAX),
        version: clip(&request.version, VERSION_BYTES_MAX),
    };
    match sensors::enrol(&shared.parts.store, applicant, AgentId(rand::random()), shared.issuing(key)).await?
    {
        Ok(enrolled) => Ok(welcome(shared, enrolled, &root)),
        Err(reason) => {
            if let Ok(mut codes) = shared.wrong_codes.lock() {
                codes.note(source, Instant::now());
            }
            refused(reason)
        }
    }
}

fn welcome(shared: &Shared, enrolled: Enrolled, root: &CoscRoot) -> EnrolReply {
    info!(comune = enrolled.comune, agent = %enrolled.agent, "sensor enrolled");
    EnrolReply::Enrolled {
        agent: enrolled.agent,
        comune: enrolled.comune,
        chain_pem: enrolled.issued.chain_pem,
        addresses: shared.parts.public_addresses.clone(),
        cosc_root: root.as_str().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_wrong_codes_in_a_minute_close_the_door_for_that_address_only() {
        let mut codes = WrongCodes::default();
        let (here, there) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let start = Instant::now();
        for _ in 0..WRONG_CODES_MAX {
            assert!(codes.may_try(here, start));
            codes.note(here, start);
        }
        assert!(!codes.may_try(here, start));
        assert!(codes.may_try(there, start));
        assert!(codes.may_try(here, start + WRONG_CODES_WINDOW));
    }

    #[test]
    fn the_table_of_addresses_does_not_grow_for_ever() {
        let mut codes = WrongCodes::default();
        let start = Instant::now();
        for number in 0..ADDRESSES_MAX + 5 {
            codes.note(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes()), start);
        }
        let stranger = "203.0.113.1".parse().unwrap();
        assert_eq!(codes.0.len(), ADDRESSES_MAX);
        assert!(!codes.may_try(stranger, start));
        assert!(codes.may_try(stranger, start + WRONG_CODES_WINDOW));
    }
}

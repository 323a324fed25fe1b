//! What every connection of the ingest works with.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use protocol::message::PushReply;
use protocol::{Identity, Serial};
use tokio::sync::{Semaphore, broadcast, mpsc, watch};

use super::IngestError;
use super::enrolment::WrongCodes;
use super::homes::Homes;
use super::peer::Peer;
use super::refusal::{Refusal, RefusalLog};
use super::returning::Returns;
use super::seats::Seats;
use super::shelf::Shelf;
use super::twins::Twins;
use super::writer::Work;
use crate::authority::{Authority, Issued, Request};
use crate::bundles::offered;
use crate::bundles::online::OnlineKey;
use crate::bundles::rollout::Offered;
use crate::clock;
use crate::folders::StateFolder;
use crate::store::{Store, StoreError, bundles, sensors};

/// Outcomes that a following desk may be behind: two of each of two thousand sensors that apply a bundle at once.
const OUTCOMES_QUEUED_MAX: usize = 4096;

/// Serials of certificates that were taken back, with the reason.
pub(super) type Revoked = Arc<HashMap<String, String>>;

/// What is made before the first connection.
pub(super) struct Parts {
    pub store: Store,
    pub state: StateFolder,
    pub authority: Arc<Authority>,
    pub public_addresses: Vec<String>,
    pub to_writer: mpsc::Sender<Work>,
    pub revoked: watch::Receiver<Revoked>,
    pub online_key: OnlineKey,
    pub refusals: Arc<RefusalLog>,
}

/// What is offered to whom, with its files.
#[derive(Clone, Debug)]
pub(super) struct OnOffer {
    offered: Offered,
    /// For all towns, and for those that are first.
    shelves: [Arc<Shelf>; 2],
}

impl OnOffer {
    async fn read(state: &StateFolder, offered: Offered) -> io::Result<Self> {
        let links = [state.repository(), state.canary()];
        let reading = tokio::task::spawn_blocking(move || -> io::Result<_> {
            let [all, first] = links.each_ref().map(|link| Shelf::read(link).map(Arc::new));
            Ok([all?, first?])
        });
        Ok(Self { offered, shelves: reading.await.map_err(io::Error::other)?? })
    }

    /// The bundle that a town is offered, 0 for none.
    pub fn to(&self, comune: &str) -> Serial {
        self.offered.to(comune)
    }

    /// The files that a town's sensors fetch.
    pub fn shelf_for(&self, comune: &str) -> Arc<Shelf> {
        let [all, first] = &self.shelves;
        Arc::clone(if self.offered.is_first(comune) { first } else { all })
    }
}

/// What every connection works with.
pub(super) struct Shared {
    pub parts: Parts,
    /// What is offered to whom; set again when only the signatures were renewed.
    pub offered: watch::Sender<OnOffer>,
    /// What desks that follow are told.
    pub outcomes: broadcast::Sender<PushReply>,
    /// One push at a time.
    pub pushing: Semaphore,
    pub wrong_codes: Mutex<WrongCodes>,
    pub seats: Seats,
    /// Who lives there is taken in before strangers.
    pub homes: Homes,
    /// When sensors should come back after a stop.
    pub returns: Returns,
    pub twins: Twins,
    pub stopping: watch::Receiver<bool>,
}

impl Shared {
    pub async fn new(parts: Parts, stopping: watch::Receiver<bool>) -> Result<Self, IngestError> {
        offered::make_folders(&parts.state)
            .map_err(|error| IngestError::Folder { path: parts.state.path().into(), error })?;
        offered::remove_all_but_offered(&parts.state);
        let mut now_offered = bundles::offered(&parts.store).await?;
        // A crash came between the renaming and the store.
        if now_offered.canary.is_some() && !parts.state.canary().exists() {
            now_offered = Offered { all: bundles::newest(&parts.store).await?.0, canary: None };
        }
        let on_offer = OnOffer::read(&parts.state, now_offered)
            .await
            .map_err(|error| IngestError::Folder { path: parts.state.repository(), error })?;
        let homes = Homes::of(sensors::last_addresses(&parts.store).await?);
        Ok(Self {
            parts,
            offered: watch::Sender::new(on_offer),
            outcomes: broadcast::Sender::new(OUTCOMES_QUEUED_MAX),
            pushing: Semaphore::new(1),
            wrong_codes: Mutex::default(),
            seats: Seats::default(),
            homes,
            returns: Returns::default(),
            twins: Twins::default(),
            stopping,
        })
    }

    /// Offers what is in place, and tells every sensor; also when only its signatures were renewed. Only while nothing
    /// else is put in place.
    pub async fn offer(&self, change: impl FnOnce(&mut Offered)) {
        let mut offered = self.offered.borrow().offered.clone();
        change(&mut offered);
        match OnOffer::read(&self.parts.state, offered).await {
            Ok(on_offer) => drop(self.offered.send_replace(on_offer)),
            Err(error) => tracing::error!(
                %error, "the files on offer cannot be read: sensors are given those before; check the disk and restart"
            ),
        }
    }

    /// Signs a certificate for this key, inside a transaction of the store.
    pub fn issuing(&self, key: Request) -> impl FnOnce(&Identity) -> Result<Issued, StoreError> + use<> {
        let authority = Arc::clone(&self.parts.authority);
        move |identity| {
            let issued = authority.issue(&key, identity, clock::now());
            issued.map_err(|error| StoreError::Unreadable(error.to_string()))
        }
    }

    /// Returns when this certificate is taken back or over, with the word for the peer.
    pub async fn until_unwelcome(&self, peer: &Peer) -> Refusal {
        let mut revoked = self.parts.revoked.clone();
        let left = u64::try_from(peer.not_after.micros_since(clock::now())).unwrap_or(0);
        tokio::select! {
            found = revoked.wait_for(|revoked| revoked.contains_key(&peer.serial)) => {
                let reason = found.ok().and_then(|revoked| revoked.get(&peer.serial).cloned());
                Refusal::Revoked { reason: reason.unwrap_or_default() }
            }
            () = tokio::time::sleep(Duration::from_micros(left)) => Refusal::Ended,
        }
    }

    /// Returns when the collector stops.
    pub async fn until_stopping(&self) {
        // Nobody who could say so is left when this fails.
        let mut stopping = self.stopping.clone();
        let _stops = stopping.wait_for(|stopping| *stopping).await;
    }
}

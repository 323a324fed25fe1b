//! Committed hits, announced to whoever watches: the ingest sends after its commit, the console listens.
//! Announcements are only a reason to look into the store; one that is missed is no hit lost.

use tokio::sync::broadcast;

/// Announcements that a slow listener may be behind before it misses some and is told so.
const ARRIVALS_QUEUED_MAX: usize = 1024;

/// One hit that is committed, new or with a higher count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its row in the store's table of hits.
    pub hit_row: i64,
}

/// Both ends of the announcements.
#[derive(Clone, Debug)]
pub struct Arrivals(broadcast::Sender<Arrival>);

impl Default for Arrivals {
    fn default() -> Self {
        Self(broadcast::channel(ARRIVALS_QUEUED_MAX).0)
    }
}

impl Arrivals {
    /// Announces a committed hit; nobody listening is fine.
    pub fn announce(&self, arrival: Arrival) {
        let _nobody_listens = self.0.send(arrival);
    }

    /// Listens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arrival> {
        self.0.subscribe()
    }
}

//! Watches the store for certificates that were taken back, also by the command line in another process.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use super::shared::Revoked;
use crate::store::{Store, StoreError, sensors};

/// A revoked peer is gone within a second.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Begins to watch; the receiver knows what is revoked from the start.
pub(super) async fn start(store: Store) -> Result<(JoinHandle<()>, watch::Receiver<Revoked>), StoreError> {
    let first = look(&store).await?;
    let (sender, receiver) = watch::channel(Arc::new(first));
    Ok((tokio::spawn(watch_store(store, sender)), receiver))
}

async fn watch_store(store: Store, sender: watch::Sender<Revoked>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        ticks.tick().await;
        match look(&store).await {
            Ok(revoked) => {
                failing = false;
                sender.send_if_modified(|known| {
                    let changed = **known != revoked;
                    if changed {
                        *known = Arc::new(revoked);
                    }
                    changed
                });
            }
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "revoked certificates cannot be read; open connections are not checked");
            }
            Err(_) => {}
        }
    }
}

async fn look(store: &Store) -> Result<HashMap<String, String>, StoreError> {
    Ok(sensors::revoked(store).await?.into_iter().collect())
}

//! Signs the bundles on offer anew every hour, so that a sensor notices within a day when it is kept from them.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::shared::Shared;
use crate::bundles::offered;

/// How often; a timestamp is good for a day.
const SIGN_EVERY: Duration = Duration::from_secs(60 * 60);

/// Works until it is aborted; begins at once, because the collector may have been off for long.
pub(super) async fn keep_fresh(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(SIGN_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(_nothing_is_pushed) = shared.pushing.acquire().await else { return };
        let parts = &shared.parts;
        match offered::renew(&parts.state, &parts.store, &parts.online_key).await {
            Ok(true) => {
                // The same number again: sensors fetch the signatures.
                shared.offer(|_| {}).await;
            }
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "how the signatures are kept fresh could not be stored"),
        }
    }
}

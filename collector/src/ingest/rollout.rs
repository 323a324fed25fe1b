//! Watches a bundle that some towns have first: gives it to all others when its time is over and nothing speaks against
//! it, or stops it. Operators decide by the command line, in another process; everything is in the store, so that a
//! restart changes nothing.

use std::sync::Arc;
use std::time::Duration;

use protocol::Serial;
use protocol::message::{PushReply, RolloutState};
use tokio::time::MissedTickBehavior;
use tracing::{info, warn};

use super::shared::Shared;
use crate::bundles::offered;
use crate::bundles::rollout::{Offered, Verdict, judge};
use crate::store::StoreError;
use crate::store::rollouts::{self, Rollout};

/// How often the first towns are looked at, and the store for what an operator decided.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Works until it is aborted.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut failing, mut told) = (false, None);
    loop {
        ticks.tick().await;
        match look(&shared, &mut told).await {
            Ok(()) => failing = false,
            Err(error) if !failing => {
                failing = true;
                tracing::error!(%error, "the bundle that some towns have first is not watched; all others wait");
            }
            Err(_) => {}
        }
    }
}

async fn look(shared: &Shared, told: &mut Option<u64>) -> Result<(), StoreError> {
    let store = &shared.parts.store;
    let Some(rollout) = rollouts::look(store).await? else { return Ok(()) };
    match rollout.state.as_str() {
        "canary" => {
            let minutes = rollout.minutes;
            match judge(&rollouts::seen(store, rollout.clone()).await?, minutes) {
                Verdict::Wait => Ok(()),
                Verdict::Release => release(shared, &rollout, ("guard", String::new())).await,
                Verdict::Stop(reason) => {
                    let decided = (&["canary"][..], "stopped");
                    rollouts::decide(store, rollout.serial, decided, ("guard", reason)).await?;
                    Ok(())
                }
            }
        }
        "release_asked" => release(shared, &rollout, ("command line", rollout.reason.clone())).await,
        "stopped" if *told != Some(rollout.serial) => {
            *told = Some(rollout.serial);
            warn!(
                serial = rollout.serial,
                reason = rollout.reason,
                "bundle stopped: only the first towns have it"
            );
            tell(shared, rollout.serial, RolloutState::Stopped { reason: rollout.reason });
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn release(
    shared: &Shared,
    rollout: &Rollout,
    decided: (&'static str, String),
) -> Result<(), StoreError> {
    let Ok(_nothing_is_pushed) = shared.pushing.acquire().await else { return Ok(()) };
    let (store, state) = (&shared.parts.store, &shared.parts.state);
    // A push may have come before our turn.
    if rollouts::look(store).await?.is_none_or(|newest| newest.serial != rollout.serial || !newest.is_apart())
    {
        return Ok(());
    }
    if let Err(error) = offered::release(state) {
        warn!(%error, "the bundle cannot be given to all towns; it is tried again");
        return Ok(());
    }
    let from = &["canary", "release_asked", "stopped"][..];
    rollouts::decide(store, rollout.serial, (from, "released"), decided).await?;
    let offer = |offered: &mut Offered| {
        offered.all = Serial(rollout.serial);
        offered.canary = None;
    };
    shared.offer(offer).await;
    info!(serial = rollout.serial, "bundle for all towns");
    tell(shared, rollout.serial, RolloutState::Released);
    Ok(())
}

fn tell(shared: &Shared, serial: u64, state: RolloutState) {
    let _nobody_follows = shared.outcomes.send(PushReply::Rollout { serial: Serial(serial), state });
}

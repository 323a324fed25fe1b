//! The wiring, in the order of the data: sensors -> ingest -> store -> console. Nothing else starts stages.

use anyhow::Context as _;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};

use crate::arrivals::Arrivals;
use crate::authority::Authority;
use crate::bundles::online::OnlineKey;
use crate::commands::sensors::{hosts, public_addresses};
use crate::config::Config;
use crate::store::Store;
use crate::{clock, console, ingest};

/// Runs until SIGTERM or SIGINT; everything that arrived is committed when this returns.
///
/// # Errors
/// What keeps the collector from running, and what to do about it.
pub async fn run(config: Config) -> anyhow::Result<()> {
    let store = Store::open(&config.state.store())?;
    let authority = Authority::open(&config.state)?;
    let hosts = hosts(&config)?;
    if authority.renew_server(&config.state, &hosts, clock::now())? {
        info!("the server's certificate was renewed");
    }
    let online_key = OnlineKey::open(&config.state)?;

    let (stop, stopping) = watch::channel(false);
    let arrivals = Arrivals::default();
    let ingest = ingest::start(
        ingest::Setup {
            listen: config.ingest.listen,
            public_addresses: public_addresses(&config)?,
            state: config.state.clone(),
            authority,
            online_key,
            hosts,
            store: store.clone(),
            arrivals: arrivals.clone(),
        },
        stopping.clone(),
    )
    .await?;
    let console = console::start(&config.console, store, arrivals, stopping, ingest.renewed.clone()).await?;
    info!(ingest = %ingest.listen, console = %console.listen, "ready");
    tell_systemd(NotifyState::Ready);

    let (ingest, console) = (ingest.ended(), console.ended());
    tokio::pin!(ingest, console);
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = &mut ingest => anyhow::bail!("the ingest ended by itself; look at the lines before this one"),
        ended = &mut console => {
            ended.context("the console's socket failed")?;
            anyhow::bail!("the console ended by itself; look at the lines before this one");
        }
    }
    info!("stopping");
    tell_systemd(NotifyState::Stopping);
    // Nobody listening any more is what is wanted.
    stop.send_replace(true);
    ingest.await;
    console.await.context("the console did not stop cleanly")?;
    info!("stopped");
    Ok(())
}

fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "systemd could not be told");
    }
}

//! The way to the collector: a thread with a runtime of its own that keeps one connection, over QUIC with
//! mutual TLS, and comes back when it breaks. Nothing leaves the spool before the collector committed it.

pub mod certificate;
mod delivery;
mod dial;
pub mod enrolment;
mod fetch;
mod partial;
mod renewal;
mod tls;
mod trouble;

use std::path::PathBuf;
use std::time::Duration;

use protocol::Timestamp;
use protocol::backoff::{Backoff, Parting};
use quinn::ClientConfig;
use serde::{Deserialize, Serialize};
use tracing::{debug, info, warn};

use self::delivery::Ended;
use self::renewal::Renewal;
use self::trouble::Trouble;
use crate::bundles::store::BundleStore;
use crate::clock;
use crate::identity::Identity;
use crate::published::Published;
use crate::sources::Board;
use crate::spool::SpoolControl;
use crate::stages::Stage;

/// How long a socket may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What the uplink is handed.
pub struct Parts {
    /// `HOST:PORT` of the collector, tried in turn.
    pub addresses: Vec<String>,
    /// Where the identity lies, for its renewal.
    pub state_dir: PathBuf,
    /// What is to be sent.
    pub spool: SpoolControl,
    /// What the collector hears of the sources.
    pub board: Board,
    /// Takes bundles.
    pub bundles: BundleStore,
    /// What `status` tells.
    pub status: Published<UplinkStatus>,
}

/// The uplink, as `status` tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UplinkStatus {
    /// The collector that is or was reached, as configured.
    pub collector: String,
    /// Since when the collector welcomes this sensor; absent while it does not.
    pub connected_since: Option<Timestamp>,
    /// What is wrong, or was last.
    pub last_error: String,
    /// Whether it looks as if a firewall drops UDP.
    pub udp_blocked: bool,
    /// Microseconds that this clock is ahead of the collector's.
    pub skew_micros: i64,
    /// When this sensor's certificate ends; it is renewed at about half its life.
    #[serde(default)]
    pub certificate_until: Option<Timestamp>,
}

impl Parts {
    /// The collector took the certificate and the greeting.
    fn welcomed(&self, skew_micros: i64) {
        let before = self.status.load();
        info!(collector = before.collector, "connected");
        self.status.publish(UplinkStatus {
            collector: before.collector.clone(),
            connected_since: Some(clock::now()),
            skew_micros,
            certificate_until: before.certificate_until,
            ..UplinkStatus::default()
        });
    }
}

/// Starts the uplink. It ends after the spool, when what is safe is delivered or a few seconds later.
///
/// # Errors
/// When the identity cannot be used or no thread can be started.
pub fn start(identity: &Identity, parts: Parts) -> anyhow::Result<Stage> {
    let config = tls::session_config(identity)?;
    let renewal = Renewal::new(identity.clone(), parts.state_dir.clone())?;
    let uplink = Uplink { parts, config, renewal, backoff: Backoff::default(), told: String::new() };
    uplink.show_certificate();
    let thread = std::thread::Builder::new().name("uplink".into());
    Ok(thread.spawn(move || {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
        runtime.block_on(uplink.run());
        Ok(())
    })?)
}

struct Uplink {
    parts: Parts,
    config: ClientConfig,
    renewal: Renewal,
    backoff: Backoff,
    /// The trouble that was logged last.
    told: String,
}

impl Uplink {
    async fn run(mut self) {
        let mut spool = self.parts.spool.safe.clone();
        let stopped = async move { while spool.changed().await.is_ok() {} };
        tokio::pin!(stopped);
        loop {
            let dialled = tokio::select! {
                dialled = dial::dial(&self.parts.addresses, &self.config) => dialled,
                () = &mut stopped => return,
            };
            let wait = match dialled {
                Ok(dialled) => {
                    self.parts
                        .status
                        .update(|status| UplinkStatus { collector: dialled.name.clone(), ..status.clone() });
                    let (ended, lasted) =
                        delivery::run(&self.parts, &mut self.renewal, dialled.connection).await;
                    // A socket that cannot say goodbye is left to the collector's patience.
                    let _ = tokio::time::timeout(GOODBYE, dialled.endpoint.wait_idle()).await;
                    self.backoff.handle_connected(lasted);
                    match self.handle_end(ended, lasted) {
                        Some(wait) => wait,
                        None => return,
                    }
                }
                Err(trouble) => {
                    self.tell_of(&trouble);
                    self.wait_after(Parting::Broken)
                }
            };
            debug!(?wait, "waiting before the next connection");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = &mut stopped => return,
            }
        }
    }

    fn show_certificate(&self) {
        let certificate_until = Some(self.renewal.ends());
        self.parts.status.update(|status| UplinkStatus { certificate_until, ..status.clone() });
    }

    /// How long to wait after a connection; `None` when the agent stops.
    fn handle_end(&mut self, ended: Ended, lasted: Duration) -> Option<Duration> {
        if lasted > Duration::ZERO {
            // The next trouble is news after a time that was good.
            self.told.clear();
        }
        match ended {
            Ended::Stopped => None,
            Ended::NewEpoch => Some(Duration::ZERO),
            Ended::Renewed => {
                self.config = self.renewal.fresh_config().unwrap_or_else(|| self.config.clone());
                self.show_certificate();
                Some(Duration::ZERO)
            }
            Ended::RetryAfter(wait, reason) => {
                self.tell(&format!("the collector asks to wait {} s: {reason}", wait.as_secs()), false);
                Some(self.wait_after(Parting::Asked(wait)))
            }
            Ended::Stalled => {
                self.tell("the collector acknowledges nothing; connecting again", false);
                Some(self.wait_after(Parting::Broken))
            }
            Ended::Protocol(reason) => {
                self.tell(&format!("the collector broke the protocol: {reason}; connecting again"), false);
                Some(self.wait_after(Parting::Broken))
            }
            Ended::Trouble(trouble) => {
                self.tell_of(&trouble);
                let sent_away = lasted > Duration::ZERO && trouble.is_going_away();
                Some(self.wait_after(if sent_away { Parting::GoingAway } else { Parting::Broken }))
            }
        }
    }

    fn wait_after(&mut self, parting: Parting) -> Duration {
        self.backoff.wait_after(parting, rand::random())
    }

    fn tell_of(&mut self, trouble: &Trouble) {
        self.tell(&trouble.to_string(), trouble.is_udp_blocked());
    }

    /// A trouble is logged once until it changes; `status` always shows it.
    fn tell(&mut self, trouble: &str, udp_blocked: bool) {
        if self.told == trouble {
            debug!(trouble, "still not connected");
        } else {
            warn!("{trouble}");
            trouble.clone_into(&mut self.told);
        }
        self.parts.status.update(|status| UplinkStatus {
            collector: status.collector.clone(),
            connected_since: None,
            last_error: trouble.to_owned(),
            udp_blocked,
            skew_micros: status.skew_micros,
            certificate_until: status.certificate_until,
        });
    }
}

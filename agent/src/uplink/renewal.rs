//! The sensor's next certificate: asked for at half the life of the one in force, over the session that is open,
//! for a key that is made here. Nothing is replaced before the new pair was seen to work together and to come from
//! the pinned authority.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use protocol::Timestamp;
use quinn::ClientConfig;
use rcgen::{CertificateParams, KeyPair, PublicKeyData as _};
use tracing::{info, warn};

use super::certificate::Certificate;
use super::tls;
use crate::identity::{self, Identity};

/// After a refusal, or an answer that did not come, the next try is so much later.
const RETRY_SECONDS: i64 = 6 * 3600;

/// Certificate in force and the way to the next one.
pub struct Renewal {
    state_dir: PathBuf,
    identity: Identity,
    certificate: Certificate,
    /// Whether the collector that is connected renews.
    offered: bool,
    /// Microseconds that this clock is ahead of the collector's.
    skew_micros: i64,
    /// The key that waits for its certificate.
    pending: Option<KeyPair>,
    not_before: Option<Timestamp>,
    fresh: Option<ClientConfig>,
}

impl Renewal {
    /// Begins with the identity that enrolment left.
    ///
    /// # Errors
    /// When its certificate cannot be read.
    pub fn new(identity: Identity, state_dir: PathBuf) -> anyhow::Result<Self> {
        let certificate = Certificate::of_chain(&identity.credentials_pem).context(
            "the sensor's certificate cannot be read; enrol again: vedetta-agent enrol --replace CODE",
        )?;
        Ok(Self {
            state_dir,
            identity,
            certificate,
            offered: false,
            skew_micros: 0,
            pending: None,
            not_before: None,
            fresh: None,
        })
    }

    /// When the certificate in force ends.
    pub fn ends(&self) -> Timestamp {
        self.certificate.not_after
    }

    /// A collector took the greeting.
    pub fn handle_welcome(&mut self, skew_micros: i64, renews: bool) {
        self.offered = renews;
        self.skew_micros = skew_micros;
        self.pending = None;
    }

    /// When to ask, by this machine's clock: the collector's clock counts, and the difference is known.
    pub fn due(&self) -> Option<Timestamp> {
        let due = self.certificate.renewal_due().plus_micros(self.skew_micros);
        self.offered.then(|| self.not_before.map_or(due, |not_before| not_before.max(due)))
    }

    /// A request for a new key, when it is time.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Option<String> {
        if self.due().is_none_or(|due| due > now) {
            return None;
        }
        self.not_before = Some(now.plus_seconds(RETRY_SECONDS));
        let made = KeyPair::generate().and_then(|key| {
            let request_pem = CertificateParams::default().serialize_request(&key)?.pem()?;
            Ok((key, request_pem))
        });
        match made {
            Ok((key, request_pem)) => {
                info!(ends = %self.ends(), "asking for the next certificate");
                self.pending = Some(key);
                Some(request_pem)
            }
            Err(error) => {
                warn!(%error, "no key can be made for the next certificate");
                None
            }
        }
    }

    /// The collector's answer. Gives whether another pair is in force now; connect again with it.
    pub fn handle_renewed(&mut self, now: Timestamp, chain_pem: &str) -> bool {
        match self.take(now, chain_pem) {
            Ok(()) => {
                info!(ends = %self.ends(), "the certificate was renewed");
                true
            }
            Err(error) => {
                warn!(
                    reason = %format!("{error:#}"), ends = %self.ends(),
                    "the new certificate is not taken, the one in force stays; update the older of the two programs"
                );
                false
            }
        }
    }

    /// The collector gives no certificate.
    pub fn handle_refused(&mut self, reason: &str) {
        self.pending = None;
        warn!(
            reason, ends = %self.ends(),
            "the collector does not renew this sensor's certificate; ask its operator why before it ends"
        );
    }

    fn take(&mut self, now: Timestamp, chain_pem: &str) -> anyhow::Result<()> {
        let key = self.pending.take().context("nothing was asked for")?;
        let certificate = Certificate::of_chain(chain_pem)?;
        certificate.check_succeeds(&self.certificate, &key.subject_public_key_info())?;
        let now = now.plus_micros(-self.skew_micros);
        tls::check_issued(&certificate.chain, &self.identity.authority_pem, now)?;
        let credentials_pem = format!("{}{chain_pem}", key.serialize_pem());
        let identity = Identity { credentials_pem, ..self.identity.clone() };
        let config = tls::session_config(&identity)?;
        let here = identity::folder(&self.state_dir);
        ensure!(here.exists(), "{} is gone", here.display());
        identity::replace_credentials(&self.state_dir, &identity.credentials_pem)
            .with_context(|| format!("{} cannot be written", here.display()))?;
        self.fresh = Some(config);
        self.certificate = certificate;
        self.identity = identity;
        self.not_before = None;
        Ok(())
    }

    /// How to connect with the new pair, once.
    pub fn fresh_config(&mut self) -> Option<ClientConfig> {
        self.fresh.take()
    }
}

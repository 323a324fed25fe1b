//! The bundle in force, for those who use it: what to compare with, what `status` tells, and the way in for a new
//! one. The folder itself belongs to the keeper's thread. A serial never goes down while the same keys sign, and what is
//! refused changes nothing.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use detect::Matcher;
use ipnet::IpNet;
use protocol::delta::DeltaHeader;
use protocol::repository::Provenance;
use protocol::{BundleHeader, Serial, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, oneshot, watch};
use tracing::info;

use super::building::hex;
use super::import;
use super::in_force::{BundleStatus, InForce, RefusedBundle, Why};
use super::keeper::{self, Message};
use super::not_taken::{LoadError, NotTaken};
use super::record;
use super::verify::{Lines, Repository, Taken, Verified, Wanted, fresh_until, verify};
use crate::clock;
use crate::config::Config;
use crate::published::Published;
use crate::sources::{self, MatcherInForce, Stopper};
use crate::stages::Stage;

/// What the store is handed.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Its folder.
    pub folder: PathBuf,
    /// The COSC's root, as enrolment pinned it.
    pub cosc_root: Vec<u8>,
    /// The town's own networks: an indicator on one of them is held back.
    pub home_networks: Vec<IpNet>,
    /// Fewer changes than these are never merged into the full index.
    pub merge_above: u64,
}

impl StoreConfig {
    /// As the configuration says, with the root that enrolment pinned.
    pub fn of(config: &Config, cosc_root: Vec<u8>) -> Self {
        Self {
            folder: import::folder(config),
            cosc_root,
            home_networks: config.detection.home_networks.clone().unwrap_or_default(),
            merge_above: MERGE_ABOVE,
        }
    }
}

/// Changes that are kept above a full index, however small it is.
pub const MERGE_ABOVE: u64 = 1_000;

/// A store that is open, and its thread.
pub struct Started {
    /// The way to it.
    pub store: BundleStore,
    /// Ends the thread.
    pub stopper: Stopper,
    /// The thread that owns the folder.
    pub stage: Stage,
}

/// The way to the bundles; clones lead to the same ones.
#[derive(Clone)]
pub struct BundleStore {
    folder: PathBuf,
    cosc_root: Arc<[u8]>,
    matcher: MatcherInForce,
    status: Published<BundleStatus>,
    keeper: Sender<Message>,
    wanted: watch::Receiver<bool>,
    /// What a verification remembers is one folder, and what it fetched waits in one other: one at a time.
    turn: Arc<Mutex<()>>,
}

/// Verified files, not in force yet.
#[derive(Clone, Debug)]
pub enum Arrived {
    /// A full bundle.
    Full {
        /// Its first line.
        header: BundleHeader,
        /// Who signed it.
        provenance: Provenance,
        /// Where it is; the file is taken away from there.
        file: PathBuf,
    },
    /// What changes from the bundle in force to a later one.
    Delta {
        /// Its first line.
        header: DeltaHeader,
        /// Who signed the bundle that it leads to.
        provenance: Provenance,
        /// Where it is; the file is taken away from there.
        file: PathBuf,
    },
    /// The repository has nothing newer than this.
    Nothing {
        /// Number of its newest bundle.
        serial: Serial,
        /// Who signed that.
        provenance: Provenance,
    },
}

impl Arrived {
    /// Number of the bundle that it leads to.
    pub fn serial(&self) -> Serial {
        match self {
            Self::Full { header, .. } => header.serial,
            Self::Delta { header, .. } => header.serial,
            Self::Nothing { serial, .. } => *serial,
        }
    }

    /// Who signed the bundle that it leads to, and which file that is.
    pub fn provenance(&self) -> &Provenance {
        let (Self::Full { provenance, .. }
        | Self::Delta { provenance, .. }
        | Self::Nothing { provenance, .. }) = self;
        provenance
    }
}

impl From<Verified> for Arrived {
    fn from(verified: Verified) -> Self {
        let Verified { serial, provenance, taken, .. } = verified;
        match taken {
            Taken::Full { header, file } => Self::Full { header, provenance, file },
            Taken::Delta { header, file } => Self::Delta { header, provenance, file },
            Taken::Nothing => Self::Nothing { serial, provenance },
        }
    }
}

/// What is in force after a repository was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// What is in force.
    pub in_force: InForce,
    /// Whether it was not before.
    pub is_new: bool,
}

impl BundleStore {
    /// Opens the folder and puts in force what was; what cannot be used as it is, is built anew beside it.
    ///
    /// # Errors
    /// When the folder cannot be made or no thread can be started.
    pub fn start(config: StoreConfig) -> io::Result<Started> {
        fs::create_dir_all(record::arrived(&config.folder))?;
        let (keeper, messages) = channel();
        let (want, wanted) = watch::channel(false);
        let (stopper, stop) = sources::stop();
        let store = Self {
            folder: config.folder.clone(),
            cosc_root: config.cosc_root.as_slice().into(),
            matcher: Published::new(Matcher::empty()),
            status: Published::new(BundleStatus {
                fresh_until: fresh_until(&config.folder.join("tuf")),
                ..BundleStatus::default()
            }),
            keeper: keeper.clone(),
            wanted,
            turn: Arc::default(),
        };
        let parts = keeper::Parts {
            root_sha256: hex(&Sha256::digest(&config.cosc_root)),
            folder: config.folder,
            home_networks: config.home_networks,
            merge_above: config.merge_above,
            matcher: store.matcher.clone(),
            status: store.status.clone(),
            messages,
            sender: keeper,
            want,
        };
        let stage = keeper::start(parts, stop)?;
        Ok(Started { store, stopper, stage })
    }

    /// What the workers compare with.
    pub fn matcher(&self) -> MatcherInForce {
        self.matcher.clone()
    }

    /// What `status` tells.
    pub fn status(&self) -> Published<BundleStatus> {
        self.status.clone()
    }

    /// Number of the bundle in force, 0 for none.
    pub fn serial(&self) -> Serial {
        self.status.load().in_force.as_ref().map_or(Serial(0), |in_force| in_force.serial)
    }

    /// When the metadata that was verified last expires.
    pub fn fresh_until(&self) -> Option<Timestamp> {
        self.status.load().fresh_until
    }

    /// Whether an offered bundle is worth a look: it is another than what is in force or will be, or what is in
    /// force can be mended by nothing else. A lower number may be the first one of other signers, which only their
    /// metadata tells.
    pub fn wants(&self, offered: Serial) -> bool {
        let status = self.status.load();
        let building = status.building.as_ref().map(|building| building.serial);
        *self.wanted.borrow() || (offered != self.serial() && Some(offered) != building)
    }

    /// Becomes true when the full bundle is needed, whatever its number.
    pub fn wanted(&self) -> watch::Receiver<bool> {
        self.wanted.clone()
    }

    /// Fetches and verifies the repository's newest bundle and puts it in force. `repository` is asked again when
    /// changes did not fit and the full bundle is needed; `verified` hears what was verified.
    ///
    /// # Errors
    /// Why it is not taken; what is in force stays.
    pub async fn take(
        &self,
        repository: impl Fn() -> Repository,
        verified: impl Fn(Serial),
    ) -> Result<Applied, NotTaken> {
        let _turn = self.turn.lock().await;
        let taken = self.take_in_turn(repository, verified).await;
        let fresh_until = fresh_until(&self.folder.join("tuf"));
        self.status.update(|status| BundleStatus { fresh_until, ..status.clone() });
        if let Err(error) = &taken {
            let serial = match error {
                NotTaken::Older { offered, .. } => Some(*offered),
                NotTaken::Unusable(LoadError::Nothing { serial, .. }) => Some(*serial),
                _ => None,
            };
            let refused = RefusedBundle { at: clock::now(), serial, reason: error.to_string() };
            self.status.update(|status| BundleStatus { refused: Some(refused.clone()), ..status.clone() });
        } else {
            self.status.update(|status| BundleStatus { refused: None, ..status.clone() });
        }
        taken
    }

    async fn take_in_turn(
        &self,
        repository: impl Fn() -> Repository,
        verified: impl Fn(Serial),
    ) -> Result<Applied, NotTaken> {
        let arrived = self.fetch(repository(), self.known()).await?;
        if !matches!(arrived, Arrived::Nothing { .. }) {
            verified(arrived.serial());
        }
        match self.apply(arrived).await {
            Err(NotTaken::FullNeeded { reason }) => {
                info!(reason, "changes do not fit; the full bundle is fetched");
                self.apply(self.fetch(repository(), None).await?).await
            }
            applied => applied,
        }
    }

    /// What a delta may start from.
    fn known(&self) -> Option<(Serial, Option<Provenance>)> {
        if *self.wanted.borrow() {
            return None;
        }
        let status = self.status.load();
        let rebuilt = status.building.as_ref().filter(|building| building.why == Why::Rebuild);
        let serial = rebuilt.map_or_else(|| self.serial(), |building| building.serial);
        (serial != Serial(0)).then(|| (serial, status.provenance.clone()))
    }

    async fn fetch(
        &self,
        repository: Repository,
        in_force: Option<(Serial, Option<Provenance>)>,
    ) -> Result<Arrived, NotTaken> {
        let (datastore, arrived) = (self.folder.join("tuf"), record::arrived(&self.folder));
        // The index is put in force after its last line was read, and not before.
        let wanted = Wanted { in_force, lines: Lines::LeftToCaller };
        Ok(verify(repository, &self.cosc_root, &datastore, &arrived, wanted).await?.into())
    }

    /// Puts verified files in force; sources take it up between two packets.
    ///
    /// # Errors
    /// Why it is not in force; what was before stays.
    pub async fn apply(&self, arrived: Arrived) -> Result<Applied, NotTaken> {
        let (reply, replied) = oneshot::channel();
        let handed = self.keeper.send(Message::Apply(arrived, reply));
        let stopped = || NotTaken::Unusable(LoadError::Interrupted);
        handed.map_err(|_| stopped())?;
        replied.await.map_err(|_| stopped())?
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

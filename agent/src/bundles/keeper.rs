//! The thread that owns the folder of bundles: opens what was in force, puts in force what arrives, has built anew
//! what cannot be used, merges many changes. Long work is done by one other thread at a time, so that small changes
//! are never behind it.

use std::cmp::Ordering as Order;
use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use detect::Matcher;
use ipnet::IpNet;
use protocol::delta::DeltaHeader;
use protocol::index::{Layers, Sanity};
use protocol::repository::{Provenance, order};
use protocol::{BundleHeader, Serial};
use tokio::sync::{oneshot, watch};
use tracing::{info, warn};

use super::building::{Built, Changed, HeldBack, Progress, Workshop, lower_priority};
use super::in_force::{BundleStatus, InForce, Why, changes, is_stale};
use super::not_taken::{LoadError, NotTaken, disk, index};
use super::opening::{self, Opened};
use super::record::{self, Name, Record, Source};
use super::store::{Applied, Arrived};
use crate::clock;
use crate::published::Published;
use crate::sources::{MatcherInForce, Stop};
use crate::stages::Stage;

/// How often the thread looks whether a look-up failed and whether it should stop.
const TICK: Duration = Duration::from_millis(250);
/// Changes above a full index before they are merged into it: this many at most, or a share of the full index. All
/// of them are written anew with each delta, which may take a quarter of a second.
const CHANGES_MAX: u64 = 8_000;
const SHARE_OF_BASE: u64 = 16;
/// Deltas after one full bundle; then the full one is fetched, because a rebuild would have to read them all.
const DELTAS_MAX: usize = 1_000;
/// What failed in the background, or was rebuilt and fails again, is not tried again before this time.
const AGAIN_AFTER: Duration = Duration::from_secs(600);

/// What the thread is told.
pub(super) enum Message {
    /// Verified files arrived.
    Apply(Arrived, Reply),
    /// The long work is over.
    Done(Result<Built, LoadError>),
}

pub(super) type Reply = oneshot::Sender<Result<Applied, NotTaken>>;

/// What one that waits is to hear.
type Answer = (Reply, Result<Applied, NotTaken>);

/// What the thread is handed.
pub(super) struct Parts {
    pub folder: PathBuf,
    pub root_sha256: String,
    pub home_networks: Vec<IpNet>,
    pub merge_above: u64,
    pub matcher: MatcherInForce,
    pub status: Published<BundleStatus>,
    pub messages: Receiver<Message>,
    pub sender: Sender<Message>,
    pub want: watch::Sender<bool>,
}

struct Keeper {
    shop: Workshop,
    root_sha256: String,
    matcher: MatcherInForce,
    status: Published<BundleStatus>,
    sender: Sender<Message>,
    want: watch::Sender<bool>,
    merge_above: u64,
    record: Option<Record>,
    layers: Option<Layers>,
    work: Option<Work>,
    /// Changes that wait until there is something that they change.
    waiting: VecDeque<(Arrived, Reply)>,
    /// When something in the background may be tried again.
    rebuild_at: Instant,
    merge_at: Instant,
    /// Whether what is in force is not all that should be.
    is_broken: bool,
    /// Whether it was said that nothing newer came in time.
    is_stale: bool,
}

/// What the other thread is doing.
struct Work {
    why: Why,
    interrupted: Arc<AtomicBool>,
    /// Files that it reads or writes and no record names.
    files: Vec<Name>,
    bundle: Option<Incoming>,
}

/// A full bundle whose index is being built.
struct Incoming {
    header: BundleHeader,
    provenance: Provenance,
    reply: Vec<Reply>,
}

/// Opens the folder, puts in force what can be, and starts the thread.
pub(super) fn start(parts: Parts, stop: Stop) -> io::Result<Stage> {
    let Parts { folder, root_sha256, home_networks, merge_above, matcher, status, messages, sender, want } =
        parts;
    let mut own = home_networks;
    own.sort();
    own.dedup();
    let sanity = Sanity::HoldAbsurd { own };
    let shop = Workshop { folder, sanity, status: status.clone() };
    let opened = opening::open(&shop, &root_sha256);
    let now = Instant::now();
    let mut keeper = Keeper {
        shop,
        root_sha256,
        matcher,
        status,
        sender,
        want,
        merge_above,
        record: None,
        layers: None,
        work: None,
        waiting: VecDeque::new(),
        rebuild_at: now,
        merge_at: now,
        is_broken: false,
        is_stale: false,
    };
    let mend = keeper.handle_opened(opened);
    std::thread::Builder::new().name("bundles".into()).spawn(move || {
        if let Some(trouble) = mend
            && !keeper.put_changes_back()
        {
            keeper.mend(&trouble);
        }
        keeper.run(&messages, &stop);
        Ok(())
    })
}

impl Keeper {
    fn run(&mut self, messages: &Receiver<Message>, stop: &Stop) {
        while !stop.is_asked() {
            match messages.recv_timeout(TICK) {
                Ok(Message::Apply(arrived, reply)) => self.handle_arrived(arrived, reply),
                Ok(Message::Done(built)) => self.handle_done(built),
                Err(RecvTimeoutError::Timeout) => self.handle_tick(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        if let Some(work) = &self.work {
            // Not waited for: what it leaves half done counts for nothing.
            work.interrupted.store(true, Ordering::Relaxed);
        }
    }

    /// Puts in force what was found; gives out what has to be mended.
    fn handle_opened(&mut self, opened: Opened) -> Option<String> {
        let Opened { record, layers, trouble } = opened;
        self.record = record;
        self.tell_provenance();
        if let Some(layers) = layers {
            self.publish(layers);
        }
        trouble
    }

    /// Where only the index of the changes cannot be used, it is made again of the deltas. Gives whether that was all.
    fn put_changes_back(&mut self) -> bool {
        let (Some(record), Some(layers)) = (&self.record, &self.layers) else { return false };
        let index = Arc::clone(layers.base());
        if layers.overlay().is_some() || record.overlay.is_none() || index.meta().sanity != self.shop.sanity {
            return false;
        }
        let base = Built { name: record.base.clone(), index, source: None };
        self.put_above(Why::Merge, base).inspect_err(|error| warn!("{error}")).is_ok()
    }

    /// The index in force is not what it should be: it is built anew from the verified files, not too often.
    fn mend(&mut self, trouble: &str) {
        warn!("{trouble}");
        self.set_trouble(trouble);
        self.rebuild_at = Instant::now() + AGAIN_AFTER;
        self.is_broken = true;
        let Some(record) = &self.record else { return self.want_full() };
        let (bundle, serial) = (record.bundle.clone(), record.serial);
        let name = Name::new("base", bundle.serial, "index");
        self.begin(Why::Rebuild, (serial, vec![name.clone()]), None, move |shop, progress| {
            shop.full(&bundle.file, Some(&bundle.sha256), name, progress)
        });
    }

    fn handle_tick(&mut self) {
        self.tell_stale();
        let may_mend = self.work.is_none() && !*self.want.borrow() && Instant::now() >= self.rebuild_at;
        if !may_mend {
            return;
        }
        if self.layers.is_some() && self.matcher.load().is_damaged() {
            self.mend(
                "a look-up failed because the index is damaged; it is built anew, what can be read stays in force",
            );
        } else if self.is_broken {
            self.mend("the index is built anew, after it could not be before");
        }
    }

    /// Says once that this sensor may be kept from newer bundles.
    fn tell_stale(&mut self) {
        let until = self.status.load().fresh_until;
        let was_stale = std::mem::replace(&mut self.is_stale, is_stale(until, clock::now()));
        if let Some(until) = until.filter(|_| self.is_stale && !was_stale) {
            warn!(%until, "no fresh signature of bundles came in time: the collector is away, or keeps newer bundles back, or this clock is wrong; the bundle in force stays");
        }
    }

    fn handle_arrived(&mut self, arrived: Arrived, reply: Reply) {
        let offered = arrived.serial();
        let (in_force, known) = match &self.record {
            Some(record) => (record.serial, record.provenance.as_ref()),
            None => (Serial(0), None),
        };
        let stands = order((offered, arrived.provenance()), (in_force, known));
        if stands == Order::Less {
            return answer(reply, Err(NotTaken::Older { offered, in_force }));
        }
        let may_stay = stands == Order::Equal && !*self.want.borrow();
        if let Some(known) = self.in_force().filter(|known| known.serial == offered && may_stay) {
            self.keep_provenance(arrived.provenance());
            return answer(reply, Ok(Applied { in_force: known, is_new: false }));
        }
        match arrived {
            Arrived::Full { header, provenance, file } => {
                self.begin_full((header, provenance), file, reply);
            }
            Arrived::Delta { header, provenance, file } => {
                self.handle_delta((header, provenance), file, reply);
            }
            Arrived::Nothing { .. } if self.work.is_some() => self.waiting.push_back((arrived, reply)),
            Arrived::Nothing { .. } => answer(reply, Err(LoadError::Interrupted.into())),
        }
    }

    /// What is in force was signed anew, perhaps by others: from then on its number counts among theirs.
    fn keep_provenance(&mut self, provenance: &Provenance) {
        let Some(record) = self.record.as_ref().filter(|it| it.provenance.as_ref() != Some(provenance))
        else {
            return;
        };
        let record = Record { provenance: Some(provenance.clone()), ..record.clone() };
        match record.write(&self.shop.folder) {
            Ok(()) => self.record = Some(record),
            Err(error) => warn!(%error, "who signed the bundle in force is not noted; it is tried again"),
        }
        self.tell_provenance();
    }

    fn tell_provenance(&self) {
        let provenance = self.record.as_ref().and_then(|record| record.provenance.clone());
        self.status.update(|status| BundleStatus { provenance: provenance.clone(), ..status.clone() });
    }

    fn begin_full(&mut self, (header, provenance): (BundleHeader, Provenance), file: PathBuf, reply: Reply) {
        if let Some(work) = &mut self.work {
            match &mut work.bundle {
                // The one that asked before has gone; the file is the same by its signature.
                Some(incoming) if incoming.header == header && incoming.provenance == provenance => {
                    return incoming.reply.push(reply);
                }
                _ => work.interrupted.store(true, Ordering::Relaxed),
            }
            self.waiting.push_back((Arrived::Full { header, provenance, file }, reply));
            return;
        }
        let name = Name::new("bundle", header.serial, "jsonl.zst");
        if let Err(error) = record::adopt(&self.shop.folder, &file, &name) {
            return answer(reply, Err(disk(&file)(error).into()));
        }
        let base = Name::new("base", header.serial, "index");
        let files = vec![name.clone(), base.clone()];
        let serial = header.serial;
        let incoming = Incoming { header, provenance, reply: vec![reply] };
        self.begin(Why::Bundle, (serial, files), Some(incoming), move |shop, progress| {
            shop.full(&name, None, base, progress)
        });
    }

    /// Starts the long work in a thread of its own.
    fn begin(
        &mut self,
        why: Why,
        (serial, files): (Serial, Vec<Name>),
        bundle: Option<Incoming>,
        work: impl FnOnce(&Workshop, Progress) -> Result<Built, LoadError> + Send + 'static,
    ) {
        let interrupted = Arc::new(AtomicBool::new(false));
        let progress = Progress::begin(&self.shop, Arc::clone(&interrupted), (serial, why));
        self.work = Some(Work { why, interrupted, files, bundle });
        let (shop, sender) = (self.shop.clone(), self.sender.clone());
        let spawned = std::thread::Builder::new().name("index".into()).spawn(move || {
            lower_priority();
            let built = catch_unwind(AssertUnwindSafe(|| work(&shop, progress)));
            // Nobody listens when the agent stops.
            let _ = sender.send(Message::Done(built.unwrap_or(Err(LoadError::Interrupted))));
        });
        if let Err(error) = spawned {
            let path = self.shop.folder.clone();
            self.handle_done(Err(LoadError::Disk { path, error }));
        }
    }

    fn handle_done(&mut self, built: Result<Built, LoadError>) {
        let Some(Work { why, bundle, files, .. }) = self.work.take() else { return };
        let answers = match bundle {
            Some(incoming) => self.put_bundle_in_force(incoming, built),
            None => {
                self.put_base_in_force(why, built);
                Vec::new()
            }
        };
        let named: Vec<&Name> = self.record.iter().flat_map(Record::files).collect();
        files.iter().filter(|file| !named.contains(file)).for_each(|file| self.shop.discard(file));
        self.status.update(|status| BundleStatus { building: None, ..status.clone() });
        // Only now: who hears that it was refused finds nothing left of it.
        answers.into_iter().for_each(|(reply, result)| answer(reply, result));
        while self.work.is_none()
            && let Some((arrived, reply)) = self.waiting.pop_front()
        {
            self.handle_arrived(arrived, reply);
        }
        self.merge_if_due();
    }

    /// Gives what each that waits for it is to hear.
    fn put_bundle_in_force(&mut self, incoming: Incoming, built: Result<Built, LoadError>) -> Vec<Answer> {
        let Incoming { header, provenance, reply } = incoming;
        let result = built.and_then(|built| {
            let layers = Layers::new(Arc::clone(&built.index), None);
            let layers = layers.map_err(index(&self.shop.path(&built.name)))?;
            let held = layers.base().meta().held.clone();
            self.refuse_nothing(&layers, &held)?;
            let Some(bundle) = built.source else { return Err(LoadError::Interrupted) };
            let record = Record {
                vedetta_bundles: Record::FORMAT,
                serial: header.serial,
                set: layers.set(),
                issuer: header.issuer,
                created: header.created,
                verified_at: clock::now(),
                root_sha256: self.root_sha256.clone(),
                provenance: Some(provenance),
                bundle,
                deltas: Vec::new(),
                base: built.name,
                overlay: None,
                held,
            };
            self.commit(record, layers)
        });
        if result.is_ok() {
            self.mended();
        }
        let mut result =
            Some(result.map(|in_force| Applied { in_force, is_new: true }).map_err(NotTaken::from));
        let in_force = self.in_force().filter(|in_force| in_force.serial == header.serial);
        let known = in_force.map(|in_force| Applied { in_force, is_new: false });
        let mut for_next = || {
            let known = known.clone().ok_or(NotTaken::Unusable(LoadError::Interrupted));
            result.take().unwrap_or(known)
        };
        reply.into_iter().map(|reply| (reply, for_next())).collect()
    }

    /// A full index was built anew or merged: what came since goes above it.
    fn put_base_in_force(&mut self, why: Why, built: Result<Built, LoadError>) {
        let result = built.and_then(|built| self.put_above(why, built));
        match (result, why) {
            (Ok(()), _) => self.mended(),
            (Err(error), Why::Merge) => {
                warn!("{error}; the changes stay above the full index and are merged later");
                self.merge_at = Instant::now() + AGAIN_AFTER;
            }
            (Err(LoadError::Interrupted), _) => {}
            (Err(error), _) => {
                warn!("{error}");
                self.set_trouble(&error.to_string());
                // Room on the disk may come; a file that is gone or is not what was verified stays so.
                if error.is_of_the_files() {
                    self.want_full();
                }
            }
        }
    }

    fn put_above(&mut self, why: Why, built: Built) -> Result<(), LoadError> {
        let Some(record) = self.record.clone() else { return Err(LoadError::Interrupted) };
        let (from, held) = (built.index.meta().serial, built.index.meta().held.clone());
        let base = Layers::new(built.index, None).map_err(index(&self.shop.path(&built.name)))?;
        let since: Vec<Source> = record.deltas.iter().filter(|delta| delta.serial > from).cloned().collect();
        let (layers, overlay, held) = if since.is_empty() {
            (base, None, held)
        } else {
            match self.shop.changed(&base, &built.name, &since, held) {
                Ok(Changed { name, layers, held }) => (layers, Some(name), held),
                Err(error) => {
                    // Better than nothing, until the full bundle is there.
                    if self.layers.is_none() {
                        self.publish(base);
                    }
                    return Err(error);
                }
            }
        };
        if (layers.serial(), layers.set()) != (record.serial, record.set) {
            let path = self.shop.path(&record.bundle.file);
            return Err(LoadError::Changes { path, reason: "it does not come to the set in force".into() });
        }
        // What is held back is not stored, so a merge does not meet it.
        let held = if why == Why::Merge { record.held.clone() } else { held };
        self.commit(Record { base: built.name, overlay, held, ..record }, layers).map(drop)
    }

    fn handle_delta(&mut self, delta: (DeltaHeader, Provenance), file: PathBuf, reply: Reply) {
        let is_whole = matches!((&self.record, &self.layers), (Some(record), Some(layers))
            if record.serial == layers.serial());
        if !is_whole && self.work.is_some() {
            let (header, provenance) = delta;
            return self.waiting.push_back((Arrived::Delta { header, provenance, file }, reply));
        }
        let applied = self.apply_delta(delta, &file).map(|in_force| Applied { in_force, is_new: true });
        self.merge_if_due();
        answer(
            reply,
            applied.map_err(|error| match error {
                LoadError::Changes { reason, .. } => NotTaken::FullNeeded { reason },
                other => other.into(),
            }),
        );
    }

    fn apply_delta(
        &mut self,
        (header, provenance): (DeltaHeader, Provenance),
        file: &Path,
    ) -> Result<InForce, LoadError> {
        let unfit = |reason: &str| LoadError::Changes { path: file.into(), reason: reason.into() };
        let (Some(record), Some(layers)) = (self.record.clone(), self.layers.clone()) else {
            return Err(unfit("no full bundle is in force"));
        };
        if header.base != record.serial || header.base != layers.serial() {
            return Err(unfit("they begin at another bundle than the one in force"));
        }
        if record.deltas.len() >= DELTAS_MAX {
            return Err(unfit("too many came since the last full bundle"));
        }
        let name = Name::new("delta", header.serial, "jsonl.zst");
        record::adopt(&self.shop.folder, file, &name).map_err(disk(file))?;
        let delta = self.shop.source(name.clone(), header.serial, header.changes);
        let changed = delta.and_then(|delta| {
            let one = std::slice::from_ref(&delta);
            let changed = self.shop.changed(&layers, &record.base, one, record.held.clone())?;
            self.refuse_nothing(&changed.layers, &changed.held)
                .inspect_err(|_| self.shop.discard(&changed.name))?;
            Ok((delta, changed))
        });
        let (delta, changed) = changed.inspect_err(|_| self.shop.discard(&name))?;
        let mut deltas = record.deltas.clone();
        deltas.push(delta);
        let record = Record {
            serial: header.serial,
            set: changed.layers.set(),
            issuer: header.issuer,
            created: header.created,
            verified_at: clock::now(),
            provenance: Some(provenance),
            deltas,
            overlay: Some(changed.name),
            held: changed.held,
            ..record
        };
        self.commit(record, changed.layers)
    }

    /// Many changes cost memory and time: they are merged with the full index into a new one.
    fn merge_if_due(&mut self) {
        let may_merge = self.work.is_none() && !self.is_broken;
        let Some(layers) = self.layers.clone().filter(|_| may_merge) else { return };
        let Some(record) = self.record.as_ref().filter(|record| record.serial == layers.serial()) else {
            return;
        };
        let bound =
            (layers.base().meta().indicators() / SHARE_OF_BASE).min(CHANGES_MAX).max(self.merge_above);
        if changes(&layers) <= bound || Instant::now() < self.merge_at {
            return;
        }
        let (serial, name) = (record.serial, Name::new("base", record.serial, "index"));
        info!(%serial, changes = changes(&layers), "merging the changes into the full index");
        self.begin(Why::Merge, (serial, vec![name.clone()]), None, move |shop, progress| {
            shop.merged(&layers, name, progress)
        });
    }

    /// A set with nothing to look for never replaces one with something.
    fn refuse_nothing(&self, layers: &Layers, held: &HeldBack) -> Result<(), LoadError> {
        let before = self.layers.as_ref().map_or(0, Layers::indicators);
        if before == 0 || layers.indicators() > 0 {
            return Ok(());
        }
        let held = held.iter().map(|(reason, held)| (reason.clone(), held.count)).collect();
        Err(LoadError::Nothing { serial: layers.serial(), before, held })
    }

    /// Puts the record in the place of the one before, then swaps what is compared with, then removes what was.
    fn commit(&mut self, record: Record, layers: Layers) -> Result<InForce, LoadError> {
        if let Err(error) = record.write(&self.shop.folder) {
            let old: Vec<&Name> = self.record.iter().flat_map(Record::files).collect();
            record.files().filter(|file| !old.contains(file)).for_each(|file| self.shop.discard(file));
            return Err(disk(&self.shop.folder)(error));
        }
        let in_force = InForce::of(&self.shop.folder, &record, &layers);
        self.record = Some(record);
        self.tell_provenance();
        self.publish(layers);
        let files = self.record.iter().flat_map(Record::files);
        let kept = files.chain(self.work.iter().flat_map(|work| &work.files));
        record::remove_leftovers(&self.shop.folder, kept);
        Ok(in_force)
    }

    fn publish(&mut self, layers: Layers) {
        self.matcher.publish(Matcher::new(layers.clone()));
        self.layers = Some(layers);
        let in_force = self.in_force();
        if let Some(in_force) = &in_force {
            info!(serial = %in_force.serial, indicators = in_force.indicators, changes = in_force.changes, "bundle in force");
            for (reason, held) in &in_force.held {
                warn!(reason, count = held.count, examples = ?held.examples, "indicators are held back");
            }
        }
        self.status.update(|status| BundleStatus { in_force: in_force.clone(), ..status.clone() });
    }

    fn in_force(&self) -> Option<InForce> {
        Some(InForce::of(&self.shop.folder, self.record.as_ref()?, self.layers.as_ref()?))
    }

    fn want_full(&self) {
        self.want.send_replace(true);
    }

    fn mended(&mut self) {
        self.is_broken = false;
        self.want.send_replace(false);
        self.set_trouble("");
    }

    fn set_trouble(&self, trouble: &str) {
        self.status.update(|status| BundleStatus { trouble: trouble.to_owned(), ..status.clone() });
    }
}

/// Nobody listens any more when a connection ended meanwhile.
fn answer(reply: Reply, result: Result<Applied, NotTaken>) {
    let _ = reply.send(result);
}

//! The agent's small state, which can be rebuilt: sled behind one type, because its `flush` does not reach the
//! disk and a damaged file can make it panic, hang or open empty (see [`State::open`]).

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing::warn;

/// sled's default is 1 GiB; the state is a few kilobytes.
const CACHE_BYTES: u64 = 1 << 20;
/// A dropped instance lets go of its lock within this time.
const LOCK_SECONDS_MAX: Duration = Duration::from_secs(5);
/// A damaged file can make sled spin for ever.
const OPEN_SECONDS_MAX: Duration = Duration::from_secs(20);
/// Damaged states that are kept for a look.
const QUARANTINED_MAX: usize = 2;
/// A key that every whole state has: without it a state that opens empty would pass for a new one.
const MADE: &[u8] = b"made";
const TREE: &str = "positions";
/// Beside the database: its writer saw it damaged.
const DAMAGED: &str = "damaged";

/// Why the state cannot be used now.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The folder or the disk.
    #[error("the state {} cannot be used: {error}; check the folder's owner and the space left", folder.display())]
    Io {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// Damaged while in use; the next start rebuilds it.
    #[error("the state {} is damaged ({reason}); the agent begins anew without it", folder.display())]
    Damaged {
        /// Which folder.
        folder: PathBuf,
        /// What sled said.
        reason: String,
    },
}

/// What [`State::open`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: the agent's first start.
    New,
    /// What was saved.
    Kept,
    /// Something damaged, which was put aside.
    Rebuilt,
}

/// Values by name, each with its own checksum.
pub struct State {
    folder: PathBuf,
    db: sled::Db,
    tree: sled::Tree,
    names: RefCell<Names>,
}

/// Which names were ever saved, in a small file beside the database: one that lost its end, or was removed, opens
/// without a word, and what it has forgotten would pass for new.
struct Names {
    path: PathBuf,
    hashes: BTreeSet<u32>,
}

impl Names {
    /// What the file says; a damaged line is a name that is missing.
    fn read(folder: &Path) -> Self {
        let path = folder.with_extension("names");
        let text = fs::read(&path).unwrap_or_default();
        let lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let hash = |line| u32::from_str_radix(std::str::from_utf8(line).ok()?, 16).ok();
        Self { path, hashes: lines.map(|line| hash(line).unwrap_or(0)).collect() }
    }

    /// Keeps to what the database has. Gives whether names were missing in it.
    fn compare(&mut self, tree: &sled::Tree) -> bool {
        let entries = tree.iter().filter_map(Result::ok).filter(|(_, value)| unsealed(value).is_some());
        let present: BTreeSet<u32> = entries.map(|(name, _)| crc32fast::hash(&name)).collect();
        let missing = !self.hashes.is_subset(&present);
        self.hashes = present;
        missing
    }

    /// Names were saved or forgotten. A file that cannot be written is written with the next new name.
    fn change(&mut self, saved: &[u32], forgotten: &[u32]) {
        let mut changed = self.hashes.clone();
        changed.extend(saved);
        changed.retain(|hash| !forgotten.contains(hash));
        if changed == self.hashes {
            return;
        }
        let text: String = changed.iter().map(|hash| format!("{hash:08x}\n")).collect();
        let unfinished = self.path.with_extension("names.new");
        let written = fs::write(&unfinished, text)
            .and_then(|()| File::open(&unfinished)?.sync_all())
            .and_then(|()| fs::rename(&unfinished, &self.path));
        if written.is_ok() {
            self.hashes = changed;
        }
    }
}

enum Trial {
    Good(sled::Db, sled::Tree),
    Io(io::Error),
    Damaged(String),
}

impl State {
    /// Opens the state under a watchdog. Leftovers that sled 0.34.7 cannot open are removed; what is damaged
    /// is put aside and an empty state begins.
    ///
    /// # Errors
    /// When the folder or the disk cannot be used; nothing is put aside for that.
    pub fn open(folder: &Path) -> Result<(Self, Opened), StateError> {
        let io_error = |error| StateError::Io { folder: folder.into(), error };
        let existed = folder.join("db").exists();
        remove_snapshots(folder, |name| name.ends_with(".generating")).map_err(io_error)?;
        let marked = folder.join(DAMAGED).exists();
        let first = if marked { Trial::Damaged("seen before".into()) } else { try_open(folder, existed) };
        let reason = match first {
            Trial::Good(db, tree) => {
                let opened = if existed { Opened::Kept } else { Opened::New };
                return Ok(Self::whole(folder, (db, tree), opened));
            }
            Trial::Io(error) => return Err(io_error(error)),
            Trial::Damaged(reason) => reason,
        };
        // Without its snapshots sled reads its whole log again, which often is intact.
        remove_snapshots(folder, |name| name.starts_with("snap.")).map_err(io_error)?;
        if !marked && let Trial::Good(db, tree) = try_open(folder, existed) {
            return Ok(Self::whole(folder, (db, tree), Opened::Kept));
        }
        let aside = quarantine(folder).map_err(io_error)?;
        warn!(reason, aside = %aside.display(), "the state was damaged and is rebuilt; logs are read again");
        match try_open(folder, false) {
            Trial::Good(db, tree) => Ok(Self::whole(folder, (db, tree), Opened::Rebuilt)),
            Trial::Io(error) => Err(io_error(error)),
            Trial::Damaged(reason) => Err(StateError::Damaged { folder: folder.into(), reason }),
        }
    }

    /// A state that opened, unless names that were saved are missing in it.
    fn whole(folder: &Path, (db, tree): (sled::Db, sled::Tree), opened: Opened) -> (Self, Opened) {
        let mut names = Names::read(folder);
        let missing = names.compare(&tree);
        if missing && opened != Opened::Rebuilt {
            warn!(folder = %folder.display(), "the state has lost positions; those logs are read again");
        }
        let opened = if missing { Opened::Rebuilt } else { opened };
        (Self { folder: folder.into(), db, tree, names: RefCell::new(names) }, opened)
    }

    /// What was saved under a name; `None` for nothing and for what its checksum does not fit.
    pub fn load<T: DeserializeOwned>(&self, name: &[u8]) -> Option<T> {
        let value = self.tree.get(name).ok()??;
        unseal(&value)
    }

    /// Every name and value.
    pub fn load_all<T: DeserializeOwned>(&self) -> Vec<(Vec<u8>, T)> {
        let entries = self.tree.iter().filter_map(Result::ok);
        entries.filter_map(|(name, value)| Some((name.to_vec(), unseal(&value)?))).collect()
    }

    /// Saves values; when this returns `Ok` they are on disk.
    ///
    /// # Errors
    /// When the disk is full or the state is damaged; what was saved before may be there or not.
    pub fn save<T: Serialize>(&self, values: &[(Vec<u8>, T)]) -> Result<(), StateError> {
        let mut batch = sled::Batch::default();
        for (name, value) in values {
            let sealed = seal(value).map_err(|error| self.io_error(io::Error::other(error)))?;
            batch.insert(name.as_slice(), sealed);
        }
        self.apply(batch)?;
        let saved: Vec<u32> = values.iter().map(|(name, _)| crc32fast::hash(name)).collect();
        self.names.borrow_mut().change(&saved, &[]);
        Ok(())
    }

    /// Removes values.
    ///
    /// # Errors
    /// When the disk is full or the state is damaged.
    pub fn forget(&self, names: &[Vec<u8>]) -> Result<(), StateError> {
        let mut batch = sled::Batch::default();
        names.iter().for_each(|name| batch.remove(name.as_slice()));
        let forgotten: Vec<u32> = names.iter().map(|name| crc32fast::hash(name)).collect();
        self.names.borrow_mut().change(&[], &forgotten);
        self.apply(batch)
    }

    fn apply(&self, batch: sled::Batch) -> Result<(), StateError> {
        let saved = catch_unwind(AssertUnwindSafe(|| {
            self.tree.apply_batch(batch)?;
            self.db.flush()
        }));
        match saved {
            Ok(Ok(_)) => {}
            Ok(Err(sled::Error::Io(error))) => return Err(self.io_error(error)),
            Ok(Err(error)) => return Err(self.damaged(error.to_string())),
            Err(_) => return Err(self.damaged("sled panicked".into())),
        }
        // sled's flush is sync_file_range: neither metadata nor the drive's cache (STACK.md).
        let synced = File::open(self.folder.join("db")).and_then(|file| file.sync_data());
        synced.map_err(|error| self.io_error(error))
    }

    fn io_error(&self, error: io::Error) -> StateError {
        StateError::Io { folder: self.folder.clone(), error }
    }

    fn damaged(&self, reason: String) -> StateError {
        // If even that cannot be written, the next start finds the damage itself.
        let _ = File::create(self.folder.join(DAMAGED));
        StateError::Damaged { folder: self.folder.clone(), reason }
    }
}

/// Opens and reads everything in a thread of its own, which is left behind if it hangs.
fn try_open(folder: &Path, must_be_made: bool) -> Trial {
    let (done, opened) = mpsc::sync_channel(1);
    let path = folder.to_path_buf();
    let open = move || {
        let trial = catch_unwind(|| open_and_read(&path, must_be_made));
        // Nobody listens after the deadline.
        let _ = done.send(trial.unwrap_or_else(|_| Trial::Damaged("sled panicked".into())));
    };
    if let Err(error) = std::thread::Builder::new().name("state-open".into()).spawn(open) {
        return Trial::Io(error);
    }
    opened.recv_timeout(OPEN_SECONDS_MAX).unwrap_or_else(|_| Trial::Damaged("opening it did not end".into()))
}

fn open_and_read(folder: &Path, must_be_made: bool) -> Trial {
    let (db, tree) = match open_unlocked(folder) {
        Ok(opened) => opened,
        Err(sled::Error::Io(error)) => return Trial::Io(error),
        Err(error) => return Trial::Damaged(error.to_string()),
    };
    for entry in &tree {
        if let Err(error) = entry {
            return Trial::Damaged(error.to_string());
        }
    }
    match db.contains_key(MADE) {
        Ok(true) => Trial::Good(db, tree),
        Ok(false) if must_be_made => Trial::Damaged("it opened empty".into()),
        Ok(false) => match db.insert(MADE, MADE).and_then(|_| db.flush()) {
            Ok(_) => Trial::Good(db, tree),
            Err(sled::Error::Io(error)) => Trial::Io(error),
            Err(error) => Trial::Damaged(error.to_string()),
        },
        Err(error) => Trial::Damaged(error.to_string()),
    }
}

/// Opens it, waiting for an instance of this process that was dropped: sled's threads hold its lock a moment
/// longer. No other process has it, the agent locks its state folder.
fn open_unlocked(folder: &Path) -> sled::Result<(sled::Db, sled::Tree)> {
    let deadline = Instant::now() + LOCK_SECONDS_MAX;
    loop {
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let opened = config.open().and_then(|db| db.open_tree(TREE).map(|tree| (db, tree)));
        match opened {
            // sled 0.34.7 makes a text of the lock's error.
            Err(sled::Error::Io(error))
                if error.to_string().contains("could not acquire lock") && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            opened => return opened,
        }
    }
}

fn remove_snapshots(folder: &Path, which: impl Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with("snap.") && which(name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Puts a damaged state aside and removes the oldest of those that were.
fn quarantine(folder: &Path) -> io::Result<PathBuf> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let aside = folder.with_file_name(format!("{name}.bad.{seconds:020}"));
    fs::rename(folder, &aside)?;
    let mut kept = Vec::new();
    for entry in fs::read_dir(aside.parent().unwrap_or(Path::new(".")))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{name}.bad.")) {
            kept.push(entry.path());
        }
    }
    kept.sort();
    for old in kept.iter().rev().skip(QUARANTINED_MAX) {
        fs::remove_dir_all(old)?;
    }
    Ok(aside)
}

fn seal<T: Serialize>(value: &T) -> serde_json::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut sealed = crc32fast::hash(&json).to_be_bytes().to_vec();
    sealed.extend(json);
    Ok(sealed)
}

fn unseal<T: DeserializeOwned>(sealed: &[u8]) -> Option<T> {
    serde_json::from_slice(unsealed(sealed)?).ok()
}

/// A value's text, if it is as it was sealed.
fn unsealed(sealed: &[u8]) -> Option<&[u8]> {
    let (crc, json) = sealed.split_first_chunk::<4>()?;
    (crc32fast::hash(json).to_be_bytes() == *crc).then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(folder: &Path) -> Vec<(Vec<u8>, u64)> {
        let (state, opened) = State::open(folder).unwrap();
        assert_eq!(opened, Opened::New);
        let values: Vec<(Vec<u8>, u64)> = (0..50).map(|number| (vec![number], u64::from(number))).collect();
        state.save(&values).unwrap();
        values
    }

    /// Opens after the damage; whatever is left must be what was saved.
    fn check_damaged(damage: impl Fn(&Path), expected: Option<Opened>) {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        let values = saved(&folder);
        damage(&folder);
        let (state, opened) = State::open(&folder).unwrap();
        if let Some(expected) = expected {
            assert_eq!(opened, expected);
        }
        let left = state.load_all::<u64>();
        assert!(left.iter().all(|value| values.contains(value)), "a value was made up: {left:?}");
        if opened == Opened::Kept {
            assert_eq!(left, values, "values are missing, and nobody was told");
        }
        state.save(&[(b"new".to_vec(), 7_u64)]).unwrap();
        assert_eq!(state.load::<u64>(b"new"), Some(7));
    }

    #[test]
    fn what_was_saved_is_there_after_a_restart() {
        check_damaged(|_| {}, Some(Opened::Kept));
    }

    #[test]
    fn leftovers_of_a_killed_snapshot_do_no_harm() {
        for bytes in [0, 4, 100] {
            check_damaged(
                |folder| fs::write(folder.join("snap.0000000000000001.generating"), vec![1; bytes]).unwrap(),
                Some(Opened::Kept),
            );
        }
    }

    #[test]
    fn a_damaged_database_is_put_aside_and_rebuilt() {
        check_damaged(|folder| fs::write(folder.join("db"), b"").unwrap(), Some(Opened::Rebuilt));
        check_damaged(|folder| fs::write(folder.join(DAMAGED), b"").unwrap(), Some(Opened::Rebuilt));
    }

    #[test]
    fn no_damaged_byte_gives_a_wrong_value() {
        for part in 0..12 {
            check_damaged(
                |folder| {
                    let mut bytes = fs::read(folder.join("db")).unwrap();
                    let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
                    let at = used * part / 12;
                    bytes[at] ^= 0x10;
                    fs::write(folder.join("db"), bytes).unwrap();
                },
                None,
            );
        }
    }

    #[test]
    fn what_was_removed_or_lost_its_end_is_not_taken_for_new() {
        check_damaged(|folder| fs::remove_dir_all(folder).unwrap(), Some(Opened::Rebuilt));
        check_damaged(
            |folder| {
                let file = fs::OpenOptions::new().write(true).open(folder.join("db")).unwrap();
                file.set_len(file.metadata().unwrap().len() / 2).unwrap();
            },
            None,
        );
    }

    /// Damage while the state is in use, which goes on to be saved to and is opened again after a kill or a stop.
    #[test]
    fn damage_while_it_is_in_use_is_noticed_at_the_next_start() {
        let halve = |folder: &Path| {
            let file = fs::OpenOptions::new().write(true).open(folder.join("db")).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        };
        let flip = |folder: &Path| {
            let mut bytes = fs::read(folder.join("db")).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
            bytes[used / 2] ^= 0x10;
            fs::write(folder.join("db"), bytes).unwrap();
        };
        let leave =
            |folder: &Path| fs::write(folder.join("snap.0000000000000001.generating"), b"half").unwrap();
        let damages: [&dyn Fn(&Path); 4] =
            [&|folder| fs::remove_dir_all(folder).unwrap(), &halve, &flip, &leave];
        for (number, damage) in damages.iter().enumerate() {
            let parent = tempfile::tempdir().unwrap();
            let folder = parent.path().join("state");
            let (state, _) = State::open(&folder).unwrap();
            let old: Vec<(Vec<u8>, u64)> = (0..50).map(|number| (vec![number], 1)).collect();
            state.save(&old).unwrap();
            damage(&folder);
            let newer: Vec<(Vec<u8>, u64)> = (0..50).map(|number| (vec![number], 2)).collect();
            // It may fail: then the positions before are those that count.
            let _ = state.save(&newer);
            drop(state);
            let (state, opened) = State::open(&folder).unwrap();
            let left = state.load_all::<u64>();
            assert!(
                left.iter().all(|value| old.contains(value) || newer.contains(value)),
                "{number}: made up"
            );
            assert!(
                opened == Opened::Rebuilt || left.len() == 50,
                "{number}: {} are left unnoticed",
                left.len()
            );
            state.save(&newer).unwrap();
            assert_eq!(state.load_all::<u64>(), newer);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_used_is_said_and_not_put_aside() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("state");
        fs::write(&folder, b"a file").unwrap();
        let Err(error) = State::open(&folder) else { panic!("opened a file") };
        assert!(matches!(error, StateError::Io { .. }), "{error}");
        assert!(folder.exists());
    }
}

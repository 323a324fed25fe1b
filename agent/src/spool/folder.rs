//! The spool's folder, as its writer and its reader share it: the disk, names of files, and how far records were
//! handed out. What was handed out may be with the collector and is never given up.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, Opening};

/// The disk, and what was handed out of it.
#[derive(Debug)]
pub struct SpoolFolder {
    disk: Box<dyn Disk>,
    /// Held for as long as a batch is read, or a segment replaced: never across a wait for anybody.
    handed_out: Mutex<HandedOut>,
}

/// How far records were handed out, in sequences on disk.
#[derive(Debug)]
pub(super) struct HandedOut {
    /// The newest that was.
    pub newest: u64,
    /// The newest that may be.
    pub limit: u64,
}

impl SpoolFolder {
    /// A folder on a disk.
    pub fn new(disk: impl Disk + 'static) -> Self {
        Self { disk: Box::new(disk), handed_out: Mutex::new(HandedOut { newest: 0, limit: u64::MAX }) }
    }

    /// The disk.
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// What was handed out; nobody else reads or replaces a segment while this is held.
    pub(super) fn handed_out(&self) -> MutexGuard<'_, HandedOut> {
        self.handed_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The collector may have everything up to a sequence.
    pub(super) fn hand_out(&self, up_to: u64) {
        let mut handed_out = self.handed_out();
        handed_out.newest = handed_out.newest.max(up_to);
    }

    /// Lets no more than so many further records out, and gives the newest of them: the writer ends, and has to write
    /// down what the collector may have.
    pub(super) fn close(&self, further: u64) -> u64 {
        let mut handed_out = self.handed_out();
        handed_out.limit = handed_out.newest.saturating_add(further);
        handed_out.limit
    }

    /// First sequences of the segments, in order.
    pub(super) fn firsts(&self) -> io::Result<Vec<u64>> {
        let names = self.disk.list()?;
        let mut firsts: Vec<u64> = names.iter().filter_map(|name| first_of(name)).collect();
        firsts.sort_unstable();
        Ok(firsts)
    }

    /// Opens a segment.
    pub(super) fn segment(&self, first: u64, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        self.disk.open(&segment_name(first), how)
    }

    /// Removes what replacements that did not come to their end left behind.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        let names = self.disk.list()?;
        names.iter().filter(|name| name.ends_with(UNFINISHED)).try_for_each(|name| self.disk.remove(name))
    }

    /// Writes a file in place of another: a crash leaves the old one or the new one.
    pub(super) fn replace(&self, name: &str, bytes: &[u8], durability: Durability) -> io::Result<()> {
        self.disk.rename(&self.prepare(name, bytes, durability)?, name)?;
        if durability == Durability::Synced { self.disk.sync() } else { Ok(()) }
    }

    /// Writes what is to take a file's place, and gives the name under which it waits.
    pub(super) fn prepare(&self, name: &str, bytes: &[u8], durability: Durability) -> io::Result<String> {
        let unfinished = format!("{name}{UNFINISHED}");
        let written = self.disk.open(&unfinished, Opening::Anew).and_then(|file| {
            file.write_at(bytes, 0)?;
            if durability == Durability::Synced { file.sync() } else { Ok(()) }
        });
        if let Err(error) = written {
            // Half a file takes room that is wanted; the next start removes it otherwise.
            let _ = self.disk.remove(&unfinished);
            return Err(error);
        }
        Ok(unfinished)
    }
}

/// Whether a write waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// It waits.
    Synced,
    /// It does not; losing the write is harmless.
    Lazy,
}

const UNFINISHED: &str = ".new";

/// The name of a segment.
pub(super) fn segment_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first sequence of a segment; `None` for other files. Nobody wrote so many records that the upper half of the
/// numbers is in use.
fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_suffix(".seg")?.parse().ok()?;
    (first > 0 && first <= u64::MAX / 2 && segment_name(first) == name).then_some(first)
}

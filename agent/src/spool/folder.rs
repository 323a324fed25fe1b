//! The spool's folder, as its writer and its reader share it: the disk, names of files, and how far records were
//! handed out. What was handed out may be with the collector and is never given up.

use std::io::{self, Read as _};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile, Opening, ReadFrom};

/// The disk, and what was handed out of it.
#[derive(Debug)]
pub struct SpoolFolder {
    disk: Box<dyn Disk>,
    /// Held for as long as a batch is read, or a segment replaced: never across a wait for anybody but the disk.
    handed_out: Mutex<HandedOut>,
}

/// How far records were handed out, in sequences on disk.
#[derive(Debug)]
pub(super) struct HandedOut {
    /// The newest that was, or may have been before a crash.
    pub newest: u64,
    /// Up to here the disk says that they may have been.
    written: u64,
}

impl SpoolFolder {
    /// A folder on a disk; until a log is opened in it nobody gives anything up.
    pub fn new(disk: impl Disk + 'static) -> Self {
        Self { disk: Box::new(disk), handed_out: Mutex::new(HandedOut { newest: 0, written: u64::MAX }) }
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

    /// Finds how far a log that ends at `last` was handed out before; all of it, where the disk does not say.
    pub(super) fn find_handed_out(&self, last: u64) {
        let found = self.read_handed_out();
        let newest = found.unwrap_or(last).min(last);
        if found != Some(newest) {
            // Without it the next start takes all for handed out, and gives nothing of that up.
            let _ = self.write_handed_out(newest);
        }
        *self.handed_out() = HandedOut { newest, written: newest };
    }

    /// Notes that records are handed out. The disk says so before, and for further ones up to `ahead` with them: what
    /// the collector may have is not given up after a crash either.
    pub(super) fn note_handed_out(&self, handed_out: &mut HandedOut, up_to: u64, ahead: u64) {
        if up_to > handed_out.written {
            let written = up_to.max(ahead);
            // On a disk that takes nothing records go out all the same: nothing else makes room there.
            if self.write_handed_out(written).is_ok() {
                handed_out.written = written;
            }
        }
        handed_out.newest = handed_out.newest.max(up_to);
    }

    fn read_handed_out(&self) -> Option<u64> {
        let file = self.disk.open(HANDED_OUT, Opening::Read).ok()?;
        let mut text = String::new();
        ReadFrom::new(&*file, 0).take(HANDED_OUT_BYTES_MAX).read_to_string(&mut text).ok()?;
        let (sequence, crc) = text.trim_end().split_once(' ')?;
        let crc = u32::from_str_radix(crc, 16).ok()?;
        (crc32fast::hash(sequence.as_bytes()) == crc).then(|| sequence.parse().ok())?
    }

    fn write_handed_out(&self, up_to: u64) -> io::Result<()> {
        let sequence = up_to.to_string();
        let text = format!("{sequence} {:08x}\n", crc32fast::hash(sequence.as_bytes()));
        self.replace(HANDED_OUT, text.as_bytes(), Durability::Synced)
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
/// Says how far records may have been handed out.
const HANDED_OUT: &str = "handed_out";
const HANDED_OUT_BYTES_MAX: u64 = 64;

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

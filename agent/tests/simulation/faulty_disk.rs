//! A disk in memory that loses power. What was not synced may be lost, kept or torn, each write by itself and in any
//! order; so may names that were made, changed or taken away without a sync of the folder. It also fills up, fails and
//! turns read-only when told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use vedetta_agent::spool::{Disk, DiskFile, Opening};

use crate::seed::Seed;

/// What a disk tears a write into.
const SECTOR_BYTES: usize = 512;
const BLOCK_BYTES: u64 = 4096;

#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => write(to, *offset, bytes),
            Self::Length(length) => to.resize(*length, 0),
        }
    }

    /// Some sectors of it, as they lie in the file.
    fn torn(&self, to: &mut Vec<u8>, seed: &mut Seed) {
        let Self::Write { offset, bytes } = self else { return self.apply(to) };
        let mut from = 0;
        while from < bytes.len() {
            let end = ((offset + from) / SECTOR_BYTES + 1) * SECTOR_BYTES - offset;
            let end = end.min(bytes.len());
            if seed.once_in(2) {
                write(to, offset + from, &bytes[from..end]);
            }
            from = end;
        }
    }
}

fn write(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    if to.len() < offset + bytes.len() {
        to.resize(offset + bytes.len(), 0);
    }
    to[offset..offset + bytes.len()].copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// As programs see it.
    seen: Vec<u8>,
    /// As it is after a power cut at least.
    synced: Vec<u8>,
    /// What lies between.
    unsynced: Vec<Change>,
    allocated: u64,
}

impl Inode {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        self.synced.clone_from(&self.seen);
        self.unsynced.clear();
    }

    fn cut_power(&mut self, seed: &mut Seed) {
        let mut changes = std::mem::take(&mut self.unsynced);
        for index in (1..changes.len()).rev() {
            if seed.once_in(3) {
                changes.swap(index, index - 1);
            }
        }
        for change in changes {
            match seed.below(3) {
                0 => {}
                1 => change.apply(&mut self.synced),
                _ => change.torn(&mut self.synced, seed),
            }
        }
        self.seen.clone_from(&self.synced);
    }
}

#[derive(Clone, Debug)]
enum Naming {
    Made { name: String, inode: usize },
    Renamed { from: String, to: String },
    Removed { name: String },
}

fn rename(names: &mut BTreeMap<String, usize>, naming: &Naming) {
    match naming {
        Naming::Made { name, inode } => {
            names.insert(name.clone(), *inode);
        }
        Naming::Renamed { from, to } => {
            if let Some(inode) = names.remove(from) {
                names.insert(to.clone(), inode);
            }
        }
        Naming::Removed { name } => {
            names.remove(name);
        }
    }
}

/// What goes wrong, until it is told otherwise.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Writes return EIO.
    pub write: bool,
    /// Syncs return EIO: what was written counts as clean and never reaches the disk.
    pub sync: bool,
    /// Everything that changes anything returns EROFS.
    pub read_only: bool,
    /// Bytes of all files; more is ENOSPC.
    pub capacity: Option<u64>,
    /// From this operation on nothing works: the power is gone.
    pub power_until: Option<u64>,
}

#[derive(Clone, Debug, Default)]
struct Platter {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    synced_names: BTreeMap<String, usize>,
    unsynced_names: Vec<Naming>,
    operations: u64,
    faults: Faults,
}

impl Platter {
    /// Counts an operation that changes something, or fails as told.
    fn begin(&mut self) -> io::Result<()> {
        if self.faults.power_until.is_some_and(|until| self.operations >= until) {
            return Err(io::Error::other("the power is gone"));
        }
        if self.faults.read_only {
            return Err(io::Error::from_raw_os_error(30));
        }
        self.operations += 1;
        Ok(())
    }

    /// The disk of the next life: without faults, and without what nobody can reach any more.
    fn again(mut self) -> FaultyDisk {
        self.faults = Faults::default();
        self.operations = 0;
        let may_return = self.unsynced_names.iter().filter_map(|naming| match naming {
            Naming::Made { inode, .. } => Some(*inode),
            _ => None,
        });
        let named = self.names.values().chain(self.synced_names.values()).copied().chain(may_return);
        let named: BTreeSet<usize> = named.collect();
        for (index, inode) in self.inodes.iter_mut().enumerate() {
            if !named.contains(&index) {
                *inode = Inode::default();
            }
        }
        FaultyDisk(Arc::new(Mutex::new(self)))
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].used()).sum()
    }

    fn reserve(&self, more: u64) -> io::Result<()> {
        let full = self.faults.capacity.is_some_and(|capacity| self.used() + more > capacity);
        if full { Err(io::Error::from_raw_os_error(28)) } else { Ok(()) }
    }

    fn name(&mut self, naming: Naming) {
        rename(&mut self.names, &naming);
        self.unsynced_names.push(naming);
    }
}

impl Inode {
    fn used(&self) -> u64 {
        (self.seen.len() as u64).div_ceil(BLOCK_BYTES).max(self.allocated / BLOCK_BYTES) * BLOCK_BYTES
    }
}

/// The disk; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk(Arc<Mutex<Platter>>);

impl FaultyDisk {
    fn platter(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().unwrap()
    }

    /// Changes what goes wrong.
    pub fn set(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.platter().faults);
    }

    /// Operations so far that changed something.
    pub fn operations(&self) -> u64 {
        self.platter().operations
    }

    /// Bytes of all files in whole blocks.
    pub fn used(&self) -> u64 {
        self.platter().used()
    }

    /// Cuts the power and gives the disk as it is found afterwards; the old one stays as it was.
    pub fn after_power_cut(&self, seed: &mut Seed) -> Self {
        let mut platter = self.platter().clone();
        for inode in &mut platter.inodes {
            inode.cut_power(seed);
        }
        let mut namings = std::mem::take(&mut platter.unsynced_names);
        for index in (1..namings.len()).rev() {
            if seed.once_in(4) {
                namings.swap(index, index - 1);
            }
        }
        for naming in namings {
            if seed.once_in(2) {
                rename(&mut platter.synced_names, &naming);
            }
        }
        platter.names = platter.synced_names.clone();
        platter.again()
    }

    /// The disk after the program was killed: everything that was written is there.
    pub fn after_kill(&self) -> Self {
        self.platter().clone().again()
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.platter().names.keys().cloned().collect()
    }

    /// Changes what is in a file, as damage does.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut platter = self.platter();
        let inode = platter.names[name];
        let inode = &mut platter.inodes[inode];
        change(&mut inode.seen);
        inode.sync();
    }
}

impl Disk for FaultyDisk {
    fn path(&self) -> &Path {
        Path::new("memory")
    }

    fn make(&self) -> io::Result<()> {
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn open(&self, name: &str, how: Opening) -> io::Result<Box<dyn DiskFile>> {
        let mut platter = self.platter();
        let known = platter.names.get(name).copied();
        let inode = match (known, how) {
            (Some(inode), Opening::Read) => inode,
            (None, Opening::Read) => return Err(io::ErrorKind::NotFound.into()),
            (Some(inode), Opening::Write) if !platter.faults.read_only => inode,
            (Some(inode), _) => {
                platter.begin()?;
                platter.inodes[inode].change(Change::Length(0));
                platter.inodes[inode].allocated = 0;
                inode
            }
            (None, _) => {
                platter.begin()?;
                platter.inodes.push(Inode::default());
                let inode = platter.inodes.len() - 1;
                platter.name(Naming::Made { name: name.into(), inode });
                inode
            }
        };
        Ok(Box::new(FaultyFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if !platter.names.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        platter.name(Naming::Renamed { from: from.into(), to: to.into() });
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if !platter.names.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        platter.name(Naming::Removed { name: name.into() });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = self.platter();
        platter.begin()?;
        if platter.faults.sync {
            return Err(io::Error::from_raw_os_error(5));
        }
        platter.synced_names = platter.names.clone();
        platter.unsynced_names.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let platter = self.platter();
        Ok(platter.faults.capacity.map_or(u64::MAX / 4, |capacity| capacity.saturating_sub(platter.used())))
    }
}

#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    inode: usize,
}

impl DiskFile for FaultyFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let platter = self.disk.platter();
        let seen = &platter.inodes[self.inode].seen;
        let from = usize::try_from(offset).unwrap().min(seen.len());
        let bytes = into.len().min(seen.len() - from);
        into[..bytes].copy_from_slice(&seen[from..from + bytes]);
        Ok(bytes)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut platter = self.disk.platter();
        platter.begin()?;
        let offset = usize::try_from(offset).unwrap();
        if platter.faults.write {
            // Half of it was taken before that was noticed.
            let half = Change::Write { offset, bytes: bytes[..bytes.len() / 2].to_vec() };
            platter.inodes[self.inode].change(half);
            return Err(io::Error::from_raw_os_error(5));
        }
        let length = platter.inodes[self.inode].seen.len();
        let more = (offset + bytes.len()).saturating_sub(length);
        if let Err(error) = platter.reserve((more as u64).div_ceil(BLOCK_BYTES) * BLOCK_BYTES) {
            let half = Change::Write { offset, bytes: bytes[..bytes.len() / 2].to_vec() };
            platter.inodes[self.inode].change(half);
            return Err(error);
        }
        platter.inodes[self.inode].change(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    fn allocate(&self, bytes: u64) -> io::Result<()> {
        let mut platter = self.disk.platter();
        platter.begin()?;
        platter.reserve(bytes)?;
        platter.inodes[self.inode].allocated = bytes;
        Ok(())
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut platter = self.disk.platter();
        platter.begin()?;
        platter.inodes[self.inode].change(Change::Length(usize::try_from(bytes).unwrap()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut platter = self.disk.platter();
        platter.begin()?;
        if platter.faults.sync {
            platter.inodes[self.inode].unsynced.clear();
            return Err(io::Error::from_raw_os_error(5));
        }
        platter.inodes[self.inode].sync();
        Ok(())
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.platter().inodes[self.inode].seen.len() as u64)
    }

    fn allocated(&self) -> io::Result<u64> {
        Ok(self.disk.platter().inodes[self.inode].used())
    }
}

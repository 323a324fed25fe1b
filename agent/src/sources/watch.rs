//! Tells early that something happened in a log's folder. It is a hint and nothing more: what it misses, polling
//! finds within seconds, and where folders cannot be watched polling is all there is.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};

/// Folders that are watched.
const FOLDERS_MAX: usize = 256;
/// Reads of the queue at once, so that a storm of events does not keep the worker.
const READS_AT_ONCE: usize = 64;

/// What happened.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Woken {
    /// Names of files, in whatever folder, to which something happened.
    pub names: HashSet<OsString>,
    /// Names came or went.
    pub moved: bool,
    /// Events were lost: anything may have happened.
    pub all: bool,
}

/// The watched folders.
#[derive(Debug)]
pub struct Watch {
    inotify: Option<Inotify>,
    folders: HashMap<PathBuf, WatchDescriptor>,
}

impl Watch {
    /// Watches nothing yet.
    pub fn new() -> Self {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok();
        Self { inotify, folders: HashMap::new() }
    }

    /// Watches a folder too; gives whether it is watched. The system has a limit, and some folders cannot be.
    pub fn add(&mut self, folder: &Path) -> bool {
        if self.folders.contains_key(folder) {
            return true;
        }
        let Some(inotify) = self.inotify.as_ref().filter(|_| self.folders.len() < FOLDERS_MAX) else {
            return false;
        };
        let what = AddWatchFlags::IN_MODIFY
            | AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE
            | AddWatchFlags::IN_DELETE_SELF
            | AddWatchFlags::IN_MOVE_SELF
            | AddWatchFlags::IN_ONLYDIR;
        match inotify.add_watch(folder, what) {
            Ok(descriptor) => {
                self.folders.insert(folder.into(), descriptor);
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until something happens, but no longer than that.
    pub fn wait(&mut self, patience: Duration) -> Woken {
        let milliseconds = u16::try_from(patience.as_millis()).unwrap_or(u16::MAX);
        let Some(inotify) = &self.inotify else {
            std::thread::sleep(patience);
            return Woken { all: true, ..Woken::default() };
        };
        let mut ready = [PollFd::new(inotify.as_fd(), PollFlags::POLLIN)];
        let mut woken = Woken::default();
        if !poll(&mut ready, PollTimeout::from(milliseconds)).is_ok_and(|ready| ready > 0) {
            return woken;
        }
        let mut gone = Vec::new();
        for _ in 0..READS_AT_ONCE {
            let Ok(events) = inotify.read_events() else { break };
            for event in events {
                let flags = event.mask;
                woken.all |= flags.contains(AddWatchFlags::IN_Q_OVERFLOW);
                let without_folder =
                    AddWatchFlags::IN_DELETE_SELF | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_IGNORED;
                if flags.intersects(without_folder) {
                    gone.push(event.wd);
                }
                woken.moved |= !flags.contains(AddWatchFlags::IN_MODIFY);
                woken.names.extend(event.name);
            }
        }
        for descriptor in gone {
            // The system has dropped it already when the folder is gone.
            let _ = inotify.rm_watch(descriptor);
            self.folders.retain(|_, known| *known != descriptor);
            woken.all = true;
        }
        woken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::time::Instant;

    fn wait_for(watch: &mut Watch, mut condition: impl FnMut(&Woken) -> bool) {
        let begun = Instant::now();
        while !condition(&watch.wait(Duration::from_millis(100))) {
            assert!(begun.elapsed() < Duration::from_secs(10), "nothing happened");
        }
    }

    #[test]
    fn what_happens_in_a_folder_is_told_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new();
        assert!(watch.add(folder.path()) && watch.add(folder.path()));
        assert!(!watch.add(&folder.path().join("missing")));
        fs::write(folder.path().join("log"), "a").unwrap();
        wait_for(&mut watch, |woken| woken.names.contains(&OsString::from("log")) && woken.moved);
        let inner = folder.path().join("inner");
        fs::create_dir(&inner).unwrap();
        assert!(watch.add(&inner));
        fs::remove_dir(&inner).unwrap();
        wait_for(&mut watch, |woken| woken.all);
        assert!(!watch.folders.contains_key(&inner), "a folder that is gone passes for watched");
    }

    #[test]
    fn lost_events_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let mut watch = Watch::new();
        assert!(watch.add(folder.path()));
        let queue: usize =
            fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        // Alternating names are not merged into one event.
        let files = ["a", "b"].map(|name| fs::File::create(folder.path().join(name)).unwrap());
        for number in 0..=queue {
            std::io::Write::write_all(&mut &files[number % 2], b"x").unwrap();
        }
        wait_for(&mut watch, |woken| woken.all);
    }
}

//! Follows one log path through rotation: the file that was renamed is read to its end before the new one. Nothing
//! of a new file is given out before [`Turn::begun`] was told, so that a restart knows which files there were.

use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use super::file_position::PathPosition;
use super::line_reader::{Block, Content, FileId, FilePosition, HandOn, LineReader, Proof, Reading, Reset};
use super::takeup::{Search, Unseen, in_order, open_log, take_up};
pub use super::turn::{FollowError, Gap, Turn};

/// A rotated file is read on for so long after its last line: its writer may not have noticed yet.
const ROTATED_QUIET: Duration = Duration::from_secs(10);
/// Files of one path whose end is remembered.
const REMEMBERED_MAX: usize = 8;
/// Blocks of one turn, so that a busy log does not keep others waiting.
const BLOCKS_AT_ONCE: usize = 8;

/// Where a path begins that was never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With what is written from now on.
    End,
    /// With everything that is there.
    Start,
}

/// What a file is that is no longer under the path's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Old {
    /// Its writer may not have noticed yet.
    Renamed,
    /// Compressed: it does not grow.
    Packed,
    /// A copy of a file before it was truncated, of which so many bytes had been seen.
    Copy { seen: u64 },
}

#[derive(Debug)]
struct OldFile {
    reader: LineReader,
    kind: Old,
}

/// One followed path.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// What it leads to, when it is a link.
    target: Option<PathBuf>,
    /// What was saved, until it can be taken up.
    saved: Option<PathPosition>,
    /// An unfinished line is given out when nothing came for so long.
    partial_after: Duration,
    /// Files that were rotated and are still read, oldest first.
    old: Vec<OldFile>,
    current: Option<LineReader>,
    /// Files that are read to their end and closed.
    closed: Vec<FilePosition>,
    found: Turn,
}

impl Follower {
    /// Follows a path that was never read. What is there now is read according to `beginning`; files that
    /// appear later are read from their start.
    ///
    /// # Errors
    /// When the file is there and cannot be read; it is followed all the same, as soon as it can.
    pub fn begin(path: &Path, beginning: Beginning, partial_after: Duration) -> (Self, Option<FollowError>) {
        let mut follower = Self::new(path, partial_after);
        follower.resolve();
        let trouble = match (follower.open(), beginning) {
            (Err(FollowError::Missing(_)), _) => None,
            (Err(error), _) => Some(error),
            (Ok((file, _)), Beginning::End) => follower.started(LineReader::from_end(file)),
            (Ok((file, id)), Beginning::Start) => {
                follower.started(LineReader::from_start(Content::Plain(file), id))
            }
        };
        (follower, trouble)
    }

    /// Goes on where the path was read before, also in files that were renamed meanwhile.
    pub fn resume(path: &Path, saved: PathPosition, partial_after: Duration) -> Self {
        let saved = Some(saved).filter(|saved| !saved.files.is_empty() || !saved.target.is_empty());
        Self { saved, ..Self::new(path, partial_after) }
    }

    fn new(path: &Path, partial_after: Duration) -> Self {
        Self {
            path: path.into(),
            target: None,
            saved: None,
            partial_after,
            old: Vec::new(),
            current: None,
            closed: Vec::new(),
            found: Turn::default(),
        }
    }

    fn started(&mut self, reader: io::Result<LineReader>) -> Option<FollowError> {
        match reader {
            Ok(reader) => {
                self.current = Some(reader.begun_now());
                None
            }
            Err(error) => Some(self.error(error)),
        }
    }

    /// Takes up what was saved. Until that can be done nothing is read.
    fn take_up_saved(&mut self) -> Result<(), FollowError> {
        let Some(saved) = self.saved.clone() else { return Ok(()) };
        let opened = match self.open() {
            Err(FollowError::Missing(_)) => None,
            opened => Some(opened?),
        };
        self.take_up(opened, &saved).map_err(|error| self.error(error))?;
        self.saved = None;
        Ok(())
    }

    fn take_up(&mut self, opened: Option<(fs::File, FileId)>, saved: &PathPosition) -> io::Result<()> {
        let mut contents = in_order(saved.files.clone());
        // It may have grown.
        contents.iter_mut().next_back().into_iter().for_each(|newest| newest.open = true);
        let (mut unseen, mut cut) = (Unseen::Files, None);
        if let Some((file, id)) = opened {
            let mine = contents.iter().rposition(|content| content.id.is(&id));
            let position = mine.and_then(|mine| contents.get(mine)).copied();
            let (mut reader, went_on) = self.reopen(file, id, position)?;
            let truncations = reader.position().truncations;
            match position.filter(|position| position.open) {
                // Nothing may have been put down of it before it was truncated once more: then there is a newer
                // copy than that of the content before.
                Some(position) if went_on && position.may_be_cut() => {
                    reader.look_at_head();
                    unseen = Unseen::Copies(id, truncations.wrapping_add(1));
                }
                Some(_) if !went_on => {
                    cut = Some(0);
                    unseen = Unseen::Copies(id, truncations);
                }
                _ => contents
                    .iter_mut()
                    .filter(|content| content.is_of(&reader.position()))
                    .for_each(|content| content.open = false),
            }
            self.current = Some(reader);
        }
        if contents.last().is_none_or(|newest| !newest.open) {
            unseen = Unseen::Nothing;
        }
        let current = self.current.as_ref().map(LineReader::position);
        let is_current = |content: &&FilePosition| current.is_some_and(|current| current.is_of(content));
        self.closed =
            contents.iter().filter(|content| !content.open && !is_current(content)).copied().collect();
        let homes = self.homes(&saved.target);
        self.read_on(&Search { homes: &homes, contents: &contents, current, unseen }, cut)
    }

    /// Of content that was begun when nothing was there yet it is not known by anything that it is still the same: it
    /// may have been copied and truncated since. What it is known by is put down before it is read.
    fn settle_blank(&mut self) -> io::Result<()> {
        let Some(current) = &mut self.current else { return Ok(()) };
        let blank = current.position();
        if !blank.is_blank() || !blank.may_be_cut() || current.lag_bytes() == 0 {
            return Ok(());
        }
        current.look_at_head();
        self.found.begun |= !current.position().is_blank();
        self.find_copies(blank, None)
    }

    /// Looks for copies of content that was truncated, or may have been, and of what came after it.
    fn find_copies(&mut self, content: FilePosition, cut: Option<u64>) -> io::Result<()> {
        let current = self.current.as_ref().map(LineReader::position);
        let is_current = |known: &FilePosition| current.is_some_and(|current| current.is_of(known));
        let known = self.files().filter(|known| !is_current(known));
        let known = known.map(|known| FilePosition { open: false, ..known });
        let contents = in_order(known.chain([FilePosition { open: true, ..content }]).collect());
        let homes = self.homes(&[]);
        let unseen = Unseen::Copies(content.id, content.truncations.wrapping_add(1));
        let search = Search { homes: &homes, contents: &contents, current, unseen };
        self.read_on(&search, cut).inspect_err(|_| {
            let (generation, from) = (content.truncations, content.offset);
            self.found.gaps.push(Gap { generation, from, seen: cut.unwrap_or(from) });
        })
    }

    /// A file under the path that was read before up to this position; gives whether it is still the same content.
    fn reopen(
        &mut self,
        file: fs::File,
        id: FileId,
        position: Option<FilePosition>,
    ) -> io::Result<(LineReader, bool)> {
        let mut content = Content::Plain(file);
        self.found.begun = true;
        let Some(position) = position else { return Ok((LineReader::from_start(content, id)?, false)) };
        // Of a device that has another number since a reboot.
        let position = FilePosition { id, ..position };
        if position.is_blank() {
            return Ok((LineReader::from_start_as(content, position)?, true));
        }
        if position.prove(&mut content)? == Proof::Same {
            return Ok((LineReader::resume(content, position)?, true));
        }
        let mut reader = LineReader::from_start_as(content, position)?;
        // Where the file system tells no birth an inode comes again.
        self.count_reset(match id.born {
            None => Reset::Reborn,
            Some(_) if reader.lag_bytes() < position.offset => Reset::Shorter,
            Some(_) => Reset::Content,
        });
        reader.begin_again();
        Ok((reader, false))
    }

    /// Opens what a search finds, and says what it does not find. `cut` is for a file that was truncated: how much of
    /// it had been seen.
    fn read_on(&mut self, search: &Search<'_>, cut: Option<u64>) -> io::Result<()> {
        let mut taken = take_up(search)?;
        let newest = search.contents.last();
        let seen_of = |position: &FilePosition| {
            cut.filter(|_| newest.is_some_and(|newest| newest.is_of(position))).unwrap_or(0)
        };
        for reader in taken.readers {
            let position = reader.position();
            let seen = seen_of(&position);
            let truncated =
                cut.is_some() || search.current.is_some_and(|current| current.id.is(&position.id));
            let kind = match reader.may_grow() {
                _ if truncated => Old::Copy { seen },
                true => Old::Renamed,
                false => Old::Packed,
            };
            self.old.push(OldFile { reader, kind });
            self.found.begun = true;
        }
        for missing in taken.missing {
            self.found.gaps.push(Gap {
                generation: missing.truncations,
                from: missing.offset,
                seen: seen_of(&missing).max(missing.offset),
            });
            // A copy that ends before what was read is still a copy of it.
            self.remember(FilePosition { open: false, ..missing });
        }
        if let Some(current) = &mut self.current {
            if let Some(truncations) = taken.truncations {
                while current.position().truncations != truncations {
                    current.begin_again();
                }
                self.found.begun = true;
                self.count_reset(Reset::Content);
            } else if taken.doubtful {
                let FilePosition { truncations: generation, offset: from, .. } = current.position();
                self.found.gaps.push(Gap { generation, from, seen: from });
            }
        }
        self.found.unreadable.append(&mut taken.unreadable);
        Ok(())
    }

    fn open(&self) -> Result<(fs::File, FileId), FollowError> {
        if self.is_anybodys_link() {
            return Err(FollowError::Link(self.path.clone()));
        }
        open_log(&self.path).map_err(|error| self.error(error))
    }

    /// In a folder that everybody may write anybody may make a log's name lead to any file.
    fn is_anybodys_link(&self) -> bool {
        let Ok(link) = fs::symlink_metadata(&self.path) else { return false };
        let folder = self.path.parent().and_then(|folder| fs::metadata(folder).ok());
        link.is_symlink()
            && folder.is_some_and(|folder| {
                folder.mode() & 0o002 != 0 && link.uid() != folder.uid() && link.uid() != 0
            })
    }

    fn error(&self, error: io::Error) -> FollowError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::NotFound => FollowError::Missing(path),
            io::ErrorKind::PermissionDenied => FollowError::Permission(path),
            io::ErrorKind::InvalidInput => FollowError::NotAFile(path),
            _ => FollowError::Other { path, error },
        }
    }

    /// The path as configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it leads to, when it is a link.
    pub fn target(&self) -> Option<&Path> {
        self.target.as_deref()
    }

    /// Whether it reads, or has read, this file.
    pub fn knows(&self, id: &FileId) -> bool {
        self.files().any(|position| position.id.is(id))
    }

    /// Whether it has files open besides the one under the path's name, which no event tells of.
    pub fn is_catching_up(&self) -> bool {
        !self.old.is_empty()
            || self.saved.is_some()
            || self.current.as_ref().is_some_and(LineReader::has_unfinished)
    }

    /// Whether nothing is under the path and everything that was is read.
    pub fn is_over(&self) -> bool {
        self.current.is_none() && self.old.is_empty() && self.saved.is_none()
    }

    /// Bytes that are there and not read.
    pub fn lag_bytes(&self) -> u64 {
        let old = self.old.iter().map(|old| old.reader.lag_bytes());
        old.chain(self.current.iter().map(LineReader::lag_bytes)).sum()
    }

    fn files(&self) -> impl Iterator<Item = FilePosition> {
        let old = self.old.iter().map(|old| old.reader.position());
        let current = self.current.iter().map(LineReader::position);
        self.closed.iter().copied().chain(old).chain(current)
    }

    /// Up to where the path is read.
    pub fn position(&self) -> PathPosition {
        if let Some(saved) = &self.saved {
            return saved.clone();
        }
        let target = self.target.clone().unwrap_or_default().into_os_string().into_vec();
        PathPosition { files: self.files().collect(), target }
    }

    fn homes(&self, target: &[u8]) -> Vec<PathBuf> {
        let before = Some(PathBuf::from(std::ffi::OsStr::from_bytes(target)));
        let mut homes = vec![self.path.clone()];
        for home in [before, self.target.clone()].into_iter().flatten() {
            if !homes.contains(&home) && home.is_absolute() {
                homes.push(home);
            }
        }
        homes
    }

    fn resolve(&mut self) {
        let is_link = fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.is_symlink());
        self.target = is_link.then(|| fs::canonicalize(&self.path).ok()).flatten();
    }

    /// Reads what is new, oldest file first, and hands each line on.
    pub fn turn(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> Turn {
        let error = self.step(block, hand_on).err();
        let mut turn = std::mem::take(&mut self.found);
        for reader in self.old.iter_mut().map(|old| &mut old.reader).chain(&mut self.current) {
            turn.count(reader.take_counts());
        }
        let missing = || Some(FollowError::Missing(self.path.clone())).filter(|_| self.is_over());
        turn.trouble = error.or_else(missing);
        turn.more |= turn.begun;
        turn
    }

    fn step(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> Result<(), FollowError> {
        if self.saved.is_some() {
            self.take_up_saved()?;
            self.resolve();
        }
        if !self.found.begun {
            self.read_files(block, hand_on).map_err(|error| self.error(error))?;
        }
        if self.found.begun || self.found.more || self.found.paused {
            return Ok(());
        }
        self.close_done(block, hand_on).map_err(|error| self.error(error))?;
        self.notice_rotation()
    }

    fn read_files(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> io::Result<()> {
        let mut blocks = 0;
        let mut index = 0;
        while let Some(old) = self.old.get_mut(index) {
            match read_blocks(&mut old.reader, &mut blocks, block, hand_on) {
                Ok(Reading::End) => {
                    // The end of a copy comes before what follows in the log.
                    if old.kind != Old::Renamed && !old.reader.give_unfinished(block, hand_on)? {
                        self.found.paused = true;
                        return Ok(());
                    }
                    index += 1;
                }
                Ok(Reading::Reset(_)) | Err(_) => self.give_up(index),
                Ok(reading) => {
                    self.found.more = true;
                    self.found.paused = reading == Reading::Paused;
                    return Ok(());
                }
            }
        }
        self.settle_blank()?;
        if self.found.begun {
            return Ok(());
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        match read_blocks(current, &mut blocks, block, hand_on)? {
            Reading::End => {}
            Reading::Reset(reset) => self.begin_again(reset)?,
            reading => {
                self.found.more = true;
                self.found.paused = reading == Reading::Paused;
            }
        }
        Ok(())
    }

    /// A rotated file that cannot be read to its end.
    fn give_up(&mut self, index: usize) {
        let mut lost = self.old.remove(index).reader;
        let position = lost.position();
        self.found.count(lost.take_counts());
        let (generation, from) = (position.truncations, position.offset);
        self.found.gaps.push(Gap { generation, from, seen: lost.bytes_seen() });
        self.remember(FilePosition { open: false, ..position });
    }

    /// The file was truncated. What was not read of it may be in a copy, which logrotate's `copytruncate` makes.
    fn begin_again(&mut self, reset: Reset) -> io::Result<()> {
        let Some(mut reader) = self.current.take() else { return Ok(()) };
        self.count_reset(reset);
        self.found.count(reader.take_counts());
        let (before, seen) = (reader.position(), reader.bytes_seen());
        reader.begin_again();
        self.current = Some(reader);
        self.found.begun = true;
        self.find_copies(before, Some(seen))
    }

    /// Another file under the path's name: the one before is read on beside it.
    fn notice_rotation(&mut self) -> Result<(), FollowError> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.retire_current();
                return Ok(());
            }
            metadata => metadata.map_err(|error| self.error(error))?,
        };
        let id = FileId::of(&metadata);
        if self.current.as_ref().is_some_and(|current| current.position().id.is(&id)) {
            if self.target.is_some() {
                self.resolve();
            }
            return Ok(());
        }
        let (file, id) = self.open()?;
        self.retire_current();
        let before = self.target.take().unwrap_or_default().into_os_string().into_vec();
        self.resolve();
        self.replace(file, id, &before).map_err(|error| self.error(error))
    }

    fn replace(&mut self, file: fs::File, id: FileId, target: &[u8]) -> io::Result<()> {
        // A file that was renamed and renamed back is read on where it was.
        let back =
            self.old.iter().position(|old| old.kind == Old::Renamed && old.reader.position().id.is(&id));
        if let Some(back) = back {
            self.current = Some(self.old.remove(back).reader);
            return Ok(());
        }
        let known = self.files().map(|known| FilePosition { open: false, ..known });
        let known = in_order(known.collect());
        let before = known.iter().rev().find(|known| known.id.is(&id)).copied();
        let (reader, _) = self.reopen(file, id, before)?;
        // Files that came and were renamed between two looks.
        let homes = self.homes(target);
        let search = Search {
            homes: &homes,
            contents: &known,
            current: Some(reader.position()),
            unseen: if known.is_empty() { Unseen::Nothing } else { Unseen::Files },
        };
        self.read_on(&search, None)?;
        self.closed.retain(|closed| !closed.is_of(&reader.position()));
        self.current = Some(reader);
        Ok(())
    }

    fn retire_current(&mut self) {
        if let Some(reader) = self.current.take() {
            self.old.push(OldFile { reader, kind: Old::Renamed });
        }
    }

    /// Rotated files that are read to their end and stay quiet are done. A last line without an end is given out
    /// then, and that of the current file when nothing came for a while.
    fn close_done(&mut self, block: &mut Block, hand_on: &mut HandOn<'_>) -> io::Result<()> {
        let mut index = 0;
        while let Some(old) = self.old.get_mut(index) {
            let quiet = old.reader.grown_at().elapsed();
            // A restart does not make a file young again.
            let quiet = quiet.max(old.reader.written_ago());
            let over = old.kind != Old::Renamed || quiet >= ROTATED_QUIET;
            if (over || quiet >= self.partial_after) && !old.reader.give_unfinished(block, hand_on)? {
                self.found.paused = true;
                return Ok(());
            }
            if !over {
                index += 1;
                continue;
            }
            let mut done = self.old.remove(index);
            self.found.count(done.reader.take_counts());
            let position = done.reader.close();
            if let Old::Copy { seen } = done.kind {
                let from = position.offset;
                self.found.gaps.push(Gap { generation: position.truncations, from, seen: seen.max(from) });
            }
            self.remember(position);
        }
        if let Some(current) = &mut self.current
            && current.grown_at().elapsed() >= self.partial_after
            && !current.give_unfinished(block, hand_on)?
        {
            self.found.paused = true;
        }
        Ok(())
    }

    fn remember(&mut self, position: FilePosition) {
        self.closed.push(position);
        let excess = self.closed.len().saturating_sub(REMEMBERED_MAX);
        self.closed.drain(..excess);
    }

    fn count_reset(&mut self, reset: Reset) {
        let [shorter, content, reborn] = &mut self.found.resets;
        *match reset {
            Reset::Shorter => shorter,
            Reset::Content => content,
            Reset::Reborn => reborn,
        } += 1;
    }
}

fn read_blocks(
    reader: &mut LineReader,
    blocks: &mut usize,
    block: &mut Block,
    hand_on: &mut HandOn<'_>,
) -> io::Result<Reading> {
    while *blocks < BLOCKS_AT_ONCE {
        match reader.read(block, hand_on)? {
            Reading::More => *blocks += 1,
            reading => return Ok(reading),
        }
    }
    Ok(Reading::More)
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;

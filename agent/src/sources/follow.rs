//! Follows one log path through rotation: the file that was renamed is read to its end before the new one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::line_reader::{FileId, FilePosition, LineReader, Read, WholeLine};
use super::rotation::{Rotated, rotated};

/// A rotated file is read on for so long after its last line: its writer may not have noticed yet.
const ROTATED_QUIET: Duration = Duration::from_secs(10);
/// Files of one path whose end is remembered.
const REMEMBERED_MAX: usize = 8;
/// Lines of one turn, so that a busy log does not keep others waiting.
const LINES_AT_ONCE: usize = 4096;

/// Up to where the files of one path were read, oldest first; the last is the one under the path's name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathPosition {
    /// Each file.
    pub files: Vec<FilePosition>,
}

/// Where a path begins that was never read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With what is written from now on.
    End,
    /// With everything that is there.
    Start,
}

/// What a turn found besides lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turn {
    /// Lines read.
    pub lines: u64,
    /// Lines cut because they were too long.
    pub cut: u64,
    /// Files that were truncated, or gone, before they were read to their end for certain.
    pub gaps: u64,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// Why a path cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// Nothing there; it is waited for.
    #[error("{} does not exist; the agent waits for it", .0.display())]
    Missing(PathBuf),
    /// The agent's user may not read it.
    #[error(
        "no permission to read {}: add the agent's user to the group that may (often usermod -aG adm vedetta-agent) and restart it",
        .0.display()
    )]
    Permission(PathBuf),
    /// A folder, a pipe or a device.
    #[error("{} is not a file; set logs.files", .0.display())]
    NotAFile(PathBuf),
    /// Anything else.
    #[error("cannot read {}: {error}", path.display())]
    Other {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

#[derive(Debug)]
struct OldFile {
    reader: LineReader,
    last_line: Instant,
}

/// One followed path.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    /// Renamed files that are still read, oldest first.
    old: Vec<OldFile>,
    current: Option<LineReader>,
    /// Files that are read to their end and closed.
    closed: Vec<FilePosition>,
    /// Gaps found when it was opened.
    gaps: u64,
}

impl Follower {
    /// Follows a path that was never read. What is there now is read according to `beginning`; files that
    /// appear later are read from their start.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub fn begin(path: &Path, beginning: Beginning) -> Result<Self, FollowError> {
        let mut follower = Self::waiting(path, PathPosition::default());
        match (follower.open(), beginning) {
            (Err(FollowError::Missing(_)), _) => {}
            (Err(error), _) => return Err(error),
            (Ok(file), Beginning::End) => {
                follower.current = Some(LineReader::from_end(file).map_err(|error| follower.error(error))?);
            }
            (Ok(file), Beginning::Start) => {
                follower.current = Some(LineReader::from_start(file).map_err(|error| follower.error(error))?);
            }
        }
        Ok(follower)
    }

    /// Goes on where the path was read before, also in files that were renamed meanwhile.
    ///
    /// # Errors
    /// When a file is there and cannot be read.
    pub fn resume(path: &Path, saved: &PathPosition) -> Result<Self, FollowError> {
        let mut follower = Self::waiting(path, PathPosition::default());
        let current = match follower.open() {
            Err(FollowError::Missing(_)) => None,
            opened => Some(opened?),
        };
        follower.reopen(current, saved).map_err(|error| follower.error(error))?;
        Ok(follower)
    }

    /// Follows a path that cannot be read yet.
    pub fn waiting(path: &Path, saved: PathPosition) -> Self {
        Self { path: path.into(), old: Vec::new(), current: None, closed: saved.files, gaps: 0 }
    }

    fn reopen(&mut self, current: Option<File>, saved: &PathPosition) -> io::Result<()> {
        let current_id = current.as_ref().map(File::metadata).transpose()?.map(|found| FileId::of(&found));
        let known = |id: &FileId| saved.files.iter().find(|position| position.id.is(id));
        let ids: Vec<FileId> = saved.files.iter().map(|position| position.id).collect();
        let newest = saved.files.last();
        let moved = newest.filter(|newest| !current_id.is_some_and(|id| newest.id.is(&id)));
        let beside = rotated(&self.path, &ids)?;
        let reached = moved.and_then(|moved| beside.iter().position(|file| file.id.is(&moved.id)));
        if moved.is_some_and(|moved| moved.offset > 0) && reached.is_none() {
            self.gaps += 1; // Compressed or deleted while nobody read.
        }
        for (index, file) in beside.into_iter().enumerate() {
            let position = known(&file.id);
            // A file that came and went while nobody read is newer than the one that was read last.
            let unread = position.is_none() && reached.is_some_and(|reached| index > reached);
            if position.is_none() && !unread {
                continue;
            }
            let file = open_file(&file.path)?;
            let reader = match position {
                Some(position) => self.resume_file(file, *position)?,
                None => LineReader::from_start(file)?,
            };
            self.old.push(OldFile { reader, last_line: Instant::now() });
        }
        let Some(file) = current else { return Ok(()) };
        let position = current_id.as_ref().and_then(known);
        self.current = Some(match position {
            Some(position) => self.resume_file(file, *position)?,
            None => LineReader::from_start(file)?,
        });
        Ok(())
    }

    fn resume_file(&mut self, file: File, position: FilePosition) -> io::Result<LineReader> {
        let (reader, same) = LineReader::resume(file, position)?;
        self.gaps += u64::from(!same);
        Ok(reader)
    }

    fn open(&self) -> Result<File, FollowError> {
        let metadata = fs::metadata(&self.path).map_err(|error| self.error(error))?;
        if !metadata.is_file() {
            return Err(FollowError::NotAFile(self.path.clone()));
        }
        open_file(&self.path).map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> FollowError {
        let path = self.path.clone();
        match error.kind() {
            io::ErrorKind::NotFound => FollowError::Missing(path),
            io::ErrorKind::PermissionDenied => FollowError::Permission(path),
            _ => FollowError::Other { path, error },
        }
    }

    /// The path as configured.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it reads, or has read, this file.
    pub fn knows(&self, id: &FileId) -> bool {
        self.files().any(|position| position.id.is(id))
    }

    fn files(&self) -> impl Iterator<Item = FilePosition> {
        let old = self.old.iter().map(|old| old.reader.position());
        let current = self.current.iter().map(LineReader::position);
        self.closed.iter().copied().chain(old).chain(current)
    }

    /// Up to where the path is read.
    pub fn position(&self) -> PathPosition {
        let mut files: Vec<FilePosition> = self.files().collect();
        files.drain(..files.len().saturating_sub(REMEMBERED_MAX));
        PathPosition { files }
    }

    /// Reads what is new, oldest file first, and hands each line on.
    ///
    /// # Errors
    /// When the path cannot be read now; what was read before stays valid.
    pub fn turn(&mut self, hand_on: &mut dyn FnMut(WholeLine<'_>)) -> Result<Turn, FollowError> {
        let mut turn = Turn { gaps: std::mem::take(&mut self.gaps), ..Turn::default() };
        self.read_files(&mut turn, hand_on).map_err(|error| self.error(error))?;
        if turn.more {
            return Ok(turn);
        }
        let replaced = self.notice_rotation()?;
        if replaced {
            // The old file may have grown between its last read and its renaming.
            self.read_files(&mut turn, hand_on).map_err(|error| self.error(error))?;
            turn.more = true;
        }
        self.close_quiet_files(hand_on).map_err(|error| self.error(error))?;
        if self.current.is_none() && self.old.is_empty() {
            return Err(FollowError::Missing(self.path.clone()));
        }
        Ok(turn)
    }

    fn read_files(&mut self, turn: &mut Turn, hand_on: &mut dyn FnMut(WholeLine<'_>)) -> io::Result<()> {
        for old in &mut self.old {
            let before = turn.lines;
            read_lines(&mut old.reader, turn, hand_on)?;
            if turn.lines > before {
                old.last_line = Instant::now();
            }
            if turn.more {
                return Ok(());
            }
        }
        match &mut self.current {
            Some(current) => read_lines(current, turn, hand_on),
            None => Ok(()),
        }
    }

    /// Another file under the path's name: the one before is read on beside it.
    fn notice_rotation(&mut self) -> Result<bool, FollowError> {
        let metadata = match fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.retire_current();
                return Ok(false);
            }
            metadata => metadata.map_err(|error| self.error(error))?,
        };
        let id = FileId::of(&metadata);
        if self.current.as_ref().is_some_and(|current| current.position().id.is(&id)) {
            return Ok(false);
        }
        let file = self.open()?;
        self.retire_current();
        self.take_unseen(&id).map_err(|error| self.error(error))?;
        self.current = Some(self.reader_of(file, id).map_err(|error| self.error(error))?);
        Ok(true)
    }

    /// Files that came and were renamed between two looks: newer than the newest that is known.
    fn take_unseen(&mut self, current: &FileId) -> io::Result<()> {
        let known: Vec<FileId> = self.files().map(|position| position.id).collect();
        let is_known = |file: &Rotated| known.iter().any(|id| id.is(&file.id));
        let beside = rotated(&self.path, &known)?;
        let Some(reached) = beside.iter().rposition(is_known) else { return Ok(()) };
        for file in beside.into_iter().skip(reached + 1).filter(|file| !file.id.is(current)) {
            let reader = LineReader::from_start(open_file(&file.path)?)?;
            self.old.push(OldFile { reader, last_line: Instant::now() });
        }
        Ok(())
    }

    /// A file that was renamed and renamed back is read on where it was.
    fn reader_of(&mut self, file: File, id: FileId) -> io::Result<LineReader> {
        if let Some(index) = self.old.iter().position(|old| old.reader.position().id.is(&id)) {
            return Ok(self.old.remove(index).reader);
        }
        if let Some(index) = self.closed.iter().position(|closed| closed.id.is(&id)) {
            let position = self.closed.remove(index);
            return self.resume_file(file, position);
        }
        LineReader::from_start(file)
    }

    fn retire_current(&mut self) {
        if let Some(reader) = self.current.take() {
            self.old.push(OldFile { reader, last_line: Instant::now() });
        }
    }

    /// A renamed file that stays quiet is done; its last line is given even without an end.
    fn close_quiet_files(&mut self, hand_on: &mut dyn FnMut(WholeLine<'_>)) -> io::Result<()> {
        let mut index = 0;
        while let Some(old) = self.old.get_mut(index) {
            if old.last_line.elapsed() < ROTATED_QUIET {
                index += 1;
                continue;
            }
            let mut done = self.old.remove(index).reader;
            if let Some(line) = done.line() {
                hand_on(line);
            }
            done.finish_line()?;
            let position = done.settle()?;
            self.closed.push(position);
            let excess = self.closed.len().saturating_sub(REMEMBERED_MAX);
            self.closed.drain(..excess);
        }
        Ok(())
    }
}

fn read_lines(
    reader: &mut LineReader,
    turn: &mut Turn,
    hand_on: &mut dyn FnMut(WholeLine<'_>),
) -> io::Result<()> {
    turn.gaps += u64::from(reader.check_truncated()?);
    for _ in 0..LINES_AT_ONCE {
        if reader.read()? == Read::End {
            reader.settle()?;
            turn.cut += reader.take_cut();
            return Ok(());
        }
        if let Some(line) = reader.line() {
            hand_on(line);
            turn.lines += 1;
        }
    }
    turn.more = true;
    turn.cut += reader.take_cut();
    reader.settle().map(drop)
}

/// A pipe under a log's name must not hold the agent.
fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(path)
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;

//! Finds what rotation made of files that were being read: under other names, as copies, or compressed. What a name
//! or an inode suggests, the content has to prove, so that no line is read twice or as another file's.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::fcntl::OFlag;
use tracing::debug;

use super::file_position::{HEAD_BYTES, Head, MARKER_BYTES};
use super::line_reader::{Content, FileId, FilePosition, LineReader, Proof};
use super::packed::{Packed, Packing};
use super::rotation::{Beside, beside};

/// Files of one path that are read at once; of more, the oldest are reported as a gap.
const READERS_MAX: usize = 256;
/// How often a folder that changes meanwhile is listed anew.
const LISTINGS_MAX: usize = 20;
/// Rotation is over soon.
const LISTING_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// What is looked for.
pub struct Search<'a> {
    /// The log's own path, and what it leads to.
    pub homes: &'a [PathBuf],
    /// What was read, oldest first: a file's content each time it was truncated. What is open is sought, to be read on.
    pub contents: &'a [FilePosition],
    /// What is under the path itself. Where it is also sought it may have been truncated since.
    pub current: Option<FilePosition>,
    /// What becomes of files that are newer than those known.
    pub unseen: Unseen,
}

/// What files are that nothing is known of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unseen {
    /// Nothing that is to be read.
    Nothing,
    /// Files of their own, to be read from their start.
    Files,
    /// Copies of this file, which was truncated: the first of them when it had been so often.
    Copies(FileId, u32),
}

/// What was found.
#[derive(Debug, Default)]
pub struct TakenUp {
    /// Oldest first.
    pub readers: Vec<LineReader>,
    /// What was sought in vain.
    pub missing: Vec<FilePosition>,
    /// How often what is under the path had been truncated, when that is more often than was thought.
    pub truncations: Option<u32>,
    /// What is under the path may have been truncated once more: nothing shows what is older.
    pub doubtful: bool,
    /// Files that may have been sought and cannot be unpacked.
    pub unreadable: Vec<PathBuf>,
    /// How often a file was opened.
    pub opened: usize,
}

/// What a file beside the log is.
enum Found {
    /// One of the contents, of which it holds nothing that is to be read.
    Known(usize),
    Sought(usize, Box<LineReader>),
    Unknown,
    /// A copy of what is under the path.
    OfCurrent {
        /// So little of it that it may be of something else.
        weak: bool,
    },
    Unreadable,
}

/// Contents in the order of their time: of one file, by how often it had been truncated.
pub fn in_order(mut contents: Vec<FilePosition>) -> Vec<FilePosition> {
    let numbered: Vec<(FileId, u32)> =
        contents.iter().map(|content| (content.id, content.truncations)).collect();
    if numbered.iter().enumerate().all(|(at, (id, number))| {
        numbered.iter().skip(at).all(|(later, newer)| !later.is(id) || newer >= number)
    }) {
        return contents;
    }
    contents.sort_by_key(|content| {
        let last = numbered.iter().rposition(|(id, _)| id.is(&content.id));
        (last, content.truncations)
    });
    contents
}

/// Opens what is to be read on.
///
/// # Errors
/// When a folder cannot be read.
pub fn take_up(search: &Search<'_>) -> io::Result<TakenUp> {
    let mut listing = 1;
    loop {
        match search.once() {
            Err(error) if error.kind() == io::ErrorKind::NotFound && listing < LISTINGS_MAX => {
                listing += 1;
                std::thread::sleep(LISTING_AGAIN_AFTER);
            }
            taken => {
                let taken = taken?;
                debug!(
                    files = taken.opened,
                    missing = taken.missing.len(),
                    "looked for what rotation made of a log"
                );
                return Ok(taken);
            }
        }
    }
}

impl Search<'_> {
    /// Which of those that are sought is what is under the path, unless that was truncated since.
    fn at_path(&self) -> Option<usize> {
        let current = self.current?;
        self.contents.iter().position(|content| content.open && content.is_of(&current))
    }

    fn once(&self) -> io::Result<TakenUp> {
        let is_current = |id: &FileId| self.current.is_some_and(|current| current.id.is(id));
        let ids = self.contents.iter().map(|content| content.id);
        let wanted: Vec<FileId> = ids.filter(|id| !is_current(id)).collect();
        let mut files = beside(self.homes, &wanted)?;
        // A listing made while rotation renames files may miss some of them.
        let names = |files: &[Beside]| -> BTreeSet<(u64, PathBuf)> {
            files.iter().map(|file| (file.id.inode, file.path.clone())).collect()
        };
        if names(&beside(self.homes, &wanted)?) != names(&files) {
            return Err(io::ErrorKind::NotFound.into());
        }
        files.retain(|file| !is_current(&file.id));
        let mut looking = Looking::new(self, &files);
        for (index, file) in files.iter().enumerate().rev() {
            if looking.is_over(file) {
                break;
            }
            match looking.identify(file)? {
                Found::Known(at) => looking.looked.push((index, Look::Is(at))),
                Found::Sought(at, reader) => {
                    looking.looked.push((index, Look::Is(at)));
                    looking.locate(at, index, *reader);
                }
                Found::OfCurrent { weak } => looking.doubtful |= weak,
                Found::Unknown => looking.looked.push((index, Look::Unknown)),
                Found::Unreadable => looking.looked.push((index, Look::Unreadable)),
            }
        }
        looking.take_unknown()?;
        Ok(looking.taken())
    }

    /// Whether a file of which nothing is known is newer than all contents, when no older file is known; `None` when
    /// nothing tells.
    fn is_newest(&self, file: &Beside) -> Option<bool> {
        let newest = self.contents.last()?;
        let is_first = newest.truncations == 0 || !newest.is_blank();
        match newest.begun_at {
            Some(begun) => Some(file.is_after(begun)),
            None if newest.is_weak() && is_first && newest.id.born.is_some() => {
                Some(!file.is_too_old_for(newest))
            }
            None => None,
        }
    }

    /// Whether a file that stands between others may be content of which little is known.
    fn may_be(&self, file: &Beside, at: usize, is_bounded: bool) -> bool {
        let Some(content) = self.contents.get(at) else { return false };
        let is_dated = content.begun_at.is_some() || content.truncations == 0 && content.id.born.is_some();
        // What came next began later than its copy was written.
        let is_later =
            self.contents.iter().skip(at.saturating_add(1)).any(|next| {
                next.id.is(&content.id) && next.begun_at.is_some_and(|begun| file.is_after(begun))
            });
        !(file.is_too_old_for(content) || is_later) && (is_bounded || is_dated || !content.is_blank())
    }

    /// Whether a file is a copy, finished or not, of what is under the path and was not truncated yet; and then, whether
    /// so little is in it that it may be of something else.
    fn is_of_current(&self, copy: Content) -> io::Result<Option<bool>> {
        let (Some(current), Some(path)) = (&self.current, self.homes.first()) else { return Ok(None) };
        let Content::Plain(copy) = copy else { return Ok(None) };
        let bytes = copy.metadata()?.len();
        if bytes == 0 {
            // A copy may be about to be written.
            return Ok(Some(false).filter(|_| self.unseen != Unseen::Files));
        }
        let Ok((log, id)) = open_log(path) else { return Ok(None) };
        let (mut copy, mut log) = (Content::Plain(copy), Content::Plain(log));
        // Logs of one kind may begin alike: both ends are compared.
        for from in [0, bytes.saturating_sub(HEAD_BYTES as u64)] {
            let (mut copied, mut there) = ([0; HEAD_BYTES], [0; HEAD_BYTES]);
            let read = copy.read_at(&mut copied, from)?;
            let is_there = log.read_at(&mut there, from)? >= read;
            if !id.is(&current.id) || !is_there || copied.get(..read) != there.get(..read) {
                return Ok(None);
            }
        }
        Ok(Some(bytes < MARKER_BYTES as u64))
    }
}

/// What a file was seen to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// This content.
    Is(usize),
    Unknown,
    Unreadable,
}

/// What was found so far.
struct Looking<'a> {
    search: &'a Search<'a>,
    files: &'a [Beside],
    located: Vec<bool>,
    /// Which of the contents a file's inode tells.
    named: Vec<bool>,
    /// The files that were looked at, newest first.
    looked: Vec<(usize, Look)>,
    /// With the place of their files in time.
    readers: Vec<(usize, LineReader)>,
    unreadable: Vec<usize>,
    /// How many of the readers nothing was known of.
    unseen: u32,
    doubtful: bool,
    opened: Cell<usize>,
}

impl<'a> Looking<'a> {
    fn new(search: &'a Search<'a>, files: &'a [Beside]) -> Self {
        let named = |content: &FilePosition| files.iter().any(|file| content.id.is(&file.id));
        Self {
            search,
            files,
            located: vec![false; search.contents.len()],
            named: search.contents.iter().map(named).collect(),
            looked: Vec::new(),
            readers: Vec::new(),
            unreadable: Vec::new(),
            unseen: 0,
            doubtful: false,
            opened: Cell::new(0),
        }
    }

    fn missing(&self) -> impl Iterator<Item = (usize, &'a FilePosition)> {
        let all = self.search.contents.iter().enumerate();
        all.filter(|(at, content)| content.open && self.located.get(*at) == Some(&false))
    }

    fn has_no_name(&self, at: usize) -> bool {
        self.named.get(at) == Some(&false)
    }

    fn found(&self) -> impl Iterator<Item = usize> {
        self.looked.iter().filter_map(|(_, look)| if let Look::Is(at) = look { Some(*at) } else { None })
    }

    /// Whether neither this file nor an older one can be what is sought, or newer than all that is known.
    fn is_over(&self, file: &Beside) -> bool {
        let is_passed = |at: usize, sought: &FilePosition| {
            // A copy does not change any more: those of one file are in the order of its contents.
            let is_of_same =
                |found: usize| self.search.contents.get(found).is_some_and(|found| found.id.is(&sought.id));
            self.found().any(|found| found < at && (sought.is_weak() || is_of_same(found)))
        };
        let is_reached = self.search.unseen == Unseen::Nothing
            || self.found().next().is_some()
            || self.search.is_newest(file) == Some(false);
        is_reached
            && self.missing().all(|(at, sought)| {
                self.has_no_name(at) && (is_passed(at, sought) || file.is_too_old_for(sought))
            })
    }

    fn identify(&self, file: &Beside) -> io::Result<Found> {
        match self.compare(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
            found => Ok(found.unwrap_or(Found::Unreadable)),
        }
    }

    fn compare(&self, file: &Beside) -> io::Result<Found> {
        if file.packing == Some(Packing::Unreadable) {
            return Ok(Found::Unreadable);
        }
        let contents = self.search.contents;
        let by_id = self.missing().filter(|(_, sought)| sought.id.is(&file.id)).last();
        let known = contents.iter().rposition(|known| !known.open && known.id.is(&file.id));
        if let Some(known) = known.filter(|_| by_id.is_none()) {
            return Ok(Found::Known(known));
        }
        let head = self.head(file)?;
        let by_content = self.missing().filter(|(at, sought)| self.has_no_name(*at) && !sought.is_weak());
        for (at, sought) in by_id.into_iter().chain(by_content) {
            if sought.is_blank() {
                let reader = LineReader::from_start_as(self.open(file)?, *sought)?;
                return Ok(Found::Sought(at, Box::new(reader)));
            }
            match self.prove(file, &head, sought)? {
                Some((Proof::Same, content)) => {
                    return Ok(Found::Sought(at, Box::new(LineReader::resume(content, *sought)?)));
                }
                // More was read of the file than was copied of it: what is missing is not here.
                Some((Proof::Shorter, _)) => return Ok(Found::Known(at)),
                Some((Proof::Little | Proof::Other, _)) | None => {}
            }
        }
        for (at, known) in contents.iter().enumerate().filter(|(_, known)| !known.open && !known.is_blank()) {
            let is_known = match self.prove(file, &head, known)? {
                Some((Proof::Same, mut content)) => !known.is_weak() || known.is_all_of(&mut content)?,
                Some((Proof::Shorter, _)) => !known.is_weak(),
                Some((Proof::Little | Proof::Other, _)) | None => false,
            };
            if is_known {
                return Ok(Found::Known(at));
            }
        }
        // Nothing may have been written between two truncations, or all of it too late to be copied.
        if head.is_empty() && matches!(self.search.unseen, Unseen::Copies(..)) {
            return Ok(Found::OfCurrent { weak: true });
        }
        if file.packing.is_none()
            && let Some(weak) = self.search.is_of_current(self.open(file)?)?
        {
            return Ok(Found::OfCurrent { weak });
        }
        Ok(Found::Unknown)
    }

    /// The first bytes, which tell most files apart, are read once.
    fn head(&self, file: &Beside) -> io::Result<Vec<u8>> {
        let mut head = vec![0; HEAD_BYTES];
        let read = self.open(file)?.read_at(&mut head, 0)?;
        head.truncate(read);
        Ok(head)
    }

    fn prove(
        &self,
        file: &Beside,
        head: &[u8],
        content: &FilePosition,
    ) -> io::Result<Option<(Proof, Content)>> {
        if head.len() == HEAD_BYTES && !content.head.begins(head) {
            return Ok(None);
        }
        let mut bytes = self.open(file)?;
        let proof = content.prove(&mut bytes)?;
        Ok(Some((proof, bytes)))
    }

    fn locate(&mut self, at: usize, index: usize, reader: LineReader) {
        self.located.iter_mut().skip(at).take(1).for_each(|located| *located = true);
        self.readers.push((index, reader));
    }

    /// What is told by nothing but its place: between two files that are known are what came between them, and after
    /// the last is what nobody has seen.
    fn take_unknown(&mut self) -> io::Result<()> {
        let looked: Vec<(usize, Look)> = std::mem::take(&mut self.looked).into_iter().rev().collect();
        let mut after = None;
        for (number, (index, look)) in looked.iter().enumerate() {
            let Some(file) = self.files.get(*index) else { continue };
            if let Look::Is(at) = look {
                after = after.max(Some(*at));
                continue;
            }
            let later = looked.iter().skip(number).find_map(|(_, look)| match look {
                Look::Is(at) => Some(*at),
                _ => None,
            });
            let from = after.map_or(0, |after| after.saturating_add(1));
            let between = from..later.unwrap_or(self.search.contents.len());
            let is_newest = if after.is_some() { Some(true) } else { self.search.is_newest(file) };
            let is_newest = is_newest.filter(|_| later.is_none());
            let taken = match look {
                Look::Unknown => self.take(*index, file, between, is_newest == Some(true)),
                _ => Err(io::ErrorKind::Unsupported.into()),
            };
            match taken {
                Ok(Some(at)) => after = Some(at),
                Ok(None) => self.doubtful |= later.is_none() && is_newest.is_none(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) if is_newest == Some(true) => self.unreadable.push(*index),
                Err(_) => self.doubtful |= later.is_none() && is_newest.is_none(),
            }
        }
        Ok(())
    }

    /// The file as the first content between others that it can be, or as one that nobody has seen.
    fn take(
        &mut self,
        index: usize,
        file: &Beside,
        between: Range<usize>,
        is_newest: bool,
    ) -> io::Result<Option<usize>> {
        let is_bounded = between.start > 0;
        let fits =
            |at: &usize| self.located.get(*at) == Some(&false) && self.search.may_be(file, *at, is_bounded);
        let candidates: Vec<usize> = between.filter(fits).collect();
        for at in candidates {
            let Some(content) = self.search.contents.get(at).copied() else { continue };
            let mut bytes = self.open(file)?;
            let proof = content.prove(&mut bytes)?;
            let reader = match proof {
                Proof::Little => match self.take_little(file, bytes, content)? {
                    _ if !content.open => return Ok(Some(at)),
                    Some(reader) => reader,
                    None => return Ok(Some(at)),
                },
                _ if !content.open || !content.is_weak() => continue,
                _ if content.is_blank() => LineReader::from_start_as(bytes, content)?,
                Proof::Same => LineReader::resume(bytes, content)?,
                Proof::Shorter | Proof::Other => continue,
            };
            self.locate(at, index, reader);
            return Ok(Some(at));
        }
        let position = match self.search.unseen {
            _ if !is_newest => return Ok(None),
            Unseen::Nothing => return Ok(None),
            Unseen::Files => FilePosition::new(file.id),
            Unseen::Copies(id, first) => {
                FilePosition { truncations: first.wrapping_add(self.unseen), ..FilePosition::new(id) }
            }
        };
        let reader = LineReader::from_start_as(self.open(file)?, position)?;
        self.unseen = self.unseen.saturating_add(1);
        self.readers.push((index, reader));
        Ok(None)
    }

    /// What ends before all that is known of how the log began: what was seen there was not all copied.
    fn take_little(
        &self,
        file: &Beside,
        mut bytes: Content,
        content: FilePosition,
    ) -> io::Result<Option<LineReader>> {
        let content = FilePosition { head: Head::of(&self.head(file)?), ..content };
        Ok(match content.is_marked(&mut bytes)? {
            _ if content.offset == 0 => Some(LineReader::from_start_as(bytes, content)?),
            Some(true) => Some(LineReader::resume(bytes, content)?),
            Some(false) | None => None,
        })
    }

    fn open(&self, file: &Beside) -> io::Result<Content> {
        self.opened.set(self.opened.get().saturating_add(1));
        open(file)
    }

    /// How often what is under the path had been truncated, when it is not what is sought under its name.
    fn truncations(&self) -> Option<u32> {
        let Unseen::Copies(_, first) = self.search.unseen else { return None };
        let here = self.search.at_path();
        let is_older = here.is_some_and(|at| self.located.get(at) == Some(&true));
        (self.unseen > 0 || is_older).then(|| first.wrapping_add(self.unseen))
    }

    fn taken(mut self) -> TakenUp {
        let truncations = self.truncations();
        let here = self.search.at_path().filter(|_| truncations.is_none());
        let doubtful = here.is_some() && (self.doubtful || !self.unreadable.is_empty());
        let missing = self.missing().filter(|(at, _)| Some(*at) != here);
        let mut missing: Vec<FilePosition> = missing.map(|(_, sought)| *sought).collect();
        self.readers.sort_by_key(|(index, _)| *index);
        let mut readers: Vec<LineReader> = self.readers.into_iter().map(|(_, reader)| reader).collect();
        let excess = readers.len().saturating_sub(READERS_MAX);
        missing.extend(readers.drain(..excess).map(|reader| reader.position()));
        let unreadable = self.unreadable.iter().filter_map(|index| self.files.get(*index));
        let unreadable = unreadable.map(|file| file.path.clone()).collect();
        TakenUp { readers, missing, truncations, doubtful, unreadable, opened: self.opened.get() }
    }
}

fn open(file: &Beside) -> io::Result<Content> {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_NOFOLLOW).bits())
        .open(&file.path)?;
    // Names move on while they are read.
    if !FileId::of(&opened.metadata()?).is(&file.id) {
        return Err(io::ErrorKind::NotFound.into());
    }
    Ok(match file.packing {
        Some(packing) => Content::Packed(Box::new(Packed::open(opened, packing)?)),
        None => Content::Plain(opened),
    })
}

/// Opens the file under a log's path. Nothing that is not a file may hold the agent.
///
/// # Errors
/// When it cannot be opened; `InvalidInput` when it is no file.
pub fn open_log(path: &Path) -> io::Result<(File, FileId)> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((file, FileId::of(&metadata)))
}

//! Finds what rotation made of files that were being read: under other names, as copies, or compressed. What a name
//! or an inode suggests, the content has to prove, so that no line is read twice or as another file's.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::fcntl::OFlag;

use super::file_position::{HEAD_BYTES, MARKER_BYTES};
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
    /// Read to their end, or being read.
    pub known: &'a [FilePosition],
    /// To be read on, oldest first.
    pub sought: &'a [FilePosition],
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
}

/// What a file beside the log is.
enum Found {
    Known,
    Sought(usize, Box<LineReader>),
    Unknown,
    /// A copy of what is under the path.
    OfCurrent {
        /// So little of it that it may be of something else.
        weak: bool,
    },
    Unreadable,
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
            taken => return taken,
        }
    }
}

impl Search<'_> {
    /// Which of those that are sought is what is under the path, unless that was truncated since.
    fn at_path(&self) -> Option<usize> {
        let current = self.current?;
        self.sought.iter().position(|sought| sought.is_of(&current))
    }

    fn once(&self) -> io::Result<TakenUp> {
        let is_current = |id: &FileId| self.current.is_some_and(|current| current.id.is(id));
        let ids = self.known.iter().chain(self.sought).map(|position| position.id);
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
        let mut looking = Looking::new(self.sought, &files);
        let mut reached = None;
        for (index, file) in files.iter().enumerate().rev() {
            match self.identify(file, &looking)? {
                Found::Known => reached = reached.max(Some(index)),
                Found::Sought(sought, reader) => {
                    reached = reached.max(Some(index));
                    looking.locate(sought, index, *reader);
                }
                Found::OfCurrent { weak } => looking.doubtful |= weak,
                Found::Unknown => looking.unknown.push(index),
                Found::Unreadable => looking.unreadable.push(index),
            }
            if reached.is_some() && looking.is_over() {
                break;
            }
        }
        let since = reached.map(|reached| reached + 1);
        let since = since.or_else(|| self.since_begun(&files)).or_else(|| self.since_birth(&files));
        looking.doubtful |= since.is_none() && !(looking.unknown.is_empty() && looking.unreadable.is_empty());
        self.take_newer(&mut looking, &files, since)?;
        Ok(looking.taken(&files, self))
    }

    /// Files that are newer than all that are known. What nothing or little is known of but that it was begun comes
    /// next in time.
    fn take_newer(
        &self,
        looking: &mut Looking<'_>,
        files: &[Beside],
        since: Option<usize>,
    ) -> io::Result<()> {
        let since = since.unwrap_or(usize::MAX);
        looking.unreadable.retain(|index| *index >= since);
        let mut unknown = std::mem::take(&mut looking.unknown);
        unknown.retain(|index| *index >= since);
        for index in unknown.into_iter().rev() {
            let Some(file) = files.get(index) else { continue };
            let opened = match looking.begun(file) {
                Ok(None) => {
                    self.take_unseen(file, looking.unseen).map(|reader| reader.map(|reader| (None, reader)))
                }
                begun => begun.map(|begun| begun.map(|(at, reader)| (Some(at), reader))),
            };
            match opened {
                Ok(Some((Some(at), reader))) => looking.locate(at, index, reader),
                Ok(Some((None, reader))) => {
                    looking.unseen = looking.unseen.saturating_add(1);
                    looking.readers.push((index, reader));
                }
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => looking.unreadable.push(index),
            }
        }
        Ok(())
    }

    /// A file that nothing is known of, and that comes after so many others of the kind.
    fn take_unseen(&self, file: &Beside, after: u32) -> io::Result<Option<LineReader>> {
        let position = match self.unseen {
            Unseen::Nothing => return Ok(None),
            Unseen::Files => FilePosition::new(file.id),
            Unseen::Copies(id, first) => {
                FilePosition { truncations: first.wrapping_add(after), ..FilePosition::new(id) }
            }
        };
        LineReader::from_start_as(open(file)?, position).map(Some)
    }

    /// Without any file that is known, what was written after the last truncation that is known.
    fn since_begun(&self, files: &[Beside]) -> Option<usize> {
        let begun = self.sought.iter().filter(|sought| sought.truncations > 0);
        let begun = begun.map(|sought| sought.begun_at).min().flatten()?;
        Some(files.iter().position(|file| file.is_after(begun)).unwrap_or(files.len()))
    }

    /// Without any file that is known, what was written after the birth of one that was begun.
    fn since_birth(&self, files: &[Beside]) -> Option<usize> {
        let can_be =
            |sought: &&FilePosition| sought.is_weak() && (sought.truncations == 0 || !sought.is_blank());
        let begun = self.sought.iter().find(can_be)?;
        let born = Duration::from_micros(u64::try_from(begun.id.born?).ok()?);
        let born = UNIX_EPOCH.checked_add(born).unwrap_or(SystemTime::now());
        Some(files.iter().position(|file| file.written >= born).unwrap_or(files.len()))
    }

    fn identify(&self, file: &Beside, looking: &Looking<'_>) -> io::Result<Found> {
        if file.packing == Some(Packing::Unreadable) {
            return Ok(Found::Unreadable);
        }
        let by_id = looking.missing().filter(|(_, sought)| sought.id.is(&file.id)).last();
        if by_id.is_none() && self.known.iter().any(|known| known.id.is(&file.id)) {
            return Ok(Found::Known);
        }
        let by_content =
            looking.missing().filter(|(at, sought)| looking.has_no_name(*at) && !sought.is_weak());
        for (at, sought) in by_id.into_iter().chain(by_content) {
            match prove(file, sought) {
                Ok((_, content)) if sought.is_blank() => {
                    return Ok(Found::Sought(at, Box::new(LineReader::from_start_as(content, *sought)?)));
                }
                Ok((Proof::Same, content)) => {
                    return Ok(Found::Sought(at, Box::new(LineReader::resume(content, *sought)?)));
                }
                // More was read of the file than was copied of it: what is missing is not here.
                Ok((Proof::Shorter, _)) => return Ok(Found::Known),
                Ok((Proof::Other, _)) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => return Ok(Found::Unreadable),
            }
        }
        for known in self.known.iter().filter(|known| !known.is_blank()) {
            let is_known = match prove(file, known) {
                Ok((Proof::Shorter, _)) => Ok(!known.is_weak()),
                Ok((Proof::Same, mut content)) => {
                    if known.is_weak() {
                        known.is_all_of(&mut content)
                    } else {
                        Ok(true)
                    }
                }
                Ok((Proof::Other, _)) => Ok(false),
                Err(error) => Err(error),
            };
            match is_known {
                Ok(true) => return Ok(Found::Known),
                Ok(false) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
                Err(_) => return Ok(Found::Unreadable),
            }
        }
        if file.packing.is_none()
            && let Some(weak) = self.is_of_current(file)?
        {
            return Ok(Found::OfCurrent { weak });
        }
        Ok(Found::Unknown)
    }

    /// Whether a file is a copy, finished or not, of what is under the path and was not truncated yet; and then, whether
    /// so little is in it that it may be of something else.
    fn is_of_current(&self, file: &Beside) -> io::Result<Option<bool>> {
        let (Some(current), Some(path)) = (&self.current, self.homes.first()) else { return Ok(None) };
        let Content::Plain(copy) = open(file)? else { return Ok(None) };
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

/// What was found so far.
struct Looking<'a> {
    sought: &'a [FilePosition],
    located: Vec<bool>,
    /// Which of them a file's inode tells.
    named: Vec<bool>,
    /// With the place of their files in time.
    readers: Vec<(usize, LineReader)>,
    unknown: Vec<usize>,
    unreadable: Vec<usize>,
    /// How many of the readers nothing was known of.
    unseen: u32,
    doubtful: bool,
}

impl<'a> Looking<'a> {
    fn new(sought: &'a [FilePosition], files: &[Beside]) -> Self {
        let named = sought.iter().map(|sought| files.iter().any(|file| sought.id.is(&file.id)));
        Self {
            sought,
            located: vec![false; sought.len()],
            named: named.collect(),
            readers: Vec::new(),
            unknown: Vec::new(),
            unreadable: Vec::new(),
            unseen: 0,
            doubtful: false,
        }
    }

    fn missing(&self) -> impl Iterator<Item = (usize, &'a FilePosition)> {
        let all = self.sought.iter().enumerate();
        all.filter(|(at, _)| self.located.get(*at) == Some(&false))
    }

    fn has_no_name(&self, at: usize) -> bool {
        self.named.get(at) == Some(&false)
    }

    fn is_over(&self) -> bool {
        self.missing().all(|(at, sought)| sought.is_weak() && self.has_no_name(at))
    }

    fn locate(&mut self, sought: usize, index: usize, reader: LineReader) {
        self.located.iter_mut().skip(sought).take(1).for_each(|located| *located = true);
        self.readers.push((index, reader));
    }

    /// The file as the first of those that it can be of which little is known but that they were begun.
    fn begun(&self, file: &Beside) -> io::Result<Option<(usize, LineReader)>> {
        let is_later = |sought: &FilePosition| sought.begun_at.is_none_or(|begun| file.is_after(begun));
        for (at, sought) in self.missing().filter(|(_, sought)| sought.is_weak() && is_later(sought)) {
            if let Some(reader) = take_weak(file, sought)? {
                return Ok(Some((at, reader)));
            }
        }
        Ok(None)
    }

    /// How often what is under the path had been truncated, when it is not what is sought under its name.
    fn truncations(&self, search: &Search<'_>) -> Option<u32> {
        let Unseen::Copies(_, first) = search.unseen else { return None };
        let here = search.at_path();
        let is_older = here.is_some_and(|at| self.located.get(at) == Some(&true));
        (self.unseen > 0 || is_older).then(|| first.wrapping_add(self.unseen))
    }

    fn taken(mut self, files: &[Beside], search: &Search<'_>) -> TakenUp {
        let truncations = self.truncations(search);
        let here = search.at_path().filter(|_| truncations.is_none());
        let doubtful = here.is_some() && (self.doubtful || !self.unreadable.is_empty());
        let missing = self.missing().filter(|(at, _)| Some(*at) != here);
        let mut missing: Vec<FilePosition> = missing.map(|(_, sought)| *sought).collect();
        self.readers.sort_by_key(|(index, _)| *index);
        let mut readers: Vec<LineReader> = self.readers.into_iter().map(|(_, reader)| reader).collect();
        let excess = readers.len().saturating_sub(READERS_MAX);
        missing.extend(readers.drain(..excess).map(|reader| reader.position()));
        let unreadable = self.unreadable.iter().filter_map(|index| files.get(*index));
        let unreadable = unreadable.map(|file| file.path.clone()).collect();
        TakenUp { readers, missing, truncations, doubtful, unreadable }
    }
}

fn prove(file: &Beside, position: &FilePosition) -> io::Result<(Proof, Content)> {
    let mut content = open(file)?;
    let proof = position.prove(&mut content)?;
    Ok((proof, content))
}

/// The next file in time, for a position of which too little is known to tell it by.
fn take_weak(file: &Beside, sought: &FilePosition) -> io::Result<Option<LineReader>> {
    let (proof, content) = prove(file, sought)?;
    match proof {
        _ if sought.is_blank() => LineReader::from_start_as(content, *sought).map(Some),
        Proof::Same => LineReader::resume(content, *sought).map(Some),
        Proof::Shorter | Proof::Other => Ok(None),
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

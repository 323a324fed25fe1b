//! The log of segments: appends batches that are on disk when the call returns, finds its end again after a
//! crash, gives space back. It has no thread and sends nothing.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::position::{Durability, Position};
use super::record::{self, HEADER_BYTES, Scanner};

/// A segment is closed at this size; space is given back a segment at a time.
pub const SEGMENT_BYTES: u64 = 4 << 20;
/// When everything is acknowledged, a segment above this size is replaced by an empty one.
const IDLE_SEGMENT_BYTES: u64 = 256 << 10;

/// Why a batch is not on disk. Nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The configured limit is reached; acknowledgements make room.
    #[error(
        "the spool holds its {bytes_max} bytes; hits wait until the collector takes some, or raise spool.bytes_max"
    )]
    Full {
        /// The limit.
        bytes_max: u64,
    },
    /// The file system has no room.
    #[error("no space left in {}: {error}; free some, hits wait until then", folder.display())]
    NoSpace {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The disk failed: what was written may be gone, so the program has to begin anew.
    #[error("cannot write to {}: {error}; check the disk", folder.display())]
    Disk {
        /// Where.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The spool's folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the spool {} cannot be opened: {error}; check the folder's owner and the disk", folder.display())]
pub struct OpenError {
    folder: PathBuf,
    error: io::Error,
}

/// What was found at the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whole records that are not acknowledged.
    pub records: u64,
    /// Records that were damaged, as far as can be told.
    pub damaged: u64,
}

#[derive(Debug)]
struct Segment {
    first: u64,
    bytes: u64,
}

/// The log. Sequences here are those on disk, from 1, never used twice within an epoch.
#[derive(Debug)]
pub struct SegmentLog {
    folder: PathBuf,
    bytes_max: u64,
    /// Never empty; the last one is open for appending.
    segments: VecDeque<Segment>,
    active: File,
    /// The sequence of the next record.
    next: u64,
    position: Position,
    unwritten_position: bool,
}

impl SegmentLog {
    /// Opens or makes the log, checks every record, cuts an unfinished end.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn open(folder: &Path, bytes_max: u64) -> Result<(Self, Recovered), OpenError> {
        Self::open_folder(folder, bytes_max).map_err(|error| OpenError { folder: folder.into(), error })
    }

    fn open_folder(folder: &Path, bytes_max: u64) -> io::Result<(Self, Recovered)> {
        fs::create_dir_all(folder)?;
        let read = Position::read(folder);
        let firsts = segment_firsts(folder)?;
        let oldest = firsts.first().copied().unwrap_or(1);
        let acknowledged = read.map_or(0, |read| read.acknowledged).max(oldest - 1);
        let mut survey = Survey { acknowledged, ..Survey::default() };
        let mut segments = VecDeque::new();
        for (index, first) in firsts.iter().copied().enumerate() {
            let bytes = survey.segment(folder, first, firsts.get(index + 1).copied())?;
            segments.push_back(Segment { first, bytes });
        }
        let next = (survey.last + 1).max(acknowledged + 1).max(firsts.last().copied().unwrap_or(1));
        let sound = read.filter(|read| !survey.damaged_end && read.closed_at == Some(next));
        let position = match sound {
            Some(read) => Position { acknowledged, closed_at: None, ..read },
            None => Position::renewed(acknowledged),
        };
        let newest = firsts.last().copied().unwrap_or(next);
        let active = open_segment(folder, newest)?;
        File::open(folder)?.sync_all()?;
        if segments.is_empty() {
            segments.push_back(Segment { first: newest, bytes: 0 });
        }
        let mut log = Self {
            folder: folder.into(),
            bytes_max,
            segments,
            active,
            next,
            position,
            unwritten_position: true,
        };
        // Unwritten, on a full disk, the next start begins another epoch, which only sends again.
        log.save_position(Durability::Synced);
        let records = survey.records;
        Ok((log, Recovered { records, damaged: survey.damaged }))
    }

    /// Writes a batch; when this returns `Ok` every record of it is on disk. Gives the last sequence.
    ///
    /// # Errors
    /// When nothing of it is on disk, with what to do.
    pub fn append(&mut self, payloads: &[Vec<u8>]) -> Result<u64, AppendError> {
        let mut bytes = Vec::with_capacity(payloads.iter().map(|payload| payload.len() + HEADER_BYTES).sum());
        for (sequence, payload) in (self.next..).zip(payloads) {
            record::encode(sequence, payload, &mut bytes);
        }
        if self.bytes() + bytes.len() as u64 > self.bytes_max {
            return Err(AppendError::Full { bytes_max: self.bytes_max });
        }
        if self.active_bytes() >= SEGMENT_BYTES {
            self.begin_segment().map_err(|error| self.append_error(error))?;
        }
        let at = self.active_bytes();
        let written = self.active.write_all_at(&bytes, at).and_then(|()| self.active.sync_data());
        if let Err(error) = written {
            let error = self.append_error(error);
            // Half a batch must not lie where the next one is expected.
            if matches!(error, AppendError::NoSpace { .. })
                && let Err(error) = self.active.set_len(at)
            {
                return Err(AppendError::Disk { folder: self.folder.clone(), error });
            }
            return Err(error);
        }
        if let Some(active) = self.segments.back_mut() {
            active.bytes += bytes.len() as u64;
        }
        self.next += payloads.len() as u64;
        Ok(self.last())
    }

    fn append_error(&self, error: io::Error) -> AppendError {
        let folder = self.folder.clone();
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
                AppendError::NoSpace { folder, error }
            }
            _ => AppendError::Disk { folder, error },
        }
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.active = open_segment(&self.folder, self.next)?;
        File::open(&self.folder)?.sync_all()?;
        self.segments.push_back(Segment { first: self.next, bytes: 0 });
        Ok(())
    }

    /// Everything up to this sequence may be deleted; whole segments are.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn acknowledge(&mut self, up_to: u64) -> io::Result<()> {
        let up_to = up_to.min(self.last());
        if up_to <= self.position.acknowledged {
            return Ok(());
        }
        self.position.acknowledged = up_to;
        self.unwritten_position = true;
        if up_to == self.last() && self.active_bytes() > IDLE_SEGMENT_BYTES {
            // A full disk: the segment stays until there is room for its successor.
            let _ = self.begin_segment();
        }
        while let Some(second) = self.segments.get(1)
            && second.first <= up_to + 1
        {
            let Some(oldest) = self.segments.pop_front() else { break };
            fs::remove_file(segment_path(&self.folder, oldest.first))?;
        }
        Ok(())
    }

    /// Writes down what is acknowledged, when that changed. Losing it only sends again.
    pub fn save_position(&mut self, durability: Durability) {
        if self.unwritten_position && self.position.write(&self.folder, durability).is_ok() {
            self.unwritten_position = false;
        }
    }

    /// Writes down that nothing was lost when the agent stopped.
    pub fn close(mut self) {
        self.position.closed_at = Some(self.next);
        self.unwritten_position = true;
        self.save_position(Durability::Synced);
    }

    /// Begins a new epoch: everything that is left will be sent again under new sequences.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn renew_epoch(&mut self) -> io::Result<()> {
        let renewed = Position::renewed(self.position.acknowledged);
        renewed.write(&self.folder, Durability::Synced)?;
        self.position = renewed;
        Ok(())
    }

    /// The epoch and what is acknowledged.
    pub fn position(&self) -> Position {
        self.position
    }

    /// The newest sequence on disk.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    fn active_bytes(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.bytes)
    }
}

/// What a scan of all segments finds.
#[derive(Default)]
struct Survey {
    acknowledged: u64,
    last: u64,
    records: u64,
    damaged: u64,
    damaged_end: bool,
}

impl Survey {
    /// Checks a segment and gives its length. The newest, which no `successor` follows, is cut after its
    /// last whole record; the others are rewritten without the damage.
    fn segment(&mut self, folder: &Path, first: u64, successor: Option<u64>) -> io::Result<u64> {
        let path = segment_path(folder, first);
        let mut scanner = Scanner::new(File::open(&path)?, 0);
        let (mut end, mut skipped) = (0, 0);
        self.last = self.last.max(first - 1);
        while let Some(found) = scanner.read_next()? {
            if scanner.skipped() > skipped {
                self.lost_before(found.sequence);
            }
            (end, skipped) = (found.end, scanner.skipped());
            self.last = self.last.max(found.sequence);
            self.records += u64::from(found.sequence > self.acknowledged);
        }
        let bytes = fs::metadata(&path)?.len();
        match successor {
            Some(successor) if bytes > end => self.lost_before(successor),
            None if bytes > end => {
                self.newest_end(&path, end)?;
                return Ok(end);
            }
            _ if skipped == 0 => return Ok(bytes),
            _ => {}
        }
        rewrite(folder, first)?;
        Ok(fs::metadata(&path)?.len())
    }

    fn lost_before(&mut self, sequence: u64) {
        let from = self.last.max(self.acknowledged);
        self.damaged += sequence.saturating_sub(from + 1);
    }

    fn newest_end(&mut self, path: &Path, end: u64) -> io::Result<()> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut tail = vec![0; HEADER_BYTES + record::PAYLOAD_BYTES_MAX];
        let read = file.read_at(&mut tail, end)?;
        tail.truncate(read);
        // Blocks that were never written read as zeros after a power cut.
        let unfinished = record::is_unfinished(&tail, self.last + 1) || tail.iter().all(|byte| *byte == 0);
        if !unfinished {
            let mut scanner = Scanner::new(tail.as_slice(), end);
            while scanner.read_next()?.is_some() {}
            self.damaged += scanner.markers_skipped().max(1);
        }
        self.damaged_end = true;
        file.set_len(end)?;
        file.sync_all()
    }
}

/// Copies the whole records of a damaged segment, so that the damage is reported once.
fn rewrite(folder: &Path, first: u64) -> io::Result<()> {
    let path = segment_path(folder, first);
    let mut scanner = Scanner::new(File::open(&path)?, 0);
    let mut bytes = Vec::new();
    while let Some(found) = scanner.read_next()? {
        record::encode(found.sequence, &found.payload, &mut bytes);
    }
    let unfinished = path.with_extension("new");
    let file = File::create(&unfinished)?;
    let copied = file.write_all_at(&bytes, 0).and_then(|()| file.sync_all());
    match copied {
        Ok(()) => fs::rename(&unfinished, &path),
        // No room for a copy: the damaged segment is still readable.
        Err(_) => fs::remove_file(&unfinished),
    }
}

/// First sequences of the segments of a folder, in order.
pub fn segment_firsts(folder: &Path) -> io::Result<Vec<u64>> {
    let mut firsts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let first = name.to_str().and_then(|name| name.strip_suffix(".seg")?.parse::<u64>().ok());
        firsts.extend(first.filter(|first| *first > 0));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Where a segment lies.
pub fn segment_path(folder: &Path, first: u64) -> PathBuf {
    folder.join(format!("{first:020}.seg"))
}

fn open_segment(folder: &Path, first: u64) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(segment_path(folder, first))
}

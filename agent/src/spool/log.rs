//! The log of segments: appends batches that are on disk when the call returns, finds its end again after a
//! crash, gives space back. It has no thread and sends nothing.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use protocol::Severity;

use super::disk::{DiskFile, Opening, is_no_space};
use super::entry;
use super::folder::{Durability, SpoolFolder, segment_name};
use super::position::Position;
use super::quota::{Ballast, Quota, blocks};
use super::record::{self, HEADER_BYTES};
use super::survey::Survey;

/// When everything is acknowledged, a segment above this size is replaced by an empty one.
const IDLE_SEGMENT_BYTES: u64 = 256 << 10;
/// The position, how far records were handed out, and the files that take their places.
const POSITION_BYTES: u64 = 16 << 10;

/// Why a batch is not on disk. Nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The configured limit is reached; acknowledgements make room.
    #[error(
        "the spool holds its {bytes_max} bytes; lines wait in their files until the collector takes some hits, or raise spool.bytes_max"
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
    /// The disk failed: what was written may be gone, so that the log has to be opened anew.
    #[error("cannot write to {}: {error}; check the disk, hits wait until then", folder.display())]
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
    /// Of these, those of which no loss in the spool tells.
    pub untold: u64,
}

/// Bytes of hits by severity, in the order of [`Severity::ALL`].
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally([u64; Severity::ALL.len()]);

impl Tally {
    pub fn count(&mut self, payload: &[u8]) {
        let severity = entry::severity(payload);
        if let Some(bytes) = severity.and_then(|severity| self.0.get_mut(usize::from(severity.place()))) {
            *bytes += (payload.len() + HEADER_BYTES) as u64;
        }
    }

    pub fn has(&self, severity: Severity) -> bool {
        self.0.get(usize::from(severity.place())).is_some_and(|bytes| *bytes > 0)
    }

    /// The lowest severity that was counted.
    pub fn lowest(&self) -> Option<Severity> {
        Severity::ALL.iter().copied().find(|severity| self.has(*severity))
    }
}

#[derive(Debug, Default)]
pub(super) struct Segment {
    pub first: u64,
    pub bytes: u64,
    /// Bytes on the disk.
    pub allocated: u64,
    /// What could be given up.
    pub tally: Tally,
}

/// The log. Sequences here are those on disk, from 1, never used twice within an epoch.
#[derive(Debug)]
pub struct SegmentLog {
    pub(super) folder: Arc<SpoolFolder>,
    pub(super) quota: Quota,
    pub(super) ballast: Ballast,
    /// Never empty; the last one is open for appending.
    pub(super) segments: VecDeque<Segment>,
    active: Box<dyn DiskFile>,
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
    pub fn open(folder: Arc<SpoolFolder>, bytes_max: u64) -> Result<(Self, Recovered), OpenError> {
        Self::open_up_to(folder, bytes_max, u64::MAX)
    }

    /// The same after an error of the disk: what was not safe then is cut off, because its writer still has it, and
    /// the file that failed is not written to again.
    ///
    /// # Errors
    /// As [`SegmentLog::open`].
    pub fn open_again(folder: Arc<SpoolFolder>, bytes_max: u64, safe: u64) -> Result<Self, OpenError> {
        let path = folder.disk().path().to_owned();
        let (mut log, _) = Self::open_up_to(folder, bytes_max, safe)?;
        if log.active_bytes() > 0 {
            log.begin_segment().map_err(|error| OpenError { folder: path, error })?;
        }
        Ok(log)
    }

    fn open_up_to(
        folder: Arc<SpoolFolder>,
        bytes_max: u64,
        safe: u64,
    ) -> Result<(Self, Recovered), OpenError> {
        let path = folder.disk().path().to_owned();
        Self::open_folder(folder, Quota::of(bytes_max), safe)
            .map_err(|error| OpenError { folder: path, error })
    }

    fn open_folder(folder: Arc<SpoolFolder>, quota: Quota, safe: u64) -> io::Result<(Self, Recovered)> {
        folder.disk().make()?;
        folder.remove_unfinished()?;
        let read = Position::read(&folder);
        let firsts = folder.firsts()?;
        let oldest = firsts.first().copied().unwrap_or(1);
        let acknowledged = read.map_or(0, |read| read.acknowledged).max(oldest - 1);
        let mut survey = Survey::new(acknowledged, safe);
        if let Some(read) = read {
            survey.lose(oldest - 1 - read.acknowledged.min(oldest - 1));
        }
        let mut segments = VecDeque::new();
        let mut left = firsts.as_slice();
        while let Some((first, later)) = left.split_first() {
            let (segment, later) = survey.segment(&folder, *first, later)?;
            segments.push_back(segment);
            left = later;
        }
        survey.lost_before(read.and_then(|read| read.closed_at).unwrap_or(0));
        let next = (survey.last + 1).max(acknowledged + 1).max(firsts.last().copied().unwrap_or(1));
        let sound = read.filter(|read| !survey.is_changed && read.closed_at == Some(next));
        let position = match sound {
            Some(read) => Position { acknowledged, closed_at: None, ..read },
            None => Position::renewed(acknowledged),
        };
        let Survey { records, damaged, untold, .. } = survey;
        let recovered = Recovered { records, damaged, untold };
        // Under whatever epoch: the collector knows hits and losses by their own identities.
        folder.find_handed_out(next - 1);
        folder.hand_out(acknowledged);
        let newest = firsts.last().copied().unwrap_or(next);
        let mut ballast = Ballast::find(&folder, &quota);
        let active = match folder.segment(newest, Opening::Write) {
            Err(error) if is_no_space(&error) => {
                ballast.give_up(&folder);
                folder.segment(newest, Opening::Write)?
            }
            opened => opened?,
        };
        folder.disk().sync()?;
        if segments.is_empty() {
            segments.push_back(Segment { first: newest, ..Segment::default() });
        }
        let mut log =
            Self { folder, quota, ballast, segments, active, next, position, unwritten_position: true };
        // Unwritten, on a full disk, the next start begins another epoch, which only sends again.
        log.save_position(Durability::Synced);
        Ok((log, recovered))
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
        if self.room() < bytes.len() as u64 {
            return Err(AppendError::Full { bytes_max: self.quota.bytes_max });
        }
        if self.active_bytes() >= self.quota.segment_bytes {
            self.begin_segment().map_err(|error| self.append_error(error))?;
        }
        let at = self.active_bytes();
        if let Err(error) = self.active.write_at(&bytes, at) {
            let error = self.append_error(error);
            // Half a batch must not lie where the next one is expected.
            if matches!(error, AppendError::NoSpace { .. })
                && let Err(error) = self.active.set_len(at)
            {
                return Err(self.disk_error(error));
            }
            return Err(error);
        }
        // Whatever the reason, even no space: what the system did not write it may have forgotten.
        self.active.sync().map_err(|error| self.disk_error(error))?;
        let allocated = self.active.allocated().map_err(|error| self.disk_error(error))?;
        if let Some(active) = self.segments.back_mut() {
            active.bytes += bytes.len() as u64;
            active.allocated = allocated;
            payloads.iter().for_each(|payload| active.tally.count(payload));
        }
        self.next += payloads.len() as u64;
        Ok(self.last())
    }

    pub(super) fn append_error(&self, error: io::Error) -> AppendError {
        if is_no_space(&error) {
            AppendError::NoSpace { folder: self.folder.disk().path().to_owned(), error }
        } else {
            self.disk_error(error)
        }
    }

    fn disk_error(&self, error: io::Error) -> AppendError {
        AppendError::Disk { folder: self.folder.disk().path().to_owned(), error }
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let active = self.folder.segment(self.next, Opening::Write)?;
        self.folder.disk().sync()?;
        self.active = active;
        self.segments.push_back(Segment { first: self.next, ..Segment::default() });
        Ok(())
    }

    /// Everything up to this sequence may be deleted; whole segments are.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn acknowledge(&mut self, up_to: u64) -> io::Result<()> {
        let up_to = up_to.min(self.last());
        if up_to > self.position.acknowledged {
            self.position.acknowledged = up_to;
            self.unwritten_position = true;
            self.folder.hand_out(up_to);
            if up_to == self.last() && self.active_bytes() > IDLE_SEGMENT_BYTES.min(self.quota.segment_bytes)
            {
                // A full disk: the segment stays until there is room for its successor.
                let _ = self.begin_segment();
            }
        }
        while let Some(second) = self.segments.get(1)
            && second.first <= self.position.acknowledged + 1
        {
            // What is missing below is acknowledged: after a crash that must not look like damage.
            self.save_position(Durability::Synced);
            let Some(oldest) = self.segments.front() else { break };
            self.folder.disk().remove(&segment_name(oldest.first))?;
            self.segments.pop_front();
        }
        Ok(())
    }

    /// Writes down what is acknowledged, when that changed. Losing it only sends again.
    pub fn save_position(&mut self, durability: Durability) {
        if !self.unwritten_position {
            return;
        }
        let written = match self.position.write(&self.folder, durability) {
            Err(error) if is_no_space(&error) && self.ballast.give_up(&self.folder) => {
                self.position.write(&self.folder, durability)
            }
            written => written,
        };
        self.unwritten_position = written.is_err();
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

    /// Gives up the ballast when other files have taken the disk's room, and takes it again when there is enough.
    pub fn keep_ballast(&mut self) {
        let free = self.folder.disk().free_bytes().unwrap_or(0);
        let others = self.used().saturating_sub(self.ballast.allocated());
        self.ballast.keep(&self.folder, &self.quota, (free, others));
    }

    /// Gives the ballast's room back to the file system, which has none left.
    pub fn give_up_ballast(&mut self) {
        self.ballast.give_up(&self.folder);
    }

    /// Whether the file system has room for more than the ballast: what that gave up is for what is small.
    pub fn has_space(&self) -> bool {
        let free = self.folder.disk().free_bytes().unwrap_or(u64::MAX);
        self.ballast.allocated() > 0 || free >= 2 * self.quota.ballast_bytes
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

    /// Bytes that everything in the folder takes on the disk: never more than the limit.
    pub fn used(&self) -> u64 {
        let segments: u64 =
            self.segments.iter().map(|segment| segment.allocated.max(blocks(segment.bytes))).sum();
        segments + self.ballast.allocated() + POSITION_BYTES
    }

    /// Bytes that can be appended before the limit is reached.
    pub fn room(&self) -> u64 {
        self.quota.append_max().saturating_sub(self.used())
    }

    /// Limits within the limit.
    pub fn quota(&self) -> &Quota {
        &self.quota
    }

    fn active_bytes(&self) -> u64 {
        self.segments.back().map_or(0, |segment| segment.bytes)
    }
}

//! The collector's store as far as a spool knows it: what is committed of each epoch, each hit once, and what was lost.

use std::collections::{BTreeMap, BTreeSet};

use protocol::identity::LossId;
use protocol::message::{LossReason, Record};

use crate::made;

#[derive(Clone, Debug, Default)]
pub struct Store {
    /// Everything up to here is committed, of each epoch.
    stored: BTreeMap<[u8; 16], u64>,
    /// Numbers of hits.
    pub hits: BTreeSet<u64>,
    /// Losses of hits that the spool had to give up, each once, with how many.
    pub losses: BTreeMap<LossId, u64>,
    /// Records that a gap tells of.
    pub gaps: u64,
}

impl Store {
    pub fn stored(&self, epoch: [u8; 16]) -> u64 {
        self.stored.get(&epoch).copied().unwrap_or(0)
    }

    /// One transaction; false when records before these are missing.
    pub fn keep(&mut self, epoch: [u8; 16], first: u64, records: &[Record]) -> bool {
        let stored = self.stored(epoch);
        if first > stored + 1 {
            return false;
        }
        for (_, record) in (first..).zip(records).filter(|(sequence, _)| *sequence > stored) {
            match record {
                Record::Hit(hit) => {
                    self.hits.insert(made::number(hit));
                }
                Record::Loss(loss) if loss.reason == LossReason::SpoolFull => {
                    let before = self.losses.insert(loss.id.expect("a loss without an identity"), loss.count);
                    assert!(before.is_none_or(|before| before == loss.count), "one loss tells two things");
                }
                Record::Loss(_) | Record::Unknown => {}
            }
        }
        self.stored.insert(epoch, stored.max(first + records.len() as u64 - 1));
        true
    }

    /// Records that are gone for good; false when records before them are missing.
    pub fn keep_gap(&mut self, epoch: [u8; 16], from: u64, to: u64) -> bool {
        let stored = self.stored(epoch);
        if from > stored + 1 {
            return false;
        }
        self.gaps += to.saturating_sub(stored);
        self.stored.insert(epoch, stored.max(to));
        true
    }
}

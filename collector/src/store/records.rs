//! Records of sensors made fit for the store: a sensor in foreign hands may send anything.

use protocol::Hit;
use protocol::hit::{LOGGED_TIME_BYTES_MAX, NAMED_ORIGINS_MAX, evidence};
use protocol::message::{LogGap, Loss, Record};

use crate::clip::clip;

/// Longest text of an agent that is kept, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256;
/// Further indicators of one hit that are kept.
const ALSO_MAX: usize = 64;
/// Notes kept of one hit.
const NOTES_MAX: usize = 8;
/// Further inputs kept of one hit.
const WITNESSES_MAX: usize = 8;

/// Records whose free texts are cut and cleaned.
#[derive(Clone, Debug)]
pub(crate) struct Clipped(Vec<Record>);

impl Clipped {
    /// The records, in their order.
    pub fn as_slice(&self) -> &[Record] {
        &self.0
    }
}

impl From<Vec<Record>> for Clipped {
    fn from(mut records: Vec<Record>) -> Self {
        for record in &mut records {
            match record {
                Record::Hit(hit) => clip_hit(hit),
                Record::Loss(loss) => clip_loss(loss),
                Record::Unknown => {}
            }
        }
        Self(records)
    }
}

fn clip_hit(hit: &mut Hit) {
    hit.input = clip(&hit.input, TEXT_BYTES_MAX);
    hit.indicator = clip(&hit.indicator, TEXT_BYTES_MAX);
    hit.also.truncate(ALSO_MAX);
    hit.also.iter_mut().for_each(|indicator| *indicator = clip(indicator, TEXT_BYTES_MAX));
    hit.evidence = evidence(hit.evidence.as_bytes());
    hit.notes.truncate(NOTES_MAX);
    hit.named_origins.truncate(NAMED_ORIGINS_MAX);
    hit.witnesses.truncate(WITNESSES_MAX);
    hit.witnesses.iter_mut().for_each(|input| *input = clip(input, TEXT_BYTES_MAX));
    if let Some(logged) = &mut hit.logged {
        logged.format = clip(&logged.format, TEXT_BYTES_MAX);
        logged.host = clip(&logged.host, TEXT_BYTES_MAX);
        logged.time = clip(&logged.time, LOGGED_TIME_BYTES_MAX);
    }
    hit.count = hit.count.max(1);
    hit.last_at = hit.last_at.max(hit.at);
}

fn clip_loss(loss: &mut Loss) {
    if let Some(LogGap { input, .. }) = &mut loss.gap {
        *input = clip(input, TEXT_BYTES_MAX);
    }
}

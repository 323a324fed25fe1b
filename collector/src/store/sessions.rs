//! What a sensor's session writes: its state, its hits, what it lost, and how far each spool is stored.
//!
//! `progress` is the truth about a spool: records up to it are in the store or known to be lost, and are never
//! written twice, however often they are sent.

use protocol::identity::{AgentId, ComuneId, Epoch};
use protocol::message::{BundleOutcome, Loss, LossReason, Record, SourceStatus};
use protocol::{Hit, Serial, Timestamp};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, params};

use super::origins::Tally;
use super::records::{Clipped, TEXT_BYTES_MAX};
use super::{StoreError, courses, from_stored, sensors, to_stored, twins};
use crate::clip::clip;

/// The sensor and its spool, as the certificate and the greeting say.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Spool {
    pub comune: ComuneId,
    pub agent: AgentId,
    pub epoch: Epoch,
}

/// What a greeting says.
#[derive(Clone, Debug)]
pub(crate) struct Greeting {
    pub version: String,
    pub bundle: Serial,
    pub skew_micros: i64,
    pub address: String,
    /// Serial of the certificate that the connection was opened with.
    pub certificate: String,
}

/// A sensor's health.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    pub bundle: Serial,
    pub spooled: u64,
    pub skew_micros: i64,
    pub sources: Vec<SourceStatus>,
    pub fresh_until: Option<Timestamp>,
}

/// Sources of one agent that are kept.
const SOURCES_MAX: usize = 256;

/// Notes a session's beginning, retires certificates before the one it was opened with, and gives what is stored of
/// the spool.
pub(crate) fn greet(
    transaction: &Transaction<'_>,
    spool: &Spool,
    greeting: &Greeting,
    now: Timestamp,
) -> Result<u64, StoreError> {
    transaction
        .prepare_cached(
            "UPDATE agent SET connected = 1, last_seen_at = ?2, version = ?3, address = ?4, skew_micros = ?5,
                bundle_in_force = ?6 WHERE id = ?1",
        )?
        .execute(params![
            spool.agent.to_string(),
            now.as_micros(),
            clip(&greeting.version, TEXT_BYTES_MAX),
            greeting.address,
            greeting.skew_micros,
            to_stored(greeting.bundle.0)
        ])?;
    twins::greet(transaction, spool.agent, spool.epoch, now)?;
    sensors::retire_before(transaction, &greeting.certificate, now)?;
    stored(transaction, spool)
}

/// Notes that no session of a sensor is open any more.
pub(crate) fn part(transaction: &Transaction<'_>, agent: AgentId) -> Result<(), StoreError> {
    let sql = "UPDATE agent SET connected = 0 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute([agent.to_string()])?;
    Ok(())
}

/// After a start no session is open, whatever a crash left behind.
pub(crate) async fn part_all(store: &super::Store) -> Result<(), StoreError> {
    store
        .write(|transaction| {
            transaction.execute("UPDATE agent SET connected = 0 WHERE connected != 0", [])?;
            Ok(())
        })
        .await
}

/// Writes a sensor's health.
pub(crate) fn keep_health(
    transaction: &Transaction<'_>,
    agent: AgentId,
    health: &Health,
    now: Timestamp,
) -> Result<(), StoreError> {
    let sources: Vec<SourceStatus> = health.sources.iter().take(SOURCES_MAX).map(clipped_source).collect();
    let sources = serde_json::to_string(&sources).unwrap_or_else(|_| "[]".to_owned());
    transaction
        .prepare_cached(
            "UPDATE agent SET last_seen_at = ?2, bundle_in_force = ?3, spooled = ?4, skew_micros = ?5,
                sources = ?6, fresh_until = ?7 WHERE id = ?1",
        )?
        .execute(params![
            agent.to_string(),
            now.as_micros(),
            to_stored(health.bundle.0),
            to_stored(health.spooled),
            health.skew_micros,
            sources,
            health.fresh_until.map(|until| until.as_micros())
        ])?;
    Ok(())
}

/// Writes what became of an offered bundle.
pub(crate) fn keep_outcome(
    transaction: &Transaction<'_>,
    agent: AgentId,
    serial: Serial,
    outcome: &BundleOutcome,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (word, reason) = match outcome {
        BundleOutcome::Fetched => ("fetched", String::new()),
        BundleOutcome::Applied { .. } => ("applied", String::new()),
        BundleOutcome::Refused { reason } => ("refused", clip(reason, TEXT_BYTES_MAX)),
        BundleOutcome::Unknown => return Ok(()),
    };
    transaction
        .prepare_cached(
            "UPDATE agent SET last_seen_at = ?5, bundle_at = ?5, bundle_offered = ?2, bundle_outcome = ?3,
                bundle_reason = ?4,
                bundle_in_force = CASE WHEN ?3 = 'applied' THEN ?2 ELSE bundle_in_force END WHERE id = ?1",
        )?
        .execute(params![agent.to_string(), to_stored(serial.0), word, reason, now.as_micros()])?;
    courses::outcome(transaction, agent, (serial, outcome), (&reason, now))
}

/// Stores records that follow what is stored; those that are stored already are passed over. Gives the rows
/// of the hits that are new or have a higher count, or `None`, and does nothing, when records before these
/// are missing: their commit failed, so that nothing after them may be acknowledged.
pub(crate) fn keep_records<'a>(
    transaction: &Transaction<'_>,
    (spool, first, records): (&'a Spool, u64, &'a Clipped),
    origins: &mut Tally<'a>,
    now: Timestamp,
) -> Result<Option<Vec<i64>>, StoreError> {
    let stored = stored(transaction, spool)?;
    if first > stored + 1 {
        return Ok(None);
    }
    let mut hits = Hits::of(transaction, spool, now)?;
    let mut rows = Vec::with_capacity(records.as_slice().len());
    let mut last = stored;
    for (sequence, record) in (first..).zip(records.as_slice()) {
        if sequence <= stored {
            continue;
        }
        last = sequence;
        match record {
            Record::Hit(hit) => rows.push(hits.keep(hit, origins)?),
            Record::Loss(loss) => keep_loss(transaction, spool, loss, now)?,
            Record::Unknown => {}
        }
    }
    advance(transaction, spool, last)?;
    let sql = "UPDATE agent SET last_seen_at = ?2 WHERE id = ?1";
    transaction.prepare_cached(sql)?.execute(params![spool.agent.to_string(), now.as_micros()])?;
    Ok(Some(rows))
}

/// Stores that records are gone for good, once. `false` when records before them are missing.
pub(crate) fn keep_gap(
    transaction: &Transaction<'_>,
    spool: &Spool,
    from: u64,
    to: u64,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let stored = stored(transaction, spool)?;
    if from > stored + 1 {
        return Ok(false);
    }
    if to > stored {
        transaction
            .prepare_cached("INSERT INTO loss (agent, noticed_at, count, reason) VALUES (?1, ?2, ?3, 'gap')")?
            .execute(params![spool.agent.to_string(), now.as_micros(), to_stored(to - stored)])?;
        advance(transaction, spool, to)?;
    }
    Ok(true)
}

fn stored(connection: &Connection, spool: &Spool) -> Result<u64, StoreError> {
    let stored: Option<i64> = connection
        .prepare_cached("SELECT stored FROM progress WHERE agent = ?1 AND epoch = ?2")?
        .query_row(params![spool.agent.to_string(), spool.epoch.to_string()], |row| row.get(0))
        .optional()?;
    Ok(stored.map_or(0, from_stored))
}

fn advance(transaction: &Transaction<'_>, spool: &Spool, stored: u64) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO progress (agent, epoch, stored) VALUES (?1, ?2, ?3)
             ON CONFLICT (agent, epoch) DO UPDATE SET stored = max(stored, excluded.stored)",
        )?
        .execute(params![spool.agent.to_string(), spool.epoch.to_string(), to_stored(stored)])?;
    Ok(())
}

/// Stores a loss; one with an identity once.
fn keep_loss(
    transaction: &Transaction<'_>,
    spool: &Spool,
    loss: &Loss,
    now: Timestamp,
) -> Result<(), StoreError> {
    let reason = match loss.reason {
        LossReason::SpoolFull => "spool_full",
        LossReason::SpoolDamaged => "spool_damaged",
        LossReason::LogTruncated => "log_truncated",
        LossReason::PacketsDropped => "packets_dropped",
        LossReason::SyslogDropped => "syslog_dropped",
        LossReason::Other => "other",
    };
    let gap = loss.gap.as_ref();
    transaction
        .prepare_cached(
            "INSERT INTO loss (agent, noticed_at, count, reason, first_at, last_at, input, from_byte, to_byte, loss_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
             ON CONFLICT (agent, loss_id) DO NOTHING",
        )?
        .execute(params![
            spool.agent.to_string(),
            now.as_micros(),
            to_stored(loss.count),
            reason,
            loss.first_at.as_micros(),
            loss.last_at.as_micros(),
            gap.map(|gap| gap.input.as_str()),
            gap.map(|gap| to_stored(gap.from)),
            gap.and_then(|gap| gap.to).map(to_stored),
            loss.id.map(|id| id.to_string())
        ])?;
    Ok(())
}

/// Stores hits under the town of the certificate.
struct Hits<'t, 'a> {
    transaction: &'t Transaction<'t>,
    insert: CachedStatement<'t>,
    raise: CachedStatement<'t>,
    comune: &'a str,
    agent: String,
    now: Timestamp,
}

impl<'t, 'a> Hits<'t, 'a> {
    fn of(transaction: &'t Transaction<'t>, spool: &'a Spool, now: Timestamp) -> Result<Self, StoreError> {
        let insert = transaction.prepare_cached(
            "INSERT INTO hit (comune, agent, hit_id, at, last_at, received_at, count, direction, kind, value,
                seen_in, indicator, bundle, host, remote, input, evidence, hit_json)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
             ON CONFLICT (agent, hit_id) DO NOTHING",
        )?;
        let raise = transaction.prepare_cached(
            "UPDATE hit SET
                hit_json = CASE WHEN ?3 >= count AND ?4 >= last_at THEN ?5 ELSE hit_json END,
                count = max(count, ?3), last_at = max(last_at, ?4)
             WHERE agent = ?1 AND hit_id = ?2 RETURNING id",
        )?;
        let (comune, agent) = (spool.comune.as_str(), spool.agent.to_string());
        Ok(Self { transaction, insert, raise, comune, agent, now })
    }

    /// Stores a hit and gives its row. A `HitId` is stored once; a repeat raises its count.
    fn keep(&mut self, hit: &'a Hit, origins: &mut Tally<'a>) -> Result<i64, StoreError> {
        let json = serde_json::to_string(hit).map_err(|error| StoreError::Unreadable(error.to_string()))?;
        let hit_id = hit.hit_id.to_string();
        let (count, last_at) = (to_stored(hit.count), hit.last_at.as_micros());
        let inserted = self.insert.execute(params![
            self.comune,
            self.agent,
            hit_id,
            hit.at.as_micros(),
            last_at,
            self.now.as_micros(),
            count,
            hit.direction.as_str(),
            hit.observable.kind().as_str(),
            hit.observable.to_string(),
            hit.seen_in.as_str(),
            hit.indicator,
            to_stored(hit.bundle.0),
            hit.host.map(|address| address.to_string()),
            hit.remote.map(|address| address.to_string()),
            hit.input,
            hit.evidence,
            json
        ])?;
        if inserted > 0 {
            origins.count(self.comune, hit);
            return Ok(self.transaction.last_insert_rowid());
        }
        origins.extend(self.comune, hit);
        Ok(self.raise.query_row(params![self.agent, hit_id, count, last_at, json], |row| row.get(0))?)
    }
}

fn clipped_source(source: &SourceStatus) -> SourceStatus {
    SourceStatus {
        name: clip(&source.name, TEXT_BYTES_MAX),
        kind: clip(&source.kind, TEXT_BYTES_MAX),
        trouble: clip(&source.trouble, TEXT_BYTES_MAX),
        ..source.clone()
    }
}

#[cfg(test)]
#[path = "sessions_tests.rs"]
mod tests;

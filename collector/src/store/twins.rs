//! Signs that two machines use one sensor's identity. They are stored once with their count; nothing is cut, for
//! which of the two is the sensor nobody here can know.

use protocol::Timestamp;
use protocol::identity::{AgentId, Epoch};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::StoreError;

/// Spools of one sensor that are remembered, the newest.
const EPOCHS_MAX: i64 = 64;

/// What gives two machines away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    /// An older connection is still heard long after a newer one was greeted.
    TwoConnections,
    /// A spool came back after another one took over.
    EpochCameBack,
    /// A certificate was shown after its successor was used.
    OldCertificate,
}

impl Sign {
    /// As it is stored and listed.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TwoConnections => "two_connections",
            Self::EpochCameBack => "epoch_came_back",
            Self::OldCertificate => "old_certificate",
        }
    }
}

/// A sign as lists show it.
#[derive(Clone, Debug, serde::Serialize)]
pub struct TwinRow {
    /// Which.
    pub sign: String,
    /// When it was seen first.
    pub first_at: Timestamp,
    /// When it was seen last.
    pub last_at: Timestamp,
    /// How often.
    pub count: i64,
}

/// Keeps a sign; the log hears of the first one of its kind.
pub(crate) fn note(
    transaction: &Transaction<'_>,
    agent: AgentId,
    sign: Sign,
    now: Timestamp,
) -> Result<(), StoreError> {
    let count: i64 = transaction
        .prepare_cached(
            "INSERT INTO twin (agent, sign, first_at, last_at, count) VALUES (?1, ?2, ?3, ?3, 1)
             ON CONFLICT (agent, sign) DO UPDATE SET last_at = ?3, count = count + 1 RETURNING count",
        )?
        .query_row(params![agent.to_string(), sign.as_str(), now.as_micros()], |row| row.get(0))?;
    if count == 1 {
        tracing::warn!(
            %agent, sign = sign.as_str(),
            "two machines use this sensor's identity, or its state was restored from a copy: revoke it and enrol both anew"
        );
    }
    Ok(())
}

/// The signs of one sensor.
pub(crate) fn of(connection: &Connection, agent: &str) -> Result<Vec<TwinRow>, StoreError> {
    let sql = "SELECT sign, first_at, last_at, count FROM twin WHERE agent = ?1 ORDER BY first_at";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([agent], |row| {
        Ok(TwinRow {
            sign: row.get(0)?,
            first_at: Timestamp::from_micros(row.get(1)?),
            last_at: Timestamp::from_micros(row.get(2)?),
            count: row.get(3)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Notes which spool a sensor greets with.
pub(crate) fn greet(
    transaction: &Transaction<'_>,
    agent: AgentId,
    epoch: Epoch,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (id, epoch) = (agent.to_string(), epoch.to_string());
    let current: Option<String> = transaction
        .prepare_cached("SELECT epoch FROM agent WHERE id = ?1")?
        .query_row([&id], |row| row.get(0))
        .optional()?;
    if current.is_none_or(|current| current == epoch) {
        return Ok(());
    }
    let sql = "INSERT INTO epoch (agent, epoch, began_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
    let is_new = transaction.prepare_cached(sql)?.execute(params![id, epoch, now.as_micros()])? > 0;
    transaction.prepare_cached("UPDATE agent SET epoch = ?2 WHERE id = ?1")?.execute(params![id, epoch])?;
    if !is_new {
        return note(transaction, agent, Sign::EpochCameBack, now);
    }
    transaction
        .prepare_cached(
            "DELETE FROM epoch WHERE agent = ?1 AND epoch NOT IN
               (SELECT epoch FROM epoch WHERE agent = ?1 ORDER BY began_at DESC LIMIT ?2)",
        )?
        .execute(params![id, EPOCHS_MAX])?;
    Ok(())
}

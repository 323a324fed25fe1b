//! What became of the last bundles on each sensor: when each was offered, fetched, put in force or refused.

use std::collections::HashMap;

use protocol::identity::AgentId;
use protocol::message::BundleOutcome;
use protocol::{Serial, Timestamp};
use rusqlite::{Connection, Transaction, params};

use super::{StoreError, from_stored, to_stored};

/// Bundles of one sensor that are kept.
const KEPT: u32 = 5;

/// What became of a bundle on a sensor; each time is the last one of its kind, but the first one of an offer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Course {
    /// Its number.
    pub serial: u64,
    /// When the sensor first heard of it.
    pub offered_at: Option<Timestamp>,
    /// When it had been fetched and verified.
    pub fetched_at: Option<Timestamp>,
    /// When it was in force.
    pub applied_at: Option<Timestamp>,
    /// When it was refused.
    pub refused_at: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// Notes that a sensor was told of a bundle; a repeat changes nothing.
pub(crate) fn offered(
    transaction: &Transaction<'_>,
    agent: AgentId,
    serial: Serial,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (agent, serial) = (agent.to_string(), to_stored(serial.0));
    let is_new = transaction
        .prepare_cached(
            "INSERT INTO course (agent, serial, began_at, offered_at) SELECT ?1, ?2, ?3, ?3
             WHERE EXISTS (SELECT 1 FROM agent WHERE id = ?1) ON CONFLICT (agent, serial) DO NOTHING",
        )?
        .execute(params![agent, serial, now.as_micros()])?;
    if is_new > 0 { forget_old(transaction, &agent) } else { Ok(()) }
}

/// Notes what a sensor says of a bundle.
pub(crate) fn outcome(
    transaction: &Transaction<'_>,
    agent: AgentId,
    (serial, outcome): (Serial, &BundleOutcome),
    (reason, now): (&str, Timestamp),
) -> Result<(), StoreError> {
    let [mut fetched, mut applied, mut refused] = [None; 3];
    match outcome {
        BundleOutcome::Fetched => fetched = Some(now.as_micros()),
        BundleOutcome::Applied { .. } => applied = Some(now.as_micros()),
        BundleOutcome::Refused { .. } => refused = Some(now.as_micros()),
        BundleOutcome::Unknown => return Ok(()),
    }
    let agent = agent.to_string();
    transaction
        .prepare_cached(
            "INSERT INTO course (agent, serial, began_at, fetched_at, applied_at, refused_at, reason)
             SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7 WHERE EXISTS (SELECT 1 FROM agent WHERE id = ?1)
             ON CONFLICT (agent, serial) DO UPDATE SET fetched_at = coalesce(?4, fetched_at),
                applied_at = coalesce(?5, applied_at), refused_at = coalesce(?6, refused_at),
                reason = CASE WHEN ?6 IS NULL THEN reason ELSE ?7 END",
        )?
        .execute(params![agent, to_stored(serial.0), now.as_micros(), fetched, applied, refused, reason])?;
    forget_old(transaction, &agent)
}

fn forget_old(transaction: &Transaction<'_>, agent: &str) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "DELETE FROM course WHERE agent = ?1 AND serial NOT IN (
                SELECT serial FROM course WHERE agent = ?1 ORDER BY began_at DESC, serial DESC LIMIT ?2)",
        )?
        .execute(params![agent, KEPT])?;
    Ok(())
}

/// Another bundle has this number from now on.
pub(crate) fn forget(transaction: &Transaction<'_>, serial: i64) -> Result<(), StoreError> {
    transaction.execute("DELETE FROM course WHERE serial = ?1", [serial])?;
    Ok(())
}

/// The last bundles of each sensor by its identifier, the newest first.
pub(crate) fn all(connection: &Connection) -> rusqlite::Result<HashMap<String, Vec<Course>>> {
    let mut statement = connection.prepare_cached(
        "SELECT agent, serial, offered_at, fetched_at, applied_at, refused_at, reason FROM course
         ORDER BY agent, began_at DESC, serial DESC",
    )?;
    let mut rows = statement.query([])?;
    let mut courses: HashMap<String, Vec<Course>> = HashMap::new();
    while let Some(row) = rows.next()? {
        let at = |column: usize| -> rusqlite::Result<Option<Timestamp>> {
            Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
        };
        let course = Course {
            serial: from_stored(row.get(1)?),
            offered_at: at(2)?,
            fetched_at: at(3)?,
            applied_at: at(4)?,
            refused_at: at(5)?,
            reason: row.get(6)?,
        };
        courses.entry(row.get(0)?).or_default().push(course);
    }
    Ok(courses)
}

//! Bundles that some towns have first: what was begun, seen and decided.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::{Serial, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Store, StoreError, audit, from_stored, to_stored};
use crate::bundles::rollout::{Canary, Offered, Seen};
use crate::clock;

const MINUTE_MICROS: i64 = 60 * 1_000_000;
/// The hour before a bundle is what its hits are compared with.
const BEFORE_MICROS: i64 = 60 * MINUTE_MICROS;

/// A bundle that some towns have first, or had.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Rollout {
    /// Its number.
    pub serial: u64,
    /// What all others are offered meanwhile.
    pub before: u64,
    /// How long it is watched.
    pub minutes: u64,
    /// When it began.
    pub started_at: Timestamp,
    /// `canary`, `release_asked`, `released`, `stopped` or `replaced`.
    pub state: String,
    /// Why.
    pub reason: String,
    /// Names of the towns that have it first.
    pub towns: Vec<String>,
    #[serde(skip)]
    ids: Vec<String>,
    #[serde(skip)]
    hits_before: u64,
}

impl Rollout {
    /// Whether the first towns have another bundle than all others.
    pub fn is_apart(&self) -> bool {
        matches!(self.state.as_str(), "canary" | "release_asked" | "stopped")
    }

    /// When the others have it, if nothing speaks against it.
    pub fn until(&self) -> Timestamp {
        self.started_at.plus_seconds(i64::try_from(self.minutes.saturating_mul(60)).unwrap_or(i64::MAX))
    }
}

/// Towns with a sensor that may report, by identifier.
pub(crate) async fn towns_with_sensors(store: &Store) -> Result<Vec<String>, StoreError> {
    store
        .read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT DISTINCT a.comune FROM agent a
                 WHERE EXISTS (SELECT 1 FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL)
                 ORDER BY a.comune",
            )?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

/// Writes that a bundle goes to these towns first.
pub(crate) fn begin(
    transaction: &Transaction<'_>,
    (serial, before): (Serial, Serial),
    minutes: u32,
    towns: &BTreeSet<String>,
) -> Result<(), StoreError> {
    let now = clock::now().as_micros();
    let mut hits_before = 0;
    for town in towns {
        hits_before += hits(transaction, town, now.saturating_sub(BEFORE_MICROS), now)?;
    }
    // The number may have been another bundle's, of other signers.
    transaction.execute("DELETE FROM rollout_town WHERE serial = ?1", [to_stored(serial.0)])?;
    transaction.execute(
        "INSERT OR REPLACE INTO rollout (serial, before, minutes, started_at, hits_before, state, reason, decided_by)
         VALUES (?1, ?2, ?3, ?4, ?5, 'canary', '', '')",
        params![to_stored(serial.0), to_stored(before.0), minutes, now, hits_before],
    )?;
    for town in towns {
        transaction.execute(
            "INSERT INTO rollout_town (serial, comune) VALUES (?1, ?2)",
            params![to_stored(serial.0), town],
        )?;
    }
    Ok(())
}

/// Writes that what was apart is not any more, because a newer bundle is offered.
pub(crate) fn replace(transaction: &Transaction<'_>, by: Serial) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE rollout SET state = 'replaced', decided_at = ?1, reason = 'bundle ' || ?2 || ' came'
         WHERE state IN ('canary', 'release_asked', 'stopped')",
        params![clock::now().as_micros(), to_stored(by.0)],
    )?;
    Ok(())
}

fn hits(connection: &Connection, town: &str, from: i64, to: i64) -> rusqlite::Result<i64> {
    let sql = "SELECT count(*) FROM hit WHERE comune = ?1 AND at >= ?2 AND at < ?3";
    connection.prepare_cached(sql)?.query_row(params![town, from, to], |row| row.get(0))
}

/// The newest rollout.
pub(crate) fn newest(connection: &Connection) -> rusqlite::Result<Option<Rollout>> {
    let found = connection
        .query_row(
            "SELECT serial, before, minutes, started_at, hits_before, state, reason FROM rollout
             ORDER BY started_at DESC, serial DESC LIMIT 1",
            [],
            |row| {
                Ok(Rollout {
                    serial: from_stored(row.get(0)?),
                    before: from_stored(row.get(1)?),
                    minutes: from_stored(row.get(2)?),
                    started_at: Timestamp::from_micros(row.get(3)?),
                    hits_before: from_stored(row.get(4)?),
                    state: row.get(5)?,
                    reason: row.get(6)?,
                    towns: Vec::new(),
                    ids: Vec::new(),
                })
            },
        )
        .optional()?;
    let Some(mut rollout) = found else { return Ok(None) };
    let mut statement = connection.prepare_cached(
        "SELECT c.id, c.name FROM rollout_town t JOIN comune c ON c.id = t.comune WHERE t.serial = ?1 ORDER BY c.name",
    )?;
    let rows = statement.query_map([to_stored(rollout.serial)], |row| Ok((row.get(0)?, row.get(1)?)))?;
    for row in rows {
        let (id, name) = row?;
        rollout.ids.push(id);
        rollout.towns.push(name);
    }
    Ok(Some(rollout))
}

/// The newest rollout, beside the service.
pub(crate) async fn look(store: &Store) -> Result<Option<Rollout>, StoreError> {
    store.read(|connection| Ok(newest(connection)?)).await
}

/// What is offered to whom: the newest bundle that was taken, and one before it where that is still apart.
pub(crate) fn offered(newest: Serial, rollout: Option<&Rollout>) -> Offered {
    match rollout.filter(|rollout| rollout.is_apart() && rollout.serial == newest.0) {
        Some(rollout) => {
            let towns = Arc::new(rollout.ids.iter().cloned().collect());
            Offered { all: Serial(rollout.before), canary: Some(Canary { serial: newest, towns }) }
        }
        None => Offered { all: newest, canary: None },
    }
}

/// What was seen in the first towns since.
pub(crate) async fn seen(store: &Store, rollout: Rollout) -> Result<Seen, StoreError> {
    let now = clock::now().as_micros();
    store
        .read(move |connection| {
            let started = rollout.started_at.as_micros();
            let serial = to_stored(rollout.serial);
            let of_towns = "FROM agent a JOIN rollout_town t ON t.comune = a.comune AND t.serial = ?1
                 JOIN comune c ON c.id = a.comune";
            let refused = connection
                .query_row(
                    &format!(
                        "SELECT c.name, a.bundle_reason {of_towns}
                         WHERE a.bundle_offered = ?1 AND a.bundle_outcome = 'refused' LIMIT 1"
                    ),
                    [serial],
                    |row| Ok((row.get(0)?, row.get(1)?)),
                )
                .optional()?;
            let applied: i64 = connection.query_row(
                &format!("SELECT count(*) {of_towns} WHERE a.bundle_in_force = ?1"),
                [serial],
                |row| row.get(0),
            )?;
            let mut hits_since = 0;
            for town in &rollout.ids {
                hits_since += hits(connection, town, started, i64::MAX)?;
            }
            Ok(Seen {
                minutes: from_stored(now.saturating_sub(started) / MINUTE_MICROS),
                towns: rollout.ids.len() as u64,
                refused,
                applied: from_stored(applied),
                hits: from_stored(hits_since),
                hits_before: rollout.hits_before,
            })
        })
        .await
}

/// Writes a decision about a rollout that is in one of the states `from`. Gives whether it was.
pub(crate) async fn decide(
    store: &Store,
    serial: u64,
    (from, to): (&'static [&'static str], &'static str),
    (by, reason): (&'static str, String),
) -> Result<bool, StoreError> {
    store
        .write(move |transaction| {
            let state: Option<String> = transaction
                .query_row("SELECT state FROM rollout WHERE serial = ?1", [to_stored(serial)], |row| row.get(0))
                .optional()?;
            if !state.is_some_and(|state| from.contains(&state.as_str())) {
                return Ok(false);
            }
            transaction.execute(
                "UPDATE rollout SET state = ?2, reason = ?3, decided_by = ?4, decided_at = ?5 WHERE serial = ?1",
                params![to_stored(serial), to, reason, by, clock::now().as_micros()],
            )?;
            audit::record(transaction, by, to, &format!("bundle {serial}"))?;
            Ok(true)
        })
        .await
}

//! Bundles that were verified, and their indicators as the hit pages show them.

use protocol::repository::Provenance;
use protocol::{BundleHeader, Indicator, Serial, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Store, StoreError, audit, courses, from_stored, rollouts, to_stored};
use crate::bundles::rollout::{Offered, Reach};
use crate::clock;

/// The newest bundle that was taken and still counts, 0 for none, with what is known of who signed it.
pub(crate) async fn newest(store: &Store) -> Result<(Serial, Option<Provenance>), StoreError> {
    store.read(|connection| Ok(newest_of(connection)?)).await
}

fn newest_of(connection: &Connection) -> rusqlite::Result<(Serial, Option<Provenance>)> {
    let sql =
        "SELECT serial, signers, sha256 FROM bundle WHERE withdrawn_at IS NULL ORDER BY serial DESC LIMIT 1";
    let found = connection.query_row(sql, [], |row| {
        let provenance = Provenance { signers: row.get(1)?, sha256: row.get(2)? };
        Ok((row.get::<_, i64>(0)?, provenance))
    });
    let Some((serial, provenance)) = found.optional()? else { return Ok((Serial(0), None)) };
    let is_known = !provenance.signers.is_empty();
    Ok((Serial(from_stored(serial)), is_known.then_some(provenance)))
}

/// Stores some indicators of a bundle; doing it again changes nothing.
pub(crate) async fn keep_indicators(
    store: &Store,
    serial: Serial,
    indicators: Vec<Indicator>,
) -> Result<(), StoreError> {
    let serial = to_stored(serial.0);
    store
        .write(move |transaction| {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO indicator (id, json, first_bundle, last_bundle) VALUES (?1, ?2, ?3, ?3)
                 ON CONFLICT (id) DO UPDATE SET json = excluded.json, last_bundle = ?3",
            )?;
            for indicator in &indicators {
                let json = serde_json::to_string(indicator)
                    .map_err(|error| StoreError::Unreadable(error.to_string()))?;
                statement.execute(params![indicator.id, json, serial])?;
            }
            Ok(())
        })
        .await
}

/// What is offered to whom.
pub(crate) async fn offered(store: &Store) -> Result<Offered, StoreError> {
    store.read(|connection| Ok(offered_by(connection)?)).await
}

/// The same, where a connection is at hand.
pub(crate) fn offered_by(connection: &Connection) -> rusqlite::Result<Offered> {
    Ok(rollouts::offered(newest_of(connection)?.0, rollouts::newest(connection)?.as_ref()))
}

/// Stores that a bundle was taken, after its indicators, and who has it at once. Numbers above its own count no longer:
/// only a bundle of other signers comes after them. Gives what is offered to whom from now on.
pub(crate) async fn keep(
    store: &Store,
    (header, provenance): (BundleHeader, Provenance),
    pushed_by: String,
    reach: Reach,
) -> Result<Offered, StoreError> {
    store
        .write(move |transaction| {
            let before = offered_by(transaction)?;
            write(transaction, &header, &provenance, &pushed_by)?;
            audit::record(transaction, &pushed_by, "push bundle", &header.serial.to_string())?;
            if reach != Reach::AsBefore {
                rollouts::replace(transaction, header.serial)?;
            }
            if let Reach::First { minutes, towns } = &reach {
                rollouts::begin(transaction, (header.serial, before.all), *minutes, towns)?;
            }
            Ok(offered_by(transaction)?)
        })
        .await
}

fn write(
    transaction: &Transaction<'_>,
    header: &BundleHeader,
    Provenance { signers, sha256 }: &Provenance,
    pushed_by: &str,
) -> Result<(), StoreError> {
    let now = clock::now().as_micros();
    let serial = to_stored(header.serial.0);
    let indicators = to_stored(header.indicators);
    let signed_anew = transaction.execute(
        "UPDATE bundle SET signers = ?2, sha256 = ?3, withdrawn_at = NULL WHERE serial = ?1 AND sha256 IN ('', ?3)",
        params![serial, signers, sha256],
    )?;
    if signed_anew == 0 {
        // The number was another bundle's, of other signers.
        transaction.execute("DELETE FROM bundle WHERE serial = ?1", [serial])?;
        courses::forget(transaction, serial)?;
        transaction.execute(
            "INSERT INTO bundle (serial, issuer, created_at, received_at, indicators, pushed_by, signers, sha256)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                serial,
                header.issuer,
                header.created.as_micros(),
                now,
                indicators,
                pushed_by,
                signers,
                sha256
            ],
        )?;
    }
    transaction.execute(
        "UPDATE bundle SET withdrawn_at = ?2 WHERE serial > ?1 AND withdrawn_at IS NULL",
        [serial, now],
    )?;
    Ok(())
}

/// How the signatures on offer are kept fresh.
pub(crate) struct Upkeep {
    /// `signed` by this collector, `not_named` when its key may not, `failed` when it could not.
    pub state: &'static str,
    /// When what is on offer expires.
    pub fresh_until: Option<Timestamp>,
    /// Why it failed.
    pub trouble: String,
}

/// Writes how the signatures on offer are kept fresh, for operators.
pub(crate) async fn keep_upkeep(store: &Store, upkeep: Upkeep) -> Result<(), StoreError> {
    let now = clock::now().as_micros();
    let until = upkeep.fresh_until.map(|until| until.as_micros());
    store
        .write(move |transaction| {
            transaction.execute(
                "INSERT INTO upkeep (id, at, state, fresh_until, trouble) VALUES (1, ?1, ?2, ?3, ?4)
                 ON CONFLICT (id) DO UPDATE SET at = ?1, state = ?2, fresh_until = ?3, trouble = ?4",
                params![now, upkeep.state, until, upkeep.trouble],
            )?;
            Ok(())
        })
        .await
}

/// How many sensors are connected.
pub(crate) async fn sensors_connected(store: &Store) -> Result<u64, StoreError> {
    store
        .read(|connection| {
            let sql = "SELECT count(*) FROM agent WHERE connected != 0";
            let connected: i64 = connection.query_row(sql, [], |row| row.get(0))?;
            Ok(from_stored(connected))
        })
        .await
}

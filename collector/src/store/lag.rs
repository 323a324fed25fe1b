//! How far each sensor is behind what its town is offered, and why.

use protocol::{Serial, Timestamp};
use rusqlite::Connection;

use super::courses::{self, Course};
use super::{Store, StoreError, bundles, from_stored, to_stored};

/// A sensor and the bundles that it was offered.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Progress {
    /// The town's identifier.
    pub comune: String,
    /// The town's name.
    pub comune_name: String,
    /// The sensor.
    pub agent: String,
    /// The gateway.
    pub host_name: String,
    /// Whether its town is among the first to have a bundle.
    pub first: bool,
    /// Newest bundle that it is offered, 0 for none.
    pub offered: u64,
    /// The bundle in force, 0 for none.
    pub in_force: u64,
    /// `fetched`, `applied`, `refused` or nothing: what it said last about a bundle.
    pub outcome: String,
    /// About which.
    pub outcome_of: u64,
    /// Why refused.
    pub reason: String,
    /// When it said so.
    pub outcome_at: Option<Timestamp>,
    /// Bundles between the one in force and the one that is offered.
    pub behind: u64,
    /// Since when it is behind.
    pub behind_since: Option<Timestamp>,
    /// When the metadata that it verified expires.
    pub fresh_until: Option<Timestamp>,
    /// What became of the last bundles, the newest first.
    pub courses: Vec<Course>,
}

/// All sensors that may report, by town.
pub(crate) fn progress(connection: &Connection) -> rusqlite::Result<Vec<Progress>> {
    let offered = bundles::offered_by(connection)?;
    let mut courses = courses::all(connection)?;
    let mut statement = connection.prepare_cached(
        "SELECT a.comune, c.name, a.id, a.host_name, a.bundle_in_force, a.bundle_outcome, a.bundle_offered,
                a.bundle_reason, a.bundle_at, a.fresh_until
         FROM agent a JOIN comune c ON c.id = a.comune
         WHERE EXISTS (SELECT 1 FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL)
         ORDER BY c.name COLLATE NOCASE, a.host_name, a.id",
    )?;
    let rows = statement.query_map([], |row| {
        let (comune, agent): (String, String) = (row.get(0)?, row.get(2)?);
        Ok(Progress {
            courses: courses.remove(&agent).unwrap_or_default(),
            first: offered.is_first(&comune),
            offered: offered.to(&comune).0,
            comune,
            comune_name: row.get(1)?,
            agent,
            host_name: row.get(3)?,
            in_force: from_stored(row.get(4)?),
            outcome: row.get(5)?,
            outcome_of: from_stored(row.get(6)?),
            reason: row.get(7)?,
            outcome_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_micros),
            behind: 0,
            behind_since: None,
            fresh_until: row.get::<_, Option<i64>>(9)?.map(Timestamp::from_micros),
        })
    })?;
    let mut all: Vec<Progress> = rows.collect::<Result<_, _>>()?;
    for sensor in &mut all {
        (sensor.behind, sensor.behind_since) =
            behind(connection, Serial(sensor.in_force), Serial(sensor.offered))?;
    }
    Ok(all)
}

/// How many bundles came after the one in force, and when the first of them did. After one that does not count any more
/// came those that were taken since, whatever their numbers.
fn behind(
    connection: &Connection,
    in_force: Serial,
    offered: Serial,
) -> rusqlite::Result<(u64, Option<Timestamp>)> {
    let sql =
        "SELECT count(*), min(received_at) FROM bundle WHERE withdrawn_at IS NULL AND serial <= ?2 AND (
            serial > ?1 OR received_at >= (SELECT withdrawn_at FROM bundle WHERE serial = ?1))";
    let [in_force, offered] = [in_force, offered].map(|serial| to_stored(serial.0));
    let (count, since): (i64, Option<i64>) = connection
        .prepare_cached(sql)?
        .query_row([in_force, offered], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok((from_stored(count), since.map(Timestamp::from_micros)))
}

/// The same, beside the service.
pub(crate) async fn look(store: &Store) -> Result<Vec<Progress>, StoreError> {
    store.read(|connection| Ok(progress(connection)?)).await
}

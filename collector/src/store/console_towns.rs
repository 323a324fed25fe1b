//! What the console reads about towns, their sensors and the bundles that were offered to them.

use rusqlite::{Connection, OptionalExtension as _, params};

/// A town, for menus and headings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Town {
    /// Identifier.
    pub id: String,
    /// Name.
    pub name: String,
    /// Hits stored since the time that was asked for.
    pub hits_recent: i64,
    /// Seen time of the newest hit.
    pub last_hit_at: Option<i64>,
}

/// A sensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sensor {
    /// Identifier.
    pub id: String,
    /// Its town's identifier.
    pub comune: String,
    /// Host name of the gateway.
    pub host_name: String,
    /// Program version.
    pub version: String,
    /// When it was enrolled.
    pub enrolled_at: i64,
    /// Last message.
    pub last_seen_at: Option<i64>,
    /// Whether a session is open.
    pub connected: bool,
    /// Remote address of the last session.
    pub address: Option<String>,
    /// Its clock minus the collector's, microseconds.
    pub skew_micros: i64,
    /// Serial in force, 0 for none.
    pub bundle_in_force: i64,
    /// Serial that it last said something about.
    pub bundle_offered: i64,
    /// `fetched`, `applied`, `refused` or nothing.
    pub bundle_outcome: String,
    /// Why refused.
    pub bundle_reason: String,
    /// When it said so.
    pub bundle_at: Option<i64>,
    /// Records that wait on the sensor.
    pub spooled: i64,
    /// JSON array of its sources.
    pub sources: String,
    /// Whether it has certificates and all of them are revoked.
    pub revoked: bool,
    /// Why.
    pub revoked_reason: String,
    /// When its newest certificate that is in force ends.
    pub certificate_until: Option<i64>,
    /// When the bundle metadata that it has expires.
    pub fresh_until: Option<i64>,
    /// Signs that two machines use its identity, separated by commas.
    pub twin_signs: String,
    /// When the last one was seen.
    pub twin_at: Option<i64>,
    /// The sensor whose place it took.
    pub replaces: Option<String>,
    /// The sensor that took its place.
    pub replaced_by: Option<String>,
}

/// Records that did not arrive, by reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Losses {
    /// The sensor.
    pub agent: String,
    /// Why.
    pub reason: String,
    /// How many.
    pub count: i64,
    /// When the collector last heard of one.
    pub noticed_at: i64,
}

/// Where lines of a log were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The sensor.
    pub agent: String,
    /// Why.
    pub reason: String,
    /// The log.
    pub input: String,
    /// The first byte that was not read.
    pub from: i64,
    /// Up to here bytes were there for certain.
    pub to: Option<i64>,
    /// When the collector heard of it.
    pub noticed_at: i64,
}

/// A bundle that was verified and offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Serial.
    pub serial: i64,
    /// Who made it.
    pub issuer: String,
    /// When the desk made it.
    pub created_at: i64,
    /// When the collector took it.
    pub received_at: i64,
    /// How many indicators.
    pub indicators: i64,
    /// Identity of the desk.
    pub pushed_by: String,
    /// Sensors that have it in force.
    pub in_force: i64,
    /// Sensors that refused it.
    pub refused: i64,
    /// When a bundle of other signers took its place.
    pub withdrawn_at: Option<i64>,
}

/// Towns by name, each with its hits received since `since`.
pub(crate) fn towns(db: &Connection, since: i64) -> rusqlite::Result<Vec<Town>> {
    let mut statement = db.prepare_cached(
        "SELECT c.id, c.name, \
           (SELECT count(*) FROM hit h WHERE h.comune = c.id AND h.at >= ?1), \
           (SELECT max(h.at) FROM hit h WHERE h.comune = c.id) \
         FROM comune c ORDER BY c.name COLLATE NOCASE",
    )?;
    statement
        .query_map([since], |row| {
            Ok(Town {
                id: row.get(0)?,
                name: row.get(1)?,
                hits_recent: row.get(2)?,
                last_hit_at: row.get(3)?,
            })
        })?
        .collect()
}

/// Identifiers and names of the towns, by name, for menus.
pub(crate) fn town_names(db: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let mut statement = db.prepare_cached("SELECT id, name FROM comune ORDER BY name COLLATE NOCASE")?;
    statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// All sensors, by host name.
pub(crate) fn sensors(db: &Connection) -> rusqlite::Result<Vec<Sensor>> {
    let mut statement = db.prepare_cached(
        "SELECT a.id, a.comune, a.host_name, a.version, a.enrolled_at, a.last_seen_at, a.connected, a.address, \
           a.skew_micros, a.bundle_in_force, a.bundle_offered, a.bundle_outcome, a.bundle_reason, a.bundle_at, \
           a.spooled, a.sources, \
           EXISTS (SELECT 1 FROM certificate t WHERE t.agent = a.id) \
             AND NOT EXISTS (SELECT 1 FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL), \
           coalesce((SELECT t.revoked_reason FROM certificate t \
             WHERE t.agent = a.id AND t.revoked_at IS NOT NULL ORDER BY t.revoked_at DESC LIMIT 1), ''), \
           (SELECT max(t.not_after) FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL), \
           a.fresh_until, \
           coalesce((SELECT group_concat(w.sign) FROM twin w WHERE w.agent = a.id), ''), \
           (SELECT max(w.last_at) FROM twin w WHERE w.agent = a.id), a.replaces, \
           (SELECT s.id FROM agent s WHERE s.replaces = a.id ORDER BY s.enrolled_at DESC LIMIT 1) \
         FROM agent a ORDER BY a.host_name, a.id",
    )?;
    statement
        .query_map([], |row| {
            Ok(Sensor {
                id: row.get(0)?,
                comune: row.get(1)?,
                host_name: row.get(2)?,
                version: row.get(3)?,
                enrolled_at: row.get(4)?,
                last_seen_at: row.get(5)?,
                connected: row.get(6)?,
                address: row.get(7)?,
                skew_micros: row.get(8)?,
                bundle_in_force: row.get(9)?,
                bundle_offered: row.get(10)?,
                bundle_outcome: row.get(11)?,
                bundle_reason: row.get(12)?,
                bundle_at: row.get(13)?,
                spooled: row.get(14)?,
                sources: row.get(15)?,
                revoked: row.get(16)?,
                revoked_reason: row.get(17)?,
                certificate_until: row.get(18)?,
                fresh_until: row.get(19)?,
                twin_signs: row.get(20)?,
                twin_at: row.get(21)?,
                replaces: row.get(22)?,
                replaced_by: row.get(23)?,
            })
        })?
        .collect()
}

/// Losses of all sensors since `since`, by sensor and reason.
pub(crate) fn losses(db: &Connection, since: i64) -> rusqlite::Result<Vec<Losses>> {
    let mut statement = db.prepare_cached(
        "SELECT agent, reason, sum(count), max(noticed_at) FROM loss WHERE noticed_at >= ?1 \
         GROUP BY agent, reason ORDER BY agent, reason",
    )?;
    statement
        .query_map([since], |row| {
            Ok(Losses {
                agent: row.get(0)?,
                reason: row.get(1)?,
                count: row.get(2)?,
                noticed_at: row.get(3)?,
            })
        })?
        .collect()
}

/// The newest `limit` gaps of each sensor since `since`, newest first.
pub(crate) fn gaps(db: &Connection, since: i64, limit: u32) -> rusqlite::Result<Vec<Gap>> {
    let mut statement = db.prepare_cached(
        "SELECT agent, reason, input, from_byte, to_byte, noticed_at FROM ( \
           SELECT *, row_number() OVER (PARTITION BY agent ORDER BY id DESC) AS place \
           FROM loss WHERE noticed_at >= ?1 AND input IS NOT NULL AND from_byte IS NOT NULL) \
         WHERE place <= ?2 ORDER BY agent, place",
    )?;
    statement
        .query_map(params![since, limit], |row| {
            Ok(Gap {
                agent: row.get(0)?,
                reason: row.get(1)?,
                input: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                noticed_at: row.get(5)?,
            })
        })?
        .collect()
}

/// Bundles, those that came last first.
pub(crate) fn bundles(db: &Connection, limit: u32) -> rusqlite::Result<Vec<Bundle>> {
    let mut statement = db.prepare_cached(
        "SELECT b.serial, b.issuer, b.created_at, b.received_at, b.indicators, b.pushed_by, \
           (SELECT count(*) FROM agent a WHERE a.bundle_in_force = b.serial), \
           (SELECT count(*) FROM agent a WHERE a.bundle_offered = b.serial AND a.bundle_outcome = 'refused'), \
           b.withdrawn_at \
         FROM bundle b ORDER BY b.received_at DESC, b.serial DESC LIMIT ?1",
    )?;
    statement
        .query_map(params![limit], |row| {
            Ok(Bundle {
                serial: row.get(0)?,
                issuer: row.get(1)?,
                created_at: row.get(2)?,
                received_at: row.get(3)?,
                indicators: row.get(4)?,
                pushed_by: row.get(5)?,
                in_force: row.get(6)?,
                refused: row.get(7)?,
                withdrawn_at: row.get(8)?,
            })
        })?
        .collect()
}

/// How the signatures on offer are kept fresh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Upkeep {
    /// `signed`, `not_named` or `failed`.
    pub state: String,
    /// When what is on offer expires.
    pub fresh_until: Option<i64>,
    /// Why it failed.
    pub trouble: String,
}

/// How the signatures on offer are kept fresh; `None` when nothing was looked at yet.
pub(crate) fn upkeep(db: &Connection) -> rusqlite::Result<Option<Upkeep>> {
    db.query_row("SELECT state, fresh_until, trouble FROM upkeep", [], |row| {
        Ok(Upkeep { state: row.get(0)?, fresh_until: row.get(1)?, trouble: row.get(2)? })
    })
    .optional()
}

/// Serial of the newest bundle that counts, 0 when there is none.
pub(crate) fn newest_bundle(db: &Connection) -> rusqlite::Result<i64> {
    db.query_row("SELECT coalesce(max(serial), 0) FROM bundle WHERE withdrawn_at IS NULL", [], |row| {
        row.get(0)
    })
}

/// Serials of bundles that do not count any more.
pub(crate) fn withdrawn_bundles(db: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = db.prepare_cached("SELECT serial FROM bundle WHERE withdrawn_at IS NOT NULL")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

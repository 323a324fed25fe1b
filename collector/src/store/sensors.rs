//! Sensors, desks and certificates: who may connect.

use std::net::SocketAddr;

use protocol::enrolment::EnrolRefusal;
use protocol::identity::AgentId;
use protocol::{Identity, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::twins::{self, TwinRow};
use super::{Store, StoreError, audit, invitations};
use crate::authority::Issued;
use crate::clock;

/// A sensor that asks to be enrolled.
#[derive(Clone, Debug)]
pub struct Applicant {
    /// SHA-256 of the code's secret, hexadecimal.
    pub secret_sha256: String,
    /// The gateway's host name.
    pub host_name: String,
    /// The agent's program version.
    pub version: String,
}

/// A sensor that was enrolled.
#[derive(Clone, Debug)]
pub struct Enrolled {
    /// Its identifier.
    pub agent: AgentId,
    /// The town's name.
    pub comune: String,
    /// Its certificate.
    pub issued: Issued,
}

/// Uses an invitation up and stores the sensor with the certificate that `issue` signs for it: all or nothing.
pub(crate) async fn enrol(
    store: &Store,
    applicant: Applicant,
    agent: AgentId,
    issue: impl FnOnce(&Identity) -> Result<Issued, StoreError> + Send + 'static,
) -> Result<Result<Enrolled, EnrolRefusal>, StoreError> {
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let used = match invitations::use_up(transaction, &applicant.secret_sha256, now)? {
                Ok(used) => used,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let identity = Identity::Agent { comune: used.comune.clone(), agent };
            let issued = issue(&identity)?;
            transaction.execute(
                "INSERT INTO agent (id, comune, host_name, version, enrolled_at, replaces)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                params![
                    agent.to_string(),
                    used.comune.as_str(),
                    applicant.host_name,
                    applicant.version,
                    now,
                    used.replaces
                ],
            )?;
            if let Some(replaced) = &used.replaces {
                revoke_replaced(transaction, replaced, agent, now)?;
            }
            insert_certificate(transaction, &identity, &issued, now)?;
            audit::record(transaction, "enrolment", "enrol", &identity.to_string())?;
            Ok(Ok(Enrolled { agent, comune: used.name, issued }))
        })
        .await
}

/// Takes the certificates of a sensor back whose place another takes.
fn revoke_replaced(
    transaction: &Transaction<'_>,
    replaced: &str,
    by: AgentId,
    now: i64,
) -> Result<(), StoreError> {
    transaction.execute(
        "UPDATE certificate SET revoked_at = ?2, revoked_reason = ?3 WHERE agent = ?1 AND revoked_at IS NULL",
        params![replaced, now, format!("the sensor {by} took its place")],
    )?;
    audit::record(transaction, "enrolment", "replace", replaced)
}

fn insert_certificate(
    connection: &Connection,
    identity: &Identity,
    issued: &Issued,
    now: i64,
) -> Result<(), StoreError> {
    let agent = match identity {
        Identity::Agent { agent, .. } => Some(agent.to_string()),
        Identity::Desk { .. } => None,
    };
    connection.execute(
        "INSERT INTO certificate (serial, identity, agent, issued_at, not_after) VALUES (?1, ?2, ?3, ?4, ?5)",
        params![issued.serial, identity.to_string(), agent, now, issued.not_after.as_micros()],
    )?;
    Ok(())
}

/// Stores a desk's certificate.
pub(crate) async fn admit_desk(store: &Store, desk: Identity, issued: Issued) -> Result<(), StoreError> {
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            insert_certificate(transaction, &desk, &issued, now)?;
            audit::record(transaction, "command line", "admit desk", &desk.to_string())
        })
        .await
}

/// What the store says about a certificate that a peer showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Issued here and not taken back.
    Good {
        /// The town's name, for logs; empty for a desk.
        comune: String,
    },
    /// Taken back.
    Revoked {
        /// Why.
        reason: String,
    },
    /// Not in the store, or issued to somebody else: the store was restored from before it was issued.
    Unknown,
}

/// Why a certificate was taken back whose successor is used.
pub(crate) const RETIRED: &str =
    "its sensor uses a newer one; if this machine was restored from a copy, enrol it anew";
/// Renewals of one sensor in a day; one in two weeks is usual.
const RENEWALS_A_DAY_MAX: i64 = 4;
const DAY_MICROS: i64 = 86_400 * 1_000_000;

/// Stores the next certificate of a sensor, which `issue` signs, when the one that it shows is good. Gives the reason
/// when there is none.
pub(crate) async fn renew(
    store: &Store,
    serial: String,
    identity: Identity,
    issue: impl FnOnce(&Identity) -> Result<Issued, StoreError> + Send + 'static,
) -> Result<Result<Issued, &'static str>, StoreError> {
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let urn = identity.to_string();
            let good: i64 = transaction.query_row(
                "SELECT count(*) FROM certificate
                 WHERE serial = ?1 AND identity = ?2 AND revoked_at IS NULL AND not_after > ?3",
                params![serial, urn, now],
                |row| row.get(0),
            )?;
            if good == 0 {
                return Ok(Err("the certificate of this connection is not good any more"));
            }
            let today: i64 = transaction.query_row(
                "SELECT count(*) FROM certificate WHERE identity = ?1 AND issued_at > ?2",
                params![urn, now.saturating_sub(DAY_MICROS)],
                |row| row.get(0),
            )?;
            if today >= RENEWALS_A_DAY_MAX {
                return Ok(Err("this sensor had enough certificates today; try again tomorrow"));
            }
            let issued = issue(&identity)?;
            insert_certificate(transaction, &identity, &issued, now)?;
            audit::record(transaction, "renewal", "renew", &urn)?;
            Ok(Ok(issued))
        })
        .await
}

/// Takes back what was issued to a sensor before a certificate that it uses.
pub(crate) fn retire_before(
    transaction: &Transaction<'_>,
    serial: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "UPDATE certificate SET revoked_at = ?2, revoked_reason = ?3
             WHERE revoked_at IS NULL AND (agent, issued_at) IN
               (SELECT o.agent, o.issued_at FROM certificate u JOIN certificate o
                  ON o.agent = u.agent AND o.issued_at < u.issued_at WHERE u.serial = ?1)",
        )?
        .execute(params![serial, now.as_micros(), RETIRED])?;
    Ok(())
}

/// From where sensors that may report came last.
pub(crate) async fn last_addresses(store: &Store) -> Result<Vec<SocketAddr>, StoreError> {
    store
        .read(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT address FROM agent a WHERE address IS NOT NULL AND EXISTS
                    (SELECT 1 FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL)
                 ORDER BY last_seen_at DESC",
            )?;
            let addresses = statement.query_map([], |row| row.get::<_, String>(0))?;
            let addresses = addresses.collect::<rusqlite::Result<Vec<_>>>()?;
            Ok(addresses.iter().filter_map(|address| address.parse().ok()).collect())
        })
        .await
}

/// Looks a certificate up.
pub(crate) async fn standing(
    store: &Store,
    serial: String,
    identity: &Identity,
) -> Result<Standing, StoreError> {
    let identity = identity.to_string();
    store
        .read(move |connection| {
            let found = connection
                .prepare_cached(
                    "SELECT t.identity, t.revoked_at, t.revoked_reason, c.name FROM certificate t
                     LEFT JOIN agent a ON a.id = t.agent LEFT JOIN comune c ON c.id = a.comune
                     WHERE t.serial = ?1",
                )?
                .query_row([serial], |row| {
                    Ok((
                        row.get::<_, String>(0)?,
                        row.get::<_, Option<i64>>(1)?,
                        row.get::<_, String>(2)?,
                        row.get::<_, Option<String>>(3)?,
                    ))
                })
                .optional()?;
            Ok(match found {
                Some((stored, ..)) if stored != identity => Standing::Unknown,
                Some((_, Some(_), reason, _)) => Standing::Revoked { reason },
                Some((_, None, _, comune)) => Standing::Good { comune: comune.unwrap_or_default() },
                None => Standing::Unknown,
            })
        })
        .await
}

/// Serials of the certificates that were taken back and have not ended, with the reason.
pub(crate) async fn revoked(store: &Store) -> Result<Vec<(String, String)>, StoreError> {
    let now = clock::now().as_micros();
    store
        .read(move |connection| {
            let mut statement = connection.prepare_cached(
                "SELECT serial, revoked_reason FROM certificate WHERE revoked_at IS NOT NULL AND not_after > ?1",
            )?;
            let rows = statement.query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

/// Takes all certificates of an identity back. Gives the number of those that were good until now.
pub(crate) async fn revoke(store: &Store, identity: String, reason: String) -> Result<usize, StoreError> {
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let changed = transaction.execute(
                "UPDATE certificate SET revoked_at = ?2, revoked_reason = ?3
                 WHERE identity = ?1 AND revoked_at IS NULL",
                params![identity, now, reason],
            )?;
            audit::record(transaction, "command line", "revoke", &identity)?;
            Ok(changed)
        })
        .await
}

/// Identities that begin as asked: a sensor by its identifier or its first eight or more digits, a desk by
/// its name.
pub(crate) async fn identities(store: &Store, asked: String) -> Result<Vec<String>, StoreError> {
    store
        .read(move |connection| {
            let mut statement = connection.prepare(
                "SELECT DISTINCT identity FROM certificate
                 WHERE (length(?1) >= 8 AND substr(agent, 1, length(?1)) = ?1)
                    OR identity = 'urn:vedetta:desk:' || ?1
                 ORDER BY identity",
            )?;
            let rows = statement.query_map([asked], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

/// One sensor, for a list.
#[derive(Debug, serde::Serialize)]
pub struct SensorRow {
    /// Identifier.
    pub agent: String,
    /// The town's identifier.
    pub comune: String,
    /// The town's name.
    pub comune_name: String,
    /// The gateway.
    pub host_name: String,
    /// Program version.
    pub version: String,
    /// Whether a session is open.
    pub connected: bool,
    /// Whether all its certificates were taken back.
    pub revoked: bool,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// When it was last heard.
    pub last_seen_at: Option<Timestamp>,
    /// Serial of the bundle in force.
    pub bundle: i64,
    /// Records that wait on it.
    pub spooled: i64,
    /// Its clock minus the collector's, in microseconds.
    pub skew_micros: i64,
    /// Hits stored.
    pub hits: i64,
    /// When its newest certificate that is good ends.
    pub certificate_until: Option<Timestamp>,
    /// Signs that two machines use its identity.
    pub twins: Vec<TwinRow>,
    /// The sensor whose place it took.
    pub replaces: Option<String>,
    /// The sensor that took its place.
    pub replaced_by: Option<String>,
}

/// All sensors by town.
pub(crate) async fn list(store: &Store) -> Result<Vec<SensorRow>, StoreError> {
    store
        .read(|connection| {
            let mut statement = connection.prepare(
                "SELECT a.id, a.comune, c.name, a.host_name, a.version, a.connected != 0,
                        NOT EXISTS (SELECT 1 FROM certificate t WHERE t.agent = a.id AND t.revoked_at IS NULL),
                        a.enrolled_at, a.last_seen_at, a.bundle_in_force, a.spooled, a.skew_micros,
                        (SELECT count(*) FROM hit h WHERE h.agent = a.id),
                        (SELECT max(t.not_after) FROM certificate t
                          WHERE t.agent = a.id AND t.revoked_at IS NULL),
                        a.replaces,
                        (SELECT s.id FROM agent s WHERE s.replaces = a.id ORDER BY s.enrolled_at DESC LIMIT 1)
                 FROM agent a JOIN comune c ON c.id = a.comune ORDER BY c.name, a.enrolled_at",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(SensorRow {
                    agent: row.get(0)?,
                    comune: row.get(1)?,
                    comune_name: row.get(2)?,
                    host_name: row.get(3)?,
                    version: row.get(4)?,
                    connected: row.get(5)?,
                    revoked: row.get(6)?,
                    enrolled_at: Timestamp::from_micros(row.get(7)?),
                    last_seen_at: row.get::<_, Option<i64>>(8)?.map(Timestamp::from_micros),
                    bundle: row.get(9)?,
                    spooled: row.get(10)?,
                    skew_micros: row.get(11)?,
                    hits: row.get(12)?,
                    certificate_until: row.get::<_, Option<i64>>(13)?.map(Timestamp::from_micros),
                    twins: Vec::new(),
                    replaces: row.get(14)?,
                    replaced_by: row.get(15)?,
                })
            })?;
            let mut rows: Vec<SensorRow> = rows.collect::<Result<_, _>>()?;
            for row in &mut rows {
                row.twins = twins::of(connection, &row.agent)?;
            }
            Ok(rows)
        })
        .await
}

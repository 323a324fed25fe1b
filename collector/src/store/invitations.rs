//! Invitations: the code that a town gets, and the town that comes with its first one.

use protocol::Timestamp;
use protocol::enrolment::EnrolRefusal;
use protocol::identity::ComuneId;
use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{Store, StoreError, audit};
use crate::clock;

/// An invitation to be stored. The town is known by its code, its name, or the sensor that is replaced.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// The town's ISTAT code; needed with its first invitation.
    pub istat: Option<ComuneId>,
    /// The town's name as typed; needed with its first invitation.
    pub name: Option<String>,
    /// Whether a known town gets this name.
    pub rename: bool,
    /// The sensor whose place the new one takes: its identifier, or at least eight digits of it.
    pub replaces: Option<String>,
    /// SHA-256 of the secret, hexadecimal.
    pub secret_sha256: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// A town that was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invited {
    /// Its identifier.
    pub comune: ComuneId,
    /// Its name.
    pub name: String,
    /// The sensor that is to be replaced.
    pub replaces: Option<String>,
}

/// Why nobody was invited; nothing was stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotInvited {
    /// The first invitation of a town has no code.
    #[error(
        "no town is known as {0:?}; its first invitation needs its ISTAT code: --istat 999001 (invented codes begin with 999)"
    )]
    CodeNeeded(String),
    /// The first invitation of a town has no name.
    #[error("no town with the code {0} is known; its first invitation needs its name: --comune NAME")]
    NameNeeded(ComuneId),
    /// The town has another name.
    #[error(
        "the town {code} is known as {name:?}; leave --comune out, or give it the new name with --rename"
    )]
    KnownAs {
        /// Its code.
        code: ComuneId,
        /// Its name.
        name: String,
    },
    /// Another town has the name.
    #[error(
        "{name:?} is the name of the town {code}; of two towns of one name write the province behind it, such as \"{name} (XX)\""
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Whose it is.
        code: String,
    },
    /// The sensor belongs to another town than the one named.
    #[error("the sensor {agent} belongs to {name:?} ({code}), not to the town that was named")]
    OtherTown {
        /// The sensor.
        agent: String,
        /// Its town.
        name: String,
        /// Its town's code.
        code: ComuneId,
    },
    /// No sensor, or several, begin like that.
    #[error(
        "{found} sensors are known as {asked:?}; `vedetta-collector agents` lists them (at least 8 digits)"
    )]
    Sensor {
        /// As asked.
        asked: String,
        /// How many.
        found: usize,
    },
}

/// Stores an invitation and, with the first one, its town.
pub(crate) async fn invite(
    store: &Store,
    new: NewInvitation,
) -> Result<Result<Invited, NotInvited>, StoreError> {
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let invited = match town_of(transaction, &new, now)? {
                Ok(invited) => invited,
                Err(reason) => return Ok(Err(reason)),
            };
            transaction.execute(
                "INSERT INTO invitation (secret_sha256, comune, created_at, expires_at, replaces)
                 VALUES (?1, ?2, ?3, ?4, ?5)",
                params![
                    new.secret_sha256,
                    invited.comune.as_str(),
                    now,
                    new.expires_at.as_micros(),
                    invited.replaces
                ],
            )?;
            audit::record(transaction, "command line", "invite", invited.comune.as_str())?;
            Ok(Ok(invited))
        })
        .await
}

fn town_of(
    transaction: &Transaction<'_>,
    new: &NewInvitation,
    now: i64,
) -> Result<Result<Invited, NotInvited>, StoreError> {
    if let Some(asked) = &new.replaces {
        return town_of_sensor(transaction, new, asked);
    }
    let Some(code) = &new.istat else {
        let name = new.name.clone().unwrap_or_default();
        let known = code_of(transaction, &name)?;
        return Ok(known.map_or(Err(NotInvited::CodeNeeded(name.clone())), |code| {
            Ok(Invited { comune: code, name, replaces: None })
        }));
    };
    let known = name_of(transaction, code)?;
    let name = match (known, &new.name) {
        (Some(known), None) => known,
        (Some(known), Some(name)) if known == *name => known,
        (Some(known), Some(_)) if !new.rename => {
            return Ok(Err(NotInvited::KnownAs { code: code.clone(), name: known }));
        }
        (None, None) => return Ok(Err(NotInvited::NameNeeded(code.clone()))),
        (known, Some(name)) => {
            if let Some(other) = code_of(transaction, name)? {
                return Ok(Err(NotInvited::NameTaken { name: name.clone(), code: other.to_string() }));
            }
            let sql = if known.is_some() {
                "UPDATE comune SET name = ?2 WHERE id = ?1 AND ?3 > 0"
            } else {
                "INSERT INTO comune (id, name, created_at) VALUES (?1, ?2, ?3)"
            };
            transaction.execute(sql, params![code.as_str(), name, now])?;
            name.clone()
        }
    };
    Ok(Ok(Invited { comune: code.clone(), name, replaces: None }))
}

/// The town of the sensor that is replaced; what else was said of the town must agree.
fn town_of_sensor(
    transaction: &Transaction<'_>,
    new: &NewInvitation,
    asked: &str,
) -> Result<Result<Invited, NotInvited>, StoreError> {
    let mut statement = transaction.prepare(
        "SELECT a.id, c.id, c.name FROM agent a JOIN comune c ON c.id = a.comune
         WHERE length(?1) >= 8 AND substr(a.id, 1, length(?1)) = ?1",
    )?;
    let rows = statement.query_map([asked], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let mut found: Vec<(String, String, String)> = rows.collect::<Result<_, _>>()?;
    let (Some((agent, code, name)), true) = (found.pop(), found.is_empty()) else {
        let found = if asked.len() < 8 { 0 } else { found.len() + usize::from(!found.is_empty()) };
        return Ok(Err(NotInvited::Sensor { asked: asked.to_owned(), found }));
    };
    let comune = parsed(&code)?;
    let agrees = new.istat.as_ref().is_none_or(|istat| *istat == comune)
        && new.name.as_ref().is_none_or(|asked| *asked == name);
    if !agrees {
        return Ok(Err(NotInvited::OtherTown { agent, name, code: comune }));
    }
    Ok(Ok(Invited { comune, name, replaces: Some(agent) }))
}

fn name_of(transaction: &Transaction<'_>, code: &ComuneId) -> Result<Option<String>, StoreError> {
    let sql = "SELECT name FROM comune WHERE id = ?1";
    Ok(transaction.query_row(sql, [code.as_str()], |row| row.get(0)).optional()?)
}

fn code_of(transaction: &Transaction<'_>, name: &str) -> Result<Option<ComuneId>, StoreError> {
    let sql = "SELECT id FROM comune WHERE name = ?1";
    let code: Option<String> = transaction.query_row(sql, [name], |row| row.get(0)).optional()?;
    code.map(|code| parsed(&code)).transpose()
}

fn parsed(code: &str) -> Result<ComuneId, StoreError> {
    code.parse().map_err(|_| StoreError::Unreadable(format!("town {code}")))
}

/// What a code that was used up was for.
pub(super) struct Used {
    /// The town.
    pub comune: ComuneId,
    /// Its name.
    pub name: String,
    /// The sensor that is replaced.
    pub replaces: Option<String>,
}

/// Uses an invitation up: it is good once.
pub(super) fn use_up(
    transaction: &Transaction<'_>,
    secret_sha256: &str,
    now: i64,
) -> Result<Result<Used, EnrolRefusal>, StoreError> {
    let found = transaction
        .query_row(
            "SELECT c.id, c.name, i.expires_at, i.used_at, i.replaces
             FROM invitation i JOIN comune c ON c.id = i.comune WHERE i.secret_sha256 = ?1",
            [secret_sha256],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<i64>>(3)?,
                    row.get::<_, Option<String>>(4)?,
                ))
            },
        )
        .optional()?;
    let Some((code, name, expires_at, used_at, replaces)) = found else {
        return Ok(Err(EnrolRefusal::Unknown));
    };
    if used_at.is_some() {
        return Ok(Err(EnrolRefusal::Used));
    }
    if expires_at <= now {
        return Ok(Err(EnrolRefusal::Expired));
    }
    let sql = "UPDATE invitation SET used_at = ?2 WHERE secret_sha256 = ?1";
    transaction.execute(sql, params![secret_sha256, now])?;
    Ok(Ok(Used { comune: parsed(&code)?, name, replaces }))
}

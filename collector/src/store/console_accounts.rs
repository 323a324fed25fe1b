//! What the console reads and writes about operators: password hashes, sessions, failed sign-ins.

use rusqlite::{Connection, OptionalExtension as _, params};

/// A session as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SessionRow {
    /// Whose it is.
    pub operator: String,
    /// The token that its forms carry.
    pub csrf_token: String,
    /// When a request last used it.
    pub last_used_at: i64,
    /// When it ends whatever happens.
    pub expires_at: i64,
}

/// A session about to begin.
pub(crate) struct NewSession<'a> {
    /// SHA-256 of the cookie's token, hexadecimal.
    pub token_sha256: &'a str,
    /// Whose it is.
    pub operator: &'a str,
    /// The token that its forms carry.
    pub csrf_token: &'a str,
    /// Now.
    pub created_at: i64,
    /// When it ends whatever happens.
    pub expires_at: i64,
}

/// Failed sign-ins of one subject within a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Failures {
    /// How many.
    pub count: i64,
    /// The newest.
    pub last_at: Option<i64>,
}

/// The password hash of an operator who may sign in.
pub(crate) fn password_hash(db: &Connection, operator: &str) -> rusqlite::Result<Option<String>> {
    db.prepare_cached("SELECT password_hash FROM operator WHERE name = ?1 AND disabled_at IS NULL")?
        .query_row([operator], |row| row.get(0))
        .optional()
}

/// The session of a token, whatever its age; none when its operator was disabled.
pub(crate) fn session(db: &Connection, token_sha256: &str) -> rusqlite::Result<Option<SessionRow>> {
    db.prepare_cached(
        "SELECT s.operator, s.csrf_token, s.last_used_at, s.expires_at \
         FROM console_session s JOIN operator o ON o.name = s.operator \
         WHERE s.token_sha256 = ?1 AND o.disabled_at IS NULL",
    )?
    .query_row([token_sha256], |row| {
        Ok(SessionRow {
            operator: row.get(0)?,
            csrf_token: row.get(1)?,
            last_used_at: row.get(2)?,
            expires_at: row.get(3)?,
        })
    })
    .optional()
}

/// Begins a session.
pub(crate) fn open_session(db: &Connection, session: &NewSession<'_>) -> rusqlite::Result<()> {
    db.execute(
        "INSERT INTO console_session (token_sha256, operator, csrf_token, created_at, last_used_at, expires_at) \
         VALUES (?1, ?2, ?3, ?4, ?4, ?5)",
        params![
            session.token_sha256,
            session.operator,
            session.csrf_token,
            session.created_at,
            session.expires_at
        ],
    )?;
    Ok(())
}

/// Notes that a session was used.
pub(crate) fn touch_session(db: &Connection, token_sha256: &str, now: i64) -> rusqlite::Result<()> {
    db.execute(
        "UPDATE console_session SET last_used_at = max(last_used_at, ?2) WHERE token_sha256 = ?1",
        params![token_sha256, now],
    )?;
    Ok(())
}

/// Ends a session.
pub(crate) fn close_session(db: &Connection, token_sha256: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM console_session WHERE token_sha256 = ?1", [token_sha256])?;
    Ok(())
}

/// Forgets sessions that ended by age or were last used before `idle_since`.
pub(crate) fn forget_ended_sessions(db: &Connection, now: i64, idle_since: i64) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM console_session WHERE expires_at <= ?1 OR last_used_at < ?2",
        params![now, idle_since],
    )?;
    Ok(())
}

/// Failures of a subject since `since`.
pub(crate) fn failures(db: &Connection, subject: &str, since: i64) -> rusqlite::Result<Failures> {
    db.prepare_cached(
        "SELECT count(*), max(failed_at) FROM sign_in_failure WHERE subject = ?1 AND failed_at >= ?2",
    )?
    .query_row(params![subject, since], |row| Ok(Failures { count: row.get(0)?, last_at: row.get(1)? }))
}

/// Notes a failure of a subject.
pub(crate) fn note_failure(db: &Connection, subject: &str, now: i64) -> rusqlite::Result<()> {
    db.execute("INSERT INTO sign_in_failure (subject, failed_at) VALUES (?1, ?2)", params![subject, now])?;
    Ok(())
}

/// Takes back the one failure of a subject noted at this time.
pub(crate) fn take_back_failure(db: &Connection, subject: &str, noted_at: i64) -> rusqlite::Result<()> {
    db.execute(
        "DELETE FROM sign_in_failure WHERE rowid = \
           (SELECT rowid FROM sign_in_failure WHERE subject = ?1 AND failed_at = ?2 LIMIT 1)",
        params![subject, noted_at],
    )?;
    Ok(())
}

/// Forgets all failures of a subject.
pub(crate) fn forget_failures(db: &Connection, subject: &str) -> rusqlite::Result<()> {
    db.execute("DELETE FROM sign_in_failure WHERE subject = ?1", [subject])?;
    Ok(())
}

/// Forgets failures older than `before`.
pub(crate) fn forget_old_failures(db: &Connection, before: i64) -> rusqlite::Result<()> {
    db.execute("DELETE FROM sign_in_failure WHERE failed_at < ?1", [before])?;
    Ok(())
}

//! The record of what people did.

use rusqlite::{Connection, params};

use super::StoreError;
use crate::clock;

/// Records one action; part of the transaction that does it, so that neither happens alone.
pub(crate) fn record(
    connection: &Connection,
    actor: &str,
    action: &str,
    subject: &str,
) -> Result<(), StoreError> {
    connection
        .prepare_cached("INSERT INTO audit (at, actor, action, subject) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![clock::now().as_micros(), actor, action, subject])?;
    Ok(())
}

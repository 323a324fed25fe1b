//! Operators as the command line adds and disables them; the console's own queries are beside this file.

use rusqlite::{OptionalExtension as _, params};

use super::{Store, StoreError, audit};
use crate::clock;

/// One operator, for a list.
#[derive(Debug, serde::Serialize)]
pub struct OperatorRow {
    /// Name.
    pub name: String,
    /// Whether the operator may sign in.
    pub enabled: bool,
}

/// Adds an operator or lets a disabled one in again with this hash; `false` when the name is in use.
pub(crate) async fn add(store: &Store, name: &str, hash: String) -> Result<bool, StoreError> {
    let name = name.to_owned();
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let changed = transaction.execute(
                "INSERT INTO operator (name, password_hash, created_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (name) DO UPDATE SET password_hash = ?2, disabled_at = NULL
                 WHERE disabled_at IS NOT NULL",
                params![name, hash, now],
            )?;
            if changed > 0 {
                audit::record(transaction, "command line", "operator add", &name)?;
            }
            Ok(changed > 0)
        })
        .await
}

/// Disables an operator and ends the sessions; `false` when there is none of that name.
pub(crate) async fn disable(store: &Store, name: &str) -> Result<bool, StoreError> {
    let name = name.to_owned();
    let now = clock::now().as_micros();
    store
        .write(move |transaction| {
            let known = transaction
                .query_row("SELECT 1 FROM operator WHERE name = ?1", [&name], |_| Ok(()))
                .optional()?
                .is_some();
            if known {
                transaction.execute(
                    "UPDATE operator SET disabled_at = coalesce(disabled_at, ?2) WHERE name = ?1",
                    params![name, now],
                )?;
                transaction.execute("DELETE FROM console_session WHERE operator = ?1", [&name])?;
                audit::record(transaction, "command line", "operator disable", &name)?;
            }
            Ok(known)
        })
        .await
}

/// All operators by name.
pub(crate) async fn list(store: &Store) -> Result<Vec<OperatorRow>, StoreError> {
    store
        .read(|connection| {
            let mut statement =
                connection.prepare("SELECT name, disabled_at IS NULL FROM operator ORDER BY name")?;
            let rows =
                statement.query_map([], |row| Ok(OperatorRow { name: row.get(0)?, enabled: row.get(1)? }))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
        .await
}

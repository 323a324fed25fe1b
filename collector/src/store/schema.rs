//! Brings a database to the schema that this program writes: forward only, each step in its transaction.

use std::path::Path;

use rusqlite::{Connection, MAIN_DB, TransactionBehavior};

use super::StoreError;

/// One file for each version; a file is never changed after it has landed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_hits_by_place.sql"),
    include_str!("migrations/0003_gaps_of_logs.sql"),
    include_str!("migrations/0004_freshness.sql"),
    include_str!("migrations/0005_identities.sql"),
    include_str!("migrations/0006_rollout.sql"),
    include_str!("migrations/0007_unread_indexes.sql"),
    include_str!("migrations/0008_losses_once.sql"),
    include_str!("migrations/0009_signers_and_courses.sql"),
];

/// Applies the migrations that the database lacks. An existing database is copied beside itself first.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    migrate_with(connection, path, MIGRATIONS)
}

fn migrate_with(connection: &mut Connection, path: &Path, migrations: &[&str]) -> Result<(), StoreError> {
    let known = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
    let found = version(connection)?;
    if found > known {
        return Err(StoreError::Newer { path: path.into(), found, known });
    }
    if found == known {
        return Ok(());
    }
    if found > 0 {
        back_up(connection, path, found)?;
    }
    // Two programs may start at once: whoever comes second finds the work done.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = version(&transaction)?;
    for migration in migrations.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", known)?;
    transaction.commit()?;
    Ok(())
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.pragma_query_value(None, "user_version", |row| row.get(0))?)
}

fn back_up(connection: &Connection, path: &Path, version: i64) -> Result<(), StoreError> {
    let copy = path.with_added_extension(format!("before-{version}"));
    let file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&copy);
    file.and_then(|file| super::restrict(&file))
        .map_err(|error| StoreError::File { path: copy.clone(), error })?;
    connection.backup(MAIN_DB, &copy, None::<fn(rusqlite::backup::Progress)>)?;
    tracing::info!(copy = %copy.display(), "database copied before it is brought up to date");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "CREATE TABLE a (x INTEGER) STRICT;";
    const SECOND: &str = "ALTER TABLE a ADD COLUMN y INTEGER;";
    const BROKEN: &str = "ALTER TABLE a ADD COLUMN z INTEGER; SELECT no_such_thing;";

    fn database(folder: &Path) -> (Connection, std::path::PathBuf) {
        let path = folder.join("store.sqlite");
        (Connection::open(&path).unwrap(), path)
    }

    #[test]
    fn an_empty_database_gets_everything_and_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, path) = database(folder.path());
        migrate(&mut connection, &path).unwrap();
        assert_eq!(version(&connection).unwrap(), MIGRATIONS.len() as i64);
        assert!(!path.with_added_extension("before-0").exists());
    }

    #[test]
    fn an_older_database_is_copied_then_brought_forward_with_its_rows() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, path) = database(folder.path());
        migrate_with(&mut connection, &path, &[FIRST]).unwrap();
        connection.execute("INSERT INTO a VALUES (7)", []).unwrap();
        migrate_with(&mut connection, &path, &[FIRST, SECOND]).unwrap();
        let row = |connection: &Connection, sql| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        assert_eq!(row(&connection, "SELECT x FROM a WHERE y IS NULL").unwrap(), 7);
        let copy = Connection::open(path.with_added_extension("before-1")).unwrap();
        assert_eq!(row(&copy, "SELECT x FROM a").unwrap(), 7);
        assert_eq!(version(&copy).unwrap(), 1);
    }

    #[test]
    fn a_migration_that_fails_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, path) = database(folder.path());
        migrate_with(&mut connection, &path, &[FIRST]).unwrap();
        assert!(migrate_with(&mut connection, &path, &[FIRST, BROKEN]).is_err());
        assert_eq!(version(&connection).unwrap(), 1);
        migrate_with(&mut connection, &path, &[FIRST, SECOND]).unwrap();
    }

    #[test]
    fn a_newer_database_is_refused_with_a_sentence() {
        let folder = tempfile::tempdir().unwrap();
        let (mut connection, path) = database(folder.path());
        connection.pragma_update(None, "user_version", 99).unwrap();
        let refused = migrate(&mut connection, &path).unwrap_err();
        assert!(refused.to_string().contains("install the newer package"), "{refused}");
    }
}

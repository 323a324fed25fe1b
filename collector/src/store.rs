//! The store: one SQLite database that holds towns, sensors, hits and operators. All SQL lives in this folder.
//!
//! One connection writes, a few read; WAL lets them work beside each other and beside the command line.
//! A write is a transaction that is on disk (`synchronous = FULL`) when it returns.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::{Mutex, Semaphore};

use crate::folders::give_to_owner_of_folder;

// What readers and writers elsewhere hand through to the functions of this folder.
pub(crate) use rusqlite::{Connection, Transaction};

pub(crate) mod audit;
pub(crate) mod bundles;
pub(crate) mod console_accounts;
pub(crate) mod console_hits;
pub(crate) mod console_origins;
pub(crate) mod console_towns;
pub(crate) mod courses;
pub(crate) mod hits;
pub(crate) mod invitations;
pub(crate) mod lag;
pub(crate) mod operators;
pub(crate) mod origins;
pub(crate) mod records;
pub(crate) mod rollouts;
mod schema;
pub(crate) mod sensors;
pub(crate) mod sessions;
pub(crate) mod twins;

/// Reads at the same time; more wait.
const READERS_MAX: usize = 4;
/// How long a write waits for another process, such as the command line beside the service.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory of the writer for pages. Hits of hundreds of towns change pages all over the indexes: what is not in
/// memory is read from the disk first. Readers look at few pages and have SQLite's 2 MiB.
const WRITER_CACHE_KIBIBYTES: i64 = 64 << 10;
/// Pages in the log from which the writer moves them into the database. With 32 MiB a page that many
/// commits change is moved once for all of them.
const CHECKPOINT_PAGES: i64 = 8_192;

/// The database; clones share its connections.
#[derive(Clone)]
pub struct Store(Arc<Connections>);

struct Connections {
    path: PathBuf,
    /// A guard of it moves to the thread that writes.
    writer: Arc<Mutex<Connection>>,
    readers_idle: std::sync::Mutex<Vec<Connection>>,
    readers: Arc<Semaphore>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No database where one should be.
    #[error("{} is missing; make it with `vedetta-collector init`", .0.display())]
    Missing(PathBuf),
    /// A database is there where a new one should be made.
    #[error("{} exists already; `init` makes a new collector and overwrites nothing", .0.display())]
    Exists(PathBuf),
    /// Made by a newer program.
    #[error(
        "{} has version {found} and this program reads up to {known}; install the newer package again",
        path.display()
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that this program knows.
        known: i64,
    },
    /// No room left.
    #[error("the disk with the database is full; make room, the collector goes on by itself")]
    Full,
    /// Another process holds the database.
    #[error("the database is busy for too long; is another program working on it?")]
    Busy,
    /// The file or its folder cannot be written.
    #[error(
        "{} cannot be opened for writing; run this as root or as the service's user, and see that its folder \
         is theirs and not read-only", .0.display()
    )]
    NotWritable(PathBuf),
    /// Not a database, or a damaged one.
    #[error("{} is damaged or no database; restore the newest backup of it", .0.display())]
    Damaged(PathBuf),
    /// Anything else that SQLite says.
    #[error("database: {0}")]
    Sqlite(rusqlite::Error),
    /// A file beside the database.
    #[error("{}: {error}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// What is stored is not what this program writes.
    #[error("the database holds something unreadable: {0}; restore a backup")]
    Unreadable(String),
    /// The program is stopping.
    #[error("the store is closed")]
    Closed,
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy,
            _ => Self::Sqlite(error),
        }
    }
}

impl Store {
    /// Makes a new database.
    ///
    /// # Errors
    /// When there is one already, or the folder cannot be written.
    pub fn create(path: &Path) -> Result<Self, StoreError> {
        // Made by us and not by SQLite, so that nobody else can read it even for a moment.
        let made = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
        made.and_then(|file| restrict(&file).and_then(|()| give_to_owner_of_folder(path))).map_err(
            |error| match error.kind() {
                std::io::ErrorKind::AlreadyExists => StoreError::Exists(path.into()),
                _ => StoreError::File { path: path.into(), error },
            },
        )?;
        Self::open(path)
    }

    /// Opens the database and brings an older one up to date, after a copy of it was made.
    ///
    /// # Errors
    /// When there is none, it is newer than this program, or the disk fails.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::PermissionDenied => StoreError::NotWritable(path.into()),
            _ => StoreError::Missing(path.into()),
        })?;
        let migrated = connect_to_write(path).and_then(|mut writer| {
            schema::migrate(&mut writer, path)?;
            Ok(writer)
        });
        let writer = migrated.map_err(|error| match error {
            StoreError::Sqlite(cause) if is_about_permission(&cause) => StoreError::NotWritable(path.into()),
            StoreError::Sqlite(cause) if is_damage(&cause) => StoreError::Damaged(path.into()),
            error => error,
        })?;
        Ok(Self(Arc::new(Connections {
            path: path.into(),
            writer: Arc::new(Mutex::new(writer)),
            readers_idle: std::sync::Mutex::new(Vec::new()),
            readers: Arc::new(Semaphore::new(READERS_MAX)),
        })))
    }

    /// Reads, on a thread that may block.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.0.readers).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let connections = Arc::clone(&self.0);
        let reading = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let reader = match connections.idle_reader() {
                Some(reader) => reader,
                None => connect_to_read(&connections.path)?,
            };
            let answer = f(&reader);
            connections.keep_reader(reader);
            answer
        });
        reading.await.map_err(|_| StoreError::Closed)?
    }

    /// Writes in one transaction, on a thread that may block. What it did is on disk when this returns `Ok`,
    /// and undone when it returns an error.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        f: impl FnOnce(&Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let mut writer = Arc::clone(&self.0.writer).lock_owned().await;
        let writing = tokio::task::spawn_blocking(move || {
            let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let answer = f(&transaction)?;
            transaction.commit()?;
            Ok(answer)
        });
        writing.await.map_err(|_| StoreError::Closed)?
    }
}

impl Connections {
    fn idle_reader(&self) -> Option<Connection> {
        self.readers_idle.lock().ok()?.pop()
    }

    fn keep_reader(&self, reader: Connection) {
        if let Ok(mut idle) = self.readers_idle.lock() {
            idle.push(reader);
        }
    }
}

fn is_about_permission(error: &rusqlite::Error) -> bool {
    use ErrorCode::{CannotOpen, PermissionDenied, ReadOnly};
    matches!(error.sqlite_error_code(), Some(CannotOpen | PermissionDenied | ReadOnly))
}

fn is_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
}

fn restrict(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

/// SQLite's integers are signed: what is above their range is stored as their largest.
fn to_stored(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that [`to_stored`] made; what is below zero was not.
fn from_stored(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.set_prepared_statement_cache_capacity(64);
    Ok(connection)
}

fn connect_to_write(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    // Below zero it counts KiB, not pages.
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIBIBYTES)?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(connection)
}

fn connect_to_read(path: &Path) -> Result<Connection, StoreError> {
    let connection = connect(path)?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store.sqlite")).unwrap();
        let insert = "INSERT INTO comune (id, name, created_at) VALUES ('a', 'A', 0)";
        let failed: Result<(), _> = store
            .write(move |transaction| {
                transaction.execute(insert, [])?;
                Err(StoreError::Full)
            })
            .await;
        assert!(matches!(failed, Err(StoreError::Full)));
        let count = |connection: &Connection| {
            Ok(connection.query_row("SELECT count(*) FROM comune", [], |row| row.get::<_, i64>(0))?)
        };
        assert_eq!(store.read(count).await.unwrap(), 0);
        store.write(move |transaction| Ok(transaction.execute(insert, [])?)).await.unwrap();
        assert_eq!(store.read(count).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_reader_cannot_write() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::create(&folder.path().join("store.sqlite")).unwrap();
        let refused =
            store.read(|connection| Ok(connection.execute("DELETE FROM comune", [])?)).await.unwrap_err();
        assert!(matches!(refused, StoreError::Sqlite(_)), "{refused}");
    }

    #[test]
    fn a_second_database_is_not_made_over_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.sqlite");
        assert!(matches!(Store::open(&path), Err(StoreError::Missing(_))));
        Store::create(&path).unwrap();
        assert!(matches!(Store::create(&path), Err(StoreError::Exists(_))));
    }
}

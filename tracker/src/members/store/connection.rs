//! The connections: one that writes, two that read. A transaction that fails or is given up half-way costs its connection, so
//! that none can be left in the middle of something.

use std::fs;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool,
    SqlitePoolOptions, SqliteRow, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Sqlite};
use tokio::sync::{Mutex, MutexGuard};

use super::{Answer, StoreError};
use edge::folder::beside;

/// How long another program's write may take before ours is given up.
const BUSY: Duration = Duration::from_secs(5);

/// How long our own writes wait for each other. The longest is a flush with a million changes.
const QUEUE: Duration = Duration::from_secs(60);

/// Rows under way between SQLite's thread and ours. The default of 50 makes them wait for each other.
const ROW_BUFFER: usize = 2048;

/// A write-ahead log that grew under a long backup is cut to this when it is next begun anew.
const LOG_BYTES: i64 = 64 << 20;

/// Pages that the writer may keep, in KiB (negative, as SQLite wants it).
const WRITER_CACHE: i64 = -16_384;

/// One database. Clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    path: PathBuf,
    readers: SqlitePool,
    /// Where the writing connection rests between two transactions.
    writer: Mutex<Option<SqliteConnection>>,
    /// Questions and changes that failed.
    failures: AtomicU64,
}

impl Parts {
    fn trouble(&self, error: sqlx::Error) -> StoreError {
        self.counted(StoreError::new(&self.path, error))
    }

    fn counted(&self, error: StoreError) -> StoreError {
        self.failures.fetch_add(u64::from(error.is_failure()), Relaxed);
        error
    }
}

pub(super) type Statement<'q> = Query<'q, Sqlite, SqliteArguments>;

impl Store {
    /// Opens the database, makes it where there is none (mode 0600), and brings its tables up to date.
    pub async fn open(path: &Path) -> Answer<Self> {
        prepare(path).map_err(|source| StoreError::File {
            path: path.to_owned(),
            source,
        })?;
        let trouble = |error| StoreError::new(path, error);
        let mut writer = connect(path).await.map_err(trouble)?;
        let migrated = sqlx::migrate!("migrations/sqlite").run(&mut writer).await;
        migrated.map_err(|error| trouble(error.into()))?;
        let readers = SqlitePoolOptions::new()
            .max_connections(2)
            .min_connections(0)
            .acquire_timeout(BUSY)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(options(path).pragma("query_only", "ON"));
        let writer = Mutex::new(Some(writer));
        let path = path.to_owned();
        Ok(Self {
            parts: Arc::new(Parts {
                path,
                readers,
                writer,
                failures: AtomicU64::new(0),
            }),
        })
    }

    /// Waits for what is being written and closes the file.
    pub async fn close(&self) {
        self.parts.readers.close().await;
        let writer = self.parts.writer.lock().await.take();
        if let Some(writer) = writer
            && let Err(error) = writer.close().await
        {
            tracing::debug!(%error, "the database was not closed in order; its log is read at the next start");
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.parts.path
    }

    pub(super) fn readers(&self) -> &SqlitePool {
        &self.parts.readers
    }

    pub(super) fn trouble(&self, error: sqlx::Error) -> StoreError {
        self.parts.trouble(error)
    }

    /// How often the database did not do what it was asked, since it was opened. What it refuses by its rules is no failure.
    pub fn failures(&self) -> u64 {
        self.parts.failures.load(Relaxed)
    }

    /// Begins a transaction that may write, after those before it.
    pub(super) async fn begin(&self) -> Answer<Writing<'_>> {
        let busy = |_| {
            self.parts.counted(StoreError::Busy {
                path: self.path().to_owned(),
            })
        };
        let mut place = tokio::time::timeout(QUEUE, self.parts.writer.lock())
            .await
            .map_err(busy)?;
        let connection = match place.take() {
            Some(connection) => connection,
            None => connect(self.path()).await.map_err(|error| self.trouble(error))?,
        };
        let mut writing = Writing {
            parts: &self.parts,
            place,
            connection,
        };
        writing.run(sqlx::query("BEGIN IMMEDIATE")).await?;
        Ok(writing)
    }

    /// One statement as a transaction of its own. Returns how many rows it touched.
    pub(super) async fn write_one(&self, statement: Statement<'_>) -> Answer<u64> {
        let mut writing = self.begin().await?;
        let rows = writing.run(statement).await?;
        writing.commit().await?;
        Ok(rows)
    }

    /// Brings the log into the database and empties it, so that what was erased stands nowhere. A reader may prevent that; then
    /// the log is overwritten later.
    pub(super) async fn settle_log(&self) {
        let mut place = self.parts.writer.lock().await;
        if let Some(connection) = place.as_mut()
            && let Err(error) = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)")
                .execute(connection)
                .await
        {
            tracing::debug!(%error, "the log of the database was not emptied now");
        }
    }

    /// All rows of a question, each turned into a value by `read`.
    pub(super) async fn read<T>(
        &self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Answer<Vec<T>> {
        let rows = statement.fetch_all(self.readers()).await;
        let values = rows.and_then(|rows| rows.iter().map(read).collect());
        values.map_err(|error| self.trouble(error))
    }

    /// The first row of a question.
    pub(super) async fn read_one<T>(
        &self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Answer<Option<T>> {
        let row = statement.fetch_optional(self.readers()).await;
        let value = row.and_then(|row| row.as_ref().map(read).transpose());
        value.map_err(|error| self.trouble(error))
    }
}

/// A transaction under way. Dropped without [`commit`](Self::commit) it never happened; its connection ends with it and the next
/// transaction opens a new one.
pub(super) struct Writing<'a> {
    parts: &'a Parts,
    place: MutexGuard<'a, Option<SqliteConnection>>,
    connection: SqliteConnection,
}

impl Writing<'_> {
    /// Runs a statement. Returns how many rows it touched.
    pub(super) async fn run(&mut self, statement: Statement<'_>) -> Answer<u64> {
        let done = statement.execute(&mut self.connection).await;
        done.map(|done| done.rows_affected())
            .map_err(|error| self.parts.trouble(error))
    }

    /// All rows of a question, or of a statement that returns some.
    pub(super) async fn read<T>(
        &mut self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Answer<Vec<T>> {
        let rows = statement.fetch_all(&mut self.connection).await;
        let values = rows.and_then(|rows| rows.iter().map(read).collect());
        values.map_err(|error| self.parts.trouble(error))
    }

    /// The first row of a question, or of a statement that returns one.
    pub(super) async fn read_one<T>(
        &mut self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Answer<Option<T>> {
        // All rows are taken, because a statement that is left half-way keeps its lock.
        Ok(self.read(statement, read).await?.into_iter().next())
    }

    /// The row of a statement that always returns one.
    pub(super) async fn read_exactly<T>(
        &mut self,
        statement: Statement<'_>,
        read: fn(&SqliteRow) -> sqlx::Result<T>,
    ) -> Answer<T> {
        let row = self.read_one(statement, read).await?;
        row.ok_or_else(|| self.parts.trouble(sqlx::Error::RowNotFound))
    }

    /// Makes it happen.
    pub(super) async fn commit(self) -> Answer<()> {
        self.end(sqlx::query("COMMIT")).await
    }

    /// Makes it never have happened, and keeps the connection.
    pub(super) async fn undo(self) -> Answer<()> {
        self.end(sqlx::query("ROLLBACK")).await
    }

    async fn end(mut self, statement: Statement<'_>) -> Answer<()> {
        self.run(statement).await?;
        let Self {
            mut place,
            connection,
            ..
        } = self;
        *place = Some(connection);
        Ok(())
    }
}

/// How every connection is opened.
pub(super) fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // After a flush the journal is deleted: what was committed must be on the disk by then, or power loss would cost more than
        // the last second (DESIGN decision 11). One wait a flush is little.
        .synchronous(SqliteSynchronous::Full)
        .row_buffer_size(ROW_BUFFER)
        .disable_statement_logging()
}

async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    options(path)
        // What is forgotten is overwritten, not only unlinked.
        .pragma("secure_delete", "ON")
        .pragma("cache_size", WRITER_CACHE.to_string())
        .pragma("journal_size_limit", LOG_BYTES.to_string())
        .connect()
        .await
}

/// Makes the file for its owner alone where there is none; SQLite gives its log the same mode.
fn prepare(path: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut header = [0; 20];
    let fresh = match file.read_exact(&mut header) {
        // Byte 18 is the format: 1 with a rollback journal, 2 with a write-ahead log (sqlite.org/fileformat.html).
        Ok(()) => header.get(18) == Some(&1),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => true,
        Err(error) => return Err(error),
    };
    if fresh {
        drop_stale_log(path)?;
    }
    Ok(())
}

/// A backup was put in the place of a database whose log still lies there. SQLite would replay that log into the backup.
fn drop_stale_log(path: &Path) -> io::Result<()> {
    for suffix in ["-wal", "-shm"] {
        let log = beside(path, suffix);
        match fs::remove_file(&log) {
            Ok(()) => {
                tracing::warn!(file = %log.display(), "removed what another database had left");
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

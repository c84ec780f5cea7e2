//! The torrents of a process that takes them up again after a restart, in one SQLite file. Nobody who serves peers waits for it:
//! the [`keeper`] takes what is to be remembered, merges what is said twice, and writes it behind everyone's back.

pub(crate) mod keeper;
mod rows;
mod torrent_file;

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

pub(crate) use rows::{CounterRow, TorrentRow};
pub(crate) use torrent_file::{About, torrent_file};

/// How long another program's write may take before ours is given up.
const BUSY: Duration = Duration::from_secs(5);

/// The database does not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    #[error("{0}")]
    File(#[from] std::io::Error),
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("its tables cannot be brought up to date: {0}")]
    Migration(#[from] MigrateError),
}

impl StoreError {
    /// The file holds no database, or no whole one.
    pub(crate) fn is_damage(&self) -> bool {
        let (Self::Database(error) | Self::Migration(MigrateError::Execute(error))) = self else {
            return false;
        };
        let code = error.as_database_error().and_then(DatabaseError::code);
        // SQLITE_CORRUPT with its kinds, SQLITE_NOTADB.
        code.and_then(|code| code.parse::<u32>().ok())
            .is_some_and(|code| matches!(code & 0xff, 11 | 26))
    }
}

/// A torrent of the database that cannot be taken up. It stays there.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Unreadable {
    pub(crate) id: u64,
    pub(crate) reason: String,
}

/// One database, with the one connection that it needs.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: SqliteConnection,
}

impl Store {
    /// Opens the database, makes it where there is none (for its owner alone), and brings its tables up to date.
    pub(crate) async fn open(path: &Path) -> Result<Self, StoreError> {
        // SQLite gives its log the mode of the database.
        OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let mut connection = connect(path).await?;
        sqlx::migrate!("migrations/sqlite").run(&mut connection).await?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    /// Every torrent, with its counters. One that cannot be read does not take its neighbours with it.
    pub(crate) async fn load(&mut self) -> Result<Vec<Result<TorrentRow, Unreadable>>, StoreError> {
        let all = sqlx::query(rows::ALL).fetch_all(&mut self.connection).await?;
        let read = |row: &SqliteRow| -> sqlx::Result<Result<TorrentRow, Unreadable>> {
            let id = row.try_get::<i64, _>(0)?.unsigned_abs();
            Ok(TorrentRow::read(row).map_err(|error| Unreadable {
                id,
                reason: error.to_string(),
            }))
        };
        Ok(all.iter().map(read).collect::<sqlx::Result<_>>()?)
    }

    /// Writes all of it, or nothing. A connection that failed is replaced: none is left in the middle of something.
    pub(crate) async fn write(&mut self, changes: &keeper::Changes) -> Result<(), StoreError> {
        let written = self.try_write(changes).await;
        if written.is_err()
            && let Ok(fresh) = connect(&self.path).await
        {
            self.connection = fresh;
        }
        written
    }

    async fn try_write(&mut self, changes: &keeper::Changes) -> Result<(), StoreError> {
        let mut writing = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        for (id, change) in changes {
            if change.removed {
                let delete = sqlx::query("DELETE FROM torrents WHERE id = $1")
                    .bind(i64::try_from(*id).unwrap_or(i64::MAX));
                writing.execute(delete).await?;
                continue;
            }
            if let Some(torrent) = &change.torrent {
                writing.execute(torrent.put(*id)).await?;
            }
            if let Some(counters) = &change.counters {
                writing.execute(counters.put(*id)).await?;
            }
        }
        Ok(writing.commit().await?)
    }

    /// Closes the file in order.
    pub(crate) async fn close(self) {
        if let Err(error) = self.connection.close().await {
            tracing::debug!(%error, "the database was not closed in order; its log is read at the next start");
        }
    }
}

async fn connect(path: &Path) -> sqlx::Result<SqliteConnection> {
    SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .foreign_keys(true)
        .journal_mode(SqliteJournalMode::Wal)
        // A torrent that was acknowledged outlives a loss of power.
        .synchronous(SqliteSynchronous::Full)
        .row_buffer_size(1_024)
        .disable_statement_logging()
        .connect()
        .await
}

#[cfg(test)]
mod tests;

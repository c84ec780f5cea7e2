//! A backup is one file that holds everything, the secret too; a restore is a start on it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio_util::sync::CancellationToken;

use super::connection::options;
use super::value::maybe_array;
use super::{Answer, BackupError, Store, StoreError};
use edge::folder::{beside, sync_folder_of};

impl Store {
    /// Writes all there is at this moment into a new file, mode 0600, with the secret. Announces and flushes go on meanwhile. Where
    /// nobody waits for it any more, no file is left, once the database has let go of it: it goes on writing by itself.
    pub async fn backup(&self, to: &Path, secret: &[u8; 32]) -> Result<(), BackupError> {
        let unfinished = Unfinished::begin(to)?;
        let (store, secret, given_up) = (self.clone(), *secret, CancellationToken::new());
        let _waiting = given_up.clone().drop_guard();
        let work = async move {
            store.copy_into(&unfinished.part).await?;
            if !given_up.is_cancelled() {
                let added = add_secret(&unfinished.part, &secret).await;
                added.map_err(|error| StoreError::new(&unfinished.part, error))?;
            }
            let to = unfinished.to.clone();
            let end = move || {
                if given_up.is_cancelled() {
                    Ok(())
                } else {
                    unfinished.finish()
                }
            };
            let ended = tokio::task::spawn_blocking(end).await;
            ended.unwrap_or_else(|error| Err(file_error(&to, error.into())))
        };
        let ended = tokio::spawn(work).await;
        ended.unwrap_or_else(|error| Err(file_error(to, error.into())))
    }

    /// One statement reads a consistent state, on a connection of its own: it may take long.
    async fn copy_into(&self, part: &Path) -> Answer<()> {
        let name = part.as_os_str().as_encoded_bytes().to_vec();
        let Ok(name) = String::from_utf8(name) else {
            let source = io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8");
            let path = part.to_owned();
            return Err(StoreError::File { path, source });
        };
        let copied = async {
            let mut reader = options(self.path()).connect().await?;
            sqlx::query("VACUUM INTO $1")
                .bind(name)
                .execute(&mut reader)
                .await?;
            reader.close().await
        };
        // A full disk is the backup's: the sentence should name it.
        copied.await.map_err(|error| match self.trouble(error) {
            StoreError::Full { .. } => StoreError::Full {
                path: part.to_owned(),
            },
            error => error,
        })
    }

    /// The secret that came with a restored backup. It stays until [`drop_secret`](Self::drop_secret).
    pub(crate) async fn restored_secret(&self) -> Answer<Option<[u8; 32]>> {
        let row = self.read_one(sqlx::query("SELECT secret FROM tracker"), |row| {
            maybe_array(row, "secret")
        });
        Ok(row.await?.flatten())
    }

    /// Erases the restored secret from the database, once the folder holds it.
    pub(crate) async fn drop_secret(&self) -> Answer<()> {
        self.write_one(sqlx::query("UPDATE tracker SET secret = NULL"))
            .await?;
        self.settle_log().await;
        Ok(())
    }
}

/// Not in a log of its own: the backup is one file.
async fn add_secret(part: &Path, secret: &[u8; 32]) -> sqlx::Result<()> {
    let options = options(part)
        .journal_mode(SqliteJournalMode::Delete)
        .synchronous(SqliteSynchronous::Full);
    let mut connection: SqliteConnection = options.connect().await?;
    let add = sqlx::query("UPDATE tracker SET secret = $1").bind(secret.as_slice());
    add.execute(&mut connection).await?;
    connection.close().await
}

/// A backup under way: an empty file in its place, so that nobody else takes it, and a part beside it. Both go unless it is finished.
struct Unfinished {
    to: PathBuf,
    part: PathBuf,
    finished: bool,
}

impl Unfinished {
    fn begin(to: &Path) -> Result<Self, BackupError> {
        let part = beside(to, ".part");
        create_new(to).map_err(|error| file_error(to, error))?;
        let unfinished = Self {
            to: to.to_owned(),
            part,
            finished: false,
        };
        // Left by a backup that was killed.
        match fs::remove_file(&unfinished.part) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(file_error(&unfinished.part, error));
            }
            _ => {}
        }
        create_new(&unfinished.part).map_err(|error| file_error(&unfinished.part, error))?;
        Ok(unfinished)
    }

    fn finish(mut self) -> Result<(), BackupError> {
        let renamed = File::open(&self.part)
            .and_then(|part| part.sync_all())
            .and_then(|()| fs::rename(&self.part, &self.to));
        renamed.map_err(|error| file_error(&self.to, error))?;
        self.finished = true;
        sync_folder_of(&self.to).map_err(|error| file_error(&self.to, error))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        for file in [&self.part, &self.to] {
            if let Err(error) = fs::remove_file(file) {
                tracing::debug!(file = %file.display(), %error, "an unfinished backup stays");
            }
        }
    }
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

fn file_error(path: &Path, source: io::Error) -> BackupError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::AlreadyExists {
        return BackupError::Exists { path };
    }
    BackupError::File { path, source }
}

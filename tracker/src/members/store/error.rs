//! What can go wrong with the database, and what its owner can do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use sqlx::error::DatabaseError;
use sqlx::migrate::MigrateError;

/// Trouble with `tracker.sqlite`. Every sentence names what is at fault and the next step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} is in use by another program: end it, or try again", path.display())]
    Busy { path: PathBuf },
    #[error("no room to write {}: free some space on its disk", path.display())]
    Full { path: PathBuf },
    #[error("{} is damaged ({what}): stop the tracker and put a backup in its place", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{what} is taken already: choose another")]
    Exists { what: Taken },
    /// A member, torrent or invitation that the row refers to was erased in the meantime.
    #[error("what this belongs to was erased in the meantime: look again")]
    Gone,
    #[error("{} has tables of another tracker's version ({version}): start the newer tracker, or a backup made before it", path.display())]
    Newer { path: PathBuf, version: i64 },
    #[error("{} cannot be opened or written: see to whom it and its folder belong", path.display())]
    Denied { path: PathBuf },
    #[error("{} cannot be opened: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{}: {source}; see to its disk", path.display())]
    Failed { path: PathBuf, source: sqlx::Error },
}

/// What there can be only one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    MemberName,
    InvitationCode,
    TokenName,
    Token,
    Torrent,
}

impl fmt::Display for Taken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MemberName => "this member's name",
            Self::InvitationCode => "this invitation's code",
            Self::TokenName => "this token's name",
            Self::Token => "this token",
            Self::Torrent => "one of this torrent's hashes",
        })
    }
}

/// Why an invitation was not redeemed.
#[derive(Debug, thiserror::Error)]
pub enum RedeemError {
    #[error("no invitation has this code")]
    Unknown,
    #[error("this invitation was taken back")]
    Revoked,
    #[error("this invitation has expired")]
    Expired,
    #[error("this invitation was used up")]
    Used,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists: name a new file", path.display())]
    Exists { path: PathBuf },
    #[error("{} cannot be written: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

// Primary result codes of SQLite (sqlite.org/rescode.html).
const SQLITE_PERM: i32 = 3;
const SQLITE_BUSY: i32 = 5;
const SQLITE_LOCKED: i32 = 6;
const SQLITE_READONLY: i32 = 8;
const SQLITE_CORRUPT: i32 = 11;
const SQLITE_FULL: i32 = 13;
const SQLITE_CANTOPEN: i32 = 14;
const SQLITE_NOTADB: i32 = 26;

impl StoreError {
    /// Is it the database's fault, and not what it was asked?
    pub(super) fn is_failure(&self) -> bool {
        !matches!(self, Self::Exists { .. } | Self::Gone)
    }

    /// What `error` means for the database at `path`.
    pub(super) fn new(path: &Path, error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolTimedOut => Self::Busy {
                path: path.to_owned(),
            },
            sqlx::Error::Migrate(error) => Self::of_migration(path, *error),
            sqlx::Error::Database(ref database) => match Self::of_database(path, database.as_ref()) {
                Some(error) => error,
                None => Self::Failed {
                    path: path.to_owned(),
                    source: error,
                },
            },
            sqlx::Error::ColumnDecode { index, source } => Self::Damaged {
                path: path.to_owned(),
                what: format!("column {index}: {source}"),
            },
            error => Self::Failed {
                path: path.to_owned(),
                source: error,
            },
        }
    }

    fn of_migration(path: &Path, error: MigrateError) -> Self {
        match error {
            MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version) => Self::Newer {
                path: path.to_owned(),
                version,
            },
            MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _) => Self::new(path, error),
            error => Self::Failed {
                path: path.to_owned(),
                source: error.into(),
            },
        }
    }

    fn of_database(path: &Path, error: &dyn DatabaseError) -> Option<Self> {
        let path = path.to_owned();
        if error.is_unique_violation() {
            return taken(error.message()).map(|what| Self::Exists { what });
        }
        if error.is_foreign_key_violation() {
            return Some(Self::Gone);
        }
        // An extended code holds the primary one in its low byte.
        let code: i32 = error.code()?.parse().ok()?;
        match code & 0xff {
            SQLITE_BUSY | SQLITE_LOCKED => Some(Self::Busy { path }),
            SQLITE_FULL => Some(Self::Full { path }),
            SQLITE_CORRUPT | SQLITE_NOTADB => Some(Self::Damaged {
                path,
                what: error.message().to_owned(),
            }),
            SQLITE_PERM | SQLITE_READONLY | SQLITE_CANTOPEN => Some(Self::Denied { path }),
            _ => None,
        }
    }
}

/// SQLite's sentence ends with the column that may hold each value once.
fn taken(message: &str) -> Option<Taken> {
    let columns = [
        ("members.name", Taken::MemberName),
        ("invitations.code_hash", Taken::InvitationCode),
        ("tokens.name", Taken::TokenName),
        ("tokens.hash", Taken::Token),
        ("torrents.info_hash", Taken::Torrent),
    ];
    let found = columns.iter().find(|(column, _)| message.contains(column));
    found.map(|(_, taken)| *taken)
}

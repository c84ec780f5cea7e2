//! What can go wrong with the database, and what its owner can do about it.

use std::io;
use std::path::PathBuf;

/// Trouble with `tracker.sqlite`. Every sentence names the file and the next step.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{} is in use by another program: end it, or try again", path.display())]
    Busy { path: PathBuf },
    #[error("no room to write {}: free some space on its disk", path.display())]
    Full { path: PathBuf },
    #[error("{} is damaged ({what}): stop the tracker and put a backup in its place", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("{what} is taken already")]
    Exists { what: Taken },
    #[error("{} was written by a newer tracker (its version {version}): start that one, or a backup of before", path.display())]
    Newer { path: PathBuf, version: i64 },
    #[error("{} cannot be opened or written: check who owns the file and its folder", path.display())]
    Denied { path: PathBuf },
    #[error("{} cannot be read or written: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Failed { path: PathBuf, source: sqlx::Error },
}

/// What there can be only one of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    MemberName,
    Invitation,
    TokenName,
    Token,
    Torrent,
}

impl std::fmt::Display for Taken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MemberName => "this member's name",
            Self::Invitation => "this invitation's code",
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

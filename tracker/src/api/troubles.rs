//! What goes wrong in the office or the store, as the problem that its asker is told.

use axum::http::StatusCode;
use edge::problem::Problem;
use tracing::warn;

use crate::members::office::OfficeError;
use crate::members::store::StoreError;
use crate::members::torrent_file::TorrentFileError;

impl From<OfficeError> for Problem {
    fn from(error: OfficeError) -> Self {
        let words = error.to_string();
        match error {
            // A code is not repeated, and has no other name.
            OfficeError::NotFound { what, name } if name.is_empty() => {
                Self::not_found(format!("there is no {what}"))
            }
            OfficeError::NotFound { .. } => Self::not_found(words),
            OfficeError::Exists { .. } | OfficeError::Ambiguous { .. } | OfficeError::Refused { .. } => {
                Self::conflict(words)
            }
            OfficeError::Expired { .. } | OfficeError::Used { .. } | OfficeError::Revoked { .. } => {
                Self::new(StatusCode::GONE, words)
            }
            OfficeError::Torrent(TorrentFileError::TooLarge { .. }) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, words)
            }
            OfficeError::Invalid { .. } | OfficeError::Torrent(_) => Self::unusable(words),
            OfficeError::Store(error) => Self::from(error),
        }
    }
}

impl From<StoreError> for Problem {
    /// The words of the database name files of the tracker's machine; they are its owner's.
    fn from(error: StoreError) -> Self {
        let cause = Some(error.to_string());
        let problem = match error {
            StoreError::Exists { what } => Self::conflict(format!("{what} is taken already")),
            StoreError::Busy { .. } => Self::busy("the database is busy: try again"),
            StoreError::Full { .. } => {
                Self::busy("the database has no room: the tracker's owner must make some")
            }
            _ => Self::broken("the database has failed: the tracker's log says why"),
        };
        if problem.status.is_server_error() {
            warn!(%error, "a request failed");
        }
        Self { cause, ..problem }
    }
}

//! Why a member's announce is refused: one sentence of at most 64 characters, because clients cut longer ones (DESIGN decision 10).

use shared::announce::QueryError;

/// A refusal that a client shows to its user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("unknown key: take a fresh .torrent or link from your tracker")]
    UnknownKey,
    #[error("this key was replaced: take a fresh .torrent or link")]
    ReplacedKey,
    #[error("this key has expired: ask the tracker's owner for a new one")]
    ExpiredKey,
    #[error("this key is for another torrent")]
    OtherTorrent,
    /// With the owner's words, cut to fit.
    #[error("disabled: {0}")]
    Disabled(String),
    #[error("unregistered torrent: ask the tracker's owner to add it")]
    Unregistered,
    /// With the owner's words, cut to fit.
    #[error("removed: {0}")]
    Removed(String),
    /// With the client's name.
    #[error("client not allowed here: {0}")]
    Client(String),
    #[error("{0}")]
    Query(QueryError),
}

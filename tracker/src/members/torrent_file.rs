//! The .torrent file on its way into the register and out to a member: `private` and `source` set, trackers and foreign keys
//! taken out, the member's own announce URL put in. Bytes that need not change stay as they are.

use shared::metainfo::MetainfoError;

/// The largest file that is taken; one of two million pieces has 40 MiB, which nobody here has.
pub const FILE_MAX: usize = 32 * 1024 * 1024;

/// Why a file is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TorrentFileError {
    #[error("{length} bytes are more than the {FILE_MAX} that a .torrent may have here")]
    TooLarge { length: usize },
    #[error("not a torrent that clients would take: {0}")]
    Metainfo(#[from] MetainfoError),
}

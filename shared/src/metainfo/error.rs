//! Why a torrent is refused, in words for the person who tried to open it.

use crate::bencode::{Blemish, ScanError};
use crate::geometry::GeometryError;

/// The torrent is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetainfoError {
    #[error(transparent)]
    Bencode(#[from] ScanError),
    #[error("a torrent is a bencoded dictionary, and this is none")]
    NotADictionary,
    #[error("the torrent has no info dictionary")]
    NoInfo,
    #[error("the info dictionary of a v2 torrent must be canonical bencode: {0}")]
    NotCanonical(Blemish),
    #[error("meta version {0} is unknown; 2 is the newest")]
    UnknownVersion(i64),
    #[error(
        "the piece length is missing, or not between 1 and 536854528; in a v2 torrent it is a power of two from 16384 up"
    )]
    PieceLength,
    #[error("the torrent has no name")]
    NoName,
    #[error("file {0} has no path")]
    NoPath(usize),
    #[error("a path of file {0} holds something that is not a string")]
    PathNotText(usize),
    #[error("the path of file {0} has more than 100 components")]
    TooDeep(usize),
    #[error("file {0} has no length between 0 and 17592186028031")]
    Length(usize),
    #[error("file {0} is not described by a dictionary")]
    NotAFile(usize),
    #[error("the torrent has no files")]
    NoFiles,
    #[error("the names of all files need more than 64 MiB of memory")]
    NamesTooLarge,
    #[error("too many files have the same name, such as {0:?}")]
    TooManyDuplicates(String),
    #[error("the torrent has a file tree but not meta version 2")]
    FileTreeWithoutVersion,
    #[error("the v2 torrent has no file tree")]
    NoFileTree,
    #[error("the file tree is broken at entry {0}: every name leads to a dictionary, and no name is empty")]
    BrokenFileTree(usize),
    #[error("file {0} of the file tree is padding, which v2 does not have")]
    PaddingInV2(usize),
    #[error("file {0} of the file tree has no pieces root")]
    NoPiecesRoot(usize),
    #[error("the v1 and v2 descriptions of the files do not agree")]
    Inconsistent,
    #[error("the torrent has no piece hashes")]
    NoPieces,
    #[error("{actual} bytes of piece hashes, where {pieces} pieces need {expected}")]
    PieceHashes {
        actual: usize,
        pieces: u32,
        expected: u64,
    },
    #[error("the piece layer of pieces root {0} does not fit the files of the torrent")]
    PieceLayer(String),
    #[error(transparent)]
    Geometry(#[from] GeometryError),
}

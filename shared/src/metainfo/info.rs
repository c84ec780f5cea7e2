//! The info dictionary: what a torrent is, and all that `ut_metadata` brings (BEP 9).

use std::ops::Range;
use std::path::PathBuf;

use bytes::Bytes;
use data_encoding::HEXLOWER;
use sha1::{Digest, Sha1};
use sha2::Sha256;

use crate::bencode::{self, Limits, Value};
use crate::geometry::{BLOCK_LENGTH, Geometry, GeometryError, PIECE_LENGTH_MAX, PieceIndex};
use crate::id::{InfoHash, InfoHashV2};
use crate::merkle::{self, Layers, Trees};

use super::layers;
use super::names::{self, Original, SafePath};
use super::{MetainfoError, file_list, file_tree, hybrid, outer};

/// What a file in the list is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Content.
    Regular,
    /// Zeros that align the next file: never written, never asked for, but served (BEP 47).
    Padding,
    /// A symbolic link: no content.
    Symlink,
}

/// One file of a torrent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where it lies under the torrent's root folder; the name of the file itself where there is no folder.
    pub path: SafePath,
    pub length: u64,
    /// Its first byte in the address space of [`Geometry::start_of`].
    pub offset: u64,
    pub kind: FileKind,
    pub executable: bool,
    /// The root of its merkle tree (BEP 52).
    pub pieces_root: Option<[u8; 32]>,
    /// Where a symbolic link leads, from the torrent's root folder.
    pub link: Option<SafePath>,
    pub(super) original: Original,
}

impl File {
    /// The names in the path that its maker gave it, if this system can hold them.
    fn original_components(&self) -> Option<std::str::Split<'_, char>> {
        match &self.original {
            Original::Same => Some(self.path.components()),
            Original::Other(path) => Some(path.split('/')),
            Original::Impossible => None,
        }
    }

    /// Padding that nobody has named.
    pub(super) fn padding(length: u64, number: usize) -> Self {
        let name = number.to_string();
        Self {
            path: names::named([&b".pad"[..], name.as_bytes()].into_iter()).path,
            length,
            offset: 0,
            kind: FileKind::Padding,
            executable: false,
            pieces_root: None,
            link: None,
            original: Original::Impossible,
        }
    }
}

/// The files of one description, v1 or v2.
pub(super) struct Listing {
    pub(super) files: Vec<File>,
    /// One file without a folder around it.
    pub(super) single: bool,
}

/// A checked info dictionary.
#[derive(Clone, Debug)]
pub struct Info {
    raw: Bytes,
    name: String,
    original_name: Option<String>,
    v1: Option<InfoHash>,
    v2: Option<InfoHashV2>,
    private: bool,
    source: Option<String>,
    geometry: Geometry,
    files: Vec<File>,
    single: bool,
    /// Where the SHA-1 hashes of the pieces stand in `raw`.
    pieces: Option<Range<usize>>,
    trees: Trees,
}

impl Info {
    /// Reads what `ut_metadata` brings: the raw dictionary and nothing else. Of a v2 torrent with files longer than a piece
    /// that is not enough to check anything: see [`Info::has_layers`].
    pub fn read(raw: &[u8]) -> Result<Self, MetainfoError> {
        let scan = bencode::scan(raw, &Limits::TORRENT)?;
        Self::parse(&scan.root(), None)
    }

    /// The same with piece layers that came later.
    pub fn with_layers(mut self, layers: Layers) -> Result<Self, MetainfoError> {
        self.trees.fill(layers).map_err(|root| layers::wrong(&root))?;
        Ok(self)
    }

    pub(super) fn parse(info: &Value<'_>, piece_layers: Option<Value<'_>>) -> Result<Self, MetainfoError> {
        if !info.is_dict() {
            return Err(MetainfoError::NoInfo);
        }
        let v2 = version(info)? == 2;
        let piece_length = piece_length(info, v2)?;
        let raw_name = info.get("name.utf-8").and_then(|name| name.bytes());
        let raw_name = raw_name.or_else(|| info.get("name").and_then(|name| name.bytes()));
        let raw_name = raw_name.ok_or(MetainfoError::NoName)?;
        let (mut listing, v1) = listing(info, v2, piece_length)?;
        let content = listing.files.iter().filter(|file| file.kind == FileKind::Regular);
        if content.map(|file| file.length).max().unwrap_or_default() == 0 {
            return Err(if listing.files.is_empty() {
                MetainfoError::NoFiles
            } else {
                GeometryError::Empty.into()
            });
        }
        let geometry = lay_out(&mut listing.files, v1, piece_length)?;
        let pieces = piece_hashes(info, &geometry, v2)?.filter(|_| v1);
        let trees = if v2 {
            layers::read(piece_layers, &listing.files, piece_length)?
        } else {
            Trees::default()
        };
        make_unique(&mut listing.files)?;
        let sha1 = InfoHash(Sha1::digest(info.raw()).into());
        let own_name = listing
            .files
            .first()
            .filter(|_| listing.single)
            .map(|file| file.path.to_string());
        Ok(Self {
            raw: Bytes::copy_from_slice(info.raw()),
            name: own_name
                .or_else(|| names::safe_name(raw_name))
                .unwrap_or_else(|| HEXLOWER.encode(&sha1.0)),
            original_name: names::plain(raw_name).map(str::to_owned),
            v1: v1.then_some(sha1),
            v2: v2.then(|| InfoHashV2(Sha256::digest(info.raw()).into())),
            private: info
                .get("private")
                .and_then(|private| private.int())
                .is_some_and(|private| private != 0),
            source: outer::line(info, "source"),
            geometry,
            files: listing.files,
            single: listing.single,
            pieces: pieces.map(|span| span.start - info.span().start..span.end - info.span().start),
            trees,
        })
    }

    /// The dictionary as it came; its hash is the info-hash.
    pub fn raw(&self) -> &[u8] {
        &self.raw
    }

    /// The same bytes as a handle that costs nothing to copy.
    pub fn raw_bytes(&self) -> Bytes {
        self.raw.clone()
    }

    /// The name, made safe.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The SHA-1 of a v1 or hybrid torrent.
    pub fn info_hash_v1(&self) -> Option<InfoHash> {
        self.v1
    }

    /// The SHA-256 of a v2 or hybrid torrent.
    pub fn info_hash_v2(&self) -> Option<InfoHashV2> {
        self.v2
    }

    /// The hash by which peers and trackers know it: v1 where there is one, else v2 cut to 20 bytes.
    pub fn wire_hash(&self) -> InfoHash {
        let truncated = self.v2.map(|hash| hash.truncated());
        self.v1.or(truncated).unwrap_or(InfoHash([0; 20]))
    }

    /// Peers come from its trackers only (BEP 27).
    pub fn private(&self) -> bool {
        self.private
    }

    /// Where it came from; makes the info-hash another one on each tracker.
    pub fn source(&self) -> Option<&str> {
        self.source.as_deref()
    }

    /// How the bytes are cut.
    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// All files in order, padding included.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Bytes of content, without padding.
    pub fn content_size(&self) -> u64 {
        self.files
            .iter()
            .filter(|file| file.kind != FileKind::Padding)
            .map(|file| file.length)
            .sum()
    }

    /// One file without a folder around it.
    pub fn is_single_file(&self) -> bool {
        self.single
    }

    /// Where a file lies below the folder for downloads: `NAME`, or `NAME/path`.
    pub fn disk_path(&self, file: &File) -> PathBuf {
        self.path_of(file).to_path_buf()
    }

    /// The same with `/` on every system, for people and for JSON.
    pub fn path_of(&self, file: &File) -> SafePath {
        if self.single {
            file.path.clone()
        } else {
            file.path.below(&self.name)
        }
    }

    /// Where the maker of the torrent had this file, if that differs from [`Info::disk_path`] and still lies below the same
    /// folder: a name such as `aux.c` or `README` beside `readme`, which is changed for others' sake but is fine here.
    pub fn original_path(&self, file: &File) -> Option<PathBuf> {
        let folder = if self.single {
            None
        } else {
            Some(self.original_name.as_deref()?)
        };
        if file.original == Original::Same && folder.is_none_or(|folder| folder == self.name) {
            return None;
        }
        let path: PathBuf = folder.into_iter().chain(file.original_components()?).collect();
        (path != self.disk_path(file)).then_some(path)
    }

    /// Is every hash there by which pieces are checked? Only a v2 torrent can lack some.
    pub fn has_layers(&self) -> bool {
        self.pieces.is_some() || self.trees.missing().next().is_none()
    }

    /// The piece layer of a v2 file longer than a piece.
    pub fn layer(&self, pieces_root: &[u8; 32]) -> Option<&[merkle::Hash]> {
        self.trees.get(pieces_root)?.layer()
    }

    /// The hash trees of v2 files longer than a piece. In a hybrid they may lack layers, since SHA-1 is enough to check it.
    pub fn trees(&self) -> &Trees {
        &self.trees
    }

    /// The SHA-1 of a piece, where the torrent has one.
    pub(super) fn sha1_of(&self, piece: PieceIndex) -> Option<&[u8]> {
        let start = self.pieces.as_ref()?.start + piece.as_usize() * 20;
        self.raw.get(start..start + 20)
    }
}

/// 1 or 2. What claims to know BEP 52 must be canonical.
fn version(info: &Value<'_>) -> Result<u8, MetainfoError> {
    let version = info
        .get("meta version")
        .and_then(|version| version.int())
        .unwrap_or(1);
    if info.get("meta version").is_some() && version > 0 {
        info.blemish()
            .map_or(Ok(()), |blemish| Err(MetainfoError::NotCanonical(blemish)))?;
    }
    match version {
        ..2 => Ok(1),
        2 => Ok(2),
        newer => Err(MetainfoError::UnknownVersion(newer)),
    }
}

fn piece_length(info: &Value<'_>, v2: bool) -> Result<u32, MetainfoError> {
    let length = info.get("piece length").and_then(|length| length.int());
    let length = length.and_then(|length| u32::try_from(length).ok());
    length
        .filter(|length| (1..=PIECE_LENGTH_MAX).contains(length))
        .filter(|length| !v2 || (length.is_power_of_two() && *length >= BLOCK_LENGTH))
        .ok_or(MetainfoError::PieceLength)
}

/// The files, and whether v1 describes them.
fn listing(info: &Value<'_>, v2: bool, piece_length: u32) -> Result<(Listing, bool), MetainfoError> {
    let tree = info.get("file tree").filter(Value::is_dict);
    let list = file_list::read(info)?;
    match (v2, tree, list) {
        (false, Some(_), _) => Err(MetainfoError::FileTreeWithoutVersion),
        (false, None, list) => Ok((list.ok_or(MetainfoError::Length(0))?, true)),
        (true, None, _) => Err(MetainfoError::NoFileTree),
        (true, Some(tree), None) => Ok((file_tree::read(&tree, false)?, false)),
        (true, Some(tree), Some(list)) => {
            let tree = file_tree::read(&tree, !list.single)?;
            if tree.files.is_empty() {
                return Err(MetainfoError::NoFiles);
            }
            Ok((hybrid::merge(&list, &tree, u64::from(piece_length))?, true))
        }
    }
}

/// Gives every file that is seen a path of its own.
fn make_unique(files: &mut [File]) -> Result<(), MetainfoError> {
    let seen = |(_, file): &(usize, &File)| file.kind != FileKind::Padding;
    let numbered = files.iter().enumerate().filter(seen);
    let (numbers, paths): (Vec<usize>, Vec<&SafePath>) =
        numbered.map(|(number, file)| (number, &file.path)).unzip();
    for (place, path) in names::make_unique(&paths)? {
        let file = numbers.get(place).and_then(|number| files.get_mut(*number));
        if let Some(file) = file {
            let before = std::mem::replace(&mut file.path, path);
            if file.original == Original::Same {
                file.original = Original::Other(before.to_string().into());
            }
        }
    }
    Ok(())
}

/// Gives every file its place.
fn lay_out(files: &mut [File], v1: bool, piece_length: u32) -> Result<Geometry, MetainfoError> {
    let piece_length = u64::from(piece_length);
    let mut offset = 0_u64;
    for file in files.iter_mut() {
        file.offset = offset;
        let span = if v1 {
            file.length
        } else {
            file.length.next_multiple_of(piece_length)
        };
        offset = offset.saturating_add(span);
    }
    let lengths = files.iter().map(|file| file.length);
    Ok(if v1 {
        Geometry::v1(piece_length, offset)?
    } else {
        Geometry::v2(piece_length, lengths)?
    })
}

/// Where the SHA-1 hashes stand. A v2 torrent needs none, nor does a hybrid, but where there are some they must fit.
fn piece_hashes(
    info: &Value<'_>,
    geometry: &Geometry,
    v2: bool,
) -> Result<Option<Range<usize>>, MetainfoError> {
    let Some(value) = info.get("pieces").filter(|pieces| pieces.bytes().is_some()) else {
        return if v2 {
            Ok(None)
        } else {
            Err(MetainfoError::NoPieces)
        };
    };
    let actual = value.bytes().map_or(0, <[u8]>::len);
    let (pieces, expected) = (geometry.piece_count(), u64::from(geometry.piece_count()) * 20);
    if actual as u64 != expected {
        return Err(MetainfoError::PieceHashes {
            actual,
            pieces,
            expected,
        });
    }
    let end = value.span().end;
    Ok(Some(end - actual..end))
}

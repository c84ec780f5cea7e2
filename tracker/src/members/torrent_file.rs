//! The .torrent file on its way into the register and out to a member: `private` and `source` set, trackers and foreign keys
//! taken out, the member's own announce URL put in. Bytes that need not change stay as they are, so that an info-hash changes
//! only where somebody wished it. Pure: bytes in, bytes out.

use std::collections::BTreeSet;

use shared::bencode::{self, Limits, Value};
use shared::id::{InfoHash, InfoHashV2};
use shared::metainfo::{FileKind, Info, Metainfo, MetainfoError};

/// The largest file that is taken; one of two million pieces has 40 MiB, which nobody here has.
pub const FILE_MAX: usize = 32 * 1024 * 1024;

/// A source tag says where a torrent is at home, in a word or two.
pub const SOURCE_MAX: usize = 64;

/// Everything else around `info` and its layers, such as comments and web seeds, has room in this.
const AROUND_MAX: usize = 2 * 1024 * 1024;

/// Parts of tracker URLs that are looked for in other values; nobody is member of more trackers with one torrent.
const FOREIGN_KEYS_MAX: usize = 32;

/// A part of a URL of so many letters and digits, of which one is a digit, is taken for somebody's key.
const FOREIGN_KEY_LENGTH: usize = 16;

/// What programs leave in their copies of a .torrent: their own state, with trackers and keys in it.
const STATE_OF_CLIENTS: [&[u8]; 5] = [
    b"libtorrent_resume",
    b"rtorrent",
    b"resume",
    b"azureus_private_properties",
    b"qBt-savePath",
];

/// The keys that hold the trackers of a file.
const TRACKERS: [&[u8]; 2] = [b"announce", b"announce-list"];

/// Why a file is not registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TorrentFileError {
    #[error("{length} bytes are more than the {FILE_MAX} that a .torrent may have here")]
    TooLarge { length: usize },
    #[error("not a torrent that clients would take: {0}")]
    Metainfo(#[from] MetainfoError),
}

/// What is to be set inside `info`. Each changes the info-hash, unless the torrent says so already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes<'a> {
    /// Sets `private`, or takes it out.
    pub private: Option<bool>,
    /// Sets `source`; empty takes it out.
    pub source: Option<&'a str>,
}

/// The names of a torrent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashes {
    pub v1: Option<InfoHash>,
    pub v2: Option<InfoHashV2>,
}

impl Hashes {
    fn of(info: &Info) -> Self {
        Self {
            v1: info.info_hash_v1(),
            v2: info.info_hash_v2(),
        }
    }
}

/// A file as it is kept: of nobody, for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepared {
    pub bytes: Vec<u8>,
    pub hashes: Hashes,
    /// The hashes before, where the wishes changed them.
    pub former: Option<Hashes>,
    pub name: String,
    /// Bytes of content.
    pub size: u64,
    /// Files of content.
    pub files: u32,
    pub private: bool,
    pub source: Option<String>,
    /// Keys beside the trackers whose values were taken out, because they held somebody's key or a client's state.
    pub dropped: Vec<String>,
    /// A v2 torrent whose piece layers are missing: most clients cannot use the file.
    pub lacks_layers: bool,
}

/// Reads a file, does what is wished, and takes out what belongs to its sender alone.
pub fn prepare(bytes: &[u8], wishes: &Wishes<'_>) -> Result<Prepared, TorrentFileError> {
    if bytes.len() > FILE_MAX {
        return Err(TorrentFileError::TooLarge { length: bytes.len() });
    }
    let before = Metainfo::read(bytes)?;
    let scan = bencode::scan_prefix(bytes, &Limits::TORRENT).map_err(MetainfoError::from)?;
    let root = scan.root();
    let info = root.get("info").ok_or(MetainfoError::NoInfo)?;
    let new_info = edited_info(&info, &before.info, wishes);
    let changed = new_info.is_some();
    let private = wishes.private.unwrap_or(before.info.private());
    let (bytes, dropped) = anonymous(bytes, &root, new_info, private);
    let after = Metainfo::read(&bytes)?;
    let content = after.info.files().iter();
    let content = content.filter(|file| file.kind == FileKind::Regular).count();
    Ok(Prepared {
        hashes: Hashes::of(&after.info),
        former: changed.then(|| Hashes::of(&before.info)),
        name: after.info.name().to_owned(),
        size: after.info.content_size(),
        files: u32::try_from(content).unwrap_or(u32::MAX),
        private: after.info.private(),
        source: after.info.source().map(str::to_owned),
        dropped,
        lacks_layers: !after.info.has_layers(),
        bytes,
    })
}

/// A kept file with a member's announce URL in it. `None` where the bytes are no file that [`prepare`] made.
pub fn personalise(kept: &[u8], announce_url: &str) -> Option<Vec<u8>> {
    let scan = bencode::scan(kept, &Limits::TORRENT).ok()?;
    let root = scan.root();
    let set = [(&b"announce"[..], Some(string(announce_url)))];
    Some(edited(kept, &root, &set, |_, _| true))
}

/// The info dictionary as wished; `None` where it is that already.
fn edited_info(value: &Value<'_>, info: &Info, wishes: &Wishes<'_>) -> Option<Vec<u8>> {
    let mut set = Vec::new();
    match wishes.private {
        Some(true) if !info.private() => set.push((&b"private"[..], Some(b"i1e".to_vec()))),
        Some(false) if info.private() => set.push((&b"private"[..], None)),
        _ => (),
    }
    if let Some(source) = wishes.source {
        let present = value.get("source");
        let same = match &present {
            Some(present) => present.bytes() == Some(source.as_bytes()),
            None => source.is_empty(),
        };
        // An empty `source` that stands there is as good as none, but not the same bytes; taking it out is what was wished.
        if !same || (source.is_empty() && present.is_some()) {
            set.push((&b"source"[..], (!source.is_empty()).then(|| string(source))));
        }
    }
    let offset = value.span().start;
    (!set.is_empty()).then(|| edited_at(value.raw(), offset, value, &set, |_, _| true))
}

/// The file without what belongs to one person: trackers, keys of trackers wherever they stand, the state of clients; a
/// private torrent also loses its DHT nodes. Says what else than trackers and nodes has gone.
fn anonymous(
    bytes: &[u8],
    root: &Value<'_>,
    new_info: Option<Vec<u8>>,
    private: bool,
) -> (Vec<u8>, Vec<String>) {
    let foreign = foreign_keys(root);
    let mut bytes_left = AROUND_MAX;
    let mut dropped = Vec::new();
    let mut keeps = |key: &[u8], value: &Value<'_>| {
        if matches!(key, b"info" | b"piece layers") {
            return true;
        }
        if TRACKERS.contains(&key) || private && key == b"nodes" {
            return false;
        }
        let raw = value.raw();
        let fits = raw.len() <= bytes_left;
        let keeps = fits && !STATE_OF_CLIENTS.contains(&key) && !holds_any(raw, &foreign);
        if keeps {
            bytes_left -= raw.len();
        } else {
            dropped.push(
                String::from_utf8_lossy(key)
                    .chars()
                    .filter(|letter| !letter.is_control())
                    .take(40)
                    .collect(),
            );
        }
        keeps
    };
    let set: Vec<_> = new_info
        .map(|info| (&b"info"[..], Some(info)))
        .into_iter()
        .collect();
    let bytes = edited(bytes, root, &set, &mut keeps);
    dropped.truncate(FOREIGN_KEYS_MAX);
    (bytes, dropped)
}

/// Everything in the tracker URLs that looks like somebody's key.
fn foreign_keys<'a>(root: &Value<'a>) -> BTreeSet<&'a [u8]> {
    let one = root.get("announce").into_iter();
    let tiers = root.get("announce-list").and_then(|tiers| tiers.list());
    let many = tiers
        .into_iter()
        .flatten()
        .filter_map(|tier| tier.list())
        .flatten();
    one.chain(many)
        .filter_map(|url| url.bytes())
        .flat_map(|url| url.split(|byte| !byte.is_ascii_alphanumeric()))
        .filter(|part| part.len() >= FOREIGN_KEY_LENGTH && part.iter().any(u8::is_ascii_digit))
        .take(FOREIGN_KEYS_MAX)
        .collect()
}

fn holds_any(raw: &[u8], parts: &BTreeSet<&[u8]>) -> bool {
    let holds = |part: &&[u8]| raw.windows(part.len()).any(|window| window == *part);
    parts.iter().any(holds)
}

fn string(text: &str) -> Vec<u8> {
    format!("{}:{text}", text.len()).into_bytes()
}

/// A key and the bencode that it shall lead to; `None` takes the key out.
type Change<'a> = (&'a [u8], Option<Vec<u8>>);

/// A copy of a dictionary with some keys set and some left out. All else stays byte for byte, in its order.
fn edited(
    bytes: &[u8],
    dictionary: &Value<'_>,
    changes: &[Change<'_>],
    keeps: impl FnMut(&[u8], &Value<'_>) -> bool,
) -> Vec<u8> {
    let raw = bytes.get(dictionary.span()).unwrap_or_default();
    edited_at(raw, dictionary.span().start, dictionary, changes, keeps)
}

/// The same with the dictionary's own bytes, which begin at `offset` in what was scanned.
fn edited_at(
    raw: &[u8],
    offset: usize,
    dictionary: &Value<'_>,
    changes: &[Change<'_>],
    mut keeps: impl FnMut(&[u8], &Value<'_>) -> bool,
) -> Vec<u8> {
    let added: usize = changes
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len) + 24)
        .sum();
    let mut out = Vec::with_capacity(raw.len() + added);
    out.push(b'd');
    let mut waiting: Vec<&Change<'_>> = changes.iter().collect();
    waiting.sort_by_key(|(key, _)| *key);
    let mut waiting = waiting.into_iter().peekable();
    let mut at = 1;
    for (key, value) in dictionary.dict().into_iter().flatten() {
        let end = value.span().end - offset;
        let entry = raw.get(at..end).unwrap_or_default();
        at = end;
        while let Some(change) = waiting.next_if(|(new, _)| *new <= key) {
            write_change(&mut out, change);
        }
        let replaced = changes.iter().any(|(new, _)| *new == key);
        if !replaced && keeps(key, &value) {
            out.extend_from_slice(entry);
        }
    }
    for change in waiting {
        write_change(&mut out, change);
    }
    out.push(b'e');
    out
}

fn write_change(out: &mut Vec<u8>, (key, value): &Change<'_>) {
    if let Some(value) = value {
        out.extend_from_slice(key.len().to_string().as_bytes());
        out.push(b':');
        out.extend_from_slice(key);
        out.extend_from_slice(value);
    }
}

#[cfg(test)]
#[path = "torrent_file_tests.rs"]
mod tests;

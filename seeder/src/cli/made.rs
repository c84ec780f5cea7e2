//! The torrents of a share: made once, and found again for as long as nothing of their content has changed.
//!
//! What was hashed is remembered with every file's size, time and inode. A file that was written so shortly before it was
//! read that a later change could hide behind the same time is never trusted: its torrent is made anew next time.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::DecimalBytes;
use serde::{Deserialize, Serialize};
use sha1::{Digest as _, Sha1};
use shared::bencode::Writer;
use shared::id::InfoHash;
use shared::metainfo::Metainfo;
use shared::metainfo::write::Details;

use super::{Failure, progress, tell};
use crate::library::create::{Options, Plan, all_cores};
use crate::library::filter::Filter;
use crate::library::progress::Progress;
use crate::library::walk::{Source, Walked, walk};
use crate::state::{self, Lock};

/// FAT keeps times to two seconds; every other file system is finer.
const COARSEST_TIME: Duration = Duration::from_secs(2);
/// Changes when what is remembered, or how torrents are cut, changes.
const VERSION: u32 = 1;

/// A torrent without trackers, and where its content lies.
#[derive(Debug)]
pub struct Made {
    pub metainfo: Metainfo,
    /// The folder that holds the torrent's root.
    pub root: PathBuf,
    /// Nothing was hashed: the content is as it was last time.
    pub reused: bool,
    _lock: Lock,
}

/// What the content looked like before it was hashed.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seen {
    version: u32,
    info_hash: String,
    files: Vec<SeenFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SeenFile {
    place: Vec<String>,
    path: PathBuf,
    length: u64,
    modified_secs: u64,
    modified_nanos: u32,
    inode: u64,
}

/// Makes the torrent of an [`absolute`] path, or finds the one that was made of the same content before.
pub fn make(path: &Path, private: bool, data: &Path) -> Result<Made, Failure> {
    let root = path.parent().map(Path::to_owned).unwrap_or_default();
    let id = id_of(path, private);
    let lock = state::lock(data, &format!("share-{id}"))?;
    let shelf = Shelf {
        folder: data.join("shares").join(id),
    };
    state::make(&shelf.folder)?;
    let before = shelf.now().map_err(|error| failed_at(&shelf.folder, error))?;
    let walked = walk(path, &Filter::default()).map_err(Failure::failed)?;
    warn_of_skipped(&walked);
    let files = look_at(&walked, before);
    if let Some(files) = &files
        && let Some(metainfo) = shelf.find(files)
    {
        return Ok(Made {
            metainfo,
            root,
            reused: true,
            _lock: lock,
        });
    }
    let metainfo = hash(path, private, &shelf)?;
    if let Some(files) = files {
        shelf
            .remember(&metainfo, files)
            .map_err(|error| failed_at(&shelf.folder, error))?;
    }
    Ok(Made {
        metainfo,
        root,
        reused: false,
        _lock: lock,
    })
}

/// The path as typed, but from the root and with a name at its end; links in it are kept, since their name is the torrent's.
pub fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    let absolute = match path.file_name() {
        // Without what may stand behind the name: a slash.
        Some(name) => std::path::absolute(path).map(|path| path.with_file_name(name)),
        None => path.canonicalize(),
    };
    absolute.map_err(|error| failed_at(path, error))
}

fn id_of(path: &Path, private: bool) -> String {
    let mut hash = Sha1::new();
    hash.update([u8::from(private)]);
    hash.update(path.as_os_str().as_encoded_bytes());
    let digest: [u8; 20] = hash.finalize().into();
    InfoHash(digest).to_string().chars().take(16).collect()
}

fn hash(path: &Path, private: bool, shelf: &Shelf) -> Result<Metainfo, Failure> {
    shelf.forget().map_err(|error| failed_at(&shelf.folder, error))?;
    let options = Options {
        details: Details {
            private,
            ..Details::default()
        },
        ..Options::default()
    };
    let plan = Plan::new(path, &options).map_err(Failure::failed)?;
    let progress = Progress::default();
    let (created, took) = progress::watch("hashing", &progress, || plan.create(all_cores(), &progress));
    let created = created.map_err(Failure::failed)?;
    tell(format_args!(
        "hashed {} files ({}) in {:.1} s",
        plan.content_files(),
        DecimalBytes(plan.content_size()),
        took.as_secs_f64()
    ));
    state::write(&shelf.torrent(), &created.bytes)?;
    Ok(created.metainfo)
}

fn warn_of_skipped(walked: &Walked) {
    for skipped in &walked.skipped {
        tell(format_args!(
            "warning: left out {}: {}",
            skipped.path.display(),
            skipped.why
        ));
    }
    if walked.junk > 0 {
        tell(format_args!(
            "left out {} files that systems leave behind, such as thumbnails",
            walked.junk
        ));
    }
}

/// What can be trusted to show every later change, or nothing if one file could not.
fn look_at(walked: &Walked, before: SystemTime) -> Option<Vec<SeenFile>> {
    let files = walked
        .files
        .iter()
        .map(|file| look_at_one(&file.path, &file.source, before));
    let mut files: Vec<SeenFile> = files.collect::<Option<_>>()?;
    files.sort_by(|left, right| left.place.cmp(&right.place));
    Some(files)
}

fn look_at_one(place: &[String], source: &Source, before: SystemTime) -> Option<SeenFile> {
    let modified = source.modified.filter(|modified| is_settled(*modified, before))?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    Some(SeenFile {
        place: place.to_owned(),
        path: source.path.clone(),
        length: source.length,
        modified_secs: since.as_secs(),
        modified_nanos: since.subsec_nanos(),
        inode: source.path.metadata().ok()?.ino(),
    })
}

/// Whoever changes the file from now on leaves another time on it.
fn is_settled(modified: SystemTime, now: SystemTime) -> bool {
    modified
        .checked_add(COARSEST_TIME)
        .is_some_and(|later| later < now)
}

/// The place in the state folder where one torrent is remembered.
struct Shelf {
    folder: PathBuf,
}

impl Shelf {
    fn torrent(&self) -> PathBuf {
        self.folder.join("content.torrent")
    }

    fn seen(&self) -> PathBuf {
        self.folder.join("seen.json")
    }

    /// The time as file systems tell it: that of a file just written.
    fn now(&self) -> io::Result<SystemTime> {
        let path = self.folder.join("now");
        fs::write(&path, b"")?;
        path.metadata()?.modified()
    }

    fn find(&self, files: &Vec<SeenFile>) -> Option<Metainfo> {
        let seen: Seen = serde_json::from_slice(&fs::read(self.seen()).ok()?).ok()?;
        let metainfo = Metainfo::read(&fs::read(self.torrent()).ok()?).ok()?;
        let same = seen.version == VERSION
            && seen.files == *files
            && seen.info_hash == metainfo.info.wire_hash().to_string();
        same.then_some(metainfo)
    }

    fn forget(&self) -> io::Result<()> {
        match fs::remove_file(self.seen()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn remember(&self, metainfo: &Metainfo, files: Vec<SeenFile>) -> io::Result<()> {
        let seen = Seen {
            version: VERSION,
            info_hash: metainfo.info.wire_hash().to_string(),
            files,
        };
        let path = self.seen().with_extension("new");
        fs::write(&path, serde_json::to_vec(&seen)?)?;
        fs::rename(path, self.seen())
    }
}

fn failed_at(path: &Path, error: io::Error) -> Failure {
    Failure::Failed(format!("{}: {error}", path.display()))
}

/// The metainfo file of a v1 torrent with these trackers and web seeds. They stand outside `info`, so its hash stays.
pub fn with_trackers(metainfo: &Metainfo, tiers: &[Vec<String>], web_seeds: &[String]) -> Vec<u8> {
    let mut out = Writer::new();
    out.dict();
    if let Some(first) = tiers.iter().flatten().next() {
        out.key("announce").bytes(first);
    }
    if tiers.iter().flatten().count() > 1 {
        out.key("announce-list").list();
        for tier in tiers {
            out.list();
            for url in tier {
                out.bytes(url);
            }
            out.end();
        }
        out.end();
    }
    out.key("created by")
        .bytes(concat!("kinswarm-seeder/", env!("CARGO_PKG_VERSION")));
    out.key("info").raw(metainfo.info.raw());
    if !web_seeds.is_empty() {
        out.key("url-list").list();
        for url in web_seeds {
            out.bytes(url);
        }
        out.end();
    }
    out.end();
    out.finish()
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    struct Rig {
        _folder: tempfile::TempDir,
        album: PathBuf,
        data: PathBuf,
    }

    /// An album whose only photograph was taken an hour ago.
    fn rig() -> Rig {
        let folder = tempfile::tempdir().unwrap();
        let (album, data) = (folder.path().join("Album"), folder.path().join("state"));
        fs::create_dir(&album).unwrap();
        fs::create_dir(&data).unwrap();
        let rig = Rig {
            _folder: folder,
            album,
            data,
        };
        rig.photograph(b"light", 3_600);
        rig
    }

    impl Rig {
        fn photograph(&self, content: &[u8], age: u64) {
            let path = self.album.join("a.jpg");
            fs::write(&path, content).unwrap();
            let written = path.metadata().unwrap().modified().unwrap();
            let file = File::options().write(true).open(&path).unwrap();
            file.set_modified(written - Duration::from_secs(age)).unwrap();
        }

        fn make(&self, private: bool) -> Made {
            make(&self.album, private, &self.data).unwrap()
        }
    }

    #[test]
    fn the_same_content_is_hashed_once_and_keeps_its_hash() {
        let rig = rig();
        let first = rig.make(false);
        assert!(!first.reused);
        let hash = first.metainfo.info.wire_hash();
        drop(first);
        let second = rig.make(false);
        assert!(second.reused);
        assert_eq!(second.metainfo.info.wire_hash(), hash);
        assert_eq!(second.root, rig.album.parent().unwrap());
    }

    #[test]
    fn a_change_of_the_same_size_is_seen_by_its_time() {
        let rig = rig();
        let before = rig.make(false).metainfo.info.wire_hash();
        rig.photograph(b"shade", 1_800);
        let after = rig.make(false);
        assert!(!after.reused);
        assert_ne!(after.metainfo.info.wire_hash(), before);
    }

    #[test]
    fn what_was_written_a_moment_ago_is_never_trusted() {
        let rig = rig();
        rig.photograph(b"light", 0);
        assert!(!rig.make(false).reused);
        assert!(!rig.make(false).reused);
    }

    #[test]
    fn a_private_torrent_is_another_one() {
        let rig = rig();
        let open = rig.make(false);
        let private = rig.make(true);
        assert!(private.metainfo.info.private() && !open.metainfo.info.private());
        assert_ne!(private.metainfo.info.wire_hash(), open.metainfo.info.wire_hash());
    }

    #[test]
    fn a_torrent_that_is_damaged_on_the_shelf_is_made_anew() {
        let rig = rig();
        drop(rig.make(false));
        let shelf = rig.data.join("shares").join(id_of(&rig.album, false));
        fs::write(shelf.join("content.torrent"), b"d4:infode").unwrap();
        assert!(!rig.make(false).reused);
    }

    #[test]
    fn one_path_is_shared_by_one_process() {
        let rig = rig();
        let _held = rig.make(false);
        let refused = make(&rig.album, false, &rig.data).unwrap_err();
        assert!(refused.to_string().contains("another process"), "{refused}");
    }

    #[test]
    fn trackers_are_written_around_the_same_info() {
        let rig = rig();
        let made = rig.make(false);
        let tiers = [
            vec!["http://a/announce".to_owned()],
            vec!["http://b/announce".to_owned()],
        ];
        let read = Metainfo::read(&with_trackers(&made.metainfo, &tiers, &[])).unwrap();
        assert_eq!(read.trackers, tiers);
        assert_eq!(read.info.wire_hash(), made.metainfo.info.wire_hash());
        let one = Metainfo::read(&with_trackers(&made.metainfo, &tiers[..1], &[])).unwrap();
        assert_eq!(one.trackers, tiers[..1]);
    }
}

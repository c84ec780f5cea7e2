//! Finding the files of a future torrent. Symbolic links are followed only to files inside the folder, never to folders,
//! so there are no loops and nothing from elsewhere slips in.

use std::ffi::OsStr;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use walkdir::{DirEntry, WalkDir};

use super::filter::{Filter, Verdict};
use super::os;

/// A file that will be read, and what it looked like when it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub path: PathBuf,
    pub length: u64,
    /// None where the file system keeps no times.
    pub modified: Option<SystemTime>,
}

/// A file and its place below the root; the place is empty where the root is the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub path: Vec<String>,
    pub source: Source,
}

/// What lies at a path that somebody wants to share.
#[derive(Clone, Debug)]
pub struct Walked {
    /// The name that the torrent will carry: that of the file or folder.
    pub name: String,
    pub is_single_file: bool,
    /// In no particular order.
    pub files: Vec<Found>,
    /// Files and folders left out as junk.
    pub junk: usize,
    pub skipped: Vec<Skipped>,
}

/// Something that cannot be shared, and was left out with a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    pub path: PathBuf,
    pub why: WhySkipped,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WhySkipped {
    #[error("a symbolic link out of the folder")]
    LinkOutside,
    #[error("a symbolic link to a folder")]
    LinkToFolder,
    #[error("a symbolic link to nothing")]
    LinkBroken,
    #[error("neither a file nor a folder")]
    Special,
}

/// The path cannot be shared as it is.
#[derive(Debug, thiserror::Error)]
pub enum WalkError {
    #[error("{}: {reason}", path.display())]
    Unreadable { path: PathBuf, reason: io::Error },
    #[error("{} has a name that is not UTF-8 ({name}); rename it, or leave it out with `seeder create --exclude`", path.display())]
    NotUtf8 { path: PathBuf, name: String },
    #[error("{} is neither a file nor a folder", .0.display())]
    Special(PathBuf),
    #[error("{} has no name of its own; name a folder below it", .0.display())]
    Nameless(PathBuf),
}

/// Finds what is to be shared at a path: one file, or all of a folder that the filter lets in.
pub fn walk(path: &Path, filter: &Filter) -> Result<Walked, WalkError> {
    let metadata = path.metadata().map_err(unreadable(path))?;
    let name = name_of(path)?;
    if metadata.is_file() {
        let found = Found {
            path: Vec::new(),
            source: source(path, &metadata)?,
        };
        return Ok(Walked {
            name,
            is_single_file: true,
            files: vec![found],
            junk: 0,
            skipped: Vec::new(),
        });
    }
    if !metadata.is_dir() {
        return Err(WalkError::Special(path.to_owned()));
    }
    let root = path.canonicalize().map_err(unreadable(path))?;
    let mut walker = Walker {
        root,
        top: path,
        filter,
        files: Vec::new(),
        junk: 0,
        skipped: Vec::new(),
    };
    walker.walk()?;
    let Walker {
        files, junk, skipped, ..
    } = walker;
    Ok(Walked {
        name,
        is_single_file: false,
        files,
        junk,
        skipped,
    })
}

struct Walker<'a> {
    /// Without links: what a link's target must lie below.
    root: PathBuf,
    top: &'a Path,
    filter: &'a Filter,
    files: Vec<Found>,
    junk: usize,
    skipped: Vec<Skipped>,
}

impl Walker<'_> {
    fn walk(&mut self) -> Result<(), WalkError> {
        let mut entries = WalkDir::new(self.top).min_depth(1).into_iter();
        while let Some(entry) = entries.next() {
            let entry = entry.map_err(|error| WalkError::Unreadable {
                path: error.path().unwrap_or(self.top).to_owned(),
                reason: error.into(),
            })?;
            let is_folder = entry.file_type().is_dir();
            let place = self.place(&entry);
            let verdict = if is_folder {
                self.filter.judge_folder(&place)
            } else {
                self.filter.judge_file(&place)
            };
            self.junk += usize::from(verdict == Verdict::Junk);
            if is_folder && verdict != Verdict::In {
                entries.skip_current_dir();
            } else if !is_folder && verdict == Verdict::In {
                self.take(&entry)?;
            }
        }
        Ok(())
    }

    /// The path below the root as the filter sees it: readable also where it is not UTF-8.
    fn place(&self, entry: &DirEntry) -> String {
        let below = entry.path().strip_prefix(self.top).unwrap_or(entry.path());
        let names: Vec<_> = below.iter().map(|name| name.to_string_lossy()).collect();
        names.join("/")
    }

    fn take(&mut self, entry: &DirEntry) -> Result<(), WalkError> {
        let path = entry.path();
        let source = match self.look(entry)? {
            Ok(source) => source,
            Err(why) => {
                self.skipped.push(Skipped {
                    path: path.to_owned(),
                    why,
                });
                return Ok(());
            }
        };
        let below = path.strip_prefix(self.top).unwrap_or(path);
        let names = below
            .iter()
            .map(|name| name.to_str().map(str::to_owned).ok_or_else(|| not_utf8(path)));
        self.files.push(Found {
            path: names.collect::<Result<_, _>>()?,
            source,
        });
        Ok(())
    }

    fn look(&self, entry: &DirEntry) -> Result<Result<Source, WhySkipped>, WalkError> {
        let path = entry.path();
        if entry.file_type().is_file() {
            let metadata = entry.metadata().map_err(|error| unreadable(path)(error.into()))?;
            return source(path, &metadata).map(Ok);
        }
        if !entry.file_type().is_symlink() {
            return Ok(Err(WhySkipped::Special));
        }
        let Ok(target) = path.canonicalize() else {
            return Ok(Err(WhySkipped::LinkBroken));
        };
        if !target.starts_with(&self.root) {
            return Ok(Err(WhySkipped::LinkOutside));
        }
        let metadata = target.metadata().map_err(unreadable(path))?;
        if metadata.is_dir() {
            return Ok(Err(WhySkipped::LinkToFolder));
        }
        if !metadata.is_file() {
            return Ok(Err(WhySkipped::Special));
        }
        source(&target, &metadata).map(Ok)
    }
}

/// Says now, and not after an hour of hashing, that a file may not be read.
fn source(path: &Path, metadata: &Metadata) -> Result<Source, WalkError> {
    os::check_readable(path).map_err(unreadable(path))?;
    Ok(Source {
        path: path.to_owned(),
        length: metadata.len(),
        modified: metadata.modified().ok(),
    })
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> WalkError + '_ {
    move |reason| WalkError::Unreadable {
        path: path.to_owned(),
        reason,
    }
}

fn not_utf8(path: &Path) -> WalkError {
    let name = path.file_name().unwrap_or(path.as_os_str());
    WalkError::NotUtf8 {
        path: path.to_owned(),
        name: name.as_encoded_bytes().escape_ascii().to_string(),
    }
}

/// The name as it was typed, so that a linked folder keeps the name under which it is known; `.` and `..` are looked up.
fn name_of(path: &Path) -> Result<String, WalkError> {
    let name = if let Some(name) = path.file_name() {
        name.to_owned()
    } else {
        let real = path.canonicalize().map_err(unreadable(path))?;
        real.file_name()
            .map(OsStr::to_owned)
            .ok_or_else(|| WalkError::Nameless(path.to_owned()))?
    };
    name.to_str().map(str::to_owned).ok_or_else(|| not_utf8(path))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::ffi::OsStrExt as _;
    use std::os::unix::fs::symlink;

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join("Album").join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        root
    }

    fn found(walked: &Walked) -> Vec<String> {
        let mut paths: Vec<_> = walked.files.iter().map(|file| file.path.join("/")).collect();
        paths.sort();
        paths
    }

    #[test]
    fn junk_stays_out_and_hidden_files_come_along() {
        let root = tree(&[
            "a.jpg",
            ".hidden",
            "Thumbs.db",
            "x/b.jpg",
            "x/@eaDir/b.jpg",
            "x/._b.jpg",
        ]);
        let walked = walk(&root.path().join("Album"), &Filter::default()).unwrap();
        assert_eq!(found(&walked), [".hidden", "a.jpg", "x/b.jpg"]);
        assert_eq!(
            (walked.name.as_str(), walked.junk, walked.is_single_file),
            ("Album", 3, false)
        );
    }

    #[test]
    fn links_are_followed_to_files_inside_and_nowhere_else() {
        let root = tree(&["a.jpg", "x/b.jpg"]);
        let album = root.path().join("Album");
        fs::write(root.path().join("secret"), "s").unwrap();
        symlink("../a.jpg", album.join("x/inside.jpg")).unwrap();
        symlink("../secret", album.join("outside.jpg")).unwrap();
        symlink("..", album.join("x/loop")).unwrap();
        symlink("nowhere", album.join("broken")).unwrap();
        symlink("self", album.join("self")).unwrap();
        let walked = walk(&album, &Filter::default()).unwrap();
        assert_eq!(found(&walked), ["a.jpg", "x/b.jpg", "x/inside.jpg"]);
        let mut skipped: Vec<_> = walked
            .skipped
            .iter()
            .map(|skipped| (skipped.path.file_name().unwrap().to_str().unwrap(), skipped.why))
            .collect();
        skipped.sort_by_key(|(name, _)| *name);
        assert_eq!(
            skipped,
            [
                ("broken", WhySkipped::LinkBroken),
                ("loop", WhySkipped::LinkToFolder),
                ("outside.jpg", WhySkipped::LinkOutside),
                ("self", WhySkipped::LinkBroken),
            ]
        );
    }

    #[test]
    fn a_linked_folder_keeps_the_name_that_was_typed() {
        let root = tree(&["a.jpg"]);
        symlink("Album", root.path().join("Pictures")).unwrap();
        let walked = walk(&root.path().join("Pictures"), &Filter::default()).unwrap();
        assert_eq!(
            (walked.name.as_str(), found(&walked)),
            ("Pictures", vec!["a.jpg".to_owned()])
        );
        assert_eq!(
            walk(&root.path().join("Album/."), &Filter::default())
                .unwrap()
                .name,
            "Album"
        );
    }

    #[test]
    fn special_files_are_skipped_by_name() {
        let root = tree(&["a.jpg"]);
        let socket = root.path().join("Album/socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let walked = walk(&root.path().join("Album"), &Filter::default()).unwrap();
        assert_eq!(
            walked.skipped,
            [Skipped {
                path: socket.clone(),
                why: WhySkipped::Special
            }]
        );
        assert!(matches!(
            walk(&socket, &Filter::default()),
            Err(WalkError::Special(_))
        ));
    }

    #[test]
    fn a_name_that_is_not_text_is_named_and_can_be_excluded() {
        let root = tree(&["a.jpg"]);
        let album = root.path().join("Album");
        fs::write(album.join(OsStr::from_bytes(b"caf\xe9.jpg")), "x").unwrap();
        let error = walk(&album, &Filter::default()).unwrap_err();
        assert!(error.to_string().contains(r"caf\xe9.jpg"), "{error}");
        let filter = Filter::new(&[], &["caf*.jpg".to_owned()], false).unwrap();
        assert_eq!(found(&walk(&album, &filter).unwrap()), ["a.jpg"]);
    }

    #[test]
    fn a_missing_path_is_named() {
        let error = walk(Path::new("/nowhere/at/all"), &Filter::default()).unwrap_err();
        assert!(error.to_string().starts_with("/nowhere/at/all: "), "{error}");
    }
}

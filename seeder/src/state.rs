//! The folder that holds what must outlive a process: one place a person, one owner a torrent.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sha1::{Digest as _, Sha1};
use shared::id::InfoHash;

/// The state folder cannot be used, or somebody else uses it.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("neither XDG_STATE_HOME nor HOME names a folder; say --data DIR")]
    Nowhere,
    #[error("cannot make the folder {}: {source}; say --data DIR", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("cannot write {}: {source}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("another process is at work on this already ({} is locked); wait for it or stop it", path.display())]
    Held { path: PathBuf },
}

/// The state folder: what was asked for, or the place where the system keeps a program's state. It need not exist.
pub fn chosen(asked: Option<&Path>) -> Result<PathBuf, StateError> {
    match asked {
        Some(folder) => Ok(folder.to_owned()),
        None => default_folder(|name| std::env::var_os(name).map(PathBuf::from)),
    }
}

/// The state folder, made when missing.
pub fn folder(asked: Option<&Path>) -> Result<PathBuf, StateError> {
    let folder = chosen(asked)?;
    make(&folder)?;
    folder
        .canonicalize()
        .map_err(|source| StateError::Open { path: folder, source })
}

fn default_folder(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<PathBuf, StateError> {
    // The base directory rules of freedesktop.org: a relative path is to be ignored.
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    absolute("XDG_STATE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state")))
        .map(|base| base.join("kinswarm"))
        .ok_or(StateError::Nowhere)
}

/// Makes a folder and those above it, for the owner alone: what a family shares is nobody else's business.
pub fn make(folder: &Path) -> Result<(), StateError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|source| StateError::Make {
            path: folder.to_owned(),
            source,
        })
}

/// What is remembered of torrents whose content lies in one folder, and the sole right to work on one of them there: two
/// processes may fetch two torrents, or one torrent to two folders, but not one to one.
pub fn place(data: &Path, content: &Path, torrents: &[InfoHash]) -> Result<(PathBuf, Lock), StateError> {
    let id = id_of(content);
    let folder = data.join("places").join(&id);
    make(&folder)?;
    let names = torrents.iter().map(|torrent| format!("{id}-{torrent}"));
    Ok((folder, claim(data, &names.collect())?))
}

/// Takes many names with one open file, which lists them: the lists of others are read, as far as somebody holds them.
fn claim(data: &Path, names: &BTreeSet<String>) -> Result<Lock, StateError> {
    let locks = data.join("locks");
    make(&locks)?;
    let trouble = |path: &Path, source| StateError::Open {
        path: path.to_owned(),
        source,
    };
    // Held while the lists are read and ours is written, so that nobody reads half a list.
    let gate = locks.join("claims.lock");
    let held = open(&gate).and_then(|gate| gate.lock().map(|()| gate));
    let _held = held.map_err(|source| trouble(&gate, source))?;
    let (mut ours, mut number) = (None, 0_u32);
    // No list is ever removed, so they have no gaps; one whose holder is gone serves the next.
    let (mut list, path) = loop {
        let path = locks.join(format!("claims-{number}.lock"));
        if let Some(ours) = ours.take_if(|_| !path.exists()) {
            break ours;
        }
        let mut list = open(&path).map_err(|source| trouble(&path, source))?;
        match list.try_lock() {
            Ok(()) => ours = ours.or(Some((list, path))),
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let read = list.read_to_string(&mut text);
                read.map_err(|source| trouble(&path, source))?;
                if text.lines().any(|line| names.contains(line)) {
                    return Err(StateError::Held { path });
                }
            }
            Err(TryLockError::Error(source)) => return Err(trouble(&path, source)),
        }
        number += 1;
    };
    let text: String = names.iter().flat_map(|name| [name.as_str(), "\n"]).collect();
    let written = list.set_len(0).and_then(|()| list.write_all(text.as_bytes()));
    written.map_err(|source| trouble(&path, source))?;
    Ok(Lock { _file: list })
}

/// A short name for a path: the same each time, and fit for a file's name.
pub fn id_of(path: &Path) -> String {
    let digest: [u8; 20] = Sha1::digest(path.as_os_str().as_encoded_bytes()).into();
    InfoHash(digest).to_string().chars().take(16).collect()
}

/// Writes a file whole or not at all: a reader never finds half of it.
pub fn write(path: &Path, content: &[u8]) -> Result<(), StateError> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let written = fs::write(&part, content).and_then(|()| fs::rename(&part, path));
    written.map_err(|source| StateError::Write {
        path: path.to_owned(),
        source,
    })
}

/// A name that nobody else holds while this lives, even after a crash of the last holder.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Takes a name in the state folder, or says that another process holds it.
pub fn lock(folder: &Path, name: &str) -> Result<Lock, StateError> {
    let locks = folder.join("locks");
    make(&locks)?;
    let path = locks.join(format!("{name}.lock"));
    let file = match open(&path) {
        Ok(file) => file,
        Err(source) => return Err(StateError::Open { path, source }),
    };
    match file.try_lock() {
        Ok(()) => Ok(Lock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(StateError::Held { path }),
        Err(TryLockError::Error(source)) => Err(StateError::Open { path, source }),
    }
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = fs::OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn default_with(variables: &[(&str, &str)]) -> Option<PathBuf> {
        let look_up = |name: &str| {
            variables
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| PathBuf::from(value))
        };
        default_folder(look_up).ok()
    }

    #[test]
    fn state_lies_where_the_system_says_or_under_the_home_folder() {
        let home = ("HOME", "/home/anna");
        assert_eq!(
            default_with(&[home]),
            Some("/home/anna/.local/state/kinswarm".into())
        );
        assert_eq!(
            default_with(&[home, ("XDG_STATE_HOME", "/var/x")]),
            Some("/var/x/kinswarm".into())
        );
        assert_eq!(
            default_with(&[home, ("XDG_STATE_HOME", "relative")]),
            Some("/home/anna/.local/state/kinswarm".into())
        );
        assert_eq!(default_with(&[]), None);
    }

    #[test]
    fn one_torrent_at_one_place_has_one_process() {
        let data = tempfile::tempdir().unwrap();
        let (here, there) = (Path::new("/here"), Path::new("/there"));
        let (one, other) = (InfoHash([1; 20]), InfoHash([2; 20]));
        let (first, held) = place(data.path(), here, &[one]).unwrap();
        let (second, _also) = place(data.path(), there, &[one]).unwrap();
        assert_ne!(first, second);
        let (again, free) = place(data.path(), here, &[other]).unwrap();
        assert_eq!(again, first);
        assert!(place(data.path(), here, &[other, one]).is_err());
        drop(held);
        assert!(
            place(data.path(), here, &[other, one]).is_err(),
            "the other is held still"
        );
        drop(free);
        let _both = place(data.path(), here, &[other, one]).unwrap();
        assert!(place(data.path(), here, &[one]).is_err());
        assert!(
            place(data.path(), there, &[one]).is_err(),
            "a list behind a free one counts"
        );
    }

    #[test]
    fn many_torrents_take_one_file() {
        let data = tempfile::tempdir().unwrap();
        let torrents: Vec<InfoHash> = (0..200).map(|number| InfoHash([number; 20])).collect();
        let (_, _held) = place(data.path(), Path::new("/here"), &torrents).unwrap();
        let files = fs::read_dir(data.path().join("locks")).unwrap().count();
        assert_eq!(files, 2);
        let refused = place(data.path(), Path::new("/here"), &[InfoHash([199; 20])]).unwrap_err();
        assert!(
            refused.to_string().contains("claims-0.lock is locked"),
            "{refused}"
        );
    }

    #[test]
    fn a_name_has_one_holder_and_is_free_again_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let first = lock(folder.path(), "a").unwrap();
        let refused = lock(folder.path(), "a").unwrap_err();
        assert!(refused.to_string().contains("a.lock is locked"), "{refused}");
        let _other = lock(folder.path(), "b").unwrap();
        drop(first);
        let _second = lock(folder.path(), "a").unwrap();
    }
}

//! A program's folder for state: one process owns it at a time, strangers on this machine read nothing of it.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use tracing::info;

/// Where a link lies in place of a file of ours, nothing is written through it.
#[expect(clippy::cast_possible_wrap, reason = "a flag of one low bit")]
const NO_LINK: i32 = OFlags::NOFOLLOW.bits() as i32;

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot use the data folder {}: {source}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("{} belongs to a running {program} (process {owner}); stop it, or use another data folder", path.display())]
    Taken {
        path: PathBuf,
        program: &'static str,
        owner: String,
    },
}

/// A folder, taken. It is given back when this is dropped, however the process ends.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// Locked for as long as it is open.
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none and takes it for this process alone, which is called `program` where it matters.
    pub fn take(path: &Path, program: &'static str) -> Result<Self, FolderError> {
        let lock = lock(path, program)?;
        info!(folder = %path.display(), "the data folder is ours");
        let path = path.to_owned();
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Opens a file of the folder for writing, empty, for its owner alone.
pub fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .custom_flags(NO_LINK)
        .open(path)?;
    // The mode above is for new files only.
    file.set_permissions(Permissions::from_mode(0o600))?;
    Ok(file)
}

/// Writes a file of the folder so that it is there whole or not at all, also after power was lost.
pub fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let part = beside(path, ".part");
    let mut file = create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    sync_folder_of(path)
}

/// The name of a file that belongs to another.
pub fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Makes renamed and new files last.
pub fn sync_folder_of(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn lock(path: &Path, program: &'static str) -> Result<File, FolderError> {
    let data = |source| FolderError::Data {
        path: path.to_owned(),
        source,
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(data)?;
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(NO_LINK);
    let mut file = options.open(path.join("lock")).map_err(data)?;
    if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if errno != Errno::WOULDBLOCK {
            return Err(data(errno.into()));
        }
        let mut owner = String::new();
        file.read_to_string(&mut owner).map_err(data)?;
        return Err(FolderError::Taken {
            path: path.to_owned(),
            program,
            owner: owner.trim().to_owned(),
        });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(data)?;
    writeln!(file, "{}", std::process::id()).map_err(data)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn take(path: &Path) -> Result<Folder, FolderError> {
        Folder::take(path, "program")
    }

    #[test]
    fn a_new_folder_is_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("made/when/missing");
        let folder = take(&path).unwrap();
        assert_eq!((mode(folder.path()), mode(&path.join("lock"))), (0o700, 0o600));
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let first = take(place.path()).unwrap();
        let second = take(place.path());
        let us = std::process::id().to_string();
        assert!(
            matches!(&second, Err(FolderError::Taken { owner, .. }) if *owner == us),
            "{second:?}"
        );
        drop(first);
        take(place.path()).unwrap();
    }

    #[test]
    fn nothing_is_written_through_a_link() {
        let place = tempfile::tempdir().unwrap();
        let precious = place.path().join("precious");
        fs::write(&precious, "precious").unwrap();
        for name in ["lock", "snapshot"] {
            std::os::unix::fs::symlink(&precious, place.path().join(name)).unwrap();
        }
        take(place.path()).unwrap_err();
        create(&place.path().join("snapshot")).unwrap_err();
        assert_eq!(fs::read(&precious).unwrap(), b"precious");
    }

    #[test]
    fn a_file_is_written_whole_and_for_its_owner_alone() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("file");
        fs::write(&path, "old").unwrap();
        fs::write(beside(&path, ".part"), "left by a crash, and longer").unwrap();
        write_whole(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
    }
}

//! The folder that holds everything a tracker must not forget. One process owns it at a time; the names of all files in it
//! stand here.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use tracing::info;

/// Why a folder cannot be ours.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error("cannot use the data folder {}: {source}", path.display())]
    Data { path: PathBuf, source: io::Error },
    #[error("{} belongs to a running tracker (process {owner}); stop it, or use another data folder", path.display())]
    Taken { path: PathBuf, owner: String },
    #[error("{} holds {length} bytes instead of 32: put the file of a backup in its place, or remove it to make all keys anew", path.display())]
    Secret { path: PathBuf, length: u64 },
}

/// A folder, taken. It is given back when this is dropped, however the process ends.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Makes the folder where there is none, mode 0700, and takes it for this process alone.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let lock = lock(path)?;
        info!(folder = %path.display(), "the data folder is ours");
        Ok(Self {
            path: path.to_owned(),
            _lock: lock,
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn database(&self) -> PathBuf {
        database(&self.path)
    }
    pub fn snapshot(&self) -> PathBuf {
        self.path.join("snapshot")
    }
    pub fn control(&self) -> PathBuf {
        control(&self.path)
    }

    /// The server's secret: read, or made from `fresh` where there is none. A secret that came with a backup wins.
    #[expect(clippy::todo, reason = "signatures first; bodies follow within the hour")]
    pub fn secret(&self, _restored: Option<[u8; 32]>, _fresh: [u8; 32]) -> Result<[u8; 32], FolderError> {
        todo!()
    }
}

/// The database of a folder, taken or not.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("tracker.sqlite")
}

/// Where the command line finds a running tracker.
pub fn control(folder: &Path) -> PathBuf {
    folder.join("control.sock")
}

fn lock(path: &Path) -> Result<File, FolderError> {
    let data = |source| FolderError::Data {
        path: path.to_owned(),
        source,
    };
    std::fs::create_dir_all(path).map_err(data)?;
    let mut options = File::options();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(path.join("lock")).map_err(data)?;
    if let Err(errno) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if errno != rustix::io::Errno::WOULDBLOCK {
            return Err(data(errno.into()));
        }
        let mut owner = String::new();
        file.read_to_string(&mut owner).map_err(data)?;
        return Err(FolderError::Taken {
            path: path.to_owned(),
            owner: owner.trim().to_owned(),
        });
    }
    file.set_len(0).and_then(|()| file.rewind()).map_err(data)?;
    writeln!(file, "{}", std::process::id()).map_err(data)?;
    Ok(file)
}

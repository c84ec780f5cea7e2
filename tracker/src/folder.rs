//! The folder that holds everything a tracker must not forget. Two files in it matter, the database and the secret; what else lies there costs time when it is lost, never credit.

use std::fmt;
use std::fs::{self, File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use edge::folder::{self, beside, write_whole};
use tracing::{info, warn};

use crate::members::store::{Store, StoreError};

/// Bytes of the secret.
const SECRET: usize = 32;

/// Why a folder, or what is in it, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    #[error(transparent)]
    Folder(#[from] folder::FolderError),
    #[error("{} is not {SECRET} bytes long: put back the file of a backup, or delete it and give every member a new key", path.display())]
    Secret { path: PathBuf },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What a tracker in private mode opens in its folder.
pub struct State {
    pub store: Store,
    /// All keys of members are derived from it.
    pub secret: [u8; SECRET],
    /// It was made just now, although there are members: their keys work no more.
    pub keys_lost: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fields = f.debug_struct("State");
        fields
            .field("store", &self.store)
            .field("keys_lost", &self.keys_lost);
        fields.finish_non_exhaustive()
    }
}

/// A tracker's folder, taken. It is given back when this is dropped, however the process ends.
#[derive(Debug)]
pub struct Folder {
    taken: folder::Folder,
}

impl Folder {
    /// Makes the folder where there is none and takes it for this process alone.
    pub fn take(path: &Path) -> Result<Self, FolderError> {
        let taken = folder::Folder::take(path, "tracker")?;
        Ok(Self { taken })
    }

    pub fn path(&self) -> &Path {
        self.taken.path()
    }

    /// Opens the database and the secret. A start on a restored backup moves the secret out of it; a start on an empty folder
    /// makes both, the secret from `dice`.
    pub async fn open(&self, dice: [u8; SECRET]) -> Result<State, FolderError> {
        close_database(&database(self.path()))?;
        let store = Store::open(&database(self.path())).await?;
        let path = secret(self.path());
        let restored = store.restored_secret().await?;
        let found = read_secret(&path)?;
        let secret = restored.or(found).unwrap_or(dice);
        if found != Some(secret) {
            write_secret(&path, found.is_some(), &secret)
                .map_err(|source| folder::FolderError::Data { path, source })?;
        }
        if restored.is_some() {
            store.drop_secret().await?;
            info!("took the secret out of a restored backup");
        }
        let made = restored.or(found).is_none();
        let keys_lost = made && !store.members().await?.is_empty();
        if keys_lost {
            warn!("the secret was missing and was made anew: every member needs a new key");
        }
        Ok(State {
            store,
            secret,
            keys_lost,
        })
    }
}

/// The database.
pub fn database(folder: &Path) -> PathBuf {
    folder.join("tracker.sqlite")
}

/// What all keys are derived from.
pub fn secret(folder: &Path) -> PathBuf {
    folder.join("secret")
}

/// A database that others could read, as a restored backup often is, is closed to them; so are the files that `SQLite` keeps
/// beside it, which take its mode.
fn close_database(path: &Path) -> Result<(), FolderError> {
    for path in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        let open = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o077 != 0);
        if open {
            warn!(file = %path.display(), "others could read this part of the database; now they cannot");
            fs::set_permissions(&path, Permissions::from_mode(0o600))
                .map_err(|source| folder::FolderError::Data { path, source })?;
        }
    }
    Ok(())
}

/// The secret, if there is one. One that others could read is closed to them, with a warning.
fn read_secret(path: &Path) -> Result<Option<[u8; SECRET]>, FolderError> {
    let data = |source| {
        let path = path.to_owned();
        FolderError::from(folder::FolderError::Data { path, source })
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(data(error)),
    };
    if file.metadata().map_err(data)?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))
            .map_err(data)?;
        warn!(file = %path.display(), "others could read the secret; now they cannot. If somebody may have, rotate all keys");
    }
    let mut bytes = Vec::new();
    // One more, to see that it is too long.
    file.take(SECRET as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(data)?;
    let secret = bytes.try_into().map_err(|_| FolderError::Secret {
        path: path.to_owned(),
    })?;
    Ok(Some(secret))
}

/// A secret that gives way to a backup's is kept beside it: deleting the only key to something is not ours to decide.
fn write_secret(path: &Path, replaces: bool, secret: &[u8]) -> io::Result<()> {
    if replaces {
        let old = beside(path, ".replaced");
        fs::rename(path, &old)?;
        warn!(file = %old.display(), "the restored backup brought another secret; the one that was here is kept in this file");
    }
    write_whole(path, secret)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;
    use crate::members::store::NewMember;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn taken(folder: &TempDir) -> Folder {
        Folder::take(folder.path()).unwrap()
    }

    #[tokio::test]
    async fn the_secret_is_made_once() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        let first = folder.open([1; 32]).await.unwrap();
        assert_eq!((first.secret, first.keys_lost), ([1; 32], false));
        first.store.close().await;
        let path = secret(place.path());
        assert_eq!((mode(&path), mode(&database(place.path()))), (0o600, 0o600));
        let second = folder.open([2; 32]).await.unwrap();
        assert_eq!((second.secret, second.keys_lost), ([1; 32], false));
        assert!(!format!("{second:?}").contains("[1, 1"));
    }

    #[tokio::test]
    async fn a_secret_that_others_could_read_is_closed_to_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        let path = secret(place.path());
        fs::write(&path, [3; 32]).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        assert_eq!(folder.open([1; 32]).await.unwrap().secret, [3; 32]);
        assert_eq!(mode(&path), 0o600);
    }

    #[tokio::test]
    async fn a_database_that_others_could_read_is_closed_to_them() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        folder.open([1; 32]).await.unwrap().store.close().await;
        let path = database(place.path());
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let state = folder.open([1; 32]).await.unwrap();
        for part in [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")] {
            assert_eq!(mode(&part), 0o600, "{}", part.display());
        }
        state.store.close().await;
    }

    #[tokio::test]
    async fn a_secret_of_another_length_is_refused_by_name_and_left_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        let path = secret(place.path());
        for bytes in [&[][..], &[1; 31], &[1; 33]] {
            fs::write(&path, bytes).unwrap();
            let refused = folder.open([1; 32]).await.unwrap_err();
            assert!(
                refused.to_string().contains("/secret is not 32 bytes long"),
                "{refused}"
            );
            assert_eq!(fs::read(&path).unwrap(), bytes);
        }
    }

    #[tokio::test]
    async fn members_whose_secret_is_lost_are_told_of() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        let state = folder.open([1; 32]).await.unwrap();
        let anna = NewMember {
            name: "Anna".to_owned(),
            ..NewMember::default()
        };
        state.store.insert_member(&anna).await.unwrap();
        state.store.close().await;
        fs::remove_file(secret(place.path())).unwrap();
        let state = folder.open([2; 32]).await.unwrap();
        assert_eq!((state.secret, state.keys_lost), ([2; 32], true));
    }

    #[tokio::test]
    async fn a_start_on_a_backup_brings_its_secret_and_moves_it_out_of_the_database() {
        let place = tempfile::tempdir().unwrap();
        let folder = taken(&place);
        let state = folder.open([1; 32]).await.unwrap();
        let copy = place.path().join("copy");
        state.store.backup(&copy, &state.secret).await.unwrap();

        // Into an empty folder, and into one that has a secret of its own.
        for own in [None, Some([9; 32])] {
            let other = tempfile::tempdir().unwrap();
            fs::copy(&copy, database(other.path())).unwrap();
            if let Some(own) = own {
                fs::write(secret(other.path()), own).unwrap();
            }
            let folder = taken(&other);
            for _ in 0..2 {
                let restored = folder.open([2; 32]).await.unwrap();
                assert_eq!((restored.secret, restored.keys_lost), ([1; 32], false));
                assert_eq!(restored.store.restored_secret().await.unwrap(), None);
                restored.store.close().await;
            }
            let kept = fs::read(beside(&secret(other.path()), ".replaced")).ok();
            assert_eq!(kept, own.map(|own| own.to_vec()));
        }
    }
}

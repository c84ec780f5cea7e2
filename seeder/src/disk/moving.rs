//! Moving a torrent's files to another folder, and giving single files other names, while the torrent is known. What is only
//! read is never touched: its files are looked for elsewhere from now on. May wait.

use std::fs::{File, FileTimes};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::time::{Duration, SystemTime};

use super::os;
use super::places::{Places, stays_below};
use super::stamp::Stamp;
use super::storage::{Storage, StorageError};
use crate::library::progress::Progress;

/// What is copied at once.
const STEP: usize = 1 << 20;

/// One file that was moved already.
struct Moved {
    from: PathBuf,
    to: PathBuf,
    /// The original is still there.
    copied: bool,
}

impl Storage {
    /// Looks for the files in another folder from now on.
    pub(super) fn look_in(&self, root: &Path) {
        let device = self.tools.devices.of(root);
        self.change_places(|places| {
            root.clone_into(&mut places.root);
            places.device = device;
        });
        self.rest();
    }

    /// Moves every file that is there to the same name below another folder. Within one file system names change, otherwise
    /// files are copied, and the originals go once all copies are safe. Where something fails, all is as it was.
    /// `resumes` says that an earlier move may have come half the way.
    pub(super) fn move_to(
        &self,
        root: &Path,
        resumes: bool,
        progress: &Progress,
    ) -> Result<(), StorageError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let places = self.places();
        let files = self.files_to_move(&places, root, resumes)?;
        let total = files.iter().map(|(_, stamp)| stamp.size);
        progress.expect(total.fold(0, u64::saturating_add));
        self.rest();
        let mut moved = Vec::new();
        for (relative, stamp) in &files {
            let one = move_one((&places.root, root), relative, stamp, progress);
            match one {
                Ok(one) => moved.push(one),
                Err(source) => {
                    undo(&moved);
                    return Err(StorageError::io(root.join(relative), source));
                }
            }
        }
        self.look_in(root);
        for one in moved.iter().filter(|one| one.copied) {
            // A copy that stays behind costs room, and nothing else.
            let _ = std::fs::remove_file(&one.from);
        }
        remove_empty_folders(&places.root, files.iter().map(|(relative, _)| relative.as_path()));
        self.survey_moved();
        Ok(())
    }

    /// The files that are there, after a look at what stands in the way.
    fn files_to_move(
        &self,
        places: &Places,
        root: &Path,
        resumes: bool,
    ) -> Result<Vec<(PathBuf, Stamp)>, StorageError> {
        let stamps = self.stamps();
        let mut files = Vec::new();
        for file in 0..self.info.files().len() {
            let Some(stamp) = self.stat(file) else { continue };
            let relative = places.relative(&self.info, file, self.is_sealed());
            let known = stamps.get(file).copied().flatten();
            if self.is_sealed() && known.is_some_and(|known| !known.agrees(&stamp)) {
                let path = places.root.join(relative);
                return Err(StorageError::Changed { path });
            }
            let to = root.join(&relative);
            if to.symlink_metadata().is_ok() && !resumes {
                return Err(StorageError::io(to, io::ErrorKind::AlreadyExists));
            }
            files.push((relative, stamp));
        }
        Ok(files)
    }

    /// The same files have other inodes and times of change now.
    fn survey_moved(&self) {
        let before = self.stamps();
        self.survey();
        for (file, (now, before)) in self.stamps().into_iter().zip(before).enumerate() {
            let same = match (now, before) {
                (Some(now), Some(before)) => now.agrees(&before),
                (now, before) => now == before,
            };
            if !same && self.is_sealed() {
                self.forget(file, now);
            }
        }
    }

    /// Gives a file another name below the root.
    pub(super) fn rename_file(&self, file: usize, to: &Path) -> Result<(), StorageError> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let places = self.places();
        let path = places.root.join(to);
        let others = (0..self.info.files().len()).filter(|other| *other != file);
        let taken = |other: usize| places.relative(&self.info, other, self.is_sealed()) == to;
        if file >= self.info.files().len() || !stays_below(to) {
            return Err(StorageError::io(path, io::ErrorKind::InvalidInput));
        }
        if others.into_iter().any(taken) || (self.tools.writes && path.symlink_metadata().is_ok()) {
            return Err(StorageError::io(path, io::ErrorKind::AlreadyExists));
        }
        self.tools.pool.close((self.number, file));
        if self.tools.writes && self.stat(file).is_some() {
            let folder = to.parent().unwrap_or(Path::new(""));
            os::make_folders(&places.root, folder)
                .and_then(|()| std::fs::rename(self.path(file), &path))
                .map_err(|source| StorageError::io(path.clone(), source))?;
        }
        self.change_places(|places| _ = places.renamed.insert(file, to.to_owned()));
        let now = self.stat(file);
        let before = self.stamp_of(file);
        if now.zip(before).is_some_and(|(now, before)| now.agrees(&before)) {
            if let Some(known) = self.known().stamps.get_mut(file) {
                *known = now;
            }
        } else if self.is_sealed() {
            self.forget(file, now);
        }
        Ok(())
    }
}

fn move_one(
    (from, to): (&Path, &Path),
    relative: &Path,
    stamp: &Stamp,
    progress: &Progress,
) -> io::Result<Moved> {
    if progress.is_cancelled() {
        return Err(io::Error::other("the move was called off"));
    }
    let (from, target) = (from.join(relative), to.join(relative));
    std::fs::create_dir_all(to)?;
    os::make_folders(to, relative.parent().unwrap_or(Path::new("")))?;
    let copied = !os::rename_fresh(&from, &target)?;
    if copied {
        copy(&from, &target, stamp, progress)?;
    } else {
        progress.add(stamp.size);
    }
    Ok(Moved {
        from,
        to: target,
        copied,
    })
}

/// Copies a file under another name first, so that what has the right name is whole and on the disk.
fn copy(from: &Path, to: &Path, stamp: &Stamp, progress: &Progress) -> io::Result<()> {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".moving");
    let draft = to.with_file_name(name);
    let copied = copy_into(from, &draft, stamp, progress).and_then(|()| std::fs::rename(&draft, to));
    if copied.is_err() {
        // It may never have been made.
        let _ = std::fs::remove_file(&draft);
    }
    copied
}

fn copy_into(from: &Path, draft: &Path, stamp: &Stamp, progress: &Progress) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut target = File::create(draft)?;
    let mut buffer = vec![0; STEP];
    loop {
        let length = source.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        if progress.is_cancelled() {
            return Err(io::Error::other("the move was called off"));
        }
        target.write_all(buffer.get(..length).unwrap_or_default())?;
        progress.add(length as u64);
    }
    let now = Stamp::of(&source.metadata()?);
    if !now.agrees(stamp) || target.metadata()?.len() != stamp.size {
        return Err(io::Error::other("it changed while it was copied"));
    }
    let since = Duration::from_nanos(u64::try_from(stamp.modified).unwrap_or(0));
    target.set_times(FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + since))?;
    target.set_permissions(source.metadata()?.permissions())?;
    target.sync_all()
}

/// Puts everything back, the last first.
fn undo(moved: &[Moved]) {
    for Moved { from, to, copied } in moved.iter().rev() {
        let undone = if *copied {
            std::fs::remove_file(to)
        } else {
            std::fs::rename(to, from)
        };
        if let Err(error) = undone {
            tracing::error!(path = %to.display(), %error, "a move could not be undone");
        }
    }
}

/// Takes the torrent's own folders away where nothing is left in them.
fn remove_empty_folders<'a>(root: &Path, files: impl Iterator<Item = &'a Path>) {
    let mut folders: Vec<&Path> = files.flat_map(|file| file.ancestors().skip(1)).collect();
    folders.retain(|folder| !folder.as_os_str().is_empty());
    folders.sort_by_key(|folder| std::cmp::Reverse(folder.components().count()));
    folders.dedup();
    for folder in folders {
        // Only empty ones can be removed, and that is the point.
        let _ = std::fs::remove_dir(root.join(folder));
    }
}

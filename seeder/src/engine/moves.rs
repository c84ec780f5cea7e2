//! Files that go elsewhere: to another folder, under another name, or away. The disk does it on threads that may wait; the row
//! notes that nobody else is to touch them meanwhile.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;
use tokio::task::JoinError;
use tracing::{info, warn};

use super::api::{Event, Mode, TorrentKey};
use super::change::{ChangeError, Content};
use super::entry::{Answer, State};
use super::table::Table;
use crate::disk::{Leftovers, Opened, StorageError, forget};
use crate::driver::Command;

/// What became of it.
#[derive(Debug)]
pub(super) enum Moved {
    To {
        key: TorrentKey,
        root: PathBuf,
        result: Result<(), ChangeError>,
        answer: Answer<(), ChangeError>,
    },
    Renamed {
        key: TorrentKey,
        result: Result<(), ChangeError>,
        answer: Answer<(), ChangeError>,
    },
    Deleted {
        key: TorrentKey,
        result: Result<(), ChangeError>,
    },
}

impl Table {
    pub(super) fn relocate(&mut self, key: TorrentKey, root: PathBuf, answer: Answer<(), ChangeError>) {
        match self.may_go(key, &root).and_then(|()| self.lend(key)) {
            Err(error) => _ = answer.send(Err(error)),
            Ok(lent) => {
                self.moves.spawn(async move {
                    let to = root.clone();
                    let result = with_files(lent, move |files| files.relocate(&to, &Arc::default())).await;
                    Moved::To {
                        key,
                        root,
                        result,
                        answer,
                    }
                });
            }
        }
    }

    /// What would be written there is nobody else's: files that are still to be fetched stand in nobody's way yet.
    fn may_go(&self, key: TorrentKey, root: &Path) -> Result<(), ChangeError> {
        let spec = self.torrents.get(&key).map(|entry| &entry.spec);
        let info = spec
            .filter(|spec| spec.mode == Mode::Get)
            .and_then(|spec| spec.info());
        info.map_or(Ok(()), |info| self.no_clash(Some(key), root, info))
            .map_err(|clash| ChangeError::Refused(clash.to_string()))
    }

    pub(super) fn rename(
        &mut self,
        key: TorrentKey,
        file: usize,
        to: PathBuf,
        answer: Answer<(), ChangeError>,
    ) {
        let files = self.torrents.get(&key).and_then(|entry| entry.spec.info());
        if files.is_some_and(|info| file >= info.files().len()) {
            _ = answer.send(Err(ChangeError::NoSuchFile(file)));
            return;
        }
        match self.lend(key) {
            Err(error) => _ = answer.send(Err(error)),
            Ok(lent) => {
                self.moves.spawn(async move {
                    let result = with_files(lent, move |files| files.rename(file, &to)).await;
                    Moved::Renamed { key, result, answer }
                });
            }
        }
    }

    /// The files of a torrent, for a move; until it is over nobody else touches them.
    fn lend(&mut self, key: TorrentKey) -> Result<oneshot::Receiver<Option<Opened>>, ChangeError> {
        let entry = self.torrents.get_mut(&key).ok_or(ChangeError::Unknown)?;
        if entry.moving {
            return Err(ChangeError::NotNow(
                "its files are being moved already".to_owned(),
            ));
        }
        let (give, lent) = oneshot::channel();
        match &entry.state {
            State::Asleep(opened) => _ = give.send(Some(opened.clone())),
            State::Awake(awake) => {
                let busy = |_| ChangeError::NotNow("it has too much to do; try again".to_owned());
                awake.driver.try_send(Command::Lend(give)).map_err(busy)?;
            }
            State::Parked(_) => {
                let info = entry.spec.info().ok_or(ChangeError::NoMetadata)?;
                let files = self.shared.files(&entry.spec, Arc::clone(info));
                tokio::spawn(async move { give.send(files.await) });
            }
            State::Blank => return Err(ChangeError::NoMetadata),
            State::Opening(_) => {
                let why = "its files are looked at; try again when that is done";
                return Err(ChangeError::NotNow(why.to_owned()));
            }
            State::Broken(reason) => return Err(ChangeError::NotNow(reason.to_string())),
        }
        entry.moving = true;
        Ok(lent)
    }

    /// A move is over.
    pub(super) async fn moved(&mut self, moved: Result<Moved, JoinError>) {
        let Ok(moved) = moved else { return };
        let (key, result, answer) = match moved {
            Moved::Deleted { key, result } => return self.removed(key, result).await,
            Moved::Renamed { key, result, answer } => (key, result, answer),
            Moved::To {
                key,
                root,
                result,
                answer,
            } => {
                if let (Ok(()), Some(entry)) = (&result, self.torrents.get(&key)) {
                    info!(torrent = %entry.spec.label, root = %root.display(), "moved");
                    entry.spec.set_root(root.into());
                }
                (key, result, answer)
            }
        };
        if let Some(entry) = self.torrents.get_mut(&key) {
            entry.moving = false;
        }
        self.remember(key);
        self.shared.event(Event::Changed { key });
        self.answer_when_kept(answer, result);
        self.settle(key).await;
    }

    /// Takes a torrent out that nobody works on any more.
    pub(super) fn delete(&mut self, key: TorrentKey) {
        let Some(entry) = self.torrents.get_mut(&key) else {
            return;
        };
        entry.moving = true;
        let content = entry
            .removal
            .as_ref()
            .map_or(Content::Keep, |removal| removal.content);
        let here = match &entry.state {
            State::Asleep(opened) => Some(opened.clone()),
            _ => None,
        };
        let deletes = content == Content::Delete;
        let found = entry.spec.info().filter(|_| here.is_none() && deletes);
        let found = found.map(|info| self.shared.files(&entry.spec, Arc::clone(info)));
        let (data, hash) = (self.shared.data.clone(), entry.spec.record_hash());
        let root = entry.spec.root();
        // What is deleted must not be fetched again after a kill: first it is written down that nobody wants it.
        self.remember_removed(key);
        let kept = self.kept();
        self.moves.spawn(async move {
            if let Err(reason) = kept.await {
                let result = Err(ChangeError::NotKept(format!("{reason}; its files are kept")));
                return Moved::Deleted { key, result };
            }
            let files = match found {
                Some(found) => found.await,
                None => here,
            };
            let gone = tokio::task::spawn_blocking(move || {
                let result = match files {
                    Some(files) if deletes => {
                        files.storage.rest();
                        delete_files(files.leftovers(), &root)
                    }
                    _ => Ok(()),
                };
                if let Some(data) = data {
                    forget(&data, hash);
                }
                result
            });
            let result = gone
                .await
                .unwrap_or_else(|fault| Err(ChangeError::NotNow(fault.to_string())));
            Moved::Deleted { key, result }
        });
    }

    /// Its files are gone, where they were to go.
    async fn removed(&mut self, key: TorrentKey, result: Result<(), ChangeError>) {
        let Some(entry) = self.torrents.remove(&key) else {
            return;
        };
        for hash in &entry.spec.info_hashes() {
            self.by_hash.remove(hash);
            self.by_mask.remove(&crate::net::encryption::Mask::of(*hash));
        }
        self.shared.tally.remember(&entry.spec.counters);
        info!(torrent = %entry.spec.label, "removed");
        if let Err(error) = &result {
            warn!(torrent = %entry.spec.label, %error, "not everything of it is gone");
        }
        self.shared.event(Event::Removed { key });
        let Some(removal) = entry.removal else { return };
        let mut result = Some(result);
        let mut removal = *removal;
        for answer in removal.answers.drain(..) {
            // Whoever asked may have gone.
            _ = answer.send(result.take().unwrap_or(Ok(())));
        }
        for (torrent, answer) in removal.into_again() {
            self.add_again(torrent, answer).await;
        }
    }
}

async fn with_files(
    lent: oneshot::Receiver<Option<Opened>>,
    work: impl FnOnce(&Opened) -> Result<(), StorageError> + Send + 'static,
) -> Result<(), ChangeError> {
    let files = lent.await.ok().flatten().ok_or(ChangeError::NoMetadata)?;
    let worked = tokio::task::spawn_blocking(move || work(&files)).await;
    let worked = worked.map_err(|fault| ChangeError::NotNow(fault.to_string()))?;
    worked.map_err(|error| disk_error(error.path(), &error.reason()))
}

fn disk_error(path: &Path, reason: &str) -> ChangeError {
    ChangeError::Disk {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}

/// Deletes the files that are ours, and the folders below `root` that are empty after that. Goes on where one cannot be
/// deleted, and tells of the first such; else of those that were kept.
fn delete_files(files: Leftovers, root: &Path) -> Result<(), ChangeError> {
    let mut trouble = None;
    let mut folders = BTreeSet::new();
    for path in &files.ours {
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                trouble = trouble.or(Some(disk_error(path, &error.to_string())));
            }
            _ => {
                let above = path.ancestors().skip(1);
                folders.extend(
                    above
                        .take_while(|folder| *folder != root && folder.starts_with(root))
                        .map(Path::to_owned),
                );
            }
        }
    }
    // The deepest come last in their order. A folder with something else in it stays.
    folders
        .iter()
        .rev()
        .for_each(|folder| _ = std::fs::remove_dir(folder));
    let mut kept = files.theirs.into_iter();
    let trouble = trouble.or_else(|| {
        let (first, more) = (kept.next()?, kept.len());
        Some(ChangeError::Kept { first, more })
    });
    trouble.map_or(Ok(()), Err)
}

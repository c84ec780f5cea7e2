//! The driver's way to the disk and back: blocks to write, files that are finished, and what became of files that other
//! hands can reach.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use shared::geometry::{Block, PieceIndex};
use tracing::{info, warn};

use super::{Driver, Job};
use crate::disk::{DiskNews, Opened, SILENCE, StorageError, Writer};
use crate::engine::{Event, Mode, Shared, Spec, TorrentKey};
use crate::net::uploader::Trouble;
use crate::torrent::Input;

/// How long to wait before files that cannot be finished are tried again.
const RETRY: Duration = Duration::from_secs(3);

/// So many files in trouble are named; more would drown the rest of the log.
const TROUBLES_MAX: usize = 100;

impl Driver {
    pub(super) fn store(&mut self, block: Block, data: Bytes) {
        self.spec.counters.add_downloaded(data.len() as u64);
        if let Some(writer) = &mut self.writer {
            writer.store(block, data);
        }
    }

    pub(super) fn verify(&mut self, piece: PieceIndex) {
        if let Some(writer) = &mut self.writer {
            writer.verify(piece);
        }
    }

    /// All that is wanted is on disk: the files get their last touch, and from then on nothing is written.
    pub(super) fn finished(&mut self) {
        self.writer = None;
        self.credit = None;
        self.count_left();
        if let Some(opened) = &self.opened {
            let sealing = seal(Arc::clone(&self.shared), self.spec.key, opened.clone());
            let (trackers, key) = (self.shared.trackers.clone(), self.spec.key);
            // Who has a part of it, though it wants no more, has completed nothing.
            let whole = self.torrent.is_complete();
            self.jobs.spawn(async move {
                let lost = sealing.await;
                if !lost.is_empty() {
                    return Job::Looked(lost);
                }
                if whole {
                    trackers.completed(key).await;
                }
                Job::Sealed
            });
        }
    }

    /// The files had their last touch.
    pub(super) fn sealed(&mut self) {
        // Wishes may have grown meanwhile.
        if self.torrent.is_finished() {
            self.spec.set_done(true);
            let part = if self.torrent.is_complete() {
                "complete"
            } else {
                "all that is wanted is there"
            };
            info!(torrent = %self.spec.label, "{part}");
            self.shared.event(Event::Finished { key: self.spec.key });
        }
    }

    /// Other files may be wanted now. Those that lay aside are put into their places first: what is fetched of them must not
    /// go where they lie no more.
    pub(super) fn wish(&mut self) {
        match &self.opened {
            Some(opened) if self.spec.fetches() => {
                if !std::mem::replace(&mut self.placing, true) {
                    let (shared, spec, opened) =
                        (Arc::clone(&self.shared), Arc::clone(&self.spec), opened.clone());
                    self.jobs.spawn(async move {
                        place(shared, spec, opened).await;
                        Job::Placed
                    });
                }
            }
            _ => self.tell(Input::Wishes(self.spec.options().wishes.clone())),
        }
    }

    pub(super) fn placed(&mut self) {
        self.placing = false;
        self.open_disk();
        self.tell(Input::Wishes(self.spec.options().wishes.clone()));
        self.count_left();
        self.publish();
    }

    pub(super) fn report_trouble(&mut self, piece: PieceIndex, trouble: &Trouble) {
        let Some(opened) = &self.opened else { return };
        let (path, reason) = match trouble {
            Trouble::Storage(error) => (error.path().to_owned(), error.reason()),
            Trouble::Damaged => (opened.storage.path_of(piece), trouble.to_string()),
        };
        // Nobody is promised what cannot be given; it is looked for again.
        opened.storage.lose(piece);
        self.cannot_serve(path, reason);
        self.take_back(vec![piece]);
        self.look();
    }

    fn cannot_serve(&mut self, path: PathBuf, reason: String) {
        if self.is_news(&path) {
            warn!(path = %path.display(), %reason, torrent = %self.spec.label, "cannot be served");
            let key = self.spec.key;
            self.shared.event(Event::CannotServe { key, path, reason });
        }
    }

    fn lost(&mut self, pieces: usize, path: PathBuf, reason: String) {
        if self.is_news(&path) {
            warn!(path = %path.display(), %reason, torrent = %self.spec.label, pieces, "lost");
            self.shared.event(Event::Lost {
                key: self.spec.key,
                pieces: u32::try_from(pieces).unwrap_or(u32::MAX),
                path,
                reason,
            });
        }
    }

    /// Is this the first that is told of a file's trouble? A file that is gone is met by those who read it and by those who
    /// look for it.
    fn is_news(&mut self, path: &Path) -> bool {
        self.troubled.len() < TROUBLES_MAX && self.troubled.insert(path.to_owned())
    }

    /// Tells of a disk that has not answered for too long, and of one that answers again.
    pub(super) fn listen_to_disk(&mut self) {
        let silent = self.opened.as_ref().and_then(|opened| opened.storage.silent());
        let key = self.spec.key;
        match (silent, &self.silence) {
            (Some(path), None) => {
                let reason = format!("the disk has not answered for {} seconds", SILENCE.as_secs());
                warn!(path = %path.display(), torrent = %self.spec.label, "{reason}");
                self.silence = Some(format!("{}: {reason}", path.display()));
                self.watch.ask_again();
                self.shared.devices.counts.silence();
                self.shared.event(Event::DiskTrouble { key, path, reason });
            }
            (None, Some(_)) => {
                self.silence = None;
                self.watch.ask_again();
                if self.trouble.is_none() {
                    self.shared.event(Event::DiskRecovered { key });
                }
            }
            _ => (),
        }
    }

    /// Has the files looked at, unless that is being done.
    pub(super) fn look(&mut self) {
        let Some(opened) = self.opened.clone().filter(|_| !self.looking) else {
            return;
        };
        self.looking = true;
        self.jobs.spawn(async move {
            let turn = opened.storage.device().job().await;
            let looked = tokio::task::spawn_blocking(move || {
                let _turn = turn;
                opened.look()
            });
            Job::Looked(looked.await.unwrap_or_default())
        });
    }

    /// These pieces are claimed no longer. What somebody changed in a finished download is his: it is not fetched again before
    /// the torrent is checked.
    fn take_back(&mut self, pieces: Vec<PieceIndex>) {
        let sealed = self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.storage.is_sealed());
        if sealed && self.spec.mode == Mode::Get {
            self.spec.set_hands_off(true);
        }
        self.tell(Input::Lost { pieces });
    }

    pub(super) fn hear_disk(&mut self, news: Vec<DiskNews>) {
        let key = self.spec.key;
        for news in news {
            match news {
                DiskNews::Credit(bytes) => self.tell(Input::Credit(bytes)),
                DiskNews::Verified { piece, good } => self.tell(Input::Verified { piece, good }),
                DiskNews::Gone { piece } => {
                    self.tell(Input::StoreFailed { piece });
                    self.tell(Input::DiskReady);
                }
                DiskNews::Trouble { path, reason } => {
                    warn!(path = %path.display(), %reason, torrent = %self.spec.label,
                        "the disk is in trouble; it is tried again");
                    self.trouble = Some(format!("{}: {reason}", path.display()));
                    self.shared.event(Event::DiskTrouble { key, path, reason });
                }
                DiskNews::Lost {
                    mut pieces,
                    path,
                    reason,
                } => {
                    let have = self.torrent.have();
                    pieces.retain(|piece| have.is_some_and(|have| have.has(*piece)));
                    if !pieces.is_empty() {
                        self.lost(pieces.len(), path, reason);
                        self.take_back(pieces);
                        self.count_left();
                    }
                }
                DiskNews::Found { pieces } => {
                    info!(torrent = %self.spec.label, pieces = pieces.len(), "there again");
                    // What goes wrong after this is news.
                    self.troubled.clear();
                    self.tell(Input::Found { pieces });
                    if self.torrent.is_finished() {
                        self.spec.set_hands_off(false);
                    }
                    self.count_left();
                }
                DiskNews::Recovered => {
                    self.trouble = None;
                    self.shared.event(Event::DiskRecovered { key });
                }
            }
        }
    }
}

pub(super) async fn disk_news(writer: &mut Option<Writer>) -> Vec<DiskNews> {
    match writer {
        Some(writer) => writer.news().await,
        None => std::future::pending().await,
    }
}

/// Seals a finished torrent's files, trying until the disk lets it. Gives back what somebody else spoiled in the meantime:
/// that is fetched again, and nothing is sealed before.
async fn seal(shared: Arc<Shared>, key: TorrentKey, opened: Opened) -> Vec<DiskNews> {
    let lost = Arc::new(Mutex::new(Vec::new()));
    let found = Arc::clone(&lost);
    until_it_works(&shared, key, opened, move |opened| {
        let news = opened.settle();
        if !news.is_empty() {
            *found.lock().unwrap_or_else(PoisonError::into_inner) = news;
            return Ok(());
        }
        opened.storage.finish()?;
        opened.remember()
    })
    .await;
    let mut lost = lost.lock().unwrap_or_else(PoisonError::into_inner);
    std::mem::take(&mut *lost)
}

/// Puts files into their places that are wanted now, trying until the disk lets it. Wishes that grow meanwhile count too.
async fn place(shared: Arc<Shared>, spec: Arc<Spec>, opened: Opened) {
    loop {
        let wishes = Arc::clone(&spec.options().wishes.files);
        let (opened, wanted) = (opened.clone(), Arc::clone(&wishes));
        until_it_works(&shared, spec.key, opened, move |opened| opened.want(&wanted)).await;
        if spec.options().wishes.files == wishes {
            return;
        }
    }
}

/// Does it on a thread that may wait; where the disk is in trouble, again after a while.
async fn until_it_works(
    shared: &Shared,
    key: TorrentKey,
    opened: Opened,
    work: impl Fn(&Opened) -> Result<(), StorageError> + Send + Sync + 'static,
) {
    let work = Arc::new(work);
    loop {
        let (opened, work) = (opened.clone(), Arc::clone(&work));
        let turn = opened.storage.device().job().await;
        let worked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            work(&opened)
        });
        match worked.await {
            Ok(Err(error)) => {
                let (path, reason) = (error.path().to_owned(), error.reason());
                shared.event(Event::DiskTrouble { key, path, reason });
            }
            Ok(Ok(())) | Err(_) => return,
        }
        tokio::time::sleep(RETRY).await;
    }
}

//! Whose hand was at a file that is being written? After each of our writes we note how the file looks; where it looks
//! otherwise before the next one, somebody else was there, and what was verified of it is hashed again. And which files we
//! made: only those are ever deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use shared::geometry::PieceIndex;

use super::pool::OpenFile;
use super::stamp::Stamp;
use super::storage::{Storage, StorageError};
use super::writer::DiskNews;

/// Bytes hashed again in one go.
const HASH_MAX: u64 = 64 << 20;

/// File systems over a network may change a file's time after the write. Where so many looks found nothing wrong, times
/// are gone by no more until the files rest.
const FALSE_ALARMS_MAX: u32 = 3;

/// What is known of hands at the files.
#[derive(Debug, Default)]
pub(super) struct Hands {
    /// Our writes that are under way, by file.
    writing: BTreeMap<usize, u32>,
    /// Files at which somebody else was. Their stamps stay those of our last write until their pieces were hashed.
    suspects: BTreeSet<usize>,
    /// Pieces of theirs that were trusted.
    doubted: BTreeSet<PieceIndex>,
    false_alarms: u32,
    /// Files that we made, and that nobody put another in the place of.
    made: BTreeSet<usize>,
    /// Files at which somebody else was seen.
    changed: BTreeSet<usize>,
    /// Those that we made and that are not noted yet.
    fresh: Vec<usize>,
}

impl Hands {
    /// Another file lies in the place of this one, or somebody else wrote to it.
    fn disown(&mut self, file: usize) {
        self.met(file, true);
    }

    /// Somebody did something to a file: perhaps to its name or its rights alone, unless it is another by now.
    pub(super) fn met(&mut self, file: usize, another: bool) {
        self.changed.insert(file);
        if another {
            self.made.remove(&file);
        }
    }

    /// A piece of this file is wrong: if somebody was at it, it was not for its name alone.
    pub(super) fn blame(&mut self, file: usize) {
        if self.changed.contains(&file) {
            self.made.remove(&file);
        }
    }

    /// Was somebody else seen at this file?
    pub(super) fn is_changed(&self, file: usize) -> bool {
        self.changed.contains(&file)
    }
}

/// A write of ours that is under way. Takes note of how the file looks when it is over.
pub(super) struct Hand<'a> {
    storage: &'a Storage,
    file: usize,
    open: &'a OpenFile,
}

impl Drop for Hand<'_> {
    fn drop(&mut self) {
        // In turn, so that of two who end at the same time the later look counts.
        let turn = self.storage.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.open.file.metadata().ok().map(|facts| Stamp::of(&facts));
        let mut known = self.storage.known();
        let is_suspect = known.hands.suspects.contains(&self.file);
        if let (Some(now), Some(noted)) = (now, known.stamps.get_mut(self.file))
            && !is_suspect
        {
            *noted = Some(now);
        }
        if let Some(count) = known.hands.writing.get_mut(&self.file) {
            *count -= 1;
            if *count == 0 {
                known.hands.writing.remove(&self.file);
            }
        }
        drop(known);
        drop(turn);
    }
}

impl Storage {
    /// Announces a write to a file that stands open. `None` if the file lies under its name no more.
    pub(super) fn hand<'a>(
        &'a self,
        file: usize,
        open: &'a OpenFile,
    ) -> Result<Option<Hand<'a>>, StorageError> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = !self.known().hands.writing.contains_key(&file);
        if idle {
            let facts = open.file.metadata();
            let facts = facts.map_err(|source| StorageError::io(self.path(file), source))?;
            if facts.nlink() == 0 {
                self.tools.pool.close((self.number, file));
                return Ok(None);
            }
            self.compare(file, Stamp::of(&facts));
        }
        *self.known().hands.writing.entry(file).or_default() += 1;
        drop(turn);
        let storage = self;
        Ok(Some(Hand { storage, file, open }))
    }

    /// Compares a file that nobody of us writes to with what our last write left.
    fn compare(&self, file: usize, now: Stamp) {
        let known = self.known();
        let noted = known.stamps.get(file).copied().flatten();
        let other = noted.is_some_and(|noted| !now.agrees(&noted) || now.inode != noted.inode);
        let lies = known.hands.false_alarms >= FALSE_ALARMS_MAX;
        let another = noted.is_some_and(|noted| now.inode != noted.inode);
        drop(known);
        if another {
            self.known().hands.disown(file);
        }
        if other && !lies {
            self.suspect(file);
        }
    }

    /// Somebody else was at this file: nothing of it is trusted before it was hashed again.
    fn suspect(&self, file: usize) {
        // The one that stands open may be another than the one that lies there now.
        self.tools.pool.close((self.number, file));
        let pieces: Vec<PieceIndex> = self.pieces_of(file).collect();
        let mut known = self.known();
        let known = &mut *known;
        known.hands.suspects.insert(file);
        for piece in pieces {
            if known.trusted.unset(piece) {
                known.hands.doubted.insert(piece);
            }
        }
    }

    /// A file that is being fetched was taken away.
    pub(super) fn forget_stamp(&self, file: usize) {
        let mut known = self.known();
        known.hands.disown(file);
        if let Some(noted) = known.stamps.get_mut(file) {
            *noted = None;
        }
    }

    /// Looks whether somebody else was at a file that is being written.
    pub(super) fn look_for_hands(&self, file: usize) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_sealed()
            && !self.known().hands.writing.contains_key(&file)
            && let Some(now) = self.stat(file)
        {
            self.compare(file, now);
        }
        drop(turn);
    }

    /// Hashes what is in doubt, some of it; what is wrong is lost.
    pub(super) fn settle_doubts(&self) -> Option<DiskNews> {
        let (doubted, suspects) = {
            let known = self.known();
            (known.hands.doubted.clone(), known.hands.suspects.clone())
        };
        if doubted.is_empty() && suspects.is_empty() {
            return None;
        }
        let (mut lost, mut hashed, mut done) = (Vec::new(), 0, Vec::new());
        for piece in doubted {
            if hashed > HASH_MAX {
                break;
            }
            hashed += self.extent(piece).1;
            done.push(piece);
            if !self.is_trusted(piece) && !self.check(piece).unwrap_or(false) {
                lost.push(piece);
            }
        }
        let mut known = self.known();
        for piece in done {
            known.hands.doubted.remove(&piece);
        }
        let over = known.hands.doubted.is_empty();
        known.hands.false_alarms += u32::from(over && lost.is_empty());
        if !lost.is_empty() {
            for file in &suspects {
                known.hands.disown(*file);
            }
        }
        drop(known);
        if over {
            for file in suspects {
                self.acquit(file);
            }
        }
        let path = self.path_of(*lost.first()?);
        Some(DiskNews::Lost {
            path,
            pieces: lost,
            reason: "changed by somebody else while it was being fetched".to_owned(),
        })
    }

    /// Compares every file with what our last write left, and hashes all that is in doubt. Gives back what was lost.
    pub(super) fn settle_all(&self) -> Vec<DiskNews> {
        for file in 0..self.info.files().len() {
            self.look_for_hands(file);
        }
        let mut news = Vec::new();
        while !self.known().hands.doubted.is_empty() {
            news.extend(self.settle_doubts());
        }
        news
    }

    /// From now on the files are watched in another way; what is in doubt stays so.
    pub(super) fn end_suspicion(&self) {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.sealed.store(true, Ordering::Release);
        self.known().hands.suspects.clear();
    }

    /// From now on this file is known as it is.
    fn acquit(&self, file: usize) {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_sealed() {
            return;
        }
        let now = self.stat(file);
        let mut known = self.known();
        known.hands.suspects.remove(&file);
        if let Some(noted) = known.stamps.get_mut(file) {
            *noted = now;
        }
        drop(known);
        drop(turn);
    }

    /// We made this file.
    pub(super) fn note_made(&self, file: usize) {
        let mut known = self.known();
        if known.hands.made.insert(file) {
            known.hands.fresh.push(file);
        }
    }

    /// Files that we made since this was last asked.
    pub(super) fn take_fresh(&self) -> Vec<usize> {
        std::mem::take(&mut self.known().hands.fresh)
    }

    /// All files that we made, and that are still ours.
    pub(super) fn made(&self) -> BTreeSet<usize> {
        self.known().hands.made.clone()
    }

    /// The files that we made, as the record has them.
    pub(super) fn recall_made(&self, made: BTreeSet<usize>) {
        self.known().hands.made = made;
    }

    /// Opens a file to write it and says that it is about to be written; one that was taken away under our hands is made
    /// anew.
    pub(super) fn with_hand<T>(
        &self,
        file: usize,
        work: impl Fn(&OpenFile) -> Result<T, StorageError>,
    ) -> Result<T, StorageError> {
        for _try in 0..2 {
            let open: Arc<OpenFile> = self.open_to_write(file)?;
            if let Some(hand) = self.hand(file, &open)? {
                let done = work(&open);
                drop(hand);
                return done;
            }
        }
        Err(StorageError::Changed {
            path: self.path(file),
        })
    }
}

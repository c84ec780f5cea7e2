//! Looks now and then whether a torrent's files are still what they were: what was removed, cut short or replaced is told,
//! so that nobody is promised what is gone, and so is what came back. May wait.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::path::PathBuf;

use shared::geometry::PieceIndex;
use shared::metainfo::FileKind;

use super::stamp::Stamp;
use super::storage::Storage;
use super::writer::DiskNews;

/// Files looked at in one go.
const FILES_MAX: usize = 1_000;

/// Bytes of lost pieces hashed in one go.
const HASH_MAX: u64 = 64 << 20;

/// Lost pieces looked at in one go.
const PIECES_MAX: usize = 1_000;

/// Where the watch has come to.
#[derive(Debug, Default)]
pub(super) struct Watch {
    next_file: usize,
    /// Files that are not there as they should be. Their stamps stay those of the time before.
    gone: BTreeSet<usize>,
    /// Pieces that were told lost.
    lost: BTreeSet<PieceIndex>,
    /// Those of them that were trusted, as long as their files only went away.
    trusted: BTreeSet<PieceIndex>,
    /// After which lost piece to go on.
    last: Option<PieceIndex>,
}

/// What became of a file.
enum Fate {
    Same,
    Gone(String),
    Changed,
}

impl Storage {
    /// Looks at the next files, and at pieces that were lost.
    pub(super) fn look(&self) -> Vec<DiskNews> {
        let count = self.info.files().len();
        let first = self.known().watch.next_file;
        let files = (0..count.min(FILES_MAX)).map(|number| (first + number) % count.max(1));
        let mut news: Vec<DiskNews> = files.filter_map(|file| self.look_at(file)).collect();
        self.known().watch.next_file = (first + FILES_MAX) % count.max(1);
        news.extend(self.settle_doubts());
        let found = self.find_again();
        if !found.is_empty() {
            news.push(DiskNews::Found { pieces: found });
        }
        news
    }

    /// A piece could not be read, or is not what was hashed: it is looked for from now on.
    pub(crate) fn lose(&self, piece: PieceIndex) {
        let mut known = self.known();
        known.trusted.unset(piece);
        known.watch.lost.insert(piece);
    }

    /// These pieces are not there, and may come.
    pub(super) fn miss(&self, files: impl IntoIterator<Item = usize>) {
        let files: Vec<usize> = files.into_iter().collect();
        let pieces: Vec<_> = files.iter().flat_map(|file| self.pieces_of(*file)).collect();
        let mut known = self.known();
        known.watch.gone.extend(files);
        known.watch.lost.extend(pieces);
    }

    fn look_at(&self, file: usize) -> Option<DiskNews> {
        let length = self
            .info
            .files()
            .get(file)
            .filter(|file| file.kind == FileKind::Regular)?
            .length;
        if self.places().aside.contains(&file) {
            return None;
        }
        let now = self.stat(file);
        if !self.is_sealed() {
            return self.look_at_unfinished(file, now);
        }
        match self.fate(file, length, now) {
            Fate::Same => {
                self.known().watch.gone.remove(&file);
                None
            }
            Fate::Gone(reason) => {
                let first = self.known().watch.gone.insert(file);
                // What was read from it while it stood open is not what lies there now.
                self.tools.pool.close((self.number, file));
                first.then(|| self.take_back(file, self.pieces_of(file).collect(), reason))
            }
            Fate::Changed => {
                self.tools.pool.close((self.number, file));
                let pieces = self.pieces_of(file).collect();
                self.forget(file, now);
                self.known().watch.gone.remove(&file);
                Some(self.take_back(file, pieces, "another than it was".to_owned()))
            }
        }
    }

    fn fate(&self, file: usize, length: u64, now: Option<Stamp>) -> Fate {
        let before = self.known().stamps.get(file).copied().flatten();
        match (now, before) {
            (None, _) => Fate::Gone("gone".to_owned()),
            (Some(now), _) if now.size != length => {
                Fate::Gone(format!("{} bytes long, where the torrent has {length}", now.size))
            }
            (Some(now), Some(before)) if now == before => Fate::Same,
            (Some(now), Some(before)) if now.agrees(&before) => {
                // Names, rights, or times that were set back: it is hashed again before it is given, and nobody is told.
                self.forget(file, Some(now));
                self.tools.pool.close((self.number, file));
                Fate::Same
            }
            (Some(_), _) => Fate::Changed,
        }
    }

    /// What was written of a file that is still being fetched must be there, and nobody else may have been at it.
    fn look_at_unfinished(&self, file: usize, now: Option<Stamp>) -> Option<DiskNews> {
        if now.is_none() {
            // Whatever comes in its place is not what was hashed.
            self.forget_stamp(file);
        } else if self.known().stamps.get(file).copied().flatten() != now {
            self.look_for_hands(file);
        }
        let size = now.map_or(0, |stamp| stamp.size);
        let addresses = self.layout().addresses(file);
        let known = self.known();
        let cut = |piece: &PieceIndex| {
            let (start, length) = self.extent(*piece);
            (start + length).min(addresses.end) - addresses.start > size
        };
        let pieces: Vec<_> = self
            .pieces_of(file)
            .filter(|piece| known.trusted.has(*piece) && cut(piece))
            .collect();
        drop(known);
        if pieces.is_empty() {
            return None;
        }
        self.tools.pool.close((self.number, file));
        let reason = if now.is_some() { "cut short" } else { "gone" };
        let mut known = self.known();
        for piece in &pieces {
            known.trusted.unset(*piece);
        }
        drop(known);
        Some(DiskNews::Lost {
            pieces,
            path: self.path(file),
            reason: reason.to_owned(),
        })
    }

    fn take_back(&self, file: usize, pieces: Vec<PieceIndex>, reason: String) -> DiskNews {
        let mut known = self.known();
        let whole = known.watch.gone.contains(&file);
        for piece in &pieces {
            if known.trusted.unset(*piece) && whole {
                known.watch.trusted.insert(*piece);
            } else if !whole {
                known.watch.trusted.remove(piece);
            }
            known.watch.lost.insert(*piece);
        }
        drop(known);
        let path: PathBuf = self.places().named(&self.info, file);
        DiskNews::Lost { pieces, path, reason }
    }

    /// Lost pieces that are right again: by the stamps of their files where those are as before, else by their hashes.
    fn find_again(&self) -> Vec<PieceIndex> {
        let (mut found, mut hashed) = (Vec::new(), 0);
        for piece in self.next_lost() {
            let (start, length) = self.extent(piece);
            let mut known = self.known();
            known.watch.last = Some(piece);
            let mut files = self.layout().files(start, length);
            if files.any(|file| known.watch.gone.contains(&file)) {
                continue;
            }
            if known.watch.trusted.remove(&piece) {
                known.trusted.set(piece);
            }
            let known_good = known.trusted.has(piece);
            drop(known);
            if !known_good {
                hashed += length;
                if hashed > HASH_MAX && hashed > length {
                    break;
                }
            }
            if known_good || self.check(piece).unwrap_or(false) {
                found.push(piece);
            }
        }
        let mut known = self.known();
        for piece in &found {
            known.watch.lost.remove(piece);
        }
        found
    }

    /// Some lost pieces, going round.
    fn next_lost(&self) -> Vec<PieceIndex> {
        let known = self.known();
        let watch = &known.watch;
        let after = watch.last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = watch.lost.range((after, Bound::Unbounded)).take(PIECES_MAX);
        let next: Vec<_> = later.copied().collect();
        if next.is_empty() {
            return watch.lost.iter().take(PIECES_MAX).copied().collect();
        }
        next
    }
}

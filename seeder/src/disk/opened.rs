//! An open torrent in its owner's hands: its files, its record, and what may be done with both while it is known.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::bitfield::Bitfield;
use shared::geometry::PieceIndex;

use super::resume::{Facts, Journal};
use super::storage::{Storage, StorageError};
use super::writer::DiskNews;
use crate::library::progress::Progress;
use crate::torrent::Priority;

/// An open torrent. Clones share the files.
#[derive(Clone, Debug)]
pub(crate) struct Opened {
    pub(crate) storage: Arc<Storage>,
    /// What is there. In a torrent that is only read, pieces that were never hashed are among them: they are hashed before
    /// their first byte leaves.
    pub(crate) have: Bitfield,
    /// Where each piece is noted when it is written.
    pub(super) journal: Option<Arc<Journal>>,
    pub(super) data: Option<PathBuf>,
    /// What was found wrong, a bounded number of things.
    pub(crate) troubles: Arc<[StorageError]>,
}

impl Facts {
    /// What is to be written down of a torrent; exact ones are for files at rest.
    pub(super) fn of(storage: &Storage, have: Bitfield, exact: bool) -> Self {
        Self {
            have,
            doubted: Vec::new(),
            made: storage.made(),
            stamps: if exact { storage.stamps() } else { Vec::new() },
            parts: storage.parts_stamp().filter(|_| exact),
            renamed: storage.places().renamed.clone(),
            moved: None,
        }
    }
}

impl Opened {
    /// Writes down what was verified, and how the files looked. May wait.
    pub(crate) fn remember(&self) -> Result<(), StorageError> {
        self.note(Facts {
            doubted: self.doubted(),
            ..Facts::of(&self.storage, self.storage.trusted(), true)
        })
    }

    /// Pieces that are there and were not hashed since somebody was at their files: they are not fetched again for that.
    fn doubted(&self) -> Vec<PieceIndex> {
        let trusted = self.storage.trusted();
        let claimed = self
            .storage
            .geometry()
            .pieces()
            .filter(|piece| self.have.has(*piece));
        let doubted = claimed.filter(|piece| self.storage.tools.writes && !trusted.has(*piece));
        doubted.collect()
    }

    fn note(&self, facts: Facts) -> Result<(), StorageError> {
        match (&self.journal, &self.data) {
            (Some(journal), _) => journal.renew(&facts),
            (None, Some(data)) => Journal::begin(data, self.storage.info().wire_hash(), &facts).map(drop),
            (None, None) => Ok(()),
        }
    }

    /// What there is to note while files may be under way.
    fn facts(&self) -> Facts {
        Facts {
            doubted: self.doubted(),
            ..Facts::of(&self.storage, self.storage.trusted(), self.storage.is_sealed())
        }
    }

    /// Has other files fetched from now on. What is there of files that nobody wanted moves into place. May wait.
    pub(crate) fn want(&self, wishes: &[Priority]) -> Result<(), StorageError> {
        self.storage.want(wishes)
    }

    /// Moves what was fetched to another folder; what is only read is looked for there from now on. Where it fails, all is as
    /// it was; where the program dies, the move goes on when the torrent is opened again. May wait.
    pub(crate) fn relocate(&self, root: &Path, progress: &Progress) -> Result<(), StorageError> {
        let from = self.storage.root();
        if from == root {
            return Ok(());
        }
        if !self.storage.tools.writes {
            self.storage.look_in(root);
            return self.note(self.facts());
        }
        let moving = || Facts {
            moved: Some((from.clone(), root.to_owned())),
            ..self.facts()
        };
        self.note(moving())?;
        let moved = self.storage.move_to(root, false, progress);
        // Until the torrent was opened at its new place, whoever opens it at the old one is led there.
        self.note(if moved.is_ok() { moving() } else { self.facts() })?;
        moved
    }

    /// Gives one file another name below the same folder; a file that is only read is looked for under it. May wait.
    pub(crate) fn rename(&self, file: usize, to: &Path) -> Result<(), StorageError> {
        self.storage.rename_file(file, to)?;
        self.note(self.facts())
    }

    /// Looks whether files are still what they were, some at a time, so that it may be called often. May wait.
    pub(crate) fn look(&self) -> Vec<DiskNews> {
        self.noted(self.storage.look())
    }

    /// The last look before a download is called finished: at all files, and at everything that is in doubt. May wait.
    pub(crate) fn settle(&self) -> Vec<DiskNews> {
        self.noted(self.storage.settle_all())
    }

    fn noted(&self, news: Vec<DiskNews>) -> Vec<DiskNews> {
        for lost in &news {
            if let (DiskNews::Lost { pieces, .. }, Some(journal)) = (lost, &self.journal)
                && !self.storage.is_sealed()
                && let Err(error) = journal.writing(pieces.iter().copied())
            {
                tracing::warn!(%error, "what was lost is not noted");
            }
        }
        news
    }
}

//! Files that nobody wants are not made. The bytes of theirs that come with pieces of wanted files lie aside, in one file in
//! the state folder, are given to others from there, and move into place once the file is wanted after all.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

use shared::metainfo::FileKind;

use super::os;
use super::places::Places;
use super::stamp::Stamp;
use super::storage::{Storage, StorageError};
use crate::torrent::Priority;

/// What is copied at once.
const STEP: u64 = 1 << 20;

impl Storage {
    /// At the start: what is not in its place and may have been kept aside is taken to lie there.
    pub(super) fn recall_aside(&self) {
        let there = self.tools.parts.as_ref().is_some_and(|parts| parts.exists());
        if there && self.tools.writes {
            let missing = self.stamps();
            self.change_places(|places| {
                let files = self.info.files().iter().enumerate();
                let files = files.filter(|(number, file)| {
                    file.kind == FileKind::Regular
                        && file.length > 0
                        && missing.get(*number).is_some_and(Option::is_none)
                });
                places.aside = files.map(|(number, _)| number).collect();
            });
        }
    }

    /// Has these files fetched from now on; files past the end of the list are wanted. A file that is there stays.
    pub(super) fn want(&self, wishes: &[Priority]) -> Result<(), StorageError> {
        if !self.tools.writes {
            return Ok(());
        }
        // Whoever writes meanwhile would write to the old place.
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let skips = |file: &usize| wishes.get(*file) == Some(&Priority::Skip);
        let aside = self.places().aside.clone();
        let wanted: BTreeSet<usize> = aside.iter().copied().filter(|file| !skips(file)).collect();
        if !wanted.is_empty() {
            self.unseal();
        }
        for file in &wanted {
            self.put_in_place(*file)?;
        }
        let unwanted = self.info.files().iter().enumerate().filter(|(number, file)| {
            self.tools.parts.is_some()
                && file.kind == FileKind::Regular
                && file.length > 0
                && skips(number)
                && !aside.contains(number)
                && !self.path(*number).exists()
        });
        let unwanted: BTreeSet<usize> = unwanted.map(|(number, _)| number).collect();
        self.change_places(|places| {
            places.aside.retain(|file| !wanted.contains(file));
            places.aside.extend(unwanted);
        });
        Ok(())
    }

    /// Copies what there is of a file from aside. Only the pieces at its ends may reach into a wanted file.
    fn put_in_place(&self, file: usize) -> Result<(), StorageError> {
        let addresses = self.layout().addresses(file);
        let mut pieces = self.pieces_of(file);
        let ends = pieces.next().into_iter().chain(pieces.last());
        let Ok(parts) = self.open_parts(false) else {
            // Nothing was ever kept.
            return Ok(());
        };
        let parts_length = parts
            .file
            .metadata()
            .map_err(|source| StorageError::io(self.path(file), source))?
            .len();
        for piece in ends {
            let (start, length) = self.extent(piece);
            let end = (start + length).min(addresses.end).min(parts_length);
            let mut at = start.max(addresses.start);
            while at < end {
                let mut buffer = vec![0; usize::try_from((end - at).min(STEP)).unwrap_or(0)];
                let trouble = |source| StorageError::io(self.path(file), source);
                let read = os::read_at(&parts.file, &mut buffer, at).map_err(trouble)?;
                buffer.truncate(read);
                // A hole was never written.
                if buffer.iter().any(|byte| *byte != 0) || self.is_trusted(piece) {
                    self.put(file, &buffer, at - addresses.start)?;
                }
                at += (read as u64).max(1);
            }
        }
        Ok(())
    }

    fn put(&self, file: usize, bytes: &[u8], at: u64) -> Result<(), StorageError> {
        self.with_hand(file, |open| {
            let mut part = [std::io::IoSlice::new(bytes)];
            let put = os::write_at(&open.file, &mut part, at);
            put.map_err(|source| StorageError::io(self.path(file), source))
        })
    }

    /// How the parts file is now.
    pub(super) fn parts_stamp(&self) -> Option<Stamp> {
        let facts = self.tools.parts.as_ref()?.metadata().ok()?;
        Some(Stamp::of(&facts))
    }

    /// Takes the parts file away, once nothing of it is needed.
    pub(super) fn tidy_parts(&self) {
        if let Some(parts) = self
            .tools
            .parts
            .as_ref()
            .filter(|_| self.places().aside.is_empty())
        {
            self.close_parts();
            // It may never have been there.
            let _ = std::fs::remove_file(parts);
        }
    }

    pub(super) fn change_places(&self, change: impl FnOnce(&mut Places)) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut places));
    }
}

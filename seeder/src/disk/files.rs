//! Opening the files of a torrent, to read or to write. May wait.

use std::io;
use std::sync::Arc;

use super::opening::Allocation;
use super::os;
use super::pool::OpenFile;
use super::storage::{Storage, StorageError};
use crate::library;

/// The slot of the parts file; no torrent has so many files.
const PARTS: usize = usize::MAX;

impl Storage {
    /// The file that holds these bytes, and where in it they are.
    pub(super) fn open_to_read(
        &self,
        file: usize,
        offset: u64,
    ) -> Result<(Arc<OpenFile>, u64), StorageError> {
        let places = self.places();
        if places.aside.contains(&file) {
            return Ok((self.open_parts(false)?, self.address_of(file) + offset));
        }
        if let Some(open) = self.tools.pool.get((self.number, file)) {
            return Ok((open, offset));
        }
        let relative = places.relative(&self.info, file, self.is_sealed());
        let opened = if self.is_sealed() {
            library::os::open_source(&places.root.join(&relative))
        } else {
            os::open_written(&places.root, &relative)
        };
        let opened = opened.map_err(|source| StorageError::io(places.root.join(relative), source))?;
        let open = OpenFile {
            file: opened,
            writable: false,
            device: Arc::clone(&places.device),
        };
        Ok((self.keep(file, open), offset))
    }

    /// The file, made where it is missing, and with room for all of it where that is to be had at once.
    pub(super) fn open_to_write(&self, file: usize) -> Result<Arc<OpenFile>, StorageError> {
        let places = self.places();
        let path = || places.named(&self.info, file);
        if !self.tools.writes || self.is_sealed() {
            let refused = io::Error::from(io::ErrorKind::PermissionDenied);
            return Err(StorageError::io(path(), refused));
        }
        let open = self.tools.pool.get((self.number, file));
        if let Some(open) = open.filter(|open| open.writable) {
            return Ok(open);
        }
        let trouble = |source| StorageError::io(path(), source);
        let executable = self.info.files().get(file).is_some_and(|file| file.executable);
        let relative = places.relative(&self.info, file, false);
        let (opened, made) = os::open_target(&places.root, &relative, executable).map_err(trouble)?;
        let open = OpenFile {
            file: opened,
            writable: true,
            device: Arc::clone(&places.device),
        };
        let hand = self.hand(file, &open)?;
        if made {
            self.note_made(file);
        }
        let addresses = self.layout().addresses(file);
        let length = addresses.end - addresses.start;
        // A longer file of an earlier time would keep its tail and never agree with the torrent.
        if open.file.metadata().map_err(trouble)?.len() > length {
            open.file.set_len(length).map_err(trouble)?;
        }
        if self.tools.allocation == Allocation::Full && length > 0 {
            os::allocate(&open.file, length).map_err(trouble)?;
        }
        drop(hand);
        Ok(self.keep(file, open))
    }

    /// The file for what lies aside.
    pub(super) fn open_parts(&self, writes: bool) -> Result<Arc<OpenFile>, StorageError> {
        let open = self.tools.pool.get((self.number, PARTS));
        if let Some(open) = open.filter(|open| open.writable || !writes) {
            return Ok(open);
        }
        let path = self.tools.parts.clone().unwrap_or_default();
        let folder = path.parent().filter(|_| writes);
        let opened = folder.map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
            let mut options = std::fs::OpenOptions::new();
            options.read(true).write(writes).create(writes);
            options.open(&path)
        });
        let opened = opened.map_err(|source| StorageError::io(path.clone(), source))?;
        let open = OpenFile {
            file: opened,
            writable: writes,
            device: self.tools.devices.of(&path),
        };
        Ok(self.keep(PARTS, open))
    }

    /// Closes the parts file.
    pub(super) fn close_parts(&self) {
        self.tools.pool.close((self.number, PARTS));
    }
}

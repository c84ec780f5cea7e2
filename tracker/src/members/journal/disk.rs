//! A disk in memory that does what a test wants: it is full, hangs, or loses power in the middle of a write.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use super::reading::read;
use super::shelf::{SegmentFile, Shelf};
use super::{Journal, ReadReport, State};
use crate::members::ledger::Entry;

#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<(Mutex<Contents>, Condvar)>);

#[derive(Clone, Default)]
pub(crate) struct Contents {
    files: BTreeMap<u64, Vec<u8>>,
    /// Bytes that still fit, where there is a limit.
    pub(crate) room: Option<usize>,
    pub(crate) hangs: bool,
    /// What is being written while the disk hangs, and where.
    in_flight: Option<(u64, usize, Vec<u8>)>,
}

impl Disk {
    pub(crate) fn set(&self, change: impl FnOnce(&mut Contents)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    pub(crate) fn file(&self, segment: u64) -> Option<Vec<u8>> {
        self.0.0.lock().unwrap().files.get(&segment).cloned()
    }

    /// What a kill leaves while a write hangs of which only `torn` bytes got through.
    pub(crate) fn torn(&self, torn: usize) -> Self {
        let waits = |contents: &mut Contents| contents.in_flight.is_none();
        let contents = self.0.0.lock().unwrap();
        let mut left = self.0.1.wait_while(contents, waits).unwrap().clone();
        if let Some((segment, offset, bytes)) = left.in_flight.take() {
            let file = left.files.entry(segment).or_default();
            file.truncate(offset);
            file.extend(bytes.iter().take(torn));
        }
        left.hangs = false;
        Self(Arc::new((Mutex::new(left), Condvar::new())))
    }

    /// What a kill leaves while nothing is being written.
    pub(crate) fn copy(&self) -> Self {
        let contents = self.0.0.lock().unwrap().clone();
        Self(Arc::new((Mutex::new(contents), Condvar::new())))
    }

    /// Reads the segments as [`super::read_segments`] does.
    pub(crate) fn read_segments(&self, from: u64, mut each: impl FnMut(Entry)) -> ReadReport {
        let mut report = ReadReport::default();
        for (&segment, bytes) in &self.0.0.lock().unwrap().files {
            report.last_segment = Some(segment);
            if segment >= from {
                read(bytes.as_slice(), &mut report, &mut each).unwrap();
            }
        }
        report
    }
}

impl Shelf for Disk {
    fn open(&self, segment: u64) -> io::Result<(Arc<dyn SegmentFile>, u64)> {
        let mut contents = self.0.0.lock().unwrap();
        let length = contents.files.entry(segment).or_default().len();
        Ok((Arc::new(DiskFile(self.clone(), segment)), length as u64))
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        self.0.0.lock().unwrap().files.remove(&segment);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        Ok(self.0.0.lock().unwrap().files.keys().copied().collect())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

struct DiskFile(Disk, u64);

impl SegmentFile for DiskFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let (contents, changed) = &*self.0.0;
        let offset = usize::try_from(offset).unwrap();
        let mut contents = contents.lock().unwrap();
        if contents.hangs {
            contents.in_flight = Some((self.1, offset, bytes.to_vec()));
            changed.notify_all();
        }
        let mut contents = changed.wait_while(contents, |contents| contents.hangs).unwrap();
        contents.in_flight = None;
        let fits = contents.room.unwrap_or(bytes.len()).min(bytes.len());
        contents.room = contents.room.map(|room| room - fits);
        let file = contents.files.entry(self.1).or_default();
        file.truncate(offset);
        file.extend(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Journal {
    /// A journal on such a disk.
    pub(crate) fn on(disk: &Disk, first_segment: u64) -> Arc<Self> {
        Self::open_on(Box::new(disk.clone()), first_segment).unwrap()
    }

    /// Waits until the writer has done all it was asked to.
    pub(crate) fn rest(&self) {
        self.wait(|state| state.clear || state.done < state.entered);
    }

    /// Waits until a write has failed.
    pub(crate) fn fail(&self) {
        self.wait(|state| !state.counts.failing);
    }

    fn wait(&self, busy: impl FnMut(&mut State) -> bool) {
        let waited = self.shared.done.wait_while(self.shared.lock(), busy);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }
}

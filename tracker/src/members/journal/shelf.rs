//! Where segments lie: files `journal-N` in the data folder. A trait, because tests need disks that are full, slow or dead.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a segment's file is called, before its number.
const PREFIX: &str = "journal-";

/// The files of a journal.
pub(super) trait Shelf: Send + Sync + 'static {
    /// Opens a segment for writing, and makes it where there is none. Returns its length too.
    fn open(&self, segment: u64) -> io::Result<(Arc<dyn SegmentFile>, u64)>;

    fn remove(&self, segment: u64) -> io::Result<()>;

    /// The numbers of all segments that exist, in order.
    fn list(&self) -> io::Result<Vec<u64>>;

    /// Makes new names survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// One segment's file.
pub(super) trait SegmentFile: Send + Sync {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written survive a loss of power.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the disk.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn path(&self, segment: u64) -> PathBuf {
        self.0.join(format!("{PREFIX}{segment}"))
    }
}

impl Shelf for Folder {
    fn open(&self, segment: u64) -> io::Result<(Arc<dyn SegmentFile>, u64)> {
        let mut options = OpenOptions::new();
        // Addresses of members stand in it.
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(self.path(segment))?;
        let length = file.metadata()?.len();
        Ok((Arc::new(file), length))
    }

    fn remove(&self, segment: u64) -> io::Result<()> {
        match std::fs::remove_file(self.path(segment)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let segments = segments(&self.0)?;
        Ok(segments.into_iter().map(|(segment, _)| segment).collect())
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

impl SegmentFile for File {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// Every segment in a folder with its number, in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX)?.parse().ok());
        if let Some(number) = number {
            found.push((number, entry.path()));
        }
    }
    found.sort_unstable();
    Ok(found)
}

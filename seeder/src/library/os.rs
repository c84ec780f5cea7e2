//! What only some systems can do, each with a portable fallback: reading without leaving a trace, and telling who may read.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens a file for reading only, without touching its access time where that is allowed (to its owner). A pipe or device
/// that stands in a photograph's place is refused.
pub fn open_source(path: &Path) -> io::Result<File> {
    let file = imp::open_source(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// Asks whether this process may read a file or folder, without opening it. The answer may be outdated at once.
pub fn check_readable(path: &Path) -> io::Result<()> {
    imp::check_readable(path)
}

/// Fills `buffer` from a place in the file; a file that ends too early is an error of kind `UnexpectedEof`.
pub fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
    imp::read_exact_at(file, buffer, offset)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt as _;
    use std::path::Path;

    use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, accessat, open};
    use rustix::io::Errno;

    pub(super) fn open_source(path: &Path) -> io::Result<File> {
        // O_NONBLOCK: a pipe that took the file's place must not hang us. It means nothing to regular files.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = match open(path, flags | OFlags::NOATIME, Mode::empty()) {
            // The file belongs to somebody else, or the file system has no such thing.
            Err(Errno::PERM | Errno::INVAL) => open(path, flags, Mode::empty()),
            opened => opened,
        };
        Ok(File::from(fd?))
    }

    pub(super) fn check_readable(path: &Path) -> io::Result<()> {
        Ok(accessat(CWD, path, Access::READ_OK, AtFlags::EACCESS)?)
    }

    pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(buffer, offset)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::fs::File;
    use std::io::{self, Read as _, Seek as _, SeekFrom};
    use std::path::Path;

    pub(super) fn open_source(path: &Path) -> io::Result<File> {
        File::open(path)
    }

    pub(super) fn check_readable(path: &Path) -> io::Result<()> {
        path.symlink_metadata().map(drop)
    }

    pub(super) fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Every worker has a handle of its own, so nobody else moves this one's place.
        let mut file = file;
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(buffer)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, FileTimes};
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn reading_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "photograph").unwrap();
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = File::options().write(true).open(&path).unwrap();
        file.set_times(FileTimes::new().set_accessed(long_ago)).unwrap();
        let mut buffer = [0; 5];
        read_exact_at(&open_source(&path).unwrap(), &mut buffer, 5).unwrap();
        assert_eq!(&buffer, b"graph");
        assert_eq!(path.metadata().unwrap().accessed().unwrap(), long_ago);
    }

    #[test]
    fn what_is_no_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        for path in [folder.path(), &pipe] {
            assert!(open_source(path).is_err(), "{}", path.display());
        }
    }

    #[test]
    fn a_file_that_ends_too_early_is_said_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "short").unwrap();
        let error = read_exact_at(&open_source(&path).unwrap(), &mut [0; 6], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_not_there_cannot_be_read() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_readable(&folder.path().join("a")).is_err());
        assert!(check_readable(folder.path()).is_ok());
    }
}

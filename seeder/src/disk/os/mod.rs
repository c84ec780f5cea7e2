//! The system calls of the disk, in one place: what Linux offers, and the plain way elsewhere. All of them may wait for the
//! disk, except [`read_without_waiting`].

mod mounts;

use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

pub(super) use mounts::Mounts;

use super::stamp::{Stamp, nanos};

/// Cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// At most so many buffers go into one gathering write; the least that POSIX systems promise besides 16.
const VECTOR_MAX: usize = 1024;

/// Opens a file below `root` to read and write it, making it and its folders where they are missing. No part of
/// `relative` may be a symbolic link: a torrent must not write through one that lies in the target by chance or by malice.
/// Says whether it was made.
pub(super) fn open_target(root: &Path, relative: &Path, executable: bool) -> io::Result<(File, bool)> {
    std::fs::create_dir_all(root)?;
    let folder = descend(root, relative.parent().unwrap_or(Path::new("")), true)?;
    let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let rights = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
    let open = |flags| rustix::fs::openat(&folder, name, flags, rights);
    let (file, fresh) = match open(flags) {
        Err(Errno::NOENT) => match open(flags | OFlags::CREATE | OFlags::EXCL) {
            // Another thread was faster.
            Err(Errno::EXIST) => (open(flags)?, false),
            new => (new?, true),
        },
        there => (there?, false),
    };
    Ok((regular(File::from(file))?, fresh))
}

/// Opens a file below `root` to read it, without following a symbolic link and without making anything.
pub(super) fn open_written(root: &Path, relative: &Path) -> io::Result<File> {
    let folder = descend(root, relative.parent().unwrap_or(Path::new("")), false)?;
    let name = relative.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    regular(File::from(rustix::fs::openat(
        &folder,
        name,
        flags,
        Mode::empty(),
    )?))
}

/// Makes folders below `root`, none of which may be a symbolic link.
pub(super) fn make_folders(root: &Path, folders: &Path) -> io::Result<()> {
    descend(root, folders, true).map(drop)
}

/// Walks down folder by folder, each opened from the one above it.
fn descend(root: &Path, folders: &Path, make: bool) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = rustix::fs::open(root, flags, Mode::empty())?;
    for part in folders.components() {
        let Component::Normal(name) = part else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        if make {
            match rustix::fs::mkdirat(&here, name, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => (),
                Err(error) => return Err(error.into()),
            }
        }
        here = rustix::fs::openat(&here, name, flags | OFlags::NOFOLLOW, Mode::empty())?;
    }
    Ok(here)
}

fn regular(file: File) -> io::Result<File> {
    let kind = file.metadata()?;
    if kind.is_file() {
        Ok(file)
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// Fills `into` from `offset`; stops early only at the end of the file. Says how many bytes were there.
pub(super) fn read_at(file: &File, into: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Writes all parts one after another at `offset`.
pub(super) fn write_at(file: &File, mut parts: &mut [IoSlice<'_>], mut offset: u64) -> io::Result<()> {
    while !parts.is_empty() {
        let count = parts.len().min(VECTOR_MAX);
        let some = parts.get(..count).unwrap_or_default();
        match rustix::io::pwritev(file, some, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut parts, written);
            }
            Err(Errno::INTR) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads what the page cache holds, and nothing else: true if that was all of `into`.
#[cfg(target_os = "linux")]
pub(super) fn read_without_waiting(file: &File, into: &mut [u8], offset: u64) -> bool {
    let length = into.len();
    let mut parts = [io::IoSliceMut::new(into)];
    let read = rustix::io::preadv2(file, &mut parts, offset, rustix::io::ReadWriteFlags::NOWAIT);
    read == Ok(length)
}

/// Elsewhere nobody can tell, so every read goes to a thread that may wait.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_without_waiting(_file: &File, _into: &mut [u8], _offset: u64) -> bool {
    false
}

/// How an open file is, by what the system knows without asking a disk or a server.
#[cfg(target_os = "linux")]
pub(super) fn stamp_without_waiting(file: &File) -> Option<Stamp> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let wanted = StatxFlags::SIZE | StatxFlags::MTIME | StatxFlags::CTIME | StatxFlags::INO;
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let facts = statx(file, c"", flags, wanted).ok()?;
    let (modified, changed) = (facts.stx_mtime, facts.stx_ctime);
    Some(Stamp {
        size: facts.stx_size,
        modified: nanos(modified.tv_sec, modified.tv_nsec.into()),
        changed: nanos(changed.tv_sec, changed.tv_nsec.into()),
        inode: facts.stx_ino,
    })
}

#[cfg(not(target_os = "linux"))]
pub(super) fn stamp_without_waiting(_file: &File) -> Option<Stamp> {
    None
}

/// Gives a file room for so many bytes, without making it longer: what is not written yet must not look as if it were.
/// Where a file system cannot do that, nothing is done.
#[cfg(target_os = "linux")]
pub(super) fn allocate(file: &File, length: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    match fallocate(file, FallocateFlags::KEEP_SIZE, 0, length) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        done => Ok(done?),
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn allocate(_file: &File, _length: u64) -> io::Result<()> {
    Ok(())
}

/// Moves a file to a name that nothing has; says whether both are on one file system, so that it could.
pub(super) fn rename_fresh(from: &Path, to: &Path) -> io::Result<bool> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => Ok(false),
        done => done.map(|()| true),
    }
}

/// Asks the system to fetch this part of the file soon. A hint: failing, it costs speed and nothing else.
#[cfg(target_os = "linux")]
pub(super) fn read_ahead(file: &File, offset: u64, length: u64) {
    let length = std::num::NonZeroU64::new(length);
    let _: Result<(), Errno> = rustix::fs::fadvise(file, offset, length, rustix::fs::Advice::WillNeed);
}

#[cfg(not(target_os = "linux"))]
pub(super) fn read_ahead(_file: &File, _offset: u64, _length: u64) {}

//! Which disk a folder lies on, and whether that disk turns, by what the system says of its mounts. Elsewhere than on Linux
//! the file system is asked, and no disk turns.

use std::path::{Component, Path, PathBuf};

/// The table of mounts as it was a moment ago.
#[derive(Debug)]
pub(in crate::disk) struct Mounts(Vec<Mount>);

#[derive(Debug)]
struct Mount {
    at: PathBuf,
    device: u64,
    /// Where a block device stands behind it by name alone, as with btrfs: that name.
    source: Option<PathBuf>,
}

/// A path from the root, without `.` and `..`. Links are not followed: that would ask the disk.
fn absolute(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut plain = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => _ = plain.pop(),
            Component::CurDir => (),
            part => plain.push(part),
        }
    }
    plain
}

impl Mounts {
    /// Reads the table.
    #[cfg(target_os = "linux")]
    pub(in crate::disk) fn read() -> Self {
        let table = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
        Self::parse(&table)
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::disk) fn read() -> Self {
        Self(Vec::new())
    }

    /// Reads lines of `mountinfo`: `36 35 98:0 /root /at options - type source …` (proc(5)).
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "there is no such table")
    )]
    fn parse(table: &[u8]) -> Self {
        let lines = table.split(|byte| *byte == b'\n');
        Self(lines.filter_map(Mount::parse).collect())
    }

    /// A number for the disk below this folder: that of the mount whose path goes furthest along.
    pub(in crate::disk) fn device_of(&self, folder: &Path) -> u64 {
        let folder = absolute(folder);
        // Of several mounts at one place, the last hides the others.
        let below = self.0.iter().filter(|mount| folder.starts_with(&mount.at));
        let nearest = below.max_by_key(|mount| mount.at.components().count());
        nearest.map_or_else(|| fallback(&folder), |mount| mount.device)
    }

    /// Does this disk turn?
    #[cfg(target_os = "linux")]
    pub(in crate::disk) fn spins(&self, device: u64) -> bool {
        use rustix::fs::{major, minor};
        use std::os::unix::fs::MetadataExt as _;

        let mount = self.0.iter().find(|mount| mount.device == device);
        let source = mount.and_then(|mount| mount.source.as_ref());
        let block = source.and_then(|source| Some(source.metadata().ok()?.rdev()));
        let device = block.filter(|block| *block > 0).unwrap_or(device);
        let folder = PathBuf::from(format!("/sys/dev/block/{}:{}", major(device), minor(device)));
        // A partition has no queue of its own; its disk's folder is above it.
        let queues = ["queue/rotational", "../queue/rotational"].map(|queue| {
            let folder = folder.canonicalize().unwrap_or_else(|_| folder.clone());
            std::fs::read_to_string(folder.join(queue))
        });
        queues
            .into_iter()
            .find_map(Result::ok)
            .is_some_and(|says| says.trim() == "1")
    }

    #[cfg(not(target_os = "linux"))]
    pub(in crate::disk) fn spins(&self, _device: u64) -> bool {
        false
    }
}

/// Asks the file system of the nearest folder that is there.
fn fallback(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let there = folder.ancestors().find_map(|folder| folder.metadata().ok());
    there.map_or(0, |facts| facts.dev())
}

impl Mount {
    fn parse(line: &[u8]) -> Option<Self> {
        use std::os::unix::ffi::OsStringExt as _;
        let mut fields = line.split(|byte| *byte == b' ');
        let number = std::str::from_utf8(fields.nth(2)?).ok()?;
        let (major, minor) = number.split_once(':')?;
        let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
        let at = PathBuf::from(std::ffi::OsString::from_vec(unescaped(fields.nth(1)?)));
        let mut rest = fields.skip_while(|field| *field != b"-").skip(2);
        let source = rest.next().filter(|source| source.starts_with(b"/dev/"));
        let source = source.map(|source| PathBuf::from(std::ffi::OsString::from_vec(unescaped(source))));
        Some(Self { at, device, source })
    }
}

/// Spaces and the like stand as `\040` in the table.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let (mut plain, mut rest) = (Vec::with_capacity(field.len()), field);
    while let Some((first, after)) = rest.split_first() {
        let octal = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let byte = octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        plain.push(byte.unwrap_or(*first));
        rest = if byte.is_some() {
            after.get(3..).unwrap_or_default()
        } else {
            after
        };
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw
30 22 8:17 / /media/old\\040photos rw - ext4 /dev/sdb1 rw
31 30 0:55 / /media/old\\040photos/nas rw master:3 - nfs4 nas:/x rw
nonsense
";

    #[test]
    fn a_folder_lies_on_the_mount_nearest_above_it() {
        let mounts = Mounts::parse(TABLE.as_bytes());
        let number = |path: &str| {
            let device = mounts.device_of(Path::new(path));
            (rustix::fs::major(device), rustix::fs::minor(device))
        };
        assert_eq!(number("/home/me"), (8, 2));
        assert_eq!(number("/media/old photos/2003"), (8, 17));
        assert_eq!(number("/media/old photosx"), (8, 2));
        assert_eq!(number("/media/old photos/nas/a/b"), (0, 55));
        assert_eq!(number("/media/old photos/nas/../x"), (8, 17));
    }

    #[test]
    fn every_folder_of_this_machine_lies_somewhere() {
        let mounts = Mounts::read();
        let here = tempfile::tempdir().unwrap();
        let device = mounts.device_of(here.path());
        assert_eq!(device, mounts.device_of(&here.path().join("not/yet/there")));
    }
}

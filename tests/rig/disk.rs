//! A disk that is small, and can be made larger or read-only while a program writes to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in memory. It is gone when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// Mounts one at a folder, which is made.
    #[track_caller]
    pub fn mount(path: &Path, bytes: u64) -> Self {
        std::fs::create_dir_all(path).expect("a folder to mount at");
        mount(&["-t", "tmpfs", "-o", &format!("size={bytes}"), "kinswarm"], path);
        Self {
            path: path.to_owned(),
        }
    }

    /// Makes room, or takes it away.
    #[track_caller]
    pub fn resize(&self, bytes: u64) {
        mount(&["-o", &format!("remount,size={bytes}")], &self.path);
    }

    #[track_caller]
    pub fn make_read_only(&self) {
        mount(&["-o", "remount,ro"], &self.path);
    }

    #[track_caller]
    pub fn make_writable(&self) {
        mount(&["-o", "remount,rw"], &self.path);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.path).status();
    }
}

#[track_caller]
fn mount(words: &[&str], path: &Path) {
    let output = Command::new("mount")
        .args(words)
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .expect("`mount` is there");
    assert!(
        output.status.success(),
        "these tests mount small disks, which needs root: mount {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

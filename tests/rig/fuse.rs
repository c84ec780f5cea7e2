//! A disk with moods: a FUSE file system that passes everything on to a folder, until it is told to hang, to fail or to be
//! full. Needs root and `/dev/fuse`.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

/// Nothing is believed longer than this by the system.
const NO_TIME: Duration = Duration::ZERO;

/// How the disk is at present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mood {
    #[default]
    Fine,
    /// Nothing is answered before the mood changes.
    Stalled,
    /// Writing file content fails with EIO.
    FailsWrites,
    /// Writing file content fails with ENOSPC.
    Full,
}

#[derive(Debug, Default)]
struct State {
    mood: Mood,
    /// Requests that were held up by a stall so far.
    held: u64,
    /// Files of this name cannot be read.
    unreadable: Option<OsString>,
}

#[derive(Debug, Default)]
struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Switch {
    /// Waits while the disk hangs; says how it is then.
    fn pass(&self) -> Mood {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.mood == Mood::Stalled {
            state.held += 1;
            self.changed.notify_all();
        }
        while state.mood == Mood::Stalled {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.mood
    }

    fn is_spoiled(&self, path: &Path) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unreadable.is_some() && path.file_name() == state.unreadable.as_deref()
    }
}

/// The disk, mounted. It is gone when this is dropped; the folder behind it stays.
#[derive(Debug)]
pub struct MoodyDisk {
    switch: Arc<Switch>,
    _session: BackgroundSession,
}

impl MoodyDisk {
    /// Mounts one at a folder, which is made, over another that holds the files.
    #[track_caller]
    pub fn mount(at: &Path, behind: &Path) -> Self {
        for folder in [at, behind] {
            fs::create_dir_all(folder).expect("a folder to mount at");
        }
        let switch = Arc::new(Switch::default());
        let files = Passing {
            switch: Arc::clone(&switch),
            nodes: Mutex::new(Nodes {
                paths: BTreeMap::from([(1, behind.to_owned())]),
                next: 2,
            }),
        };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("moody".to_owned())];
        let session = fuser::spawn_mount(files, at, &config)
            .expect("these tests mount disks of their own, which needs root and /dev/fuse");
        Self {
            switch,
            _session: session,
        }
    }

    /// From now on it is like this.
    pub fn set(&self, mood: Mood) {
        let mut state = self.switch.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.mood = mood;
        self.switch.changed.notify_all();
    }

    /// From now on reading files of this name fails with EIO, or no read does.
    pub fn spoil(&self, name: Option<&str>) {
        let mut state = self.switch.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.unreadable = name.map(OsString::from);
    }

    /// Waits until somebody hangs on it.
    #[track_caller]
    pub fn wait_until_somebody_hangs(&self, limit: Duration) {
        let state = self.switch.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .switch
            .changed
            .wait_timeout_while(state, limit, |state| state.held == 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        assert!(state.held > 0, "nobody came to the disk within {limit:?}");
    }
}

impl Drop for MoodyDisk {
    fn drop(&mut self) {
        // Whoever hangs is let go, or the disk could not be unmounted.
        self.set(Mood::Fine);
    }
}

#[derive(Debug)]
struct Nodes {
    paths: BTreeMap<u64, PathBuf>,
    next: u64,
}

#[derive(Debug)]
struct Passing {
    switch: Arc<Switch>,
    nodes: Mutex<Nodes>,
}

impl Passing {
    fn path(&self, node: INodeNo) -> PathBuf {
        let nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.paths.get(&node.0).cloned().unwrap_or_default()
    }

    fn child(&self, parent: INodeNo, name: &OsStr) -> PathBuf {
        self.path(parent).join(name)
    }

    fn facts(&self, path: &Path) -> io::Result<FileAttr> {
        let facts = fs::symlink_metadata(path)?;
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        let known = nodes.paths.iter().find(|(_, known)| *known == path);
        if let Some((node, _)) = known {
            return Ok(attributes(*node, &facts));
        }
        let node = nodes.next;
        nodes.next += 1;
        nodes.paths.insert(node, path.to_owned());
        Ok(attributes(node, &facts))
    }
}

fn attributes(node: u64, facts: &Metadata) -> FileAttr {
    let time = |seconds: i64, nanos: i64| {
        UNIX_EPOCH + Duration::new(seconds.unsigned_abs(), u32::try_from(nanos).unwrap_or(0))
    };
    FileAttr {
        ino: INodeNo(node),
        size: facts.size(),
        blocks: facts.blocks(),
        atime: time(facts.atime(), facts.atime_nsec()),
        mtime: time(facts.mtime(), facts.mtime_nsec()),
        ctime: time(facts.ctime(), facts.ctime_nsec()),
        crtime: UNIX_EPOCH,
        kind: if facts.is_dir() {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: u16::try_from(facts.permissions().mode() & 0o7777).unwrap_or(0),
        nlink: u32::try_from(facts.nlink()).unwrap_or(1),
        uid: facts.uid(),
        gid: facts.gid(),
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn errno(error: io::Error) -> Errno {
    Errno::from(error)
}

impl Filesystem for Passing {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.switch.pass();
        match self.facts(&self.child(parent, name)) {
            Ok(facts) => reply.entry(&NO_TIME, &facts, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.switch.pass();
        match self.facts(&self.path(node)) {
            Ok(facts) => reply.attr(&NO_TIME, &facts),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        self.switch.pass();
        let path = self.path(node);
        let cut = size.map_or(Ok(()), |size| {
            OpenOptions::new().write(true).open(&path)?.set_len(size)
        });
        match cut.and_then(|()| self.facts(&path)) {
            Ok(facts) => reply.attr(&NO_TIME, &facts),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        self.switch.pass();
        let path = self.child(parent, name);
        match fs::create_dir(&path).and_then(|()| self.facts(&path)) {
            Ok(facts) => reply.entry(&NO_TIME, &facts, Generation(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.switch.pass();
        answer(fs::remove_file(self.child(parent, name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.switch.pass();
        answer(fs::remove_dir(self.child(parent, name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        new_parent: INodeNo,
        new_name: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.switch.pass();
        let renamed = fs::rename(self.child(parent, name), self.child(new_parent, new_name));
        answer(renamed, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.switch.pass();
        // Every read comes here: no page cache hides a mood.
        reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO);
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        self.switch.pass();
        let path = self.child(parent, name);
        match File::create(&path).and_then(|_| self.facts(&path)) {
            Ok(facts) => reply.created(
                &NO_TIME,
                &facts,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let path = self.path(node);
        self.switch.pass();
        if self.switch.is_spoiled(&path) {
            return reply.error(Errno::EIO);
        }
        let mut buffer = vec![0; size as usize];
        match File::open(path).and_then(|file| file.read_at(&mut buffer, offset)) {
            Ok(length) => reply.data(buffer.get(..length).unwrap_or_default()),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.switch.pass() {
            Mood::FailsWrites => return reply.error(Errno::EIO),
            Mood::Full => return reply.error(Errno::ENOSPC),
            _ => (),
        }
        let file = OpenOptions::new().write(true).open(self.path(node));
        match file.and_then(|file| file.write_all_at(data, offset)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(0)),
            Err(error) => reply.error(errno(error)),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.switch.pass();
        reply.ok();
    }

    fn fsync(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.switch.pass();
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        self.switch.pass();
        reply.statfs(1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}

fn answer(done: io::Result<()>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(errno(error)),
    }
}

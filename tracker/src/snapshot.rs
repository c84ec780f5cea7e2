//! The snapshot of the swarms: one file of the data folder, replaced whole, so that a restarted tracker answers with peers at
//! once. In private mode `members::books` writes it together with a flush; in public mode a [`Keeper`] does. It holds
//! addresses, so it is the owner's alone, and none is kept beside the newest.
//!
//! ```text
//! "kinswarm" 1 mode ── generation, date, checksum ── chunk (length, checksum, bytes) … ── end (zero, count)
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use shared::moment::Moment;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::members::ids::Date;
use crate::swarm::{SHARD_COUNT, SnapshotError, Swarms};

const NAME: &str = "snapshot";
const MAGIC: &[u8; 8] = b"kinswarm";
const VERSION: u8 = 1;

/// A last snapshot may take this long; both programs promise to be gone after 5 s.
pub(crate) const LAST_WORDS: Duration = Duration::from_secs(3);

/// Whose swarms they are; the two kinds have nothing in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Public,
    Private,
}

/// What stands before the swarms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) mode: Mode,
    /// The flush that it was made with; 0 in public mode.
    pub(crate) generation: u64,
    pub(crate) date: Date,
}

impl Head {
    fn to_bytes(self) -> [u8; 28] {
        let mut bytes = [0; 28];
        let mode = match self.mode {
            Mode::Public => 0,
            Mode::Private => 1,
        };
        let parts = [
            MAGIC.as_slice(),
            &[VERSION, mode, 0, 0],
            &self.generation.to_le_bytes(),
            &self.date.0.to_le_bytes(),
        ];
        for (place, byte) in bytes.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        if let Some((body, checksum)) = bytes.split_last_chunk_mut::<4>() {
            *checksum = crc32fast::hash(body).to_le_bytes();
        }
        bytes
    }

    fn read(source: &mut impl Read) -> Result<Self, Fault> {
        let mut bytes = [0; 28];
        source.read_exact(&mut bytes)?;
        let [magic @ .., _, _, _, _] = bytes;
        let Some((MAGIC, rest)) = magic.split_first_chunk::<8>() else {
            return Err(Fault::NoSnapshot);
        };
        let [version, mode, _, _, rest @ ..] = rest else {
            return Err(Fault::NoSnapshot);
        };
        if *version != VERSION {
            return Err(Fault::Content(SnapshotError::Version(*version)));
        }
        let head = rest.split_first_chunk::<8>().zip(rest.last_chunk::<4>());
        let Some(((generation, _), date)) = head else {
            return Err(Fault::NoSnapshot);
        };
        let head = Self {
            mode: if *mode == 0 { Mode::Public } else { Mode::Private },
            generation: u64::from_le_bytes(*generation),
            date: Date(u32::from_le_bytes(*date)),
        };
        // Written again it must be the same, checksum included.
        if head.to_bytes() == bytes {
            Ok(head)
        } else {
            Err(Fault::Checksum)
        }
    }
}

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("it is no snapshot")]
    NoSnapshot,
    #[error("a checksum is wrong")]
    Checksum,
    #[error("it ends too early")]
    Cut,
    #[error("something follows its end")]
    Trailing,
    #[error(transparent)]
    Content(#[from] SnapshotError),
    #[error("{0}")]
    Disk(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Cut,
            _ => Self::Disk(error),
        }
    }
}

/// A snapshot on its way into anything that takes bytes.
#[derive(Debug)]
struct Writer<W> {
    out: W,
    chunks: u32,
}

impl<W: Write> Writer<W> {
    fn begin(mut out: W, head: Head) -> io::Result<Self> {
        out.write_all(&head.to_bytes())?;
        Ok(Self { out, chunks: 0 })
    }

    fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
        self.out.write_all(&length.to_le_bytes())?;
        self.out.write_all(&crc32fast::hash(bytes).to_le_bytes())?;
        self.chunks += 1;
        self.out.write_all(bytes)
    }

    fn end(mut self) -> io::Result<W> {
        self.out.write_all(&0_u32.to_le_bytes())?;
        self.out.write_all(&self.chunks.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Reads chunks up to the end, which must be one. `room` is how many bytes there can be: no length beyond it is believed.
fn read_chunks(
    source: &mut impl Read,
    room: u64,
    mut each: impl FnMut(&[u8]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    loop {
        let (length, checksum) = (read_number(source)?, read_number(source)?);
        if length == 0 {
            return match source.read(&mut [0])? {
                0 if checksum == count => Ok(()),
                0 => Err(Fault::Cut),
                _ => Err(Fault::Trailing),
            };
        }
        if u64::from(length) > room {
            return Err(Fault::Cut);
        }
        bytes.clear();
        source.by_ref().take(u64::from(length)).read_to_end(&mut bytes)?;
        if bytes.len() != usize::try_from(length).unwrap_or(usize::MAX) {
            return Err(Fault::Cut);
        }
        if crc32fast::hash(&bytes) != checksum {
            return Err(Fault::Checksum);
        }
        count += 1;
        each(&bytes)?;
    }
}

fn read_number(source: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    source.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

/// A snapshot that is being written beside the one in force. Dropped before [`Draft::publish`], it goes.
#[derive(Debug)]
pub(crate) struct Draft {
    path: PathBuf,
    folder: PathBuf,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Draft {
    pub(crate) fn create(folder: &Path, head: Head) -> io::Result<Self> {
        let path = folder.join("snapshot.new");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let out = BufWriter::with_capacity(1 << 18, options.open(&path)?);
        Ok(Self {
            path,
            folder: folder.to_owned(),
            writer: Some(Writer::begin(out, head)?),
        })
    }

    pub(crate) fn chunk(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.as_mut().map_or(Ok(()), |writer| writer.chunk(bytes))
    }

    /// Writes the end and waits for the disk; nothing can be added.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        writer
            .end()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()
    }

    /// Puts it in the place of the last one.
    pub(crate) fn publish(self) -> io::Result<()> {
        fs::rename(&self.path, self.folder.join(NAME))?;
        File::open(&self.folder)?.sync_all()
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After `publish` there is nothing of that name; otherwise half a snapshot must not stay.
        let _ = fs::remove_file(&self.path);
    }
}

/// A snapshot whose every byte has been found good.
#[derive(Debug)]
pub(crate) struct Saved {
    pub(crate) head: Head,
    file: BufReader<File>,
    room: u64,
}

impl Saved {
    /// Finds the snapshot of a folder and reads it through once. None where there is none of this mode; a damaged one is
    /// named in the log and put aside.
    pub(crate) fn find(folder: &Path, mode: Mode) -> Option<Self> {
        let path = folder.join(NAME);
        match Self::open(&path) {
            Ok(saved) if saved.head.mode == mode => Some(saved),
            Ok(_) => {
                info!(path = %path.display(), "the snapshot is of the tracker's other mode and will be replaced");
                None
            }
            Err(Fault::Disk(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(fault) => {
                put_aside(folder, &fault);
                None
            }
        }
    }

    fn open(path: &Path) -> Result<Self, Fault> {
        let file = File::open(path)?;
        let room = file.metadata()?.len();
        let mut file = BufReader::with_capacity(1 << 18, file);
        let head = Head::read(&mut file)?;
        read_chunks(&mut file, room, |_| Ok(()))?;
        Ok(Self { head, file, room })
    }

    /// Hands out every chunk.
    pub(crate) fn read(
        mut self,
        mut each: impl FnMut(&[u8]) -> Result<(), SnapshotError>,
    ) -> Result<(), Fault> {
        io::Seek::rewind(&mut self.file)?;
        Head::read(&mut self.file)?;
        read_chunks(&mut self.file, self.room, |bytes| Ok(each(bytes)?))
    }
}

/// Names a damaged snapshot in the log and moves it aside, for whoever wants to look at it.
pub(crate) fn put_aside(folder: &Path, fault: &Fault) {
    let (path, aside) = (folder.join(NAME), folder.join("snapshot.damaged"));
    warn!(path = %path.display(), %fault, aside = %aside.display(), "the snapshot is damaged; starting without it");
    if let Err(error) = fs::rename(&path, &aside) {
        warn!(path = %path.display(), %error, "the damaged snapshot cannot be moved aside");
    }
}

/// How snapshots have gone.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    failures: AtomicU64,
    /// When the one in force was made, in milliseconds since the start and one; zero for never.
    made: AtomicU64,
}

impl Tally {
    pub(crate) fn made(&self, at: Moment) {
        self.made.store(at.as_millis() + 1, Relaxed);
    }

    /// Counts a failure; said once, until one succeeds.
    pub(crate) fn failed(&self, error: &io::Error) {
        self.failures.fetch_add(1, Relaxed);
        warn!(%error, "the snapshot cannot be written; the one before stays");
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Relaxed)
    }

    pub(crate) fn age(&self, now: Moment) -> Option<Duration> {
        let made = self.made.load(Relaxed).checked_sub(1)?;
        Some(now.since(Moment::from_millis(made)))
    }
}

/// Keeps the swarms of public mode over restarts.
#[derive(Debug)]
pub struct Keeper {
    folder: PathBuf,
    swarms: Arc<Swarms>,
    clock: Clock,
    tally: Tally,
}

impl Keeper {
    /// Brings the swarms back, with honest ages. Whatever is wrong with the snapshot is said in the log, and the tracker starts
    /// without it. Reads a file: not for an async thread.
    pub fn open(folder: PathBuf, swarms: Arc<Swarms>, clock: Clock) -> Arc<Self> {
        let keeper = Self {
            folder,
            swarms,
            clock,
            tally: Tally::default(),
        };
        if let Some(saved) = Saved::find(&keeper.folder, Mode::Public) {
            keeper.restore(saved);
        }
        Arc::new(keeper)
    }

    fn restore(&self, saved: Saved) {
        let (age, mut peers) = (self.clock.date().since(saved.head.date), 0);
        let read = saved.read(|bytes| {
            peers += self.swarms.restore(bytes, age, self.clock.now())?;
            Ok(())
        });
        match read {
            Ok(()) => info!(
                peers,
                age_secs = age.as_secs(),
                "the swarms are back from the snapshot"
            ),
            Err(fault) => put_aside(&self.folder, &fault),
        }
    }

    /// Writes one now. Not for an async thread.
    pub fn write(&self) -> io::Result<()> {
        let head = Head {
            mode: Mode::Public,
            generation: 0,
            date: self.clock.date(),
        };
        let made = self.clock.now();
        let mut draft = Draft::create(&self.folder, head)?;
        let mut bytes = Vec::new();
        for shard in 0..SHARD_COUNT {
            bytes.clear();
            self.swarms.snapshot_shard(shard, self.clock.now(), &mut bytes);
            draft.chunk(&bytes)?;
        }
        draft.finish()?;
        draft.publish()?;
        self.tally.made(made);
        Ok(())
    }

    /// Writes them at an interval, and the last one when told to stop: within 3 s, or not at all.
    pub async fn run(self: Arc<Self>, every: Duration, stop: CancellationToken) {
        while stop
            .run_until_cancelled(tokio::time::sleep(every))
            .await
            .is_some()
        {
            Arc::clone(&self).try_write().await;
        }
        if tokio::time::timeout(LAST_WORDS, self.try_write()).await.is_err() {
            warn!("the last snapshot was not written in time; the one before stays");
        }
    }

    async fn try_write(self: Arc<Self>) {
        let keeper = Arc::clone(&self);
        let written = tokio::task::spawn_blocking(move || keeper.write()).await;
        if let Err(error) = written.map_err(io::Error::other).flatten() {
            self.tally.failed(&error);
        }
    }

    /// How many could not be written.
    pub fn failures(&self) -> u64 {
        self.tally.failures()
    }

    /// Since the one in force was made, by this process.
    pub fn age(&self) -> Option<Duration> {
        self.tally.age(self.clock.now())
    }
}

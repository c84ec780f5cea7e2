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

    /// Counts a failure and says so.
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rand::SeedableRng as _;
    use rand::rngs::SmallRng;
    use shared::announce::AnnounceRequest;
    use shared::id::{InfoHash, PeerId};

    use super::*;
    use crate::swarm::{Policy, SwarmLimits, Visit};

    const HEAD: Head = Head {
        mode: Mode::Private,
        generation: 7,
        date: Date(1_000),
    };

    /// Lets so many bytes through, and is full then.
    struct Full(Vec<u8>, usize);

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.1 - self.0.len());
            if fits == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.0.extend(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn write(out: impl Write, chunks: &[&[u8]]) -> io::Result<()> {
        let mut writer = Writer::begin(out, HEAD)?;
        for chunk in chunks {
            writer.chunk(chunk)?;
        }
        writer.end().map(drop)
    }

    fn publish(folder: &Path, chunks: &[&[u8]]) {
        let mut draft = Draft::create(folder, HEAD).unwrap();
        for chunk in chunks {
            draft.chunk(chunk).unwrap();
        }
        draft.finish().unwrap();
        draft.publish().unwrap();
    }

    fn chunks(saved: Saved) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        let each = |bytes: &[u8]| {
            chunks.push(bytes.to_vec());
            Ok(())
        };
        saved.read(each).unwrap();
        chunks
    }

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_snapshot_comes_back_as_it_was_and_belongs_to_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Saved::find(folder.path(), Mode::Private).is_none());
        publish(folder.path(), &[b"one", b"", b"three"]);
        let saved = Saved::find(folder.path(), Mode::Private).unwrap();
        assert_eq!(saved.head, HEAD);
        assert_eq!(chunks(saved), [b"one".to_vec(), b"three".to_vec()]);
        assert_eq!(names(folder.path()), ["snapshot"]);
        let mode = fs::metadata(folder.path().join(NAME))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn until_the_new_one_is_whole_the_old_one_stays() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &[b"old"]);
        let mut draft = Draft::create(folder.path(), HEAD).unwrap();
        draft.chunk(b"half").unwrap();
        drop(draft);
        assert_eq!(names(folder.path()), ["snapshot"]);
        assert_eq!(
            chunks(Saved::find(folder.path(), Mode::Private).unwrap()),
            [b"old"]
        );
    }

    #[test]
    fn wherever_the_disk_becomes_full_it_is_an_error() {
        let mut whole = Vec::new();
        write(&mut whole, &[b"one", b"two"]).unwrap();
        for room in 0..whole.len() {
            write(Full(Vec::new(), room), &[b"one", b"two"]).unwrap_err();
        }
        write(Full(Vec::new(), whole.len()), &[b"one", b"two"]).unwrap();
    }

    #[test]
    fn any_damage_is_found_and_the_snapshot_put_aside() {
        let mut whole = Vec::new();
        write(&mut whole, &[b"one", b"two"]).unwrap();
        let mut bad: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x11;
            bad.push(bytes);
        }
        bad.push([whole.as_slice(), b"more"].concat());
        for bytes in bad {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(NAME), &bytes).unwrap();
            assert!(Saved::find(folder.path(), Mode::Private).is_none(), "{bytes:?}");
            assert_eq!(names(folder.path()), ["snapshot.damaged"]);
        }
    }

    #[test]
    fn a_snapshot_of_the_other_mode_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        publish(folder.path(), &[b"one"]);
        assert!(Saved::find(folder.path(), Mode::Public).is_none());
        assert_eq!(names(folder.path()), ["snapshot"]);
    }

    fn announce(swarms: &Swarms, torrent: u8, now: Moment) {
        let mut request = AnnounceRequest::new(InfoHash([torrent; 20]), PeerId([0; 20]), 6881);
        request.left = 1;
        let visit = Visit {
            now,
            request: &request,
            sender: [198, 51, 100, 1].into(),
            reached: None,
            policy: &Policy::default(),
        };
        swarms.announce(&visit, &mut SmallRng::seed_from_u64(1), &mut Vec::new());
    }

    fn swarms() -> Arc<Swarms> {
        Arc::new(Swarms::new(SwarmLimits::default(), [1, 2, 3, 4]))
    }

    #[tokio::test(start_paused = true)]
    async fn public_swarms_come_back_with_their_ages_and_the_last_snapshot_is_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let clock = Clock::start_at(Date(1_000));
        let keeper = Keeper::open(folder.path().to_owned(), swarms(), clock);
        assert_eq!((keeper.age(), keeper.failures()), (None, 0));
        (0..100).for_each(|torrent| announce(&keeper.swarms, torrent, clock.now()));
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&keeper).run(Duration::from_secs(300), stop.clone()));
        tokio::time::sleep(Duration::from_secs(100)).await;
        announce(&keeper.swarms, 200, clock.now());
        stop.cancel();
        running.await.unwrap();
        assert_eq!(keeper.age(), Some(Duration::ZERO));

        // Ten minutes later in another process.
        let later = Clock::start_at(Date(1_700));
        let restored = Keeper::open(folder.path().to_owned(), swarms(), later);
        assert_eq!(restored.swarms.totals().peers(), 101);
        let timeout = Duration::from_secs(650);
        for shard in 0..SHARD_COUNT {
            restored.swarms.sweep_shard(shard, later.now(), timeout);
        }
        assert_eq!(restored.swarms.totals().peers(), 1);
    }

    #[tokio::test]
    async fn a_damaged_snapshot_of_public_swarms_is_no_reason_not_to_start() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(NAME), "no snapshot at all").unwrap();
        let keeper = Keeper::open(folder.path().to_owned(), swarms(), Clock::start());
        assert_eq!(keeper.swarms.totals().peers(), 0);
        assert_eq!(names(folder.path()), ["snapshot.damaged"]);
    }

    #[tokio::test]
    async fn where_it_cannot_be_written_it_is_counted() {
        let keeper = Keeper::open("/nowhere/at/all".into(), swarms(), Clock::start());
        Arc::clone(&keeper).try_write().await;
        assert_eq!((keeper.failures(), keeper.age()), (1, None));
    }
}

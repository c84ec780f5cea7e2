//! The disks of the process, and how much each may do at a time. A disk that hangs keeps the threads and the memory that
//! were lent to it, and no others: what lies on another disk goes on. Which disk a folder lies on is read from the
//! system's table of mounts, without a word to the disk itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use shared::moment::Moment;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::os::{self, Mounts};
use crate::clock::Clock;

/// Threads that may wait for disks in the whole process; the runtime has 512 for everything that waits.
const THREADS_MAX: usize = 256;

/// Reads for uploads that may wait for one disk at a time: enough for it to choose a good order.
const READS_MAX: usize = 16;

/// Disks that are told apart; more share the last one's bounds.
const DEVICES_MAX: usize = 64;

/// The table of mounts is read again after so long.
const MOUNTS_AGE: Duration = Duration::from_secs(1);

/// All disks.
#[derive(Debug)]
pub(crate) struct Devices {
    clock: Clock,
    /// Threads that wait for a disk, of all of them.
    threads: Arc<Semaphore>,
    /// Bytes between socket and disk in the process, in units that the owner chose.
    credits: Arc<Semaphore>,
    credits_max: usize,
    known: Mutex<Known>,
    pub(crate) counts: Arc<Counts>,
}

/// What is counted of all disks.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    right: AtomicU64,
    wrong: AtomicU64,
    silences: AtomicU64,
    /// Downloads that wait for memory.
    waiting: AtomicU64,
    queued: AtomicU64,
}

impl Counts {
    /// Is memory lent to one download missing to another?
    pub(crate) fn is_memory_short(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// A piece was hashed.
    pub(super) fn hashed(&self, right: bool) {
        let count = if right { &self.right } else { &self.wrong };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// A disk has been silent for too long.
    pub(crate) fn silence(&self) {
        self.silences.fetch_add(1, Ordering::Relaxed);
    }

    /// Pieces that were hashed and right, and that were wrong.
    pub(crate) fn pieces(&self) -> (u64, u64) {
        (
            self.right.load(Ordering::Relaxed),
            self.wrong.load(Ordering::Relaxed),
        )
    }

    /// How often a disk was silent for too long.
    pub(crate) fn silences(&self) -> u64 {
        self.silences.load(Ordering::Relaxed)
    }

    /// Jobs and reads that stand in line for a disk.
    pub(crate) fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }
}

/// One who stands in line, also if he goes away.
struct Queued<'a>(&'a AtomicU64);

impl<'a> Queued<'a> {
    fn new(line: &'a AtomicU64) -> Self {
        line.fetch_add(1, Ordering::Relaxed);
        Self(line)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Known {
    mounts: Option<(Moment, Mounts)>,
    devices: BTreeMap<u64, Arc<Device>>,
}

/// One disk.
#[derive(Debug)]
pub(crate) struct Device {
    /// It turns: two who read it at a time are slower than one after the other.
    spins: bool,
    threads: Arc<Semaphore>,
    jobs: Arc<Semaphore>,
    reads: Arc<Semaphore>,
    checks: Arc<Semaphore>,
    /// What the process lends, and what this disk may hold of it.
    credits: Arc<Semaphore>,
    share: Arc<Semaphore>,
    counts: Arc<Counts>,
}

/// The right to let one thread wait for a disk.
#[derive(Debug)]
pub(crate) struct Turn {
    _disk: OwnedSemaphorePermit,
    _process: OwnedSemaphorePermit,
}

/// Memory for blocks on their way to one disk. It goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Credit {
    lent: OwnedSemaphorePermit,
    _share: OwnedSemaphorePermit,
}

impl Credit {
    /// In the units in which the process lends.
    pub(crate) fn units(&self) -> usize {
        self.lent.num_permits()
    }
}

impl Devices {
    /// `credits` units of memory are lent to all disks together.
    pub(crate) fn new(clock: Clock, credits: usize) -> Self {
        Self {
            clock,
            threads: Arc::new(Semaphore::new(THREADS_MAX)),
            credits: Arc::new(Semaphore::new(credits)),
            credits_max: credits,
            known: Mutex::default(),
            counts: Arc::default(),
        }
    }

    pub(super) fn now(&self) -> Moment {
        self.clock.now()
    }

    /// Units of memory that are lent, and how many there are.
    pub(crate) fn lent(&self) -> (usize, usize) {
        let free = self.credits.available_permits();
        (self.credits_max.saturating_sub(free), self.credits_max)
    }

    /// The disk on which this folder lies, or will lie. Does not wait for it.
    pub(crate) fn of(&self, folder: &Path) -> Arc<Device> {
        let now = self.clock.now();
        let mut guard = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let known = &mut *guard;
        let fresh = |read: &(Moment, Mounts)| now.since(read.0) < MOUNTS_AGE;
        let (_, mounts) = match known.mounts.take().filter(fresh) {
            Some(read) => known.mounts.insert(read),
            None => known.mounts.insert((now, Mounts::read())),
        };
        let number = mounts.device_of(folder);
        if let Some(device) = known.devices.get(&number) {
            return Arc::clone(device);
        }
        if known.devices.len() >= DEVICES_MAX
            && let Some(last) = known.devices.values().next_back()
        {
            return Arc::clone(last);
        }
        let device = Arc::new(Device::new(self, mounts.spins(number)));
        known.devices.insert(number, Arc::clone(&device));
        device
    }
}

impl Device {
    fn new(all: &Devices, spins: bool) -> Self {
        let cores = os::cores();
        Self {
            spins,
            threads: Arc::clone(&all.threads),
            jobs: Arc::new(Semaphore::new(cores.max(2))),
            reads: Arc::new(Semaphore::new(READS_MAX)),
            checks: Arc::new(Semaphore::new(if spins { 1 } else { cores })),
            credits: Arc::clone(&all.credits),
            // Half: a disk that never answers leaves as much to the others.
            share: Arc::new(Semaphore::new((all.credits_max / 2).max(1))),
            counts: Arc::clone(&all.counts),
        }
    }

    /// How many may read it at the same time without being in each other's way.
    pub(crate) fn readers(&self) -> usize {
        if self.spins { 1 } else { os::cores() }
    }

    /// A turn to write, to hash what is written, or to look at files.
    pub(crate) async fn job(&self) -> Option<Turn> {
        self.turn(&self.jobs).await
    }

    /// A turn to read for somebody who waits.
    pub(crate) async fn read(&self) -> Option<Turn> {
        self.turn(&self.reads).await
    }

    /// A turn to read much of it.
    pub(crate) async fn check(&self) -> Option<Turn> {
        self.turn(&self.checks).await
    }

    async fn turn(&self, kind: &Arc<Semaphore>) -> Option<Turn> {
        let _queued = Queued::new(&self.counts.queued);
        Some(Turn {
            _disk: Arc::clone(kind).acquire_owned().await.ok()?,
            _process: Arc::clone(&self.threads).acquire_owned().await.ok()?,
        })
    }

    /// A share of the memory that is lent: a quarter of what is left, and at least `units_min`, so that there is always some
    /// for the next.
    pub(crate) async fn credit(&self, units_min: usize) -> Option<Credit> {
        let left = self
            .credits
            .available_permits()
            .min(self.share.available_permits());
        let units = u32::try_from((left / 4).max(units_min)).ok()?;
        let _queued = Queued::new(&self.counts.waiting);
        // First the disk's own bound: whoever waits for a disk that hangs must hold nothing that others wait for.
        let share = Arc::clone(&self.share).acquire_many_owned(units).await.ok()?;
        let memory = Arc::clone(&self.credits).acquire_many_owned(units).await.ok()?;
        Some(Credit {
            lent: memory,
            _share: share,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_known_that_a_download_waits_for_memory() {
        let devices = Devices::new(Clock::start(), 4);
        let (device, counts) = (devices.of(Path::new("/")), &devices.counts);
        let first = device.credit(2).await.unwrap();
        assert!(!counts.is_memory_short());
        {
            let mut second = std::pin::pin!(device.credit(2));
            tokio::select! {
                biased;
                _ = &mut second => panic!("there was none left"),
                () = std::future::ready(()) => (),
            }
            assert!(counts.is_memory_short());
            drop(first);
            assert!(second.await.is_some());
        }
        assert!(!counts.is_memory_short());
    }
}

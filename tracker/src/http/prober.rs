//! Tries in the background whether peers can be reached, so that those who can are given first. Never part of an announce: that
//! only leaves a suggestion, or none where the queue is full. Off unless the owner wants it, because it shows the tracker's
//! address to its peers. Only an address that a member has announced from is tried.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ahash::AHashMap;
use shared::moment::Moment;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::members::ids::{MemberId, TorrentId};

/// Suggestions that wait.
const QUEUE: usize = 1_024;

/// Between two tries: twenty a second look like no scan, and reach a thousand peers a minute.
const PAUSE: Duration = Duration::from_millis(50);

/// A peer that answers later is of little use to anyone.
const PATIENCE: Duration = Duration::from_secs(3);

/// Tries under way.
const TRIES: usize = 64;

/// A result holds for so long.
const FRESH: Duration = Duration::from_secs(30 * 60);

/// Results that are remembered.
const RESULTS: usize = 16_384;

/// An address of a member's peer in a torrent.
type Suggestion = (TorrentId, MemberId, SocketAddr);

/// Where suggestions are left.
#[derive(Debug)]
pub(crate) struct Prober {
    on: AtomicBool,
    queue: mpsc::Sender<Suggestion>,
    waiting: Mutex<Option<mpsc::Receiver<Suggestion>>>,
}

/// What was found out, of one address at a time.
#[derive(Debug, Default)]
struct Results(AHashMap<SocketAddr, (Moment, bool)>);

impl Results {
    fn fresh(&self, address: &SocketAddr, now: Moment) -> Option<bool> {
        let (when, reachable) = self.0.get(address)?;
        (now < *when + FRESH).then_some(*reachable)
    }

    fn note(&mut self, address: SocketAddr, now: Moment, reachable: bool) {
        if self.0.len() >= RESULTS {
            self.0.retain(|_, (when, _)| now < *when + FRESH);
        }
        if self.0.len() < RESULTS || self.0.contains_key(&address) {
            self.0.insert(address, (now, reachable));
        }
    }
}

impl Prober {
    pub(crate) fn new(on: bool) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        Arc::new(Self {
            on: AtomicBool::new(on),
            queue,
            waiting: Mutex::new(Some(waiting)),
        })
    }

    /// Begins or ends to try.
    pub(crate) fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    /// Leaves an address that a member has just announced from. Never waits.
    pub(crate) fn suggest(&self, torrent: TorrentId, member: MemberId, address: SocketAddr) {
        if self.on.load(Ordering::Relaxed) {
            // Where there is no room, the peer's next announce may have more luck.
            let _ = self.queue.try_send((torrent, member, address));
        }
    }

    /// Tries what was suggested until the tracker stops; `tell` learns every result, also those still fresh.
    pub(crate) async fn run(
        self: Arc<Self>,
        clock: Clock,
        tell: impl Fn(TorrentId, MemberId, SocketAddr, bool) + Send + Sync + 'static,
        stop: CancellationToken,
    ) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut waiting) = waiting else {
            return;
        };
        let (tell, results) = (Arc::new(tell), Arc::new(Mutex::new(Results::default())));
        let places = Arc::new(Semaphore::new(TRIES));
        let mut pauses = tokio::time::interval(PAUSE);
        pauses.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let trying = async {
            while let Some((torrent, member, address)) = waiting.recv().await {
                if let Some(known) = lock(&results).fresh(&address, clock.now()) {
                    tell(torrent, member, address, known);
                    continue;
                }
                let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                    return;
                };
                pauses.tick().await;
                let (tell, results) = (Arc::clone(&tell), Arc::clone(&results));
                tokio::spawn(async move {
                    let reachable = can_reach(address).await;
                    lock(&results).note(address, clock.now(), reachable);
                    tell(torrent, member, address, reachable);
                    drop(place);
                });
            }
        };
        tokio::select! {
            () = trying => (),
            () = stop.cancelled() => (),
        }
    }
}

fn lock(results: &Mutex<Results>) -> std::sync::MutexGuard<'_, Results> {
    results.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether somebody accepts a connection there. Nothing is said over it.
async fn can_reach(address: SocketAddr) -> bool {
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect(address));
    connecting.await.is_ok_and(|connected| connected.is_ok())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn who_listens_is_reachable_and_who_does_not_is_not() {
        let (open, closed) = (
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
            TcpListener::bind("127.0.0.1:0").await.unwrap(),
        );
        let (here, gone) = (open.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        let prober = Prober::new(true);
        let (sender, mut told) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let tell = move |torrent, _, address, reachable| sender.send((torrent, address, reachable)).unwrap();
        let running = tokio::spawn(Arc::clone(&prober).run(Clock::start(), tell, stop.clone()));
        for (address, reachable) in [(here, true), (gone, false)] {
            prober.suggest(TorrentId(1), MemberId(1), address);
            assert_eq!(told.recv().await, Some((TorrentId(1), address, reachable)));
        }
        // A result that is fresh serves another torrent too, whoever listens by now.
        drop(open);
        prober.suggest(TorrentId(2), MemberId(1), here);
        assert_eq!(told.recv().await, Some((TorrentId(2), here, true)));
        stop.cancel();
        running.await.unwrap();
    }

    #[tokio::test]
    async fn a_prober_that_is_off_or_busy_keeps_nobody_waiting() {
        let prober = Prober::new(false);
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        prober.suggest(TorrentId(1), MemberId(1), address);
        assert_eq!(prober.queue.capacity(), QUEUE);
        prober.switch(true);
        (0..2 * QUEUE).for_each(|_| prober.suggest(TorrentId(1), MemberId(1), address));
        assert_eq!(prober.queue.capacity(), 0);
    }

    #[test]
    fn results_age_and_are_bounded() {
        let mut results = Results::default();
        let address = |number: usize| SocketAddr::from(([127, 0, 0, 1], u16::try_from(number).unwrap()));
        (0..RESULTS + 9).for_each(|number| results.note(address(number), Moment::START, true));
        assert_eq!(results.0.len(), RESULTS);
        assert_eq!(results.fresh(&address(1), Moment::from_secs(1_799)), Some(true));
        assert_eq!(results.fresh(&address(1), Moment::from_secs(1_800)), None);
        results.note(address(RESULTS + 9), Moment::from_secs(1_800), false);
        assert_eq!(results.0.len(), 1);
    }
}

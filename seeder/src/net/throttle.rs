//! Rates are paid here: a [`Throttle`] is one bucket with a queue before it, [`Tolls`] is what one connection must pass in each
//! direction. Pipes wait here before bytes leave and before they are read; nothing else does. Without a limit a toll costs one
//! atomic load.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::torrent::bucket::Bucket;

/// Stands for "no limit" where the rate is kept.
const UNLIMITED: u64 = u64::MAX;

/// A grant is what flows in so many parts of a second: fine enough for fifty connections to share a small rate.
const GRANTS_A_SECOND: u64 = 20;
/// Smaller grants would cost more headers than bytes; larger ones fill no batch.
const GRANT_MIN: u64 = 64;
const GRANT_MAX: u64 = 256 * 1024;
/// What may pass at once after a pause: a quarter of a second's worth.
const BURSTS_A_SECOND: u64 = 4;

/// One limit, shared by all whom it holds for. They are served in the order of their coming, a grant at a time.
#[derive(Debug)]
pub(crate) struct Throttle {
    clock: Clock,
    rate: AtomicU64,
    bucket: Mutex<Bucket>,
    /// Held by whoever is first. Tokio's mutex is fair: who came first gets it first.
    turn: tokio::sync::Mutex<()>,
    /// The rate was changed: who waits must look again.
    changed: Notify,
}

impl Throttle {
    /// A limit in bytes a second, or none.
    pub(crate) fn new(clock: Clock, rate: Option<u64>) -> Self {
        let throttle = Self {
            clock,
            rate: AtomicU64::new(UNLIMITED),
            bucket: Mutex::new(Bucket::new(1, 1)),
            turn: tokio::sync::Mutex::default(),
            changed: Notify::new(),
        };
        throttle.set(rate);
        throttle
    }

    /// Another limit from now on, also for those who wait.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let rate = rate.map_or(UNLIMITED, |rate| rate.clamp(1, UNLIMITED - 1));
        if self.rate() == rate {
            return;
        }
        if rate != UNLIMITED {
            let now = self.clock.now();
            let mut bucket = self.bucket();
            if self.rate() == UNLIMITED {
                // What nobody counted is not saved up.
                *bucket = Bucket::new(rate, burst(rate));
                bucket.take(now, 0);
            } else {
                bucket.set_rate(now, rate, burst(rate));
            }
        }
        self.rate.store(rate, Ordering::Relaxed);
        // Only one waits at the bucket; the others wait for their turn.
        self.changed.notify_one();
    }

    /// Waits until some of these bytes may pass; says how many, at least one (none only of none).
    async fn pass(&self, want: u64) -> u64 {
        if want == 0 || self.rate() == UNLIMITED {
            return want;
        }
        let _turn = self.turn.lock().await;
        loop {
            let rate = self.rate();
            if rate == UNLIMITED {
                return want;
            }
            match self.try_take(want.min(grant(rate))) {
                Ok(granted) => return granted,
                Err(pause) => {
                    let _ = tokio::time::timeout(pause, self.changed.notified()).await;
                }
            }
        }
    }

    /// All of it, or how long to wait for it.
    fn try_take(&self, want: u64) -> Result<u64, Duration> {
        let (mut bucket, now) = (self.bucket(), self.clock.now());
        let pause = bucket.wait(now, want);
        if pause.is_zero() {
            return Ok(bucket.take(now, want).max(1));
        }
        Err(pause)
    }

    fn give_back(&self, bytes: u64) {
        if bytes > 0 && self.rate() != UNLIMITED {
            self.bucket().give_back(bytes);
        }
    }

    /// The limit that holds now.
    #[cfg(test)]
    pub(crate) fn limit(&self) -> Option<u64> {
        Some(self.rate()).filter(|rate| *rate != UNLIMITED)
    }

    fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    fn bucket(&self) -> MutexGuard<'_, Bucket> {
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn grant(rate: u64) -> u64 {
    (rate / GRANTS_A_SECOND)
        .clamp(GRANT_MIN, GRANT_MAX)
        .min(burst(rate))
}

fn burst(rate: u64) -> u64 {
    (rate / BURSTS_A_SECOND).max(GRANT_MIN)
}

/// Limits of both directions.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) up: Arc<Throttle>,
    pub(crate) down: Arc<Throttle>,
}

impl Gate {
    /// Bytes a second in each direction.
    pub(crate) fn new(clock: Clock, up: Option<u64>, down: Option<u64>) -> Self {
        Self {
            up: Arc::new(Throttle::new(clock, up)),
            down: Arc::new(Throttle::new(clock, down)),
        }
    }

    /// Other limits from now on.
    pub(crate) fn set(&self, up: Option<u64>, down: Option<u64>) {
        self.up.set(up);
        self.down.set(down);
    }
}

/// The gates of the process: one for all traffic, one for the LAN, one for the rest of the world.
#[derive(Clone, Debug)]
pub(crate) struct Gates {
    pub(crate) all: Gate,
    pub(crate) lan: Gate,
    pub(crate) rest: Gate,
    /// Networks that count as the LAN beside the private ones.
    own: Arc<Mutex<Arc<[ipnet::IpNet]>>>,
}

impl Gates {
    /// Gates without limits; these networks count as the LAN beside the private ones.
    pub(crate) fn new(clock: Clock, own: impl IntoIterator<Item = ipnet::IpNet>) -> Self {
        let open = || Gate::new(clock, None, None);
        Self {
            all: open(),
            lan: open(),
            rest: open(),
            own: Arc::new(Mutex::new(own.into_iter().collect())),
        }
    }

    /// Other networks count as the LAN from now on, for connections that are made after this.
    pub(crate) fn set_own(&self, own: impl IntoIterator<Item = ipnet::IpNet>) {
        *self.own.lock().unwrap_or_else(PoisonError::into_inner) = own.into_iter().collect();
    }

    /// What a connection of this torrent to this address must pass.
    pub(crate) fn tolls(&self, torrent: &Gate, address: IpAddr) -> Tolls {
        let own = Arc::clone(&self.own.lock().unwrap_or_else(PoisonError::into_inner));
        let class = if is_lan(address, &own) {
            &self.lan
        } else {
            &self.rest
        };
        Tolls::new(torrent, class, &self.all)
    }
}

/// Home: loopback, link-local, private and unique local addresses, and whatever else is ours.
pub(crate) fn is_lan(address: IpAddr, own: &[ipnet::IpNet]) -> bool {
    let address = address.to_canonical();
    let private = match address {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local() || ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_loopback(),
    };
    private || own.iter().any(|network| network.contains(&address))
}

/// What one connection must pass in each direction, from the narrow to the wide: its torrent's gate, its class's, the process's.
#[derive(Clone, Debug)]
pub(crate) struct Tolls {
    up: [Arc<Throttle>; 3],
    down: [Arc<Throttle>; 3],
}

impl Tolls {
    pub(crate) fn new(torrent: &Gate, class: &Gate, all: &Gate) -> Self {
        let gates = [torrent, class, all];
        Self {
            up: gates.map(|gate| Arc::clone(&gate.up)),
            down: gates.map(|gate| Arc::clone(&gate.down)),
        }
    }

    /// Is there a limit to what is read?
    pub(crate) fn limits_down(&self) -> bool {
        self.down.iter().any(|throttle| throttle.rate() != UNLIMITED)
    }

    /// Waits until some of these bytes may leave; says how many, at least one of one. The rest is asked for again.
    pub(crate) async fn up(&self, want: u64) -> u64 {
        pass(&self.up, want).await
    }

    /// The same for bytes that are to be read.
    pub(crate) async fn down(&self, want: u64) -> u64 {
        pass(&self.down, want).await
    }

    /// Bytes that were granted and did not leave.
    pub(crate) fn up_unused(&self, bytes: u64) {
        give_back(&self.up, bytes);
    }

    /// Bytes that were granted and did not come.
    pub(crate) fn down_unused(&self, bytes: u64) {
        give_back(&self.down, bytes);
    }
}

async fn pass(throttles: &[Arc<Throttle>], want: u64) -> u64 {
    if throttles.iter().all(|throttle| throttle.rate() == UNLIMITED) {
        return want;
    }
    let mut paid = Paid {
        throttles,
        passed: 0,
        granted: want,
    };
    for throttle in throttles {
        let granted = throttle.pass(paid.granted).await;
        let (passed, surplus) = (paid.passed, paid.granted - granted);
        throttles
            .iter()
            .take(passed)
            .for_each(|earlier| earlier.give_back(surplus));
        paid.granted = granted;
        paid.passed += 1;
    }
    paid.keep()
}

fn give_back(throttles: &[Arc<Throttle>], bytes: u64) {
    for throttle in throttles {
        throttle.give_back(bytes);
    }
}

/// What was paid at the first gates while a wider one is waited for. If the wait is given up, it comes back.
struct Paid<'a> {
    throttles: &'a [Arc<Throttle>],
    passed: usize,
    granted: u64,
}

impl Paid<'_> {
    fn keep(mut self) -> u64 {
        self.passed = 0;
        self.granted
    }
}

impl Drop for Paid<'_> {
    fn drop(&mut self) {
        for throttle in self.throttles.iter().take(self.passed) {
            throttle.give_back(self.granted);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinSet;
    use tokio::time::{Instant, sleep, timeout};

    use super::*;

    const TEN: Duration = Duration::from_secs(10);
    /// What the uploader would like to send at once.
    const BATCH: u64 = 256 * 1024;

    /// Bytes that each of so many connections passes in ten seconds.
    async fn passed(tolls: &Tolls, connections: usize) -> Vec<u64> {
        let mut tasks = JoinSet::new();
        for _ in 0..connections {
            let tolls = tolls.clone();
            tasks.spawn(async move {
                let (until, mut bytes) = (Instant::now() + TEN, 0);
                while let Ok(granted) = tokio::time::timeout_at(until, tolls.up(BATCH)).await {
                    assert!((1..=BATCH).contains(&granted));
                    bytes += granted;
                }
                bytes
            });
        }
        tasks.join_all().await
    }

    fn gates(rates: [Option<u64>; 3]) -> Tolls {
        let clock = Clock::start();
        let [torrent, class, all] = rates.map(|rate| Gate::new(clock, rate, None));
        Tolls::new(&torrent, &class, &all)
    }

    #[track_caller]
    fn within_5_percent(bytes: u64, rate: u64) {
        let expected = rate * 10;
        assert!(
            bytes >= expected * 95 / 100 && bytes <= expected * 105 / 100,
            "{bytes} instead of {expected}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_holds_for_one_connection_and_for_fifty_who_share_it_fairly() {
        let cases = [1_024, 100_000, 10_000_000, 200_000_000]
            .into_iter()
            .flat_map(|rate| [(rate, 1), (rate, 50)])
            .flat_map(|(rate, connections)| [0, 1, 2].map(|place| (rate, connections, place)));
        for (rate, connections, place) in cases {
            let mut rates = [None; 3];
            rates[place] = Some(rate);
            let shares = passed(&gates(rates), connections).await;
            within_5_percent(shares.iter().sum(), rate);
            let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
            assert!(most - least <= 2 * grant(rate), "{rate}: {least} and {most}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_narrowest_of_several_limits_holds() {
        let tolls = gates([Some(50_000), Some(400_000), Some(90_000)]);
        within_5_percent(passed(&tolls, 3).await.iter().sum(), 50_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_torrent_has_its_share_of_what_the_process_may_beside_a_fast_one() {
        let clock = Clock::start();
        let gate = |rate| Gate::new(clock, rate, None);
        let (slow, open, all) = (gate(Some(10_000)), gate(None), gate(Some(100_000)));
        let (slow, fast) = (Tolls::new(&slow, &open, &all), Tolls::new(&open, &open, &all));
        let (slow, fast) = tokio::join!(passed(&slow, 5), passed(&fast, 5));
        let (slow, fast): (u64, u64) = (slow.iter().sum(), fast.iter().sum());
        within_5_percent(slow + fast, 100_000);
        assert!((80_000..=105_000).contains(&slow), "{slow}");
    }

    #[tokio::test(start_paused = true)]
    async fn without_limits_all_passes_at_once() {
        let tolls = gates([None; 3]);
        let start = Instant::now();
        assert_eq!(tolls.up(u64::MAX).await, u64::MAX);
        assert_eq!(tolls.down(7).await, 7);
        assert_eq!(gates([Some(5); 3]).up(0).await, 0);
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_not_saved_up_for_a_burst() {
        let tolls = gates([Some(1_000_000), None, None]);
        tolls.up(1).await;
        sleep(Duration::from_mins(10)).await;
        within_5_percent(passed(&tolls, 1).await.iter().sum(), 1_000_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_changes_while_somebody_waits_for_it() {
        let gate = Gate::new(Clock::start(), Some(1), None);
        let tolls = Tolls::new(&gate, &gate, &gate);
        let waiter = tokio::spawn({
            let tolls = tolls.clone();
            async move { tolls.up(BATCH).await }
        });
        sleep(Duration::from_millis(5)).await;
        gate.set(None, Some(9));
        assert_eq!(
            timeout(Duration::from_millis(5), waiter).await.unwrap().unwrap(),
            BATCH
        );
        gate.set(Some(100_000), None);
        within_5_percent(
            passed(&gates([Some(100_000), None, None]), 2).await.iter().sum(),
            100_000,
        );
        assert_eq!(tolls.down(BATCH).await, BATCH);
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_connection_paid_before_it_ended_comes_back() {
        let clock = Clock::start();
        let (narrow, shut) = (
            Gate::new(clock, Some(1_000), None),
            Gate::new(clock, Some(1), None),
        );
        let open = Gate::new(clock, None, None);
        let tolls = Tolls::new(&narrow, &shut, &open);
        sleep(Duration::from_secs(1)).await;
        assert!(timeout(Duration::from_millis(1), tolls.up(100)).await.is_err());
        // All of the burst is there still.
        let free = Tolls::new(&narrow, &open, &open);
        let (mut bytes, start) = (0, Instant::now());
        while bytes < burst(1_000) {
            bytes += free.up(burst(1_000) - bytes).await;
        }
        assert!(
            start.elapsed() <= Duration::from_millis(2),
            "{:?}",
            start.elapsed()
        );
        free.up_unused(50);
        let again = timeout(Duration::from_millis(1), free.up(50)).await;
        assert_eq!(again, Ok(50));
    }

    #[tokio::test(start_paused = true)]
    async fn the_lan_is_free_while_the_rest_is_limited() {
        let clock = Clock::start();
        let gates = Gates::new(clock, ["192.0.2.0/24".parse().unwrap()]);
        gates.rest.set(Some(10_000), None);
        let torrent = Gate::new(clock, None, None);
        let home = gates.tolls(&torrent, [192, 168, 1, 5].into());
        assert_eq!(home.up(BATCH).await, BATCH);
        let far = gates.tolls(&torrent, [203, 0, 113, 5].into());
        within_5_percent(passed(&far, 4).await.iter().sum(), 10_000);
        gates.lan.set(Some(20_000), None);
        within_5_percent(passed(&home, 4).await.iter().sum(), 20_000);
        // The provider gives the household another network.
        gates.set_own(["203.0.113.0/24".parse().unwrap()]);
        gates.lan.set(None, None);
        let moved = gates.tolls(&torrent, [203, 0, 113, 5].into());
        assert_eq!(moved.up(BATCH).await, BATCH);
    }

    #[test]
    fn home_is_what_the_standards_say_and_what_the_owner_says() {
        let own = [
            "192.0.2.0/24".parse().unwrap(),
            "2001:db8:5::/48".parse().unwrap(),
        ];
        let home = [
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.0.1",
            "169.254.1.1",
            "::1",
            "fe80::1",
            "fd00::1",
            "::ffff:192.168.0.1",
            "192.0.2.77",
            "2001:db8:5:7::1",
        ];
        for text in home {
            assert!(is_lan(text.parse().unwrap(), &own), "{text}");
        }
        for text in [
            "203.0.113.1",
            "172.32.0.1",
            "2001:db8:6::1",
            "::ffff:8.8.8.8",
            "100.64.0.1",
        ] {
            assert!(!is_lan(text.parse().unwrap(), &own), "{text}");
        }
    }
}

//! Sums over all swarms, kept as they change: nobody ever walks the map to count.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::group::{Counts, Kind};
use super::private::{Families, Standing};

/// How much there is in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub swarms: u64,
    pub seeders: u64,
    /// Those who want more.
    pub downloaders: u64,
    /// Partial seeds that want nothing now.
    pub paused: u64,
    /// Those with an IPv4 address alone.
    pub peers_v4: u64,
    /// Those with an IPv6 address alone.
    pub peers_v6: u64,
    /// Those with both, each counted once. Public mode cannot know of any.
    pub peers_both: u64,
    /// Those of each role with an IPv6 address alone.
    pub seeders_v6: u64,
    pub downloaders_v6: u64,
    pub paused_v6: u64,
    /// Those of each role with both.
    pub seeders_both: u64,
    pub downloaders_both: u64,
    pub paused_both: u64,
    /// Private mode: sessions whose peer is gone.
    pub asleep: u64,
}

impl Totals {
    /// Everybody.
    pub fn peers(&self) -> u64 {
        self.peers_v4 + self.peers_v6 + self.peers_both
    }
}

/// The sums themselves. They are exact once nobody is at work; meanwhile each is off by at most those who are.
#[derive(Debug, Default)]
pub(super) struct Sums {
    swarms: AtomicU64,
    seeders: AtomicU64,
    downloaders: AtomicU64,
    paused: AtomicU64,
    peers_v4: AtomicU64,
    peers_v6: AtomicU64,
    seeders_v6: AtomicU64,
    downloaders_v6: AtomicU64,
    paused_v6: AtomicU64,
    peers_both: AtomicU64,
    seeders_both: AtomicU64,
    downloaders_both: AtomicU64,
    paused_both: AtomicU64,
    asleep: AtomicU64,
}

impl Sums {
    pub(super) fn read(&self) -> Totals {
        Totals {
            swarms: self.swarms.load(Relaxed),
            seeders: self.seeders.load(Relaxed),
            downloaders: self.downloaders.load(Relaxed),
            paused: self.paused.load(Relaxed),
            peers_v4: self.peers_v4.load(Relaxed),
            peers_v6: self.peers_v6.load(Relaxed),
            seeders_v6: self.seeders_v6.load(Relaxed),
            downloaders_v6: self.downloaders_v6.load(Relaxed),
            paused_v6: self.paused_v6.load(Relaxed),
            peers_both: self.peers_both.load(Relaxed),
            seeders_both: self.seeders_both.load(Relaxed),
            downloaders_both: self.downloaders_both.load(Relaxed),
            paused_both: self.paused_both.load(Relaxed),
            asleep: self.asleep.load(Relaxed),
        }
    }

    pub(super) fn peers(&self) -> u64 {
        self.peers_v4.load(Relaxed) + self.peers_v6.load(Relaxed) + self.peers_both.load(Relaxed)
    }

    /// Makes room for one swarm, unless there are `limit` already.
    pub(super) fn open_swarm(&self, limit: u64) -> bool {
        let opened = self.swarms.fetch_add(1, Relaxed) < limit;
        if !opened {
            self.close_swarms(1);
        }
        opened
    }

    pub(super) fn close_swarms(&self, count: u64) {
        self.swarms.fetch_sub(count, Relaxed);
    }

    /// Private mode: notes what became of one session. `None` is no session at all.
    pub(super) fn moved(&self, before: Option<Standing>, after: Option<Standing>) {
        if before == after {
            return;
        }
        if let Some(before) = before {
            for sum in self.counters(before).into_iter().flatten() {
                sum.fetch_sub(1, Relaxed);
            }
        }
        if let Some(after) = after {
            for sum in self.counters(after).into_iter().flatten() {
                sum.fetch_add(1, Relaxed);
            }
        }
    }

    /// The sums that a session counts in.
    fn counters(&self, standing: Standing) -> [Option<&AtomicU64>; 3] {
        let Standing::Here { kind, families } = standing else {
            return [Some(&self.asleep), None, None];
        };
        let all = match kind {
            Kind::Seeder => &self.seeders,
            Kind::Downloader => &self.downloaders,
            Kind::Paused => &self.paused,
        };
        let (peers, part) = match (families, kind) {
            (Families::V4, _) => (&self.peers_v4, None),
            (Families::V6, Kind::Seeder) => (&self.peers_v6, Some(&self.seeders_v6)),
            (Families::V6, Kind::Downloader) => (&self.peers_v6, Some(&self.downloaders_v6)),
            (Families::V6, Kind::Paused) => (&self.peers_v6, Some(&self.paused_v6)),
            (Families::Both, Kind::Seeder) => (&self.peers_both, Some(&self.seeders_both)),
            (Families::Both, Kind::Downloader) => (&self.peers_both, Some(&self.downloaders_both)),
            (Families::Both, Kind::Paused) => (&self.peers_both, Some(&self.paused_both)),
        };
        [Some(all), Some(peers), part]
    }

    /// Notes what became of one family of one swarm.
    pub(super) fn changed(&self, is_v6: bool, before: Counts, after: Counts) {
        if before == after {
            return;
        }
        let peers = if is_v6 { &self.peers_v6 } else { &self.peers_v4 };
        adjust(peers, before.total(), after.total());
        adjust(&self.seeders, before.seeders, after.seeders);
        adjust(&self.downloaders, before.downloaders, after.downloaders);
        adjust(&self.paused, before.paused, after.paused);
        if is_v6 {
            adjust(&self.seeders_v6, before.seeders, after.seeders);
            adjust(&self.downloaders_v6, before.downloaders, after.downloaders);
            adjust(&self.paused_v6, before.paused, after.paused);
        }
    }
}

fn adjust(sum: &AtomicU64, before: u32, after: u32) {
    match after.cmp(&before) {
        std::cmp::Ordering::Greater => drop(sum.fetch_add(u64::from(after - before), Relaxed)),
        std::cmp::Ordering::Less => drop(sum.fetch_sub(u64::from(before - after), Relaxed)),
        std::cmp::Ordering::Equal => (),
    }
}

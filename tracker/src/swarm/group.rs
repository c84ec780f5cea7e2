//! Peers of three kinds in one array, each kind together: seeders, then downloaders, then paused partial seeds. Joining and
//! leaving move at most three records.

use super::family::Record;

/// What a peer is to the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Has everything (`left=0`).
    Seeder,
    /// Wants more.
    Downloader,
    /// Has not everything, but wants nothing now (BEP 21).
    Paused,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Seeder, Self::Downloader, Self::Paused];
}

/// How many peers there are of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts<N = u32> {
    pub(super) seeders: N,
    pub(super) downloaders: N,
    pub(super) paused: N,
}

impl<N: Copy + Into<u32>> Counts<N> {
    pub(super) fn total(&self) -> u32 {
        self.seeders.into() + self.leechers()
    }

    /// Everybody who has not everything.
    pub(super) fn leechers(&self) -> u32 {
        self.downloaders.into() + self.paused.into()
    }

    pub(super) fn of(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Seeder => self.seeders.into(),
            Kind::Downloader => self.downloaders.into(),
            Kind::Paused => self.paused.into(),
        }
    }

    pub(super) fn of_mut(&mut self, kind: Kind) -> &mut N {
        match kind {
            Kind::Seeder => &mut self.seeders,
            Kind::Downloader => &mut self.downloaders,
            Kind::Paused => &mut self.paused,
        }
    }
}

impl Counts<u8> {
    pub(super) fn widen(self) -> Counts {
        Counts {
            seeders: self.seeders.into(),
            downloaders: self.downloaders.into(),
            paused: self.paused.into(),
        }
    }

    /// Where the peers of a kind begin in the array.
    fn start(self, kind: Kind) -> usize {
        let before = Kind::ALL.into_iter().take_while(|&other| other < kind);
        before.map(|other| self.of(other) as usize).sum()
    }
}

impl Counts {
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            seeders: self.seeders + other.seeders,
            downloaders: self.downloaders + other.downloaders,
            paused: self.paused + other.paused,
        }
    }
}

/// The peers of one kind.
pub(super) fn slice<R: Record>(records: &[R], counts: Counts<u8>, kind: Kind) -> &[R] {
    let start = counts.start(kind);
    records
        .get(start..start + counts.of(kind) as usize)
        .unwrap_or_default()
}

/// Where a peer stands, and as what.
pub(super) fn find<R: Record>(records: &[R], counts: Counts<u8>, peer: &R) -> Option<(usize, Kind)> {
    let at = records
        .iter()
        .take(counts.total() as usize)
        .position(|record| record.same_peer(peer))?;
    let kind = Kind::ALL
        .into_iter()
        .rev()
        .find(|&kind| at >= counts.start(kind))?;
    Some((at, kind))
}

/// Adds a peer; the array has room behind its last one.
pub(super) fn insert<R: Record>(records: &mut [R], counts: &mut Counts<u8>, kind: Kind, peer: R) {
    let mut hole = counts.total() as usize;
    debug_assert!(hole < records.len(), "no room for a peer behind {hole} others");
    for later in Kind::ALL.into_iter().rev().take_while(|&later| later > kind) {
        let start = counts.start(later);
        records.swap(start, hole);
        hole = start;
    }
    if let Some(place) = records.get_mut(hole) {
        *place = peer;
        *counts.of_mut(kind) += 1;
    }
}

/// Takes the peer at `at` out.
pub(super) fn remove<R: Record>(records: &mut [R], counts: &mut Counts<u8>, at: usize, kind: Kind) {
    let mut hole = at;
    for later in Kind::ALL.into_iter().skip_while(|&later| later < kind) {
        let end = counts.start(later) + counts.of(later) as usize;
        if counts.of(later) > 0 {
            records.swap(hole, end - 1);
            hole = end - 1;
        }
    }
    *counts.of_mut(kind) -= 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::family::V4;
    use crate::swarm::tick::Tick;

    fn peer(number: u8) -> V4 {
        V4::new([10, 0, 0, number, 0, 1], Tick(0))
    }

    #[test]
    fn peers_of_a_kind_stay_together_whoever_comes_and_goes() {
        let mut records = [V4::EMPTY; 6];
        let mut counts = Counts::default();
        for (number, kind) in [
            (1, Kind::Paused),
            (2, Kind::Seeder),
            (3, Kind::Downloader),
            (4, Kind::Seeder),
            (5, Kind::Paused),
        ] {
            insert(&mut records, &mut counts, kind, peer(number));
        }
        let (at, kind) = find(&records, counts, &peer(2)).unwrap();
        assert_eq!(kind, Kind::Seeder);
        remove(&mut records, &mut counts, at, kind);
        assert_eq!(find(&records, counts, &peer(2)), None);
        assert_eq!(
            counts,
            Counts {
                seeders: 1,
                downloaders: 1,
                paused: 2
            }
        );
        assert_eq!(slice(&records, counts, Kind::Seeder), [peer(4)]);
        assert_eq!(slice(&records, counts, Kind::Downloader), [peer(3)]);
        let paused = slice(&records, counts, Kind::Paused);
        assert!(paused.contains(&peer(1)) && paused.contains(&peer(5)));
    }
}

//! One torrent's swarm in public mode.

use ahash::RandomState;

use super::family::{Record, V4, V6};
use super::group::{Counts, Kind};
use super::home::Endpoint;
use super::peers::{Peers, Placed};
use super::tick::{Silence, Tick};

/// The peers of one torrent, and how often it was completed. IPv6 lives in a box, because most swarms have none.
#[derive(Debug, Default)]
pub(super) struct Swarm {
    v4: Peers<V4>,
    v6: Option<Box<Peers<V6>>>,
    completed: u32,
    /// When somebody announced last.
    touched: Tick,
}

/// One announce that is not a farewell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence {
    pub(super) peer: Endpoint,
    pub(super) kind: Kind,
    pub(super) tick: Tick,
}

impl Swarm {
    /// Notes that a peer is here. A new one joins only where there is room.
    pub(super) fn place(&mut self, presence: Presence, room: bool, hasher: &RandomState) -> Placed {
        let Presence { peer, kind, tick } = presence;
        self.touched = tick;
        let placed = match peer {
            Endpoint::V4(wire) => self.v4.place(V4::new(wire, tick), kind, room, hasher),
            Endpoint::V6(wire) => {
                self.v6
                    .get_or_insert_default()
                    .place(V6::new(wire, tick), kind, room, hasher)
            }
        };
        if kind == Kind::Seeder && matches!(placed, Placed::Was(Kind::Downloader | Kind::Paused)) {
            self.completed = self.completed.saturating_add(1);
        }
        self.drop_empty_v6();
        placed
    }

    /// Takes a peer out; says whether it was here.
    pub(super) fn remove(&mut self, peer: Endpoint, tick: Tick, hasher: &RandomState) -> bool {
        self.touched = tick;
        let was = match peer {
            Endpoint::V4(wire) => self.v4.remove(&V4::new(wire, tick), hasher),
            Endpoint::V6(wire) => self
                .v6
                .as_mut()
                .and_then(|v6| v6.remove(&V6::new(wire, tick), hasher)),
        };
        self.drop_empty_v6();
        was.is_some()
    }

    /// Forgets everybody who has been silent for too long.
    pub(super) fn forget_silent(&mut self, silence: Silence) {
        self.v4.forget_silent(silence);
        if let Some(v6) = &mut self.v6 {
            v6.forget_silent(silence);
        }
        self.drop_empty_v6();
    }

    /// Nobody is here, and nothing is worth remembering.
    pub(super) fn is_blank(&self) -> bool {
        self.completed == 0 && self.is_empty()
    }

    /// Nobody is here and nobody has asked for a while. Until then the number of completions outlives the peers.
    pub(super) fn is_forgotten(&self, silence: Silence) -> bool {
        self.is_empty() && (self.completed == 0 || silence.broken_by(self.touched))
    }

    fn is_empty(&self) -> bool {
        self.counts().total() == 0
    }

    fn drop_empty_v6(&mut self) {
        if self.v6.as_ref().is_some_and(|v6| v6.counts().total() == 0) {
            self.v6 = None;
        }
    }

    pub(super) fn completed(&self) -> u32 {
        self.completed
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts_v4().plus(self.counts_v6())
    }

    pub(super) fn counts_v4(&self) -> Counts {
        self.v4.counts()
    }

    pub(super) fn counts_v6(&self) -> Counts {
        self.v6.as_ref().map(|v6| v6.counts()).unwrap_or_default()
    }

    pub(super) fn counts_of(&self, is_v6: bool) -> Counts {
        if is_v6 { self.counts_v6() } else { self.counts_v4() }
    }

    pub(super) fn v4(&self) -> &Peers<V4> {
        &self.v4
    }

    pub(super) fn v6(&self) -> Option<&Peers<V6>> {
        self.v6.as_deref()
    }

    #[cfg(test)]
    pub(super) fn check(&self, hasher: &RandomState) {
        self.v4.check(hasher);
        if let Some(v6) = &self.v6 {
            v6.check(hasher);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swarm_is_small() {
        assert_eq!((size_of::<Peers<V4>>(), size_of::<Swarm>()), (24, 40));
    }
}

//! One torrent's swarm in public mode.

use ahash::RandomState;

use super::family::{Record, V4, V6};
use super::group::{Counts, Kind};
use super::home::Endpoint;
use super::peers::{Peers, Placed};
use super::policy::{Crowd, Policy};
use super::tick::{Silence, Tick};

/// The peers of one torrent, and how often it was completed. IPv6 lives in a box, because most swarms have none.
#[derive(Debug)]
pub(super) struct Swarm {
    v4: Peers<V4>,
    v6: Option<Box<Peers<V6>>>,
    completed: u32,
    /// When somebody came or went last.
    stirred: Tick,
    /// When somebody was told a short interval last.
    brisk: Tick,
}

/// One announce that is not a farewell.
#[derive(Clone, Copy, Debug)]
pub(super) struct Presence {
    pub(super) peer: Endpoint,
    pub(super) kind: Kind,
    pub(super) tick: Tick,
}

impl Swarm {
    pub(super) fn new(tick: Tick) -> Self {
        Self {
            v4: Peers::default(),
            v6: None,
            completed: 0,
            stirred: tick,
            brisk: Tick::long_before(tick),
        }
    }

    /// What a snapshot says beside the peers. A completion that two kinds of one peer made up is none.
    pub(super) fn remember(&mut self, completed: u32, stirred: Tick) {
        (self.completed, self.stirred) = (completed, stirred);
    }

    /// Is a short interval right here? Notes it, for whoever comes back so soon is not too early, even if all has changed then.
    pub(super) fn is_brisk(&mut self, policy: &Policy, now: Tick) -> bool {
        let counts = self.counts();
        let crowd = Crowd {
            peers: counts.total(),
            downloaders: counts.downloaders,
            stirred: self.stirred,
        };
        let brisk = policy.is_brisk(crowd, now);
        if brisk {
            self.brisk = now;
        }
        brisk
    }

    /// Somebody may hold a short interval still.
    pub(super) fn was_brisk(&self, policy: &Policy, now: Tick) -> bool {
        self.brisk.may_be_within(policy.min_interval, now)
    }

    /// Notes that a peer is here. A new one joins only where there is room.
    pub(super) fn place(&mut self, presence: Presence, room: bool, hasher: &RandomState) -> Placed {
        let Presence { peer, kind, tick } = presence;
        let placed = match peer {
            Endpoint::V4(wire) => self.v4.place(V4::new(wire, tick), kind, room, hasher),
            Endpoint::V6(wire) => {
                self.v6
                    .get_or_insert_default()
                    .place(V6::new(wire, tick), kind, room, hasher)
            }
        };
        match placed {
            Placed::Joined => self.stirred = tick,
            Placed::Was(Kind::Downloader | Kind::Paused, _) if kind == Kind::Seeder => {
                self.completed = self.completed.saturating_add(1);
            }
            Placed::Was(..) | Placed::Full => (),
        }
        self.drop_empty_v6();
        placed
    }

    /// Takes a peer out; says whether it was here.
    pub(super) fn remove(&mut self, peer: Endpoint, tick: Tick, hasher: &RandomState) -> bool {
        let was = match peer {
            Endpoint::V4(wire) => self.v4.remove(&V4::new(wire, tick), hasher),
            Endpoint::V6(wire) => self
                .v6
                .as_mut()
                .and_then(|v6| v6.remove(&V6::new(wire, tick), hasher)),
        };
        self.drop_empty_v6();
        if was.is_some() {
            self.stirred = tick;
        }
        was.is_some()
    }

    /// Forgets everybody who has been silent for too long.
    pub(super) fn forget_silent(&mut self, silence: Silence) {
        self.stirred.keep_past(silence.now());
        self.brisk.keep_past(silence.now());
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

    /// Nobody is here and nobody has been for a while. Until then the number of completions outlives the peers.
    pub(super) fn is_forgotten(&self, silence: Silence) -> bool {
        self.is_empty() && (self.completed == 0 || silence.broken_by(self.stirred))
    }

    fn is_empty(&self) -> bool {
        self.counts().total() == 0
    }

    fn drop_empty_v6(&mut self) {
        if self.v6.as_ref().is_some_and(|v6| v6.counts().total() == 0) {
            self.v6 = None;
        }
    }

    pub(super) fn stirred(&self) -> Tick {
        self.stirred
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

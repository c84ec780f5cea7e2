//! Bounds of one torrent that change while it runs, and who makes room when they are reached: who is of no use, then who
//! holds many places, then whom BEP 40 ranks lowest.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rand::Rng;
use shared::moment::Moment;

use super::blame::Giver;
use super::events::{Output, PeerKey, Why};
use super::machine::Torrent;
use super::session::Session;

/// So many connections from one address are a family behind one router; more are a crowd.
const CROWD: usize = 4;
/// A connection has so long to show what it is good for, before somebody else may be preferred.
const TRIAL: Duration = Duration::from_secs(60);

impl Torrent {
    /// Other bounds from now on. Those who are too many go at once.
    pub(super) fn limit(
        &mut self,
        now: Moment,
        connections: usize,
        upload_slots: Option<usize>,
        rng: &mut impl Rng,
    ) {
        self.settings.connections_max = connections;
        if upload_slots != self.settings.upload_slots {
            self.settings.upload_slots = upload_slots;
            self.choker.limit(now, upload_slots);
        }
        while self.connections() > connections {
            let worst = self
                .useless(now)
                .or_else(|| self.least_wanted(|session| !session.is_busy()));
            let Some(peer) = worst.or_else(|| self.least_wanted(|_| true)) else {
                break;
            };
            self.give_place_up(now, peer);
        }
        self.choke_round(now, rng);
    }

    /// A stranger who holds a place for nothing must not keep a friend out. Nor must one who holds many places: of those,
    /// the one goes that was of least use. And of those who do nothing now, one goes that both sides of its connection
    /// want less than the newcomer.
    pub(super) fn make_room(&mut self, now: Moment, newcomer: SocketAddr) -> bool {
        let rank = self.outward.priority(newcomer);
        let idle = |session: &Session| {
            let tried = now.since(session.connected) >= TRIAL && !session.is_busy();
            tried && self.outward.priority(session.calls_from()) < rank
        };
        let worst = self.useless(now).or_else(|| self.least_of_crowd(newcomer.ip()));
        let Some(peer) = worst.or_else(|| self.least_wanted(idle)) else {
            return false;
        };
        self.give_place_up(now, peer);
        true
    }

    fn give_place_up(&mut self, now: Moment, peer: PeerKey) {
        self.forget_for_long(now, peer);
        let why = Why::TooManyConnections(self.settings.connections_max);
        self.push(Output::Disconnect { peer, why });
    }

    /// The lowest of these by BEP 40.
    fn least_wanted(&self, among: impl Fn(&Session) -> bool) -> Option<PeerKey> {
        let those = self
            .sessions
            .iter()
            .filter(|(_, session)| !session.is_web() && among(session));
        let lowest = those.min_by_key(|(_, session)| self.outward.priority(session.calls_from()));
        lowest.map(|(peer, _)| *peer)
    }

    /// Of the address with the most connections, if these are a crowd, the connection that carried least.
    fn least_of_crowd(&self, newcomer: IpAddr) -> Option<PeerKey> {
        let mut crowds: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for session in self.sessions.values().filter(|session| !session.is_web()) {
            *crowds.entry(session.address.ip()).or_default() += 1;
        }
        let (crowded, count) = crowds.into_iter().max_by_key(|(_, count)| *count)?;
        let members = self
            .sessions
            .iter()
            .filter(|(_, session)| session.giver() == Giver::Address(crowded));
        let least = members.min_by_key(|(_, session)| session.taken.total() + session.given.total());
        let peer = least.map(|(peer, _)| *peer);
        peer.filter(|_| count > CROWD && crowded != newcomer)
    }
}
